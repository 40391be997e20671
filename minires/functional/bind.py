"""Gives Tensor its operators and methods.

Tensor lives a floor below the operations, so it cannot import them; it declares the names, and
this module fills them in when ``minires.functional`` is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minires.autograd.engine import Copy
from minires.autograd.tensor import Tensor
from minires.functional import activation, arithmetic, indexing, linalg, reduce, selection, shape
from minires.kernels.checks import check_arrays

__all__ = ["METHODS"]


def _clone(x: Any) -> Any:
    """A copy in memory of its own, through which the gradient goes back."""
    check_arrays("clone", x=x)
    return Copy.apply(x)


def _cpu(x: Any) -> Any:
    """``x`` in the memory of the CPU."""
    return shape.to(x, "cpu")


def _cuda(x: Any) -> Any:
    """``x`` in the memory of the GPU."""
    return shape.to(x, "cuda")


def _where(input: Any, condition: Any, other: Any) -> Any:
    """``input`` where the condition holds, ``other`` elsewhere."""
    return selection.where(condition, input, other)


METHODS: dict[str, Callable[..., Any]] = {
    "__add__": arithmetic.add,
    "__radd__": arithmetic.swapped(arithmetic.add),
    "__sub__": arithmetic.sub,
    "__rsub__": arithmetic.swapped(arithmetic.sub),
    "__mul__": arithmetic.mul,
    "__rmul__": arithmetic.swapped(arithmetic.mul),
    "__truediv__": arithmetic.div,
    "__rtruediv__": arithmetic.swapped(arithmetic.div),
    "__pow__": arithmetic.pow,
    "__rpow__": arithmetic.swapped(arithmetic.pow),
    "__abs__": arithmetic.abs,
    "__neg__": arithmetic.neg,
    "__matmul__": linalg.matmul,
    "__rmatmul__": arithmetic.swapped(linalg.matmul),
    "__getitem__": indexing.getitem,
    "add": arithmetic.add,
    "sub": arithmetic.sub,
    "mul": arithmetic.mul,
    "div": arithmetic.div,
    "pow": arithmetic.pow,
    "neg": arithmetic.neg,
    "exp": arithmetic.exp,
    "log": arithmetic.log,
    "sqrt": arithmetic.sqrt,
    "abs": arithmetic.abs,
    "relu": activation.relu,
    "sigmoid": activation.sigmoid,
    "tanh": activation.tanh,
    "softmax": activation.softmax,
    "log_softmax": activation.log_softmax,
    "matmul": linalg.matmul,
    "sum": reduce.sum,
    "mean": reduce.mean,
    "var": reduce.var,
    "std": reduce.std,
    "max": reduce.max,
    "min": reduce.min,
    "amax": reduce.amax,
    "amin": reduce.amin,
    "logsumexp": reduce.logsumexp,
    "maximum": selection.maximum,
    "minimum": selection.minimum,
    "where": _where,
    "clamp": selection.clamp,
    "reshape": shape.reshape,
    "view": shape.reshape,
    "flatten": shape.flatten,
    "permute": shape.permute,
    "transpose": shape.transpose,
    "squeeze": shape.squeeze,
    "unsqueeze": shape.unsqueeze,
    "expand": shape.expand,
    "broadcast_to": shape.broadcast_to,
    "argmax": reduce.argmax,
    "argmin": reduce.argmin,
    "clone": _clone,
    "to": shape.to,
    "cpu": _cpu,
    "cuda": _cuda,
}

for _name, _operation in METHODS.items():
    setattr(Tensor, _name, _operation)
