"""Sizes of arrays, in a pass or two over their memory: what can be afforded in a training step.

Numbers are added up in rows, in their own precision, and the rows in float64; the rows are shared
out over threads by the shape alone, so the bits are the same on any number of them.  What is too
small or too large to be squared in float32 is done again in float64.

Instruments that run passes of their own take :func:`minires.flow.passes.norm`, which is exact in
float64 and slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.kernels.parallel import map_chunks, scratch

__all__ = ["inner", "moments", "square"]

ROW = 4096


def square(array: np.ndarray) -> float:
    """The sum of all squares, exact to about 1e-6 for float32.

    >>> square(np.array([3.0, 4.0], np.float32))
    25.0
    """
    return inner(array, array)


def inner(one: np.ndarray, other: np.ndarray) -> float:
    """The sum of one * other over all elements.

    >>> inner(np.array([1.0, 2.0]), np.array([3.0, -1.0]))
    1.0
    """

    def work(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.vecdot(a, b).sum(dtype=np.float64))

    with np.errstate(all="ignore"):
        total = float(sum(_by_rows(work, one, other)))
        if _fits(total, one):
            return total
        return float((one.astype(np.float64) * other.astype(np.float64)).sum())


def moments(array: np.ndarray) -> tuple[int, float, float]:
    """How many numbers there are, their mean, and their variance (biased).

    >>> moments(np.array([1.0, 2.0, 3.0, 6.0]))
    (4, 3.0, 3.5)
    """
    with np.errstate(all="ignore"):
        # Counted from somewhere near the mean, so that nothing cancels in the difference below.
        origin = array.reshape(-1)[:ROW].mean()

        def work(part: np.ndarray) -> tuple[float, float]:
            deviation = scratch(part, "deviation", part.shape, part.dtype)
            np.subtract(part, origin, out=deviation)
            squares = np.vecdot(deviation, deviation)
            return float(deviation.sum(axis=1).sum(dtype=np.float64)), float(
                squares.sum(dtype=np.float64)
            )

        first, second = (sum(parts) for parts in zip(*_by_rows(work, array), strict=True))
        if not _fits(second, array):
            wide = array.astype(np.float64)
            return array.size, float(wide.mean()), float(wide.var())
    shift = first / array.size
    return array.size, float(origin) + shift, max(second / array.size - shift * shift, 0.0)


def _by_rows(work: Callable[..., Any], *arrays: np.ndarray) -> list[Any]:
    """``work`` on pieces of the arrays as rows of ROW numbers; what is left over is a row too."""
    wide = np.promote_types(arrays[0].dtype, np.float32)  # float16 is too narrow to add up in
    flat = [array.reshape(-1).astype(wide, copy=False) for array in arrays]
    whole = flat[0].size // ROW * ROW
    rows = [array[:whole].reshape(-1, ROW) for array in flat]
    found = map_chunks(
        lambda piece: work(*(array[piece] for array in rows)),
        len(rows[0]),
        2 * ROW * wide.itemsize,
        blas=True,
    )
    if whole < flat[0].size:
        found.append(work(*(array[whole:].reshape(1, -1) for array in flat)))
    return found


def _fits(total: float, array: np.ndarray) -> bool:
    """Whether no square can have been lost below the smallest number, or above the largest."""
    info = np.finfo(np.promote_types(array.dtype, np.float32))
    return array.size * float(info.tiny) / float(info.eps) <= abs(total) < np.inf
