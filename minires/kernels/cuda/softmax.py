"""Softmax and cross-entropy on a GPU: softmax.cu bound to arrays."""

from __future__ import annotations

import math

import numpy as np

from minires.device import Array, array_module, check_same_device
from minires.kernels.checks import check_cross_entropy, check_grad_out, check_softmax
from minires.kernels.cuda.launcher import THREADS, Source, blocks_for, ready
from minires.kernels.softmax import cross_entropy_grad as by_array_code

__all__ = ["cross_entropy", "cross_entropy_grad", "log_softmax", "softmax"]

_SOURCE = Source("softmax.cu")
_WARP = 32
_LONG = 1024  # rows of more numbers are read by a whole block


def softmax(x: Array, axis: int = -1) -> Array:
    """Positive numbers that sum to 1 along an axis.  As :func:`minires.kernels.softmax`."""
    check_softmax("softmax", x, axis)
    return _along(x, axis, logarithm=False)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """The logarithm of softmax.  As :func:`minires.kernels.log_softmax`."""
    check_softmax("log_softmax", x, axis)
    return _along(x, axis, logarithm=True)


def cross_entropy(logits: Array, target: Array, ignore_index: int = -100) -> Array:
    """The loss of each sample (N,).  As :func:`minires.kernels.cross_entropy`.

    But a class that ``logits`` does not have is no error, since to look for one is to wait for
    the GPU: the loss of its sample is NaN.

    Raises:
        DeviceError: the arrays are on two devices.
    """
    check_same_device("cross_entropy", logits=logits, target=target)
    check_cross_entropy(logits, target, ignore_index)
    N, C = logits.shape
    losses = array_module(logits).empty(N, logits.dtype)
    if N:
        members, given = _members(C), (ready(logits), ready(target, np.int64), losses)
        sizes = N, C, members, int(ignore_index)
        _SOURCE.launch("cross_entropy", logits.dtype, blocks_for(N * members), *given, *sizes)
    return losses


def cross_entropy_grad(
    grad_losses: Array, logits: Array, target: Array, ignore_index: int = -100
) -> Array:
    """Gradient by the logits (N, C).  As :func:`minires.kernels.cross_entropy_grad`.

    But a class that ``logits`` does not have is no error: the gradient of its sample is NaN.

    Raises:
        DeviceError: the arrays are on two devices.
    """
    name, dtype = "cross_entropy_grad", logits.dtype
    check_same_device(name, grad_losses=grad_losses, logits=logits, target=target)
    if dtype.char not in "fd":  # float16 logits; the ladder has looked at grad_losses alone
        return by_array_code(grad_losses, logits, target, ignore_index)
    check_cross_entropy(logits, target, ignore_index, operation=name)
    check_grad_out(name, grad_losses, target.shape, "grad_losses")
    N, C = logits.shape
    grad_logits = array_module(logits).empty(logits.shape, dtype)
    if N and C:
        members = _members(C)
        given = ready(grad_losses, dtype), ready(logits), ready(target, np.int64), grad_logits
        sizes = N, C, members, int(ignore_index)
        _SOURCE.launch(name, dtype, blocks_for(N * members), *given, *sizes)
    return grad_logits


def _along(x: Array, axis: int, logarithm: bool) -> Array:
    out = array_module(x).empty(x.shape, x.dtype)
    if x.size:
        shape = x.shape or (1,)  # a single number is one row of one
        C, inner = shape[axis], math.prod(shape[axis % len(shape) + 1 :])
        rows, members = x.size // C, _members(C, inner)
        sizes = rows, C, inner, members
        blocks = blocks_for(rows * members)
        _SOURCE.launch("softmax", x.dtype, blocks, ready(x), out, *sizes, logarithm)
    return out


def _members(C: int, inner: int = 1) -> int:
    """Threads for a row of ``C`` numbers that lie ``inner`` apart: by the shape alone."""
    if inner >= _WARP:  # a warp reads the same number of 32 rows at once
        return 1
    return _WARP if C <= _LONG else THREADS
