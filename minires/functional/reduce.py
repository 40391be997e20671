"""Reductions over all or some dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minires.autograd.function import Function
from minires.autograd.tensor import Tensor, raw
from minires.device import array_module, as_array, using_device_of, where_input_is
from minires.errors import DTypeError, ShapeError, UsageError, describe
from minires.functional.arithmetic import Exp, Sqrt
from minires.functional.dtypes import floating
from minires.functional.shape import BroadcastTo, Reshape
from minires.kernels.checks import check_arrays, normal_dim, number, whole

__all__ = ["amax", "amin", "logsumexp", "max", "mean", "min", "std", "sum", "var"]

Dim = int | Sequence[int] | None


class Sum(Function):
    """out = sum of x over ``dims``;  grad_x = grad_out repeated along them."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, dims: tuple[int, ...], keepdim: bool) -> Any:
        ctx.save_constant(shape=x.shape, dims=dims)
        return x.sum(axis=dims, keepdims=keepdim)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return _repeated(grad_out, *ctx.saved("shape", "dims"))


class Mean(Function):
    """out = sum of x over ``dims``, divided by their count;  grad_x = grad_out / count repeated."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, dims: tuple[int, ...], keepdim: bool) -> Any:
        out = x.sum(axis=dims, keepdims=keepdim)
        share = out.size / x.size if x.size else math.nan
        ctx.save_constant(shape=x.shape, dims=dims, share=share)
        return out * share

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        shape, dims, share = ctx.saved("shape", "dims", "share")
        return _repeated(grad_out * share, shape, dims)


def _repeated(grad_out: Any, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    """The gradient of a sum over ``dims`` of an array of ``shape``."""
    if grad_out.ndim < len(shape):
        kept = [1 if i in dims else n for i, n in enumerate(shape)]
        grad_out = Reshape.apply(grad_out, shape=tuple(kept))
    if type(grad_out) is np.ndarray:
        return np.broadcast_to(grad_out, shape)
    return BroadcastTo.apply(grad_out, shape=shape)


class Extreme(Function):
    """out = the largest (``sign`` 1) or smallest (-1) over ``dims``.

    grad_out goes to the elements equal to it, in even shares; or, with ``first``, all of it to the
    first of them.  nan equals nothing: the shares are nan then, unless ``nans_share``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Any,
        *,
        dims: tuple[int, ...],
        keepdim: bool,
        sign: int,
        first: bool = False,
        nans_share: bool = False,
    ) -> Any:
        xp = array_module(x)
        indices = None
        if first:
            indices = (xp.argmax if sign > 0 else xp.argmin)(x, axis=dims[0], keepdims=True)
            out = xp.take_along_axis(x, indices, dims[0])
            share = xp.zeros(x.shape, x.dtype)
            xp.put_along_axis(share, indices, 1.0, dims[0])
        else:
            out = x.max(axis=dims, keepdims=True) if sign > 0 else x.min(axis=dims, keepdims=True)
            hit = x == out
            if nans_share:
                hit |= xp.isnan(x) & xp.isnan(out)
            count = hit.sum(axis=dims, keepdims=True)
            share = hit / xp.where(count, count, math.nan)
        ctx.save_constant(share=share.astype(x.dtype), shape=out.shape)
        squeezed = tuple(n for i, n in enumerate(x.shape) if i not in dims)
        out = out if keepdim else out.reshape(squeezed)
        if indices is None:
            return out
        return out, indices if keepdim else indices.reshape(squeezed)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        share, kept = ctx.saved("share", "shape")
        return Reshape.apply(grad_out, shape=kept) * share


