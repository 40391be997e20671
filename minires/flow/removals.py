"""Lesions of the forward pass: blocks left out, or in another order, in a network that is trained.

Veit et al. 2016, section 4: a residual network is a collection of many paths of different length,
and without a block it still has half of them; a plain one has a single path, and loses it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import combinations
from numbers import Integral
from typing import Any, TextIO

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor
from minires.errors import UsageError
from minires.flow.passes import (
    Loss,
    as_numpy,
    check_given,
    check_loss,
    check_ran,
    kind_of,
    names_of,
    naming_batch,
)
from minires.flow.places import NOTHING, Place, Remover, Survey, exchangeable, rearranged
from minires.flow.untouched import untouched
from minires.result import Result
from minires.rng import check_seed
from minires.train import Evaluation, evaluate

__all__ = ["ForwardLesion", "Removal", "RemovedSet", "Reordering", "forward_lesion", "kendall_tau"]


@dataclass(frozen=True)
class Removal:
    """One block left out.

    Attributes:
        name: the block, as ``named_modules`` calls it.
        kind: 'residual', or 'plain' for a block without a shortcut.
        stand_in: what is handed on instead: 'skip' in a residual block; in a plain one 'input', or
            'padded input' where the shapes change; 'nothing fits' if it cannot be left out.
        loss, error: without it, the error in percent; None if nothing fits.
    """

    name: str
    kind: str
    stand_in: str
    loss: float | None
    error: float | None


@dataclass(frozen=True)
class RemovedSet:
    """Several blocks left out at once: their names, and loss and error (percent) without them."""

    blocks: tuple[str, ...]
    loss: float
    error: float


@dataclass(frozen=True)
class Reordering:
    """Blocks in another order.

    Attributes:
        swaps: how many random pairs of blocks were exchanged, one after the other.
        order: for each place, stem first, the name of the block that ran there.
        tau: Kendall's rank correlation between this order and the own one: 1 = the same, -1 =
            reversed.
        loss, error: in that order, the error in percent.
    """

    swaps: int
    order: tuple[str, ...]
    tau: float
    loss: float
    error: float


@dataclass(frozen=True)
class ForwardLesion(Result):
    """What :func:`forward_lesion` found.

    Attributes:
        images: how many it was measured on.
        loss, error: of the intact network, the error in percent.
        blocks: each block left out by itself, stem first.
        sets: random sets left out.
        orders: random orders.
        max_error: the check: with the instrument looking on and nothing left out, how far loss and
            error are from those of a pass without it; 0 = to the last bit.
    """

    images: int
    loss: float
    error: float
    blocks: tuple[Removal, ...]
    sets: tuple[RemovedSet, ...]
    orders: tuple[Reordering, ...]
    max_error: float

    figure_name = "forward_lesion_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row for each block left out by itself; sets and orders are in :meth:`details`."""
        headers = ["without", "kind", "handed on", "error %", "change", "loss"]
        return headers, [
            [
                row.name,
                row.kind,
                row.stand_in,
                None if row.error is None else f"{row.error:.1f}",
                None if row.error is None else f"{row.error - self.error:+.1f}",
                row.loss,
            ]
            for row in self.blocks
        ]

    def details(self) -> list[str]:
        """A line for each size of the sets, and for each number of swaps."""
        lines = [f"Intact: error {self.error:.1f}%, loss {self.loss:.4g}."]
        for size, errors in _by_size((len(row.blocks), row.error) for row in self.sets):
            s = "s" * (size != 1)
            lines.append(f"Without {size} block{s} at random: {_mean_error(errors)}.")
        for swaps, errors in _by_size((row.swaps, row.error) for row in self.orders):
            s = "s" * (swaps != 1)
            lines.append(f"After {swaps} random swap{s} of blocks: {_mean_error(errors)}.")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """All numbers, as nested dictionaries."""
        parts = {
            name: [asdict(row) for row in getattr(self, name)]
            for name in ("blocks", "sets", "orders")
        }
        return {**asdict(self), **parts}

    def caption(self) -> str:
        """What leaving out one block does, in the worst case and in between, and several."""
        known = [row for row in self.blocks if row.error is not None]
        text = f"The error on {self.images} images is {self.error:.1f}% intact"
        if known:
            errors = [row.error for row in known if row.error is not None]
            worst = known[int(np.argmax(errors))].name
            text += (
                f"; without one of {len(known)} blocks it is {min(errors):.1f}% to "
                f"{max(errors):.1f}% (median {np.median(errors):.1f}%, worst {worst})"
            )
        largest = max((len(row.blocks) for row in self.sets), default=0)
        if largest > 1:
            errors = [row.error for row in self.sets if len(row.blocks) == largest]
            text += f"; without {largest} at random, {np.mean(errors):.1f}% on average"
        if self.orders:
            last = min(self.orders, key=lambda row: row.tau)
            text += (
                f"; in the order farthest from the original (tau {last.tau:.2f}), {last.error:.1f}%"
            )
        if self.max_error != 0:
            text += f"; but the model does not give the same twice: off by {self.max_error:.0e}"
        return f"{text}."


