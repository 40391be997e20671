"""An assignment: a folder with a text, tasks, and how they are judged.

assignment.toml   title, tasks and their points
handout.md        the text, with a section a task
cases.py          inputs of the public tests, a function a task
drivers.py        how a task is called, where that is more than a call (optional)
stub.py           what a learner begins with     } made from the master
answers.bin       answers of the public tests    } by minires.course.publish
master.py         the solution; the stub is what is left without it   } a teacher's alone:
hidden.py         more cases, for grading (optional)                  } no wheel has them
mistakes.toml     known wrong solutions, as edits of the master       }
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minires.check.mistakes import BANK
from minires.course.case import Case
from minires.course.cells import Cell, code_of, split_cells, without_solution
from minires.errors import UsageError

__all__ = [
    "PACKAGED",
    "PRIVATE_FILES",
    "PUBLIC_FILES",
    "Assignment",
    "KnownMistake",
    "Task",
    "assignments",
    "find_assignment",
    "named",
]

PACKAGED = Path(__file__).with_name("assignments")
PUBLIC_FILES = ("assignment.toml", "handout.md", "cases.py", "drivers.py", "stub.py", "answers.bin")
PRIVATE_FILES = ("master.py", "hidden.py", "mistakes.toml")


@dataclass(frozen=True)
class Task:
    """One function or class that is to be written.

    ``uses`` are earlier tasks that it stands on; ``seconds`` is the processor time for its cases.
    """

    name: str
    title: str
    points: float
    hint: str
    uses: tuple[str, ...] = ()
    seconds: int = 5


@dataclass(frozen=True)
class KnownMistake:
    """A known way to get a task wrong.

    ``edits`` turn the solution into it: pairs of a text of the master and what replaces it.
    """

    name: str
    title: str
    hint: str
    tasks: tuple[str, ...]
    edits: tuple[tuple[str, str], ...] = ()


class Assignment:
    """The assignment in a folder.

    What a student does not have of it raises UsageError when it is asked for.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.name = folder.name
        self.number = self.name.split("_")[0]
        about = _toml(folder / "assignment.toml")
        try:
            self.title, self.about = str(about["title"]), str(about["about"])
            self.prerequisites = str(about.get("prerequisites", ""))
            self.minutes = int(about["minutes"])
            self.library = str(about.get("library", "numpy"))
            self.without = tuple(map(str, about.get("without", ())))
            self.tasks = tuple(_task(entry) for entry in about["task"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{folder / 'assignment.toml'}: {_why(error)}.") from None
        if self.library not in ("numpy", "minires"):
            raise UsageError(
                f"{folder / 'assignment.toml'}: library must be 'numpy' or 'minires', "
                f"got {self.library!r}."
            )

    def __repr__(self) -> str:
        return f"Assignment({self.name!r})"

    @property
    def points(self) -> float:
        """What full marks are."""
        return sum(task.points for task in self.tasks)

    @property
    def is_complete(self) -> bool:
        """Whether the solution is here, so that it can be graded and released."""
        return (self.folder / "master.py").is_file()

    def task(self, name: str) -> Task:
        """The task of that name."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise UsageError(
            f"{self.name} has no task {name!r}; there are {', '.join(t.name for t in self.tasks)}."
        )

    def needed(self, task: Task) -> list[Task]:
        """The earlier tasks that it stands on, directly or not, in the order of the assignment."""
        found: set[str] = set()
        waiting = list(task.uses)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.task(name).uses
        return [t for t in self.tasks if t.name in found]

    # --- texts ---

    @functools.cached_property
    def handout(self) -> str:
        """The text, in Markdown."""
        return self._text("handout.md")

    @functools.cached_property
    def master_cells(self) -> list[Cell]:
        """The cells of the master, the solution in them."""
        return split_cells(self._text("master.py"))

    @functools.cached_property
    def stub_cells(self) -> list[Cell]:
        """What a student begins with."""
        if self.is_complete:
            return [without_solution(cell) for cell in self.master_cells]
        return split_cells(self._text("stub.py"))

    @functools.cached_property
    def drivers(self) -> str | None:
        """The text of the drivers, if there are any."""
        return self._text("drivers.py") if (self.folder / "drivers.py").is_file() else None

    def digest(self) -> str:
        """Changes when anything does that a grade depends on."""
        state = hashlib.sha256()
        for name in ("assignment.toml", "cases.py", "drivers.py", *PRIVATE_FILES):
            path = self.folder / name
            state.update(path.read_bytes() if path.is_file() else b"")
            state.update(b"\0")
        return state.hexdigest()

    # --- code ---

    def given_code(self) -> list[types.CodeType]:
        """The cells that come with the assignment, compiled."""
        return [code_of(cell, self.name) for cell in self.stub_cells if cell.task is None]

    def reference_code(self, task: Task) -> list[tuple[str, types.CodeType]]:
        """The solutions of all earlier tasks, compiled: one mistake is not paid for twice.

        :func:`~minires.course.inside.references.solutions` runs them.
        """
        order = [one.name for one in self.tasks]
        names = order[: order.index(task.name)]
        return [
            (cell.task, code_of(cell, self.name))
            for cell in self.master_cells
            if cell.task is not None and cell.task in names
        ]

    def module(self, mistake: KnownMistake | None = None) -> types.ModuleType:
        """The master, run; with a mistake, the wrong solution that it makes of it."""
        cells = self.master_cells
        if mistake is not None:
            cells = split_cells(self.edited(mistake))
        module = types.ModuleType("submission")
        for cell in cells:
            exec(code_of(cell, self.name), module.__dict__)
        return module

    def edited(self, mistake: KnownMistake) -> str:
        """The text of the master with the mistake in it."""
        text = self._text("master.py")
        for old, new in mistake.edits:
            if text.count(old) != 1:
                raise UsageError(
                    f"{self.name}: the mistake {mistake.name!r} replaces {old!r}, which is "
                    f"{text.count(old)} times in master.py and should be there once."
                )
            text = text.replace(old, new)
        return text

    @functools.cached_property
    def mistakes(self) -> tuple[KnownMistake, ...]:
        """The known wrong solutions."""
        path = self.folder / "mistakes.toml"
        entries = _toml(path).get("mistake", []) if path.is_file() else []
        return tuple(_mistake(entry, path) for entry in entries)

    def drive(self, module: types.ModuleType, task: Task, case: Case) -> Any:
        """What the task makes of a case, in this process: for code that is trusted."""
        args, kwargs = case.copied()
        driver = self._driver_names.get(task.name)
        if driver is not None:
            return driver(module, *args, **kwargs)
        return getattr(module, task.name)(*args, **kwargs)

    @functools.cached_property
    def _driver_names(self) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "drivers"}
        if self.drivers is not None:
            exec(compile(self.drivers, str(self.folder / "drivers.py"), "exec"), names)
        return names

    def has_driver(self, task: Task) -> bool:
        """Whether the task is called by a driver."""
        return task.name in self._driver_names

    def cases(self, task: Task, rng: np.random.Generator, hidden: bool) -> list[Case]:
        """The cases of a task, from a generator; the hidden ones follow the others."""
        makers = [self._makers("cases.py").get(task.name)]
        if makers[0] is None:
            raise UsageError(f"{self.folder / 'cases.py'} has no function {task.name}(rng).")
        if hidden and (self.folder / "hidden.py").is_file():
            makers.append(self._makers("hidden.py").get(task.name))
        return [made for maker in makers if maker is not None for made in maker(rng)]

    def public_cases(self, task: Task) -> list[Case]:
        """The cases that a student sees: the same for everybody."""
        return self.cases(task, np.random.default_rng(_seed(self.name, task.name)), hidden=False)

    @functools.cache  # noqa: B019  (as long as the process)
    def _makers(self, name: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": name.removesuffix(".py")}
        exec(compile(self._text(name), str(self.folder / name), "exec"), names)
        return names

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError as error:
            hint = ""
            if name in PRIVATE_FILES:
                hint = (
                    " Solutions are not in an installed minires: install a clone with pip install "
                    "--editable, or say where they are with --assignments DIR."
                )
            raise UsageError(
                f"{self.name}: cannot read {str(self.folder / name)!r} "
                f"({error.strerror or error}).{hint}"
            ) from None


def assignments(folder: Path | None = None) -> list[Assignment]:
    """All assignments in a folder (by default those of minires), by name.

    >>> assignments()[2].title
    'Convolution, forward and backward'
    """
    place = PACKAGED if folder is None else folder
    found = sorted(path.parent for path in place.glob("*/assignment.toml"))
    if not found:
        raise UsageError(
            f"there is no assignment in {str(place)!r}: no folder with an assignment.toml."
        )
    return [Assignment(path) for path in found]


def find_assignment(name: str, folder: Path | None = None) -> Assignment:
    """The assignment called ``a03_convolution``, or ``a03`` for short."""
    return named(name, assignments(folder))


def named(name: str, known: list[Assignment]) -> Assignment:
    """The one of these assignments that is called so."""
    for assignment in known:
        if name in (assignment.name, assignment.number):
            return assignment
    there = [assignment.name for assignment in known]
    numbers = [assignment.number for assignment in known]
    near = difflib.get_close_matches(name.lower(), [*numbers, *there], 1, 0.6)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"no assignment is called {name!r}; there are {', '.join(there)}.{hint}")


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r} ({error.strerror or error}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} is not TOML: {error}.") from None


def _task(entry: dict[str, Any]) -> Task:
    return Task(
        name=str(entry["name"]),
        title=str(entry["title"]),
        points=_number(entry, "points"),
        hint=str(entry["hint"]),
        uses=tuple(map(str, entry.get("uses", ()))),
        seconds=int(_number({"seconds": 5, **entry}, "seconds")),
    )


def _number(entry: dict[str, Any], name: str) -> float:
    if isinstance(entry[name], bool) or not isinstance(entry[name], int | float):
        what = f"the task {entry.get('name')!r} has {name} = {entry[name]!r}"
        raise ValueError(f"{what}, which is no number")
    return float(entry[name])


def _mistake(entry: dict[str, Any], path: Path) -> KnownMistake:
    try:
        title, hint = entry.get("title", ""), entry.get("hint", "")
        if "bank" in entry:
            op, _, known = str(entry["bank"]).partition(".")
            if op not in BANK:
                raise UsageError(f"{str(path)!r}: the bank has no operation {op!r}.")
            of_bank = BANK[op].mistake(known)
            title, hint = title or of_bank.title, hint or of_bank.hint
        return KnownMistake(
            name=str(entry["name"]),
            title=str(title),
            hint=str(hint),
            tasks=tuple(map(str, entry["tasks"])),
            edits=tuple((str(edit["old"]), str(edit["new"])) for edit in entry["edits"]),
        )
    except (KeyError, TypeError) as error:
        raise UsageError(f"{str(path)!r}: a mistake lacks something: {_why(error)}.") from None


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _seed(*names: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:8], "big")
