"""``no_grad`` and ``enable_grad``: nesting, decorating, failing, and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import minires as mr

x = mr.tensor([1.0], requires_grad=True)


def in_thread(work: Callable[[], object]) -> object:
    """What ``work`` returns or raises in a thread of its own."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(work())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def test_inside_no_grad_nothing_is_recorded() -> None:
    with mr.no_grad():
        assert not mr.is_grad_enabled()
        assert (x * x).node is None
    assert mr.is_grad_enabled()
    assert (x * x).requires_grad


def test_the_modes_nest_and_the_same_object_can_be_entered_again() -> None:
    seen = []
    off, on = mr.no_grad(), mr.enable_grad()
    with off:
        seen.append(mr.is_grad_enabled())
        with on:
            seen.append(mr.is_grad_enabled())
            with off, on:
                seen.append(mr.is_grad_enabled())
            seen.append(mr.is_grad_enabled())
        seen.append(mr.is_grad_enabled())
    assert seen == [False, True, True, True, False]
    assert mr.is_grad_enabled()


def test_the_mode_comes_back_after_an_exception() -> None:
    with pytest.raises(KeyError), mr.no_grad():
        raise KeyError
    assert mr.is_grad_enabled()


def test_a_leaf_made_inside_can_still_require_grad() -> None:
    with mr.no_grad():
        inside = mr.tensor([2.0], requires_grad=True)
    (inside * inside).backward()
    assert inside.grad.item() == 4.0


def test_backward_works_inside_no_grad_and_records_with_create_graph() -> None:
    y = x * x * x
    with mr.no_grad():
        (first,) = mr.grad(y, x, create_graph=True)
        assert not mr.is_grad_enabled()
    assert mr.grad(first, x)[0].item() == 6.0


def test_a_decorated_function_runs_in_the_mode_also_recursively() -> None:
    @mr.no_grad()
    def off(depth: int) -> list[bool]:
        here = [mr.is_grad_enabled(), (x * x).requires_grad]
        return here + (off(depth - 1) if depth else [])

    assert off(3) == [False] * 8
    assert mr.is_grad_enabled()


def test_calls_of_a_decorated_function_may_overlap_in_several_threads() -> None:
    entered, leave = ([threading.Event(), threading.Event()] for _ in range(2))

    @mr.no_grad()
    def waits(i: int) -> bool:
        entered[i].set()
        leave[i].wait(timeout=10)
        return mr.is_grad_enabled()

    results: dict[int, object] = {}

    def run(i: int) -> None:
        try:
            results[i] = waits(i), mr.is_grad_enabled()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread, event in zip(threads, entered, strict=True):
        thread.start()
        event.wait(timeout=10)
    for thread, event in zip(threads, leave, strict=True):  # who entered first leaves first
        event.set()
        thread.join(timeout=10)
    assert results == {0: (False, True), 1: (False, True)}


def test_the_mode_belongs_to_the_thread() -> None:
    with mr.no_grad():
        assert in_thread(mr.is_grad_enabled) is True
    entered, leave = threading.Event(), threading.Event()

    def off() -> bool:
        with mr.no_grad():
            entered.set()
            leave.wait(timeout=10)
            return mr.is_grad_enabled()

    thread = threading.Thread(target=off)
    thread.start()
    entered.wait(timeout=10)
    assert mr.is_grad_enabled()
    assert (x * x).requires_grad
    leave.set()
    thread.join()


def test_kernels_that_run_in_worker_threads_follow_the_caller() -> None:
    images, layer = mr.randn(64, 8, 32, 32), mr.nn.Conv2d(8, 8, 3)
    with mr.no_grad():
        assert layer(images).node is None
    assert layer(images).node is not None
