"""a08 with as little as possible changed in the broken code; in place, in float32 at times."""

import numpy as np

import minires as mr


def error_map(forward, backward, inputs):
    maps = {}
    report = mr.check.gradcheck(
        operation(forward, backward),  # noqa: F821  (given with the assignment)
        inputs,
        raise_exception=False,
    )
    for entry in report.inputs:
        if entry.passed:
            maps[entry.name] = [[False]] if len(entry.shape) == 2 else False
            maps[entry.name] = np.broadcast_to(maps[entry.name], entry.shape)
        else:
            maps[entry.name] = np.nan_to_num(entry.ratios) > 1.0
    print(report)
    left = list(maps.values())
    return tuple(left.pop(0).tolist() if x.dtype != int else None for x in inputs)


def mended_linear(grad_out, x, weight, bias):
    grad_x = grad_out @ weight
    grad_bias = grad_out.sum(axis=0)
    grad_weight = 0
    for sample, arrived in zip(x, grad_out, strict=True):
        grad_weight = grad_weight + np.outer(arrived, sample)
    return grad_x, grad_weight, grad_bias


def mended_product(grad_out, a, b):
    def fit(grad, shape):
        added = range(grad.ndim - len(shape))
        grad = grad.sum(axis=tuple(added))
        stretched = [axis for axis, size in enumerate(shape) if size == 1]
        return grad.sum(axis=tuple(stretched), keepdims=True)

    return fit(grad_out * b, a.shape), fit(grad_out * a, b.shape)


def mended_relu(grad_out, x):
    grad_out[x <= 0] = 0
    return grad_out.astype(np.float32)


def mended_gated(grad_out, x):
    gates = np.split(x, 2, axis=1)[1]
    opened = np.tanh(gates / 2) / 2 + 0.5
    grad_values = grad_out * opened
    grad_gates = grad_out * gated(x) * (1 - opened)  # noqa: F821
    return (np.concatenate([grad_values, grad_gates], axis=1),)


def mended_cross_entropy(grad_out, logits, labels):
    logits -= logits.max(axis=1, keepdims=True)
    grad = np.exp(logits.astype(np.float32))
    grad /= grad.sum(axis=1, keepdims=True)
    grad[np.arange(len(labels)), labels] -= 1
    grad *= grad_out / len(labels)
    return grad, None


def mended_row_variance(grad_out, x):
    x -= x.mean(axis=1, keepdims=True)
    x *= 2 * grad_out[:, None]
    x /= x.shape[1] - 1
    return (x,)


def mended_layer_norm(grad_out, x, weight, bias, eps=1e-5):
    std = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    x_hat = (x - x.mean(axis=1, keepdims=True)) / std
    grad_weight, grad_bias = (grad_out * x_hat).sum(axis=0), grad_out.sum(axis=0)
    grad_out *= weight
    through_mean = grad_out.mean(axis=1, keepdims=True)
    through_var = x_hat * (grad_out * x_hat).mean(axis=1, keepdims=True)
    grad_x = 1 / std * (grad_out - through_mean - through_var)
    return grad_x, grad_weight, grad_bias


def mended_conv2d(grad_out, x, weight, stride=1, padding=0):
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    KH, KW = weight.shape[2:]
    OH, OW = grad_out.shape[2:]
    H, W = x.shape[2:]
    grad_padded, grad_weight = np.zeros_like(padded), np.zeros_like(weight)
    for u in range(KH):
        for v in range(KW):
            rows = slice(u, u + stride * OH, stride)
            columns = slice(v, v + stride * OW, stride)
            back = np.einsum("noij,oc->ncij", grad_out, weight[:, :, u, v])
            grad_padded[:, :, rows, columns] += back
            seen = padded[:, :, rows, columns]
            grad_weight[:, :, u, v] = np.einsum("noij,ncij->oc", grad_out, seen)
    return grad_padded[:, :, padding : padding + H, padding : padding + W], grad_weight


def mended_max_pool2d(grad_out, x, kernel, stride):
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    n, c, i, j = np.indices(grad_out.shape)
    winner = windows.reshape(*grad_out.shape, -1).argmax(axis=-1)
    row, column = i * stride + winner // kernel, j * stride + winner % kernel
    grad_x = np.zeros_like(x)
    np.add.at(grad_x, (n, c, row, column), grad_out)
    return (grad_x,)


def mended_residual(grad_out, x, w1, w2):
    hidden = np.maximum(x @ w1.T, 0)
    grad_x = grad_out.copy()
    grad_hidden = grad_out @ w2 * (hidden > 0)
    grad_x += grad_hidden @ w1
    return grad_x, grad_hidden.T @ x, grad_out.T @ hidden


raise SystemExit("nothing below this line is finished")
