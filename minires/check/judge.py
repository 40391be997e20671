"""The judgment of one input: measured along elements and directions, wrong, right or a kink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minires.check.differences import (
    EPS,
    LADDER,
    NOISE,
    Line,
    Step,
    between,
    choose_step,
    ladder,
    read,
    sizes_of,
    unit_of,
)
from minires.check.gradcheck_report import InputCheck, Place

__all__ = ["InputJudge", "Case"]

MOST_CONFIRMED = 8  # so many wrong elements are measured again; the rest is taken as they are
FLAT = 1e-6  # a derivative below this share of output over input is none, if nothing moves
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
        owners: (R,), the number of the output that each reading is an element of.
        rtol, atol: what is allowed; None where the size of the gradient decides.
        eps: a fixed step, or None where it is chosen for each input.
    """

    values: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    names: list[str]
    point: list[np.ndarray]
    base: np.ndarray
    readings: np.ndarray
    labels: list[str]
    owners: np.ndarray
    rtol: float
    atol: float | None
    eps: float | None


@dataclass
class Measured:
    """One element or direction: what backward said of each reading, and what the outputs did."""

    where: tuple[int, ...] | np.ndarray
    analytic: np.ndarray  # (R,)
    numeric: np.ndarray  # (R,)
    low: np.ndarray  # (R,), the least derivative that the two sides leave room for
    high: np.ndarray  # (R,), and the largest
    error: np.ndarray  # (R,), of the differences
    at_kink: np.ndarray  # (R,), whether the two sides have slopes of their own
    flat: np.ndarray  # (R,), whether nothing but rounding moves it


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
        self.gradients = gradients.reshape(len(gradients), -1)  # (R, the number of elements)
        self.reached = reached
        self.unit = unit_of(self.x)
        self.step = Step(case.eps or 1e-6 * self.unit, 0.0)
        self.scale = np.zeros(len(self.readings))  # the largest derivative found of each reading
        self.largest = self.scale  # and the largest found of any element of the same output
        self.sizes = sizes_of(self.readings, case.base)  # (R,), of the outputs that are read
        self.rounding = 256.0 * EPS * self.sizes  # (R,), what rounding may make of them
        self.elements: list[Measured] = []
        self.directions: list[Measured] = []

    def choose_step(self, direction: np.ndarray) -> None:
        """Choose the step of this input, by the function's course along ``direction``."""
        line, good_enough = self._line(direction), 1e-4 * self.case.rtol
        self.step, _ = choose_step(line, self.readings, ladder(self.x), good_enough)

    def look_at(self, index: tuple[int, ...]) -> None:
        """Measure one element."""
        place = int(np.ravel_multi_index(index, self.x.shape)) if index else 0
        self.elements.append(self._measure(index, self.gradients[:, place]))

    def look_along(self, direction: np.ndarray) -> None:
        """Measure a direction."""
        self.directions.append(self._measure(direction, self.gradients @ direction.ravel()))

    def _line(self, direction: Any) -> Line:
        case = self.case
        return Line(case.values, case.point, case.base, self.which, direction)

    def _measure(self, where: Any, analytic: np.ndarray) -> Measured:
        slopes = self._line(where).slopes(self.step.size)
        numeric = read(self.readings, slopes.central)
        low, high = between(self.readings, slopes)
        error, no = np.full(len(numeric), self.step.error), np.zeros(len(numeric), bool)
        return Measured(where, analytic, numeric, low, high, error, no, no.copy())

    # --- the judgment ---

    def conclude(self, together: Sequence[np.ndarray]) -> InputCheck:
        """Judge all that was measured.

        Where there are kinks, elements that are right one by one may be wrong ``together``, as
        where each of two equal maxima is paid: these directions are looked along then.
        """
        everything = [*self.elements, *self.directions]
        for m in everything:
            finite = np.where(np.isfinite(m.numeric), np.abs(m.numeric), 0.0)
            self.scale = np.maximum(self.scale, finite)
        largest = np.zeros(int(self.case.owners.max()) + 1)
        np.maximum.at(largest, self.case.owners, self.scale)
        self.largest = largest[self.case.owners]
        kinks: list[Place] = []
        wrong: list[Measured] = []
        confirmed = 0
        for measured in sorted(everything, key=self._badness, reverse=True):
            failed = self._badness(measured) > 1.0
            if not failed or confirmed < MOST_CONFIRMED:
                self._second_look(measured)
            if self._badness(measured) > 1.0:
                wrong.append(measured)
                confirmed += not self._unjudged(measured)
            elif measured.at_kink.any() and isinstance(measured.where, tuple):
                kinks.append(self._place(measured, self._kink_reading(measured)))
        for direction in together if kinks and not wrong else ():
            measured = self._measure(direction, self.gradients @ direction.ravel())
            self._second_look(measured)
            if self._badness(measured) > 1.0:
                wrong.append(measured)
        return self._result(wrong, kinks)

    def _allowed(self, m: Measured) -> np.ndarray:
        rtol, atol = self.case.rtol, self.case.atol
        least = 1e-3 * rtol * self.scale + EPS * self.largest
        absolute = least if atol is None else atol
        # Differences that are off by more than the gradient is allowed to be cannot judge it.
        tolerable = rtol * self.largest
        none = FLAT * np.minimum(self.sizes, 1.0) / self.unit
        tolerable = np.where(m.flat, np.maximum(tolerable, none), tolerable)
        noise = np.where(10.0 * m.error <= tolerable, 10.0 * m.error, 0.0)
        noise += np.where(m.flat, NOISE, 0.0)
        largest = np.maximum(np.abs(m.analytic), np.abs(m.numeric))
        return np.asarray(rtol * largest + absolute + noise)

    def _unjudged(self, m: Measured) -> bool:
        """Whether all that looks wrong may as well be the error of the differences."""
        lost = np.abs(m.analytic - m.numeric) <= 10.0 * m.error
        return not np.isfinite(m.numeric).all() or bool(lost[self._ratios(m) > 1.0].all())

    def _ratios(self, m: Measured) -> np.ndarray:
        """The error of each reading as a share of what is allowed: above 1 is too much."""
        outside = np.maximum(m.low - m.analytic, m.analytic - m.high)  # of what a kink leaves free
        gap = np.where(m.at_kink, np.maximum(outside, 0.0), np.abs(m.analytic - m.numeric))
        allowed = self._allowed(m)
        ratios = np.where(gap == 0.0, 0.0, gap / np.maximum(allowed, 1e-300))
        return np.where(np.isfinite(gap), ratios, np.inf)

    def _badness(self, m: Measured) -> float:
        return float(self._ratios(m).max(initial=0.0))

    def _second_look(self, m: Measured) -> None:
        """Measure what is off, or may be a kink, again: each reading with a step of its own."""
        line, h = self._line(m.where), self.step.size
        disagree = m.high - m.low > DISAGREE * self.scale + self.rounding / h
        for r in np.flatnonzero((self._ratios(m) > 1.0) | disagree).tolist():
            if self.case.eps is None:
                step, m.numeric[r] = self._own_step(line, r)
                m.error[r], m.flat[r], h = step.error, step.flat, step.size
            m.low[r], m.high[r] = self._sides(line, r, h)
            low, high = self._sides(line, r, h / 10)
            self._tell_kink(m, r, high - low, h)

    def _own_step(self, line: Line, r: int) -> tuple[Step, float]:
        """The best step for one reading along one line, and the derivative found with it.

        An element that is small beside the others may need steps that are small too.  Steps so
        small that nothing moves say nothing.
        """
        readings, good_enough = self.readings[r : r + 1], 1e-4 * self.case.rtol
        best, (numeric,) = choose_step(line, readings, ladder(self.x), good_enough)
        accurate = 10.0 * best.error < self.case.rtol * abs(numeric)
        own = abs(float(self.x[line.direction])) if isinstance(line.direction, tuple) else 0.0
        if own > 0.0 and not accurate:
            steps = [own * share for share in LADDER]
            tried, (slope,) = choose_step(line, readings, steps, good_enough)
            if tried.error < best.error and not tried.flat:
                best, numeric = tried, slope
        return best, float(numeric)

    def _sides(self, line: Line, r: int, h: float) -> tuple[float, float]:
        low, high = between(self.readings[r : r + 1], line.slopes(h))
        return float(low[0]), float(high[0])

    def _tell_kink(self, m: Measured, r: int, closer: float, h: float) -> None:
        """See what the gap between the sides becomes when the step is a tenth.

        Of a smooth function the sides differ by h f'', ten times less; at a kink the gap stays.  At
        a jump it grows, and the side that does not jump, the flatter one, has the derivative.
        """
        gap = m.high[r] - m.low[r]
        least = self._allowed(m)[r] + self.rounding[r] / (h / 10)
        m.at_kink[r] = gap > least + 10.0 * m.error[r] and 0.5 * gap < closer < 2.0 * gap
        if gap > least and closer > 5.0 * gap:
            m.numeric[r], m.error[r] = min(m.low[r], m.high[r], key=abs), 0.0

    # --- the result ---

    def _worst_reading(self, m: Measured) -> int:
        """The reading that is furthest off; a single output, if one of them is wrong."""
        ratios = self._ratios(m)
        single = int(np.argmax(ratios[:-1])) if len(ratios) > 1 else 0
        return single if ratios[single] > 1.0 else int(np.argmax(ratios))

    def _kink_reading(self, m: Measured) -> int:
        """The reading whose sides are furthest apart; a single output, if one has a kink."""
        widths = np.where(m.at_kink, m.high - m.low, -1.0)
        single = int(np.argmax(widths[:-1])) if len(widths) > 1 else 0
        return single if m.at_kink[single] else int(np.argmax(widths))

    def _place(self, m: Measured, r: int) -> Place:
        where = m.where if isinstance(m.where, tuple) else None
        return Place(
            index=where,
            output=self.case.labels[r],
            analytic=float(m.analytic[r]),
            numeric=float(m.numeric[r]),
            allowed=float(self._allowed(m)[r]),
            sides=(float(m.low[r]), float(m.high[r])),
        )

    def _result(self, wrong: list[Measured], kinks: list[Place]) -> InputCheck:
        ratios = np.full(self.x.shape, np.nan)
        for m in self.elements:
            ratios[m.where] = self._badness(m)
        for kink in kinks:
            ratios[kink.index] = np.nan
        at_kink = {kink.index for kink in kinks}
        judged = [m for m in self.elements if m.where not in at_kink]
        sure = [m for m in wrong if not self._unjudged(m)]
        shown = [m for m in sure if isinstance(m.where, tuple)] or sure or wrong or judged
        worst = max(shown, key=self._badness, default=None)
        r = 0 if worst is None else self._worst_reading(worst)
        remarks = self._remarks(worst, r, bool(wrong))
        smallest = min(
            (float(np.abs(m.where).min()) for m in self.directions), default=float("nan")
        )
        threshold = max(
            (float(self._leeway(m).max()) for m in self.directions), default=float("nan")
        )
        return InputCheck(
            name=self.case.names[self.which],
            shape=self.x.shape,
            looked_at=len(self.elements),
            directions=len(self.directions),
            step=self.step.size,
            ratios=ratios,
            wrong_elements=sum(isinstance(m.where, tuple) for m in sure),
            wrong_directions=sum(not isinstance(m.where, tuple) for m in sure),
            unjudged=len(wrong) - len(sure),
            worst=None if worst is None else self._place(worst, r),
            kinks=kinks,
            sure_above=threshold / smallest if self.directions else None,
            measure_curve=partial(self._curve, worst),
            remarks=remarks,
        )

    def _remarks(self, worst: Measured | None, r: int, failed: bool) -> list[str]:
        """What may be the matter, where reading ``r`` at the worst place is off."""
        if worst is None or not failed:
            return []
        if not np.isfinite(worst.numeric[r]):
            return ["the function is not finite around it: check at another point"]
        if self._unjudged(worst):
            return [
                f"the differences are off by about {worst.error[r]:.1g}, too much to judge: is all "
                "of it computed in float64, is it smooth there, and is nothing large added to it?"
            ]
        if not self.reached:
            return [
                "no gradient reaches it: did a backward return None, or is the graph cut by "
                ".data, numpy or detach()?"
            ]
        if worst.at_kink[r]:
            return [
                "there is a kink there, and the gradient lies outside the slopes of its two sides: "
                "move the point, unless the operation itself chose so"
            ]
        return []

    def _leeway(self, m: Measured) -> np.ndarray:
        """The error (R,) that may hide: right and measured may be apart by what is allowed too."""
        return 2.0 * self._allowed(m) + np.where(m.at_kink, m.high - m.low, 0.0)

    def _curve(self, m: Measured | None) -> list[tuple[float, float]]:
        """The error against the step where it is worst: a V, or flat if the gradient is wrong."""
        if m is None:
            return []
        r, line = self._worst_reading(m), self._line(m.where)
        points = []
        with np.errstate(all="ignore"):
            for share in CURVE:
                h = share * self.unit
                slope = read(self.readings[r : r + 1], line.slopes(h).central)[0]
                points.append((h, float(abs(slope - m.analytic[r]))))
        return [point for point in points if np.isfinite(point[1])]
