"""Who is in the class, what they handed in, and the points that were given by hand."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from minires.course.assignment import Assignment
from minires.course.grades import Override
from minires.course.handed_in import Entry, visible
from minires.course.sheets import Row, points_text, read_sheet, write_sheet
from minires.errors import UsageError

__all__ = [
    "Student",
    "class_list",
    "find_student",
    "overrides_sheet",
    "read_overrides",
    "read_roster",
]

COLUMNS = ("folder", "name", "number", "email", "id", "login", "section")
OVERRIDES = ("student", "task", "points", "reason")


@dataclass(frozen=True)
class Student:
    """One of the class.

    Attributes:
        student: the submission's name, from which the hidden inputs grow.
        name, number, email: as the roster has them.
        entry: what was handed in, if anything.
        more: what Canvas wants besides: 'id', 'login', 'section', as far as the roster has them.
        listed: whether the roster has this student; always, if there is no roster.
    """

    student: str
    name: str
    number: str = ""
    email: str = ""
    entry: Entry | None = None
    more: Mapping[str, str] = field(default_factory=dict)
    listed: bool = True


def read_roster(path: Path) -> list[Row]:
    """The rows of a roster: a CSV file with the columns folder and name, and more if need be.

    ``number`` and ``email`` are the student's; for Canvas ``id``, ``login`` and ``section``.
    """
    rows = read_sheet(path, COLUMNS[:2], COLUMNS)
    seen: dict[str, int] = {}
    for row in rows:
        for name in COLUMNS:
            row[name] = visible(row[name])
        for name in COLUMNS[:2]:
            if not row[name]:
                raise UsageError(f"{str(path)!r}, line {row.line}: no {name}.")
        if row["folder"] in seen:
            raise UsageError(
                f"{str(path)!r}, line {row.line}: {row['folder']!r} is in line "
                f"{seen[row['folder']]}, too."
            )
        seen[row["folder"]] = row.line
    return rows


def class_list(entries: Sequence[Entry], roster: Sequence[Row] | None, path: Path) -> list[Student]:
    """Everybody who handed in something or is in the roster, by name.

    A row of the roster fits the submission whose name its folder is: the student's, or that of the
    folder or file, with or without its ending; in Moodle's and Canvas's naming also the part of it
    that is the name or the number.  ``path`` is the roster's, for errors.
    """
    if roster is None:
        students = [Student(entry.student, entry.name, entry=entry) for entry in entries]
        return sorted(students, key=_order)
    students, taken = [], dict[str, int]()
    for row in roster:
        entry = _entry_of(row, entries, path)
        student = entry.student if entry else row["folder"]
        if student in taken:
            raise UsageError(
                f"{str(path)!r}, line {row.line}: {row['folder']!r} is the submission {student!r}, "
                f"which line {taken[student]} has already."
            )
        taken[student] = row.line
        more = {name: row[name] for name in COLUMNS[4:] if row[name]}
        students.append(
            Student(student, row["name"], row["number"], row["email"], entry, more, True)
        )
    for entry in entries:
        if entry.student not in taken:
            students.append(Student(entry.student, entry.name, entry=entry, listed=False))
    return sorted(students, key=_order)


def _order(student: Student) -> tuple[str, str]:
    return student.name.casefold(), student.student


def _entry_of(row: Row, entries: Sequence[Entry], path: Path) -> Entry | None:
    folder = row["folder"]
    for keys in (_own_names, _stems, _parts):
        fitting = [entry for entry in entries if folder in keys(entry)]
        if len(fitting) > 1:
            names = ", ".join(entry.student for entry in fitting)
            raise UsageError(
                f"{str(path)!r}, line {row.line}: {folder!r} fits {names}; write the whole name."
            )
        if fitting:
            return fitting[0]
    return None


def _own_names(entry: Entry) -> set[str]:
    return {entry.student, *entry.sources}


def _stems(entry: Entry) -> set[str]:
    return {PurePosixPath(source).stem for source in entry.sources}


def _parts(entry: Entry) -> set[str]:
    return {entry.name, entry.number} - {""}


# --- one of them, as a teacher writes it ---


def find_student(text: str, students: Sequence[Student], where: str) -> Student:
    """The student called so: by submission, name, number or address.

    Raises UsageError, beginning with ``where``, for none and for several.
    """
    text = visible(text.strip())
    for keys in (_handles, _names):
        fitting = [one for one in students if text in keys(one)]
        if not fitting:
            folded = text.casefold()
            fitting = [one for one in students if folded in {k.casefold() for k in keys(one)}]
        if len(fitting) > 1:
            names = ", ".join(one.student for one in fitting)
            raise UsageError(f"{where}: {text!r} may be {names}; write one of these.")
        if fitting:
            return fitting[0]
    near = _near(text, students)
    hint = f"; perhaps {' or '.join(near)}?" if near else "."
    raise UsageError(f"{where}: no student is called {text!r}{hint}")


def _handles(student: Student) -> set[str]:
    return {student.student, *(_own_names(student.entry) if student.entry else ())}


def _names(student: Student) -> set[str]:
    names = {student.name, student.number, student.email}
    if student.entry:
        names |= _stems(student.entry) | _parts(student.entry)
    return names - {""}


def _near(text: str, students: Iterable[Student]) -> list[str]:
    names: dict[str, str] = {}
    for one in students:
        for name in (one.student, one.name, one.number, one.email):
            names.setdefault(name.casefold(), name)
    found = difflib.get_close_matches(text.casefold(), names, n=3, cutoff=0.5)
    return [names[name] for name in found]


# --- points by hand ---


def read_overrides(
    path: Path, assignment: Assignment, students: Sequence[Student], *, strict: bool = True
) -> tuple[dict[str, dict[str, Override]], list[Row]]:
    """Points given by hand, by student and task, and the rows that fit no student.

    The file has the columns student, task, points and reason.  Every mistake in it is an error that
    names the line; without ``strict`` a row whose student is not there any more is none.
    """
    found: dict[str, dict[str, Override]] = {}
    seen: dict[tuple[str, str], int] = {}
    strangers = []
    for row in read_sheet(path, OVERRIDES, OVERRIDES):
        where = f"{str(path)!r}, line {row.line}"
        for name in ("student", "task", "reason"):
            row[name] = _plain(row[name])
            if not row[name]:
                raise UsageError(f"{where}: no {name}.")
        override = Override(_points(row, assignment, where), row["reason"])
        try:
            student = find_student(row["student"], students, where).student
        except UsageError:
            if strict:
                raise
            strangers.append(row)
            continue
        if (student, row["task"]) in seen:
            raise UsageError(
                f"{where}: {row['task']} of {student} is in line {seen[student, row['task']]}, too."
            )
        seen[student, row["task"]] = row.line
        found.setdefault(student, {})[row["task"]] = override
    return found, strangers


def _points(row: Row, assignment: Assignment, where: str) -> float:
    most = {task.name: task.points for task in assignment.tasks}
    if row["task"] not in most:
        raise UsageError(f"{where}: there is no task {row['task']!r}; there are {', '.join(most)}.")
    try:
        points = float(row["points"].replace(",", "."))
    except ValueError:
        points = math.nan
    if not 0.0 <= points <= most[row["task"]]:
        raise UsageError(
            f"{where}: points for {row['task']} must be from 0 to "
            f"{points_text(most[row['task']])}, got {row['points']!r}."
        )
    return points


def overrides_sheet(overrides: Mapping[str, Mapping[str, Override]]) -> bytes:
    """The same as a file, in the order of names."""
    rows = [list(OVERRIDES)]
    for student, tasks in sorted(overrides.items()):
        for task, one in sorted(tasks.items()):
            rows.append([student, task, points_text(one.points), one.reason])
    return write_sheet(rows)


def _plain(text: str) -> str:
    """A cell in one line, without the sign that keeps a spreadsheet from computing it."""
    text = visible(" ".join(text.split()))
    return text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@") else text
