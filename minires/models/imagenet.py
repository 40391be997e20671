"""The networks for ImageNet of He et al. 2015, table 1, and He et al. 2016, table 5.

A 7x7 convolution and a pooling, each halving the image; four stages of blocks with 64, 128, 256 and
512 filters (times width/64), each but the first halving it again; global average pooling and a
linear layer.  Parameters have the names and the order of torchvision's networks, so that weights
can go to and fro as they are.
"""

from __future__ import annotations

from typing import Any

import minires.functional as F
from minires import nn
from minires.errors import UsageError
from minires.kernels.checks import whole
from minires.models.block_options import BlockOptions
from minires.models.blocks import stem_norm
from minires.models.resnet import ResNet, build

__all__ = [
    "STAGES",
    "ImageNetResNet",
    "block_of",
    "imagenet_resnet",
    "plain18",
    "plain34",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
]

# Blocks of each stage: basic ones in the first two, bottlenecks in the others.
STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


class ImageNetResNet(ResNet):
    """See :func:`imagenet_resnet`, which checks the arguments and draws the weights."""

    def __init__(
        self,
        depth: int,
        options: BlockOptions,
        *,
        width: int,
        in_channels: int,
        num_classes: int,
    ):
        super().__init__(depth, options)
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=options.conv_bias)
        self.bn1 = stem_norm(width, options)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self._add_stages_and_head(width, STAGES[depth], num_classes)

    def stem(self, x: Any) -> Any:
        """A 7x7 convolution, BN and ReLU, and the largest of 3x3: a quarter of height and width."""
        return self.maxpool(F.relu(self.bn1(self.conv1(x))))


def imagenet_resnet(
    depth: int,
    *,
    residual: bool = True,
    block: str | None = None,
    preactivation: bool = False,
    shortcut: str = "B",
    width: int = 64,
    in_channels: int = 3,
    num_classes: int = 1000,
    zero_init_residual: bool = False,
    norm: str | None = "batch",
    init_scale: float = 1.0,
    aux_heads: int = 0,
    order: str | None = None,
    skip: str = "identity",
    gate_bias: float | None = None,
    branch_scale: float | None = None,
    stochastic_depth: float | None = None,
    fixup: bool = False,
) -> ImageNetResNet:
    """A residual network for large images (He et al. 2015, table 1; He et al. 2016, table 5).

    With the defaults it is torchvision's network of that depth: the same parameters under the same
    names in the same order, the stride of a bottleneck on its 3x3 convolution, the same
    initialisation.  Images of any size go in, (N, in_channels, H, W); it divides height and width
    by 32, rounded up.

    Args:
        depth: 18 or 34 (basic blocks), 50, 101, 152 or 200 (bottlenecks).
        residual: False leaves the skips out and keeps the layers: the plain network.
        block: 'basic' or 'bottleneck'; it goes with the depth, and can be left out.
        preactivation: BN and ReLU before the weights (He et al. 2016) instead of after.
        shortcut: where the dimensions change, 'A' pads with zeros, 'B' projects with a 1x1
            convolution; 'C' projects everywhere (He et al. 2015, table 3).
        width: filters of the first stage.
        in_channels, num_classes: of the data.
        zero_init_residual: start with branches that are zero, so that each block is its skip (and
            what follows the sum; Goyal et al. 2017, section 5.1).
        norm: 'batch' or None.
        init_scale: multiplies the He initialisation of all convolutions.
        aux_heads: classifiers beside the main one, evenly between the blocks; see
            :meth:`ResNet.add_auxiliary_heads`.
        order, skip, gate_bias, branch_scale, stochastic_depth, fixup: variants of the blocks; see
            :func:`~minires.models.cifar_resnet`.

    Returns:
        The network in training mode.  Its weights come from one draw of the default generator, and
        those that plain and residual networks have in common are drawn first, so that with the
        same seed both start from the same weights.

    Raises:
        UsageError: a depth that does not exist (the message names all), an unknown kind, or
            options that do not go together (the message says why).

    >>> import minires as mr
    >>> sum(p.numel() for p in mr.models.imagenet_resnet(18).parameters())
    11689512
    >>> model = mr.models.imagenet_resnet(50, width=2, num_classes=5)
    >>> model(mr.randn(2, 3, 32, 32)).shape
    (2, 5)
    """
    arguments = dict(locals())
    depth = whole(depth, "depth")
    kind = block_of(depth, block)
    layers = 3 if kind == "bottleneck" else 2
    options = BlockOptions.of(arguments, block=kind, layers=layers)
    return build(ImageNetResNet, depth, options, arguments)


def block_of(depth: int, block: str | None = None) -> str:
    """The kind of block that goes with ``depth``; UsageError if there is none."""
    if depth not in STAGES:
        raise UsageError(
            f"Depth {depth} does not exist in the ImageNet family: choose one of "
            f"{', '.join(map(str, STAGES))}. For other depths there is models.cifar_resnet."
        )
    kind = "basic" if depth < 50 else "bottleneck"
    if block not in (None, kind):
        raise UsageError(
            f"block={block!r}: the ImageNet family has basic blocks at depth 18 and 34 and "
            f"bottlenecks at the others, so depth {depth} has block={kind!r}. Leave block out."
        )
    return kind


def resnet18(**options: Any) -> ImageNetResNet:
    """ResNet-18, 11.7 million parameters; takes the options of :func:`imagenet_resnet`.

    >>> resnet18(width=4, num_classes=10).fc
    Linear(32, 10, bias=True)
    """
    return imagenet_resnet(18, **options)


def resnet34(**options: Any) -> ImageNetResNet:
    """ResNet-34, 21.8 million parameters; takes the options of :func:`imagenet_resnet`."""
    return imagenet_resnet(34, **options)


def resnet50(**options: Any) -> ImageNetResNet:
    """ResNet-50, 25.6 million parameters; takes the options of :func:`imagenet_resnet`."""
    return imagenet_resnet(50, **options)


def resnet101(**options: Any) -> ImageNetResNet:
    """ResNet-101, 44.5 million parameters; takes the options of :func:`imagenet_resnet`."""
    return imagenet_resnet(101, **options)


def resnet152(**options: Any) -> ImageNetResNet:
    """ResNet-152, 60.2 million parameters; takes the options of :func:`imagenet_resnet`."""
    return imagenet_resnet(152, **options)


def plain18(**options: Any) -> ImageNetResNet:
    """ResNet-18 without skips (He et al. 2015, section 4.1); takes the same options."""
    return imagenet_resnet(18, residual=False, **options)


def plain34(**options: Any) -> ImageNetResNet:
    """ResNet-34 without skips (He et al. 2015, figure 3, middle); takes the same options."""
    return imagenet_resnet(34, residual=False, **options)
