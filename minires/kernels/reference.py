"""Every kernel as its textbook loops: the page to read first, and the oracle of the tests.

NumPy arrays in, NumPy arrays out, written for the eye and not for the clock.  The fast kernels
promise the same names, the same arguments and the same numbers.  Pooling has its own page,
:mod:`minires.kernels.reference_pool`; its names are here too.

Letters: N images, C channels, H rows, W columns; a kernel has KH rows and KW columns, and an output
OH rows and OW columns.  S, P and D are stride, padding and dilation, with H or W for the axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.device import Array
from minires.kernels.checks import (
    check_batch_norm,
    check_cross_entropy,
    check_grad_out,
    check_softmax,
)
from minires.kernels.geometry import Pair, check_conv2d, pair
from minires.kernels.reference_pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_grad_input,
    avg_pool2d,
    avg_pool2d_grad_input,
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_grad_input,
)

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad_input",
    "avg_pool2d",
    "avg_pool2d_grad_input",
    "batch_norm",
    "batch_norm_grad",
    "batch_norm_stats",
    "batch_norm_train",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_grads",
    "cross_entropy",
    "cross_entropy_grad",
    "log_softmax",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_grad_input",
    "softmax",
]


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
    """Convolution: each output is the inner product of the weight and the window it lies on.

        out[n, o, i, j] = bias[o] + sum over c, kh, kw of weight[o, c, kh, kw] * x[n, c, h, w]
        with  h = i*SH - PH + kh*DH,  w = j*SW - PW + kw*DW,  and x = 0 outside the image

    (Strictly this is cross-correlation; a convolution would flip the weight.)  With groups, the
    output channels of a group see the input channels of that group only.

    x (N, C, H, W), weight (C_out, C/groups, KH, KW), bias (C_out,) or None; returns
    (N, C_out, OH, OW).  Raises ShapeError if the shapes do not fit, UsageError for a setting that
    makes no sense.

    >>> conv2d(np.arange(4.0).reshape(1, 1, 1, 4), np.array([[[[-1.0, 1.0]]]]))  # differences
    array([[[[1., 1., 1.]]]])
    """
    OH, OW = check_conv2d(x, weight, bias, stride, padding, dilation, groups)
    seen_by = _receptive_field(weight.shape, stride, dilation, groups)
    x = _pad(x, pair(padding, "padding"))  # (N, C, H + 2*PH, W + 2*PW)
    out = np.empty((x.shape[0], weight.shape[0], OH, OW), np.result_type(x, weight))
    for n, c_out, oh, ow in np.ndindex(out.shape):
        window = x[n][seen_by(c_out, oh, ow)]  # (C/groups, KH, KW)
        out[n, c_out, oh, ow] = (window * weight[c_out]).sum()
    if bias is not None:
        out += bias[:, None, None]  # (C_out, 1, 1)
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
    """Gradient of conv2d by its input: every output hands its gradient back to the window it saw.

        grad_x[n, c, h, w] = sum of grad_out[n, o, i, j] * weight[o, c, kh, kw]
        over all o, i, j, kh, kw for which conv2d multiplies that weight by x[n, c, h, w]

    Linear in both arguments: its derivatives are conv2d and conv2d_grad_weight.  As a forward
    operation it is known as transposed convolution.

    grad_out (N, C_out, OH, OW), weight (C_out, C/groups, KH, KW); returns x_shape (N, C, H, W).

    >>> conv2d_grad_input(np.ones((1, 1, 1, 3)), np.array([[[[-1.0, 1.0]]]]), (1, 1, 1, 4))
    array([[[[-1.,  0.,  0.,  1.]]]])
    """
    out_size = check_conv2d(
        x_shape, weight, None, stride, padding, dilation, groups, operation="conv2d_grad_input"
    )
    check_grad_out("conv2d_grad_input", grad_out, (x_shape[0], weight.shape[0], *out_size))
    seen_by = _receptive_field(weight.shape, stride, dilation, groups)
    (N, C, H, W), (PH, PW) = x_shape, pair(padding, "padding")
    grad_x = np.zeros((N, C, H + 2 * PH, W + 2 * PW), np.result_type(grad_out, weight))
    for n, c_out, oh, ow in np.ndindex(grad_out.shape):
        grad_x[n][seen_by(c_out, oh, ow)] += grad_out[n, c_out, oh, ow] * weight[c_out]
    return grad_x[:, :, PH : PH + H, PW : PW + W].copy()  # what fell on the padding is dropped


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
    """Gradient of conv2d by its weight: the windows, each weighted by its output's gradient.

        grad_weight[o, c, kh, kw] = sum over n, i, j of grad_out[n, o, i, j] * x[n, c, h, w]
        with h and w as in conv2d

    Linear in both arguments: its derivatives are conv2d and conv2d_grad_input.  The gradient by
    the bias needs no kernel: ``grad_out.sum(axis=(0, 2, 3))``.

    grad_out (N, C_out, OH, OW), x (N, C, H, W); returns weight_shape (C_out, C/groups, KH, KW).

    >>> x = np.arange(4.0).reshape(1, 1, 1, 4)
    >>> conv2d_grad_weight(np.ones((1, 1, 1, 3)), x, (1, 1, 1, 2))
    array([[[[3., 6.]]]])
    """
    out_size = check_conv2d(
        x, weight_shape, None, stride, padding, dilation, groups, operation="conv2d_grad_weight"
    )
    check_grad_out("conv2d_grad_weight", grad_out, (x.shape[0], weight_shape[0], *out_size))
    seen_by = _receptive_field(weight_shape, stride, dilation, groups)
    x = _pad(x, pair(padding, "padding"))
    grad_weight = np.zeros(weight_shape, np.result_type(grad_out, x))
    for n, c_out, oh, ow in np.ndindex(grad_out.shape):
        window = x[n][seen_by(c_out, oh, ow)]  # (C/groups, KH, KW)
        grad_weight[c_out] += grad_out[n, c_out, oh, ow] * window
    return grad_weight


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


def _receptive_field(
    weight_shape: tuple[int, ...], stride: int | Pair, dilation: int | Pair, groups: int
) -> Callable[[int, int, int], tuple[slice, slice, slice]]:
    """The part of a padded image (channels, rows, columns) that output (c_out, oh, ow) sees."""
    C_out, C_group, KH, KW = weight_shape
    (SH, SW), (DH, DW) = pair(stride, "stride"), pair(dilation, "dilation")

    def seen_by(c_out: int, oh: int, ow: int) -> tuple[slice, slice, slice]:
        first = c_out // (C_out // groups) * C_group
        top, left = oh * SH, ow * SW
        return (
            slice(first, first + C_group),
            slice(top, top + (KH - 1) * DH + 1, DH),
            slice(left, left + (KW - 1) * DW + 1, DW),
        )

    return seen_by


def _pad(x: Array, padding: Pair) -> Array:
    """x with PH rows of zeros above and below, PW columns left and right."""
    PH, PW = padding
    return np.pad(x, ((0, 0), (0, 0), (PH, PH), (PW, PW)))


def batch_norm_stats(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel, over the batch and all places.

        mean[c] = mean of x[:, c]          var[c] = mean of (x[:, c] - mean[c])^2

    Backward is in batch_norm_grad, where all of batch normalisation is one function of x.

    x (N, C) or (N, C, ...); returns mean and var, (C,) each, zeros for an empty batch.

    >>> batch_norm_stats(np.array([[1.0, 5.0], [3.0, 5.0]]))
    (array([2., 5.]), array([1., 0.]))
    """
    check_batch_norm(x, operation="batch_norm_stats")
    C = x.shape[1]
    mean, var = np.zeros(C, x.dtype), np.zeros(C, x.dtype)
    for c in range(C):
        if x[:, c].size:
            mean[c] = x[:, c].mean()
            var[c] = ((x[:, c] - mean[c]) ** 2).mean()
    return mean, var


