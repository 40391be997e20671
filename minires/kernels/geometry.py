"""Shape arithmetic and argument checks, shared by the reference kernels and the fast ones.

The rules are PyTorch's.  Wherever an array is asked for, its shape will do; the array itself gives
a fuller error message, with the dtype in it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from minires.errors import ShapeError, UsageError, describe
from minires.kernels.checks import ArrayOrShape, check_floating, check_image, shape_of

__all__ = [
    "Pair",
    "PoolGeometry",
    "adaptive_bins",
    "check_adaptive_pool2d",
    "check_conv2d",
    "check_groups",
    "check_named_padding",
    "check_pool2d",
    "conv_output_size",
    "pair",
    "pairs",
    "pool_output_size",
    "window_counts",
]

Pair: TypeAlias = tuple[int, int]  # (rows, columns)


def pair(value: int | Sequence[int], name: str = "value") -> Pair:
    """One whole number for both axes, or two of them, as ``(rows, columns)``.

    ``name`` is what the error calls the argument.  Raises UsageError for anything else.

    >>> pair(3, "stride"), pair([1, 2], "stride")
    ((3, 3), (1, 2))
    """
    # The common cases first: this is on the path of every kernel call.
    if type(value) is int:
        return value, value
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        return value
    values = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(values) == 2 and not any(isinstance(v, (bool, str)) for v in values):
        try:
            return operator.index(values[0]), operator.index(values[1])
        except TypeError:
            pass
    raise UsageError(f"{name} must be a whole number or a pair of them, not {value!r}.")


def conv_output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Positions of a kernel along one axis: ``floor((size + 2p - d(k - 1) - 1) / s) + 1``.

    Zero or less when the kernel does not fit.

    >>> conv_output_size(32, kernel=3, stride=2, padding=1, dilation=1)
    16
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def pool_output_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    """Positions of a pooling window along one axis.

    With ``ceil_mode`` the division rounds up, so a last window may hang over the edge; it is
    dropped if it would start beyond the image, in the padding on the right.

    >>> pool_output_size(6, 3, 2, 0, 1, ceil_mode=False), pool_output_size(6, 3, 2, 0, 1, True)
    (2, 3)
    """
    if not ceil_mode:
        return conv_output_size(size, kernel, stride, padding, dilation)
    out = -(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride) + 1
    starts_beyond = (out - 1) * stride >= size + padding
    return out - 1 if starts_beyond else out


def check_conv2d(
    x: ArrayOrShape,
    weight: ArrayOrShape,
    bias: ArrayOrShape = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    *,
    operation: str = "conv2d",
) -> Pair:
    """Check the arguments of a convolution and return the output's ``(OH, OW)``.

    x is (N, C, H, W), weight (C_out, C/groups, KH, KW), bias (C_out,) or None; each an array or
    a shape.  Raises ShapeError where shapes do not fit, DTypeError for arrays that are not floating
    and UsageError for a setting that makes no sense; all name ``operation``.

    >>> check_conv2d((8, 3, 32, 32), (16, 3, 3, 3), stride=2, padding=1)
    (16, 16)
    """
    x_shape, weight_shape = shape_of(x), shape_of(weight)
    check_image(operation, x_shape, x=x, weight=weight)
    if len(weight_shape) != 4 or 0 in weight_shape:
        raise ShapeError(
            f"{operation}: weight must be (C_out, C/groups, KH, KW), not {weight_shape}.\n"
            f"  {describe(x=x, weight=weight)}"
        )
    check_floating(operation, x=x, weight=weight, bias=bias)
    S, P, D = pairs(operation, stride=stride, padding=padding, dilation=dilation)
    C, C_out = x_shape[1], weight_shape[0]
    check_groups(operation, groups)
    if C_out % groups:
        raise ShapeError(
            f"{operation}: weight makes {C_out} channels, which {groups} groups cannot share.\n"
            f"  {describe(x=x, weight=weight)}\n  Make out_channels a multiple of groups."
        )
    if weight_shape[1] * groups != C:
        of = f" ({groups} groups of {weight_shape[1]})" if groups > 1 else ""
        raise ShapeError(
            f"{operation}: x has {C} channels but weight expects {weight_shape[1] * groups}{of}.\n"
            f"  {describe(x=x, weight=weight)}\n  Check in_channels of this layer."
        )
    if bias is not None and shape_of(bias) != (C_out,):
        raise ShapeError(
            f"{operation}: bias must have one value per output channel, ({C_out},), "
            f"not {shape_of(bias)}.\n  {describe(x=x, weight=weight, bias=bias)}"
        )
    kernel = weight_shape[2:]
    OH = conv_output_size(x_shape[2], kernel[0], S[0], P[0], D[0])
    OW = conv_output_size(x_shape[3], kernel[1], S[1], P[1], D[1])
    if OH < 1 or OW < 1:
        raise ShapeError(_does_not_fit(operation, x_shape, kernel, P, D, x=x, weight=weight))
    return OH, OW


def check_groups(operation: str, groups: int) -> None:
    """Raise UsageError unless ``groups`` is a whole number from 1 on."""
    if isinstance(groups, bool) or not hasattr(groups, "__index__") or groups < 1:
        raise UsageError(f"{operation}: groups must be a whole number from 1 on, not {groups!r}.")


def check_named_padding(operation: str, padding: str, stride: Pair) -> None:
    """Raise UsageError unless ``padding`` is 'valid', or 'same' at stride 1."""
    if padding not in ("same", "valid"):
        raise UsageError(
            f"{operation}: padding {padding!r} is none of 'same', 'valid' and a number."
        )
    if padding == "same" and stride != (1, 1):
        raise UsageError(
            f"{operation}: padding='same' needs stride 1, not {stride}; give the padding as a "
            "number."
        )


class PoolGeometry(NamedTuple):
    """A pooling window with every setting as ``(rows, columns)``, and the output's size."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    out: Pair


