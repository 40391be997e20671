"""Where gradients meet or spread: add_skip, broadcast_add, broadcast_mul, max and mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.autograd import Function
from tests.check.plants.registry import planted

SKIP = (
    "skip_forgotten",
    "skip_counted_twice",
    "branch_forgotten",
    "mask_forgotten",
    "halved",
    "weight_wrong_way_round",
)
ADD = ("not_summed", "averaged", "summed_over_batch_only", "wrong_axis")
MUL = ("own_factor", "not_summed", "averaged", "factor_forgotten")
MAX = ("ties_split", "ties_all_paid", "last_of_ties", "spread", "averaged")
MEAN = ("not_divided", "wrong_count", "wrong_axis")


def joined(skip: np.ndarray, branch: np.ndarray, slip: str) -> np.ndarray:
    """The gradient of x, which both ways lead to."""
    if slip == "skip_forgotten":
        return branch
    if slip == "skip_counted_twice":
        return 2 * skip + branch
    if slip == "branch_forgotten":
        return skip
    if slip == "halved":
        return (skip + branch) / 2
    return skip + branch


@planted("add_skip", "loops", *SKIP)
def skip_loops(slip: str) -> Any:
    """Sample after sample, with matrices on vectors."""

    def forward(x, w1, w2):
        return np.array([row + w2 @ np.maximum(w1 @ row, 0) for row in x])

    def backward(grad_out, x, w1, w2):
        grad_x, grad_w1, grad_w2 = np.zeros_like(x), np.zeros_like(w1), np.zeros_like(w2)
        for n, (g, row) in enumerate(zip(grad_out, x, strict=True)):
            hidden = w1 @ row
            grad_w2 += np.outer(g, np.maximum(hidden, 0))
            grad_hidden = w2 @ g if slip == "weight_wrong_way_round" else w2.T @ g
            if slip != "mask_forgotten":
                grad_hidden[hidden <= 0] = 0
            grad_w1 += np.outer(grad_hidden, row)
            grad_x[n] = joined(g, w1.T @ grad_hidden, slip)
        return grad_x, grad_w1, grad_w2

    return forward, backward


@planted("add_skip", "vectorised", *SKIP)
def skip_vectorised(slip: str) -> Any:
    def forward(x, w1, w2):
        h = x @ w1.T
        a = np.maximum(h, 0)
        return x + a @ w2.T, (x, w1, w2, h, a)

    def backward(grad_out, cache):
        x, w1, w2, h, a = cache
        da = grad_out @ (w2.T if slip == "weight_wrong_way_round" else w2)
        dh = da if slip == "mask_forgotten" else da * (h > 0)
        return joined(grad_out, dh @ w1, slip), dh.T @ x, grad_out.T @ a

    return forward, backward


@planted("add_skip", "function", *SKIP)
def skip_function(slip: str) -> Any:
    """Gradients gathered in a dictionary, as each step of forward is undone."""

    class AddSkip(Function):
        @staticmethod
        def forward(ctx, x, w1, w2):
            hidden = np.einsum("ni,oi->no", x, w1)
            on = (hidden > 0).astype(float)
            ctx.save(x=x, w1=w1, w2=w2)
            ctx.save_constant(on=on)
            return x + np.einsum("ni,oi->no", hidden * on, w2)

        @staticmethod
        def backward(ctx, grad_out):
            x, w1, w2, on = ctx.saved("x", "w1", "w2", "on")
            if slip == "mask_forgotten":
                through = np.ones_like(on)
            else:
                through = on
            back = "no,io->ni" if slip == "weight_wrong_way_round" else "no,oi->ni"
            grad_hidden = np.einsum(back, grad_out, w2) * through
            grads = {"x": np.zeros_like(x)}
            grads["w2"] = np.einsum("no,ni->oi", grad_out, (x @ w1.T) * on)
            grads["w1"] = np.einsum("no,ni->oi", grad_hidden, x)
            grads["x"] += joined(grad_out, np.einsum("no,oi->ni", grad_hidden, w1), slip)
            return grads

    return AddSkip.forward, AddSkip.backward


@planted("broadcast_add", "loops", *ADD)
def add_loops(slip: str) -> Any:
    def forward(a, b):
        out = np.zeros_like(a)
        for c in range(a.shape[1]):
            out[:, c] = a[:, c] + b[c, 0, 0]
        return out

    def backward(grad_out, a, b):
        N, C, H, W = a.shape
        if slip == "not_summed":
            return grad_out.copy(), grad_out.copy()
        if slip == "summed_over_batch_only":
            return grad_out.copy(), sum(grad_out[n] for n in range(N))
        grad_b = np.zeros((C, 1, 1))
        for n, c, i, j in np.ndindex(N, C, H, W):
            grad_b[n if slip == "wrong_axis" else c, 0, 0] += grad_out[n, c, i, j]
        if slip == "averaged":
            grad_b /= N * H * W
        return grad_out.copy(), grad_b

    return forward, backward


@planted("broadcast_add", "vectorised", *ADD)
def add_vectorised(slip: str) -> Any:
    def forward(a, b):
        return a + b, b.shape

    def backward(grad_out, cache):
        grad_b = grad_out.sum(axis=(0, 2, 3)).reshape(cache)
        if slip == "not_summed":
            grad_b = grad_out
        if slip == "averaged":
            grad_b = grad_out.mean(axis=(0, 2, 3)).reshape(cache)
        if slip == "summed_over_batch_only":
            grad_b = grad_out.sum(axis=0)
        if slip == "wrong_axis":
            grad_b = grad_out.sum(axis=(1, 2, 3)).reshape(-1, 1, 1)
        return grad_out, grad_b

    return forward, backward


@planted("broadcast_add", "function", *ADD)
def add_function(slip: str) -> Any:
    """Summed over every axis that broadcasting stretched."""

    def forward(ctx, a, b):
        ctx.b_shape = b.shape
        return np.add(a, np.broadcast_to(b, a.shape))

    def backward(ctx, grad_out):
        grad_b = grad_out
        if slip != "not_summed":
            axis = 1 if slip == "wrong_axis" else 0
            grad_b = np.add.reduce(grad_b, axis=axis)
        if slip not in ("not_summed", "summed_over_batch_only"):
            for axis, size in enumerate(ctx.b_shape):
                if size == 1:
                    grad_b = grad_b.sum(axis=axis, keepdims=True)
        if slip == "averaged":
            grad_b = grad_b * (ctx.b_shape[0] / grad_out.size)
        return {"a": grad_out, "b": grad_b}

    return forward, backward


@planted("broadcast_mul", "loops", *MUL)
def mul_loops(slip: str) -> Any:
    def forward(a, b):
        return np.array([[a[n, d] * b[d] for d in range(len(b))] for n in range(len(a))])

    def backward(grad_out, a, b):
        grad_a, grad_b = np.zeros_like(a), np.zeros_like(b)
        each = np.zeros_like(a)
        for n in range(len(a)):
            for d in range(len(b)):
                for_a, for_b = b[d], a[n, d]
                if slip == "own_factor":
                    for_a, for_b = for_b, for_a
                if slip == "factor_forgotten":
                    for_a = 1.0
                grad_a[n, d] = grad_out[n, d] * for_a
                each[n, d] = grad_out[n, d] * for_b
                grad_b[d] += each[n, d]
        if slip == "averaged":
            grad_b /= len(a)
        return grad_a, (each if slip == "not_summed" else grad_b)

    return forward, backward


@planted("broadcast_mul", "vectorised", *MUL)
def mul_vectorised(slip: str) -> Any:
    def forward(a, b):
        return a * b, (a, b)

    def backward(grad_out, cache):
        a, b = cache
        if slip == "own_factor":
            return grad_out * a, (grad_out * b).sum(axis=0)
        if slip == "not_summed":
            return grad_out * b, grad_out * a
        if slip == "averaged":
            return grad_out * b, (grad_out * a).mean(axis=0)
        if slip == "factor_forgotten":
            return grad_out, (grad_out * a).sum(axis=0)
        return grad_out * b, (grad_out * a).sum(axis=0)

    return forward, backward


@planted("broadcast_mul", "function", *MUL)
def mul_function(slip: str) -> Any:
    """As a product with a diagonal matrix."""

    class Mul(Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save(a=a, b=b)
            return a @ np.diag(b)

        @staticmethod
        def backward(ctx, grad_out):
            a, b = ctx.saved("a", "b")
            if slip == "own_factor":
                return {"a": grad_out * a, "b": grad_out.sum(axis=0) * b}
            grad_b = np.diag(a.T @ grad_out)
            if slip == "not_summed":
                grad_b = a * grad_out
            if slip == "averaged":
                grad_b = grad_b / a.shape[0]
            grad_a = grad_out @ (np.eye(len(b)) if slip == "factor_forgotten" else np.diag(b))
            return {"b": grad_b, "a": grad_a}

    return Mul.forward, Mul.backward


@planted("max", "loops", *MAX)
def max_loops(slip: str) -> Any:
    def forward(x):
        return np.array([max(row) for row in x])

    def backward(grad_out, x):
        grad = np.zeros_like(x)
        for n, row in enumerate(x):
            largest = max(row)
            winners = [k for k in range(len(row)) if row[k] == largest]
            paid, share = winners[:1], 1.0
            if slip == "ties_split":
                paid, share = winners, 1 / len(winners)
            if slip == "ties_all_paid":
                paid = winners
            if slip == "last_of_ties":
                paid = winners[-1:]
            if slip == "spread":
                paid = range(len(row))
            if slip == "averaged":
                paid, share = range(len(row)), 1 / len(row)
            for k in paid:
                grad[n, k] = grad_out[n] * share
        return grad

    return forward, backward


@planted("max", "vectorised", *MAX)
def max_vectorised(slip: str) -> Any:
    def forward(x):
        return x.max(axis=1), x

    def backward(grad_out, cache):
        N, K = cache.shape
        mask = np.eye(K)[cache.argmax(axis=1)]
        ties = cache == cache.max(axis=1, keepdims=True)
        if slip == "ties_split":
            mask = ties / ties.sum(axis=1, keepdims=True)
        if slip == "ties_all_paid":
            mask = ties
        if slip == "last_of_ties":
            mask = np.eye(K)[K - 1 - cache[:, ::-1].argmax(axis=1)]
        if slip == "spread":
            mask = np.ones((N, K))
        if slip == "averaged":
            mask = np.full((N, K), 1 / K)
        return mask * grad_out[:, None]

    return forward, backward


@planted("max", "function", *MAX)
def max_function(slip: str) -> Any:
    def forward(ctx, x):
        out = np.maximum.reduce(x, axis=1)
        ctx.ties = [np.flatnonzero(row == top) for row, top in zip(x, out, strict=True)]
        ctx.shape = x.shape
        return out

    def backward(ctx, grad_out):
        grad, K = np.zeros(ctx.shape), ctx.shape[1]
        for n, ties in enumerate(ctx.ties):
            place = {"last_of_ties": ties[-1], "ties_split": ties, "ties_all_paid": ties}.get(
                slip, ties[0]
            )
            if slip in ("spread", "averaged"):
                place = np.arange(K)
            count = {"ties_split": len(ties), "averaged": K}.get(slip, 1)
            np.add.at(grad[n], place, grad_out[n] / count)
        return {"x": grad}

    return forward, backward


@planted("mean", "loops", *MEAN)
def mean_loops(slip: str) -> Any:
    def forward(x):
        return sum(x[n] for n in range(len(x))) / len(x)

    def backward(grad_out, x):
        N, K = x.shape
        grad = np.zeros((N, K))
        count = {"not_divided": 1, "wrong_count": K}.get(slip, N)
        for n in range(N):
            for k in range(K):
                grad[n, k] = grad_out[n if slip == "wrong_axis" else k] / count
        return grad

    return forward, backward


@planted("mean", "vectorised", *MEAN)
def mean_vectorised(slip: str) -> Any:
    def forward(x):
        return x.mean(axis=0), x.shape

    def backward(grad_out, cache):
        N, K = cache
        if slip == "not_divided":
            return np.tile(grad_out, (N, 1))
        if slip == "wrong_count":
            return np.tile(grad_out, (N, 1)) / K
        if slip == "wrong_axis":
            return np.repeat(grad_out[:, None], K, axis=1) / N
        return np.tile(grad_out, (N, 1)) / N

    return forward, backward


@planted("mean", "function", *MEAN)
def mean_function(slip: str) -> Any:
    """As a product with a row of 1/N."""

    def forward(ctx, x):
        ctx.row = np.full((1, len(x)), 1 / len(x))
        return (ctx.row @ x)[0]

    def backward(ctx, grad_out):
        row = ctx.row
        if slip == "not_divided":
            row = np.ones_like(row)
        if slip == "wrong_count":
            row = np.full_like(row, 1 / len(grad_out))
        if slip == "wrong_axis":
            return np.outer(grad_out, row)
        return row.T @ grad_out[None, :]

    return forward, backward
