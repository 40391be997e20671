"""Where the student's code runs: a process of its own for every task, shut in, watched, and ended.

A :class:`Sandbox` is made once a run.  It lays out what the processes may import: NumPy, and for
some assignments a copy of minires in which the modules that do the work are hollow.  ``run`` then
starts one process (see :mod:`minires.course.inside.child`), gives it inputs, takes arrays, and
whatever it does, ends it (see :mod:`minires.course.process`) and removes what it wrote.
"""

from __future__ import annotations

import marshal
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minires.course.hollow import copy_of_minires
from minires.course.inside import wire
from minires.course.places import give_away, macos_profile, python_files, remove
from minires.course.process import Answer, Limits, Outcome, Process
from minires.errors import UsageError

__all__ = ["Answer", "Limits", "Outcome", "Sandbox", "WALLS"]

WALLS = {
    "limits": "processor time, memory and file sizes are limited by the system",
    "user": "the code runs as a user that owns nothing",
    "files": "only Python, NumPy and an empty folder can be opened",
    "calls": "no new processes, no network, no signals to other processes",
}


class Sandbox:
    """Makes processes for one assignment's library; use it in a ``with``.

    Args:
        library: 'numpy', or 'minires'.
        without: modules of minires that are hollow in the copy.
    """

    def __init__(self, library: str = "numpy", without: Sequence[str] = ()):
        self.library, self.without = library, tuple(without)
        self._at_work: set[Process] = set()
        self._stopped = False

    def __enter__(self) -> Sandbox:
        self._place = Path(tempfile.mkdtemp(prefix="minires-course-"))
        try:
            self._lay_out()
        except BaseException:
            shutil.rmtree(self._place, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._place, ignore_errors=True)

    def _lay_out(self) -> None:
        site = self._place / "site"
        site.mkdir()
        inside = Path(wire.__file__).parent
        shutil.copytree(inside, site / "inside", ignore=shutil.ignore_patterns("__pycache__"))
        places = [Path(np.__file__).parent]
        places += [p for p in [places[0].with_name("numpy.libs")] if p.is_dir()]
        if self.library == "minires":
            copy_of_minires(site / "minires", self.without)
            places += _packages("threadpoolctl", "tqdm")
        for place in places:
            _link(place, site / place.name)
        _make_readable(self._place)
        self.site = site
        self.readable = [str(site), *map(str, places), *python_files()]

    def stop(self) -> None:
        """End the processes that are at work, and those that begin later at once."""
        self._stopped = True
        for process in list(self._at_work):
            process.stop()

    def run(
        self,
        *,
        cells: Sequence[tuple[str, int, str]],
        task: str,
        calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]],
        given: Sequence[types.CodeType] = (),
        references: Sequence[tuple[str, types.CodeType]] = (),
        driver: str | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """Run one task on each of the calls; whatever the student's code does, this returns.

        ``references`` are earlier tasks, names and code, that take the place of the submission's.

        Raises UsageError where the sandbox itself does not work here, or a call cannot be sent.
        """
        limits = limits or Limits()
        asked = _encoded(task, calls)
        folder = Path(tempfile.mkdtemp(prefix="task-", dir=self._place))
        try:
            work = {
                "cells": [list(cell) for cell in cells],
                "given": [marshal.dumps(code) for code in given],
                "references": [[name, marshal.dumps(code)] for name, code in references],
                "driver": driver,
                "task": task,
                "limits": {
                    "seconds": limits.seconds,
                    "memory": limits.memory,
                    "file": limits.file,
                    "answer": limits.answer,
                },
                "readable": self.readable,
                "folder": str(folder),
                "user": give_away(folder),
            }
            process = Process(self._command(folder), folder, limits)
            self._at_work.add(process)
            try:
                if self._stopped:
                    process.stop()
                return process.talk(work, asked)
            finally:
                self._at_work.discard(process)
        finally:
            remove(folder)

    def _command(self, folder: Path) -> list[str]:
        start = "from inside.child import main; main()"
        code = f"import sys; sys.path.append({str(self.site)!r}); {start}"
        # -s, -S: no user's packages, no site-packages; -P: none of a folder; -B: no __pycache__.
        # Not -I, which has sets in another order in every run: the variables are the sandbox's own.
        command = [sys.executable, "-s", "-S", "-P", "-B", "-c", code]
        shut_in = _program_of_macos() if sys.platform == "darwin" else None
        return (
            [shut_in, "-p", macos_profile(self.readable, folder), *command] if shut_in else command
        )


def _program_of_macos() -> str | None:
    """Where sandbox-exec is, in full: the process has an empty PATH, and another folder."""
    found = shutil.which("sandbox-exec") or shutil.which("/usr/bin/sandbox-exec")
    return os.path.abspath(found) if found else None


def _encoded(task: str, calls: Sequence[tuple[Any, Any]]) -> list[bytes]:
    """The calls as messages, before there is a process whose fault it could seem."""
    try:
        return [wire.encode({"args": args, "kwargs": kwargs}) for args, kwargs in calls]
    except wire.WireError as error:
        raise UsageError(f"a case of {task!r} has no inputs that can be sent: {error}.") from None


def _make_readable(place: Path) -> None:
    """By all, whatever this user's habits are; links, and what they lead to, stay as they are."""
    for path, _, files in os.walk(place):
        os.chmod(path, 0o755)
        for name in files:
            if not os.path.islink(os.path.join(path, name)):
                os.chmod(os.path.join(path, name), 0o644)
    os.chmod(place, 0o711)  # nobody lists the folders of the tasks


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:  # Windows lets few people make links
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)


def _packages(*names: str) -> list[Path]:
    found = []
    for name in names:
        module = __import__(name)
        file = Path(str(module.__file__))
        found.append(file.parent if file.name == "__init__.py" else file)
    return found
