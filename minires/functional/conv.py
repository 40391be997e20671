"""Convolution: three maps, each the derivative of the other two.

Convolution is linear in the image and linear in the weight.  So its derivative by the image is a
linear map of the weight and grad_out, and so on round: forward, gradient by input, gradient by
weight.  Each is an operation here, and their backward methods only call each other; that is all it
takes to differentiate convolution any number of times.
"""

from __future__ import annotations

from typing import Any

from minires import kernels
from minires.autograd.function import Function
from minires.errors import ShapeError, UsageError, describe
from minires.functional.dtypes import check_same_dtype
from minires.functional.padding import pad
from minires.functional.reduce import sum
from minires.functional.shape import reshape
from minires.kernels.checks import check_arrays, check_floating, check_image
from minires.kernels.geometry import Pair, check_groups, check_named_padding, pair, pairs

__all__ = ["conv2d", "conv_transpose2d"]


class Conv2d(Function):
    """out = conv(x, weight) + bias."""

    uses_kernels = True
    hands_over = True

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, **how: Any) -> Any:
        ctx.save(x=x, weight=weight)
        ctx.save_constant(how=how)
        return kernels.conv2d(x, weight, bias, **how)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x, weight, how = ctx.saved("x", "weight", "how")
        need_x, need_weight, need_bias = ctx.needs_input_grad
        grad_x = grad_weight = None
        if need_x and need_weight and not ctx.create_graph:  # one pass over the batch for both
            grad_x, grad_weight = kernels.conv2d_grads(grad_out, x, weight, **how)
        elif need_x:
            grad_x = Conv2dGradInput.apply(grad_out, weight, x_shape=x.shape, **how)
        if need_weight and grad_weight is None:
            grad_weight = Conv2dGradWeight.apply(grad_out, x, weight_shape=weight.shape, **how)
        return grad_x, grad_weight, sum(grad_out, (0, 2, 3)) if need_bias else None


