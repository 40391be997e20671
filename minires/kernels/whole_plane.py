"""Convolution where every output sees the whole plane: a dense layer with shared weights.

Deep in a network for small images a plane has 2x2 pixels, and from each of its four outputs a 3x3
kernel with padding 1 reaches all four of them.  With o and p for the places of a plane, the output
and the input, tap[o, p] is the tap of the kernel through which o reads p:

    out[m, o] = sum over c, p of matrix[(m, o), (c, p)] * x[c, p]
    matrix[(m, o), (c, p)] = weight[m, c, tap[o, p]]

Images last, the batch is a matrix (C*P, N), and each of the three maps is one matrix product, cut
only where its sums are long.  The matrix is gathered from the weight, and the gradient by the
weight is scattered back the same way.  Nothing is unfolded, and no zeros beyond the image are
multiplied.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from minires.kernels.geometry import Pair
from minires.kernels.layout import empty_images_last, side_by_side
from minires.kernels.parallel import one_blas_thread
from minires.kernels.shifted import short_sums

__all__ = ["Places", "forward", "grad_input", "grad_weight", "places"]

# Gathering costs about as much for each number as multiplying 60 images by it.  Measured on 64
# images of 2x2: at 32 channels this is twice as quick as shifted products (kernels/shifted.py), at
# 64 no quicker.
MOST_NUMBERS = 1 << 15


class Places(NamedTuple):
    """Where in the weight each number of the matrix is, and of the matrix turned."""

    matrix: np.ndarray  # (M*O, C*P)
    turned: np.ndarray  # (C*P, M*O): BLAS could turn a matrix itself, with larger errors


@lru_cache(maxsize=256)
def places(
    weight: tuple[int, ...],
    image: tuple[int, ...],
    out: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Places | None:
    """Where the matrix has its numbers from; None if an output does not see the whole plane.

    Args:
        weight: (M, C, KH, KW).
        image: (H, W).
        out: (OH, OW).

    >>> places((1, 1, 3, 3), (2, 2), (2, 2), (1, 1), (1, 1), (1, 1)).matrix
    array([[4, 5, 7, 8],
           [3, 4, 6, 7],
           [1, 2, 4, 5],
           [0, 1, 3, 4]])
    """
    M, C, KH, KW = weight
    rows, columns = (
        _taps(weight[2 + a], image[a], out[a], stride[a], padding[a], dilation[a]) for a in (0, 1)
    )
    if rows is None or columns is None:
        return None
    taps = rows[:, None, :, None] * KW + columns[None, :, None, :]  # (OH, OW, H, W)
    taps = taps.reshape(out[0] * out[1], -1)
    if M * C * taps.size > MOST_NUMBERS:
        return None
    first = np.arange(M * C).reshape(M, 1, C, 1) * (KH * KW)
    at = (first + taps[:, None, :]).reshape(M * len(taps), -1)
    found = Places(at, at.T.copy())
    for array in found:
        array.setflags(write=False)
    return found


def _taps(K: int, size: int, out: int, S: int, P: int, D: int) -> np.ndarray | None:
    """Along one axis the tap through which each output reads each place; None if one reads none."""
    offset = np.arange(size) - (np.arange(out)[:, None] * S - P)
    inside = (offset % D == 0) & (offset >= 0) & (offset // D < K)
    return offset // D if inside.size and inside.all() else None


def forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    at: Places,
    shape: tuple[int, ...],
) -> np.ndarray:
    """out, of ``shape`` (N, M, OH, OW), = matrix @ x + bias;  x (N, C, H, W)."""
    out = _product(weight.ravel().take(at.matrix), x, shape)
    if bias is not None:
        out += bias.reshape(-1, 1, 1)
    return out


def grad_input(
    g: np.ndarray, weight: np.ndarray, at: Places, x_shape: tuple[int, ...]
) -> np.ndarray:
    """grad_x, of ``x_shape``, = matrix^T @ g;  g (N, M, OH, OW)."""
    return _product(weight.ravel().take(at.turned), g, x_shape)


def grad_weight(g: np.ndarray, x: np.ndarray, at: Places, shape: tuple[int, ...]) -> np.ndarray:
    """grad_weight, of ``shape``: the numbers of g @ x^T, each added to where it was gathered."""
    with one_blas_thread():
        by_place = np.matmul(_as_matrix(g), _as_matrix(x).T)
    total = np.bincount(at.matrix.ravel(), by_place.ravel(), math.prod(shape))  # in float64
    grad: np.ndarray = total.astype(by_place.dtype)
    return grad.reshape(shape)


def _product(matrix: np.ndarray, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """matrix @ x as an array of ``shape``, images last."""
    out = empty_images_last(shape, np.result_type(matrix, x))
    total, source = _as_matrix(out), _as_matrix(x)
    first, *others = short_sums(matrix.shape[1])
    with one_blas_thread():
        np.matmul(matrix[:, first], source[first], out=total)
        for terms in others:
            total += matrix[:, terms] @ source[terms]
    return out


def _as_matrix(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as (C*H*W, N): a view, where images lie last."""
    matrix: np.ndarray = side_by_side(x).reshape(-1, len(x))
    return matrix
