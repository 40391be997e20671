"""Sizes of arrays: as NumPy has them in float64, on any number of threads, for any magnitude."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from minires import kernels
from minires.flow.sizes import inner, moments, square

SHAPES = [(), (1,), (7,), (4096,), (5000,), (3, 4, 5), (40, 16, 32, 32)]


@pytest.fixture
def threads() -> Iterator[None]:
    before = kernels.get_num_threads()
    yield
    kernels.set_num_threads(before)


def draw(shape: tuple[int, ...], dtype: str = "float32", shift: float = 0.0) -> np.ndarray:
    values = np.random.default_rng(len(shape)).standard_normal(shape) + shift
    return np.asarray(values, dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_those_of_float64(shape: tuple[int, ...], dtype: str) -> None:
    one, other = draw(shape, dtype), draw(shape, dtype)[..., ::-1] if shape else draw(shape, dtype)
    a, b = one.astype(np.float64), other.astype(np.float64)
    rel = 1e-12 if dtype == "float64" else 1e-6
    assert square(one) == pytest.approx((a * a).sum(), rel=rel)
    assert inner(one, other) == pytest.approx((a * b).sum(), rel=rel, abs=rel * (a * a).sum())


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moments_are_those_of_float64(shape: tuple[int, ...], dtype: str, shift: float) -> None:
    array = draw(shape, dtype, shift)
    count, mean, variance = moments(array)
    wide = array.astype(np.float64)
    assert count == array.size
    assert mean == pytest.approx(wide.mean(), rel=1e-6, abs=1e-7)
    assert variance == pytest.approx(wide.var(), rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e25])
def test_what_cannot_be_squared_in_float32_is_exact_too(scale: float) -> None:
    array = (draw((3, 5000)) * np.float32(scale)).astype(np.float32)
    wide = array.astype(np.float64)
    assert square(array) == pytest.approx((wide * wide).sum(), rel=1e-6)
    assert inner(array, array[::-1]) == pytest.approx((wide * wide[::-1]).sum(), rel=1e-6)
    assert moments(array)[2] == pytest.approx(wide.var(), rel=1e-6)


def test_zeros_nan_and_infinity_come_out_as_they_are_without_a_warning() -> None:
    assert square(np.zeros(9, np.float32)) == 0.0
    assert moments(np.full(9, 3.0, np.float32))[1:] == (3.0, 0.0)
    for bad in (np.nan, np.inf):
        array = np.array([1.0, bad], np.float32)
        assert not np.isfinite(square(array))
        assert not np.isfinite(moments(array)[2])


def test_the_bits_are_the_same_on_any_number_of_threads(threads: None) -> None:
    one, other = draw((40, 16, 64, 64)), draw((40, 16, 64, 64), shift=0.5)
    found = []
    for count in (1, 2, 5):
        kernels.set_num_threads(count)
        found.append((square(one), inner(one, other), moments(other)))
    assert found[0] == found[1] == found[2]
