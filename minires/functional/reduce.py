"""Reductions over all or some dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.autograd.function import Function
from minires.errors import ShapeError
from minires.functional.shape import BroadcastTo, Reshape

__all__ = ["mean", "sum", "var"]

Dim = int | Sequence[int] | None


class Sum(Function):
    """out = sum of x over ``dims``;  grad_x = grad_out repeated along them."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, dims: tuple[int, ...], keepdim: bool) -> Any:
        ctx.save_constant(shape=x.shape, dims=dims)
        return x.sum(axis=dims, keepdims=keepdim)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        shape, dims = ctx.saved("shape", "dims")
        kept = tuple(1 if i in dims else n for i, n in enumerate(shape))
        return BroadcastTo.apply(Reshape.apply(grad_out, shape=kept), shape=shape)


def sum(x: Any, dim: Dim = None, keepdim: bool = False, **numpy_names: Any) -> Any:
    """The sum over ``dim`` (all dimensions if None); grad_x = grad_out repeated.

    Args:
        x: any tensor.
        dim: a dimension or several; NumPy's ``axis=`` is accepted too.
        keepdim: leave length-1 dimensions in place; ``keepdims=`` too.

    >>> import minires as mr
    >>> mr.ones(2, 3).sum(dim=1)
    tensor([3., 3.])
    """
    dim, keepdim = _numpy_names(dim, keepdim, numpy_names)
    return Sum.apply(x, dims=normal_dims("sum", x.ndim, dim), keepdim=keepdim)


def mean(x: Any, dim: Dim = None, keepdim: bool = False, **numpy_names: Any) -> Any:
    """The mean over ``dim``: sum / count.

    >>> import minires as mr
    >>> mr.tensor([[1.0, 3.0], [5.0, 7.0]]).mean(dim=0)
    tensor([3., 5.])
    """
    dim, keepdim = _numpy_names(dim, keepdim, numpy_names)
    dims = normal_dims("mean", x.ndim, dim)
    count = math.prod(x.shape[d] for d in dims)
    return Sum.apply(x, dims=dims, keepdim=keepdim) * (1.0 / count if count else math.nan)


def var(
    x: Any, dim: Dim = None, keepdim: bool = False, *, correction: int = 1, **numpy_names: Any
) -> Any:
    """The variance over ``dim``: sum of (x - mean)^2 / (count - correction).

    ``correction=1`` (the default, as in PyTorch) is the unbiased estimate, 0 the biased one.

    >>> import minires as mr
    >>> mr.tensor([1.0, 3.0]).var().item(), mr.tensor([1.0, 3.0]).var(correction=0).item()
    (2.0, 1.0)
    """
    dim, keepdim = _numpy_names(dim, keepdim, numpy_names)
    dims = normal_dims("var", x.ndim, dim)
    count = math.prod(x.shape[d] for d in dims)
    deviation = x - mean(x, dims, keepdim=True)
    free = count - correction
    squares = Sum.apply(deviation * deviation, dims=dims, keepdim=keepdim)
    return squares * (1.0 / free if free > 0 else math.nan)


def normal_dims(name: str, ndim: int, dim: Dim) -> tuple[int, ...]:
    """``dim`` as a sorted tuple of non-negative dimensions.

    >>> normal_dims("sum", 3, -1), normal_dims("sum", 3, None)
    ((2,), (0, 1, 2))
    """
    if dim is None:
        return tuple(range(ndim))
    given = (int(dim),) if isinstance(dim, int | np.integer) else tuple(dim)
    for d in given:
        if not -ndim <= d < max(ndim, 1):
            raise ShapeError(f"{name}: dim {d} is out of range for {ndim} dimensions.")
    dims = tuple(sorted({d % ndim for d in given})) if ndim else ()
    if ndim and len(dims) != len(given):
        raise ShapeError(f"{name}: dim {given} names a dimension twice.")
    return dims


def _numpy_names(dim: Dim, keepdim: bool, given: dict[str, Any]) -> tuple[Dim, bool]:
    dim = given.pop("axis", dim)
    keepdim = given.pop("keepdims", keepdim)
    if given:
        raise TypeError(f"unexpected argument {next(iter(given))!r}; use dim= and keepdim=.")
    return dim, keepdim
