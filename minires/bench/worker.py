"""One side of the benchmark in a process of its own: requests on stdin, answers on stdout, as JSON.

This file is run by its path, also by interpreters that have no minires: ``python worker.py SIDE``,
where SIDE is the path of one of the files in :mod:`minires.bench.sides`.  It imports nothing of
minires, and keeps to what Python 3.9 understands.  A request is an object on a line:

    {"do": "hello", "threads": 2, "device": "cpu"}    the versions of the side, and of its GPU
    {"do": "prepare", "kind": "conv", "spec": {...}}  makes one step ready; its parameters, if any
    {"do": "block", "steps": 10}                      seconds of each of so many steps
    {"do": "errors", "spec": {...}, "folder": "..."}  float32 against float64; see accuracy()
    {"do": "import", "module": "torch"}               seconds of an import, NumPy being there
    {"do": "memory"}                                  the peak memory so far, in MB
    {"do": "gpu"}                                     of one step: memory in MB, and launches

On a GPU steps are timed by events that the GPU itself passes, so that nothing waits in between.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import sys
import time
import traceback
from typing import Any, TextIO

__all__ = ["Inputs", "accuracy", "device_work", "main", "peak_mb"]


class Inputs:
    """The numbers that go in, the same for all sides."""

    def __init__(self, seed: int = 0):
        import numpy as np

        self._generator = np.random.default_rng(seed)

    def normal(self, *shape: int) -> Any:
        """A float32 array of standard normal numbers."""
        return self._generator.standard_normal(shape).astype("float32")

    def labels(self, count: int, classes: int) -> Any:
        """Class numbers, int64."""
        return self._generator.integers(0, classes, count)

    def orthogonal(self, size: int) -> Any:
        """A float32 matrix that keeps lengths, so that a chain of products neither grows nor dies.

        >>> matrix = Inputs().orthogonal(3)
        >>> bool(abs(matrix @ matrix.T - [[1, 0, 0], [0, 1, 0], [0, 0, 1]]).max() < 1e-6)
        True
        """
        import numpy as np

        return np.linalg.qr(self._generator.standard_normal((size, size)))[0].astype("float32")


class _Worker:
    """The state between requests: the side, and the step that is ready."""

    def __init__(self, script: str):
        self.script = script
        self.loaded: Any = None
        self.step: Any = None
        self.device = "cpu"

    def side(self) -> Any:
        """The side's module, imported at its first use."""
        if self.loaded is None:
            spec = importlib.util.spec_from_file_location("bench_side", self.script)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self.loaded = module
        return self.loaded

    def hello(self, threads: int, device: str = "cpu") -> Any:
        versions = {"python": platform.python_version(), **self.side().setup(threads)}
        if device != "cpu":
            versions.update(self.side().use(device))
        self.device = device
        return {"versions": {**versions, **_numpy_versions()}}

    def prepare(self, kind: str, spec: Any) -> Any:
        self.step, parameters = getattr(self.side(), kind)(spec, Inputs())
        return {"parameters": parameters}

    def block(self, steps: int) -> Any:
        if self.device != "cpu":
            return {"seconds": self._between_events(steps)}
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}

    def _between_events(self, steps: int) -> list[float]:
        side = self.side()
        events = [side.event() for _ in range(steps + 1)]
        events[0].record()
        for event in events[1:]:
            self.step()
            event.record()
        events[-1].synchronize()
        return [side.elapsed(events[i], events[i + 1]) for i in range(steps)]

    def gpu(self) -> Any:
        peak = self.side().step_memory(self.step)
        work = device_work(self.step)
        return {"peak_mb": peak / 2**20, "launches": None if work is None else len(work)}

    def errors(self, spec: Any, folder: str) -> Any:
        return {"errors": accuracy(self.side().convolve, spec, folder)}

    def memory(self) -> Any:
        return {"peak_mb": peak_mb()}


