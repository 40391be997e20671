"""The fast convolution and its two gradients, in chunks of the batch over threads.

Convolution and its gradients are three maps that are linear in each argument, and each is the
derivative of the others:

    out         = conv2d(x, weight)
    grad_x      = conv2d_grad_input(grad_out, weight)      the adjoint in x
    grad_weight = conv2d_grad_weight(grad_out, x)          the adjoint in weight

Where taps read from is worked out in :mod:`minires.kernels.plan`; how the numbers are multiplied is
:mod:`minires.kernels.shifted`, or :mod:`minires.kernels.whole_plane` for the smallest planes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import numpy as np

from minires.device import Array, array_module
from minires.kernels import whole_plane
from minires.kernels.checks import check_floating, check_grad_out
from minires.kernels.geometry import Pair
from minires.kernels.layout import empty_beside, empty_images_last
from minires.kernels.parallel import map_pieces
from minires.kernels.pieces import (
    Piece,
    cut,
    filters_in_groups,
    in_groups,
    in_one_chunk,
    once_a_share,
)
from minires.kernels.plan import Plan, planned
from minires.kernels.shifted import (
    correlate,
    correlate_both,
    correlate_with,
    images_together,
    matrices,
    to_move,
    turned_matrices,
)

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
    plan = planned("conv2d", x, weight, bias, stride, padding, dilation, groups)
    N, C_out = len(x), len(weight)
    shape = (N, C_out, *plan.size)
    xp = array_module(x)
    dtype = xp.result_type(x, weight)
    products = math.prod(shape) * (weight.size // C_out)
    pieces = cut(N, dtype.itemsize * plan.numbers, products, C_out // groups)
    if (at := _places(plan, pieces, x, weight)) is not None:
        return whole_plane.forward(x, weight, bias, at, shape)
    filters = filters_in_groups(weight, groups)
    weights = once_a_share(lambda share: matrices(filters[:, share]))
    last = _gives_images_last(x, weight, groups, pieces)
    out = (empty_images_last if last else xp.empty)(shape, dtype)

    def work(piece: Piece) -> None:
        part = piece.of_channels(out, groups)
        share = piece.share(C_out // groups)
        correlate(in_groups(x[piece.images], groups), weights(share), plan.reading, part)
        if bias is not None:
            part += bias.reshape(groups, -1, 1, 1)[:, share]

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
    name = "conv2d_grad_input"
    plan = planned(name, x_shape, weight, None, stride, padding, dilation, groups)
    check_grad_out(name, grad_out, (x_shape[0], len(weight), *plan.size))
    dtype = array_module(grad_out).result_type(grad_out, weight)
    products = grad_out.size * (weight.size // len(weight))
    pieces = cut(x_shape[0], dtype.itemsize * plan.numbers_by_input, products, weight.shape[1])
    if (at := _places(plan, pieces, grad_out, weight)) is not None:
        return whole_plane.grad_input(grad_out, weight, at, x_shape)
    by_input = _ByInput(grad_out, weight, empty_beside(grad_out, x_shape, dtype), groups, plan)
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
    name = "conv2d_grad_weight"
    plan = planned(name, x, weight_shape, None, stride, padding, dilation, groups)
    C_out, C_group, KH, KW = weight_shape
    check_grad_out(name, grad_out, (len(x), C_out, *plan.size))
    xp = array_module(x)
    dtype = xp.result_type(grad_out, x)

    def work(piece: Piece) -> Array:
        g = piece.of_channels(grad_out, groups)
        return correlate_with(g, in_groups(x[piece.images], groups), plan.reading)

    products = grad_out.size * C_group * KH * KW
    pieces = cut(len(x), dtype.itemsize * plan.numbers, products, C_out // groups)
    if (at := _places(plan, pieces, grad_out, x)) is not None:
        return whole_plane.grad_weight(grad_out, x, at, weight_shape)
    found = map_pieces(work, pieces, blas=True)
    grad_weight = xp.empty(weight_shape, dtype)
    if not pieces:
        grad_weight.fill(0)
    by_group = filters_in_groups(grad_weight, groups)
    shares = pieces[0].shares if pieces else 0

    def finish(number: int) -> None:
        # (KH, G, KW*C, M) -> (G, M, C, KH, KW)
        total = _sum_in_order(found[number::shares])
        total = total.reshape(KH, groups, KW, C_group, total.shape[3]).transpose(1, 4, 3, 0, 2)
        by_group[:, pieces[number].share(C_out // groups)] = total

    map_pieces(finish, list(range(shares)))
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
    """Both gradients, ``conv2d_grad_input`` and ``conv2d_grad_weight``, in one pass over the batch.

    Each chunk of grad_out is unfolded once, if it has to be, and both are products with the same
    buffers; the threads change hands once instead of twice.  The numbers are those of the two maps,
    up to rounding.

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
    name = "conv2d_grad_input"  # the one of the two that an error names
    plan = planned(name, x.shape, weight, None, stride, padding, dilation, groups)
    check_grad_out(name, grad_out, (len(x), len(weight), *plan.size))
    check_floating("conv2d_grad_weight", x=x)
    xp = array_module(x)
    dtype = xp.result_type(grad_out, weight)
    products = 2 * grad_out.size * (weight.size // len(weight))
    pieces = cut(len(x), dtype.itemsize * plan.numbers_by_input, products, weight.shape[1])
    if (at := _places(plan, pieces, grad_out, x, weight)) is not None:
        grad_x = whole_plane.grad_input(grad_out, weight, at, x.shape)
        return grad_x, whole_plane.grad_weight(grad_out, x, at, weight.shape)
    by_input = _ByInput(grad_out, weight, empty_beside(grad_out, x.shape, dtype), groups, plan)
    found = map_pieces(partial(by_input.work, x=x), pieces, blas=True)
    grad_weight = xp.empty(weight.shape, xp.result_type(grad_out, x))
    reached = sum(part.reading.taps for part in plan.parts)
    if not pieces or reached < weight.shape[2] * weight.shape[3]:  # taps that see padding alone
        grad_weight.fill(0)
    by_group = filters_in_groups(grad_weight, groups)
    shares = pieces[0].shares if pieces else 0

    def finish(number: int) -> None:
        mine = by_group[:, :, pieces[number].share(weight.shape[1])]
        by_part = zip(*found[number::shares], strict=True)  # of each part, from every chunk
        for part, of_part in zip(plan.parts, by_part, strict=True):
            # (KH, G, KW*M, C) -> (G, M, C, KH, KW), of the kernel rows and columns of this part
            total = _sum_in_order(of_part)
            KH, KW, C = len(part.reading.rows), len(part.reading.columns), total.shape[3]
            total = total.reshape(KH, groups, KW, weight.shape[0] // groups, C)
            mine[:, :, :, part.taps[0], part.taps[1]] = total.transpose(1, 3, 4, 0, 2)

    map_pieces(finish, list(range(shares)))
    return by_input.grad_x, grad_weight


def _places(plan: Plan, pieces: list[Piece], *arrays: Array) -> whole_plane.Places | None:
    """What :mod:`minires.kernels.whole_plane` needs, if it is for this work."""
    if plan.at is None or len(pieces) != 1:
        return None
    usual = all(isinstance(a, np.ndarray) and a.dtype.char in "efd" for a in arrays)
    return plan.at if usual else None


def _gives_images_last(x: Array, weight: Array, groups: int, pieces: list[Piece]) -> bool:
    """Whether the output lies images last: each piece has them all, and to move them so pays."""
    if not in_one_chunk(pieces) or not isinstance(x, np.ndarray):
        return False
    return images_together(to_move(x), weight.shape[2] * groups, weight.size)


class _ByInput:
    """The gradient by the input, a chunk at a time: for each part a convolution of grad_out.

    The gradient by the weight can be had from the same numbers.  A tap of the kernel belongs to one
    part, and its gradient is the sum over the pixels of x * what it reads of grad_out.
    """

    def __init__(self, grad_out: Array, weight: Array, grad_x: Array, groups: int, plan: Plan):
        self.grad_out, self.grad_x = grad_out, grad_x
        self.groups, self.parts = groups, plan.parts
        filters = filters_in_groups(weight, groups)
        self.weights = [once_a_share(partial(_turned, filters, *part.taps)) for part in self.parts]

    def work(self, piece: Piece, x: Array | None = None) -> list[Array]:
        """Fill this piece of grad_x; with x, give the gradient by the weight of each part too."""
        g = in_groups(self.grad_out[piece.images], self.groups)
        grad_x = piece.of_channels(self.grad_x, self.groups)
        x = None if x is None else piece.of_channels(x, self.groups)
        share = piece.share(self.grad_x.shape[1] // self.groups)
        found = []
        for part, weights in zip(self.parts, self.weights, strict=True):
            mine = (..., *part.pixels)
            if x is None:
                correlate(g, weights(share), part.reading, grad_x[mine])
            else:
                found.append(correlate_both(g, weights(share), part.reading, grad_x[mine], x[mine]))
        return found


def _sum_in_order(parts: Iterable[Array]) -> Array:
    """The sum over the chunks, in their order: the same bits on any number of threads."""
    total, *others = parts
    for part in others:
        total += part
    return total


def _turned(filters: Array, rows: slice, columns: slice, share: slice) -> Array:
    return turned_matrices(filters[:, :, share, rows, columns])
