"""The modules cupy, cupy.cuda, ...: every name asked for is looked up in CuPy's own list."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minires.kernels.cuda import fibers, launcher
from tests.fake_cupy import creation, cuda, draws, methods  # noqa: F401  (methods of ndarray)
from tests.fake_cupy.counters import counters
from tests.fake_cupy.device_array import arrays_in, ndarray
from tests.fake_cupy.functions import function, ufunc
from tests.fake_cupy.names import NAMES, VERSION, bind, kind


class RawModule:
    """As cupy.RawModule: for the CPU, by minires.kernels.cuda.fibers; its launches are counted."""

    def __init__(self, code: Any = None, **kwargs: Any):
        bind("cupy.RawModule", "__init__", (self, code), kwargs)
        self._module = fibers.RawModule(code, **kwargs, block_at=cuda.block_at)

    def get_function(self, name: str) -> Callable[..., None]:
        """The kernel of this name."""
        return functools.partial(_launch, self._module.get_function(name), name)


def _launch(
    kernel: Any,
    name: str,
    grid: Any,
    block: Any,
    args: Any,
    *,
    shared_mem: int = 0,
    stream: Any = None,
) -> None:
    """Run a kernel; all its arrays must lie on the current device, as its module does."""
    for array in arrays_in(tuple(args)):
        if array._memory.device_id != cuda.current_device():
            raise ValueError(
                f"kernel {name}: an array of device {array._memory.device_id} was given to a "
                f"launch on device {cuda.current_device()}"
            )
    for sizes, limits in ((grid, (2**31 - 1, 65535, 65535)), (block, (1024, 1024, 64))):
        within = all(1 <= n <= most for n, most in zip(sizes, limits, strict=False))
        if len(sizes) > 3 or not within:
            raise cuda.CUDARuntimeError(f"CUDA_ERROR_INVALID_VALUE: {name}<<<{grid}, {block}>>>")
    kernel(grid, block, args, shared_mem=shared_mem, stream=stream)
    counters.count("launches", name)


_pool, _pinned_pool = cuda.MemoryPool(), cuda.PinnedMemoryPool()


def get_array_module(*args: Any) -> ModuleType:
    """cupy if there is a device array among the arguments, else numpy."""
    return MODULES["cupy"] if arrays_in(args) else np


# What is not NumPy's function of the same name.
OWN: dict[str, dict[str, Any]] = {
    "cupy": {
        **{
            name: getattr(creation, name)
            for name in (
                *("array", "asarray", "asarray_chkfinite", "ascontiguousarray", "asfortranarray"),
                *("asnumpy", "copy", "copyto", "empty", "empty_like", "from_dlpack", "full"),
                *("full_like", "ones", "ones_like", "zeros", "zeros_like"),
            )
        },
        "asanyarray": creation.asarray,
        "RawModule": RawModule,
        "get_array_module": get_array_module,
        "get_default_memory_pool": lambda: _pool,
        "get_default_pinned_memory_pool": lambda: _pinned_pool,
        "is_available": lambda: True,
        "ndarray": ndarray,
        "ufunc": ufunc,
    },
    "cupy.cuda": {
        "Device": cuda.Device,
        "Event": cuda.Event,
        "MemoryPointer": cuda.MemoryPointer,
        "MemoryPool": cuda.MemoryPool,
        "PinnedMemoryPool": cuda.PinnedMemoryPool,
        "PinnedMemoryPointer": cuda.PinnedMemoryPointer,
        "Stream": cuda.Stream,
        "alloc_pinned_memory": cuda.alloc_pinned_memory,
        "get_current_stream": cuda.get_current_stream,
        "get_device_id": cuda.current_device,
        "get_elapsed_time": cuda.get_elapsed_time,
        "get_local_runtime_version": lambda: 13000,
        "is_available": lambda: True,
    },
    "cupy.cuda.runtime": {
        "CUDARuntimeError": cuda.CUDARuntimeError,
        "deviceSynchronize": lambda: cuda.Device().synchronize(),
        "driverGetVersion": lambda: 13000,
        "getDevice": cuda.current_device,
        "getDeviceCount": lambda: cuda.DEVICES,
        "getDeviceProperties": cuda.properties,
        "memGetInfo": lambda: cuda.Device().mem_info,
        "runtimeGetVersion": lambda: 13000,
        "setDevice": cuda.set_device,
    },
    "cupy.random": draws.FUNCTIONS,
}
NUMPYS = {
    "cupy": np,
    "cupy.fft": np.fft,
    "cupy.linalg": np.linalg,
    "cupy.lib.stride_tricks": np.lib.stride_tricks,
}
VALUES = {"e", "euler_gamma", "index_exp", "inf", "nan", "newaxis", "pi", "s_"}
TYPES = {"dtype", "finfo", "iinfo", "ndindex"}  # beside NumPy's types of numbers


@functools.cache
def find(section: str, name: str) -> Any:
    """``section.name``; AttributeError if CuPy has it not, or this fake has it not."""
    what = kind(section, name)
    if what == "module":
        if f"{section}.{name}" in MODULES:
            return MODULES[f"{section}.{name}"]
    elif name in OWN.get(section, {}):
        ours = OWN[section][name]
        return _checked(section, name, ours) if what.startswith("(") else ours
    elif hasattr(NUMPYS.get(section), name):
        numpys = getattr(NUMPYS[section], name)
        if what.startswith("ufunc"):
            return ufunc(name)
        if what.startswith("("):
            return function(section, name, numpys)
        if name in VALUES | TYPES or (what == "type" and issubclass(numpys, np.generic)):
            return numpys
        if isinstance(numpys, type) and issubclass(numpys, Exception):
            return numpys
    raise AttributeError(f"{section}.{name} is in CuPy {VERSION} but not in tests/fake_cupy")


def _checked(section: str, name: str, ours: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(ours)
    def call(*args: Any, **kwargs: Any) -> Any:
        bind(section, name, args, kwargs)
        return ours(*args, **kwargs)

    return call


class _Module(ModuleType):
    """A module whose names are CuPy's."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return find(self.__name__, name)

    def __dir__(self) -> list[str]:
        return sorted(NAMES.get(self.__name__, {}))


MODULES: dict[str, ModuleType] = {
    name: _Module(name)
    for name in NAMES
    if name.rpartition(".")[2].islower() and name != "cupy.ndarray"
}
MODULES["cupy.lib"] = ModuleType("cupy.lib")
MODULES["cupy.lib"].stride_tricks = MODULES["cupy.lib.stride_tricks"]  # type: ignore[attr-defined]
for _module in MODULES.values():
    _module.__path__ = []  # so that `import cupy.cuda` finds it in sys.modules
MODULES["cupy"].__version__ = VERSION  # type: ignore[attr-defined]


@contextlib.contextmanager
def installed() -> Iterator[ModuleType]:
    """``import cupy`` gives the fake inside the block; counts start at zero, on device 0."""
    before = {n: m for n, m in sys.modules.items() if n.split(".")[0] in ("cupy", "cupyx")}
    for name in before:
        del sys.modules[name]
    sys.modules.update(MODULES)
    sys.modules["cupyx"] = None  # type: ignore[assignment]  # not the real one beside the fake
    counters.reset()
    launcher.forget()
    try:
        with cuda.using():
            yield MODULES["cupy"]
    finally:
        launcher.forget()
        for name in (*MODULES, "cupyx"):
            sys.modules.pop(name, None)
        sys.modules.update(before)


@pytest.fixture
def fake_gpu() -> Iterator[ModuleType]:
    """A machine with two GPUs and CuPy, for one test."""
    with installed() as cupy:
        yield cupy
