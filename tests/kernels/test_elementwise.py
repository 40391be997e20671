"""Elementwise work: the same numbers in chunks and whole, and which arrays are cut at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minires.kernels import elementwise as module
from minires.kernels import get_num_threads, parallel, relu, relu_grad_input, set_num_threads
from minires.kernels.elementwise import elementwise

LARGE = (3, module.MANY_NUMBERS)


@pytest.fixture
def usual_cuts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pieces each piece of work was cut into."""
    seen: list[int] = []
    map_chunks = module.map_chunks

    def counted(work: Any, count: int, bytes_each: int) -> Any:
        seen.append(len(parallel.chunks(count, bytes_each)))
        return map_chunks(work, count, bytes_each)

    monkeypatch.setattr(module, "map_chunks", counted)
    return seen


@pytest.fixture
def cuts(usual_cuts: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The same, with chunks of 64 KB."""
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 1 << 16)
    return usual_cuts


def drawn(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arrays_are_cut_and_have_the_bits_of_numpy(
    cuts: list[int], dtype: Any, count: int
) -> None:
    a, b = drawn(*LARGE, dtype=dtype), drawn(*LARGE, dtype=dtype)[::-1].copy()
    usual = get_num_threads()
    set_num_threads(count)
    try:
        np.testing.assert_array_equal(elementwise(np.add, a, b), a + b)
        expected = a * b
        assert elementwise(np.multiply, a, b, out=a) is a
    finally:
        set_num_threads(usual)
    np.testing.assert_array_equal(a, expected)
    assert len(cuts) == 2
    assert min(cuts) > 4


def test_work_that_just_fills_more_than_a_chunk_is_cut(usual_cuts: list[int]) -> None:
    three_arrays = 3 * np.dtype(np.float64).itemsize
    a = drawn(2 * parallel.CHUNK_BYTES // three_arrays + 1, dtype=np.float64)  # count by half
    np.testing.assert_array_equal(elementwise(np.add, a, a), a + a)
    assert usual_cuts == [2]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (drawn(7), drawn(7)),
        (drawn(*LARGE), 2.0),
        (2.0, drawn(*LARGE)),
        (drawn(*LARGE), drawn(1, LARGE[1])),
        (drawn(*LARGE), drawn(*LARGE, dtype=np.float64)),
        (drawn(*LARGE).T, drawn(*LARGE).T),
        (drawn(*LARGE)[:, ::2], drawn(*LARGE)[:, ::2]),
        (np.float32(1.0), np.float32(2.0)),
    ],
    ids=["small", "number", "number first", "broadcast", "dtypes", "columns", "strided", "scalar"],
)
def test_all_else_goes_to_numpy_in_one_piece(cuts: list[int], a: Any, b: Any) -> None:
    found, expected = elementwise(np.add, a, b), np.add(a, b)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert cuts == []


def test_an_output_that_does_not_lie_alike_is_written_in_one_piece(cuts: list[int]) -> None:
    a, out = drawn(*LARGE), np.empty(LARGE[::-1], np.float32).T
    assert elementwise(np.add, a, a, out=out) is out
    np.testing.assert_array_equal(out, a + a)
    assert cuts == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, module.MANY_NUMBERS + 1])
def test_relu_and_its_gradient_at_the_corners(cuts: list[int], size: int, dtype: Any) -> None:
    corners = np.array([-2.0, -0.0, 0.0, 3.0, np.nan, np.inf, -np.inf], dtype)
    x = np.repeat(corners, size)
    out = relu(x)
    np.testing.assert_array_equal(out, np.repeat(corners.clip(0), size))
    assert not np.signbit(out[np.isfinite(out)]).any()  # -0 becomes 0, however many there are
    assert out.dtype == dtype
    grad = relu_grad_input(np.repeat(np.array([1, 2, 4, 8, 16, 32, 64], dtype), size), out)
    np.testing.assert_array_equal(grad, np.repeat(np.array([0, 0, 0, 8, 16, 32, 0], dtype), size))
    assert (len(cuts) == 2) == (size > 1)


def test_a_gradient_of_another_layout_is_masked_too(cuts: list[int]) -> None:
    out, grad = relu(drawn(*LARGE)), drawn(*LARGE[::-1]).T
    np.testing.assert_array_equal(relu_grad_input(grad, out), grad * (out > 0))
    strided = np.empty((*LARGE, 2), np.float32)[..., 0]
    strided[...] = drawn(*LARGE)
    np.testing.assert_array_equal(relu(strided), strided.clip(0))
    whole = np.arange(-5, module.MANY_NUMBERS)
    np.testing.assert_array_equal(relu(whole), whole.clip(0))
