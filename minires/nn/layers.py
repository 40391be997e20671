"""Layers: a functional operation with its parameters."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np

import minires.functional as F
from minires.autograd import guard
from minires.autograd.tensor import Tensor
from minires.errors import ShapeError, UsageError, describe
from minires.kernels.checks import check_arrays, number
from minires.kernels.geometry import Pair, check_named_padding, pair, pairs
from minires.nn import init
from minires.nn.module import Module, Parameter

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "ReLU",
]


class ReLU(Module):
    """out = max(input, 0)."""

    def forward(self, input: Any) -> Any:
        return F.relu(input)


class Linear(Module):
    """out = input @ weight^T + bias; see :func:`minires.functional.linear`.

    Args:
        in_features, out_features: lengths of the last dimension before and after.
        bias: whether to add one.

    ``weight`` (out_features, in_features) and ``bias`` start uniform in +-1/sqrt(in_features).
    """

    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        _check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.register_parameter(
            "bias", Parameter(np.empty(out_features, np.float32)) if bias else None
        )
        _reset(self.weight, self.bias)

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes and bias."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Conv2d(Module):
    """Convolution of images; see :func:`minires.functional.conv2d`.

    Args:
        in_channels, out_channels: C and C_out.
        kernel_size, stride, padding, dilation: a number or (rows, columns); padding may be 'same'
            or 'valid'.
        groups: splits the channels into groups that do not see each other.
        bias: whether to add one number a channel.

    ``weight`` (C_out, C/groups, KH, KW) and ``bias`` start uniform in +-1/sqrt(fan_in).

    >>> import minires as mr, minires.nn as nn
    >>> nn.Conv2d(3, 8, 3, stride=2, padding=1)(mr.zeros(1, 3, 32, 32)).shape
    (1, 8, 16, 16)
    """

    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        self.kernel_size = pair(kernel_size, "Conv2d: kernel_size")
        _check_sizes(
            "Conv2d",
            in_channels=in_channels,
            out_channels=out_channels,
            groups=groups,
            kernel_size=min(self.kernel_size),
        )
        if in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"Conv2d: {groups} groups divide neither or only one of in_channels {in_channels} "
                f"and out_channels {out_channels}; they must divide both."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.stride, self.dilation = pairs("Conv2d", stride=stride, dilation=dilation)
        self.padding: Pair | str
        if isinstance(padding, str):
            check_named_padding("Conv2d", padding, self.stride)
            self.padding = padding
        else:
            (self.padding,) = pairs("Conv2d", padding=padding)
        self.groups = groups
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, np.float32))
        self.register_parameter(
            "bias", Parameter(np.empty(out_channels, np.float32)) if bias else None
        )
        _reset(self.weight, self.bias)

    def forward(self, input: Any) -> Any:
        return F.conv2d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        """Channels, kernel, and whatever is not the default."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        for name, default in (("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1))):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


def _check_sizes(layer: str, **sizes: Any) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
            raise UsageError(f"{layer}: {name} must be a whole number from 1 on, got {size!r}.")


def _reset(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default start: weight and bias uniform in +-1/sqrt(fan_in)."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1.0 / math.sqrt(init.fans(weight.shape)[0])
        init.uniform_(bias, -bound, bound)


class BatchNorm2d(Module):
    """Normalise each channel of (N, C, H, W); see :func:`minires.functional.batch_norm`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the *new* value in the running statistics (not of the old one); None
            weights all batches alike: the mean over those seen so far.
        affine: whether to have ``weight`` (gamma, starts at 1) and ``bias`` (beta, starts at 0).
        track_running_stats: whether to keep ``running_mean`` and ``running_var``.
        bias: whether an affine layer has ``bias`` too.

    The variance that normalises is the biased one; ``running_var`` follows the unbiased one.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ):
        super().__init__()
        _check_sizes("BatchNorm2d", num_features=num_features)
        if not number(eps, "BatchNorm2d: eps") >= 0.0:
            raise UsageError(f"BatchNorm2d: eps must not be negative, got {eps}.")
        if momentum is not None:
            number(momentum, "BatchNorm2d: momentum")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        size = num_features
        self.register_parameter("weight", Parameter(np.ones(size, np.float32)) if affine else None)
        shifts = affine and bias
        self.register_parameter("bias", Parameter(np.zeros(size, np.float32)) if shifts else None)
        tracked = track_running_stats
        self.register_buffer(
            "running_mean", Tensor(np.zeros(size, np.float32)) if tracked else None
        )
        self.register_buffer("running_var", Tensor(np.ones(size, np.float32)) if tracked else None)
        self.register_buffer(
            "num_batches_tracked", Tensor(np.zeros((), np.int64)) if tracked else None
        )

    def forward(self, input: Any) -> Any:
        check_arrays("BatchNorm2d", input=input)
        if input.ndim != 4:
            raise ShapeError(f"BatchNorm2d: input must be (N, C, H, W).\n  {describe(input=input)}")
        count, momentum = self.num_batches_tracked, self.momentum
        if momentum is None:  # the mean of 1/n over n batches
            counts = self.training and count is not None
            momentum = 1.0 / (count.item() + 1) if counts else 0.0
        out = F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            momentum,
            self.eps,
        )
        if self.training and count is not None:
            with guard.writable(count._data) as number:
                number += 1
        return out

    def extra_repr(self) -> str:
        """Channels, eps and momentum."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


def _check_window(layer: str, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> None:
    stride = kernel if stride is None else stride
    pairs(layer, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation)


class MaxPool2d(Module):
    """The largest of each window; see :func:`minires.functional.max_pool2d`."""

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__()
        _check_window("MaxPool2d", kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, input: Any) -> Any:
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window; see :func:`minires.functional.avg_pool2d`."""

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        _check_window("AvgPool2d", kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Any:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The means of OH x OW windows; see :func:`minires.functional.adaptive_avg_pool2d`."""

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Any:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """The output size."""
        return f"{self.output_size}"


class Dropout(Module):
    """In training, zero numbers with probability ``p``; see :func:`minires.functional.dropout`."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0.0 <= number(p, "Dropout: p") <= 1.0:
            raise UsageError(f"Dropout: p must be a probability between 0 and 1, got {p}.")
        self.p = p

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class CrossEntropyLoss(Module):
    """-log softmax(input)[target]; see :func:`minires.functional.cross_entropy`."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Any, target: Any) -> Any:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class MSELoss(Module):
    """(input - target)^2; see :func:`minires.functional.mse_loss`."""

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, input: Any, target: Any) -> Any:
        return F.mse_loss(input, target, reduction=self.reduction)
