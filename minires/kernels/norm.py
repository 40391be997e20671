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
from typing import Any, NamedTuple

import numpy as np

from minires.device import Array, array_module
from minires.kernels import parallel
from minires.kernels.checks import check_batch_norm, check_grad_out
from minires.kernels.layout import empty_images_last, lies_images_last, side_by_side
from minires.kernels.parallel import chunks, map_chunks, map_pieces, scratch

__all__ = ["batch_norm", "batch_norm_grad", "batch_norm_stats", "batch_norm_train"]


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
    rows = _laid_out(x, _in_one_row(x))

    def moments(piece: slice) -> _Moments:
        return _moments(rows[piece], x.shape[1], scratch(rows, "x", rows[piece].shape, x.dtype))

    parts = map_chunks(moments, len(rows), _bytes_each(rows, 2), blas=True)
    mean, var = _combined(parts)
    return mean.astype(x.dtype), var.astype(x.dtype)


def batch_norm_train(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """:func:`batch_norm` with the statistics of the batch, and these.

    For its variance each chunk takes its own mean from x.  What is left is kept, in the place of
    the output, and what the mean of the chunk is off that of the batch is part of the shift.

    Args:
        x: (N, C) or (N, C, ...).
        weight, bias: (C,) or None.
        eps: added to the variance.

    Returns:
        out like x, mean (C,) and var (C,).

    Raises:
        ShapeError, DTypeError: as batch_norm does.

    >>> import numpy as np
    >>> batch_norm_train(np.array([[1.0], [3.0]]), eps=0.0)
    (array([[-1.],
           [ 1.]]), array([2.]), array([1.]))
    """
    check_batch_norm(x, operation="batch_norm_train", weight=weight, bias=bias)
    last = _in_one_row(x)
    out = _empty(x, _widest(x, weight, bias), last)
    if not x.size:
        return out, *batch_norm_stats(x)
    rows, into = _laid_out(x, last), _laid_out(out, last)
    pieces = chunks(len(rows), _bytes_each(rows, 2))

    def moments(piece: slice) -> _Moments:
        return _moments(rows[piece], x.shape[1], into[piece])

    parts = map_pieces(moments, pieces, blas=True)
    mean, var = _combined(parts)
    var = var.astype(x.dtype)
    scale = _scale(_inverse_std(var, eps), weight)
    scale_beside = _beside(scale, rows)

    def finish(number: int) -> None:
        shift = (parts[number].mean - mean) * scale
        if bias is not None:
            shift += bias
        part, shift = into[pieces[number]], _beside(shift.astype(out.dtype), rows)
        with _short_buffers(part):
            part *= scale_beside
            part += shift

    map_pieces(finish, list(range(len(pieces))))
    return out, mean.astype(x.dtype), var


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
    last = _in_one_row(x)
    rows = _laid_out(x, last)
    scale = _scale(_inverse_std(var, eps), weight)
    out = _empty(x, _widest(x, mean, scale, bias), last)
    into = _laid_out(out, last)
    if not training:  # scale*x + shift; in training mean may be far from 0, and would cancel here
        mean, bias = None, -mean * scale if bias is None else bias - mean * scale
    scale, mean, bias = (v if v is None else _beside(v, rows) for v in (scale, mean, bias))

    def work(piece: slice) -> None:
        part = rows[piece]
        with _short_buffers(part):
            if mean is not None:
                part = xp.subtract(part, mean, out=into[piece])
            part = xp.multiply(part, scale, out=into[piece])
            if bias is not None:
                part += bias

    map_chunks(work, len(rows), _bytes_each(into, 2))
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
    inverse_std = _inverse_std(var, eps)
    scale = _scale(inverse_std, weight)
    dtype = _widest(grad_out, x, mean, scale)
    if not x.size:
        zeros = xp.zeros(C, dtype=dtype)
        return xp.zeros(x.shape, dtype=dtype), zeros, zeros.copy()
    last = _in_one_row(x)
    rows, grads = _laid_out(x, last), _laid_out(grad_out, last)
    grad_x = _empty(x, dtype, last)
    into = _laid_out(grad_x, last)
    pieces = chunks(len(rows), _bytes_each(into, 4))
    mean = _beside(mean.astype(dtype, copy=False), rows)

    def sums(piece: slice) -> tuple[Array, Array]:
        deviation = into[piece]  # x - mean, for now
        with _short_buffers(deviation):
            xp.subtract(rows[piece], mean, out=deviation)
        g = grads[piece]
        return _channel_sum(g, C), _channel_dot(deviation, g, C)

    parts = map_pieces(sums, pieces, blas=True)
    grad_bias, grad_weight = parts[0]
    for part_bias, part_weight in parts[1:]:
        grad_bias = grad_bias + part_bias
        grad_weight = grad_weight + part_weight
    grad_bias = grad_bias.astype(dtype)
    grad_weight = grad_weight.astype(dtype) * inverse_std

    # scale * (g - grad_bias/m - (x - mean)*inverse_std*grad_weight/m)
    #     = scale*g + ((x - mean)*slope + shift)
    m = x.size // C
    slope = _beside(-scale * (inverse_std * grad_weight / m), rows)
    shift = _beside(-scale * (grad_bias / m), rows)
    scale = _beside(scale, rows)

    def finish(piece: slice) -> None:
        part, g = into[piece], grads[piece]
        with _short_buffers(part):
            if not training:
                xp.multiply(g, scale, out=part)
                return
            part *= slope
            part += shift
            part += xp.multiply(g, scale, out=scratch(part, "scaled", part.shape, dtype))

    map_pieces(finish, pieces)
    return grad_x, grad_weight, grad_bias


# NumPy's inner loop runs over the last axis.  Where images are large that is a plane, beside one
# number of its channel; where they are small it is a whole image, beside per-channel numbers that
# are repeated for every place of the plane and stay in the cache.  Images last, a channel of the
# whole batch is one run, and counts as the plane of a single image.

LARGE_IMAGE = 1 << 15  # numbers; measured
LONG_RUN = 512  # places from which a plane pays as the inner loop in any image; measured
LONG_PLANE = 32  # places from which a scalar product for every plane pays; measured


def _in_one_row(x: Array) -> bool:
    """Whether a channel of ``x`` is one run and ``x`` fits a chunk; larger is cut by images."""
    return lies_images_last(x) and x.nbytes <= parallel.CHUNK_BYTES


def _empty(x: Array, dtype: Any, last: bool) -> Array:
    """Memory like ``x`` that :func:`_laid_out` can show."""
    return empty_images_last(x.shape, dtype) if last else array_module(x).empty(x.shape, dtype)


def _laid_out(x: Array, last: bool) -> Array:
    """(N, C, ...) as (N, C*L), or as (N, C, L) where images are large; images last (1, C, L*N)."""
    N, C = x.shape[:2]
    L = math.prod(x.shape[2:])
    if last:
        return side_by_side(x).reshape(1, C, L * N)
    by_plane = C * L > LARGE_IMAGE or L >= LONG_RUN
    return x.reshape(N, C, L) if by_plane else x.reshape(N, C * L)


class _short_buffers:
    """Let NumPy go along each plane of ``rows`` in one loop, where planes are long.

    Beside one number for each plane NumPy would fill a buffer of 8192 numbers with copies of it
    wherever a plane is shorter, to loop over several at once; that takes as long as the arithmetic.
    It does not where the buffer is shorter than the plane.
    """

    __slots__ = ("_usual", "_wanted")

    def __init__(self, rows: Array):
        self._wanted = rows.ndim == 3 and rows.shape[2] >= LONG_RUN and isinstance(rows, np.ndarray)

    def __enter__(self) -> None:
        if self._wanted:
            self._usual = np.setbufsize(SHORT_BUFFER)

    def __exit__(self, *error: object) -> None:
        if self._wanted:
            np.setbufsize(self._usual)


SHORT_BUFFER = 128  # numbers


def _beside(per_channel: Array, rows: Array) -> Array:
    """Per-channel numbers (C,) as they meet what :func:`_laid_out` gave."""
    if rows.ndim == 3:
        return per_channel[:, None]
    return array_module(rows).repeat(per_channel, rows.shape[1] // max(1, len(per_channel)))


def _bytes_each(rows: Array, arrays: int) -> int:
    """Bytes of one image in so many arrays, counted by half.

    The calls of these kernels are short, and threads that hand over to each other so often pay only
    where chunks are of 8 MB.
    """
    return arrays * int(rows.nbytes) // max(1, 2 * len(rows))


class _Moments(NamedTuple):
    """Of each channel of a chunk; its mean is mean + rest."""

    size: int  # numbers
    mean: Array
    rest: Array  # 0, but for what rounding took from the mean
    squares: Array  # the sum of the squared deviations


def _moments(part: Array, C: int, deviation: Array) -> _Moments:
    """The moments of a chunk; ``deviation`` receives part - mean."""
    xp = array_module(part)
    count = part.size // C
    mean = (_channel_sum(part, C) / count).astype(part.dtype)
    with _short_buffers(part):
        xp.subtract(part, _beside(mean, part), out=deviation)
    rest = _channel_sum(deviation, C) / count
    squares = _channel_dot(deviation, deviation, C) - count * rest * rest
    return _Moments(count, mean, rest, xp.maximum(squares, 0))  # rounding could leave -0.0000001


def _combined(parts: list[_Moments]) -> tuple[Array, Array]:
    """Mean and variance of all chunks, in float64."""
    count, origin, rest, squares = parts[0]
    mean = rest  # counted from origin: small numbers, which lose nothing when they are added
    for part in parts[1:]:
        total = count + part.size
        delta = (part.mean - origin.astype(np.float64)) + part.rest - mean
        mean = mean + delta * (part.size / total)
        squares = squares + part.squares + delta * delta * (count * part.size / total)
        count = total
    return origin + mean, squares / count


def _channel_sum(part: Array, C: int) -> Array:
    """Over images and plane, (C,): one way round or the other a product with ones, for BLAS."""
    part = _wide(part)
    n, L = len(part), part.size // (len(part) * C)
    if part.ndim == 3:
        by_plane = part.reshape(n * C, L) @ _ones(part, L)
        return _over_images(by_plane.reshape(n, C))
    by_place = _ones(part, n) @ part
    return by_place.reshape(C, L).sum(axis=1, dtype=np.float64)


def _channel_dot(a: Array, b: Array, C: int) -> Array:
    """sum a*b over images and plane, (C,)."""
    a = _wide(a)
    n, L = len(a), a.size // (len(a) * C)
    if L >= LONG_PLANE:
        a, b = (each.reshape(n, C, L) for each in (a, b))
        by_plane = np.vecdot(a, b) if isinstance(a, np.ndarray) else (a * b).sum(axis=2)
        return _over_images(by_plane)
    product = scratch(a, "product", a.shape, a.dtype)
    array_module(a).multiply(a, b, out=product)
    return _channel_sum(product, C)


def _over_images(by_image: Array) -> Array:
    """(n, C) summed up in float64, (C,)."""
    if len(by_image) == 1:
        return by_image[0].astype(np.float64)
    return by_image.sum(axis=0, dtype=np.float64)


def _wide(part: Array) -> Array:
    """In float32 at least: the sums of float16 would overflow."""
    return part if part.itemsize > 2 else part.astype(np.float32)


def _ones(like: Array, length: int) -> Array:
    return scratch(like, "ones", (length,), like.dtype, make=np.ones)


def _inverse_std(var: Array, eps: float) -> Array:
    return 1.0 / array_module(var).sqrt(var + eps)


def _scale(inverse_std: Array, weight: Array | None) -> Array:
    return inverse_std if weight is None else inverse_std * weight


def _widest(*arrays: Array | None) -> Any:
    given = [array for array in arrays if array is not None]
    return array_module(given[0]).result_type(*given)
