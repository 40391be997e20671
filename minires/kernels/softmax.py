"""Softmax and cross-entropy: whole arrays at a time, shifted by the maximum, so nothing overflows.

Where the numbers leave the line (inf logits) the answer is NaN, quietly.
"""

from __future__ import annotations

import numpy as np

from minires.device import Array, array_module
from minires.kernels.checks import check_cross_entropy, check_grad_out, check_softmax

__all__ = ["cross_entropy", "cross_entropy_grad", "log_softmax", "softmax"]


def softmax(x: Array, axis: int = -1) -> Array:
    """Positive numbers that sum to 1 along an axis.

        out = exp(x - max x) / sum exp(x - max x)
        grad_x = out * (grad_out - sum(grad_out * out))          sums along the axis

    Args:
        x: floats of any shape.
        axis: the axis along which the results sum to 1.

    Returns:
        An array like ``x``.

    Raises:
        DTypeError: ``x`` is not floating.
        ShapeError: ``x`` has no such axis.

    >>> softmax(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    check_softmax("softmax", x, axis)
    xp = array_module(x)
    out = _shift_by_max(x, axis)
    xp.exp(out, out=out)
    out /= out.sum(axis=axis, keepdims=True)
    return out


def log_softmax(x: Array, axis: int = -1) -> Array:
    """The logarithm of softmax, without the rounding of going through it.

        out = x - max x - log sum exp(x - max x)
        grad_x = grad_out - exp(out) * sum(grad_out)             sums along the axis

    Args:
        x: floats of any shape.
        axis: the axis along which the probabilities sum to 1.

    Returns:
        An array like ``x``.

    Raises:
        DTypeError: ``x`` is not floating.
        ShapeError: ``x`` has no such axis.

    >>> log_softmax(np.array([0.0, -1e4]))
    array([     0., -10000.])
    """
    check_softmax("log_softmax", x, axis)
    xp = array_module(x)
    out = _shift_by_max(x, axis)
    if x.size == 0:  # the sum over no classes is 0, which has no logarithm
        return out
    out -= xp.log(xp.exp(out).sum(axis=axis, keepdims=True))
    return out


def cross_entropy(logits: Array, target: Array, ignore_index: int = -100) -> Array:
    """How surprised the predicted probabilities are by the true class, for each sample.

        losses[n] = log sum_c exp(logits[n, c]) - logits[n, target[n]]
        grad_logits[n] = grad_losses[n] * (softmax(logits[n]) - one_hot(target[n]))

    Args:
        logits: floats (N, C).
        target: whole numbers (N,) from 0 to C - 1.
        ignore_index: where the target is this the loss is 0, and so is the gradient.

    Returns:
        losses (N,), not averaged.

    Raises:
        ShapeError: shapes, or a class, that do not fit.
        DTypeError: logits that are not floating, or a target that does not hold whole numbers.

    >>> cross_entropy(np.array([[0.0, 0.0]]), np.array([1])).round(4)  # log 2
    array([0.6931])
    """
    check_cross_entropy(logits, target, ignore_index)
    if logits.size == 0:
        return logits.sum(axis=1)
    xp = array_module(logits)
    ignored = target == ignore_index
    shifted = _shift_by_max(logits, axis=1)  # (N, C), 0 or less
    picked = shifted[xp.arange(len(target)), xp.where(ignored, 0, target)]  # (N,)
    losses = xp.log(xp.exp(shifted).sum(axis=1)) - picked
    losses[ignored] = 0.0
    return losses


def cross_entropy_grad(
    grad_losses: Array, logits: Array, target: Array, ignore_index: int = -100
) -> Array:
    """Gradient of cross_entropy by the logits: the probabilities, less 1 at the true class.

        grad_logits[n] = grad_losses[n] * (softmax(logits[n]) - one_hot(target[n]))

    Args:
        grad_losses: (N,).
        logits: floats (N, C).
        target: whole numbers (N,) from 0 to C - 1.
        ignore_index: as cross_entropy had it.

    Returns:
        grad_logits (N, C).

    Raises:
        ShapeError, DTypeError: as cross_entropy does.

    >>> cross_entropy_grad(np.array([1.0]), np.array([[0.0, 0.0]]), np.array([1]))
    array([[ 0.5, -0.5]])
    """
    check_cross_entropy(logits, target, ignore_index, operation="cross_entropy_grad")
    check_grad_out("cross_entropy_grad", grad_losses, target.shape, "grad_losses")
    if logits.size == 0:
        return logits.copy()
    xp = array_module(logits)
    ignored = target == ignore_index
    grad = softmax(logits, axis=1)
    grad[xp.arange(len(target)), xp.where(ignored, 0, target)] -= 1.0
    with np.errstate(over="ignore", invalid="ignore"):  # inf * 0 is NaN
        grad *= grad_losses[:, None]
    grad[ignored] = 0.0
    return grad


def _shift_by_max(x: Array, axis: int) -> Array:
    """x - max x: a new array, 0 at the maximum."""
    if x.size == 0:
        return x.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        # asarray: of a 0-d array NumPy makes a scalar, which cannot be written to
        return array_module(x).asarray(x - x.max(axis=axis, keepdims=True))
