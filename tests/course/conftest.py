"""What the tests of the course have in common."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from minires.course.assignment import Assignment, assignments
from minires.course.marking import Marker, TaskResult, Tried, hidden_cases
from minires.course.sandbox import Limits, Outcome, Sandbox
from minires.course.submission import Submission

ONE: list[tuple[tuple[Any, ...], dict[str, Any]]] = [((), {})]
SECRET = b"a secret of the tests"
STYLES = Path(__file__).with_name("styles")


def whole(text: str, name: str = "submission.py") -> Submission:
    """A submission of this text."""
    return Submission(name, ((name, 1, text),), "")


class Markers:
    """One marker an assignment, for as long as the tests take."""

    def __init__(self) -> None:
        self._markers: dict[str, Marker] = {}
        self._making = threading.Lock()  # two threads that ask at once get the same marker
        self._tried: dict[tuple[str, str, str], Tried] = {}

    def of(self, assignment: Assignment) -> Marker:
        with self._making:
            if assignment.name not in self._markers:
                marker = Marker(assignment, references=True)
                marker.__enter__()
                self._markers[assignment.name] = marker
            return self._markers[assignment.name]

    def tried(self, assignment: Assignment, task: str, student: str = "anna") -> Tried:
        key = (assignment.name, task, student)
        if key not in self._tried:
            made = hidden_cases(assignment, assignment.task(task), SECRET, student)
            known = made.known()
            self._tried[key] = Tried(made.cases, made.expected, lambda: known, made.shows_numbers)
        return self._tried[key]

    def mark(self, assignment: Assignment, text: str, task: str) -> TaskResult:
        tried = self.tried(assignment, task)
        return self.of(assignment).mark(whole(text), assignment.task(task), tried)

    def mark_all(
        self, assignment: Assignment, text: str, tasks: list[str] | None = None
    ) -> dict[str, TaskResult]:
        """The result of every task, or of some, two at a time."""
        names = [task.name for task in assignment.tasks] if tasks is None else tasks
        with ThreadPoolExecutor(2) as pool:
            results = pool.map(lambda name: self.mark(assignment, text, name), names)
            return dict(zip(names, results, strict=True))

    def close(self) -> None:
        for marker in self._markers.values():
            marker.__exit__()


@pytest.fixture(scope="session")
def markers() -> Iterator[Markers]:
    made = Markers()
    yield made
    made.close()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


def run(sandbox: Sandbox, text: str, *calls: Any, **limits: Any) -> Outcome:
    """Run the function f of a text, for every call with these arguments."""
    asked = [(args, {}) for args in calls] or ONE
    return sandbox.run(cells=[("text", 1, text)], task="f", calls=asked, limits=Limits(**limits))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "assignment" in metafunc.fixturenames:
        known = assignments()
        metafunc.parametrize("assignment", known, ids=[one.name for one in known])