class LogSumExp(Function):
    """out = log sum e^x over ``dims``;  grad_x = grad_out * e^(x - out)."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, dims: tuple[int, ...], keepdim: bool) -> Any:
        xp = array_module(x)
        top = x.max(axis=dims, keepdims=True)
        top = xp.where(xp.isfinite(top), top, 0.0)  # all -inf: the sum is 0, its logarithm -inf
        with np.errstate(divide="ignore", invalid="ignore"):
            share = xp.exp(x - top)
            total = share.sum(axis=dims, keepdims=True)
            out = xp.log(total) + top
            ctx.save_cache(share=share / total)  # more exact than e^(x - out) for large x
        if not keepdim:
            out = out.reshape(tuple(n for i, n in enumerate(x.shape) if i not in dims))
        ctx.save(x=x, out=out)
        ctx.save_constant(kept=top.shape)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x, out, kept = ctx.saved("x", "out", "kept")
        if ctx.create_graph:
            share = Exp.apply(x - Reshape.apply(out, shape=kept))
        else:
            share = ctx.cache("share")
        return Reshape.apply(grad_out, shape=kept) * share


class Extremum(NamedTuple):
    """What ``max`` and ``min`` along one dimension give: the values, and where they were."""

    values: Any
    indices: Any


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
    check_arrays("sum", x=x)
    dim, keepdim = _numpy_names("sum", dim, keepdim, numpy_names)
    return Sum.apply(x, dims=normal_dims("sum", x.ndim, dim), keepdim=keepdim)


def mean(x: Any, dim: Dim = None, keepdim: bool = False, **numpy_names: Any) -> Any:
    """The mean over ``dim``: sum / count.

    >>> import minires as mr
    >>> mr.tensor([[1.0, 3.0], [5.0, 7.0]]).mean(dim=0)
    tensor([3., 5.])
    """
    dim, keepdim = _numpy_names("mean", dim, keepdim, numpy_names)
    check_arrays("mean", x=x)
    _check_floating("mean", x)
    return Mean.apply(x, dims=normal_dims("mean", x.ndim, dim), keepdim=keepdim)


def var(
    x: Any,
    dim: Dim = None,
    *,
    keepdim: bool = False,
    correction: float | None = 1,
    unbiased: bool | None = None,
    **numpy_names: Any,
) -> Any:
    """The variance over ``dim``: sum of (x - mean)^2 / (count - correction).

    ``correction=1`` (the default, as in PyTorch) is the unbiased estimate, 0 the biased one;
    ``unbiased=True`` and ``False`` are PyTorch's older names for the two.

    >>> import minires as mr
    >>> mr.tensor([1.0, 3.0]).var().item(), mr.tensor([1.0, 3.0]).var(correction=0).item()
    (2.0, 1.0)
    """
    dim, keepdim = _numpy_names("var", dim, keepdim, numpy_names)
    return _variance("var", x, dim, keepdim, correction, unbiased)


def _variance(
    name: str, x: Any, dim: Dim, keepdim: bool, correction: float | None, unbiased: bool | None
) -> Any:
    if isinstance(dim, bool):  # PyTorch's other signature, var(x, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    correction = 1.0 if correction is None else number(correction, f"{name}: correction")
    check_arrays(name, x=x)
    _check_floating(name, x)
    dims = normal_dims(name, x.ndim, dim)
    count = math.prod(x.shape[d] for d in dims)
    deviation = x - mean(x, dims, keepdim=True)
    free = count - correction
    if free <= 0 and count > 1:  # of one number PyTorch too gives nan
        compared = "more than" if free < 0 else "as much as"
        raise UsageError(
            f"{name}: correction {correction:g} is {compared} the {count} numbers there are.\n"
            f"  {describe(x=x)}\n  It must be below their count; 1 is usual, or 0."
        )
    squares = Sum.apply(deviation * deviation, dims=dims, keepdim=keepdim)
    return squares * (1.0 / free if free > 0 else math.nan)


@where_input_is
def std(
    x: Any,
    dim: Dim = None,
    *,
    keepdim: bool = False,
    correction: float | None = 1,
    unbiased: bool | None = None,
    **numpy_names: Any,
) -> Any:
    """The standard deviation over ``dim``: the root of :func:`var`.

    >>> import minires as mr
    >>> mr.tensor([1.0, 3.0]).std(correction=0)
    tensor(1.)
    """
    dim, keepdim = _numpy_names("std", dim, keepdim, numpy_names)
    variance = _variance("std", x, dim, keepdim, correction, unbiased)
    # Where all numbers are equal the root has no derivative; the subgradient 0 is PyTorch's.
    values = raw(variance)
    flat = values == 0.0
    if not flat.any():
        return Sqrt.apply(variance)
    return Sqrt.apply(variance + flat) * (1.0 - flat.astype(values.dtype))


def amax(x: Any, dim: Dim = None, keepdim: bool = False, **numpy_names: Any) -> Any:
    """The largest over ``dim``; where several are equal to it they share the gradient evenly.

    >>> import minires as mr
    >>> mr.tensor([[1.0, 3.0], [5.0, 2.0]]).amax(dim=1)
    tensor([3., 5.])
    """
    return _extreme("amax", x, dim, keepdim, numpy_names, 1)


def amin(x: Any, dim: Dim = None, keepdim: bool = False, **numpy_names: Any) -> Any:
    """The smallest over ``dim``; where several are equal to it they share the gradient evenly."""
    return _extreme("amin", x, dim, keepdim, numpy_names, -1)


def max(x: Any, dim: int | None = None, keepdim: bool = False, **numpy_names: Any) -> Any:
    """The largest of all, or along one dimension the ``(values, indices)``.

    Of all, equal ones share the gradient evenly; along a dimension the first takes it.

    >>> import minires as mr
    >>> mr.tensor([[1.0, 3.0], [5.0, 2.0]]).max(dim=1)
    Extremum(values=tensor([3., 5.]), indices=tensor([1, 0]))
    """
    return _first_extreme("max", x, dim, keepdim, numpy_names, 1)


def min(x: Any, dim: int | None = None, keepdim: bool = False, **numpy_names: Any) -> Any:
    """The smallest of all, or along one dimension the ``(values, indices)``; see :func:`max`."""
    return _first_extreme("min", x, dim, keepdim, numpy_names, -1)


def logsumexp(x: Any, dim: Dim = None, keepdim: bool = False, **numpy_names: Any) -> Any:
    """log sum e^x over ``dim``, computed after subtracting the maximum.

    >>> import minires as mr
    >>> mr.tensor([1000.0, 1000.0]).logsumexp(0)
    tensor(1000.6932)
    """
    dim, keepdim = _numpy_names("logsumexp", dim, keepdim, numpy_names)
    check_arrays("logsumexp", x=x)
    dims = normal_dims("logsumexp", x.ndim, dim)
    _check_not_empty("logsumexp", x, dims)
    return LogSumExp.apply(floating(x), dims=dims, keepdim=keepdim)


def _check_floating(name: str, x: Any) -> None:
    if x.dtype.kind != "f":
        raise DTypeError(
            f"{name}: needs floating numbers, not {x.dtype}; convert them with .to('float32').\n"
            f"  {describe(x=x)}"
        )


def argmax(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Where the largest number is, the first of equals; in the flattened tensor without ``dim``.

    >>> import minires as mr
    >>> mr.tensor([[1.0, 3.0], [5.0, 2.0]]).argmax(dim=1)
    tensor([1, 0])
    """
    return _place("argmax", x, dim, keepdim)


