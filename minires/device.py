"""Where arrays live: NumPy on the CPU, CuPy on a GPU.

The array module is always picked from the data, ``xp = array_module(x)``, never from a global, so
one kernel source serves both.  CuPy is imported here only, and only once a GPU array is asked for.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from minires.errors import DeviceError

__all__ = [
    "Array",
    "array_like",
    "array_module",
    "as_array",
    "check_same_device",
    "copied",
    "device_of",
    "gpu",
    "import_cupy",
    "is_array",
    "is_on_gpu",
    "known_device",
    "names_device",
    "to_device",
    "to_numpy",
    "using_device_of",
    "where_input_is",
    "zeros_like",
]

# numpy.ndarray or cupy.ndarray.  CuPy ships no usable types, so this is as narrow as it gets.
Array: TypeAlias = Any

P = ParamSpec("P")
R = TypeVar("R")


def array_module(x: Array) -> ModuleType:
    """The module (``numpy`` or ``cupy``) that ``x`` belongs to.

    >>> array_module(np.ones(3)).__name__
    'numpy'
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    cupy = sys.modules.get("cupy")  # a CuPy array can only exist if somebody imported CuPy
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy
    raise DeviceError(f"array_module: {type(x).__name__} is neither a NumPy nor a CuPy array.")


def is_array(x: object) -> bool:
    """Whether ``x`` is a NumPy or CuPy array (not a list, not a single number).

    >>> is_array(np.ones(3)), is_array([1.0]), is_array(np.float32(1))
    (True, False, False)
    """
    return isinstance(x, np.ndarray) or is_on_gpu(x)


def is_on_gpu(x: object) -> bool:
    """Whether ``x`` is a CuPy array.

    >>> is_on_gpu(np.ones(3))
    False
    """
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def as_array(x: Any) -> Array:
    """``x`` itself if it is an array; NumPy's single numbers, and Python's, as 0-d arrays.

    NumPy makes a single number of every 0-d result, CuPy makes an array.

    >>> as_array(np.float32(2.0))
    array(2., dtype=float32)
    """
    return x if is_array(x) else np.asarray(x)


def array_like(data: Any, like: Array, dtype: Any = None) -> Array:
    """``data`` (numbers, lists, a NumPy array) as an array beside ``like``; a copy only if needed.

    >>> array_like([1, 2], np.zeros(3), dtype=np.float32)
    array([1., 2.], dtype=float32)
    """
    with using_device_of(like):
        return array_module(like).asarray(data, dtype=dtype)


def using_device_of(x: Any) -> AbstractContextManager[Any]:
    """A block in which new GPU arrays are made, and work is done, where the array ``x`` is."""
    if isinstance(x, np.ndarray) or not is_on_gpu(x):
        return _as_it_is
    return x.device  # type: ignore[no-any-return]  # CuPy's devices are such blocks


_as_it_is = nullcontext()


