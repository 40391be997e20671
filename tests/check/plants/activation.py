"""relu, leaky_relu, sigmoid, tanh and softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minires.autograd import Function
from tests.check.plants.registry import planted

RELU = (
    "one_at_zero",
    "mask_of_grad",
    "mask_forgotten",
    "times_x",
    "ones",
    "mask_inverted",
)
LEAKY = ("slope_forgotten", "slope_everywhere", "slope_on_positive")
SIGMOID = ("from_input", "one_minus_missing", "grad_out_forgotten")
TANH = ("not_squared", "from_input", "sign")
SOFTMAX = ("diagonal_only", "sum_missing", "wrong_axis", "as_loss")


@planted("relu", "loops", *RELU)
def relu_loops(slip: str) -> Any:
    def forward(x):
        out = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            out[place] = max(0.0, x[place])
        return out

    def backward(grad_out, x):
        grad = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            value, g = x[place], grad_out[place]
            passes = value > 0
            if slip == "one_at_zero":
                passes = value >= 0
            if slip == "mask_of_grad":
                passes = g > 0
            if slip == "mask_forgotten":
                passes = True
            if slip == "mask_inverted":
                passes = value < 0
            if passes:
                grad[place] = g
                if slip == "times_x":
                    grad[place] = g * value
                if slip == "ones":
                    grad[place] = 1.0
        return grad

    return forward, backward


@planted("relu", "vectorised", *RELU)
def relu_vectorised(slip: str) -> Any:
    def forward(x):
        return np.maximum(x, 0), x

    def backward(grad_out, cache):
        mask = cache > 0
        if slip == "one_at_zero":
            mask = cache >= 0
        if slip == "mask_of_grad":
            mask = grad_out > 0
        if slip == "mask_forgotten":
            return grad_out.copy()
        if slip == "times_x":
            return grad_out * np.maximum(cache, 0)
        if slip == "ones":
            return mask.astype(float)
        if slip == "mask_inverted":
            mask = ~mask
        return grad_out * mask

    return forward, backward


@planted("relu", "function", *RELU)
def relu_function(slip: str) -> Any:
    class ReLU(Function):
        @staticmethod
        def forward(ctx, x):
            out = np.where(x > 0, x, 0.0)
            ctx.save(x=x, out=out)
            return out

        @staticmethod
        def backward(ctx, grad_out):
            x, out = ctx.saved("x", "out")
            grad = grad_out.copy()
            if slip == "one_at_zero":
                grad[x < 0] = 0
            elif slip == "mask_of_grad":
                grad[grad <= 0] = 0
            elif slip == "mask_inverted":
                grad[x > 0] = 0
            elif slip != "mask_forgotten":
                grad[out == 0] = 0
            if slip == "times_x":
                grad *= out
            if slip == "ones":
                grad = np.sign(out)
            return {"x": grad}

    return ReLU.forward, ReLU.backward


@planted("leaky_relu", "loops", *LEAKY)
def leaky_loops(slip: str) -> Any:
    def forward(x, negative_slope=0.01):
        flat = [value if value > 0 else negative_slope * value for value in x.ravel()]
        return np.array(flat).reshape(x.shape)

    def backward(grad_out, x, negative_slope=0.01):
        grad = []
        for value, g in zip(x.ravel(), grad_out.ravel(), strict=True):
            slope = 1.0 if value > 0 else negative_slope
            if slip == "slope_forgotten":
                slope = 1.0 if value > 0 else 0.0
            if slip == "slope_everywhere":
                slope = negative_slope
            if slip == "slope_on_positive":
                slope = negative_slope if value > 0 else 1.0
            grad.append(slope * g)
        return np.array(grad).reshape(x.shape)

    return forward, backward


@planted("leaky_relu", "vectorised", *LEAKY)
def leaky_vectorised(slip: str) -> Any:
    def forward(x, negative_slope=0.01):
        return np.where(x > 0, x, negative_slope * x), (x > 0, negative_slope)

    def backward(grad_out, cache):
        positive, slope = cache
        if slip == "slope_forgotten":
            return (grad_out * positive,)
        if slip == "slope_everywhere":
            return (grad_out * slope,)
        if slip == "slope_on_positive":
            return (np.where(positive, slope, 1) * grad_out,)
        return (np.where(positive, 1, slope) * grad_out,)

    return forward, backward


@planted("leaky_relu", "function", *LEAKY)
def leaky_function(slip: str) -> Any:
    def forward(ctx, x, *, negative_slope=0.01):
        ctx.mask, ctx.slope = (x > 0).astype(float), negative_slope
        return np.maximum(x, 0) + negative_slope * np.minimum(x, 0)

    def backward(ctx, grad_out):
        up, down = grad_out * ctx.mask, grad_out * (1 - ctx.mask)
        if slip == "slope_forgotten":
            down = 0
        if slip in ("slope_everywhere", "slope_on_positive"):
            up = ctx.slope * up
        if slip != "slope_on_positive":
            down = ctx.slope * down
        return up + down

    return forward, backward


@planted("sigmoid", "loops", *SIGMOID)
def sigmoid_loops(slip: str) -> Any:
    def forward(x):
        return np.vectorize(lambda value: 1 / (1 + math.exp(-value)))(x)

    def backward(grad_out, x):
        grad = np.zeros_like(x)
        for place, value in np.ndenumerate(x):
            s = value if slip == "from_input" else 1 / (1 + math.exp(-value))
            slope = s if slip == "one_minus_missing" else s * (1 - s)
            grad[place] = slope if slip == "grad_out_forgotten" else grad_out[place] * slope
        return grad

    return forward, backward


@planted("sigmoid", "vectorised", *SIGMOID)
def sigmoid_vectorised(slip: str) -> Any:
    def forward(x):
        out = 1 / (1 + np.exp(-x))
        return out, (x if slip == "from_input" else out)

    def backward(grad_out, cache):
        if slip == "one_minus_missing":
            return grad_out * cache
        if slip == "grad_out_forgotten":
            return cache * (1 - cache)
        return grad_out * cache * (1 - cache)

    return forward, backward


@planted("sigmoid", "function", *SIGMOID)
def sigmoid_function(slip: str) -> Any:
    class Sigmoid(Function):
        @staticmethod
        def forward(ctx, x):
            out = 0.5 * (1 + np.tanh(x / 2))
            ctx.save(x=x, out=out)
            return out

        @staticmethod
        def backward(ctx, grad_out):
            s = ctx.saved("x") if slip == "from_input" else ctx.saved("out")
            g = np.ones_like(s) if slip == "grad_out_forgotten" else grad_out
            return {"x": g * s if slip == "one_minus_missing" else g * (s - s**2)}

    return Sigmoid.forward, Sigmoid.backward


@planted("tanh", "loops", *TANH)
def tanh_loops(slip: str) -> Any:
    def forward(x):
        return np.vectorize(math.tanh)(x)

    def backward(grad_out, x):
        grad = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            t = x[place] if slip == "from_input" else math.tanh(x[place])
            if slip == "not_squared":
                grad[place] = grad_out[place] * (1 - t)
            elif slip == "sign":
                grad[place] = grad_out[place] * (1 + t * t)
            else:
                grad[place] = grad_out[place] * (1 - t * t)
        return grad

    return forward, backward


@planted("tanh", "vectorised", *TANH)
def tanh_vectorised(slip: str) -> Any:
    def forward(x):
        out = np.tanh(x)
        return out, {"x": x, "out": out}

    def backward(grad_out, cache):
        t = cache["x" if slip == "from_input" else "out"]
        power = 1 if slip == "not_squared" else 2
        return [grad_out * (1 + t**power if slip == "sign" else 1 - t**power)]

    return forward, backward


@planted("tanh", "function", *TANH)
def tanh_function(slip: str) -> Any:
    def forward(ctx, x):
        up, down = np.exp(x), np.exp(-x)
        ctx.x, ctx.cosh = x, (up + down) / 2
        return (up - down) / (up + down)

    def backward(ctx, grad_out):
        slope = ctx.cosh**-2.0  # = 1 - tanh(x)**2
        if slip == "not_squared":
            slope = 1 - np.tanh(ctx.x)
        if slip == "from_input":
            slope = (1 - ctx.x) * (1 + ctx.x)
        if slip == "sign":
            slope = 2 - slope
        return {"x": slope * grad_out}

    return forward, backward


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@planted("softmax", "loops", *SOFTMAX)
def softmax_loops(slip: str) -> Any:
    """Number by number: ds_j/dx_k = s_j * ((j == k) - s_k)."""

    def forward(x):
        return np.array([np.exp(row) / np.exp(row).sum() for row in x])

    def backward(grad_out, x):
        s, grad = forward(x), np.zeros_like(x)
        for n, k in np.ndindex(x.shape):
            if slip == "as_loss":
                grad[n, k] = s[n, k] - grad_out[n, k]
            elif slip == "diagonal_only":
                grad[n, k] = grad_out[n, k] * s[n, k] * (1 - s[n, k])
            elif slip == "sum_missing":
                grad[n, k] = grad_out[n, k] * s[n, k]
            elif slip == "wrong_axis":
                for m in range(len(x)):
                    grad[n, k] += grad_out[m, k] * s[m, k] * ((m == n) - s[n, k])
            else:
                for j in range(x.shape[1]):
                    grad[n, k] += grad_out[n, j] * s[n, j] * ((j == k) - s[n, k])
        return grad

    return forward, backward


@planted("softmax", "vectorised", *SOFTMAX)
def softmax_vectorised(slip: str) -> Any:
    def forward(x):
        s = softmax(x)
        return s, s

    def backward(grad_out, cache):
        s = cache
        if slip == "diagonal_only":
            return s * (1 - s) * grad_out
        if slip == "sum_missing":
            return s * grad_out
        if slip == "as_loss":
            return s - grad_out
        axis = 0 if slip == "wrong_axis" else 1
        return s * (grad_out - (grad_out * s).sum(axis=axis, keepdims=True))

    return forward, backward


@planted("softmax", "function", *SOFTMAX)
def softmax_function(slip: str) -> Any:
    """A Jacobian for each row: diag(s) - s s^T."""

    class Softmax(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.out = softmax(x)
            return ctx.out

        @staticmethod
        def backward(ctx, grad_out):
            s, g = ctx.out, grad_out
            if slip == "as_loss":
                return -(g - s)
            if slip == "wrong_axis":
                s, g = s.T, g.T
            jacobian = s[:, :, None] * (np.eye(s.shape[1]) - s[:, None, :])
            if slip == "diagonal_only":
                jacobian = jacobian * np.eye(s.shape[1])
            if slip == "sum_missing":
                jacobian = s[:, :, None] * np.eye(s.shape[1])
            grad = np.einsum("nj,njk->nk", g, jacobian)
            return grad.T if slip == "wrong_axis" else grad

    return Softmax.forward, Softmax.backward
