"""The blocks of He et al.: where batch norm, ReLU and the addition stand.

He et al. 2016, figure 4 and table 2, test error in percent on CIFAR-10:

    =======================  ==================================  =========  ============  ==========
    ``order=``               branch                              after sum  ResNet-110    ResNet-164
    =======================  ==================================  =========  ============  ==========
    original                 conv-BN-ReLU-conv-BN                ReLU       6.61          5.93
    bn-after-addition        conv-BN-ReLU-conv                   BN-ReLU    8.17          6.50
    relu-before-addition     conv-BN-ReLU-conv-BN-ReLU                      7.84          6.14
    relu-only-preactivation  ReLU-conv-BN-ReLU-conv-BN                      6.71          5.91
    full-preactivation       BN-ReLU-conv-BN-ReLU-conv                      6.37          5.46
    =======================  ==================================  =========  ============  ==========

ResNet-164 has bottlenecks.  In the two pre-activation orders the network's ends are special (their
section 4.1): the activation before the first block comes right after the stem and before the ways
part, so that the first branch begins with its convolution; and one more activation follows the last
sum, before the head.
"""

from __future__ import annotations

from typing import Any

import minires.functional as F
from minires import nn
from minires.models.conv_block import ConvBlock, ConvSpec, normalisation
from minires.models.shortcuts import GatedShortcut

__all__ = [
    "BNAfterAdditionBlock",
    "ExclusiveGatingBlock",
    "PostActivationBlock",
    "PreActivationBlock",
    "ReLUBeforeAdditionBlock",
    "ReLUOnlyBlock",
]


class PostActivationBlock(ConvBlock):
    """The block of He et al. 2015: conv-BN-ReLU-...-conv-BN, the sum, then ReLU."""

    def _add_beside_conv(self, i: int, spec: ConvSpec) -> None:
        setattr(self, f"bn{i}", normalisation(spec.out_channels, self.options.norm))

    def _projection(self, conv: nn.Module, out_channels: int) -> nn.Module:
        if self.options.norm is None:
            return nn.Sequential(conv)
        return nn.Sequential(conv, normalisation(out_channels, self.options.norm))

    def branch(self, u: Any) -> Any:
        for i in range(1, self.depth + 1):
            u = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(u))
            if i < self.depth:
                u = F.relu(u)
        return u

    activation = staticmethod(F.relu)  # type: ignore[assignment]


class ExclusiveGatingBlock(PostActivationBlock):
    """z = (1 - g(u)) * u + g(u) * F(u), He et al. 2016, figure 2(c) and section 3.1.

    Each way works out the gate for itself, so that what comes back through the gate of one way is
    booked on that way.  Where the dimensions change there is no gate.
    """

    def branch(self, u: Any) -> Any:
        out, skip = super().branch(u), self.downsample
        return skip.opening(u) * out if isinstance(skip, GatedShortcut) else out


class BNAfterAdditionBlock(PostActivationBlock):
    """conv-BN-ReLU-...-conv, the sum, then BN-ReLU: He et al. 2016, figure 4(b).

    The batch norm after the sum has the name of the one that it takes the place of.
    """

    def branch(self, u: Any) -> Any:
        for i in range(1, self.depth + 1):
            u = getattr(self, f"conv{i}")(u)
            if i < self.depth:
                u = F.relu(getattr(self, f"bn{i}")(u))
        return u

    def activation(self, z: Any) -> Any:
        return F.relu(getattr(self, f"bn{self.depth}")(z))


class ReLUBeforeAdditionBlock(PostActivationBlock):
    """conv-BN-ReLU-...-conv-BN-ReLU, and nothing after the sum: He et al. 2016, figure 4(c).

    A branch that gives nothing below zero can only make the signal grow from block to block.
    """

    def branch(self, u: Any) -> Any:
        return F.relu(super().branch(u))

    def activation(self, z: Any) -> Any:
        return z


class ReLUOnlyBlock(PostActivationBlock):
    """ReLU-conv-BN-...-ReLU-conv-BN, and nothing after the sum: He et al. 2016, figure 4(d).

    Where the shortcut projects or the dimensions change, both ways share the first ReLU.
    """

    def pre(self, x: Any) -> Any:
        return F.relu(x) if self.shares_pre else x

    def branch(self, u: Any) -> Any:
        return super().branch(u if self.first or self.shares_pre else F.relu(u))

    def activation(self, z: Any) -> Any:
        return z


class PreActivationBlock(ConvBlock):
    """The block of He et al. 2016: BN-ReLU-conv-...-BN-ReLU-conv, and nothing after the sum.

    Where the shortcut projects or the dimensions change, branch and shortcut share the first
    BN-ReLU (``pre``), so that a projection reads what is normalised and activated; a plain block
    has it in the same place as the residual block of its options.  The first block of a network
    gets an input that the stem has just activated, and has no BN of its own.
    """

    def _add_beside_conv(self, i: int, spec: ConvSpec) -> None:
        if not (self.first and i == 1):
            setattr(self, f"bn{i}", normalisation(spec.in_channels, self.options.norm))

    def _projection(self, conv: nn.Module, out_channels: int) -> nn.Module:
        return nn.Sequential(conv)  # no BN behind it: it reads what pre has normalised

    def pre(self, x: Any) -> Any:
        return F.relu(self.bn1(x)) if self.shares_pre else x

    def branch(self, u: Any) -> Any:
        for i in range(1, self.depth + 1):
            activated = i == 1 and (self.first or self.shares_pre)
            if not activated:
                u = F.relu(getattr(self, f"bn{i}")(u))
            u = getattr(self, f"conv{i}")(u)
        return u
