"""The process in which a task is graded: it runs the student's code, and knows no answer.

Messages come in on the standard input and go out on what was the standard output; what the
student's code prints goes to the standard error.

    in   what to run (see :func:`main`)            out  {"walls": [...]}, before it is run,
                                                        or {"unable": why it cannot be}
                                                   out  {"loaded": ..., "notes": [...]}, after
    in   {"args": [...], "kwargs": {...}}          out  {"value": ...} or {"error": {...}}
    ...                                            ...
"""

from __future__ import annotations
import __future__

import ast
import marshal
import os
import random
import re
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from . import wire
from .confine import Unable, confine
from .references import solutions
from .wire import LONGEST_TEXT, MOST_NOTES

__all__ = ["main", "run_cells"]

LONG_LIST = 1000  # numbers

# What IPython takes and Python does not: "f?" and "f??"; "x = !command" and "x = %magic".
_HELP = re.compile(r"%{0,2}[\w.*]+(\[.*\])?\?\??")
_ASSIGNED = re.compile(r"(?P<target>[\w.,\[\] ]+=)\s*[%!]")


def main() -> None:
    """Run one task.

    The first message has

        cells        the submission: (what it is called, its first line, its text), in order
        given        code that comes with the assignment, and is there before the submission
        references   names and code of earlier tasks, which take the place of the submission's
        driver       how the task is called, as text; None for calling it
        task         its name
        limits, readable, folder, user      for confine()
    """
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    work = wire.receive(requests, wire.UNLIMITED)
    try:
        needed = [str(os.__file__), str(np.__file__), __file__]
        walls = confine(work["limits"], work["readable"], work["folder"], work["user"], needed)
    except Unable as error:
        wire.send(replies, {"unable": str(error)})
        return
    wire.send(replies, {"walls": walls})

    random.seed(0)  # who draws without a seed gets the same grade in every run
    np.random.seed(0)  # noqa: NPY002  (the generator that submissions draw from)
    module = types.ModuleType("submission")
    sys.modules["submission"] = module
    names = module.__dict__
    for code in work["given"]:
        exec(marshal.loads(code), names)
    given = dict(names)
    notes = run_cells(work["cells"], names)
    references = [(name, marshal.loads(code)) for name, code in work["references"]]
    names.update(solutions(names, given, references))
    task, drive = work["task"], _driver(work["driver"], work["task"])
    wire.send(replies, {"loaded": callable(names.get(task)), "notes": notes[:MOST_NOTES]})

    while True:
        try:
            asked = wire.receive(requests, wire.UNLIMITED)
        except EOFError:
            return
        replies.write(_reply(drive, module, asked, work))
        replies.flush()


def run_cells(cells: Any, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the cells of a submission, statement by statement; what went wrong, in order.

    A statement that fails ends nothing: a learner's scratch work at the end of a file must not cost
    the tasks above it.  A cell that is no Python is left out as a whole.
    """
    notes, flags = [], 0
    for label, first, text in _parts(cells):
        try:
            tree = ast.parse(text, label)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = first - 1 + (getattr(error, "lineno", None) or 1)
            message = getattr(error, "msg", str(error))
            notes.append(
                _error(type(error).__name__, message, label, line, _line(text, line, first))
            )
            continue
        ast.increment_lineno(tree, first - 1)
        for statement in tree.body:
            try:
                code = compile(
                    ast.Module([statement], []), label, "exec", flags=flags, dont_inherit=True
                )
                exec(code, names)
                if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                    for alias in statement.names:
                        flags |= getattr(__future__, alias.name).compiler_flag
            except BaseException as error:
                notes.append(_account(error, cells))
    return notes


def _parts(cells: Any) -> Iterator[tuple[str, int, str]]:
    """The cells; those that are no Python in smaller parts, so that less is lost with the mistake.

    A script is cut where a cell begins.  In a notebook IPython's own lines become comments.
    """
    for label, first, text in cells:
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            lines = text.splitlines(keepends=True)
            marks = [i for i, line in enumerate(lines) if line.startswith("# %%")]
            starts = [0, *(i for i in marks if i)]
            for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
                yield label, first + start, "".join(map(_without_magic, lines[start:end]))
        else:
            yield label, first, text


def _without_magic(line: str) -> str:
    stripped = line.lstrip()
    indent = line[: len(line) - len(stripped)]
    if stripped.startswith(("%", "!", "?")) or _HELP.fullmatch(stripped.rstrip()):
        return f"{indent}pass  # {stripped}"
    assigned = _ASSIGNED.match(stripped)
    return f"{indent}{assigned['target']} None  # {stripped}" if assigned else line


def _driver(source: str | None, task: str) -> Any:
    if source is None:
        return lambda submission, *args, **kwargs: getattr(submission, task)(*args, **kwargs)
    names: dict[str, Any] = {"__name__": "drivers"}
    exec(compile(source, "drivers.py", "exec"), names)
    return names[task]


def _reply(drive: Any, module: Any, asked: Any, work: Any) -> bytes:
    """The message that answers a call."""
    try:
        value = drive(module, *asked["args"], **asked["kwargs"])
        message = wire.encode({"value": _compact(value)})
        wire.checked_length(message, work["limits"]["answer"])
    except BaseException as error:
        message = wire.encode({"error": _account(error, work["cells"])})
    for stream in (sys.stdout, sys.stderr):  # what was printed is counted with this answer
        with suppress(BaseException):
            stream.flush()
    return message


def _compact(value: Any) -> Any:
    """The same with long lists of numbers as arrays, which take a tenth of the room.

    The grader makes no difference between them.
    """
    if isinstance(value, dict):
        return {key: _compact(item) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    try:
        array = np.asarray(value)
    except Exception:  # of unequal lengths, or of no numbers
        array = np.empty(0)
    if array.size > LONG_LIST and array.dtype.kind in "fiub":
        return array
    items = [_compact(item) for item in value]
    return items if isinstance(value, list) else tuple(items)


def _account(error: BaseException, cells: Any) -> dict[str, Any]:
    """The exception at hand, with the last line of the submission that it went through."""
    labels = {label: (first, text) for label, first, text in cells}
    kind, message = "Exception", ""
    with suppress(BaseException):  # the class may be the student's, and do anything
        kind = str.__str__(type(error).__name__)
        message = str.__getitem__(str(error), slice(LONGEST_TEXT))
    for frame, number in reversed(list(traceback.walk_tb(sys.exc_info()[2]))):
        label = frame.f_code.co_filename
        if label in labels:
            first, text = labels[label]
            return _error(kind, message, label, number, _line(text, number, first))
    return _error(kind, message)


def _line(text: str, number: int, first: int) -> str:
    lines = text.splitlines()
    return lines[number - first].strip() if 0 <= number - first < len(lines) else ""


def _error(
    kind: str, message: str, label: str = "", number: int = 0, line: str = ""
) -> dict[str, Any]:
    return {
        "type": kind[:LONGEST_TEXT],
        "message": message[:LONGEST_TEXT],
        "place": label,
        "number": number,
        "line": line[:LONGEST_TEXT],
    }
