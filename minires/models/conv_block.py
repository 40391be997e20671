"""A residual block of convolutions: what the blocks of all orders have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minires import nn
from minires.models.shortcuts import PadShortcut, identity_variant

__all__ = ["ConvBlock", "ConvSpec", "basic", "bottleneck", "normalisation"]


class ConvSpec(NamedTuple):
    """One convolution of a branch: k x k with padding k // 2."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int


def basic(in_channels: int, channels: int, stride: int, layers: int) -> list[ConvSpec]:
    """``layers`` 3x3 convolutions, the first with the stride (He et al. 2015, figure 5 left)."""
    first = ConvSpec(in_channels, channels, 3, stride)
    return [first] + [ConvSpec(channels, channels, 3, 1)] * (layers - 1)


def bottleneck(in_channels: int, channels: int, stride: int, expansion: int) -> list[ConvSpec]:
    """1x1 down, 3x3 with the stride, 1x1 up by ``expansion`` (He et al. 2015, figure 5 right).

    The stride is on the 3x3 convolution, as in torchvision.
    """
    return [
        ConvSpec(in_channels, channels, 1, 1),
        ConvSpec(channels, channels, 3, stride),
        ConvSpec(channels, channels * expansion, 1, 1),
    ]


def normalisation(channels: int, norm: str | None) -> nn.Module:
    """Batch normalisation, or nothing."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


class ConvBlock(nn.ResidualBlock):
    """A branch of convolutions conv1, conv2, ... and a shortcut of kind A, B or C.

    Args:
        convs: the convolutions of the branch.
        residual: False makes the plain block of the same layers.
        shortcut: 'A' pads with zeros where the dimensions grow, 'B' projects there, 'C' projects
            everywhere.
        norm: 'batch' or None; without it the convolutions have a bias.
        first: whether it is the first block of the network, whose input the stem has activated.
        skip: what an identity shortcut is made, see :mod:`minires.models.shortcuts`.
        gate_bias: where the gates of such a skip start.
        branch_scale: where a learned factor of the branch starts; None for no such factor.
    """

    def __init__(
        self,
        convs: Sequence[ConvSpec],
        *,
        residual: bool,
        shortcut: str,
        norm: str | None,
        first: bool = False,
        skip: str = "identity",
        gate_bias: float | None = None,
        branch_scale: float | None = None,
    ):
        super().__init__()
        self.depth, self.first = len(convs), first
        for i, spec in enumerate(convs, 1):
            conv = nn.Conv2d(
                spec.in_channels,
                spec.out_channels,
                spec.kernel_size,
                spec.stride,
                spec.kernel_size // 2,
                bias=self._conv_bias(norm),
            )
            setattr(self, f"conv{i}", conv)
            self._add_norm(i, spec, norm)
        stride = 1
        for spec in convs:
            stride *= spec.stride
        self.changes_shape = stride != 1 or convs[0].in_channels != convs[-1].out_channels
        # By the options alone: a plain block is built as the residual one that it is held against.
        self.projects = shortcut == "C" or (shortcut == "B" and self.changes_shape)
        if residual:
            sizes = convs[0].in_channels, convs[-1].out_channels, stride
            self.downsample = self._shortcut_module(*sizes, norm, skip, gate_bias)
        else:
            self.shortcut = None  # type: ignore[method-assign, assignment]
        if branch_scale is not None:
            self.branch_scale = nn.Parameter(np.array([branch_scale], np.float32))

    def _conv_bias(self, norm: str | None) -> bool:
        return norm is None

    def _add_norm(self, i: int, spec: ConvSpec, norm: str | None) -> None:
        raise NotImplementedError

    def _projection(self, conv: nn.Module, out_channels: int, norm: str | None) -> nn.Module:
        raise NotImplementedError

    def _shortcut_module(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: str | None,
        skip: str,
        gate_bias: float | None,
    ) -> nn.Module | None:
        if self.projects or (skip == "conv" and not self.changes_shape):
            bias = self._conv_bias(norm)
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias)
            return self._projection(conv, out_channels, norm)
        if self.changes_shape:
            return PadShortcut(in_channels, out_channels, stride)
        return identity_variant(skip, in_channels, gate_bias)

    @property
    def shares_pre(self) -> bool:
        """Whether a block that begins with an activation has it before the fork.

        Where the shortcut projects or the dimensions change, so that both ways read what is
        activated; not in the first block, whose input is.
        """
        return not self.first and (self.projects or self.changes_shape)

    def shortcut(self, u: Any) -> Any:
        return u if self.downsample is None else self.downsample(u)
