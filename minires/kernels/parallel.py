"""Chunks of the batch over threads, with BLAS held to one thread.

NumPy uses one core outside BLAS.  A batch is therefore cut into chunks, and the chunks are handed
to a pool of threads, each of which runs plain NumPy on its own images; NumPy lets go of the
interpreter lock while it works.

Two promises are kept here and nowhere else:

* **The same bits on any number of threads.**  How a batch is cut depends on shapes alone, partial
  sums are combined in the order of the chunks, and a matrix product never runs on several BLAS
  threads (:func:`one_blas_thread`), because OpenBLAS cuts a product differently for every count.
* **Small work pays nothing.**  Work of one piece runs in the caller: no pool, no hand-over.  A
  batch of one chunk is one piece, unless it has so much to multiply that
  :mod:`minires.kernels.pieces` shares out its filters.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from contextvars import copy_context
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from minires.device import Array, array_module
from minires.errors import UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = [
    "blas_is_held",
    "chunks",
    "get_num_threads",
    "map_chunks",
    "map_pieces",
    "one_blas_thread",
    "scratch",
    "set_num_threads",
]

P = TypeVar("P")
T = TypeVar("T")

# Measured: chunks of 4 MB beat cache-sized ones, for they change hands less often and have fewer
# calls in them; work of less than that is not cut at all, and pays for no hand-over.
CHUNK_BYTES = 4 << 20


def _threads_from_environment() -> int:
    text = os.environ.get("MINIRES_NUM_THREADS", "")
    if text:
        if not (text.isdigit() and int(text) > 0):
            raise UsageError(
                f"MINIRES_NUM_THREADS must be a whole number from 1 on, not {text!r}; "
                "mend the environment variable, or unset it."
            )
        return int(text)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


class _Here(threading.local):
    """What belongs to one thread."""

    def __init__(self) -> None:
        self.depth = 0  # how much of the depth of the BLAS limit is this thread's
        self.nesting = 0  # pieces of work that it is inside of
        # by depth of nesting, name and dtype: memory, and its views by their shape
        self.scratch: dict[tuple[int, str, Any], tuple[Array, dict[tuple[int, ...], Array]]] = {}


class _Regime:
    """What is process-wide: the thread count, the pool, and the depth of the BLAS limit."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler that forks may find it taken by its thread
        self.threads: int | None = None  # looked up at first use, see get_num_threads
        self.pool: ThreadPoolExecutor | None = None
        self.libraries: list[Any] | None = None  # threadpoolctl's, of BLAS
        self.depth = 0
        self.limited: list[tuple[Any, int]] = []  # how many threads each had
        self.keeps_memory = False
        self.here = _Here()

    def set_limit(self) -> None:
        """Take BLAS its threads; called with the depth at 0."""
        if self.libraries is None:  # looking the libraries up takes milliseconds: once
            from threadpoolctl import ThreadpoolController

            found = ThreadpoolController().select(user_api="blas").lib_controllers
            self.libraries = list(found)
        self.limited = [(library, library.get_num_threads()) for library in self.libraries]
        for library in self.libraries:
            _let_use(library, 1)

    def lift_limit(self) -> None:
        """Give BLAS its threads back; called with the depth at 0."""
        limited, self.limited = self.limited, []
        for library, count in limited:
            _let_use(library, count)

    def before_fork(self) -> None:
        """No thread may be half-way through setting or lifting the limit."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        self.lock.release()

    def forget_threads(self) -> None:
        """In a forked child only the calling thread exists: its own blocks are all that count.

        The pool is gone, and those who would have lifted the limit for the others with it.
        """
        self.lock = threading.RLock()
        self.pool = None
        self.depth = self.here.depth
        if self.depth == 0:
            self.lift_limit()


_regime = _Regime()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_regime.before_fork,
        after_in_parent=_regime.after_fork_in_parent,
        after_in_child=_regime.forget_threads,
    )


def get_num_threads() -> int:
    """How many threads the kernels use.

    Raises UsageError at the first call if MINIRES_NUM_THREADS is no whole number from 1 on.
    """
    if _regime.threads is None:
        _regime.threads = _threads_from_environment()
    return _regime.threads


def set_num_threads(count: int) -> None:
    """Let the kernels use ``count`` threads.  Results have the same bits for every count.

    The default is the number of processors this process may use, or MINIRES_NUM_THREADS.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UsageError(f"The number of threads must be a whole number from 1 on, not {count!r}.")
    with _regime.lock:
        if count != _regime.threads:
            # Not shut down: another thread may be about to use it.  Its threads end when nobody
            # refers to it any more.
            _regime.pool = None
        _regime.threads = count


