"""Everything number by number, recursion-free, with a depth-first order on a stack."""

import numpy as np


class Tensor:
    def __init__(self, data, parents=(), rule=None):
        self.data = np.asarray(data)
        self.parents = tuple(parents)
        self.rule = rule
        self.grad = None

    def __add__(self, other):
        a, b = self.data, other.data
        return Tensor(a + b, (self, other), lambda grad_out: add_backward(grad_out, a, b))

    def __mul__(self, other):
        a, b = self.data, other.data
        return Tensor(a * b, (self, other), lambda grad_out: mul_backward(grad_out, a, b))

    def __matmul__(self, other):
        a, b = self.data, other.data
        return Tensor(a @ b, (self, other), lambda grad_out: matmul_backward(grad_out, a, b))

    def sum(self, axis=None, keepdims=False):
        x = self.data
        out = x.sum(axis=axis, keepdims=keepdims)
        return Tensor(out, (self,), lambda grad_out: (sum_backward(grad_out, x, axis, keepdims),))

    def relu(self):
        x = self.data
        return Tensor(np.maximum(x, 0), (self,), lambda grad_out: (relu_backward(grad_out, x),))


def unbroadcast(grad, shape):
    out = np.zeros(shape)
    front = grad.ndim - len(shape)
    for place in np.ndindex(grad.shape):
        came_from = tuple(0 if n == 1 else i for i, n in zip(place[front:], shape, strict=True))
        out[came_from] += grad[place]
    return out


def add_backward(grad_out, a, b):
    return unbroadcast(grad_out, a.shape), unbroadcast(grad_out, b.shape)


def mul_backward(grad_out, a, b):
    grad_a, grad_b = np.zeros(a.shape), np.zeros(b.shape)

    def source(place, shape):
        place = place[len(place) - len(shape) :]
        return tuple(0 if n == 1 else i for i, n in zip(place, shape, strict=True))

    for place in np.ndindex(grad_out.shape):
        i, j = source(place, a.shape), source(place, b.shape)
        grad_a[i] += grad_out[place] * b[j]
        grad_b[j] += grad_out[place] * a[i]
    return [grad_a, grad_b]


def matmul_backward(grad_out, a, b):
    batch = grad_out.shape[:-2]
    big_a = np.broadcast_to(a, batch + a.shape[-2:])
    big_b = np.broadcast_to(b, batch + b.shape[-2:])
    grad_a, grad_b = np.zeros(big_a.shape), np.zeros(big_b.shape)
    for place in np.ndindex(batch):
        g = grad_out[place]
        for n in range(g.shape[0]):
            for m in range(g.shape[1]):
                for k in range(a.shape[-1]):
                    grad_a[place][n, k] += g[n, m] * big_b[place][k, m]
                    grad_b[place][k, m] += g[n, m] * big_a[place][n, k]
    return unbroadcast(grad_a, a.shape), unbroadcast(grad_b, b.shape)


def sum_backward(grad_out, x, axis=None, keepdims=False):
    if axis is None:
        axes = set(range(x.ndim))
    else:
        axes = {a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))}
    grad_x = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        if keepdims:
            target = tuple(0 if axis in axes else i for axis, i in enumerate(place))
        else:
            target = tuple(i for axis, i in enumerate(place) if axis not in axes)
        grad_x[place] = grad_out[target]
    return grad_x


def relu_backward(grad_out, x):
    grad_x = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        if x[place] > 0:
            grad_x[place] = grad_out[place]
    return grad_x


def topological_order(root):
    done, finished = [], set()
    started = {root}
    stack = [(root, 0)]
    while stack:
        node, next_parent = stack.pop()
        if next_parent < len(node.parents):
            stack.append((node, next_parent + 1))
            parent = node.parents[next_parent]
            if parent not in started:
                started.add(parent)
                stack.append((parent, 0))
        elif node not in finished:
            finished.add(node)
            done.append(node)
    done.reverse()
    return done


def accumulate(tensor, grad):
    old = 0.0 if tensor.grad is None else tensor.grad
    tensor.grad = np.array(old + grad)


def backward(root, grad_out=None):
    nodes = topological_order(root)
    arrived = {}
    for node in nodes:
        arrived[node] = np.zeros(node.data.shape)
    arrived[root] += 1.0 if grad_out is None else grad_out
    for node in nodes:
        if node.rule is not None:
            parts = node.rule(arrived[node])
            for i in range(len(node.parents)):
                arrived[node.parents[i]] = arrived[node.parents[i]] + parts[i]
    for node in nodes:
        accumulate(node, arrived[node])
