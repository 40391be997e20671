"""What Gradescope's ``run_autograder`` starts: grade one submission, and write results.json.

python -m minires.course.in_gradescope ROOT

Below ROOT, which is /autograder there, are ``source`` (the unpacked zip), ``submission``,
``submission_metadata.json``, and ``results``.  Whatever happens a results.json is written; without
one Gradescope says no more than that the autograder failed.

Form of the files: https://gradescope-autograders.readthedocs.io, "Specifications" and "Submission
Metadata".
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minires.course.assignment import Assignment, assignments
from minires.course.grades import Grade
from minires.course.grading import mark_task
from minires.course.marking import Marker
from minires.course.results import gradescope_results
from minires.course.submission import read_submission
from minires.errors import MiniresError
from minires.files import strict_json, write_whole

__all__ = ["main", "who_handed_in"]

NOBODY = "nobody"  # who handed in, where Gradescope does not say


def main(arguments: Sequence[str]) -> int:
    """Grade what is below the folder; 0 if that went well."""
    [place] = arguments
    root = Path(place)
    try:
        [assignment] = assignments()
        grade, failed = _graded(assignment, root)
        results, code = gradescope_results(assignment, grade), int(failed)
    except Exception as error:
        traceback.print_exc()  # for the teacher; students do not see it
        reason = str(error) if isinstance(error, MiniresError) else type(error).__name__
        text = f"The autograder itself failed ({reason}); tell your teacher. It is not your fault."
        results, code = {"score": 0.0, "output": text, "tests": []}, 1
    write_whole(root / "results", {"results.json": strict_json(results).encode()})
    return code


def _graded(assignment: Assignment, root: Path) -> tuple[Grade, bool]:
    """The grade, and whether the grader itself failed on a task."""
    secret = (root / "source" / "secret").read_bytes().strip()
    student, name = who_handed_in(root / "submission_metadata.json")
    try:
        submission = read_submission(root / "submission", assignment)
    except MiniresError as error:
        return Grade(student, name, trouble=str(error)), False
    with Marker(assignment, references=True) as marker:
        marked = [
            mark_task(marker, submission, task, secret, student, once=False)
            for task in assignment.tasks
        ]
    results, errors = zip(*marked, strict=True)
    for fault in filter(None, errors):
        traceback.print_exception(fault)
    return Grade(student, name, results, remarks=submission.remarks), any(errors)


def who_handed_in(path: Path) -> tuple[str, str]:
    """What the inputs grow from, and the name; for a group, those of all."""
    try:
        users: list[Any] = json.loads(path.read_text(encoding="utf-8"))["users"]
        numbers = sorted(str(user["id"]) for user in users)
        names = [str(user["name"]) for user in users]
    except (OSError, ValueError, KeyError, TypeError):
        numbers, names = [], []
    return "+".join(numbers) or NOBODY, ", ".join(names) or NOBODY


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
