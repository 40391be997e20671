"""Operations that move numbers about and change none: their gradients move them back."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.autograd.function import Function
from minires.autograd.tensor import Tensor, raw
from minires.device import array_module, device_of, names_device, to_device, using_device_of
from minires.errors import DTypeError, ShapeError, UsageError, describe
from minires.functional.indexing import GetItem
from minires.kernels.checks import check_arrays, normal_dim

__all__ = [
    "alias",
    "broadcast_to",
    "cat",
    "expand",
    "flatten",
    "permute",
    "reshape",
    "squeeze",
    "stack",
    "to",
    "transpose",
    "unbroadcast",
    "unsqueeze",
]

Shape = tuple[int, ...]


class BroadcastTo(Function):
    """out = x repeated to ``shape``;  grad_x = sum of grad_out over the copies."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, shape: Shape) -> Any:
        ctx.save_constant(shape=x.shape)
        return array_module(x).broadcast_to(x, shape)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return unbroadcast(grad_out, ctx.saved("shape"))


class SumTo(Function):
    """out = x summed down to ``shape``: broadcasting's adjoint;  grad_x = grad_out repeated."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, shape: Shape) -> Any:
        ctx.save_constant(shape=x.shape)
        lead = x.ndim - len(shape)
        stretched = tuple(
            lead + i for i, (n, m) in enumerate(zip(x.shape[lead:], shape, strict=True)) if n != m
        )
        out = x.sum(axis=tuple(range(lead)) + stretched, keepdims=True)
        return out.reshape(shape)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return BroadcastTo.apply(grad_out, shape=ctx.saved("shape"))


class Alias(Function):
    """out = x, at a place of its own in the graph;  grad_x = grad_out."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.view()

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out


class Reshape(Function):
    """out = the same numbers in another shape;  grad_x = grad_out in the shape of x."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, shape: Shape) -> Any:
        ctx.save_constant(shape=x.shape)
        return x.reshape(shape)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return Reshape.apply(grad_out, shape=ctx.saved("shape"))


class Permute(Function):
    """out = the dimensions in another order;  grad_x = grad_out in the old order."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, dims: Shape) -> Any:
        ctx.save_constant(dims=dims)
        return x.transpose(dims)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        dims = ctx.saved("dims")
        return Permute.apply(grad_out, dims=tuple(dims.index(i) for i in range(len(dims))))


class Cat(Function):
    """out = the inputs one after the other along ``dim``;  each gets its own piece of grad_out."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any, dim: int) -> Any:
        ctx.save_constant(dim=dim, lengths=[x.shape[dim] for x in inputs])
        return array_module(inputs[0]).concatenate(inputs, axis=dim)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        dim, lengths = ctx.saved("dim", "lengths")
        grads, start = [], 0
        for length in lengths:
            index = (slice(None),) * dim + (slice(start, start + length),)
            grads.append(GetItem.apply(grad_out, index=index))
            start += length
        return tuple(grads)


class Cast(Function):
    """out = x with another dtype or on another device;  grad_x = grad_out taken back."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, dtype: Any = None, device: str | None = None) -> Any:
        ctx.save_constant(dtype=x.dtype, device=None if device is None else device_of(x))
        if device is not None:
            x = to_device(x, device)
        with using_device_of(x):
            return x if dtype is None else x.astype(dtype)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        dtype, device = ctx.saved("dtype", "device")
        return Cast.apply(grad_out, dtype=dtype, device=device)


def unbroadcast(grad: Any, shape: Shape) -> Any:
    """Sum ``grad`` over the dimensions along which an array of ``shape`` was stretched.

    >>> unbroadcast(np.ones((2, 3)), (3,))
    array([2., 2., 2.])
    """
    return grad if grad.shape == shape else SumTo.apply(grad, shape=shape)