def forward_lesion(
    model: nn.Module,
    arrays: tuple[Any, Any],
    *,
    drop: int | Iterable[int] | None = None,
    permute: int | Iterable[int] | None = None,
    draws: int = 3,
    seed: int = 0,
    batch_size: int = 256,
    loss: Loss = F.cross_entropy,
    progress: TextIO | None = None,
) -> ForwardLesion:
    """Error of a network without some of its blocks, and with its blocks in another order.

    In evaluation mode, on all of ``arrays``:

    - without each single block in turn (Veit et al. 2016, figure 3);
    - without random sets of blocks, for each size in ``drop`` (figure 5a);
    - with random pairs of blocks exchanged, for each number of swaps in ``permute``, among blocks
      with the same shapes; Kendall's tau says how far the order is from its own (figure 5b).

    A residual block that is left out hands on its skip alone: y = activation(a*S(u)).  A plain one
    has none, and hands on its input: y = activation(u).  Where its shapes change, the stand-in is
    what a shortcut of option A would carry, every second pixel and zeros for the new channels
    (:class:`minires.models.PadShortcut`, which has no parameters); ``stand_in`` of the row says so.

    Each different lesion is one evaluation, and two are of the intact network: at most
    2 + blocks + draws * (sizes + numbers of swaps).  It leaves no trace on the model.

    Args:
        model: gives logits (N, classes), of blocks derived from :class:`minires.nn.ResidualBlock`.
        arrays: images (N, ...) and labels (N,).
        drop: sizes of the random sets; a number n means 1 .. n, and 0 none; by default 1, 2, 4,
            8, ... as far as there are blocks.
        permute: numbers of swaps, in the same way.
        draws: how many sets of a size, and orders of a number of swaps.
        seed: of sets and orders.
        batch_size: images at a time.
        loss: ``loss(output, target)``, a mean over the batch.
        progress: where to write how far it is, once it has taken two seconds: ``sys.stderr``.

    Returns:
        A :class:`ForwardLesion`: ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        ContractError: the model is none, or no block of the contract ran.
        UsageError: ``arrays`` is no pair, or there are no sets or orders of a size.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(14, width=2, in_channels=1)
    >>> found = forward_lesion(model, mr.data.load_digits().batch(32), drop=2, permute=1, draws=1)
    >>> len(found.blocks), [len(row.blocks) for row in found.sets], found.orders[0].swaps
    (6, [1, 2], 1)
    >>> found.max_error
    0.0
    """
    check_given("forward_lesion", model, target=arrays)
    arrays = _pair(arrays)
    generator = np.random.default_rng(check_seed(seed, "forward_lesion"))
    if not isinstance(draws, Integral) or draws < 1:
        raise UsageError(f"forward_lesion: draws must be at least 1, got {draws!r}.")

    def single(output: Tensor, target: Tensor) -> Tensor:
        return check_loss("forward_lesion", loss(output, target))

    def measure(change: AbstractContextManager[None]) -> Evaluation:
        images, labels = arrays
        naming = naming_batch("forward_lesion", model, x=images, target=labels)
        with untouched(model), change, naming:
            return evaluate(model, arrays, loss=single, batch_size=batch_size)

    intact = measure(nullcontext())
    survey = Survey()
    again = measure(nn.observe(survey))
    places = list(survey.places.values())
    check_ran("forward_lesion", model, places)
    blocks = [place.block for place in places]

    removable = [i for i, place in enumerate(places) if place.stand_in != NOTHING]
    pairs = exchangeable(places)
    movable = len({i for pair in pairs for i in pair})
    sets = [
        chosen
        for size in _sizes("drop", drop, len(removable), len(removable))
        for chosen in _random_sets(removable, size, draws, generator)
    ]
    orders = [
        (swaps, _random_order(len(places), pairs, swaps, generator))
        for swaps in _sizes("permute", permute, movable, math.inf if pairs else 0)
        for _ in range(draws)
    ]

    # Sets and orders that come again, and the order that is the own one, are measured once.
    found: dict[frozenset[int] | tuple[int, ...], Evaluation] = {tuple(range(len(places))): intact}
    singles = [frozenset({i}) for i in removable]
    wanted = dict.fromkeys([*singles, *sets, *(order for _, order in orders)])
    waiting = [lesion for lesion in wanted if lesion not in found]
    tally = _Tally(len(waiting), progress)
    for lesion in waiting:
        if isinstance(lesion, frozenset):
            change = nn.observe(Remover({id(blocks[i]) for i in lesion}))
        else:
            change = rearranged(blocks, lesion)
        found[lesion] = measure(change)
        tally.step()

    names = names_of(model, blocks)
    return ForwardLesion(
        images=len(arrays[1]),
        loss=intact.loss,
        error=intact.error,
        blocks=tuple(
            _removal(name, place, found.get(frozenset({i})))
            for i, (name, place) in enumerate(zip(names, places, strict=True))
        ),
        sets=tuple(
            RemovedSet(tuple(names[i] for i in sorted(chosen)), *found[chosen]) for chosen in sets
        ),
        orders=tuple(
            Reordering(swaps, tuple(names[i] for i in order), kendall_tau(order), *found[order])
            for swaps, order in orders
        ),
        max_error=float(np.max([_difference(*both) for both in zip(intact, again, strict=True)])),
    )


