"""What students are given: the text, and what is to be filled in, as a script and as a notebook.

The assignments of minires are in every student's minires.  One of a teacher's own is not, and so
its public files go along, in the folder ``assignment_files``: from there ``minires course check``
and the checks in the notebook take it (:func:`known_at`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from minires.course.assignment import PACKAGED, PUBLIC_FILES, Assignment, assignments
from minires.course.cells import join_cells
from minires.course.notebooks_of import as_json, notebook_of
from minires.course.publish import stale, write
from minires.errors import UsageError
from minires.files import write_whole

__all__ = [
    "CARRIED",
    "carried_files",
    "hand_out",
    "hand_out_notebook",
    "is_own",
    "known_at",
    "publish_if_stale",
    "write_new",
]

CARRIED = "assignment_files"
VARIABLE = "MINIRES_ASSIGNMENTS"  # a folder of assignments; set by the configuration for nbgrader


def hand_out(assignment: Assignment, folder: Path, *, replace: bool = False) -> list[Path]:
    """Write what a student begins with into a folder; returns the files that were written.

    A file that is there with the same content is left alone.  If one has another content, perhaps
    the student's work, UsageError is raised before anything is written, unless ``replace`` is set.
    """
    contents = {
        f"{assignment.name}.py": join_cells(assignment.stub_cells).encode(),
        "handout.md": assignment.handout.encode(),
        **_notebook_files(assignment),
    }
    return write_new(folder, contents, replace=replace)


def hand_out_notebook(assignment: Assignment, folder: Path, *, replace: bool = False) -> list[Path]:
    """The same, with the notebook alone."""
    return write_new(folder, _notebook_files(assignment), replace=replace)


def _notebook_files(assignment: Assignment) -> dict[str, bytes]:
    notebook = as_json(notebook_of(assignment))
    return {f"{assignment.name}.ipynb": notebook, **carried_files(assignment)}


def carried_files(assignment: Assignment) -> dict[str, bytes]:
    """The public files of a teacher's own assignment, under their names in a student's folder."""
    if not is_own(assignment):
        return {}
    paths = [assignment.folder / name for name in PUBLIC_FILES]
    return {
        f"{CARRIED}/{assignment.name}/{path.name}": _read(path) for path in paths if path.is_file()
    }


def is_own(assignment: Assignment) -> bool:
    """Whether it is a teacher's own, and not one of those that come with minires."""
    return assignment.folder.resolve().parent != PACKAGED.resolve()


def known_at(path: Path) -> list[Assignment]:
    """The assignments that work at a path, a folder or a file, may belong to.

    Those that were handed out with the work come first, then those of the folder that the variable
    MINIRES_ASSIGNMENTS names, then minires' own; of several with one name only the first is taken.
    """
    places = [(path if path.is_dir() else path.parent) / CARRIED]
    if os.environ.get(VARIABLE):  # the complete ones, where nbgrader grades
        places.insert(0, Path(os.environ[VARIABLE]))
    found: dict[str, Assignment] = {}
    for place in [*places, PACKAGED]:
        if any(place.glob("*/assignment.toml")):
            for assignment in assignments(place):
                found.setdefault(assignment.name, assignment)
    return list(found.values())


def publish_if_stale(assignment: Assignment) -> None:
    """Make the stub and the public answers anew if they are not what the master says.

    Raises UsageError where there is no master.
    """
    if stale(assignment):
        write(assignment)


def write_new(folder: Path, contents: Mapping[str, bytes], *, replace: bool = False) -> list[Path]:
    """Write files below a folder, and return those that were not there in just that way."""
    if folder.is_file():
        raise UsageError(f"{str(folder)!r} is a file, not a folder; choose another one.")
    changed: list[str] = []
    new: dict[Path, dict[str, bytes]] = {}
    for name, content in contents.items():
        target = folder / name
        if target.is_dir():
            raise UsageError(f"{str(target)!r} is a folder, and a file is to be there.")
        if os.path.lexists(target):
            if _read(target) == content:
                continue
            changed.append(name)
        new.setdefault(target.parent, {})[target.name] = content
    if changed and not replace:
        raise UsageError(
            f"in {str(folder)!r} there is something else under the name of {', '.join(changed)}, "
            "perhaps somebody's work; nothing was written. Choose another folder, or move it away; "
            "minires course release --force replaces what an earlier release has left."
        )
    return [path for place, files in new.items() for path in write_whole(place, files)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r} ({error.strerror or error}).") from None
