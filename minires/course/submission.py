"""What a student hands in: a .py or a notebook, in a folder, a zip file, or by itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from minires.course.assignment import Assignment
from minires.course.handed_in import HandedIn, files_in, files_in_zip, is_code
from minires.errors import UsageError

__all__ = ["Submission", "read_submission", "submission_of"]

LARGEST = 4 << 20  # bytes of a file that is handed in
LARGEST_OF_ALL = 4 * LARGEST
_MOST_ZIPS = _MOST_REMARKS = 5


@dataclass(frozen=True)
class Submission:
    """The code of a submission.

    Attributes:
        name: of the file.
        cells: (what a cell is called, number of its first line, its text), in order.
        digest: changes when the file does.
        remarks: what was noticed on the way, in sentences.
    """

    name: str
    cells: tuple[tuple[str, int, str], ...]
    digest: str
    remarks: tuple[str, ...] = ()


def read_submission(path: Path, assignment: Assignment) -> Submission:
    """The submission in a folder, a zip file, a .py or an .ipynb.

    Nothing here reads the code as Python: a text can be made to crash the reader, and so it is read
    in the process that runs it.

    Of several files that are no longer the stub the one named like the assignment is taken, and of
    a .py and a notebook the .py.  Raises UsageError if there is none, or none that can be read.
    """
    try:
        return submission_of(files_in(path), assignment, repr(str(path)))
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r} ({error.strerror or error}).") from None


def submission_of(files: Sequence[HandedIn], assignment: Assignment, what: str) -> Submission:
    """The submission among these files, or in a zip file among them; errors say ``what`` it is."""
    code, remarks = _code(files)
    if not code:
        raise UsageError(
            f"{what} has no .py or .ipynb; hand in {assignment.name}.py or {assignment.name}.ipynb."
        )
    starts = (assignment.name, assignment.number)
    named = [f for f in code if PurePosixPath(f.name).stem.startswith(starts)]
    candidates, troubles = _read(sorted(named or code, key=lambda f: _order(f.name, assignment)))
    if not candidates:
        raise UsageError(troubles[0])
    remarks += troubles[:_MOST_REMARKS]
    if len(candidates) > 1:
        changed = [one for one in candidates if not _is_stub(one, assignment)]
        candidates = changed or candidates[:1]
    chosen, *others = candidates
    if others:
        listed = ", ".join(one.name for one in others)
        remarks.append(f"{chosen.name} was graded, and not {listed}.")
    return replace(chosen, remarks=tuple(remarks))


def _order(name: str, assignment: Assignment) -> tuple[Any, ...]:
    """What is smallest for the file that is meant."""
    stem = PurePosixPath(name).stem
    likeness = (stem != assignment.name, stem != assignment.number)
    return (*likeness, name.count("/"), not name.lower().endswith(".py"), name)


def _read(files: Sequence[HandedIn]) -> tuple[list[Submission], list[str]]:
    """Those that can be read, as submissions, and what is to be said of the others."""
    found, troubles, left = list[Submission](), list[str](), LARGEST_OF_ALL
    for file in files:
        try:
            data = file.read(min(LARGEST, left))
            left -= len(data)
            cells = _cells(file.name, data)
        except UsageError as error:
            troubles.append(str(error))
        else:
            found.append(Submission(file.name, tuple(cells), hashlib.sha256(data).hexdigest()))
    return found, troubles


def _code(files: Sequence[HandedIn]) -> tuple[list[HandedIn], list[str]]:
    """The scripts and notebooks, and what is to be said of zip files beside them.

    Where there is none, zip files are opened; what zip files there may be in those stays closed.
    """
    code = [f for f in files if is_code(f.name)]
    zips = [f for f in files if f.name.lower().endswith(".zip")]
    if code:
        return code, [f"{f.name} was not opened." for f in zips[:_MOST_REMARKS]]
    troubles = []
    for one in zips[:_MOST_ZIPS]:
        try:
            inner = [f for f in files_in_zip(one) if is_code(f.name)]
        except UsageError as error:
            troubles.append(error)
        else:
            code += [HandedIn(f"{one.name}/{f.name}", f.read) for f in inner]
    if troubles and not code:
        raise troubles[0]
    return code, [str(error) for error in troubles]


def _cells(name: str, data: bytes) -> list[tuple[str, int, str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not a text in UTF-8.") from None
    if not name.lower().endswith(".ipynb"):
        return [(name, 1, text)]
    try:
        notebook = json.loads(text)
        cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{name} is not a notebook that can be read.") from None
    return [
        (f"code cell {number}", 1, source)
        for number, source in enumerate(sources, start=1)
        if not _is_check(source)
    ]


def _is_check(source: str) -> bool:
    """Whether a cell only checks a task, as the notebooks that are given out do."""
    lines = [line for line in source.splitlines() if line.strip()]
    begins = ("in_notebook.", "from minires.course import in_notebook")
    return bool(lines) and all(line.startswith(begins) for line in lines)


def _is_stub(submission: Submission, assignment: Assignment) -> bool:
    """Whether nothing has been written in it: there is nothing but what was given."""
    left = "\n".join(_lines(text) for _, _, text in submission.cells)
    for cell in assignment.stub_cells:
        left = left.replace(_lines(cell.text), "")
    return all(
        not line or line.startswith("#") or "in_notebook" in line for line in left.split("\n")
    )


def _lines(text: str) -> str:
    """The text without blank lines and spaces at the ends, which editors change."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
