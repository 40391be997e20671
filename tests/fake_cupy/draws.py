"""cupy.random, as far as it is wanted: never the numbers that NumPy draws from the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fake_cupy.counters import counters
from tests.fake_cupy.device_array import ndarray, unwrap, wrap


class Generator:
    """As cupy.random.Generator, which has no normal, choice, shuffle or permutation."""

    def __init__(self, bit_generator: Any):
        self._host = np.random.Generator(bit_generator)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Uniform in [0, 1)."""
        return self._into(out, self._host.random(size, dtype))

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """The normal distribution."""
        return self._into(out, self._host.standard_normal(size, dtype))

    def uniform(
        self, low: Any = 0.0, high: Any = 1.0, size: Any = None, dtype: Any = np.float64
    ) -> Any:
        """Uniform in [low, high)."""
        return wrap(np.asarray(self._host.uniform(low, high, size)).astype(dtype))

    def integers(
        self,
        low: Any,
        high: Any = None,
        size: Any = None,
        dtype: Any = np.int64,
        endpoint: Any = False,
    ) -> Any:
        """Whole numbers."""
        return wrap(np.asarray(self._host.integers(low, high, size, dtype, endpoint)))

    def _into(self, out: ndarray | None, drawn: Any) -> Any:
        if out is None:
            return wrap(np.asarray(drawn))
        out._host[...] = drawn
        return out


def default_rng(seed: Any = None) -> Generator:
    """A generator of the current device."""
    return Generator(np.random.PCG64([0xC0, *([] if seed is None else [int(seed)])]))


class RandomState:
    """As cupy.random.RandomState; the functions of cupy.random are methods of one."""

    def __init__(self, seed: Any = None, method: Any = None):
        self._host = default_rng(seed)._host

    def seed(self, seed: Any = None) -> None:
        """Start over."""
        self._host = default_rng(seed)._host

    def rand(self, *size: Any, **kwarg: Any) -> Any:
        """Uniform in [0, 1), of this shape."""
        return wrap(np.asarray(self._host.random(size)).astype(kwarg.get("dtype", float)))

    def randn(self, *size: Any, **kwarg: Any) -> Any:
        """The normal distribution, of this shape."""
        return wrap(np.asarray(self._host.standard_normal(size)).astype(kwarg.get("dtype", float)))

    def random_sample(self, size: Any = None, dtype: Any = float) -> Any:
        """Uniform in [0, 1)."""
        return wrap(np.asarray(self._host.random(size)).astype(dtype))

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None, dtype: Any = float) -> Any:
        """The normal distribution."""
        return wrap(np.asarray(self._host.normal(loc, scale, size)).astype(dtype))

    def standard_normal(self, size: Any = None, dtype: Any = float) -> Any:
        """The normal distribution."""
        return self.normal(size=size, dtype=dtype)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None, dtype: Any = float) -> Any:
        """Uniform in [low, high)."""
        return wrap(np.asarray(self._host.uniform(low, high, size)).astype(dtype))

    def randint(self, low: Any, high: Any = None, size: Any = None, dtype: Any = int) -> Any:
        """Whole numbers."""
        return wrap(np.asarray(self._host.integers(low, high, size)).astype(dtype))

    def permutation(self, a: Any) -> Any:
        """``a``, or the numbers below it, in another order."""
        if isinstance(a, ndarray):
            return wrap(self._host.permutation(unwrap(a, "cupy.random.permutation")))
        return wrap(self._host.permutation(int(a)))

    def shuffle(self, a: ndarray) -> None:
        """In place."""
        self._host.shuffle(unwrap(a, "cupy.random.shuffle"))

    def choice(self, a: Any, size: Any = None, replace: Any = True, p: Any = None) -> Any:
        """Out of the numbers below ``a``, or out of a device array."""
        if p is not None:
            counters.count("to_host", "cupy.random.choice looks at p")
        given = [unwrap(x, "cupy.random.choice") for x in (a, p)]
        return wrap(np.asarray(self._host.choice(given[0], size, replace, given[1])))


_state = RandomState(0)
FUNCTIONS = {
    name: getattr(_state, name)
    for name in (
        *("choice", "normal", "permutation", "rand", "randint", "randn", "random_sample", "seed"),
        *("shuffle", "standard_normal", "uniform"),
    )
}
FUNCTIONS |= {
    "default_rng": default_rng,
    "random": _state.random_sample,
    "Generator": Generator,
    "RandomState": RandomState,
}
