"""Pooling on a GPU: the functions of :mod:`minires.kernels.pool`, by the kernels of pool.cu.

Nothing here waits for the device.  So an index outside its plane, which the CPU refuses, is not
found in time: it gives NaN, and nothing outside is ever read or written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.device import Array, array_module, check_same_device
from minires.kernels.checks import check_floating, check_grad_out, check_indices
from minires.kernels.cuda import launcher
from minires.kernels.geometry import Pair, PoolGeometry, check_adaptive_pool2d, check_pool2d

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad_input",
    "avg_pool2d",
    "avg_pool2d_grad_input",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_grad_input",
]

_kernels = launcher.Source("pool.cu")
_FIELDS = ("H", "W", "OH", "OW", "KH", "KW", "SH", "SW", "PH", "PW", "DH", "DW")
_WINDOW = np.dtype([(name, np.int64) for name in _FIELDS])
_WARP_MEAN_PIXELS = 1024  # of a plane, at most, for one warp: 32 numbers a lane


def max_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """The largest value in each window, and where it was: bit for bit kernels.pool.max_pool2d.

    x (N, C, H, W) is read once from memory; returns out and int64 indices (N, C, OH, OW).  Raises
    as kernels.pool.max_pool2d does.
    """
    window = check_pool2d("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    xp = array_module(x)
    out = xp.empty((*x.shape[:2], *window.out), x.dtype)
    indices = xp.empty(out.shape, np.int64)
    planes = math.prod(x.shape[:2])
    given = launcher.ready(x), planes, _as_struct(window, x.shape), out, indices
    _launch("max_pool2d", out, *given)
    return out, indices


def max_pool2d_grad_input(
    grad_out: Array,
    indices: Array,
    x_shape: tuple[int, ...],
    window: PoolGeometry | None = None,
) -> Array:
    """Gradient of max_pool2d by its input, added up in reading order of the windows.

        grad_x[n, c, p] = sum of grad_out[n, c, i, j] where indices[n, c, i, j] == p

    With the window that the indices come from, each pixel asks only the few windows that reach
    over it.  Without, a block goes through all outputs of a plane: the same bits, more slowly.

    Args:
        grad_out, indices: (N, C, OH, OW).  An index outside the plane gives NaN: in the pixels of
            its window if that is known, else in all of the plane.
        x_shape: (N, C, H, W).
        window: what check_pool2d returns for the max_pool2d that the indices come from.

    Returns:
        grad_x, of shape ``x_shape``.

    Raises:
        ShapeError: the shapes do not belong together.
        DeviceError: grad_out and indices are on different devices.
    """
    operation = "max_pool2d_grad_input"
    check_same_device(operation, grad_out=grad_out, indices=indices)
    check_indices(operation, x_shape, indices, window)
    check_grad_out(operation, grad_out, indices.shape)
    grad_x = array_module(grad_out).empty(x_shape, grad_out.dtype)
    planes = math.prod(x_shape[:2])
    arrays = launcher.ready(grad_out), launcher.ready(indices, np.int64)
    if window is not None:
        _launch(operation, grad_x, *arrays, planes, _as_struct(window, x_shape), grad_x)
    elif grad_x.size:
        sizes = planes, math.prod(indices.shape[2:]), math.prod(x_shape[2:])
        blocks = min(planes, launcher.MAX_BLOCKS)
        kernel = "max_pool2d_add_in_order"
        _kernels.launch(kernel, grad_x.dtype, blocks, *arrays, *sizes, grad_x)
    return grad_x


def max_pool2d_gather(x: Array, indices: Array) -> Array:
    """Pick the values at the indices: the adjoint of max_pool2d_grad_input.

        out[n, c, i, j] = x[n, c, indices[n, c, i, j]]          with the planes of x flattened

    x (N, C, H, W), indices (N, C, OH, OW); returns (N, C, OH, OW), NaN where an index lies outside
    the plane.  Raises ShapeError if the shapes do not belong together, DeviceError for arrays on
    different devices.
    """
    operation = "max_pool2d_gather"
    check_same_device(operation, x=x, indices=indices)
    check_indices(operation, x, indices)
    out = array_module(x).empty(indices.shape, x.dtype)
    planes, outputs = math.prod(x.shape[:2]), math.prod(indices.shape[2:])
    flat = out.reshape(*x.shape[:2], 1, outputs)  # the kernel needs no rows and columns
    arrays = launcher.ready(x), launcher.ready(indices, np.int64)
    _launch(operation, flat, *arrays, planes, outputs, math.prod(x.shape[2:]), out)
    return out


def avg_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window, as kernels.pool.avg_pool2d.

    A window that is the whole plane is added up by a warp or, if it is large, by a block.

    x (N, C, H, W); returns (N, C, OH, OW).  Raises as kernels.pool.avg_pool2d does.
    """
    operation = "avg_pool2d"
    window = check_pool2d(
        operation, x, kernel_size, stride, padding, 1, ceil_mode, divisor_override
    )
    check_floating(operation, x=x)
    out = array_module(x).empty((*x.shape[:2], *window.out), x.dtype)
    if window.kernel == x.shape[2:] and window.padding == (0, 0):
        _launch_plane_means(x, float(divisor_override or math.prod(window.kernel)), out)
        return out
    planes = math.prod(x.shape[:2])
    how = _as_struct(window, x.shape), bool(count_include_pad), float(divisor_override or 0)
    _launch(operation, out, launcher.ready(x), planes, *how, out)
    return out


