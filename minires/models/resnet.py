"""What the families of He et al. have in common: a stem, stages of blocks, and a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import minires.functional as F
from minires import nn, rng
from minires.autograd import guard
from minires.errors import UsageError
from minires.kernels.checks import number, whole
from minires.models.block_options import BlockOptions, check_options, check_zero_init
from minires.models.blocks import make_stage
from minires.models.conv_block import normalisation
from minires.models.fixup import FixupBlock, FixupLinear, start_fixup
from minires.models.shortcuts import GatedShortcut

__all__ = ["AuxiliaryHead", "ResNet", "Stage", "build", "draw_weights"]


def classifier(channels: int, num_classes: int, options: BlockOptions) -> nn.Linear:
    """The linear layer at the end of a head."""
    return (FixupLinear if options.fixup else nn.Linear)(channels, num_classes)


class AuxiliaryHead(nn.Module):
    """A classifier in the middle of a network: mean over the pixels, and a linear layer.

    As the head of the network itself, it begins with (BN and) ReLU if the blocks do.
    """

    def __init__(self, channels: int, num_classes: int, options: BlockOptions):
        super().__init__()
        self.bn = normalisation(channels, options.head_norm) if options.activates_last else None
        self.fc = classifier(channels, num_classes, options)

    def forward(self, x: Any) -> Any:
        """Logits (N, num_classes) of what a block gave, (N, channels, H, W)."""
        if self.bn is not None:
            x = F.relu(self.bn(x))
        return self.fc(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Stage(nn.Sequential):
    """Blocks one after the other, in a network with heads that read what some of them give."""

    def forward(self, input: Any, given: list[Any] | None = None) -> Any:
        """The output of the last block; ``given`` gets that of each, for the heads."""
        for block in self:
            input = block(input)
            if given is not None:
                given.append(input)
        return input


class ResNet(nn.Module):
    """Base of :class:`CifarResNet` and :class:`ImageNetResNet`, which make the stem and the stages.

    Attributes:
        depth: layers with weights, from the first convolution to the head.
        residual, preactivation, norm, order: as the function that built it was told.
        options: all that it was told, so that the network can be built again; None for one that
            was not built by a function.  ``order`` is None where ``preactivation`` says it all.
        block_options: of its blocks, so that more of them can be made.
        aux_after: the block, counted from 1, behind which each auxiliary head reads.
    """

    def __init__(self, depth: int, options: BlockOptions):
        super().__init__()
        self.depth, self.residual = depth, options.residual
        self.preactivation, self.norm = options.preactivation, options.norm
        self.order = options.order
        self.options: dict[str, Any] | None = None
        self.block_options = options
        self.aux_after: tuple[int, ...] = ()

    def _add_stages_and_head(self, width: int, stages: Sequence[int], num_classes: int) -> None:
        """layer1, layer2, ... of so many blocks, each but the first halving the image, and fc."""
        options, channels = self.block_options, width
        for i, blocks in enumerate(stages):
            inner, stride = width * 2**i, 1 if i == 0 else 2
            made = make_stage(channels, inner, blocks, stride, options, first=i == 0)
            setattr(self, f"layer{i + 1}", made)
            channels = inner * options.expansion
        if options.activates_last:
            self.bn2 = normalisation(channels, options.head_norm)
        self.fc = classifier(channels, num_classes, options)

    def add_auxiliary_heads(self, count: int) -> None:
        """Put ``count`` classifiers, aux1, aux2, ..., evenly between the blocks.

        Head i of k reads what block round(i*B / (k + 1)) of B gives.  In training the loss of each
        is added to that of the network (:func:`minires.nn.total_loss`), so that blocks far from the
        end are given a gradient from near by; in evaluation the heads do not run.

        It is the remedy against vanishing gradients that was tried before skips.  Lee et al. 2015
        (deeply supervised nets) put a classifier at every hidden layer; Szegedy et al. 2015
        (GoogLeNet, section 5) put two in the middle and added their losses with weight 0.3; He et
        al. 2015 (section 2) name it among the remedies, and use none of it.

        Raises UsageError unless there are more blocks than heads.
        """
        blocks = self.blocks()
        if not 0 <= whole(count, "aux_heads") < len(blocks):
            raise UsageError(
                f"aux_heads={count}: a network of {len(blocks)} blocks has room for 0 to "
                f"{len(blocks) - 1} auxiliary heads, one behind each block but the last."
            )
        if not count:
            return
        for name, stage in list(self.named_stages()):
            setattr(self, name, Stage(*stage.children()))
        self.aux_after = evenly_between(len(blocks), count)
        for i, after in enumerate(self.aux_after, 1):
            sizes = out_channels(blocks[after - 1]), self.fc.weight.shape[0]
            setattr(self, f"aux{i}", AuxiliaryHead(*sizes, self.block_options))

    def stem(self, x: Any) -> Any:
        """What comes before the blocks."""
        raise NotImplementedError(f"{type(self).__name__} must define stem().")

    def named_stages(self) -> Iterator[tuple[str, nn.Module]]:
        """layer1, layer2, ..., with their names."""
        return (item for item in self.named_children() if item[0].startswith("layer"))

    def stages(self) -> Iterator[nn.Module]:
        """layer1, layer2, ..."""
        return (stage for _, stage in self.named_stages())

    def forward(self, x: Any) -> Any:
        """Logits (N, num_classes) of images (N, in_channels, H, W).

        With auxiliary heads, in training mode: :class:`minires.nn.Outputs`, that is
        ``(logits, (logits of aux1, logits of aux2, ...))``.
        """
        if self.aux_after and self.training:
            return self._forward_with_heads(x)
        x = self.stem(x)
        for stage in self.stages():
            x = stage(x)
        return self.head(x)

    def _forward_with_heads(self, x: Any) -> nn.Outputs:
        x = self.stem(x)
        given: list[Any] = []  # by each block
        for stage in self.stages():
            x = stage(x, given=given)
        heads = (getattr(self, f"aux{i}") for i in range(1, len(self.aux_after) + 1))
        auxiliary = (head(given[at - 1]) for head, at in zip(heads, self.aux_after, strict=True))
        return nn.Outputs(self.head(x), tuple(auxiliary))

    def head(self, x: Any) -> Any:
        """What comes after the blocks."""
        if self.block_options.activates_last:
            x = F.relu(self.bn2(x))
        return self.fc(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    def extra_repr(self) -> str:
        """Depth and kind."""
        kind = "residual" if self.residual else "plain"
        order = ", pre-activation" if self.preactivation else f", {self.order}"
        return f"{kind}-{self.depth}{'' if self.order == 'original' else order}"

    def blocks(self) -> list[nn.ResidualBlock]:
        """The blocks from the stem to the head."""
        return [m for m in self.modules() if isinstance(m, nn.ResidualBlock)]


def evenly_between(blocks: int, heads: int) -> tuple[int, ...]:
    """The block, counted from 1, behind which each of the heads reads.

    >>> evenly_between(9, 2), evenly_between(9, 3)
    ((3, 6), (2, 4, 7))
    """
    return tuple(round(i * blocks / (heads + 1)) for i in range(1, heads + 1))


def out_channels(block: Any) -> int:
    """Of the last convolution in the branch of a block."""
    return int(getattr(block, f"conv{block.depth}").weight.shape[0])


N = TypeVar("N", bound=ResNet)


def build(
    network: Callable[..., N], depth: int, options: BlockOptions, arguments: Mapping[str, Any]
) -> N:
    """A network with its weights: what the functions of all families do with their arguments.

    Args:
        network: the class; it is given the depth, the options of the blocks and the sizes.
        arguments: all that the function was given, by name; kept as ``options`` of the network.
    """
    sizes = {n: whole(arguments[n], n) for n in ("width", "in_channels", "num_classes")}
    init_scale = number(arguments["init_scale"], "init_scale")
    if min(sizes.values()) < 1:
        raise UsageError("width, in_channels and num_classes must be at least 1.")
    check_options(options)
    if arguments["zero_init_residual"]:
        check_zero_init(options)
    generator = rng.spawn()
    state = rng.get_state()
    model = network(depth, options, **sizes)
    model.add_auxiliary_heads(arguments["aux_heads"])
    rng.set_state(state)  # the layers' own first draws are replaced, and count for nothing
    draw_weights(model, generator, init_scale)
    if arguments["zero_init_residual"]:
        start_at_skip(model)
    if options.stochastic_depth is not None:
        thin_out(model.blocks(), options.stochastic_depth)
    model.options = {**arguments, **options.as_arguments, **sizes}
    model.options |= {"depth": depth, "init_scale": init_scale}
    return model


def draw_weights(model: nn.Module, generator: Any, init_scale: float) -> None:
    """He initialisation; the projections of the shortcuts, which plain networks lack, come last.

    Auxiliary heads have a generator of their own, so that all else starts the same without them.
    Gates keep the bias they start with, and Fixup has its way with the weights of its blocks.
    """
    named = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    named.sort(key=lambda item: ".downsample" in item[0])  # stable: the others keep their order
    for_heads = generator.spawn(1)[0]
    for name, module in named:
        if isinstance(module, nn.Linear):  # PyTorch's default
            draw = for_heads if name.startswith("aux") else generator
            bound = nn.init.fans(module.weight.shape)[0] ** -0.5
            nn.init.uniform_(module.weight, -bound, bound, draw)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, draw)
            continue
        nn.init.kaiming_normal_(
            module.weight, mode="fan_out", nonlinearity="relu", generator=generator
        )
        if init_scale != 1.0:
            with guard.writable(module.weight._data) as weight:
                weight *= init_scale
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    start_fixup([m for m in model.modules() if isinstance(m, FixupBlock)])
    for part in model.modules():
        if isinstance(part, GatedShortcut):
            part.reset_bias()
        elif isinstance(part, FixupLinear):
            part.start_at_zero()


def thin_out(blocks: Sequence[nn.ResidualBlock], last: float) -> None:
    """Give block l of L the survival probability 1 - l/L * (1 - last).

    Stochastic depth with linear decay, Huang et al. 2016, equation 4: the early blocks, whose
    features all later ones use, are dropped least.

    >>> blocks = [nn.ResidualBlock() for _ in range(4)]
    >>> thin_out(blocks, 0.5)
    >>> [block.survival_probability for block in blocks]
    [0.875, 0.75, 0.625, 0.5]
    """
    for i, block in enumerate(blocks, 1):
        block.survival_probability = 1.0 - i / len(blocks) * (1.0 - last)


def start_at_skip(model: ResNet) -> None:
    """Set what scales each branch as a whole to zero (Goyal et al. 2017, section 5.1)."""
    for block in model.blocks():
        nn.init.zeros_(block.last_scale())
