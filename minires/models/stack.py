"""Stacks of constant width, one layer a block: the networks that theory is about.

Papers on how signals and gradients travel through deep networks (Balduzzi et al. 2017, Yang et al.
2019) look at networks without stages, strides and pooling, so that one layer is like the next and
what a layer does shows as a factor a layer.
"""

from __future__ import annotations

from typing import Any

import minires.functional as F
from minires import nn, rng
from minires.autograd import guard
from minires.errors import ShapeError, UsageError, describe
from minires.models.conv_block import normalisation

__all__ = ["Stack", "StackBlock", "stack"]


class VectorNorm(nn.BatchNorm2d):
    """Batch normalisation of vectors (N, C), as images of one pixel."""

    def forward(self, input: Any) -> Any:
        return super().forward(input.reshape(*input.shape, 1, 1)).reshape(*input.shape)


class StackBlock(nn.ResidualBlock):
    """One layer: batch norm (or nothing), ReLU, weights; with an identity shortcut or without.

        y = layer(relu(bn(x)))          plain
        y = x + layer(relu(bn(x)))      residual

    The shortcut is clean from the first block to the last (He et al. 2016), and a plain stack of
    these blocks is the usual one, weights-norm-ReLU: only where a block begins is another choice.
    """

    def __init__(self, width: int, *, residual: bool, norm: str | None, dense: bool):
        super().__init__()
        self.bn = VectorNorm(width) if dense and norm else normalisation(width, norm)
        self.relu = nn.ReLU()
        self.layer = _weights(width, width, norm, dense)
        if not residual:
            self.shortcut = None

    def branch(self, u: Any) -> Any:
        return self.layer(self.relu(self.bn(u)))


class Stack(nn.Module):
    """See :func:`stack`, which checks the arguments and draws the weights."""

    def __init__(
        self,
        depth: int,
        width: int,
        *,
        kind: str,
        norm: str | None,
        dense: bool,
        in_channels: int | None,
        num_classes: int | None,
    ):
        super().__init__()
        self.depth, self.width, self.kind, self.dense = depth, width, kind, dense
        self.stem = None if in_channels is None else _weights(in_channels, width, norm, dense)
        block: dict[str, Any] = dict(residual=kind == "residual", norm=norm, dense=dense)
        self.layers = nn.Sequential(*(StackBlock(width, **block) for _ in range(depth)))
        if num_classes is None:
            self.fc = None
        else:
            self.bn = VectorNorm(width) if dense and norm else normalisation(width, norm)
            self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Any) -> Any:
        """(N, num_classes) with a head; else what the last layer gives, (N, width[, H, W])."""
        x = F.flatten(x, 1) if self.dense else x
        if self.stem is not None:
            x = self.stem(x)
        elif x.ndim < 2 or x.shape[1] != self.width:
            raise ShapeError(
                f"stack: its layers take {self.width} numbers a "
                f"{'sample' if self.dense else 'pixel'}, and this stack has no stem.\n"
                f"  {describe(x=x)}\n  Give it in_channels for data of another size."
            )
        x = self.layers(x)
        if self.fc is None:
            return x
        x = F.relu(self.bn(x))
        return self.fc(x if self.dense else F.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    def extra_repr(self) -> str:
        """Kind, depth and width."""
        return f"{self.kind}-{self.depth}, width={self.width}"

    def blocks(self) -> list[nn.ResidualBlock]:
        """The blocks from the first to the last."""
        return [m for m in self.modules() if isinstance(m, nn.ResidualBlock)]


def stack(
    depth: int,
    width: int,
    *,
    kind: str = "plain",
    norm: str | None = "batch",
    init_scale: float = 1.0,
    dense: bool = True,
    in_channels: int | None = None,
    num_classes: int | None = None,
) -> Stack:
    """``depth`` equal layers of ``width`` units or channels, each a block of the contract.

    Args:
        depth: layers, each in a :class:`StackBlock` of its own.
        width: units of a dense layer, or channels of a convolution.
        kind: 'plain', or 'residual' with an identity shortcut past every layer.
        norm: 'batch' or None.
        init_scale: multiplies the He initialisation of all layers and of the stem.
        dense: linear layers on vectors (images are flattened); False makes 3x3 convolutions with
            padding 1, which keep the size of the image.
        in_channels: numbers a sample (dense) or channels (convolutions) of the data, which a linear
            stem brings to ``width``; None for data that have ``width`` of them, and no stem.
        num_classes: outputs of a head (batch norm, ReLU, mean over the pixels, linear); None for no
            head.

    Returns:
        The network in training mode.  Its weights come from one draw of the default generator: a
        plain and a residual stack that differ in nothing else start from the same ones.  The He
        initialisation is that by fan-in, which is fan-out too in all layers but the stem.

    Raises:
        UsageError: an unknown kind or norm, or a size below 1.

    >>> import minires as mr
    >>> model = mr.models.stack(3, 8, kind="residual", in_channels=64, num_classes=10)
    >>> model(mr.randn(2, 1, 8, 8)).shape, len(model.blocks())
    ((2, 10), 3)
    """
    if kind not in ("plain", "residual"):
        raise UsageError(f"stack: unknown kind {kind!r}; choose 'plain' or 'residual'.")
    if norm not in ("batch", None):
        raise UsageError(f"stack: unknown norm {norm!r}; choose 'batch' or None.")
    sizes = dict(depth=depth, width=width, in_channels=in_channels, num_classes=num_classes)
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise UsageError(f"stack: {name} must be at least 1, got {size}.")

    generator = rng.spawn()
    state = rng.get_state()
    model = Stack(
        depth,
        width,
        kind=kind,
        norm=norm,
        dense=dense,
        in_channels=in_channels,
        num_classes=num_classes,
    )
    rng.set_state(state)  # the layers' own first draws are replaced, and count for nothing
    _draw_weights(model, generator, init_scale)
    return model


def _weights(in_channels: int, out_channels: int, norm: str | None, dense: bool) -> nn.Module:
    """A linear layer, or a 3x3 convolution; the bias is left to the batch norm, if there is one."""
    if dense:
        return nn.Linear(in_channels, out_channels, bias=norm is None)
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=norm is None)


def _draw_weights(model: Stack, generator: Any, init_scale: float) -> None:
    """He initialisation with biases of zero; the head, which is last, as PyTorch does it."""
    for module in model.modules():
        if module is model.fc:
            bound = model.width**-0.5
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            with guard.writable(module.weight._data) as weight:
                weight *= init_scale
            if module.bias is not None:
                nn.init.zeros_(module.bias)
