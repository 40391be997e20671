"""The networks for small images of He et al. 2015, section 4.2, and He et al. 2016.

A 3x3 convolution, three stages of n blocks with 16, 32 and 64 filters (times width/16), the first
block of the second and third stage halving the image; global average pooling and a linear layer.
"""

from __future__ import annotations

import math
from typing import Any

import minires.functional as F
from minires import nn, rng
from minires.autograd import guard
from minires.errors import UsageError
from minires.models.blocks import (
    PostActivationBlock,
    PreActivationBlock,
    basic,
    bottleneck,
    normalisation,
)

__all__ = ["CifarResNet", "check_depth", "cifar_plain", "cifar_resnet", "nearest_depths"]

EXPANSION = 4  # a bottleneck ends with four times its inner channels


class CifarResNet(nn.Module):
    """See :func:`cifar_resnet`, which checks the arguments and draws the weights."""

    def __init__(
        self,
        depth: int,
        *,
        residual: bool,
        block: str,
        preactivation: bool,
        shortcut: str,
        width: int,
        in_channels: int,
        num_classes: int,
        norm: str | None,
        layers_per_skip: int,
    ):
        super().__init__()
        self.depth, self.residual, self.preactivation = depth, residual, preactivation
        self.norm = norm
        self.options: dict[str, Any] | None = None  # the arguments of cifar_resnet
        blocks_a_stage = (depth - 2) // 3 // layers_per_skip
        expansion = EXPANSION if block == "bottleneck" else 1

        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=norm is None)
        self.bn1 = normalisation(width, norm)
        channels = width
        for stage in range(3):
            inner = width * 2**stage
            blocks: list[nn.Module] = []
            for i in range(blocks_a_stage):
                stride = 2 if stage > 0 and i == 0 else 1
                if block == "bottleneck":
                    convs = bottleneck(channels, inner, stride, EXPANSION)
                else:
                    convs = basic(channels, inner, stride, layers_per_skip)
                options: dict[str, Any] = dict(residual=residual, shortcut=shortcut, norm=norm)
                if preactivation:
                    first = stage == 0 and i == 0
                    blocks.append(PreActivationBlock(convs, first=first, **options))
                else:
                    blocks.append(PostActivationBlock(convs, **options))
                channels = inner * expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        if preactivation:
            self.bn2 = normalisation(channels, norm)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Any) -> Any:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.preactivation:
            x = F.relu(self.bn2(x))
        return self.fc(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    def extra_repr(self) -> str:
        """Depth and kind."""
        kind = "residual" if self.residual else "plain"
        return f"{kind}-{self.depth}{', pre-activation' if self.preactivation else ''}"

    def blocks(self) -> list[nn.ResidualBlock]:
        """The blocks from the stem to the head."""
        return [m for m in self.modules() if isinstance(m, nn.ResidualBlock)]


def cifar_resnet(
    depth: int,
    *,
    residual: bool = True,
    block: str = "basic",
    preactivation: bool = False,
    shortcut: str = "A",
    width: int = 16,
    in_channels: int = 3,
    num_classes: int = 10,
    zero_init_residual: bool = False,
    norm: str | None = "batch",
    init_scale: float = 1.0,
    layers_per_skip: int | None = None,
) -> CifarResNet:
    """A residual network for small images (He et al. 2015, section 4.2).

    Args:
        depth: 6n + 2 with basic blocks (20, 32, 44, 56, 110, 1202), 9n + 2 with bottlenecks.
        residual: False leaves the skips out and keeps the layers: the plain network.
        block: 'basic' (3x3 convolutions) or 'bottleneck' (1x1, 3x3, 1x1 with four times the width).
        preactivation: BN and ReLU before the weights (He et al. 2016) instead of after.
        shortcut: where the dimensions change, 'A' pads with zeros, 'B' projects with a 1x1
            convolution; 'C' projects everywhere.
        width: filters of the first stage.
        in_channels, num_classes: of the data.
        zero_init_residual: start with branches that are zero, so that each block is the identity.
        norm: 'batch' or None.
        init_scale: multiplies the He initialisation of all convolutions.
        layers_per_skip: convolutions that a shortcut passes over; 2 for basic blocks if left out,
            always 3 for bottlenecks.

    Returns:
        The network in training mode.  Its weights come from one draw of the default generator, and
        those that plain and residual networks have in common are drawn first, so that with the
        same seed both start from the same weights.

    Raises:
        UsageError: a depth that does not exist (the message names the nearest), or an unknown kind.

    >>> import minires as mr
    >>> sum(p.numel() for p in mr.models.cifar_resnet(20).parameters())
    269722
    """
    if block not in ("basic", "bottleneck"):
        raise UsageError(f"Unknown block {block!r}: choose 'basic' or 'bottleneck'.")
    if shortcut not in ("A", "B", "C"):
        raise UsageError(f"Unknown shortcut {shortcut!r}: choose A, B or C.")
    if norm not in ("batch", None):
        raise UsageError(f"Unknown norm {norm!r}: choose 'batch' or None.")
    if zero_init_residual and not residual:
        raise UsageError("zero_init_residual would make a plain network dead: it needs skips.")
    if width < 1 or in_channels < 1 or num_classes < 1:
        raise UsageError("width, in_channels and num_classes must be at least 1.")
    layers = _layers_per_skip(block, layers_per_skip)
    check_depth(depth, block, layers)

    generator = rng.spawn()
    state = rng.get_state()
    model = CifarResNet(
        depth,
        residual=residual,
        block=block,
        preactivation=preactivation,
        shortcut=shortcut,
        width=width,
        in_channels=in_channels,
        num_classes=num_classes,
        norm=norm,
        layers_per_skip=layers,
    )
    rng.set_state(state)  # the layers' own first draws are replaced, and count for nothing
    _draw_weights(model, generator, init_scale)
    if zero_init_residual:
        for residual_block in model.blocks():
            nn.init.zeros_(residual_block.last_scale(norm))
    model.options = dict(
        depth=depth,
        residual=residual,
        block=block,
        preactivation=preactivation,
        shortcut=shortcut,
        width=width,
        in_channels=in_channels,
        num_classes=num_classes,
        zero_init_residual=zero_init_residual,
        norm=norm,
        init_scale=init_scale,
        layers_per_skip=layers_per_skip,
    )
    return model


def cifar_plain(depth: int, **options: Any) -> CifarResNet:
    """The same layers without skips; takes the arguments of :func:`cifar_resnet`.

    >>> cifar_plain(20, width=8)
    ... # doctest: +ELLIPSIS
    CifarResNet(plain-20
    ...
    """
    return cifar_resnet(depth, residual=False, **options)


def _draw_weights(model: CifarResNet, generator: Any, init_scale: float) -> None:
    """He initialisation; the projections of the shortcuts, which plain networks lack, come last."""
    named = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    named.sort(key=lambda item: ".downsample" in item[0])  # stable: the others keep their order
    for _, module in named:
        if isinstance(module, nn.Linear):  # PyTorch's default
            bound = nn.init.fans(module.weight.shape)[0] ** -0.5
            nn.init.uniform_(module.weight, -bound, bound, generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator)
            continue
        nn.init.kaiming_normal_(
            module.weight, mode="fan_out", nonlinearity="relu", generator=generator
        )
        if init_scale != 1.0:
            with guard.writable(module.weight._data) as weight:
                weight *= init_scale
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def nearest_depths(depth: int, block: str = "basic", layers_per_skip: int = 2) -> list[int]:
    """The depths next to ``depth`` that exist, the smaller first.

    >>> nearest_depths(21), nearest_depths(3)
    ([20, 26], [8])
    """
    step = _depth_step(block, layers_per_skip)
    if depth < step + 2:
        return [step + 2]
    below = (depth - 2) // step * step + 2
    return [below, below + step]


def _depth_step(block: str, layers: int) -> int:
    """Depths are step*n + 2.

    Three stages of whole blocks make it a multiple of 3 * layers.  With basic blocks it is one of 6
    as well, so that every depth is one of the paper's, 6n + 2, and networks that differ in the
    layers a skip passes over can be compared at one depth.
    """
    return 9 if block == "bottleneck" else math.lcm(6, 3 * layers)


def _layers_per_skip(block: str, layers: int | None) -> int:
    if block == "bottleneck":
        if layers not in (None, 3):
            raise UsageError("A bottleneck block has 3 layers; leave layers_per_skip out.")
        return 3
    if layers is not None and layers < 1:
        raise UsageError(f"layers_per_skip must be at least 1, got {layers}.")
    return layers or 2


def check_depth(depth: int, block: str = "basic", layers: int = 2) -> None:
    """Raise UsageError, naming the nearest that exist, unless a network of ``depth`` exists."""
    step = _depth_step(block, layers)
    if depth >= step + 2 and (depth - 2) % step == 0:
        return
    near = nearest_depths(depth, block, layers)
    raise UsageError(
        f"Depth {depth} does not exist: with {block} blocks it must be {step}n+2; the nearest "
        f"{'is' if len(near) == 1 else 'are'} {' and '.join(map(str, near))}."
    )
