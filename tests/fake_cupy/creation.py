"""Functions that make device arrays: from the host (counted), or on the device (free)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tests.fake_cupy import cuda
from tests.fake_cupy.counters import counters
from tests.fake_cupy.device_array import (
    CUDA,
    Capsule,
    arrays_in,
    garbage,
    is_scalar,
    ndarray,
    supported,
    unwrap,
    wrap,
)


def array(
    obj: Any,
    dtype: Any = None,
    copy: Any = True,
    order: Any = "K",
    subok: Any = False,
    ndmin: int = 0,
    *,
    blocking: Any = False,
) -> ndarray:
    """An array on the current device."""
    if subok:
        raise NotImplementedError
    if not isinstance(obj, ndarray) and hasattr(obj, "__cuda_array_interface__"):
        obj = _from_interface(obj)
    if isinstance(obj, ndarray):
        return _from_device(obj, dtype, copy, order, ndmin)
    if isinstance(obj, (list, tuple)) and arrays_in(*obj):
        if any(isinstance(part, (np.ndarray, *_NUMBERS)) for part in obj):
            raise TypeError(f"Unsupported type {type(obj)}: a list of device and host values")
        joined = np.array(unwrap(list(obj), "cupy.array"), dtype, ndmin=ndmin)
        return wrap(joined)
    host = np.array(obj, dtype, copy=True, order=order or "K", ndmin=ndmin)
    supported(host.dtype)
    if copy is False and isinstance(obj, np.ndarray):
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    if host.ndim and host.size:  # a single number travels inside the kernel that stores it
        counters.count("to_device", f"{host.dtype}{host.shape}")
    return wrap(host)


_NUMBERS = (bool, int, float, complex)


def _from_device(obj: ndarray, dtype: Any, copy: Any, order: Any, ndmin: int) -> ndarray:
    """As NumPy's array(), and a copy between devices if it lies on another one."""
    elsewhere = obj._memory.device_id != cuda.current_device()
    host = np.array(
        obj._host,
        None if dtype is None else supported(dtype),
        copy=True if elsewhere else copy,
        order=order or "K",
        ndmin=ndmin,
    )
    if host is obj._host:
        return obj
    return wrap(host, [] if elsewhere else [obj])


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: Any = False
) -> ndarray:
    """``a`` itself if it is there already."""
    return array(a, dtype, copy, order, blocking=blocking)


def asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> ndarray:
    """As asarray; looking at the values is a copy to the host."""
    a = asarray(a, dtype, order)
    if not np.isfinite(a.get()).all():
        raise ValueError("array must not contain Infs or NaNs")
    return a


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """In C order."""
    return array(a, dtype, None, "C", ndmin=1)


def asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    """In Fortran's order."""
    return array(a, dtype, None, "F")


def asnumpy(
    a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: Any = True
) -> Any:
    """On the host."""
    if isinstance(a, ndarray):
        return a.get(stream, order, out, blocking)
    found = np.asarray(a, order=order)  # type: ignore[call-overload]
    if out is None:
        return found
    out[...] = found
    return out


def empty(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    """Unwritten memory, filled with NaN so that a test sees it read."""
    return wrap(garbage(np.empty(shape, supported(dtype), order or "C")))


def zeros(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    """Zeros."""
    return wrap(np.zeros(shape, supported(dtype), order or "C"))


def ones(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    """Ones."""
    return wrap(np.ones(shape, supported(dtype), order or "C"))


def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> ndarray:
    """One number everywhere."""
    if isinstance(fill_value, ndarray):
        dtype = fill_value.dtype if dtype is None else dtype
    elif dtype is None:
        dtype = np.array(fill_value).dtype
    made = empty(shape, dtype, order)
    made.fill(fill_value)
    return made


def empty_like(
    prototype: ndarray, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    """Unwritten memory like another array's, which must be a device array."""
    if subok is not None:
        raise TypeError("subok is not supported yet")
    host = unwrap(prototype, "cupy.empty_like", anywhere=True)
    made = np.empty_like(host, dtype if dtype is None else supported(dtype), order, False, shape)
    return wrap(garbage(made))


def zeros_like(
    a: ndarray, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    """Zeros like another array."""
    return full_like(a, 0, dtype, order, subok, shape)


def ones_like(
    a: ndarray, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    """Ones like another array."""
    return full_like(a, 1, dtype, order, subok, shape)


def full_like(
    a: ndarray,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: Any = None,
    shape: Any = None,
) -> ndarray:
    """One number, in the form of another array."""
    made = empty_like(a, dtype, order, subok, shape)
    made.fill(fill_value)
    return made


def copy(a: ndarray, order: Any = "K") -> ndarray:
    """A copy on the current device."""
    return a.copy(order)


def from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> ndarray:
    """A view of another library's device memory; memory of the host is refused."""
    if device is not None:
        raise NotImplementedError("from_dlpack() does not support device yet.")
    kind, number = array.__dlpack_device__()
    if kind != CUDA:
        raise TypeError("CPU arrays cannot be directly imported to CuPy. Use cupy.asarray(array).")
    with cuda.Device(number):
        given = array.__dlpack__(stream=cuda.get_current_stream().ptr or 1)
        if isinstance(given, Capsule):
            return wrap(given.array._host, [given.array])
        return wrap(np.from_dlpack(_Producer(given)))


class _Producer:
    """A capsule as NumPy wants it: a test's own device tensor has memory of the host."""

    def __init__(self, capsule: Any):
        self.capsule = capsule

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def _from_interface(obj: Any) -> ndarray:
    """A view of memory described by ``__cuda_array_interface__``."""
    told = obj.__cuda_array_interface__
    dtype = np.dtype(told["typestr"])
    shape, strides = told["shape"], told.get("strides")
    if strides is None:
        strides = np.empty(shape, dtype).strides
    reach = sum((n - 1) * abs(s) for n, s in zip(shape, strides, strict=True)) + dtype.itemsize
    pointer, empty_ = told["data"][0], 0 in shape
    raw = (
        ctypes.create_string_buffer(1) if empty_ else (ctypes.c_char * reach).from_address(pointer)
    )
    view = wrap(np.ndarray(shape, dtype, raw, strides=strides))
    view._memory.owner = obj  # keeps the memory alive
    return view


def copyto(dst: ndarray, src: Any, casting: Any = "same_kind", where: Any = None) -> None:
    """Write ``src`` into ``dst``; between devices without casting, ``where`` or broadcasting."""
    same = not isinstance(src, ndarray) or src._memory.device_id == dst._memory.device_id
    if not same:
        if where is not None or src.shape != dst.shape or src.dtype != dst.dtype:
            raise ValueError("cupy.copyto between devices wants one shape and dtype and no where")
        dst._host[...] = src._host
        return
    if not is_scalar(src):
        src = unwrap(src, "cupy.copyto")
    where = True if where is None else unwrap(where, "cupy.copyto")
    np.copyto(unwrap(dst, "cupy.copyto"), src, casting, where)
