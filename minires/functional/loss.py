"""Losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires import kernels
from minires.autograd.function import Function
from minires.autograd.tensor import Tensor
from minires.device import array_module
from minires.errors import DTypeError, ShapeError, UsageError, describe
from minires.functional.activation import softmax
from minires.functional.reduce import mean, sum
from minires.functional.shape import unsqueeze

__all__ = ["cross_entropy", "mse_loss"]


class CrossEntropy(Function):
    """out[n] = -log softmax(x)[n, target[n]];  grad_x = grad_out * (softmax(x) - one_hot)."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, x: Any, *, target: Any) -> Any:
        ctx.save(x=x)
        ctx.save_constant(target=target)
        return kernels.cross_entropy(x, target)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x, target = ctx.saved("x", "target")
        if not ctx.create_graph:
            return kernels.cross_entropy_grad(grad_out, x, target)
        xp = array_module(target)
        one_hot = xp.zeros(x.shape, dtype=x.dtype)
        one_hot[xp.arange(len(target)), target] = 1.0
        return unsqueeze(grad_out, 1) * (softmax(x, 1) - one_hot)


def cross_entropy(input: Any, target: Any, reduction: str = "mean") -> Any:
    """How many nats the true class costs: -log softmax(input)[target].

        grad_input = grad_out * (softmax(input) - one_hot(target)), divided by N for the mean

    Args:
        input: (N, classes), logits: unnormalised, any real numbers.
        target: (N,), the number of the true class, integer.
        reduction: 'mean' over the batch, 'sum', or 'none' for a loss for each row.

    Returns:
        A single number, or (N,).

    Raises:
        ShapeError: the shapes do not fit, or a class is out of range.
        DTypeError: the target is not integer.

    >>> import minires as mr, minires.functional as F
    >>> F.cross_entropy(mr.zeros(4, 10), mr.tensor([0, 1, 2, 3]))
    tensor(2.3025851)
    """
    classes = target._data if isinstance(target, Tensor) else np.asarray(target)
    if input.ndim != 2 or classes.shape != (input.shape[0],):
        raise ShapeError(
            "cross_entropy: input must be (N, classes) and target (N,).\n"
            f"  {describe(input=input, target=classes)}"
        )
    if classes.dtype.kind not in "iu":
        raise DTypeError(
            f"cross_entropy: target must be integer class numbers.\n  {describe(target=classes)}\n"
            "  Convert it with .to('int64')."
        )
    if classes.size and not (classes.min() >= 0 and classes.max() < input.shape[1]):
        raise ShapeError(
            f"cross_entropy: target has classes {int(classes.min())} to {int(classes.max())}, but "
            f"input has {input.shape[1]} of them (0 to {input.shape[1] - 1})."
        )
    return _reduce("cross_entropy", CrossEntropy.apply(input, target=classes), reduction)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The squared difference (input - target)^2; shapes must be equal.

    >>> import minires as mr, minires.functional as F
    >>> F.mse_loss(mr.tensor([1.0, 3.0]), mr.tensor([1.0, 1.0]))
    tensor(2.)
    """
    if input.shape != target.shape:
        raise ShapeError(
            f"mse_loss: input and target differ in shape.\n  {describe(input=input, target=target)}"
        )
    difference = input - target
    return _reduce("mse_loss", difference * difference, reduction)


def _reduce(name: str, losses: Any, reduction: str) -> Any:
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise UsageError(f"{name}: reduction {reduction!r} is none of 'mean', 'sum' and 'none'.")
