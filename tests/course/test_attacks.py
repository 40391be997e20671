"""Hostile submissions: none gains a point, reaches anything, harms another, or leaves a trace.

Each file in ``attacks`` is handed in behind the solution of a03, so that it takes the place of the
tasks that it names in its head:

    # What it tries.
    # loses: tasks that must get no points; 'all' if it does harm before any is called
    # first: tasks that are graded before those (optional)
    # wall: seconds by the clock that are granted (optional)
    # walls: walls of the sandbox without which it would get through (optional)

Where an attempt succeeds the file prints BREACH.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minires.course.assignment import Assignment, find_assignment
from minires.course.cells import join_cells
from minires.course.marking import Marker, TaskResult, Tried, hidden_cases
from minires.course.process import Limits, Outcome
from minires.course.sandbox import Sandbox
from minires.course.submission import Submission

resource = pytest.importorskip("resource", reason="limits of POSIX")
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks for traces in /proc"
)

ATTACKS = sorted(Path(__file__).with_name("attacks").glob("*.py"))
ATTACKS = [path for path in ATTACKS if path.stem != "conftest"]
SECRET = b"a secret of the tests"
TIGHT = Limits(
    seconds=1,
    memory=700 << 20,
    output=64 << 10,
    kept=1 << 20,  # all of it, so that no attack's BREACH is missed
    answer=1 << 20,
    file=1 << 20,
    files=2 << 20,
)


class TightSandbox(Sandbox):
    """Grants little, and keeps what came of the last run."""

    last: Outcome
    limits = TIGHT

    def run(self, **work: Any) -> Outcome:
        self.last = super().run(**{**work, "limits": self.limits})
        return self.last


class Arena:
    """A hostile student, an honest one beside, and a place with things to steal."""

    def __init__(self, assignment: Assignment):
        self.assignment = assignment
        self.neighbour = Marker(assignment, references=True)
        self.sandbox = TightSandbox(assignment.library, assignment.without)
        self.marker = Marker(assignment, references=True)
        self.marker._sandbox = self.sandbox
        self.solution = join_cells(assignment.master_cells)
        self._tried: dict[tuple[str, bool], Tried] = {}
        self.loot = Path(f"/tmp/minires-attack-{os.getpid()}")

    def __enter__(self) -> Arena:
        self.loot.mkdir()
        (self.loot / "answers.txt").write_text("the secret of the canary")
        os.environ["MINIRES_CANARY"] = "the secret of the canary"
        self.marker.__enter__()
        self.neighbour.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.marker.__exit__()
        self.neighbour.__exit__()
        del os.environ["MINIRES_CANARY"]
        shutil.rmtree(self.loot)

    def mark(self, task: str, attack: str) -> TaskResult:
        """Mark a task of the solution with the attack behind it."""
        return self._mark(self.marker, task, attack)

    def honest(self) -> TaskResult:
        """Mark what somebody else has handed in, who is right."""
        return self._mark(self.neighbour, "conv2d", "")

    def _mark(self, marker: Marker, task: str, attack: str) -> TaskResult:
        one = self.assignment.task(task)
        if (task, attack == "") not in self._tried:
            student = "mallory" if attack else "anna"
            made = hidden_cases(self.assignment, one, SECRET, student)
            self._tried[task, attack == ""] = made
        cells = [("solution", 1, self.solution), ("attack", 1, attack)]
        submission = Submission("a03.py", tuple(cells), "")
        return marker.mark(submission, one, self._tried[task, attack == ""])

    def traces(self) -> dict[str, Any]:
        """Whatever a submission could have changed."""
        file = (self.loot / "answers.txt").stat()
        return {
            "processes": _left_processes(),
            "threads": threading.active_count(),
            "handles": len(os.listdir("/proc/self/fd")),
            "folders": sorted(os.listdir(self.sandbox._place)),
            "site": _contents(self.sandbox.site) + _contents(self.neighbour._sandbox.site),
            "files": _files_of_ours(),
            "objects": [Path("/proc/sysvipc", kind).read_text() for kind in ("shm", "sem", "msg")],
            "loot": (sorted(os.listdir(self.loot)), file.st_mode, file.st_mtime, file.st_uid),
            "text": (self.loot / "answers.txt").read_text(),
            "attributes": os.listxattr(self.loot / "answers.txt"),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "processors": os.sched_getaffinity(0),
            "limits": [resource.getrlimit(kind) for kind in range(16)],
            "signals": [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGIO, signal.SIGHUP)],
            "place": (os.getcwd(), dict(os.environ)),
        }


def _left_processes() -> list[str]:
    """Processes that are there for longer than others need to end theirs."""
    deadline = time.monotonic() + 3
    while (found := _processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _processes() -> list[str]:
    """Children of ours, and processes of the sandbox's users that have no parent any more."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            orphan = parent == "1" and place.stat().st_uid >= 60_600
            if parent == str(os.getpid()) or orphan:
                found.append(place.name)
        except OSError:
            continue
    return found


def _files_of_ours() -> list[str]:
    places = ["/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/dev/mqueue"]
    names = [entry for place in places if os.path.isdir(place) for entry in os.scandir(place)]
    return sorted(
        entry.path
        for entry in names
        if "minires-attack" in entry.name or entry.stat(follow_symlinks=False).st_uid >= 60_600
    )


