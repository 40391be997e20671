"""Element types: what whole numbers become, and which mixtures are refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.errors import DTypeError, describe
from minires.functional.shape import to
from minires.kernels.checks import check_arrays

__all__ = ["check_same_dtype", "floating"]


def floating(x: Any) -> Any:
    """``x``, as float32 if it holds whole numbers or booleans: for functions with fractions.

    >>> floating(np.array([1, 2])).dtype
    dtype('float32')
    """
    return to(x, np.float32) if x.dtype.kind in "iub" else x


def check_same_dtype(operation: str, **given: Any) -> None:
    """Refuse tensors of different types where mixing them is a slip and never a wish.

    A float64 image would quietly turn a float32 network into a slow float64 one.

    >>> check_same_dtype("linear", input=np.ones(2), weight=np.ones(2), bias=None)
    """
    dtypes = {getattr(x, "dtype", None) for x in given.values() if x is not None}
    if len(dtypes) == 1 and getattr(dtypes.pop(), "kind", "") == "f":  # the common case
        return
    there = {name: x for name, x in given.items() if x is not None}
    check_arrays(operation, **there)
    if len({x.dtype for x in there.values()}) > 1:
        first = next(iter(there))
        raise DTypeError(
            f"{operation}: these must have one dtype.\n  {describe(**there)}\n"
            f"  Convert {first}, {first}.to('float32') or {first}.astype('float32'), "
            "or the layer: model.to('float64')."
        )
