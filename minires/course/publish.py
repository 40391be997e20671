"""Make what students get of an assignment out of its master: the stub, and the public answers.

python -m minires.course.publish [NAME ...]     write stub.py and answers.bin
python -m minires.course.publish --check        say which are not what the master says
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minires.course.assignment import Assignment, KnownMistake, Task, assignments, find_assignment
from minires.course.cells import join_cells
from minires.course.inside import wire
from minires.course.judge import Expected, Failed, difference, largest, predictions
from minires.course.marking import Tried, solved
from minires.errors import UsageError
from minires.files import write_whole

__all__ = ["main", "public_tried", "stale", "write"]


def write(assignment: Assignment, folder: Path | None = None) -> None:
    """Write stub.py and answers.bin, into the assignment's own folder or another."""
    answers = zlib.compress(wire.encode(public_answers(assignment)), 9)
    stub = join_cells(assignment.stub_cells).encode()
    write_whole(folder or assignment.folder, {"stub.py": stub, "answers.bin": answers})


def public_answers(assignment: Assignment) -> dict[str, Any]:
    """For every task the answers of the public cases, and what known mistakes make of them."""
    return {task.name: _answers(assignment, task) for task in assignment.tasks}


def public_tried(assignment: Assignment, task: Task) -> Tried:
    """The public cases of a task with the answers that come with the assignment."""
    path = assignment.folder / "answers.bin"
    try:
        stored = wire.decode(zlib.decompress(path.read_bytes()))[task.name]
    except (OSError, zlib.error, wire.WireError, KeyError) as error:
        raise UsageError(
            f"cannot read {str(path)!r} ({error}); install minires again, or make it with "
            "'python -m minires.course.publish'."
        ) from None
    expected = [Expected(one["value"], one["allowed"]) for one in stored["cases"]]
    known = [
        (
            KnownMistake(entry["name"], entry["title"], entry["hint"], (task.name,)),
            [
                Failed(found["failed"]) if "failed" in found else found["value"]
                for found in entry["answers"]
            ],
        )
        for entry in stored["mistakes"]
    ]
    return Tried(assignment.public_cases(task), expected, lambda: known, shows_numbers=True)


def stale(assignment: Assignment) -> list[str]:
    """Which of the two files are missing, or not what the master says."""
    found = []
    stub = assignment.folder / "stub.py"
    if not stub.is_file() or stub.read_text(encoding="utf-8") != join_cells(assignment.stub_cells):
        found.append("stub.py")
    try:
        stored = wire.decode(zlib.decompress((assignment.folder / "answers.bin").read_bytes()))
    except (OSError, zlib.error, wire.WireError):
        return [*found, "answers.bin"]
    fresh = wire.decode(wire.encode(public_answers(assignment)))  # as lists and arrays again
    if not _same(fresh, stored):
        found.append("answers.bin")
    return found


def main(arguments: Sequence[str]) -> int:
    """Write them, or check them."""
    parser = argparse.ArgumentParser(
        prog="python -m minires.course.publish",
        description="Make stub.py and answers.bin of assignments out of their masters.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, if none is given")
    parser.add_argument("--check", action="store_true", help="only say which are out of step")
    options = parser.parse_args(arguments)
    check = options.check
    chosen = [find_assignment(name) for name in options.names] or assignments()
    code = 0
    for assignment in chosen:
        found = stale(assignment)
        if found and not check:
            write(assignment)
        if found:
            print(
                f"{'out of step' if check else 'written'}: {assignment.name}/{{{','.join(found)}}}"
            )
            code = int(check)
    return code


def _answers(assignment: Assignment, task: Task) -> dict[str, Any]:
    tried = solved(assignment, task, assignment.public_cases(task), shows_numbers=True)
    return {
        "cases": [{"value": one.value, "allowed": one.allowed} for one in tried.expected],
        "mistakes": [
            {
                "name": mistake.name,
                "title": mistake.title,
                "hint": mistake.hint,
                "answers": [
                    {"failed": w.kind} if isinstance(w, Failed) else {"value": w} for w in wrong
                ],
            }
            for mistake, wrong in predictions(assignment, task, tried.cases)
        ],
    }


def _same(one: Any, other: Any) -> bool:
    """Equal up to the last digits, which another machine may round otherwise."""
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(key == "allowed" or _same(item, other[key]) for key, item in one.items())
        )
    if isinstance(one, list | tuple):
        return (
            type(one) is type(other)
            and len(one) == len(other)
            and all(_same(a, b) for a, b in zip(one, other, strict=True))
        )
    if isinstance(one, bool | str) or one is None:
        return bool(one == other)
    rounding = max(1e-6 * largest(one), 1e-8)  # the latter where all is noise, as in differences
    return not difference(other, Expected(one, rounding), "it")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
