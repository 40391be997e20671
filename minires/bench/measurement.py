"""The numbers of one workload."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from minires.bench.workloads import Workload

__all__ = ["Measurement"]


@dataclass
class Measurement:
    """What was measured of a workload, under the names of the sides.

    Attributes:
        workload: what was measured.
        times: seconds of every step, a list a round (the warm-up is left out).
        base_mb, peak_mb: memory of the process before the work was made ready, and its peak; on a
            GPU the peak is what the framework's pool took from the card for one step.
        launches: on a GPU, kernels, copies and fills of one step; None where nobody counted.
        parameters: of the network, if it is one.
        errors: of the accuracy: for each quantity ``rms`` and ``max``, relative.
        disagreement: the largest relative difference of the float64 results of two sides.
        failure: the last line of the error, if there was one.

    >>> workload = Workload("one", "conv", {}, 3)
    >>> times = {"minires": [[1.0, 3.0, 2.0], [4.0, 4.0, 9.0]], "pytorch": [[1.0] * 3, [1.0] * 3]}
    >>> found = Measurement(workload, times)
    >>> found.rounds("minires"), found.ratios("pytorch"), found.ratio("pytorch")
    ([2.0, 4.0], [2.0, 4.0], 3.0)
    """

    workload: Workload
    times: dict[str, list[list[float]]] = field(default_factory=dict)
    base_mb: dict[str, float | None] = field(default_factory=dict)
    peak_mb: dict[str, float | None] = field(default_factory=dict)
    launches: dict[str, int | None] = field(default_factory=dict)
    parameters: int | None = None
    errors: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    disagreement: float | None = None
    failure: str | None = None

    def rounds(self, side: str) -> list[float]:
        """The median second of a step, for each round."""
        return [median(steps) for steps in self.times.get(side, [])]

    def seconds(self, side: str) -> float | None:
        """The median over the rounds."""
        rounds = self.rounds(side)
        return median(rounds) if rounds else None

    def ratios(self, side: str) -> list[float]:
        """minires's time over the side's, for each round."""
        return [
            ours / theirs
            for ours, theirs in zip(self.rounds("minires"), self.rounds(side), strict=False)
        ]

    def ratio(self, side: str) -> float | None:
        """The median of :meth:`ratios`."""
        ratios = self.ratios(side)
        return median(ratios) if ratios else None

    def overhead(self) -> float | None:
        """Seconds of a step beyond the bare NumPy calls: the median over the rounds."""
        pairs = zip(self.rounds("minires"), self.rounds("numpy"), strict=False)
        differences = [ours - bare for ours, bare in pairs]
        return median(differences) if differences else None

    def memory_ratio(self, side: str) -> float | None:
        """minires's peak memory over the side's."""
        ours, theirs = self.peak_mb.get("minires"), self.peak_mb.get(side)
        return ours / theirs if ours and theirs else None

    def working_mb(self, side: str) -> float | None:
        """The peak memory beyond that of the framework itself, imported and idle."""
        peak, base = self.peak_mb.get(side), self.base_mb.get(side)
        return None if peak is None or base is None else peak - base

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data."""
        workload, others = self.workload, [side for side in self.times if side != "minires"]
        return {
            "name": workload.name,
            "group": workload.group,
            "kind": workload.kind,
            "spec": workload.spec,
            "steps": workload.steps,
            "failure": self.failure,
            "parameters": self.parameters,
            "times": self.times,
            "seconds": {side: _spread(self.rounds(side)) for side in self.times},
            "ratios": {side: _spread(self.ratios(side)) for side in others},
            "overhead_seconds": self.overhead(),
            "base_mb": self.base_mb,
            "peak_mb": self.peak_mb,
            "launches": self.launches,
            "memory_ratios": {side: self.memory_ratio(side) for side in others},
            "errors": self.errors,
            "disagreement": self.disagreement,
        }


def _spread(values: list[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {"median": median(values), "min": min(values), "max": max(values), "rounds": values}
