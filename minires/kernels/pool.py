"""Pooling without loops over places: one NumPy call for each tap of the window.

Both poolings are separable: the window's rows are folded first, on whole contiguous rows of the
image, and its columns then, on what is left.  A 3 x 3 window costs 3 + 3 calls and no copies of
the image.  Padding is never made: each tap works on the rectangle of outputs for which it lies
inside the image.

Every image is treated by itself, so a batch can be cut into pieces anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.device import Array, array_module
from minires.kernels.add_at import add_at
from minires.kernels.checks import check_floating, check_grad_out, check_indices
from minires.kernels.geometry import (
    Pair,
    PoolGeometry,
    adaptive_bins,
    check_adaptive_pool2d,
    check_pool2d,
    window_counts,
)
from minires.kernels.parallel import chunks, map_chunks
from minires.kernels.windows import COLS, ROWS, at, fold, spread, taps_along

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad_input",
    "avg_pool2d",
    "avg_pool2d_grad_input",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_grad_input",
]


def max_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """The largest value in each window, and where it was.

        out[n, c, i, j] = max over kh, kw of x[n, c, i*SH - PH + kh*DH, j*SW - PW + kw*DW]

    over the places inside the image: padding never wins.  Of equal values the first in reading
    order wins; NaN beats every number, and a later NaN an earlier one.  Backward,
    :func:`max_pool2d_grad_input`, needs the indices alone.

    Args:
        x: floats (N, C, H, W).
        kernel_size, stride, padding, dilation: one number, or (rows, columns); ``stride`` None
            means ``kernel_size``.
        ceil_mode: let a last window hang over the edge.

    Returns:
        out (N, C, OH, OW), and indices of the same shape: int64 ``h*W + w``, places in the plane.

    Raises:
        ShapeError: a window does not fit, or sees padding alone.
        UsageError: padding of more than half the kernel, or another senseless setting.

    >>> max_pool2d(np.array([[[[1.0, 5.0, 2.0], [4.0, 5.0, 0.0]]]]), 2, stride=1)
    (array([[[[5., 5.]]]]), array([[[[1, 1]]]]))
    """
    window = check_pool2d("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    out, indices = _some_planes_at_a_time(lambda planes: _max_pool(planes, window), x)
    return out, indices


def _max_pool(x: Array, window: PoolGeometry) -> tuple[Array, Array]:
    xp = array_module(x)
    (KH, KW), (OH, OW) = window.kernel, window.out
    row_taps, col_taps = taps_along(window, x.shape, ROWS), taps_along(window, x.shape, COLS)
    least = _least(x.dtype)
    tops = fold(xp.maximum, least, x, ROWS, row_taps, OH)  # (N, C, OH, W): of each column
    out = fold(xp.maximum, least, tops, COLS, col_taps, OW)  # (N, C, OH, OW)

    # Who won?  A tap that equals the maximum scores KH*KW less its number in reading order, one
    # that does not scores 0; so the first winner has the highest score.  One byte usually holds it.
    small = xp.int8 if KH * KW <= 127 else xp.int64
    top_score = xp.zeros(tops.shape, small)
    for kh, put, take in row_taps:
        hit = _as_numbers(x[:, :, take] == tops[:, :, put], small)
        hit *= KH * KW - kh * KW
        xp.maximum(top_score[:, :, put], hit, out=top_score[:, :, put])
    score = xp.zeros(out.shape, small)
    for kw, put, take in col_taps:
        hit = _as_numbers(tops[..., take] == out[..., put], small)
        hit *= top_score[..., take] - small(kw)
        xp.maximum(score[..., put], hit, out=score[..., put])
    if (score == 0).any():  # NaN equals nothing, not even itself
        for kh, put_rows, take_rows in row_taps:
            for kw, put_cols, take_cols in col_taps:
                nan = xp.isnan(x[:, :, take_rows, take_cols])
                score[:, :, put_rows, put_cols][nan] = KH * KW - (kh * KW + kw)
    return out, _indices(xp, score, window, x.shape[COLS])


def max_pool2d_grad_input(
    grad_out: Array, indices: Array, x_shape: tuple[int, ...], window: PoolGeometry | None = None
) -> Array:
    """Gradient of max_pool2d by its input: each winner receives the gradient of its window.

        grad_x[n, c, p] = sum of grad_out[n, c, i, j] where indices[n, c, i, j] == p

    A place that won several windows adds them up, in reading order, so the bits are always the
    same.  Linear; its adjoint is :func:`max_pool2d_gather`.

    grad_out and indices, whole numbers from max_pool2d, are (N, C, OH, OW).  ``window``, what
    check_pool2d returned for that pooling, changes no number: with it a GPU asks, for each pixel,
    only the windows that reach over it.  Returns grad_x, of shape ``x_shape`` (N, C, H, W).  Raises
    ShapeError if the shapes do not belong together, or if an index lies outside the plane.

    >>> max_pool2d_grad_input(np.array([[[[10.0, 1.0]]]]), np.array([[[[1, 1]]]]), (1, 1, 1, 3))
    array([[[[ 0., 11.,  0.]]]])
    """
    check_indices("max_pool2d_grad_input", x_shape, indices, window)
    check_grad_out("max_pool2d_grad_input", grad_out, indices.shape)
    xp = array_module(grad_out)
    grad_x = xp.zeros(math.prod(x_shape), grad_out.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # inf - inf is NaN, as it should be
        add_at(grad_x, _flat_places(indices, x_shape), grad_out.ravel())
    return grad_x.reshape(x_shape)


def max_pool2d_gather(x: Array, indices: Array) -> Array:
    """Pick the values at the indices: the adjoint of max_pool2d_grad_input.

        out[n, c, i, j] = x[n, c, indices[n, c, i, j]]          with the planes of x flattened

    Args:
        x: (N, C, H, W).
        indices: whole numbers (N, C, OH, OW), from max_pool2d.

    Returns:
        out (N, C, OH, OW).

    Raises:
        ShapeError: the shapes do not belong together, or an index lies outside the plane.

    >>> max_pool2d_gather(np.array([[[[7.0, 8.0, 9.0]]]]), np.array([[[[1, 1]]]]))
    array([[[[8., 8.]]]])
    """
    check_indices("max_pool2d_gather", x, indices)
    return x.ravel()[_flat_places(indices, x.shape)].reshape(indices.shape)


def avg_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window.

        out[n, c, i, j] = (sum of x[n, c, h, w] over the window) / divisor
        grad_x[n, c, h, w] = sum of grad_out[n, c, i, j] / divisor over the windows that saw it

    Args:
        x: floats (N, C, H, W).
        kernel_size, stride, padding: one number, or (rows, columns); ``stride`` None means
            ``kernel_size``.
        ceil_mode: let a last window hang over the edge; what lies beyond the padding never counts.
        count_include_pad: whether places on the padding count in the divisor.
        divisor_override: a divisor to use instead of the count.

    Returns:
        out (N, C, OH, OW).

    Raises:
        ShapeError: a window does not fit.
        DTypeError: ``x`` is not floating.
        UsageError: padding of more than half the kernel, or another senseless setting.

    >>> avg_pool2d(np.array([[[[1.0, 3.0, 8.0]]]]), (1, 2), ceil_mode=True)
    array([[[[2., 8.]]]])
    """
    window = check_pool2d(
        "avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode, divisor_override
    )
    check_floating("avg_pool2d", x=x)
    divisor = _divisor(window, x, x.shape, count_include_pad, divisor_override)
    add = array_module(x).add
    with np.errstate(over="ignore", invalid="ignore"):  # inf - inf is NaN, as it should be
        if _is_whole_plane(window, x.shape):
            return x.sum(axis=(ROWS, COLS), keepdims=True) / divisor
        OH, OW = window.out
        out = fold(add, 0.0, x, ROWS, taps_along(window, x.shape, ROWS), OH)  # (N, C, OH, W)
        out = fold(add, 0.0, out, COLS, taps_along(window, x.shape, COLS), OW)  # (N, C, OH, OW)
        out /= divisor
    return out


