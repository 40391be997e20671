"""Batch normalisation."""

from __future__ import annotations

import math
from typing import Any

from minires import kernels
from minires.autograd import guard
from minires.autograd.function import Function
from minires.autograd.tensor import raw
from minires.device import Array, where_input_is
from minires.errors import ShapeError, UsageError, describe
from minires.functional.arithmetic import pow
from minires.functional.dtypes import check_same_dtype
from minires.functional.reduce import mean as mean_over
from minires.functional.reduce import sum
from minires.functional.shape import Reshape
from minires.kernels.checks import check_arrays, check_floating, number

__all__ = ["batch_norm"]


class BatchNorm(Function):
    """out = weight * (x - mean) / sqrt(var + eps) + bias, with mean and var of the batch."""

    uses_kernels = True
    hands_over = True

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
        out, mean, var = kernels.batch_norm_train(x, weight, bias, eps=eps)
        ctx.save(x=x, weight=weight)
        ctx.save_constant(eps=eps)
        ctx.save_cache(mean=mean, var=var)
        return out, mean, var

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x, weight, eps = ctx.saved("x", "weight", "eps")
        if ctx.create_graph:
            grads = _differentiable_grad(grad_out, x, weight, eps)
        else:
            mean, var = ctx.cache("mean", "var")
            grads = kernels.batch_norm_grad(grad_out, x, mean, var, weight, eps=eps)
        return tuple(g if n else None for g, n in zip(grads, ctx.needs_input_grad, strict=True))


class BatchNormEval(Function):
    """The same with given mean and var, which are constants."""

    uses_kernels = True
    hands_over = True

    @staticmethod
    def forward(
        ctx: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, *, eps: float
    ) -> Any:
        ctx.save(x=x, weight=weight, mean=mean, var=var)
        ctx.save_constant(eps=eps)
        return kernels.batch_norm(x, mean, var, weight, bias, eps=eps, training=False)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x, weight, mean, var, eps = ctx.saved("x", "weight", "mean", "var", "eps")
        if ctx.create_graph:
            channel = _channel_shape(x)
            scale = Reshape.apply((var + eps) ** -0.5, shape=channel)
            x_hat = (x - Reshape.apply(mean, shape=channel)) * scale
            others = _all_but_channel(x)
            scaled = grad_out * scale
            grad_x = scaled if weight is None else scaled * Reshape.apply(weight, shape=channel)
            grads = grad_x, sum(grad_out * x_hat, others), sum(grad_out, others)
        else:
            grads = kernels.batch_norm_grad(grad_out, x, mean, var, weight, eps=eps, training=False)
        needs = ctx.needs_input_grad[:3]
        return (*(g if n else None for g, n in zip(grads, needs, strict=True)), None, None)


def _differentiable_grad(grad_out: Any, x: Any, weight: Any, eps: float) -> tuple[Any, Any, Any]:
    """The formula of ``kernels.batch_norm_grad``, in operations, mean and var computed again."""
    others = _all_but_channel(x)
    deviation = x - mean_over(x, others, keepdim=True)
    inverse_std = pow(mean_over(deviation * deviation, others, keepdim=True) + eps, -0.5)
    x_hat = deviation * inverse_std
    grad_bias = sum(grad_out, others)
    grad_weight = sum(grad_out * x_hat, others)
    scale = inverse_std
    if weight is not None:
        scale = scale * Reshape.apply(weight, shape=_channel_shape(x))
    grad_x = scale * (
        grad_out
        - mean_over(grad_out, others, keepdim=True)
        - x_hat * mean_over(grad_out * x_hat, others, keepdim=True)
    )
    return grad_x, grad_weight, grad_bias


def _all_but_channel(x: Any) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _channel_shape(x: Any) -> tuple[int, ...]:
    return (1, int(x.shape[1]), *(1 for _ in x.shape[2:]))


@where_input_is
def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Normalise each channel, then scale and shift it (Ioffe and Szegedy 2015, algorithm 1).

        out = weight * (input - mean) / sqrt(var + eps) + bias

    In training mean and var are those of the batch, over all dimensions but the channel, and the
    gradient goes through them too; the running statistics move towards them:

        running = (1 - momentum) * running + momentum * new

    Momentum weights the *new* value.  The variance that normalises is the biased one (divided by
    m), the one that goes into running_var is unbiased (divided by m - 1), as in PyTorch.  In
    evaluation the running statistics are used, as constants.

    Args:
        input: (N, C) or (N, C, ...).
        running_mean, running_var: (C,) arrays or tensors, changed in place in training; None to
            keep none, and to use the batch in evaluation too.
        weight, bias: (C,) or None.
        training: which statistics to use.
        momentum: weight of the new value in the running statistics.
        eps: added to the variance.

    Returns:
        A tensor like ``input``.

    Raises:
        ShapeError: the sizes do not fit, or a channel has only one value in training.

    >>> import minires as mr, minires.functional as F
    >>> F.batch_norm(mr.tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-0.999995],
            [ 0.999995]])
    """
    _check(input, weight, bias, running_mean, running_var)
    momentum, eps = number(momentum, "batch_norm: momentum"), number(eps, "batch_norm: eps")
    if not (eps > 0.0 if training else eps >= 0.0):
        least = "must be positive in training" if training else "must not be negative"
        raise UsageError(f"batch_norm: eps {least}, got {eps}.")
    if not training and running_mean is not None:
        return BatchNormEval.apply(input, weight, bias, running_mean, running_var, eps=eps)
    count = math.prod(input.shape) // max(input.shape[1], 1)
    if training and count <= 1:
        raise ShapeError(
            "batch_norm: in training each channel needs more than one value to have a variance.\n"
            f"  {describe(input=input)}\n  Use a larger batch, or model.eval()."
        )
    out, mean, var = BatchNorm.apply(input, weight, bias, eps=eps)
    if training and running_mean is not None:
        _move(running_mean, mean, momentum)
        _move(running_var, var * (count / (count - 1)), momentum)
    return out


def _move(running: Any, new: Array, momentum: float) -> None:
    """running = (1 - momentum) * running + momentum * new, in place."""
    with guard.writable(raw(running)) as array:
        array *= 1.0 - momentum
        array += momentum * new


def _check(input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any) -> None:
    check_arrays("batch_norm", input=input)
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: input must be (N, C, ...).\n  {describe(input=input)}")
    check_floating("batch_norm", input=input)
    given = dict(weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    check_same_dtype("batch_norm", input=input, **given)
    per_channel = input.shape[1:2]
    for name, value in given.items():
        if value is not None and value.shape != per_channel:
            raise ShapeError(
                f"batch_norm: {name} must have one number for each of {input.shape[1]} channels.\n"
                f"  {describe(input=input, **{name: value})}\n  Check num_features of this layer."
            )
    if (running_mean is None) != (running_var is None):
        raise ShapeError("batch_norm: give both running_mean and running_var, or neither.")
