"""An assignment as the source notebook of nbgrader.

Text and given code are locked, each task is a solution cell, and the cell that checks it is graded,
with the points of the task.  What students see of that cell is the check on the public cases, which
tells and never fails; hidden behind it is the one that counts.  It takes the teacher's inputs, and
the solution for earlier tasks, so that each task is paid by itself, as by ``minires course grade``.

Cell metadata: https://nbgrader.readthedocs.io, "nbgrader metadata", schema version 3.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from minires.course.assignment import Assignment
from minires.course.cells import BEGIN, END
from minires.course.handing_out import VARIABLE, carried_files, is_own, write_new
from minires.course.notebooks_of import (
    Part,
    as_json,
    cell_of,
    notebook_from,
    parts_of,
)

__all__ = ["CONFIGURATION", "configuration", "nbgrader_notebook", "write_course"]

CONFIGURATION = "nbgrader_config.py"

_HIDDEN = """\
{check}
### BEGIN HIDDEN TESTS
in_notebook.require("{assignment}", "{task}", globals(), hidden=True)
### END HIDDEN TESTS"""

# nbgrader leaves its stub, a raise, wherever a solution was. Within a function that is as it should
# be; at the top of a cell, where the solution has a function more, it would end the cell.
_ROOM = """\
try:  # room for a function or class of your own, in place of the next line
{solution}
except NotImplementedError:
    pass"""

_CONFIGURATION = '''\
"""How nbgrader handles assignments of minires; written by `minires course release`."""

import os

c = get_config()  # noqa: F821  (nbgrader brings it)

# What stays in a cell when the solution is taken out.
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}

# Seconds for a cell; an endless loop costs its own cell and no other.
c.Execute.timeout = 60
'''
_OWN = """
# Where the hidden tests find the solutions of your own assignments.
os.environ.setdefault({variable!r}, {folder!r})
"""


def write_course(assignment: Assignment, folder: Path, *, replace: bool = False) -> list[Path]:
    """Write the source notebook into the folder of a course, and a configuration if it has none."""
    name = assignment.name
    contents = {
        f"{name}.ipynb": as_json(nbgrader_notebook(assignment)),
        **carried_files(assignment),
    }
    written = write_new(
        folder, {f"source/{name}/{path}": data for path, data in contents.items()}, replace=replace
    )
    if not (folder / CONFIGURATION).exists():
        text = configuration(assignment)
        written += write_new(folder, {CONFIGURATION: text.encode()})
    return written


def configuration(assignment: Assignment) -> str:
    """The text of nbgrader_config.py."""
    if not is_own(assignment):
        return _CONFIGURATION.replace("import os\n\n", "")
    place = str(assignment.folder.resolve().parent)
    return _CONFIGURATION + _OWN.format(variable=VARIABLE, folder=place)


def nbgrader_notebook(assignment: Assignment) -> dict[str, Any]:
    """The source notebook, solution and hidden tests in it."""
    parts = parts_of(assignment, assignment.master_cells)
    cells = [_cell(assignment, part, number) for number, part in enumerate(parts)]
    return notebook_from(assignment.number, cells)


def _cell(assignment: Assignment, part: Part, number: int) -> dict[str, Any]:
    if part.task is None:
        kind = "markdown" if part.kind == "text" else "code"
        return cell_of(kind, part.source, _marks(f"{part.kind}_{number}", locked=True))
    name, points = part.task.name, part.task.points
    if part.kind == "task":
        return cell_of("code", _with_room(part.source), _marks(name, solution=True))
    source = _HIDDEN.format(check=part.source, assignment=assignment.name, task=name)
    return cell_of("code", source, _marks(f"check_{name}", grade=True, locked=True, points=points))


def _marks(
    grade_id: str,
    *,
    grade: bool = False,
    solution: bool = False,
    locked: bool = False,
    points: float | None = None,
) -> dict[str, Any]:
    marks: dict[str, Any] = {
        "schema_version": 3,
        "grade_id": grade_id,
        "grade": grade,
        "solution": solution,
        "locked": locked,
        "task": False,
    }
    if points is not None:
        marks["points"] = int(points) if points == int(points) else points
    return {"nbgrader": marks}


def _with_room(source: str) -> str:
    """The cell, each solution at its top in a block in which nbgrader's stub does no harm."""
    lines: list[str] = []
    region: list[str] | None = None
    for line in source.splitlines():
        if line == BEGIN:
            region = [line]
        elif region is None:
            lines.append(line)
        else:
            region.append(line)
            if line == END:
                inside = textwrap.indent("\n".join(region).replace("\n\n\n", "\n\n"), "    ")
                lines += _ROOM.format(solution=inside).splitlines()
                region = None
    return "\n".join(lines)
