"""An assignment as the autograder of Gradescope: a zip file that holds all that grading takes.

setup.sh            makes an environment of Python, once
run_autograder      grades a submission (see :mod:`minires.course.in_gradescope`)
requirements.txt    what grading needs of what minires depends on
secret              what the students' inputs grow from
minires/            the package, with this assignment alone, complete
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from minires.course.assignment import PRIVATE_FILES, PUBLIC_FILES, Assignment
from minires.course.handing_out import write_new

__all__ = ["autograder_files", "autograder_name", "write_autograder"]

_PACKAGE = Path(__file__).parents[1]
_SCRIPTS = Path(__file__).with_name("gradescope_files")
_ASSIGNMENTS = Path("minires/course/assignments")
_LEFT_OUT = ("__pycache__", "notebook_files")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip


def write_autograder(
    assignment: Assignment, folder: Path, secret: bytes, *, replace: bool = False
) -> list[Path]:
    """Write the zip file into a folder; the assignment must be complete."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(autograder_files(assignment, secret).items()):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            mode = 0o755 if name in ("setup.sh", "run_autograder") else 0o644
            entry.external_attr = (0o100000 | mode) << 16
            entry.create_system = 3  # Unix, or the modes are not read
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return write_new(folder, {autograder_name(assignment): buffer.getvalue()}, replace=replace)


def autograder_name(assignment: Assignment) -> str:
    """The name of the zip file."""
    return f"{assignment.name}_autograder.zip"


def autograder_files(assignment: Assignment, secret: bytes) -> dict[str, bytes]:
    """What is in the zip file, by name."""
    files = {path.name: path.read_bytes() for path in _SCRIPTS.iterdir() if path.is_file()}
    files["secret"] = secret + b"\n"
    for path in _package():
        files[path.as_posix()] = (_PACKAGE.parent / path).read_bytes()
    for name in (*PUBLIC_FILES, *PRIVATE_FILES):
        if (assignment.folder / name).is_file():
            inside = _ASSIGNMENTS / assignment.name / name
            files[inside.as_posix()] = (assignment.folder / name).read_bytes()
    return files


def _package() -> Iterator[Path]:
    """The files of minires but for the assignments, as paths from beside the package."""
    for path in sorted(_PACKAGE.rglob("*")):
        inside = path.relative_to(_PACKAGE.parent)
        left_out = {*_LEFT_OUT} & {*inside.parts} or inside.is_relative_to(_ASSIGNMENTS)
        if path.is_file() and not left_out:
            yield inside