def _contents(site: Path) -> list[tuple[str, int, float]]:
    stats = [(str(path), path.lstat()) for path in sorted(site.rglob("*"))]
    return [(path, stat.st_mode, stat.st_mtime) for path, stat in stats]


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena(find_assignment("a03")) as made:
        yield made


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        made.submit(int).result()  # its thread is there before the first look at the traces
        yield made


def _head(text: str, name: str) -> list[str]:
    found = re.search(rf"^# {name}: (.*)$", text, re.MULTILINE)
    return found[1].split(", ") if found else []


def test_there_are_many_attacks_and_each_says_what_it_tries() -> None:
    assert len(ATTACKS) >= 50
    for path in ATTACKS:
        text = path.read_text()
        assert re.match(r"# [A-Z].*\.\n# (first|loses): ", text), path.name


@pytest.mark.parametrize("path", ATTACKS, ids=[path.stem for path in ATTACKS])
def test_an_attack_gains_nothing_reaches_nothing_and_leaves_nothing(
    path: Path, arena: Arena, pool: ThreadPoolExecutor
) -> None:
    attack = path.read_text()
    names = [task.name for task in arena.assignment.tasks]
    lost = _head(attack, "loses")
    lost = names[:1] if lost == ["all"] else lost
    granted = [replace(TIGHT, wall=float(seconds)) for seconds in _head(attack, "wall")]
    needed = set(_head(attack, "walls"))
    before = arena.traces()
    beside = pool.submit(arena.honest)

    for task in [*_head(attack, "first"), *lost]:
        arena.sandbox.limits = granted[0] if granted else TIGHT
        result = arena.mark(task, attack)
        arena.sandbox.limits = TIGHT
        assert (result.points, result.status) == (0.0, "wrong"), (task, result.message)
        outcome = arena.sandbox.last
        missing = needed - set(outcome.walls)
        assert missing or "BREACH" not in outcome.printed, outcome.printed
        assert "\x1b" not in result.message + outcome.printed
        result.message.encode()  # can be written
    if _head(attack, "loses") != ["all"]:
        kept = next(name for name in reversed(names) if name not in lost)
        assert arena.mark(kept, attack).status == "passed", f"{kept} is right, and lost its points"

    assert beside.result().points == 3.0, "another's task was marked at the same time"
    assert arena.traces() == before


@pytest.mark.parametrize(
    "name",
    [
        "becomes_a_daemon",
        "calls_the_system_itself",
        "imports_what_is_installed",
        "opens_sockets",
        "reads_the_disk",
        "reads_the_grader",
        "uses_dark_corners",
    ],
)
def test_without_walls_the_attacks_would_get_through(name: str, arena: Arena) -> None:
    """So what the other test finds is the work of the walls, and not of an attack that is none."""
    open_arena = Arena(arena.assignment)
    with open_arena.marker:
        confine = open_arena.sandbox.site / "inside" / "confine.py"
        confine.write_text(
            "class Unable(Exception):\n    pass\n\n\ndef confine(*arguments):\n    return []\n"
        )
        attack = Path(__file__).with_name("attacks").joinpath(f"{name}.py").read_text()
        open_arena.mark(_head(attack, "loses")[0], attack)
        assert "BREACH" in open_arena.sandbox.last.printed


def test_a_breach_is_found_behind_much_that_was_printed(arena: Arena) -> None:
    arena.mark("pad", "def pad(x, padding):\n    print('x' * 20_000)\n    print('BREACH')\n")
    assert "BREACH" in arena.sandbox.last.printed


# --- texts that no file of Python may hold ---

UNREADABLE = {
    "deep brackets": "(" * 100_000,
    "a long sum": "x = " + "1+" * 200_000 + "1",
    "a long chain": "x = a" + ".b" * 200_000,
    "many minus signs": "x = " + "-" * 500_000 + "1",
    "deep blocks": "".join(" " * n + "if 1:\n" for n in range(3000)),
    "a null byte": "x = 1\0\nimport os",
    "a giant number": "x = " + "9" * 3_000_000,
    "half a character": "x = '\ud800'\n# \udfff",
    "a coding line": "# -*- coding: no_such_code -*-\nx = 1",
    "a coding line that decodes": "# coding: unicode_escape\n# \\u000aimport os; os._exit(0)",
    "format strings in format strings": "x = " + "f'{" * 2000,
    "only line ends": "\r\n\f\v\x1c\u2028" * 100_000,
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_text_that_breaks_the_reader_ends_its_own_process_at_most(
    kind: str, arena: Arena
) -> None:
    before = arena.traces()
    attack = UNREADABLE[kind] + "\n\ndef pad(x, padding):\n    return None\n"
    result = arena.mark("pad", attack)
    assert result.message.encode() is not None
    if not arena.sandbox.last.loaded:  # the process crashed; else the cell was left out
        assert result.points == 0
    assert arena.honest().points == 3.0
    assert arena.traces() == before


def test_a_listening_neighbour_is_not_reached(arena: Arena, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as hidden:
        listening.bind(path)
        listening.listen()
        os.chmod(path, 0o777)
        hidden.bind(f"\0minires-attack-{os.getpid()}")
        hidden.listen()
        attack = f"""
import socket
def pad(x, padding):
    for name in ({path!r}, "\\0minires-attack-{os.getpid()}"):
        try:
            socket.socket(socket.AF_UNIX).connect(name)
            print("BREACH")
        except OSError:
            pass
"""
        arena.mark("pad", attack)
    walls = arena.sandbox.last.walls
    assert "calls" not in walls or "BREACH" not in arena.sandbox.last.printed
