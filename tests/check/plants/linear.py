"""linear and matmul."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.autograd import Function
from tests.check.plants.registry import planted

LINEAR = (
    "weight_wrong_way_round",
    "grad_weight_transposed",
    "bias_summed_over_features",
    "bias_averaged",
    "weight_averaged_over_batch",
    "weight_without_grad_out",
    "last_sample_only",
)
MATMUL = ("factors_swapped", "transpose_forgotten", "order_reversed")


@planted("linear", "loops", *LINEAR)
def linear_loops(slip: str) -> Any:
    def forward(x, weight, bias):
        out = np.zeros((len(x), len(weight)))
        for n in range(len(x)):
            for o in range(len(weight)):
                out[n, o] = bias[o]
                for i in range(x.shape[1]):
                    out[n, o] += x[n, i] * weight[o, i]
        return out

    def backward(grad_out, x, weight, bias):
        N = len(x)
        grad_x, grad_weight, grad_bias = (np.zeros(given.shape) for given in (x, weight, bias))
        if slip == "grad_weight_transposed":
            grad_weight = np.zeros(weight.shape[::-1])
        for n in range(N):
            for o in range(len(weight)):
                if slip == "bias_summed_over_features":
                    grad_bias[n] += grad_out[n, o]
                else:
                    grad_bias[o] += grad_out[n, o]
                for i in range(x.shape[1]):
                    w = weight[i, o] if slip == "weight_wrong_way_round" else weight[o, i]
                    g = 1.0 if slip == "weight_without_grad_out" else grad_out[n, o]
                    grad_x[n, i] += grad_out[n, o] * w
                    if slip == "grad_weight_transposed":
                        grad_weight[i, o] += g * x[n, i]
                    elif slip == "last_sample_only":
                        grad_weight[o, i] = g * x[n, i]
                    else:
                        grad_weight[o, i] += g * x[n, i]
        if slip == "bias_averaged":
            grad_bias /= N
        if slip == "weight_averaged_over_batch":
            grad_weight /= N
        return grad_x, grad_weight, grad_bias

    return forward, backward


@planted("linear", "vectorised", *LINEAR)
def linear_vectorised(slip: str) -> Any:
    def forward(x, weight, bias):
        return x @ weight.T + bias, (x, weight)

    def backward(grad_out, cache):
        x, weight = cache
        grad_x = grad_out @ (weight.T if slip == "weight_wrong_way_round" else weight)
        grad_weight = grad_out.T @ x
        if slip == "grad_weight_transposed":
            grad_weight = x.T @ grad_out
        if slip == "weight_averaged_over_batch":
            grad_weight = grad_weight / len(x)
        if slip == "weight_without_grad_out":
            grad_weight = np.ones_like(grad_out).T @ x
        if slip == "last_sample_only":
            grad_weight = np.outer(grad_out[-1], x[-1])
        grad_bias = grad_out.sum(axis=1 if slip == "bias_summed_over_features" else 0)
        if slip == "bias_averaged":
            grad_bias = grad_out.mean(axis=0)
        return [grad_x, grad_weight, grad_bias]

    return forward, backward


@planted("linear", "function", *LINEAR)
def linear_function(slip: str) -> Any:
    class Linear(Function):
        @staticmethod
        def forward(ctx, x, weight, bias):
            ctx.save(x=x, weight=weight)
            return np.einsum("ni,oi->no", x, weight) + bias

        @staticmethod
        def backward(ctx, grad_out):
            x, weight = ctx.saved("x", "weight")
            back = "no,io->ni" if slip == "weight_wrong_way_round" else "no,oi->ni"
            outer = "no,ni->io" if slip == "grad_weight_transposed" else "no,ni->oi"
            bias = "no->n" if slip == "bias_summed_over_features" else "no->o"
            grad_weight = np.einsum(outer, grad_out, x)
            if slip == "weight_without_grad_out":
                grad_weight = np.tile(x.sum(0), (len(weight), 1))
            if slip == "last_sample_only":
                for g, row in zip(grad_out, x, strict=True):
                    grad_weight = g[:, None] * row
            if slip == "weight_averaged_over_batch":
                grad_weight = grad_weight / len(grad_out)
            grad_bias = np.einsum(bias, grad_out)
            if slip == "bias_averaged":
                grad_bias = grad_bias / len(grad_out)
            grad_x = np.einsum(back, grad_out, weight)
            return {"x": grad_x, "weight": grad_weight, "bias": grad_bias}

    return Linear.forward, Linear.backward


@planted("matmul", "loops", *MATMUL)
def matmul_loops(slip: str) -> Any:
    def forward(a, b):
        out = np.zeros((a.shape[0], b.shape[1]))
        for m, n in np.ndindex(out.shape):
            out[m, n] = sum(a[m, k] * b[k, n] for k in range(len(b)))
        return out

    def backward(grad_out, a, b):
        grad_a, grad_b = np.zeros(a.shape), np.zeros(b.shape)
        for m, k in np.ndindex(a.shape):
            for n in range(b.shape[1]):
                if slip == "factors_swapped":
                    grad_a[m, k] += grad_out[m, n] * a[k, n]
                    grad_b[k, n] += b[m, k] * grad_out[m, n]
                elif slip == "transpose_forgotten":
                    grad_a[m, k] += grad_out[m, n] * b[n, k]
                    grad_b[k, n] += a[k, m] * grad_out[m, n]
                elif slip == "order_reversed":
                    grad_a[m, k] += b[n, m] * grad_out[n, k]
                    grad_b[k, n] += grad_out[k, m] * a[n, m]
                else:
                    grad_a[m, k] += grad_out[m, n] * b[k, n]
                    grad_b[k, n] += a[m, k] * grad_out[m, n]
        return grad_a, grad_b

    return forward, backward


@planted("matmul", "vectorised", *MATMUL)
def matmul_vectorised(slip: str) -> Any:
    def forward(a, b):
        return a @ b, {"a": a, "b": b}

    def backward(grad_out, cache):
        a, b = cache["a"], cache["b"]
        if slip == "factors_swapped":
            return grad_out @ a.T, b.T @ grad_out
        if slip == "transpose_forgotten":
            return grad_out @ b, a @ grad_out
        if slip == "order_reversed":
            return b.T @ grad_out, grad_out @ a.T
        return grad_out @ b.T, a.T @ grad_out

    return forward, backward


@planted("matmul", "function", *MATMUL)
def matmul_function(slip: str) -> Any:
    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return np.tensordot(a, b, axes=1)

    def backward(ctx, grad_out):
        by_a, by_b = {  # which axes of the two factors are summed over
            "": ((grad_out, ctx.b, (1, 1)), (ctx.a, grad_out, (0, 0))),
            "factors_swapped": ((grad_out, ctx.a, (1, 1)), (ctx.b, grad_out, (0, 0))),
            "transpose_forgotten": ((grad_out, ctx.b, (1, 0)), (ctx.a, grad_out, (1, 0))),
            "order_reversed": ((ctx.b, grad_out, (1, 0)), (grad_out, ctx.a, (1, 1))),
        }[slip]
        return {
            name: np.tensordot(left, right, axes=axes)
            for name, (left, right, axes) in (("a", by_a), ("b", by_b))
        }

    return forward, backward
