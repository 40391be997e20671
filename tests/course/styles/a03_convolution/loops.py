"""The formulas as they stand: nothing but loops over single numbers."""

import numpy as np


def output_size(size, kernel, stride=1, padding=0, dilation=1):
    count = 0
    start = -padding
    while start + dilation * (kernel - 1) < size + padding:
        count += 1
        start += stride
    return count


def pad(x, padding):
    N, C, H, W = x.shape
    result = np.zeros((N, C, H + 2 * padding, W + 2 * padding))
    for n in range(N):
        for c in range(C):
            for h in range(H):
                for w in range(W):
                    result[n, c, h + padding, w + padding] = x[n, c, h, w]
    return result


def places(shape, KH, KW, stride, padding, dilation):
    """All row, column, pixel of the matrix of columns, for pixels inside the image."""
    C, H, W = shape[1:]
    OH = output_size(H, KH, stride, padding, dilation)
    OW = output_size(W, KW, stride, padding, dilation)
    for c in range(C):
        for kh in range(KH):
            for kw in range(KW):
                for oh in range(OH):
                    for ow in range(OW):
                        h = oh * stride - padding + kh * dilation
                        w = ow * stride - padding + kw * dilation
                        if 0 <= h < H and 0 <= w < W:
                            yield (c * KH + kh) * KW + kw, oh * OW + ow, (c, h, w)


def im2col(x, KH, KW, stride=1, padding=0, dilation=1):
    N, C, H, W = x.shape
    OH = output_size(H, KH, stride, padding, dilation)
    OW = output_size(W, KW, stride, padding, dilation)
    columns = np.zeros((N, C * KH * KW, OH * OW))
    for row, column, (c, h, w) in places(x.shape, KH, KW, stride, padding, dilation):
        for n in range(N):
            columns[n, row, column] = x[n, c, h, w]
    return columns


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1):
    N, C, H, W = x.shape
    C_out, _, KH, KW = weight.shape
    out = np.zeros(
        (
            N,
            C_out,
            output_size(H, KH, stride, padding, dilation),
            output_size(W, KW, stride, padding, dilation),
        )
    )
    padded = pad(x, padding)
    for n, o, oh, ow in np.ndindex(out.shape):
        total = 0.0 if bias is None else bias[o]
        for c, kh, kw in np.ndindex(C, KH, KW):
            pixel = padded[n, c, oh * stride + kh * dilation, ow * stride + kw * dilation]
            total += weight[o, c, kh, kw] * pixel
        out[n, o, oh, ow] = total
    return out


def conv2d_grad_bias(grad_out):
    grad = np.zeros(grad_out.shape[1])
    for n, o, oh, ow in np.ndindex(grad_out.shape):
        grad[o] += grad_out[n, o, oh, ow]
    return grad


def conv2d_grad_weight(grad_out, x, weight_shape, stride=1, padding=0, dilation=1):
    grad = np.zeros(weight_shape)
    padded = pad(x, padding)
    for n, o, oh, ow in np.ndindex(grad_out.shape):
        for c, kh, kw in np.ndindex(weight_shape[1:]):
            pixel = padded[n, c, oh * stride + kh * dilation, ow * stride + kw * dilation]
            grad[o, c, kh, kw] += grad_out[n, o, oh, ow] * pixel
    return grad


def col2im(columns, x_shape, KH, KW, stride=1, padding=0, dilation=1):
    image = np.zeros(x_shape)
    for row, column, (c, h, w) in places(x_shape, KH, KW, stride, padding, dilation):
        for n in range(x_shape[0]):
            image[n, c, h, w] += columns[n, row, column]
    return image


def conv2d_grad_input(grad_out, weight, x_shape, stride=1, padding=0, dilation=1):
    H, W = x_shape[2:]
    grad = np.zeros(x_shape)
    for n, o, oh, ow in np.ndindex(grad_out.shape):
        for c, kh, kw in np.ndindex(weight.shape[1:]):
            h = oh * stride - padding + kh * dilation
            w = ow * stride - padding + kw * dilation
            if 0 <= h < H and 0 <= w < W:
                grad[n, c, h, w] += grad_out[n, o, oh, ow] * weight[o, c, kh, kw]
    return grad
