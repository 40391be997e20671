"""Mistakes in the backward of add_skip: a residual block of two linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires import functional as F
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample, part

__all__ = ["ADD_SKIP"]


def _forward(x: Any, w1: Any, w2: Any) -> Any:
    """x + relu(x @ w1.T) @ w2.T."""
    return x + F.linear(F.relu(F.linear(x, w1)), w2)


def skip_forgotten(p: Problem) -> Grads:
    return {"x": p.right["x"] - p.grad_out}


def skip_counted_twice(p: Problem) -> Grads:
    return {"x": p.right["x"] + p.grad_out}


def branch_forgotten(p: Problem) -> Grads:
    return {"x": p.grad_out}


def mask_forgotten(p: Problem) -> Grads:
    back = p.grad_out @ p["w2"]
    return {"x": p.grad_out + back @ p["w1"], "w1": back.T @ p["x"]}


def halved(p: Problem) -> Grads:
    return {"x": p.right["x"] / 2}


def w2_wrong_way_round(p: Problem) -> Grads:
    back = (p.grad_out @ p["w2"].T) * (p["x"] @ p["w1"].T > 0)
    return {"x": p.grad_out + back @ p["w1"], "w1": back.T @ p["x"]}


def w1_wrong_way_round(p: Problem) -> Grads:
    back = (p.grad_out @ p["w2"]) * (p["x"] @ p["w1"].T > 0)
    return {"x": p.grad_out + back @ p["w1"].T}


def _samples(rng: np.random.Generator) -> list[Sample]:
    draw = rng.standard_normal
    return [((draw((N, D)), draw((D, D)), draw((D, D))), {}) for N, D in ((4, 3), (4, 4), (6, 4))]


ADD_SKIP = Operation(
    "add_skip",
    ("x", "w1", "w2"),
    _forward,
    _samples,
    (
        Mistake(
            "skip_forgotten",
            "grad_x leaves out the skip",
            ("x",),
            "x forks, and its two paths meet again in the sum. By how many paths does the gradient "
            "come back to it?",
            (skip_forgotten,),
        ),
        Mistake(
            "skip_counted_twice",
            "the skip is counted twice in grad_x",
            ("x",),
            "Look for every place where grad_out is added to grad_x. How often does x go round the "
            "branch?",
            (skip_counted_twice,),
        ),
        Mistake(
            "branch_forgotten",
            "grad_x leaves out the branch",
            ("x",),
            "Change x a little: does the output change through the sum alone, or also through the "
            "weights and the ReLU?",
            (branch_forgotten,),
        ),
        Mistake(
            "mask_forgotten",
            "the gradient goes through the ReLU of the branch as if it were not there",
            ("x", "w1"),
            "Go back through the branch step by step: which numbers did the ReLU stop in the "
            "forward pass?",
            (mask_forgotten, part(mask_forgotten, "x"), part(mask_forgotten, "w1")),
        ),
        Mistake(
            "halved",
            "skip and branch are averaged where they should be added",
            ("x",),
            "The block adds its two paths with factor 1 each. What does a sum do to the gradient "
            "that reaches it, and a fork to the gradients that come back to it?",
            (halved,),
        ),
        Mistake(
            "weight_wrong_way_round",
            "the gradient goes back through a weight of the branch the wrong way round",
            ("x", "w1"),
            "The weights are square here, so that the shapes cannot warn you. Give the middle of "
            "the branch a width of its own and write the shapes beside your products.",
            (
                w2_wrong_way_round,
                part(w2_wrong_way_round, "x"),
                part(w2_wrong_way_round, "w1"),
                w1_wrong_way_round,
            ),
        ),
    ),
)
