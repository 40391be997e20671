"""Mistakes in the backward of operations that repeat or gather: broadcasting, max and mean."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minires import functional as F
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample, part
from minires.device import Array

__all__ = ["BROADCAST_ADD", "BROADCAST_MUL", "MAX", "MEAN"]


# --- broadcast_add: a (N, C, H, W), b (C, 1, 1) ---


def not_summed_in_add(p: Problem) -> Grads:
    return {"b": p.grad_out}


def averaged_in_add(p: Problem, axes: tuple[int, ...]) -> Grads:
    count = np.prod([p.grad_out.shape[axis] for axis in axes])
    return {"b": p.right["b"] / count}


def summed_over_batch_only(p: Problem) -> Grads:
    return {"b": p.grad_out.sum(axis=0)}


def wrong_axis_in_add(p: Problem) -> Grads:
    return {"b": p.grad_out.sum(axis=(1, 2, 3)).reshape(-1, 1, 1)}


def _add_samples(rng: np.random.Generator) -> list[Sample]:
    sizes = [(3, 3, 2, 2), (4, 2, 3, 2), (3, 2, 2, 4)]  # N, C, H, W
    draw = rng.standard_normal
    return [((draw(size), draw((size[1], 1, 1))), {}) for size in sizes]


BROADCAST_ADD = Operation(
    "broadcast_add",
    ("a", "b"),
    F.add,
    _add_samples,
    (
        Mistake(
            "not_summed",
            "grad_b keeps the shape of a",
            ("b",),
            "A gradient has the shape of what it belongs to. Each number of b was used how often, "
            "and what becomes of gradients that come back from several uses?",
            (not_summed_in_add,),
        ),
        Mistake(
            "averaged",
            "grad_b is a mean where it should be a sum",
            ("b",),
            "If one number of b grows by 1, by how much does the sum of the whole output grow?",
            tuple(partial(averaged_in_add, axes=axes) for axes in ((0, 2, 3), (0,), (2, 3))),
        ),
        Mistake(
            "summed_over_batch_only",
            "grad_b is summed over the batch and not over the pixels",
            ("b",),
            "b was repeated along which dimensions? Every one of them has to be summed over.",
            (summed_over_batch_only,),
        ),
        Mistake(
            "wrong_axis",
            "grad_b is summed over the channels and not over the batch",
            ("b",),
            "Broadcasting aligns shapes from the right. Write the shape of b under that of a: "
            "which dimension do the two have in common?",
            (wrong_axis_in_add,),
        ),
    ),
)


# --- broadcast_mul: a (N, D), b (D,) ---


def own_factor(p: Problem) -> Grads:
    return {"a": p.grad_out * p["a"], "b": (p.grad_out * p["b"]).sum(axis=0)}


def not_summed_in_mul(p: Problem) -> Grads:
    return {"b": p.grad_out * p["a"]}


def averaged_in_mul(p: Problem) -> Grads:
    return {"b": p.right["b"] / len(p["a"])}


def factor_forgotten(p: Problem) -> Grads:
    return {"a": p.grad_out, "b": p.grad_out.sum(axis=0)}


def _mul_samples(rng: np.random.Generator) -> list[Sample]:
    draw = rng.standard_normal
    return [((draw((N, D)), draw(D)), {}) for N, D in ((4, 3), (3, 3), (5, 2))]


BROADCAST_MUL = Operation(
    "broadcast_mul",
    ("a", "b"),
    F.mul,
    _mul_samples,
    (
        Mistake(
            "own_factor",
            "a gradient is multiplied with the factor it belongs to, and not with the other one",
            ("a", "b"),
            "In a product of two numbers, which of them is the derivative by the first?",
            (own_factor, part(own_factor, "a"), part(own_factor, "b")),
        ),
        Mistake(
            "not_summed",
            "grad_b keeps the shape of a",
            ("b",),
            "A gradient has the shape of what it belongs to. Each number of b was used how often, "
            "and what becomes of gradients that come back from several uses?",
            (not_summed_in_mul,),
        ),
        Mistake(
            "averaged",
            "grad_b is a mean where it should be a sum",
            ("b",),
            "Each row of a used the same b. If the batch held every row twice, what would become "
            "of grad_b?",
            (averaged_in_mul,),
        ),
        Mistake(
            "factor_forgotten",
            "the other factor is missing in a gradient",
            ("a", "b"),
            "If b is 10, how much does the output move when a moves by 1? Does your gradient know "
            "of it?",
            (part(factor_forgotten, "a"), part(factor_forgotten, "b"), factor_forgotten),
        ),
    ),
)


# --- max over axis 1 ---


def _largest(p: Problem) -> Array:
    return (p["x"] == p.out[:, None]).astype(float)


def ties_split(p: Problem) -> Grads:
    equal = _largest(p)
    return {"x": p.grad_out[:, None] * equal / equal.sum(axis=1, keepdims=True)}


def ties_all_paid(p: Problem) -> Grads:
    return {"x": p.grad_out[:, None] * _largest(p)}


def last_of_ties(p: Problem) -> Grads:
    K = p["x"].shape[1]
    last = K - 1 - p["x"][:, ::-1].argmax(axis=1)
    return {"x": p.grad_out[:, None] * np.eye(K)[last]}


def spread(p: Problem) -> Grads:
    return {"x": p.grad_out[:, None] * np.ones_like(p["x"])}


def averaged_in_max(p: Problem) -> Grads:
    return {"x": p.grad_out[:, None] * np.ones_like(p["x"]) / p["x"].shape[1]}


def _max_forward(x: Any) -> Any:
    """The largest of each row."""
    return F.max(x, 1).values


def _max_samples(rng: np.random.Generator) -> list[Sample]:
    ties = rng.standard_normal((5, 4))
    ties[:3, 1:3] = 3.0
    ties[3, [0, 3]] = 4.0
    return [((x,), {}) for x in (rng.standard_normal((4, 3)), ties, rng.standard_normal((3, 3)))]


MAX = Operation(
    "max",
    ("x",),
    _max_forward,
    _max_samples,
    (
        Mistake(
            "ties_split",
            "the gradient is divided among equal maxima",
            ("x",),
            "Look at a row in which the largest value stands twice. This operation lets one of "
            "them win: which one, and what do the others get?",
            (ties_split,),
        ),
        Mistake(
            "ties_all_paid",
            "each of several equal maxima gets the whole gradient",
            ("x",),
            "Look at a row in which the largest value stands twice. Add up what the row gets: is "
            "it what came in?",
            (ties_all_paid,),
        ),
        Mistake(
            "last_of_ties",
            "of equal maxima the last one gets the gradient",
            ("x",),
            "Look at a row in which the largest value stands twice. Which of them does the "
            "operation take, from the left, and which does your comparison let through?",
            (last_of_ties,),
        ),
        Mistake(
            "spread",
            "every place of the row gets the gradient",
            ("x",),
            "If you nudge a number that is not the largest of its row, what happens to the output?",
            (spread,),
        ),
        Mistake(
            "averaged",
            "the gradient is shared out over the row, as if the mean had been taken",
            ("x",),
            "If you nudge a number that is not the largest of its row, what happens to the output? "
            "Which operation would answer as your backward does?",
            (averaged_in_max,),
        ),
    ),
)


# --- mean over axis 0 ---


def not_divided(p: Problem) -> Grads:
    return {"x": p.right["x"] * len(p["x"])}


def wrong_count(p: Problem) -> Grads:
    N, K = p["x"].shape
    return {"x": p.right["x"] * N / K}


def wrong_axis(p: Problem) -> Grads:
    return {"x": np.broadcast_to(p.grad_out[:, None], p["x"].shape) / len(p["x"])}


def _mean_forward(x: Any) -> Any:
    """The mean of each column."""
    return F.mean(x, 0)


def _mean_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal(size),), {}) for size in ((4, 3), (3, 3), (5, 2))]


MEAN = Operation(
    "mean",
    ("x",),
    _mean_forward,
    _mean_samples,
    (
        Mistake(
            "not_divided",
            "the gradient is that of the sum and not of the mean",
            ("x",),
            "If one number of a column grows by 1, by how much does the mean of the column grow?",
            (not_divided,),
        ),
        Mistake(
            "wrong_count",
            "the gradient is divided by the size of the other dimension",
            ("x",),
            "How many numbers went into one mean? Check which dimension you read the count from.",
            (wrong_count,),
        ),
        Mistake(
            "wrong_axis",
            "the gradient is laid along the wrong dimension",
            ("x",),
            "Number k of grad_out belongs to which numbers of x: a row of them, or a column? When "
            "x is square, the shapes cannot warn you.",
            (wrong_axis,),
        ),
    ),
)
