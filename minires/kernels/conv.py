"""The fast convolution: shifted products where the stride is 1, chunked columns elsewhere.

Convolution and its two gradients are three maps that are linear in each argument, and each is the
derivative of the others:

    out         = conv2d(x, weight)
    grad_x      = conv2d_grad_input(grad_out, weight)      the adjoint in x
    grad_weight = conv2d_grad_weight(grad_out, x)          the adjoint in weight
"""

from __future__ import annotations

from minires.device import Array
from minires.errors import UsageError
from minires.kernels import im2col, shifted
from minires.kernels.geometry import Pair, pair

__all__ = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight"]


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
    """Cross-correlation of images with filters.

        out[n, o, i, j] = bias[o] + sum over c, kh, kw of
            weight[o, c, kh, kw] * x[n, c, i*stride + kh*dilation - padding, j*...]

    Args:
        x: images (N, C, H, W).
        weight: filters (C_out, C/groups, KH, KW).
        bias: (C_out,) or None.
        stride, padding, dilation: a number, or one for the rows and one for the columns.
        groups: channels are split in this many groups that do not see each other.

    Returns:
        (N, C_out, OH, OW) with OH = (H + 2*padding - dilation*(KH-1) - 1) // stride + 1.

    Raises:
        ShapeError: the channels do not fit, or the kernel is larger than the padded image.
        DTypeError: an array is not floating.

    >>> import numpy as np
    >>> conv2d(np.ones((1, 3, 8, 8)), np.ones((4, 3, 3, 3)), stride=2, padding=1).shape
    (1, 4, 4, 4)
    """
    if _is_one(stride):
        return shifted.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=groups)
    return im2col.conv2d(
        x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


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
    """The gradient by the images: each output sends its gradient back to the window it read.

        grad_x[n, c, i*stride + kh*dilation - padding, j*...] +=
            weight[o, c, kh, kw] * grad_out[n, o, i, j]

    Args:
        grad_out: (N, C_out, OH, OW).
        weight: (C_out, C/groups, KH, KW).
        x_shape: shape of the images; a stride can hide it.
        stride, padding, dilation, groups: as in :func:`conv2d`.

    Returns:
        grad_x, of shape ``x_shape``.

    >>> import numpy as np
    >>> ones = np.ones((1, 1, 2, 2))
    >>> conv2d_grad_input(ones, ones, (1, 1, 4, 4), stride=2)[0, 0]
    array([[1., 1., 1., 1.],
           [1., 1., 1., 1.],
           [1., 1., 1., 1.],
           [1., 1., 1., 1.]])
    """
    if _is_one(stride) and shifted.takes_padding(weight.shape, padding, dilation):
        return shifted.conv2d_grad_input(
            grad_out, weight, x_shape, padding=padding, dilation=dilation, groups=groups
        )
    return im2col.conv2d_grad_input(
        grad_out, weight, x_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


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
    """The gradient by the filters: what each tap read, weighted by the gradient it led to.

        grad_weight[o, c, kh, kw] = sum over n, i, j of
            grad_out[n, o, i, j] * x[n, c, i*stride + kh*dilation - padding, j*...]

    Args:
        grad_out: (N, C_out, OH, OW).
        x: the images (N, C, H, W).
        weight_shape: (C_out, C/groups, KH, KW).
        stride, padding, dilation, groups: as in :func:`conv2d`.

    Returns:
        grad_weight, of shape ``weight_shape``.

    >>> import numpy as np
    >>> conv2d_grad_weight(np.ones((2, 1, 3, 3)), np.ones((2, 1, 3, 3)), (1, 1, 1, 1))
    array([[[[18.]]]])
    """
    if _is_one(stride):
        return shifted.conv2d_grad_weight(
            grad_out, x, weight_shape, padding=padding, dilation=dilation, groups=groups
        )
    return im2col.conv2d_grad_weight(
        grad_out, x, weight_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def _is_one(stride: int | Pair) -> bool:
    """Whether the stride is 1; of one that makes no sense, im2col says so in its turn."""
    try:
        return pair(stride) == (1, 1)
    except UsageError:
        return False
