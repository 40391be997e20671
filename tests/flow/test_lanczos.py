"""Lanczos, held against the dense eigenvalue solver."""

from __future__ import annotations

import numpy as np
import pytest

from minires.flow.lanczos import Ritz, lanczos


def symmetric(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """A matrix with these eigenvalues, in a random basis."""
    n = len(values)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return basis @ np.diag(values) @ basis.T


def run(matrices: np.ndarray, **options: int | float) -> Ritz:
    N, n, _ = matrices.shape

    def product(v: np.ndarray) -> np.ndarray:
        assert v.shape == (N, n)
        return np.einsum("imn,in->im", matrices, v)

    settings = {"steps": n, "tolerance": 1e-10, **options}
    return lanczos(product, (N, n), np.random.default_rng(7), **settings)  # type: ignore[arg-type]


def test_outermost_eigenvalues_of_several_matrices_at_once_are_those_of_a_dense_solver() -> None:
    draw = np.random.default_rng(3)
    matrices = np.stack([symmetric(draw.standard_normal(30), seed) for seed in range(4)])
    found = run(matrices, top=3)
    for matrix, values, vectors in zip(matrices, found.values, found.vectors, strict=True):
        dense = np.linalg.eigvalsh(matrix)
        expected = dense[np.argsort(-np.abs(dense))][:3]
        np.testing.assert_allclose(values, expected, rtol=1e-9)
        np.testing.assert_allclose(vectors @ matrix, values[:, None] * vectors, atol=1e-8)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-10)


def test_magnitude_decides_and_the_sign_is_kept() -> None:
    found = run(symmetric(np.array([3.0, -5.0, 1.0, 0.5]))[None])
    assert found.values == pytest.approx(np.array([[-5.0]]))


def test_it_stops_as_soon_as_the_residual_is_small_and_that_bounds_the_error() -> None:
    values = np.linspace(0.0, 1.0, 200)
    values[-1] = 2.0
    matrix = symmetric(values)[None]
    loose, tight = run(matrix, tolerance=1e-2), run(matrix, tolerance=1e-8)
    assert loose.steps < tight.steps < 60
    for found, tolerance in ((loose, 1e-2), (tight, 1e-8)):
        value, residual = found.history[-1, 0]
        assert residual <= tolerance
        assert abs(value - 2.0) <= residual * abs(value)
        (v,) = found.vectors[0]
        actual = np.linalg.norm(matrix[0] @ v - value * v) / abs(value)
        assert actual == pytest.approx(residual, rel=1e-4)


def test_no_more_products_are_made_than_steps() -> None:
    calls: list[int] = []
    matrix = symmetric(np.random.default_rng(0).standard_normal(50))

    def product(v: np.ndarray) -> np.ndarray:
        calls.append(1)
        return v @ matrix

    found = lanczos(product, (1, 50), np.random.default_rng(0), steps=5, tolerance=0.0)
    assert len(calls) == found.steps == len(found.history) == 5


def test_the_basis_stays_orthogonal_so_that_no_eigenvalue_is_found_twice() -> None:
    values = np.concatenate([np.linspace(0, 1, 97), [10.0, 100.0, 1e6]])
    found = run(symmetric(values)[None], top=4, steps=60)
    assert found.values[0] == pytest.approx(np.array([1e6, 100.0, 10.0, 1.0]), rel=1e-2)


@pytest.mark.parametrize("value", [1.0, -3.0])
def test_a_basis_that_is_closed_goes_on_with_a_fresh_vector(value: float) -> None:
    found = run(np.stack([value * np.eye(6), symmetric(np.arange(6.0) + 1)]), top=3)
    assert found.values[0] == pytest.approx(np.full(3, value))
    assert found.values[1] == pytest.approx(np.array([6.0, 5.0, 4.0]))
    np.testing.assert_allclose(found.vectors[0] @ found.vectors[0].T, np.eye(3), atol=1e-10)


def test_the_zero_matrix_has_eigenvalue_zero() -> None:
    found = run(np.zeros((1, 4, 4)), top=2)
    assert found.values.tolist() == [[0.0, 0.0]]
    assert found.history[:, 0, 1].tolist() == [0.0, 0.0]


def test_a_value_of_zero_that_is_none_yet_has_an_infinite_residual() -> None:
    swap = np.array([[[0.0, 1.0], [1.0, 0.0]]])

    class Fixed:
        def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
            return np.array([[1.0, 0.0]])

    draw: np.random.Generator = Fixed()  # type: ignore[assignment]
    found = lanczos(lambda v: v @ swap[0], (1, 2), draw, steps=2)
    assert found.history[0, 0].tolist() == [0.0, np.inf]
    assert abs(found.values[0, 0]) == pytest.approx(1.0)


def test_top_is_at_most_the_size() -> None:
    assert run(symmetric(np.array([1.0, 2.0]))[None], top=5).values[0] == pytest.approx([2.0, 1.0])


def test_a_product_that_is_not_finite_gives_nan() -> None:
    matrix = np.full((1, 3, 3), np.inf)
    with np.errstate(invalid="ignore"):
        found = run(matrix)
    assert np.isnan(found.values).all()
    assert found.vectors.shape == (1, 1, 3)


def test_the_same_generator_gives_the_same_bits() -> None:
    matrix = symmetric(np.random.default_rng(5).standard_normal(20))[None]
    first, second = run(matrix, steps=6), run(matrix, steps=6)
    assert first.values.tobytes() == second.values.tobytes()
    assert first.vectors.tobytes() == second.vectors.tobytes()
