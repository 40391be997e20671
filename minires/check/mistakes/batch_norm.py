"""Mistakes in the backward of batch_norm, in training mode.

Right is, with M numbers in a channel and everything summed over them (Ioffe and Szegedy 2015):
grad_x has three terms, the direct one, one through the mean and one through the variance.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minires import functional as F
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample, part
from minires.device import Array

__all__ = ["BATCH_NORM"]

_CHANNEL = (0, 2, 3)  # all but the channel


def _forward(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and biased variance of each channel."""
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def _mean(values: Array) -> Array:
    return values.mean(_CHANNEL, keepdims=True)  # (1, C, 1, 1)


def _centered(p: Problem) -> Array:
    return p["x"] - _mean(p["x"])


def _var(p: Problem) -> Array:
    return _mean(_centered(p) ** 2)


def _std(p: Problem) -> Array:
    return np.sqrt(_var(p) + p["eps"])


def _grad_x(
    p: Problem, *, scale: Array, by_mean: Any = 1.0, by_variance: Any = 1.0, through: Any = None
) -> Array:
    """The three terms of grad_x; ``through`` is the scale that normalises x, ``scale`` in front."""
    g, normal = p.grad_out, _centered(p) * (scale if through is None else through)
    terms = g - by_mean * _mean(g) - by_variance * normal * _mean(g * normal)
    return p["weight"].reshape(-1, 1, 1) * scale * terms


def mean_term_missing(p: Problem) -> Grads:
    return {"x": _grad_x(p, scale=1 / _std(p), by_mean=0.0)}


def variance_term_missing(p: Problem) -> Grads:
    return {"x": _grad_x(p, scale=1 / _std(p), by_variance=0.0)}


def statistics_constant(p: Problem) -> Grads:
    return {"x": p["weight"].reshape(-1, 1, 1) / _std(p) * p.grad_out}


def _count(p: Problem) -> int:
    N, _, H, W = p["x"].shape
    return int(N * H * W)


def variance_term_over_fewer(p: Problem) -> Grads:
    M = _count(p)
    return {"x": _grad_x(p, scale=1 / _std(p), by_variance=M / (M - 1))}


def both_terms_over_fewer(p: Problem) -> Grads:
    M = _count(p)
    return {"x": _grad_x(p, scale=1 / _std(p), by_mean=M / (M - 1), by_variance=M / (M - 1))}


def _wrong_scale(p: Problem, scale: Array, where: str) -> Grads:
    """Another number in the place of 1/std: in front, in the normalised x, and in grad_weight."""
    wrong = {"x": _grad_x(p, scale=scale, through=1 / _std(p) if where == "front" else scale)}
    if where == "everywhere":
        wrong["weight"] = (p.grad_out * _centered(p) * scale).sum(_CHANNEL)
    return wrong


def unbiased_for_biased(p: Problem, where: str) -> Grads:
    M = _count(p)
    return _wrong_scale(p, 1 / np.sqrt(_var(p) * M / (M - 1) + p["eps"]), where)


def variance_for_std(p: Problem, where: str) -> Grads:
    return _wrong_scale(p, 1 / _std(p) ** 2, where)


def eps_forgotten(p: Problem, where: str) -> Grads:
    return _wrong_scale(p, 1 / np.sqrt(_var(p)), where)


_PLACES = ("front", "grad_x", "everywhere")


def weight_missing(p: Problem) -> Grads:
    return {"x": p.right["x"] / p["weight"].reshape(-1, 1, 1)}


def std_missing(p: Problem) -> Grads:
    return {"x": p.right["x"] * _std(p)}


def grad_weight_of_x(p: Problem) -> Grads:
    return {"weight": (p.grad_out * p["x"]).sum(_CHANNEL)}


def grad_weight_of_centered(p: Problem) -> Grads:
    return {"weight": (p.grad_out * _centered(p)).sum(_CHANNEL)}


def over_batch_only(p: Problem, divide_by_all: bool = False) -> Grads:
    """The two means are taken over the batch, each pixel for itself."""
    g, normal, N = p.grad_out, _centered(p) / _std(p), len(p["x"])
    count = _count(p) if divide_by_all else N
    terms = g - g.sum(0) / count - normal * (g * normal).sum(0) / count
    return {"x": p["weight"].reshape(-1, 1, 1) / _std(p) * terms}


def statistics_over_batch_only(p: Problem) -> Grads:
    """The mean and the variance of x as well."""
    g, x = p.grad_out, p["x"]
    std = np.sqrt(x.var(0) + p["eps"])  # (C, H, W)
    normal = (x - x.mean(0)) / std
    terms = g - g.mean(0) - normal * (g * normal).mean(0)
    return {"x": p["weight"].reshape(-1, 1, 1) / std * terms}


