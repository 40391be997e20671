"""The exercises of notebook 10: pre-activation, and the orders of BN, ReLU and addition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor
from minires.errors import ShapeError
from minires.exercises.checking import (
    Wrong,
    call,
    choose,
    close,
    exercise,
    explanation,
    numbers,
    set_state,
    two,
)

__all__ = ["gate_bias", "mask_statistics", "only_grows", "preactivation_block", "skip_factors"]


# --- the skips alone ---


@exercise(
    "What the skips alone leave of the gradient",
    "From x_L back to x_l the gradient passes the skips l, l + 1, ..., L - 1. Begin with the last "
    "block: its skip is the only one between its input and x_L.",
)
def skip_factors(attempt: Callable[..., Any]) -> str:
    """The product in equation 8 of He et al. 2016, for every block.

    The attempt takes ``scales``, an array (L,) of the factors lambda_0, ..., lambda_(L-1) on the
    skips of L blocks, and returns L numbers: number l is what the skips alone multiply the gradient
    at x_L by on its way to x_l, the input of block l.
    """
    draw = np.random.default_rng(3)
    for L in (4, 7, 1):
        scales = draw.uniform(0.3, 1.6, L)
        what = f"skip_factors({np.array2string(scales, precision=2)})"
        right = np.cumprod(scales[::-1])[::-1]
        found = numbers(call(attempt, scales), what)
        if found.shape == (L + 1,) and np.allclose(found[:-1], right):
            found = found[:-1]  # with the 1 at x_L itself
        known: list[tuple[Any, str]] = []
        if L > 1:
            ahead = np.append(right[1:], 1.0)
            known = [
                (
                    np.cumprod(scales),
                    "These products begin at the first block: they are what is left of the signal "
                    "x_0 on its way forward. The gradient comes from the other end.",
                ),
                (
                    ahead,
                    "The skip of block l itself is missing: it lies between x_l and x_(l+1), too.",
                ),
                (
                    np.cumsum(scales[::-1])[::-1],
                    "These are sums. Skips one behind the other multiply.",
                ),
                (
                    np.full(L, scales.prod()),
                    "Not every block has all skips between itself and x_L, only those from its own "
                    "on.",
                ),
                (
                    scales,
                    "That is one skip each; the gradient comes through all from block l to the "
                    "end.",
                ),
                (
                    scales.prod(),
                    "That is right for x_0 alone. A number is wanted for the input of every block.",
                ),
                (
                    scales[0] ** np.arange(L, 0, -1),
                    "This takes the first scale for all of them; here they differ.",
                ),
                (1 / right, "This is upside down: a skip of 0.5 halves the gradient."),
            ]
        close(found, right, what, why=explanation(found, known))
    return "With equal scales the first of them is lambda ** L."


# --- the mask ---


@exercise(
    "What the ReLU after the sum masks",
    "Where z is above 0 the ReLU hands the gradient on, elsewhere it hands on zero. For the second "
    "answer look at one place of the array through all blocks.",
)
def mask_statistics(attempt: Callable[..., Any]) -> str:
    """Count what ReLUs after the sum mask: in each block, and on the way through all of them.

    The attempt takes ``sums``, an array (L, N, C, H, W) of what the ReLUs of L blocks are given,
    and returns a pair: L numbers, the share of the numbers of each block that its ReLU masks; and
    one number, the share of the places (n, c, h, w) that no block masks, so that the gradient
    passes all skips there.
    """
    draw = np.random.default_rng(4)
    for shape in ((3, 4, 2, 5, 5), (6, 2, 3, 4, 6)):
        common = draw.standard_normal(shape[1:])  # blocks tend to mask the same places
        sums = 0.6 + common + 0.5 * draw.standard_normal(shape)
        sums[draw.random(shape) < 0.1] = 0.0
        L = shape[0]
        masked, clear = two(call(attempt, sums), "(share of each block, share of clear places)")
        found = np.ravel(numbers(masked, "the first answer"))
        of_block = (sums <= 0).mean(axis=(1, 2, 3, 4))
        why = explanation(
            found,
            [
                (1 - of_block, "That is the share that is let through; asked is what is masked."),
                (
                    (sums <= 0).sum(axis=(1, 2, 3, 4)),
                    "These are counts; divide by the numbers of a block.",
                ),
                ((sums < 0).mean(axis=(1, 2, 3, 4)), "At exactly 0 the ReLU masks too."),
                (np.array([(sums <= 0).mean()]), "That is over all blocks together."),
            ],
        )
        close(found, of_block, f"the masked share of each of {L} blocks", why=why)
        found = numbers(clear, "the second answer")
        open_everywhere = (sums > 0).all(axis=0).mean()
        why = explanation(
            found,
            [
                ((sums >= 0).all(axis=0).mean(), "At exactly 0 the ReLU masks too."),
                (
                    np.prod(1 - of_block),
                    "That is the product of the shares, which is right if blocks mask "
                    "independently of each other. They do not: count the places.",
                ),
                (
                    1 - of_block.mean(),
                    "That is the mean share of one block; the way leads through all of them.",
                ),
                ((sums > 0).any(axis=0).mean(), "That is where at least one block lets through."),
                (
                    1 - open_everywhere,
                    "That is the share that is masked somewhere; asked is the rest.",
                ),
                ((sums <= 0).all(axis=0).mean(), "That is the share that every block masks."),
                ((sums > 0).all(axis=0).sum(), "That is a count; divide by the places."),
                (
                    (sums.sum(axis=0) > 0).mean(),
                    "That looks at the sum over the blocks; each ReLU looks at its own.",
                ),
            ],
        )
        close(found, open_everywhere, "the share with a clear way", why=why)
    return "Blocks that mask the same places leave more ways clear than independent ones would."


# --- the block ---


@exercise(
    "A pre-activation block",
    "The branch may be an nn.Sequential of batch norm, ReLU, convolution, batch norm, ReLU, "
    "convolution. What follows the sum, and what of the contract must you then leave out?",
)
def preactivation_block(attempt: Callable[..., Any]) -> str:
    """Write the block of He et al. 2016, figure 1(b), for one number of channels.

    The attempt takes the number of channels and returns an nn.ResidualBlock, so a class will do.
    It computes x + F(x), and F is batch norm, ReLU, a 3x3 convolution, and once more batch norm,
    ReLU, a 3x3 convolution, made of nn.Conv2d and nn.BatchNorm2d.
    """
    draw = np.random.default_rng(5)
    channels = 3
    block = call(attempt, channels)
    if not isinstance(block, nn.ResidualBlock):
        raise Wrong(f"Return an nn.ResidualBlock; this is {type(block).__name__}.")
    block.train()
    x = draw.standard_normal((4, channels, 6, 5)).astype(np.float32)
    convs, norms = _in_order(block, x)
    if len(convs) != 2 or len(norms) != 2:
        raise Wrong(
            f"When the block runs, {len(convs)} nn.Conv2d and {len(norms)} nn.BatchNorm2d run; it "
            "has two of each. (A layer that is used twice shares its weights: make two of them.)"
        )
    weights = [0.4 * draw.standard_normal((channels, channels, 3, 3)) for _ in range(2)]
    shifts = [draw.standard_normal(channels) for _ in range(2)]
    for conv, weight in zip(convs, weights, strict=True):
        if conv.weight.shape != weight.shape:
            raise Wrong(
                f"A convolution has a weight of {tuple(conv.weight.shape)}; for {channels} "
                f"channels it should be {weight.shape}: 3x3, as many channels out as in."
            )
        set_state(conv, weight=weight, bias=np.zeros(channels))
    for norm, shift in zip(norms, shifts, strict=True):
        set_state(norm, bias=shift)
    right, known = _blocks(x, weights, shifts)
    found = numbers(block(Tensor(x)), "the block's output")
    # float32 through two convolutions of 27 taps: errors stay below 1e-5 of the largest number
    close(found, right, "the block's output", rtol=1e-4, why=explanation(found, known, rtol=1e-4))
    return "Nothing is on the way from its input to its output but the sum."


def _in_order(block: nn.Module, x: Any) -> tuple[list[Any], list[Any]]:
    """Convolutions and batch norms in the order in which they run, each once."""
    ran: dict[nn.Module, None] = {}
    handles = [
        module.register_forward_hook(lambda module, inputs, out: ran.setdefault(module))
        for module in block.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        block(Tensor(x))
    except ShapeError as error:
        raise Wrong(str(error)) from None
    finally:
        for handle in handles:
            handle.remove()
    return [m for m in ran if isinstance(m, nn.Conv2d)], [
        m for m in ran if isinstance(m, nn.BatchNorm2d)
    ]


def _blocks(x: Any, weights: list[Any], shifts: list[Any]) -> tuple[Any, list[tuple[Any, str]]]:
    """What the block gives, and what it gives with plausible mistakes; in float64."""
    x = x.astype(np.float64)

    def conv(i: int, h: Any) -> Any:
        return F.conv2d(h, weights[i], padding=1)

    def norm(i: int, h: Any) -> Any:
        return F.batch_norm(h, None, None, np.ones(len(shifts[i])), shifts[i], True)

    relu = F.relu
    first = relu(norm(0, x))
    branch = conv(1, relu(norm(1, conv(0, first))))
    late = norm(1, conv(1, relu(norm(0, conv(0, x)))))
    return x + branch, [
        (
            relu(x + branch),
            "There is a ReLU after the sum, which masks what the skip carries. In this block "
            "nothing follows the sum.",
        ),
        (
            relu(x + late),
            "That is the block of 2015: batch norm and ReLU after the convolutions, and a ReLU "
            "after the sum. Here they come before.",
        ),
        (
            x + late,
            "Batch norm and ReLU come after the convolutions here; they come before each of them.",
        ),
        (
            first + branch,
            "The skip reads what batch norm and ReLU have made of x (is the activation in pre?). "
            "It carries x itself; the first activation belongs to the branch.",
        ),
        (2 * x + branch, "The skip counts twice: the block adds x itself, the branch is F alone."),
        (branch, "There is no skip: this is the plain block."),
        (
            x + conv(1, relu(conv(0, relu(x)))),
            "The batch norms change nothing in what comes out. Do they come before each ReLU?",
        ),
        (
            x + conv(1, norm(1, conv(0, norm(0, x)))),
            "There is no ReLU here: each batch norm is followed by one.",
        ),
        (
            x + conv(1, norm(1, relu(conv(0, norm(0, relu(x)))))),
            "ReLU comes before batch norm here; it is batch norm, ReLU, convolution.",
        ),
        (
            x + relu(norm(1, conv(1, relu(norm(0, conv(0, x)))))),
            "That is ReLU before addition: a branch that can only add.",
        ),
    ]


# --- the orders ---


@exercise(
    "The order in which the signal can only grow",
    "What sign can the last layer of the branch give, and what follows the sum?",
)
def only_grows(answer: Any) -> str:
    """Choose the order of He et al. 2016, figure 4, in which no number ever gets smaller.

    The answer is one of the names that ``models.cifar_resnet(order=...)`` takes: in blocks of that
    order no number of the signal can be smaller behind a block with an identity skip than before
    it, whatever the weights are.
    """
    both = "The branch ends with {}, which gives numbers of both signs."
    norm = both.format("batch norm")
    conv = both.format("a convolution")
    choose(
        answer,
        "relu-before-addition",
        {
            "relu-before-addition": "",
            "original": f"{norm} The ReLU is behind the sum: it keeps the signal from falling "
            "below 0, but not from getting smaller.",
            "bn-after-addition": f"{conv} And the batch norm after the sum sets mean and variance "
            "anew, whatever the sum is.",
            "relu-only-preactivation": f"{norm} Its ReLUs are before the convolutions.",
            "full-preactivation": f"{conv} Its ReLUs are before the convolutions.",
        },
    )
    return "Its branch ends with a ReLU, so what is added is never below 0."


# --- gates ---


@exercise(
    "Where the bias of a gate has to start",
    "What does each of the L skips let through, if all together let `kept` through? Then undo the "
    "sigmoid.",
)
def gate_bias(attempt: Callable[..., Any]) -> str:
    """The bias with which a row of gated skips lets a given share of the signal through.

    The attempt takes ``blocks`` (L) and ``kept`` (between 0 and 1), and returns the bias b for
    which L skips that are scaled by 1 - sigmoid(b) each let ``kept`` of the signal through.
    """
    for L, kept in ((9, 0.5), (54, 0.9), (1, 0.2), (20, 0.01)):
        what = f"gate_bias({L}, {kept})"
        opening = 1 - kept ** (1 / L)
        right = _logit(opening)
        found = numbers(call(attempt, L, kept), what)
        found = found.reshape(()) if found.size == 1 else found
        known = [
            (
                -right,
                "The sign is turned: the skip is scaled by 1 - sigmoid(b), so it opens as b falls.",
            ),
            (_logit(1 - kept), "That is for a single block; there are L of them in a row."),
            (_logit((1 - kept) / L), "Factors multiply: it is the L-th root, not a part of L."),
            (
                _logit(min(1 - kept**L, 1 - 1e-12)),
                "The L-th power of kept would make each skip smaller than all "
                "together; it is the L-th root.",
            ),
            (opening, "That is sigmoid(b); asked is b."),
            (kept ** (1 / L), "That is what each skip lets through, 1 - sigmoid(b); asked is b."),
            (math.log(opening), "sigmoid(b) = exp(b) / (1 + exp(b)): the denominator is missing."),
        ]
        # a logarithm of a difference from 1: float32 leaves some 1e-4 at these sizes
        close(found, right, what, rtol=2e-4, why=explanation(found, known, rtol=2e-4))
    return "The deeper the network, the more negative it has to be, by about log(L)."


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
