"""The runner: the sides in turn, A B A B, each in a fresh process for every workload.

Two programs that are timed one after the other see different machines: the clock of the processor
and its neighbours change within minutes.  In turn they see the same one, and the ratio of a round
is what is left when that is taken away.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from minires import kernels
from minires.bench.gpu_workloads import GPU_WORKLOADS
from minires.bench.measurement import Measurement
from minires.bench.process import Side, Worker, WorkerError, choose_interpreters
from minires.bench.report import Bench
from minires.bench.workloads import WORKLOADS, Workload
from minires.errors import UsageError
from minires.progress import Progress

__all__ = ["AGREEMENT", "bench", "machine", "measure", "probe"]

AGREEMENT = 1e-10  # two float64 results that differ by more do not come from the same convolution
_PAUSE = 0.02  # seconds between two turns: the threads of the last one may still be spinning


_MOST = {"repeat": 10_000, "threads": 1024}
_PATIENCE = 60.0  # seconds for an interpreter to start and import a framework


def bench(
    workloads: Sequence[Workload] | None = None,
    *,
    sides: Sequence[Side] | None = None,
    repeat: int = 7,
    threads: int | None = None,
    device: str = "cpu",
    progress: TextIO | None = None,
    on_absent: Callable[[str, str], None] | None = None,
) -> Bench:
    """Measure minires beside the frameworks that can be imported.

    Ctrl-C ends it early: what is finished is returned, with ``interrupted`` true.

    Args:
        workloads: what to measure; everything that there is for the device if left out.
        sides: who takes part; minires must be among them; all that can if left out.
        repeat: rounds, after one that warms up.
        threads: for each side; all processors if left out.
        device: 'cuda' or 'cuda:1' for work on a GPU, timed by CUDA's events.
        progress: where to show progress; nowhere if left out.
        on_absent: called with the name of a side that cannot be imported, and the reason.

    Raises:
        UsageError: before anything is measured, for settings that make no sense.

    >>> from minires.bench.workloads import choose
    >>> found = bench(choose(["engine-overhead-add"]), sides=choose_interpreters({})[:2], repeat=1)
    >>> [m.workload.name for m in found.measurements], found.failed
    (['engine-overhead-add'], [])
    """
    table = WORKLOADS if device == "cpu" else GPU_WORKLOADS
    workloads = table if workloads is None else workloads
    sides = choose_interpreters({}, device) if sides is None else sides
    threads = kernels.get_num_threads() if threads is None else threads
    for name, value in (("repeat", repeat), ("threads", threads)):
        if not 1 <= value <= _MOST[name]:
            raise UsageError(f"{name} must be from 1 to {_MOST[name]}, not {value}.")
    labels = {side.name: side.label for side in sides}
    found = Bench(machine(), threads, repeat, labels, device=device)
    try:
        present = []
        for side in sides:
            try:
                found.versions[side.name] = probe(side, threads, device)
                present.append(side)
            except WorkerError as error:
                if side.name == "minires":
                    raise UsageError(f"minires cannot be measured: {error}") from None
                found.absent[side.name] = str(error)
                if on_absent is not None:
                    on_absent(side.name, str(error))
        with Progress(len(workloads), repeat + 1, progress) as shown:
            for workload in workloads:
                shown.start(workload.name)
                there = [side for side in present if side.name in workload.sides]
                measured = measure(workload, there, repeat, threads, shown.round, device)
                found.measurements.append(measured)
                shown.finish(found.line(measured))
    except KeyboardInterrupt:
        found.interrupted = True
    return found


def probe(side: Side, threads: int, device: str = "cpu") -> dict[str, str]:
    """The versions of a side; raises WorkerError if it cannot be imported, or use the device.

    Raises UsageError if the interpreter does not even run the worker.
    """
    with Worker(side, threads, device) as worker:
        impatience = threading.Timer(_PATIENCE, worker.kill)
        impatience.start()
        try:
            return worker.hello()
        except WorkerError as error:
            if error.kind:
                raise
            raise UsageError(
                f"{side.python} is no Python that can measure {side.label}: {error}."
            ) from None
        finally:
            impatience.cancel()


def measure(
    workload: Workload,
    sides: Sequence[Side],
    repeat: int,
    threads: int,
    on_round: Callable[[], None] = lambda: None,
    device: str = "cpu",
) -> Measurement:
    """Measure one workload; what goes wrong becomes its ``failure``."""
    found = Measurement(workload)
    how = {
        "import": _measure_imports,
        "accuracy": _measure_errors,
    }.get(workload.kind, partial(_measure_steps, device=device))
    try:
        how(found, sides, repeat, threads, on_round)
    except WorkerError as error:
        found.failure = str(error)
    return found


def _measure_steps(
    found: Measurement,
    sides: Sequence[Side],
    repeat: int,
    threads: int,
    on_round: Callable[[], None],
    device: str,
) -> None:
    workload = found.workload
    with ExitStack() as stack:
        workers = {side.name: stack.enter_context(Worker(side, threads, device)) for side in sides}
        parameters = {}
        for name, worker in workers.items():
            worker.hello()
            found.base_mb[name] = worker.ask("memory")["peak_mb"]
            made = worker.ask("prepare", kind=workload.kind, spec=workload.spec)
            parameters[worker.side.label] = made["parameters"]
        if len(set(parameters.values())) > 1:
            counts = ", ".join(f"{label} {count}" for label, count in parameters.items())
            raise WorkerError(f"the networks differ in their parameters: {counts}")
        found.parameters = next(iter(parameters.values()))
        for number in range(repeat + 1):
            for name, worker in workers.items():
                time.sleep(_PAUSE)
                seconds = worker.ask("block", steps=workload.steps)["seconds"]
                if number > 0:
                    found.times.setdefault(name, []).append(seconds)
            on_round()
        for name, worker in workers.items():
            answer = worker.ask("memory" if device == "cpu" else "gpu")
            found.peak_mb[name] = answer["peak_mb"]
            found.launches[name] = answer.get("launches")


def _measure_imports(
    found: Measurement,
    sides: Sequence[Side],
    repeat: int,
    threads: int,
    on_round: Callable[[], None],
) -> None:
    """A process for every import: the second one in a process costs nothing."""
    for number in range(repeat + 1):
        for side in sides:
            with Worker(side, threads) as worker:
                seconds = worker.ask("import", module=side.module)["seconds"]
                found.peak_mb[side.name] = worker.ask("memory")["peak_mb"]
            if number > 0:
                found.times.setdefault(side.name, []).append(seconds)
        on_round()


def _measure_errors(
    found: Measurement,
    sides: Sequence[Side],
    repeat: int,
    threads: int,
    on_round: Callable[[], None],
) -> None:
    """Once: the inputs are the same, and so are the errors.  The float64 results must agree."""
    with tempfile.TemporaryDirectory() as folder:
        for side in sides:
            own = Path(folder) / side.name
            own.mkdir()
            with Worker(side, threads) as worker:
                worker.hello()
                answer = worker.ask("errors", spec=found.workload.spec, folder=str(own))
                found.peak_mb[side.name] = worker.ask("memory")["peak_mb"]
            found.errors[side.name] = answer["errors"]
        ours, *others = (Path(folder) / side.name for side in sides)
        for other in others:
            for quantity in found.errors["minires"]:
                worst = _difference(ours / f"{quantity}.npy", other / f"{quantity}.npy")
                found.disagreement = max(worst, found.disagreement or 0.0)
                if not worst <= AGREEMENT:
                    raise WorkerError(
                        f"{quantity} in float64 differs by {worst:.1e}: not the same convolution"
                    )
    on_round()


def _difference(ours: Path, theirs: Path) -> float:
    """The largest difference over the root-mean-square of the values."""
    a, b = np.load(ours), np.load(theirs)
    if a.shape != b.shape:
        return math.inf
    return float(np.abs(a - b).max() / np.sqrt(np.mean(a * a)))


def machine() -> dict[str, Any]:
    """What the numbers were measured on, and when."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_available": _available(),
        "platform": f"{platform.system()} {platform.machine()}",
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _available() -> int | None:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count()


def _cpu_model() -> str:
    try:
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
