"""a04 in loops and lists: nothing of NumPy but arrays to return."""

import math

import numpy as np


def numbers_of(x, c):
    """All numbers of channel c, in one list."""
    found = []
    for image in x:
        for row in image[c]:
            for value in row:
                found.append(float(value))
    return found


def average(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def statistics(x):
    mean, var = [], []
    for c in range(len(x[0])):
        values = numbers_of(x, c)
        mu = average(values)
        mean.append(mu)
        var.append(average([(value - mu) ** 2 for value in values]))
    return mean, var


def normalize(x, weight, bias, eps=1e-5):
    N, C, H, W = x.shape
    mean, var = statistics(x)
    out = np.empty((N, C, H, W))
    for n in range(N):
        for c in range(C):
            for h in range(H):
                for w in range(W):
                    x_hat = (x[n, c, h, w] - mean[c]) / math.sqrt(var[c] + eps)
                    out[n, c, h, w] = weight[c] * x_hat + bias[c]
    return out


def update_running(running_mean, running_var, x, momentum=0.1):
    new_mean, new_var = [], []
    for c in range(len(running_mean)):
        values = numbers_of(x, c)
        mu = average(values)
        unbiased = sum((value - mu) ** 2 for value in values) / (len(values) - 1)
        new_mean.append(running_mean[c] + momentum * (mu - running_mean[c]))
        new_var.append(running_var[c] + momentum * (unbiased - running_var[c]))
    return [np.array(new_mean), np.array(new_var)]


def evaluate(x, running_mean, running_var, weight, bias, eps=1e-5):
    out = np.empty(x.shape)
    for n, c, h, w in np.ndindex(x.shape):
        away = x[n, c, h, w] - running_mean[c]
        out[n, c, h, w] = weight[c] * away / math.sqrt(running_var[c] + eps) + bias[c]
    return out


def parameter_gradients(grad_out, x, eps=1e-5):
    mean, var = statistics(x)
    grad_weight, grad_bias = [], []
    for c in range(x.shape[1]):
        std = math.sqrt(var[c] + eps)
        pairs = list(zip(numbers_of(grad_out, c), numbers_of(x, c), strict=True))
        grad_weight.append(sum(g * (value - mean[c]) / std for g, value in pairs))
        grad_bias.append(sum(g for g, _ in pairs))
    return grad_weight, grad_bias


def grad_input(grad_out, x, weight, eps=1e-5):
    """Number by number, with the two sums of each channel."""
    N, C, H, W = x.shape
    mean, var = statistics(x)
    result = np.zeros(x.shape)
    for c in range(C):
        values, arrived = numbers_of(x, c), numbers_of(grad_out, c)
        M, std = len(values), math.sqrt(var[c] + eps)
        x_hat = [(value - mean[c]) / std for value in values]
        flow, along = 0.0, 0.0
        for i in range(M):
            flow += arrived[i]
            along += arrived[i] * x_hat[i]
        flat = []
        for i in range(M):
            total = arrived[i] - flow / M - x_hat[i] * along / M
            flat.append(weight[c] * total / std)
        result[:, c] = np.array(flat).reshape(N, H, W)
    return result


def grad_evaluate(grad_out, x, running_mean, running_var, weight, eps=1e-5):
    grad_x = np.zeros(x.shape)
    grad_weight, grad_bias = [0.0] * len(weight), [0.0] * len(weight)
    for n, c, h, w in np.ndindex(x.shape):
        std = math.sqrt(running_var[c] + eps)
        g = grad_out[n, c, h, w]
        grad_x[n, c, h, w] = g * weight[c] / std
        grad_weight[c] += g * (x[n, c, h, w] - running_mean[c]) / std
        grad_bias[c] += g
    return grad_x, grad_weight, grad_bias


class BatchNorm:
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        self.weight = [1.0] * channels
        self.bias = [0.0] * channels
        self.running_mean = [0.0] * channels
        self.running_var = [1.0] * channels
        self.eps, self.momentum = eps, momentum
        self.batches = 0

    def forward(self, x, training):
        if training:
            self.batches += 1
            share = self.momentum if self.momentum is not None else 1.0 / self.batches
            self.running_mean, self.running_var = update_running(
                self.running_mean, self.running_var, x, share
            )
            self.go_back = lambda g: (
                grad_input(g, x, self.weight, self.eps),
                *parameter_gradients(g, x, self.eps),
            )
            return normalize(x, self.weight, self.bias, self.eps)
        mean, var = self.running_mean, self.running_var
        self.go_back = lambda g: grad_evaluate(g, x, mean, var, self.weight, self.eps)
        return evaluate(x, mean, var, self.weight, self.bias, self.eps)

    def backward(self, grad_out):
        return self.go_back(grad_out)
