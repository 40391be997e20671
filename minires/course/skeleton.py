"""The skeleton of a teacher's own assignment: a small one that works, to be made into another."""

from __future__ import annotations

import re
from pathlib import Path

from minires.course.assignment import Assignment, assignments
from minires.course.handing_out import publish_if_stale, write_new
from minires.errors import UsageError

__all__ = ["new_assignment"]

TEMPLATES = Path(__file__).with_name("skeleton_files")
_NAME = re.compile(r"(?P<number>[a-z][0-9]{2})_(?P<rest>[a-z][a-z0-9]*(_[a-z0-9]+)*)")


def new_assignment(name: str, folder: Path) -> Assignment:
    """Make the assignment ``name`` in a folder of assignments, and publish it.

    Raises UsageError for a name that is not like ``b01_my_topic`` or whose number is one of
    minires' own, and where something else is in the place of one of its files.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(
            f"an assignment is called like b01_my_topic, got {name!r}: a small letter, two digits, "
            "and a topic of small letters, digits and underscores."
        )
    taken = [one.number for one in assignments()]
    if found["number"] in taken:
        raise UsageError(
            f"{found['number']} is an assignment of minires; take another number, such as "
            f"b{found['number'][1:]}_{found['rest']}."
        )
    words = {"@NUMBER@": found["number"], "@TITLE@": found["rest"].replace("_", " ").capitalize()}
    contents = {
        path.name.removesuffix(".txt"): _filled(path.read_text(encoding="utf-8"), words)
        for path in sorted(TEMPLATES.glob("*.txt"))
    }
    write_new(folder / name, contents)
    assignment = Assignment(folder / name)
    publish_if_stale(assignment)
    return assignment


def _filled(text: str, words: dict[str, str]) -> bytes:
    for place, word in words.items():
        text = text.replace(place, word)
    return text.encode()
