"""softmax_cross_entropy and mse_loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.autograd import Function
from tests.check.plants.activation import softmax
from tests.check.plants.registry import planted

CROSS_ENTROPY = (
    "not_divided_by_batch",
    "divided_by_classes",
    "one_hot_missing",
    "softmax_missing",
    "sign_reversed",
    "wrong_axis",
    "grad_out_forgotten",
    "divided_twice",
    "only_true_class",
)
MSE = (
    "two_missing",
    "not_averaged",
    "sign_reversed",
    "target_same_sign",
    "averaged_over_batch_only",
)


@planted("softmax_cross_entropy", "loops", *CROSS_ENTROPY)
def cross_entropy_loops(slip: str) -> Any:
    """Sample by sample, class by class."""

    def forward(logits, targets):
        loss = 0.0
        for row, target in zip(logits, targets, strict=True):
            loss += np.log(np.exp(row).sum()) - row[target]
        return loss / len(logits)

    def backward(grad_out, logits, targets):
        N, K = logits.shape
        grad = np.zeros((N, K))
        for n in range(N):
            for k in range(K):
                column = logits[:, k] if slip == "wrong_axis" else logits[n]
                p = np.exp(logits[n, k]) / np.exp(column).sum()
                if slip == "softmax_missing":
                    p = logits[n, k]
                if k == targets[n] and slip != "one_hot_missing":
                    p -= 1
                elif slip == "only_true_class":
                    p = 0
                if slip == "sign_reversed":
                    p = -p
                if slip == "divided_by_classes":
                    p /= K
                elif slip != "not_divided_by_batch":
                    p /= N
                if slip == "divided_twice":
                    p /= N
                grad[n, k] = p if slip == "grad_out_forgotten" else grad_out * p
        return (grad,)

    return forward, backward


@planted("softmax_cross_entropy", "vectorised", *CROSS_ENTROPY)
def cross_entropy_vectorised(slip: str) -> Any:
    """softmax - one_hot."""

    def forward(logits, targets):
        p, rows = softmax(logits), np.arange(len(logits))
        return -np.log(p[rows, targets]).mean(), (logits, p, targets)

    def backward(grad_out, cache):
        logits, p, targets = cache
        N, K = p.shape
        if slip == "softmax_missing":
            p = logits
        if slip == "wrong_axis":
            p = softmax(logits, axis=0)
        grad = p.copy()
        if slip != "one_hot_missing":
            grad[np.arange(N), targets] -= 1
        if slip == "only_true_class":
            grad *= np.eye(K)[targets]
        divisor = {"not_divided_by_batch": 1, "divided_by_classes": K, "divided_twice": N * N}
        grad /= divisor.get(slip, N)
        if slip == "sign_reversed":
            grad = -grad
        return (grad if slip == "grad_out_forgotten" else grad_out * grad), None

    return forward, backward


@planted("softmax_cross_entropy", "function", *CROSS_ENTROPY)
def cross_entropy_function(slip: str) -> Any:
    """Through the logarithm of the softmax: its Jacobian is I - softmax."""

    class CrossEntropy(Function):
        @staticmethod
        def forward(ctx, logits, targets):
            top = logits.max(1, keepdims=True)
            log_p = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
            ctx.save(logits=logits, targets=targets)
            ctx.save_cache(log_p=log_p)
            return -np.take_along_axis(log_p, targets[:, None], axis=1).mean()

        @staticmethod
        def backward(ctx, grad_out):
            (logits, targets), log_p = ctx.saved("logits", "targets"), ctx.cache("log_p")
            N, K = logits.shape
            one_hot = np.zeros((N, K))
            one_hot[np.arange(N), targets] = 1
            grad_log_p = one_hot if slip == "sign_reversed" else -one_hot
            if slip not in ("grad_out_forgotten",):
                grad_log_p = grad_log_p * grad_out
            if slip == "divided_by_classes":
                grad_log_p = grad_log_p / K
            elif slip != "not_divided_by_batch":
                grad_log_p = grad_log_p / N
            p = np.exp(log_p)
            if slip == "softmax_missing":
                p = logits
            if slip == "wrong_axis":
                p = np.exp(logits) / np.exp(logits).sum(axis=0)
            grad = -p * grad_log_p.sum(axis=1, keepdims=True)
            if slip != "one_hot_missing":
                grad = grad + grad_log_p
            if slip == "only_true_class":
                grad = np.where(one_hot == 1, grad, 0)
            return {"logits": grad / N if slip == "divided_twice" else grad}

    return CrossEntropy.forward, CrossEntropy.backward


@planted("mse_loss", "loops", *MSE)
def mse_loops(slip: str) -> Any:
    def forward(x, target):
        total = 0.0
        for place in np.ndindex(x.shape):
            total += (x[place] - target[place]) ** 2
        return total / x.size

    def backward(grad_out, x, target):
        grad_x, grad_target = np.zeros_like(x), np.zeros_like(x)
        count = {"not_averaged": 1, "averaged_over_batch_only": len(x)}.get(slip, x.size)
        for place in np.ndindex(x.shape):
            g = 2 * (x[place] - target[place]) * grad_out / count
            if slip == "two_missing":
                g = (x[place] - target[place]) * grad_out / count
            if slip == "sign_reversed":
                g = -g
            grad_x[place] = g
            grad_target[place] = g if slip == "target_same_sign" else -g
        return grad_x, grad_target

    return forward, backward


@planted("mse_loss", "vectorised", *MSE)
def mse_vectorised(slip: str) -> Any:
    def forward(x, target):
        difference = target - x if slip == "sign_reversed" else x - target
        return np.mean(difference**2), difference

    def backward(grad_out, cache):
        grad = 2 * cache / cache.size
        if slip == "two_missing":
            grad = cache / cache.size
        if slip == "not_averaged":
            grad = 2 * cache
        if slip == "averaged_over_batch_only":
            grad = 2 * cache / len(cache)
        grad = grad * grad_out
        return grad, (grad if slip == "target_same_sign" else -grad)

    return forward, backward


@planted("mse_loss", "function", *MSE)
def mse_function(slip: str) -> Any:
    """Element by element, the square and then the mean."""

    class MSE(Function):
        @staticmethod
        def forward(ctx, x, target):
            ctx.save(x=x, target=target)
            flat = (x - target).ravel()
            return flat @ flat / flat.size

        @staticmethod
        def backward(ctx, grad_out):
            x, target = ctx.saved("x", "target")
            grad_square = np.full_like(x, grad_out)
            if slip == "averaged_over_batch_only":
                grad_square /= x.shape[0]
            elif slip != "not_averaged":
                grad_square /= x.size
            slope = x - target if slip == "two_missing" else 2 * (x - target)
            if slip == "sign_reversed":
                slope = -slope
            sign = 1 if slip == "target_same_sign" else -1
            return {"target": sign * grad_square * slope, "x": grad_square * slope}

    return MSE.forward, MSE.backward
