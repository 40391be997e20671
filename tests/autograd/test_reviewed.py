"""Mistakes that were found by looking: each was red before it was mended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import kernels
from minires.autograd import Function, guard
from minires.errors import DTypeError, GraphError


def leaf(*shape: int) -> mr.Tensor:
    return mr.tensor(np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape), requires_grad=True)


@pytest.mark.parametrize(
    "index", [(slice(None), (0, 0)), ((0, 0, 1),), (slice(None), [0, 0]), (slice(None), range(2))]
)
def test_repeated_places_add_up_however_the_index_is_written(index: Any) -> None:
    x = leaf(2, 2)
    x[index].sum().backward()
    expected = np.zeros((2, 2))
    plain = tuple(np.array(i) if isinstance(i, tuple | list | range) else i for i in index)
    np.add.at(expected, plain, 1.0)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, expected)


def test_a_list_used_as_an_index_may_change_before_backward() -> None:
    x, index = leaf(3), [0, 1]
    y = x[index].sum()
    index[0] = 2
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 0.0]


def test_freezing_between_forward_and_backward_loses_no_gradient() -> None:
    x = leaf(3)
    y = (x * 2.0).sum()
    x.requires_grad_(False)
    x.requires_grad_(True)
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_freezing_keeps_the_gradient_that_is_there() -> None:
    x = leaf(3)
    x.sum().backward()
    x.requires_grad_(False)
    assert x.grad is not None
    assert not (x * 1.0).requires_grad
    x.grad = None
    assert x.requires_grad_().grad is None


def test_complex_numbers_cannot_require_grad() -> None:
    with pytest.raises(DTypeError, match="real numbers"):
        mr.Tensor(np.ones(2, complex), requires_grad=True)


def test_grad_computes_no_weight_gradient_that_nobody_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    for name in ("conv2d_grad_weight", "conv2d_grads"):
        compute = getattr(kernels, name)
        monkeypatch.setattr(
            kernels,
            name,
            lambda *a, _name=name, _compute=compute, **k: (calls.append(_name), _compute(*a, **k))[
                1
            ],
        )
    x, weight = leaf(1, 1, 4, 4), leaf(1, 1, 3, 3)
    out = F.conv2d(F.conv2d(x, weight, padding=1), weight, padding=1).sum()
    (found,) = mr.grad(out, x, retain_graph=True)
    assert calls == []
    out.backward()  # asks for everything again
    assert calls == ["conv2d_grads"] * 2
    assert weight.grad is not None
    assert x.grad is not None
    assert found is not None
    np.testing.assert_array_equal(found.data, x.grad.data)


def test_threads_that_go_backward_to_one_leaf_lose_nothing() -> None:
    w = leaf(1)

    def work() -> None:
        for _ in range(200):
            (w * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert w.grad is not None
    assert w.grad.tolist() == [800.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_holds_the_watch_does_not_hang() -> None:
    code = """
import os, signal, threading, time
import minires as mr
from minires.autograd import guard
inside, go = threading.Event(), threading.Event()
def hold():
    with guard._lock:
        inside.set(); go.wait()
threading.Thread(target=hold, daemon=True).start()
inside.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    x = mr.tensor([2.0], requires_grad=True)
    (x * x).sum().backward()
    os._exit(0 if x.grad.tolist() == [4.0] else 1)
go.set()
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=60, check=False)
    assert run.returncode == 0


def test_a_view_made_while_its_memory_was_held_is_refused_with_the_mend() -> None:
    x = leaf(4)
    y = x * x
    view = x.data[:2]
    del y
    with pytest.raises(GraphError, match=r"copy\(\)"), guard.writable(view):
        pass


def test_memory_stays_read_only_after_a_view_of_it_is_refused() -> None:
    x = leaf(4)
    first = x * x
    view = x.data[:2]
    del first
    second = x * x
    with pytest.raises(GraphError, match=r"copy\(\)"), guard.writable(view):
        pass
    assert not x.data.flags.writeable
    del second
    assert x.data.flags.writeable


def test_a_refused_array_leaves_no_input_read_only() -> None:
    class Bad(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save(x=x, between=x + 1.0)
            return x * 2.0

    x = leaf(4)
    with pytest.raises(GraphError, match="neither") as caught:
        Bad.apply(x)
    assert x.data.flags.writeable, caught  # while the traceback still has the node


def test_saving_twice_keeps_both() -> None:
    class Product(Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            ctx.save(a=a)
            ctx.save(b=b)
            return a * b

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out * ctx.saved("b"), grad_out * ctx.saved("a")

    a, b = leaf(2), leaf(2)
    Product.apply(a, b).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == b.tolist()


@pytest.mark.parametrize("returned", [1.0, ["g"]])
def test_a_gradient_that_is_no_array_is_named(returned: Any) -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2.0

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return returned

    with pytest.raises(GraphError, match=f"Wrong.backward returned a {type(returned).__name__}"):
        Wrong.apply(leaf(2)).sum().backward()
