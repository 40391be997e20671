"""The operators and methods of cupy.ndarray that are functions of its array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fake_cupy.device_array import ndarray
from tests.fake_cupy.functions import function, ufunc

BY_NUMPY = {
    *("all", "any", "argmax", "argmin", "argpartition", "argsort", "choose", "clip", "compress"),
    *("conj", "conjugate", "cumprod", "cumsum", "diagonal", "dot", "flatten", "max", "mean", "min"),
    *("nonzero", "partition", "prod", "put", "ravel", "repeat", "reshape", "round", "searchsorted"),
    *("sort", "squeeze", "std", "sum", "swapaxes", "take", "trace", "transpose", "var"),
}
BINARY = {
    "add": "add",
    "and": "bitwise_and",
    "divmod": "divmod",
    "floordiv": "floor_divide",
    "lshift": "left_shift",
    "mod": "remainder",
    "mul": "multiply",
    "or": "bitwise_or",
    "pow": "power",
    "rshift": "right_shift",
    "sub": "subtract",
    "truediv": "true_divide",
    "xor": "bitwise_xor",
}
COMPARE = {
    "eq": "equal",
    "ge": "greater_equal",
    "gt": "greater",
    "le": "less_equal",
    "lt": "less",
    "ne": "not_equal",
}
_EQUALS_NONE = type(None).__eq__
UNARY = {"abs": "absolute", "invert": "invert", "neg": "negative", "pos": "positive"}


def _leaves_it_to(y: Any) -> bool:
    """Whether CuPy leaves ``x + y`` to y: it says so, or has a higher priority."""
    missing = object()
    says = getattr(y, "__array_ufunc__", missing)
    if says is not missing:
        return says is None
    return bool(getattr(y, "__array_priority__", 0) > ndarray.__array_priority__)


def _binary(ours: Any, numpys: Any) -> Callable[[Any, Any], Any]:
    def operator(self: ndarray, value: Any, /) -> Any:
        if isinstance(value, ndarray):
            return ours(self, value)
        # What is no array goes through NumPy's protocol and comes back in __array_ufunc__.
        return NotImplemented if _leaves_it_to(value) else numpys(self, value)

    return operator


def _reflected(ours: Any, numpys: Any) -> Callable[[Any, Any], Any]:
    def operator(self: ndarray, value: Any, /) -> Any:
        return NotImplemented if _leaves_it_to(value) else numpys(value, self)

    return operator


def _in_place(ours: Any, numpys: Any) -> Callable[[Any, Any], Any]:
    def operator(self: ndarray, value: Any, /) -> Any:
        return ours(self, value, out=self)

    return operator


def _compare(ours: Any, numpys: Any) -> Callable[[Any, Any], Any]:
    def operator(self: ndarray, value: Any, /) -> Any:
        if isinstance(value, ndarray):
            return ours(self, value)
        if _leaves_it_to(value):
            return NotImplemented
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()  # here, and nowhere else, CuPy takes a 0-d array of NumPy
        if numpys in (np.equal, np.not_equal) and type(value).__eq__ in (
            object.__eq__,
            _EQUALS_NONE,
        ):
            made = ndarray(self.shape, bool)  # no number equals None
            made.fill(numpys is np.not_equal)
            return made
        return numpys(self, value)

    return operator


def _unary(ours: Any) -> Callable[[Any], Any]:
    def operator(self: ndarray, /) -> Any:
        return ours(self)

    return operator


def _power(self: ndarray, value: Any, mod: Any = None, /) -> Any:
    """CuPy takes a square, a root and a reciprocal by functions of their own."""
    fast = {("int", 2): "square", ("float", 2.0): "square", ("float", 0.5): "sqrt"}
    if type(value) in (int, float):
        name = fast.get((type(value).__name__, value))
        if name is not None and self.dtype.kind in "fc":
            return ufunc(name)(self)
    return _binary(ufunc("power"), np.power)(self, value)


def install() -> None:
    """Put them all on the class."""
    for name, numpy_name in BINARY.items():
        pair = ufunc(numpy_name), getattr(np, numpy_name)
        setattr(ndarray, f"__{name}__", _binary(*pair))
        setattr(ndarray, f"__r{name}__", _reflected(*pair))
        if name != "divmod":
            setattr(ndarray, f"__i{name}__", _in_place(*pair))
    ndarray.__pow__ = _power  # type: ignore[attr-defined]
    matmul = function("cupy", "matmul", np.matmul), np.matmul
    ndarray.__matmul__ = _binary(*matmul)  # type: ignore[attr-defined]
    ndarray.__rmatmul__ = _reflected(*matmul)  # type: ignore[attr-defined]
    for name, numpy_name in COMPARE.items():
        setattr(ndarray, f"__{name}__", _compare(ufunc(numpy_name), getattr(np, numpy_name)))
    for name, numpy_name in UNARY.items():
        setattr(ndarray, f"__{name}__", _unary(ufunc(numpy_name)))
    for name in BY_NUMPY:
        setattr(ndarray, name, function("cupy.ndarray", name, getattr(np.ndarray, name)))


install()
