"""Elementwise work on large arrays, in chunks over threads: NumPy alone would use one core.

Every number is computed by itself, so the cut changes no bits.  Small arrays, and arrays that do
not lie alike in memory, go to NumPy in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.device import Array, array_module
from minires.kernels import parallel
from minires.kernels.layout import images_first, lies_images_last
from minires.kernels.parallel import map_chunks, scratch

__all__ = ["add_relu", "elementwise", "relu", "relu_grad_input"]

FEW_BYTES = 1 << 12  # below, a NumPy call costs more than what it does
# Arrays of fewer numbers fit a chunk anyway, and are not looked at any closer.
MANY_NUMBERS = 1 << 17


def elementwise(ufunc: Callable[..., Any], *arrays: Any, out: Array | None = None) -> Any:
    """``ufunc(*arrays)``, on all cores where that pays.

    ``ufunc`` is a NumPy ufunc, or any function of arrays and ``out=`` that treats every number by
    itself and gives the dtype of its first argument.  ``out`` may be one of the arrays, but must
    not overlap one in another way.

    >>> import numpy as np
    >>> elementwise(np.add, np.ones(2), np.ones(2))
    array([2., 2.])
    """
    first = arrays[0]
    if getattr(first, "size", 0) < MANY_NUMBERS or not _alike(*arrays, out):
        return ufunc(*arrays, out=out)
    result = np.empty(first.shape, first.dtype) if out is None else out
    flat = [array.ravel() for array in (*arrays, result)]

    def work(piece: slice) -> None:
        *given, into = (array[piece] for array in flat)
        ufunc(*given, out=into)

    # By half: so short calls hand over to each other too often for smaller pieces to pay.
    map_chunks(work, first.size, len(flat) * first.itemsize // 2)
    return result


def _alike(first: Any, *others: Any) -> bool:
    """Whether all are NumPy arrays of one shape and dtype, each in C order."""
    return isinstance(first, np.ndarray) and all(
        a is None
        or (
            isinstance(a, np.ndarray)
            and a.shape == first.shape
            and a.dtype == first.dtype
            and a.flags.c_contiguous
        )
        for a in (first, *others)
    )


def relu(x: Array) -> Array:
    """max(x, 0), elementwise; NaN stays NaN.

    >>> import numpy as np
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return _max_with_0(x) if x.nbytes < FEW_BYTES else elementwise(_max_with_0, x)


def add_relu(a: Array, b: Array) -> Array:
    """max(a + b, 0), for arrays of one shape: what ends a residual block.

    >>> import numpy as np
    >>> add_relu(np.array([-1.0, 2.0]), np.array([0.5, 1.0]))
    array([0., 3.])
    """
    return elementwise(_sum_or_0, a, b)


def relu_grad_input(grad_out: Array, out: Array) -> Array:
    """grad_out * (out != 0): what was cut off gets nothing.

    >>> import numpy as np
    >>> relu_grad_input(np.array([5.0, 5.0]), np.array([0.0, 2.0]))
    array([0., 5.])
    """
    return _masked(grad_out, out) if out.nbytes < FEW_BYTES else elementwise(_masked, grad_out, out)


def _max_with_0(x: Array, out: Array | None = None) -> Array:
    if x.nbytes < FEW_BYTES or x.nbytes > parallel.CHUNK_BYTES or not isinstance(x, np.ndarray):
        return array_module(x).maximum(x, 0, out=out)
    # An array of zeros, which lies as x does, is two to three times as fast as the number 0.
    zeros = scratch(x, "zeros", (x.size,), x.dtype, make=np.zeros)
    if lies_images_last(x):
        zeros = images_first(zeros.reshape(*x.shape[1:], len(x)))
    return np.maximum(x, zeros.reshape(x.shape), out=out)


def _sum_or_0(a: Array, b: Array, out: Array | None = None) -> Array:
    if out is None:
        total = a + b
        return _max_with_0(total, total if isinstance(total, np.ndarray) else None)
    array_module(out).add(a, b, out=out)
    return _max_with_0(out, out)


def _masked(grad_out: Array, out_of_relu: Array, out: Array | None = None) -> Array:
    if out is None:
        kept = out_of_relu != 0
        if not lies_images_last(out_of_relu):
            return grad_out * kept
        return np.multiply(grad_out, kept, out=np.empty_like(out_of_relu, grad_out.dtype))
    xp = array_module(out)
    mask = scratch(out, "mask", out.shape, np.dtype(bool))
    xp.not_equal(out_of_relu, 0, out=mask)
    return xp.multiply(grad_out, mask, out=out)