def kendall_tau(order: Sequence[int]) -> float:
    """Kendall's rank correlation of an order of 0 .. n-1 with the ascending one.

    1 - 4 * inversions / (n * (n - 1)), where an inversion is a pair in the wrong order.

    >>> kendall_tau([0, 1, 2, 3]), kendall_tau([3, 2, 1, 0]), kendall_tau([1, 0, 2])
    (1.0, -1.0, 0.33333333333333337)
    """
    n = len(order)
    inversions = sum(one > other for one, other in combinations(order, 2))
    return 1.0 - 4.0 * inversions / (n * (n - 1)) if n > 1 else 1.0


def _random_sets(
    blocks: Sequence[int], size: int, draws: int, generator: np.random.Generator
) -> list[frozenset[int]]:
    """At most ``draws`` different sets of ``size`` blocks."""
    drawn = (generator.choice(blocks, size, replace=False).tolist() for _ in range(draws))
    return list(dict.fromkeys(map(frozenset, drawn)))


def _random_order(
    n: int, pairs: Sequence[tuple[int, int]], swaps: int, generator: np.random.Generator
) -> tuple[int, ...]:
    """0 .. n-1 after ``swaps`` exchanges, each of the places of a random pair."""
    order = list(range(n))
    for i, j in (pairs[k] for k in generator.integers(len(pairs), size=swaps)):
        order[i], order[j] = order[j], order[i]
    return tuple(order)


def _sizes(name: str, asked: int | Iterable[int] | None, blocks: int, most: float) -> list[int]:
    """The numbers that were asked for; 1, 2, 4, ... up to ``blocks`` by default."""
    if asked is None:
        return [2**k for k in range(blocks.bit_length())]
    sizes: list[Any] = list(asked) if isinstance(asked, Iterable) else [asked]
    if isinstance(asked, Integral) and int(asked) >= 0:
        sizes = list(range(1, int(asked) + 1))
    for size in sizes:
        if not isinstance(size, Integral) or not 1 <= int(size) <= most:
            raise UsageError(
                f"forward_lesion: {name} asks for {size!r}, but the model has {blocks} blocks for "
                "that. Give a whole number n for 1 .. n, or several; 0 for none."
            )
    return sizes


def _pair(arrays: Any) -> tuple[Any, Any]:
    if isinstance(arrays, tuple | list) and len(arrays) == 2:
        return as_numpy(arrays[0]), as_numpy(arrays[1])
    raise UsageError(
        f"forward_lesion: takes the pair (images, labels), not a {type(arrays).__name__}; of a "
        "data set give one part, data.test or data.train."
    )


def _removal(name: str, place: Place, without: Evaluation | None) -> Removal:
    return Removal(
        name=name,
        kind=kind_of(place.block),
        stand_in=place.stand_in,
        loss=None if without is None else without.loss,
        error=None if without is None else without.error,
    )


def _difference(one: float, other: float) -> float:
    """0 for the same number, or nan twice."""
    return 0.0 if one == other or (one != one and other != other) else abs(one - other)


def _by_size(rows: Iterable[tuple[int, float]]) -> list[tuple[int, list[float]]]:
    """The values for each size."""
    groups: dict[int, list[float]] = {}
    for size, value in rows:
        groups.setdefault(size, []).append(value)
    return sorted(groups.items())


def _mean_error(errors: Sequence[float]) -> str:
    return f"error {np.mean(errors):.1f}% ({min(errors):.1f}% to {max(errors):.1f}%)"


class _Tally:
    """Writes how far it is, every two seconds, as long as the output takes it."""

    def __init__(self, total: int, file: TextIO | None):
        self.total, self.done, self.file = total, 0, file
        self.shown = time.monotonic()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        if self.file is None or time.monotonic() - self.shown < 2.0:
            return
        self.shown = time.monotonic()
        try:
            print(f"forward_lesion: {self.done} of {self.total} runs", file=self.file, flush=True)
        except OSError:  # a closed pipe, a full disk: measuring goes on
            self.file = None
