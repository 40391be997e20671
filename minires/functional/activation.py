"""Activations, softmax and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minires import kernels
from minires.autograd.function import Function
from minires.autograd.tensor import raw
from minires.device import array_module, as_array, is_on_gpu, where_input_is
from minires.errors import UsageError
from minires.functional.arithmetic import exp
from minires.functional.dtypes import floating
from minires.functional.reduce import sum
from minires.functional.selection import Where
from minires.functional.shape import to
from minires.kernels.checks import check_arrays, normal_dim, number
from minires.kernels.cuda.uniform import uniform
from minires.kernels.special import erf
from minires.rng import default_generator

__all__ = [
    "dropout",
    "gelu",
    "leaky_relu",
    "log_softmax",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


class ReLU(Function):
    """out = max(x, 0);  grad_x = grad_out where out > 0, or nan, and 0 elsewhere, also at x = 0."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = kernels.relu(x)
        ctx.save(out=out)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        out = ctx.saved("out")
        if ctx.create_graph:
            return grad_out * (out._data != 0)
        return kernels.relu_grad_input(grad_out, out)


class AddReLU(Function):
    """out = max(a + b, 0), with a and b alike;  grad_a = grad_b = grad_out where out > 0.

    The bits are those of :class:`ReLU` of the sum, which is not kept.
    """

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        out = kernels.add_relu(a, b)
        ctx.save(out=out)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        grad = ReLU.backward(ctx, grad_out)
        return grad, grad


class LeakyReLU(Function):
    """out = x where x > 0, else slope * x;  grad_x = grad_out, or slope * grad_out, also at 0."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, negative_slope: float) -> Any:
        slope = array_module(x).where(x > 0, 1.0, negative_slope).astype(x.dtype)
        ctx.save_constant(slope=slope)
        return x * slope

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out * ctx.saved("slope")


class Sigmoid(Function):
    """out = 1 / (1 + e^-x);  grad_x = grad_out * out * (1 - out)."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        xp = array_module(x)
        small = xp.exp(-xp.abs(x))  # between 0 and 1: never overflows
        out = xp.where(x >= 0, 1.0, small) / (1.0 + small)
        ctx.save(out=out)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        out = ctx.saved("out")
        return grad_out * out * (1.0 - out)


class Tanh(Function):
    """out = tanh(x);  grad_x = grad_out * (1 - out^2)."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = array_module(x).tanh(x)
        ctx.save(out=out)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        out = ctx.saved("out")
        return grad_out * (1.0 - out * out)


class Erf(Function):
    """out = erf(x);  grad_x = grad_out * 2/sqrt(pi) * e^(-x^2)."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x=x)
        return erf(x)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x = ctx.saved("x")
        return grad_out * (exp(-x * x) * (2.0 / math.sqrt(math.pi)))


class Softplus(Function):
    """out = log(1 + e^(beta x)) / beta;  grad_x = grad_out * sigmoid(beta x)."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, beta: float, threshold: float) -> Any:
        xp = array_module(x)
        scaled = x * beta
        linear = xp.asarray(scaled > threshold)
        ctx.save(x=x)
        ctx.save_constant(beta=beta, linear=linear)
        return xp.where(linear, x, xp.logaddexp(scaled, xp.zeros_like(scaled)) / beta)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x, beta, linear = ctx.saved("x", "beta", "linear")
        return grad_out * Where.apply(1.0, sigmoid(x * beta), condition=linear)


class Softmax(Function):
    """out = e^x / sum e^x;  grad_x = out * (grad_out - sum grad_out * out)."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, dim: int) -> Any:
        out = kernels.softmax(x, dim)
        ctx.save(out=out)
        ctx.save_constant(dim=dim)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        out, dim = ctx.saved("out", "dim")
        return out * (grad_out - sum(grad_out * out, dim, keepdim=True))


