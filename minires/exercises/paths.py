"""Exercises of notebook 09: the paths of a residual network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb
from typing import Any

import numpy as np

from minires.device import Array
from minires.exercises.checking import Wrong, call, choose, close, exercise, explanation, numbers

__all__ = ["count_paths", "effective_length", "lesions", "spectrum"]

_RTOL = 1e-5  # products and sums of at most some ten numbers, in float32 too


@exercise(
    "Counting paths",
    "A path of k branches chooses k of the residual blocks: math.comb(n, k). A plain block gives "
    "no choice: every path goes through its layers.",
)
def count_paths(attempt: Callable[..., Any]) -> str:
    """How many paths go through k = 0, 1, 2, ... branches.

    The attempt takes the numbers of residual and of plain blocks in a row, and returns the list of
    the numbers of paths through 0, 1, ..., residual + plain branches.
    """
    for residual, plain in ((4, 0), (9, 0), (3, 2), (0, 3), (27, 0)):
        found = numbers(call(attempt, residual, plain), "the list of counts")
        chosen = [comb(residual, k) for k in range(residual + 1)]
        right = [0] * plain + chosen
        n = residual + plain
        known: list[tuple[Any, str]] = [
            (chosen, "The plain blocks are missing: each of them is a branch on every path."),
            (
                chosen + [0] * plain,
                "Every path goes through all the plain blocks as well, so that no path is shorter "
                "than their number.",
            ),
            (
                [comb(n, k) for k in range(n + 1)],
                "Here a plain block can be skipped. It has no skip.",
            ),
            (2**residual, "That is the number of all paths. Give a list, by their length."),
            (2**n, "That is a number of all paths, as if every block had a skip. Give a list."),
            (
                [2**k for k in range(n + 1)],
                "These are the paths of a network of k blocks. Wanted are those of length k in the "
                "whole network.",
            ),
            (right[1:], "The list begins with the paths through no branch at all."),
            (
                np.cumsum(right),
                "These are the paths of at most k branches; count those of exactly k.",
            ),
            (
                [_ordered(residual, k) for k in range(residual + 1)],
                "Here the order counts. A path is a set of blocks: it meets them in the order of "
                "the network.",
            ),
        ]
        what = f"the counts for {residual} residual and {plain} plain blocks"
        close(found, right, what, rtol=1e-9, why=explanation(found, known))
    return "As in path_spectrum(...).counts, and they add up to 2 to the number of residual blocks."


def _ordered(n: int, k: int) -> float:
    return float(np.prod([float(n - i) for i in range(k)]))


@exercise(
    "The spectrum of a scalar chain",
    "Begin with [1]. To multiply c by (a + b t): each coefficient times a stays in its place, and "
    "times b moves up by one.",
)
def spectrum(attempt: Callable[..., Any]) -> str:
    """Multiply the factors a + b t of all blocks out.

    The attempt takes two lists, skips (a) and branches (b), a number for each block of a chain
    y = a x + b x, and returns the coefficients c_0, c_1, ..., c_L of the product of all a + b t.
    """
    for a, b in (
        ([1.0, 1.0], [0.5, -2.0]),
        ([1.0, 1.0, 1.0, 1.0], [0.3, 0.9, -0.4, 0.2]),
        ([0.5, 2.0, 1.5], [3.0, 0.25, -1.0]),
        ([0.7], [0.2]),
    ):
        found = numbers(call(attempt, list(a), list(b)), "the coefficients")
        right = _product(a, b)
        L = len(a)
        counts = np.array([comb(L, k) for k in range(L + 1)], dtype=float)
        means = np.array([np.mean(a) ** (L - k) * np.mean(b) ** k for k in range(L + 1)])
        ends = np.array([np.prod(a[k:]) * np.prod(b[:k]) for k in range(L + 1)])
        known: list[tuple[Any, str]] = [
            (
                right[::-1],
                "The order is turned round: c_0, the path over all skips, comes first. (np.polymul "
                "and np.poly1d begin with the highest power.)",
            ),
            (right.sum(), "This is the gradient, the sum of all paths (t = 1). Keep them apart."),
            (
                counts * means,
                "This is the number of paths times a product of means. The gains of the blocks "
                "differ, so that the paths of one length do, too.",
            ),
            (
                counts * ends,
                "This is one path of each length times the number of paths; the others of this "
                "length go through other blocks.",
            ),
            (
                ends,
                "This is one path of each length, through the first k branches. Sum over all sets "
                "of k blocks.",
            ),
            (
                _product([1.0] * L, b),
                "The skips are taken as 1. Each block has its own a.",
            ),
            (right[1:], "The path over all skips, c_0, is missing."),
            (
                _product(a, [abs(one) for one in b]),
                "The signs of the branches are lost: paths can cancel.",
            ),
        ]
        if found.ndim > 1:
            raise Wrong(f"The result has {found.ndim} dimensions; a list of numbers is wanted.")
        close(
            found,
            right,
            f"the coefficients for a = {a}, b = {b}",
            rtol=_RTOL,
            why=explanation(found, known),
        )
    return "The coefficients add up to the gradient of the chain, the product of all a + b."


def _product(a: Sequence[float], b: Sequence[float]) -> Array:
    """The coefficients of the product of all a + b t."""
    result: Array = np.array([1.0])
    for skip, branch in zip(a, b, strict=True):
        result = np.append(skip * result, 0.0) + np.append(0.0, branch * result)
    return result


@exercise(
    "The effective path length",
    "A mean, in which each length counts as much as its component is large: the sum of length "
    "times norm, divided by what?",
)
def effective_length(attempt: Callable[..., Any]) -> None:
    """The mean length of a path, weighted by the norms of the components.

    The attempt takes two lists, lengths and norms of a spectrum, and returns a number.
    """
    rng = np.random.default_rng(91)
    for lengths in ([0, 1, 2, 3, 4], list(range(10)), [2, 3, 4, 5]):
        norms = np.exp(rng.normal(0.0, 1.0, len(lengths)) - 0.5 * np.arange(len(lengths)))
        k = np.asarray(lengths, dtype=float)
        found = numbers(call(attempt, list(lengths), norms.tolist()), "the length")
        counts = np.array([comb(len(k) - 1, i) for i in range(len(k))])
        known: list[tuple[Any, str]] = [
            (
                k.mean(),
                "This is the middle of the lengths: all count the same, or as many as there are "
                "paths of that length, whatever gradient they carry. Weight each by its norm.",
            ),
            ((k * norms).sum(), "The sum of the weights is missing: divide by it."),
            (
                (k * norms).mean(),
                "This divides by the number of lengths. Divide by the sum of the norms.",
            ),
            (
                (k * norms**2).sum() / (norms**2).sum(),
                "The weights are the squares of the norms here.",
            ),
            (
                (k * counts * norms).sum() / (counts * norms).sum(),
                "The norm of a component is that of all its paths together already; do not "
                "multiply by their number again.",
            ),
            (k[norms.argmax()], "This is the length with the largest component, not a mean."),
            (
                (np.arange(len(k)) * norms).sum() / norms.sum(),
                "Use the lengths that are given: they need not begin at 0.",
            ),
            (
                ((k + 1) * norms).sum() / norms.sum(),
                "This is one too much: a path over all skips has the length 0.",
            ),
            (norms.sum(), "This is the sum of the weights alone."),
        ]
        right = (k * norms).sum() / norms.sum()
        what = f"the length for lengths = {lengths[0]}, ..., {lengths[-1]}"
        close(found, right, what, rtol=_RTOL, why=explanation(found, known))


@exercise(
    "What removing blocks shows",
    "Hold each statement against the figures: the curve of one block left out, the mean of two and "
    "four, and what leaving out a block does in the plain network.",
)
def lesions(attempt: Any) -> str:
    """Which statement follows from the figures of the lesions: 'a', 'b', 'c' or 'd'."""
    choose(
        attempt,
        "b",
        {
            "a": "The same network errs on about half of the images when four blocks are "
            "missing. That it does not depend on any single one of most blocks does not mean that "
            "it does not need them together.",
            "b": "",
            "c": "That is the plain network intact: it learned. What breaks it is that each layer "
            "gets, for the first time, what another layer was to work on.",
            "d": "The lesion is at test time: no gradient flows. It says how the function depends "
            "on a block, not how the gradient came back in training.",
        },
    )
    return "What it does not say is how few blocks would do, or where the gradient went."
