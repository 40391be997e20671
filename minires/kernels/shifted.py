"""Convolution of stride 1 as a few matrix products with shifted views: no columns.

Letters: n images in a chunk of the batch, G groups; KH rows and KW columns of the kernel, OH and OW
of the output; PH and PW, DH and DW: padding and dilation, for rows and for columns.
A tap is one place (kh, kw) of the kernel, with its weight for every pair of channels.
The inner size of a matrix product is the length of the sums it takes: columns of its left factor.

Pad an image and write it out row after row, Wp = W + 2*PW numbers a row.  The pixel that tap
(kh, kw) multiplies for output (oh, ow) then stands at offset kh*DH*Wp + kw*DW from the place
oh*Wp + ow, whatever (oh, ow) is.  So for one tap, *all* outputs of the image are a single matrix
product of weight[:, :, kh, kw] with the same buffer, read from another starting point:

    out[:, p] = sum over kh, kw of  weight[:, :, kh, kw] @ buffer[:, p + kh*DH*Wp + kw*DW]

The (KW-1)*DW last places of each row mix two rows; nobody reads them: they are cropped.  The KH row
shifts are stacked into one buffer, so that KW products of inner size KH*C remain instead of KH*KW
of inner size C: fewer and fatter products, which is what BLAS is good at.

    stacked   (n, G, KH*C/G, OH*Wp + (KW-1)*DW)      row shift kh, channel c: row kh*C/G + c
    out       (n, G, C_out/G, OH*Wp)
              = sum over kw of  weight_kw @ stacked[..., kw*DW : kw*DW + OH*Wp]

The gradient by the input is the same routine on grad_out, with the kernel turned by 180 degrees
and its two channel axes swapped; the gradient by the weight is the same products transposed.
"""

from __future__ import annotations

from minires.device import Array, array_module
from minires.errors import UsageError
from minires.kernels.checks import check_grad_out
from minires.kernels.geometry import Pair, check_conv2d, pair
from minires.kernels.parallel import map_chunks

