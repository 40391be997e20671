"""An assignment graded on its own solution, stub and mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from minires.course.assignment import Assignment, KnownMistake
from minires.course.cells import join_cells
from minires.course.marking import Marker, TaskResult, hidden_cases
from minires.course.submission import Submission
from minires.exercises.verdict import NOT_YET, PASSED

__all__ = ["Trial", "try_out"]

_SECRET, _STUDENT = b"any secret will do to try it out", "nobody"


@dataclass(frozen=True)
class Trial:
    """What came of grading one of them: its points, and what is not as it should be."""

    name: str
    points: float
    verdict: str = "yes"

    @property
    def as_it_should(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict == "yes"


def try_out(assignment: Assignment) -> Iterator[Trial]:
    """Grade the solution, the stub and each known mistake, on hidden cases, as a student's work."""
    solution, stub = join_cells(assignment.master_cells), join_cells(assignment.stub_cells)
    with Marker(assignment, references=True) as marker:
        results = _marked(assignment, marker, solution)
        yield _trial("the solution", results, [r for r in results if r.status != PASSED])
        results = _marked(assignment, marker, stub)
        yield _trial("the stub", results, [r for r in results if r.status != NOT_YET])
        for mistake in assignment.mistakes:
            results = _marked(assignment, marker, assignment.edited(mistake))
            yield _trial(mistake.name, results, [r for r in results if not _is_right(r, mistake)])


def _is_right(result: TaskResult, mistake: KnownMistake) -> bool:
    """Whether a task is lost if it is one of the mistake's, by its name, and else is not."""
    if result.task.name in mistake.tasks:
        return result.mistake == mistake.name
    return result.status == PASSED


def _marked(assignment: Assignment, marker: Marker, text: str) -> list[TaskResult]:
    submission = Submission("trial", (("trial", 1, text),), "")
    return [
        marker.mark(submission, task, hidden_cases(assignment, task, _SECRET, _STUDENT))
        for task in assignment.tasks
    ]


def _trial(name: str, results: list[TaskResult], wrong: list[TaskResult]) -> Trial:
    points = sum(result.points for result in results)
    if not wrong:
        return Trial(name, points)
    first = wrong[0]
    said = " ".join(first.message.split())
    return Trial(name, points, f"no: {first.task.name} is {first.status}. {said}".strip())
