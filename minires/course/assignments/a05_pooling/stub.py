# %%
"""Assignment a05: pooling, forward and backward.

Write the functions below, in any order; each says in its docstring what it takes and returns, and
may call the ones above it. Replace each `raise NotImplementedError` with your code, and try what
you have with `minires course check` as often as you like: a task that still raises it is "not yet",
not wrong. NumPy and the standard library are all you need and all there is.

Letters: N images of C channels, H rows and W columns; windows of KH rows and KW columns; outputs of
OH rows and OW columns. kernel_size, stride and padding are pairs of ints, (rows, columns). A stride
of None means the kernel_size. Images and windows need not be square, windows may overlap or leave
pixels out, and the padding is at most half the kernel size. No number is NaN or infinite.

The next cell is given. You may use its two functions, or do without.
"""

import numpy as np


# %%
def windows(x, kernel_size, stride, padding, fill):
    """All windows of x (N, C, H, W), as (N, C, OH, OW, KH, KW); on the padding stands `fill`.

    >>> windows(np.array([[[[1.0, 2.0, 3.0]]]]), (1, 2), (1, 1), (0, 1), 0.0)
    array([[[[[[0., 1.]],
    <BLANKLINE>
              [[1., 2.]],
    <BLANKLINE>
              [[2., 3.]],
    <BLANKLINE>
              [[3., 0.]]]]]])
    """
    (KH, KW), (SH, SW), (PH, PW) = kernel_size, stride or kernel_size, padding
    N, C, H, W = x.shape
    OH, OW = (H + 2 * PH - KH) // SH + 1, (W + 2 * PW - KW) // SW + 1
    image = np.full((N, C, H + 2 * PH, W + 2 * PW), fill, x.dtype)
    image[:, :, PH : PH + H, PW : PW + W] = x
    seen = np.empty((N, C, OH, OW, KH, KW), x.dtype)
    for kh, kw in np.ndindex(KH, KW):
        seen[..., kh, kw] = image[:, :, kh : kh + OH * SH : SH, kw : kw + OW * SW : SW]
    return seen


def add_windows(parts, x_shape, stride, padding):
    """The adjoint of windows: every number is added to the pixel that it stands over.

    parts is (N, C, OH, OW, KH, KW), x_shape the tuple (N, C, H, W); returns (N, C, H, W). What
    stands over the padding is dropped.

    >>> add_windows(np.ones((1, 1, 1, 4, 1, 2)), (1, 1, 1, 3), (1, 1), (0, 1))
    array([[[[2., 2., 2.]]]])
    """
    OH, OW, KH, KW = parts.shape[2:]
    (SH, SW), (PH, PW) = stride or (KH, KW), padding
    N, C, H, W = x_shape
    image = np.zeros((N, C, H + 2 * PH, W + 2 * PW), parts.dtype)
    for kh, kw in np.ndindex(KH, KW):
        image[:, :, kh : kh + OH * SH : SH, kw : kw + OW * SW : SW] += parts[..., kh, kw]
    return image[:, :, PH : PH + H, PW : PW + W]


# %% task: max_pool2d
def max_pool2d(x, kernel_size, stride=None, padding=(0, 0)):
    """The largest number of each window of x (N, C, H, W); returns (N, C, OH, OW).

        out[n, c, oh, ow] = the largest x[n, c, oh*SH - PH + kh, ow*SW - PW + kw]

    of those kh < KH and kw < KW whose place lies inside the image: padding never wins.

    >>> max_pool2d(np.array([[[[1.0, 3.0, 2.0, -1.0]]]]), (1, 2))
    array([[[[3., 2.]]]])
    """
    raise NotImplementedError("max_pool2d")


# %% task: max_pool2d_indices
def max_pool2d_indices(x, kernel_size, stride=None, padding=(0, 0)):
    """Where the largest number of each window of x (N, C, H, W) stands.

    Returns whole numbers, (N, C, OH, OW): the place h*W + w in the plane of its own image and
    channel, counted without the padding. Of equal numbers the first in reading order wins, that is
    the one with the smallest h*W + w.

    >>> max_pool2d_indices(np.array([[[[1.0, 3.0, 3.0], [5.0, 0.0, 3.0]]]]), (2, 2), (1, 1))
    array([[[[3, 1]]]])
    """
    raise NotImplementedError("max_pool2d_indices")


