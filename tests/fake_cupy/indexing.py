"""Indexing as CuPy does it: integer arrays wrap around, masks wait for the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fake_cupy.counters import counters
from tests.fake_cupy.device_array import is_scalar, ndarray, unwrap, wrap


def prepare(array: ndarray, index: Any, what: str) -> tuple[Any, bool]:
    """NumPy's form of an index, and whether it is an advanced one.

    CuPy would copy an index of the host to the device without a word: an array is refused here,
    and a list is counted.  Numbers out of range in an integer array wrap around; NumPy raises.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    parts = [_part(part, what) for part in parts]
    used = sum(_axes(part) for part in parts)
    axis, advanced = 0, False
    for i, part in enumerate(parts):
        if isinstance(part, np.ndarray):
            advanced = True
            if part.dtype.kind in "iu" and axis < array.ndim and array.shape[axis]:
                parts[i] = part % array.shape[axis]
        axis += array.ndim - used if part is Ellipsis else _axes(part)
    return tuple(parts), advanced


def _part(part: Any, what: str) -> Any:
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):  # a device array as a bound has no __index__, here as in CuPy
        if any(isinstance(n, ndarray) for n in (part.start, part.stop, part.step)):
            raise TypeError("slice indices must be integers or None or have an __index__ method")
        return part
    if isinstance(part, (bool, np.bool_)):
        counters.count("to_host", f"{what}: a boolean index")
        return np.asarray(part)
    if is_scalar(part):
        return part
    if isinstance(part, (list, tuple)):
        counters.count("to_device", f"{what}: a list as an index")
        return np.asarray(part, None if len(part) else np.intp)
    host = unwrap(part, what)
    if host.dtype.kind not in "biu":
        raise IndexError("arrays used as indices must be of integer or boolean type.")
    if host.dtype.kind == "b" and host.size:
        counters.count("to_host", f"{what}: a mask, whose True are counted")
    return host


def _axes(part: Any) -> int:
    """How many axes of the array an index takes."""
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype.kind == "b" else 1


def getitem(array: ndarray, index: Any) -> ndarray:
    """``array[index]``: a view for numbers and slices, else a C-contiguous copy."""
    what = "cupy.ndarray.__getitem__"
    key, advanced = prepare(array, index, what)
    if not advanced:
        # An Ellipsis keeps the answer an array where NumPy would give a number.
        key = key if Ellipsis in key else (*key, Ellipsis)
        return wrap(array._host[key], [array])
    unwrap(array, what)
    return wrap(np.array(array._host[key], order="C"))


def setitem(array: ndarray, index: Any, value: Any) -> None:
    """``array[index] = value``; a place named twice is an error: CuPy leaves open who wins."""
    what = "cupy.ndarray.__setitem__"
    key, advanced = prepare(array, index, what)
    target = unwrap(array, what)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]  # CuPy hands it to the kernel by value
    if isinstance(value, (list, tuple)):
        if not advanced:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        counters.count("to_device", f"{what}: a list as a value")
        value = np.asarray(value, array.dtype)
    elif not is_scalar(value):
        value = unwrap(value, what)
    if advanced and np.size(value) > 1:
        refuse_repeats(array, key)
    with np.errstate(all="ignore"):
        target[key] = value


def refuse_repeats(array: ndarray, key: Any) -> None:
    """IndexError if an index names a place more than once."""
    places = np.arange(array.size).reshape(array.shape)[key]
    if np.unique(places).size != places.size:
        raise IndexError(
            "cupy.ndarray.__setitem__: the index names a place more than once; which value CuPy "
            "keeps there is undefined. Use cupy.add.at to add them up."
        )
