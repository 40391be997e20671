"""The processes that measure: who can take part, and one worker at work."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from minires.errors import UsageError

__all__ = ["SIDES", "Side", "Worker", "WorkerError", "choose_interpreters"]

_HERE = Path(__file__).parent


class WorkerError(Exception):
    """What a worker said went wrong, or how it died; ``kind`` is the exception's class, if any."""

    def __init__(self, message: str, kind: str = ""):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Side:
    """A framework that is measured.

    Attributes:
        name: in ``--python`` and in the results.
        label: in tables.
        module: what is imported.
        python: the interpreter.
        script: the file with its work; in ``minires/bench/sides`` if left out.
    """

    name: str
    label: str
    module: str
    python: str = sys.executable
    script: str = ""

    @property
    def path(self) -> str:
        """The file with its work."""
        return self.script or str(_HERE / "sides" / f"{self.name}_side.py")


SIDES = (  # cupy, on a GPU alone: bare copies
    Side("minires", "minires", "minires"),
    Side("numpy", "NumPy", "numpy"),
    Side("cupy", "copy", "cupy"),
    Side("pytorch", "PyTorch", "torch"),
    Side("chainer", "Chainer", "chainer"),
)


def choose_interpreters(given: Mapping[str, str], device: str = "cpu") -> tuple[Side, ...]:
    """The sides that work on a device, with the interpreters that were given for some.

    Raises UsageError for a side that runs elsewhere only under minires's own interpreter, and for
    an interpreter that is not there.

    >>> [side.name for side in choose_interpreters({})]
    ['minires', 'numpy', 'pytorch', 'chainer']
    >>> [side.name for side in choose_interpreters({}, "cuda")]
    ['minires', 'cupy', 'pytorch']
    """
    on_gpu = ("minires", "cupy", "pytorch")
    present = [s for s in SIDES if (s.name != "cupy" if device == "cpu" else s.name in on_gpu)]
    for name, python in given.items():
        if name not in ("pytorch", "chainer"):
            raise UsageError(f"--python {name}=...: the name must be pytorch or chainer.")
        if shutil.which(python) is None:
            raise UsageError(f"--python {name}={python}: that is no program that can be started.")
    return tuple(
        Side(side.name, side.label, side.module, given.get(side.name, side.python))
        for side in present
    )


def _environment(side: Side, threads: int) -> dict[str, str]:
    """The side's threads, float32 that is float32 on a GPU too, and for minires the modules of
    this process, wherever they are."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MINIRES_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    environment |= {"NVIDIA_TF32_OVERRIDE": "0", "CUPY_TF32": "0"}
    if side.name in ("minires", "numpy", "cupy"):
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return environment


class Worker:
    """A process of its own for one side; killed when the block is left.

    It gets no Ctrl-C of its own: whoever waits for it does, and leaves the block.
    """

    def __init__(self, side: Side, threads: int, device: str = "cpu"):
        self.side, self._threads, self._device = side, threads, device
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the worker)
        try:
            self._process = subprocess.Popen(
                [side.python, str(_HERE / "worker.py"), side.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=_environment(side, threads),
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise WorkerError(f"cannot start {side.python} ({error.strerror or error})") from None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def hello(self) -> dict[str, str]:
        """Let it import its framework, and use the device; what it is, with versions."""
        return dict(self.ask("hello", threads=self._threads, device=self._device)["versions"])

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer; raises WorkerError if it is an error, or none."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        line = ""
        with suppress(OSError):  # a dead worker reads nothing: told apart below
            stdin.write(json.dumps({"do": do, **request}) + "\n")
            stdin.flush()
            # A Ctrl-C that comes just before a wait is seen only after it: wait a second at a time.
            while os.name == "posix" and not select.select([stdout], [], [], 1.0)[0]:
                pass
            line = stdout.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            raise WorkerError(self._last_words()) from None
        if "error" in answer:
            raise WorkerError(answer["error"], answer.get("kind", ""))
        return dict(answer)

    def _last_words(self) -> str:
        try:
            status = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # it lives, and does not know how to answer
            return f"the process of {self.side.label} gave no answer"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        ending = f"the process of {self.side.label} ended (exit status {status})"
        return f"{ending}: {lines[-1].strip()}" if lines else ending
