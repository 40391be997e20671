"""Pooling as its textbook loops; the second page of :mod:`minires.kernels.reference`.

Letters: N images, C channels, H rows, W columns; a window has KH rows and KW columns, and an output
OH rows and OW columns.  S, P and D are stride, padding and dilation, with H or W for the axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from minires.device import Array
from minires.kernels.checks import check_floating, check_grad_out, check_indices
from minires.kernels.geometry import (
    Pair,
    PoolGeometry,
    adaptive_bins,
    check_adaptive_pool2d,
    check_pool2d,
)

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
    order wins; NaN beats every number, and a later NaN an earlier one.  ``stride`` None means
    kernel_size.

    x (N, C, H, W); returns out (N, C, OH, OW) and indices, int64 of the same shape: ``h*W + w``, a
    place in the plane (H, W).  Raises ShapeError if a window does not fit or sees padding alone,
    UsageError for padding of more than half the kernel.

    >>> max_pool2d(np.array([[[[1.0, 5.0, 2.0], [4.0, 5.0, 0.0]]]]), 2, stride=1)
    (array([[[[5., 5.]]]]), array([[[[1, 1]]]]))
    """
    window = check_pool2d("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    (KH, KW), (SH, SW), (PH, PW), (DH, DW), out_size = window
    N, C, H, W = x.shape
    out = np.empty((N, C, *out_size), x.dtype)
    indices = np.empty(out.shape, np.int64)
    for n, c, oh, ow in np.ndindex(out.shape):
        best, where = None, -1
        for kh, kw in np.ndindex(KH, KW):
            h, w = oh * SH - PH + kh * DH, ow * SW - PW + kw * DW
            if 0 <= h < H and 0 <= w < W:
                value = x[n, c, h, w]
                if best is None or value > best or np.isnan(value):
                    best, where = value, h * W + w
        out[n, c, oh, ow], indices[n, c, oh, ow] = best, where
    return out, indices


def max_pool2d_grad_input(
    grad_out: Array, indices: Array, x_shape: tuple[int, ...], window: PoolGeometry | None = None
) -> Array:
    """Gradient of max_pool2d by its input: each winner receives the gradient of its window.

        grad_x[n, c, p] = sum of grad_out[n, c, i, j] where indices[n, c, i, j] == p

    Where windows overlap, one place may win several of them, and adds their gradients up.

    grad_out and indices (N, C, OH, OW), ``window`` as check_pool2d gave it (the loops need none);
    returns x_shape (N, C, H, W).

    >>> max_pool2d_grad_input(np.array([[[[10.0, 1.0]]]]), np.array([[[[1, 1]]]]), (1, 1, 1, 3))
    array([[[[ 0., 11.,  0.]]]])
    """
    check_indices("max_pool2d_grad_input", x_shape, indices, window)
    check_grad_out("max_pool2d_grad_input", grad_out, indices.shape)
    W = x_shape[3]
    grad_x = np.zeros(x_shape, grad_out.dtype)
    for n, c, oh, ow in np.ndindex(grad_out.shape):
        h, w = divmod(indices[n, c, oh, ow], W)
        grad_x[n, c, h, w] += grad_out[n, c, oh, ow]
    return grad_x


def max_pool2d_gather(x: Array, indices: Array) -> Array:
    """Pick the values at the indices: the adjoint of max_pool2d_grad_input.

        out[n, c, i, j] = x[n, c, indices[n, c, i, j]]          with the planes of x flattened

    Second derivatives need it: the winners of one forward pass, read off another array.

    x (N, C, H, W), indices (N, C, OH, OW); returns (N, C, OH, OW).

    >>> max_pool2d_gather(np.array([[[[7.0, 8.0, 9.0]]]]), np.array([[[[1, 1]]]]))
    array([[[[8., 8.]]]])
    """
    check_indices("max_pool2d_gather", x, indices)
    W = x.shape[3]
    out = np.empty(indices.shape, x.dtype)
    for n, c, oh, ow in np.ndindex(out.shape):
        h, w = divmod(indices[n, c, oh, ow], W)
        out[n, c, oh, ow] = x[n, c, h, w]
    return out


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

    The divisor is the number of places in the window, those on the padding included unless
    ``count_include_pad`` is False; what hangs over beyond the padding (``ceil_mode``) never counts.
    ``divisor_override`` replaces it.

    x (N, C, H, W); returns (N, C, OH, OW).  Raises as max_pool2d does.

    >>> avg_pool2d(np.array([[[[1.0, 3.0, 8.0]]]]), (1, 2), ceil_mode=True)
    array([[[[2., 8.]]]])
    """
    window = check_pool2d(
        "avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode, divisor_override
    )
    check_floating("avg_pool2d", x=x)
    out = np.empty((*x.shape[:2], *window.out), x.dtype)
    for oh, ow, rows, cols, divisor in _windows(
        window, x.shape, count_include_pad, divisor_override
    ):
        out[:, :, oh, ow] = x[:, :, rows, cols].sum(axis=(2, 3)) / divisor
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

    grad_out (N, C, OH, OW); returns x_shape (N, C, H, W).

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
    grad_x = np.zeros(x_shape, grad_out.dtype)
    for oh, ow, rows, cols, divisor in _windows(
        window, x_shape, count_include_pad, divisor_override
    ):
        grad_x[:, :, rows, cols] += grad_out[:, :, oh, ow, None, None] / divisor
    return grad_x


def _windows(
    window: PoolGeometry,
    x_shape: tuple[int, ...],
    count_include_pad: bool,
    divisor_override: int | None,
) -> Iterator[tuple[int, int, slice, slice, int]]:
    """Each average's position, the rows and columns of the image it sees, and its divisor."""
    (KH, KW), (SH, SW), (PH, PW), _, (OH, OW) = window
    H, W = x_shape[2:]
    for oh, ow in np.ndindex(OH, OW):
        top, left = oh * SH - PH, ow * SW - PW
        bottom, right = min(top + KH, H + PH), min(left + KW, W + PW)
        size = (bottom - top) * (right - left)  # places on the padding included
        top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, H), min(right, W)
        if not count_include_pad:
            size = (bottom - top) * (right - left)
        yield oh, ow, slice(top, bottom), slice(left, right), int(divisor_override or size)


