"""Exercises of notebook 08: where the gradient goes at a fork, and what lesions and a dial show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minires.functional as F
from minires import autograd
from minires.autograd import Tensor
from minires.device import Array
from minires.exercises.checking import call, choose, close, exercise, numbers, two

__all__ = ["fork", "left_without_skips", "reading", "share_and_cosine"]

# Sums of some ten products in float32, whose rounding is 6e-8 each.
_RTOL = 1e-5


@exercise(
    "Skip and branch at the fork",
    "Which tensor operation keeps the numbers and cuts the history?",
)
def fork(attempt: Callable[..., Any]) -> str:
    """Split the gradient at the fork of one block by hand.

    The attempt takes a tensor u (N, D) that requires grad, two functions shortcut and branch of a
    tensor, and grad_out, the gradient that arrives at z = shortcut(u) + branch(u), a tensor like z.
    It returns the two gradients at u: what comes back over the shortcut, and through the branch.
    """
    rng = np.random.default_rng(81)
    for D, D_out in ((4, 4), (5, 3)):
        w1, w2 = Tensor(rng.standard_normal((D, 6))), Tensor(rng.standard_normal((6, D_out)))

        def shortcut(u: Any, D_out: int = D_out) -> Any:
            return 0.5 * u[:, :D_out]

        def branch(u: Any, w1: Tensor = w1, w2: Tensor = w2) -> Any:
            return F.relu(u @ w1) @ w2

        given = rng.standard_normal((3, D))
        grad_out = Tensor(rng.standard_normal((3, D_out)))
        u = Tensor(given, requires_grad=True)
        right = [_gradient(way(u), u, grad_out) for way in (shortcut, branch)]
        u = Tensor(given, requires_grad=True)
        pair = two(call(attempt, u, shortcut, branch, grad_out), "(skip, branch)")
        found = [numbers(_one(one), "the gradient") for one in pair]
        d, total, values = grad_out.data, right[0] + right[1], [shortcut(u).data, branch(u).data]
        known: list[tuple[Sequence[Array], str]] = [
            (
                [d, d],
                "These are the gradients at the sum, where both ways get the same grad_out. Go "
                "back to the fork, to u.",
            ),
            (
                [total, total],
                "Both are the whole gradient at u: nothing is cut. Detach u on the way to the "
                "branch for the one, and on the way to the shortcut for the other.",
            ),
            (right[::-1], "The two are exchanged: where the branch is cut, the skip is left."),
            (
                [right[0], total],
                "The second is skip and branch together. Either the shortcut is not cut there, or "
                "backward() has added to what u.grad held before: mr.grad does not.",
            ),
            ([total, right[1]], "The first is skip and branch together. Cut the branch there."),
            (values, "These are the two terms of the sum, going forward, not their gradients."),
        ]
        why = _why(found, known)
        for one, expected, name in zip(found, right, ("skip", "branch"), strict=True):
            close(one, expected, f"{name} for u (3, {D})", rtol=_RTOL, why=why)
    return "These are the two gradients of a ledger entry."


def _gradient(z: Tensor, u: Tensor, grad_out: Tensor) -> Array:
    (found,) = autograd.grad(z, u, grad_out)
    assert found is not None
    result: Array = found.data
    return result


@exercise(
    "Share and cosine",
    "|skip| is the square root of the sum of the squares of all its numbers. The share compares "
    "two norms; the cosine divides the sum of all products by the product of the two norms.",
)
def share_and_cosine(attempt: Callable[..., Any]) -> str:
    """The share of the skip, and the cosine between the two gradients.

    The attempt takes two arrays of one shape, skip and branch, and returns two numbers:
    |skip| / (|skip| + |branch|), and the cosine of the angle between them over the whole batch.
    """
    rng = np.random.default_rng(82)
    for shape, mix in (((3, 4), -0.6), ((2, 3, 2, 2), 0.5), ((7,), 0.4)):
        skip = rng.standard_normal(shape)
        branch = 1.7 * rng.standard_normal(shape) + mix * skip
        found = two(call(attempt, skip, branch), "(share, cosine)")
        share, cosine = (numbers(_one(one), "the result") for one in found)
        s, b, both = (float(np.linalg.norm(one)) for one in (skip, branch, skip + branch))
        dot = float((skip * branch).sum())
        shares: list[tuple[Any, str]] = [
            (b / (s + b), "This is the share of the branch."),
            (s / b, "This is the ratio of the two, which is no share: it has no upper limit."),
            (
                s / both,
                "This divides by the norm of the sum. Norms do not add up: where the two pull "
                "against each other, that can be more than 1.",
            ),
            (
                s * s / (s * s + b * b),
                "These are squared norms; take the square root of each first.",
            ),
            (
                np.abs(skip).sum() / (np.abs(skip).sum() + np.abs(branch).sum()),
                "These are sums of absolute values. The norm is the root of the sum of squares.",
            ),
            (
                skip.sum() / (skip + branch).sum(),
                "These are sums, in which positive and negative numbers cancel; take norms.",
            ),
        ]
        cosines: list[tuple[Any, str]] = [
            (dot, "This is the inner product; divide it by both norms."),
            (abs(dot) / (s * b), "The sign is lost: it says whether the two pull the same way."),
            (-dot / (s * b), "The sign is turned round."),
            (dot / s**2, "This divides by |skip| twice; divide by both norms, once each."),
            (dot / b**2, "This divides by |branch| twice; divide by both norms, once each."),
            (
                dot / (s * both),
                "This is scaled by the norm of the sum; divide by |skip| and |branch|.",
            ),
            (
                np.arccos(np.clip(dot / (s * b), -1, 1)),
                "This is the angle; its cosine is wanted.",
            ),
            (
                np.corrcoef(skip.ravel(), branch.ravel())[0, 1],
                "This is the correlation, in which the means are taken off first.",
            ),
        ]
        if len(shape) > 1:
            rows = [one.reshape(shape[0], -1) for one in (skip, branch)]
            sizes = [np.linalg.norm(one, axis=1) for one in rows]
            each = (rows[0] * rows[1]).sum(1) / (sizes[0] * sizes[1])
            cosines.append(
                (
                    each.mean(),
                    "This is the mean of the cosines of the images. Take the whole batch as one "
                    "vector, as the ledger does.",
                )
            )
        what = f"for arrays of shape {shape}: "
        close(share, s / (s + b), f"{what}share", rtol=_RTOL, why=_why(share, shares))
        why = _why(cosine, cosines)
        close(cosine, dot / (s * b), f"{what}cosine", rtol=_RTOL, why=why)
    return "As in the table of flow.ledger."


@exercise(
    "What a lesion leaves",
    "An ordinary block multiplies the gradient by 1 + w: 1 over its skip and w through its branch. "
    "What does a block multiply it by whose skip is cut? And what do the others do?",
)
def left_without_skips(attempt: Callable[..., Any]) -> str:
    """The gradient that is left where skips are cut in backward only.

    A chain of blocks y = x + w x, with a number w for each. The attempt takes the list of the w
    and the list of the places (from 0) of the blocks whose skip is cut in backward only, and
    returns lesioned gradient / ordinary gradient at the input of the chain.
    """
    for w, cut in (
        ([0.5, -0.25, 2.0], [1]),
        ([0.5, -0.25, 2.0], [0, 1, 2]),
        ([0.3] * 6, [0, 5]),
        ([1.0, 0.7, -0.4, 0.2], []),
        ([0.8] * 20, list(range(20))),
    ):
        found = numbers(call(attempt, list(w), list(cut)), "the ratio")
        gains = np.asarray(w)
        chosen = np.isin(np.arange(len(w)), cut)
        lesioned = float(np.where(chosen, gains, 1 + gains).prod())
        ordinary = float((1 + gains).prod())
        known: list[tuple[Any, str]] = [
            (
                lesioned,
                "This is the lesioned gradient itself; divide it by the ordinary one, the product "
                "of all 1 + w.",
            ),
            (
                gains[chosen].prod(),
                "This is the product of w over the blocks that are cut. In the ordinary pass they "
                "multiplied by 1 + w, and the question is for the ratio.",
            ),
            (gains.prod(), "This is the product of all w, and no ratio."),
            (
                gains.prod() / ordinary,
                "Here all skips are cut. The other blocks still multiply by 1 + w.",
            ),
            (
                float(np.where(chosen, 1.0, 1 + gains).prod()) / ordinary,
                "Here it is the branches that are cut: what is left over a skip is 1.",
            ),
            (
                float(np.where(chosen, 0.0, 1 + gains).prod()) / ordinary,
                "Where the skip is cut, the gradient still comes through the branch: times w.",
            ),
            (
                float(np.where(chosen, 1 + gains, gains).prod()) / ordinary,
                "The skips of the other blocks are cut here.",
            ),
            (ordinary / lesioned, "The ratio is upside down."),
        ]
        why = _why(found, known)
        close(
            found,
            lesioned / ordinary,
            f"the ratio for w = {_shown(w)}, cut = {_shown(cut)}",
            rtol=_RTOL,
            why=why,
        )
    return "In a deep chain almost nothing is left, where each w is less than half of 1 + w."


@exercise(
    "Reading the dial",
    "Hold each statement against both halves of the table. Then ask what the dial changes: the way "
    "of the gradient, the function, or both?",
)
def reading(attempt: Any) -> str:
    """Which statement follows from the dial: 'a', 'b', 'c' or 'd'."""
    choose(
        attempt,
        "c",
        {
            "a": "Look at the column 'first |g|' before training: at alpha 0 it is not smaller "
            "than at 1. A gradient that does not reach the first block is not what keeps the "
            "network at alpha 0 from learning.",
            "b": "Before training all settings err on about 9 of 10 images: they guess. A loss a "
            "little nearer to log 10 = 2.3, that of guessing evenly, says nothing about how well a "
            "network will learn; the errors after training are the other way round.",
            "c": "",
            "d": "Turning the dial changes the function as well as the way of the gradient. To "
            "tell the two apart takes a lesion in backward only.",
        },
    )
    return "And the dial alone does not say whether it is the function or the gradient."


def _one(value: Any) -> Any:
    """(gradient,), as mr.grad gives it, is as good as the gradient."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def _why(found: Any, known: Sequence[tuple[Any, str]]) -> str:
    """What a known mistake overlooks that gives just these numbers; '' if none does."""
    for given, why in known:
        pairs = zip(found, given, strict=True) if isinstance(found, list) else [(found, given)]
        if all(_alike(one, np.asarray(other)) for one, other in pairs):
            return why
    return ""


def _alike(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(
        np.allclose(one, other, 0.0, _RTOL * np.abs(other).max(initial=0.0))
    )


def _shown(values: Sequence[Any]) -> str:
    return str(list(values)) if len(values) <= 6 else f"[{values[0]}, ...], {len(values)} of them"
