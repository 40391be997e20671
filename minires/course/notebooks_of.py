"""The notebook of an assignment: the sections of its text, and the cells that belong to them.

Above all stands what the text says first, and the code that is given.  Then comes for every task
its section, the cell to be filled in, and a cell that checks it.  A notebook is JSON, and no more
than Python is needed to make one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minires.course.assignment import Assignment, Task
from minires.course.cells import Cell

__all__ = ["Part", "as_json", "cell_of", "notebook_from", "notebook_of", "parts_of", "sections_of"]

IMPORT = "from minires.course import in_notebook"
_FENCE = re.compile(r"\s*(```|~~~)")


@dataclass(frozen=True)
class Part:
    """A cell to be.

    Attributes:
        kind: 'text', 'given' (code that is there), 'tools' (the import of the checks), 'task', or
            'check'.
        source: what is in it.
        task: whose it is, of 'task' and 'check'.
    """

    kind: str
    source: str
    task: Task | None = None


def notebook_of(assignment: Assignment) -> dict[str, Any]:
    """What a learner works in, as the JSON of nbformat 4.5: without output, the same every time.

    >>> from minires.course import find_assignment
    >>> cells = notebook_of(find_assignment("a03"))["cells"]
    >>> [cell["cell_type"] for cell in cells][:6]
    ['markdown', 'code', 'code', 'markdown', 'code', 'code']
    """
    made = [
        cell_of("markdown" if part.kind == "text" else "code", part.source)
        for part in parts_of(assignment, assignment.stub_cells)
    ]
    return notebook_from(assignment.number, made)


def parts_of(assignment: Assignment, cells: Iterable[Cell]) -> list[Part]:
    """The text and the cells of an assignment in the order in which they are read."""
    names = {task.name for task in assignment.tasks}
    sections = [Part("text", text) for text in sections_of(assignment.handout)]
    parts, sections = sections[:1], sections[1:]
    given: list[Part] = []
    begun = False
    for cell in cells:
        if cell.task not in names:
            given.append(Part("given", cell.text.strip()))
            continue
        task = assignment.task(str(cell.task))
        if not begun:  # what is given at first belongs to all tasks, and later on to the next one
            parts += [*given, Part("tools", IMPORT)]
            given, begun = [], True
        own = [i for i, part in enumerate(sections) if _is_about(part.source, task)]
        if own:
            parts, sections = parts + sections[: own[0] + 1], sections[own[0] + 1 :]
        parts += [*given, Part("task", cell.text.strip(), task)]
        parts.append(Part("check", check_of(assignment, task), task))
        given = []
    return [*parts, *given, *sections]


def sections_of(text: str) -> list[str]:
    """A text, cut before its headings of the second level.

    >>> sections_of("# T\\n\\nfirst\\n\\n## 1\\none\\n```\\n## no heading\\n```\\n## 2\\n")
    ['# T\\n\\nfirst', '## 1\\none\\n```\\n## no heading\\n```', '## 2']
    """
    sections: list[list[str]] = [[]]
    in_code = False
    for line in text.splitlines():
        in_code ^= bool(_FENCE.match(line))
        if line.startswith("## ") and not in_code:
            sections.append([])
        sections[-1].append(line)
    return [text for text in ("\n".join(lines).strip() for lines in sections) if text]


def check_of(assignment: Assignment, task: Task) -> str:
    """The line that checks a task."""
    return f'in_notebook.check("{assignment.name}", "{task.name}", globals())'


def cell_of(kind: str, source: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A cell, still without its id."""
    cell: dict[str, Any] = {"cell_type": kind, "metadata": dict(metadata or {})}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell | {"source": source.splitlines(keepends=True)}


def notebook_from(name: str, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The notebook of these cells, whose ids grow from a name."""
    return {
        "cells": [cell | {"id": f"{name}-{i:03d}"} for i, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def as_json(notebook: Mapping[str, Any]) -> bytes:
    """The file of a notebook, as Jupyter lays it out."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    return f"{text}\n".encode()


def _is_about(section: str, task: Task) -> bool:
    return f"`{task.name}`" in section.splitlines()[0]
