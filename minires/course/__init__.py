"""The course: assignments, and the grader that marks them."""

from minires.course.assignment import Assignment, KnownMistake, Task, assignments, find_assignment
from minires.course.case import Case, case

__all__ = [
    "Assignment",
    "Case",
    "KnownMistake",
    "Task",
    "assignments",
    "case",
    "find_assignment",
]
