"""What a student's own check does: the public cases, task by task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from minires.course.assignment import Assignment
from minires.course.handing_out import known_at
from minires.course.marking import Marker, TaskResult
from minires.course.publish import public_tried
from minires.course.submission import Submission
from minires.errors import UsageError
from minires.exercises.verdict import PASSED, WRONG

__all__ = ["assignment_in", "check_submission"]


def assignment_in(path: Path) -> Assignment:
    """The assignment that the files at ``path`` are named after.

    Raises UsageError if there is nothing at ``path``, or nothing or too much that is named so.
    """
    if not path.exists():
        raise UsageError(
            f"there is no {str(path)!r}; 'minires course start a03 DIR' makes a folder."
        )
    names = [path.name, *(p.name for p in path.iterdir())] if path.is_dir() else [path.name]
    known = known_at(path)
    found = [one for one in known if any(name.startswith(f"{one.name}.") for name in names)]
    if not found:
        found = [one for one in known if any(_is_of(name, one) for name in names)]
    if len(found) == 1:
        return found[0]
    if found:
        many = " and ".join(one.name for one in found)
        raise UsageError(f"{str(path)!r} holds {many}; say which file is meant, by its path.")
    raise UsageError(
        f"in {str(path)!r} no file is named after an assignment, such as a03_convolution.py; "
        "'minires course list' shows them."
    )


def check_submission(
    assignment: Assignment, submission: Submission, only: str | None = None
) -> Iterator[TaskResult]:
    """Run the public cases of every task, or of one, and yield what came, one after the other.

    A later task meets the student's own earlier ones here, because only a teacher has the solution;
    when it is wrong beside one that has not passed, the message says so.
    """
    tasks = [assignment.task(only)] if only else list(assignment.tasks)
    passed: dict[str, bool] = {}
    with Marker(assignment, references=False) as marker:
        for task in tasks:
            result = marker.mark(submission, task, public_tried(assignment, task))
            passed[task.name] = result.status == PASSED
            weak = [one.name for one in assignment.needed(task) if not passed.get(one.name, True)]
            if weak and result.status == WRONG:
                text = f"It stands on {', '.join(weak)}, not right yet: that may be why."
                result = replace(result, message=f"{text}\n{result.message}")
            yield result


def _is_of(name: str, assignment: Assignment) -> bool:
    return name.startswith(assignment.number) and name.endswith((".py", ".ipynb"))
