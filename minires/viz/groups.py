"""Runs that differ in their seed alone, gathered; means and bands over them.

Everything here is plain data in, NumPy arrays out.  A value that was not measured is ``None`` in
a run and ``nan`` here; a value that is not finite stays out of means and bands, and the counts
say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from minires.viz.style import kind_style

__all__ = [
    "Band",
    "Group",
    "Run",
    "as_float",
    "band",
    "common_stages",
    "finite_mean",
    "floats",
    "group_runs",
    "lr_drops",
    "positive",
    "stage_bounds",
]

Run = Mapping[str, Any]


@dataclass(frozen=True)
class Band:
    """Mean, smallest and largest value over the seeds, each of shape (points,).

    A point where no seed has a finite value is ``nan`` in all three.
    """

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int


def band(x: Sequence[float] | np.ndarray, rows: Iterable[Sequence[float | None]]) -> Band:
    """Mean, smallest and largest value at each point, over the finite values there.

    Rows shorter than ``x`` (a run that was interrupted) count as not measured at the end.

    >>> result = band([1, 2], [[1.0, 4.0], [3.0, None]])
    >>> result.mean.tolist(), result.low.tolist(), result.high.tolist()
    ([2.0, 4.0], [1.0, 4.0], [3.0, 4.0])
    """
    points = np.asarray(x, dtype=float)
    kept = [list(row)[: len(points)] for row in rows]
    stacked = np.full((len(kept), len(points)), np.nan)
    for i, row in enumerate(kept):
        stacked[i, : len(row)] = [as_float(value) for value in row]
    finite = np.isfinite(stacked)
    count = finite.sum(axis=0)
    total = np.where(finite, stacked, 0.0).sum(axis=0)
    seen = count > 0
    return Band(
        x=points,
        mean=np.where(seen, total / np.maximum(count, 1), np.nan),
        low=np.where(seen, np.where(finite, stacked, np.inf).min(axis=0, initial=np.inf), np.nan),
        high=np.where(
            seen, np.where(finite, stacked, -np.inf).max(axis=0, initial=-np.inf), np.nan
        ),
        seeds=len(kept),
    )


def as_float(value: Any) -> float:
    """A number as a float, and anything that was not measured as ``nan``."""
    return math.nan if value is None else float(value)


def floats(values: Iterable[Any] | None) -> np.ndarray:
    """Numbers as an array (n,), with ``nan`` for those that were not measured.

    >>> floats([1, None]).tolist(), floats(None).shape
    ([1.0, nan], (0,))
    """
    return np.array([as_float(value) for value in values or ()], dtype=float)


def positive(values: np.ndarray) -> np.ndarray:
    """What a logarithmic axis can show; ``nan`` for the rest.

    >>> positive(np.array([2.0, 0.0, -1.0, np.inf])).tolist()
    [2.0, nan, nan, nan]
    """
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def finite_mean(values: Iterable[Any]) -> float:
    """Mean of the finite values; ``nan`` when there are none.

    >>> finite_mean([1.0, None, 3.0])
    2.0
    """
    finite = [v for v in map(as_float, values) if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan


@dataclass(frozen=True)
class Group:
    """All runs of one kind and depth; they differ in their seed."""

    kind: str
    depth: int
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """The name used in figures and sentences: ``plain-56``."""
        return f"{self.kind}-{self.depth}"

    @property
    def diverged(self) -> int:
        """How many of the runs ended with a training loss that is not a finite number."""
        losses = [run.get("train_loss") for run in self.runs]
        return sum(loss is not None and not math.isfinite(loss) for loss in losses)

    def curve(self, key: str) -> Band:
        """A column of the histories against the epoch."""
        histories = [run.get("history") or {} for run in self.runs]
        epochs = max((list(h.get("epoch") or ()) for h in histories), key=len, default=[])
        return band(epochs, [h.get(key) or () for h in histories])

    def final(self, key: str) -> float:
        """Mean over the seeds of one of the closing figures, such as ``train_error``."""
        return finite_mean(run.get(key) for run in self.runs)

    def values(self, key: str) -> list[float]:
        """The finite closing figures, one for each seed that has one."""
        values = [as_float(run.get(key)) for run in self.runs]
        return [value for value in values if math.isfinite(value)]

    def flow(self, moment: str, key: str) -> Band:
        """A column of the gradient flow at ``"initial"`` or ``"trained"``, block by block.

        ``x`` is the middle of each block on a scale where the stack of blocks reaches from 0 to
        1: networks of different depth then have their stages at the same places.
        """
        flows = [(run.get("gradient_flow") or {}).get(moment) or {} for run in self.runs]
        blocks = max((len(f.get("grad_rms") or ()) for f in flows), default=0)
        x = (np.arange(blocks) + 0.5) / max(blocks, 1)
        return band(x, [f.get(key) or () for f in flows])


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Gather the runs by kind and depth, in the order plain, residual, preact, then by depth.

    >>> runs = [{"kind": "residual", "depth": 20}, {"kind": "plain", "depth": 56}]
    >>> [group.name for group in group_runs(runs)]
    ['plain-56', 'residual-20']
    """
    gathered: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        gathered.setdefault((run["kind"], run["depth"]), []).append(run)
    groups = [Group(kind, depth, tuple(rows)) for (kind, depth), rows in gathered.items()]
    return sorted(groups, key=lambda group: (kind_style(group.kind).order, group.kind, group.depth))


def lr_drops(runs: Iterable[Run]) -> list[tuple[int, float]]:
    """Where the learning rate fell to half or less: (epochs done by then, rate from then on).

    A rate that glides down a little every epoch has no such place.

    >>> lr_drops([{"history": {"epoch": [1, 2, 3], "lr": [0.1, 0.1, 0.01]}}])
    [(2, 0.01)]
    """
    found: set[tuple[int, float]] = set()
    for run in runs:
        history = run.get("history") or {}
        steps = list(zip(history.get("epoch") or (), history.get("lr") or (), strict=False))
        for (epoch, before), (_, after) in pairwise(steps):
            if before and after is not None and after <= before / 2:
                found.add((int(epoch), float(after)))
    return sorted(found)


def stage_bounds(groups: Iterable[Group]) -> list[float]:
    """Where the stages (``layer1``, ``layer2``, ...) meet, if all networks agree on it."""
    flows = [
        (run.get("gradient_flow") or {}).get("initial") or {}
        for group in groups
        for run in group.runs
    ]
    return common_stages(flow.get("block") or () for flow in flows)


def common_stages(networks: Iterable[Sequence[Any]]) -> list[float]:
    """The same of the names of the blocks of each network.

    >>> common_stages([["layer1.0", "layer2.0"], ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]])
    [0.5]
    """
    found = set()
    for names in networks:
        stages = [str(name).partition(".")[0] for name in names]
        ends = [i / len(stages) for i in range(1, len(stages)) if stages[i] != stages[i - 1]]
        found.add(tuple(round(place, 6) for place in ends))
    return list(found.pop()) if len(found) == 1 else []
