"""Ties, bounds, nans and refusals of the operations that pick and reduce: PyTorch's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.errors import DTypeError, MiniresError, ShapeError, UsageError


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


def test_transposed_convolution_is_the_adjoint_of_convolution() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 4, 7, 6))
    weight = generator.standard_normal((6, 2, 3, 2))
    how: dict[str, Any] = {"stride": (2, 3), "padding": (1, 0), "groups": 2}
    out = F.conv2d(x, weight, **how)
    g = generator.standard_normal(out.shape)
    back = F.conv_transpose2d(g, weight, output_padding=(0, 1), **how)
    assert back.shape == x.shape
    np.testing.assert_allclose((out * g).sum(), (x * back).sum(), rtol=1e-12)


def test_all_targets_ignored_give_nan_as_a_mean_and_zero_as_a_sum() -> None:
    x, ignored = mr.zeros(2, 3), mr.tensor([-100, -100])
    assert np.isnan(F.cross_entropy(x, ignored).item())
    assert F.cross_entropy(x, ignored, reduction="sum").item() == 0.0


X = np.zeros((2, 3))
REFUSED: dict[str, tuple[Callable[[], Any], type[MiniresError], str]] = {
    "where, numbers": (lambda: F.where(X, X, X), DTypeError, "compare first"),
    "where, shapes": (lambda: F.where(X > 0, X, np.zeros((2, 2))), ShapeError, "broadcast"),
    "maximum, shapes": (lambda: F.maximum(X, np.zeros(2)), ShapeError, "maximum"),
    "clamp, nothing": (lambda: F.clamp(X), UsageError, "give min, max, or both"),
    "clamp, tensor": (lambda: F.clamp(X, mr.zeros(1)), DTypeError, "use maximum or minimum"),
    "max, two dims": (lambda: F.max(X, (0, 1)), UsageError, "use amax"),
    "amax, empty": (lambda: F.amax(np.zeros((0, 3)), 0), ShapeError, "no amax of no numbers"),
    "stack, shapes": (lambda: F.stack([X, X[0]]), ShapeError, "one shape"),
    "stack, none": (lambda: F.stack([]), ShapeError, "at least one"),
    "pad, mode": (lambda: F.pad(X, (1, 1), mode="wrap"), UsageError, "'reflect'"),
    "pad, reflect too far": (lambda: F.pad(X, (3, 0), mode="reflect"), ShapeError, "at most 2"),
    "pad, crops too much": (lambda: F.pad(X, (-2, -2)), ShapeError, "crops more than there is"),
    "gelu, kind": (lambda: F.gelu(X, "quick"), UsageError, "'tanh'"),
    "dropout, p": (lambda: F.dropout(X, 1.5), UsageError, "between 0 and 1"),
    "conv_transpose2d, channels": (
        lambda: F.conv_transpose2d(np.zeros((1, 2, 3, 3)), np.zeros((3, 1, 2, 2))),
        ShapeError,
        "in_channels",
    ),
    "conv_transpose2d, output_padding": (
        lambda: F.conv_transpose2d(
            np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 2, 2)), output_padding=1
        ),
        UsageError,
        "below stride",
    ),
    "conv_transpose2d, nothing left": (
        lambda: F.conv_transpose2d(np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 2, 2)), padding=1),
        ShapeError,
        "Use less padding",
    ),
    "cross_entropy, smoothing": (
        lambda: F.cross_entropy(X, np.zeros(2, int), label_smoothing=2.0),
        UsageError,
        "label_smoothing",
    ),
    "cross_entropy, weight": (
        lambda: F.cross_entropy(X, np.zeros(2, int), weight=np.ones(2)),
        ShapeError,
        "each of 3 classes",
    ),
    "nll_loss, class": (lambda: F.nll_loss(X, np.array([0, 3])), ShapeError, "0 to 2"),
    "nll_loss, shape": (lambda: F.nll_loss(X, np.zeros(3, int)), ShapeError, r"\(N, classes"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_computed_is_refused_with_the_mend(case: str) -> None:
    call, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        call()
