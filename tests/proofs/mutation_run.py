"""Runs tests on mutants: each in a fork of this process, on a copy of the project.

The process has imported pytest and what the tests need from outside, and nothing of the project, so
a fork costs milliseconds and starts from the copy's files alone.  There is one copy for each job; a
mutant is written into it, its stages are run until a test fails, and the file is put back.  A fork
leads a process group of its own, which is killed when its time is up.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.proofs.mutants import Mutant, mutants_of

__all__ = ["Bench", "Finished", "Project", "Task", "warm_up"]

Stage = tuple[str, ...]  # arguments of pytest

PYTEST = (
    *("-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-m", "not slow"),
    *("-p", "_hypothesis_pytestplugin", "-o"),
    "addopts=--doctest-modules --strict-markers --strict-config",
)
FIRST_LIMIT = 300.0  # seconds for a stage whose usual time is not known yet
USUAL_LIMIT = 10.0  # seconds that a stage may take beside five times its usual ones
MEMORY = 6 << 30  # bytes that a mutant may ask for
NOTHING_RUN = 5  # pytest's exit status when no test was selected
WRONG_COPY = 70  # ours, when the package came from somewhere else


@dataclass(frozen=True)
class Project:
    """What is copied, where its package is, and which tests a file of it is judged by."""

    root: Path
    copied: tuple[str, ...]
    package: str
    folders: tuple[str, ...]  # the sources to mutate
    stages_for: Callable[[str], list[Stage]]
    patterns: tuple[str, ...] = ("*.py",)  # of their names
    mutants_of: Callable[[str, str], list[Mutant]] = mutants_of
    wanted: float = 0.95  # the share of the mutants that must be killed

    def sources(self) -> dict[str, str]:
        """The text of each source file, by its path from the root."""
        folders = [self.root / folder for folder in self.folders]
        paths = (p for folder in folders for name in self.patterns for p in folder.rglob(name))
        return {path.relative_to(self.root).as_posix(): path.read_text() for path in sorted(paths)}


@dataclass(frozen=True)
class Task:
    """Stages to be run in turn on a mutant, or on the project as it is."""

    mutant: Mutant | None
    stages: Sequence[Stage]
    slot: int | None = None  # only there


@dataclass
class Finished:
    """How a task ended: 'passed' all stages, 'failed' one, or was stopped by 'timeout' in one."""

    task: Task
    verdict: str = "passed"
    by: str = ""  # the first failing test
    seconds: float = 0.0
    stage_seconds: dict[Stage, float] = field(default_factory=dict)
    log: str = ""


def warm_up() -> None:
    """Import what every fork will need, with no thread started on the way."""
    os.environ |= {
        "CI": "1",  # tests/conftest.py: the same examples every time
        "OPENBLAS_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for name in (
        *("numpy", "numpy.testing", "pytest", "hypothesis", "hypothesis.strategies"),
        *("hypothesis.extra.numpy", "threadpoolctl", "unittest.mock", "concurrent.futures"),
    ):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


class Bench:
    """``jobs`` copies of a project, and the forks at work on them.  A context manager."""

    def __init__(self, project: Project, folder: Path, jobs: int):
        self.limits: dict[Stage, float] = {}
        first = folder / "0"
        _copy(project, first)
        for job in range(1, jobs):
            shutil.copytree(first, folder / str(job))
        self.slots = [_Slot(project, folder / str(job)) for job in range(jobs)]

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exception: object) -> None:
        for slot in self.slots:
            slot.stop()

    def run(self, tasks: Sequence[Task]) -> Iterator[Finished]:
        """Run all tasks, as many at a time as there are copies; gives each as it ends."""
        waiting = list(tasks)
        while waiting or any(slot.task for slot in self.slots):
            for i, slot in enumerate(self.slots):
                if slot.task is None:
                    mine = next((t for t in waiting if t.slot in (None, i)), None)
                    if mine is not None:
                        waiting.remove(mine)
                        slot.begin(mine)
                        slot.start_stage(self.limits)
                if slot.task is not None and (ended := slot.poll(self.limits)):
                    yield ended
            time.sleep(0.005)


class _Slot:
    """One copy of the project, and the fork that is at work on it, if there is one."""

    def __init__(self, project: Project, folder: Path):
        self.project = project
        self.folder = folder
        self.tree = folder / "tree"
        self.task: Task | None = None
        self.pid = 0
        self.number = 0  # of mutants so far

    def begin(self, task: Task) -> None:
        self.task = task
        self.stages = list(task.stages)
        self.finished = Finished(task)
        self.changed: tuple[Path, bytes, os.stat_result] | None = None
        if task.mutant is not None:
            path = self.tree / task.mutant.file
            before, stat = path.read_bytes(), path.stat()
            self.changed = path, before, stat
            path.write_bytes(task.mutant.apply(before.decode()).encode())
            # A time of its own, in whole seconds, so that no bytecode of the original, and none
            # that a test's own process may have left of an earlier mutant, is taken for it.
            self.number += 1
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + self.number * 10**9))

    def start_stage(self, limits: dict[Stage, float]) -> None:
        assert self.task is not None
        self.stage = self.stages.pop(0)
        (self.folder / "outcome.json").unlink(missing_ok=True)
        self.started = time.monotonic()
        self.deadline = self.started + limits.get(self.stage, FIRST_LIMIT)
        self.pid = os.fork()
        if self.pid == 0:
            _run_pytest(self.project, self.folder, self.stage, self.task.mutant is None)

    def poll(self, limits: dict[Stage, float]) -> Finished | None:
        """Look after the fork; the finished task, if this was the end of it."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        seconds = time.monotonic() - self.started
        if pid == 0:
            if time.monotonic() < self.deadline:
                return None
            self.kill()
            return self.end("timeout", f"after {seconds:.0f} s of {' '.join(self.stage)}", seconds)
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            self.finished.stage_seconds[self.stage] = seconds
            self.finished.seconds += seconds
            if not self.stages:
                return self.end("passed", "", 0.0)
            self.start_stage(limits)
            return None
        if code in (NOTHING_RUN, WRONG_COPY):
            why = "selects no test" if code == NOTHING_RUN else "imported another copy"
            raise RuntimeError(f"pytest {' '.join(self.stage)} {why}.\n{self.log()}")
        if code < 0:
            return self.end("failed", f"crash by {signal.Signals(-code).name}", seconds)
        return self.end("failed", self.first_failure(), seconds)

    def first_failure(self) -> str:
        with suppress(OSError, ValueError):
            return str(json.loads((self.folder / "outcome.json").read_text())["first"])
        return "pytest itself"

    def end(self, verdict: str, by: str, seconds: float) -> Finished:
        self.finished.verdict, self.finished.by = verdict, by
        self.finished.seconds += seconds
        self.finished.log = "" if verdict == "passed" else self.log()
        self.put_back()
        self.task = None
        return self.finished

    def put_back(self) -> None:
        if self.changed is not None:
            path, before, stat = self.changed
            path.write_bytes(before)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            self.changed = None

    def log(self) -> str:
        with suppress(OSError):
            return (self.folder / "log.txt").read_text(errors="replace")[-4000:]
        return ""

    def kill(self) -> None:
        """End the fork and whatever it started."""
        if self.pid:
            for end in (os.killpg, os.kill):  # it may not have made its group yet
                with suppress(ProcessLookupError, PermissionError):
                    end(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def stop(self) -> None:
        self.kill()
        self.task = None


def _copy(project: Project, folder: Path) -> None:
    """A copy of the project at this moment, without what its tests left behind."""
    left_out = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info")
    for name in project.copied:
        source, target = project.root / name, folder / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=left_out)
        else:
            shutil.copy2(source, target)


