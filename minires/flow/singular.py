"""Singular values of the Jacobians of a part of a network, sample by sample.

A part is a function that runs it, on all samples of a batch or on copies of one of them, and
returns the tensors where it begins and the one where it ends.  The part must not couple the samples
of a batch: then a backward pass through copies of one sample finds a row of its Jacobian for each
copy, and a backward pass through the batch a product with the Jacobian of each sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires.autograd import Tensor, grad
from minires.device import Array, array_like, to_numpy, using_device_of, zeros_like
from minires.flow.lanczos import lanczos
from minires.flow.passes import distance, finite
from minires.kernels.parallel import one_blas_thread

__all__ = ["Part", "Pick", "SingularValues", "all_values", "largest_values"]

Pick = Callable[[Array], Array]  # all samples of a batch, or copies of one
Part = Callable[[Pick], tuple[list[Tensor], Tensor]]  # where it begins, and its end

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_COPIES = 64  # rows of a whole Jacobian that one backward pass finds
_PROBES = 8  # random vectors for the mean square where the Jacobian is not there as a whole
_TOLERANCE = 1e-4  # of Lanczos: residual of s^2 as a share of it


@dataclass(frozen=True)
class SingularValues:
    """The singular values of one Jacobian (n_out x n_in), for each of N samples.

    Attributes:
        n_in, n_out: numbers a sample that go in and come out.
        exact: whether ``values`` has all of them.
        values: (N, min(n_in, n_out)), largest first, or (N, top) where not exact.  A value that
            rounding cannot tell from 0 (below largest * max(n_in, n_out) * eps) is 0.
        mean_squares: (N,): |J|^2 / n_out, the mean of the squared values, with zeros for those that
            are missing where n_out > n_in.  By this a random gradient's square grows on its way
            back, on average.  Estimated by random vectors where not exact.
        error: of the check (see :func:`jacobian_lens`).
    """

    n_in: int
    n_out: int
    exact: bool
    values: np.ndarray = field(repr=False)
    mean_squares: np.ndarray = field(repr=False)
    error: float

    @property
    def largest(self) -> float:
        """Mean over the samples of the largest one."""
        return float(self.values[:, 0].mean())

    @property
    def smallest(self) -> float | None:
        """Mean over the samples of the smallest of the min(n_in, n_out), if it is known."""
        return float(self.values[:, -1].mean()) if self.exact else None

    @property
    def mean_square(self) -> float:
        """Mean over the samples."""
        return float(self.mean_squares.mean())

    @property
    def rms(self) -> float:
        """Square root of the mean square."""
        return math.sqrt(self.mean_square)

    @property
    def condition(self) -> float | None:
        """largest / smallest, the geometric mean over the samples; infinite if one is singular."""
        if not self.exact:
            return None
        if not self.values[:, -1].all():
            return math.inf
        return float(np.exp(np.log(self.values[:, 0] / self.values[:, -1]).mean()))

    @property
    def rank(self) -> float | None:
        """How many are not 0, the mean over the samples."""
        return float((self.values > 0).sum(axis=1).mean()) if self.exact else None

    @property
    def near_one(self) -> float | None:
        """The share, over all samples, of those between 1/2 and 2."""
        if not self.exact:
            return None
        return float(((self.values >= 0.5) & (self.values <= 2.0)).mean())

    @property
    def quantiles(self) -> list[float] | None:
        """The 5, 25, 50, 75 and 95% quantiles over all samples."""
        return np.quantile(self.values, QUANTILES).tolist() if self.exact else None

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays; what is not finite is None."""
        names = ("largest", "smallest", "mean_square", "rms", "condition", "rank", "near_one")
        numbers = {name: getattr(self, name) for name in (*names, "error")}
        return {
            "inputs": self.n_in,
            "outputs": self.n_out,
            **{name: finite(value) for name, value in numbers.items()},
            "quantiles": self.quantiles if np.isfinite(self.values).all() else None,
        }


def all_values(part: Part, n: int, draw: np.random.Generator) -> list[SingularValues]:
    """All singular values, by each input of ``part``."""
    J = Linear(*part(lambda batch: batch), n)
    tried = [draw.standard_normal((n, n_in)) for n_in in J.n_in]
    products = [J.product(k, v) for k, v in enumerate(tried)]
    sizes, n_out = J.n_in, J.n_out
    del J  # and the graph with it
    values: list[list[np.ndarray]] = [[] for _ in sizes]
    squares: list[list[float]] = [[] for _ in sizes]
    errors: list[list[float]] = [[] for _ in sizes]
    for i in range(n):
        for k, dense in enumerate(_dense(part, i, n_out)):
            values[k].append(_singular_values(dense))
            squares[k].append(float(np.square(dense, dtype=np.float64).sum()) / n_out)
            errors[k].append(distance((dense * tried[k][i]).sum(axis=1), products[k][i]))
    return [
        SingularValues(
            n_in, n_out, True, np.array(values[k]), np.array(squares[k]), float(np.max(errors[k]))
        )
        for k, n_in in enumerate(sizes)
    ]


