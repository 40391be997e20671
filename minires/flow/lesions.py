"""Lesions of the backward pass: the function stays, and the way of the gradient is cut.

What a lesion is, and how to train with one, is in :mod:`minires.flow.edges`; lesions of the forward
pass, where blocks are left out, are in :mod:`minires.flow.removals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor
from minires.device import to_numpy
from minires.flow.edges import Blocks, Edge, Lesion, LesionObserver, checked_lesion, normal
from minires.flow.passes import (
    Loss,
    check_given,
    check_ran,
    check_reached,
    distance,
    gradients,
    kind_of,
    loss_of,
    names_of,
    norm,
)
from minires.flow.untouched import untouched
from minires.nn.devices import batch_for
from minires.result import Result

__all__ = ["BackwardLesion", "Change", "LesionEntry", "backward_lesion"]


@dataclass(frozen=True)
class Change:
    """One gradient without and with the lesion.

    Attributes:
        norm, lesioned_norm: its size without and with.
        ratio: lesioned_norm / norm; None if there was nothing.
        cosine: of the angle between the two; None if one of them is zero.
    """

    norm: float
    lesioned_norm: float
    ratio: float | None
    cosine: float | None


@dataclass(frozen=True)
class LesionEntry:
    """One block.

    Attributes:
        name: the block, as ``named_modules`` calls it.
        kind: 'residual', or 'plain' for a block without a shortcut.
        lesioned: whether it was chosen.
        input: what became of the gradient at the block's input, over the whole batch.
        weights: what became of the gradient of all its parameters, as one vector; None if it has
            none that require grad.
    """

    name: str
    kind: str
    lesioned: bool
    input: Change
    weights: Change | None


@dataclass(frozen=True)
class BackwardLesion(Result):
    """What :func:`backward_lesion` found, stem first.

    Attributes:
        loss: of the batch; the lesion does not change it.
        skip, branch, noise: the lesion.
        blocks: an entry for each block, in the order of the forward pass.
        weights: what became of the gradient of all parameters of the model, as one vector; None if
            none requires grad.
        same_forward: whether the loss and the input of every block had the same bits in both
            passes: the first check.
        max_error: the second check (see :func:`backward_lesion`), or nan.
    """

    loss: float
    skip: float
    branch: float
    noise: float
    blocks: tuple[LesionEntry, ...]
    weights: Change | None
    same_forward: bool
    max_error: float

    figure_name = "backward_lesion_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a block: gradient at its input, then of its weights."""
        headers = ["block", "lesion", "input |g|", "lesioned |g|", "ratio", "cosine"]
        return [*headers, "weights ratio", "weights cosine"], [
            [
                entry.name,
                "yes" if entry.lesioned else "",
                entry.input.norm,
                entry.input.lesioned_norm,
                entry.input.ratio,
                _signed(entry.input.cosine),
                entry.weights.ratio if entry.weights else None,
                _signed(entry.weights.cosine if entry.weights else None),
            ]
            for entry in self.blocks
        ]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, as nested dictionaries."""
        return {**asdict(self), "blocks": [asdict(entry) for entry in self.blocks]}

    def caption(self) -> str:
        """What the lesion did to the gradient at the first block and to that of the weights."""
        cut = [entry for entry in self.blocks if entry.lesioned]
        count, s = f"{len(cut)} of {len(self.blocks)}", "s" * (len(self.blocks) != 1)
        text = f"In {count} block{s}, in backward only, {self._lesion(cut)}: "
        first = self.blocks[0]
        if first.input.ratio is None:
            text += f"no gradient arrives at {first.name or 'the first block'} in any case"
        else:
            text += (
                f"the gradient at the input of {first.name or 'the first block'} goes from "
                f"{first.input.norm:.2g} to {first.input.lesioned_norm:.2g}"
            )
            if first.input.cosine is not None:
                text += f" (cosine {first.input.cosine:+.2f} with what it was)"
        if self.weights is not None and self.weights.cosine is not None:
            text += f", that of all weights keeps a cosine of {self.weights.cosine:+.2f}"
        if not self.same_forward:
            return f"{text}; but the model does not compute the same forward twice."
        if not self.max_error <= 1e-3:
            return f"{text}; but the check of the lesioned edges fails, by {self.max_error:.0e}."
        return f"{text}; the forward pass has the same bits."

    def _lesion(self, cut: Sequence[LesionEntry]) -> str:
        parts = [
            f"the {edge} is cut" if factor == 0 else f"the {edge} is multiplied by {factor:g}"
            for edge, factor in (("skip", self.skip), ("branch", self.branch))
            if factor != 1
        ]
        if self.noise:
            parts.append(f"noise of {self.noise:g} times its rms is added to each edge")
        if self.skip != 1 and all(entry.kind == "plain" for entry in cut):
            parts.append("though no skip is there")
        return ", ".join(parts) or "nothing is changed"


def backward_lesion(
    model: nn.Module,
    x: Any,
    target: Any = None,
    blocks: Blocks = None,
    *,
    skip: float = 0.0,
    branch: float = 1.0,
    noise: float = 0.0,
    seed: int = 0,
    loss: Loss = F.cross_entropy,
) -> BackwardLesion:
    """Scale the gradient along the edges of blocks, in backward only, and see what becomes of it.

    At the fork of each chosen block, dLoss/du = ``skip`` * a*J_S^T d + ``branch`` * b*J_F^T d
    instead of the sum of the two (a and b are the scales that the block has), and with ``noise``
    each of the two terms becomes

        factor * edge + noise * rms(edge) * n        with n standard normal, drawn for each edge

    The cut is at the fork: the parameters of the branch, and those of a projection, still get the
    gradient that arrives at the sum.  What is before the fork gets the lesioned one.

    The model runs twice, forward and backward, in the mode it is in: once without and once with the
    lesion.  That costs two training steps without the optimiser, and memory for four arrays a block
    and twice the parameters.  It leaves no trace on the model.

    Checks: ``same_forward``, see :class:`BackwardLesion`; and ``max_error``: no lesion lies behind
    the last block chosen, so what its edges sent on in the lesioned pass must be the formula above
    applied to what they sent in the other one.  It is the larger relative difference of the two
    edges.  With ``skip=1, branch=1, noise=0`` the gradients have the bits of an ordinary pass.

    Args:
        model: any module with blocks derived from :class:`minires.nn.ResidualBlock`.
        x: a batch, tensor or array (N, ...).
        target: what the loss compares with, tensor or array.
        blocks: names as in ``named_modules``, or indices into the residual blocks of the model in
            that order; one or several; None for all.
        skip, branch: what the gradient along each edge is multiplied by: 0 cuts it, 1 leaves it.
        noise: its size, relative to the root-mean-square of the edge's gradient.
        seed: of the noise.
        loss: ``loss(output, target)``, a single number.

    Returns:
        A :class:`BackwardLesion`: one entry a block, ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        ContractError: the model is none, the target is missing, no block of the contract ran, or
            the loss is no tensor.
        ShapeError: the loss is not a single number.
        UsageError: blocks that are not there, or numbers that make no sense.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=4, in_channels=1)
    >>> found = backward_lesion(model, mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3]), "layer2.0")
    >>> [entry.input.ratio == 1.0 for entry in found.blocks], found.same_forward
    ([False, False, True], True)
    """
    check_given("backward_lesion", model, target)
    x, target = batch_for(model, x, target)
    lesion = checked_lesion("backward_lesion", model, blocks, skip, branch, noise, seed)
    weights = [p for p in model.parameters() if p.requires_grad]
    intact, other = (
        _run(model, x, target, loss, _Watch(lesion, acts), weights) for acts in (False, True)
    )
    names = names_of(model, intact.watch.blocks)
    row = {id(p): len(intact.watch.blocks) + i for i, p in enumerate(weights)}
    entries = []
    for i, (name, block) in enumerate(zip(names, intact.watch.blocks, strict=True)):
        own = [row[id(p)] for p in block.parameters() if id(p) in row]
        entries.append(
            LesionEntry(
                name=name,
                kind=kind_of(block),
                lesioned=id(block) in lesion.chosen,
                input=_change(intact, other, [i]),
                weights=_change(intact, other, own) if own else None,
            )
        )
    return BackwardLesion(
        loss=float(intact.loss.item()),
        skip=lesion.skip,
        branch=lesion.branch,
        noise=lesion.noise,
        blocks=tuple(entries),
        weights=_change(intact, other, list(row.values())) if row else None,
        same_forward=_same_forward(intact, other),
        max_error=_edge_error(lesion, intact, other),
    )


class _Watch(LesionObserver):
    """The lesion, and what is needed to tell what it did.

    Without ``acts`` the edges have their places in the graph as well, and nothing is changed.
    """

    def __init__(self, lesion: Lesion, acts: bool):
        super().__init__(lesion)
        self.acts = acts
        self.blocks: list[nn.ResidualBlock] = []
        self.inputs: list[Tensor] = []  # x of each, as the model has it
        self.last: list[Edge] = []  # the edges of the last fork that has any
        self._models_own: dict[int, Tensor] = {}  # the tensor of the model that a place stands for
        self._places: list[Tensor] = []  # kept, so that no other tensor gets their identity

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        self.blocks.append(block)
        self.inputs.append(self._models_own.get(id(x), x))
        before, self.last = self.last, []
        ways = super().fork(block, x, u)
        for edge in self.last:
            self._models_own[id(edge.place)] = self._models_own.get(id(u), u)
            self._places.append(edge.place)
        self.last = self.last or before
        return ways

    def act(self, edge: Edge) -> None:
        self.last.append(edge)
        if self.acts:
            super().act(edge)


class _Pass(NamedTuple):
    """One pass: its loss, and gradients at the inputs, of the weights, and at the last edges."""

    watch: _Watch
    loss: np.ndarray
    found: list[np.ndarray]


def _run(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    loss: Loss,
    watch: _Watch,
    weights: list[nn.Parameter],
) -> _Pass:
    with untouched(model):
        value = loss_of("backward_lesion", model, x, target, loss, watch)
        check_ran("backward_lesion", model, watch.blocks)
        check_reached("backward_lesion", model, watch.blocks, watch.inputs)
        wanted = [*watch.inputs, *weights, *(edge.place for edge in watch.last)]
        found = [to_numpy(g.data) for g in gradients(value, wanted)]
    return _Pass(watch, to_numpy(value.data), found)


def _change(intact: _Pass, other: _Pass, rows: Sequence[int]) -> Change:
    """Of several gradients as one vector."""
    before, after, dot = 0.0, 0.0, 0.0
    for i in rows:
        one, two = (a.found[i].astype(np.float64) for a in (intact, other))
        before += norm(one) ** 2
        after += norm(two) ** 2
        dot += float((one * two).sum())
    size, lesioned_size = before**0.5, after**0.5
    return Change(
        norm=size,
        lesioned_norm=lesioned_size,
        ratio=lesioned_size / size if size else None,
        cosine=dot / (size * lesioned_size) if size and lesioned_size else None,
    )


def _same_forward(intact: _Pass, other: _Pass) -> bool:
    """Whether loss and inputs of the blocks have the same bits."""
    pairs = [
        (intact.loss, other.loss),
        *(
            (to_numpy(x.data), to_numpy(y.data))
            for x, y in zip(intact.watch.inputs, other.watch.inputs, strict=True)
        ),
    ]
    return all(one.tobytes() == two.tobytes() for one, two in pairs)


def _edge_error(lesion: Lesion, intact: _Pass, other: _Pass) -> float:
    """How far the last edges are from the formula of the lesion; 0 if nothing is lesioned."""
    errors = [0.0]
    for i, edge in enumerate(other.watch.last, len(intact.found) - len(intact.watch.last)):
        arrived = intact.found[i].astype(np.float64)
        rms = norm(arrived) / max(float(arrived.size), 1.0) ** 0.5
        sent = edge.factor * arrived
        if lesion.noise:
            sent += lesion.noise * rms * normal(arrived.shape, edge.key)
        errors.append(distance(other.found[i], sent))
    return float(np.max(errors))  # hands on nan


def _signed(cosine: float | None) -> str | None:
    return None if cosine is None else f"{cosine:+.3f}"
