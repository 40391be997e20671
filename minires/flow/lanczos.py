"""Lanczos: the outermost eigenvalues of a symmetric matrix that is known by its products alone.

After k products the basis q_1 ... q_k spans the vectors start, A start, ..., A^(k-1) start, and in
that basis A is a small tridiagonal matrix T.  Eigenvalues of T (Ritz values) come near those of A,
the outermost first and far sooner than in power iteration, which keeps the last vector alone.

    r = A q_k;   alpha_k = <q_k, r>;   r = r - (its part in the basis);   beta_k = |r|
    q_(k+1) = r / beta_k;   T = tridiag(beta, alpha, beta)

With y an eigenvector of T to theta, the Ritz vector v = (q_1 ... q_k) y has the residual
|A v - theta v| = beta_k |y_k|, and A has an eigenvalue no further from theta than that (Parlett,
The Symmetric Eigenvalue Problem, theorem 4.5.1 and section 13.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minires.kernels.parallel import one_blas_thread

__all__ = ["Ritz", "lanczos"]

_TINY = 1e-13  # of the largest Ritz value: a vector shorter than that is rounding, no direction


@dataclass(frozen=True)
class Ritz:
    """What :func:`lanczos` found for N matrices.

    Attributes:
        values: (N, top), largest magnitude first.
        vectors: (N, top, n), of length 1.
        history: (steps, N, 2): after each step the value of largest magnitude, and its residual
            beta_k |y_k|, as a share of its magnitude.
    """

    values: np.ndarray
    vectors: np.ndarray
    history: np.ndarray

    @property
    def steps(self) -> int:
        """How many products were made."""
        return len(self.history)


def lanczos(
    product: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, int],
    draw: np.random.Generator,
    *,
    steps: int,
    top: int = 1,
    tolerance: float = 1e-4,
) -> Ritz:
    """The ``top`` eigenvalues of largest magnitude of N symmetric matrices A of size n x n at once.

    It stops when in all N the residual of each is at most ``tolerance`` times its magnitude, or
    after ``steps`` products.  That says that the values are eigenvalues, not that none is larger;
    a random start, which has a part along every eigenvector, makes it all but certain.

    The basis is kept whole and every new vector is made orthogonal to it, twice, for in floating
    point it would not stay so by itself, and eigenvalues would be found again and again.  Where the
    basis is closed under A (all beta is rounding), a fresh random vector goes on.

    Args:
        product: A times (N, n), for each of the N by its own matrix.
        shape: (N, n).
        draw: where random vectors come from.
        steps: at most so many products; n are enough for all eigenvalues.
        top: how many, at most ``steps`` and n.
        tolerance: relative residual at which to stop.

    Returns:
        A :class:`Ritz`; all nan if a product was not finite.

    It costs one product a step, and memory for steps * N * n numbers of 8 bytes.

    >>> A = np.diag([1.0, -7.0, 3.0, 2.0])
    >>> found = lanczos(lambda v: v @ A, (1, 4), np.random.default_rng(0), steps=4, top=2)
    >>> found.values.round(9).tolist()
    [[-7.0, 3.0]]
    """
    N, n = shape
    steps, top = min(steps, n), min(top, steps, n)
    basis = np.zeros((N, steps, n))
    alpha, beta = np.zeros((N, steps)), np.zeros((N, steps))
    history = np.zeros((steps, N, 2))
    q = _unit(draw.standard_normal(shape))
    with one_blas_thread():
        for k in range(steps):
            basis[:, k] = q
            r = np.asarray(product(q), dtype=np.float64)  # (N, n)
            if not np.isfinite(r).all():
                nan = np.full((N, top, n), np.nan)
                return Ritz(nan[:, :, 0], nan, np.full((k + 1, N, 2), np.nan))
            alpha[:, k] = (q * r).sum(axis=1)
            r = _orthogonal(r, basis[:, : k + 1])
            beta[:, k] = np.sqrt(np.square(r).sum(axis=1))
            values, weights = _eigen(alpha[:, : k + 1], beta[:, :k])  # (N, k+1), (N, k+1, k+1)
            size = np.abs(values)
            residual = beta[:, k, None] * np.abs(weights[:, -1, :])  # (N, k+1)
            history[k, :, 0] = values[:, 0]
            history[k, :, 1] = _ratio(residual[:, 0], size[:, 0])
            if k + 1 >= top and (residual[:, :top] <= tolerance * size[:, :top]).all():
                break
            closed = beta[:, k] <= _TINY * size[:, 0]
            if closed.any():
                beta[closed, k] = 0.0
                fresh = _orthogonal(draw.standard_normal(shape), basis[:, : k + 1])
                r = np.where(closed[:, None], fresh, r)
            q = _unit(r)
        vectors = np.swapaxes(weights[:, :, :top], 1, 2) @ basis[:, : k + 1]  # (N, top, n)
    return Ritz(values[:, :top], vectors, history[: k + 1])


def _orthogonal(r: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """``r`` (N, n) without its part in the basis (N, k, n): twice, since once leaves rounding."""
    for _ in range(2):
        parts = basis @ r[:, :, None]  # (N, k, 1)
        r = r - (np.swapaxes(parts, 1, 2) @ basis)[:, 0]
    return r


def _unit(r: np.ndarray) -> np.ndarray:
    """Each row at length 1; a zero row stays zero."""
    lengths = np.sqrt(np.square(r).sum(axis=1, keepdims=True))
    return r / np.where(lengths > 0.0, lengths, 1.0)


def _eigen(alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (N, k) of tridiag(beta, alpha, beta), largest magnitude first, and eigenvectors
    (N, k, k) in columns."""
    k = alpha.shape[1]
    T = np.zeros((len(alpha), k, k))
    along = np.arange(k)
    T[:, along, along] = alpha
    T[:, along[1:], along[:-1]] = beta  # eigh reads the lower triangle
    values, vectors = np.linalg.eigh(T)
    order = np.argsort(-np.abs(values), axis=1, kind="stable")
    return (
        np.take_along_axis(values, order, axis=1),
        np.take_along_axis(vectors, order[:, None, :], axis=2),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; where the whole is 0, 0 if the part is too, and else infinite."""
    ratio = np.where(part > 0.0, np.inf, 0.0)
    np.divide(part, whole, out=ratio, where=whole > 0.0)
    return ratio
