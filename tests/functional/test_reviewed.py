"""Corners that a review found wrong: each was red before it was mended."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn, optim
from minires.errors import MiniresError


def test_a_module_frozen_after_backward_can_be_copied() -> None:
    layer = nn.Linear(2, 2)
    layer(mr.ones(1, 2)).sum().backward()
    layer.requires_grad_(False)
    twin = copy.deepcopy(layer)
    assert not twin.weight.requires_grad
    assert twin.weight.grad is not None
    np.testing.assert_array_equal(twin.weight.grad.data, layer.weight.grad.data)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_ignored_row_may_hold_anything(bad: float, smoothing: float) -> None:
    x = mr.tensor([[bad, 0.0], [0.0, 1.0]], requires_grad=True)
    target = mr.tensor([-100, 1])
    loss = F.cross_entropy(x, target, label_smoothing=smoothing)
    alone = F.cross_entropy(mr.tensor([[0.0, 1.0]]), mr.tensor([1]), label_smoothing=smoothing)
    np.testing.assert_allclose(loss.item(), alone.item(), rtol=1e-6)
    loss.backward()
    assert x.grad is not None
    assert x.grad.data[0].tolist() == [0.0, 0.0]
    assert np.isfinite(x.grad.data[1]).all()
    losses = F.cross_entropy(x, target, reduction="none", label_smoothing=smoothing)
    assert losses.shape == (2,)
    assert losses.data[0] == 0.0


def test_when_all_targets_are_ignored_the_loss_is_nan_and_the_gradient_zero() -> None:
    for shape, target in (((2, 3), [-100, -100]), ((3,), -100)):
        x = mr.zeros(*shape, requires_grad=True)
        loss = F.cross_entropy(x, mr.tensor(target))
        loss.backward()
        assert np.isnan(loss.item())
        assert x.grad is not None
        assert not x.grad.data.any()


def test_the_deviation_of_equal_numbers_has_the_gradient_zero() -> None:
    x = mr.tensor([[1.0, 1.0], [1.0, 3.0]], requires_grad=True)
    out = x.std(dim=1)
    out.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(out.data, [0.0, 2.0**0.5], rtol=1e-6)
    np.testing.assert_allclose(x.grad.data, [[0, 0], [-(0.5**0.5), 0.5**0.5]], rtol=1e-6)
    alone = mr.ones(3, requires_grad=True)
    alone.std().backward()
    assert alone.grad is not None
    assert alone.grad.tolist() == [0.0, 0.0, 0.0]


HALF = np.float64(0.5)
NARROW: dict[str, Callable[[], Any]] = {
    "clamp": lambda: mr.ones(2).clamp(HALF),
    "dropout": lambda: F.dropout(mr.ones(2), HALF),
    "batch_norm": lambda: F.batch_norm(mr.rand(3, 2), None, None, training=True, eps=HALF),
    "label_smoothing": lambda: F.cross_entropy(
        mr.zeros(2, 2), np.full((2, 2), 0.5), label_smoothing=HALF
    ),
    "clamp of whole numbers": lambda: mr.tensor([1, 3]).clamp(1.5),
    "dropout of whole numbers": lambda: F.dropout(mr.tensor([1, 3])),
}


@pytest.mark.parametrize("name", list(NARROW))
def test_a_numpy_number_among_the_settings_does_not_widen_float32(name: str) -> None:
    assert NARROW[name]().dtype == np.float32


def test_clamp_takes_numpy_numbers() -> None:
    assert mr.tensor([1.0, 5.0]).clamp(np.int64(2), np.float32(3)).tolist() == [2.0, 3.0]


def test_where_of_two_numbers_is_a_tensor_if_the_condition_is() -> None:
    assert isinstance(F.where(mr.tensor([1.0]) > 0, 1.0, 0.0), mr.Tensor)


def test_a_circle_of_modules_has_a_state() -> None:
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    a.other, b.other = b, a
    assert set(a.state_dict()) == {"weight", "bias", "other.weight", "other.bias"}


def test_a_state_that_cannot_be_loaded_whole_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    before = model.state_dict()
    with pytest.raises(MiniresError, match="no numbers"):
        model.load_state_dict({**before, "0.weight": np.ones((1, 1)), "1.bias": np.array(["x"])})
    np.testing.assert_array_equal(model.state_dict()["0.weight"], before["0.weight"])


def test_a_slice_of_a_sequential_is_one_and_appending_overwrites_nothing() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    assert isinstance(model[:2], nn.Sequential)
    assert len(model[:2]) == 2
    last = model[2]
    del model._modules["0"]
    model.append(nn.ReLU())
    assert last in list(model)


def test_a_milestone_at_the_first_epoch_counts() -> None:
    sgd = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    optim.lr_scheduler.MultiStepLR(sgd, [0, 1])
    assert sgd.param_groups[0]["lr"] == pytest.approx(0.1)
