"""The blocks of He et al., and of those who asked what of them is needed.

Each part has a file of its own: :mod:`~minires.models.block_options` (what can be chosen),
:mod:`~minires.models.conv_block` (what all blocks share), :mod:`~minires.models.shortcuts` (the
skip), :mod:`~minires.models.orders` (batch norm, ReLU and addition), :mod:`~minires.models.fixup`.
"""

from __future__ import annotations

from collections.abc import Sequence

from minires import nn
from minires.models.block_options import EXPANSION, BlockOptions
from minires.models.conv_block import ConvBlock, ConvSpec, basic, bottleneck, normalisation
from minires.models.fixup import FixupBlock, ScalarBias
from minires.models.orders import (
    BNAfterAdditionBlock,
    ExclusiveGatingBlock,
    PostActivationBlock,
    PreActivationBlock,
    ReLUBeforeAdditionBlock,
    ReLUOnlyBlock,
)
from minires.models.shortcuts import CONSTANT

__all__ = ["basic", "bottleneck", "make_block", "make_stage", "stem_norm"]

BLOCKS: dict[str, type[ConvBlock]] = {
    "original": PostActivationBlock,
    "bn-after-addition": BNAfterAdditionBlock,
    "relu-before-addition": ReLUBeforeAdditionBlock,
    "relu-only-preactivation": ReLUOnlyBlock,
    "full-preactivation": PreActivationBlock,
}


def stem_norm(channels: int, options: BlockOptions) -> nn.Module:
    """What follows the convolution of the stem: batch norm, nothing, or the scalar of Fixup."""
    return ScalarBias() if options.fixup else normalisation(channels, options.norm)


def make_block(
    convs: Sequence[ConvSpec], options: BlockOptions, *, first: bool = False
) -> ConvBlock:
    """One block with these convolutions; ``first`` if its input comes from the stem."""
    kind = BLOCKS[options.order]
    if options.fixup:
        kind = FixupBlock
    elif options.skip == "exclusive-gating":
        kind = ExclusiveGatingBlock
    block = kind(convs, options, first=first)
    if options.skip.startswith("constant-scaling") and not block.changes_shape:
        block.skip_scale = CONSTANT
        if options.skip == "constant-scaling":
            block.branch_scale = CONSTANT
    return block


def make_stage(
    in_channels: int,
    inner: int,
    blocks: int,
    stride: int,
    options: BlockOptions,
    *,
    first: bool = False,
) -> nn.Sequential:
    """``blocks`` blocks of ``inner`` inner channels; the first of them has the stride.

    Args:
        in_channels: of the stage's input; its output has ``inner * options.expansion``.
        first: whether the stage begins the network, so that its input comes from the stem.

    >>> import minires as mr
    >>> make_stage(4, 8, 2, stride=2, options=BlockOptions())(mr.randn(1, 4, 8, 8)).shape
    (1, 8, 4, 4)
    """
    made: list[nn.Module] = []
    channels = in_channels
    for i in range(blocks):
        step = stride if i == 0 else 1
        if options.block == "bottleneck":
            convs = bottleneck(channels, inner, step, EXPANSION)
        else:
            convs = basic(channels, inner, step, options.layers)
        made.append(make_block(convs, options, first=first and i == 0))
        channels = inner * options.expansion
    return nn.Sequential(*made)
