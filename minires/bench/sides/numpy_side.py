"""The bare NumPy calls that an operation's forward and backward consist of: what the rest costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["chain", "setup"]


def setup(threads: int) -> dict[str, str]:
    """Nothing to set: tiny arrays use one thread."""
    return {}


def chain(spec: Any, inputs: Any) -> tuple[Callable[[], Any], None]:
    """The arrays of a chain computed by hand, forward and then backward, with nothing recorded.

    What backward needs is kept in a list; the gradient is that of the sum of the last array.
    """
    import numpy as np

    shape = tuple(spec["shape"])
    start, ones = inputs.normal(*shape), np.ones(shape, np.float32)
    matrix, other = inputs.orthogonal(shape[1]), (shape[0] // 2, shape[1] * 2)
    share = np.float32(1 / shape[0])
    forwards: dict[str, Callable[[Any, int], Any]] = {
        "add": lambda x, i: x + ones,
        "mul": lambda x, i: x * ones,
        "relu": lambda x, i: np.maximum(x, 0),
        "reshape": lambda x, i: x.reshape(shape if i % 2 else other),
        "sum": lambda x, i: x.sum(axis=0, keepdims=True),
        "mean": lambda x, i: x.sum(axis=0, keepdims=True) * share,
        "matmul": lambda x, i: x @ matrix,
    }
    backwards: dict[str, Callable[[Any, Any, int], Any]] = {
        "add": lambda grad, out, i: grad,
        "mul": lambda grad, out, i: grad * ones,
        "relu": lambda grad, out, i: grad * (out > 0),
        "reshape": lambda grad, out, i: grad.reshape(other if i % 2 else shape),
        "sum": lambda grad, out, i: np.broadcast_to(grad, shape),
        "mean": lambda grad, out, i: np.broadcast_to(grad * share, shape),
        "matmul": lambda grad, out, i: grad @ matrix.T,
    }
    forward, backward = forwards[spec["operation"]], backwards[spec["operation"]]
    length = spec["length"]

    def step() -> Any:
        x, outs = start, []
        for i in range(length):
            x = forward(x, i)
            outs.append(x)
        grad = np.broadcast_to(np.ones_like(x.sum()), x.shape)
        for i in range(length - 1, -1, -1):
            grad = backward(grad, outs[i], i)
        return grad

    return step, None
