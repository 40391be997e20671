"""The judgment of one input: measured along elements and directions, wrong, right or a kink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.check.differences import Line, Slopes, Step, between, choose_step, read, unit_of
from minires.check.gradcheck_report import InputCheck, Place

__all__ = ["InputJudge", "Case"]

MOST_CONFIRMED = 8  # so many wrong elements are measured again; the rest is taken as they are
EPS = float(np.finfo(np.float64).eps)
DISAGREE = 1e-2  # sides that differ by this share of the largest derivative may be a kink
CURVE = tuple(10.0 ** (k / 2) for k in range(-24, 1))  # steps of the V that is drawn, in units


@dataclass(frozen=True)
class Case:
    """What is the same for all inputs.

    Attributes:
        values: the function, from all its inputs to all its outputs.
        names: of the inputs.
        point: the inputs, where the function is checked.
        base: the outputs there, in one vector (M,).
        readings: (R, M), what is read off the outputs.
        labels: what each reading is called.
        rtol, atol: what is allowed; None where the size of the gradient decides.
        eps: a fixed step, or None where it is chosen for each input.
    """

    values: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    names: list[str]
    point: list[np.ndarray]
    base: np.ndarray
    readings: np.ndarray
    labels: list[str]
    rtol: float
    atol: float | None
    eps: float | None


@dataclass
class Measured:
    """One element or direction: what backward said of each reading, and what the outputs did."""

    where: tuple[int, ...] | np.ndarray
    analytic: np.ndarray  # (R,)
    numeric: np.ndarray  # (R,)
    slopes: Slopes
    error: float  # of the differences
    at_kink: bool = False


class InputJudge:
    """Collects measurements of one input and judges them together.

    Args:
        case: what is checked.
        which: the number of the input.
        gradients: (R, *x.shape), the gradient of each reading by the input x, by backward.
        reached: whether backward brought the input any gradient at all.
    """

    def __init__(self, case: Case, which: int, gradients: np.ndarray, reached: bool):
        self.case, self.which = case, which
        self.readings, self.x = case.readings, case.point[which]
        self.flat, self.reached = gradients.reshape(len(gradients), -1), reached
        self.unit = unit_of(self.x)
        self.step = Step(case.eps or 1e-6 * self.unit, 0.0)
        self.scale = 0.0  # the largest derivative found
        # What rounding alone makes of the outputs: a gradient below that is zero.
        self.rounding = 256.0 * EPS * float(np.abs(case.base).max(initial=0.0))
        self.elements: list[Measured] = []
        self.directions: list[Measured] = []

    def choose_step(self, direction: np.ndarray) -> None:
        """Choose the step of this input, by the function's course along ``direction``."""
        good_enough = 1e-4 * self.case.rtol
        self.step, _ = choose_step(self._line(direction), self.readings, self.unit, good_enough)

    def look_at(self, index: tuple[int, ...]) -> None:
        """Measure one element."""
        place = int(np.ravel_multi_index(index, self.x.shape)) if index else 0
        self.elements.append(self._measure(index, self.flat[:, place]))

    def look_along(self, direction: np.ndarray) -> None:
        """Measure a direction."""
        self.directions.append(self._measure(direction, self.flat @ direction.ravel()))

    def _line(self, direction: Any) -> Line:
        case = self.case
        return Line(case.values, case.point, case.base, self.which, direction)

    def _measure(self, where: Any, analytic: np.ndarray) -> Measured:
        slopes = self._line(where).slopes(self.step.size)
        return Measured(
            where, analytic, read(self.readings, slopes.central), slopes, self.step.error
        )

    # --- the judgment ---

    def conclude(self) -> InputCheck:
        """Judge all that was measured."""
        everything = [*self.elements, *self.directions]
        finite = [np.abs(m.numeric[np.isfinite(m.numeric)]).max(initial=0.0) for m in everything]
        self.scale = float(max(finite, default=0.0))
        kinks: list[Place] = []
        wrong: list[Measured] = []
        confirmed = 0
        for measured in sorted(everything, key=self._badness, reverse=True):
            failed = self._badness(measured) > 1.0
            if not failed and not self._sides_disagree(measured):
                continue
            if failed and confirmed >= MOST_CONFIRMED:
                wrong.append(measured)
                continue
            verdict = self._second_look(measured)
            if verdict == "wrong":
                wrong.append(measured)
                confirmed += 1
            elif verdict == "kink" and isinstance(measured.where, tuple):
                kinks.append(self._place(measured))
        return self._result(wrong, kinks)

    def _allowed(self, m: Measured) -> np.ndarray:
        rtol, atol = self.case.rtol, self.case.atol
        absolute = 1e-3 * rtol * self.scale + self.rounding / self.unit if atol is None else atol
        # Differences that are off by more than the gradient is allowed to be cannot judge it.
        noise = 10.0 * m.error if 10.0 * m.error <= rtol * self.scale else 0.0
        largest = np.maximum(np.abs(m.analytic), np.abs(m.numeric))
        return np.asarray(rtol * largest + absolute + noise)

    def _ratios(self, m: Measured) -> np.ndarray:
        """The error of each reading as a share of what is allowed: above 1 is too much."""
        gap = np.abs(m.analytic - m.numeric)
        allowed = self._allowed(m)
        ratios = np.where(gap == 0.0, 0.0, gap / np.maximum(allowed, 1e-300))
        return np.where(np.isfinite(gap), ratios, np.inf)

    def _badness(self, m: Measured) -> float:
        return float(self._ratios(m).max(initial=0.0))

    def _sides_disagree(self, m: Measured) -> bool:
        low, high = between(self.readings, m.slopes)
        return bool((high - low).max(initial=0.0) > self._smooth(self.step.size))

    def _smooth(self, h: float) -> float:
        """A gap between the sides that curvature or rounding may make."""
        return DISAGREE * self.scale + self.rounding / h

    def _second_look(self, m: Measured) -> str:
        """Measure again, with a step of this place's own: 'right', 'wrong' or 'kink'."""
        line = self._line(m.where)
        if self.case.eps is None:
            step, numeric = choose_step(line, self.readings, self.unit)
            m.numeric, m.error, m.slopes = numeric, step.error, line.slopes(step.size)
        else:
            step = self.step
        if self._is_kink(line, m, step.size):
            low, high = between(self.readings, m.slopes)
            slack = self._allowed(m)
            m.at_kink = True
            inside = (m.analytic >= low - slack) & (m.analytic <= high + slack)
            return "kink" if inside.all() else "wrong"
        return "wrong" if self._badness(m) > 1.0 else "right"

    def _is_kink(self, line: Line, m: Measured, h: float) -> bool:
        """Whether the sides still disagree when the step is a tenth.

        Of a smooth function the sides differ by h f'', ten times less; at a kink the gap stays.
        """
        bounds = (between(self.readings, s) for s in (m.slopes, line.slopes(h / 10)))
        gaps = [high - low for low, high in bounds]
        wide = gaps[0] > self._smooth(h / 10)
        return bool((wide & (gaps[1] > 0.5 * gaps[0])).any())

    # --- the result ---

    def _worst_reading(self, m: Measured) -> int:
        """The reading that is furthest off; a single output, if one of them is wrong."""
        ratios = self._ratios(m)
        single = int(np.argmax(ratios[:-1])) if len(ratios) > 1 else 0
        return single if ratios[single] > 1.0 else int(np.argmax(ratios))

    def _place(self, m: Measured) -> Place:
        r = self._worst_reading(m)
        where = m.where if isinstance(m.where, tuple) else None
        low, high = between(self.readings[r : r + 1], m.slopes)
        return Place(
            index=where,
            output=self.case.labels[r],
            analytic=float(m.analytic[r]),
            numeric=float(m.numeric[r]),
            allowed=float(self._allowed(m)[r]),
            sides=(float(low[0]), float(high[0])),
        )

    def _result(self, wrong: list[Measured], kinks: list[Place]) -> InputCheck:
        ratios = np.full(self.x.shape, np.nan)
        for m in self.elements:
            ratios[m.where] = self._badness(m)
        for kink in kinks:
            ratios[kink.index] = np.nan
        at_kink = {kink.index for kink in kinks}
        judged = [m for m in self.elements if m.where not in at_kink]
        shown = [m for m in wrong if isinstance(m.where, tuple)] or wrong or judged
        worst = max(shown, key=self._badness, default=None)
        remarks = []
        if wrong and not self.reached:
            remarks.append("no gradient reaches it: is the graph cut by .data, numpy or detach()?")
        if worst is not None and wrong and 10.0 * worst.error > self.case.rtol * self.scale:
            remarks.append(
                f"the differences themselves are off by about {worst.error:.1g}, too much to "
                "judge: is the function smooth there, and is all of it computed in float64?"
            )
        if worst is not None and worst.at_kink:
            remarks.append(
                "there is a kink there, and the gradient lies outside the slopes of its two sides: "
                "move the point, unless the operation itself chose so"
            )
        smallest = min(
            (float(np.abs(m.where).min()) for m in self.directions), default=float("nan")
        )
        threshold = max(
            (float(self._allowed(m).max()) for m in self.directions), default=float("nan")
        )
        return InputCheck(
            name=self.case.names[self.which],
            shape=self.x.shape,
            looked_at=len(self.elements),
            directions=len(self.directions),
            step=self.step.size,
            ratios=ratios,
            wrong_elements=sum(isinstance(m.where, tuple) for m in wrong),
            wrong_directions=sum(not isinstance(m.where, tuple) for m in wrong),
            worst=None if worst is None else self._place(worst),
            kinks=kinks,
            sure_above=threshold / smallest if self.directions else None,
            curve=[] if worst is None else self._curve(worst),
            remarks=remarks,
        )

    def _curve(self, m: Measured) -> list[tuple[float, float]]:
        """The error against the step where it is worst: a V, or flat if the gradient is wrong."""
        r = self._worst_reading(m)
        line = self._line(m.where)
        points = []
        for share in CURVE:
            h = share * self.unit
            slope = read(self.readings[r : r + 1], line.slopes(h).central)[0]
            points.append((h, float(abs(slope - m.analytic[r]))))
        return [point for point in points if np.isfinite(point[1])]
