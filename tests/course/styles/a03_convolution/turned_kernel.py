"""Gradients as convolutions: of the image with grad_out, and of grad_out with the turned kernel."""

from math import floor

import numpy as np


def output_size(size, kernel, stride=1, padding=0, dilation=1):
    return floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1)


def pad(x, padding):
    rows = np.zeros((*x.shape[:2], padding, x.shape[3]), x.dtype)
    x = np.concatenate([rows, x, rows], axis=2)
    columns = np.zeros((*x.shape[:3], padding), x.dtype)
    return np.concatenate([columns, x, columns], axis=3)


def taps(padded, KH, KW, OH, OW, stride, dilation):
    """What each tap meets, one (N, C, OH, OW) after the other."""
    for kh in range(KH):
        for kw in range(KW):
            met = padded[:, :, kh * dilation :: stride, kw * dilation :: stride]
            yield kh, kw, met[:, :, :OH, :OW]


def sizes(x_shape, KH, KW, stride, padding, dilation):
    H, W = x_shape[2:]
    return (
        output_size(H, KH, stride, padding, dilation),
        output_size(W, KW, stride, padding, dilation),
    )


def im2col(x, KH, KW, stride=1, padding=0, dilation=1):
    OH, OW = sizes(x.shape, KH, KW, stride, padding, dilation)
    stack = [met for _, _, met in taps(pad(x, padding), KH, KW, OH, OW, stride, dilation)]
    columns = np.stack(stack, axis=2)  # (N, C, KH*KW, OH, OW)
    return columns.reshape(len(x), -1, OH * OW)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1):
    KH, KW = weight.shape[2:]
    OH, OW = sizes(x.shape, KH, KW, stride, padding, dilation)
    out = np.zeros((len(weight), len(x), OH, OW), x.dtype)
    if bias is not None:
        out += bias[:, None, None, None]
    for kh, kw, met in taps(pad(x, padding), KH, KW, OH, OW, stride, dilation):
        out += np.tensordot(weight[:, :, kh, kw], met, axes=(1, 1))  # (C_out, N, OH, OW)
    return out.swapaxes(0, 1)


def conv2d_grad_bias(grad_out):
    return grad_out.sum(3).sum(2).sum(0)


def conv2d_grad_weight(grad_out, x, weight_shape, stride=1, padding=0, dilation=1):
    # images and channels change places, and so do stride and dilation
    by_channel = conv2d(
        x.swapaxes(0, 1),
        grad_out.swapaxes(0, 1),
        stride=dilation,
        padding=padding,
        dilation=stride,
    )
    KH, KW = weight_shape[2:]
    return by_channel.swapaxes(0, 1)[:, :, :KH, :KW]


def col2im(columns, x_shape, KH, KW, stride=1, padding=0, dilation=1):
    # each row of the columns is a filter with a single tap on its own channel
    N, C = x_shape[:2]
    OH, OW = sizes(x_shape, KH, KW, stride, padding, dilation)
    picks = np.eye(C * KH * KW, dtype=columns.dtype).reshape(-1, C, KH, KW)
    brought = columns.reshape(N, C * KH * KW, OH, OW)
    return conv2d_grad_input(brought, picks, x_shape, stride, padding, dilation)


def conv2d_grad_input(grad_out, weight, x_shape, stride=1, padding=0, dilation=1):
    N, _, H, W = x_shape
    _, C_out, OH, OW = grad_out.shape
    KH, KW = weight.shape[2:]
    # spread grad_out over the padded image, with a border for the turned kernel to walk on
    top, left = dilation * (KH - 1), dilation * (KW - 1)
    spread = np.zeros((N, C_out, H + 2 * padding + top, W + 2 * padding + left), grad_out.dtype)
    ends = top + OH * stride, left + OW * stride
    spread[:, :, top : ends[0] : stride, left : ends[1] : stride] = grad_out
    turned = np.flip(weight, axis=(2, 3)).swapaxes(0, 1)
    return conv2d(spread, turned, dilation=dilation)[:, :, padding:, padding:][:, :, :H, :W]
