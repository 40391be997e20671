"""Elementwise operations, with NumPy's broadcasting.

Where an input was stretched by broadcasting, its gradient is the sum over the copies:
:func:`unbroadcast` does that, once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minires.autograd.function import Function
from minires.autograd.tensor import Tensor, raw
from minires.device import array_module
from minires.errors import DTypeError, ShapeError, describe
from minires.functional.dtypes import floating
from minires.functional.shape import to, unbroadcast
from minires.kernels.checks import check_arrays
from minires.kernels.elementwise import elementwise

__all__ = ["abs", "add", "div", "exp", "log", "mul", "neg", "pow", "sqrt", "sub"]


class Add(Function):
    """out = a + b;  grad_a = grad_out;  grad_b = grad_out."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_constant(shapes=(getattr(a, "shape", ()), getattr(b, "shape", ())))
        if type(a) is type(b) is np.ndarray:
            return elementwise(np.add, a, b)
        return a + b

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        shape_a, shape_b = ctx.saved("shapes")
        need_a, need_b = ctx.needs_input_grad
        return (
            unbroadcast(grad_out, shape_a) if need_a else None,
            unbroadcast(grad_out, shape_b) if need_b else None,
        )


class Sub(Function):
    """out = a - b;  grad_a = grad_out;  grad_b = -grad_out."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_constant(shapes=(getattr(a, "shape", ()), getattr(b, "shape", ())))
        return a - b

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        shape_a, shape_b = ctx.saved("shapes")
        need_a, need_b = ctx.needs_input_grad
        return (
            unbroadcast(grad_out, shape_a) if need_a else None,
            unbroadcast(-grad_out, shape_b) if need_b else None,
        )


class Mul(Function):
    """out = a * b;  grad_a = grad_out * b;  grad_b = grad_out * a."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save(a=a, b=b)
        return a * b

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        a, b = ctx.saved("a", "b")
        need_a, need_b = ctx.needs_input_grad
        return (
            unbroadcast(grad_out * b, a.shape) if need_a else None,
            unbroadcast(grad_out * a, b.shape) if need_b else None,
        )


class Div(Function):
    """out = a / b;  grad_a = grad_out / b;  grad_b = -grad_out * a / b^2."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save(a=a, b=b)
        return a / b

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        a, b = ctx.saved("a", "b")
        need_a, need_b = ctx.needs_input_grad
        return (
            unbroadcast(grad_out / b, a.shape) if need_a else None,
            unbroadcast(-grad_out * a / (b * b), b.shape) if need_b else None,
        )


class Pow(Function):
    """out = a^b;  grad_a = grad_out * b * a^(b-1);  grad_b = grad_out * a^b * log(a).

    The exponent of a zero base gets the gradient 0, the limit from the right for b > 0; a negative
    exponent gets minus infinity.
    """

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save(a=a, b=b)
        return a**b

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        a, b = ctx.saved("a", "b")
        need_a, need_b = ctx.needs_input_grad
        grad_a = grad_b = None
        if need_a:
            if isinstance(b, int | float):
                slope = b * pow(a, b - 1) if b else 0.0
            else:  # 0^0 is constant in the base: raise to 0 there instead of -1
                both_zero = (raw(a) == 0) & (raw(b) == 0)
                slope = b * pow(a, b - 1 + both_zero)
            grad_a = unbroadcast(grad_out * slope, a.shape)
        if need_b:
            grad_b = unbroadcast(grad_out * pow(a, b) * _log_of_base(a, b), b.shape)
        return grad_a, grad_b


class Neg(Function):
    """out = -x;  grad_x = -grad_out."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return -x

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return -grad_out


class Exp(Function):
    """out = e^x;  grad_x = grad_out * out."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = array_module(x).exp(x)
        ctx.save(out=out)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out * ctx.saved("out")


class Log(Function):
    """out = log(x);  grad_x = grad_out / x."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x=x)
        return array_module(x).log(x)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out / ctx.saved("x")


class Sqrt(Function):
    """out = sqrt(x);  grad_x = grad_out / (2 * out)."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = array_module(x).sqrt(x)
        ctx.save(out=out)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out / (ctx.saved("out") * 2.0)


class Abs(Function):
    """out = |x|;  grad_x = grad_out * sign(x), and 0 at 0 and at nan."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_constant(sign=(x > 0).astype(x.dtype) - (x < 0))
        return array_module(x).abs(x)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out * ctx.saved("sign")


def _log_of_base(a: Any, b: Any) -> Any:
    """log(a), and 0 where a is 0 and b is not negative, to keep 0^b * log(0) finite."""
    if isinstance(a, int | float) and a:
        return math.log(a) if a > 0 else math.nan
    constant = (raw(a) == 0) & (raw(b) >= 0)
    if isinstance(a, int | float):
        return array_module(constant).where(constant, 0.0, -math.inf).astype(b.dtype)
    return log(a + constant)


