"""Activations, and softmax."""

from __future__ import annotations

from typing import Any

from minires import kernels
from minires.autograd.function import Function
from minires.autograd.tensor import Tensor
from minires.device import array_module
from minires.functional.arithmetic import exp
from minires.functional.reduce import normal_dims, sum

__all__ = ["log_softmax", "relu", "softmax"]


class ReLU(Function):
    """out = max(x, 0);  grad_x = grad_out where out > 0, and 0 elsewhere, also at x = 0."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = array_module(x).maximum(x, 0)
        ctx.save(out=out)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        out = ctx.saved("out")
        return grad_out * ((out._data if isinstance(out, Tensor) else out) > 0)


class Softmax(Function):
    """out = e^x / sum e^x;  grad_x = out * (grad_out - sum grad_out * out)."""

    uses_kernels = True

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

    uses_kernels = True

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
    return ReLU.apply(input)


def softmax(input: Any, dim: int = -1) -> Any:
    """e^x / sum e^x along ``dim``, computed after subtracting the maximum.

    >>> import minires as mr
    >>> mr.tensor([1000.0, 1000.0]).softmax(0)
    tensor([0.5, 0.5])
    """
    normal_dims("softmax", input.ndim, dim)
    return Softmax.apply(input, dim=dim)


def log_softmax(input: Any, dim: int = -1) -> Any:
    """x - log sum e^x along ``dim``: the logarithm of softmax, without its underflow."""
    normal_dims("log_softmax", input.ndim, dim)
    return LogSoftmax.apply(input, dim=dim)
