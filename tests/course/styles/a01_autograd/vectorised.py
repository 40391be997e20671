"""einsum and dtype-agnostic NumPy; the order by counting, without topological_order in backward."""

from collections import Counter, deque

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
    while grad.ndim > len(shape):
        grad = np.add.reduce(grad, axis=0)
    for axis, length in enumerate(shape):
        if length == 1 and grad.shape[axis] > 1:
            grad = np.add.reduce(grad, axis=axis, keepdims=True)
    return grad


def add_backward(grad_out, a, b):
    return unbroadcast(grad_out, a.shape), unbroadcast(grad_out, b.shape)


def mul_backward(grad_out, a, b):
    return tuple(unbroadcast(grad_out * x, y.shape) for x, y in ((b, a), (a, b)))


def matmul_backward(grad_out, a, b):
    grad_a = np.einsum("...nm,...km->...nk", grad_out, b)
    grad_b = np.einsum("...nk,...nm->...km", a, grad_out)
    return unbroadcast(grad_a, a.shape), unbroadcast(grad_b, b.shape)


def sum_backward(grad_out, x, axis=None, keepdims=False):
    kept = x.sum(axis=axis, keepdims=True).shape
    return np.ones_like(x) * np.reshape(grad_out, kept)


def relu_backward(grad_out, x):
    return np.where(x > 0, grad_out, 0)


def _reached(root):
    seen, waiting = {id(root): root}, deque([root])
    while waiting:
        for parent in waiting.popleft().parents:
            if id(parent) not in seen:
                seen[id(parent)] = parent
                waiting.append(parent)
    return list(seen.values())


def topological_order(root):
    uses = Counter(id(parent) for node in _reached(root) for parent in node.parents)
    waiting = deque([root])
    while waiting:
        node = waiting.popleft()
        yield node
        for parent in node.parents:
            uses[id(parent)] -= 1
            if uses[id(parent)] == 0:
                waiting.append(parent)


def accumulate(tensor, grad):
    if tensor.grad is None:
        tensor.grad = np.zeros(np.shape(grad))
    tensor.grad = np.add(tensor.grad, grad)


def backward(root, grad_out=None):
    before = {node: node.grad for node in _reached(root)}
    for node in before:
        node.grad = None
    accumulate(root, np.ones(root.data.shape) if grad_out is None else grad_out)
    for node in list(topological_order(root)):
        if node.rule:
            for parent, part in zip(node.parents, node.rule(node.grad), strict=True):
                accumulate(parent, part)
    for node, old in before.items():
        if old is not None:
            accumulate(node, old)