def adaptive_avg_pool2d(x: Array, output_size: int | Sequence[int | None] | None) -> Array:
    """Mean over bins laid out to give ``output_size``, whatever the size of the image.

        out[n, c, i, j] = mean of x[n, c, floor(i*H/OH):ceil((i+1)*H/OH), likewise the columns]

    The bins overlap where the output's size does not divide the image's.  Size 1 is the mean of
    the plane.

    x (N, C, H, W); output_size is one number or a pair, None keeps a size; returns (N, C, OH, OW).

    >>> adaptive_avg_pool2d(np.array([[[[1.0, 2.0, 6.0]]]]), (1, 2))
    array([[[[1.5, 4. ]]]])
    """
    OH, OW = check_adaptive_pool2d(x, output_size)
    H, W = x.shape[2:]
    out = np.empty((*x.shape[:2], OH, OW), x.dtype)
    for oh, (top, bottom) in enumerate(adaptive_bins(H, OH)):
        for ow, (left, right) in enumerate(adaptive_bins(W, OW)):
            out[:, :, oh, ow] = x[:, :, top:bottom, left:right].mean(axis=(2, 3))
    return out


def adaptive_avg_pool2d_grad_input(grad_out: Array, x_shape: tuple[int, ...]) -> Array:
    """Gradient of adaptive_avg_pool2d by its input: each bin shares its gradient out evenly.

        grad_x[n, c, h, w] = sum of grad_out[n, c, i, j] / size of bin, over the bins with (h, w)

    grad_out (N, C, OH, OW); returns x_shape (N, C, H, W).

    >>> adaptive_avg_pool2d_grad_input(np.array([[[[2.0, 4.0]]]]), (1, 1, 1, 3))
    array([[[[1., 3., 2.]]]])
    """
    operation = "adaptive_avg_pool2d_grad_input"
    OH, OW = check_adaptive_pool2d(x_shape, grad_out.shape[2:], operation=operation)
    check_grad_out(operation, grad_out, (*x_shape[:2], OH, OW))
    grad_x = np.zeros(x_shape, grad_out.dtype)
    for oh, (top, bottom) in enumerate(adaptive_bins(x_shape[2], OH)):
        for ow, (left, right) in enumerate(adaptive_bins(x_shape[3], OW)):
            share = grad_out[:, :, oh, ow, None, None] / ((bottom - top) * (right - left))
            grad_x[:, :, top:bottom, left:right] += share  # (N, C, 1, 1) to the whole bin
    return grad_x
