"""Augmentation: a function of a batch and a generator, for the DataLoader."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minires.errors import ShapeError, UsageError, describe

__all__ = ["PadCropFlip"]


class PadCropFlip:
    """Shift each image by up to ``pad`` pixels, and mirror every second one on average.

    The augmentation of He et al. 2015, section 4.2: pad with ``pad`` zeros on each side, cut out a
    window of the first size at a random place, flip it left to right with probability 1/2.  On
    normalised images zero is the mean.  Each image has a place and a coin of its own::

        out[n, c, y, x] = padded[n, c, y + top[n], flipped(x) + left[n]]
        top, left uniform in 0 .. 2 pad;  flipped(x) = x, or W - 1 - x

    Args:
        pad: zeros on each side, a whole number from 0 on.
        flip: whether to mirror at all (digits that are mirrored are no digits).

    Called with images (B, C, H, W) and a generator, it returns new images of the same shape and
    dtype.  Raises UsageError for a ``pad`` that is no such number, ShapeError for other images.

    >>> augment = PadCropFlip(pad=1)
    >>> augment
    PadCropFlip(pad=1, flip=True)
    >>> images = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    >>> augment(images, np.random.default_rng(0))[0, 0].tolist()  # one up, and mirrored
    [[4.0, 3.0], [0.0, 0.0]]
    """

    def __init__(self, pad: int = 4, flip: bool = True) -> None:
        size: Any = pad
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 0:
            raise UsageError(f"PadCropFlip: pad must be a whole number from 0 on, got {pad!r}.")
        self.pad = int(pad)
        self.flip = bool(flip)

    def __call__(self, images: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        if images.ndim != 4:
            raise ShapeError(
                "PadCropFlip: needs images (B, C, H, W).\n  " + describe(images=images)
            )
        B, _, H, W = images.shape
        sides = (self.pad, self.pad)
        padded = np.pad(images, ((0, 0), (0, 0), sides, sides))
        windows = sliding_window_view(padded, (H, W), axis=(2, 3))  # (B, C, 2p+1, 2p+1, H, W)
        top, left = generator.integers(2 * self.pad + 1, size=(2, B))
        out = windows[np.arange(B), :, top, left]  # (B, C, H, W)
        if self.flip:
            mirrored = generator.random(B) < 0.5
            out[mirrored] = out[mirrored, :, :, ::-1]
        return out

    def __repr__(self) -> str:
        return f"PadCropFlip(pad={self.pad}, flip={self.flip})"
