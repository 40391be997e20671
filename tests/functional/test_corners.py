"""Ties, bounds, nans and refusals of the operations that pick and reduce: PyTorch's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F


def gradient(function: Callable[..., Any], *values: list[float]) -> list[list[float]]:
    inputs = [mr.tensor(np.array(v), requires_grad=True) for v in values]
    function(*inputs).sum().backward()
    return [x.grad.tolist() for x in inputs if x.grad is not None]


def test_equal_numbers_share_the_gradient_of_maximum_and_minimum() -> None:
    for operation in (F.maximum, F.minimum):
        assert gradient(operation, [1.0, 2.0], [1.0, 2.0]) == [[0.5, 0.5], [0.5, 0.5]]


def test_a_nan_loses_to_nobody() -> None:
    a, b = gradient(F.maximum, [np.nan, 1.0], [0.0, np.nan])
    assert a == [1.0, 1.0]
    assert b == [1.0, 1.0]
    assert np.isnan(F.maximum(np.array([np.nan]), np.array([0.0])))[0]


def test_amax_and_amin_share_the_gradient_evenly_among_equals() -> None:
    assert gradient(lambda x: x.amax(), [3.0, 1.0, 3.0, 3.0]) == [[1 / 3, 0.0, 1 / 3, 1 / 3]]
    assert gradient(lambda x: x.amin(), [1.0, 1.0, 3.0]) == [[0.5, 0.5, 0.0]]
    assert gradient(lambda x: x.max(), [3.0, 3.0]) == [[0.5, 0.5]]


def test_max_along_a_dimension_gives_all_of_the_gradient_to_the_first() -> None:
    assert gradient(lambda x: x.max(0).values, [3.0, 1.0, 3.0]) == [[1.0, 0.0, 0.0]]
    assert gradient(lambda x: x.min(0).values, [1.0, 1.0, 3.0]) == [[1.0, 0.0, 0.0]]
    found = mr.tensor([[1.0, 5.0, 5.0], [7.0, 0.0, 2.0]]).max(dim=1, keepdim=True)
    assert found.indices.tolist() == [[1], [0]]
    assert found.values.tolist() == [[5.0], [7.0]]


def test_max_of_whole_numbers_and_of_a_single_number() -> None:
    assert mr.tensor([3, 7, 5]).max().item() == 7
    assert mr.tensor([3, 7, 5]).max(0).indices.item() == 1
    alone = mr.tensor(4.0).max(0)
    assert (alone.values.shape, alone.values.item(), alone.indices.item()) == ((), 4.0, 0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("dim", "keepdim"), [(None, False), (0, True), (-1, False), ((0, 2), True)]
)
def test_a_mean_has_the_bits_of_a_sum_times_one_over_the_count(
    dim: Any, keepdim: bool, dtype: Any
) -> None:
    values = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(dtype)
    count = values.size // np.sum(values, axis=dim).size
    x, y = mr.tensor(values, requires_grad=True), mr.tensor(values, requires_grad=True)
    means, sums = F.mean(x, dim, keepdim), F.sum(y, dim, keepdim) * (1.0 / count)
    np.testing.assert_array_equal(means.data, sums.data)
    assert means.dtype == dtype
    (means * means).sum().backward()
    (sums * sums).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    np.testing.assert_array_equal(x.grad.data, y.grad.data)


def test_clamp_passes_the_gradient_on_its_bounds() -> None:
    assert gradient(lambda x: x.clamp(0.0, 1.0), [-1.0, 0.0, 0.5, 1.0, 2.0]) == [
        [0.0, 1.0, 1.0, 1.0, 0.0]
    ]


def test_leaky_relu_has_its_slope_at_zero() -> None:
    assert gradient(lambda x: F.leaky_relu(x, 0.25), [0.0, -1.0, 1.0]) == [[0.25, 0.25, 1.0]]


def test_where_sends_nothing_to_what_was_not_taken_even_if_it_is_infinite() -> None:
    a, b = (mr.tensor(np.ones(2), requires_grad=True) for _ in range(2))
    F.where(np.array([True, False]), a, b).backward(np.array([np.inf, 1.0]))
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.tolist(), b.grad.tolist()) == ([np.inf, 0.0], [0.0, 1.0])


@pytest.mark.parametrize("x", [-1000.0, -30.0, 0.0, 30.0, 1000.0])
def test_far_out_nothing_overflows(x: float) -> None:
    given = mr.tensor(np.array([x]), requires_grad=True)
    for operation in (F.sigmoid, F.tanh, F.silu, F.gelu, F.softplus):
        given.grad = None
        out = operation(given)
        out.sum().backward()
        assert np.isfinite(out.data).all()
        assert given.grad is not None
        assert np.isfinite(given.grad.data).all()


def test_logsumexp_of_minus_infinities_is_minus_infinity() -> None:
    assert mr.tensor([-np.inf, -np.inf]).logsumexp(0).item() == -np.inf


def test_dropout_keeps_the_mean_and_draws_from_the_default_generator() -> None:
    mr.manual_seed(0)
    first = F.dropout(mr.ones(100_000), 0.3)
    mr.manual_seed(0)
    np.testing.assert_array_equal(F.dropout(mr.ones(100_000), 0.3).data, first.data)
    assert abs(first.data.mean() - 1.0) < 0.01
    assert abs((first.data == 0).mean() - 0.3) < 0.01
    assert first.dtype == np.float32


def test_all_targets_ignored_give_nan_as_a_mean_and_zero_as_a_sum() -> None:
    x, ignored = mr.zeros(2, 3), mr.tensor([-100, -100])
    assert np.isnan(F.cross_entropy(x, ignored).item())
    assert F.cross_entropy(x, ignored, reduction="sum").item() == 0.0
