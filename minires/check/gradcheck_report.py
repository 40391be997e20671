"""The report of a gradient check: what is right, what is wrong and where, and how it was found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from minires.check.heat import fold, heat_text
from minires.errors import MiniresError
from minires.result import Result

__all__ = ["GradcheckError", "GradcheckReport", "InputCheck", "Place", "element_name"]

MOST_KINKS = 5  # so many are named
UNSEEN = -1.0  # in the map of the ratios: not looked at, or a kink


def element_name(name: str, index: tuple[int, ...]) -> str:
    """How an element is called: ``weight[0, 1]``, or ``loss`` where there is but one number."""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


@dataclass(frozen=True)
class Place:
    """One element of an input, or (``index`` None) one direction, for one reading of the outputs.

    ``allowed`` is the error that is allowed there, and ``sides`` are the least and the largest
    derivative that the two one-sided differences leave room for.
    """

    index: tuple[int, ...] | None
    output: str
    analytic: float
    numeric: float
    allowed: float
    sides: tuple[float, float]

    @property
    def relative_error(self) -> float:
        """The error as a share of the larger of the two numbers."""
        largest = max(abs(self.analytic), abs(self.numeric))
        return abs(self.analytic - self.numeric) / largest if largest else 0.0

    @property
    def ratio(self) -> float:
        """The error as a share of what is allowed."""
        return abs(self.analytic - self.numeric) / max(self.allowed, 1e-300)

    def of(self, name: str) -> str:
        """What moved, in words."""
        if self.index is None:
            return f"{name} along a random direction"
        return element_name(name, self.index)


@dataclass(frozen=True)
class InputCheck:
    """What was found of one input.

    Attributes:
        looked_at, directions: how many elements and directions were measured.
        unjudged: at how many places the differences are too inaccurate to tell; never 'right'.
        ratios: of the input's shape: the largest error as a share of what is allowed, above 1 where
            the gradient is wrong, nan where nobody looked and at kinks.
        worst: the worst place that is no kink; None if there is none.
        sure_above: an error of a single element above this shows in every direction.
        measure_curve: runs the function again, for ``curve``.
    """

    name: str
    shape: tuple[int, ...]
    looked_at: int
    directions: int
    step: float
    ratios: np.ndarray
    wrong_elements: int
    wrong_directions: int
    unjudged: int
    worst: Place | None
    kinks: list[Place]
    sure_above: float | None
    remarks: list[str]
    measure_curve: Callable[[], list[tuple[float, float]]] = field(repr=False, compare=False)

    @cached_property
    def curve(self) -> list[tuple[float, float]]:
        """(step, error) at the worst place, measured when it is first asked for."""
        return self.measure_curve()

    @property
    def passed(self) -> bool:
        """Whether all that was looked at is right."""
        return not (self.wrong_elements or self.wrong_directions or self.unjudged)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def chance_to_miss(self) -> float:
        """The probability that one wrong element, at a random place, was not looked at by itself.

        Each of the ``size`` places is as probable, and ``looked_at`` of them were looked at.
        """
        return 1.0 - self.looked_at / self.size if self.size else 0.0

    def coverage(self) -> str:
        """What was looked at, in words."""
        if self.looked_at == self.size:
            return f"all {self.size}"
        return f"{self.looked_at} of {self.size}, {self.directions} directions"

    def may_escape(self) -> str:
        """The probability to miss one wrong element, and for which errors."""
        if self.sure_above is None:
            return "nothing"
        return f"{self.chance_to_miss:.1%} if below {self.sure_above:.1e}"

    def verdict(self) -> str:
        """'right', or how much is wrong."""
        parts = []
        if self.wrong_elements:
            parts.append(f"{self.wrong_elements} wrong")
        if self.wrong_directions:
            parts.append(f"{self.wrong_directions} directions wrong")
        if self.unjudged:
            parts.append(f"{self.unjudged} not judged")
        return ", ".join(parts) or "right"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data.

        The ratios are a map of rows and columns: -1 where nobody looked and at kinks, None in the
        gaps between its tiles.
        """
        worst = self.worst
        grid = fold(np.where(np.isnan(self.ratios), UNSEEN, self.ratios)).tolist()
        return {
            "name": self.name,
            "shape": list(self.shape),
            "looked_at": self.looked_at,
            "directions": self.directions,
            "coverage": self.coverage(),
            "chance_to_miss": self.chance_to_miss,
            "sure_above": None if self.sure_above is None else _finite(self.sure_above),
            "step": self.step,
            "passed": self.passed,
            "wrong_elements": self.wrong_elements,
            "wrong_directions": self.wrong_directions,
            "unjudged": self.unjudged,
            "remarks": list(self.remarks),
            "kinks": [_plain(place, self.name) for place in self.kinks],
            "worst": None if worst is None else _plain(worst, self.name),
            "ratios": [[None if math.isnan(x) else min(x, 1e300) for x in row] for row in grid],
            "curve": [list(point) for point in self.curve],
        }