def alias(x: Any) -> Any:
    """The same numbers at a place of their own in the graph.

    Where one tensor is used twice, an alias for each use lets an instrument see the gradients of
    the uses apart, before they are added.
    """
    return Alias.apply(x)


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """``x`` repeated to ``shape``, without a copy; grad_x sums over the copies.

    >>> import minires as mr
    >>> mr.tensor([1.0, 2.0]).broadcast_to((2, 2))
    tensor([[1., 2.],
            [1., 2.]])
    """
    return _stretched("broadcast_to", x, given_shape((shape,), "broadcast_to"))


def _stretched(name: str, x: Any, shape: Shape) -> Any:
    check_arrays(name, x=x)
    try:
        return BroadcastTo.apply(x, shape=shape)
    except ValueError:
        raise ShapeError(
            f"{name}: {describe(x=x)} cannot be stretched to {shape}; counted from the last, "
            "a dimension must have the wanted length or 1."
        ) from None


def expand(x: Any, *shape: Any) -> Any:
    """As :func:`broadcast_to`, where -1 keeps the length of a dimension.

    >>> import minires as mr
    >>> mr.tensor([[1.0], [2.0]]).expand(-1, 3).shape
    (2, 3)
    """
    check_arrays("expand", x=x)
    wanted = given_shape(shape, "expand")
    lead = len(wanted) - x.ndim
    lengths = (None,) * lead + tuple(x.shape)
    filled = tuple(
        length if n == -1 and length is not None else n
        for n, length in zip(wanted, lengths, strict=False)
    )
    return _stretched("expand", x, filled)


def reshape(x: Any, *shape: Any) -> Any:
    """The same numbers, in row-major order, in another shape; one length may be -1.

    >>> import minires as mr
    >>> mr.arange(6.0).reshape(2, -1).shape
    (2, 3)
    """
    check_arrays("reshape", x=x)
    wanted = given_shape(shape, "reshape")
    size, open_ = math.prod(x.shape), wanted.count(-1)
    known = math.prod(wanted) * (-1) ** open_  # of the lengths that are given
    fits = size == known if not open_ else open_ == 1 and known > 0 and size % known == 0
    if not fits or min(wanted, default=0) < -1:
        raise ShapeError(
            f"reshape: {size} elements of shape {tuple(x.shape)} do not fit into {wanted}."
        )
    return Reshape.apply(x, shape=wanted)


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions ``start_dim`` to ``end_dim`` made one.

    >>> import minires as mr
    >>> mr.zeros(2, 3, 4).flatten(1).shape
    (2, 12)
    """
    check_arrays("flatten", x=x)
    if x.ndim == 0:
        return reshape(x, 1)
    start, end = normal_dim("flatten", x.ndim, start_dim), normal_dim("flatten", x.ndim, end_dim)
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} is behind end_dim {end_dim}.")
    merged = math.prod(x.shape[start : end + 1])
    return Reshape.apply(x, shape=(*x.shape[:start], merged, *x.shape[end + 1 :]))


def permute(x: Any, *dims: Any) -> Any:
    """The dimensions in the order ``dims``, without a copy.

    >>> import minires as mr
    >>> mr.zeros(2, 3, 4).permute(2, 0, 1).shape
    (4, 2, 3)
    """
    check_arrays("permute", x=x)
    order = tuple(normal_dim("permute", x.ndim, d) for d in given_shape(dims, "permute"))
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"permute: {dims} does not name each of {x.ndim} dimensions once.")
    return Permute.apply(x, dims=order)


def transpose(x: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged, without a copy.

    >>> import minires as mr
    >>> mr.zeros(2, 3, 4).transpose(0, -1).shape
    (4, 3, 2)
    """
    check_arrays("transpose", x=x)
    axes = x.ndim or 1  # a single number has the dimensions 0 and -1
    a, b = (normal_dim("transpose", axes, dim) for dim in (dim0, dim1))
    order = list(range(axes))
    order[a], order[b] = b, a
    return Permute.apply(x, dims=tuple(order[: x.ndim]))


def squeeze(x: Any, dim: int | Sequence[int] | None = None) -> Any:
    """Without the dimensions of length 1, or without those of them that ``dim`` names."""
    check_arrays("squeeze", x=x)
    if dim is None:
        named: Sequence[int] = range(x.ndim)
    else:
        named = dim if isinstance(dim, Sequence) and not isinstance(dim, str) else (dim,)
    drop = {normal_dim("squeeze", max(x.ndim, 1), d) for d in named}
    return Reshape.apply(
        x, shape=tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in drop)
    )