# %% task: max_pool2d_grad_input
def max_pool2d_grad_input(grad_out, x, kernel_size, stride=None, padding=(0, 0)):
    """The gradient of a loss by the input of max_pool2d.

    grad_out is the gradient of the loss by the output, (N, C, OH, OW), and x the input of the
    forward pass, (N, C, H, W); returns (N, C, H, W). Each window gives its grad_out to the place of
    its largest number, of equal ones to the first in reading order, and to no other. A place that
    wins several windows gets the sum.

    >>> x = np.array([[[[1.0, 3.0, 3.0], [5.0, 0.0, 3.0]]]])
    >>> max_pool2d_grad_input(np.array([[[[1.0, 10.0]]]]), x, (2, 2), (1, 1))
    array([[[[ 0., 10.,  0.],
             [ 1.,  0.,  0.]]]])
    """
    raise NotImplementedError("max_pool2d_grad_input")


# %% task: avg_pool2d
def avg_pool2d(x, kernel_size, stride=None, padding=(0, 0), count_include_pad=True):
    """The mean of each window of x (N, C, H, W); returns (N, C, OH, OW).

        out[n, c, oh, ow] = (sum of x[n, c, oh*SH - PH + kh, ow*SW - PW + kw]) / divisor

    over the places of the window that lie inside the image. The divisor is KH*KW, the places on the
    padding included, if count_include_pad is True; if it is False it is the number of places of
    this window inside the image.

    >>> avg_pool2d(np.array([[[[2.0, 4.0, 6.0]]]]), (1, 2), (1, 2), (0, 1))
    array([[[[1., 5.]]]])
    >>> avg_pool2d(np.array([[[[2.0, 4.0, 6.0]]]]), (1, 2), (1, 2), (0, 1), False)
    array([[[[2., 5.]]]])
    """
    raise NotImplementedError("avg_pool2d")


# %% task: avg_pool2d_grad_input
def avg_pool2d_grad_input(
    grad_out, x_shape, kernel_size, stride=None, padding=(0, 0), count_include_pad=True
):
    """The gradient of a loss by the input of avg_pool2d.

    grad_out is the gradient of the loss by the output, (N, C, OH, OW), and x_shape the tuple
    (N, C, H, W); the others are those of the forward pass. Returns (N, C, H, W).

    >>> grad_out = np.array([[[[4.0, 6.0]]]])
    >>> avg_pool2d_grad_input(grad_out, (1, 1, 1, 3), (1, 2), (1, 2), (0, 1), False)
    array([[[[4., 3., 3.]]]])
    """
    raise NotImplementedError("avg_pool2d_grad_input")


# %% task: bins
def bins(size, count):
    """Where the `count` windows of adaptive pooling lie on an axis of `size` places.

    Returns a list of `count` pairs (begin, end) of whole numbers, end not included. Cut the axis,
    the line from 0 to size, into `count` parts of equal length: the window is all the places that
    its part touches, so neighbours share a place where a cut goes through it.

    >>> bins(5, 2)
    [(0, 3), (2, 5)]
    >>> bins(4, 2)
    [(0, 2), (2, 4)]
    """
    raise NotImplementedError("bins")


# %% task: adaptive_avg_pool2d
def adaptive_avg_pool2d(x, output_size):
    """The means of OH x OW windows that cover each plane of x (N, C, H, W).

    output_size is (OH, OW); window (oh, ow) is row window oh of bins(H, OH) by column window ow of
    bins(W, OW). Returns (N, C, OH, OW). With (1, 1) it is global average pooling.

    >>> adaptive_avg_pool2d(np.array([[[[1.0, 2.0, 6.0]]]]), (1, 2))
    array([[[[1.5, 4. ]]]])
    >>> adaptive_avg_pool2d(np.array([[[[1.0, 2.0, 6.0]]]]), (1, 1))
    array([[[[3.]]]])
    """
    raise NotImplementedError("adaptive_avg_pool2d")


# %% task: adaptive_avg_pool2d_grad_input
def adaptive_avg_pool2d_grad_input(grad_out, x_shape):
    """The gradient of a loss by the input of adaptive_avg_pool2d.

    grad_out is the gradient of the loss by the output, (N, C, OH, OW), and x_shape the tuple
    (N, C, H, W). Returns (N, C, H, W).

    >>> adaptive_avg_pool2d_grad_input(np.array([[[[2.0, 4.0]]]]), (1, 1, 1, 3))
    array([[[[1., 3., 2.]]]])
    """
    raise NotImplementedError("adaptive_avg_pool2d_grad_input")
