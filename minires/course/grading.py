"""The run over a class: every student marked once, kept on disk, and marked again only if need be.

A student's result is written as soon as it is there, together with a digest of everything that it
depends on: what was handed in, the assignment, the secret, and the code that grades.  A later run
takes it as it is if the digest is the same.  So a run that was ended goes on where it was, and the
files that it leaves are those of a run that was not.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minires.course.assignment import Assignment, Task
from minires.course.grades import Grade, Override
from minires.course.marking import Marker, TaskResult, hidden_cases
from minires.course.results import assignment_of, folder_names, read_results, results_json
from minires.course.roster import Student
from minires.course.sandbox import WALLS
from minires.course.submission import Submission, submission_of
from minires.errors import UsageError
from minires.exercises.verdict import WRONG
from minires.files import is_temporary, lock, write_whole

__all__ = [
    "NOTHING",
    "STUDENTS",
    "ClassRun",
    "Graded",
    "alone_in",
    "refuse_another",
    "mark_task",
    "stood",
]

NOTHING = "nothing handed in"
STUDENTS = "students"  # the folder with a folder a student
PAUSE = 1.0  # seconds, before a process that could not be made is tried once more
_PACKAGE = Path(__file__).parents[1]
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
_PLACE = re.compile(r"(?<![^\s'\"<>()])[^\s'\"<>()]*minires-course-\w+(?:/(?:task-\w+|site))?/?")


@dataclass(frozen=True)
class Graded:
    """What came of a student.

    Attributes:
        grade: the result.
        walls: those that stood while it came about; None if no code was run.
        fresh: whether this run found it; else it was kept.
        stale: whether it was kept although something has changed.
        failed: tasks on which the grader itself failed.
    """

    grade: Grade
    walls: tuple[str, ...] | None = None
    fresh: bool = False
    stale: bool = False
    failed: tuple[str, ...] = ()


class _Stopped(Exception):
    """The run ends; what this student's marking has come to is dropped."""


class ClassRun:
    """One run over a class.

    Args:
        assignment: with its solution.
        students: the class.
        secret: from which the hidden inputs grow.
        folder: where the results are, and go.
        overrides: points given by hand, by student and task.
        only: the students to mark again, whatever has changed; the others are kept as they are.
            All that have changed, if None.
    """

    def __init__(
        self,
        assignment: Assignment,
        students: Sequence[Student],
        secret: bytes,
        folder: Path,
        overrides: Mapping[str, Mapping[str, Override]] | None = None,
        only: frozenset[str] | None = None,
    ):
        self.assignment, self.students, self.folder = assignment, list(students), folder
        self.overrides, self.only = overrides or {}, only
        self.places = folder_names(student.student for student in students)
        self._secret = secret
        self._stop = threading.Event()

    def run(self, jobs: int, done: Callable[[Student, Graded | None], None]) -> list[Graded]:
        """Mark the class, ``jobs`` students at a time; the results in the class's order.

        ``done`` is called in this thread for each student, with None for one who is not to be
        marked now and has no result from before.  After KeyboardInterrupt all that was written is
        whole, and the same run can be made again.
        """
        found: dict[str, Graded | None] = {}
        executor = ThreadPoolExecutor(jobs, thread_name_prefix="minires-course")
        with Marker(self.assignment, references=True) as marker:
            waiting = {executor.submit(self._student, one, marker): one for one in self.students}
            try:
                for future in _as_they_come(waiting):
                    student = waiting[future]
                    found[student.student] = future.result()
                    done(student, found[student.student])
            finally:
                self._stop.set()
                marker.stop()
                executor.shutdown(wait=True, cancel_futures=True)
        ordered = [found[student.student] for student in self.students]
        return [graded for graded in ordered if graded is not None]

    def left_over(self) -> list[str]:
        """Folders of students who are not in the class any more."""
        place = self.folder / STUDENTS
        there = [path.name for path in place.iterdir()] if place.is_dir() else []
        return sorted(set(there) - set(self.places.values()))

    # --- one student; in a thread ---

    def _student(self, student: Student, marker: Marker) -> Graded | None:
        if self._stop.is_set():
            raise _Stopped
        place = self.folder / STUDENTS / self.places[student.student]
        submission, trouble = self._read(student)
        digest = self._digest(student, submission, trouble)
        kept = read_results(place / "results.json", self.assignment, student.student)
        changed = kept is None or kept[0].digest != digest
        asked_for = changed if self.only is None else student.student in self.only
        if asked_for:
            graded = self._mark(student, submission, trouble, marker)
            sure = "" if graded.failed else digest  # what failed is tried again in the next run
            graded = replace(graded, grade=replace(graded.grade, digest=sure))
        elif kept is not None:
            graded = Graded(*kept, stale=changed)
        else:
            return None
        grade = replace(
            graded.grade,
            name=student.name,
            number=student.number,
            email=student.email,
            overrides=dict(self.overrides.get(student.student, {})),
        )
        self._write(place, grade, graded.walls)
        return replace(graded, grade=grade)

    def _read(self, student: Student) -> tuple[Submission | None, str]:
        """The submission, or why there is none."""
        entry = student.entry
        if entry is None:
            return None, NOTHING
        try:
            submission = submission_of(entry.files(), self.assignment, entry.sources[0])
        except UsageError as error:
            return None, settled(str(error))
        except (OSError, MemoryError, RecursionError, ValueError) as error:
            return None, f"It cannot be read ({type(error).__name__})."
        late = ("Canvas marks it as late.",) if entry.late else ()
        return replace(submission, remarks=(*late, *map(settled, submission.remarks))), ""

    def _digest(self, student: Student, submission: Submission | None, trouble: str) -> str:
        """Changes when anything does that the result depends on; tells nothing of the secret."""
        of_it = [submission.name, submission.digest, *submission.remarks] if submission else []
        machine = [sys.version_info[:2], np.__version__]  # others may round, and say, otherwise
        grader = [version(self.assignment.library), self.assignment.digest()]
        bank = repr(self.assignment.mistakes)  # titles and hints from elsewhere are in it
        text = json.dumps([machine, grader, bank, student.student, trouble, of_it])
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def _mark(
        self, student: Student, submission: Submission | None, trouble: str, marker: Marker
    ) -> Graded:
        if submission is None:
            return Graded(Grade(student.student, student.name, trouble=trouble), fresh=True)
        results, failed = [], []
        for task in self.assignment.tasks:
            result, error = mark_task(
                marker, submission, task, self._secret, student.student, stop=self._stop
            )
            if self._stop.is_set():  # the process may have been ended before its time
                raise _Stopped
            results.append(result)
            failed += [task.name] if error is not None else []
        grade = Grade(
            student.student, student.name, tuple(results), remarks=tuple(submission.remarks)
        )
        return Graded(grade, marker.walls, fresh=True, failed=tuple(failed))

    def _write(self, place: Path, grade: Grade, walls: Sequence[str] | None) -> None:
        from minires.course.pages import feedback_html

        contents = {  # the results last: they say that the other is there
            "feedback.html": feedback_html(self.assignment, grade).encode("utf-8", "replace"),
            "results.json": results_json(self.assignment, grade, walls),
        }
        for path in place.glob(".*"):  # what a run that was killed left of a file half written
            if any(is_temporary(path.name, name) for name in contents):
                path.unlink(missing_ok=True)
        if any(_content(place / name) != content for name, content in contents.items()):
            write_whole(place, contents)


