"""The exercises of tutorial 06: initialisation, signal and gradient through depth, degradation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minires.exercises.checking import (
    call,
    choose,
    close,
    exercise,
    explanation,
    one_number,
)
from minires.nn.init import fans

__all__ = ["factor_a_layer", "he_std", "norm_after", "what_went_wrong"]


@exercise(
    "The standard deviation of He's initialisation",
    "How many numbers does one output read, and what does the ReLU before leave of their size?",
)
def he_std(attempt: Any) -> str:
    """The standard deviation that keeps the signal, or the gradient, of a layer after a ReLU.

    The attempt takes the shape of a weight, ``(out, in)`` of a dense layer or ``(out, in, KH, KW)``
    of a convolution, and ``mode``: 'fan_in' for the signal on its way forward (He et al. 2015b,
    equation 10), 'fan_out' for the gradient on its way back (equation 14).  It returns a number.
    """
    for shape in ((64, 16, 3, 3), (10, 200), (12, 30, 5, 1)):
        for place, mode in enumerate(("fan_in", "fan_out")):
            expected = math.sqrt(2.0 / fans(shape)[place])
            found = one_number(call(attempt, shape, mode), f"he_std({shape}, {mode!r})")
            channels = shape[1 - place]
            why = explanation(
                found,
                [
                    (expected**2, "That is the variance; the standard deviation is its root."),
                    (
                        expected / math.sqrt(2.0),
                        "That is sqrt(1 / fan), which is right without a ReLU. A ReLU sets half of "
                        "the numbers to zero.",
                    ),
                    (
                        math.sqrt(2.0 / channels),
                        "The taps of the kernel count too: an output of a 3x3 convolution reads "
                        "nine pixels of every channel.",
                    ),
                    (
                        math.sqrt(2.0 / fans(shape)[1 - place]),
                        "The two fans are exchanged: forward it is what an output reads, backward "
                        "what an input reaches.",
                    ),
                    (
                        math.sqrt(2.0 / sum(fans(shape))),
                        "That is the compromise of Glorot and Bengio 2010; here one direction is "
                        "to be kept exactly.",
                    ),
                ],
            )
            close(found, expected, f"he_std({shape}, {mode!r})", why=why)
    return "These are the numbers of nn.init.kaiming_normal_(nonlinearity='relu')."


@exercise(
    "What is left of a norm after L layers",
    "What does one layer multiply the norm by? It is 1 where sigma is that of He.",
)
def norm_after(attempt: Any) -> str:
    """The factor by which L equal dense layers multiply the norm of the signal.

    The attempt takes ``sigma``, the standard deviation of the weights, ``width`` and ``layers``;
    each layer is a ReLU and then a product with ``width`` x ``width`` weights, not normalised.  It
    returns a number.
    """
    for sigma, width, layers in ((0.1, 200, 1), (0.05, 512, 30), (0.125, 128, 50), (0.2, 128, 12)):
        rate = sigma * math.sqrt(width / 2.0)
        expected = rate**layers
        name = f"norm_after({sigma}, {width}, {layers})"
        found = one_number(call(attempt, sigma, width, layers), name)
        why = explanation(
            found,
            [
                (
                    rate ** (2 * layers),
                    "That is the factor of the squared norm; a norm grows by its root.",
                ),
                (
                    (sigma * math.sqrt(width)) ** layers,
                    "That is the factor without the ReLU, which takes half of the squared norm.",
                ),
                (
                    rate * layers,
                    "The layers come one after the other, so that their factors are multiplied, "
                    "not added.",
                ),
                (sigma**layers, "Each output is a sum over `width` inputs: where do they come in?"),
                (rate ** (layers - 1), "That is one layer too few."),
                (rate ** (layers + 1), "That is one layer too many."),
                (1.0 / expected, "That is the inverse: weights that are too small shrink."),
            ],
        )
        close(found, expected, name, rtol=1e-5, why=why)
    return "On average, that is: a real stack of finite width scatters around it."


@exercise(
    "The factor a layer",
    "A constant factor is a straight line on a logarithmic axis. What does its slope say?",
)
def factor_a_layer(attempt: Any) -> str:
    """The factor by which each layer multiplies the gradient on its way back.

    The attempt takes the norms of the gradient at L + 1 places, first layer first: at the input of
    each of the L layers, and at the output of the last.  It returns a number, above 1 if the
    gradient grows backward.  Norms that follow no exact law may be fitted in any sensible way.
    """
    draw = np.random.default_rng(6)
    for factor, layers, noise in ((1.25, 8, 0.0), (0.8, 12, 0.0), (1.2, 40, 0.04), (1.3, 100, 0.3)):
        jitter = noise * draw.standard_normal(layers + 1)
        jitter[[0, -1]] = 0.0  # so that the ends alone are a sensible way too
        norms = 3.0 * np.exp(np.log(factor) * np.arange(layers, -1, -1.0) + jitter)
        name = f"factor_a_layer of {layers + 1} norms"
        found = one_number(call(attempt, norms), name)
        ratio = float(norms[0] / norms[-1])
        why = explanation(
            found,
            [
                (1.0 / factor, "That is the factor forward; the gradient goes from last to first."),
                (ratio, "That is the growth over all layers; one of them is asked for."),
                (ratio / layers, "Factors multiply: an L-fold one is the L-th power, not L times."),
                (
                    ratio ** (1.0 / (layers + 1)),
                    f"Between {layers + 1} places there are {layers} layers.",
                ),
                (math.log(factor), "That is the slope of the logarithm; what is the factor?"),
                (-math.log(factor), "That is minus a slope of the logarithm; what is the factor?"),
                (
                    float((norms[:-1] / norms[1:]).mean()),
                    "That is the arithmetic mean of the ratios: where they scatter it is too "
                    "large. Factors are multiplied, so take the mean of their logarithms.",
                ),
                (factor - 1.0, "That is how much is added, as a share; what is the factor?"),
            ],
            rtol=0.005 if noise else 1e-6,
        )
        close(found, factor, name, rtol=0.01 if noise else 1e-6, why=why)
    return "For wide normalised ReLU stacks it is sqrt(pi / (pi - 1)) = 1.21."


_KINDS = ("degradation", "over-fitting", "neither")
_CASES: tuple[tuple[tuple[float, float], tuple[float, float], str, str], ...] = (
    (
        (3.0, 6.0),
        (30.0, 31.0),
        "degradation",
        "The deeper network does not even learn the images that it trains on.",
    ),
    (
        (5.0, 8.0),
        (0.2, 15.0),
        "over-fitting",
        "The deeper network has the lower training error and the higher test error.",
    ),
    (
        (6.0, 9.0),
        (3.0, 7.0),
        "neither",
        "Both errors of the deeper network are lower, so that nothing went wrong.",
    ),
    (
        (2.0, 30.0),
        (20.0, 29.5),
        "degradation",
        "The test errors are alike; the training error of the deeper one is far higher.",
    ),
    (
        (8.0, 9.0),
        (1.0, 9.2),
        "neither",
        "Its gap between training and test is wider, but its test error is no higher.",
    ),
    (
        (1.0, 5.0),
        (12.0, 40.0),
        "degradation",
        "Its gap between training and test is wider too, but its training error is higher: it was "
        "not fitted too well.",
    ),
    (
        (5.0, 8.0),
        (5.6, 12.0),
        "over-fitting",
        "Six tenths of a point count as none; the test error is higher.",
    ),
)


@exercise(
    "Degradation or over-fitting",
    "A network that over-fits is good at the images that it has seen. So the training error comes "
    "first: if the deeper network has the higher one, that is degradation. Only if not does the "
    "test error decide: over-fitting if that is higher, else neither.",
)
def what_went_wrong(attempt: Any) -> str:
    """Tell from the final errors of a shallower and a deeper network what happened.

    The attempt takes two pairs (training error, test error) in percent, of the shallower network
    and of the deeper one, and returns 'degradation' if the deeper one has the higher training
    error; else 'over-fitting' if it has the higher test error; else 'neither'.  A difference of at
    most one point counts as none.
    """
    for shallow, deep, right, reason in _CASES:
        answer = call(attempt, shallow, deep)
        told = (
            f"what_went_wrong({shallow}, {deep}) should be {right!r}, but is {answer!r}. {reason}"
        )
        choose(answer, right, dict.fromkeys(_KINDS, told))
    return "The training error comes first: without it the test error tells nothing of the cause."
