"""The generator of uniform.cu, run on the CPU: NumPy's Philox, number for number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.kernels.cuda import launcher
from minires.kernels.cuda.fibers import ORDERS, in_order
from minires.kernels.cuda.uniform import uniform
from tests.fake_cupy import counters, fake_gpu, installed  # noqa: F401  (a fixture)


def by_numpy(key: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=key)).random(shape)


def as_float32(numbers: np.ndarray) -> np.ndarray:
    """The upper 24 of 53 bits."""
    return (np.floor(numbers * 2**24) / 2**24).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(1, 20), max_size=3),
    st.sampled_from(ORDERS),
)
def test_the_numbers_are_those_of_numpy_bit_for_bit_for_any_key_and_shape(
    key: int, shape: list[int], order: str
) -> None:
    expected = np.asarray(by_numpy(key, tuple(shape)))
    with installed() as cupy, in_order(order):
        found = uniform(key, tuple(shape), cupy.empty(1, np.float64)).get()
        rounded = uniform(key, tuple(shape), cupy.empty(1, np.float32)).get()
    np.testing.assert_array_equal(found, expected, strict=True)
    np.testing.assert_array_equal(rounded, as_float32(expected), strict=True)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 127, 1024, 1030, 9999])
def test_sizes_below_a_pack_and_above_the_grid(
    fake_gpu: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setattr(launcher, "MAX_BLOCKS", 1)
    expected = by_numpy(7, (count,))
    for dtype, numbers in ((np.float64, expected), (np.float32, as_float32(expected))):
        found = uniform(7, (count,), fake_gpu.empty(1, dtype)).get()
        np.testing.assert_array_equal(found, numbers, strict=True)


def test_float32_never_reaches_1_and_keeps_the_choice_of_a_probability_of_few_bits(
    fake_gpu: Any,  # noqa: F811
) -> None:
    wide = uniform(1, (20_000,), fake_gpu.empty(1, np.float64)).get()
    narrow = uniform(1, (20_000,), fake_gpu.empty(1, np.float32)).get()
    assert narrow.max() < 1.0
    assert narrow.min() >= 0.0
    for p in (0.25, 0.5, 0.875):
        np.testing.assert_array_equal(narrow >= p, wide >= p)


def test_they_are_made_on_the_device_of_the_array_in_one_launch(fake_gpu: Any) -> None:  # noqa: F811
    with fake_gpu.cuda.Device(1):
        like = fake_gpu.empty(1, np.float32)
    counters.reset()
    found = uniform(3, (4, 5), like)
    assert (counters.launches, counters.to_device, counters.to_host) == (1, 0, 0), counters
    assert counters.synchronizations == 0, counters
    assert found.device.id == 1


def test_other_dtypes_get_float32_and_empty_shapes_no_launch(fake_gpu: Any) -> None:  # noqa: F811
    assert uniform(3, (2,), fake_gpu.empty(1, np.float16)).dtype == np.float32
    counters.reset()
    assert uniform(3, (2, 0), fake_gpu.empty(1, np.float32)).shape == (2, 0)
    assert counters.launches == 0
