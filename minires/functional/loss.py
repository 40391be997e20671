"""Losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minires import kernels
from minires.autograd.function import Function
from minires.autograd.tensor import raw
from minires.device import array_module, as_array, check_same_device, is_on_gpu, where_input_is
from minires.errors import DTypeError, ShapeError, UsageError, describe
from minires.functional.activation import log_softmax, softmax
from minires.functional.dtypes import check_same_dtype
from minires.functional.reduce import mean, sum
from minires.functional.selection import Where
from minires.functional.shape import permute, reshape, to, unsqueeze
from minires.kernels.checks import check_arrays, check_floating, number

__all__ = ["cross_entropy", "mse_loss", "nll_loss"]


class CrossEntropy(Function):
    """out[n] = -log softmax(x)[n, target[n]];  grad_x = grad_out * (softmax(x) - one_hot)."""

    uses_kernels = True

    @staticmethod
    def forward(ctx: Any, x: Any, *, target: Any, ignore_index: int) -> Any:
        ctx.save(x=x)
        ctx.save_constant(target=target, ignore_index=ignore_index)
        return kernels.cross_entropy(x, target, ignore_index)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        x, target, ignore_index = ctx.saved("x", "target", "ignore_index")
        if not ctx.create_graph:
            return kernels.cross_entropy_grad(grad_out, x, target, ignore_index)
        kept = (target != ignore_index)[:, None]
        x = Where.apply(x, 0.0, condition=kept)  # what is ignored may hold anything
        right = target[:, None] == array_module(target).arange(x.shape[1])  # (N, C)
        grad_x = unsqueeze(grad_out, 1) * (softmax(x, 1) - right.astype(x.dtype))
        there = right.any(axis=1, keepdims=True)
        grad_x = Where.apply(grad_x, math.nan, condition=there)  # of a class that does not exist
        return Where.apply(grad_x, 0.0, condition=kept)


class Pick(Function):
    """out[n] = x[n, chosen[n]];  grad_x = grad_out there, 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, chosen: Any) -> Any:
        ctx.save_constant(chosen=chosen, classes=x.shape[1])
        return x[array_module(x).arange(len(chosen)), chosen]

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        chosen, classes = ctx.saved("chosen", "classes")
        return Place.apply(grad_out, chosen=chosen, classes=classes)


