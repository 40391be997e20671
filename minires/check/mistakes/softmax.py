"""Mistakes in the backward of softmax and of the losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires import functional as F
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample, part
from minires.device import Array

__all__ = ["MSE_LOSS", "SOFTMAX", "SOFTMAX_CROSS_ENTROPY"]


def diagonal_only(p: Problem) -> Grads:
    return {"x": p.out * (1 - p.out) * p.grad_out}


def sum_missing(p: Problem) -> Grads:
    return {"x": p.out * p.grad_out}


def wrong_axis(p: Problem) -> Grads:
    return {"x": p.out * (p.grad_out - (p.out * p.grad_out).sum(axis=0))}


def wrong_axis_throughout(p: Problem) -> Grads:
    out: Array = F.softmax(p["x"], 0)
    return {"x": out * (p.grad_out - (out * p.grad_out).sum(axis=0))}


def as_loss(p: Problem) -> Grads:
    return {"x": p.out - p.grad_out}


def _softmax_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal(size),), {}) for size in ((4, 3), (3, 3), (2, 5))]


SOFTMAX = Operation(
    "softmax",
    ("x",),
    F.softmax,
    _softmax_samples,
    (
        Mistake(
            "diagonal_only",
            "each output is taken to depend on its own input alone",
            ("x",),
            "The outputs of a row add up to 1. If one input grows, what happens to the outputs of "
            "the others?",
            (diagonal_only,),
        ),
        Mistake(
            "sum_missing",
            "the part that comes from the denominator is missing",
            ("x",),
            "An input stands in the numerator of its own output, and where else? Adding the same "
            "number to a whole row changes nothing: what must the row of grad_x add up to?",
            (sum_missing,),
        ),
        Mistake(
            "wrong_axis",
            "the sum runs over the batch and not over the classes",
            ("x",),
            "Which numbers does the softmax tie together? Two samples of a batch should not know "
            "of one another.",
            (wrong_axis, wrong_axis_throughout),
        ),
        Mistake(
            "as_loss",
            "grad_out is treated as a target",
            ("x",),
            "The difference of output and target belongs to another operation, softmax and loss in "
            "one. What does grad_out mean here? Double it: does your grad_x double?",
            (as_loss,),
        ),
    ),
)


# --- softmax_cross_entropy ---


def _one_hot(p: Problem) -> Array:
    return np.eye(p["logits"].shape[1])[p["targets"]]


def not_divided_by_batch(p: Problem) -> Grads:
    return {"logits": p.right["logits"] * len(p["logits"])}


def divided_by_classes(p: Problem) -> Grads:
    N, K = p["logits"].shape
    return {"logits": p.right["logits"] * N / K}


def one_hot_missing(p: Problem) -> Grads:
    return {"logits": p.grad_out * F.softmax(p["logits"], 1) / len(p["logits"])}


def softmax_missing(p: Problem) -> Grads:
    return {"logits": p.grad_out * (p["logits"] - _one_hot(p)) / len(p["logits"])}


def sign_reversed(p: Problem) -> Grads:
    return {"logits": -p.right["logits"]}


def wrong_axis_in_loss(p: Problem) -> Grads:
    return {"logits": p.grad_out * (F.softmax(p["logits"], 0) - _one_hot(p)) / len(p["logits"])}


def grad_out_forgotten(p: Problem) -> Grads:
    return {"logits": p.right["logits"] / p.grad_out}


def divided_twice(p: Problem) -> Grads:
    return {"logits": p.right["logits"] / len(p["logits"])}


def only_true_class(p: Problem) -> Grads:
    return {"logits": p.right["logits"] * _one_hot(p)}


def _loss_samples(rng: np.random.Generator) -> list[Sample]:
    sizes = [(4, 3), (3, 3), (2, 5)]
    return [((rng.standard_normal((N, K)), rng.integers(0, K, N)), {}) for N, K in sizes]


SOFTMAX_CROSS_ENTROPY = Operation(
    "softmax_cross_entropy",
    ("logits", "targets"),
    F.cross_entropy,
    _loss_samples,
    (
        Mistake(
            "not_divided_by_batch",
            "the gradient is that of the sum and not of the mean",
            ("logits",),
            "The forward pass takes a mean over the batch. What does that do to the part of each "
            "sample?",
            (not_divided_by_batch,),
        ),
        Mistake(
            "divided_by_classes",
            "the gradient is divided by the number of classes",
            ("logits",),
            "Over what is the mean of the forward pass taken? Check which dimension you read the "
            "number from.",
            (divided_by_classes,),
        ),
        Mistake(
            "one_hot_missing",
            "the target has no part in the gradient",
            ("logits",),
            "Change the targets and keep the logits: does your gradient change? It should push one "
            "logit of each sample up.",
            (one_hot_missing,),
        ),
        Mistake(
            "softmax_missing",
            "the logits are used where the probabilities are meant",
            ("logits",),
            "The loss compares each target with probabilities. Are the numbers that your backward "
            "compares it with between 0 and 1?",
            (softmax_missing,),
        ),
        Mistake(
            "sign_reversed",
            "the sign is reversed",
            ("logits",),
            "If the logit of the true class grows, does the loss grow or fall? Which sign must its "
            "gradient have?",
            (sign_reversed,),
        ),
        Mistake(
            "wrong_axis",
            "the softmax is taken over the batch and not over the classes",
            ("logits",),
            "Which probabilities have to add up to 1: those of one sample, or those of one class?",
            (wrong_axis_in_loss,),
        ),
        Mistake(
            "grad_out_forgotten",
            "grad_out is forgotten",
            ("logits",),
            "A loss is often the last step, and then grad_out is 1; but it may be weighted or "
            "added to others. Double grad_out: does your gradient double?",
            (grad_out_forgotten,),
        ),
        Mistake(
            "divided_twice",
            "the gradient is divided by the size of the batch twice",
            ("logits",),
            "Look for every place where the size of the batch comes in. The mean is taken once.",
            (divided_twice,),
        ),
        Mistake(
            "only_true_class",
            "only the logit of the true class gets a gradient",
            ("logits",),
            "The loss reads off one probability; but which logits went into that probability?",
            (only_true_class,),
        ),
    ),
    constants=("targets",),
)


# --- mse_loss ---


def two_missing(p: Problem) -> Grads:
    return {name: grad / 2 for name, grad in p.right.items()}


def not_averaged(p: Problem) -> Grads:
    return {name: grad * grad.size for name, grad in p.right.items()}


def mse_sign_reversed(p: Problem) -> Grads:
    return {name: -grad for name, grad in p.right.items()}


def target_same_sign(p: Problem) -> Grads:
    return {"target": p.right["x"]}


def averaged_over_batch_only(p: Problem) -> Grads:
    return {name: grad * grad.size / len(grad) for name, grad in p.right.items()}


def _mse_forward(x: Any, target: Any) -> Any:
    """The mean of (x - target)^2 over all elements."""
    return F.mse_loss(x, target)


def _mse_samples(rng: np.random.Generator) -> list[Sample]:
    draw = rng.standard_normal
    return [((draw(size), draw(size)), {}) for size in ((4, 3), (3, 3), (2, 3, 2))]


MSE_LOSS = Operation(
    "mse_loss",
    ("x", "target"),
    _mse_forward,
    _mse_samples,
    (
        Mistake(
            "two_missing",
            "the factor from the square is missing",
            ("x", "target"),
            "What is the slope of the square at 3? The formula of this loss has no half in front.",
            (two_missing, part(two_missing, "x"), part(two_missing, "target")),
        ),
        Mistake(
            "not_averaged",
            "the gradient is that of the sum and not of the mean",
            ("x", "target"),
            "The forward pass takes a mean. Over how many numbers, and what does that do to the "
            "part of each?",
            (not_averaged, part(not_averaged, "x"), part(not_averaged, "target")),
        ),
        Mistake(
            "sign_reversed",
            "the sign is reversed",
            ("x", "target"),
            "If x is larger than the target and grows, does the loss grow or fall?",
            (mse_sign_reversed, part(mse_sign_reversed, "x")),
        ),
        Mistake(
            "target_same_sign",
            "the target gets the same gradient as x",
            ("target",),
            "Move x and target by the same amount: the loss stays as it was. What follows for the "
            "two gradients together?",
            (target_same_sign,),
        ),
        Mistake(
            "averaged_over_batch_only",
            "the mean is taken over the batch and not over all elements",
            ("x", "target"),
            "Over how many numbers does the forward pass take the mean? Count them in a small "
            "example.",
            (
                averaged_over_batch_only,
                part(averaged_over_batch_only, "x"),
                part(averaged_over_batch_only, "target"),
            ),
        ),
    ),
)
