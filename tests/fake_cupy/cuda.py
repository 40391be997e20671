"""cupy.cuda: two devices without a GPU; streams and events, which have nothing to wait for."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

from tests.fake_cupy.counters import counters

DEVICES = 2
BLOCK = 512  # CuPy's pool hands out multiples of this many bytes

_thread = threading.local()  # as in CUDA, a new thread starts on device 0 and the null stream
_pointers = itertools.count(1 << 20, 256)


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError."""


def current_device() -> int:
    """The number of this thread's current device."""
    return getattr(_thread, "device", 0)


def set_device(device: int) -> None:
    """Make ``device`` this thread's current one."""
    if not 0 <= device < DEVICES:
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    _thread.device = device


class Device:
    """As cupy.cuda.Device; equal to another of the same number, and so not hashable."""

    def __init__(self, device: Any = None):
        self.id = current_device() if device is None else int(device)

    def __enter__(self) -> Device:
        stack = _thread.__dict__.setdefault("devices", [])
        stack.append(current_device())
        set_device(self.id)
        return self

    def __exit__(self, *args: Any) -> None:
        set_device(_thread.devices.pop())

    def __eq__(self, value: object, /) -> bool:
        return isinstance(value, Device) and self.id == value.id

    __hash__ = None  # type: ignore[assignment]

    def __int__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def use(self) -> None:
        """Make this the current device."""
        set_device(self.id)

    def synchronize(self) -> None:
        """Nothing is ever under way, but that somebody asked is counted."""
        counters.count("synchronizations", f"Device({self.id}).synchronize()")

    @property
    def compute_capability(self) -> str:
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        used = _live[self.id]
        return (1 << 34) - used, 1 << 34


class Stream:
    """As cupy.cuda.Stream: belongs to the device that is current when it is made."""

    null: ClassVar[Stream]

    def __init__(
        self, null: Any = False, non_blocking: Any = False, ptds: Any = False, priority: Any = None
    ):
        self.ptr = 0 if null else next(_pointers)
        self.device_id = -1 if null else current_device()
        self.is_non_blocking = bool(non_blocking)
        self.priority = priority

    def __enter__(self) -> Stream:
        stack = _thread.__dict__.setdefault("streams", [])
        stack.append((current_device(), get_current_stream()))
        self.use()
        return self

    def __exit__(self, *args: Any) -> None:
        device, before = _thread.streams.pop()
        _thread.current[device] = before

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return hash(self.ptr)

    def use(self) -> Stream:
        """Make this the current stream of the current device."""
        if self.device_id not in (-1, current_device()):
            raise ValueError(f"stream of device {self.device_id} used on {current_device()}")
        _thread.__dict__.setdefault("current", {})[current_device()] = self
        return self

    @property
    def done(self) -> bool:
        return True

    def record(self, event: Event | None = None) -> Event:
        """An event after all work so far."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Order this stream after the event; the host does not wait."""
        if event.time is None:
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: the event was not recorded")

    def synchronize(self) -> None:
        """Let the host wait."""
        counters.count("synchronizations", "stream.synchronize()")


Stream.null = Stream(null=True)


class Event:
    """As cupy.cuda.Event; it keeps the host's clock."""

    def __init__(self, block: Any = False, disable_timing: Any = False, interprocess: Any = False):
        self.time: float | None = None
        self.timed = not disable_timing

    def record(self, stream: Stream | None = None) -> None:
        """Note the time."""
        self.time = time.perf_counter()

    @property
    def done(self) -> bool:
        return True

    def synchronize(self) -> None:
        """Let the host wait."""
        counters.count("synchronizations", "event.synchronize()")


def get_current_stream(device_id: int = -1) -> Stream:
    """This thread's stream on a device."""
    device = current_device() if device_id == -1 else device_id
    return getattr(_thread, "current", {}).get(device, Stream.null)


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two recorded events."""
    if None in (start_event.time, end_event.time) or not (start_event.timed and end_event.timed):
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
    return (end_event.time - start_event.time) * 1e3  # type: ignore[operator]


_blocks: weakref.WeakSet[Memory] = weakref.WeakSet()
_live = [0] * DEVICES
_held = [0] * DEVICES


def _release(device: int, nbytes: int) -> None:
    _live[device] -= nbytes


class Memory:
    """One block of a device; ``root`` is the host's memory that stands in for it."""

    def __init__(self, root: Any, nbytes: int, ptr: int, device: int):
        self.root, self.ptr, self.size, self.device_id = root, ptr, nbytes, device
        _blocks.add(self)
        rounded = -(-nbytes // BLOCK) * BLOCK
        _live[device] += rounded
        _held[device] = max(_held[device], _live[device])
        weakref.finalize(self, _release, device, rounded).atexit = False

    @property
    def device(self) -> Device:
        return Device(self.device_id)


def block_at(ptr: int) -> tuple[int, int]:
    """Where the block of memory with this address begins and ends; an empty array has none."""
    for memory in list(_blocks):
        if memory.ptr <= ptr < memory.ptr + memory.size:
            return memory.ptr, memory.ptr + memory.size
    return ptr, ptr


class MemoryPointer:
    """As cupy.cuda.MemoryPointer: an address, and what keeps it alive."""

    def __init__(self, mem: Memory, offset: int):
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id

    @property
    def device(self) -> Device:
        return Device(self.device_id)

    def __int__(self) -> int:
        return self.ptr


class MemoryPool:
    """As cupy.cuda.MemoryPool: figures of the *current* device, in blocks of 512 bytes."""

    def used_bytes(self) -> int:
        """Bytes that arrays hold."""
        return _live[current_device()]

    def total_bytes(self) -> int:
        """Bytes that arrays have held at once since the last free_all_blocks()."""
        return _held[current_device()]

    def free_bytes(self) -> int:
        """Bytes kept for arrays to come."""
        return self.total_bytes() - self.used_bytes()

    def free_all_blocks(self, stream: Any = None) -> None:
        """Hand back what no array holds."""
        _held[current_device()] = _live[current_device()]


class PinnedMemoryPointer(bytearray):
    """As cupy.cuda.PinnedMemoryPointer: something np.frombuffer accepts."""

    @property
    def ptr(self) -> int:
        return int(np.frombuffer(self, np.uint8).ctypes.data)

    def size(self) -> int:
        """Bytes."""
        return len(self)


class PinnedMemoryPool:
    """As cupy.cuda.PinnedMemoryPool, as far as it says nothing."""

    def free_all_blocks(self) -> None:
        """There are none."""


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    """As CuPy's, it may give more bytes than asked for: np.frombuffer wants a count."""
    return PinnedMemoryPointer(-(-size // BLOCK) * BLOCK)


def properties(device: int) -> dict[str, Any]:
    """A few of the properties of a device; CuPy gives the name as bytes."""
    return {
        "name": b"CuPy's stand-in",
        "major": 9,
        "minor": 0,
        "totalGlobalMem": 1 << 34,
        "multiProcessorCount": 2,
        "warpSize": 32,
        "maxThreadsPerBlock": 1024,
        "sharedMemPerBlock": 49152,
        "maxGridSize": (2**31 - 1, 65535, 65535),
        "memoryClockRate": 1000,
        "memoryBusWidth": 64,
    }


class using:
    """The state of this thread as it was before, at the end of the block."""

    def __enter__(self) -> None:
        self.before = dict(_thread.__dict__)
        _thread.__dict__.clear()

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _thread.__dict__.clear()
        _thread.__dict__.update(self.before)
