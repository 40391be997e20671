"""Batch normalisation, each channel over the batch and the plane, in chunks of the batch.

Ioffe and Szegedy 2015, algorithm 1.  With m = N*H*W numbers a channel:

    mean = sum x / m          var = sum (x - mean)^2 / m          (biased)
    x_hat = (x - mean) / sqrt(var + eps)
    out = weight * x_hat + bias

Chunks give their own mean and their own sum of squared deviations, in two passes, of which the
second also corrects the mean for the rounding of the first; they are then combined by the rule of
Chan, Golub and LeVeque (1979), always in the order of the chunks.  So numbers far from zero keep
the accuracy of their dtype, without a pass in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minires.device import Array, array_module
from minires.kernels.checks import check_batch_norm, check_grad_out
from minires.kernels.parallel import map_chunks, scratch

__all__ = ["batch_norm", "batch_norm_grad", "batch_norm_stats"]


def batch_norm_stats(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel.

    Args:
        x: (N, C) or (N, C, ...).

    Returns:
        mean (C,) and var (C,), in the dtype of ``x``.

    >>> import numpy as np
    >>> batch_norm_stats(np.array([[1.0, 5.0], [3.0, 5.0]]))
    (array([2., 5.]), array([1., 0.]))
    """
    check_batch_norm(x, operation="batch_norm_stats")
    if not x.size:
        zeros = array_module(x).zeros(x.shape[1], dtype=x.dtype)
        return zeros, zeros.copy()
    C = x.shape[1]
    rows = _laid_out(x)
    L = rows[0].size // C

    def moments(piece: slice) -> tuple[int, Array, Array]:
        part = rows[piece]
        count = part.shape[0] * L
        mean = (_channel_sum(part, C) / count).astype(x.dtype)
        deviation = _deviation(part, _beside(mean, part), x.dtype)
        rest = _channel_sum(deviation, C) / count  # 0, but for what rounding took from the mean
        squares = _channel_dot(deviation, deviation, C) - count * rest * rest
        return count, mean + rest, squares.clip(min=0)  # rounding could leave -0.0000001

    parts = map_chunks(moments, len(rows), 2 * rows.itemsize * C * L, blas=True)
    count, origin, squares = parts[0]
    mean = 0.0  # counted from origin: small numbers, which lose nothing when they are added
    for count_b, mean_b, squares_b in parts[1:]:
        total = count + count_b
        delta = (mean_b - origin) - mean
        mean = mean + delta * (count_b / total)
        squares = squares + squares_b + delta * delta * (count * count_b / total)
        count = total
    return (origin + mean).astype(x.dtype), (squares / count).astype(x.dtype)


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

    Args:
        x: (N, C) or (N, C, ...).
        mean, var: (C,): of this batch in training, the running ones in evaluation.
        weight, bias: (C,) or None for 1 and 0.
        eps: keeps the root away from zero.
        training: in evaluation one multiplication and one addition do, in training x - mean is
            taken first, which is more exact where the mean is far from 0.

    Returns:
        An array of the shape of ``x``, in the widest dtype of all that was given.

    Raises:
        ShapeError: ``mean``, ``var``, ``weight`` or ``bias`` is not (C,).
        DTypeError: an array is not floating.

    >>> import numpy as np
    >>> batch_norm(np.array([[1.0], [3.0]]), np.array([2.0]), np.array([1.0]), eps=0.0)
    array([[-1.],
           [ 1.]])
    """
    check_batch_norm(x, mean=mean, var=var, weight=weight, bias=bias)
    xp = array_module(x)
    rows = _laid_out(x)
    scale = _scale(var, weight, eps)
    out = xp.empty(rows.shape, dtype=_widest(x, mean, scale, bias))
    if not training:  # scale*x + shift; in training mean may be far from 0, and would cancel here
        mean, bias = None, -mean * scale if bias is None else bias - mean * scale
    scale, mean, bias = (v if v is None else _beside(v, rows) for v in (scale, mean, bias))

    def work(piece: slice) -> None:
        part = rows[piece]
        if mean is not None:
            part = xp.subtract(part, mean, out=out[piece])
        part = xp.multiply(part, scale, out=out[piece])
        if bias is not None:
            part += bias

    map_chunks(work, len(rows), 2 * out.itemsize * math.prod(x.shape[1:]))
    return out.reshape(x.shape)


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

    The two subtracted terms are what mean and var, themselves functions of x, send back; in
    evaluation they are constants.

    Args:
        grad_out: like x.
        x: the input of the forward pass, (N, C) or (N, C, ...).
        mean, var, weight, eps: as the forward pass had them.
        training: whether mean and var were those of ``x``.

    Returns:
        grad_x (shape of x), grad_weight (C,), grad_bias (C,), in the widest dtype that was given.

    Raises:
        ShapeError, DTypeError: as batch_norm does, and for a grad_out that is not like ``x``.

    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> mean, var = batch_norm_stats(x)
    >>> batch_norm_grad(np.array([[1.0], [0.0]]), x, mean, var, eps=0.0)[0]
    array([[0.],
           [0.]])
    """
    check_batch_norm(x, operation="batch_norm_grad", mean=mean, var=var, weight=weight)
    check_grad_out("batch_norm_grad", grad_out, x.shape)
    xp = array_module(x)
    C = x.shape[1]
    inverse_std = _scale(var, None, eps)
    scale = inverse_std if weight is None else inverse_std * weight
    dtype = _widest(grad_out, x, mean, scale)
    if not x.size:
        zeros = xp.zeros(C, dtype=dtype)
        return xp.zeros(x.shape, dtype=dtype), zeros, zeros.copy()
    rows, grads = _laid_out(x), _laid_out(grad_out)
    m = x.size // C
    mean = _beside(mean, rows)

    def sums(piece: slice) -> tuple[Array, Array]:
        deviation = _deviation(rows[piece], mean, dtype)
        return _channel_sum(grads[piece], C), _channel_dot(deviation, grads[piece], C)

    bytes_each = 4 * dtype.itemsize * rows[0].size
    parts = map_chunks(sums, len(rows), bytes_each, blas=True)
    grad_bias, grad_weight = parts[0]
    for part_bias, part_weight in parts[1:]:
        grad_bias = grad_bias + part_bias
        grad_weight = grad_weight + part_weight
    grad_bias = grad_bias.astype(dtype)
    grad_weight = grad_weight.astype(dtype) * inverse_std

    # scale * (g - grad_bias/m - (x - mean)*inverse_std*grad_weight/m)
    #     = scale*g + ((x - mean)*slope + shift)
    slope = _beside(-scale * (inverse_std * grad_weight / m), rows)
    shift = _beside(-scale * (grad_bias / m), rows)
    scale = _beside(scale, rows)
    grad_x = xp.empty(rows.shape, dtype=dtype)

    def work(piece: slice) -> None:
        part = grad_x[piece]
        xp.multiply(grads[piece], scale, out=part)
        if training:
            through_statistics = scratch(part, "statistics", part.shape, dtype)
            xp.subtract(rows[piece], mean, out=through_statistics)
            through_statistics *= slope
            through_statistics += shift
            part += through_statistics

    map_chunks(work, len(rows), bytes_each)
    return grad_x.reshape(x.shape), grad_weight, grad_bias