class Place(Function):
    """out[n, chosen[n]] = x[n], 0 elsewhere: the adjoint of picking."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, chosen: Any, classes: int) -> Any:
        ctx.save_constant(chosen=chosen)
        xp = array_module(x)
        out = xp.zeros((len(chosen), classes), x.dtype)
        out[xp.arange(len(chosen)), chosen] = x
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return Pick.apply(grad_out, chosen=ctx.saved("chosen"))


@where_input_is
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """-weight[t] * input[t] for the true class t: the loss of logarithms of probabilities.

    Args:
        input: log-probabilities (N, classes), (classes,), or (N, classes, d1, ...).
        target: numbers of the true classes, integer: (N,), (), or (N, d1, ...).
        weight: (classes,), what each class counts; the mean is divided by the sum of the weights.
        ignore_index: targets of this value count nothing.
        reduction: 'mean', 'sum' or 'none'.

    Returns:
        A single number, or losses in the shape of the target.

    >>> import minires as mr, minires.functional as F
    >>> F.nll_loss(mr.tensor([[-1.0, -2.0], [-3.0, -4.0]]), mr.tensor([0, 1]))
    tensor(2.5)
    """
    check_arrays("nll_loss", input=input)
    check_floating("nll_loss", input=input)
    classes = _classes("nll_loss", input, target, ignore_index)
    rows, chosen, counts, _ = _counted("nll_loss", input, classes, weight, ignore_index)
    losses = reshape(-Pick.apply(rows, chosen=chosen) * counts, classes.shape)
    return _reduce("nll_loss", losses, reduction, counts.sum())


@where_input_is
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """How many nats the truth costs: -sum over classes of target * log softmax(input).

        grad_input = grad_out * (softmax(input) - target), divided by N for the mean

    Args:
        input: logits (N, classes), (classes,), or (N, classes, d1, ...): any real numbers.
        target: numbers of the true classes, integer, (N,), () or (N, d1, ...); or probabilities of
            all classes, floating, in the shape of the input.
        weight: (classes,), what each class counts.  With class numbers the mean is divided by the
            sum of the weights, with probabilities by N.
        ignore_index: targets of this value count nothing; for class numbers only.
        reduction: 'mean', 'sum', or 'none' for a loss for each target.
        label_smoothing: this share of the target is spread evenly over all classes (Szegedy et al.
            2016, section 7).

    Returns:
        A single number, or losses without the dimension of the classes.

    Raises:
        ShapeError: the shapes do not fit, or a class is out of range.  (On a GPU such a class makes
            the loss nan: to look would make the CPU wait.)
        DTypeError: the target is neither integer nor floating.

    >>> import minires as mr, minires.functional as F
    >>> F.cross_entropy(mr.zeros(4, 10), mr.tensor([0, 1, 2, 3]))
    tensor(2.3025851)
    """
    name = "cross_entropy"
    check_arrays(name, input=input)
    check_floating(name, input=input)
    label_smoothing = number(label_smoothing, f"{name}: label_smoothing")
    if not 0.0 <= label_smoothing <= 1.0:
        raise UsageError(f"{name}: label_smoothing must be in 0 to 1, got {label_smoothing}.")
    if isinstance(target, list | tuple | int):
        target = np.asarray(target)
    of_floats = hasattr(target, "dtype") and target.dtype.kind == "f"
    if of_floats and input.ndim and target.shape == input.shape:
        if ignore_index != -100:
            raise UsageError(f"{name}: ignore_index is for class numbers, not for probabilities.")
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing)
    classes = _classes(name, input, target, ignore_index)
    if input.ndim == 2 and weight is None and label_smoothing == 0.0:
        losses = CrossEntropy.apply(input, target=classes, ignore_index=ignore_index)
        return _reduce(name, losses, reduction, (classes != ignore_index).sum())
    rows, chosen, counts, kept = _counted(name, input, classes, weight, ignore_index)
    logarithms = log_softmax(rows, 1)
    losses = -Pick.apply(logarithms, chosen=chosen) * counts
    if label_smoothing:
        # The even share goes to every class, at that class's own weight.
        if weight is not None:
            logarithms = logarithms * _class_weights(name, rows, weight)
        even = -sum(logarithms, 1) * (label_smoothing / rows.shape[1])
        losses = losses * (1.0 - label_smoothing) + Where.apply(even, 0.0, condition=kept)
    return _reduce(name, reshape(losses, classes.shape), reduction, counts.sum())


def _cross_entropy_of_probabilities(
    input: Any, target: Any, weight: Any, reduction: str, label_smoothing: float
) -> Any:
    name, dim = "cross_entropy", 0 if input.ndim == 1 else 1
    target = to(target, input.dtype)
    if label_smoothing:
        target = target * (1.0 - label_smoothing) + label_smoothing / input.shape[dim]
    terms = log_softmax(input, dim) * target
    if weight is not None:
        weights = _class_weights(name, input, weight)
        terms = terms * weights.reshape((-1,) + (1,) * max(input.ndim - 2, 0))
    return _reduce(name, -sum(terms, dim), reduction)


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """The squared difference (input - target)^2; shapes must be equal.

    >>> import minires as mr, minires.functional as F
    >>> F.mse_loss(mr.tensor([1.0, 3.0]), mr.tensor([1.0, 1.0]))
    tensor(2.)
    """
    check_arrays("mse_loss", input=input, target=target)
    if input.shape != target.shape:
        raise ShapeError(
            f"mse_loss: input and target differ in shape.\n  {describe(input=input, target=target)}"
        )
    check_same_dtype("mse_loss", input=input, target=target)
    check_floating("mse_loss", input=input, target=target)
    difference = input - target
    return _reduce("mse_loss", difference * difference, reduction)


def _reduce(name: str, losses: Any, reduction: str, count: Any = None) -> Any:
    """The losses, their sum, or their mean: over ``count``, where not all of them count as 1."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum(losses)
    if reduction != "mean":
        raise UsageError(f"{name}: reduction {reduction!r} is none of 'mean', 'sum' and 'none'.")
    if count is None:
        return mean(losses)
    if is_on_gpu(count):  # reading the number would make the CPU wait for the GPU
        return sum(losses) / count
    return sum(losses) * (1.0 / float(count) if count else math.nan)


