"""The kernels of elementwise.cu, run on the CPU: NumPy's bits, however the arrays lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import DeviceError
from minires.kernels import elementwise as on_cpu
from minires.kernels.cuda import elementwise, launcher
from minires.kernels.cuda.fibers import ORDERS, in_order
from tests.fake_cupy import counters, fake_gpu, installed  # noqa: F401  (a fixture)
from tests.kernels.cuda.test_pool import LAYOUTS, put

CORNERS = np.array([-2.0, -0.0, 0.0, 3.0, np.nan, np.inf, -np.inf])
layouts, orders = st.sampled_from(LAYOUTS), st.sampled_from(ORDERS)
dtypes = st.sampled_from([np.float32, np.float64])


def numbers(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    """Numbers around 0, a third of them corners."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return np.where(rng.random(shape) < 0.3, rng.choice(CORNERS, shape), x).astype(dtype)


def same_bits(found: Any, expected: np.ndarray) -> None:
    """Also the sign of 0."""
    np.testing.assert_array_equal(found.get(), expected, strict=True)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.signbit(found.get()[finite]), np.signbit(expected[finite]))


def add_relu(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # inf - inf
        return np.maximum(a + b, 0)


def relu_grad_input(grad_out: np.ndarray, out: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # inf * 0
        return on_cpu.relu_grad_input(grad_out, out)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=3), dtypes, layouts, layouts, orders)
def test_all_three_have_the_bits_of_numpy_in_every_layout_and_order(
    shape: list[int], dtype: Any, layout: str, other: str, order: str
) -> None:
    a, b = numbers(tuple(shape), dtype), numbers(tuple(shape), dtype, 1)
    with installed() as cupy, in_order(order):
        A, B = put(cupy, a, layout), put(cupy, b, other)
        same_bits(elementwise.relu(A), on_cpu.relu(a))
        same_bits(elementwise.relu_grad_input(A, B), relu_grad_input(a, b))
        same_bits(elementwise.add_relu(A, B), add_relu(a, b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 3, 4, 5, 255, 1023, 1024, 1025, 5003])
def test_sizes_below_a_warp_and_above_the_grid(
    fake_gpu: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    dtype: Any,
) -> None:
    monkeypatch.setattr(launcher, "MAX_BLOCKS", 1)
    a, b = numbers((size,), dtype), numbers((size,), dtype, 1)
    A, B = put(fake_gpu, a), put(fake_gpu, b)
    same_bits(elementwise.relu(A), on_cpu.relu(a))
    same_bits(elementwise.relu_grad_input(A, B), relu_grad_input(a, b))
    same_bits(elementwise.add_relu(A, B), add_relu(a, b))
    assert counters.launches == 3


def test_nan_stays_and_a_gradient_that_is_not_finite_gives_nan_where_it_is_cut_off(
    fake_gpu: Any,  # noqa: F811
) -> None:
    x, zeros = fake_gpu.asarray(np.array([np.nan, 1.0])), fake_gpu.asarray(np.zeros(3))
    assert np.isnan(elementwise.relu(x).get()).tolist() == [True, False]
    assert np.isnan(elementwise.add_relu(x, x).get()).tolist() == [True, False]
    grad = fake_gpu.asarray(np.array([np.inf, np.nan, 5.0]))
    assert np.isnan(elementwise.relu_grad_input(grad, zeros).get()).tolist() == [True, True, False]


def test_one_launch_each_nothing_copied_and_inputs_left_alone(fake_gpu: Any) -> None:  # noqa: F811
    a, b = numbers((7, 9), np.float32), numbers((7, 9), np.float32, 1)
    A, B = put(fake_gpu, a), put(fake_gpu, b)
    counters.reset()
    results = elementwise.relu(A), elementwise.relu_grad_input(A, B), elementwise.add_relu(A, B)
    assert (counters.launches, counters.to_host, counters.to_device) == (3, 0, 0), counters
    assert counters.synchronizations == 0, counters
    assert all(result is not A and result is not B for result in results)
    same_bits(A, a)
    same_bits(B, b)


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_empty_arrays_need_no_launch_and_single_numbers_keep_their_shape(
    fake_gpu: Any,  # noqa: F811
    shape: tuple[int, ...],
) -> None:
    x = fake_gpu.full(shape, -1.0)
    counters.reset()
    results = elementwise.relu(x), elementwise.relu_grad_input(x, x), elementwise.add_relu(x, x)
    assert [result.shape for result in results] == [shape] * 3
    assert counters.launches == (0 if x.size == 0 else 3)


def test_unlike_shapes_and_dtypes_give_what_numpy_gives(fake_gpu: Any) -> None:  # noqa: F811
    a = numbers((4, 5), np.float32)
    for b in (numbers((5,), np.float32), numbers((4, 5), np.float64)):
        A, B = put(fake_gpu, a), put(fake_gpu, b)
        same_bits(elementwise.add_relu(A, B), add_relu(a, b))
        same_bits(elementwise.relu_grad_input(A, B), relu_grad_input(a, b))


def test_arrays_of_two_devices_are_refused_by_name(fake_gpu: Any) -> None:  # noqa: F811
    here = fake_gpu.ones(3)
    with fake_gpu.cuda.Device(1):
        there = fake_gpu.ones(3)
    with pytest.raises(DeviceError, match=r"add_relu: a is on cuda:0 and b is on cuda:1"):
        elementwise.add_relu(here, there)
    with pytest.raises(DeviceError, match=r"relu_grad_input: grad_out is on cuda:0 and out is on"):
        elementwise.relu_grad_input(here, there)