def batch_norm_train(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """:func:`batch_norm` with the statistics of the batch, and these: out, mean, var.

    >>> batch_norm_train(np.array([[1.0], [3.0]]), eps=0.0)[0]
    array([[-1.],
           [ 1.]])
    """
    check_batch_norm(x, operation="batch_norm_train", weight=weight, bias=bias)
    mean, var = batch_norm_stats(x)
    return batch_norm(x, mean, var, weight, bias, eps=eps), mean, var


def batch_norm(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    training: bool = True,
) -> Array:
    """Bring each channel to mean 0 and variance 1, then scale and shift it.

        x_hat[:, c] = (x[:, c] - mean[c]) / sqrt(var[c] + eps)
        out[:, c] = weight[c] * x_hat[:, c] + bias[c]

    x (N, C) or (N, C, ...); mean, var, weight and bias (C,), the last two 1 and 0 if None; returns
    the shape of x, in the widest dtype of them all.  The fast version takes a shorter way if not
    ``training``; the numbers are the same.

    >>> batch_norm(np.array([[1.0], [3.0]]), np.array([2.0]), np.array([1.0]), eps=0.0)
    array([[-1.],
           [ 1.]])
    """
    check_batch_norm(x, mean=mean, var=var, weight=weight, bias=bias)
    given = [array for array in (x, mean, var, weight, bias) if array is not None]
    out = np.empty(x.shape, np.result_type(*given))
    for c in range(x.shape[1]):
        out[:, c] = (x[:, c] - mean[c]) / np.sqrt(var[c] + eps)
        if weight is not None:
            out[:, c] *= weight[c]
        if bias is not None:
            out[:, c] += bias[c]
    return out


def batch_norm_grad(
    grad_out: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    *,
    eps: float = 1e-5,
    training: bool = True,
) -> tuple[Array, Array, Array]:
    """Gradients of batch_norm by x, weight and bias.

    For each channel, with g = grad_out and x_hat as in batch_norm:

        grad_bias = sum of g               grad_weight = sum of g * x_hat
        grad_x = weight / sqrt(var + eps) * (g - mean of g - x_hat * mean of g * x_hat)

    The two means are what comes back through the statistics, which are functions of x when
    ``training``.  Otherwise they are constants, and the two terms are absent.

    grad_out and x (N, C) or (N, C, ...), the others (C,); returns grad_x in the shape of x,
    grad_weight and grad_bias (C,), all in the widest dtype that was given.

    >>> x, g = np.array([[1.0], [3.0]]), np.array([[1.0], [0.0]])
    >>> batch_norm_grad(g, x, np.array([2.0]), np.array([1.0]), eps=0.0, training=False)[0]
    array([[1.],
           [0.]])
    """
    check_batch_norm(x, operation="batch_norm_grad", mean=mean, var=var, weight=weight)
    check_grad_out("batch_norm_grad", grad_out, x.shape)
    C = x.shape[1]
    given = [array for array in (grad_out, x, mean, var, weight) if array is not None]
    dtype = np.result_type(*given)
    grad_x = np.empty(x.shape, dtype)
    grad_weight, grad_bias = np.zeros(C, dtype), np.zeros(C, dtype)
    for c in range(C):
        g = grad_out[:, c]
        std = np.sqrt(var[c] + eps)
        x_hat = (x[:, c] - mean[c]) / std
        grad_bias[c] = g.sum()
        grad_weight[c] = (g * x_hat).sum()
        if training and g.size:
            g = g - g.mean() - x_hat * (g * x_hat).mean()
        grad_x[:, c] = g / std if weight is None else weight[c] * g / std
    return grad_x, grad_weight, grad_bias


def softmax(x: Array, axis: int = -1) -> Array:
    """Positive numbers that sum to 1 along ``axis``.

        out = exp(x - max x) / sum of exp(x - max x)
        grad_x = out * (grad_out - sum of grad_out * out)

    The maximum cancels, and keeps exp from overflowing.  Any shape; the same comes back.

    >>> softmax(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    check_softmax("softmax", x, axis)
    return _along(axis, x, lambda row: np.exp(row - row.max()) / np.exp(row - row.max()).sum())


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Logarithm of softmax along ``axis``.

        out = x - max x - log of the sum of exp(x - max x)
        grad_x = grad_out - exp(out) * sum of grad_out

    Any shape; the same comes back.

    >>> log_softmax(np.array([0.0, -1e4]))
    array([     0., -10000.])
    """
    check_softmax("log_softmax", x, axis)

    def log_probabilities(row: Array) -> Array:
        shifted = row - row.max()
        return shifted - np.log(np.exp(shifted).sum())

    return _along(axis, x, log_probabilities)


def _along(axis: int, x: Array, function: Callable[[Any], Any]) -> Array:
    """``function`` applied to every row of x along ``axis``."""
    out = np.empty_like(x)
    if x.ndim == 0:  # one number is a row of one
        out[...] = function(x.reshape(1))[0]
        return out
    rows, out_rows = np.moveaxis(x, axis, -1), np.moveaxis(out, axis, -1)  # views
    for where in np.ndindex(rows.shape[:-1]):
        if rows[where].size:
            out_rows[where] = function(rows[where])
    return out


def cross_entropy(logits: Array, target: Array, ignore_index: int = -100) -> Array:
    """How surprised the predicted probabilities are by the true class, for each sample.

        losses[n] = -log_softmax(logits[n])[target[n]]          not averaged

    logits (N, C), target (N,) of whole numbers from 0 to C - 1, or ``ignore_index``, which costs 0;
    returns losses (N,).  Raises ShapeError for shapes or classes that do not fit, DTypeError for a
    target that is not whole.

    >>> cross_entropy(np.array([[0.0, 0.0]]), np.array([1])).round(4)  # log 2
    array([0.6931])
    """
    check_cross_entropy(logits, target, ignore_index)
    losses = np.zeros(len(logits), logits.dtype)
    for n, log_probabilities in enumerate(log_softmax(logits)):
        if target[n] != ignore_index:
            losses[n] = -log_probabilities[target[n]]
    return losses


def cross_entropy_grad(
    grad_losses: Array, logits: Array, target: Array, ignore_index: int = -100
) -> Array:
    """Gradient of cross_entropy by the logits: the probabilities, less 1 at the true class.

        grad_logits[n] = grad_losses[n] * (softmax(logits[n]) - one_hot(target[n]))

    grad_losses (N,), logits (N, C), target (N,); returns (N, C), 0 where the target is ignored.

    >>> cross_entropy_grad(np.array([1.0]), np.array([[0.0, 0.0]]), np.array([1]))
    array([[ 0.5, -0.5]])
    """
    check_cross_entropy(logits, target, ignore_index, operation="cross_entropy_grad")
    check_grad_out("cross_entropy_grad", grad_losses, target.shape, "grad_losses")
    grad = softmax(logits)
    for n in range(len(logits)):
        if target[n] == ignore_index:
            grad[n] = 0.0
            continue
        grad[n, target[n]] -= 1.0
        grad[n] *= grad_losses[n]
    return grad
