"""The exercises of tutorial 12: shattered gradients, Jacobians, and the loss landscape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minires.exercises.checking import (
    Wrong,
    call,
    choose,
    close,
    exercise,
    explanation,
    numbers,
    one_number,
)

__all__ = ["filter_normalised", "gradient_correlation", "largest_singular_value", "what_it_shows"]


@exercise(
    "The correlation of gradients",
    "Two means, one by the other: of the products of two different gradients, and of the squares.",
)
def gradient_correlation(attempt: Any) -> str:
    """How alike the gradients of different inputs are: the quantity of the theorems.

    The attempt takes ``grads`` of shape (n, d), one gradient a row, and returns the mean of
    <g_i, g_j> over all pairs i != j, divided by the mean of |g_i|^2.  No mean is taken off.
    """
    draw = np.random.default_rng(12)
    for n, d, shared in ((5, 40, 1.5), (2, 7, 0.3), (30, 12, 0.5)):
        sizes = draw.uniform(0.3, 3.0, (n, 1))
        grads = sizes * (draw.standard_normal((n, d)) + shared * draw.standard_normal(d))
        products = grads @ grads.T
        energy = float(np.trace(products)) / n
        pairs = (float(products.sum()) - n * energy) / (n * (n - 1))
        lengths = np.sqrt(np.diag(products))
        cosines = products / np.outer(lengths, lengths)
        apart = ~np.eye(n, dtype=bool)
        name = f"gradient_correlation of {n} gradients"
        found = one_number(call(attempt, grads), name)
        why = explanation(
            found,
            [
                (
                    float(products.mean()) / energy,
                    "The products of each gradient with itself are among the pairs; take i != j.",
                ),
                (
                    float(cosines[apart].mean()),
                    "That is the mean of the cosines. The theorem divides the mean of the products "
                    "by the mean of the squares, so that large gradients count for more.",
                ),
                (float(cosines.mean()), "That is the mean of all cosines, i = j among them."),
                (
                    float(np.asarray(np.corrcoef(grads))[apart].mean()),
                    "np.corrcoef takes the mean off each gradient and divides each by its own "
                    "length; here neither is done.",
                ),
                (pairs, "The mean of the products is right; it is not divided by anything yet."),
                (
                    pairs / (energy * n),
                    "It is divided by the sum of the squares instead of their mean.",
                ),
                (
                    0.5 * pairs / energy,
                    "Half of it: with each pair taken once there are n (n - 1) / 2 of them.",
                ),
                (
                    2.0 * pairs / energy,
                    "Twice as much: with each pair taken both ways there are n (n - 1) of them.",
                ),
            ],
        )
        close(found, pairs / energy, name, rtol=1e-5, why=why)
    return "shattering() and shattering_by_depth() report this."


@exercise(
    "The largest singular value",
    "Which matrix has the squares of the singular values as its eigenvalues?",
)
def largest_singular_value(attempt: Any) -> str:
    """The largest singular value of a Jacobian that is known by its products alone.

    The attempt takes ``jvp(v)``, which gives J v, ``vjp(u)``, which gives J^T u, a vector ``v`` to
    start from, and ``steps``; it does so many steps of power iteration and returns a number.  J
    need not be square.
    """
    draw = np.random.default_rng(120)
    # Square and far from symmetric, wide, tall, and one whose powers leave the range of numbers.
    for n_out, n_in, size in ((9, 9, 1.0), (6, 11, 1.0), (12, 5, 1.0), (8, 8, 1e3)):
        left, _ = np.linalg.qr(draw.standard_normal((n_out, n_out)))
        right, _ = np.linalg.qr(draw.standard_normal((n_in, n_in)))
        rank = min(n_out, n_in)
        values = size * 3.0 * 0.6 ** np.arange(rank)
        J = (left[:, :rank] * values) @ right[:, :rank].T
        counts = {"jvp": 0, "vjp": 0}
        name = f"largest_singular_value of a {n_out} x {n_in} Jacobian"
        start = right[:, 0] + draw.standard_normal(n_in)
        steps = 60
        with np.errstate(all="ignore"):
            found = one_number(
                call(
                    attempt, _product(J, "jvp", counts), _product(J.T, "vjp", counts), start, steps
                ),
                name,
            )
        _blame(found, J, start, counts, steps)
        close(found, values[0], name, rtol=1e-4)
    return "jacobian_lens() uses Lanczos, which needs fewer products, for the same number."


def _blame(
    found: float, J: np.ndarray, start: np.ndarray, counts: dict[str, int], steps: int
) -> None:
    """Wrong, with the mistake by name, if it is one of those that are known."""
    top = float(np.linalg.norm(J, 2))
    if not math.isfinite(found):
        raise Wrong(
            f"The result is {found}: without dividing by its length in every step the vector grows "
            "out of the range of numbers."
        )
    if counts["jvp"] == 0 or counts["vjp"] == 0:
        missing = "vjp" if counts["vjp"] == 0 else "jvp"
        raise Wrong(
            f"{missing} is not used. Powers of J alone lead to its eigenvalues, and those are not "
            "its singular values unless J is symmetric; it takes J^T J."
        )
    if counts["jvp"] + counts["vjp"] < 2 * steps - 1:
        raise Wrong(
            f"jvp was called {counts['jvp']} times and vjp {counts['vjp']} times in {steps} steps: "
            "each step takes one product with J and one with J^T."
        )
    if math.isclose(found, top**2, rel_tol=1e-4):
        raise Wrong(
            f"The result is {found:.6g}, the square of the singular value: that is the eigenvalue "
            "of J^T J."
        )
    if found > top * (1 + 1e-4):
        raise Wrong(
            f"The result is {found:.6g}, more than J stretches any vector ({top:.6g}). Has v "
            "length 1 when |J v| is measured?"
        )


def _product(J: np.ndarray, name: str, counts: dict[str, int]) -> Any:
    def product(v: Any) -> np.ndarray:
        vector = numbers(v, f"the argument of {name}").astype(np.float64)
        if vector.shape != (J.shape[1],):
            raise Wrong(
                f"{name} takes a vector of {J.shape[1]} numbers, but got the shape {vector.shape}. "
                "v lives where the input does, J v where the output does."
            )
        counts[name] += 1
        found: np.ndarray = J @ vector
        return found

    return product


@exercise(
    "A filter-normalised direction",
    "A filter is weight[i]: all that one output reads. Whose norm should d[i] have?",
)
def filter_normalised(attempt: Any) -> str:
    """Give each filter of a direction the norm of the filter of the weights.

    The attempt takes ``weight`` and ``direction`` of one shape, (out, in, KH, KW) or (out, in), and
    returns the direction rescaled filter by filter (Li et al. 2018, section 4).
    """
    draw = np.random.default_rng(1200)
    for shape in ((6, 3, 3, 3), (4, 5), (3, 3, 2, 2)):
        weight, direction = draw.standard_normal((2, *shape))
        weight *= draw.uniform(0.1, 4.0, (shape[0], *(1,) * (len(shape) - 1)))
        axes = tuple(range(1, len(shape)))
        size, length = (np.sqrt((a**2).sum(axis=axes, keepdims=True)) for a in (weight, direction))
        expected = direction * size / length
        name = f"filter_normalised of a weight of shape {shape}"
        found = numbers(call(attempt, weight, direction), name)
        mistakes = [
            (direction / length, "Each filter has length 1; it should be that of the weights."),
            (direction * size, "It is multiplied by |w|, and not divided by the length of d."),
            (
                direction * np.linalg.norm(weight) / np.linalg.norm(direction),
                "That scales the layer as a whole. Filters differ in length, and each has a scale "
                "of its own.",
            ),
            (
                np.abs(weight) * np.sign(direction),
                "That scales each weight by itself, so that only the signs are random.",
            ),
            (weight, "These are the weights; their length is wanted, and the way of d."),
            (direction * length / size, "The ratio is upside down."),
        ]
        other = (0, *range(2, len(shape)))
        first, second = (np.sqrt((a**2).sum(other, keepdims=True)) for a in (weight, direction))
        mistakes.append(
            (
                direction * first / second,
                "The norms are taken for each input channel; a filter is what one output reads, "
                "the first axis.",
            )
        )
        if len(shape) == 4:
            one, two = (np.sqrt((a**2).sum((2, 3), keepdims=True)) for a in (weight, direction))
            mistakes.append(
                (
                    direction * one / two,
                    "The norms are taken for each kernel; a filter has all of its input channels.",
                )
            )
        why = next(
            (
                what
                for value, what in mistakes
                if found.shape == shape and np.allclose(found, value, rtol=1e-4)
            ),
            "",
        )
        close(found, expected, name, rtol=1e-5, why=why)
    return "Multiply a filter by 10 where batch norm follows, and its direction grows with it."


_READINGS = {
    "a": "Flat is not good: along that direction the loss stays near log(10) = 2.3, that of "
    "guessing among ten classes. Along the gradient the slope is not zero, so that it is no "
    "minimum, and training that network is what went badly.",
    "b": "One bowl in a plane is not convex: all other directions are left out, and along the "
    "Hessian's eigenvector the loss rises far faster than along the random ones. What looks like "
    "one bowl may be part of a ravine or of a saddle.",
    "c": "",
    "d": "Compare like with like: the two centres are not at the same height, since one network "
    "has learned its images and the other has not. The plain network's training error is higher as "
    "well, so that what failed first is the optimisation, not the generalisation.",
}


@exercise(
    "What the landscape shows",
    "How many directions are there, and how many are drawn? At which height are the two centres?",
)
def what_it_shows(answer: Any) -> str:
    """Choose what can be read off the landscapes of tutorial 12: 'a', 'b', 'c' or 'd'."""
    choose(answer, "c", _READINGS)
    return (
        "It is a section through a space of some 17,000 dimensions. What it shows is true of "
        "the section; of the rest the Hessian's outermost eigenvalue tells a little more."
    )