def accuracy(convolve: Any, spec: Any, folder: str) -> Any:
    """The errors of a float32 convolution and its gradients against the side's own float64.

    Args:
        convolve: (x, weight, grad_out, stride, padding) to (out, grad_x, grad_weight), all NumPy.
        spec: shape, out, kernel, stride and padding of the convolution.
        folder: where the three float64 arrays go as .npy, for the sides to be held against
            each other.

    Returns:
        For forward, grad_x and grad_weight: ``rms``, the root-mean-square error over the
        root-mean-square of the values, and ``max``, the largest error over the same.
    """
    import numpy as np

    inputs = Inputs()
    n, c, h, w = spec["shape"]
    k, stride, padding = spec["kernel"], spec["stride"], spec["padding"]
    size = [(length + 2 * padding - k) // stride + 1 for length in (h, w)]
    arrays = [
        inputs.normal(n, c, h, w),
        inputs.normal(spec["out"], c, k, k),
        inputs.normal(n, spec["out"], *size),
    ]
    single = convolve(*arrays, stride, padding)
    double = convolve(*[array.astype("float64") for array in arrays], stride, padding)
    found = {}
    for i, name in enumerate(("forward", "grad_x", "grad_weight")):
        if single[i].dtype != np.float32 or double[i].dtype != np.float64:
            raise TypeError(f"{name} is {single[i].dtype} and {double[i].dtype}")
        np.save(os.path.join(folder, name + ".npy"), double[i])
        difference = single[i].astype("float64") - double[i]
        scale = float(np.sqrt(np.mean(double[i] ** 2)))
        rms, largest = float(np.sqrt(np.mean(difference**2))), float(abs(difference).max())
        found[name] = {"rms": rms / scale, "max": largest / scale}
    return found


def peak_mb() -> float | None:
    """The largest memory this process has held, in MB; None where the system does not say.

    On Linux it is read from /proc: ``ru_maxrss`` would begin with the size of the process that
    started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def device_work(step: Any) -> list[str] | None:
    """The names of all kernels, copies and fills that a GPU was told to do in ``step``.

    They come from CUDA's own tracing, CUPTI, by way of PyTorch's profiler.  It sees the whole
    process, so also what CuPy does.  None where this Python has no PyTorch with CUDA.
    """
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return None
    activity = torch.profiler.ProfilerActivity.CUDA
    if not torch.cuda.is_available() or activity not in torch.profiler.supported_activities():
        return None
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[activity]) as profile:
        step()
        torch.cuda.synchronize()
    on_gpu = torch.autograd.DeviceType.CUDA
    work = [event for event in profile.events() if event.device_type == on_gpu]
    return [event.name for event in work if not event.is_user_annotation]


def _import_seconds(module: str) -> Any:
    import numpy  # noqa: F401  (what is left is the module's own)

    start = time.perf_counter()
    importlib.import_module(module)
    return {"seconds": [time.perf_counter() - start]}


def _numpy_versions() -> dict[str, str]:
    import numpy as np

    try:
        config: Any = np.show_config(mode="dicts")
        blas = config["Build Dependencies"]["blas"]
        name = f"{blas['name']} {blas['version']}"
    except Exception:  # an older NumPy; the name of its BLAS is not worth a failure
        name = "unknown"
    return {"numpy": np.__version__, "blas": name}


def _answer(worker: _Worker, request: Any) -> Any:
    what = request.pop("do")
    if what == "import":
        return _import_seconds(**request)
    return getattr(worker, what)(**request)


def main(script: str, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more; an error is an answer too."""
    worker = _Worker(script)
    for line in requests:
        try:
            answer = _answer(worker, json.loads(line))
        except Exception as error:
            traceback.print_exc()
            text = "".join(traceback.format_exception_only(type(error), error)).strip()
            answer = {"error": text.splitlines()[-1], "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]  # else `import run` or `import report` of a library would find ours
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    main(sys.argv[1], sys.stdin, channel)
