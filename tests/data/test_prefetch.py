"""prefetch: the same items as without a thread, never more ahead than asked, no thread left."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from minires.data import DataLoader
from minires.data.prefetch import prefetch


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "minires-prefetch"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def square(i: int) -> int:
    return i * i


class Counting:
    """Makes squares, and counts them."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, i: int) -> int:
        self.threads.add(threading.current_thread())
        self.made.append(i)
        return i * i


@pytest.mark.parametrize("ahead", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("numbers", [range(0), range(1), range(7), range(4, 6), range(9, 0, -3)])
def test_the_items_come_in_order_whatever_is_made_ahead(ahead: int, numbers: range) -> None:
    assert list(prefetch(square, numbers, ahead)) == [i * i for i in numbers]
    assert not workers()


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_than_asked_is_made_ahead_and_all_of_that(ahead: int) -> None:
    make = Counting()
    for i, _ in enumerate(prefetch(make, range(10), ahead)):
        expected = list(range(min(10, i + 1 + ahead)))
        wait_for(lambda expected=expected: make.made == expected)  # type: ignore[misc]
        time.sleep(0.002)  # time to make one too many
        assert make.made == expected


def test_all_is_made_in_one_daemon_thread_or_in_the_caller() -> None:
    make, here = Counting(), Counting()
    for _ in prefetch(make, range(5), 2):
        assert [t.daemon for t in workers()] == [True]
    list(prefetch(here, range(5)))
    assert here.threads == {threading.current_thread()}
    assert len(make.threads) == 1
    assert make.threads != here.threads


def test_no_thread_is_started_before_the_first_item_is_asked_for() -> None:
    items = prefetch(square, range(5), 2)
    assert not workers()
    next(items)
    assert len(workers()) == 1
    items.close()


def leave_by_break() -> None:
    for _ in prefetch(square, range(100), 3):
        break


def leave_by_exception() -> None:
    with pytest.raises(ZeroDivisionError):
        max(1 // item for item in prefetch(square, range(100), 3))


def leave_by_forgetting() -> None:
    items = prefetch(square, range(100), 3)
    next(items)
    del items


def leave_as_garbage() -> None:
    cycle: list[object] = [prefetch(square, range(100), 3)]
    next(cycle[0])  # type: ignore[call-overload]
    cycle.append(cycle)
    del cycle
    gc.collect()


@pytest.mark.parametrize(
    "leave", [leave_by_break, leave_by_exception, leave_by_forgetting, leave_as_garbage]
)
def test_leaving_early_ends_the_thread_at_once(leave: Callable[[], None]) -> None:
    leave()
    assert not workers()


def test_a_generator_that_its_own_thread_drops_ends_it_too() -> None:
    holder, let_go = [], threading.Event()

    def make(i: int) -> int:
        if i == 1:
            let_go.wait(10)
            holder.clear()
        return i

    holder.append(prefetch(make, range(9), 1))
    next(holder[0])
    (thread,) = workers()
    let_go.set()
    thread.join(10)
    assert not thread.is_alive()


def test_leaving_early_makes_nothing_more_than_was_begun() -> None:
    begun, go_on, made = threading.Event(), threading.Event(), []

    def make(i: int) -> int:
        if i == 1:
            begun.set()
            go_on.wait(10)
        made.append(i)
        return i

    items = prefetch(make, range(100), 50)
    next(items)
    begun.wait(10)
    timer = threading.Timer(0.01, go_on.set)
    timer.start()
    items.close()
    assert made == [0, 1]
    timer.join()


class Broken(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize("error", [ValueError, Broken, SystemExit])
def test_an_exception_comes_in_its_turn_with_its_traceback(error: type[BaseException]) -> None:
    def break_at_3(i: int) -> int:
        if i == 3:
            raise error("at 3")
        return i

    seen: list[int] = []
    with pytest.raises(error, match="at 3") as caught:
        seen.extend(prefetch(break_at_3, range(10), 5))
    assert seen == [0, 1, 2]
    assert "break_at_3" in {frame.name for frame in traceback.extract_tb(caught.tb)}
    assert not workers()


def test_an_exception_leaves_no_cycle_behind() -> None:
    class Heavy(Exception):
        pass

    def fail(i: int) -> int:
        raise Heavy

    gc.collect()
    gc.disable()
    try:
        try:
            list(prefetch(fail, range(3), 2))
        except Heavy as error:
            left = weakref.ref(error)
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.skipif(sys.platform == "win32", reason="sends itself a signal")
def test_an_interrupt_while_waiting_ends_the_thread() -> None:
    def make(i: int) -> int:
        if i == 1:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        return i

    items = prefetch(make, range(5), 2)
    with pytest.raises(KeyboardInterrupt):
        list(items)
    assert not workers()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_makes_the_rest_itself() -> None:
    items = prefetch(square, range(6), 2)
    head = [next(items), next(items)]
    child = os.fork()
    if not child:  # no exception may come out of here: it would run the other tests again
        status = 1
        try:
            signal.alarm(10)
            status = 0 if [*head, *items] == [0, 1, 4, 9, 16, 25] and not workers() else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(items) == [4, 9, 16, 25]


def test_the_thread_sees_what_numpy_was_told_of_errors() -> None:
    def divide(i: int) -> float:
        return float(np.float32(i) / np.float32(0))

    with np.errstate(divide="ignore"):
        assert list(prefetch(divide, range(1, 3), 2)) == [np.inf, np.inf]
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        list(prefetch(divide, range(1, 3), 2))


def noise(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return images + generator.random(images.shape, dtype=images.dtype)


def loader(prefetch: int, n: int = 23) -> DataLoader:
    images = np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1)
    return DataLoader(
        (images, np.arange(n)), 4, shuffle=True, seed=3, augment=noise, prefetch=prefetch
    )


def bits(batches: DataLoader) -> list[tuple[bytes, bytes]]:
    return [(x.data.tobytes(), y.data.tobytes()) for x, y in batches]


@pytest.mark.parametrize("ahead", [1, 2, 50])
def test_a_loader_gives_the_same_bits_with_a_thread(ahead: int) -> None:
    plain, threaded = loader(0), loader(ahead)
    assert [bits(threaded) for _ in range(3)] == [bits(plain) for _ in range(3)]
    assert not workers()


def test_two_loaders_at_once_do_not_disturb_each_other() -> None:
    expected = bits(loader(0))
    pairs = list(zip(loader(2), loader(3), strict=True))
    for side in (0, 1):
        assert [(p[side][0].data.tobytes(), p[side][1].data.tobytes()) for p in pairs] == expected
    assert not workers()


def test_a_loader_left_early_leaves_no_thread() -> None:
    batches = loader(2)
    for _ in batches:
        assert len(workers()) == 1
        break
    assert not workers()
    open_walk = iter(batches)
    next(open_walk)
    assert len(workers()) == 1
    del open_walk
    assert not workers()


def test_an_augmentation_that_fails_is_raised_by_the_loader() -> None:
    def fail(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        raise LookupError("no such image")

    images = np.zeros((4, 1, 1, 1), dtype=np.float32)
    with pytest.raises(LookupError, match="no such image"):
        list(DataLoader((images, np.arange(4)), 2, augment=fail, prefetch=1))
