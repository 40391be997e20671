"""Blocks that change nothing: what ``deepen`` puts into a network, or why it cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minires import nn, rng
from minires.autograd import Tensor, guard, no_grad
from minires.device import to_numpy, using_device_of
from minires.errors import ContractError, UsageError
from minires.models.block_options import BlockOptions
from minires.models.blocks import make_stage
from minires.models.resnet import ResNet, draw_weights, out_channels
from minires.models.stack import Stack, StackBlock
from minires.models.twins import twin
from minires.nn.devices import batch_for

__all__ = ["Plan", "Statistics", "check_can_deepen", "identity_block", "statistics_of"]


class Plan(NamedTuple):
    """How the blocks that are put in are made.

    Attributes:
        norm: 'batch', or None for blocks without.
        calibrated: whether their batch norm is in the way, and to be made neutral.
        init_scale: multiplies He's initialisation.
    """

    norm: str | None = None
    calibrated: bool = False
    init_scale: float = 1.0

    @classmethod
    def of(cls, model: ResNet | Stack, identity: str, data: Any, blocks: int) -> Plan:
        """For a network that will have so many blocks."""
        if identity not in ("without-norm", "calibrated"):
            raise UsageError(
                f"deepen: unknown identity {identity!r}; choose 'without-norm' or 'calibrated'."
            )
        if (identity == "calibrated") != (data is not None):
            raise UsageError(
                "deepen: identity='calibrated' measures batch norm's statistics on data, and only "
                "that does: give both, deepen(model, blocks, identity='calibrated', data=images), "
                "or neither."
            )
        if isinstance(model, Stack):
            return cls()  # its blocks are made as they are in the stack
        options = model.block_options
        scale = _fixup_scale(blocks, options.layers) if options.fixup else 1.0
        if options.norm is None or not _norm_is_in_the_way(options):
            return cls(options.norm, init_scale=scale)
        return cls(options.norm, True) if identity == "calibrated" else cls()


def _fixup_scale(blocks: int, layers: int) -> float:
    """Of the weights in L branches of m layers (Zhang et al. 2019)."""
    return float(blocks ** (-1.0 / (2 * layers - 2))) if layers > 1 else 1.0


def _projects(options: BlockOptions) -> bool:
    """Whether the shortcut has a convolution where the dimensions stay."""
    return options.residual and (options.shortcut == "C" or options.skip == "conv")


def _norm_is_in_the_way(options: BlockOptions) -> bool:
    """Whether what a block is given goes through a norm on its way to the end."""
    after = options.order == "bn-after-addition"
    return not options.residual or _projects(options) or after


# --- where there is no identity ---


def check_can_deepen(model: ResNet | Stack) -> None:
    """Raise ContractError if neither a branch of zero nor Dirac convolutions change nothing."""
    reason = _why_not(model)
    if reason:
        raise ContractError(f"deepen: {reason}")


def _why_not(model: ResNet | Stack) -> str:
    if isinstance(model, Stack):
        return _RELU_FIRST if model.kind == "plain" else ""
    options = model.block_options
    if options.activates_last and options.norm is not None:  # blocks begin with the activation
        if not options.residual:
            return f"{_RELU_FIRST} {_WITHOUT_NORM}"
        if _projects(options):
            return f"{_RELU_SHARED} {_WITHOUT_NORM}"
    if not options.residual:
        return _RANK if options.block == "bottleneck" else ""
    if options.skip not in ("identity", "conv"):
        return _SKIP.format(options.skip)
    if options.order == "relu-before-addition" and options.branch_scale is None:
        return _NO_GRADIENT
    return ""


# A large bias in the batch norm can keep some bounded data above 0, but not every x; and where the
# block ends with a square W without a bias that reads h >= 0, it does not help: h = W^-1 x would
# have to be >= 0 for x and for -x.
_RELU_FIRST = (
    "no plain block that begins with ReLU is the identity. All it computes, it computes from "
    "relu(x), or from relu(bn(x)): inputs that differ only where that is zero have the same "
    "output, and no skip carries the rest. Put ReLU at the end (a post-activation network), where "
    "x is from 0 on, or give the blocks skips."
)
_RELU_SHARED = (
    "no pre-activation block with a projection (shortcut C) is the identity. Its shortcut and its "
    "branch both read relu(bn(x)): inputs that differ only where that is zero have the same "
    "output. Take shortcut A or B, which leave x as it is where the dimensions stay."
)
_WITHOUT_NORM = (
    "A pre-activation network without batch norm can be made deeper: a block that gives relu(x) "
    "changes nothing there, since all that follows begins with ReLU as well. A batch norm before "
    "that ReLU sees the difference."
)
# A (C/4, C) matrix maps some v != 0 to zero, and x and x + v to the same.
_RANK = (
    "no plain bottleneck is the identity. Its first convolution makes C/4 channels of C, a matrix "
    "of rank C/4 at most: inputs that differ by what it maps to zero have the same output, "
    "whatever the later layers do. Take basic blocks, or give the blocks skips."
)
_SKIP = (
    "with skip='{}' a block whose branch is zero is not the identity. It multiplies what it is "
    "given by h, which is 0.5, or 1 - g(x), or a random mask, and L such blocks by L such factors "
    "(He et al. 2016, equation 7). Where there are skips, deepen knows no other way. Take "
    "skip='identity'."
)
# relu(F) = 0 everywhere means F <= 0 everywhere, where ReLU has no gradient.
_NO_GRADIENT = (
    "with order='relu-before-addition' a branch that is zero can never learn. It ends with ReLU "
    "and gives zero only where ReLU has no gradient, so that nothing in it would ever change. With "
    "branch_scale there is a factor behind that ReLU that can be zero and learn."
)


# --- the blocks ---


class Statistics(NamedTuple):
    """Mean and variance of each channel of what a stage gives, (C,) each, in float64."""

    mean: Any
    var: Any


def identity_block(
    model: ResNet | Stack,
    stage: nn.Sequential,
    plan: Plan,
    statistics: Statistics | None,
    generator: Any,
) -> nn.Module:
    """A block for the end of ``stage`` that gives what it is given.

    Where all that follows begins with ReLU, it may give relu of it.
    """
    block: Any
    if isinstance(model, Stack):
        norm = None if isinstance(stage[-1].bn, nn.Identity) else "batch"
        block = StackBlock(model.width, residual=True, norm=norm, dense=model.dense)
        for parameter in block.layer.parameters():
            nn.init.zeros_(parameter)
    else:
        block = _conv_block(model, stage, plan, statistics, generator)
    like = next(model.parameters())
    block.to(like.dtype).to(like.device).train(model.training)
    return block  # type: ignore[no-any-return]


def _conv_block(
    model: ResNet,
    stage: nn.Sequential,
    plan: Plan,
    statistics: Statistics | None,
    generator: Any,
) -> Any:
    options = dataclasses.replace(model.block_options, norm=plan.norm)
    channels = out_channels(stage[-1])
    made = make_stage(channels, channels // options.expansion, 1, 1, options)
    draw_weights(made, generator, plan.init_scale)
    block: Any = made[0]
    if options.residual:
        nn.init.zeros_(block.last_scale() if options.branch_scale is None else block.branch_scale)
    for layer in _on_the_way(block, options):
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d) and statistics is not None:
            _make_neutral(layer, statistics)
    return block


def _on_the_way(block: Any, options: BlockOptions) -> Iterator[nn.Module]:
    """The layers that what a block is given goes through on its way to the end."""
    if not options.residual:
        yield from block.modules()
        return
    if block.downsample is not None:
        yield from block.downsample.modules()
    if options.order == "bn-after-addition":
        yield getattr(block, f"bn{block.depth}")


def _make_neutral(layer: nn.BatchNorm2d, statistics: Statistics) -> None:
    """(x - mean) / sqrt(var + eps) * gamma + beta = x."""
    mean, var = statistics
    gamma = np.sqrt(var + layer.eps)
    tensors: tuple[Any, ...] = layer.running_mean, layer.running_var, layer.weight, layer.bias
    for tensor, value in zip(tensors, (mean, var, gamma, mean), strict=True):
        with guard.writable(tensor._data) as data:
            data[...] = value


def statistics_of(model: Any, data: Any) -> list[Statistics | None]:
    """What each stage gives in training mode: the mean over the batches of their statistics.

    All layers of the blocks behind a stage are given what the stage gives, since each passes it on.
    No branch is dropped: by stochastic depth each pass would have statistics of its own.
    """
    watched = twin(model, 1.0).train()
    for block in watched.blocks():
        block.survival_probability = 1.0
    seen: list[list[tuple[int, Any, Any]]] = []
    for stage in watched.stages():
        notes: list[tuple[int, Any, Any]] = []
        seen.append(notes)

        def note(module: nn.Module, inputs: Any, out: Any, notes: Any = notes) -> None:
            x = out.data
            with using_device_of(x):
                mean, var = (f(axis=(0, 2, 3), dtype=np.float64) for f in (x.mean, x.var))
            notes.append((len(x), to_numpy(mean), to_numpy(var)))

        stage.register_forward_hook(note)
    state = rng.get_state()
    with no_grad():
        for batch in _batches(data):
            watched(*batch_for(model, batch))
    rng.set_state(state)
    if not seen[0]:
        raise UsageError("deepen: data has no batches to measure statistics on.")
    return [_mean_of(notes) for notes in seen]


def _batches(data: Any) -> Iterable[Any]:
    """The images, batch by batch."""
    for batch in (data,) if isinstance(data, Tensor | np.ndarray | tuple) else data:
        yield batch[0] if isinstance(batch, list | tuple) else batch


def _mean_of(notes: Sequence[tuple[int, Any, Any]]) -> Statistics:
    images = sum(n for n, _, _ in notes)
    mean, var = (sum(note[0] * note[i] for note in notes) / images for i in (1, 2))
    return Statistics(mean, var)
