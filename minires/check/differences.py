"""Derivatives by differences: central ones, the choice of their step, and the two sides of a kink.

    f(x + h d) - f(x - h d)
    -----------------------  =  f'(x) d  +  O(h^2)  (truncation)  +  O(eps / h)  (rounding)
              2 h

Truncation falls with the step and rounding grows, so the error is a V over the step.  Where the
bottom of the V lies depends on the function.  It is found without a look at the gradient that is
checked: from one step to the next the difference changes by about its error, so the step is taken
where it changes least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "EPS",
    "LADDER",
    "Line",
    "Slopes",
    "Step",
    "between",
    "choose_step",
    "join",
    "read",
    "sizes_of",
    "unit_of",
]

EPS = float(np.finfo(np.float64).eps)

# Steps that are tried, from large to small, as shares of the size of the input.
LADDER = tuple(10.0 ** (-k / 2) for k in range(4, 16))  # 1e-2 ... 3e-8

Values = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Slopes:
    """Differences of all outputs, in one vector, along one direction: (M,) each."""

    central: np.ndarray
    left: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Step:
    """A step, and about how far the differences that it gives are off."""

    size: float
    error: float


class Line:
    """The outputs of a function along a line through the point that is checked.

    Args:
        values: the function, from all its inputs to all its outputs.
        point: all inputs.
        base: the outputs at ``point``, in one vector (M,).
        which: the input that moves.
        direction: an array of that input's shape, or the index of the one element that moves.
    """

    def __init__(
        self,
        values: Values,
        point: Sequence[np.ndarray],
        base: np.ndarray,
        which: int,
        direction: np.ndarray | tuple[int, ...],
    ):
        self.values, self.point, self.base = values, point, base
        self.which, self.direction = which, direction
        self._seen: dict[float, tuple[np.ndarray, float]] = {}

    def at(self, t: float) -> tuple[np.ndarray, float]:
        """The outputs (M,) at ``t`` along the line, and ``t`` as it was rounded."""
        if t not in self._seen:
            self._seen[t] = self._run(t)
        return self._seen[t]

    def _run(self, t: float) -> tuple[np.ndarray, float]:
        moved = self.point[self.which].copy()
        if isinstance(self.direction, tuple):
            kept = moved[self.direction]
            moved[self.direction] += t
            t = float(moved[self.direction] - kept)
        else:
            moved += t * self.direction
        point = list(self.point)
        point[self.which] = moved
        return join(self.values(point)), t

    def slopes(self, h: float) -> Slopes:
        """The differences for step ``h``: of both sides, and between them."""
        (above, up), (below, down) = self.at(h), self.at(-h)
        return Slopes(
            (above - below) / (up - down), (self.base - below) / -down, (above - self.base) / up
        )


def join(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """All outputs in one vector."""
    return np.concatenate([np.ravel(out) for out in outputs])


def unit_of(x: np.ndarray) -> float:
    """The size of an input, by which its steps are measured: its root mean square, or 1."""
    size = float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0
    return size if 0.0 < size < np.inf else 1.0


def choose_step(
    line: Line, readings: np.ndarray, unit: float, good_enough: float
) -> tuple[Step, np.ndarray]:
    """The step where the differences change least from one step to the next.

    What rounding makes of the outputs is added to the change: differences below that are zero at
    every step, which changes nothing and says nothing.

    Args:
        line: along which the outputs are read.
        readings: (R, M), what is read off the outputs.
        unit: what the ladder of steps is multiplied by.
        good_enough: an error, as a share of the largest derivative, that need not be undercut; of
            the steps that are good enough the smallest is taken, which crosses the fewest kinks.

    Returns:
        The step with an estimate of its error, and the derivatives (R,) found with it.
    """
    steps = [unit * share for share in LADDER]
    found = [read(readings, line.slopes(h).central) for h in steps]
    rounding = EPS * float(sizes_of(readings, line.base).max(initial=0.0))
    finite = [k for k, slopes in enumerate(found) if np.isfinite(slopes).all()]
    changes = {
        k: float(np.abs(found[k] - found[k + 1]).max(initial=0.0)) + rounding / steps[k]
        for k in finite
        if k + 1 in finite
    }
    if not changes:
        return Step(steps[-1], np.inf), found[-1]
    best = min(changes, key=lambda k: (changes[k], -k))
    largest = float(np.abs(found[best]).max(initial=0.0))
    allowed = max(3.0 * changes[best], good_enough * largest)
    chosen = max(k for k, change in changes.items() if change <= allowed)
    return Step(steps[chosen], changes[chosen]), found[chosen]


def sizes_of(readings: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The largest output (R,) that each reading takes in, by which its rounding is measured."""
    seen = np.where(readings == 0.0, 0.0, np.abs(readings * base))
    return np.asarray(seen.max(axis=1, initial=0.0))


def read(readings: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """The derivatives (R,) of the readings (R, M) of the outputs, given theirs (M,).

    An infinite slope of an output that a reading leaves out (a zero in it) does not reach it.
    """
    if np.isfinite(slopes).all():
        return np.asarray(readings @ slopes)
    with np.errstate(invalid="ignore"):
        terms = np.where(readings == 0.0, 0.0, readings * slopes)
    return np.asarray(terms.sum(axis=1))


def between(readings: np.ndarray, slopes: Slopes) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest derivative (R,) that the two sides of a kink allow.

    Each output may take any slope between those of its sides (a subgradient), so the bounds are
    those of the sum: at a kink a reading may lie outside what its own two sides say.
    """
    left, right = readings * slopes.left, readings * slopes.right  # (R, M)
    return np.minimum(left, right).sum(axis=1), np.maximum(left, right).sum(axis=1)