def check_pool2d(
    operation: str,
    x: ArrayOrShape,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    divisor_override: int | None = None,
) -> PoolGeometry:
    """Check the arguments of a pooling over x (N, C, H, W) and return its geometry.

    Raises ShapeError if the window does not fit, UsageError for a setting that makes no sense:
    among them padding of more than half the kernel, with which a window could see padding alone.

    >>> check_pool2d("max_pool2d", (8, 3, 32, 32), 3, stride=2, padding=1).out
    (16, 16)
    """
    x_shape = shape_of(x)
    check_image(operation, x_shape, x=x)
    stride = kernel_size if stride is None else stride
    K, S, P, D = pairs(
        operation, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation
    )
    if P[0] > K[0] // 2 or P[1] > K[1] // 2:
        raise UsageError(
            f"{operation}: padding {P} is more than half of kernel_size {K}.\n"
            "  A window could then see nothing but padding; use less of it."
        )
    if divisor_override is not None and (
        isinstance(divisor_override, bool)
        or not hasattr(divisor_override, "__index__")
        or divisor_override == 0
    ):
        raise UsageError(
            f"{operation}: divisor_override must not be {divisor_override!r}, but a whole number "
            "other than 0; None divides by the count."
        )
    OH, OW = (pool_output_size(x_shape[2 + a], K[a], S[a], P[a], D[a], ceil_mode) for a in (0, 1))
    if min(OH, OW) < 1:
        raise ShapeError(_does_not_fit(operation, x_shape, K, P, D, x=x))
    if any(_sees_padding_alone(x_shape[2 + a], K[a], S[a], P[a], D[a]) for a in (0, 1)):
        raise ShapeError(
            f"{operation}: a window sees nothing but padding, because dilation {D} steps over x.\n"
            f"  {describe(x=x)}\n  Use less padding or less dilation."
        )
    return PoolGeometry(K, S, P, D, (OH, OW))


def check_adaptive_pool2d(
    x: ArrayOrShape,
    output_size: int | Sequence[int | None] | None,
    *,
    operation: str = "adaptive_avg_pool2d",
) -> Pair:
    """Check an adaptive pooling of x (N, C, H, W) and return ``(OH, OW)``; None keeps a size.

    >>> check_adaptive_pool2d((8, 3, 32, 30), (7, None))
    (7, 30)
    """
    x_shape = shape_of(x)
    check_image(operation, x_shape, x=x)
    check_floating(operation, x=x)
    sizes = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
    if len(sizes) != 2:
        raise UsageError(f"{operation}: output_size must have two entries, not {output_size!r}.")
    given = [have if want is None else want for want, have in zip(sizes, x_shape[2:], strict=True)]
    OH, OW = pair(given, f"{operation}: output_size")
    if min(OH, OW) < 1 or 0 in x_shape[2:]:
        raise ShapeError(
            f"{operation}: cannot pool x to output_size {(OH, OW)}.\n  {describe(x=x)}\n"
            "  Lengths must be from 1 on, those of x too; None keeps one."
        )
    return OH, OW


def adaptive_bins(size: int, bins: int) -> list[tuple[int, int]]:
    """Where each of ``bins`` bins starts and ends: floor(i*size/bins), ceil((i+1)*size/bins).

    They cover the axis, and overlap by one where ``bins`` does not divide ``size``.

    >>> adaptive_bins(5, 2)
    [(0, 3), (2, 5)]
    """
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


def window_counts(
    window: PoolGeometry, x_shape: tuple[int, ...], include_pad: bool
) -> list[np.ndarray]:
    """How many rows (OH,), and how many columns (OW,), of each window count in its average.

    What hangs over beyond the padding never counts; what lies on the padding, if asked for.

    >>> window = check_pool2d("avg_pool2d", (1, 1, 4, 4), 3, stride=2, padding=1, ceil_mode=True)
    >>> window_counts(window, (1, 1, 4, 4), True)[0], window_counts(window, (1, 1, 4, 4), False)[0]
    (array([3, 3, 2]), array([2, 3, 1]))
    """
    counts = []
    for K, S, P, _, OUT, size in zip(*window, x_shape[2:], strict=True):
        start = np.arange(OUT) * S - P
        end = np.minimum(start + K, size + P)
        if not include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, size)
        counts.append(end - start)
    return counts


def pairs(operation: str, **settings: int | Pair) -> list[Pair]:
    """Each setting as a pair; padding from 0 on, the others from 1 on."""
    pairs = []
    for name, value in settings.items():
        values = pair(value, f"{operation}: {name}")
        least = 0 if name == "padding" else 1
        if min(values) < least:
            raise UsageError(f"{operation}: {name} must be {least} or more, not {value!r}.")
        pairs.append(values)
    return pairs


def _sees_padding_alone(size: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Whether a window that starts in the left padding steps over all of a (narrow) image."""
    return any(
        not any(0 <= start + k * dilation < size for k in range(kernel))
        for start in range(-padding, 0, stride)
    )


def _does_not_fit(
    operation: str,
    x_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    padding: Pair,
    dilation: Pair,
    **arrays: ArrayOrShape,
) -> str:
    spans = " x ".join(str(d * (k - 1) + 1) for k, d in zip(kernel, dilation, strict=True))
    sizes = " x ".join(str(n + 2 * p) for n, p in zip(x_shape[2:], padding, strict=True))
    return (
        f"{operation}: the kernel spans {spans}, but x with its padding is only {sizes}.\n"
        f"  {describe(**arrays)}\n"
        "  Use a smaller kernel, less dilation, more padding or a larger image."
    )
