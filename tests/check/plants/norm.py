"""batch_norm: a formula for each channel, arrays, a Jacobian, and the chain step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.autograd import Function
from tests.check.plants.registry import planted

NORM = (
    "mean_term_missing",
    "variance_term_missing",
    "statistics_constant",
    "unbiased_for_biased",
    "weight_missing",
    "std_missing",
    "variance_for_std",
    "grad_weight_of_x",
    "over_batch_only",
    "eps_forgotten",
    "weight_and_bias_swapped",
    "grad_weight_averaged",
)
OTHERS = (0, 2, 3)


@planted("batch_norm", "loops", *NORM)
def norm_loops(slip: str) -> Any:
    """Channel after channel, all computed again from x on the way back."""

    def forward(x, weight, bias, eps=1e-5):
        out = np.zeros_like(x)
        for c in range(x.shape[1]):
            centred = x[:, c] - np.mean(x[:, c])
            out[:, c] = weight[c] * centred / np.sqrt(np.mean(centred**2) + eps) + bias[c]
        return out

    def backward(grad_out, x, weight, bias, eps=1e-5):
        grad_x, grad_weight, grad_bias = (
            np.zeros_like(x),
            np.zeros_like(weight),
            np.zeros_like(bias),
        )
        for c in range(x.shape[1]):
            seen, g = x[:, c], grad_out[:, c]
            M = seen.size
            var = seen.var(ddof=1 if slip == "unbiased_for_biased" else 0)
            std = np.sqrt(var) if slip == "eps_forgotten" else np.sqrt(var + eps)
            x_hat = (seen - seen.mean()) / std
            axis = 0 if slip == "over_batch_only" else None
            M = len(x) if slip == "over_batch_only" else M
            mean_term = np.sum(g, axis=axis) / M
            variance_term = x_hat * np.sum(g * x_hat, axis=axis) / M
            if slip in ("mean_term_missing", "statistics_constant"):
                mean_term = 0
            if slip in ("variance_term_missing", "statistics_constant"):
                variance_term = 0
            factor = weight[c] / std
            if slip == "weight_missing":
                factor = 1 / std
            if slip == "std_missing":
                factor = weight[c]
            if slip == "variance_for_std":
                factor = weight[c] / (var + eps)
            grad_x[:, c] = factor * (g - mean_term - variance_term)
            grad_bias[c] = np.sum(g)
            grad_weight[c] = np.sum(g * (seen if slip == "grad_weight_of_x" else x_hat))
            if slip == "grad_weight_averaged":
                grad_bias[c] /= M
                grad_weight[c] /= M
        if slip == "weight_and_bias_swapped":
            return grad_x, grad_bias, grad_weight
        return grad_x, grad_weight, grad_bias

    return forward, backward


@planted("batch_norm", "vectorised", *NORM)
def norm_vectorised(slip: str) -> Any:
    """The whole batch at once, with x_hat and 1/std of the forward pass."""

    def forward(x, weight, bias, eps=1e-5):
        mean, var = x.mean(OTHERS, keepdims=True), x.var(OTHERS, keepdims=True)
        x_hat = (x - mean) / np.sqrt(var + eps)
        out = weight[None, :, None, None] * x_hat + bias[None, :, None, None]
        return out, (x, x_hat, var, weight, eps)

    def backward(grad_out, cache):
        x, x_hat, var, weight, eps = cache
        M = x.size // x.shape[1]
        axes = 0 if slip == "over_batch_only" else OTHERS
        dx_hat = grad_out * (1 if slip == "weight_missing" else weight.reshape(1, -1, 1, 1))
        inner = dx_hat
        if slip not in ("mean_term_missing", "statistics_constant"):
            inner = inner - dx_hat.mean(axes, keepdims=True)
        if slip == "unbiased_for_biased":
            inner = inner - x_hat * (dx_hat * x_hat).sum(axes, keepdims=True) / (M - 1)
        elif slip not in ("variance_term_missing", "statistics_constant"):
            inner = inner - x_hat * (dx_hat * x_hat).mean(axes, keepdims=True)
        divisor = np.sqrt(var + eps)
        if slip == "std_missing":
            divisor = 1
        if slip == "variance_for_std":
            divisor = var + eps
        if slip == "eps_forgotten":
            divisor = np.sqrt(var)
        reduce = np.mean if slip == "grad_weight_averaged" else np.sum
        other = x if slip == "grad_weight_of_x" else x_hat
        dweight, dbias = reduce(grad_out * other, axis=OTHERS), reduce(grad_out, axis=OTHERS)
        if slip == "weight_and_bias_swapped":
            dweight, dbias = dbias, dweight
        return inner / divisor, dweight, dbias

    return forward, backward


@planted("batch_norm", "function", *NORM)
def norm_function(slip: str) -> Any:
    """A Jacobian for each channel: weight/std * (I - ones/M - x_hat x_hat^T/M)."""

    class BatchNorm(Function):
        @staticmethod
        def forward(ctx, x, weight, bias, *, eps=1e-5):
            rows = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
            var = rows.var(axis=1, keepdims=True)
            x_hat = (rows - rows.mean(axis=1, keepdims=True)) / np.sqrt(var + eps)
            ctx.save(x=x, weight=weight)
            ctx.save_constant(eps=eps)
            ctx.save_cache(x_hat=x_hat, var=var)
            out = weight[:, None] * x_hat + bias[:, None]
            return np.moveaxis(out.reshape(x.shape[1], len(x), *x.shape[2:]), 0, 1)

        @staticmethod
        def backward(ctx, grad_out):
            (x, weight, eps), (x_hat, var) = (
                ctx.saved("x", "weight", "eps"),
                ctx.cache("x_hat", "var"),
            )
            (C, M), pixels = x_hat.shape, x.shape[2] * x.shape[3]
            g = grad_out.swapaxes(0, 1).reshape(C, M)
            together = np.ones((M, M)) / M  # who shares a mean with whom
            if slip == "over_batch_only":
                pixel = np.arange(M) % pixels
                together = (pixel[:, None] == pixel) / len(x)
            if slip == "unbiased_for_biased":
                var = var * M / (M - 1)
            scale = 1 / np.sqrt(var + (0 if slip == "eps_forgotten" else eps))
            if slip == "std_missing":
                scale = np.ones_like(var)
            if slip == "variance_for_std":
                scale = 1 / (var + eps)
            grad_x = np.zeros((C, M))
            for c in range(C):
                jacobian = np.eye(M)
                if slip not in ("mean_term_missing", "statistics_constant"):
                    jacobian -= together
                if slip not in ("variance_term_missing", "statistics_constant"):
                    jacobian -= np.outer(x_hat[c], x_hat[c]) * together
                jacobian *= scale[c]
                if slip != "weight_missing":
                    jacobian *= weight[c]
                grad_x[c] = jacobian.T @ g[c]
            rows = x.swapaxes(0, 1).reshape(C, M) if slip == "grad_weight_of_x" else x_hat
            grad_weight, grad_bias = np.einsum("cm,cm->c", g, rows), g @ np.ones(M)
            if slip == "grad_weight_averaged":
                grad_weight, grad_bias = grad_weight / M, grad_bias / M
            if slip == "weight_and_bias_swapped":
                grad_weight, grad_bias = grad_bias, grad_weight
            return {
                "x": grad_x.reshape(C, len(x), *x.shape[2:]).swapaxes(0, 1),
                "weight": grad_weight,
                "bias": grad_bias,
            }

    return BatchNorm.forward, BatchNorm.backward


@planted(
    "batch_norm",
    "chain",
    "mean_term_missing",
    "variance_term_missing",
    "statistics_constant",
    "unbiased_for_biased",
    "weight_missing",
    "weight_and_bias_swapped",
    "grad_weight_averaged",
)
def norm_chain(slip: str) -> Any:
    """As the paper writes it: through x_hat to the variance, to the mean, to x."""

    def forward(x, weight, bias, eps=1e-5):
        mu = x.mean(axis=OTHERS, keepdims=True)
        inverse = (((x - mu) ** 2).mean(axis=OTHERS, keepdims=True) + eps) ** -0.5
        gamma, beta = weight.reshape(1, -1, 1, 1), bias.reshape(1, -1, 1, 1)
        return (x - mu) * inverse * gamma + beta, (x - mu, inverse, gamma)

    def backward(grad_out, cache):
        centred, inverse, gamma = cache
        m = centred.size / gamma.size
        d_hat = grad_out if slip == "weight_missing" else grad_out * gamma
        d_var = (d_hat * centred * -0.5 * inverse**3).sum(OTHERS, keepdims=True)
        d_mean = (-inverse * d_hat).sum(OTHERS, keepdims=True)
        d_x = d_hat * inverse
        if slip == "unbiased_for_biased":
            d_x = d_x + d_var * 2 * centred / (m - 1)
        elif slip not in ("variance_term_missing", "statistics_constant"):
            d_x = d_x + d_var * 2 * centred / m
        if slip not in ("mean_term_missing", "statistics_constant"):
            d_x = d_x + d_mean / m
        d_gamma = (grad_out * centred * inverse).sum(OTHERS)
        d_beta = grad_out.sum(OTHERS)
        if slip == "grad_weight_averaged":
            d_gamma, d_beta = d_gamma / m, d_beta / m
        if slip == "weight_and_bias_swapped":
            return d_x, d_beta, d_gamma
        return d_x, d_gamma, d_beta

    return forward, backward
