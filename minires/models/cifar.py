"""The networks for small images of He et al. 2015, section 4.2, and He et al. 2016.

A 3x3 convolution, three stages of n blocks with 16, 32 and 64 filters (times width/16), the first
block of the second and third stage halving the image; global average pooling and a linear layer.
"""

from __future__ import annotations

import math
from typing import Any

import minires.functional as F
from minires import nn
from minires.errors import UsageError
from minires.kernels.checks import whole
from minires.models.block_options import BlockOptions
from minires.models.blocks import stem_norm
from minires.models.resnet import ResNet, build

__all__ = ["CifarResNet", "check_depth", "cifar_plain", "cifar_resnet", "nearest_depths"]


class CifarResNet(ResNet):
    """See :func:`cifar_resnet`, which checks the arguments and draws the weights."""

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
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=options.conv_bias)
        self.bn1 = stem_norm(width, options)
        blocks = (depth - 2) // 3 // options.layers
        self._add_stages_and_head(width, [blocks] * 3, num_classes)

    def stem(self, x: Any) -> Any:
        """A 3x3 convolution, BN and ReLU."""
        return F.relu(self.bn1(self.conv1(x)))


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
    aux_heads: int = 0,
    order: str | None = None,
    skip: str = "identity",
    gate_bias: float | None = None,
    branch_scale: float | None = None,
    stochastic_depth: float | None = None,
    fixup: bool = False,
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
        zero_init_residual: start with branches that are zero, so that each block is its skip (and
            what follows the sum).
        norm: 'batch' or None.
        init_scale: multiplies the He initialisation of all convolutions.
        layers_per_skip: convolutions that a shortcut passes over; 2 for basic blocks if left out,
            always 3 for bottlenecks.
        aux_heads: classifiers beside the main one, evenly between the blocks; see
            :meth:`ResNet.add_auxiliary_heads`.
        order: of batch norm, ReLU and addition (He et al. 2016, table 2, with errors in
            :mod:`minires.models.orders`): 'original', 'bn-after-addition', 'relu-before-addition',
            'relu-only-preactivation' or 'full-preactivation'; None: as ``preactivation`` says.
        skip: what the identity shortcuts are (He et al. 2016, table 1, with errors in
            :mod:`minires.models.shortcuts`): 'identity'; 'constant-scaling' (0.5 on skip and
            branch), 'constant-scaling-skip' (0.5 on the skip alone), 'exclusive-gating',
            'shortcut-only-gating', 'conv' (1x1, with BN, as a projection) or 'dropout' (0.5).
        gate_bias: where the biases of the gates start; -6, the best of the paper, if left out.
        branch_scale: a learned scalar for each branch that starts at this number.  With 0.0 every
            block starts as its skip: SkipInit (De and Smith 2020), which is meant for
            ``norm=None``, and ReZero (Bachlechner et al. 2020, equation 1).
        stochastic_depth: probability that the branch of the last block survives in a step of
            training; that of the others decays to it linearly, from 1 at the stem (Huang et al.
            2016, equation 4; the paper has 0.5).
        fixup: scalar biases, a multiplier a branch, and a start that does without normalisation
            (Zhang et al. 2019, see :mod:`minires.models.fixup`); needs ``norm=None``.

    Returns:
        The network in training mode.  Its weights come from one draw of the default generator, and
        those that plain and residual networks have in common are drawn first, so that with the
        same seed both start from the same weights.

    Raises:
        UsageError: a depth that does not exist (the message names the nearest), an unknown kind, or
            options that do not go together (the message says why).

    >>> import minires as mr
    >>> sum(p.numel() for p in mr.models.cifar_resnet(20).parameters())
    269722
    >>> model = cifar_resnet(20, width=4, norm=None, branch_scale=0.0)  # SkipInit
    >>> model.layer1[0].branch_scale
    tensor([0.], requires_grad=True)
    """
    arguments = dict(locals())
    depth, layers = whole(depth, "depth"), _layers_per_skip(block, layers_per_skip)
    check_depth(depth, block, layers)
    return build(CifarResNet, depth, BlockOptions.of(arguments, layers=layers), arguments)


def cifar_plain(depth: int, **options: Any) -> CifarResNet:
    """The same layers without skips; takes the arguments of :func:`cifar_resnet`.

    >>> cifar_plain(20, width=8)
    ... # doctest: +ELLIPSIS
    CifarResNet(plain-20
    ...
    """
    return cifar_resnet(depth, residual=False, **options)


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
    if layers is None:
        return 2
    if whole(layers, "layers_per_skip") < 1:
        raise UsageError(f"layers_per_skip must be at least 1, got {layers}.")
    return whole(layers, "layers_per_skip")


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
