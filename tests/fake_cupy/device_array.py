"""cupy.ndarray without a GPU: a NumPy array that refuses to be taken for one."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tests.fake_cupy import cuda
from tests.fake_cupy.counters import counters

REFUSED = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)
CUDA = 2  # DLPack's number for this kind of device


class Flags:
    """As CuPy's: there is no `writeable`."""

    def __init__(self, c_contiguous: bool, f_contiguous: bool, owndata: bool):
        self.c_contiguous, self.f_contiguous, self.owndata = c_contiguous, f_contiguous, owndata
        self.fnc = f_contiguous and not c_contiguous
        self.forc = f_contiguous or c_contiguous

    def __getitem__(self, name: str) -> bool:
        if name not in ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA"):
            raise KeyError(f"{name} is not defined for cupy.ndarray.flags")
        return bool(getattr(self, name.lower()))


class Capsule:
    """What ``__dlpack__`` gives for device memory: nothing a reader of host memory can open."""

    def __init__(self, array: ndarray):
        self.array = array


class ndarray:
    """An array on device 0 or 1.  ``_host`` is NumPy's array of the same memory."""

    __module__ = "cupy"
    __slots__ = ("__weakref__", "_base", "_host", "_memory")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: Any = None,
        strides: Any = None,
        order: Any = "C",
    ):
        dtype = supported(dtype)
        if memptr is None:
            if strides is not None:
                raise NotImplementedError("the fake makes arrays with strides on a pointer only")
            self._set(garbage(np.empty(shape, dtype, order or "C")))
            return
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        room = memptr.mem.ptr + memptr.mem.size - memptr.ptr
        raw = (ctypes.c_char * room).from_address(memptr.ptr)
        self._set(np.ndarray(shape, dtype, raw, strides=strides, order=order or "C"), memptr.mem)

    def _set(self, host: np.ndarray, memory: cuda.Memory | None = None, base: Any = None) -> None:
        self._host, self._base = host, base
        if memory is None:
            root = root_of(host)
            whole = root if isinstance(root, np.ndarray) else host
            memory = cuda.Memory(root, whole.nbytes, whole.ctypes.data, cuda.current_device())
        self._memory = memory

    # What it is.

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    base = property(lambda self: self._base)
    device = property(lambda self: cuda.Device(self._memory.device_id))
    T = property(lambda self: wrap(self._host.T, [self]))
    mT = property(lambda self: wrap(self._host.mT, [self]))
    real = property(lambda self: wrap(self._host.real, [self]))
    imag = property(lambda self: wrap(self._host.imag, [self]))

    @shape.setter
    def shape(self, shape: Any) -> None:
        self._host = self._host.reshape(shape, copy=False)

    @property
    def flags(self) -> Flags:
        flags = self._host.flags
        return Flags(flags.c_contiguous, flags.f_contiguous, self._base is None)

    @property
    def data(self) -> cuda.MemoryPointer:
        return cuda.MemoryPointer(self._memory, self._host.ctypes.data - self._memory.ptr)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        host = self._host
        return {
            "shape": host.shape,
            "typestr": host.dtype.str,
            "descr": host.dtype.descr,
            "stream": cuda.get_current_stream().ptr or 1,
            "version": 3,
            "strides": None if host.flags.c_contiguous else host.strides,
            "data": (host.ctypes.data if host.size else 0, False),
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self._memory.device_id

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: Any = None,
    ) -> Any:
        if dl_device == (1, 0):
            if copy is False:
                raise ValueError("GPU memory cannot be exported to CPU without copy.")
            return self.get().__dlpack__(max_version=max_version)
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("unsupported device requested.")
        if copy:
            raise BufferError("copy=True only supported for copy to CPU.")
        return Capsule(self)

    # What NumPy may not do with it.

    def __array__(self, dtype: Any = None) -> Any:
        raise TypeError(REFUSED)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from tests.fake_cupy.modules import find

        try:
            ours = find(func.__module__.replace("numpy", "cupy", 1), func.__name__)
        except AttributeError:
            return NotImplemented
        if not all(issubclass(t, (ndarray, np.ndarray)) for t in types):
            return NotImplemented
        return ours(*args, **kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from tests.fake_cupy.modules import find

        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        try:
            ours = find("cupy", ufunc.__name__)
            ours = ours if method == "__call__" else getattr(ours, method)
        except AttributeError:
            return NotImplemented
        for x in (*inputs, kwargs.get("out")):
            known = x is None or isinstance(x, (ndarray, np.ndarray)) or is_scalar(x)
            if not known and not hasattr(x, "__cuda_array_interface__"):
                return NotImplemented
        return ours(*inputs, **kwargs)

    # Its values on the host: each of these is a copy, and waits for the device.

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> np.ndarray:
        """A copy on the host."""
        if self.size:
            counters.count("to_host", f"{self._host.dtype}{self.shape}")
        if out is None:
            return np.array(self._host, order=order)  # type: ignore[call-overload]
        if not isinstance(out, np.ndarray) or self.dtype != out.dtype:
            raise TypeError(f"{self.dtype} array cannot be obtained into {out!r}")
        if self.shape != out.shape:
            raise ValueError(f"Shape mismatch. Expected {self.shape}, actual {out.shape}")
        if not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        out[...] = self._host
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        """Fill it from the host."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        counters.count("to_device", f"{arr.dtype}{arr.shape}")
        self._host[...] = arr

    def item(self) -> Any:
        """The one number in it; unlike NumPy's it takes no place."""
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def tolist(self) -> Any:
        """Nested lists of numbers."""
        return self.get().tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        """Its bytes."""
        return self.get().tobytes(order)

    def __bool__(self) -> bool:
        if self.size == 0:
            message = "The truth value of an empty array is ambiguous."
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return False
        if self.size > 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous.")
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, format_spec: str) -> str:
        return format(self.get(), format_spec)

    def __reduce__(self) -> Any:
        from tests.fake_cupy.creation import array

        return array, (self.get(),)

    # Copies and views on the device.

    def copy(self, order: Any = "C") -> ndarray:
        """A copy on the *current* device, wherever this one is."""
        return wrap(np.array(self._host, order=order))

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        with self.device:
            return self.copy()

    def astype(
        self, dtype: Any, order: Any = "K", casting: Any = None, subok: Any = None, copy: Any = True
    ) -> ndarray:
        """The same values in another type."""
        if casting is not None or subok is not None:
            raise TypeError("casting and subok are not supported yet")
        (host,) = unwrap([self], "cupy.ndarray.astype")
        with np.errstate(all="ignore"):
            cast = host.astype(supported(dtype), order=order or "K", copy=copy)
        return self if cast is host else wrap(cast)

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        """The same memory, perhaps read as another type."""
        return wrap(self._host.view() if dtype is None else self._host.view(dtype), [self])

    def fill(self, value: Any) -> None:
        """The same number everywhere; a 0-d array of NumPy counts as a number, as in CuPy."""
        if isinstance(value, ndarray):
            (value,) = unwrap([value], "cupy.ndarray.fill")
        if np.shape(value) != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host[...] = np.asarray(value, self.dtype)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, value: Any, /) -> ndarray:
        from tests.fake_cupy.indexing import getitem

        return getitem(self, value)

    def __setitem__(self, slices: Any, value: Any) -> None:
        from tests.fake_cupy.indexing import setitem

        setitem(self, slices, value)


