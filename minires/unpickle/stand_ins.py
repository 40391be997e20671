"""Stand-ins: what a pickle gets when it asks for OrderedDict, or for the parts of NumPy's arrays.

Each takes the arguments that are in the file, and raises ValueError (or stumbles over them, which
is the same to the machine) unless they are those of plain data.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

__all__ = ["NUMPY", "PLAIN", "STATES", "brief", "checked_keys"]

_KEYS = (str, bytes, int, bool, type(None))
_PLAIN_NUMBER = re.compile(r"[<>|=]?(?:[biufc]\d{1,2}|\?)")


def brief(value: Any) -> str:
    """Some 60 characters for a message.

    A tuple of two of a tuple of two of ... is small in memory; its ``repr`` doubles each time.
    """
    if isinstance(value, str | bytes):
        return repr(value[:60])
    if isinstance(value, int | float | None):
        return repr(value) if not isinstance(value, int) or abs(value) < 1 << 64 else "a huge int"
    if isinstance(value, tuple) and len(value) < 6 and all(type(n) is int for n in value):
        return f"({', '.join(map(brief, value))}{',' * (len(value) == 1)})"
    return f"a {type(value).__name__}"


# --- plain Python ---


def checked_keys(pairs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values for a table; ValueError for keys that are no texts or whole numbers."""
    for key, value in pairs:
        if type(key) not in _KEYS:  # the hash of nested tuples can take for ever
            raise ValueError(f"a {type(key).__name__} as a key")
        yield key, value


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    """collections.OrderedDict, empty or, by Python 2, from pairs."""
    return OrderedDict(checked_keys(items))


def _counted(counts: Any) -> dict[Any, Any]:
    """collections.Counter: the table it was made from."""
    return dict(checked_keys(counts.items()))


def _latin1_bytes(text: Any, encoding: Any) -> bytes:
    """_codecs.encode: how Python 3 writes bytes in protocol 2, which has only texts."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes that are not written in Python's way")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """bytes(), likewise."""
    return b""


# --- NumPy ---

_ARRAY = object()  # numpy.ndarray, which is only handed to _new_array


class _Dtype:
    """numpy.dtype; ``dtype`` is the real one.

    Real dtypes are shared by all arrays: a state set on one would change it everywhere.
    """

    __slots__ = ("dtype",)

    def __init__(self, name: Any, align: Any = False, copy: Any = True):
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(text, str) or not _PLAIN_NUMBER.fullmatch(text):
            raise ValueError(f"elements of type {brief(text)} are no plain numbers")
        self.dtype = np.dtype(text)

    def set_state(self, version: Any, order: Any, *rest: Any) -> None:
        """The byte order, and nothing of what only other dtypes have: parts, names, fields."""
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "=") or any(part is not None for part in rest[:3]):
            raise ValueError("a dtype with parts or fields is not one of plain numbers")
        self.dtype = self.dtype.newbyteorder(order)


def _new_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """numpy.core.multiarray._reconstruct: an empty array, to which BUILD gives its content."""
    if kind is not _ARRAY or shape != (0,):
        raise ValueError("an array that is not made in NumPy's way")
    return np.empty(0, np.uint8)


def _fill_array(
    array: np.ndarray, version: Any, shape: Any, dtype: Any, in_columns: Any, data: Any
) -> None:
    """The state of ndarray; ``in_columns`` is true for Fortran's order."""
    data = _checked_data(shape, dtype, data)
    state: Any = (1, shape, dtype.dtype, in_columns is True, data)
    array.__setstate__(state)


def _array_from(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """numpy.core.numeric._frombuffer, as protocol 5 writes arrays."""
    if order not in ("C", "F"):
        raise ValueError("an array that is not made in NumPy's way")
    data = bytearray(_checked_data(shape, dtype, data))  # which can be written to
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> Any:
    """numpy.core.multiarray.scalar: one number."""
    return np.frombuffer(_checked_data((), dtype, data), dtype.dtype)[0]


def _checked_data(shape: Any, dtype: Any, data: Any) -> bytes:
    """The bytes of an array of ``shape``, just as many as it needs."""
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise ValueError("an array of something else than plain numbers")
    if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"an array of shape {brief(shape)}")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes for an array of {shape} {dtype.dtype}")
    if dtype.dtype.kind == "b" and data.strip(b"\0\1"):
        raise ValueError("a truth value that is neither 0 nor 1")
    return bytes(data)


# --- tables ---

# What BUILD does: the state in the file, given to an object that was made before.
STATES: dict[type, Callable[..., None]] = {np.ndarray: _fill_array, _Dtype: _Dtype.set_state}

PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered,
    ("collections", "Counter"): _counted,
    ("_codecs", "encode"): _latin1_bytes,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
}

_NUMPY_CORE = (
    ("multiarray", "_reconstruct", _new_array),
    ("multiarray", "scalar", _scalar),
    ("numeric", "_frombuffer", _array_from),
)
NUMPY: dict[tuple[str, str], Any] = {
    **PLAIN,
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _Dtype,
    **{(f"numpy.core.{module}", name): stand_in for module, name, stand_in in _NUMPY_CORE},
    **{(f"numpy._core.{module}", name): stand_in for module, name, stand_in in _NUMPY_CORE},
}
