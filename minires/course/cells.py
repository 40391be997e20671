"""The cells of a file in the percent format, and what is left of them without the solution."""

from __future__ import annotations

import ast
import functools
import re
import types
from dataclasses import dataclass, replace

from minires.errors import UsageError

__all__ = ["Cell", "code_of", "join_cells", "split_cells", "without_solution"]

_HEADER = re.compile(r"# %%(?: task: (?P<task>\w+))?\s*$")
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # as nbgrader marks it


@dataclass(frozen=True)
class Cell:
    """A part of a file: the task that it holds, if any, its text, and where that begins."""

    task: str | None
    text: str
    first: int = 1


def split_cells(text: str) -> list[Cell]:
    """The cells of a file; empty ones are left out.

    >>> text = "# %%\\nimport numpy\\n\\n# %% task: f\\ndef f(): ...\\n"
    >>> [(cell.task, cell.first) for cell in split_cells(text)]
    [(None, 2), ('f', 5)]
    """
    cells: list[Cell] = []
    task, first, lines = None, 1, list[str]()
    for number, line in enumerate([*text.splitlines(), "# %%"], start=1):
        header = _HEADER.match(line) if line.startswith("# %%") else None
        if line.startswith("# %%"):
            if any(part.strip() for part in lines):
                cells.append(Cell(task, "\n".join(lines).rstrip() + "\n", first))
            task, first, lines = (header["task"] if header else None), number + 1, []
        else:
            lines.append(line)
    return cells


def join_cells(cells: list[Cell]) -> str:
    """The file of these cells."""
    return "\n\n".join(f"{_header(cell)}\n{cell.text.strip()}\n" for cell in cells)


def _header(cell: Cell) -> str:
    return f"# %% task: {cell.task}" if cell.task else "# %%"


def without_solution(cell: Cell) -> Cell:
    """The cell as a learner gets it: each solution in a function becomes NotImplementedError.

    >>> text = f"def f(x):\\n    {BEGIN}\\n    return x\\n    {END}\\n"
    >>> print(without_solution(Cell("f", text)).text)
    def f(x):
        raise NotImplementedError("f")
    <BLANKLINE>
    """
    kept: list[str] = []
    inside = False
    for line in cell.text.splitlines():
        mark = line.strip()
        if mark == BEGIN:
            if inside:
                raise UsageError(
                    f"master: the task {cell.task!r} begins a solution within another."
                )
            inside, indent = True, line[: len(line) - len(line.lstrip())]
            if indent:
                kept.append(f'{indent}raise NotImplementedError("{cell.task}")')
        elif mark == END:
            if not inside:
                raise UsageError(
                    f"master: the task {cell.task!r} ends a solution that never began."
                )
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise UsageError(f"master: the solution of the task {cell.task!r} has no end.")
    text = re.sub(r"\n{4,}", "\n\n\n", "\n".join(kept)).strip("\n") + "\n"
    return replace(cell, text=text)


@functools.cache  # each task of each submission asks for it
def code_of(cell: Cell, name: str) -> types.CodeType:
    """The cell compiled, without documentation strings, under a name that is no file's."""
    tree = ast.parse(cell.text)
    return compile(tree, f"<{name}>", "exec", optimize=2, dont_inherit=True)
