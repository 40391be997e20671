"""Indexing, and its adjoint: adding at the same places."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.autograd.function import Function
from minires.autograd.tensor import Tensor, raw
from minires.device import array_like, array_module, is_array, is_on_gpu
from minires.errors import IndexingError, describe
from minires.kernels.add_at import add_at

__all__ = ["getitem"]


class GetItem(Function):
    """out = x[index];  grad_x = zeros with grad_out added at ``index`` (repeats add up)."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, index: Any) -> Any:
        ctx.save_constant(index=index, shape=x.shape)
        return x[index]

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return PutAdd.apply(grad_out, index=ctx.saved("index"), shape=ctx.saved("shape"))


class PutAdd(Function):
    """out = zeros of ``shape`` with x added at ``index``, the adjoint of indexing."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, index: Any, shape: tuple[int, ...]) -> Any:
        ctx.save_constant(index=index)
        xp = array_module(x)
        out = xp.zeros(shape, dtype=x.dtype)
        parts = index if isinstance(index, tuple) else (index,)
        if any(hasattr(part, "dtype") for part in parts):
            add_at(out, index, x)  # an index array may name a place more than once
        else:
            out[index] = x
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return GetItem.apply(grad_out, index=ctx.saved("index"))


def getitem(x: Any, index: Any) -> Any:
    """``x[index]``: numbers, slices, None, Ellipsis, integer and boolean arrays.

    Raises IndexingError, which is an IndexError, for an index that names what is not there.  (Index
    arrays on a GPU are not looked at, since that would make the CPU wait; a place beyond the end
    counts round from the start there.)
    """
    try:
        if is_on_gpu(data := raw(x)):
            index = _index_there(index, data)
        if isinstance(index, tuple):
            parts = tuple(_raw_index(part) for part in index)
            if any(type(part) is int for part in parts) and any(map(is_array, parts)):
                first, rest = _numbers_first(parts)
                return GetItem.apply(GetItem.apply(x, index=first), index=rest)
            return GetItem.apply(x, index=parts)
        return GetItem.apply(x, index=_raw_index(index))
    except (IndexError, TypeError, ValueError) as error:
        why = str(error).rstrip(". ")
        raise IndexingError(
            f"getitem: {why}.\n  {describe(x=x)}    index: {reprlib.repr(index)}\n"
            "  Use whole numbers from 0 to below the length (or from -length on), slices, None, "
            "..., or arrays of whole numbers or booleans."
        ) from None


def _index_there(index: Any, x: Any) -> Any:
    """The index with its arrays on the GPU of ``x``, those from the CPU once NumPy found no fault.

    CuPy itself takes places beyond the end, and counts round.
    """
    parts = [_raw_index(part) for part in (index if isinstance(index, tuple) else (index,))]
    if any(isinstance(part, np.ndarray) for part in parts) and not any(map(is_on_gpu, parts)):
        np.broadcast_to(np.False_, x.shape)[tuple(parts)]
    moved = [array_like(part, x) if isinstance(part, np.ndarray) else part for part in parts]
    return tuple(moved) if isinstance(index, tuple) else moved[0]


def _numbers_first(index: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """An index in two: all but its arrays, and then the arrays, as PyTorch takes them.

    NumPy counts a number among the index arrays, and where a slice stands between them it moves
    their dimension to the front: x[0, :, array] is (len(array), n) there and (n, len(array)) here.
    """
    numbers: list[Any] = []
    rest: list[Any] = []
    for part in index:
        if type(part) is int:
            numbers.append(part)
        elif is_array(part):
            numbers += [slice(None)] * (part.ndim if part.dtype.kind == "b" else 1)
            rest.append(part)
        else:
            numbers.append(part)
            rest.append(part if part is Ellipsis else slice(None))
    return tuple(numbers), tuple(rest)


def _raw_index(index: Any) -> Any:
    """A part of an index as NumPy takes it; lists become arrays of their own.

    They may repeat a place, and whoever owns them may change them before backward.
    """
    if isinstance(index, Tensor):
        index = index._data
    if is_array(index) and index.ndim == 0 and index.dtype.kind in "iu":
        return int(index)
    if isinstance(index, np.generic):
        return index.item()
    if isinstance(index, Sequence) and not isinstance(index, str):
        return np.array(index, None if index else np.intp)  # of no places NumPy makes floats
    return index