def root_of(host: Any) -> Any:
    """The object that owns the memory of a NumPy array."""
    while getattr(host, "base", None) is not None:
        host = host.base
    return host


def supported(dtype: Any) -> np.dtype:
    """The dtype; ValueError for one that CuPy has no arrays of."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "?biufc" or dtype.itemsize > 8 * (1 + (dtype.kind == "c")):
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def garbage(host: np.ndarray) -> np.ndarray:
    """Memory nobody has written yet: on a GPU it holds what was there before, not zeros."""
    if host.dtype.kind in "fc":
        host[...] = np.nan
    elif host.dtype.kind in "iu":
        host[...] = np.iinfo(host.dtype).max
    else:
        host[...] = True
    return host


def is_scalar(x: Any) -> bool:
    """A number that CuPy hands to a kernel by value: Python's or NumPy's, not a 0-d array."""
    return isinstance(x, (bool, int, float, complex, np.generic))


def wrap(value: Any, sources: Iterable[ndarray] = ()) -> Any:
    """NumPy's answer as CuPy's: arrays and NumPy's numbers become device arrays, views stay views.

    ``sources`` are the arrays it may be a view of.
    """
    if isinstance(value, (tuple, list)):
        parts = [wrap(part, sources) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    host = np.asarray(value)
    supported(host.dtype)
    root = root_of(host)
    result = ndarray.__new__(ndarray)
    for source in sources:
        if source._memory.root is root:
            result._set(host, source._memory, source if source._base is None else source._base)
            return result
    result._set(host)
    return result


def unwrap(value: Any, what: str, *, anywhere: bool = False) -> Any:
    """The NumPy arrays behind device arrays, in lists and tuples too.

    NumPy's own arrays are refused, and arrays that are not on the current device: CuPy reads
    those through peer access where the machine has it, but puts the result on the current one.
    """
    if isinstance(value, ndarray):
        device, current = value._memory.device_id, cuda.current_device()
        if device != current and not anywhere:
            raise ValueError(
                f"{what}: the device where the array resides ({device}) is different from the "
                f"current device ({current})."
            )
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"{what}: Unsupported type {type(value)}: this array of the host was not moved to the "
            "device"
        )
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(part, what, anywhere=anywhere) for part in value)
    if isinstance(value, dict):
        return {key: unwrap(part, what, anywhere=anywhere) for key, part in value.items()}
    if hasattr(value, "__cuda_array_interface__"):
        from tests.fake_cupy.creation import asarray

        return asarray(value)._host
    return value


def arrays_in(*values: Any) -> list[ndarray]:
    """All device arrays among the arguments."""
    found: list[ndarray] = []
    for value in values:
        if isinstance(value, ndarray):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += arrays_in(*value)
        elif isinstance(value, dict):
            found += arrays_in(*value.values())
    return found
