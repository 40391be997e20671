"""float32 stays float32, whole numbers get fractions as float32, and mixtures are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.errors import DTypeError

FRACTIONS: dict[str, Callable[[Any], Any]] = {
    "times 0.5": lambda x: x * 0.5,
    "plus 0.5": lambda x: 0.5 + x,
    "power 0.5": lambda x: x**0.5,
    "divided by a number": lambda x: x / 2,
    "a number divided by it": lambda x: 2 / x,
    "divided by itself": lambda x: x / x,
    **{
        f.__name__: f for f in (F.exp, F.log, F.sqrt, F.sigmoid, F.tanh, F.gelu, F.silu, F.softplus)
    },
    "leaky_relu": F.leaky_relu,
    "logsumexp": F.logsumexp,
}


@pytest.mark.parametrize("name", list(FRACTIONS))
def test_whole_numbers_get_fractions_as_float32(name: str) -> None:
    out = FRACTIONS[name](mr.tensor([1, 2]))
    assert out.dtype == np.float32
    expected = FRACTIONS[name](mr.tensor([1.0, 2.0]))
    np.testing.assert_array_equal(out.data, expected.data)


def test_whole_numbers_stay_whole_where_nothing_needs_fractions() -> None:
    x = mr.tensor([1, 2])
    for out in (x + 1, x * x, x - 3, x.sum(), x.amax(), x**2, F.abs(x)):
        assert out.dtype == np.int64


@pytest.mark.parametrize("operation", [F.mean, F.var, F.std])
def test_means_of_whole_numbers_are_refused(operation: Callable[[Any], Any]) -> None:
    with pytest.raises(DTypeError, match=r"\.to\('float32'\)"):
        operation(mr.tensor([1, 2]))


def test_a_tensor_without_dimensions_takes_the_dtype_of_the_other() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    scale = mr.tensor(np.float64(2.0), requires_grad=True)
    out = x * scale
    assert out.dtype == np.float32
    out.sum().backward()
    assert scale.grad is not None
    assert x.grad is not None
    assert (scale.grad.dtype, scale.grad.item()) == (np.float64, 3.0)
    assert (x.grad.dtype, x.grad.tolist()) == (np.float32, [2.0, 2.0])


def f32(*shape: int) -> mr.Tensor:
    return mr.ones(*shape)


def f64(*shape: int) -> mr.Tensor:
    return mr.ones(*shape, dtype=np.float64)


MIXED: dict[str, Callable[[], Any]] = {
    "matmul": lambda: f64(2, 2) @ f32(2, 2),
    "linear": lambda: F.linear(f64(2, 2), f32(2, 2)),
    "conv2d": lambda: F.conv2d(f64(1, 1, 3, 3), f32(1, 1, 2, 2)),
    "conv_transpose2d": lambda: F.conv_transpose2d(f64(1, 1, 3, 3), f32(1, 1, 2, 2)),
    "batch_norm": lambda: F.batch_norm(f64(2, 2), None, None, f32(2), f32(2), training=True),
}


@pytest.mark.parametrize("name", list(MIXED))
def test_a_layer_of_another_dtype_is_refused_and_not_widened(name: str) -> None:
    with pytest.raises(DTypeError, match=rf"{name}: these must have one dtype.*\n.*float64"):
        MIXED[name]()


def test_a_product_with_a_list_says_to_make_a_tensor() -> None:
    with pytest.raises(DTypeError, match=r"matmul: b must be a tensor or an array, not list"):
        mr.ones(2, 2) @ [1.0, 2.0]
