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
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from minires.device import Array
from minires.errors import GraphError

__all__ = ["hold", "release", "version", "writable"]


class _Record:
    __slots__ = ("count", "locked", "version")

    def __init__(self) -> None:
        self.count = 0
        self.version = 0
        self.locked = False


# By identity: a held array is alive, so its id is not reused.  Re-entrant, since the garbage
# collector may drop a node, and so release its arrays, at any allocation.
_records: dict[int, _Record] = {}
_lock = threading.RLock()


def _renew_lock() -> None:
    """After a fork: the thread that may have held the lock is not in the child."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def hold(array: Array) -> int:
    """Start watching ``array`` and its memory; returns the version to compare with at reading."""
    with _lock:
        owner = _owner(array)
        record = _begin(owner)
        if array is not owner:
            _begin(array)
        return record.version


def version(array: Array) -> int:
    """The present version of the memory of a held array."""
    return _records[id(_owner(array))].version


def release(array: Array) -> None:
    """End one :func:`hold`; after the last the array can be written again."""
    with _lock:
        owner = _owner(array)
        if array is not owner:
            _end(array, owner)
        _end(owner, owner)


@contextmanager
def writable(array: Array) -> Iterator[Array]:
    """Write to ``array`` in the block: the one door through which the library changes arrays.

    A graph that still holds its memory is told, and will refuse to run backward through it.
    """
    with _lock:
        owner = _owner(array)
        record = _records.get(id(owner))
        if record is not None:
            record.version += 1
        opened = [(a, r) for a in (owner, array) if (r := _records.get(id(a))) and r.locked]
        for locked, _ in opened:  # the owner first: a view of locked memory cannot be unlocked
            locked.setflags(write=True)
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        raise GraphError(
            f"An array of shape {array.shape} cannot be changed in place: it is read-only, perhaps "
            "as a view that was made while a graph held its memory. Give the tensor an array of "
            "its own: x.data = x.data.copy()."
        )
    try:
        yield array
    finally:
        with _lock:
            for locked, record in opened:
                if record.count:
                    locked.setflags(write=False)


def _owner(array: Array) -> Array:
    """The array whose memory ``array`` shows: itself, or what it is a view of."""
    owner = array
    while (array := getattr(array, "base", None)) is not None:
        if hasattr(array, "dtype"):
            owner = array
    return owner


def _begin(array: Array) -> _Record:
    record = _records.get(id(array))
    if record is None:
        record = _records[id(array)] = _Record()
        if isinstance(array, np.ndarray) and array.flags.writeable:
            array.setflags(write=False)
            record.locked = True
    record.count += 1
    return record


def _end(array: Array, owner: Array) -> None:
    record = _records[id(array)]
    record.count -= 1
    if record.count == 0:
        del _records[id(array)]
        if record.locked:
            # A view can only be unlocked while its owner is, and the owner may still be held.
            still_locked = array is not owner and not owner.flags.writeable
            if still_locked:
                owner.setflags(write=True)
            array.setflags(write=True)
            if still_locked:
                owner.setflags(write=False)
