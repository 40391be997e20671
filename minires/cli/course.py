"""``minires course``: assignments for students, and what teachers do with them."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

from minires.cli.options import folder_name
from minires.cli.output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command and its actions."""
    from minires.cli import course_grade, course_release, course_try

    parser = commands.add_parser(
        "course",
        help="assignments: begin one, check it, grade a class",
        description="Assignments: list, start and check are for students, the rest for teachers.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    action = actions.add_parser(
        "list", help="the assignments", description="List the assignments in their order."
    )
    action.set_defaults(run=_list)

    action = actions.add_parser(
        "start",
        help="begin an assignment in a folder",
        description=(
            "Make a folder with what an assignment gives out: its text, and what is to be filled "
            "in, as a script and as a notebook; work in one of the two. Work that is there is not "
            "overwritten."
        ),
    )
    action.add_argument("assignment", metavar="NAME", help="such as a03")
    action.add_argument("folder", type=folder_name, metavar="DIR", help="made if need be")
    action.set_defaults(run=_start)

    action = actions.add_parser(
        "check",
        help="check your own work on the public tests",
        description=(
            "Run the public tests on the work in a folder: points a task, and for what is wrong, "
            "what was expected, what came, and a hint. What your code prints is not shown. The "
            "exit code is 1 while something is missing."
        ),
    )
    action.add_argument("path", type=Path, metavar="DIR", help="the folder, or a file in it")
    action.add_argument("--task", metavar="NAME", help="only this one")
    action.set_defaults(run=_check)

    course_grade.add_grade(actions)
    course_release.add_release(actions)
    course_release.add_new(actions)
    course_try.add_try(actions)


def _list(options: argparse.Namespace) -> int:
    from minires.course import assignments
    from minires.table import Cell, format_table

    found = assignments()
    rows: list[list[Cell]] = [
        [a.number, a.title, len(a.tasks), f"{a.points:g}", a.minutes] for a in found
    ]
    say(format_table(["", "title", "tasks", "points", "minutes"], rows))
    say(f"\nBegin with: minires course start {found[0].number} DIR")
    return 0


def _start(options: argparse.Namespace) -> int:
    from minires.course import find_assignment
    from minires.course.handing_out import hand_out

    assignment = find_assignment(options.assignment)
    hand_out(assignment, options.folder)
    place = options.folder
    say(
        f"{assignment.name} is in {place}.\n"
        f"Read {place / 'handout.md'}, fill in {assignment.name}.py or the notebook beside it, "
        f"and check your work with: minires course check {place}"
    )
    return 0


def _check(options: argparse.Namespace) -> int:
    from minires.course.checking import assignment_in, check_submission
    from minires.course.submission import read_submission
    from minires.exercises.verdict import PASSED, SIGNS

    assignment = assignment_in(options.path)
    submission = read_submission(options.path, assignment)
    say(f"{assignment.name}: {assignment.title}, {submission.name}")
    for remark in submission.remarks:
        say(f"  {remark}")
    points, possible, missing = 0.0, 0.0, 0
    for result in check_submission(assignment, submission, options.task):
        points, possible = points + result.points, possible + result.task.points
        missing += result.status != PASSED
        say(
            f"{SIGNS[result.status]} {result.status:8}{result.points:g} of {result.task.points:g}"
            f"  {result.task.name}"
        )
        for text in (result.message, f"Hint: {result.hint}" if result.hint else ""):
            if text:
                say(_indented(text))
    say(f"{points:g} of {possible:g} points on the public tests; grading takes other inputs.")
    return 1 if missing else 0


def _indented(text: str) -> str:
    lines = [textwrap.wrap(line, 92) or [""] for line in text.splitlines()]
    return textwrap.indent("\n".join(part for line in lines for part in line), "    ")
