"""Mistakes in the backward of linear and matmul."""

from __future__ import annotations

import numpy as np

from minires import functional as F
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample

__all__ = ["LINEAR", "MATMUL"]


def weight_wrong_way_round(p: Problem) -> Grads:
    return {"x": p.grad_out @ p["weight"].T}


def grad_weight_transposed(p: Problem) -> Grads:
    return {"weight": p["x"].T @ p.grad_out}


def bias_summed_over_features(p: Problem) -> Grads:
    return {"bias": p.grad_out.sum(axis=1)}


def bias_averaged(p: Problem) -> Grads:
    return {"bias": p.grad_out.mean(axis=0)}


def weight_averaged_over_batch(p: Problem) -> Grads:
    return {"weight": p.right["weight"] / len(p["x"])}


def weight_without_grad_out(p: Problem) -> Grads:
    return {"weight": np.ones_like(p.grad_out).T @ p["x"]}


def last_sample_only(p: Problem) -> Grads:
    return {"weight": np.outer(p.grad_out[-1], p["x"][-1])}


def _linear_samples(rng: np.random.Generator) -> list[Sample]:
    sizes = [(3, 3, 3), (4, 3, 2), (5, 2, 2), (3, 4, 3), (5, 4, 3)]  # N, I, O
    draw = rng.standard_normal
    return [((draw((N, I)), draw((O, I)), draw(O)), {}) for N, I, O in sizes]  # noqa: E741


LINEAR = Operation(
    "linear",
    ("x", "weight", "bias"),
    F.linear,
    _linear_samples,
    (
        Mistake(
            "weight_wrong_way_round",
            "grad_x goes through the weight the wrong way round",
            ("x",),
            "Write the shapes of grad_out, weight and x beside one another. Which two dimensions "
            "must meet in the product, and which does each row of grad_x need to have? When all "
            "sizes are equal, the shapes cannot warn you.",
            (weight_wrong_way_round,),
        ),
        Mistake(
            "grad_weight_transposed",
            "grad_weight comes out transposed",
            ("weight",),
            "A gradient has the shape of what it belongs to. Compare the shape of grad_weight with "
            "that of weight, in a layer whose two sizes differ.",
            (grad_weight_transposed,),
        ),
        Mistake(
            "bias_summed_over_features",
            "grad_bias is summed over the features and not over the batch",
            ("bias",),
            "One number of the bias is added to which numbers of the output? Its gradient collects "
            "from exactly those.",
            (bias_summed_over_features,),
        ),
        Mistake(
            "bias_averaged",
            "grad_bias is a mean where it should be a sum",
            ("bias",),
            "If the batch held every sample twice, would the bias matter to more outputs or to as "
            "many as before? Where is the averaging over a batch done: in the layer, or in the "
            "loss?",
            (bias_averaged,),
        ),
        Mistake(
            "weight_averaged_over_batch",
            "grad_weight is divided by the size of the batch",
            ("weight",),
            "Where is the averaging over a batch done: in the layer, or in the loss? What comes in "
            "as grad_out if the loss has done it already?",
            (weight_averaged_over_batch,),
        ),
        Mistake(
            "weight_without_grad_out",
            "grad_weight does not use grad_out",
            ("weight",),
            "By the chain rule everything that goes back is multiplied with what came back so far. "
            "Double grad_out: does your grad_weight double?",
            (weight_without_grad_out,),
        ),
        Mistake(
            "last_sample_only",
            "grad_weight is that of the last sample alone",
            ("weight",),
            "Every sample used the same weight. In your loop over the batch, what happens to the "
            "contribution of the sample before?",
            (last_sample_only,),
        ),
    ),
)


def swapped_in_a(p: Problem) -> Grads:
    return {"a": p.grad_out @ p["a"].T}


def swapped_in_b(p: Problem) -> Grads:
    return {"b": p["b"].T @ p.grad_out}


def factors_swapped(p: Problem) -> Grads:
    return swapped_in_a(p) | swapped_in_b(p)


def not_transposed_in_a(p: Problem) -> Grads:
    return {"a": p.grad_out @ p["b"]}


def not_transposed_in_b(p: Problem) -> Grads:
    return {"b": p["a"] @ p.grad_out}


def transpose_forgotten(p: Problem) -> Grads:
    return not_transposed_in_a(p) | not_transposed_in_b(p)


def reversed_in_a(p: Problem) -> Grads:
    return {"a": p["b"].T @ p.grad_out}


def reversed_in_b(p: Problem) -> Grads:
    return {"b": p.grad_out @ p["a"].T}


def order_reversed(p: Problem) -> Grads:
    return reversed_in_a(p) | reversed_in_b(p)


def _matmul_samples(rng: np.random.Generator) -> list[Sample]:
    sizes = [(3, 3, 3), (4, 3, 2), (2, 3, 3), (3, 3, 2), (3, 2, 3), (4, 4, 4)]  # M, K, N
    draw = rng.standard_normal
    return [((draw((M, K)), draw((K, N))), {}) for M, K, N in sizes]


MATMUL = Operation(
    "matmul",
    ("a", "b"),
    F.matmul,
    _matmul_samples,
    (
        Mistake(
            "factors_swapped",
            "a gradient is computed from the factor it belongs to, and not from the other one",
            ("a", "b"),
            "In a product of two numbers, which of them is the derivative by the first? Ask the "
            "same of your two matrices.",
            (factors_swapped, swapped_in_a, swapped_in_b),
        ),
        Mistake(
            "transpose_forgotten",
            "the other factor is not transposed",
            ("a", "b"),
            "Take three different sizes for M, K and N and write the shape beside each factor of "
            "your products. Which dimensions meet, and do they agree?",
            (transpose_forgotten, not_transposed_in_a, not_transposed_in_b),
        ),
        Mistake(
            "order_reversed",
            "the two factors of the product stand in the wrong order",
            ("a", "b"),
            "Matrices do not commute. Take three different sizes for M, K and N: on which side "
            "must grad_out stand so that the result has the shape of the input?",
            (order_reversed, reversed_in_a, reversed_in_b),
        ),
    ),
)
