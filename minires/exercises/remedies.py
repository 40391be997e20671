"""The exercises of notebook 11: the other remedies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minires.functional as F
from minires.autograd import Tensor
from minires.exercises.checking import (
    Wrong,
    call,
    close,
    exercise,
    explanation,
    numbers,
    set_state,
)
from minires.models.block_options import BlockOptions
from minires.models.blocks import make_stage

__all__ = ["expected_depth", "fixup_scale", "neutral_block", "total_loss"]


# --- auxiliary losses ---


@exercise(
    "The loss with auxiliary classifiers",
    "The loss of the main output counts fully, and that of each auxiliary one with the weight. "
    "loss(output, target) gives a tensor, and tensors can be multiplied and added.",
)
def total_loss(attempt: Callable[..., Any]) -> str:
    """Add the losses of auxiliary classifiers to that of the network.

    The attempt takes ``loss``, a function of (output, target); ``main`` (N, classes);
    ``auxiliary``, a tuple of outputs of that shape, which may be empty; ``target`` (N,); and
    ``weight``.  It returns the loss of the main output plus ``weight`` times that of each
    auxiliary one, as a tensor that can be trained with.
    """
    draw = np.random.default_rng(6)
    for count, weight in ((2, 0.3), (3, 0.5), (0, 0.3), (1, 2.0)):
        outputs = [
            Tensor(draw.standard_normal((5, 4)), requires_grad=True) for _ in range(1 + count)
        ]
        target = Tensor(draw.integers(0, 4, 5))
        main, auxiliary = outputs[0], tuple(outputs[1:])
        found = call(attempt, F.cross_entropy, main, auxiliary, target, weight)
        what = f"the loss with {count} auxiliary outputs of weight {weight}"
        first, *others = (float(F.cross_entropy(output, target)) for output in outputs)
        right = first + weight * sum(others)
        known: list[tuple[Any, str]] = []
        if count:
            total = sum(others)
            known = [
                (first, "The auxiliary losses are missing."),
                (weight * total, "The loss of the main output is missing."),
                (first + total, "The auxiliary losses count fully here: the weight is missing."),
                (
                    weight * (first + total),
                    "The weight is on the main loss, too; that one counts fully.",
                ),
                (
                    (1 - weight) * first + weight * total,
                    "The main loss counts fully, whatever the weight: it is added, not mixed.",
                ),
            ]
            if count > 1:
                mean = total / count
                known += [
                    (
                        first + weight * mean,
                        "The auxiliary losses are averaged here: each is added with the weight.",
                    ),
                    (first + weight * others[0], "Only the first auxiliary loss is in it."),
                    (first + weight * others[-1], "Only the last auxiliary loss is in it."),
                    ((1 - weight) * first + weight * mean, "The losses are mixed, not added."),
                ]
        found_number = numbers(found, what)
        found_number = found_number.reshape(()) if found_number.size == 1 else found_number
        close(found_number, right, what, why=explanation(found_number, known))
        if not isinstance(found, Tensor) or not found.requires_grad:
            raise Wrong(
                "The number is right, but it has no history, so that nothing can be trained with "
                "it. Add the tensors that loss returns, not numbers made of them."
            )
        found.backward()
        for i, output in enumerate(outputs):
            if output.grad is None:
                name = f"auxiliary output {i}" if i else "the main output"
                raise Wrong(f"The number is right, but no gradient comes back to {name}.")
    return "This is nn.total_loss, with a weight of your own."


# --- construction ---


@exercise(
    "A plain block that changes nothing",
    "A 1 in the middle of the kernel copies. Batch norm computes "
    "(x - mean) / sqrt(var + eps) * weight + bias; which weight and bias undo the rest? They are "
    "set with layer.load_state_dict, or parameter by parameter.",
)
def neutral_block(attempt: Callable[..., Any]) -> str:
    """Make a plain block with batch norm the identity.

    The attempt takes a plain block of models.cifar_plain (conv1, bn1, conv2, bn2, a ReLU behind
    each bn; eps is bn1.eps), and the ``mean`` and ``var`` (C,) of each channel of what the block is
    given in training.  It changes parameters and running statistics, and returns the block.  For
    any x from 0 on the output in evaluation mode is then x; and in training mode, on a batch with
    just this mean and variance, it is x as well.
    """
    draw = np.random.default_rng(7)
    for channels in (3, 4):
        block: Any = make_stage(channels, channels, 1, 1, BlockOptions(residual=False))[0]
        for layer in (block.bn1, block.bn2):
            set_state(
                layer,
                weight=draw.uniform(0.5, 1.5, channels),
                bias=draw.standard_normal(channels),
                running_mean=draw.standard_normal(channels),
                running_var=draw.uniform(0.5, 1.5, channels),
            )
        x = np.maximum(draw.standard_normal((6, channels, 5, 5)) + 0.5, 0).astype(np.float32)
        x[:, 0] *= 0.01  # a channel of small variance, where eps counts
        mean, var = (f(axis=(0, 2, 3), dtype=np.float64) for f in (x.mean, x.var))
        found = call(attempt, block, mean, var)
        if found is not block:
            raise Wrong("Return the block that was given, with other parameters.")
        if block.shortcut is not None:
            raise Wrong("The block has a skip now. Leave it plain, and set its layers.")
        if any("forward" in vars(module) for module in block.modules()):
            raise Wrong("Set its layers; leave forward alone.")
        other = np.maximum(draw.standard_normal(x.shape) + 0.2, 0).astype(np.float32)
        other[:, 0] *= 0.01
        layers = _what_is_off(block, mean, var)
        _check_channels(block.eval(), other, "in evaluation mode", layers)
        _check_channels(
            block.train(), x, "in training mode, on a batch with this mean and variance", layers
        )
    return "In evaluation mode always; in training mode as far as batches have these statistics."


def _check_channels(block: Any, x: Any, where: str, why: str) -> None:
    """Each channel beside its own size; four layers of float32 leave about 1e-6 of it."""
    found = numbers(block(Tensor(x)), "the block's output")
    for c in range(x.shape[1]):
        what = f"channel {c} of the output {where}"
        close(found[:, c], x[:, c], what, rtol=1e-4, why=why)


def _what_is_off(block: Any, mean: Any, var: Any) -> str:
    """The first thing in the layers that is not as it has to be, in words."""
    eps = block.bn1.eps
    for i in (1, 2):
        conv, norm = getattr(block, f"conv{i}"), getattr(block, f"bn{i}")
        copies = np.zeros(conv.weight.shape)
        for c in range(len(mean)):
            copies[c, c, 1, 1] = 1.0
        weight, bias = (_array(p) for p in (norm.weight, norm.bias))
        its_mean, its_var = _array(norm.running_mean), _array(norm.running_var)
        name = f"bn{i}"
        if not np.allclose(_array(conv.weight), copies):
            return (
                f"conv{i} does not copy its input. Output channel c takes the middle of the kernel "
                "of input channel c, and nothing else."
            )
        if np.allclose(its_mean, 0) and np.allclose(its_var, 1):
            return (
                f"{name} has running mean 0 and variance 1, as a new layer. In training mode it "
                "takes off the mean of the batch and divides by its deviation, so weight and bias "
                "have to put those back."
            )
        if not np.allclose(its_mean, mean, 1e-3, 1e-6) or not np.allclose(its_var, var, 1e-3, 1e-9):
            return f"The running statistics of {name} are not the mean and var that were given."
        if np.allclose(weight, 1):
            return f"{name}.weight is 1, so that the division by sqrt(var + eps) stays."
        if np.allclose(weight, np.sqrt(var), 1e-5, 1e-9):
            return f"{name}.weight is sqrt(var); eps is in the root that it has to undo."
        if np.allclose(weight, var + eps, 1e-4, 1e-9) or np.allclose(weight, var, 1e-4, 1e-9):
            return f"{name}.weight is the variance; it has to undo a root."
        if np.allclose(weight, 1 / np.sqrt(var + eps), 1e-4):
            return f"{name}.weight divides once more; it has to undo a division."
        if np.allclose(bias, 0):
            return f"{name}.bias is 0, so that the mean stays taken off, and ReLU cuts."
        if np.allclose(bias, -mean, 1e-4, 1e-6):
            return f"{name}.bias is -mean; it has to put back what is taken off."
    return ""


# --- Fixup ---


@exercise(
    "The scale of Fixup",
    "How many factors of s stand in the move of one branch, and what should they multiply to?",
)
def fixup_scale(attempt: Callable[..., Any]) -> str:
    """What Fixup multiplies He's weights by, in a branch of m layers of a network of L branches.

    The attempt takes ``blocks`` (L, the number of branches) and ``layers`` (m, at least 2), and
    returns the factor of the layers that do not start at zero (Zhang et al. 2019, rule 2).
    """
    for L, m in ((30, 6), (27, 3), (54, 2), (16, 4)):
        right = L ** (-1 / (2 * m - 2))
        what = f"fixup_scale({L}, {m})"
        found = numbers(call(attempt, L, m), what)
        found = found.reshape(()) if found.size == 1 else found
        known = [
            (1 / right, "The sign of the exponent is lost: more branches need smaller weights."),
            (
                L ** (-1 / (2 * m)),
                "The last layer starts at zero, so m - 1 layers share the scale: "
                "the exponent has 2m - 2, not 2m.",
            ),
            (L ** (-1 / m), "The exponent is -1 / (2m - 2), not -1 / m."),
            (
                L ** (-1 / (m - 1)),
                "That is the square: the factor of the variance. The weights get its root.",
            ),
            (L**-0.5, "That is right for branches of two layers alone."),
            (L**-0.25, "That is right for branches of three layers alone."),
            ((L * m) ** (-1 / (2 * m - 2)), "L is the number of branches, not of layers."),
            (1 / L, "It is a root of 1 / L."),
            (-(L ** (1 / (2 * m - 2))), "The minus belongs into the exponent."),
        ]
        # for m = 2 and m = 3 some of these are right
        known = [(value, text) for value, text in known if not math.isclose(value, right)]
        close(found, right, what, why=explanation(found, known))
    return "L branches, each of about 1/L, move the output as far as one branch of size 1."


# --- stochastic depth ---


@exercise(
    "The expected number of branches",
    "Add up the probabilities of equation 4. From which number is l counted?",
)
def expected_depth(attempt: Callable[..., Any]) -> str:
    """How many branches run in a step of training with stochastic depth, on average.

    The attempt takes ``blocks`` (L) and ``last``, the probability that the branch of the last block
    survives; those of the others decay to it linearly (Huang et al. 2016, equation 4).  It returns
    the expected number of branches that run.
    """
    for L, last in ((54, 0.5), (9, 0.2), (4, 0.8), (10, 1.0)):
        what = f"expected_depth({L}, {last})"
        right = sum(1 - i / L * (1 - last) for i in range(1, L + 1))
        found = numbers(call(attempt, L, last), what)
        found = found.reshape(()) if found.size == 1 else found
        known = [
            (L * last, "That is with the last probability for all blocks; it decays to it."),
            (
                sum(1 - i / L * (1 - last) for i in range(L)),
                "Blocks are counted from 1 here: the first one has 1 - 1 / L * (1 - last), and the "
                "last one the probability that was given.",
            ),
            (
                L * (1 + last) / 2,
                "That is L times the mean of 1 and last. 1 is the probability of the stem, before "
                "the first block; the first block already has a little less.",
            ),
            (L - right, "That is how many are left out."),
            (right / L, "That is the share; asked is the number."),
            ((3 * L - 1) / 4, "That is right for last = 0.5 alone."),
            (
                math.prod(1 - i / L * (1 - last) for i in range(1, L + 1)),
                "That is the probability that all run. For the expected number add.",
            ),
        ]
        known = [(value, text) for value, text in known if not math.isclose(value, right)]
        close(found, right, what, why=explanation(found, known))
    return "With last = 0.5 it is (3L - 1) / 4: a quarter of the branches is not computed."


# --- helpers ---


def _array(tensor: Any) -> Any:
    return numbers(tensor, "a parameter").astype(np.float64)
