"""CuPy's streams and pools of memory, where work is done as early, or as late, as a GPU may do it.

What is queued on a stream is a list of functions; they run in an order that the streams and their
events allow, chosen to do harm.  Memory that Python lets go of is handed out again at once, to the
stream it was allocated on, as CuPy's pools do, and page-locked memory to anybody.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Event:
    """Passed or not; a record makes it one that is to come."""

    def __init__(self, gpu: LateGPU):
        self.gpu, self.passed = gpu, [True]

    def record(self, stream: Stream) -> None:
        passed = self.passed = [False]
        stream.queue(lambda: passed.__setitem__(0, True))

    @property
    def done(self) -> bool:
        return self.passed[0]


class Stream:
    """Work in its order; each piece may have to wait for the record of an event."""

    def __init__(self, gpu: LateGPU, name: str, ptr: int):
        self.gpu, self.name, self.ptr = gpu, name, ptr
        self.work: list[tuple[list[bool], Callable[[], None]]] = []

    def __enter__(self) -> Stream:
        self.before = self.gpu.current()
        self.gpu.here.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        self.gpu.here.stream = self.before

    def queue(self, work: Callable[[], None], after: list[bool] | None = None) -> None:
        with self.gpu.lock:
            self.work.append((after or [True], work))
            self.gpu.run(self.gpu.eager)

    def wait_event(self, event: Event) -> None:
        self.queue(lambda: None, event.passed)

    def synchronize(self) -> None:
        with self.gpu.lock:
            self.gpu.run([self.name])
            while self.work:  # it waits for others
                self.gpu.run(self.gpu.streams, steps=1)
                self.gpu.run([self.name])


class Buffer(np.ndarray):
    """An array on the device."""

    def set(self, host: np.ndarray, stream: Stream) -> None:
        # The copy reads and writes memory, whoever has it by then: it keeps no array alive.
        copy = partial(ctypes.memmove, self.ctypes.data, host.ctypes.data, self.nbytes)
        stream.queue(copy)


class LateGPU:
    """The module ``cupy``.

    Args:
        eager: the streams, 'consumer' and 'loader', whose work is done as soon as it may be; that
            of the others waits until somebody waits for it.
    """

    def __init__(self, eager: Iterable[str]):
        self.eager, self.here, self.lock = list(eager), threading.local(), threading.RLock()
        self.streams: dict[str, Stream] = {}
        self.free: dict[Any, list[np.ndarray]] = defaultdict(list)
        self.reused = 0
        self.default = self.stream("consumer", 0)

    def module(self) -> ModuleType:
        cuda = SimpleNamespace(
            is_available=lambda: True,
            runtime=SimpleNamespace(getDeviceCount=lambda: 1),
            Device=lambda number=0: _Device(),
            Stream=lambda non_blocking: self.stream("loader", 7),
            Event=lambda disable_timing: Event(self),
            get_current_stream=self.current,
            alloc_pinned_memory=lambda size: self.memory("host", -(-size // 512) * 512),
        )
        module = ModuleType("cupy")
        module.__dict__.update(ndarray=Buffer, cuda=cuda, empty=self.empty)
        return module

    def stream(self, name: str, ptr: int) -> Stream:
        return self.streams.setdefault(name, Stream(self, name, ptr))

    def current(self) -> Stream:
        return getattr(self.here, "stream", self.default)

    def empty(self, size: int, dtype: Any) -> Buffer:
        return np.frombuffer(self.memory(self.current(), size), dtype).view(Buffer)

    def memory(self, of: Any, size: int) -> Any:
        """A block of the pool of ``of``, with what its last user wrote; the pool gets it back."""
        with self.lock:
            free = self.free[of, size]
            self.reused += bool(free)
            block = free.pop() if free else np.full(size, 255, np.uint8)
        handed_out = (ctypes.c_char * size).from_address(block.ctypes.data)
        weakref.finalize(handed_out, free.append, block)
        return handed_out

    def run(self, names: Iterable[str], steps: int = 10**9) -> None:
        """Do what may be done on these streams, the first one first."""
        with self.lock:
            moved = True
            while moved and steps:
                moved = False
                for name in names:
                    work = self.streams[name].work if name in self.streams else []
                    while work and work[0][0][0] and steps:
                        work.pop(0)[1]()
                        moved, steps = True, steps - 1


class _Device(nullcontext):  # type: ignore[type-arg]
    id = 0
