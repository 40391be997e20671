"""Making batches in a thread, a few ahead of the one that is being used."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextvars import copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")


@dataclass
class _Failed:
    """An exception, on its way from the thread to the caller."""

    error: BaseException


def prefetch(make: Callable[[int], T], numbers: range, ahead: int = 0) -> Generator[T, None, None]:
    """Yield ``make(i)`` for each i of ``numbers``; up to ``ahead`` of them are made beforehand.

    With ``ahead=0`` all is made here, when it is asked for.  Else one daemon thread makes the items
    in their order while the caller works on another, and NumPy lets go of the interpreter lock in
    its larger steps, so the two run side by side.  The items are the same as long as ``make``
    depends on its argument alone.

    The thread starts with the first item and has ended when the generator has: at the last item, at
    an exception, at ``close()``, or when the generator is dropped.  At most the one item that it is
    in the middle of is finished for nothing.  An exception of ``make`` comes out where its item
    would have come, with its traceback.  A child made by ``os.fork`` has no such thread: there the
    rest is made as with ``ahead=0``.

    >>> list(prefetch(lambda i: i * i, range(2, 6), ahead=2))
    [4, 9, 16, 25]
    """
    if not ahead:
        yield from map(make, numbers)
        return
    owner = os.getpid()
    # SimpleQueue alone may be used while the garbage collector, which may drop this generator in
    # any thread, has interrupted another call of the same queue.
    wanted: SimpleQueue[int] = SimpleQueue()
    made: SimpleQueue[T | _Failed] = SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        i = wanted.get()
        while not stopped.is_set():
            try:
                made.put(make(i))
            except BaseException as error:
                made.put(_Failed(error))
            i = wanted.get()

    # The context holds what NumPy was told of floating-point errors.
    thread = threading.Thread(
        target=copy_context().run, args=(work,), name="minires-prefetch", daemon=True
    )
    try:
        thread.start()
        for i in numbers[:ahead]:
            wanted.put(i)
        for place, i in enumerate(numbers):
            if os.getpid() != owner:
                yield make(i)
                continue
            item = _opened(made.get())
            for later in numbers[place + ahead : place + ahead + 1]:
                wanted.put(later)
            yield item
    finally:
        stopped.set()
        wanted.put(-1)  # wakes the thread
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join()


def _opened(item: T | _Failed) -> T:
    """What the thread made, or its exception, raised here with the traceback it has from there."""
    if isinstance(item, _Failed):
        try:
            raise item.error
        finally:
            del item  # the traceback holds this frame: without a cycle both are freed at once
    return item
