"""What the families of He et al. have in common: a stem, stages of blocks, and a head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import minires.functional as F
from minires import nn
from minires.autograd import guard
from minires.models.blocks import BlockOptions, normalisation

__all__ = ["ResNet", "draw_weights", "start_at_identity"]


class ResNet(nn.Module):
    """Base of :class:`CifarResNet` and :class:`ImageNetResNet`, which make the stem and the stages.

    Attributes:
        depth: layers with weights, from the first convolution to the head.
        residual, preactivation, norm: as the function that built it was told.
        options: all that it was told, so that the network can be built again; None for one that
            was not built by a function.
    """

    def __init__(self, depth: int, options: BlockOptions):
        super().__init__()
        self.depth, self.residual = depth, options.residual
        self.preactivation, self.norm = options.preactivation, options.norm
        self.options: dict[str, Any] | None = None

    def _add_head(self, channels: int, num_classes: int) -> None:
        if self.preactivation:
            self.bn2 = normalisation(channels, self.norm)
        self.fc = nn.Linear(channels, num_classes)

    def stem(self, x: Any) -> Any:
        """What comes before the blocks."""
        raise NotImplementedError(f"{type(self).__name__} must define stem().")

    def stages(self) -> Iterator[nn.Module]:
        """layer1, layer2, ..."""
        return (module for name, module in self.named_children() if name.startswith("layer"))

    def forward(self, x: Any) -> Any:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        x = self.stem(x)
        for stage in self.stages():
            x = stage(x)
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


def draw_weights(model: nn.Module, generator: Any, init_scale: float) -> None:
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


def start_at_identity(model: ResNet) -> None:
    """Set what scales each branch as a whole to zero (Goyal et al. 2017, section 5.1)."""
    for block in model.blocks():
        nn.init.zeros_(block.last_scale(model.norm))
