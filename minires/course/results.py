"""A student's results.json, in the form of Gradescope, and a place in a folder for each student."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from minires.course.assignment import Assignment
from minires.course.grades import Grade
from minires.course.marking import TaskResult
from minires.course.sheets import points_text
from minires.exercises.verdict import NOT_YET, PASSED, WRONG
from minires.files import strict_json

__all__ = ["assignment_of", "folder_names", "gradescope_results", "read_results", "results_json"]

FORM = 1  # of what is kept under extra_data
_LONGEST_NAME = 80  # characters of a folder's name
_RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))}


def gradescope_results(assignment: Assignment, grade: Grade) -> dict[str, Any]:
    """The results of a student as Gradescope's autograders write them: a test for each task."""
    results = {result.task.name: result for result in grade.results}
    tests = []
    for number, task in enumerate(assignment.tasks, start=1):
        points = grade.points_for(task.name)
        result = results.get(task.name)
        tests.append(
            {
                "name": f"{task.name}: {task.title}",
                "number": str(number),
                "score": points,
                "max_score": task.points,
                "status": "passed" if points >= task.points else "failed",
                "output": _output(grade, task.name, result),
                "output_format": "text",
                "visibility": "visible",
            }
        )
    output = [f"Not graded: {grade.trouble}"] if grade.trouble else []
    return {
        "score": grade.total([task.name for task in assignment.tasks]),
        "output": "\n".join([*output, *grade.remarks]),
        "output_format": "text",
        "visibility": "visible",
        "tests": tests,
    }


def _output(grade: Grade, task: str, result: TaskResult | None) -> str:
    """What a student is told about a task, in plain text."""
    lines = []
    if task in grade.overrides:
        by_hand = grade.overrides[task]
        lines.append(f"{points_text(by_hand.points)} points were given by hand: {by_hand.reason}")
    if result is None:
        lines.append("Not graded.")
    else:
        right = f" ({result.passed} of {result.cases} cases are right)" if result.cases else ""
        lines.append(f"{result.status}{right}")
        lines += [result.message] if result.message else []
        lines += [f"Hint: {result.hint}"] if result.hint else []
    return "\n".join(lines)


# --- what a later run goes on with ---


def results_json(assignment: Assignment, grade: Grade, walls: Sequence[str] | None) -> bytes:
    """The file: Gradescope's form, and under extra_data what :func:`read_results` takes.

    ``walls`` are those that stood around this student's code; None if none was run.
    """
    found = [
        {
            "task": one.task.name,
            "status": one.status,
            "message": one.message,
            "hint": one.hint,
            "mistake": one.mistake,
            "cases": one.cases,
            "passed": one.passed,
        }
        for one in grade.results
    ]
    kept = {
        "form": FORM,
        "assignment": assignment.name,
        "student": grade.student,
        "digest": grade.digest,
        "trouble": grade.trouble,
        "remarks": list(grade.remarks),
        "results": found,
        "walls": None if walls is None else list(walls),
    }
    results = gradescope_results(assignment, grade) | {"extra_data": {"minires": kept}}
    return strict_json(results).encode()


def assignment_of(path: Path) -> str:
    """The assignment that a results.json is about; '' if it does not say."""
    try:
        return str(json.loads(path.read_bytes())["extra_data"]["minires"]["assignment"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def read_results(
    path: Path, assignment: Assignment, student: str
) -> tuple[Grade, tuple[str, ...] | None] | None:
    """What an earlier run found, and the walls; None if it is not there or of other tasks.

    The points of a task are not read but follow from its status, and those given by hand and the
    names of the roster come from elsewhere.
    """
    try:
        kept = json.loads(path.read_bytes())["extra_data"]["minires"]
        if [kept["form"], kept["assignment"], kept["student"]] != [FORM, assignment.name, student]:
            return None
        if kept["results"] and [one["task"] for one in kept["results"]] != [
            task.name for task in assignment.tasks
        ]:
            return None
        results = tuple(
            _result(assignment, position, one) for position, one in enumerate(kept["results"])
        )
        grade = Grade(
            student,
            student,
            results,
            str(kept["trouble"]),
            tuple(map(str, kept["remarks"])),
            digest=str(kept["digest"]),
        )
        walls = kept["walls"]
        return grade, None if walls is None else tuple(map(str, walls))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _result(assignment: Assignment, position: int, one: dict[str, Any]) -> TaskResult:
    task, status = assignment.tasks[position], str(one["status"])
    if status not in (PASSED, NOT_YET, WRONG):
        raise ValueError(status)
    return TaskResult(
        task,
        status,
        task.points if status == PASSED else 0.0,
        str(one["message"]),
        str(one["hint"]),
        str(one["mistake"]),
        int(one["cases"]),
        int(one["passed"]),
    )


# --- a folder a student ---


def folder_names(students: Iterable[str]) -> dict[str, str]:
    """For each student the name of a folder: one that every system takes, and no two the same.

    A name that has to be changed, or that differs from another only in what some systems do not
    see, gets an ending of its own.

    >>> folder_names(["anna", "../Ben"])
    {'anna': 'anna', '../Ben': 'Ben-273fbae9'}
    """
    plain = {student: _safe_name(student) for student in students}
    same = Counter(map(_seen, plain.values()))
    digits = 8
    while True:
        names = {
            student: name
            if name == student and same[_seen(name)] == 1 and not re.search(r"-[0-9a-f]{8,}$", name)
            else f"{name}-{hashlib.sha256(student.encode()).hexdigest()[:digits]}"
            for student, name in plain.items()
        }
        if len(set(map(_seen, names.values()))) == len(names) or digits == 64:
            return names
        digits *= 2


def _seen(name: str) -> str:
    """The name as a system sees it that does not tell small letters from capitals."""
    return unicodedata.normalize("NFKC", name.casefold())


def _safe_name(student: str) -> str:
    name = "".join(c if c.isalnum() or c in " ._-@+,()'&" else "_" for c in student)
    name = name[:_LONGEST_NAME]
    while len(name.encode()) > 2 * _LONGEST_NAME:
        name = name[:-1]
    name = name.strip(" ._-") or "student"
    return f"_{name}" if name.split(".")[0].lower() in _RESERVED else name
