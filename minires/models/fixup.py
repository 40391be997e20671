"""Fixup: residual networks without normalisation, by how they start (Zhang, Dauphin, Ma 2019).

With He's initialisation and no norm the sum grows from block to block, and a step of the optimiser
changes the output the more the deeper the network is.  Fixup lets L branches of m layers each start
so that a step of size lr changes the output by Theta(lr), whatever L is.  Its three rules:

1. the last layer of each branch, and the classifier, start at zero;
2. the other layers of the branches start with He's weights times L^(-1/(2m - 2));
3. each branch has a scalar multiplier, from 1, and a scalar bias, from 0, stands before each
   convolution, linear layer and activation.

The authors train biases and multipliers with a tenth of the learning rate of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import guard
from minires.models.conv_block import ConvBlock, ConvSpec

__all__ = ["FixupBlock", "FixupLinear", "ScalarBias", "fixup_groups", "start_fixup"]

_SLOW = 0.1  # the rate of biases and multipliers, as a part of that of the weights


def _scalar(value: float) -> nn.Parameter:
    return nn.Parameter(np.array([value], np.float32))


class ScalarBias(nn.Module):
    """out = x + bias, one number for all of x, from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = _scalar(0.0)

    def forward(self, x: Any) -> Any:
        return x + self.bias


class FixupLinear(nn.Linear):
    """A linear layer with a scalar bias before it: out = weight @ (x + bias_before) + bias."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features)
        self.bias_before = _scalar(0.0)

    def start_at_zero(self) -> None:
        """Weight and bias: the first rule."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, input: Any) -> Any:
        return super().forward(input + self.bias_before)


class FixupBlock(ConvBlock):
    """The original block with scalars where it had batch norm; names as in the authors' code.

        F(u) = scale * conv2(relu(conv1(u + bias1a) + bias1b) + bias2a) + bias2b
        y    = relu(x + F(x))

    Where the dimensions change, the shortcut reads x + bias1a as well, which is then added before
    the ways part.  Fixup, figure 1, right; a bottleneck has one more layer.

    >>> import minires as mr
    >>> model = mr.models.cifar_resnet(20, width=4, norm=None, fixup=True)
    >>> block, x = model.layer1[1], mr.ones(1, 4, 8, 8)
    >>> bool((block(x) == x).data.all())
    True
    """

    def _add_beside_conv(self, i: int, spec: ConvSpec) -> None:
        setattr(self, f"bias{i}a", _scalar(0.0))
        if i == self.depth:
            self.scale = _scalar(1.0)
        setattr(self, f"bias{i}b", _scalar(0.0))

    def _projection(self, conv: nn.Module, out_channels: int) -> nn.Module:
        return nn.Sequential(conv)

    @property
    def shares_pre(self) -> bool:
        """Whether the first bias comes before the fork."""
        return self.projects or self.changes_shape

    def pre(self, x: Any) -> Any:
        return x + self.bias1a if self.shares_pre else x

    def branch(self, u: Any) -> Any:
        for i in range(1, self.depth + 1):
            if i > 1 or not self.shares_pre:
                u = u + getattr(self, f"bias{i}a")
            u = getattr(self, f"conv{i}")(u)
            if i == self.depth:
                u = u * self.scale
            u = u + getattr(self, f"bias{i}b")
            if i < self.depth:
                u = F.relu(u)
        return u

    activation = staticmethod(F.relu)  # type: ignore[assignment]


def fixup_groups(model: nn.Module, lr: float) -> list[dict[str, Any]]:
    """The parameters as an optimiser takes them: biases and multipliers with a tenth of the rate.

    The authors' code tells them by their names, so that the bias of the classifier is one of them.
    It gives no reason.  We observe that at the full rate the biases at the ends of all branches add
    up, and that the output of a deep network moves too far in a step.

    >>> import minires as mr
    >>> model = mr.models.cifar_resnet(8, width=2, norm=None, fixup=True)
    >>> [(len(g["params"]), g["lr"]) for g in fixup_groups(model, 0.5)]
    [(8, 0.5), (18, 0.05)]
    """
    weights: list[nn.Parameter] = []
    slow: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (slow if "bias" in name or "scale" in name else weights).append(parameter)
    return [{"params": weights, "lr": lr}, {"params": slow, "lr": lr * _SLOW}]


def start_fixup(blocks: Sequence[FixupBlock]) -> None:
    """Scale the branches of these L blocks, which have He's weights, as a function of L."""
    for block in blocks:
        for i in range(1, block.depth):
            with guard.writable(getattr(block, f"conv{i}").weight._data) as weight:
                weight *= len(blocks) ** (-1.0 / (2 * block.depth - 2))
        nn.init.zeros_(block.last_scale())
