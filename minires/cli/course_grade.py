"""``minires course grade``: mark what a class handed in."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minires.cli.options import folder_name
from minires.cli.output import say, undisturbed

if TYPE_CHECKING:
    from minires.course.assignment import Assignment
    from minires.course.grades import Override
    from minires.course.grading import ClassRun, Graded
    from minires.course.roster import Student

__all__ = ["add_grade"]

GRADES, SUMMARY, OVERRIDES = "grades.csv", "summary.html", "overrides.json"
_MOST_JOBS = 64


def add_grade(actions: Any) -> None:
    """Add the action and its options."""
    parser = actions.add_parser(
        "grade",
        help="for teachers: mark what a class handed in",
        description=(
            "Mark what a class handed in: grades.csv, summary.html, and for each student a "
            "results.json in Gradescope's form and a feedback.html, under students/. Every task "
            "runs in a process of its own that is shut in. What was marked before is marked again "
            "only if something has changed, so an interrupted run goes on with the same command."
        ),
        epilog=(
            "The inputs grow from a secret: the file named with --secret or MINIRES_COURSE_SECRET, "
            "else ~/.config/minires/course-secret, which is made on first use. The same secret "
            "gives the same grades."
        ),
    )
    parser.add_argument("assignment", metavar="NAME", help="such as a03")
    parser.add_argument(
        "submissions",
        type=Path,
        metavar="SUBMISSIONS",
        help="a folder, or a zip file as Moodle and Canvas give out, with a folder, a zip file, a "
        "script or a notebook a student",
    )
    parser.add_argument(
        "--out", type=folder_name, required=True, metavar="DIR", help="made if need be"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="students at a time (default: cores)")
    parser.add_argument("--secret", type=Path, metavar="FILE", help="what the inputs grow from")
    parser.add_argument(
        "--roster",
        type=Path,
        metavar="FILE",
        help="CSV with the columns folder, name, and number, email, id, login, section if need be",
    )
    parser.add_argument(
        "--override",
        type=Path,
        metavar="FILE",
        help="points by hand: CSV with the columns student, task, points, reason; kept in DIR",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        metavar="STUDENT",
        help="mark these again, and keep the others as they are",
    )
    parser.add_argument(
        "--format",
        choices=["moodle", "canvas"],
        help="what to write besides: the CSV file that Moodle or Canvas imports",
    )
    parser.add_argument(
        "--assignments", type=Path, metavar="DIR", help="folder of assignments of your own"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from minires.course.grading import ClassRun, alone_in, refuse_another
    from minires.course.secret import find_secret
    from minires.files import output_folder

    assignment = _assignment(options)
    jobs = _jobs(options.jobs)
    students = _class(options, assignment)
    only = _only(options.only, students)
    overrides = _overrides(options, assignment, students)
    _check_places(options)
    formats = _formats(options)
    files = [GRADES, SUMMARY, OVERRIDES, *(f"{name}.csv" for name in formats)]
    with output_folder(options.out, files) as folder, alone_in(folder):
        refuse_another(folder, assignment)
        secret = find_secret(options.secret)
        if secret.made:
            _warn(
                f"a secret was made in {str(secret.path)!r}; keep it, for with another one "
                "everybody gets other inputs"
            )
        _warn(secret.warning)
        if options.override is not None:
            _keep_overrides(folder, overrides)
        run = ClassRun(assignment, students, secret.data, folder, overrides, only)
        graded = _graded(run, jobs)
        if graded is None:
            return 130
        with undisturbed():
            written = _write(formats, run, graded)
        _tell(run, graded, written)
    return int(any(one.failed for one in graded))


# --- what is asked for ---


def _assignment(options: argparse.Namespace) -> Assignment:
    from minires.course import find_assignment
    from minires.course.soundness import require_sound

    assignment = find_assignment(options.assignment, options.assignments)
    require_sound(assignment, mistakes=False)
    return assignment


def _jobs(asked: int | None) -> int:
    from minires.errors import UsageError

    if asked is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return min(cores or 1, 8)
    if not 1 <= asked <= _MOST_JOBS:
        raise UsageError(f"--jobs must be from 1 to {_MOST_JOBS}, got {asked}")
    return asked


def _class(options: argparse.Namespace, assignment: Assignment) -> list[Student]:
    from minires.course.gradebook import FORMATS
    from minires.course.handed_in import entries_in
    from minires.course.roster import class_list, read_roster
    from minires.course.words import listed
    from minires.errors import UsageError

    own = (assignment.name, assignment.number)
    entries, notices = entries_in(options.submissions, own)
    roster = None if options.roster is None else read_roster(options.roster)
    students = class_list(entries, roster, options.roster or Path())
    known = options.format in [entry.system for entry in entries]
    if options.format and roster is None and not known:
        _, wanted = FORMATS[options.format]
        raise UsageError(
            f"--format {options.format} needs --roster FILE with the students' {wanted}"
        )
    strangers = [student.student for student in students if not student.listed]
    if strangers:
        notices.append(f"graded, and not in the roster: {listed(strangers)}")
    for notice in notices:
        _warn(notice)
    return students


def _only(names: Sequence[str] | None, students: Sequence[Student]) -> frozenset[str] | None:
    from minires.course.roster import find_student

    if names is None:
        return None
    return frozenset(find_student(name, students, "--only").student for name in names)


def _overrides(
    options: argparse.Namespace, assignment: Assignment, students: Sequence[Student]
) -> dict[str, dict[str, Override]]:
    """Points by hand: those of the file, or those that an earlier run was given."""
    from minires.course.roster import read_kept, read_overrides
    from minires.course.words import listed
    from minires.errors import UsageError

    path = options.out / OVERRIDES
    kept: dict[str, dict[str, Override]] = {}
    given = None
    if options.override is not None:
        given = read_overrides(options.override, assignment, students)
    try:
        kept = read_kept(path, assignment) if path.is_file() else {}
    except UsageError as error:
        if given is None:
            raise
        _warn(str(error))  # it is about to be replaced
    before = _pairs(kept)
    if given is not None:
        gone = [pair for pair in before if pair not in _pairs(given)]
        if gone:
            text = "points by hand that are taken back, for they are not in the file"
            _warn(f"{text}: {listed(gone)}")
        return given
    there = {student.student for student in students}
    strangers = _pairs({student: kept[student] for student in kept if student not in there})
    if strangers:
        _warn(f"points by hand for nobody who is here: {listed(strangers)}")
    known = [pair for pair in before if pair not in strangers]
    if known:
        _warn(f"points by hand are kept from before, in {str(path)!r}: {listed(known)}")
    return kept


def _pairs(overrides: dict[str, dict[str, Override]]) -> list[str]:
    return [f"{student} {task}" for student, tasks in overrides.items() for task in sorted(tasks)]


def _keep_overrides(folder: Path, overrides: dict[str, dict[str, Override]]) -> None:
    from minires.course.roster import overrides_json
    from minires.files import write_whole

    write_whole(folder, {OVERRIDES: overrides_json(overrides)})


def _check_places(options: argparse.Namespace) -> None:
    """Results among the submissions would be submissions in the next run."""
    from minires.course.grading import STUDENTS
    from minires.errors import UsageError

    place, out = options.submissions.resolve(), options.out.resolve()
    if out.is_relative_to(place) or place.is_relative_to(out / STUDENTS):
        raise UsageError(
            f"{str(options.out)!r} and {str(options.submissions)!r} lie in one another; choose "
            "another folder with --out"
        )


# --- the run ---


def _graded(run: ClassRun, jobs: int) -> list[Graded] | None:
    """Mark the class; None, and a word about how to go on, after Ctrl-C."""
    from minires.course.sheets import points_text
    from minires.progress import Progress

    tasks = [task.name for task in run.assignment.tasks]
    of = points_text(run.assignment.points)
    kept = 0

    def done(student: Student, graded: Graded | None) -> None:
        nonlocal kept
        kept += graded is not None
        progress.start(student.student)
        if graded is None:
            line = "not graded"
        elif graded.grade.trouble and not graded.grade.overrides:
            line = graded.grade.trouble
        else:
            line = f"{points_text(graded.grade.total(tasks))} of {of}"
        progress.finish(
            f"{student.name}  {line}{'' if graded is None or graded.fresh else ' (kept)'}"
        )

    with Progress(len(run.students), 1, sys.stderr) as progress:
        try:
            return run.run(jobs, done)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        _warn(
            f"interrupted; {kept} of {len(run.students)} students are kept in "
            f"{str(run.folder)!r}, and the same command goes on there"
        )
    return None


def _formats(options: argparse.Namespace) -> list[str]:
    """The gradebooks to write: the one asked for, and those that would be out of date."""
    from minires.course.gradebook import FORMATS

    there = [name for name in FORMATS if (options.out / f"{name}.csv").is_file()]
    return list(dict.fromkeys([*filter(None, [options.format]), *there]))


def _write(formats: Sequence[str], run: ClassRun, graded: Sequence[Graded]) -> list[Path]:
    from minires.course.gradebook import FORMATS, grades_csv
    from minires.course.grading import STUDENTS, stood
    from minires.course.pages import summary_html
    from minires.course.words import listed
    from minires.files import write_whole

    grades = [one.grade for one in graded]
    links = {g.student: f"{STUDENTS}/{run.places[g.student]}/feedback.html" for g in grades}
    summary = summary_html(run.assignment, grades, stood(graded), links)
    contents = {
        GRADES: grades_csv(run.assignment, grades),
        SUMMARY: summary.encode("utf-8", "replace"),
    }
    for form in formats:
        make, wanted = FORMATS[form]
        name = f"{form}.csv"
        contents[name], missing = make(run.assignment, run.students, grades)
        if missing:
            _warn(f"not in {name}, for the roster has no {wanted} of theirs: {listed(missing)}")
    return write_whole(run.folder, contents)


def _tell(run: ClassRun, graded: Sequence[Graded], written: Sequence[Path]) -> None:
    from minires.course.class_report import report, wall_warning
    from minires.course.grading import stood
    from minires.course.words import listed

    grades, walls = [one.grade for one in graded], stood(graded)
    names = ", ".join(path.name for path in written)
    say(report(run.assignment, grades, walls))
    say(f"\n{names} and the students' pages are in {run.folder}")
    if walls is not None:
        _warn(wall_warning(walls))
    there = {grade.student for grade in grades}
    absent = [student.student for student in run.students if student.student not in there]
    if absent:
        _warn(f"not graded yet, and in no table: {listed(absent)}; grade without --only")
    stale = [one.grade.student for one in graded if one.stale]
    if stale:
        _warn(f"kept though something has changed: {listed(stale)}; grade without --only")
    failed = [f"{one.grade.student} ({', '.join(one.failed)})" for one in graded if one.failed]
    if failed:
        _warn(f"the grader itself failed, and tries again next time: {listed(failed)}")
    left = run.left_over()
    if left:
        _warn(f"of an earlier run, and nobody's now: {listed([f'students/{n}' for n in left])}")


def _warn(text: str) -> None:
    """Say it on the error output, which may be closed; nothing, if there is nothing to be said."""
    if not text:
        return
    try:
        print(f"minires course grade: {text}", file=sys.stderr)
    except (OSError, UnicodeEncodeError):
        pass
