"""A watch over arrays that backward will read: changing one is an error, not a wrong number.

While an array is held for some node

* a NumPy array, and the array whose memory it shows if it is a view, are read-only, so that
  ``x.data[0] = 1`` raises where it is written;
* a change through the library (an optimiser, ``load_state_dict``, running statistics), which goes
  through :func:`writable`, raises the version of the memory, and the node that reads it in backward
  finds that the version is no longer the one it saved.

A view of the memory that is made while it is held stays read-only afterwards; make it again.

What gets past both (another view of the memory made earlier, a CuPy array) is caught by the
checksums of ``detect_anomaly``.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from minires.device import Array, using_device_of
from minires.errors import GraphError

__all__ = ["Record", "hold", "release", "writable"]


class Record:
    """What is known of one held array."""

    __slots__ = ("count", "locked", "memory", "version")

    def __init__(self, memory: Record | None, locked: bool) -> None:
        self.count = 0  # how many nodes, and held views of it, hold the array
        self.memory = memory  # the record of the array that owns the memory, if another one does
        self.locked = locked
        self.version = 0


# In this module arrays are locked by setflags(False) and unlocked by setflags(True): the argument
# is ``write``, and giving it by name takes more than twice as long.

# By identity: a held array is alive, so its id is not reused.  Re-entrant, since the garbage
# collector may drop a node, and so release its arrays, at any allocation.
_records: dict[int, Record] = {}
_lock = threading.RLock()


def _renew_lock() -> None:
    """After a fork: the thread that may have held the lock is not in the child."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def hold(array: Array) -> Record:
    """Start watching ``array`` and its memory, until :func:`release`; returns the memory's record.

    Its ``version`` is to be compared with at reading.
    """
    with _lock:
        record = _records.get(id(array)) or _begin(array)
        record.count += 1
        return record.memory or record


def release(*arrays: Array) -> None:
    """End one :func:`hold` of each; after the last an array can be written again."""
    with _lock:
        for array in arrays:
            record = _records[id(array)]
            record.count -= 1
            if record.count == 0:
                _end(array, record)


class writable:
    """Write to ``array`` in the block: the one door through which the library changes arrays.

    A graph that still holds its memory is told, and will refuse to run backward through it.  The
    block runs on the device of the array.
    """

    __slots__ = ("_array", "_device", "_opened")

    def __init__(self, array: Array):
        self._array = array
        self._device = None if isinstance(array, np.ndarray) else using_device_of(array)
        self._opened: list[tuple[Array, Record]] = []

    def __enter__(self) -> Array:
        array = self._array
        owner = _owner(array)
        if id(owner) in _records:  # mostly it is not: then no lock is needed
            with _lock:
                self._open(owner)
        if self._device is not None:
            self._device.__enter__()
        elif not array.flags.writeable:
            self.__exit__(None, None, None)
            raise GraphError(
                f"An array of shape {array.shape} cannot be changed in place: it is read-only, "
                "perhaps as a view that was made while a graph held its memory. Give the tensor an "
                "array of its own: x.data = x.data.copy()."
            )
        return array

    def _open(self, owner: Array) -> None:
        """Raise the version of the memory; unlock it, and then the view of it."""
        for held in (owner,) if owner is self._array else (owner, self._array):
            record = _records.get(id(held))
            if record is None:
                continue
            if held is owner:
                record.version += 1
            if record.locked:
                self._opened.append((held, record))
                held.setflags(True)

    def __exit__(self, *error: Any) -> None:
        if self._device is not None:
            self._device.__exit__(*error)
        if self._opened:
            with _lock:
                for held, record in self._opened:
                    if record.count:
                        held.setflags(False)


def _owner(array: Array) -> Array:
    """The array whose memory ``array`` shows: itself, or what it is a view of."""
    owner, base = array, array.base
    while base is not None:
        if hasattr(base, "dtype"):
            owner = base
        base = getattr(base, "base", None)
    return owner


def _begin(array: Array) -> Record:
    memory, owner = None, array if array.base is None else _owner(array)
    if owner is not array:
        memory = _records.get(id(owner))
        if memory is None:
            memory = _begin(owner)
        memory.count += 1
    locked = isinstance(array, np.ndarray) and array.flags.writeable
    if locked:
        array.setflags(False)
    record = _records[id(array)] = Record(memory, locked)
    return record


def _end(array: Array, record: Record) -> None:
    del _records[id(array)]
    if record.memory is None:
        if record.locked:
            array.setflags(True)
        return
    owner = _owner(array)
    if record.locked:
        # A view can only be unlocked while its owner is, and the owner may still be held.
        still_locked = not owner.flags.writeable
        if still_locked:
            owner.setflags(True)
        array.setflags(True)
        if still_locked:
            owner.setflags(False)
    record.memory.count -= 1
    if record.memory.count == 0:
        _end(owner, record.memory)
