"""Arrays to try kernels on, and the same numbers images last in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.kernels.layout import empty_images_last

__all__ = ["drawn", "images_last"]


def drawn(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    """Normal numbers, the same for the same shape."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def images_last(x: np.ndarray) -> np.ndarray:
    """A copy that lies images last."""
    copy = empty_images_last(x.shape, x.dtype)
    copy[...] = x
    return copy
