"""a08 in loops and single numbers, with a checker of its own."""

import math

import numpy as np


def error_map(forward, backward, inputs):
    """The whole Jacobian, one output at a time, beside central differences."""
    base = forward(*inputs)
    result = []
    for place, x in enumerate(inputs):
        if x.dtype.kind in "iu":
            result.append(None)
            continue
        wrong = np.zeros(x.shape, dtype=bool)
        for index in np.ndindex(x.shape):
            h = 1e-6
            moved = []
            for step in (h, -h):
                copies = [np.array(value) for value in inputs]
                copies[place][index] += step
                moved.append(forward(*copies))
            numeric = (moved[0] - moved[1]) / (2 * h)
            for k in np.ndindex(base.shape):
                for size in (1.0, -2.0):
                    w = np.zeros(base.shape)
                    w[k] = size
                    analytic = backward(w, *[np.array(value) for value in inputs])[place][index]
                    if abs(analytic - size * numeric[k]) > 1e-4 * (abs(analytic) + 0.01):
                        wrong[index] = True
        result.append(wrong)
    return result


def mended_linear(grad_out, x, weight, bias):
    N, C_out = grad_out.shape
    C = x.shape[1]
    grad_x, grad_weight, grad_bias = np.zeros((N, C)), np.zeros((C_out, C)), np.zeros(C_out)
    for n in range(N):
        for o in range(C_out):
            grad_bias[o] += grad_out[n, o]
            for c in range(C):
                grad_x[n, c] += grad_out[n, o] * weight[o, c]
                grad_weight[o, c] += grad_out[n, o] * x[n, c]
    return [grad_x, grad_weight, grad_bias]


def mended_product(grad_out, a, b):
    grads = []
    for mine, other in ((a, b), (b, a)):
        grad = np.zeros(mine.shape)
        for index in np.ndindex(grad_out.shape):
            grad[source(index, mine.shape)] += grad_out[index] * other[source(index, other.shape)]
        grads.append(grad)
    return tuple(grads)


def source(index, shape):
    """Where in an array of this shape the number at this place of the output came from."""
    kept = index[len(index) - len(shape) :]
    return tuple(0 if size == 1 else i for i, size in zip(kept, shape, strict=True))


def mended_relu(grad_out, x):
    flat = [g if v > 0 else 0.0 for g, v in zip(grad_out.ravel(), x.ravel(), strict=True)]
    return (np.array(flat).reshape(x.shape),)


def mended_gated(grad_out, x):
    grad = np.zeros(x.shape)
    N, C = grad_out.shape
    for n in range(N):
        for c in range(C):
            s = 1 / (1 + math.exp(-x[n, C + c]))
            grad[n, c] = grad_out[n, c] * s
            grad[n, C + c] = grad_out[n, c] * x[n, c] * s * (1 - s)
    return grad  # of one input, without a tuple


def mended_cross_entropy(grad_out, logits, labels):
    N, K = logits.shape
    grad = np.zeros((N, K))
    for n in range(N):
        largest = max(logits[n])
        total = sum(math.exp(value - largest) for value in logits[n])
        for k in range(K):
            p = math.exp(logits[n, k] - largest) / total
            grad[n, k] = float(grad_out) * (p - (1.0 if k == labels[n] else 0.0)) / N
    return [grad, None]


def mended_row_variance(grad_out, x):
    grad = []
    for g, row in zip(grad_out, x, strict=True):
        mean = sum(row) / len(row)
        grad.append([g * 2 * (value - mean) / (len(row) - 1) for value in row])
    return (np.array(grad),)


def mended_layer_norm(grad_out, x, weight, bias, eps=1e-5):
    N, D = x.shape
    grad_x, grad_weight, grad_bias = np.zeros((N, D)), np.zeros(D), np.zeros(D)
    for n in range(N):
        mean = sum(x[n]) / D
        s = math.sqrt(sum((value - mean) ** 2 for value in x[n]) / D + eps)
        x_hat = [(value - mean) / s for value in x[n]]
        for j in range(D):
            grad_weight[j] += grad_out[n, j] * x_hat[j]
            grad_bias[j] += grad_out[n, j]
            for i in range(D):
                slope = ((i == j) - 1 / D - x_hat[i] * x_hat[j] / D) / s
                grad_x[n, i] += grad_out[n, j] * weight[j] * slope
    return grad_x, grad_weight, grad_bias


def mended_conv2d(grad_out, x, weight, stride=1, padding=0):
    C, H, W = x.shape[1:]
    KH, KW = weight.shape[2:]
    grad_x, grad_weight = np.zeros(x.shape), np.zeros(weight.shape)
    for n, o, i, j in np.ndindex(grad_out.shape):
        for c in range(C):
            for u in range(KH):
                for v in range(KW):
                    row, column = i * stride + u - padding, j * stride + v - padding
                    if 0 <= row < H and 0 <= column < W:
                        g = grad_out[n, o, i, j]
                        grad_x[n, c, row, column] += g * weight[o, c, u, v]
                        grad_weight[o, c, u, v] += g * x[n, c, row, column]
    return grad_x, grad_weight


def mended_max_pool2d(grad_out, x, kernel, stride):
    grad = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(grad_out.shape):
        best = None
        for u in range(kernel):
            for v in range(kernel):
                place = (n, c, i * stride + u, j * stride + v)
                if best is None or x[place] > x[best]:
                    best = place
        grad[best] += grad_out[n, c, i, j]
    return (grad,)


def mended_residual(grad_out, x, w1, w2):
    grad_x, grad_w1, grad_w2 = np.array(grad_out), np.zeros(w1.shape), np.zeros(w2.shape)
    for n in range(len(x)):
        for e in range(len(w1)):
            h = sum(x[n, d] * w1[e, d] for d in range(len(x[n])))
            if h <= 0:
                continue
            back = sum(grad_out[n, d] * w2[d, e] for d in range(len(x[n])))
            for d in range(len(x[n])):
                grad_w2[d, e] += grad_out[n, d] * h
                grad_w1[e, d] += back * x[n, d]
                grad_x[n, d] += back * w1[e, d]
    return [grad_x, grad_w1, grad_w2]