def _run_pytest(project: Project, folder: Path, stage: Stage, keep_bytecode: bool) -> None:
    """What a fork does, and never returns from."""
    code = 1
    try:
        os.setsid()
        _redirect(folder / "log.txt")
        _limit_memory()
        tree = folder / "tree"
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)  # for the processes that tests start
        tempfile.tempdir = str(folder)  # a fork ends without a chance to tidy up
        sys.path.insert(0, str(tree))
        sys.dont_write_bytecode = not keep_bytecode
        for name in list(sys.modules):
            if name.partition(".")[0] in ("tests", project.package):
                del sys.modules[name]
        import pytest

        watch = _Watch(folder / "outcome.json")
        code = int(pytest.main([*PYTEST, f"--basetemp={folder / 'tmp'}", *stage], plugins=[watch]))
        package = sys.modules.get(project.package)
        found = getattr(package, "__file__", None)
        if code == 0 and found is not None and tree not in Path(found).parents:
            code = WRONG_COPY
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _redirect(log: Path) -> None:
    """Nothing to read, and all that is written goes to the log."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)


def _limit_memory() -> None:
    """A mutant that asks for the whole memory gets a MemoryError, and leaves no core."""
    import resource

    for what, limit in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(OSError, ValueError):
            resource.setrlimit(what, (limit, resource.getrlimit(what)[1]))


class _Watch:
    """A plugin of pytest: keeps the first failure, and keeps Hypothesis from shrinking it."""

    def __init__(self, outcome: Path):
        self.outcome = outcome

    def pytest_sessionstart(self, session: Any) -> None:
        from hypothesis import HealthCheck, Phase, settings

        settings.register_profile(
            "mutation",
            settings.get_profile(settings.get_current_profile_name()),
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=(HealthCheck.too_slow,),
            deadline=None,
        )
        settings.load_profile("mutation")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.keep(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.keep(f"collecting {report.nodeid}")

    def keep(self, first: str) -> None:
        if not self.outcome.exists():
            self.outcome.write_text(json.dumps({"first": first}))
