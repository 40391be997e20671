"""Where the blocks of a network run, and what can run there instead.

Used by :mod:`minires.flow.removals`: a block is left out by an observer that leaves its branch out
of the sum, and the order is changed by running another block's forward in its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from minires import nn
from minires.autograd import Tensor
from minires.models import PadShortcut

__all__ = ["NOTHING", "Place", "Remover", "Survey", "exchangeable", "rearranged"]

# What is handed on in the place of a block.
SKIP, INPUT, PADDED, NOTHING = "skip", "input", "padded input", "nothing fits"


class Remover(nn.Observer):
    """Leaves out the branch of some blocks, known by their identities."""

    def __init__(self, removed: Set[int]):
        self.removed = removed
        self._open: list[Tensor] = []  # u of the blocks that run; inner ones are closed first

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        self._open.append(u)
        return u, u

    def join(
        self, block: nn.ResidualBlock, skip: Tensor | None, branch: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        u = self._open.pop()
        if id(block) not in self.removed:
            return skip, branch
        return None, _handed_on(u, branch.shape) if skip is None else skip


def _handed_on(u: Tensor, shape: tuple[int, ...]) -> Any:
    """The input of a plain block in the ``shape`` of its output; None if it cannot be had."""
    if u.shape == shape:
        return u
    if u.ndim != 4 or len(shape) != 4 or u.shape[1] > shape[1] or not shape[2]:
        return None
    stride = math.ceil(u.shape[2] / shape[2])
    padded = PadShortcut(u.shape[1], shape[1], stride)(u)
    return padded if padded.shape == shape else None


@dataclass
class Place:
    """Where a block runs, as it was at the first time."""

    block: nn.ResidualBlock
    parent: int | None  # the block in whose branch or shortcut it runs
    shape: tuple[int, ...]  # of x, without the batch
    stand_in: str = NOTHING
    out_shape: tuple[int, ...] = ()
    runs: int = 1


class Survey(nn.Observer):
    """Looks at every block once and changes nothing."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}  # in the order of the forward pass
        self._open: list[tuple[int, Tensor]] = []

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        if id(block) in self.places:
            self.places[id(block)].runs += 1
        else:
            parent = self._open[-1][0] if self._open else None
            self.places[id(block)] = Place(block, parent, x.shape[1:])
        self._open.append((id(block), u))
        return u, u

    def join(
        self, block: nn.ResidualBlock, skip: Tensor | None, branch: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        _, u = self._open.pop()
        place = self.places[id(block)]
        place.out_shape = branch.shape[1:]
        if skip is not None:
            place.stand_in = SKIP
        elif _handed_on(u, branch.shape) is not None:
            place.stand_in = INPUT if u.shape == branch.shape else PADDED
        return skip, branch


def exchangeable(places: Sequence[Place]) -> list[tuple[int, int]]:
    """The pairs of blocks that can take each other's place.

    They have the same shapes, are parts of the same block or of none, and run once a pass.
    """
    once = min((place.runs for place in places), default=0)  # the number of batches
    return [
        (i, j)
        for (i, one), (j, other) in combinations(enumerate(places), 2)
        if (one.parent, one.shape, one.out_shape) == (other.parent, other.shape, other.out_shape)
        and one.runs == other.runs == once
    ]


@contextmanager
def rearranged(blocks: Sequence[nn.ResidualBlock], order: Sequence[int]) -> Iterator[None]:
    """In the place of block k runs block order[k]; inside ``untouched``, which ends it."""
    forwards = [block.forward for block in blocks]
    for k, (block, i) in enumerate(zip(blocks, order, strict=True)):
        if i != k:
            block.forward = forwards[i]  # type: ignore[method-assign]
    yield