# NumPy's inner loop runs over the last axis.  Where images are large that is a plane, beside one
# number of its channel; where they are small it is a whole image, beside per-channel numbers that
# are repeated for every place of the plane and stay in the cache.

LARGE_IMAGE = 1 << 15  # numbers; measured
LONG_PLANE = 32  # places from which a scalar product for every plane pays; measured


def _laid_out(x: Array) -> Array:
    """(N, C, ...) as (N, C*L), or as (N, C, L) where images are large."""
    N, C = x.shape[:2]
    L = math.prod(x.shape[2:])
    return x.reshape(N, C, L) if C * L > LARGE_IMAGE else x.reshape(N, C * L)


def _beside(per_channel: Array, rows: Array) -> Array:
    """Per-channel numbers (C,) as they meet what :func:`_laid_out` gave."""
    if rows.ndim == 3:
        return per_channel[:, None]
    return array_module(rows).repeat(per_channel, rows.shape[1] // max(1, len(per_channel)))


def _deviation(part: Array, mean: Array, dtype: Any) -> Array:
    """part - mean, which lies beside it, in memory of this thread."""
    deviation = scratch(part, "deviation", part.shape, dtype)
    array_module(part).subtract(part, mean, out=deviation)
    return deviation


def _channel_sum(part: Array, C: int) -> Array:
    """Over images and plane, (C,): one way round or the other a product with ones, for BLAS."""
    part = part.astype(np.promote_types(part.dtype, np.float32), copy=False)  # float16 overflows
    ones = array_module(part).ones
    n, L = len(part), part[0].size // C
    if part.ndim == 3:
        by_plane = part.reshape(n * C, L) @ ones(L, part.dtype)
        return by_plane.reshape(n, C).sum(axis=0, dtype=np.float64)
    by_place = ones(n, part.dtype) @ part
    return by_place.reshape(C, L).sum(axis=1, dtype=np.float64)


def _channel_dot(a: Array, b: Array, C: int) -> Array:
    """sum a*b over images and plane, (C,); ``a`` may be overwritten."""
    a = a.astype(np.promote_types(a.dtype, np.float32), copy=False)
    L = a[0].size // C
    if L >= LONG_PLANE:
        a, b = (each.reshape(len(each), C, L) for each in (a, b))
        by_plane = np.vecdot(a, b) if isinstance(a, np.ndarray) else (a * b).sum(axis=2)
        return by_plane.sum(axis=0, dtype=np.float64)
    a *= b
    return _channel_sum(a, C)


def _scale(var: Array, weight: Array | None, eps: float) -> Array:
    inverse_std = 1.0 / array_module(var).sqrt(var + eps)
    return inverse_std if weight is None else inverse_std * weight


def _widest(*arrays: Array | None) -> Any:
    given = [array for array in arrays if array is not None]
    return array_module(given[0]).result_type(*given)
