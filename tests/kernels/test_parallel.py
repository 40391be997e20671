"""Chunks over threads: the cut, exceptions, nesting, forks, and the limit on BLAS."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import minires as mr
from minires.errors import UsageError
from minires.functional.linalg import MatMul
from minires.kernels import parallel
from minires.kernels.parallel import chunks, map_chunks, map_pieces, one_blas_thread

MEGABYTE = 1 << 20
WHOLE = parallel.CHUNK_BYTES  # an image of so many bytes is a chunk of its own


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Each test starts with two threads, whatever this machine has, and leaves none behind."""
    usual = mr.get_num_threads()
    mr.set_num_threads(2)
    yield
    mr.set_num_threads(usual)
    assert parallel._regime.depth == 0


def blas_threads() -> list[int]:
    """Threads of the BLAS that NumPy calls; other packages may have loaded another one."""
    loaded = [info for info in threadpool_info() if info["user_api"] == "blas"]
    of_numpy = [info for info in loaded if "numpy" in info["filepath"]]
    return [info["num_threads"] for info in of_numpy or loaded]


limited = pytest.mark.skipif(
    not blas_threads(), reason="threadpoolctl cannot limit the BLAS of this NumPy"
)


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    paths = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


# --- the cut ---


@given(st.integers(0, 300), st.integers(0, 5 * MEGABYTE))
def test_chunks_cover_the_batch_in_order_and_are_of_one_size(count: int, bytes_each: int) -> None:
    pieces = chunks(count, bytes_each)
    assert [i for piece in pieces for i in range(piece.start, piece.stop)] == list(range(count))
    sizes = {piece.stop - piece.start for piece in pieces}
    assert 0 not in sizes
    assert not sizes or max(sizes) - min(sizes) <= 1
    if bytes_each <= parallel.CHUNK_BYTES and sizes:
        assert max(sizes) * bytes_each <= parallel.CHUNK_BYTES + bytes_each


def test_the_cut_does_not_depend_on_the_number_of_threads() -> None:
    cuts = []
    for count in (1, 2, 7):
        mr.set_num_threads(count)
        cuts.append(chunks(50, 123_456))
    assert cuts[0] == cuts[1] == cuts[2]
    assert len(cuts[0]) > 1


