"""``minires course try``: grade an assignment's own solution, stub and mistakes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from minires.cli.output import say
from minires.errors import UsageError

__all__ = ["add_try"]


def add_try(actions: Any) -> None:
    """Add the action and its options."""
    parser = actions.add_parser(
        "try",
        help="for teachers: grade the solution, the stub and the mistakes of an assignment",
        description=(
            "Look an assignment through, and grade its own solution, its stub and its known "
            "mistakes as a student's work is graded. The solution must get all points, the stub "
            "none, and each mistake must lose the tasks it is about, and be named. The exit code "
            "is 1 if something is not so."
        ),
    )
    parser.add_argument("assignment", metavar="NAME", help="such as b01")
    parser.add_argument(
        "--assignments", type=Path, metavar="DIR", help="folder of assignments of your own"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from minires.course import find_assignment
    from minires.course.soundness import faults
    from minires.course.trial import try_out
    from minires.progress import Progress
    from minires.table import format_table

    assignment = find_assignment(options.assignment, options.assignments)
    found = list(faults(assignment))
    if found:
        more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
        raise UsageError(f"{assignment.name}: {found[0]}{more}")
    rows, bad = [], 0
    with Progress(2 + len(assignment.mistakes), 1, sys.stderr) as progress:
        for trial in try_out(assignment):
            progress.start(trial.name)
            rows.append([trial.name, f"{trial.points:g}", trial.verdict])
            bad += not trial.as_it_should
            progress.finish(f"{trial.name}: {trial.verdict}")
    say(format_table(["what is graded", "points", "as it should be?"], rows))
    return 1 if bad else 0