class LogSoftmax(Function):
    """out = x - log sum e^x;  grad_x = grad_out - e^out * sum grad_out."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, dim: int) -> Any:
        out = kernels.log_softmax(x, dim)
        ctx.save(out=out)
        ctx.save_constant(dim=dim)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        out, dim = ctx.saved("out", "dim")
        return grad_out - exp(out) * sum(grad_out, dim, keepdim=True)


def relu(input: Any) -> Any:
    """max(input, 0), elementwise; the gradient passes where the input is positive, and not at 0.

    >>> import minires as mr
    >>> mr.tensor([-1.0, 0.0, 2.0]).relu()
    tensor([0., 0., 2.])
    """
    check_arrays("relu", input=input)
    return ReLU.apply(input)


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """The input where it is positive, ``negative_slope`` times it elsewhere.

    >>> import minires as mr, minires.functional as F
    >>> F.leaky_relu(mr.tensor([-1.0, 2.0]), 0.5)
    tensor([-0.5,  2. ])
    """
    check_arrays("leaky_relu", input=input)
    slope = number(negative_slope, "leaky_relu: negative_slope")
    return LeakyReLU.apply(floating(input), negative_slope=slope)


def sigmoid(input: Any) -> Any:
    """1 / (1 + e^-x), elementwise; grad_x = grad_out * out * (1 - out).

    >>> import minires as mr
    >>> mr.tensor([-1000.0, 0.0]).sigmoid()
    tensor([0. , 0.5])
    """
    check_arrays("sigmoid", input=input)
    return Sigmoid.apply(floating(input))


def tanh(input: Any) -> Any:
    """The hyperbolic tangent, elementwise; grad_x = grad_out * (1 - out^2)."""
    check_arrays("tanh", input=input)
    return Tanh.apply(floating(input))


def gelu(input: Any, approximate: str = "none") -> Any:
    """x * P(normal number < x) (Hendrycks and Gimpel 2016, section 2).

        out = x/2 * (1 + erf(x / sqrt(2)))
        out = x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))        approximate="tanh"

    >>> import minires as mr, minires.functional as F
    >>> F.gelu(mr.tensor([-1.0, 1.0]))
    tensor([-0.15865526,  0.8413447 ])
    """
    check_arrays("gelu", input=input)
    if approximate == "none":
        return input * (Erf.apply(input * math.sqrt(0.5)) + 1.0) * 0.5
    if approximate == "tanh":
        inner = (input + input * input * input * 0.044715) * math.sqrt(2.0 / math.pi)
        return input * (tanh(inner) + 1.0) * 0.5
    raise UsageError(f"gelu: approximate {approximate!r} is neither 'none' nor 'tanh'.")


def silu(input: Any) -> Any:
    """x * sigmoid(x), elementwise (also known as swish)."""
    check_arrays("silu", input=input)
    return input * sigmoid(input)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(beta x)) / beta: a smooth ReLU; x itself where beta x is above ``threshold``."""
    check_arrays("softplus", input=input)
    beta = number(beta, "softplus: beta")
    threshold = number(threshold, "softplus: threshold")
    if beta == 0.0:
        raise UsageError("softplus: beta must not be 0: the result is divided by it.")
    return Softplus.apply(floating(input), beta=beta, threshold=threshold)


@where_input_is
def dropout(input: Any, p: float = 0.5, training: bool = True) -> Any:
    """In training, zero each number with probability ``p`` and divide the others by 1 - p.

    The mask is drawn from the default generator; the gradient goes through the numbers kept, with
    the same factor.  In evaluation out = input.

    >>> import minires as mr, minires.functional as F
    >>> sorted(set(F.dropout(mr.ones(100), 0.5).tolist()))
    [0.0, 2.0]
    """
    check_arrays("dropout", input=input)
    p = number(p, "dropout: p")
    if not 0.0 <= p <= 1.0:
        raise UsageError(f"dropout: p must be a probability between 0 and 1, got {p}.")
    if not training or p == 0.0:
        return input
    input = floating(input)
    data = raw(input)
    kept = as_array(_drawn(data) >= p)
    return input * (kept.astype(data.dtype) * (1.0 / (1.0 - p) if p < 1.0 else 0.0))


def _drawn(like: Any) -> Any:
    """Numbers from 0 to below 1 in the shape of an array, where it is.

    For a GPU they are drawn there, from a key that the default generator draws on the CPU: so its
    state is all the state there is.
    """
    if not is_on_gpu(like):
        return default_generator().random(like.shape)
    return uniform(int(default_generator().integers(2**64, dtype=np.uint64)), like.shape, like)


def softmax(input: Any, dim: int = -1, *, dtype: Any = None) -> Any:
    """e^x / sum e^x along ``dim``, computed after subtracting the maximum.

    With ``dtype`` the input is converted first.

    >>> import minires as mr
    >>> mr.tensor([1000.0, 1000.0]).softmax(0)
    tensor([0.5, 0.5])
    """
    check_arrays("softmax", input=input)
    input = input if dtype is None else to(input, dtype)
    normal_dim("softmax", input.ndim or 1, dim)
    return Softmax.apply(input, dim=dim)


def log_softmax(input: Any, dim: int = -1, *, dtype: Any = None) -> Any:
    """x - log sum e^x along ``dim``: the logarithm of softmax, without its underflow."""
    check_arrays("log_softmax", input=input)
    input = input if dtype is None else to(input, dtype)
    normal_dim("log_softmax", input.ndim or 1, dim)
    return LogSoftmax.apply(input, dim=dim)
