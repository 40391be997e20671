"""Pooling: the maximum or the mean of each window."""

from __future__ import annotations

from typing import Any

from minires import kernels
from minires.autograd.function import Function
from minires.autograd.tensor import Tensor
from minires.kernels.checks import check_arrays
from minires.kernels.geometry import Pair, check_pool2d

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"]


class MaxPool2d(Function):
    """out = the largest of each window;  grad_x: grad_out goes to the place it came from."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, x: Any, **how: Any) -> Any:
        out, indices = kernels.max_pool2d(x, **how)
        window = check_pool2d("max_pool2d", x, **how)
        ctx.save_constant(indices=indices, x_shape=x.shape, window=window)
        return out, indices

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        indices, x_shape, window = ctx.saved("indices", "x_shape", "window")
        return MaxPool2dScatter.apply(grad_out, indices=indices, x_shape=x_shape, window=window)


class MaxPool2dScatter(Function):
    """out = g added up at ``indices``, linear in g; its adjoint reads at the same places."""

    uses_kernels = True

    @staticmethod
    def forward(
        ctx: Any, g: Any, *, indices: Any, x_shape: tuple[int, ...], window: Any = None
    ) -> Any:
        ctx.save_constant(indices=indices, x_shape=x_shape, window=window)
        return kernels.max_pool2d_grad_input(g, indices, x_shape, window)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        indices, x_shape, window = ctx.saved("indices", "x_shape", "window")
        return MaxPool2dGather.apply(grad_out, indices=indices, x_shape=x_shape, window=window)


class MaxPool2dGather(Function):
    """out = x read at ``indices``, linear in x."""

    uses_kernels = True

    @staticmethod
    def forward(
        ctx: Any, x: Any, *, indices: Any, x_shape: tuple[int, ...], window: Any = None
    ) -> Any:
        ctx.save_constant(indices=indices, x_shape=x_shape, window=window)
        return kernels.max_pool2d_gather(x, indices)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        indices, x_shape, window = ctx.saved("indices", "x_shape", "window")
        return MaxPool2dScatter.apply(grad_out, indices=indices, x_shape=x_shape, window=window)


class AvgPool2d(Function):
    """out = the mean of each window, linear in x;  grad_x spreads grad_out over the window."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, x: Any, **how: Any) -> Any:
        ctx.save_constant(how=how, x_shape=x.shape)
        return kernels.avg_pool2d(x, **how)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        how, x_shape = ctx.saved("how", "x_shape")
        return AvgPool2dGrad.apply(grad_out, x_shape=x_shape, **how)


class AvgPool2dGrad(Function):
    """The adjoint of average pooling, linear too; its adjoint is average pooling."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, g: Any, *, x_shape: tuple[int, ...], **how: Any) -> Any:
        ctx.save_constant(how=how)
        return kernels.avg_pool2d_grad_input(g, x_shape, **how)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return AvgPool2d.apply(grad_out, **ctx.saved("how"))


class AdaptiveAvgPool2d(Function):
    """out = the mean of each of OH*OW windows that cover the plane, linear in x."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, x: Any, *, output_size: Any) -> Any:
        ctx.save_constant(x_shape=x.shape, output_size=output_size)
        return kernels.adaptive_avg_pool2d(x, output_size)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x_shape, output_size = ctx.saved("x_shape", "output_size")
        return AdaptiveAvgPool2dGrad.apply(grad_out, x_shape=x_shape, output_size=output_size)


class AdaptiveAvgPool2dGrad(Function):
    """The adjoint of adaptive average pooling, and adjoint to it."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, g: Any, *, x_shape: tuple[int, ...], output_size: Any) -> Any:
        ctx.save_constant(output_size=output_size)
        return kernels.adaptive_avg_pool2d_grad_input(g, x_shape)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return AdaptiveAvgPool2d.apply(grad_out, output_size=ctx.saved("output_size"))


def max_pool2d(
    input: Any,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest number of each window of (N, C, H, W).

    grad_input receives grad_out at the place of the maximum: of the first in reading order if
    several are equal.  Padding counts as minus infinity, so it never wins.

    Args:
        input: (N, C, H, W).
        kernel_size, stride, padding, dilation: a number or (rows, columns); the stride is the
            kernel size if left out, the padding at most half of it.
        ceil_mode: round the output size up, so that the last window may hang over the edge.
        return_indices: return too where each maximum was, as an index into the flattened plane.

    Returns:
        (N, C, OH, OW), and with ``return_indices`` int64 indices of that shape.

    >>> import minires as mr, minires.functional as F
    >>> F.max_pool2d(mr.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    check_arrays("max_pool2d", input=input)
    out, indices = MaxPool2d.apply(
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    if not return_indices:
        return out
    return out, Tensor._wrap(indices, None) if isinstance(out, Tensor) else indices


def avg_pool2d(
    input: Any,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window of (N, C, H, W); grad_input spreads grad_out evenly over the window.

    Args:
        input: (N, C, H, W).
        kernel_size, stride, padding: a number or (rows, columns); stride as in max_pool2d.
        ceil_mode: round the output size up.
        count_include_pad: whether padded zeros count among the numbers divided by.
        divisor_override: divide by this instead.

    Returns:
        (N, C, OH, OW).

    >>> import minires as mr, minires.functional as F
    >>> F.avg_pool2d(mr.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]])
    """
    check_arrays("avg_pool2d", input=input)
    return AvgPool2d.apply(
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def adaptive_avg_pool2d(input: Any, output_size: int | tuple[int | None, int | None] | None) -> Any:
    """The means of OH x OW windows that cover the plane; 1 is the mean of each plane.

    Window i of OH covers the rows floor(i*H/OH) to ceil((i+1)*H/OH) - 1, so windows overlap where
    OH does not divide H.

    Args:
        input: (N, C, H, W).
        output_size: OH = OW, or (OH, OW); None keeps the length.

    Returns:
        (N, C, OH, OW).

    >>> import minires as mr, minires.functional as F
    >>> F.adaptive_avg_pool2d(mr.arange(4.0).reshape(1, 1, 2, 2), 1)
    tensor([[[[1.5]]]])
    """
    check_arrays("adaptive_avg_pool2d", input=input)
    return AdaptiveAvgPool2d.apply(input, output_size=output_size)
