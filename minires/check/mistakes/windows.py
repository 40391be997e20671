"""Sliding windows for the mistakes of convolution and pooling: cut out, and scattered back."""

from __future__ import annotations

from typing import Literal

import numpy as np

from minires.device import Array

__all__ = ["Write", "crop", "scatter", "spread"]

# How a place of the image takes what several windows bring: all of it, or only what came last,
# where the loop runs over the windows, or over the taps of the window.
Write = Literal["add", "last window", "last tap"]


def crop(padded: Array, size: tuple[int, ...], start: int) -> Array:
    """The rows and columns of ``size`` (H, W) of a padded image, from ``start`` on; copied."""
    H, W = size
    return padded[:, :, start : start + H, start : start + W].copy()


def spread(x: Array, H: int, W: int) -> Array:
    """The image with zeros after its last row and column, H rows and W columns in all."""
    return np.pad(x, ((0, 0), (0, 0), (0, H - x.shape[2]), (0, W - x.shape[3])))


def scatter(
    values: Array, H: int, W: int, stride: int, dilation: int = 1, write: Write = "add"
) -> Array:
    """Bring windows back to their places in an image of H rows and W columns.

    ``values`` (N, C, OH, OW, KH, KW): what window (i, j) brings for its tap (kh, kw), which lies
    at row ``i*stride + kh*dilation``.
    """
    N, C, OH, OW, KH, KW = values.shape
    image = np.zeros((N, C, H, W))
    if write == "last tap":
        for kh, kw in np.ndindex(KH, KW):
            rows = slice(kh * dilation, kh * dilation + stride * (OH - 1) + 1, stride)
            cols = slice(kw * dilation, kw * dilation + stride * (OW - 1) + 1, stride)
            image[:, :, rows, cols] = values[:, :, :, :, kh, kw]
        return image
    for i, j in np.ndindex(OH, OW):
        rows = slice(i * stride, i * stride + dilation * (KH - 1) + 1, dilation)
        cols = slice(j * stride, j * stride + dilation * (KW - 1) + 1, dilation)
        if write == "add":
            image[:, :, rows, cols] += values[:, :, i, j]
        else:
            image[:, :, rows, cols] = values[:, :, i, j]
    return image
