"""The class's grades as CSV files: for a teacher, and for the import of Moodle and of Canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minires.course.assignment import Assignment
from minires.course.grades import Grade
from minires.course.roster import Student
from minires.course.sheets import points_text, write_sheet
from minires.exercises.verdict import PASSED

__all__ = ["FORMATS", "canvas_csv", "grades_csv", "moodle_csv"]


def grades_csv(assignment: Assignment, grades: Sequence[Grade]) -> bytes:
    """A line a student: points by task and altogether, mistakes, and what there is to be said."""
    tasks = [task.name for task in assignment.tasks]
    rows = [["student", "name", "number", "email", "points", "of", *tasks, "mistakes", "note"]]
    for grade in grades:
        mistakes = [r.mistake for r in grade.results if r.mistake]
        notes = [grade.trouble, *grade.remarks, *_by_hand(assignment, grade)]
        row = [grade.student, grade.name, grade.number, grade.email]
        row += [points_text(grade.total(tasks)), points_text(assignment.points)]
        row += [points_text(grade.points_for(task)) for task in tasks]
        row += [", ".join(dict.fromkeys(mistakes)), " ".join(filter(None, notes))]
        rows.append(row)
    return write_sheet(rows, mark=True)


def _comment(assignment: Assignment, grade: Grade) -> str:
    """A grade in a few words."""
    if grade.trouble and not grade.overrides:
        return f"Not graded: {grade.trouble}"
    parts = []
    results = {result.task.name: result for result in grade.results}
    for task in assignment.tasks:
        points = f"{points_text(grade.points_for(task.name))} of {points_text(task.points)}"
        why = ""
        if task.name in grade.overrides:
            why = f" (by hand: {grade.overrides[task.name].reason})"
        elif task.name in results and results[task.name].status != PASSED:
            result = results[task.name]
            why = f" ({result.mistake.replace('_', ' ') or result.status})"
        parts.append(f"{task.name} {points}{why}")
    return ", ".join(parts)


def moodle_csv(
    assignment: Assignment, students: Sequence[Student], grades: Sequence[Grade]
) -> tuple[bytes, list[str]]:
    """What Moodle's import of grades takes, and who is not in it, for Moodle could not tell who.

    Moodle knows somebody by the address or the number of the roster, or, for a worksheet of an
    assignment, by the participant's number, which is part of the name of a submission.
    """
    tasks = [task.name for task in assignment.tasks]

    def row(student: Student, grade: Grade) -> list[str] | None:
        number = _number_in(student, "moodle")
        if not (number or student.number or student.email):
            return None
        identifier = f"Participant {number}" if number else ""
        points = points_text(grade.total(tasks))
        known_by = [identifier, student.name, student.number, student.email]
        return [*known_by, points, _comment(assignment, grade)]

    head = ["Identifier", "Full name", "ID number", "Email address", "Grade", "Feedback comments"]
    return _for_import([head], students, grades, row)


def canvas_csv(
    assignment: Assignment, students: Sequence[Student], grades: Sequence[Grade]
) -> tuple[bytes, list[str]]:
    """What Canvas's import of grades takes, and who is not in it, for Canvas could not tell who.

    Canvas knows somebody by its own ID (in the roster, or in the name of a submission), by the SIS
    user ID (the roster's number), or by the login (the roster's login, or else the address).
    """
    tasks = [task.name for task in assignment.tasks]

    def row(student: Student, grade: Grade) -> list[str] | None:
        number = student.more.get("id", "") or _number_in(student, "canvas")
        login = student.more.get("login", "") or student.email
        if not (number or student.number or login):
            return None
        points, section = points_text(grade.total(tasks)), student.more.get("section", "")
        return [student.name, number, student.number, login, section, points]

    title = f"{assignment.number} {assignment.title}"
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", title]
    possible = ["    Points Possible", "", "", "", "", points_text(assignment.points)]
    return _for_import([head, possible], students, grades, row)


FORMATS = {
    "moodle": (moodle_csv, "number or email"),
    "canvas": (canvas_csv, "id, number, login or email"),
}


def _for_import(
    rows: list[list[str]],
    students: Sequence[Student],
    grades: Sequence[Grade],
    row: Callable[[Student, Grade], list[str] | None],
) -> tuple[bytes, list[str]]:
    """The file, and those that have no row because the system could not tell who they are."""
    by_student = {grade.student: grade for grade in grades}
    missing = []
    for student in students:
        if student.student in by_student:
            made = row(student, by_student[student.student])
            if made is None:
                missing.append(student.student)
            else:
                rows.append(made)
    return write_sheet(rows), missing


def _number_in(student: Student, system: str) -> str:
    """The number that a system put into the name of a submission."""
    return student.entry.number if student.entry and student.entry.system == system else ""


def _by_hand(assignment: Assignment, grade: Grade) -> list[str]:
    return [
        f"{task.name} by hand: {grade.overrides[task.name].reason}."
        for task in assignment.tasks
        if task.name in grade.overrides
    ]
