"""``detect_anomaly``: it names the operation and the line, and costs nothing outside."""

from __future__ import annotations

import inspect
import threading

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.autograd import anomaly
from minires.errors import GraphError, GraphFreedError, SavedArrayChangedError


def line_here() -> int:
    """The line of the caller."""
    return inspect.currentframe().f_back.f_lineno


def test_an_infinite_gradient_names_its_operation_and_line() -> None:
    x = mr.tensor([0.0, 1.0], requires_grad=True)
    with mr.detect_anomaly():
        root, line = x.sqrt(), line_here()
        with pytest.raises(GraphError, match=r"Sqrt gave a gradient with inf in it \(1 of 2") as e:
            root.sum().backward()
    assert f"{__file__}:{line}" in str(e.value)


def test_a_nan_gradient_names_its_operation_and_not_one_before_it() -> None:
    x = mr.tensor([0.0, 2.0], requires_grad=True)
    with mr.detect_anomaly():
        y = x * 1.0
        with np.errstate(all="ignore"):
            z = (y * y) ** 0.5 * y  # its derivative at 0 is 0 * inf
        with pytest.raises(GraphError, match=r"backward of Pow gave a gradient with (nan|inf)"):
            z.sum().backward()


def test_the_line_is_the_user_s_also_for_operations_called_by_layers() -> None:
    layer = mr.nn.Linear(2, 2)
    with mr.detect_anomaly():
        out, line = layer(mr.zeros(1, 2)), line_here()
    assert out.node.anomaly.source == f"{__file__}:{line}"


def test_a_gradient_that_is_recorded_is_checked_too() -> None:
    x = mr.tensor([0.0], requires_grad=True)
    with mr.detect_anomaly(), pytest.raises(GraphError, match="Sqrt gave a gradient with inf"):
        mr.grad(x.sqrt(), x, create_graph=True)


def test_a_view_made_earlier_is_caught_with_its_line() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    view = x.data[:1]
    with mr.detect_anomaly():
        y, line = x * x, line_here()
        view[0] = 5.0
        with pytest.raises(SavedArrayChangedError, match=r"Mul.*\(2,\).*view") as caught:
            y.sum().backward()
    assert f"{__file__}:{line}" in str(caught.value)


def test_a_changed_array_is_found_also_when_backward_runs_outside() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    view = x.data[:1]
    with mr.detect_anomaly():
        y = x * x
    view[0] = 5.0
    with pytest.raises(SavedArrayChangedError, match="Mul"):
        y.sum().backward()


def test_writing_the_same_numbers_again_is_no_change() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    view = x.data[:1]
    with mr.detect_anomaly():
        y = (x * x).sum()
        view[0] = 1.0
        y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_a_second_backward_still_says_how_to_mend_it() -> None:
    x = mr.tensor([2.0], requires_grad=True)
    with mr.detect_anomaly():
        y = x * x
        y.backward()
        with pytest.raises(GraphFreedError, match="retain_graph=True"):
            y.backward()


def test_gradients_are_the_same_inside() -> None:
    x = mr.tensor(np.random.default_rng(0).standard_normal((2, 3)), requires_grad=True)
    loss = F.cross_entropy(x.relu(), np.array([0, 2]))
    (plain,) = mr.grad(loss, x)
    with mr.detect_anomaly():
        (watched,) = mr.grad(F.cross_entropy(x.relu(), np.array([0, 2])), x)
    np.testing.assert_array_equal(watched.data, plain.data)


def test_outside_nothing_is_recorded_or_checked() -> None:
    x = mr.tensor([0.0], requires_grad=True)
    assert (x * x).node.anomaly is None
    with np.errstate(divide="ignore"):
        x.sqrt().backward()
    assert np.isinf(x.grad.item())


def test_the_watch_ends_with_the_block_also_after_an_exception_and_stays_in_its_thread() -> None:
    seen: list[bool | None] = []

    def fails() -> None:
        with mr.detect_anomaly():
            with mr.detect_anomaly():
                pass
            seen.append(anomaly.active())
            thread = threading.Thread(target=lambda: seen.append(anomaly.active()))
            thread.start()
            thread.join()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [True, None]
    assert anomaly.active() is None