def _dense(part: Part, i: int, n_out: int) -> list[np.ndarray]:
    """The Jacobians (n_out, n_in) of sample i, a row by each of its copies in the batch."""
    copies = min(_COPIES, n_out)

    def repeated(batch: Array) -> Array:
        with using_device_of(batch):
            return batch[i : i + 1].repeat(copies, axis=0)

    inputs, output = part(repeated)
    chunks = [
        _pulled(output, inputs, np.eye(copies, n_out, start))  # copy r singles out start + r
        for start in range(0, n_out, copies)
    ]
    return [np.concatenate(rows)[:n_out] for rows in zip(*chunks, strict=True)]


def _singular_values(dense: np.ndarray) -> np.ndarray:
    """Largest first; those that rounding cannot tell from 0 are 0."""
    if not np.isfinite(dense).all():
        return np.full(min(dense.shape), np.nan)
    with one_blas_thread():
        values = np.linalg.svd(dense.astype(np.float64), compute_uv=False)
    least = values[0] * max(dense.shape) * np.finfo(dense.dtype).eps
    return np.where(values > least, values, 0.0)


def largest_values(
    part: Part, n: int, draw: np.random.Generator, steps: int, top: int
) -> list[SingularValues]:
    """The largest few, by each input of ``part``."""
    J = Linear(*part(lambda batch: batch), n)
    found = []
    for k, n_in in enumerate(J.n_in):

        def gram(v: np.ndarray, k: int = k) -> np.ndarray:
            return J.adjoint(k, J.product(k, v))

        settings: dict[str, Any] = dict(steps=steps, top=top, tolerance=_TOLERANCE)
        vectors = lanczos(gram, (n, n_in), draw, **settings).vectors  # (N, top, n_in)
        pairs = [_measured(J, k, v) for v in np.swapaxes(vectors, 0, 1)]
        signs = [draw.choice((-1.0, 1.0), (n, J.n_out)) for _ in range(_PROBES)]
        squares = np.mean([np.square(J.adjoint(k, w)).sum(axis=1) for w in signs], axis=0)
        values = -np.sort(-np.stack([s for s, _ in pairs], axis=1), axis=1)  # (N, top)
        error = float(np.max([residual for _, residual in pairs]))
        found.append(SingularValues(n_in, J.n_out, False, values, squares / J.n_out, error))
    return found


def _measured(J: Linear, k: int, v: np.ndarray) -> tuple[np.ndarray, float]:
    """s = |J v| of each sample, and the largest |J^T u - s v| / s with u = J v / s."""
    Jv = J.product(k, v).astype(np.float64)  # (N, n_out)
    s = np.sqrt(np.square(Jv).sum(axis=1))
    size = np.where(s == 0.0, 1.0, s)[:, None]
    off = J.adjoint(k, Jv / size) - s[:, None] * v
    return s, float(np.max(np.sqrt(np.square(off).sum(axis=1)) / size[:, 0]))


class Linear:
    """Products with J = d output / d input, for each sample by its own J and all at once.

    The graph of ``back`` = J^T w is linear in w, so its derivative by w is J: a backward pass
    through a backward pass goes forward.
    """

    def __init__(self, inputs: list[Tensor], output: Tensor, n: int):
        self.inputs, self.output, self.n = inputs, output, n
        self.n_in, self.n_out = [x.numel() // n for x in inputs], output.numel() // n
        self.w = Tensor(zeros_like(output._data), requires_grad=True)
        self.back: Sequence[Tensor | None] = [None] * len(inputs)
        if output.requires_grad:
            self.back = grad(output, inputs, self.w, create_graph=True, allow_unused=True)

    def adjoint(self, k: int, w: np.ndarray) -> np.ndarray:
        """J^T w by the k-th input: (N, n_out) to (N, n_in)."""
        return _pulled(self.output, [self.inputs[k]], w)[0]

    def product(self, k: int, v: np.ndarray) -> np.ndarray:
        """J v by the k-th input: (N, n_in) to (N, n_out)."""
        return _pulled(self.back[k], [self.w], v)[0]


def _pulled(
    output: Tensor | None, inputs: Sequence[Tensor], cotangent: np.ndarray
) -> list[np.ndarray]:
    """(d output / d x)^T times the cotangent for each x, a row a sample; the graph is kept."""
    n = len(cotangent)
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if output is not None and output.requires_grad:
        given = array_like(cotangent.reshape(output.shape), output._data, output.dtype)
        found = grad(output, inputs, given, retain_graph=True, allow_unused=True)
    return [
        np.zeros((n, x.numel() // n)) if g is None else to_numpy(g._data).reshape(n, -1)
        for x, g in zip(inputs, found, strict=True)
    ]