def avg_pool2d_grad_input(
    grad_out: Array,
    x_shape: tuple[int, ...],
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient of avg_pool2d by its input: each window shares its gradient out evenly.

        grad_x[n, c, h, w] = sum of grad_out[n, c, i, j] / divisor over the windows that saw it

    Linear; its own derivative is :func:`avg_pool2d`.

    Args:
        grad_out: (N, C, OH, OW).
        x_shape: (N, C, H, W), the shape of the input of avg_pool2d; the rest as avg_pool2d had it.

    Returns:
        grad_x, of shape ``x_shape``.

    Raises:
        ShapeError: the shapes do not belong together.

    >>> avg_pool2d_grad_input(np.array([[[[2.0, 4.0]]]]), (1, 1, 1, 3), (1, 2), stride=1)
    array([[[[1., 3., 2.]]]])
    """
    window = check_pool2d(
        "avg_pool2d_grad_input",
        x_shape,
        kernel_size,
        stride,
        padding,
        1,
        ceil_mode,
        divisor_override,
    )
    check_grad_out("avg_pool2d_grad_input", grad_out, (*x_shape[:2], *window.out))
    divisor = _divisor(window, grad_out, x_shape, count_include_pad, divisor_override)
    with np.errstate(over="ignore", invalid="ignore"):
        share = grad_out / divisor
        if _is_whole_plane(window, x_shape):
            return array_module(share).broadcast_to(share, x_shape).copy()
        for axis in (COLS, ROWS):  # (N, C, OH, OW) -> (N, C, OH, W) -> (N, C, H, W)
            disjoint = window.stride[axis - ROWS] >= window.kernel[axis - ROWS]
            share = spread(share, axis, taps_along(window, x_shape, axis), x_shape[axis], disjoint)
    return share


def adaptive_avg_pool2d(x: Array, output_size: int | Sequence[int | None] | None) -> Array:
    """Mean over bins laid out to give ``output_size``, whatever the size of the image.

        out[n, c, i, j] = mean of x[n, c, floor(i*H/OH):ceil((i+1)*H/OH), likewise the columns]

    Args:
        x: floats (N, C, H, W).
        output_size: one number, or (rows, columns); None keeps a size.

    Returns:
        out (N, C, OH, OW).

    Raises:
        ShapeError: a size below 1, or x is not (N, C, H, W).
        DTypeError: ``x`` is not floating.

    >>> adaptive_avg_pool2d(np.array([[[[1.0, 2.0, 6.0]]]]), (1, 2))
    array([[[[1.5, 4. ]]]])
    """
    OH, OW = check_adaptive_pool2d(x, output_size)
    H, W = x.shape[2:]
    if H % OH == 0 and W % OW == 0:
        return avg_pool2d(x, (H // OH, W // OW))
    with np.errstate(over="ignore", invalid="ignore"):
        return _bin_means(_bin_means(x, ROWS, OH), COLS, OW)


def adaptive_avg_pool2d_grad_input(grad_out: Array, x_shape: tuple[int, ...]) -> Array:
    """Gradient of adaptive_avg_pool2d by its input: each bin shares its gradient out evenly.

        grad_x[n, c, h, w] = sum of grad_out[n, c, i, j] / size of bin, over the bins with (h, w)

    Args:
        grad_out: (N, C, OH, OW).
        x_shape: (N, C, H, W), the shape of the input of adaptive_avg_pool2d.

    Returns:
        grad_x, of shape ``x_shape``.

    Raises:
        ShapeError: the shapes do not belong together.

    >>> adaptive_avg_pool2d_grad_input(np.array([[[[2.0, 4.0]]]]), (1, 1, 1, 3))
    array([[[[1., 3., 2.]]]])
    """
    operation = "adaptive_avg_pool2d_grad_input"
    OH, OW = check_adaptive_pool2d(x_shape, grad_out.shape[2:], operation=operation)
    check_grad_out(operation, grad_out, (*x_shape[:2], OH, OW))
    H, W = x_shape[2:]
    if H % OH == 0 and W % OW == 0:
        return avg_pool2d_grad_input(grad_out, x_shape, (H // OH, W // OW))
    with np.errstate(over="ignore", invalid="ignore"):
        return _spread_bins(_spread_bins(grad_out, COLS, W), ROWS, H)


def _some_planes_at_a_time(
    compute: Callable[[Array], tuple[Array, ...]], x: Array
) -> tuple[Array, ...]:
    """``compute(x)``, for planes that do not see each other, in chunks over threads."""
    N, C, H, W = x.shape
    bytes_each = 4 * x.itemsize * H * W  # the plane, and what the taps leave of it
    if len(chunks(N * C, bytes_each)) < 2:
        return compute(x)
    planes = x.reshape(N * C, 1, H, W)
    parts = map_chunks(lambda piece: compute(planes[piece]), N * C, bytes_each)
    concatenate = array_module(x).concatenate
    return tuple(
        concatenate(found).reshape(N, C, *found[0].shape[2:]) for found in zip(*parts, strict=True)
    )


def _least(dtype: Any) -> float:
    """What never wins against a number of this dtype."""
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min)
    return False if dtype.kind == "b" else -math.inf


def _bin_means(x: Array, axis: int, bins: int) -> Array:
    means = [
        x[at(axis, slice(start, end))].mean(axis=axis, keepdims=True)
        for start, end in adaptive_bins(x.shape[axis], bins)
    ]
    return array_module(x).concatenate(means, axis=axis)


def _spread_bins(grad: Array, axis: int, size: int) -> Array:
    """The adjoint of _bin_means."""
    shape = (*grad.shape[:axis], size, *grad.shape[axis + 1 :])
    spread = array_module(grad).zeros(shape, grad.dtype)
    for i, (start, end) in enumerate(adaptive_bins(size, grad.shape[axis])):
        spread[at(axis, slice(start, end))] += grad[at(axis, slice(i, i + 1))] / (end - start)
    return spread


def _as_numbers(hit: Array, small: Any) -> Array:
    """A mask as 0 and 1: the same memory when one byte is enough."""
    return hit.view(small) if small().itemsize == 1 else hit.astype(small)


def _indices(xp: Any, score: Array, window: PoolGeometry, W: int) -> Array:
    """From scores to places in the plane: where the window lies, and where in it the winner was."""
    (KH, KW), (SH, SW), (PH, PW), (DH, DW), (OH, OW) = window
    kh, kw = np.divmod(np.arange(KH * KW)[::-1], KW)  # score 1 is the last tap
    in_window = np.append(0, kh * DH * W + kw * DW)  # (1 + KH*KW,)
    first = (np.arange(OH) * SH - PH)[:, None] * W + (np.arange(OW) * SW - PW)  # (OH, OW)
    indices = xp.asarray(in_window, xp.int64)[score]
    indices += xp.asarray(first, xp.int64)
    return indices


def _flat_places(indices: Array, x_shape: tuple[int, ...]) -> Array:
    """Places in planes as places in the whole array (N*C*H*W,), one after the other."""
    N, C, H, W = x_shape
    planes = array_module(indices).arange(N * C, dtype="int64").reshape(N, C, 1, 1) * (H * W)
    return (indices.astype("int64", copy=False) + planes).ravel()  # uint64 would give floats


def _divisor(
    window: PoolGeometry, like: Array, x_shape: tuple[int, ...], count_pad: bool, given: int | None
) -> Any:
    """What each window is divided by: one number, or (OH, OW) where the edges count less."""
    if given is not None:
        return int(given)
    divisors = np.outer(*window_counts(window, x_shape, count_pad))
    if divisors.min() == divisors.max():
        return int(divisors[0, 0])
    return array_module(like).asarray(divisors, like.dtype)


def _is_whole_plane(window: PoolGeometry, x_shape: tuple[int, ...]) -> bool:
    return window.kernel == x_shape[2:] and window.padding == (0, 0)
