"""Arrays of any number of dimensions as small flat maps."""

from __future__ import annotations

import numpy as np

__all__ = ["fold", "heat_text"]

# From nothing to a wrong gradient: the last two stand for errors above what is allowed.
LEVELS = ((1e-3, "·"), (1e-1, "░"), (1.0, "▒"), (1e3, "▓"), (np.inf, "█"))
KEY = "· up to 0.001, ░ 0.1, ▒ 1; wrong: ▓ up to 1000, █ more; blank: not looked at, or a kink"


def fold(x: np.ndarray, most: int = 48) -> np.ndarray:
    """An array as a map of at most ``most`` rows and columns.

    The last two dimensions are a tile; those before them lay the tiles out in rows and columns,
    with a gap of nan between two tiles.  A map that is too large shows the largest of each patch.

    >>> fold(np.arange(4.0).reshape(2, 1, 2)).tolist()
    [[0.0, 1.0, nan, 2.0, 3.0]]
    """
    if x.size == 0:
        return np.full((1, 1), np.nan)
    if x.ndim < 2:
        return _shrink(x.reshape(1, -1), most)
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    A, B, H, W = (x := x.reshape(-1, *x.shape[-3:])).shape  # rows and columns of tiles
    if A == B == 1:
        return _shrink(x[0, 0], most)
    padded = np.full((A, B, H + 1, W + 1), np.nan)
    padded[:, :, :H, :W] = x
    tiled = padded.transpose(0, 2, 1, 3).reshape(A * (H + 1), B * (W + 1))[:-1, :-1]
    return _shrink(tiled, most)


def _shrink(grid: np.ndarray, most: int) -> np.ndarray:
    """The largest of each patch, so that no side is longer than ``most``."""
    for axis in (0, 1):
        patch = -(-grid.shape[axis] // most)
        if patch > 1:
            starts = np.arange(0, grid.shape[axis], patch)
            filled = np.where(np.isnan(grid), -np.inf, grid)
            grid = np.maximum.reduceat(filled, starts, axis=axis)
            grid = np.where(np.isneginf(grid), np.nan, grid)
    return grid


def heat_text(ratios: np.ndarray) -> str:
    """A map of characters, one an element, with its key; ``ratios`` above 1 are wrong.

    >>> print(heat_text(np.array([[0.0, 2.0], [0.5, np.nan]])).splitlines()[0])
      ·▓
    """
    lines = []
    for row in fold(ratios):
        lines.append("  " + "".join(_character(value) for value in row).rstrip())
    return "\n".join([*lines, f"  ({KEY})"])


def _character(value: float) -> str:
    if np.isnan(value):
        return " "
    return next(character for bound, character in LEVELS if value <= bound)
