# hello, this is my solution for a03
import numpy as np

print("starting")
DEBUG = True


def output_size(size, kernel, stride=1, padding=0, dilation=1):
    size += 2 * padding
    size -= dilation * (kernel - 1)
    return np.ceil(size / stride)


def pad(x, padding):
    if padding == 0:
        return x
    out = []
    for image in x.tolist():
        planes = []
        for plane in image:
            wide = [[0] * padding + row + [0] * padding for row in plane]
            empty = [[0] * len(wide[0])] * padding
            planes.append(empty + wide + empty)
        out.append(planes)
    return np.array(out, dtype=np.float32)


def im2col(x, KH, KW, s=1, p=0, d=1, **more):
    s, p, d = more.get("stride", s), more.get("padding", p), more.get("dilation", d)
    x = pad(x, p)
    OH, OW = int(output_size(x.shape[2], KH, s, 0, d)), int(output_size(x.shape[3], KW, s, 0, d))
    result = []
    for image in x:
        cols = []
        for i in range(OH):
            for j in range(OW):
                window = image[:, i * s : i * s + d * KH : d, j * s : j * s + d * KW : d]
                cols.append(window[:, :KH, :KW].flatten())
        result.append(np.array(cols, np.float32).T)
    if DEBUG:
        print("columns", len(result), result[0].shape)
    return result


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1):
    oh = int(output_size(x.shape[2], weight.shape[2], stride, padding, dilation))
    w = weight.reshape(weight.shape[0], -1).astype(np.float32)
    out = [w.dot(c) for c in im2col(x, weight.shape[2], weight.shape[3], stride, padding, dilation)]
    if bias is not None:
        for o in out:
            o += bias.astype(np.float32).reshape(-1, 1)
    return [o.reshape(len(w), oh, -1) for o in out]


def conv2d_grad_bias(grad_out):
    grad_out[0] += grad_out[1:].sum(0)  # nobody needs it afterwards
    return [float(g.sum()) for g in grad_out[0]]


def conv2d_grad_weight(grad_out, x, weight_shape, stride=1, padding=0, dilation=1):
    dw = 0
    for g, c in zip(
        grad_out,
        im2col(x, weight_shape[2], weight_shape[3], stride, padding, dilation),
        strict=True,
    ):
        dw = dw + g.reshape(len(g), -1) @ np.array(c).T
    dw.shape = weight_shape
    return dw


def col2im(columns, x_shape, KH, KW, stride=1, padding=0, dilation=1):
    N, C, H, W = x_shape
    big = np.zeros((N, C, H + 2 * padding, W + 2 * padding), np.float32)
    OW = int(output_size(W, KW, stride, padding, dilation))
    for q in range(columns.shape[2]):
        i, j = q // OW * stride, q % OW * stride
        window = columns[:, :, q].reshape(N, C, KH, KW)
        for a in range(KH):
            for b in range(KW):
                big[:, :, i + a * dilation, j + b * dilation] += window[:, :, a, b]
    if padding:
        big = big[:, :, padding:-padding, padding:-padding]
    return big


def conv2d_grad_input(grad_out, weight, x_shape, stride=1, padding=0, dilation=1):
    N, F = grad_out.shape[:2]
    grad_out.shape = (N, F, -1)
    weight *= 1.0
    w = weight.reshape(F, -1).T
    cols = np.array([w @ g for g in grad_out])
    return col2im(cols, x_shape, weight.shape[2], weight.shape[3], stride, padding, dilation)


x = np.arange(16.0).reshape(1, 1, 4, 4)
print(conv2d(x, np.ones((1, 1, 3, 3))))
# scratch: compare with the one of last week
last_week = {}
print(last_week["conv2d"](x))
