"""Checks of an assignment inside a notebook, in the notebook's own process.

What runs here shares a process with the student's code, which could change anything; so a grade
that must be trusted comes from ``minires course grade``.
"""

from __future__ import annotations

import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minires.course.assignment import Assignment, Task, named
from minires.course.handing_out import known_at
from minires.course.inside import wire
from minires.course.inside.references import solutions
from minires.course.marking import TaskResult, Tried, hidden_cases, verdict_of
from minires.course.publish import public_tried
from minires.course.sandbox import Answer, Outcome
from minires.course.secret import find_secret
from minires.exercises.verdict import Verdict

__all__ = ["check", "require"]

_PACKAGE = str(Path(__file__).parents[1])


def check(assignment: str, task: str, names: dict[str, Any]) -> Verdict:
    """Check a task on the public cases; the verdict shows itself.

    Args:
        assignment: its name.
        task: its name.
        names: where the task is defined; ``globals()``.

    >>> names = {"output_size": lambda size, *how, **more: size}
    >>> check("a03_convolution", "output_size", names).status
    'wrong'
    """
    found = _find(assignment)
    one = found.task(task)
    result = _result(found, one, public_tried(found, one), names, references=False)
    return Verdict(f"{one.title} ({task})", result.status, result.message, result.hint)


def require(assignment: str, task: str, names: dict[str, Any], *, hidden: bool = False) -> None:
    """Raise AssertionError, with what is wrong, unless the task is right; for nbgrader's cells.

    ``hidden`` takes the cases of grading, and the solution for the earlier tasks that this one
    uses: that needs the complete assignment and the teacher's secret.
    """
    found = _find(assignment)
    one = found.task(task)
    if hidden:
        tried = hidden_cases(found, one, find_secret().data, "nbgrader")
    else:
        tried = public_tried(found, one)
    result = _result(found, one, tried, names, references=hidden)
    if result.points < one.points:
        raise AssertionError(f"{task}: {result.status}. {result.message}\nHint: {result.hint}")


def _find(name: str) -> Assignment:
    return named(name, known_at(Path.cwd()))


def _result(
    assignment: Assignment, task: Task, tried: Tried, names: dict[str, Any], references: bool
) -> TaskResult:
    with _replaced(names, _earlier(assignment, task, names) if references else {}):
        module = types.ModuleType("submission")
        module.__dict__.update(names)
        answers = [_answer(assignment, task, module, case) for case in tried.cases]
        outcome = Outcome(answers, loaded=callable(names.get(task.name)))
    return verdict_of(assignment, task, tried, outcome)


def _earlier(assignment: Assignment, task: Task, names: dict[str, Any]) -> dict[str, Any]:
    """The solutions of earlier tasks; their helpers stay among themselves."""
    given: dict[str, Any] = {"__name__": "submission"}
    for code in assignment.given_code():
        exec(code, given)
    return solutions(names, given, assignment.reference_code(task))


def _answer(assignment: Assignment, task: Task, module: types.ModuleType, case: Any) -> Answer:
    try:
        with np.errstate(all="ignore"):
            value = assignment.drive(module, task, case)
        return Answer(value=wire.decode(wire.encode(value)))
    except Exception as error:
        return Answer(error=_error_of(error))


@contextmanager
def _replaced(names: dict[str, Any], others: dict[str, Any]) -> Iterator[None]:
    """The names with others in their place; afterwards they are what they were."""
    before = dict(names)
    try:
        names.update(others)
        yield
    finally:
        for name in [name for name in names if name not in before]:
            del names[name]
        names.update(before)


def _error_of(error: Exception) -> dict[str, Any]:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_PACKAGE) and frame.line
    ]
    where = frames[-1] if frames else None
    return {
        "type": type(error).__name__,
        "message": str(error),
        "place": where.name if where else "",
        "number": (where.lineno or 0) if where else 0,
        "line": (where.line or "") if where else "",
    }
