"""A residual block of convolutions: what the blocks of all orders have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minires import nn
from minires.models.block_options import BlockOptions
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
        options: what the block has in common with the others of its network; kept as ``options``.
            The order of its parts is that of its class.
        first: whether it is the first block of the network, whose input the stem has activated.

    :func:`minires.models.blocks.make_block` chooses the class that goes with the options.
    """

    def __init__(
        self,
        convs: Sequence[ConvSpec],
        options: BlockOptions,
        *,
        first: bool = False,
    ):
        super().__init__()
        self.options, self.depth, self.first = options, len(convs), first
        for i, spec in enumerate(convs, 1):
            conv = nn.Conv2d(
                spec.in_channels,
                spec.out_channels,
                spec.kernel_size,
                spec.stride,
                spec.kernel_size // 2,
                bias=options.conv_bias,
            )
            setattr(self, f"conv{i}", conv)
            self._add_beside_conv(i, spec)
        stride = 1
        for spec in convs:
            stride *= spec.stride
        self.changes_shape = stride != 1 or convs[0].in_channels != convs[-1].out_channels
        # By the options alone: a plain block is built as the residual one that it is held against.
        self.projects = options.shortcut == "C" or (options.shortcut == "B" and self.changes_shape)
        if options.residual:
            self.downsample = self._shortcut_module(
                convs[0].in_channels, convs[-1].out_channels, stride
            )
        else:
            self.shortcut = None  # type: ignore[method-assign, assignment]
        if options.branch_scale is not None:
            self.branch_scale = nn.Parameter(np.array([options.branch_scale], np.float32))

    def _add_beside_conv(self, i: int, spec: ConvSpec) -> None:
        """Make what stands before or behind convolution ``i``, such as its norm."""
        raise NotImplementedError

    def _projection(self, conv: nn.Module, out_channels: int) -> nn.Module:
        raise NotImplementedError

    def _shortcut_module(
        self, in_channels: int, out_channels: int, stride: int
    ) -> nn.Module | None:
        options = self.options
        if self.projects or (options.skip == "conv" and not self.changes_shape):
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=options.conv_bias)
            return self._projection(conv, out_channels)
        if self.changes_shape:
            return PadShortcut(in_channels, out_channels, stride)
        return identity_variant(options.skip, in_channels, options.gate_bias)

    def last_scale(self) -> nn.Parameter:
        """The parameter that multiplies the whole branch: the weight of its last layer.

        A learned ``branch_scale`` comes behind it.
        """
        kind = "bn" if self.options.norm_ends_branch else "conv"
        return getattr(self, f"{kind}{self.depth}").weight  # type: ignore[no-any-return]

    @property
    def shares_pre(self) -> bool:
        """Whether a block that begins with an activation has it before the fork.

        Where the shortcut projects or the dimensions change, so that both ways read what is
        activated; not in the first block, whose input is.
        """
        return not self.first and (self.projects or self.changes_shape)

    def shortcut(self, u: Any) -> Any:
        return u if self.downsample is None else self.downsample(u)
