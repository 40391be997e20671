"""Small matrix products: BLAS needs no limit, because it uses one thread of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from minires.functional import linalg

limited = pytest.mark.skipif(
    not any(info["user_api"] == "blas" for info in threadpool_info()),
    reason="threadpoolctl cannot limit the BLAS of this NumPy",
)


def drawn(*shape: int, dtype: Any) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@limited
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [
        (8, 8, 8),
        (16, 32, 16),
        (20, 20, 20),
        (2, 64, 64),
        (64, 2, 64),
        (64, 64, 2),
        (3, 2730, 1),
        (1, 90, 91),
        (90, 91, 1),
        (1, 8192, 1),
        (1, 1, 8192),
    ],
)
def test_the_largest_products_without_a_limit_have_the_same_bits_on_one_and_two_blas_threads(
    rows: int, inner: int, columns: int, dtype: Any
) -> None:
    assert rows * inner * columns <= linalg.ONE_THREAD
    a, b = drawn(rows, inner, dtype=dtype), drawn(inner, columns, dtype=dtype)
    turned = np.ascontiguousarray(b.T).T
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            results.append((a @ b, a @ turned, a @ a.T if inner * rows**2 <= 8192 else a))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("shape_a", "shape_b", "entered"),
    [
        ((16, 32), (32, 16), 0),
        ((5, 16, 32), (32, 16), 0),
        ((16, 32), (32, 17), 1),
        ((16, 33), (33, 16), 1),
        ((17, 32), (32, 16), 1),
    ],
)
def test_the_limit_is_entered_for_products_beyond_the_bound_only(
    shape_a: tuple[int, ...],
    shape_b: tuple[int, ...],
    entered: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = []

    @contextmanager
    def counted() -> Iterator[None]:
        times.append(1)
        yield

    monkeypatch.setattr(linalg, "one_blas_thread", counted)
    a, b = drawn(*shape_a, dtype=np.float64), drawn(*shape_b, dtype=np.float64)
    np.testing.assert_array_equal(linalg.matmul(a, b), np.matmul(a, b))
    assert len(times) == entered
