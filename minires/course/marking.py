"""How one submission is marked: every task in a process of its own, one after the other."""

from __future__ import annotations

import builtins
import functools
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minires.course.assignment import Assignment, KnownMistake, Task
from minires.course.case import Case
from minires.course.judge import Expected, difference, expect, explain, predictions
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
    "without_numbers",
]


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
        shows_numbers: whether what was expected is told.
        shows_own: whether what the student's code says is told: its numbers and messages.  Code
            that is run again and again could carry out what it sees, a message at a time.
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
        if outcome.walls:
            self.walls = outcome.walls
        return verdict_of(assignment, task, tried, outcome)


def verdict_of(assignment: Assignment, task: Task, tried: Tried, outcome: Outcome) -> TaskResult:
    """Judge the answers that came."""
    result = TaskResult(task, WRONG, 0.0, hint=task.hint, cases=len(tried.cases))
    if not outcome.loaded:
        return _not_there(result, outcome, tried)
    answers = outcome.answers
    troubles = [_trouble(task, tried, i, answer) for i, answer in enumerate(answers)]
    result = replace(result, passed=sum(not trouble for trouble in troubles))
    if result.passed == result.cases:
        return replace(result, status=PASSED, points=task.points, hint="")
    # The first case that went wrong, which may be the one on which the process ended.
    first = next((i for i, trouble in enumerate(troubles) if trouble), len(troubles))
    message = f"Case {first + 1} of {result.cases}, {tried.cases[first]}:\n"
    if first == len(answers):
        return replace(result, message=message + _sentence(outcome.ended))
    error = answers[first].error
    if error is not None and error["type"] == "NotImplementedError":
        return replace(result, status=NOT_YET, message=_missing(assignment, task, error))
    message += troubles[first]
    if error is not None and error["type"] == "ModuleNotFoundError":
        message += f"\n{what_is_there(assignment)}"
    if len(answers) < result.cases:
        return replace(result, message=message)
    mistake = explain(answers, tried.expected, tried.known())
    if mistake is None:
        return replace(result, message=message)
    message += f"\nFound: {mistake.title} ({mistake.name})."
    return replace(result, message=message, hint=mistake.hint, mistake=mistake.name)


def what_is_there(assignment: Assignment) -> str:
    """What the student's code may import, in a sentence."""
    if assignment.library == "numpy":
        return "This assignment is written with NumPy and Python's own modules alone."
    absent = ", ".join(assignment.without) or "nothing"
    return f"This assignment is written with NumPy and minires, without {absent}."


def without_numbers(text: str, shows_own: bool = True) -> str:
    """A difference without what was expected, for cases that must stay unknown.

    >>> text = "f[1] should be 2, and is 3. 1 of 4 numbers are off, this one most."
    >>> without_numbers(text)
    'f[1] is not right: it is 3. 1 of 4 numbers are off, this one most.'
    >>> without_numbers(text, shows_own=False)
    'f[1] is not right.'
    """
    what, should, rest = text.partition(" should be ")
    _, and_is, found = rest.partition(", and is ")
    if not (should and and_is):
        return text
    return f"{what} is not right: it is {found}" if shows_own else f"{what} is not right."


def _not_there(result: TaskResult, outcome: Outcome, tried: Tried) -> TaskResult:
    """There is nothing to call: it was not written, or something went wrong before.

    In the latter case the hint, which is about the task, would lead astray.
    """
    if outcome.ended and not outcome.notes:
        text = f"It could not be run. {_sentence(outcome.ended)}"
        return replace(result, message=text, hint="")
    message = f"There is no {result.task.name} in the submission."
    if not outcome.notes:
        return replace(result, status=NOT_YET, message=message)
    message += f" It has an error:\n{_told(outcome.notes[0], tried)}"
    return replace(result, message=message, hint="")


def _missing(assignment: Assignment, task: Task, error: dict[str, Any]) -> str:
    """What is not written yet: this task, or an earlier one that it calls."""
    earlier = [one.name for one in assignment.needed(task)]
    if error["message"] in earlier:
        return f"It calls {error['message']}, which is not written yet."
    return "It is not written yet."


def _trouble(task: Task, tried: Tried, i: int, answer: Answer) -> str:
    """What is wrong on case i; '' if nothing is."""
    if answer.error is not None:
        return _told(answer.error, tried)
    text = difference(answer.value, tried.expected[i], task.name)
    return text if tried.shows_numbers else without_numbers(text, tried.shows_own)


def _told(error: dict[str, Any], tried: Tried) -> str:
    if not tried.shows_own:
        known = isinstance(getattr(builtins, error["type"], None), type)
        kind = error["type"] if known else "an error of another kind"
        return f"{kind}, in line {error['number']}" if 0 < error["number"] < 10_000 else kind
    text = f"{error['type']}: {error['message']}".rstrip(": ")
    if error["line"]:
        text += f"\nin {error['place']}, line {error['number']}: {error['line']}"
    return text


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