def weight_and_bias_swapped(p: Problem) -> Grads:
    return {"weight": p.right["bias"], "bias": p.right["weight"]}


def grad_weight_averaged(p: Problem) -> Grads:
    return {name: p.right[name] / _count(p) for name in ("weight", "bias")}


def grad_weight_averaged_over_batch(p: Problem) -> Grads:
    return {name: p.right[name] / len(p["x"]) for name in ("weight", "bias")}


def _samples(rng: np.random.Generator) -> list[Sample]:
    def sample(*size: int, spread: float, **settings: float) -> Sample:
        x = 1.0 + spread * rng.standard_normal(size)
        weight = rng.uniform(1.5, 2.5, size[1]) * np.array([1, -1, 1])[: size[1]]
        return (x, weight, rng.standard_normal(size[1])), settings

    return [
        sample(3, 2, 4, 5, spread=0.5),
        sample(2, 3, 3, 3, spread=0.2),
        sample(4, 2, 3, 2, spread=0.5, eps=0.1),
    ]


BATCH_NORM = Operation(
    "batch_norm",
    ("x", "weight", "bias"),
    _forward,
    _samples,
    (
        Mistake(
            "mean_term_missing",
            "grad_x leaves out the path through the mean",
            ("x",),
            "Draw the graph of the forward pass: by how many paths does one number of x reach the "
            "output? One of them leads through the mean of its channel.",
            (mean_term_missing,),
        ),
        Mistake(
            "variance_term_missing",
            "grad_x leaves out the path through the variance",
            ("x",),
            "Draw the graph of the forward pass: by how many paths does one number of x reach the "
            "output? One of them leads through the variance of its channel.",
            (variance_term_missing,),
        ),
        Mistake(
            "statistics_constant",
            "grad_x takes mean and variance for constants",
            ("x",),
            "In training mean and variance are computed from x itself. What happens to all the "
            "outputs of a channel when one number of it grows?",
            (statistics_constant,),
        ),
        Mistake(
            "unbiased_for_biased",
            "backward divides by M - 1 where forward divided by M",
            ("x", "weight"),
            "M is how many numbers a channel has. Which of the two variances does the forward pass "
            "normalise with, and which one does your backward use? The difference is small, and "
            "it matters in small batches.",
            (
                *(partial(unbiased_for_biased, where=where) for where in _PLACES),
                variance_term_over_fewer,
                both_terms_over_fewer,
            ),
        ),
        Mistake(
            "weight_missing",
            "grad_x leaves out the factor weight",
            ("x",),
            "The last thing that the forward pass does is to scale and to shift. What does that "
            "do to the gradient on its way back?",
            (weight_missing,),
        ),
        Mistake(
            "std_missing",
            "grad_x leaves out the division by the standard deviation",
            ("x",),
            "Multiply x by 10: the output hardly changes. What must then become of grad_x, and "
            "does yours?",
            (std_missing,),
        ),
        Mistake(
            "variance_for_std",
            "the variance is used where the standard deviation is meant",
            ("x", "weight"),
            "By what does the forward pass divide: the variance, or something made from it? Name "
            "your variables after what they hold.",
            tuple(partial(variance_for_std, where=where) for where in _PLACES),
        ),
        Mistake(
            "grad_weight_of_x",
            "grad_weight uses x before it is normalised",
            ("weight",),
            "What is it exactly that the weight is multiplied with in the forward pass?",
            (grad_weight_of_x, grad_weight_of_centered),
        ),
        Mistake(
            "over_batch_only",
            "the sums in grad_x run over the batch alone, each pixel for itself",
            ("x",),
            "Which numbers share one mean in the forward pass? The same ones are tied together on "
            "the way back.",
            (
                over_batch_only,
                partial(over_batch_only, divide_by_all=True),
                statistics_over_batch_only,
            ),
        ),
        Mistake(
            "eps_forgotten",
            "backward leaves out eps",
            ("x", "weight"),
            "Compare the number by which forward divides with the one in your backward, in a "
            "channel whose variance is small.",
            tuple(partial(eps_forgotten, where=where) for where in _PLACES),
        ),
        Mistake(
            "weight_and_bias_swapped",
            "the gradients of weight and bias are returned in each other's place",
            ("weight", "bias"),
            "The gradients come back in the order of the inputs. They have the same shape here, so "
            "that nothing warns you.",
            (weight_and_bias_swapped,),
        ),
        Mistake(
            "grad_weight_averaged",
            "grad_weight, grad_bias or both are means where they should be sums",
            ("weight", "bias"),
            "One number of the weight acts on how many numbers of the output? Each of them sends "
            "something back.",
            tuple(
                part(variant, *names)
                for variant in (grad_weight_averaged, grad_weight_averaged_over_batch)
                for names in (("weight", "bias"), ("weight",), ("bias",))
            ),
        ),
    ),
    defaults={"eps": 1e-5},
)