def operand(name: str, x: Any, beside: Any) -> Any:
    """``x`` as it takes part beside the other operand, so that float32 stays float32.

    NumPy's single numbers become Python's.  Whole numbers, and arrays without dimensions, take the
    floating type of the other operand.
    """
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, (int, float)):
        return x
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        raise DTypeError(
            f"{name}: {type(x).__name__} is neither a real number nor an array or tensor.\n"
            "  Make a tensor of it: mr.tensor(...)."
        )
    if dtype.kind not in "fiub":
        check_arrays(name, array=x)
    if isinstance(beside, float) and dtype.kind in "iub":
        return floating(x)
    other = getattr(beside, "dtype", None)
    if other is None or other.kind != "f" or dtype == other:
        return x
    plain = isinstance(beside, Tensor) and not isinstance(x, Tensor)
    number = x.ndim == 0 and (beside.ndim > 0 or plain)
    return to(x, other) if dtype.kind in "iub" or number else x


def alike(a: Any, b: Any) -> bool:
    """Whether both are tensors of one floating dtype, whose values need no closer look."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return False
    dtype: np.dtype[Any] = a._data.dtype
    return dtype.kind == "f" and dtype == b._data.dtype


def binary(name: str, function: type[Function], a: Any, b: Any, **options: Any) -> Any:
    """Apply an operation of two broadcast operands; ``name`` is what an error calls it."""
    left, right = (a, b) if alike(a, b) else (operand(name, a, b), operand(name, b, a))
    if not (hasattr(a, "dtype") or hasattr(b, "dtype")):
        raise DTypeError(
            f"{name}: neither {a!r} nor {b!r} is an array or tensor; Python computes with numbers."
            "\n  Make a tensor of one of them: mr.tensor(...)."
        )
    try:
        return function.apply(left, right, **options)
    except ValueError as error:
        if "negative integer powers" in str(error):
            raise DTypeError(
                f"{name}: whole numbers have no negative whole powers.\n  {describe(a=a, b=b)}\n"
                "  Make the base floating: a.to('float32')."
            ) from None
        raise of_shapes(name, error, a=a, b=b) from None


def of_shapes(name: str, error: ValueError, **operands: Any) -> ValueError:
    """In place of NumPy's error that shapes cannot be broadcast, one that shows them."""
    if isinstance(error, ShapeError) or "broadcast" not in str(error):
        return error
    return ShapeError(
        f"{name}: these shapes cannot be broadcast together.\n  {describe(**operands)}\n"
        "  Counted from the last, dimensions must be equal, or one of them 1."
    )


def add(a: Any, b: Any) -> Any:
    """a + b, elementwise; grad_a = grad_out, grad_b = grad_out.

    >>> import minires as mr
    >>> mr.tensor([1.0, 2.0]) + 1
    tensor([2., 3.])
    """
    return binary("add", Add, a, b)


def sub(a: Any, b: Any) -> Any:
    """a - b, elementwise; grad_a = grad_out, grad_b = -grad_out."""
    return binary("sub", Sub, a, b)


def mul(a: Any, b: Any) -> Any:
    """a * b, elementwise; grad_a = grad_out * b, grad_b = grad_out * a."""
    return binary("mul", Mul, a, b)


def div(a: Any, b: Any) -> Any:
    """a / b, elementwise; grad_a = grad_out / b, grad_b = -grad_out * a / b^2."""
    if all(x.dtype.kind in "iub" for x in (a, b) if hasattr(x, "dtype")):
        a, b = (floating(x) if hasattr(x, "dtype") else x for x in (a, b))
    return binary("div", Div, a, b)


def pow(a: Any, exponent: Any) -> Any:
    """a ** exponent, elementwise; see :class:`Pow` for the gradients.

    >>> import minires as mr
    >>> mr.tensor([1.0, 2.0, 3.0]) ** 2
    tensor([1., 4., 9.])
    """
    return binary("pow", Pow, a, exponent)


def neg(x: Any) -> Any:
    """-x; grad_x = -grad_out."""
    _check_numbers("neg", x)
    return Neg.apply(x)


def exp(x: Any) -> Any:
    """e^x, elementwise; grad_x = grad_out * e^x."""
    check_arrays("exp", x=x)
    return Exp.apply(floating(x))


def log(x: Any) -> Any:
    """The natural logarithm, elementwise; grad_x = grad_out / x."""
    check_arrays("log", x=x)
    return Log.apply(floating(x))


def sqrt(x: Any) -> Any:
    """The square root, elementwise; grad_x = grad_out / (2 sqrt(x)), infinite at 0."""
    check_arrays("sqrt", x=x)
    return Sqrt.apply(floating(x))


def abs(x: Any) -> Any:
    """|x|, elementwise; grad_x = grad_out * sign(x), with 0 at 0."""
    _check_numbers("abs", x)
    return Abs.apply(x)


def _check_numbers(name: str, x: Any) -> None:
    """Refuse booleans, which have no sign."""
    check_arrays(name, x=x)
    if x.dtype.kind == "b":
        raise DTypeError(
            f"{name}: x must hold numbers, not booleans.\n  {describe(x=x)}\n"
            "  Convert it first: x.to('float32'); the opposite of a condition is x == False."
        )


def swapped(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The operation with its arguments exchanged, for ``2 - x``."""

    def reflected(self: Any, other: Any) -> Any:
        return operation(other, self)

    return reflected
