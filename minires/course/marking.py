"""How one submission is marked: every task in a process of its own, one after the other."""

from __future__ import annotations

import builtins
import functools
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minires.course.assignment import Assignment, KnownMistake, Task
from minires.course.case import Case, shortened
from minires.course.judge import Expected, difference, expect, explain, predictions, tell
from minires.course.sandbox import Answer, Limits, Outcome, Sandbox
from minires.course.submission import Submission
from minires.exercises.verdict import NOT_YET, PASSED, WRONG

__all__ = [
    "Marker",
    "TaskResult",
    "Tried",
    "hidden_cases",
    "solved",
    "verdict_of",
    "what_is_there",
]

LONGEST = 4000  # characters of a message


@dataclass(frozen=True)
class TaskResult:
    """What came of one task.

    Attributes:
        task: which.
        status: 'passed', 'not yet' or 'wrong'.
        points: all of the task's, or none.
        message: what was found; for a wrong answer, on which case.
        hint: where to look.
        mistake: name of the known mistake, if it is one.
        cases, passed: how many there were, and how many were right.
    """

    task: Task
    status: str
    points: float
    message: str = ""
    hint: str = ""
    mistake: str = ""
    cases: int = 0
    passed: int = 0


@dataclass(frozen=True, eq=False)
class Tried:
    """The cases of a task with their right answers, and what the student may be told.

    Attributes:
        known: makes the answers of the known mistakes, when they are needed.
        shows_numbers: whether the numbers and texts that were expected are told.
        shows_own: whether anything that the student's code makes is told: numbers, keys, shapes,
            messages.  Code that is run again and again could carry out what it sees in them.
    """

    cases: Sequence[Case]
    expected: Sequence[Expected]
    known: Callable[[], Sequence[tuple[KnownMistake, Sequence[Any]]]]
    shows_numbers: bool
    shows_own: bool = True


def hidden_cases(
    assignment: Assignment, task: Task, secret: bytes, student: str, *, once: bool = True
) -> Tried:
    """The cases a student is graded on: grown from the teacher's secret and the student's name.

    They are those of cases.py, with other inputs than the public ones, and those of hidden.py.
    ``once`` is false where the student may hand in again and sees at once what came of it.
    """
    text = "\0".join((assignment.name, task.name, student)).encode()
    seed = int.from_bytes(hmac.new(secret, text, hashlib.sha256).digest()[:16], "big")
    cases = assignment.cases(task, np.random.default_rng(seed), hidden=True)
    return replace(solved(assignment, task, cases, shows_numbers=False), shows_own=once)


def solved(assignment: Assignment, task: Task, cases: Sequence[Case], shows_numbers: bool) -> Tried:
    """Cases with the answers of the solution, which has to be here."""
    module = assignment.module()
    expected = [expect(assignment, task, case, module) for case in cases]
    known = functools.partial(predictions, assignment, task, cases)
    return Tried(cases, expected, known, shows_numbers)


class Marker:
    """Marks submissions of one assignment; use it in a ``with``.

    Args:
        assignment: which.
        references: whether later tasks get the solution of earlier ones; only a teacher has it.
    """

    def __init__(self, assignment: Assignment, *, references: bool):
        self.assignment, self.references = assignment, references
        self._sandbox = Sandbox(assignment.library, assignment.without)
        self.walls: tuple[str, ...] | None = None

    def __enter__(self) -> Marker:
        self._sandbox.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._sandbox.__exit__(*error)

    def stop(self) -> None:
        """End what is being marked; it comes to nothing."""
        self._sandbox.stop()

    def mark(self, submission: Submission, task: Task, tried: Tried) -> TaskResult:
        """Run one task of a submission, and judge what came."""
        assignment = self.assignment
        outcome = self._sandbox.run(
            cells=submission.cells,
            task=task.name,
            calls=[case.copied() for case in tried.cases],
            given=assignment.given_code(),
            references=assignment.reference_code(task) if self.references else (),
            driver=assignment.drivers if assignment.has_driver(task) else None,
            limits=Limits(seconds=task.seconds),
        )
        self.walls = outcome.walls
        return verdict_of(assignment, task, tried, outcome)


def verdict_of(assignment: Assignment, task: Task, tried: Tried, outcome: Outcome) -> TaskResult:
    """Judge the answers that came."""
    result = _verdict(assignment, task, tried, outcome)
    return replace(result, message=shortened(result.message, LONGEST))


