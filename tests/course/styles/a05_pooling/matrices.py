"""Equations (1) and (2) with the shares as real matrices, (windows, pixels): one transposed."""

from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import numpy as np
from numpy.lib.stride_tricks import as_strided


def place_numbers(x_shape, kernel_size, stride, padding):
    """(OH, OW, KH*KW): the number of each place of each window, -1 on the padding."""
    (H, W), (KH, KW), (PH, PW) = x_shape[2:], kernel_size, padding
    SH, SW = stride if stride is not None else kernel_size
    numbers = np.pad(np.arange(H * W).reshape(H, W), [(PH, PH), (PW, PW)], constant_values=-1)
    OH, OW = (numbers.shape[0] - KH) // SH + 1, (numbers.shape[1] - KW) // SW + 1
    down, along = numbers.strides
    seen = as_strided(numbers, (OH, OW, KH, KW), (SH * down, SW * along, down, along))
    return seen.reshape(OH, OW, KH * KW)


def of_windows(x, kernel_size, stride, padding):
    """(N, C, OH, OW, KH*KW), with -inf on the padding, and the places."""
    places = place_numbers(x.shape, kernel_size, stride, padding)
    flat = x.reshape(*x.shape[:2], -1)
    flat = np.concatenate([flat, np.full((*x.shape[:2], 1), -np.inf)], axis=2)  # -1 reads -inf
    return flat[:, :, places], places


def max_pool2d(x, kernel_size, stride=None, padding=(0, 0)):
    return np.max(of_windows(x, kernel_size, stride, padding)[0], axis=-1)


def max_pool2d_indices(x, kernel_size, stride=None, padding=(0, 0)):
    seen, places = of_windows(x, kernel_size, stride, padding)
    winning = np.argmax(seen, axis=-1)[..., None]
    return np.take_along_axis(np.broadcast_to(places, seen.shape), winning, axis=-1)[..., 0]


def max_pool2d_grad_input(grad_out, x, kernel_size, stride=None, padding=(0, 0)):
    indices = max_pool2d_indices(x, kernel_size, stride, padding)
    N, C, H, W = x.shape
    shares = indices.reshape(N, C, -1, 1) == np.arange(H * W)  # (N, C, windows, pixels)
    return np.einsum("ncq,ncqp->ncp", grad_out.reshape(N, C, -1), shares).reshape(x.shape)


def mean_shares(x_shape, kernel_size, stride, padding, count_include_pad):
    places = place_numbers(x_shape, kernel_size, stride, padding)
    OH, OW, K = places.shape
    lies = places.reshape(-1, K, 1) == np.arange(x_shape[2] * x_shape[3])
    lies = lies.sum(axis=1)  # (windows, pixels)
    divisor = K if count_include_pad else lies.sum(axis=1, keepdims=True)
    return lies / divisor, (OH, OW)


def avg_pool2d(x, kernel_size, stride=None, padding=(0, 0), count_include_pad=True):
    shares, size = mean_shares(x.shape, kernel_size, stride, padding, count_include_pad)
    return (x.reshape(*x.shape[:2], -1) @ shares.T).reshape(*x.shape[:2], *size)


def avg_pool2d_grad_input(
    grad_out, x_shape, kernel_size, stride=None, padding=(0, 0), count_include_pad=True
):
    shares, _ = mean_shares(x_shape, kernel_size, stride, padding, count_include_pad)
    return (grad_out.reshape(*x_shape[:2], -1) @ shares).reshape(x_shape)


def bins(size, count):
    cuts = [Fraction(i * size, count) for i in range(count + 1)]
    return [(floor(a), ceil(b)) for a, b in pairwise(cuts)]


def axis_shares(size, count):
    """(count, size): the shares of adaptive pooling along one axis; both axes are a product."""
    shares = np.zeros((count, size))
    for row, (begin, end) in zip(shares, bins(size, count), strict=True):
        row[begin:end] = 1 / (end - begin)
    return shares


def adaptive_avg_pool2d(x, output_size):
    rows, cols = axis_shares(x.shape[2], output_size[0]), axis_shares(x.shape[3], output_size[1])
    return rows @ x @ cols.T


def adaptive_avg_pool2d_grad_input(grad_out, x_shape):
    rows = axis_shares(x_shape[2], grad_out.shape[2])
    cols = axis_shares(x_shape[3], grad_out.shape[3])
    return rows.T @ grad_out @ cols
