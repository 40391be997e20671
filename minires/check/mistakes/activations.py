"""Mistakes in the backward of the activations: relu, leaky_relu, sigmoid, tanh."""

from __future__ import annotations

import numpy as np

from minires import functional as F
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample

__all__ = ["LEAKY_RELU", "RELU", "SIGMOID", "TANH"]


def _samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal(size),), {}) for size in ((4, 5), (2, 3, 2, 2), (12,))]


def _samples_with_zeros(rng: np.random.Generator) -> list[Sample]:
    samples = _samples(rng)
    for (x,), _ in samples:
        x.flat[::3] = 0.0
    return samples


# --- relu ---


def one_at_zero(p: Problem) -> Grads:
    return {"x": p.grad_out * (p["x"] >= 0)}


def mask_of_grad(p: Problem) -> Grads:
    return {"x": p.grad_out * (p.grad_out > 0)}


def mask_forgotten(p: Problem) -> Grads:
    return {"x": p.grad_out}


def times_x(p: Problem) -> Grads:
    return {"x": p.grad_out * p.out}


def ones(p: Problem) -> Grads:
    return {"x": (p["x"] > 0).astype(float)}


def mask_inverted(p: Problem) -> Grads:
    return {"x": p.grad_out * (p["x"] <= 0)}


def mask_inverted_without_zero(p: Problem) -> Grads:
    return {"x": p.grad_out * (p["x"] < 0)}


RELU = Operation(
    "relu",
    ("x",),
    F.relu,
    _samples_with_zeros,
    (
        Mistake(
            "one_at_zero",
            "the gradient passes where x is exactly 0",
            ("x",),
            "At 0 there is a kink, and frameworks agree on what they do there. Zeros are common: "
            "think of the output of another ReLU.",
            (one_at_zero,),
        ),
        Mistake(
            "mask_of_grad",
            "the sign of grad_out decides, and not the sign of x",
            ("x",),
            "What decided in the forward pass whether a number went through? Backward asks the "
            "same question.",
            (mask_of_grad,),
        ),
        Mistake(
            "mask_forgotten",
            "the gradient passes everywhere",
            ("x",),
            "Take an x that is negative and nudge it. What happens to the output, and what does "
            "your gradient say?",
            (mask_forgotten,),
        ),
        Mistake(
            "times_x",
            "grad_out is multiplied with the output and not with the slope",
            ("x",),
            "What is the slope of the function at x = 3? And at x = 5?",
            (times_x,),
        ),
        Mistake(
            "ones",
            "grad_out is forgotten",
            ("x",),
            "By the chain rule everything that goes back is multiplied with what came back so far. "
            "Double grad_out: does your grad_x double?",
            (ones,),
        ),
        Mistake(
            "mask_inverted",
            "the gradient passes on the wrong side of 0",
            ("x",),
            "On which side of 0 does the output follow x? Read your comparison aloud.",
            (mask_inverted, mask_inverted_without_zero),
        ),
    ),
)


# --- leaky_relu ---


def slope_forgotten(p: Problem) -> Grads:
    return {"x": p.grad_out * (p["x"] > 0)}


def slope_everywhere(p: Problem) -> Grads:
    return {"x": p.grad_out * p["negative_slope"]}


def slope_on_positive(p: Problem) -> Grads:
    return {"x": p.grad_out * np.where(p["x"] > 0, p["negative_slope"], 1.0)}


def _leaky_samples(rng: np.random.Generator) -> list[Sample]:
    first, second, third = _samples(rng)
    return [first, (second[0], {"negative_slope": 0.2}), third]


LEAKY_RELU = Operation(
    "leaky_relu",
    ("x",),
    F.leaky_relu,
    _leaky_samples,
    (
        Mistake(
            "slope_forgotten",
            "nothing passes on the negative side",
            ("x",),
            "What tells this function from the plain ReLU? Nudge a negative x and watch the "
            "output.",
            (slope_forgotten,),
        ),
        Mistake(
            "slope_everywhere",
            "the small slope is used on both sides",
            ("x",),
            "The function has two slopes. Which one does a positive x have?",
            (slope_everywhere,),
        ),
        Mistake(
            "slope_on_positive",
            "the two sides are swapped",
            ("x",),
            "On which side of 0 is the function steep? Read your comparison aloud.",
            (slope_on_positive,),
        ),
    ),
    defaults={"negative_slope": 0.01},
)


# --- sigmoid and tanh ---


def sigmoid_from_input(p: Problem) -> Grads:
    return {"x": p.grad_out * p["x"] * (1 - p["x"])}


def one_minus_missing(p: Problem) -> Grads:
    return {"x": p.grad_out * p.out}


def grad_out_forgotten(p: Problem) -> Grads:
    return {"x": p.out * (1 - p.out)}


SIGMOID = Operation(
    "sigmoid",
    ("x",),
    F.sigmoid,
    _samples,
    (
        Mistake(
            "from_input",
            "the slope is computed from x where the output is meant",
            ("x",),
            "The slope is often written with a letter. Does that letter stand for what went in, or "
            "for what came out? Can the slope of this function be negative?",
            (sigmoid_from_input,),
        ),
        Mistake(
            "one_minus_missing",
            "a factor of the slope is missing",
            ("x",),
            "For a large x the curve is flat. Is your gradient small there?",
            (one_minus_missing,),
        ),
        Mistake(
            "grad_out_forgotten",
            "grad_out is forgotten",
            ("x",),
            "By the chain rule everything that goes back is multiplied with what came back so far. "
            "Double grad_out: does your grad_x double?",
            (grad_out_forgotten,),
        ),
    ),
)


def not_squared(p: Problem) -> Grads:
    return {"x": p.grad_out * (1 - p.out)}


def tanh_from_input(p: Problem) -> Grads:
    return {"x": p.grad_out * (1 - p["x"] ** 2)}


def sign(p: Problem) -> Grads:
    return {"x": p.grad_out * (1 + p.out**2)}


TANH = Operation(
    "tanh",
    ("x",),
    F.tanh,
    _samples,
    (
        Mistake(
            "not_squared",
            "the output is not squared in the slope",
            ("x",),
            "The curve looks the same on both sides of 0, so its slope must be the same at -2 and "
            "at 2. Is yours?",
            (not_squared,),
        ),
        Mistake(
            "from_input",
            "the slope is computed from x where the output is meant",
            ("x",),
            "The slope is often written with a letter. Does that letter stand for what went in, or "
            "for what came out? Can the slope of this function be negative?",
            (tanh_from_input,),
        ),
        Mistake(
            "sign",
            "the slope has a wrong sign in it",
            ("x",),
            "For a large x the curve is flat. Is your gradient small there, or large?",
            (sign,),
        ),
    ),
)
