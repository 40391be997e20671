"""``kernels.use``: which rung a call runs on, and that backward stays on the rung of forward."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import kernels
from minires.errors import UsageError
from minires.kernels import ladder

RUNGS = ("reference", "im2col", "fast")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rungs on which a kernel of three has run, in order."""
    order: list[str] = []

    def on(rung: str) -> Callable[[np.ndarray], np.ndarray]:
        def kernel(x: np.ndarray) -> np.ndarray:
            order.append(rung)
            return x * 2.0

        return kernel

    monkeypatch.setattr(
        kernels,
        "doubled",
        ladder.dispatch(on("reference"), on("fast"), on("im2col")),
        raising=False,
    )
    return order


class Doubled(mr.autograd.Function):
    """An operation whose forward and backward run a kernel of three rungs."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return kernels.doubled(x)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return Doubled.apply(grad_out)


def test_use_picks_the_rung_and_gives_the_old_one_back(called: list[str]) -> None:
    x = np.ones(2)
    assert kernels.current() == "fast"
    kernels.doubled(x)
    for rung in RUNGS:
        with kernels.use(rung):
            assert kernels.current() == rung
            kernels.doubled(x)
    kernels.doubled(x)
    assert called == ["fast", *RUNGS, "fast"]


def test_rungs_nest_and_end_with_an_exception() -> None:
    with kernels.use("reference"):
        with kernels.use("im2col"), kernels.use("fast"):
            assert kernels.current() == "fast"
        assert kernels.current() == "reference"
        with pytest.raises(KeyError), kernels.use("im2col"):
            raise KeyError
        assert kernels.current() == "reference"
    assert kernels.current() == "fast"


@pytest.mark.parametrize("name", ["slow", "", "Fast", None])
def test_an_unknown_rung_is_refused_with_those_there_are(name: Any) -> None:
    with (
        pytest.raises(UsageError, match=r"kernels\.use: .*reference, im2col, fast"),
        kernels.use(name),
    ):
        pass
    assert kernels.current() == "fast"


def test_a_kernel_without_columns_runs_its_fast_version_on_that_rung() -> None:
    kernel = ladder.dispatch(lambda: "reference", lambda: "fast")
    with kernels.use("im2col"):
        assert kernel() == "fast"


def test_a_dispatched_kernel_is_documented_as_its_fast_version() -> None:
    assert kernels.conv2d.__name__ == "conv2d"
    assert "Cross-correlation" in (kernels.conv2d.__doc__ or "")


@pytest.mark.parametrize("forward", RUNGS)
@pytest.mark.parametrize("backward", RUNGS)
def test_backward_runs_on_the_rung_of_its_forward(
    forward: str, backward: str, called: list[str]
) -> None:
    x = mr.tensor([1.0], requires_grad=True)
    with kernels.use(forward):
        y = Doubled.apply(x)
    with kernels.use(backward):
        y.backward()
        assert kernels.current() == backward
    assert called == [forward, forward]
    assert x.grad.item() == 2.0


def test_each_operation_of_one_graph_goes_back_on_its_own_rung(called: list[str]) -> None:
    x = mr.tensor([1.0], requires_grad=True)
    with kernels.use("reference"):
        y = Doubled.apply(x)
    Doubled.apply(y).backward()
    assert called == ["reference", "fast", "fast", "reference"]


def test_a_recorded_backward_is_recorded_on_the_rung_of_its_forward(called: list[str]) -> None:
    x = mr.tensor([1.0], requires_grad=True)
    with kernels.use("reference"):
        y = Doubled.apply(x) * x
    (first,) = mr.grad(y, x, create_graph=True)
    mr.grad(first, x)
    assert set(called) == {"reference"}


def test_the_rung_belongs_to_the_thread_and_reaches_its_workers() -> None:
    seen: list[str] = []
    with kernels.use("reference"):
        thread = threading.Thread(target=lambda: seen.append(kernels.current()))
        thread.start()
        thread.join()
        inside = kernels.parallel.map_chunks(lambda piece: kernels.current(), 4, 4 << 20)
    assert seen == ["fast"]
    assert inside == ["reference"] * 4


def test_every_rung_gives_a_network_the_same_loss_and_gradients() -> None:
    mr.manual_seed(0)
    x, labels = mr.randn(3, 2, 6, 6), np.array([0, 1, 2])
    model = mr.nn.Sequential(
        mr.nn.Conv2d(2, 3, 3, stride=2, padding=1),
        mr.nn.BatchNorm2d(3, track_running_stats=False),
        mr.nn.ReLU(),
        mr.nn.MaxPool2d(2, 1),
        mr.nn.Conv2d(3, 3, 2),
        mr.nn.AvgPool2d(1),
        mr.nn.AdaptiveAvgPool2d(1),
        mr.nn.Flatten(),
    ).to("float64")
    results = []
    for rung in RUNGS:
        with kernels.use(rung):
            loss = F.cross_entropy(model(x.to("float64")), labels)
        results.append([g.data for g in mr.grad(loss, list(model.parameters()))] + [loss.data])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)