def mark_task(
    marker: Marker,
    submission: Submission,
    task: Task,
    secret: bytes,
    student: str,
    *,
    once: bool = True,
    stop: threading.Event | None = None,
) -> tuple[TaskResult, Exception | None]:
    """Mark a task on the hidden cases, and where no process could be made, once more.

    A fault of the grader costs no other task: it is told in the result, and returned.  Raises
    UsageError where the sandbox does not work, for that is so for all.  After ``stop``, which ends
    the wait, the result comes to nothing.
    """
    stop = stop or threading.Event()
    try:
        tried = hidden_cases(marker.assignment, task, secret, student, once=once)
        try:
            result = marker.mark(submission, task, tried)
        except (OSError, UsageError):  # no process, or no space, at this moment
            if stop.wait(PAUSE):
                raise
            result = marker.mark(submission, task, tried)
        return replace(result, message=settled(result.message)), None
    except UsageError:
        raise
    except Exception as error:
        text = f"The grader failed on this task ({type(error).__name__}). Tell your teacher."
        return TaskResult(task, WRONG, 0.0, text), error


def _as_they_come(futures: Mapping[Future, Student]) -> Iterator[Future]:
    """The futures as they end; a wait that Ctrl-C can interrupt on every system."""
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
        yield from ended


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def settled(text: str) -> str:
    """A message without what is another in every run: places in memory, and temporary folders.

    >>> settled("<f at 0x7f01dead10> in '/tmp/minires-course-a1b2/task-c3d4/x.txt'")
    "<f at 0x...> in 'x.txt'"
    """
    return _PLACE.sub("", _ADDRESS.sub("0x...", text))


def stood(graded: Sequence[Graded]) -> tuple[str, ...] | None:
    """The walls that stood around every student's code; None if no code was run."""
    known = [one.walls for one in graded if one.walls is not None]
    if not known:
        return None
    return tuple(wall for wall in WALLS if all(wall in walls for walls in known))


@functools.cache
def version(library: str) -> str:
    """A digest of the code that grades, and of the library that the students' code may use."""
    course = _PACKAGE / "course"
    paths = [*course.glob("*.py"), *course.glob("inside/*.py")]
    state = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py") if library == "minires" else paths):
        state.update(path.read_bytes() + b"\0")
    return state.hexdigest()


def refuse_another(folder: Path, assignment: Assignment) -> None:
    """UsageError if the folder has the grades of another assignment, which would be overwritten."""
    for path in sorted((folder / STUDENTS).glob("*/results.json")):
        other = assignment_of(path)
        if other not in ("", assignment.name):
            raise UsageError(
                f"{str(folder)!r} has the grades of {other}; choose another folder with --out."
            )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; UsageError if one is in it."""
    handle = None
    with suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
    try:
        for pause in (0.0, 0.1, 0.2, 0.4):  # a run that was just killed needs a moment to be gone
            time.sleep(pause)
            if handle is None or lock(handle):
                break
        else:
            raise UsageError(
                f"another run is at work in {str(folder)!r}; wait for its end, or choose another "
                "folder with --out."
            )
        yield
    finally:
        if handle is not None:
            os.close(handle)
