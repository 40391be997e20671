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
    "NOISE",
    "Line",
    "Slopes",
    "Step",
    "between",
    "choose_step",
    "join",
    "ladder",
    "read",
    "sizes_of",
    "unit_of",
]

EPS = float(np.finfo(np.float64).eps)
NOISE = 4096.0 * EPS  # what rounding may make of numbers of size 1, many operations later

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
    flat: bool = False  # whether nothing but rounding moves the outputs


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


def ladder(x: np.ndarray) -> list[float]:
    """The steps that are tried, from large to small: from 1e-2 of the size of the input to 3e-8.

    Where the numbers differ by far less than their size, which batch norm looks at, down to 3e-8 of
    what they differ by.
    """
    unit = unit_of(x)
    spread = float(np.std(x)) if x.size > 1 else 0.0
    steps = [unit * share for share in LADDER]
    while spread > 0.0 and steps[-1] > 1e-7 * spread and len(steps) < 40:
        steps.append(steps[-1] / 10.0**0.5)
    return steps


def choose_step(
    line: Line, readings: np.ndarray, steps: Sequence[float], good_enough: float
) -> tuple[Step, np.ndarray]:
    """The step where the differences change least from one step to the next.

    What rounding makes of the outputs is added to the change.  Steps so small that nothing moves
    any more say nothing, if larger ones move something.

    Args:
        line: along which the outputs are read.
        readings: (R, M), what is read off the outputs.
        steps: from large to small.
        good_enough: an error, as a share of the largest derivative, that need not be undercut; of
            the steps that are good enough the smallest is taken, which crosses the fewest kinks.

    Returns:
        The step with an estimate of its error, and the derivatives (R,) found with it.
    """
    slopes = [line.slopes(h) for h in steps]
    found = [read(readings, s.central) for s in slopes]
    size = float(sizes_of(readings, line.base).max(initial=0.0))
    moves = np.array([_movement(readings, s) * h for s, h in zip(slopes, steps, strict=True)])
    moving = np.isfinite(moves) & ((moves > 0.0) | ~(moves > 0.0).any())
    changes = {
        k: float(np.abs(found[k] - found[k + 1]).max(initial=0.0)) + EPS * size / steps[k]
        for k in range(len(steps) - 1)
        if moving[k] and moving[k + 1]
    }
    if moving.any() and _is_flat(moves[np.isfinite(moves)], size):
        k = int(np.argmax(moving))
        return Step(steps[k], float(moves[k] + EPS * size) / steps[k], flat=True), found[k]
    if not changes:
        return Step(steps[-1], np.inf), found[-1]
    # A change may be small by accident; those before and after it seldom are too.
    errors = {k: max(changes.get(i, 0.0) for i in (k - 1, k, k + 1)) for k in changes}
    best = min(errors, key=lambda k: (errors[k], -k))
    largest = float(np.abs(found[best]).max(initial=0.0))
    allowed = max(3.0 * errors[best], good_enough * largest)
    chosen = max(k for k, error in errors.items() if error <= allowed)
    return Step(steps[chosen], errors[chosen]), found[chosen]


def _movement(readings: np.ndarray, slopes: Slopes) -> float:
    sides = [np.abs(read(readings, side)).max(initial=0.0) for side in (slopes.left, slopes.right)]
    return float(np.max(sides))


def _is_flat(moves: np.ndarray, size: float) -> bool:
    """Whether the outputs move by rounding alone: by very little, and no more for large steps.

    The steps of the smaller half are at least a thousand times smaller than the largest.
    """
    large, small = moves.max(), moves[len(moves) // 2 :].max(initial=0.0)
    return bool(large <= NOISE * max(size, 1.0) and large <= 300.0 * max(small, EPS * size))


def sizes_of(readings: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The size (R,) of what each reading takes in, by which its rounding is measured."""
    seen = np.where(readings == 0.0, 0.0, readings * base)
    return np.asarray(np.linalg.norm(seen, axis=1))


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