class one_blas_thread:
    """Hold BLAS to one thread inside the block; cheap when a caller already does.

    The limit belongs to the whole process, so it is set by whoever enters first and lifted by
    whoever leaves last, from any thread.  A forked child keeps it only where its one thread is
    inside the block itself.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        regime = _regime
        with regime.lock:
            if regime.depth == 0:
                regime.set_limit()  # first: if it fails, nobody is inside
            regime.depth += 1
            regime.here.depth += 1

    def __exit__(self, *error: object) -> None:
        regime = _regime
        with regime.lock:
            regime.depth -= 1
            regime.here.depth -= 1
            if regime.depth == 0:
                regime.lift_limit()


def blas_is_held() -> bool:
    """Whether this thread is inside :class:`one_blas_thread`."""
    return _regime.here.depth > 0


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from malloc.h


def _keep_freed_memory() -> None:
    """Ask glibc not to hand freed memory back to the system at once: the next step needs it again.

    A training step makes and drops the same large arrays as the one before, and fresh memory costs
    a page fault for every 4 KB, a tenth of the step of a small ResNet.  So up to 512 MB of freed
    memory stay with the process.  Nothing happens where there is no glibc, where the environment
    has settings for it already, or if MINIRES_KEEP_MEMORY is 0.
    """
    of_the_user = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    unwanted = os.environ.get("MINIRES_KEEP_MEMORY") == "0" or any(map(os.environ.get, of_the_user))
    if unwanted or not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):  # no glibc, or none that can be reached
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 512 << 20)
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest size that glibc allows


def _let_use(library: Any, count: int) -> None:
    """Let a BLAS library use ``count`` threads, whichever thread of ours is asking.

    Since 3.8 threadpoolctl lets the first thread set OpenBLAS's limit, and ignores the others.
    """
    clear = getattr(library, "clear_controlling_thread", None)
    if clear is None:
        library.set_num_threads(count)
    else:
        clear(force=True)
        library.set_num_threads(count)
        clear()  # leaves it to whoever asks next


def chunks(count: int, bytes_each: int) -> list[slice]:
    """Cut ``count`` images into equal slices of about CHUNK_BYTES of working set each.

    The cut depends on the two numbers alone, so sums over chunks have the same bits everywhere.

    >>> chunks(8, 2_000_000)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None), slice(6, 8, None)]
    >>> chunks(10, 8)
    [slice(0, 10, None)]
    """
    if count * bytes_each <= CHUNK_BYTES:
        return [slice(0, count)] if count else []
    pieces = -(-count * bytes_each // CHUNK_BYTES)
    pieces = min(count, pieces + (pieces & 1))  # even: two cores share them without a straggler
    bounds = [count * i // pieces for i in range(pieces + 1)]
    return [slice(a, b) for a, b in pairwise(bounds)]


def map_chunks(
    work: Callable[[slice], T], count: int, bytes_each: int, *, blas: bool = False
) -> list[T]:
    """:func:`map_pieces` of ``chunks(count, bytes_each)``."""
    return map_pieces(work, chunks(count, bytes_each), blas=blas)


def map_pieces(work: Callable[[P], T], pieces: list[P], *, blas: bool = False) -> list[T]:
    """``[work(piece) for piece in pieces]``, over the pool of threads.

    ``work`` must write to its own part of an output only.  An exception in a worker is raised
    here with its traceback.  Work called from a worker runs in that worker.  ``blas`` says that
    ``work`` has matrix products in it, so that a single piece too is held to one BLAS thread.
    """
    if not _regime.keeps_memory:
        _regime.keeps_memory = True
        _keep_freed_memory()
    if len(pieces) < 2:
        with one_blas_thread() if blas else nullcontext():
            return [_do(work, piece) for piece in pieces]
    with one_blas_thread():
        threads = min(get_num_threads(), len(pieces))
        if threads == 1 or _regime.here.nesting:
            return [_do(work, piece) for piece in pieces]
        return _share_out(work, pieces, threads)


def _do(work: Callable[[P], T], piece: P) -> T:
    """``work(piece)``, with scratch memory of its own if it interrupts other work of the thread."""
    here = _regime.here
    here.nesting += 1
    try:
        return work(piece)
    finally:
        here.nesting -= 1


def _share_out(work: Callable[[P], T], pieces: list[P], threads: int) -> list[T]:
    """The caller and threads - 1 helpers take piece after piece until none is left."""
    context = copy_context()  # so that helpers see kernels.use(...) and errstate of the caller
    left = deque(enumerate(pieces))
    results: list[Any] = [None] * len(pieces)
    failures: dict[int, BaseException] = {}

    def take() -> None:
        while True:
            try:
                number, piece = left.popleft()
            except IndexError:
                return
            try:
                results[number] = context.copy().run(_do, work, piece)
            except BaseException as error:
                failures[number] = error
                left.clear()

    from concurrent.futures import wait

    helpers: list[Future[None]] = []
    try:
        with suppress(RuntimeError):  # while the interpreter ends no thread can begin
            helpers.extend(_get_pool().submit(take) for _ in range(threads - 1))
        take()
    finally:  # also if Ctrl-C comes in between: nobody works on when this returns
        left.clear()
        for helper in helpers:
            if not helper.cancel():  # it has begun
                wait([helper])
    if failures:
        first = failures[min(failures)]
        raise next((e for e in failures.values() if not isinstance(e, Exception)), first)
    return results


def scratch(
    like: Array,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    make: Callable[..., Any] = np.empty,
) -> Array:
    """Memory to work in, on the device of ``like``; what it holds is left from before.

    ``make`` is ``np.empty``, or ``np.zeros`` or ``np.ones`` for numbers that nobody writes to and
    that stay as they are.

    It belongs to the calling thread and to the piece of work that it is in, and the next piece that
    asks for the same name gets the same memory: so fresh memory, which costs more than the
    arithmetic on it, is asked for once.  Never a result.  Each thread keeps up to 32 MB for each
    name, dtype and depth of nesting.
    """
    if not isinstance(like, np.ndarray):
        return getattr(array_module(like), make.__name__)(shape, dtype)
    here = _regime.here
    key = here.nesting, name, dtype
    kept = here.scratch.get(key)
    if kept is not None and shape in kept[1]:
        return kept[1][shape]
    size = math.prod(shape)
    if size * dtype.itemsize > 8 * CHUNK_BYTES:
        return make(shape, dtype)
    if kept is None or kept[0].size < size:
        kept = here.scratch[key] = make(size, dtype), {}
    memory, views = kept
    if len(views) == MOST_VIEWS:
        views.clear()
    view = views[shape] = memory[:size].reshape(shape)
    return view


MOST_VIEWS = 100  # of one memory: enough for the shapes of a network


def _get_pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    with _regime.lock:
        if _regime.pool is None:
            _regime.pool = ThreadPoolExecutor(get_num_threads(), thread_name_prefix="minires")
        return _regime.pool
