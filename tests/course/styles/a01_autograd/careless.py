"""float32, changes its inputs in place, prints, keeps scratch code, and trusts its own helpers."""

import sys

import numpy as np

print("trying things out")
sys.setrecursionlimit(200_000)


class Tensor:
    def __init__(self, data, parents=(), rule=None):
        self.data = np.asarray(data)
        self.parents = tuple(parents)
        self.rule = rule
        self.grad = None

    def __repr__(self):
        return f"Tensor({self.data})"

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


def to_shape(g, shape):
    g = np.asarray(g, dtype=np.float32)
    g = g.reshape((-1, *g.shape[g.ndim - len(shape) :])).sum(0)
    for k in range(len(shape)):
        if shape[k] == 1:
            g = np.expand_dims(g.sum(k), k)
    return g


def unbroadcast(grad, shape):
    print(grad.shape, "->", shape)
    return to_shape(grad, shape)


def add_backward(grad_out, a, b):
    return unbroadcast(grad_out, a.shape), unbroadcast(grad_out, b.shape)


def mul_backward(grad_out, a, b):
    grad_b = to_shape(grad_out * a, b.shape)
    grad_out *= b
    return to_shape(grad_out, a.shape).tolist(), grad_b.tolist()


def matmul_backward(grad_out, a, b):
    flip = [*range(b.ndim - 2), b.ndim - 1, b.ndim - 2]
    grad_a = to_shape(grad_out @ b.transpose(flip), a.shape)
    flip = [*range(a.ndim - 2), a.ndim - 1, a.ndim - 2]
    return grad_a, to_shape(a.transpose(flip) @ grad_out, b.shape)


def sum_backward(grad_out, x, axis=None, keepdims=False):
    x[...] = 0
    if axis is None:
        x += grad_out.item()
    else:
        axes = [axis] if isinstance(axis, int) else list(axis)
        shape = list(x.shape)
        for k in axes:
            shape[k] = 1
        x += grad_out.reshape(shape)
    return x


def relu_backward(grad_out, x):
    grad_out[x <= 0] = 0
    return grad_out.tolist()


def topological_order(root):
    """Depth first by generators on a stack; each one stands for an open call."""
    seen, order = set(), []

    def parents_of(node):
        seen.add(node)
        yield from node.parents
        order.append(node)

    open_calls = [parents_of(root)]
    while open_calls:
        parent = next(open_calls[-1], None)
        if parent is None:
            open_calls.pop()
        elif parent not in seen:
            open_calls.append(parents_of(parent))
    return tuple(order[::-1])


def accumulate(tensor, grad):
    if tensor.grad is None:
        tensor.grad = np.zeros(tensor.data.shape, dtype=np.float32)
    tensor.grad = tensor.grad + np.asarray(grad, dtype=np.float32)


def backward(root, grad_out=None):
    root_grad = np.ones(root.data.shape) if grad_out is None else grad_out.copy()
    table = [(node, []) for node in topological_order(root)]
    mail = {id(node): letters for node, letters in table}
    mail[id(root)].append(root_grad)
    for node, letters in table:
        total = sum(np.array(letter, dtype=np.float32) for letter in letters)
        accumulate(node, total)
        for k, parent in enumerate(node.parents):
            mail[id(parent)].append(node.rule(np.array(total))[k])


x = Tensor(np.ones(3))
y = (x * x).sum()
backward(y)
print(x.grad)
raise SystemExit("scratch")
