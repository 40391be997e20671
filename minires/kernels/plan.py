"""What the shapes and settings of a convolution decide: worked out, and checked, once for each.

A network calls its convolutions with the same shapes again and again.  Where their taps read, in
which parts the gradients are computed and how much memory an image takes, depends on these alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from minires.errors import MiniresError
from minires.kernels import whole_plane
from minires.kernels.checks import ArrayOrShape, check_floating, shape_of
from minires.kernels.geometry import Pair, check_conv2d, check_groups, pair
from minires.kernels.shifted import Reading, working_set

__all__ = ["Part", "Plan", "planned"]


class Part(NamedTuple):
    """The pixels of one remainder of rows and columns, and what reaches them."""

    pixels: tuple[slice, slice]
    taps: tuple[slice, slice]  # of the kernel
    reading: Reading  # of grad_out


class Plan(NamedTuple):
    """What the shapes and settings of a convolution decide."""

    size: Pair  # of the output
    reading: Reading  # of x, by the outputs
    numbers: int  # that forward and the gradient by the weight work on, for each image
    parts: tuple[Part, ...]  # of the gradient by the input: at most S*S convolutions of grad_out
    numbers_by_input: int  # that the largest of these works on
    at: whole_plane.Places | None  # if every output sees the whole plane


def planned(
    operation: str,
    x: ArrayOrShape,
    weight: ArrayOrShape,
    bias: ArrayOrShape,
    stride: int | Pair,
    padding: int | Pair,
    dilation: int | Pair,
    groups: int,
) -> Plan:
    """The plan for these arguments; each array may be its shape.

    Raises as :func:`check_conv2d` does, for ``operation``.

    >>> planned("conv2d", (8, 3, 32, 32), (16, 3, 3, 3), None, 2, 1, 1, 1).size
    (16, 16)
    """
    try:
        if type(groups) is not int:
            check_groups(operation, groups)
            groups = int(groups)
        plan = _plan(
            shape_of(x)[1:],
            shape_of(weight),
            *(pair(stride), pair(padding), pair(dilation), groups),
        )
    except (MiniresError, TypeError):
        # The same again, with the arrays at hand for its message.
        check_conv2d(x, weight, bias, stride, padding, dilation, groups, operation=operation)
        raise
    if bias is not None and shape_of(bias) != shape_of(weight)[:1]:
        check_conv2d(x, weight, bias, stride, padding, dilation, groups, operation=operation)
    check_floating(operation, x=x, weight=weight, bias=bias)
    return plan


@lru_cache(maxsize=256)
def _plan(
    image: tuple[int, ...],
    weight: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Plan:
    size = check_conv2d((1, *image), weight, None, stride, padding, dilation, groups)
    (C, *plane), (C_out, _, *kernel) = image, weight
    # Output (i, j) reads with tap (kh, kw) at i*stride + kh*dilation - padding.
    rows, columns = (
        tuple(k * D - P for k in range(K))
        for K, P, D in zip(kernel, padding, dilation, strict=True)
    )
    reading = Reading(rows, columns, *stride)
    parts, numbers_by_input = [], 0
    by_rows, by_columns = (
        _remainders(*along) for along in zip(kernel, plane, stride, padding, dilation, strict=True)
    )
    for r in by_rows:
        for c in by_columns:
            part = Part((r.pixels, c.pixels), (r.taps, c.taps), Reading(r.offsets, c.offsets, 1, 1))
            parts.append(part)
            height, width = (len(range(n)[p]) for n, p in zip(plane, part.pixels, strict=True))
            of_part = working_set(C_out, C, part.reading, height, width)
            numbers_by_input = max(numbers_by_input, of_part)
    at = None  # with more pixels than taps, some pixel goes unread
    if groups == 1 and math.prod(plane) <= math.prod(kernel):
        at = whole_plane.places(weight, tuple(plane), size, stride, padding, dilation)
    numbers = working_set(C, C_out, reading, *size)
    return Plan(size, reading, numbers, tuple(parts), numbers_by_input, at)


class _Remainder(NamedTuple):
    """The pixels of one remainder along an axis, and the taps of the kernel that reach them.

    Pixel h = S*q + a - P belongs to remainder a.  Output oh reads it with kernel row kh if
    oh*S + kh*D = h + P, so only kernel rows with kh*D = a modulo S do, each from oh =
    q + (a - kh*D)/S: a convolution of grad_out with stride 1, of those rows of the kernel.
    """

    pixels: slice
    taps: slice
    offsets: tuple[int, ...]  # tap k of the i-th pixel reads grad_out at i + offset


def _remainders(K: int, size: int, S: int, P: int, D: int) -> list[_Remainder]:
    found = []
    for a in range(S):
        q = max(0, -((a - P) // S))  # the first pixel is S*q + a - P, the first not below 0
        pixels = slice(S * q + a - P, size, S)
        taps = [k for k in range(K) if (k * D - a) % S == 0]
        of_kernel = slice(taps[0], K, S // math.gcd(S, D)) if taps else slice(0)  # the same taps
        if len(range(size)[pixels]):
            found.append(_Remainder(pixels, of_kernel, tuple(q + (a - k * D) // S for k in taps)))
    return found