def _classes(name: str, input: Any, target: Any, ignore_index: int) -> Any:
    """The target as an array of class numbers that fits the input.

    On a GPU the numbers are not looked at, since that would make the CPU wait; a class that is not
    there costs nan.
    """
    classes = as_array(raw(target))
    if classes.dtype.kind not in "fiub":
        raise DTypeError(
            f"{name}: target must be class numbers, not {type(target).__name__}.\n"
            f"  {describe(input=input, target=target)}\n  Give it as a tensor of whole numbers."
        )
    wanted = tuple(input.shape[:1]) + tuple(input.shape[2:]) if input.ndim > 1 else ()
    if input.ndim == 0 or classes.shape != wanted:
        raise ShapeError(
            f"{name}: input must be (N, classes, ...) and target (N, ...), class numbers, or floats"
            f" in the shape of input.\n  {describe(input=input, target=classes)}"
        )
    if classes.dtype.kind not in "iu":
        raise DTypeError(
            f"{name}: target must be integer class numbers.\n  {describe(target=classes)}\n"
            "  Convert it with .to('int64')."
        )
    check_same_device(name, input=raw(input), target=classes)
    if is_on_gpu(classes):
        return classes
    count = input.shape[0 if input.ndim == 1 else 1]
    counted = classes[classes != ignore_index]
    if counted.size and not (counted.min() >= 0 and counted.max() < count):
        raise ShapeError(
            f"{name}: target has classes {int(counted.min())} to {int(counted.max())}, but "
            f"input has {count} of them (0 to {count - 1}).\n"
            f"  {describe(input=input, target=classes)}\n"
            "  Check num_classes of the model, and that labels count from 0."
        )
    return classes


def _counted(
    name: str, input: Any, classes: Any, weight: Any, ignore_index: int
) -> tuple[Any, Any, Any, Any]:
    """Targets as a column of M, with nothing in the rows that do not count: they may hold anything.

    Returns rows (M, classes), their true classes (M,), what each counts (M,), and whether it does.
    """
    xp = array_module(classes)
    classes = classes.reshape(-1)
    kept = classes != ignore_index
    rows = _rows(input)
    if is_on_gpu(kept) or not kept.all():
        rows = Where.apply(rows, 0.0, condition=kept[:, None])
    inside = kept & (classes >= 0) & (classes < rows.shape[1])
    chosen = xp.where(inside, classes, 0)
    weights = 1.0 if weight is None else _class_weights(name, rows, weight)[chosen]
    counts = xp.where(inside, weights, xp.where(kept, math.nan, 0.0)).astype(input.dtype)
    return rows, chosen, counts, kept


def _class_weights(name: str, input: Any, weight: Any) -> Any:
    values = as_array(raw(weight))
    check_same_device(name, input=raw(input), weight=values)
    count = input.shape[0 if input.ndim == 1 else 1]
    if values.shape != (count,):
        raise ShapeError(
            f"{name}: weight must have one number for each of {count} classes.\n"
            f"  {describe(input=input, weight=values)}"
        )
    return values.astype(input.dtype)


def _rows(input: Any) -> Any:
    """(N, classes, d1, ...) as (N * d1 * ..., classes)."""
    if input.ndim > 2:
        input = permute(input, 0, *range(2, input.ndim), 1)
    return reshape(input, math.prod(input.shape[:-1]), input.shape[-1])
