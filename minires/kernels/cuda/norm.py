"""Batch normalisation on a GPU: norm.cu, called as minires.kernels.norm is.

    (N, C, L), m = N*L numbers a channel       arrays read and written
    batch_norm_stats                           x
    batch_norm                                 x, out
    batch_norm_grad    sums                    grad_out, x
                       grad_x in training      grad_out, x, grad_x
                       grad_x in evaluation    grad_out, grad_x

Each once; what lies beside is a few numbers for each channel.  Sums have the same bits each time
that the shapes and the alignment of the arrays are the same.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from minires.device import Array, array_module, check_same_device
from minires.kernels.checks import check_batch_norm, check_grad_out
from minires.kernels.cuda.launcher import THREADS, Source, blocks_for, ready

__all__ = ["batch_norm", "batch_norm_grad", "batch_norm_stats", "batch_norm_train"]

LONG_PLANE = 32  # from here on the 32 numbers that a warp reads at once lie in one or two runs
MOST_SPLITS = 256  # of a channel: fills a large card, and leaves 8 parts for each lane that merges
SIDE, TEAMS = 32, 8  # as in norm.cu

_source = Source("norm.cu")


def batch_norm_stats(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel, in one pass over memory.

    As :func:`minires.kernels.norm.batch_norm_stats`.  What threads and blocks found is merged by
    the rule of Chan, Golub and LeVeque (1979), so a mean far from 0 costs no digits.

    Args:
        x: (N, C) or (N, C, ...), float32 or float64.

    Returns:
        mean (C,) and var (C,), in the dtype of ``x``; zeros for an empty batch.
    """
    check_batch_norm(x, operation="batch_norm_stats")
    xp = array_module(x)
    N, C, L = _sizes(x)
    if not x.size:
        return xp.zeros(C, dtype=x.dtype), xp.zeros(C, dtype=x.dtype)
    mean, var = (xp.empty(C, dtype=x.dtype) for _ in range(2))
    cut = _cut(N, C, L)
    parts = xp.empty(3 * cut.splits * C * cut.width, dtype=np.float64)
    _source.launch(
        f"stats_{cut.way}",
        x.dtype,
        cut.blocks,
        *(ready(x), parts, N, C, L, cut.splits),
        threads=cut.threads,
    )
    _source.launch(
        "merge_stats", x.dtype, blocks_for(32 * C), parts, mean, var, C, cut.width, cut.splits
    )
    return mean, var


def batch_norm_train(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """:func:`batch_norm` with the statistics of the batch, and these: out, mean, var."""
    check_batch_norm(x, operation="batch_norm_train", weight=weight, bias=bias)
    mean, var = batch_norm_stats(x)
    return batch_norm(x, mean, var, weight, bias, eps=eps), mean, var


def batch_norm(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    training: bool = True,
) -> Array:
    """Normalise with the given statistics, then scale and shift.

        out = (x - mean) * scale + bias,    scale = weight / sqrt(var + eps)

    As :func:`minires.kernels.norm.batch_norm`, with its arguments, result and errors.  The exact
    way round costs a GPU nothing, so it is taken in evaluation too, and ``training`` changes
    nothing here.

    Raises:
        DeviceError: the arrays are on different devices.
    """
    check_batch_norm(x, mean=mean, var=var, weight=weight, bias=bias)
    check_same_device("batch_norm", x=x, mean=mean, var=var, weight=weight, bias=bias)
    dtype = _widest(x, mean, var, weight, bias)
    out = array_module(x).empty(x.shape, dtype=dtype)
    if out.size:
        N, C, L = _sizes(x)
        given = [v if v is None else ready(v, dtype) for v in (x, mean, var, weight, bias)]
        blocks = blocks_for(out.size, each=16 // dtype.itemsize)
        _source.launch("batch_norm", dtype, blocks, *given, out, N, C, L, float(eps))
    return out


def batch_norm_grad(
    grad_out: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    *,
    eps: float = 1e-5,
    training: bool = True,
) -> tuple[Array, Array, Array]:
    """The gradients by x, weight and bias.

        grad_bias   = sum grad_out
        grad_weight = sum grad_out * x_hat
        grad_x      = scale * (grad_out - grad_bias/m - x_hat * grad_weight/m)     in training
        grad_x      = scale * grad_out                                             in evaluation

    As :func:`minires.kernels.norm.batch_norm_grad`, with its arguments, results and errors.

    Raises:
        DeviceError: the arrays are on different devices.
    """
    check_batch_norm(x, operation="batch_norm_grad", mean=mean, var=var, weight=weight)
    check_grad_out("batch_norm_grad", grad_out, x.shape)
    check_same_device("batch_norm_grad", grad_out=grad_out, x=x, mean=mean, var=var, weight=weight)
    xp = array_module(x)
    dtype = _widest(grad_out, x, mean, var, weight)
    N, C, L = _sizes(x)
    if not x.size:
        zeros = xp.zeros(C, dtype=dtype)
        return xp.zeros(x.shape, dtype=dtype), zeros, zeros.copy()
    grad_out, x, mean, var = (ready(array, dtype) for array in (grad_out, x, mean, var))
    weight = None if weight is None else ready(weight, dtype)
    grad_x, grad_weight, grad_bias, coefficients = (
        xp.empty(shape, dtype=dtype) for shape in (x.shape, C, C, 3 * C)
    )
    cut = _cut(N, C, L)
    parts = xp.empty(2 * cut.splits * C * cut.width, dtype=np.float64)
    _source.launch(
        f"sums_{cut.way}",
        dtype,
        cut.blocks,
        *(grad_out, x, mean, parts, N, C, L, cut.splits),
        threads=cut.threads,
    )
    _source.launch(
        "merge_sums",
        dtype,
        blocks_for(32 * C),
        *(parts, var, weight, grad_weight, grad_bias, coefficients),
        *(C, cut.width, cut.splits, N * L, float(eps)),
    )
    _source.launch(
        "batch_norm_grad_x",
        dtype,
        blocks_for(x.size, each=16 // dtype.itemsize),
        *(grad_out, x if training else None, mean, coefficients, grad_x, N, C, L),
    )
    return grad_x, grad_weight, grad_bias


class _Cut(NamedTuple):
    """How the sums over channels are shared out among blocks; the shapes alone decide it."""

    way: str  # the end of the kernel's name
    splits: int  # shares of each channel, or of each 32 columns
    width: int  # columns of a channel
    blocks: int
    threads: int | tuple[int, ...]


def _cut(N: int, C: int, L: int) -> _Cut:
    by_plane = L >= LONG_PLANE
    tiles = C if by_plane else -(-C * L // SIDE)
    splits = max(1, min(MOST_SPLITS, blocks_for(N * C * L, each=8) // tiles))
    if by_plane:
        return _Cut("by_plane", splits, 1, tiles * splits, THREADS)
    return _Cut("by_column", splits, L, tiles * splits, (SIDE, TEAMS))


def _sizes(x: Array) -> tuple[int, int, int]:
    """N, C and L, the numbers of a plane."""
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _widest(*arrays: Array | None) -> np.dtype[Any]:
    return np.result_type(*(array.dtype for array in arrays if array is not None))
