"""What a check of an exercise returns."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

__all__ = ["NOT_YET", "PASSED", "SIGNS", "WRONG", "Verdict"]

PASSED, NOT_YET, WRONG = "passed", "not yet", "wrong"
SIGNS = {PASSED: "✓", NOT_YET: "○", WRONG: "✗"}  # not by colour alone
_COLORS = {PASSED: "#0a4c94", NOT_YET: "#5b6270", WRONG: "#b45f00"}


@dataclass(frozen=True, repr=False)
class Verdict:
    """The answer to an attempt at an exercise.

    Attributes:
        exercise: its title.
        status: 'passed', 'not yet' or 'wrong'.
        message: what was found; for a wrong attempt, what was expected and what came.
        hint: where to look next; empty when it has passed.

    >>> Verdict("The sum of two ways", "not yet", "The function returned None.", "What adds up?")
    ○ not yet · The sum of two ways
      The function returned None.
      Hint: What adds up?
    """

    exercise: str
    status: str
    message: str = ""
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether the attempt is right."""
        return self.status == PASSED

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        lines = [f"{SIGNS[self.status]} {self.status} · {self.exercise}"]
        lines += [f"  {line}".rstrip() for line in self.message.splitlines()]
        if self.hint:
            first, *rest = self.hint.splitlines()
            lines += [f"  Hint: {first}", *(f"  {line}" for line in rest)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        color = _COLORS[self.status]
        message = f'<div style="white-space:pre-wrap">{escape(self.message)}</div>'
        hint = f"<div><em>Hint:</em> {escape(self.hint)}</div>" if self.hint else ""
        return (
            f'<div style="border-left:4px solid {color};padding:.3em .8em;margin:.4em 0">'
            f'<strong style="color:{color}">{SIGNS[self.status]} {self.status}</strong> · '
            f"{escape(self.exercise)}{message if self.message else ''}{hint}</div>"
        )
