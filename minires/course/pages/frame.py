"""What the pages have in common: their frame, how text is made safe, and how a result is shown.

Nearly every string on these pages is a student's or comes from a student's code.  All of them go
through :func:`shown`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from minires.course.assignment import Assignment, Task
from minires.course.grades import Grade, Override
from minires.course.handed_in import visible
from minires.course.marking import TaskResult
from minires.exercises.verdict import NOT_YET, PASSED, SIGNS, WRONG
from minires.viz.page import PAGE, STYLESHEET

__all__ = [
    "Row",
    "class_of",
    "name_html",
    "render",
    "rows_of",
    "shown",
    "status_html",
]

BY_HAND, UNGRADED = "by hand", "not graded"

# Never by colour alone: a sign and a word belong to each.
_SIGNS = SIGNS | {BY_HAND: "✎", UNGRADED: "-"}
_CLASSES = {PASSED: "passed", NOT_YET: "notyet", WRONG: "wrong", BY_HAND: "hand", UNGRADED: ""}

_STYLES = """\
:root { --wrong: #9c4a00; }
@media (prefers-color-scheme: dark) { :root { --wrong: #f0ad5c; } }
a { color: var(--accent); text-underline-offset: 0.25em; }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
h1, .lead, li, td, th, p, pre { overflow-wrap: anywhere; }
code { font: 0.92em/1.4 var(--mono); }
.status { white-space: nowrap; font-weight: 600; color: var(--muted); }
.passed { color: var(--accent); }
.wrong { color: var(--wrong); }
.total { font: 600 1.35rem/1.3 var(--sans); margin-bottom: 0.75rem; }
.strip { display: flex; gap: 3px; height: 1.1rem; max-width: 44rem; margin-bottom: 2rem;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.strip span { border: 1.5px solid var(--muted); border-radius: 3px; min-width: 4px; }
.strip .passed { border-color: var(--accent); background: var(--accent); }
.strip .wrong { border-color: var(--wrong); background: repeating-linear-gradient(
  -45deg, var(--wrong) 0 2px, transparent 2px 7px); }
.strip .notyet { border-style: dashed; }
.strip .hand { border-color: var(--ink); background: repeating-linear-gradient(
  90deg, var(--ink) 0 2px, transparent 2px 5px); }
table.tasks { width: 100%; max-width: 44rem; min-width: 0; }
table.tasks th, table.tasks td { white-space: normal; }
table.tasks .title { display: block; color: var(--muted); font-weight: 400; }
table.tasks .number { white-space: nowrap; padding-right: 0; }
.task { margin-top: 2.5rem; padding-left: 1.1rem; border-left: 4px solid var(--rule);
  max-width: 44rem; }
.task.is-wrong { border-left-color: var(--wrong); }
.task.is-passed { border-left-color: var(--accent); }
.task h3 { margin: 0 0 0.35rem; font: 700 1.15rem/1.35 var(--serif); }
.task > :last-child { margin-bottom: 0; }
.facts { font: 0.95rem/1.5 var(--sans); color: var(--muted); margin-bottom: 0.7rem; }
.task pre { margin-bottom: 0.8rem; overflow: hidden; }
.given { font: 1rem/1.5 var(--sans); }
table.students { min-width: 0; }
table.students thead th { vertical-align: bottom; }
table.students thead .turned { display: inline-block; writing-mode: vertical-rl;
  transform: rotate(180deg); font: 600 0.85rem/1.2 var(--mono); }
table.students th, table.students td { padding: 0.35rem 0.55rem; text-align: right; }
table.students tr > :first-child { padding-left: 0; text-align: left; }
table.students tbody th { white-space: normal; min-width: 8rem; max-width: 16rem; position: sticky;
  left: 0; background: var(--paper); }
table.students .sum { font-weight: 600; }
.plain { list-style: none; padding-left: 0; }
.plain.walls li { display: grid; grid-template-columns: 13rem 1fr; gap: 0 0.75rem;
  font: 1rem/1.5 var(--sans); }
table.reasons { min-width: 0; width: 100%; max-width: 54rem; }
table.reasons td:last-child, table.reasons th { white-space: normal; }
table.reasons td:last-child { min-width: 14rem; }
thead th { overflow-wrap: normal; }
table.reasons tbody th { min-width: 8rem; max-width: 20rem; }
@media (max-width: 50rem) { .plain.walls li { grid-template-columns: 1fr; } }
@media print {
  :root { --wrong: #000; }
  .task { break-inside: avoid; margin-top: 1.2rem; }
  h3 { break-after: avoid; }
  a { text-decoration: none; }
  table.students tbody th { position: static; }
}
"""


def render(title: str, body: str) -> str:
    """A whole page around a body in HTML; the title is text."""
    return PAGE.format(title=shown(title), stylesheet=STYLESHEET + _STYLES, body=body)


def shown(text: str) -> str:
    r"""Any text as HTML that shows it: what is not visible or no character as its number.

    >>> print(shown("a < b\x1b[31m"))
    a &lt; b\x1b[31m
    """
    return escape("\n".join(map(visible, text.expandtabs(4).split("\n"))))


def name_html(grade: Grade) -> str:
    """Who it is; a name in another script leaves the direction of what follows as it is."""
    name = f"<bdi>{shown(grade.name or grade.student)}</bdi>"
    return f"{name} ({shown(grade.number)})" if grade.number else name


@dataclass(frozen=True)
class Row:
    """A task, what came of it (None if it was not graded), and what was given by hand."""

    task: Task
    result: TaskResult | None
    override: Override | None
    points: float

    @property
    def status(self) -> str:
        """'passed', 'not yet', 'wrong' or 'not graded': what the grader found."""
        return self.result.status if self.result is not None else UNGRADED

    @property
    def shown_status(self) -> str:
        """The same, or 'by hand'."""
        return BY_HAND if self.override is not None else self.status


def rows_of(assignment: Assignment, grade: Grade) -> list[Row]:
    """One row for each task of the assignment, in its order."""
    results = {result.task.name: result for result in grade.results}
    return [
        Row(
            task,
            results.get(task.name),
            grade.overrides.get(task.name),
            grade.points_for(task.name),
        )
        for task in assignment.tasks
    ]


def class_of(status: str) -> str:
    """The name of a status in the stylesheet."""
    return _CLASSES.get(status, "")


def status_html(status: str, *, word: bool = True) -> str:
    """The sign of a status, with its word behind it or for those who hear the page."""
    sign, kind = _SIGNS.get(status, "?"), class_of(status)
    if word:
        seen = f'<span aria-hidden="true">{sign}</span> {shown(status)}'
        return f'<span class="status {kind}">{seen}</span>'
    return f'<span class="status {kind}" role="img" aria-label="{shown(status)}">{sign}</span>'
