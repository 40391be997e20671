"""What ``diagnose`` returns: the verdict as data, as text and as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from textwrap import wrap

from minires.check.mistakes import Mistake

__all__ = ["Diagnosis", "Worst"]


@dataclass(frozen=True)
class Worst:
    """The element that is furthest from what it should be.

    Attributes:
        name: ``grad_x``, ... or ``output``.
        problem: shapes and settings of the problem.
        index: place of the element; None if there is no element to compare (see ``note``).
        expected: the right number.
        found: the learner's number.
        note: why no element can be shown.
    """

    name: str
    problem: str
    index: tuple[int, ...] | None = None
    expected: float | None = None
    found: float | None = None
    note: str = ""

    def __str__(self) -> str:
        if self.note:
            what = f"{self.name}: {self.note}"
        else:
            place = ", ".join(map(str, self.index or ()))
            element = f"{self.name}[{place}]" if place else self.name
            what = f"{element} is {self.found:.8g} and should be {self.expected:.8g}"
        return f"{what}\nwith {self.problem}"


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a learner's forward and backward; true if both are right.

    Attributes:
        op: the operation.
        correct: whether forward and all gradients are right, on every problem that was posed.
        forward_correct: whether forward is; if not, backward was not judged.
        mistakes: the known mistakes that were found.
        wrong: names of the inputs whose gradients are wrong.
        remarks: what else there is to say, in sentences.
        posed: how many problems were posed.
        left_out: how many were not, because forward does not take a setting they need.
        worst: the element that is furthest off.
    """

    op: str
    correct: bool
    forward_correct: bool
    mistakes: tuple[Mistake, ...]
    wrong: tuple[str, ...]
    remarks: tuple[str, ...]
    posed: int
    left_out: int
    worst: Worst | None = None

    def __bool__(self) -> bool:
        return self.correct

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the mistakes that were found."""
        return tuple(mistake.name for mistake in self.mistakes)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.correct:
            problems = "1 problem" if self.posed == 1 else f"all {self.posed} problems"
            if self.left_out:
                total = self.posed + self.left_out
                problems = f"the {self.posed} of {total} problems that forward can be given"
            return f"{self.op}: forward and backward are right on {problems}."
        if not self.forward_correct:
            return f"{self.op}: forward is not right yet, and so backward was not judged."
        if self.wrong:
            names = ", ".join(f"grad_{name}" for name in self.wrong)
            return f"{self.op}: forward is right; backward is not right yet. Wrong: {names}."
        return f"{self.op}: forward is right; backward fails."

    def __str__(self) -> str:
        lines = [self.verdict]
        for heading, text in self._parts():
            lines += ["", heading]
            for line in text.splitlines():
                lines += wrap(line, 96, initial_indent="  ", subsequent_indent="  ")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = "".join(
            f"<dt><strong>{escape(heading)}</strong></dt>"
            f"<dd>{'<br>'.join(escape(line) for line in text.splitlines())}</dd>"
            for heading, text in self._parts()
        )
        details = f"<dl>{parts}</dl>" if parts else ""
        return f"<div><p><strong>{escape(self.verdict)}</strong></p>{details}</div>"

    def _parts(self) -> Iterator[tuple[str, str]]:
        """Headings and texts below the verdict."""
        for mistake in self.mistakes:
            yield f"Found: {mistake.title} ({mistake.name})", mistake.hint
        if self.worst is not None:
            yield "Furthest off", str(self.worst)
        for remark in self.remarks:
            yield "Remark", remark
