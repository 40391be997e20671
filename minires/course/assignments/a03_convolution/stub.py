# %%
"""Assignment a03: convolution, forward and backward.

Write the functions below, in any order; each says in its docstring what it takes and returns. A
function may call the ones above it. Replace each `raise NotImplementedError` with your code, and
try what you have with `minires course check` as often as you like: a task that still raises it is
"not yet", not wrong. NumPy and the standard library are all you need and all there is.

Kernels and images need not be square, and pixels may be left over behind the last window.

Letters: N images of C channels, H rows and W columns; C_out filters of KH rows and KW columns;
outputs of OH rows and OW columns.
"""

import numpy as np


# %% task: output_size
def output_size(size, kernel, stride=1, padding=0, dilation=1):
    """How many outputs a convolution has along one axis, a whole number.

    The axis has `size` pixels, and `padding` zeros are put before it and as many behind it. The
    kernel has `kernel` taps, `dilation` pixels apart, and is laid down every `stride` pixels as
    long as all of its taps lie on the padded axis. All are ints; there is room for at least one
    output.

    >>> output_size(5, 3)
    3
    >>> output_size(8, 3, stride=2, padding=1)
    4
    """
    raise NotImplementedError("output_size")


# %% task: pad
def pad(x, padding):
    """x with `padding` rows and columns of zeros on all four sides of each image.

    x is (N, C, H, W), padding an int, possibly 0; returns (N, C, H + 2*padding, W + 2*padding).

    >>> pad(np.array([[[[1.0, 2.0]]]]), 1)
    array([[[[0., 0., 0., 0.],
             [0., 1., 2., 0.],
             [0., 0., 0., 0.]]]])
    """
    raise NotImplementedError("pad")


# %% task: im2col
def im2col(x, KH, KW, stride=1, padding=0, dilation=1):
    """The windows of each image as the columns of a matrix.

    x is (N, C, H, W); returns (N, C*KH*KW, OH*OW). With P for the padding, S for the stride and D
    for the dilation, the entry of image n in row (c, kh, kw) and column (oh, ow) is

        x[n, c, oh*S - P + kh*D, ow*S - P + kw*D],   and 0 where that lies outside the image.

    Rows are in the order of (c, kh, kw) with kw running fastest, columns in that of (oh, ow) with
    ow running fastest.

    >>> im2col(np.arange(6.0).reshape(1, 1, 2, 3), 2, 2)
    array([[[0., 1.],
            [1., 2.],
            [3., 4.],
            [4., 5.]]])
    """
    raise NotImplementedError("im2col")


# %% task: conv2d
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1):
    """The convolution of N images with C_out filters.

        out[n, o, oh, ow] = bias[o] + sum over c, kh, kw of
            weight[o, c, kh, kw] * x[n, c, oh*S - P + kh*D, ow*S - P + kw*D]

    with x = 0 outside the image, and without the bias where bias is None. x is (N, C, H, W), weight
    (C_out, C, KH, KW), bias (C_out,) or None; returns (N, C_out, OH, OW).

    >>> conv2d(np.arange(6.0).reshape(1, 1, 2, 3), np.ones((1, 1, 2, 2)), np.array([100.0]))
    array([[[[108., 112.]]]])
    """
    raise NotImplementedError("conv2d")


# %% task: conv2d_grad_bias
def conv2d_grad_bias(grad_out):
    """The gradient of a loss by the bias of conv2d.

    grad_out is the gradient of the loss by the output, (N, C_out, OH, OW); returns (C_out,).

    >>> conv2d_grad_bias(np.array([[[[1.0, 2.0]], [[10.0, 20.0]]]]))
    array([ 3., 30.])
    """
    raise NotImplementedError("conv2d_grad_bias")


# %% task: conv2d_grad_weight
def conv2d_grad_weight(grad_out, x, weight_shape, stride=1, padding=0, dilation=1):
    """The gradient of a loss by the weight of conv2d.

    grad_out is the gradient of the loss by the output, (N, C_out, OH, OW), x the input (N, C, H, W)
    and weight_shape the tuple (C_out, C, KH, KW); stride, padding and dilation are those of the
    forward pass. Returns an array of weight_shape.

    >>> x = np.arange(6.0).reshape(1, 1, 2, 3)
    >>> conv2d_grad_weight(np.array([[[[1.0, 10.0]]]]), x, (1, 1, 2, 2))
    array([[[[10., 21.],
             [43., 54.]]]])
    """
    raise NotImplementedError("conv2d_grad_weight")


# %% task: col2im
def col2im(columns, x_shape, KH, KW, stride=1, padding=0, dilation=1):
    """The adjoint of im2col: every entry of the columns is added to the pixel it was read from.

        image[n, c, h, w] = sum of columns[n, (c, kh, kw), (oh, ow)] over all kh, kw, oh, ow with
            h = oh*S - P + kh*D  and  w = ow*S - P + kw*D

    What was read from the padding is dropped, and a pixel that no window meets is 0. columns is
    (N, C*KH*KW, OH*OW) in the order of im2col, x_shape the tuple (N, C, H, W) of the image that
    im2col would have got; returns (N, C, H, W).

    >>> col2im(np.ones((1, 4, 2)), (1, 1, 2, 3), 2, 2)
    array([[[[1., 2., 1.],
             [1., 2., 1.]]]])
    """
    raise NotImplementedError("col2im")


# %% task: conv2d_grad_input
def conv2d_grad_input(grad_out, weight, x_shape, stride=1, padding=0, dilation=1):
    """The gradient of a loss by the input of conv2d.

    grad_out is the gradient of the loss by the output, (N, C_out, OH, OW), weight (C_out, C, KH,
    KW) and x_shape the tuple (N, C, H, W); stride, padding and dilation are those of the forward
    pass. Returns an array of x_shape.

    >>> weight = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> conv2d_grad_input(np.array([[[[1.0, 10.0]]]]), weight, (1, 1, 2, 3))
    array([[[[ 1., 12., 20.],
             [ 3., 34., 40.]]]])
    """
    raise NotImplementedError("conv2d_grad_input")