def where_input_is(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, which works with array code of its own, run where its first argument is."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0] if args else next(iter(kwargs.values()), None)
        first = getattr(first, "_data", first)  # of a tensor
        if isinstance(first, np.ndarray):
            return function(*args, **kwargs)
        with using_device_of(first):
            return function(*args, **kwargs)

    return run


def copied(x: Array) -> Array:
    """A copy of ``x`` where ``x`` is: CuPy's own ``copy`` would go to the current GPU.

    >>> copied(np.arange(3))
    array([0, 1, 2])
    """
    with using_device_of(x):
        return x.copy(order="K")


def zeros_like(x: Array) -> Array:
    """Zeros in the shape and type of ``x``, where ``x`` is.

    >>> zeros_like(np.arange(3))
    array([0, 0, 0])
    """
    with using_device_of(x):
        return array_module(x).zeros_like(x)


def device_of(x: Array) -> str:
    """``'cpu'`` for a NumPy array, ``'cuda:i'`` for a CuPy array on GPU i.

    >>> device_of(np.ones(3))
    'cpu'
    """
    return "cpu" if array_module(x) is np else f"cuda:{x.device.id}"


def check_same_device(operation: str, **arrays: Any) -> None:
    """Raise DeviceError, which names both devices, unless all arrays are on one.

    What is no array (a number, None) has no device, and fits any.

    >>> check_same_device("add", x=np.ones(3), other=2.0)
    """
    found: dict[str, str] = {}
    for name, array in arrays.items():
        if is_array(array):
            found.setdefault(device_of(array), name)
    if len(found) > 1:
        (one, of_one), (other, of_other), *_ = found.items()
        raise DeviceError(
            f"{operation}: {of_one} is on {one} and {of_other} is on {other}.\n"
            f"  Move one of them: {of_other}.to({one!r}), or model.to({one!r}) for a whole network."
        )


def import_cupy(wanted: str = "A GPU") -> ModuleType:
    """CuPy, imported at the first call; ``wanted`` is what the error says is not available.

    Raises:
        DeviceError: it is missing or broken; one line says which wheel the driver needs.
    """
    try:
        import cupy
    except Exception as error:  # a broken installation can fail in any way
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        what = "is not installed" if missing else f"cannot be imported ({_first_line(error)})"
        raise DeviceError(_not_available(wanted, f"CuPy {what}")) from None
    return cupy  # type: ignore[no-any-return]


def names_device(text: object) -> bool:
    """Whether ``text`` has the form of a device: 'cpu', 'cuda' or 'cuda:1'.

    >>> names_device("cuda:1"), names_device("float32"), names_device("cuda1")
    (True, False, False)
    """
    if not isinstance(text, str):
        return False
    kind, colon, number = text.partition(":")
    return text == "cpu" or (kind == "cuda" and (number.isdecimal() if colon else True))


def to_device(x: Array, device: str) -> Array:
    """``x`` on ``device`` ('cpu', 'cuda' or 'cuda:i'); the same array when it is there already.

    'cuda' is the current GPU for an array that comes from the CPU; an array that is on some GPU
    stays there.

    Raises:
        DeviceError: the device is unknown, or not there, or CuPy is missing; with the mend.

    >>> x = np.ones(3)
    >>> to_device(x, "cpu") is x
    True
    """
    if device == "cpu":
        return to_numpy(x)
    if is_on_gpu(x) and device in ("cuda", device_of(x)):
        return x
    with gpu(device):
        return _to_this_gpu(import_cupy(), x)


def _to_this_gpu(cupy: ModuleType, x: Array) -> Array:
    """``x``, from the CPU or another GPU, on the current one, once its numbers are written."""
    if is_on_gpu(x):
        with x.device:
            x = cupy.ascontiguousarray(x)  # CuPy copies only such arrays between GPUs
            written = cupy.cuda.get_current_stream().record()
        cupy.cuda.get_current_stream().wait_event(written)
    return cupy.asarray(x)


def gpu(device: str) -> Any:
    """CuPy's device 'cuda:1', or, for 'cuda', the current one; a block in which it is current.

    Raises:
        DeviceError: the name is none of a GPU, or there is no such GPU; with the mend.
    """
    if not names_device(device) or device == "cpu":
        raise DeviceError(f"Unknown device {device!r}: use 'cpu', 'cuda' or 'cuda:0'.")
    wanted = f"Device {device!r}"
    cuda = import_cupy(wanted).cuda
    if not cuda.is_available():
        raise DeviceError(_not_available(wanted, "CuPy finds no GPU"))
    count = cuda.runtime.getDeviceCount()
    if device == "cuda":
        return cuda.Device()
    number = int(device.removeprefix("cuda:"))
    if number >= count:
        there = "'cuda:0'" if count == 1 else f"'cuda:0' to 'cuda:{count - 1}'"
        raise DeviceError(f"{wanted} is not available: this machine has {there}.")
    return cuda.Device(number)


def known_device(device: str | None) -> str:
    """``device`` with its number, once it is known to be there; None is the CPU.

    Raises:
        DeviceError: it is unknown, or not there, or CuPy is missing; with the mend.

    >>> known_device(None), known_device("cpu")
    ('cpu', 'cpu')
    """
    return "cpu" if device is None or device == "cpu" else f"cuda:{gpu(device).id}"


def to_numpy(x: Array) -> np.ndarray:
    """``x`` as a NumPy array, copied from the GPU if it is there.

    >>> to_numpy(np.arange(3))
    array([0, 1, 2])
    """
    if array_module(x) is np:
        return np.asarray(x)
    with using_device_of(x):  # else it would be read on the stream of another GPU
        return np.asarray(x.get())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _not_available(what: str, reason: str) -> str:
    """One line: what is not there and why, and what to install for the driver that is."""
    version = _driver_version()
    if version is None:
        mend = "No NVIDIA driver is loaded here: install one, and then pip install cupy-cuda13x"
    else:
        major, minor = version // 1000, version % 1000 // 10
        wheel = f"cupy-cuda{min(max(major, 12), 13)}x"
        mend = f"The driver is for CUDA {major}.{minor}: pip install {wheel}, and no other CuPy"
    return f"{what} is not available: {reason}. {mend}; on 'cpu' all of minires runs too."


def _driver_version() -> int | None:
    """12040 for CUDA 12.4; None without a driver."""
    version = ctypes.c_int()
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            if ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version)) == 0:
                return version.value
        except (OSError, AttributeError):
            pass
    return None
