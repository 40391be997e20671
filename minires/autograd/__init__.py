"""The engine: tensors, the graph of operations behind them, and the pass backward through it."""

from minires.autograd.anomaly import detect_anomaly
from minires.autograd.engine import grad
from minires.autograd.function import Function
from minires.autograd.grad_mode import enable_grad, is_grad_enabled, no_grad
from minires.autograd.node import Leaf, Node
from minires.autograd.tensor import Handle, Tensor

__all__ = [
    "Function",
    "Handle",
    "Leaf",
    "Node",
    "Tensor",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "is_grad_enabled",
    "no_grad",
]
