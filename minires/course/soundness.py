"""Whether an assignment is fit to be given out and to be graded: looked at before anybody is."""

from __future__ import annotations

import functools
import math
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minires.course.assignment import Assignment, Task
from minires.course.case import Case
from minires.course.judge import Failed, difference, explain
from minires.course.marking import solved
from minires.course.sandbox import Answer
from minires.errors import UsageError

__all__ = ["faults", "require_sound"]

LONGEST = 600  # seconds of a task


def require_sound(assignment: Assignment, *, mistakes: bool = True) -> None:
    """Raise UsageError, with the first of its faults, unless the assignment is sound.

    ``mistakes`` looks at the known mistakes and the handout too, which only the feedback needs.
    """
    for fault in faults(assignment, mistakes=mistakes):
        named = fault.startswith(f"{assignment.name}: ")
        raise UsageError(fault if named else f"{assignment.name}: {fault}")


def faults(assignment: Assignment, *, mistakes: bool = True) -> Iterator[str]:
    """What is wrong with an assignment, in sentences.

    One that keeps the code from running at all is the last, since all further ones would follow
    from it.
    """
    yield from _faults_of_tasks(assignment)
    try:
        module = _running("master.py", assignment.module)
        for task in assignment.tasks:
            if not callable(getattr(module, task.name, None)):
                yield f"master.py defines no {task.name}, and it is a task of assignment.toml."
                return
            if task.name not in [cell.task for cell in assignment.master_cells]:
                yield f"master.py has no cell '# %% task: {task.name}'."
                return
        for task in assignment.tasks:
            for hidden in (False, True):
                _running("the cases", functools.partial(_solved, assignment, task, hidden))
        if mistakes:
            yield from _faults_of_handout(assignment)
            yield from _faults_of_mistakes(assignment)
    except UsageError as error:
        yield str(error)


def _faults_of_tasks(assignment: Assignment) -> Iterator[str]:
    names: list[str] = []
    for task in assignment.tasks:
        what = f"assignment.toml: the task {task.name!r}"
        if task.name in names:
            yield f"{what} is there twice."
        if not (math.isfinite(task.points) and task.points > 0):
            yield f"{what} has {task.points:g} points; give it some."
        if not 1 <= task.seconds <= LONGEST:
            yield f"{what} has {task.seconds} seconds; take from 1 to {LONGEST}."
        for used in task.uses:
            if used not in names:
                yield f"{what} uses {used!r}, which is no task before it."
        names.append(task.name)
    if not names:
        yield "assignment.toml has no task."


def _faults_of_handout(assignment: Assignment) -> Iterator[str]:
    headings = re.findall(r"^## .*$", assignment.handout, re.MULTILINE)
    for task in assignment.tasks:
        if not any(f"`{task.name}`" in heading for heading in headings):
            yield f"handout.md has no section for {task.name}: no heading '## ... `{task.name}`'."


def _faults_of_mistakes(assignment: Assignment) -> Iterator[str]:
    known = [task.name for task in assignment.tasks]
    for mistake in assignment.mistakes:
        for name in mistake.tasks:
            if name not in known:
                yield f"mistakes.toml: {mistake.name!r} is about {name!r}, which is no task."
                return
    for task in assignment.tasks:
        for hidden in (False, True):
            yield from _faults_of_cases(assignment, task, hidden)


def _faults_of_cases(assignment: Assignment, task: Task, hidden: bool) -> Iterator[str]:
    """Mistakes that these cases cannot tell from the solution or from each other."""
    tried = _solved(assignment, task, hidden)
    known = _running("mistakes.toml", tried.known)
    which = "hidden" if hidden else "public"
    for mistake, predicted in known:
        answers = [_answer(one) for one in predicted]
        pairs = zip(answers, tried.expected, strict=True)
        if not any(a.error is not None or difference(a.value, e, "it") for a, e in pairs):
            yield f"mistakes.toml: {mistake.name!r} is right on all {which} cases of {task.name}."
            continue
        found = explain(answers, tried.expected, known)
        if found is not None and found.name != mistake.name:
            yield (
                f"mistakes.toml: {mistake.name!r} and {found.name!r} give the same on all {which} "
                f"cases of {task.name}."
            )


def _answer(predicted: Any) -> Answer:
    if isinstance(predicted, Failed):
        return Answer(error={"type": predicted.kind, "message": ""})
    return Answer(value=predicted)


def _solved(assignment: Assignment, task: Task, hidden: bool) -> Any:
    if hidden:
        cases = assignment.cases(task, np.random.default_rng(0), hidden=True)
    else:
        cases = assignment.public_cases(task)
    where = f"cases.py{' and hidden.py' if hidden else ''}: {task.name}"
    if not cases:
        raise UsageError(f"{where} makes no case.")
    for one in cases:
        if not isinstance(one, Case):
            raise UsageError(f"{where} yields a {type(one).__name__}; yield case(...).")
    return solved(assignment, task, cases, shows_numbers=True)


def _running(what: str, code: Callable[[], Any]) -> Any:
    """Run a teacher's code; what it raises is told with its file and line."""
    try:
        return code()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{_place(what, error)}: {type(error).__name__}: {error}") from None


def _place(what: str, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{_name(error.filename or what)}, line {error.lineno}"
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/minires/" not in frame.filename.replace("\\", "/")
        or "/assignments/" in frame.filename.replace("\\", "/")
    ]
    return f"{_name(own[-1].filename)}, line {own[-1].lineno}" if own else what


def _name(path: str) -> str:
    """The file of a path; code of the master has no path, but <its name>."""
    return "master.py" if path.startswith("<") else re.split(r"[/\\]", path)[-1]