def unsqueeze(x: Any, dim: int) -> Any:
    """With a new dimension of length 1 at ``dim``."""
    check_arrays("unsqueeze", x=x)
    at = normal_dim("unsqueeze", x.ndim + 1, dim)
    return Reshape.apply(x, shape=(*x.shape[:at], 1, *x.shape[at:]))


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """The tensors one after the other along dimension ``dim``; other lengths must agree.

    >>> import minires as mr
    >>> mr.cat([mr.zeros(1, 2), mr.ones(2, 2)]).shape
    (3, 2)
    """
    shapes = _shapes("cat", tensors)
    if len({x.dtype for x in tensors}) > 1:  # NumPy would make float64 of int64 beside float32
        floats = {x.dtype for x in tensors if x.dtype.kind == "f"}
        if floats:
            tensors = [to(x, np.result_type(*floats)) for x in tensors]
    at = normal_dim("cat", len(shapes[0]), dim)
    if len({(len(s), *s[:at], *s[at + 1 :]) for s in shapes}) > 1:
        raise ShapeError(f"cat: shapes {shapes} differ elsewhere than in dimension {dim}.")
    return Cat.apply(*tensors, dim=at)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors of one shape side by side along a new dimension ``dim``.

    >>> import minires as mr
    >>> mr.stack([mr.zeros(2), mr.ones(2)]).shape
    (2, 2)
    """
    shapes = _shapes("stack", tensors)
    if len(set(shapes)) > 1:
        raise ShapeError(f"stack: all tensors must have one shape, but they have {shapes}.")
    at = normal_dim("stack", len(shapes[0]) + 1, dim)
    return cat([unsqueeze(x, at) for x in tensors], at)


def _shapes(name: str, tensors: Any) -> list[Shape]:
    if not isinstance(tensors, list | tuple):
        raise UsageError(
            f"{name}: takes a list or tuple of tensors, not {type(tensors).__name__}; "
            f"write {name}([a, b])."
        )
    check_arrays(name, **{f"tensors[{i}]": x for i, x in enumerate(tensors)})
    if not tensors:
        raise ShapeError(f"{name}: needs at least one tensor, and got an empty list.")
    return [tuple(x.shape) for x in tensors]


def to(x: Any, device_or_dtype: Any) -> Any:
    """On another device ('cpu', 'cuda'), or with another dtype; itself if nothing changes.

    >>> import minires as mr
    >>> mr.tensor([1.0]).to("float64").dtype
    dtype('float64')
    """
    check_arrays("to", x=x)
    if names_device(device_or_dtype):
        here = device_of(raw(x))
        same = here == device_or_dtype or (device_or_dtype == "cuda" and here != "cpu")
        return x if same else Cast.apply(x, device=device_or_dtype)
    try:  # NumPy takes None for float64
        dtype = None if device_or_dtype is None else np.dtype(device_or_dtype)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "fiub":
        raise DTypeError(
            f"to: {device_or_dtype!r} is neither a device ('cpu', 'cuda') nor a dtype of real "
            "numbers ('float32', 'float64', 'int64', 'bool')."
        )
    if x.dtype == dtype:
        return x
    if dtype.kind != "f" and isinstance(x, Tensor):
        x = x.detach()  # what is rounded to whole numbers has no gradient to send back
    return Cast.apply(x, dtype=dtype)


def given_shape(shape: tuple[Any, ...], name: str = "shape") -> Shape:
    """(2, 3) from both ``f(2, 3)`` and ``f((2, 3))``; ``name`` is what an error calls f."""
    alone = len(shape) == 1 and hasattr(shape[0], "__iter__")
    lengths = tuple(shape[0]) if alone else shape
    try:
        return tuple(map(operator.index, lengths))
    except TypeError:
        raise UsageError(f"{name}: takes whole numbers, not {lengths!r}.") from None
