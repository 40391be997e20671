"""Operations that pick one of two numbers, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.autograd.function import Function
from minires.autograd.tensor import Tensor, raw
from minires.device import (
    array_like,
    array_module,
    as_array,
    check_same_device,
    is_array,
    is_on_gpu,
    where_input_is,
)
from minires.errors import DTypeError, UsageError, describe
from minires.functional.arithmetic import binary, of_shapes, operand
from minires.functional.shape import unbroadcast
from minires.kernels.checks import check_arrays

__all__ = ["clamp", "maximum", "minimum", "where"]


class Maximum(Function):
    """out = max(a, b);  the gradient goes to the larger, half to each where they are equal."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        xp = array_module(a if is_array(a) else b)
        ctx.save_constant(a_lost=a < b, b_lost=b < a, tie=a == b, shapes=_shapes(a, b))
        return xp.maximum(a, b)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return _to_winner(ctx, grad_out)


class Minimum(Function):
    """out = min(a, b);  the gradient goes to the smaller, half to each where they are equal."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        xp = array_module(a if is_array(a) else b)
        ctx.save_constant(a_lost=b < a, b_lost=a < b, tie=a == b, shapes=_shapes(a, b))
        return xp.minimum(a, b)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return _to_winner(ctx, grad_out)


def _to_winner(ctx: Any, grad_out: Any) -> tuple[Any, ...]:
    """All to the winner, half to each of a tie; where one is nan nobody lost, and both get all."""
    a_lost, b_lost, tie, shapes = ctx.saved("a_lost", "b_lost", "tie", "shapes")
    halved = Where.apply(grad_out * 0.5, grad_out, condition=as_array(tie))
    return tuple(
        unbroadcast(Where.apply(0.0, halved, condition=as_array(lost)), shape) if need else None
        for lost, shape, need in zip((a_lost, b_lost), shapes, ctx.needs_input_grad, strict=True)
    )


class Where(Function):
    """out = a where the condition holds, else b;  grad_out goes to the one that was taken."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any, *, condition: Any) -> Any:
        ctx.save_constant(condition=condition, shapes=_shapes(a, b))
        return array_module(condition).where(condition, a, b)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        condition, (shape_a, shape_b) = ctx.saved("condition", "shapes")
        need_a, need_b = ctx.needs_input_grad
        to_a = Where.apply(grad_out, 0.0, condition=condition) if need_a else None
        to_b = Where.apply(0.0, grad_out, condition=condition) if need_b else None
        return (
            None if to_a is None else unbroadcast(to_a, shape_a),
            None if to_b is None else unbroadcast(to_b, shape_b),
        )


class Clamp(Function):
    """out = x between two bounds;  grad_x = grad_out inside and on the bounds, 0 beyond.

    A bound that is a tensor gets grad_out where it took the place of x; of bounds that cross, the
    upper one does.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, low: Any, high: Any) -> Any:
        xp = array_module(x)
        takers = tuple(
            takes(x, low, high) if need else None
            for takes, need in zip((_inside, _below, _above), ctx.needs_input_grad, strict=False)
        )
        ctx.save_constant(takers=takers, shapes=_shapes(x, low, high))
        out = x if low is None else xp.maximum(x, low)
        return out if high is None else xp.minimum(out, high)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        takers, shapes = ctx.saved("takers", "shapes")
        return tuple(
            None
            if taker is None
            else unbroadcast(Where.apply(grad_out, 0.0, condition=taker), shape)
            for taker, shape in zip(takers, shapes, strict=True)
        )


def _inside(x: Any, low: Any, high: Any) -> Any:
    """Where the result is x; a bound may be None."""
    return (low is None or x >= low) & (high is None or x <= high)


def _below(x: Any, low: Any, high: Any) -> Any:
    """Where the result is the lower bound."""
    return (x < low) & (high is None or low < high)


def _above(x: Any, low: Any, high: Any) -> Any:
    """Where the result is the upper bound."""
    return (x > high) | (low is not None and high < low)


def _shapes(*operands: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(getattr(x, "shape", ()) for x in operands)


def maximum(input: Any, other: Any) -> Any:
    """The larger of two numbers, elementwise; where they are equal each gets half the gradient.

    >>> import minires as mr
    >>> mr.tensor([1.0, 5.0]).maximum(mr.tensor([3.0, 2.0]))
    tensor([3., 5.])
    """
    return binary("maximum", Maximum, input, other)


def minimum(input: Any, other: Any) -> Any:
    """The smaller of two numbers, elementwise; where they are equal each gets half the gradient."""
    return binary("minimum", Minimum, input, other)


@where_input_is
def where(condition: Any, input: Any, other: Any) -> Any:
    """``input`` where the condition holds, ``other`` elsewhere; all three are broadcast.

    Args:
        condition: booleans, a tensor or an array.
        input, other: tensors or numbers.

    >>> import minires as mr, minires.functional as F
    >>> x = mr.tensor([1.0, -2.0])
    >>> F.where(x > 0, x, 0.0)
    tensor([1., 0.])
    """
    mask, a, b = (raw(v) for v in (condition, input, other))
    if not is_array(mask):  # a single boolean has no device of its own
        gpu = a if is_on_gpu(a) else b
        mask = array_like(mask, gpu) if is_on_gpu(gpu) else np.asarray(mask)
    check_same_device("where", condition=mask, input=a, other=b)
    if mask.dtype != np.bool_:
        raise DTypeError(
            f"where: the condition must be boolean, not {mask.dtype}; compare first.\n"
            f"  {describe(condition=condition)}"
        )
    try:
        a, b = operand("where", input, other), operand("where", other, input)
        out = Where.apply(a, b, condition=mask)
    except ValueError as error:
        raise of_shapes("where", error, condition=mask, input=input, other=other) from None
    if not any(hasattr(x, "dtype") for x in (input, other)) and out.dtype == np.float64:
        out = out.astype(np.float32)  # Python floats become float32, as in mr.tensor
    # With two numbers nothing but the condition says whether tensors are meant.
    return Tensor._wrap(out, None) if isinstance(condition, Tensor) and is_array(out) else out


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """The numbers kept between ``min`` and ``max``; the gradient passes inside and on the bounds.

    The bounds are numbers or tensors, broadcast with the input, or None; where ``min`` is above
    ``max`` the result is ``max``.

    >>> import minires as mr
    >>> mr.tensor([-2.0, 0.5, 2.0]).clamp(-1, 1)
    tensor([-1. ,  0.5,  1. ])
    """
    check_arrays("clamp", input=input)
    if min is None and max is None:
        raise UsageError("clamp: give min, max, or both.")
    low, high = (b.item() if isinstance(b, np.generic) else b for b in (min, max))
    for bound in (low, high):
        if bound is not None:
            input = operand("clamp", input, bound)
    low, high = (None if b is None else operand("clamp", b, input) for b in (low, high))
    try:
        return Clamp.apply(input, low, high)
    except ValueError as error:
        raise of_shapes("clamp", error, input=input, min=low, max=high) from None