def argmin(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Where the smallest number is; see :func:`argmax`."""
    return _place("argmin", x, dim, keepdim)


def _place(name: str, x: Any, dim: int | None, keepdim: bool) -> Any:
    check_arrays(name, x=x)
    if dim is not None:
        dim = whole(dim, f"{name}: dim")
    dims = normal_dims(name, x.ndim, dim)
    _check_not_empty(name, x, dims)
    data = raw(x)
    axis = None if dim is None or not dims else dims[0]
    with using_device_of(data):
        found = as_array(getattr(data, name)(axis=axis, keepdims=keepdim))
    return Tensor._wrap(found, None) if isinstance(x, Tensor) else found


def _extreme(
    name: str, x: Any, dim: Dim, keepdim: bool, numpy_names: dict[str, Any], sign: int
) -> Any:
    check_arrays(name, x=x)
    dim, keepdim = _numpy_names(name, dim, keepdim, numpy_names)
    dims = normal_dims(name, x.ndim, dim)
    _check_not_empty(name, x, dims)
    # PyTorch has two formulas, which differ for nan: of max and min, and of amax and amin.
    shared = name in ("max", "min")
    return Extreme.apply(x, dims=dims, keepdim=keepdim, sign=sign, nans_share=shared)


def _first_extreme(
    name: str, x: Any, dim: int | None, keepdim: bool, numpy_names: dict[str, Any], sign: int
) -> Any:
    if isinstance(dim, Tensor):
        raise UsageError(f"{name}: takes a dim; the {name} of two tensors is {name}imum(a, b).")
    check_arrays(name, x=x)
    dim, keepdim = _numpy_names(name, dim, keepdim, numpy_names)  # type: ignore[assignment]
    if dim is None:
        return _extreme(name, x, None, keepdim, {}, sign)
    dims = normal_dims(name, x.ndim, dim)
    if len(dims) > 1:
        raise UsageError(f"{name}: takes one dim, since it returns indices; use a{name}.")
    _check_not_empty(name, x, dims)
    if not dims:  # a single number
        x = Reshape.apply(x, shape=(1,))
        dims, keepdim = (0,), False
    values, indices = Extreme.apply(x, dims=dims, keepdim=keepdim, sign=sign, first=True)
    wrap = isinstance(values, Tensor)
    return Extremum(values, Tensor._wrap(indices, None) if wrap else indices)


def _check_not_empty(name: str, x: Any, dims: tuple[int, ...]) -> None:
    if 0 in (x.shape[d] for d in dims):
        raise ShapeError(f"{name}: there is no {name} of no numbers; got shape {tuple(x.shape)}.")


def normal_dims(name: str, ndim: int, dim: Dim) -> tuple[int, ...]:
    """``dim`` as a sorted tuple of non-negative dimensions; of None, and of none at all, all.

    >>> normal_dims("sum", 3, -1), normal_dims("sum", 3, None)
    ((2,), (0, 1, 2))
    """
    if dim is None:
        return tuple(range(ndim))
    if type(dim) is int and -ndim <= dim < ndim:  # the common case
        return (dim % ndim,)
    given = tuple(dim) if hasattr(dim, "__iter__") and not isinstance(dim, str) else (dim,)
    axes = ndim or 1  # a single number has the dimensions 0 and -1
    dims = tuple(sorted({normal_dim(name, axes, d) for d in given}))
    if len(dims) != len(given):
        raise ShapeError(f"{name}: dim {given} names a dimension twice.")
    return dims if ndim and dims else tuple(range(ndim))


def _numpy_names(name: str, dim: Dim, keepdim: bool, given: dict[str, Any]) -> tuple[Dim, bool]:
    if not given:
        return dim, keepdim
    dim = given.pop("axis", dim)
    keepdim = given.pop("keepdims", keepdim)
    if given:
        raise TypeError(
            f"{name}: unexpected argument {next(iter(given))!r}; use dim= and keepdim=."
        )
    return dim, keepdim