@dataclass(frozen=True)
class GradcheckReport(Result):
    """The result of :func:`gradcheck`; true if the check passed.

    ``print`` it, or let a notebook display it: the table, the worst element, a map of the errors
    and the error against the step.

    Attributes:
        name: of the function.
        order: 1 for gradients, 2 for gradients of gradients.
        inputs: what was found of each.
        outputs: the shapes of the outputs.
        whole_jacobian: whether each output was read by itself.
        problems: what is wrong with the function or its backward as a whole.
        rtol, seed: as they were used.
    """

    name: str
    order: int
    inputs: list[InputCheck]
    outputs: list[tuple[int, ...]]
    whole_jacobian: bool
    problems: list[str]
    rtol: float
    seed: int

    figure_name = "gradcheck_figure"

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems and all(check.passed for check in self.inputs)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def sampled(self) -> bool:
        """Whether an input was too large to look at each of its elements."""
        return any(check.sure_above is not None for check in self.inputs)

    @property
    def verdict(self) -> str:
        """'passed' or 'FAILED'."""
        return "passed" if self.passed else "FAILED"

    @property
    def worst(self) -> tuple[str, Place] | None:
        """The worst place of all inputs, with the input's name; a wrong one if there is one."""
        checks = [check for check in self.inputs if check.worst is not None]
        if not checks:
            return None
        check = max(checks, key=lambda check: (not check.passed, _ratio(check)))
        assert check.worst is not None
        return check.name, check.worst

    @property
    def kinks(self) -> list[tuple[str, Place]]:
        """The points found where the function has no derivative, with the inputs' names."""
        return [(check.name, place) for check in self.inputs for place in check.kinks]

    # --- words ---

    def caption(self) -> str:
        """What was found, in one sentence."""
        what = "gradcheck" if self.order == 1 else "gradgradcheck"
        failed = [check for check in self.inputs if not check.passed]
        wrong = [check.name for check in failed if check.wrong_elements or check.wrong_directions]
        found = f"{what} of {self.name}: {self.verdict}"
        if wrong:
            found += f", the gradient by {' and by '.join(wrong)} is wrong"
        elif failed:
            names = " and by ".join(check.name for check in failed)
            found += f", the gradient by {names} cannot be judged"
        return found + "."

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row for each input."""
        headers = ["input", "shape", "looked at", "step", "worst error", "kinks", "verdict"]
        if self.sampled:
            headers.insert(3, "may escape")
        rows: list[list[Any]] = []
        for check in self.inputs:
            worst = "-" if check.worst is None else f"{check.worst.relative_error:.1e}"
            row = [check.name, str(check.shape), check.coverage()]
            row += [check.may_escape()] if self.sampled else []
            row += [f"{check.step:.1e}", worst, str(len(check.kinks)), check.verdict()]
            rows.append(row)
        return headers, rows

    def details(self) -> list[str]:
        """Everything else worth knowing, a line each."""
        lines = [f"! {problem}." for problem in self.problems]
        if self.worst is not None:
            name, place = self.worst
            lines.append(
                f"worst: {place.of(name)}, its effect on {place.output}: analytic "
                f"{place.analytic:.10g}, numeric {place.numeric:.10g}, relative error "
                f"{place.relative_error:.1e}"
            )
        lines += [f"{check.name}: {remark}" for check in self.inputs for remark in check.remarks]
        for name, place in self.kinks[:MOST_KINKS]:
            low, high = place.sides
            lines.append(
                f"kink at {place.of(name)}: its two sides have slopes from {low:.4g} to "
                f"{high:.4g}, and the gradient takes {place.analytic:.4g}"
            )
        if len(self.kinks) > MOST_KINKS:
            lines.append(f"and {len(self.kinks) - MOST_KINKS} kinks more")
        if self.sampled:
            lines.append(
                "may escape: the probability that one wrong element, at a random place, is missed "
                "if its gradient is off by less than the number after it; a larger error shows in "
                "every direction"
            )
        return lines

    def __str__(self) -> str:
        maps = [
            f"error of {check.name} as a share of what is allowed:\n{heat_text(check.ratios)}"
            for check in self.inputs
            if not check.passed and check.looked_at
        ]
        return "\n".join([super().__str__(), *maps])

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "name": self.name,
            "order": self.order,
            "passed": self.passed,
            "rtol": self.rtol,
            "seed": self.seed,
            "outputs": [list(shape) for shape in self.outputs],
            "whole_jacobian": self.whole_jacobian,
            "problems": list(self.problems),
            "caption": self.caption(),
            "details": self.details(),
            "inputs": [check.to_dict() for check in self.inputs],
        }


class GradcheckError(MiniresError, RuntimeError):
    """A gradient check that failed; ``report`` says all about it."""

    def __init__(self, report: GradcheckReport):
        super().__init__(str(report))
        self.report = report


def _ratio(check: InputCheck) -> float:
    return 0.0 if check.worst is None else check.worst.ratio


def _plain(place: Place, name: str) -> dict[str, Any]:
    return {
        "element": place.of(name),
        "index": None if place.index is None else list(place.index),
        "output": place.output,
        "analytic": _finite(place.analytic),
        "numeric": _finite(place.numeric),
        "relative_error": _finite(place.relative_error),
        "allowed": _finite(place.allowed),
        "sides": [_finite(side) for side in place.sides],
    }


def _finite(value: float) -> float | None:
    """JSON has no word for infinity and nan."""
    return value if math.isfinite(value) else None
