"""Random numbers made on a GPU, for dropout: uniform.cu bound to arrays."""

from __future__ import annotations

import math

import numpy as np

from minires.device import Array, array_module, using_device_of
from minires.kernels.cuda.launcher import Source, blocks_for

__all__ = ["uniform"]

_SOURCE = Source("uniform.cu")
_EACH = 4  # numbers of one counter


def uniform(key: int, shape: tuple[int, ...], like: Array) -> Array:
    """Independent numbers from 0 to below 1, made on the device of ``like``, without a transfer.

    The numbers are those of ``np.random.Generator(np.random.Philox(key=key)).random(shape)``:
    Philox4x64-10 of Salmon et al. 2011.  float32 keeps the upper 24 of the 53 bits of float64, so
    number i is the same one, rounded down, in both.

    Args:
        key: from 0 to 2**64 - 1; another key, other numbers.
        shape: of the result.
        like: an array on the device; the result has its dtype if that is float32 or float64, and
            is float32 otherwise.
    """
    dtype = like.dtype if like.dtype.char in "fd" else np.dtype(np.float32)
    count = math.prod(shape)
    with using_device_of(like):
        out = array_module(like).empty(shape, dtype)
        if count:
            _SOURCE.launch("uniform", dtype, blocks_for(count, _EACH), out, count, np.uint64(key))
    return out
