"""a04 with each channel as a row of a matrix, E[x^2] - E[x]^2, and the derivation line by line."""

import numpy as np


def to_rows(x):
    """(N, C, H, W) to (C, M)."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def from_rows(rows, shape):
    N, C, H, W = shape
    return np.moveaxis(rows.reshape(C, N, H, W), 0, 1)


def moments(rows):
    mean = rows.mean(axis=1, keepdims=True)
    # the variance is the mean of the squares, less the square of the mean
    shifted = rows - rows[:, :1]
    var = (shifted**2).mean(axis=1, keepdims=True) - shifted.mean(axis=1, keepdims=True) ** 2
    return mean, np.maximum(var, 0)


def statistics(x):
    mean, var = moments(to_rows(x))
    return mean.ravel(), var.ravel()


def normalize(x, weight, bias, eps=1e-5):
    rows = to_rows(x)
    mean, var = moments(rows)
    out = np.diag(weight) @ ((rows - mean) * (var + eps) ** -0.5) + bias[:, np.newaxis]
    return from_rows(out, x.shape)


def update_running(running_mean, running_var, x, momentum=0.1):
    rows = to_rows(x)
    new = np.stack([rows.mean(1), rows.var(1, ddof=1)])
    old = np.stack([running_mean, running_var])
    return (1.0 - momentum) * old + momentum * new


def evaluate(x, running_mean, running_var, weight, bias, eps=1e-5):
    def column(v):
        return v.reshape(1, -1, 1, 1)

    x_hat = (x - column(running_mean)) / np.sqrt(column(running_var) + eps)
    return column(weight) * x_hat + column(bias)


def parameter_gradients(grad_out, x, eps=1e-5):
    rows, g = to_rows(x), to_rows(grad_out)
    mean, var = moments(rows)
    x_hat = (rows - mean) / np.sqrt(var + eps)
    return np.einsum("cm,cm->c", g, x_hat), np.einsum("cm->c", g)


def grad_input(grad_out, x, weight, eps=1e-5):
    rows, g = to_rows(x), to_rows(grad_out)
    M = rows.shape[1]
    mean, var = moments(rows)
    centered = rows - mean
    d_x_hat = g * weight[:, None]
    d_var = (d_x_hat * centered).sum(1, keepdims=True) * -0.5 * (var + eps) ** -1.5
    d_mean = -(d_x_hat / np.sqrt(var + eps)).sum(1, keepdims=True)
    d_mean += d_var * (-2 * centered).sum(1, keepdims=True) / M
    d_x = d_x_hat / np.sqrt(var + eps) + d_var * 2 * centered / M + d_mean / M
    return from_rows(d_x, x.shape)


def grad_evaluate(grad_out, x, running_mean, running_var, weight, eps=1e-5):
    inverse = 1 / np.sqrt(running_var + eps)
    x_hat = (to_rows(x) - running_mean[:, None]) * inverse[:, None]
    g = to_rows(grad_out)
    grad_x = from_rows((weight * inverse)[:, None] * g, x.shape)
    return [grad_x, (g * x_hat).sum(1), g.sum(1)]


class BatchNorm:
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        self.weight, self.bias = np.ones(channels), np.zeros(channels)
        self.running_mean, self.running_var = np.zeros(channels), np.ones(channels)
        self.eps, self.momentum = eps, momentum
        self.sums = [0.0, 0.0]
        self.batches = 0

    def forward(self, x, training):
        if not training:
            self.kept = ("evaluation", x, self.running_mean.copy(), self.running_var.copy())
            return evaluate(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.eps
            )
        self.kept = ("training", x)
        self.batches += 1
        if self.momentum is None:  # the plain means, from sums
            rows = to_rows(x)
            self.sums[0] = self.sums[0] + rows.mean(1)
            self.sums[1] = self.sums[1] + rows.var(1, ddof=1)
            self.running_mean, self.running_var = (total / self.batches for total in self.sums)
        else:
            both = update_running(self.running_mean, self.running_var, x, self.momentum)
            self.running_mean, self.running_var = both
        return normalize(x, self.weight, self.bias, self.eps)

    def backward(self, grad_out):
        mode, *rest = self.kept
        if mode == "evaluation":
            return grad_evaluate(grad_out, *rest, self.weight, self.eps)
        (x,) = rest
        grad_weight, grad_bias = parameter_gradients(grad_out, x, self.eps)
        return [grad_input(grad_out, x, self.weight, self.eps), grad_weight, grad_bias]
