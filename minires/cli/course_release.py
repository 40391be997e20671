"""``minires course release`` and ``minires course new``: what teachers give out and make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minires.cli.options import folder_name
from minires.cli.output import say

__all__ = ["add_new", "add_release"]

FORMATS = ("folder", "notebook", "nbgrader", "gradescope")


def add_release(actions: Any) -> None:
    """Add ``release`` and its options."""
    action = actions.add_parser(
        "release",
        help="give an assignment out, to students, nbgrader or Gradescope",
        description=(
            "Make out of an assignment what others need of it. folder: what students begin with, "
            "as minires course start makes it. notebook: the notebook alone. nbgrader: the source "
            "notebook of a course, solution and hidden tests in it, for nbgrader "
            "generate_assignment. gradescope: an autograder to be uploaded; keep the zip file to "
            "yourself, the solution and your secret are in it. It needs the solution, which an "
            "installed minires does not have: install a clone with pip install --editable, or "
            "work with assignments of your own."
        ),
    )
    action.add_argument("assignment", metavar="NAME", help="such as a03")
    action.add_argument("--to", type=folder_name, required=True, metavar="DIR", help="where to")
    action.add_argument(
        "--format", choices=FORMATS, default="folder", help="what for (default: folder)"
    )
    action.add_argument(
        "--assignments", type=Path, metavar="DIR", help="folder of your own assignments"
    )
    action.add_argument(
        "--secret",
        type=Path,
        metavar="FILE",
        help="for gradescope: what the inputs grow from (default: that of minires course grade)",
    )
    action.add_argument(
        "--force", action="store_true", help="replace what an earlier release has left there"
    )
    action.set_defaults(run=_release)


def add_new(actions: Any) -> None:
    """Add ``new`` and its options."""
    action = actions.add_parser(
        "new",
        help="make the skeleton of an assignment of your own",
        description=(
            "Make a small assignment that works, all its files with comments on what goes where, "
            "to be changed into yours."
        ),
    )
    action.add_argument("name", metavar="NAME", help="such as b01_my_topic")
    action.add_argument(
        "--to",
        type=folder_name,
        default=Path("assignments"),
        metavar="DIR",
        help="folder of your assignments (default: assignments)",
    )
    action.set_defaults(run=_new)


def _release(options: argparse.Namespace) -> int:
    from minires.course import find_assignment
    from minires.course.handing_out import publish_if_stale
    from minires.course.soundness import require_sound

    assignment = find_assignment(options.assignment, options.assignments)
    require_sound(assignment)
    publish_if_stale(assignment)
    make = {
        "folder": _folder,
        "notebook": _notebook,
        "nbgrader": _nbgrader,
        "gradescope": _gradescope,
    }
    say(make[options.format](assignment, options))
    return 0


def _folder(assignment: Any, options: argparse.Namespace) -> str:
    from minires.course.handing_out import hand_out

    place = options.to / assignment.name
    hand_out(assignment, place, replace=options.force)
    return f"{place} is what students begin with; give them all of it."


def _notebook(assignment: Any, options: argparse.Namespace) -> str:
    from minires.course.handing_out import CARRIED, hand_out_notebook, is_own

    hand_out_notebook(assignment, options.to, replace=options.force)
    told = f"{options.to / assignment.name}.ipynb is what students begin with"
    carried = options.to / CARRIED
    return f"{told}, with {carried} beside it." if is_own(assignment) else f"{told}."


def _nbgrader(assignment: Any, options: argparse.Namespace) -> str:
    from minires.course.nbgrader_form import CONFIGURATION, configuration, write_course

    written = write_course(assignment, options.to, replace=options.force)
    lines = [f"{options.to / 'source' / assignment.name} is the source of nbgrader. Go on with:"]
    lines.append(f"  cd {options.to}; nbgrader generate_assignment {assignment.name}")
    if options.to / CONFIGURATION not in written:
        kept = (options.to / CONFIGURATION).read_text(encoding="utf-8", errors="replace")
        if kept != configuration(assignment):
            lines.append(f"Your {CONFIGURATION} was left as it is. It should have these lines:")
            lines += [f"  {line}" for line in settings_of(configuration(assignment))]
    return "\n".join(lines)


def settings_of(text: str) -> list[str]:
    """The lines of a configuration that set something."""
    return [line for line in text.splitlines() if line.startswith(("c.", "import", "os."))]


def _gradescope(assignment: Any, options: argparse.Namespace) -> str:
    from minires.course.gradescope_form import autograder_name, write_autograder
    from minires.course.secret import find_secret

    secret = find_secret(options.secret)
    if secret.warning:
        say(f"Beware: {secret.warning}.")
    write_autograder(assignment, options.to, secret.data, replace=options.force)
    return (
        f"{options.to / autograder_name(assignment)} is the autograder, for a base image with "
        "Python 3.11 or newer.\nThe solution and your secret are in it: keep it to yourself."
    )


def _new(options: argparse.Namespace) -> int:
    from minires.course.skeleton import new_assignment

    assignment = new_assignment(options.name, options.to)
    say(
        f"{assignment.folder} is an assignment that works, with {len(assignment.tasks)} tasks.\n"
        "Change its files, beginning with master.py, and grade it by itself, then give it out:\n"
        f"  minires course try {assignment.number} --assignments {options.to}\n"
        f"  minires course release {assignment.number} --assignments {options.to} --to DIR"
    )
    return 0
