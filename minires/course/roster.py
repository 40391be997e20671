"""Who is in the class, what they handed in, and the points that were given by hand."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from minires.course.assignment import Assignment
from minires.course.grades import Override
from minires.course.handed_in import CODE, Entry, visible
from minires.course.sheets import Row, points_text, read_sheet
from minires.errors import UsageError
from minires.files import read_at_most, strict_json

__all__ = [
    "Student",
    "class_list",
    "find_student",
    "overrides_json",
    "read_kept",
    "read_overrides",
    "read_roster",
]

COLUMNS = ("folder", "name", "number", "email", "id", "login", "section")
OVERRIDES = ("student", "task", "points", "reason")
_LARGEST = 16 << 20  # bytes of points by hand that are kept


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
    """The names of files without their endings; a folder, called as its student is, has none."""
    files = [source for source in entry.sources if source != entry.student]
    return {PurePosixPath(f).stem for f in files if f.lower().endswith((*CODE, ".zip"))}


def _parts(entry: Entry) -> set[str]:
    return {entry.name, entry.number} - {""}


# --- one of them, as a teacher writes it ---


def find_student(text: str, students: Sequence[Student], where: str) -> Student:
    """The student called so: by submission, name, number or address.

    Raises UsageError, beginning with ``where``, for none and for several.
    """
    text = visible(text)
    for keys in (_handles, _names):
        fitting = [one for one in students if text in keys(one)]
        if not fitting:
            typed = _as_typed(text)
            fitting = [one for one in students if typed in set(map(_as_typed, keys(one)))]
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


def _as_typed(name: str) -> str:
    """What a name is compared by: spaces and capitals are easily mistaken."""
    return " ".join(name.split()).casefold()


def _near(text: str, students: Iterable[Student]) -> list[str]:
    names: dict[str, str] = {}
    for one in students:
        for name in (one.student, one.name, one.number, one.email):
            names.setdefault(name.casefold(), name)
    found = difflib.get_close_matches(text.casefold(), names, n=3, cutoff=0.5)
    return [names[name] for name in found]


# --- points by hand ---


def read_overrides(
    path: Path, assignment: Assignment, students: Sequence[Student]
) -> dict[str, dict[str, Override]]:
    """Points given by hand, by student and task, as a teacher writes them.

    The file has the columns student, task, points and reason.  Every mistake in it is an error that
    names the line.
    """
    found: dict[str, dict[str, Override]] = {}
    seen: dict[tuple[str, str], int] = {}
    for row in read_sheet(path, OVERRIDES, OVERRIDES):
        where = f"{str(path)!r}, line {row.line}"
        for name in ("student", "task", "reason"):
            cell = " ".join(row[name].split()) if name == "reason" else row[name]
            row[name] = _without_mark(visible(cell))
            if not row[name]:
                raise UsageError(f"{where}: no {name}.")
        try:
            points = float(row["points"].replace(",", "."))
        except ValueError:
            points = math.nan
        _check_points(row["task"], points, row["points"], assignment, where)
        student = find_student(row["student"], students, where).student
        if (student, row["task"]) in seen:
            raise UsageError(
                f"{where}: {row['task']} of {student} is in line {seen[student, row['task']]}, too."
            )
        seen[student, row["task"]] = row.line
        found.setdefault(student, {})[row["task"]] = Override(points, row["reason"])
    return found


def _without_mark(cell: str) -> str:
    """A cell without the sign that keeps a spreadsheet from computing it."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in ("=", "+", "-", "@") else cell


def _check_points(
    task: str, points: float, written: str, assignment: Assignment, where: str
) -> None:
    most = {one.name: one.points for one in assignment.tasks}
    if task not in most:
        raise UsageError(f"{where}: there is no task {task!r}; there are {', '.join(most)}.")
    if not 0.0 <= points <= most[task]:
        raise UsageError(
            f"{where}: points for {task} must be from 0 to {points_text(most[task])}, got "
            f"{written!r}."
        )


def overrides_json(overrides: Mapping[str, Mapping[str, Override]]) -> bytes:
    """The same, to be kept for later runs: students are called just as their submissions are."""
    kept = {
        student: {task: {"points": one.points, "reason": one.reason} for task, one in tasks.items()}
        for student, tasks in sorted(overrides.items())
    }
    return strict_json(kept).encode()


def read_kept(path: Path, assignment: Assignment) -> dict[str, dict[str, Override]]:
    """What :func:`overrides_json` has kept, of those who are not there any more, too."""
    data = read_at_most(path, _LARGEST)
    try:
        found = {
            str(student): {
                str(task): Override(float(one["points"]), str(one["reason"]))
                for task, one in tasks.items()
            }
            for student, tasks in json.loads(data).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UsageError(
            f"cannot read {str(path)!r}, the points by hand of earlier runs; give them again with "
            "--override."
        ) from None
    for student, tasks in found.items():
        for task, one in tasks.items():
            where = f"{str(path)!r}, of {student}"
            _check_points(task, one.points, points_text(one.points), assignment, where)
    return found
