"""Convolution and its gradients on a GPU: columns by hand, matrix products by cuBLAS.

Shapes, with n images in a chunk, G groups, K = C/G * KH*KW and L = OH*OW:

    columns      (G, K, n*L)       = im2col(x)
    out          (G, C_out/G, n*L) = weight @ columns         and then (n, C_out, OH, OW)
    g            (G, C_out/G, n*L)                            grad_out with channels before images
    grad_x       (n, C, H, W)      = col2im(weight^T @ g)
    grad_weight  (G, C_out/G, K)   = g @ columns^T

The images of a chunk lie along the columns, so a chunk is one large product for each group, also
where planes are as small as 7 by 7.  The price is a copy of ``out`` and of ``grad_out`` to another
order of axes: little beside the columns, which are a copy of the image KH*KW times as large.

A pointwise kernel (1 by 1, stride 1, no padding) reads the image as it lies.  ``out`` and
``grad_x`` are then a product for each image, read and written in place: without columns and without
another order, in layers where there is little arithmetic to pay for copies.  ``grad_weight`` is a
sum over the images, which one product of the two copies takes along.

Products are in the precision of the numbers: CuPy does not use TF32 unless it is told to
(``CUPY_TF32=1``).  The kernels, and the sums over chunks, add in an order that depends on shapes
alone; cuBLAS promises the same bits each time on one kind of GPU, while one stream is at work.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minires.device import Array, array_module, check_same_device
from minires.kernels.checks import check_floating, check_grad_out
from minires.kernels.cuda.launcher import Source, blocks_for, ready
from minires.kernels.geometry import Pair, check_conv2d, pair

__all__ = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight", "conv2d_grads"]

# What a chunk's columns and the output beside them may take; a single image may take more.  Large
# enough for a product to fill a GPU: 32 images of ResNet-50 are one chunk in nearly all its layers.
CHUNK_BYTES = 256 << 20

_SOURCE = Source("columns.cu")
_FIELDS = "H W OH OW KH KW SH SW PH PW DH DW step_h step_w back_h back_w"  # of columns.cu's Windows
_WINDOWS = np.dtype([(field, np.int64) for field in _FIELDS.split()])


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
    """out = weight @ columns(x) + bias; arguments, result and errors as in
    :func:`minires.kernels.conv.conv2d`.
    """
    size = check_conv2d(x, weight, bias, stride, padding, dilation, groups)
    check_same_device("conv2d", x=x, weight=weight, bias=bias)
    xp = array_module(x)
    dtype = xp.result_type(x, weight)
    layout = _Layout(x.shape, weight.shape, size, stride, padding, dilation, groups)
    x, rows = ready(x, dtype), layout.rows(ready(weight, dtype))
    bias = None if bias is None else ready(bias, dtype)
    out = xp.empty((len(x), len(weight), *size), dtype=dtype)
    if layout.is_pointwise:
        xp.matmul(rows, layout.by_group(x), out=layout.by_group(out))
        if bias is not None:
            out += bias.reshape(-1, 1, 1)
        return out
    for images in layout.chunks(dtype):
        part = out[images]
        _swap_axes(_product(rows, layout.columns(x[images])), len(weight), len(part), part, bias)
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
    """grad_x = col2im(weight^T @ g); arguments, result and errors as in
    :func:`minires.kernels.conv.conv2d_grad_input`.
    """
    size = check_conv2d(
        x_shape, weight, None, stride, padding, dilation, groups, operation="conv2d_grad_input"
    )
    check_grad_out("conv2d_grad_input", grad_out, (x_shape[0], weight.shape[0], *size))
    check_same_device("conv2d_grad_input", grad_out=grad_out, weight=weight)
    layout = _Layout(x_shape, weight.shape, size, stride, padding, dilation, groups)
    by_input = _ByInput(grad_out, weight, x_shape, layout)
    if not layout.is_pointwise:
        _each_chunk(grad_out, layout, by_input.work)
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
    """grad_weight = g @ columns(x)^T, summed over the chunks; arguments, result and errors as in
    :func:`minires.kernels.conv.conv2d_grad_weight`.
    """
    size = check_conv2d(
        x, weight_shape, None, stride, padding, dilation, groups, operation="conv2d_grad_weight"
    )
    check_grad_out("conv2d_grad_weight", grad_out, (x.shape[0], weight_shape[0], *size))
    check_same_device("conv2d_grad_weight", grad_out=grad_out, x=x)
    layout = _Layout(x.shape, weight_shape, size, stride, padding, dilation, groups)
    by_weight = _ByWeight(grad_out, x, weight_shape, layout)
    _each_chunk(grad_out, layout, by_weight.work)
    return by_weight.grad_weight()


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
    """Both gradients, which share ``grad_out`` in its other order; arguments, result and errors as
    in :func:`minires.kernels.conv.conv2d_grads`.
    """
    size = check_conv2d(
        x.shape, weight, None, stride, padding, dilation, groups, operation="conv2d_grad_input"
    )
    check_grad_out("conv2d_grad_input", grad_out, (x.shape[0], weight.shape[0], *size))
    check_floating("conv2d_grad_weight", x=x)
    check_same_device("conv2d_grads", grad_out=grad_out, x=x, weight=weight)
    layout = _Layout(x.shape, weight.shape, size, stride, padding, dilation, groups)
    by_input = _ByInput(grad_out, weight, x.shape, layout)
    by_weight = _ByWeight(grad_out, x, weight.shape, layout)
    works = [by_weight.work] if layout.is_pointwise else [by_input.work, by_weight.work]
    _each_chunk(grad_out, layout, *works)
    return by_input.grad_x, by_weight.grad_weight()


class _Layout:
    """The shapes of a convolution in memory, and the kernels that bring arrays into them."""

    def __init__(
        self,
        x_shape: tuple[int, ...],
        weight_shape: tuple[int, ...],
        out_size: Pair,
        stride: int | Pair,
        padding: int | Pair,
        dilation: int | Pair,
        groups: int,
    ):
        self.N, self.C, *image = x_shape
        self.C_out, _, *kernel = weight_shape
        self.groups = groups
        self.taps = math.prod(kernel)
        self.L = math.prod(out_size)
        S, P, D = pair(stride), pair(padding), pair(dilation)
        self.is_pointwise = (self.taps, S, P) == (1, (1, 1), (0, 0))
        common = [math.gcd(s, d) for s, d in zip(S, D, strict=True)]
        step = [s // c for s, c in zip(S, common, strict=True)]
        back = [d // c for d, c in zip(D, common, strict=True)]
        fields = (*image, *out_size, *kernel, *S, *P, *D, *step, *back)
        self.windows = np.array(fields, dtype=_WINDOWS)

    def chunks(self, dtype: Any) -> list[slice]:
        """The batch in slices of one size, the last apart; each has at most CHUNK_BYTES of columns
        and output, or one image.  The cut depends on shapes alone, and so does the order of sums.
        """
        bytes_each = dtype.itemsize * (self.C * self.taps + self.C_out) * self.L
        most = max(1, CHUNK_BYTES // bytes_each)
        count = max(1, -(-self.N // most))
        n = max(1, -(-self.N // count))  # not `most`: a short last chunk would fill no GPU
        return [slice(first, min(first + n, self.N)) for first in range(0, self.N, n)]

    def rows(self, weight: Array) -> Array:
        """The weight as matrices (G, C_out/G, K), a filter in each row."""
        return weight.reshape(self.groups, self.C_out // self.groups, -1)

    def by_group(self, x: Array) -> Array:
        """(n, C, H, W) as (n, G, C/G, H*W), a view where x is in one run of memory."""
        n, C, H, W = x.shape
        return x.reshape(n, self.groups, C // self.groups, H * W)

    def channels_first(self, x: Array) -> Array:
        """(n, C, H, W) as (G, C/G, n*H*W), a copy."""
        n, C, H, W = x.shape
        out = array_module(x).empty((self.groups, C // self.groups, n * H * W), dtype=x.dtype)
        _swap_axes(x, n, C, out)
        return out

    def columns(self, x: Array) -> Array:
        """The windows of ``x`` (n, C, H, W) as columns (G, K, n*L)."""
        if self.is_pointwise:  # the same numbers, moved in larger pieces
            return self.channels_first(x)
        n, K = len(x), self.C // self.groups * self.taps
        columns = array_module(x).empty((self.groups, K, n * self.L), dtype=x.dtype)
        blocks = blocks_for(self.C * n * self.L)
        _SOURCE.launch("im2col", x.dtype, blocks, x, columns, n, self.C, self.windows)
        return columns

    def images(self, columns: Array, x: Array) -> None:
        """Write into ``x`` (n, C, H, W), for each pixel, the sum of the columns that read it."""
        blocks = blocks_for(x.size)
        _SOURCE.launch("col2im", x.dtype, blocks, columns, x, len(x), self.C, self.windows)


class _ByInput:
    """The gradient by the input, which chunks of images fill; at once for a pointwise kernel."""

    def __init__(self, grad_out: Array, weight: Array, x_shape: tuple[int, ...], layout: _Layout):
        xp = array_module(grad_out)
        dtype = xp.result_type(grad_out, weight)
        self.layout = layout
        self.grad_x = xp.empty(x_shape, dtype=dtype)
        self.back = layout.rows(ready(weight, dtype)).swapaxes(1, 2)  # (G, K, C_out/G)
        if layout.is_pointwise:
            xp.matmul(self.back, layout.by_group(grad_out), out=layout.by_group(self.grad_x))

    def work(self, images: slice, g: Array) -> None:
        if self.grad_x.size:  # an image of no rows may have an output, of padding alone
            self.layout.images(_product(self.back, g), self.grad_x[images])


class _ByWeight:
    """The gradient by the weight, to which chunks of images add theirs, in their order."""

    def __init__(self, grad_out: Array, x: Array, weight_shape: tuple[int, ...], layout: _Layout):
        self.dtype = array_module(x).result_type(grad_out, x)
        self.x = ready(x, self.dtype)
        self.shape, self.layout = weight_shape, layout
        self.total: Array | None = None  # (G, K, C_out/G)

    def work(self, images: slice, g: Array) -> None:
        # The factor that is turned is g and not the columns: a stack of them would be copied.
        part = _product(self.layout.columns(self.x[images]), g.swapaxes(1, 2))
        if self.total is None:
            self.total = part
        else:
            self.total += part

    def grad_weight(self) -> Array:
        """The sum, in the shape of the weight."""
        if self.total is None:
            return array_module(self.x).zeros(self.shape, dtype=self.dtype)
        return ready(self.total.swapaxes(1, 2)).reshape(self.shape)


def _each_chunk(grad_out: Array, layout: _Layout, *works: Callable[[slice, Array], None]) -> None:
    """Each of ``works`` with each chunk of images, and its grad_out as (G, C_out/G, n*L)."""
    grad_out = ready(grad_out)
    for images in layout.chunks(grad_out.dtype):
        g = layout.channels_first(grad_out[images])
        for work in works:
            work(images, g)


def _product(a: Array, b: Array) -> Array:
    """a @ b for stacks of matrices.  A stack of one is multiplied as a plain matrix: cuBLAS then
    reads a transposed one as it lies, while CuPy copies a transposed stack first.
    """
    xp = array_module(a)
    return xp.matmul(a[0], b[0])[None] if len(a) == 1 else xp.matmul(a, b)


def _swap_axes(x: Array, A: int, B: int, out: Array, bias: Array | None = None) -> None:
    """out[b, a] = x[a, b] + bias[a], for x of (A, B, ...) in memory, whatever its shape says."""
    blocks = blocks_for(out.size, each=16 // out.itemsize)
    _SOURCE.launch("swap_axes", out.dtype, blocks, x, bias, out, A, B, out.size // (A * B))
