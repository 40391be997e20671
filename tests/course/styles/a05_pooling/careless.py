# a05, done in one evening
import numpy as np

NEG = -1e30
print("pooling!")


def pad32(x, p, value):
    x = np.array(x, dtype=np.float32)
    return np.pad(
        x, ((0, 0), (0, 0), (p[0], p[0]), (p[1], p[1])), "constant", constant_values=value
    )


def max_pool2d(x, k, stride=None, padding=(0, 0)):
    s = stride or k
    x = pad32(x, padding, NEG)
    rows = []
    for i in range(0, x.shape[2] - k[0] + 1, s[0]):
        row = []
        for j in range(0, x.shape[3] - k[1] + 1, s[1]):
            row.append(x[:, :, i : i + k[0], j : j + k[1]].max((2, 3)))
        rows.append(np.stack(row, -1))
    return list(np.stack(rows, -2))


def max_pool2d_indices(x, k, stride=None, padding=(0, 0)):
    s = stride or k
    W = x.shape[3]
    x = pad32(x, padding, NEG)
    result = []
    for image in x:
        planes = []
        for plane in image:
            table = []
            for i in range(0, plane.shape[0] - k[0] + 1, s[0]):
                line = []
                for j in range(0, plane.shape[1] - k[1] + 1, s[1]):
                    window = plane[i : i + k[0], j : j + k[1]]
                    a, b = np.argwhere(window == window.max())[0]
                    line.append(float((i + a - padding[0]) * W + j + b - padding[1]))
                table.append(line)
            planes.append(table)
        result.append(planes)
    return result


def max_pool2d_grad_input(grad_out, x, k, stride=None, padding=(0, 0)):
    where = np.array(max_pool2d_indices(x, k, stride, padding)).astype(int)
    x[:] = 0  # x is not needed any more, so the gradient goes there
    for n in range(len(x)):
        for c in range(len(x[n])):
            np.add.at(x[n, c].reshape(-1), where[n, c], grad_out[n, c])
    return x


def inside(size, k, s, p):
    """how many places of the image each window has, along one axis"""
    starts = range(-p, size + p - k + 1, s)
    return np.array([min(a + k, size) - max(a, 0) for a in starts], dtype=np.float32)


def avg_pool2d(x, k, stride=None, padding=(0, 0), count_include_pad=True):
    s = stride or k
    H, W = x.shape[2:]
    x = pad32(x, padding, 0)
    total = 0
    rows, cols = inside(H, k[0], s[0], padding[0]), inside(W, k[1], s[1], padding[1])
    for a in range(k[0]):
        for b in range(k[1]):
            total = total + x[:, :, a :: s[0], b :: s[1]][:, :, : len(rows), : len(cols)]
    if count_include_pad:
        return total / np.float32(k[0] * k[1])
    total /= rows[:, None]
    total /= cols
    return total


def avg_pool2d_grad_input(g, shape, k, stride=None, padding=(0, 0), count_include_pad=True):
    s = stride or k
    rows, cols = inside(shape[2], k[0], s[0], padding[0]), inside(shape[3], k[1], s[1], padding[1])
    if count_include_pad:
        g /= k[0] * k[1]
    else:
        g /= np.outer(rows, cols)
    big = np.zeros((shape[0], shape[1], shape[2] + 2 * padding[0], shape[3] + 2 * padding[1]), "f")
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            i0, j0 = i * s[0], j * s[1]
            big[:, :, i0 : i0 + k[0], j0 : j0 + k[1]] += g[:, :, i : i + 1, j : j + 1]
    return big[:, :, padding[0] :][:, :, : shape[2], padding[1] :][:, :, :, : shape[3]]


def bins(size, count):
    i = np.arange(count)
    return np.stack([i * size // count, ((i + 1) * size + count - 1) // count], axis=1)


def adaptive_avg_pool2d(x, output_size):
    # first the rows, then the columns: means of means of equal length are means
    x = np.stack([x[:, :, a:b].mean(2) for a, b in bins(x.shape[2], output_size[0])], axis=2)
    return np.stack([x[:, :, :, a:b].mean(3) for a, b in bins(x.shape[3], output_size[1])], axis=3)


def adaptive_avg_pool2d_grad_input(grad_out, x_shape):
    OH, OW = grad_out.shape[2:]
    tall = np.zeros((x_shape[0], x_shape[1], x_shape[2], OW))
    for i, (a, b) in enumerate(bins(x_shape[2], OH)):
        tall[:, :, a:b] += grad_out[:, :, i : i + 1] / (b - a)
    result = np.zeros(x_shape)
    for j, (a, b) in enumerate(bins(x_shape[3], OW)):
        result[:, :, :, a:b] += tall[:, :, :, j : j + 1] / (b - a)
    return result


# try the ties
test = np.ones((1, 1, 2, 2))
assert max_pool2d_grad_input(np.ones((1, 1, 1, 1)), test, (2, 2))[0, 0, 1, 1] == 1, "?? why not"