def what_is_there(assignment: Assignment) -> str:
    """What the student's code may import, in a sentence."""
    if assignment.library == "numpy":
        return "This assignment is written with NumPy and Python's own modules alone."
    absent = ", ".join(assignment.without) or "nothing"
    return f"This assignment is written with NumPy and minires, without {absent}."


def _verdict(assignment: Assignment, task: Task, tried: Tried, outcome: Outcome) -> TaskResult:
    result = TaskResult(task, WRONG, 0.0, hint=task.hint, cases=len(tried.cases))
    if not outcome.loaded:
        return _not_there(assignment, result, outcome, tried)
    answers = outcome.answers
    troubles = [_trouble(task, tried, i, answer) for i, answer in enumerate(answers)]
    result = replace(result, passed=sum(not trouble for trouble in troubles))
    if result.passed == result.cases:
        return replace(result, status=PASSED, points=task.points, hint="")
    # The first case that went wrong, which may be the one on which the process ended.
    first = next((i for i, trouble in enumerate(troubles) if trouble), len(troubles))
    message = f"Case {first + 1} of {result.cases}, {tried.cases[first]}:\n"
    if first == len(answers):
        return replace(result, message=message + _end(outcome, tried))
    error = answers[first].error
    if error is not None and error["type"] == "NotImplementedError":
        return replace(result, status=NOT_YET, message=_missing(assignment, task, error))
    message += troubles[first]
    if error is not None:
        message += _about_imports(assignment, error, outcome, tried)
    if len(answers) < result.cases:
        return replace(result, message=message)
    mistake = explain(answers, tried.expected, tried.known())
    if mistake is None:
        return replace(result, message=message)
    message += f"\nFound: {mistake.title} ({mistake.name})."
    return replace(result, message=message, hint=mistake.hint, mistake=mistake.name)


def _not_there(
    assignment: Assignment, result: TaskResult, outcome: Outcome, tried: Tried
) -> TaskResult:
    """There is nothing to call: it was not written, or something went wrong before.

    In the latter case the hint, which is about the task, would lead astray.
    """
    if outcome.ended and not outcome.notes:
        text = f"It could not be run. {_end(outcome, tried)}"
        return replace(result, message=text, hint="")
    message = f"There is no {result.task.name} in the submission."
    if not outcome.notes:
        return replace(result, status=NOT_YET, message=message)
    note = outcome.notes[0]
    message += f" It has an error:\n{_error_text(note, tried)}"
    return replace(
        result, message=message + _about_imports(assignment, note, outcome, tried), hint=""
    )


def _about_imports(
    assignment: Assignment, error: dict[str, Any], outcome: Outcome, tried: Tried
) -> str:
    """What helps with an error that an import may be the cause of, to follow it; or ''."""
    if error["type"] == "ModuleNotFoundError":
        return f"\n{what_is_there(assignment)}"
    if error["type"] == "NameError":  # an import before it may have failed, which ends nothing
        for note in outcome.notes:
            if note["type"] == "ModuleNotFoundError":
                return f"\nBefore that, {_error_text(note, tried)}\n{what_is_there(assignment)}"
    return ""


def _missing(assignment: Assignment, task: Task, error: dict[str, Any]) -> str:
    """What is not written yet: this task, or an earlier one that it calls."""
    earlier = [one.name for one in assignment.needed(task)]
    if error["message"] in earlier:
        return f"It calls {error['message']}, which is not written yet."
    return "It is not written yet."


def _trouble(task: Task, tried: Tried, i: int, answer: Answer) -> str:
    """What is wrong on case i; '' if nothing is."""
    if answer.error is not None:
        return _error_text(answer.error, tried)
    wrong = difference(answer.value, tried.expected[i], task.name)
    if wrong is None:
        return ""
    return tell(wrong, expected=tried.shows_numbers, found=tried.shows_own)


def _error_text(error: dict[str, Any], tried: Tried) -> str:
    if not tried.shows_own:
        known = getattr(builtins, error["type"], None)
        known = isinstance(known, type) and issubclass(known, BaseException)
        kind = error["type"] if known else "an error of another kind"
        return f"{kind}, in line {error['number']}" if 0 < error["number"] < 10_000 else kind
    text = f"{error['type']}: {error['message']}".rstrip(": ")
    if error["line"]:
        text += f"\nin {error['place']}, line {error['number']}: {error['line']}"
    return text


def _end(outcome: Outcome, tried: Tried) -> str:
    """Why the process ended, in a sentence; what is in brackets may come from what it sent."""
    text = outcome.ended
    if not tried.shows_own:
        text = re.sub(r" \(.*\)", "", text, flags=re.DOTALL)
    return f"{text[:1].upper()}{text[1:]}."