def test_a_batch_that_just_fills_a_chunk_is_not_cut_and_one_byte_more_is() -> None:
    assert chunks(4, WHOLE // 4) == [slice(0, 4)]
    assert chunks(4, WHOLE // 4 + 1) == [slice(0, 2), slice(2, 4)]


def test_results_come_in_the_order_of_the_chunks() -> None:
    def work(piece: slice) -> int:
        time.sleep(0.002 * (5 - piece.start))  # the first are the slowest
        return piece.start

    assert map_chunks(work, 5, WHOLE) == [0, 1, 2, 3, 4]


def test_work_of_one_chunk_runs_in_the_caller_and_none_not_at_all() -> None:
    here = threading.get_ident()
    assert map_chunks(lambda piece: threading.get_ident(), 10, 8) == [here]
    assert map_chunks(lambda piece: 1, 0, 8) == []
    mr.set_num_threads(1)
    assert set(map_chunks(lambda piece: threading.get_ident(), 4, WHOLE)) == {here}


def test_several_chunks_run_in_several_threads_and_the_caller_is_one_of_them() -> None:
    barrier = threading.Barrier(2)  # both must be inside at once, or it breaks

    def work(piece: slice) -> int:
        barrier.wait(timeout=10)
        return threading.get_ident()

    seen = set(map_chunks(work, 2, WHOLE))
    assert len(seen) == 2
    assert threading.get_ident() in seen


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_more_threads_are_at_work_than_were_allowed(count: int) -> None:
    mr.set_num_threads(count)

    def work(piece: slice) -> int:
        time.sleep(0.004)  # long enough for one more to come by
        return threading.get_ident()

    assert len(set(map_chunks(work, 12, WHOLE))) <= count


# --- exceptions, nesting, contexts ---


def test_an_exception_in_a_worker_arrives_with_its_traceback_and_the_pool_lives_on() -> None:
    def fails_in_the_second(piece: slice) -> int:
        if piece.start == 1:
            raise ZeroDivisionError("in the second")
        return piece.start

    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match="in the second") as caught:
            map_chunks(fails_in_the_second, 4, WHOLE)
        names = [frame.name for frame in traceback.extract_tb(caught.tb)]
        assert "fails_in_the_second" in names
    assert map_chunks(lambda piece: piece.start, 3, WHOLE) == [0, 1, 2]


def test_work_that_calls_for_chunks_itself_does_not_wait_for_itself() -> None:
    def inner(piece: slice) -> tuple[int, int]:
        time.sleep(0.002)  # long enough for another thread to come by
        return threading.get_ident(), piece.start

    def outer(piece: slice) -> list[tuple[int, int]]:
        found = map_chunks(inner, 3, WHOLE)
        assert {ident for ident, _ in found} == {threading.get_ident()}
        return found

    results = map_chunks(outer, 8, WHOLE)
    assert [[start for _, start in found] for found in results] == [[0, 1, 2]] * 8


def test_workers_see_the_context_variables_and_the_errstate_of_the_caller() -> None:
    variable = ContextVar("variable", default=0)
    variable.set(5)

    def work(piece: slice) -> tuple[int, Any, str]:
        with np.errstate(divide="raise"):
            pass
        found = variable.get(), np.geterr()["divide"], mr.kernels.current()
        variable.set(99)  # not seen by the other chunks, nor by the caller
        return found

    with np.errstate(divide="ignore"), mr.kernels.use("im2col"):
        assert map_chunks(work, 6, WHOLE) == [(5, "ignore", "im2col")] * 6
    assert variable.get() == 5


def test_two_threads_of_the_user_may_compute_at_once_while_a_third_changes_the_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 200_000)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 8, 24, 24)).astype(np.float32)
    weight = rng.standard_normal((8, 8, 3, 3)).astype(np.float32)
    expected = mr.kernels.conv2d(x, weight, padding=1).tobytes()
    errors: list[Exception] = []
    done = threading.Event()

    def compute() -> None:
        try:
            for _ in range(20):
                assert mr.kernels.conv2d(x, weight, padding=1).tobytes() == expected
        except Exception as error:
            errors.append(error)

    def switch() -> None:
        while not done.is_set():
            for count in (1, 2, 3):
                mr.set_num_threads(count)

    workers = [threading.Thread(target=compute) for _ in range(2)]
    switcher = threading.Thread(target=switch)
    for thread in (*workers, switcher):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    switcher.join()
    assert errors == []


# --- the number of threads ---


@pytest.mark.parametrize("count", [0, -1, 2.0, "2", None, True])
def test_a_number_of_threads_that_makes_no_sense_is_refused(count: Any) -> None:
    with pytest.raises(UsageError, match=r"whole number from 1 on, not"):
        mr.set_num_threads(count)
    assert mr.get_num_threads() == 2


def test_a_smaller_count_leaves_no_threads_behind() -> None:
    for count in (3, 2, 5, 1):
        mr.set_num_threads(count)
        map_chunks(lambda piece: time.sleep(0.001), 8, WHOLE)
    gc.collect()  # tracebacks of exceptions in workers may still refer to an older pool
    deadline = time.monotonic() + 5
    while (n := sum(t.name.startswith("minires") for t in threading.enumerate())) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.01)
    assert n == 0


