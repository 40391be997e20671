"""Convolution as one matrix product over columns, for any stride, padding, dilation and groups.

Every window of the image is copied into a column; the convolution is then the product of the
weight, one filter a row, with the matrix of columns.  The matrix is KH*KW times as large as the
image, so each thread makes it for one chunk of the batch at a time: a few images, or all of a
batch so small that it is one chunk (see minires.kernels.parallel).

Shapes, with n images in a chunk, G groups, K = C/G * KH*KW and L = OH*OW:

    columns   (n, G, K, L)
    weight    (G, C_out/G, K)
    out       (n, G, C_out/G, L)  =  weight @ columns
"""

from __future__ import annotations

from typing import Any

from minires.device import Array, array_module
from minires.kernels.checks import check_grad_out
from minires.kernels.geometry import Pair, check_conv2d, pair
from minires.kernels.parallel import map_chunks

__all__ = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight", "conv2d_grads"]


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Array:
    """out = weight @ columns(x) + bias; see :func:`minires.kernels.reference.conv2d`.

    >>> import numpy as np
    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), stride=1)[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    OH, OW = check_conv2d(x, weight, bias, stride, padding, dilation, groups)
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    N, C_out = x.shape[0], weight.shape[0]
    KH, KW = weight.shape[2:]
    xp = array_module(x)
    out = xp.empty((N, C_out, OH, OW), dtype=xp.result_type(x, weight))
    rows = weight.reshape(groups, C_out // groups, -1)  # (G, C_out/G, K)

    def work(piece: slice) -> None:
        columns = _columns(x[piece], KH, KW, OH, OW, stride, padding, dilation, groups)
        part = out[piece]
        xp.matmul(rows, columns, out=part.reshape(-1, groups, C_out // groups, OH * OW))
        if bias is not None:
            part += bias[:, None, None]

    map_chunks(work, N, _bytes_each(weight, OH, OW, groups), blas=True)
    return out


def conv2d_grad_input(
    grad_out: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Array:
    """grad_columns = weight^T @ grad_out, and each column added back to the window it came from.

    >>> import numpy as np
    >>> conv2d_grad_input(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), (1, 1, 3, 3))[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    OH, OW = check_conv2d(
        x_shape, weight, None, stride, padding, dilation, groups, operation="conv2d_grad_input"
    )
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    N, C, H, W = x_shape
    C_out, _, KH, KW = weight.shape
    check_grad_out("conv2d_grad_input", grad_out, (N, C_out, OH, OW))
    xp = array_module(grad_out)
    PH, PW = padding
    HP, WP = H + 2 * PH, W + 2 * PW  # every window lies inside the padded image
    grad_x = xp.empty(x_shape, dtype=xp.result_type(grad_out, weight))
    columns_of = weight.reshape(groups, C_out // groups, -1).transpose(0, 2, 1)  # (G, K, C_out/G)

    def work(piece: slice) -> None:
        g = grad_out[piece]
        n = g.shape[0]
        grad_columns = columns_of @ g.reshape(n, groups, C_out // groups, OH * OW)
        grad_columns = grad_columns.reshape(n, C, KH, KW, OH, OW)
        padded = xp.zeros((n, C, HP, WP), dtype=grad_x.dtype)
        for kh in range(KH):
            rows = slice(kh * dilation[0], kh * dilation[0] + stride[0] * OH, stride[0])
            for kw in range(KW):
                cols = slice(kw * dilation[1], kw * dilation[1] + stride[1] * OW, stride[1])
                padded[:, :, rows, cols] += grad_columns[:, :, kh, kw]
        grad_x[piece] = padded[:, :, PH : PH + H, PW : PW + W]

    map_chunks(work, N, _bytes_each(weight, OH, OW, groups), blas=True)
    return grad_x


def conv2d_grad_weight(
    grad_out: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Array:
    """grad_weight = sum over the images of grad_out @ columns(x)^T.

    >>> import numpy as np
    >>> conv2d_grad_weight(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3)), (1, 1, 2, 2))[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    OH, OW = check_conv2d(
        x, weight_shape, None, stride, padding, dilation, groups, operation="conv2d_grad_weight"
    )
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    C_out, _, KH, KW = weight_shape
    check_grad_out("conv2d_grad_weight", grad_out, (x.shape[0], C_out, OH, OW))
    xp = array_module(x)
    dtype = xp.result_type(grad_out, x)

    def work(piece: slice) -> Array:
        columns = _columns(x[piece], KH, KW, OH, OW, stride, padding, dilation, groups)
        g = grad_out[piece].reshape(-1, groups, C_out // groups, OH * OW)
        return (g @ columns.swapaxes(2, 3)).sum(axis=0)  # (G, C_out/G, K)

    bytes_each = dtype.itemsize * OH * OW * (weight_shape[1] * groups * KH * KW + C_out)
    parts = map_chunks(work, x.shape[0], bytes_each, blas=True)
    return (
        sum(parts, xp.zeros((), dtype=dtype)).reshape(weight_shape)
        if parts
        else xp.zeros(weight_shape, dtype=dtype)
    )


def conv2d_grads(
    grad_out: Array,
    x: Array,
    weight: Array,
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> tuple[Array, Array]:
    """Both gradients of conv2d, by its input and by its weight."""
    how: dict[str, Any] = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return (
        conv2d_grad_input(grad_out, weight, x.shape, **how),
        conv2d_grad_weight(grad_out, x, weight.shape, **how),
    )


def _columns(
    x: Array,
    KH: int,
    KW: int,
    OH: int,
    OW: int,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """The windows of ``x`` (n, C, H, W) as columns (n, G, C/G * KH*KW, OH*OW): a copy."""
    xp = array_module(x)
    n, C, H, W = x.shape
    PH, PW = padding
    if PH or PW:
        padded = xp.zeros((n, C, H + 2 * PH, W + 2 * PW), dtype=x.dtype)
        padded[:, :, PH : PH + H, PW : PW + W] = x
        x = padded
    sn, sc, sh, sw = x.strides
    windows = xp.lib.stride_tricks.as_strided(
        x,
        (n, C, KH, KW, OH, OW),
        (sn, sc, sh * dilation[0], sw * dilation[1], sh * stride[0], sw * stride[1]),
    )
    return windows.reshape(n, groups, C // groups * KH * KW, OH * OW)


def _bytes_each(weight: Array, OH: int, OW: int, groups: int) -> int:
    """Working set of one image: its columns and its output."""
    C_out, C_group, KH, KW = weight.shape
    return int(weight.itemsize * OH * OW * (C_group * groups * KH * KW + C_out))
