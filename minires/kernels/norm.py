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

from typing import Any

from minires.device import Array, array_module
from minires.kernels.checks import check_batch_norm, check_grad_out
from minires.kernels.parallel import map_chunks

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
    planes = _planes(x)  # (N, C, L)
    L = planes.shape[2]
    if not x.size:
        zeros = array_module(x).zeros(x.shape[1], dtype=x.dtype)
        return zeros, zeros.copy()

    def moments(piece: slice) -> tuple[int, Array, Array]:
        part = planes[piece]
        count = part.shape[0] * L
        mean = _channel_sum(part) / count
        deviation = part - mean[:, None]
        rest = _channel_sum(deviation) / count  # 0, but for what rounding took from the mean
        deviation *= deviation
        squares = _channel_sum(deviation) - count * rest * rest
        return count, mean + rest, squares.clip(min=0)  # rounding could leave -0.0000001

    parts = map_chunks(moments, len(planes), _bytes_each(planes))
    count, origin, squares = parts[0]
    mean = 0.0  # counted from origin: small numbers, which lose nothing when they are added
    for count_b, mean_b, squares_b in parts[1:]:
        total = count + count_b
        delta = (mean_b - origin) - mean
        mean = mean + delta * (count_b / total)
        squares = squares + squares_b + delta * delta * (count * count_b / total)
        count = total
    return origin + mean, squares / count


def batch_norm(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
) -> Array:
    """Normalise with the given statistics, then scale and shift.

        out = (x - mean) * scale + bias,    scale = weight / sqrt(var + eps)

    Args:
        x: (N, C) or (N, C, ...).
        mean, var: (C,): of this batch in training, the running ones in evaluation.
        weight, bias: (C,) or None for 1 and 0.
        eps: keeps the root away from zero.

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
    planes = _planes(x)
    scale = _scale(var, weight, eps)[:, None]
    mean = mean[:, None]
    out = array_module(x).empty(planes.shape, dtype=_widest(x, mean, scale, bias))

    def work(piece: slice) -> None:
        part = out[piece]
        array_module(x).subtract(planes[piece], mean, out=part)
        part *= scale
        if bias is not None:
            part += bias[:, None]

    map_chunks(work, len(planes), _bytes_each(planes))
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
    planes, grads = _planes(x), _planes(grad_out)
    m = planes.shape[0] * planes.shape[2]
    inverse_std = 1.0 / xp.sqrt(var + eps)
    scale = _scale(var, weight, eps)[:, None]
    dtype = _widest(grad_out, x, mean, scale)
    if not x.size:
        zeros = xp.zeros(x.shape[1], dtype=dtype)
        return xp.zeros(x.shape, dtype=dtype), zeros, zeros.copy()

    def sums(piece: slice) -> tuple[Array, Array]:
        deviation = xp.subtract(planes[piece], mean[:, None], dtype=dtype)
        deviation *= grads[piece]
        return _channel_sum(grads[piece]).astype(dtype, copy=False), _channel_sum(deviation)

    bytes_each = 2 * _bytes_each(planes)
    parts = map_chunks(sums, len(planes), bytes_each)
    grad_bias, grad_weight = parts[0]
    for part_bias, part_weight in parts[1:]:
        grad_bias = grad_bias + part_bias
        grad_weight = grad_weight + part_weight
    grad_weight = grad_weight * inverse_std

    grad_x = xp.empty(planes.shape, dtype=dtype)
    # scale * (g - grad_bias/m - (x - mean)*inverse_std*grad_weight/m)  =  scale*g + slope*x + shift
    slope = -scale * (inverse_std * grad_weight / m)[:, None]
    shift = -scale * (grad_bias / m)[:, None]

    def work(piece: slice) -> None:
        part = grad_x[piece]
        if training:
            xp.subtract(planes[piece], mean[:, None], out=part)
            part *= slope
            part += shift
            part += grads[piece] * scale
        else:
            xp.multiply(grads[piece], scale, out=part)

    map_chunks(work, len(planes), bytes_each)
    return grad_x.reshape(x.shape), grad_weight, grad_bias


def _planes(x: Array) -> Array:
    """(N, C, ...) as (N, C, L)."""
    return x.reshape(x.shape[0], x.shape[1], -1) if x.size else x.reshape(*x.shape[:2], 0)


def _channel_sum(part: Array) -> Array:
    """(n, C, L) -> (C,): first over the images, in long contiguous runs, then over the plane."""
    return part.sum(axis=0).sum(axis=-1)


def _scale(var: Array, weight: Array | None, eps: float) -> Array:
    inverse_std = 1.0 / array_module(var).sqrt(var + eps)
    return inverse_std if weight is None else inverse_std * weight


def _widest(*arrays: Array | None) -> Any:
    given = [array for array in arrays if array is not None]
    return array_module(given[0]).result_type(*given)


def _bytes_each(planes: Array) -> int:
    return int(2 * planes.itemsize * planes.shape[1] * planes.shape[2])