class Conv2dGradInput(Function):
    """out = the gradient by the image, linear in g (the gradient of the output) and in weight."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, g: Any, weight: Any, *, x_shape: tuple[int, ...], **how: Any) -> Any:
        ctx.save(g=g, weight=weight)
        ctx.save_constant(how=how)
        return kernels.conv2d_grad_input(g, weight, x_shape, **how)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:  # grad_out has the shape of the image
        g, weight, how = ctx.saved("g", "weight", "how")
        need_g, need_weight = ctx.needs_input_grad
        return (
            Conv2d.apply(grad_out, weight, None, **how) if need_g else None,
            Conv2dGradWeight.apply(g, grad_out, weight_shape=weight.shape, **how)
            if need_weight
            else None,
        )


class Conv2dGradWeight(Function):
    """out = the gradient by the weight, linear in g (the gradient of the output) and in x."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, g: Any, x: Any, *, weight_shape: tuple[int, ...], **how: Any) -> Any:
        ctx.save(g=g, x=x)
        ctx.save_constant(how=how)
        return kernels.conv2d_grad_weight(g, x, weight_shape, **how)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:  # grad_out has the shape of the weight
        g, x, how = ctx.saved("g", "x", "how")
        need_g, need_x = ctx.needs_input_grad
        return (
            Conv2d.apply(x, grad_out, None, **how) if need_g else None,
            Conv2dGradInput.apply(g, grad_out, x_shape=x.shape, **how) if need_x else None,
        )


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Any:
    """Convolution (in the sense of the field: cross-correlation) of images with filters.

        out[n, o, i, j] = bias[o] + sum over c, kh, kw of
            weight[o, c, kh, kw] * input[n, c, i*stride + kh*dilation - padding, j*...]

    Args:
        input: (N, C, H, W).
        weight: (C_out, C/groups, KH, KW).
        bias: (C_out,) or None.
        stride: step from one window to the next, a number or (rows, columns).
        padding: zeros added on each side; or 'valid' (none), or 'same' (the output has the size of
            the input; stride 1 only, an odd zero goes to the end).
        dilation: step from one tap of the kernel to the next.
        groups: input and output channels are split into this many groups.

    Returns:
        (N, C_out, OH, OW), OH = (H + 2*padding - dilation*(KH-1) - 1) // stride + 1.

    Raises:
        ShapeError: the channels do not fit, or the kernel is larger than the padded image.

    Saves input and weight for backward, and no columns.

    >>> import minires as mr, minires.functional as F
    >>> F.conv2d(mr.ones(1, 3, 8, 8), mr.ones(4, 3, 3, 3), stride=2, padding=1).shape
    (1, 4, 4, 4)
    """
    check_arrays("conv2d", input=input, weight=weight)
    check_same_dtype("conv2d", input=input, weight=weight, bias=bias)
    stride, dilation = pair(stride, "conv2d: stride"), pair(dilation, "conv2d: dilation")
    if isinstance(padding, str):
        if weight.ndim != 4:
            raise ShapeError(f"conv2d: weight must have 4 dimensions.\n  {describe(weight=weight)}")
        input, padding = _named_padding(input, weight, stride, padding, dilation)
    return Conv2d.apply(
        input,
        weight,
        bias,
        stride=stride,
        padding=pair(padding, "conv2d: padding"),
        dilation=dilation,
        groups=groups,
    )


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
) -> Any:
    """The adjoint of convolution as an operation of its own: each pixel paints the kernel.

        out[n, o, i*stride + kh*dilation - padding, j*...] +=
            weight[c, o, kh, kw] * input[n, c, i, j], and then bias[o] once

    It is the gradient by the input of :func:`conv2d` with the same weight, and turns its shapes
    round.

    Args:
        input: (N, C, H, W).
        weight: (C, C_out/groups, KH, KW), the channels the other way round than in conv2d.
        bias: (C_out,) or None.
        stride, padding, dilation, groups: of the convolution whose adjoint this is.
        output_padding: rows and columns added at the end, smaller than the stride or the dilation:
            below the stride, it says which of the sizes that the convolution would shrink to H.

    Returns:
        (N, C_out, OH, OW), OH = (H-1)*stride - 2*padding + dilation*(KH-1) + output_padding + 1.

    Raises:
        ShapeError: channels do not fit, or the output would be empty.
        UsageError: output_padding is smaller neither than the stride nor than the dilation.

    >>> import minires as mr, minires.functional as F
    >>> F.conv_transpose2d(mr.ones(1, 1, 2, 2), mr.ones(1, 1, 2, 2), stride=2).shape
    (1, 1, 4, 4)
    """
    name = "conv_transpose2d"
    check_arrays(name, input=input, weight=weight)
    check_same_dtype(name, input=input, weight=weight, bias=bias)
    check_floating(name, input=input, weight=weight, bias=bias)
    S, P, D = pairs(name, stride=stride, padding=padding, dilation=dilation)
    extra = pair(output_padding, f"{name}: output_padding")
    check_groups(name, groups)
    check_image(name, input.shape, x=input, weight=weight)
    if weight.ndim != 4 or input.shape[1] != weight.shape[0] or 0 in weight.shape:
        raise ShapeError(
            f"{name}: input must be (N, C, H, W) and weight (C, C_out/groups, KH, KW).\n"
            f"  {describe(input=input, weight=weight)}\n  Check in_channels of this layer."
        )
    if input.shape[1] % groups:
        raise ShapeError(
            f"{name}: {groups} groups cannot share {input.shape[1]} channels.\n"
            f"  {describe(input=input, weight=weight)}\n  Make in_channels a multiple of groups."
        )
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, S, D, strict=True)):
        raise UsageError(
            f"{name}: output_padding {extra} must be from 0 to below stride {S} or dilation {D}."
        )
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(input.shape[2:], S, P, D, weight.shape[2:], extra, strict=True)
    )
    if min(size) < 1:
        raise ShapeError(
            f"{name}: padding {P} leaves nothing of the output, {size}.\n"
            f"  {describe(input=input, weight=weight)}\n  Use less padding."
        )
    C_out = weight.shape[1] * groups
    if bias is not None and tuple(bias.shape) != (C_out,):
        raise ShapeError(
            f"{name}: bias must have one number for each of {C_out} channels.\n"
            f"  {describe(weight=weight, bias=bias)}"
        )
    how = dict(stride=S, padding=P, dilation=D, groups=groups)
    beyond = any(e >= s for e, s in zip(extra, S, strict=True))
    if beyond:  # convolution would not shrink this size to H: paint all, and crop afterwards
        size = tuple(n + 2 * p - e for n, p, e in zip(size, P, extra, strict=True))
        how["padding"] = (0, 0)
    out = Conv2dGradInput.apply(input, weight, x_shape=(input.shape[0], C_out, *size), **how)
    if beyond:
        out = pad(out, (-P[1], extra[1] - P[1], -P[0], extra[0] - P[0]))
    return out if bias is None else out + reshape(bias, 1, C_out, 1, 1)


def _named_padding(
    input: Any, weight: Any, stride: Pair, padding: str, dilation: Pair
) -> tuple[Any, Pair]:
    """'same' and 'valid' as numbers; what 'same' needs beyond symmetric zeros is padded here."""
    check_named_padding("conv2d", padding, stride)
    if padding == "valid":
        return input, (0, 0)
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if any(n % 2 for n in total):
        input = pad(input, (0, total[1] % 2, 0, total[0] % 2))
    return input, (total[0] // 2, total[1] // 2)
