"""Where arrays live: NumPy on the CPU, CuPy on a GPU.

The array module is always picked from the data, ``xp = array_module(x)``, never from a global, so
one kernel source serves both.  CuPy is imported here only, and only once a GPU array is asked for.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from minires.errors import DeviceError

__all__ = [
    "Array",
    "array_module",
    "cuda_is_available",
    "device_of",
    "is_array",
    "to_device",
    "to_numpy",
]

# numpy.ndarray or cupy.ndarray.  CuPy ships no usable types, so this is as narrow as it gets.
Array: TypeAlias = Any


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
    if isinstance(x, np.ndarray):
        return True
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def device_of(x: Array) -> str:
    """``'cpu'`` for a NumPy array, ``'cuda:i'`` for a CuPy array on GPU i.

    >>> device_of(np.ones(3))
    'cpu'
    """
    return "cpu" if array_module(x) is np else f"cuda:{x.device.id}"


def cuda_is_available() -> bool:
    """Whether CuPy is installed and finds a GPU.  Imports CuPy if it is there."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.cuda.is_available())


def to_device(x: Array, device: str) -> Array:
    """``x`` on ``device`` ('cpu', 'cuda' or 'cuda:i'); the same array when it is there already."""
    if device == "cpu":
        return to_numpy(x)
    if not device.startswith("cuda") or (device[4:] and not device[5:].isdigit()):
        raise DeviceError(f"Unknown device {device!r}: use 'cpu', 'cuda' or 'cuda:0'.")
    if not cuda_is_available():
        raise DeviceError(
            f"Device {device!r} is not available: CuPy found no GPU, or is not installed. "
            "Install the wheel for your CUDA (pip install 'minires[gpu]'), or stay on 'cpu'."
        )
    import cupy

    with cupy.cuda.Device(int(device[5:] or 0)):
        return cupy.asarray(x)


def to_numpy(x: Array) -> np.ndarray:
    """``x`` as a NumPy array, copied from the GPU if it is there.

    >>> to_numpy(np.arange(3))
    array([0, 1, 2])
    """
    return np.asarray(x) if array_module(x) is np else np.asarray(x.get())