def avg_pool2d_grad_input(
    grad_out: Array,
    x_shape: tuple[int, ...],
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient of avg_pool2d by its input: each pixel collects its share of each window.

        grad_x[n, c, h, w] = sum of grad_out[n, c, i, j] / divisor over the windows that saw it

    grad_out (N, C, OH, OW); returns grad_x, of shape ``x_shape``.  Raises as
    kernels.pool.avg_pool2d_grad_input does.
    """
    operation = "avg_pool2d_grad_input"
    window = check_pool2d(
        operation, x_shape, kernel_size, stride, padding, 1, ceil_mode, divisor_override
    )
    check_grad_out(operation, grad_out, (*x_shape[:2], *window.out))
    grad_x = array_module(grad_out).empty(x_shape, grad_out.dtype)
    how = _as_struct(window, x_shape), bool(count_include_pad), float(divisor_override or 0)
    _launch(operation, grad_x, launcher.ready(grad_out), math.prod(x_shape[:2]), *how, grad_x)
    return grad_x


def adaptive_avg_pool2d(x: Array, output_size: int | Sequence[int | None] | None) -> Array:
    """Mean over bins laid out to give ``output_size``, as kernels.pool.adaptive_avg_pool2d.

    x (N, C, H, W); returns (N, C, OH, OW).  Raises as kernels.pool.adaptive_avg_pool2d does.
    """
    OH, OW = check_adaptive_pool2d(x, output_size)
    H, W = x.shape[2:]
    if H % OH == 0 and W % OW == 0:
        return avg_pool2d(x, (H // OH, W // OW))
    out = array_module(x).empty((*x.shape[:2], OH, OW), x.dtype)
    sizes = math.prod(x.shape[:2]), H, W, OH, OW
    _launch("adaptive_avg_pool2d", out, launcher.ready(x), *sizes, out)
    return out


def adaptive_avg_pool2d_grad_input(grad_out: Array, x_shape: tuple[int, ...]) -> Array:
    """Gradient of adaptive_avg_pool2d by its input: each pixel collects its share of each bin.

        grad_x[n, c, h, w] = sum of grad_out[n, c, i, j] / size of bin, over the bins with (h, w)

    grad_out (N, C, OH, OW); returns grad_x, of shape ``x_shape``.  Raises ShapeError if the shapes
    do not belong together.
    """
    operation = "adaptive_avg_pool2d_grad_input"
    OH, OW = check_adaptive_pool2d(x_shape, grad_out.shape[2:], operation=operation)
    check_grad_out(operation, grad_out, (*x_shape[:2], OH, OW))
    H, W = x_shape[2:]
    grad_x = array_module(grad_out).empty(x_shape, grad_out.dtype)
    sizes = math.prod(x_shape[:2]), H, W, OH, OW
    _launch(operation, grad_x, launcher.ready(grad_out), *sizes, grad_x)
    return grad_x


def _as_struct(window: PoolGeometry, x_shape: tuple[int, ...]) -> Any:
    """The geometry as the struct Window of pool.cu, by value."""
    K, S, P, D, out = window
    return np.array((*x_shape[2:], *out, *K, *S, *P, *D), _WINDOW)


def _launch(kernel: str, like: Array, *args: Any) -> None:
    """Launch threads along the columns, rows and planes of what they write, ``like``.

    A block has 256 threads, but no more along an axis than there is to do: (32, 8, 1) for large
    planes, (8, 8, 4) for planes of 7 x 7.  A warp as wide as 32 columns leaves few lanes idle.
    """
    if not like.size:
        return
    N, C, rows, cols = like.shape
    x = min(32, _power_of_two(cols))
    y = min(launcher.THREADS // x, _power_of_two(rows))
    z = min(launcher.THREADS // (x * y), _power_of_two(N * C), 64)  # CUDA has no more along z
    blocks, left = [], launcher.MAX_BLOCKS
    for count, threads in ((cols, x), (rows, y), (N * C, z)):
        blocks.append(max(1, min(left, -(-count // threads))))
        left //= blocks[-1]
    _kernels.launch(kernel, like.dtype, tuple(blocks), *args, threads=(x, y, z))


def _launch_plane_means(x: Array, divisor: float, out: Array) -> None:
    planes, pixels = math.prod(x.shape[:2]), math.prod(x.shape[2:])
    kernel, blocks = "plane_mean_by_block", min(planes, launcher.MAX_BLOCKS)
    if pixels <= _WARP_MEAN_PIXELS:
        kernel, blocks = "plane_mean_by_warp", launcher.blocks_for(32 * planes)
    if planes:
        _kernels.launch(kernel, x.dtype, blocks, launcher.ready(x), planes, pixels, divisor, out)


def _power_of_two(count: int) -> int:
    """The least power of two from ``count`` on."""
    return 1 << (count - 1).bit_length()