def test_the_environment_gives_the_number_of_threads() -> None:
    code = "import minires as mr; print(mr.get_num_threads())"
    assert python(code, MINIRES_NUM_THREADS="3") == "3"
    usual = str(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    assert python(code, MINIRES_NUM_THREADS="") == usual


@pytest.mark.parametrize("nonsense", ["0", "-2", "many"])
def test_nonsense_in_the_environment_is_an_error_that_names_the_variable(nonsense: str) -> None:
    code = (
        "import minires as mr\n"
        "try:\n    mr.get_num_threads()\n"
        "except mr.errors.UsageError as error:\n    print(error)"
    )
    said = python(code, MINIRES_NUM_THREADS=nonsense)
    assert said.startswith("MINIRES_NUM_THREADS must be a whole number from 1 on")
    assert repr(nonsense) in said


# --- BLAS ---


@limited
def test_blas_runs_on_one_thread_inside_and_is_restored_after_the_last_leaves() -> None:
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        assert before
        with one_blas_thread():
            assert set(blas_threads()) == {1}
            with one_blas_thread():
                assert set(blas_threads()) == {1}
            assert set(blas_threads()) == {1}
        assert blas_threads() == before


def test_a_single_piece_holds_blas_only_if_it_says_that_it_multiplies_matrices() -> None:
    def depth(piece: Any) -> int:
        return parallel._regime.depth

    for blas, held in (({}, 0), ({"blas": False}, 0), ({"blas": True}, 1)):
        assert map_chunks(depth, 10, 8, **blas) == [held]
        assert map_pieces(depth, ["one"], **blas) == [held]
        assert map_pieces(depth, ["one", "two"], **blas) == [1, 1]


@limited
def test_the_limit_is_lifted_after_an_exception() -> None:
    with threadpool_limits(2, "blas"):
        before = blas_threads()

        def fails(piece: slice) -> None:
            assert set(blas_threads()) == {1}
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            map_chunks(fails, 4, WHOLE)
        assert blas_threads() == before


@limited
def test_the_limit_holds_until_the_last_of_several_threads_leaves() -> None:
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        entered, leave = threading.Event(), threading.Event()

        def stay() -> None:
            with one_blas_thread():
                entered.set()
                leave.wait(timeout=10)

        thread = threading.Thread(target=stay)
        with one_blas_thread():
            thread.start()
            entered.wait(timeout=10)
        assert set(blas_threads()) == {1}
        leave.set()
        thread.join()
        assert blas_threads() == before


@limited
def test_matmul_and_a_whole_backward_pass_run_inside_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[set[int]] = []
    real_matmul, real_backward = np.matmul, MatMul.backward

    def matmul(*args: Any, **options: Any) -> Any:
        seen.append(set(blas_threads()))
        return real_matmul(*args, **options)

    def backward(ctx: Any, grad_out: Any) -> Any:
        seen.append(set(blas_threads()))
        return real_backward(ctx, grad_out)

    monkeypatch.setattr(np, "matmul", matmul)
    monkeypatch.setattr(MatMul, "backward", staticmethod(backward))
    with threadpool_limits(2, "blas"):
        w = mr.randn(32, 32, requires_grad=True)  # smaller ones need no limit
        image, weight = (w @ w).reshape(1, 1, 32, 32), mr.randn(1, 1, 2, 2)
        for stride in (1, 2):
            out = mr.functional.conv2d(image, weight, stride=stride)
        assert seen
        assert set(map(frozenset, seen)) == {frozenset({1})}
        seen.clear()
        out.sum().backward()
        assert seen == [{1}] * len(seen) != []


# --- fork ---


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_computes_with_threads_of_its_own() -> None:
    code = """
import os, warnings
import numpy as np, minires as mr
warnings.simplefilter("ignore", DeprecationWarning)   # Python warns of forks beside threads
mr.set_num_threads(2)
x = np.ones((64, 8, 32, 32), np.float32)
w = np.ones((8, 8, 3, 3), np.float32)
mr.kernels.conv2d(x, w)                               # the pool is running now
assert mr.kernels.parallel._regime.pool is not None
child = os.fork()
if child == 0:
    assert mr.kernels.parallel._regime.pool is None
    ok = mr.kernels.conv2d(x, w).sum() == 64 * 8 * 30 * 30 * 72
    os._exit(0 if ok else 1)
_, status = os.waitpid(child, 0)
assert mr.kernels.conv2d(x, w).shape == (64, 8, 30, 30)
print("child", os.waitstatus_to_exitcode(status))
"""
    assert python(code) == "child 0"


FORK_BESIDE_A_BLOCK = """
import os, threading, warnings
from threadpoolctl import threadpool_info, threadpool_limits
from minires.kernels import parallel
warnings.simplefilter("ignore", DeprecationWarning)   # Python warns of forks beside threads

def blas():
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}

def regime():
    return parallel._regime.depth, bool(parallel._regime.limited)

threadpool_limits(2, "blas")
before = blas()
entered, leave = threading.Event(), threading.Event()

def stay():
    with parallel.one_blas_thread():
        entered.set()
        leave.wait(timeout=20)

thread = threading.Thread(target=stay)
thread.start()
entered.wait(timeout=20)
"""
FORKED = {
    "beside": """
child = os.fork()
if child == 0:
    seen = [regime(), blas() == before]
    with parallel.one_blas_thread():
        seen += [regime(), blas() - {1}]
    seen += [regime(), blas() == before]
    right = [(0, False), True, (1, True), set(), (0, False), True]
    os._exit(0 if seen == right else 1)
""",
    "inside two blocks": """
with parallel.one_blas_thread():
    with parallel.one_blas_thread():
        child = os.fork()
        if child == 0:
            seen = [regime(), blas() - {1}]
    if child == 0:
        seen += [regime(), blas() - {1}]
if child == 0:
    seen += [regime(), blas() == before]
    right = [(2, True), set(), (1, True), set(), (0, False), True]
    os._exit(0 if seen == right else 1)
""",
    "inside": """
with parallel.one_blas_thread():
    child = os.fork()
    if child == 0:
        seen = [regime(), blas() - {1}]
if child == 0:
    seen += [regime(), blas() == before]
    right = [(1, True), set(), (0, False), True]
    os._exit(0 if seen == right else 1)
""",
}
WAIT_FOR_CHILD = """
_, status = os.waitpid(child, 0)
assert regime() == (1, True)                          # the parent's other thread is still inside
leave.set()
thread.join()
assert regime() == (0, False)
assert blas() == before
print("child", os.waitstatus_to_exitcode(status))
"""


@limited
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("where", FORKED)
def test_a_child_forked_while_another_thread_holds_the_limit_does_not_inherit_it(
    where: str,
) -> None:
    assert python(FORK_BESIDE_A_BLOCK + FORKED[where] + WAIT_FOR_CHILD) == "child 0"


# --- memory ---


def test_scratch_is_the_same_memory_again_for_one_thread_and_other_memory_for_another() -> None:
    like, dtype = np.ones(1), np.dtype(np.float32)
    first = parallel.scratch(like, "a", (3, 4), dtype)
    first[...] = 7
    assert parallel.scratch(like, "a", (2, 5), dtype).tolist() == [[7.0] * 5] * 2
    assert not np.shares_memory(first, parallel.scratch(like, "b", (3, 4), dtype))
    double = parallel.scratch(like, "a", (3, 4), np.dtype(np.float64))
    assert double.dtype == np.float64
    assert not np.shares_memory(first, double)
    assert np.shares_memory(first, parallel.scratch(like, "a", (12,), dtype))
    larger = parallel.scratch(like, "a", (30, 4), dtype)
    assert larger.shape == (30, 4)
    found: list[np.ndarray] = []
    thread = threading.Thread(
        target=lambda: found.append(parallel.scratch(like, "a", (3, 4), dtype))
    )
    thread.start()
    thread.join()
    assert not np.shares_memory(larger, found[0])


@pytest.mark.parametrize("dtype", [np.dtype(np.int8), np.dtype(np.float64)])
def test_scratch_of_more_than_32_mb_is_not_kept(dtype: Any) -> None:
    like, size = np.ones(1), 32 * MEGABYTE // dtype.itemsize
    kept = parallel.scratch(like, "large", (size,), dtype)
    assert np.shares_memory(kept, parallel.scratch(like, "large", (1,), dtype))
    given = parallel.scratch(like, "larger", (size + 1,), dtype)
    assert not np.shares_memory(given, parallel.scratch(like, "larger", (1,), dtype))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(("keep", "again"), [("1", False), ("0", True)])
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(keep: str, again: bool) -> None:
    code = """
import resource
import numpy as np
from minires.kernels.parallel import map_chunks
map_chunks(len, 0, 1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [np.ones(3 << 20, np.uint8) for _ in range(8)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
    found = int(python(code, MINIRES_KEEP_MEMORY=keep))
    assert (found > 1000) == again, found


def test_glibc_is_asked_once_to_keep_512_mb_and_to_hand_out_up_to_32_mb_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []

    class Library:
        def __init__(self, name: None):
            self.mallopt = lambda *setting: asked.append(setting)

    for name in ("MINIRES_KEEP_MEMORY", *OF_THE_USER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(parallel._regime, "keeps_memory", False)
    for _ in range(2):
        map_chunks(len, 0, 1)
    trim_threshold, mmap_threshold = -1, -3  # their numbers in glibc's malloc.h
    assert asked == [(trim_threshold, 512 * MEGABYTE), (mmap_threshold, 32 * MEGABYTE)]
    monkeypatch.setattr(sys, "platform", "darwin")
    parallel._keep_freed_memory()
    assert len(asked) == 2


# --- interrupted work ---


@pytest.mark.parametrize("pieces", [1, 4])
def test_on_one_thread_a_failure_lets_go_of_the_arrays_of_its_work_at_once(pieces: int) -> None:
    mr.set_num_threads(1)
    alive: list[weakref.ref[np.ndarray]] = []

    def fails(piece: int) -> None:
        array = np.ones(3)
        alive.append(weakref.ref(array))
        raise ZeroDivisionError(array)

    gc.disable()
    try:
        with suppress(ZeroDivisionError):
            map_pieces(fails, list(range(pieces)))
        assert [array() for array in alive] == [None]
    finally:
        gc.enable()


def test_after_a_failure_no_further_piece_begins() -> None:
    begun: list[int] = []

    def work(piece: slice) -> None:
        begun.append(piece.start)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        map_chunks(work, 50, WHOLE)
    assert len(begun) <= 2


@pytest.mark.parametrize(
    ("interrupted", "expected"),
    [(5, "ValueError(0)"), (1, "KeyboardInterrupt()"), (0, "KeyboardInterrupt()")],
)
def test_of_several_failures_the_first_is_raised_but_an_interrupt_before_any(
    interrupted: int, expected: str
) -> None:
    barrier = threading.Barrier(2)

    def work(piece: slice) -> None:
        barrier.wait(timeout=10)
        raise KeyboardInterrupt if piece.start == interrupted else ValueError(piece.start)

    with pytest.raises((ValueError, KeyboardInterrupt)) as caught:
        map_chunks(work, 2, WHOLE)
    assert repr(caught.value) == expected


def test_an_interrupt_of_the_waiting_caller_waits_for_the_helpers_inside_the_limit() -> None:
    caller, begun, done = threading.get_ident(), threading.Event(), []

    def work(piece: slice) -> None:
        if threading.get_ident() == caller:
            begun.wait(timeout=10)
            raise KeyboardInterrupt
        begun.set()
        time.sleep(0.05)
        done.append(parallel._regime.depth)

    with pytest.raises(KeyboardInterrupt):
        map_chunks(work, 2, WHOLE)
    assert done == [1]


def test_work_goes_on_in_the_caller_while_no_thread_can_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed:
        def submit(self, work: Any) -> None:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(parallel, "_get_pool", Closed)
    assert map_chunks(lambda piece: piece.start, 5, WHOLE) == [0, 1, 2, 3, 4]


def test_a_limit_that_cannot_be_set_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError("no such library")

    monkeypatch.setattr(parallel._regime, "set_limit", fails)
    with pytest.raises(OSError, match="no such"), one_blas_thread():
        pass
    assert parallel._regime.depth == parallel._regime.here.depth == 0


X, PER_CHANNEL, WEIGHT = np.ones((2, 3, 5, 5)), np.ones(3), np.ones((3, 3, 1, 1))
MULTIPLY_MATRICES: dict[str, tuple[Any, ...]] = {
    "conv2d": (X, WEIGHT),
    "conv2d_grad_input": (X, WEIGHT, X.shape),
    "conv2d_grad_weight": (X, X, WEIGHT.shape),
    "conv2d_grads": (X, X, WEIGHT),
    "batch_norm_stats": (X,),
    "batch_norm_train": (X,),
    "batch_norm_grad": (X, X, PER_CHANNEL, PER_CHANNEL),
}


@limited
@pytest.mark.parametrize("rung", ["im2col", "fast"])
@pytest.mark.parametrize("name", MULTIPLY_MATRICES)
def test_a_kernel_of_one_piece_holds_blas_itself(
    name: str, rung: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths: list[int] = []
    do = parallel._do
    monkeypatch.setattr(
        parallel, "_do", lambda *a: (depths.append(parallel._regime.depth), do(*a))[1]
    )
    with mr.kernels.use(rung):
        getattr(mr.kernels, name)(*MULTIPLY_MATRICES[name])
    assert depths[0] == 1


OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def test_what_the_user_asked_of_glibc_is_left_alone() -> None:
    code = """
import ctypes
from unittest import mock
from minires.kernels import parallel
with mock.patch.object(ctypes, "CDLL") as library:
    parallel._keep_freed_memory()
print(library.called)
"""
    asked = python(code, MALLOC_TRIM_THRESHOLD_="1000000")
    assert asked == "False"
    assert python(code, GLIBC_TUNABLES="glibc.malloc.trim_threshold=1000000") == "False"
    expected = "True" if sys.platform.startswith("linux") else "False"
    assert python(code) == expected
