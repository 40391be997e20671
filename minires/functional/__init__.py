"""Differentiable operations, under the names and arguments of ``torch.nn.functional``.

``import minires.functional as F``.  Given tensors they are recorded; given plain arrays they
compute and return plain arrays.
"""

from minires.functional import bind as bind
from minires.functional.activation import log_softmax, relu, softmax
from minires.functional.arithmetic import abs, add, div, exp, log, mul, neg, pow, sqrt, sub
from minires.functional.conv import conv2d
from minires.functional.linalg import linear, matmul
from minires.functional.loss import cross_entropy, mse_loss
from minires.functional.norm import batch_norm
from minires.functional.pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from minires.functional.reduce import mean, sum, var
from minires.functional.shape import (
    broadcast_to,
    cat,
    expand,
    flatten,
    pad,
    permute,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
)

__all__ = [
    "abs",
    "adaptive_avg_pool2d",
    "add",
    "avg_pool2d",
    "batch_norm",
    "broadcast_to",
    "cat",
    "conv2d",
    "cross_entropy",
    "div",
    "exp",
    "expand",
    "flatten",
    "linear",
    "log",
    "log_softmax",
    "matmul",
    "max_pool2d",
    "mean",
    "mse_loss",
    "mul",
    "neg",
    "pad",
    "permute",
    "pow",
    "relu",
    "reshape",
    "softmax",
    "sqrt",
    "squeeze",
    "sub",
    "sum",
    "transpose",
    "unsqueeze",
    "var",
]