__all__ = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight"]


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Array:
    """Sum of KW shifted products; see :func:`minires.kernels.reference.conv2d`.

    >>> import numpy as np
    >>> conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3)), padding=1)[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    OH, OW = check_conv2d(x, weight, bias, (1, 1), padding, dilation, groups)
    padding, dilation = pair(padding), pair(dilation)
    xp = array_module(x)
    N, C_out = x.shape[0], weight.shape[0]
    KH, KW = weight.shape[2:]
    Wp = x.shape[3] + 2 * padding[1]
    out = xp.empty((N, C_out, OH, OW), dtype=xp.result_type(x, weight))
    taps = _taps(weight, groups)  # (KW, G, C_out/G, KH*C/G)

    def work(piece: slice) -> None:
        stacked = _stack_row_shifts(x[piece], KH, KW, OH, padding, dilation, groups)
        n, length = stacked.shape[0], OH * Wp
        part = out[piece]
        if KW == 1:  # no rubbish at the row ends: straight into place
            xp.matmul(taps[0], stacked, out=part.reshape(n, groups, C_out // groups, length))
        else:
            wide = taps[0] @ stacked[..., :length]  # (n, G, C_out/G, OH*Wp)
            product = xp.empty_like(wide)
            for kw in range(1, KW):
                start = kw * dilation[1]
                xp.matmul(taps[kw], stacked[..., start : start + length], out=product)
                wide += product
            part[...] = wide.reshape(n, C_out, OH, Wp)[..., :OW]
        if bias is not None:
            part += bias[:, None, None]

    map_chunks(work, N, _bytes_each(x.shape, weight.shape, OH, Wp, weight.itemsize), blas=True)
    return out


def conv2d_grad_input(
    grad_out: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    *,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Array:
    """The convolution of grad_out with the turned kernel, padded by dilation*(K-1) - padding.

    That must not be negative: ``padding`` is at most dilation*(K-1) along each axis.  Raises
    UsageError otherwise; :func:`minires.kernels.conv.conv2d_grad_input` takes any padding.

    >>> import numpy as np
    >>> conv2d_grad_input(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), (1, 1, 3, 3))[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    out_size = check_conv2d(
        x_shape, weight, None, (1, 1), padding, dilation, groups, operation="conv2d_grad_input"
    )
    padding, dilation = pair(padding), pair(dilation)
    C_out, C_group, KH, KW = weight.shape
    check_grad_out("conv2d_grad_input", grad_out, (x_shape[0], C_out, *out_size))
    if not takes_padding(weight.shape, padding, dilation):
        raise UsageError(
            f"conv2d_grad_input: shifted products take padding up to dilation*(K-1), which is "
            f"{(dilation[0] * (KH - 1), dilation[1] * (KW - 1))}, not padding {padding}.\n"
            "  Call minires.kernels.conv.conv2d_grad_input, which takes any padding."
        )
    turned = weight[:, :, ::-1, ::-1].reshape(groups, C_out // groups, C_group, KH, KW)
    turned = turned.swapaxes(1, 2).reshape(groups * C_group, C_out // groups, KH, KW)
    full = dilation[0] * (KH - 1) - padding[0], dilation[1] * (KW - 1) - padding[1]
    return conv2d(grad_out, turned, padding=full, dilation=dilation, groups=groups)


def conv2d_grad_weight(
    grad_out: Array,
    x: Array,
    weight_shape: tuple[int, ...],
    *,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Array:
    """One product for each column kw of the kernel, summed over the images.

        grad_weight[..., kw] = sum of grad_out @ stacked[..., kw*DW : kw*DW + OH*Wp]^T

    grad_out is widened with zeros where the row ends of the buffer hold rubbish.

    >>> import numpy as np
    >>> conv2d_grad_weight(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3)), (1, 1, 2, 2))[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    OH, OW = check_conv2d(
        x, weight_shape, None, (1, 1), padding, dilation, groups, operation="conv2d_grad_weight"
    )
    padding, dilation = pair(padding), pair(dilation)
    xp = array_module(x)
    C_out, C_group, KH, KW = weight_shape
    check_grad_out("conv2d_grad_weight", grad_out, (x.shape[0], C_out, OH, OW))
    Wp = x.shape[3] + 2 * padding[1]
    length = OH * Wp
    dtype = xp.result_type(grad_out, x)

    def work(piece: slice) -> Array:
        stacked = _stack_row_shifts(x[piece], KH, KW, OH, padding, dilation, groups)
        g = grad_out[piece]
        n = g.shape[0]
        if Wp != OW:
            wide = xp.zeros((n, C_out, OH, Wp), dtype=g.dtype)
            wide[..., :OW] = g
            g = wide
        g = g.reshape(n, groups, C_out // groups, length)
        part = xp.empty((KW, groups, C_out // groups, KH * C_group), dtype=dtype)
        for kw in range(KW):
            start = kw * dilation[1]
            shifted = stacked[..., start : start + length].swapaxes(2, 3)  # (n, G, L, KH*C/G)
            (g @ shifted).sum(axis=0, out=part[kw])
        return part

    bytes_each = _bytes_each(x.shape, weight_shape, OH, Wp, dtype.itemsize)
    parts = map_chunks(work, x.shape[0], bytes_each, blas=True)
    if not parts:
        return xp.zeros(weight_shape, dtype=dtype)
    total = parts[0]
    for part in parts[1:]:  # in the order of the chunks: the same bits on any number of threads
        total += part
    # (KW, G, C_out/G, KH, C/G) -> (C_out, C/G, KH, KW)
    total = total.reshape(KW, C_out, KH, C_group).transpose(1, 3, 2, 0)
    return xp.ascontiguousarray(total)


def takes_padding(weight_shape: tuple[int, ...], padding: int | Pair, dilation: int | Pair) -> bool:
    """Whether the gradient by the input can be had from here: padding <= dilation*(K-1).

    Settings that make no sense can not.

    >>> takes_padding((8, 8, 3, 3), 2, 1), takes_padding((8, 8, 1, 1), 1, 1)
    (True, False)
    """
    try:
        P, D = pair(padding), pair(dilation)
    except UsageError:
        return False
    return all(p <= d * (k - 1) for p, d, k in zip(P, D, weight_shape[2:], strict=False))


def _taps(weight: Array, groups: int) -> Array:
    """The weight as one matrix for each column of the kernel: (KW, G, C_out/G, KH*C/G)."""
    C_out, C_group, KH, KW = weight.shape
    return weight.transpose(3, 0, 2, 1).reshape(KW, groups, C_out // groups, KH * C_group)


def _stack_row_shifts(
    x: Array, KH: int, KW: int, OH: int, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """The padded images, flattened, once for each row of the kernel: (n, G, KH*C/G, OH*Wp + tail).

    Row shift kh holds padded rows kh*dilation .. kh*dilation + OH - 1.  The tail lets the last
    column shift read past the end.
    """
    xp = array_module(x)
    n, C, H, W = x.shape
    PH, PW = padding
    if KH == KW == 1 and not (PH or PW):
        return x.reshape(n, groups, C // groups, H * W)
    Wp = W + 2 * PW
    tail = (KW - 1) * dilation[1]
    stacked = xp.zeros((n, groups, KH, C // groups, OH * Wp + tail), dtype=x.dtype)
    sn, sg, sk, sc, item = stacked.strides
    images = xp.lib.stride_tricks.as_strided(  # the same memory, seen as rows of Wp
        stacked, (n, groups, KH, C // groups, OH, Wp), (sn, sg, sk, sc, Wp * item, item)
    )
    x = x.reshape(n, groups, C // groups, H, W)
    for kh in range(KH):
        first = kh * dilation[0] - PH  # image row that output row 0 reads
        top, bottom = max(0, -first), min(OH, H - first)  # output rows that read inside the image
        if top < bottom:
            rows = x[..., first + top : first + bottom, :]
            images[:, :, kh, :, top:bottom, PW : PW + W] = rows
    return stacked.reshape(n, groups, KH * (C // groups), OH * Wp + tail)


def _bytes_each(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], OH: int, Wp: int, itemsize: int
) -> int:
    """Working set of one image: the stacked rows, the wide output and one product."""
    C_out, _, KH, _ = weight_shape
    return itemsize * OH * Wp * (KH * x_shape[1] + 2 * C_out)
