"""The fast convolution and its two gradients, in chunks of the batch over threads.

Convolution and its gradients are three maps that are linear in each argument, and each is the
derivative of the others:

    out         = conv2d(x, weight)
    grad_x      = conv2d_grad_input(grad_out, weight)      the adjoint in x
    grad_weight = conv2d_grad_weight(grad_out, x)          the adjoint in weight

Each says here where its taps read from; how the numbers are multiplied is
:mod:`minires.kernels.shifted`.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import NamedTuple

from minires.device import Array, array_module
from minires.kernels.checks import check_floating, check_grad_out
from minires.kernels.geometry import Pair, check_conv2d, pair
from minires.kernels.parallel import map_pieces
from minires.kernels.pieces import Piece, cut, filters_in_groups, in_groups, once_a_share
from minires.kernels.shifted import (
    Reading,
    correlate,
    correlate_with,
    matrices,
    turned_matrices,
    working_set,
)

__all__ = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight", "conv2d_grads"]


class _Setting(NamedTuple):
    """What a convolution was asked for, once it has been checked."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


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
    size = check_conv2d(x, weight, bias, stride, padding, dilation, groups)
    how = _Setting(pair(stride), pair(padding), pair(dilation), groups)
    N = len(x)
    C_out = weight.shape[0]
    out = array_module(x).empty((N, C_out, *size), dtype=array_module(x).result_type(x, weight))
    reading = _forward(weight.shape[2:], how)
    filters = filters_in_groups(weight, groups)
    weights = once_a_share(lambda share: matrices(filters[:, share]))

    def work(piece: Piece) -> None:
        part = piece.of_channels(out, groups)
        share = piece.share(C_out // groups)
        correlate(in_groups(x[piece.images], groups), weights(share), reading, part)
        if bias is not None:
            part += bias.reshape(groups, C_out // groups, 1, 1)[:, share]

    bytes_each = out.itemsize * working_set(x.shape[1], C_out, reading, *size)
    pieces = cut(N, bytes_each, out.size * weight[0].size, C_out // groups)
    map_pieces(work, pieces, blas=True)
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
    size = check_conv2d(
        x_shape, weight, None, stride, padding, dilation, groups, operation="conv2d_grad_input"
    )
    how = _Setting(pair(stride), pair(padding), pair(dilation), groups)
    check_grad_out("conv2d_grad_input", grad_out, (x_shape[0], weight.shape[0], *size))
    by_input = _ByInput(grad_out, weight, x_shape, how)
    products = grad_out.size * weight[0].size
    pieces = cut(x_shape[0], by_input.bytes_each, products, weight.shape[1])
    map_pieces(by_input.work, pieces, blas=True)
    return by_input.grad_x


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
    size = check_conv2d(
        x, weight_shape, None, stride, padding, dilation, groups, operation="conv2d_grad_weight"
    )
    how = _Setting(pair(stride), pair(padding), pair(dilation), groups)
    check_grad_out("conv2d_grad_weight", grad_out, (x.shape[0], weight_shape[0], *size))
    by_weight = _ByWeight(grad_out, x, weight_shape, how)
    products = grad_out.size * math.prod(weight_shape[1:])
    pieces = cut(len(x), by_weight.bytes_each, products, weight_shape[0] // groups)
    return by_weight.total(pieces, map_pieces(by_weight.work, pieces, blas=True))


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
    """Both gradients, ``conv2d_grad_input`` and ``conv2d_grad_weight``, in one pass over the batch.

    Each chunk of grad_out is used for both while it is in the cache, and the threads change hands
    once instead of twice.  The numbers are those of the two maps, up to the order of the sums over
    chunks.

    Args:
        grad_out: (N, C_out, OH, OW).
        x: the images (N, C, H, W).
        weight: (C_out, C/groups, KH, KW).
        stride, padding, dilation, groups: as in :func:`conv2d`.

    Returns:
        grad_x and grad_weight, of the shapes of ``x`` and ``weight``.

    >>> import numpy as np
    >>> one = np.ones((1, 1, 1, 1))
    >>> grad_x, grad_weight = conv2d_grads(3 * one, 5 * one, 7 * one)
    >>> grad_x.item(), grad_weight.item()
    (21.0, 15.0)
    """
    size = check_conv2d(
        x.shape, weight, None, stride, padding, dilation, groups, operation="conv2d_grad_input"
    )
    how = _Setting(pair(stride), pair(padding), pair(dilation), groups)
    check_grad_out("conv2d_grad_input", grad_out, (x.shape[0], weight.shape[0], *size))
    check_floating("conv2d_grad_weight", x=x)
    by_input = _ByInput(grad_out, weight, x.shape, how)
    by_weight = _ByWeight(grad_out, x, weight.shape, how)

    def work(piece: Piece) -> Array:
        by_input.work(piece)
        return by_weight.work(piece)

    bytes_each = max(by_input.bytes_each, by_weight.bytes_each)
    channels = min(weight.shape[1], len(weight) // groups)
    pieces = cut(len(x), bytes_each, 2 * grad_out.size * weight[0].size, channels)
    return by_input.grad_x, by_weight.total(pieces, map_pieces(work, pieces, blas=True))


class _ByInput:
    """The gradient by the input, a chunk at a time: S*S convolutions of grad_out.

    Pixel h = S*q + a - P belongs to remainder a.  Output oh reads it with kernel row kh if
    oh*S + kh*D = h + P, so only kernel rows with kh*D = a modulo S do, each from oh =
    q + (a - kh*D)/S: a convolution of grad_out with stride 1, of those rows of the kernel.
    """

    def __init__(self, grad_out: Array, weight: Array, x_shape: tuple[int, ...], how: _Setting):
        xp = array_module(grad_out)
        self.grad_out, self.groups = grad_out, how.groups
        self.grad_x = xp.empty(x_shape, dtype=xp.result_type(grad_out, weight))
        filters = filters_in_groups(weight, how.groups)
        rows = _remainders(weight.shape[2], x_shape[2], how, axis=0)
        columns = _remainders(weight.shape[3], x_shape[3], how, axis=1)
        self.parts = [
            (
                once_a_share(partial(_turned, filters, r.taps, c.taps)),
                Reading(r.offsets, c.offsets, 1, 1),
                (r.pixels, c.pixels),
            )
            for r in rows
            for c in columns
        ]
        sizes = (
            working_set(weight.shape[0], x_shape[1], reading, *_size(pixels, x_shape))
            for _, reading, pixels in self.parts
        )
        self.bytes_each = self.grad_x.itemsize * max(sizes, default=0)

    def work(self, piece: Piece) -> None:
        g = in_groups(self.grad_out[piece.images], self.groups)
        grad_x = piece.of_channels(self.grad_x, self.groups)
        share = piece.share(self.grad_x.shape[1] // self.groups)
        for weights, reading, (rows, columns) in self.parts:
            correlate(g, weights(share), reading, grad_x[..., rows, columns])


class _ByWeight:
    """The gradient by the weight, a chunk at a time, and the sum over the chunks."""

    def __init__(self, grad_out: Array, x: Array, weight_shape: tuple[int, ...], how: _Setting):
        self.xp = array_module(x)
        self.grad_out, self.x = grad_out, x
        self.weight_shape, self.groups = weight_shape, how.groups
        self.reading = _forward((weight_shape[2], weight_shape[3]), how)
        self.dtype = self.xp.result_type(grad_out, x)
        self.bytes_each = self.dtype.itemsize * working_set(
            x.shape[1], weight_shape[0], self.reading, *grad_out.shape[2:]
        )

    def work(self, piece: Piece) -> Array:
        g = piece.of_channels(self.grad_out, self.groups)
        return correlate_with(g, in_groups(self.x[piece.images], self.groups), self.reading)

    def total(self, pieces: list[Piece], found: list[Array]) -> Array:
        """The sum over the chunks, in their order: the same bits on any number of threads."""
        C_out, C_group, _, KW = self.weight_shape
        if not pieces:
            return self.xp.zeros(self.weight_shape, dtype=self.dtype)
        grad_weight = self.xp.empty(self.weight_shape, dtype=self.dtype)
        by_group = filters_in_groups(grad_weight, self.groups)
        shares = pieces[0].shares

        def finish(number: int) -> None:
            total, *others = found[number::shares]  # of this share, from each chunk of images
            for part in others:
                total += part
            # (KH, G, C_out/G, KW*C/G) -> (G, C_out/G, C/G, KH, KW)
            total = total.reshape(*total.shape[:3], KW, C_group).transpose(1, 2, 4, 0, 3)
            by_group[:, pieces[number].share(C_out // self.groups)] = total

        map_pieces(finish, list(range(shares)))
        return grad_weight


def _turned(filters: Array, rows: slice, columns: slice, share: slice) -> Array:
    return turned_matrices(filters[:, :, share, rows, columns])


class _Remainder(NamedTuple):
    """The pixels of one remainder along an axis, and the taps of the kernel that reach them."""

    pixels: slice
    taps: slice
    offsets: tuple[int, ...]  # tap k of the i-th pixel reads grad_out at i + offset


@lru_cache
def _remainders(K: int, size: int, how: _Setting, axis: int) -> list[_Remainder]:
    S, P, D = how.stride[axis], how.padding[axis], how.dilation[axis]
    found = []
    for a in range(S):
        q = max(0, -((a - P) // S))  # the first pixel is S*q + a - P, the first not below 0
        pixels = slice(S * q + a - P, size, S)
        taps = [k for k in range(K) if (k * D - a) % S == 0]
        of_kernel = slice(taps[0], K, S // math.gcd(S, D)) if taps else slice(0)  # the same taps
        if len(range(size)[pixels]):
            found.append(_Remainder(pixels, of_kernel, tuple(q + (a - k * D) // S for k in taps)))
    return found


def _size(pixels: tuple[slice, slice], x_shape: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = (len(range(size)[p]) for p, size in zip(pixels, x_shape[2:], strict=True))
    return rows, columns


@lru_cache
def _forward(kernel: Pair, how: _Setting) -> Reading:
    """Where output (i, j) reads in the image: tap (kh, kw) at i*stride + kh*dilation - padding."""
    (SH, SW), (PH, PW), (DH, DW) = how.stride, how.padding, how.dilation
    KH, KW = kernel
    rows = tuple(kh * DH - PH for kh in range(KH))
    return Reading(rows, tuple(kw * DW - PW for kw in range(KW)), SH, SW)
