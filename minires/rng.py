"""Random numbers: one default generator, seeded in one place.

Weights are drawn from the default generator; shuffling and augmentation have generators of their
own, so that asking for one more random weight never changes the order of the data.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from minires.errors import UsageError

__all__ = ["check_seed", "default_generator", "get_state", "manual_seed", "set_state", "spawn"]

_default: np.random.Generator | None = None


def check_seed(seed: Any, what: str) -> int:
    """``seed`` as an int; UsageError, which names the call ``what``, if it cannot be one."""
    if not isinstance(seed, Integral) or seed < 0:
        raise UsageError(f"{what}: a seed must be a whole number from 0 on, got {seed!r}.")
    return int(seed)


def manual_seed(seed: int) -> np.random.Generator:
    """Seed the default generator and return it; raises UsageError for a negative seed.

    >>> manual_seed(0).integers(100), manual_seed(0).integers(100)
    (np.int64(85), np.int64(85))
    """
    seed = check_seed(seed, "manual_seed")
    generator = default_generator()
    generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    return generator


def default_generator() -> np.random.Generator:
    """The generator that weight initialisation, dropout and ``mr.randn`` draw from."""
    global _default
    if _default is None:  # made at first use: numpy.random takes 10 ms to import
        _default = np.random.default_rng()
    return _default


def spawn() -> np.random.Generator:
    """A new generator seeded by one draw from the default one.

    However many numbers are then drawn from it, the default generator has moved by that one draw.
    """
    return np.random.default_rng(int(default_generator().integers(2**63)))


def get_state() -> dict[str, Any]:
    """The state of the default generator, to be given back to :func:`set_state`."""
    return dict(default_generator().bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Put the default generator back where :func:`get_state` found it."""
    default_generator().bit_generator.state = state
