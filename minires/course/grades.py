"""What grading a submission ends in: plain data, for files and pages to be made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from minires.course.marking import TaskResult

__all__ = ["Grade", "Override"]


@dataclass(frozen=True)
class Override:
    """Points that a teacher gives by hand, and why."""

    points: float
    reason: str


@dataclass(frozen=True)
class Grade:
    """What a student gets.

    Attributes:
        student: the folder or file of the submission; what the student's inputs grow from.
        name: as the roster has it; the same as ``student`` without one.
        number, email: as the roster has them.
        results: one a task; empty if the submission could not be read.
        trouble: why it could not be read; '' if it could.
        remarks: what was noticed in reading it.
        overrides: points given by hand, by task.
        digest: of everything that the results depend on.
    """

    student: str
    name: str
    results: tuple[TaskResult, ...] = ()
    trouble: str = ""
    remarks: tuple[str, ...] = ()
    number: str = ""
    email: str = ""
    overrides: Mapping[str, Override] = field(default_factory=dict)
    digest: str = ""

    def points_for(self, task: str) -> float:
        """The points of a task: those given by hand, or those found."""
        if task in self.overrides:
            return self.overrides[task].points
        return next((r.points for r in self.results if r.task.name == task), 0.0)

    def total(self, tasks: list[str]) -> float:
        """The points of all tasks."""
        return sum(self.points_for(task) for task in tasks)
