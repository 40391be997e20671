"""Exercises of notebook 04: batch normalisation, its backward pass, and its two modes."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires import kernels
from minires.exercises.checking import (
    Wrong,
    call,
    close,
    diagnosed,
    exercise,
    explanation,
    numbers,
    two,
)

__all__ = ["fold", "grad_x", "parameter_gradients", "running_variance", "statistics"]

# Means of at most some hundred numbers of size 1, and squares of them: float32 (6e-8) stays below.
_RTOL = 1e-5
_CHANNEL = (0, 2, 3)  # all axes but the channel


@exercise(
    "The statistics of a channel",
    "Which numbers of (N, C, H, W) share one mean? All axes but one are averaged over. The paper "
    "divides by m, the number of values of the channel.",
)
def statistics(attempt: Any) -> str:
    """Mean and biased variance of each channel.

    The attempt takes ``x`` (N, C, H, W) and returns ``(mean, var)``, (C,) each.
    """
    rng = np.random.default_rng(41)
    for shape in [(4, 3, 2, 5), (3, 3, 3, 3), (5, 1, 2, 2)]:
        C = shape[1]
        spread = rng.uniform(0.5, 2.0, (1, C, 1, 1))
        x = rng.uniform(1.0, 2.0, (1, C, 1, 1)) + spread * rng.standard_normal(shape)
        means, variances = two(call(attempt, x), "(mean, var)")
        means, variances = (_squeezed(one, C) for one in (means, variances))
        mean, var = kernels.batch_norm_stats(x)
        wrong_means = [
            (
                x.mean(0),
                "This is one mean for each place of the plane. A filter is laid on all places, so "
                "all places of a channel share a mean.",
            ),
            (
                x.mean((2, 3)),
                "This is one mean for each image (instance normalisation). The images of a batch "
                "share a mean.",
            ),
            (
                x.mean((1, 2, 3)),
                "This is one mean for each image, over its channels (layer normalisation). Each "
                "channel should have its own.",
            ),
            (
                np.full(C, x.mean()),
                "This is one mean for all channels. Each channel should have its own.",
            ),
            (x.mean(), "This is one mean for all channels. Each channel should have its own."),
        ]
        m = x.size // C
        wrong_variances = [
            (
                var * m / (m - 1),
                "This is the unbiased variance, divided by m - 1. The batch is normalised with "
                "the biased one, divided by m.",
            ),
            (np.sqrt(var), "This is the standard deviation, the root of the variance."),
            ((x * x).mean(_CHANNEL), "The mean is not subtracted before squaring."),
            (x.var(0), "This is one variance for each place of the plane."),
            (x.var((2, 3)), "This is one variance for each image."),
        ]
        what = f"for x {shape}: "
        close(means, mean, f"{what}mean", rtol=_RTOL, why=explanation(means, wrong_means))
        close(variances, var, f"{what}var", rtol=_RTOL, why=explanation(variances, wrong_variances))
    return "The same numbers as mr.kernels.batch_norm_stats."


@exercise(
    "The gradients of weight and bias",
    "out = weight * x_hat + bias. One number of the weight acts on all values of its channel, and "
    "each of them sends something back.",
)
def parameter_gradients(attempt: Any) -> str:
    """The gradients of batch normalisation by its weight and its bias.

    The attempt takes ``(grad_out, x_hat)``, (N, C, H, W) each, and returns
    ``(grad_weight, grad_bias)``, (C,) each.
    """
    rng = np.random.default_rng(42)
    grad_out, x_hat = rng.standard_normal((2, 4, 3, 2, 2))
    for found, name in zip(
        two(call(attempt, grad_out, x_hat), "(grad_weight, grad_bias)"),
        ("grad_weight", "grad_bias"),
        strict=True,
    ):
        _per_channel(_squeezed(found, 3), 3, name)

    def backward(grad_out: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
        mean, var = kernels.batch_norm_stats(x)
        grad_x, _, _ = kernels.batch_norm_grad(grad_out, x, mean, var, weight, eps=eps)
        x_hat = kernels.batch_norm(x, mean, var, eps=eps)
        pair = two(call(attempt, grad_out, x_hat), "(grad_weight, grad_bias)")
        return (grad_x, *(_squeezed(found, len(weight)) for found in pair))

    diagnosed(_forward, backward, "batch_norm")
    return "The same numbers as mr.kernels.batch_norm_grad."


@exercise(
    "The whole gradient by x",
    "There are three ways from one number of x to the outputs: directly, over the mean, and over "
    "the variance. Put the lines of the derivation together, or use the short form.",
)
def grad_x(attempt: Any) -> str:
    """The gradient of batch normalisation by its input, in training mode.

    The attempt takes ``(grad_out, x, weight, eps)``, grad_out and x (N, C, H, W), weight (C,), and
    returns the gradient (N, C, H, W).
    """
    rng = np.random.default_rng(43)
    grad_out, x = rng.standard_normal((2, 4, 3, 2, 5))
    found = numbers(call(attempt, grad_out, x, np.ones(3), 1e-5), "grad_x")
    if found.shape != x.shape:
        raise Wrong(f"grad_x should have the shape of x, {x.shape}, but has {found.shape}.")

    def backward(grad_out: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
        mean, var = kernels.batch_norm_stats(x)
        _, grad_weight, grad_bias = kernels.batch_norm_grad(grad_out, x, mean, var, weight, eps=eps)
        by_x = numbers(call(attempt, grad_out, x, weight, eps), "grad_x")
        return by_x, grad_weight, grad_bias

    diagnosed(_forward, backward, "batch_norm")
    return "The same numbers as mr.kernels.batch_norm_grad."


@exercise(
    "The running variance",
    "Momentum is the share of the *new* value here. And the variance that is kept for later is an "
    "estimate for data that has not been seen: by what is it divided?",
)
def running_variance(attempt: Any) -> str:
    """One update of the running variance, as BatchNorm2d makes it in training mode.

    The attempt takes ``(running_var, x, momentum)``, running_var (C,) and x (N, C, H, W), and
    returns the new running variance (C,), as a new array.
    """
    rng = np.random.default_rng(44)
    for shape, momentum in [((3, 2, 2, 2), 0.1), ((4, 3, 1, 1), 0.3), ((2, 4, 2, 3), 1.0)]:
        C = shape[1]
        before, x = rng.uniform(0.5, 2.0, C), 2.0 * rng.standard_normal(shape)
        m = x.size // C
        biased = kernels.batch_norm_stats(x)[1]
        new = biased * m / (m - 1)
        right = (1.0 - momentum) * before + momentum * new
        what = f"the running variance for x {shape} and momentum {momentum}"
        found = _squeezed(numbers(call(attempt, before, x, momentum), what), C)
        wrong = [
            (
                (1.0 - momentum) * before + momentum * biased,
                "The variance of the batch is the biased one here, divided by m. What is kept is "
                "the unbiased one, divided by m - 1.",
            ),
            (
                momentum * before + (1.0 - momentum) * new,
                "Momentum weights the old value here. In this layer it is the share of the new "
                "one (in SGD it is the other way round).",
            ),
            (
                momentum * before + (1.0 - momentum) * biased,
                "Momentum weights the old value here, and should weight the new one. And the "
                "variance of the batch should be divided by m - 1.",
            ),
            (
                before + momentum * new,
                "The old value keeps its whole weight; the two share.",
            ),
            (new, "This is the variance of this batch alone; the old value is forgotten."),
            (
                (1.0 - momentum) * before + momentum * np.sqrt(new),
                "The standard deviation is averaged in; it should be the variance.",
            ),
        ]
        close(found, right, what, rtol=_RTOL, why=explanation(found, wrong))
    return "The same numbers as in BatchNorm2d.running_var."


@exercise(
    "A normalisation folded into its convolution",
    "In evaluation out = scale * (conv(x) - mean) + beta, with one number scale a channel. Which "
    "axis of the weight is the channel of the output? And what becomes of the bias of the "
    "convolution, which is added before the mean is subtracted?",
)
def fold(attempt: Any) -> str:
    """One convolution that does what a convolution and a batch normalisation do in evaluation.

    The attempt takes ``(weight, bias, gamma, beta, mean, var, eps)``: weight (C_out, C, KH, KW) and
    bias (C_out,) of the convolution; gamma, beta and the running mean and var of the normalisation,
    (C_out,) each. It returns the ``(weight, bias)`` of the one convolution.
    """
    rng = np.random.default_rng(45)
    for C_out, C, K, eps in [(3, 3, 3, 0.01), (4, 3, 3, 1e-5), (2, 5, 1, 0.1)]:
        weight, bias = rng.standard_normal((C_out, C, K, K)), rng.standard_normal(C_out)
        gamma, beta, mean = rng.standard_normal((3, C_out))
        var = rng.uniform(0.2, 3.0, C_out)
        what = f"for weight {weight.shape} and eps {eps}: the folded"
        found_weight, found_bias = two(
            call(attempt, weight, bias, gamma, beta, mean, var, eps), "(weight, bias)"
        )
        scale = gamma / np.sqrt(var + eps)
        rows = scale[:, None, None, None]
        right_weight, right_bias = weight * rows, (bias - mean) * scale + beta
        wrong_weights = [
            (weight, "The weight is as it was. Each filter is scaled as its channel is."),
            (weight / np.sqrt(var + eps)[:, None, None, None], "The factor gamma is missing."),
            (weight * gamma[:, None, None, None], "The division by sqrt(var + eps) is missing."),
            (weight * (gamma / (var + eps))[:, None, None, None], "The root of var is missing."),
            (weight * (gamma / np.sqrt(var))[:, None, None, None], "eps is left out."),
        ]
        if C_out == C == K:  # where NumPy has nothing to complain of
            wrong_weights += [
                (
                    weight * scale[:, None, None],
                    "The scale runs along the second axis, the channels of the input. It belongs "
                    "to the channels of the output, the first axis.",
                ),
                (
                    weight * scale,
                    "The scale runs along the columns of the kernel: NumPy lines up last axes. It "
                    "belongs to the channels of the output, the first axis.",
                ),
            ]
        wrong_biases = [
            (beta - mean * scale, "The bias of the convolution is lost."),
            (
                bias + beta - mean * scale,
                "The bias of the convolution is added as it was. It goes through the "
                "normalisation, too, and is scaled there.",
            ),
            (bias, "The bias is as it was; the normalisation shifts."),
            (bias * scale + beta, "The mean is not subtracted."),
            ((bias - mean) * scale, "beta is missing."),
            (bias * scale + beta - mean, "The mean is subtracted before scaling, so it is scaled."),
        ]
        found_weight = numbers(found_weight, f"{what} weight")
        found_bias = numbers(found_bias, f"{what} bias")
        why = explanation(found_weight, wrong_weights)
        close(found_weight, right_weight, f"{what} weight", rtol=_RTOL, why=why)
        why = explanation(found_bias, wrong_biases)
        close(_squeezed(found_bias, C_out), right_bias, f"{what} bias", rtol=_RTOL, why=why)
    return "One convolution gives the numbers of the two layers."


def _forward(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    return kernels.batch_norm(x, *kernels.batch_norm_stats(x), weight, bias, eps=eps)


def _squeezed(value: Any, C: int) -> np.ndarray:
    """(1, C, 1, 1), as keepdims leaves it, is as good as (C,)."""
    array = numbers(value, "the result")
    return array.reshape(C) if array.shape == (1, C, 1, 1) else array


def _per_channel(found: np.ndarray, C: int, name: str) -> None:
    if found.shape != (C,):
        raise Wrong(
            f"{name} should have one number a channel, ({C},), but has the shape {found.shape}.\n"
            "Sum over everything that shares the number: the images and the places."
        )
