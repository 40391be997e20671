"""Loops over single numbers, and none of the given functions."""

import numpy as np


def places(x_shape, kernel_size, stride, padding):
    """Every window's (oh, ow), with a list of its places inside the image in reading order."""
    H, W = x_shape[2], x_shape[3]
    (KH, KW), (PH, PW) = kernel_size, padding
    if stride is None:
        SH, SW = KH, KW
    else:
        SH, SW = stride
    oh = 0
    while oh * SH + KH <= H + 2 * PH:
        ow = 0
        while ow * SW + KW <= W + 2 * PW:
            inside = []
            for h in range(oh * SH - PH, oh * SH - PH + KH):
                for w in range(ow * SW - PW, ow * SW - PW + KW):
                    if h >= 0 and w >= 0 and h < H and w < W:
                        inside.append((h, w))
            yield oh, ow, inside
            ow += 1
        oh += 1


def out_like(x_shape, kernel_size, stride, padding, dtype=float):
    last = max((oh, ow) for oh, ow, _ in places(x_shape, kernel_size, stride, padding))
    return np.zeros((x_shape[0], x_shape[1], last[0] + 1, last[1] + 1), dtype)


def max_pool2d(x, kernel_size, stride=None, padding=(0, 0)):
    out = out_like(x.shape, kernel_size, stride, padding)
    for oh, ow, inside in places(x.shape, kernel_size, stride, padding):
        for n in range(x.shape[0]):
            for c in range(x.shape[1]):
                out[n, c, oh, ow] = max(x[n, c, h, w] for h, w in inside)
    return out


def max_pool2d_indices(x, kernel_size, stride=None, padding=(0, 0)):
    out = out_like(x.shape, kernel_size, stride, padding, int)
    for oh, ow, inside in places(x.shape, kernel_size, stride, padding):
        for n in range(x.shape[0]):
            for c in range(x.shape[1]):
                best = None
                for h, w in inside:
                    if best is None or x[n, c, h, w] > x[n, c, best[0], best[1]]:
                        best = h, w
                out[n, c, oh, ow] = best[0] * x.shape[3] + best[1]
    return out


def max_pool2d_grad_input(grad_out, x, kernel_size, stride=None, padding=(0, 0)):
    grad_x = np.zeros(x.shape)
    indices = max_pool2d_indices(x, kernel_size, stride, padding)
    for n, c, oh, ow in np.ndindex(indices.shape):
        h, w = divmod(indices[n, c, oh, ow], x.shape[3])
        grad_x[n, c, h, w] += grad_out[n, c, oh, ow]
    return grad_x


def avg_pool2d(x, kernel_size, stride=None, padding=(0, 0), count_include_pad=True):
    out = out_like(x.shape, kernel_size, stride, padding)
    for oh, ow, inside in places(x.shape, kernel_size, stride, padding):
        count = kernel_size[0] * kernel_size[1] if count_include_pad else len(inside)
        for h, w in inside:
            out[:, :, oh, ow] += x[:, :, h, w] / count
    return out


def avg_pool2d_grad_input(
    grad_out, x_shape, kernel_size, stride=None, padding=(0, 0), count_include_pad=True
):
    grad_x = np.zeros(x_shape)
    for oh, ow, inside in places(x_shape, kernel_size, stride, padding):
        count = kernel_size[0] * kernel_size[1] if count_include_pad else len(inside)
        for h, w in inside:
            grad_x[:, :, h, w] += grad_out[:, :, oh, ow] / count
    return grad_x


def bins(size, count):
    found = []
    for i in range(count):
        # place p is touched by part i if p < (i + 1) * size / count and p + 1 > i * size / count
        touched = [
            p for p in range(size) if p * count < (i + 1) * size and (p + 1) * count > i * size
        ]
        found.append([touched[0], touched[-1] + 1])
    return found


def adaptive_avg_pool2d(x, output_size):
    out = np.zeros((*x.shape[:2], *output_size))
    for n, c, oh, ow in np.ndindex(out.shape):
        top, bottom = bins(x.shape[2], output_size[0])[oh]
        left, right = bins(x.shape[3], output_size[1])[ow]
        total = 0
        for h in range(top, bottom):
            for w in range(left, right):
                total += x[n, c, h, w]
        out[n, c, oh, ow] = total / (bottom - top) / (right - left)
    return out


def adaptive_avg_pool2d_grad_input(grad_out, x_shape):
    grad_x = np.zeros(x_shape)
    for n, c, oh, ow in np.ndindex(grad_out.shape):
        top, bottom = bins(x_shape[2], grad_out.shape[2])[oh]
        left, right = bins(x_shape[3], grad_out.shape[3])[ow]
        for h in range(top, bottom):
            for w in range(left, right):
                grad_x[n, c, h, w] += grad_out[n, c, oh, ow] / (bottom - top) / (right - left)
    return grad_x
