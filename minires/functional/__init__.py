"""Differentiable operations, under the names and arguments of ``torch.nn.functional``.

``import minires.functional as F``.  Given tensors they are recorded; given plain arrays they
compute and return plain arrays.
"""

from minires.functional import bind as bind
from minires.functional.activation import (
    dropout,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from minires.functional.arithmetic import abs, add, div, exp, log, mul, neg, pow, sqrt, sub
from minires.functional.conv import conv2d, conv_transpose2d
from minires.functional.linalg import linear, matmul
from minires.functional.loss import cross_entropy, mse_loss, nll_loss
from minires.functional.norm import batch_norm
from minires.functional.padding import pad
from minires.functional.pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from minires.functional.reduce import amax, amin, logsumexp, max, mean, min, std, sum, var
from minires.functional.selection import clamp, maximum, minimum, where
from minires.functional.shape import (
    broadcast_to,
    cat,
    expand,
    flatten,
    permute,
    reshape,
    squeeze,
    stack,
    transpose,
    unsqueeze,
)

__all__ = [
    "abs",
    "adaptive_avg_pool2d",
    "add",
    "amax",
    "amin",
    "avg_pool2d",
    "batch_norm",
    "broadcast_to",
    "cat",
    "clamp",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "div",
    "dropout",
    "exp",
    "expand",
    "flatten",
    "gelu",
    "leaky_relu",
    "linear",
    "log",
    "log_softmax",
    "logsumexp",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mse_loss",
    "mul",
    "neg",
    "nll_loss",
    "pad",
    "permute",
    "pow",
    "relu",
    "reshape",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "sqrt",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "tanh",
    "transpose",
    "unsqueeze",
    "var",
    "where",
]
