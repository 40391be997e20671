"""Where a batch of images lies in memory: one image after the other, or side by side.

An array (N, C, H, W) is always indexed in this order.  Its numbers may lie in another one:

    images first    n, c, h, w    one image after the other, as NumPy makes arrays
    images last     c, h, w, n    side by side, as in Krizhevsky's cuda-convnet: each pixel of all
                                  the images in one run

Images last, a convolution of small planes is one large matrix product for each kernel row instead
of a small one for every image, and a channel of batch norm is one long row.  So a convolution that
does not cut its batch gives its output like this, unless it takes more to move its images so than
it saves.  Batch norm (of up to 4 MB), ReLU and padding keep the order in which they find the
numbers, as NumPy's own elementwise functions do; pooling does not.  Only the time depends on it,
and the order of sums.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from minires.device import Array, array_module

__all__ = ["empty_beside", "empty_images_last", "images_first", "lies_images_last", "side_by_side"]


def empty_beside(x: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array (N, C, ...) whose memory lies as that of ``x`` does."""
    if lies_images_last(x):
        return empty_images_last(shape, dtype)
    return array_module(x).empty(shape, dtype)


def empty_images_last(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array (N, C, ...) whose memory, its own, lies images last.

    >>> empty_images_last((2, 3, 4, 5), np.dtype("float32")).strides
    (4, 160, 40, 8)
    """
    return np.ndarray(shape, dtype, strides=_strides(shape, np.dtype(dtype).itemsize))


@lru_cache(maxsize=1024)
def _strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Bytes from one place to the next along each axis, images last."""
    steps, step = [itemsize], shape[0] * itemsize
    for size in shape[:0:-1]:
        steps.insert(1, step)
        step *= size
    return tuple(steps)


def lies_images_last(x: Array) -> bool:
    """Whether each pixel of all the images is one run of memory.

    >>> x = np.zeros((2, 3, 4, 5), "float32")
    >>> lies_images_last(x), lies_images_last(empty_images_last(x.shape, x.dtype))
    (False, True)
    """
    return isinstance(x, np.ndarray) and x.ndim > 1 and x.strides[0] == x.itemsize


def side_by_side(x: Array) -> Array:
    """(N, C, ...) with its axes as they lie images last: (C, ..., N)."""
    return x.transpose(*range(1, x.ndim), 0)


def images_first(x: Array) -> Array:
    """(C, ..., N) back as (N, C, ...)."""
    return x.transpose(x.ndim - 1, *range(x.ndim - 1))
