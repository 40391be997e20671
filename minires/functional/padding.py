"""Borders around tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.autograd.function import Function
from minires.autograd.tensor import raw
from minires.device import array_like, array_module
from minires.errors import ShapeError, UsageError, describe
from minires.functional.indexing import GetItem
from minires.kernels.checks import check_arrays, number
from minires.kernels.layout import empty_images_last, lies_images_last

__all__ = ["pad"]


class Pad(Function):
    """out = x with a border of ``value``;  grad_x = grad_out without the border."""

    @staticmethod
    def forward(ctx: Any, x: Any, *, widths: tuple[tuple[int, int], ...], value: float) -> Any:
        inside = tuple(slice(a, a + n) for (a, _), n in zip(widths, x.shape, strict=True))
        ctx.save_constant(inside=inside)
        shape = tuple(a + n + b for (a, b), n in zip(widths, x.shape, strict=True))
        if lies_images_last(x):
            out = empty_images_last(shape, x.dtype)
            np.copyto(out, value, casting="unsafe")
        else:
            out = array_module(x).full(shape, value, dtype=x.dtype)
        out[inside] = x
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return GetItem.apply(grad_out, index=ctx.saved("inside"))


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Any:
    """A border around the last dimensions.

    The gradient of a constant border is dropped; that of a copied pixel is added to the pixel.

    Args:
        x: any tensor.
        pad: widths before and after, from the *last* dimension on, as in PyTorch:
            ``(left, right, top, bottom)`` pads the plane of an image.  A negative width crops.
        mode: 'constant', or 'reflect' (mirrored at the outermost pixel), 'replicate' (the outermost
            pixel again and again) or 'circular' (on from the other end).
        value: what a constant border is filled with.

    >>> import minires as mr, minires.functional as F
    >>> F.pad(mr.tensor([1.0, 2.0, 3.0]), (2, 1), mode="reflect")
    tensor([3., 2., 1., 2., 3., 2.])
    """
    check_arrays("pad", x=x)
    if not isinstance(pad, Sequence) or not all(hasattr(n, "__index__") for n in pad):
        raise UsageError(
            f"pad: takes whole numbers, two for each dimension from the last on, not {pad!r}."
        )
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(
            f"pad: {len(pad)} widths do not fit {x.ndim} dimensions, two for each.\n"
            f"  {describe(x=x)}    pad: {tuple(pad)}"
        )
    ends = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths = [(0, 0)] * (x.ndim - len(ends)) + ends[::-1]
    for (before, after), n in zip(widths, x.shape, strict=True):
        if n + min(before, 0) + min(after, 0) < 0:
            raise ShapeError(f"pad: {tuple(pad)} crops more than there is of {tuple(x.shape)}.")
    if mode == "constant":
        crop = tuple(
            slice(max(-before, 0), n - max(-after, 0))
            for (before, after), n in zip(widths, x.shape, strict=True)
        )
        if min(pad, default=0) < 0:
            x = GetItem.apply(x, index=crop)
        grow = tuple((max(before, 0), max(after, 0)) for before, after in widths)
        return Pad.apply(x, widths=grow, value=number(value, "pad: value"))
    if mode not in ("reflect", "replicate", "circular"):
        raise UsageError(
            f"pad: mode {mode!r} is none of 'constant', 'reflect', 'replicate' and 'circular'."
        )
    for dim, (before, after) in enumerate(widths):
        if before or after:
            places = _places(mode, x.shape[dim], before, after)
            places = array_like(places, raw(x))
            x = GetItem.apply(x, index=(slice(None),) * dim + (places,))
    return x


def _places(mode: str, n: int, before: int, after: int) -> Any:
    """Where each place of the padded dimension reads in the old one."""
    at = np.arange(-before, n + after)
    if mode == "replicate":
        if n == 0:
            raise ShapeError("pad: 'replicate' has no outermost pixel to copy in an empty tensor.")
        return at.clip(0, n - 1)
    if mode == "circular":
        kept = np.arange(n)[max(-before, 0) : n + min(after, 0)]  # a crop comes before the circle
        before, after = max(before, 0), max(after, 0)
        if max(before, after) > len(kept):
            raise ShapeError(
                f"pad: 'circular' can pad {len(kept)} pixels by at most as many, not "
                f"{max(before, after)}."
            )
        return np.pad(kept, (before, after), mode="wrap")
    if max(before, after) >= n:
        raise ShapeError(
            f"pad: 'reflect' can pad {n} pixels by at most {n - 1}, not {max(before, after)}."
        )
    return (n - 1) - np.abs((n - 1) - np.abs(at))  # mirrored at 0, then at n - 1
