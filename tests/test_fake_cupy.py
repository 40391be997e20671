"""The stand-in for CuPy refuses what CuPy refuses, counts copies, and computes as NumPy does."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import sys
import threading
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minires.kernels.cuda import fibers
from tests.fake_cupy import counters, cuda, draws, fake_gpu, installed  # noqa: F401  (a fixture)
from tests.fake_cupy.device_array import ndarray
from tests.fake_cupy.functions import ufunc
from tests.fake_cupy.modules import OWN
from tests.fake_cupy.names import NAMES, VERSION, signature

# Set by the tests below; the tables are written with them.
HOST = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)

REFUSED: dict[str, tuple[type[Exception], Any]] = {
    "device + host": (TypeError, lambda cp, x: x + HOST),
    "host + device": (TypeError, lambda cp, x: HOST + x),
    "device + 0-d host": (TypeError, lambda cp, x: x + np.array(1.0)),
    "in place with host": (TypeError, lambda cp, x: x.__iadd__(HOST)),
    "numpy's ufunc on both": (TypeError, lambda cp, x: np.add(x, HOST)),
    "numpy's function on both": (TypeError, lambda cp, x: np.concatenate([x, HOST])),
    "out of the host": (TypeError, lambda cp, x: np.add(x, x, out=HOST.copy())),
    "np.asarray": (TypeError, lambda cp, x: np.asarray(x)),
    "np.from_dlpack": (Exception, lambda cp, x: np.from_dlpack(x)),
    "an index of the host": (TypeError, lambda cp, x: x[np.array([0])]),
    "a mask of the host": (TypeError, lambda cp, x: x[HOST > 0]),
    "a value of the host": (TypeError, lambda cp, x: x.__setitem__(..., HOST)),
    "a list to stack": (TypeError, lambda cp, x: cp.stack([x, HOST])),
    "a list as an array": (TypeError, lambda cp, x: cp.sum([1.0, 2.0])),
    "no device array": (TypeError, lambda cp, x: cp.sum(3.0)),
    "a condition that is a bool": (TypeError, lambda cp, x: cp.where(True, x, x)),
    "where= of a ufunc": (TypeError, lambda cp, x: cp.add(x, x, where=x > 0)),
    "where= of a sum": (TypeError, lambda cp, x: x.sum(where=x > 0)),
    "initial=": (TypeError, lambda cp, x: cp.max(x, initial=0)),
    "mode= of take": (TypeError, lambda cp, x: cp.take(x, x, mode="clip")),
    "a place for item": (TypeError, lambda cp, x: x.item(0)),
    "casting": (TypeError, lambda cp, x: x.astype(np.float64, casting="safe")),
    "errstate": (AttributeError, lambda cp, x: cp.errstate),
    "vecdot": (AttributeError, lambda cp, x: cp.vecdot),
    "flags.writeable": (AttributeError, lambda cp, x: x.flags.writeable),
    "ctypes": (AttributeError, lambda cp, x: x.ctypes),
    "an attribute of one's own": (AttributeError, lambda cp, x: setattr(x, "note", 1)),
    "an index of Python": (TypeError, lambda cp, x: [1, 2][cp.argmax(x)]),
    "a hash": (TypeError, lambda cp, x: hash(x)),
    "add.at of int8": (TypeError, lambda cp, x: cp.add.at(cp.zeros(3, np.int8), x.sum(), 1)),
    "divide.at": (NotImplementedError, lambda cp, x: cp.divide.at(x, cp.zeros(1, int), 1)),
    "maximum.reduce": (NotImplementedError, lambda cp, x: cp.maximum.reduce(x)),
    "objects": (ValueError, lambda cp, x: cp.array([None])),
    "a place named twice": (IndexError, lambda cp, x: x.__setitem__(cp.zeros(2, int), x[:2])),
    "memory of the host": (TypeError, lambda cp, x: cp.from_dlpack(HOST.copy())),
    "set of another type": (TypeError, lambda cp, x: x.set(HOST.astype(np.float64))),
}

# What each copies: to the device, to the host.
COPIES: dict[str, tuple[int, int, Any]] = {
    "asarray of an array": (1, 0, lambda cp, x: cp.asarray(HOST)),
    "asarray of a list": (1, 0, lambda cp, x: cp.asarray([1, 2])),
    "asarray of a number": (0, 0, lambda cp, x: cp.asarray(2.0)),
    "asarray of device arrays": (0, 0, lambda cp, x: cp.asarray([x, x])),
    "set": (1, 0, lambda cp, x: x.set(HOST)),
    "a list as an index": (1, 0, lambda cp, x: x[[0, 1]]),
    "get": (0, 1, lambda cp, x: x.get()),
    "asnumpy": (0, 1, lambda cp, x: cp.asnumpy(x)),
    "item": (0, 1, lambda cp, x: x.sum().item()),
    "float": (0, 1, lambda cp, x: float(x.sum())),
    "if": (0, 1, lambda cp, x: bool((x > 0).any())),
    "allclose": (0, 0, lambda cp, x: cp.allclose(x, x)),
    "repr": (0, 1, lambda cp, x: repr(x)),
    "tolist": (0, 1, lambda cp, x: x.tolist()),
    "a mask read": (0, 1, lambda cp, x: x[x > 0]),
    "a mask written": (0, 1, lambda cp, x: x.__setitem__(x > 0, 0)),
    "nonzero": (0, 1, lambda cp, x: x.nonzero()),
    "where without x and y": (0, 1, lambda cp, x: cp.where(x > 0)),
    "where": (0, 0, lambda cp, x: cp.where(x > 0, x, 0)),
    "shares_memory": (0, 1, lambda cp, x: cp.shares_memory(x, x)),
    "may_share_memory": (0, 0, lambda cp, x: cp.may_share_memory(x, x)),
    "dlpack to the host": (0, 1, lambda cp, x: np.from_dlpack(x, device="cpu")),
    "zeros, a kernel and a number": (0, 0, lambda cp, x: x * 2 + cp.zeros(3) - np.float32(1)),
    "an index of the device": (0, 0, lambda cp, x: x[cp.arange(2)]),
    "a number written": (0, 0, lambda cp, x: x.__setitem__(0, 1.0)),
}

SAME: dict[str, Any] = {
    "arithmetic": lambda xp, x: (x + 1) * x / 2 - x**2 + 3 // (abs(x) + 1),
    "numbers first": lambda xp, x: 1 - 2 * x + np.float64(3) / (1 + x * x),
    "comparison": lambda xp, x: (x > 0) & (x != 1) | ~(x <= -1),
    "in place": lambda xp, x: x.__imul__(2).__isub__(1),
    "powers": lambda xp, x: xp.abs(x) ** 0.5 + xp.abs(x) ** 1.5 + x**2.0,
    "no number equals None": lambda xp, x: xp.stack([x == None, x != None]),  # noqa: E711
    "out": lambda xp, x: xp.exp(x, out=xp.empty_like(x)),
    "sum": lambda xp, x: x.sum(axis=0, keepdims=True),
    "sum of integers": lambda xp, x: xp.sum((x > 0).astype(np.int32)),
    "var": lambda xp, x: xp.var(x, axis=(0, 1), ddof=1),
    "max": lambda xp, x: x.max(axis=-1, keepdims=True),
    "argmax": lambda xp, x: xp.argmax(x, axis=1, keepdims=True),
    "sort": lambda xp, x: xp.sort(x, axis=0),
    "argsort": lambda xp, x: x.argsort(axis=0),
    "cumsum": lambda xp, x: xp.cumsum(x, axis=1),
    "clip": lambda xp, x: xp.clip(x, 0, None) + x.clip(max=0),
    "where": lambda xp, x: xp.where(x > 0, x, 0.5),
    "matmul": lambda xp, x: x @ x.T,
    "einsum": lambda xp, x: xp.einsum("ij,kj->ik", x, x),
    "tensordot": lambda xp, x: xp.tensordot(x, x, axes=([1], [1])),
    "norm": lambda xp, x: xp.linalg.norm(x, axis=1),
    "concatenate": lambda xp, x: xp.concatenate([x, x], axis=1),
    "stack": lambda xp, x: xp.stack((x, x), 1),
    "pad": lambda xp, x: xp.pad(x, ((1, 1), (0, 2))),
    "transpose": lambda xp, x: x.transpose(1, 0).reshape(2, -1),
    "windows": lambda xp, x: xp.lib.stride_tricks.sliding_window_view(x, (2, 2)),
    "strided": lambda xp, x: xp.lib.stride_tricks.as_strided(x, (2, 3, 3), (12, 12, 4)),
    "take": lambda xp, x: xp.take(x, xp.arange(2), axis=1),
    "take along": lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=1), axis=1),
    "index": lambda xp, x: x[xp.arange(3), xp.arange(3)],
    "slice": lambda xp, x: x[::-2, None, 1:],
    "arange": lambda xp, x: xp.arange(1, 7, 2, dtype=np.float32),
    "linspace": lambda xp, x: xp.linspace(0, 1, 5),
    "full": lambda xp, x: xp.full((2, 2), 3) + xp.full_like(x, 1)[:2, :2] + xp.eye(2),
    "searchsorted": lambda xp, x: xp.searchsorted(xp.sort(x.ravel()), x, side="right"),
}


@pytest.fixture
def x(fake_gpu: ModuleType) -> Any:  # noqa: F811
    array = fake_gpu.asarray(HOST)
    counters.reset()
    return array


def test_the_names_say_which_cupy_they_are_of(fake_gpu: ModuleType) -> None:  # noqa: F811
    assert VERSION.split(".")[0] == "14"
    assert fake_gpu.__version__ == VERSION
    assert {"sum", "add", "ndarray"} <= NAMES["cupy"].keys()
    assert {"vecdot", "errstate"}.isdisjoint(NAMES["cupy"])


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses(what: str, fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    error, call = REFUSED[what]
    with pytest.raises(error):
        call(fake_gpu, x)
    assert counters.to_device == 0, counters
    assert counters.to_host == 0, counters


@pytest.mark.parametrize("what", COPIES)
def test_it_counts_copies(what: str, fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    to_device, to_host, call = COPIES[what]
    call(fake_gpu, x)
    assert (counters.to_device, counters.to_host) == (to_device, to_host), counters
    assert all(__file__ in line for line in counters.lines)


@pytest.mark.parametrize("what", SAME)
def test_it_computes_what_numpy_does(what: str, fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    expected = np.asarray(SAME[what](np, HOST.copy()))
    found = SAME[what](fake_gpu, x)
    assert type(found) is ndarray
    assert counters.to_host == 0, counters
    np.testing.assert_array_equal(found.get(), expected, strict=True)


CLASSES = {
    "cupy.ndarray": ndarray,
    "cupy.ufunc": ufunc,
    "cupy.random.Generator": draws.Generator,
    "cupy.random.RandomState": draws.RandomState,
    **{
        f"cupy.cuda.{name}": getattr(cuda, name)
        for name in ("Device", "Event", "MemoryPointer", "MemoryPool", "PinnedMemoryPool", "Stream")
    },
}


@pytest.mark.parametrize("section", CLASSES)
def test_a_class_has_cupys_methods_and_parameters_and_no_others(section: str) -> None:
    python = {*dir(type("Any", (), {})), "__slots__", "__annotations__"}
    for name, method in vars(CLASSES[section]).items():
        if name in python - {"__init__"} or (name[0] == "_" and name[-1] != "_"):
            continue
        assert name in NAMES[section], f"CuPy's {section} has no {name}"
        known = NAMES[section][name].startswith("(") and not name.startswith("__")
        if known and method.__module__ != "tests.fake_cupy.functions":
            ours = list(inspect.signature(method).parameters)
            assert ours == list(signature(section, name).parameters), name


@pytest.mark.parametrize("section", OWN)
def test_a_function_of_its_own_is_one_of_cupys(section: str) -> None:
    assert OWN[section].keys() <= NAMES[section].keys()


def test_the_module_is_gone_afterwards_and_another_one_back(monkeypatch: Any) -> None:
    other = ModuleType("cupy")
    monkeypatch.setitem(sys.modules, "cupy", other)
    with installed() as cupy:
        assert sys.modules["cupy"] is cupy
        with pytest.raises(ImportError):
            import cupyx  # noqa: F401
    assert sys.modules["cupy"] is other
    assert not any(name.startswith(("cupy.", "cupyx")) for name in sys.modules)


def test_devices_are_kept_apart(fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    with fake_gpu.cuda.Device(1):
        other = fake_gpu.zeros(3, np.float32)
        assert (other + 1).device == fake_gpu.cuda.Device(1)
        with pytest.raises(ValueError, match=r"resides \(0\) is different"):
            other + x
        moved = x.copy()  # as in CuPy, a copy lies on the current device
        assert (moved.device.id, fake_gpu.asarray(x).device.id, x.device.id) == (1, 1, 0)
    with pytest.raises(ValueError, match=r"resides \(1\) is different"):
        other + 1
    assert other[:2].reshape(2, 1).device.id == 1
    assert counters.to_host == 0, counters
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        fake_gpu.cuda.Device(2).use()


def test_a_thread_starts_on_device_0_and_the_null_stream(fake_gpu: ModuleType) -> None:  # noqa: F811
    seen: list[Any] = []

    def look() -> None:
        seen.extend((fake_gpu.cuda.Device().id, fake_gpu.cuda.get_current_stream().ptr))

    with fake_gpu.cuda.Device(1), fake_gpu.cuda.Stream(non_blocking=True):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert fake_gpu.cuda.get_current_stream().ptr != 0
    assert seen == [0, 0]


def test_waiting_is_counted(fake_gpu: ModuleType) -> None:  # noqa: F811
    stream = fake_gpu.cuda.Stream()
    event = stream.record()
    fake_gpu.cuda.get_current_stream().wait_event(event)
    assert counters.synchronizations == 0
    event.synchronize()
    stream.synchronize()
    fake_gpu.cuda.Device().synchronize()
    assert counters.synchronizations == 3, counters
    assert fake_gpu.cuda.get_elapsed_time(event, stream.record()) >= 0


def test_unwritten_memory_is_not_zero(fake_gpu: ModuleType) -> None:  # noqa: F811
    assert np.isnan(fake_gpu.empty(3).get()).all()
    assert np.isnan(fake_gpu.empty_like(fake_gpu.ones(3)).get()).all()
    assert (fake_gpu.empty(3, int).get() == np.iinfo(int).max).all()


def test_integer_arrays_wrap_around_and_integers_do_not(fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    far = fake_gpu.asarray([4, -5])
    np.testing.assert_array_equal(x[far].get(), HOST[[0, 3]])
    np.testing.assert_array_equal(x[..., far].get(), HOST[:, [1, 1]])
    np.testing.assert_array_equal(fake_gpu.take(x, far, axis=0).get(), HOST[[0, 3]])
    with pytest.raises(IndexError):
        x[4]


def test_add_at_adds_up_what_is_named_twice(fake_gpu: ModuleType) -> None:  # noqa: F811
    out = fake_gpu.zeros(3)
    fake_gpu.add.at(out, fake_gpu.asarray([0, 0, 2]), fake_gpu.ones(3))
    assert out.tolist() == [2, 0, 1]


def test_views_share_memory_and_results_are_in_c_order(fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    view = x.T[1:]
    assert view.base is x
    assert not view.flags.owndata
    assert view.data.ptr == x.data.ptr + 4
    view[...] = 0
    assert not x[:, 1:].any()
    assert (x.T + 1).flags.c_contiguous  # NumPy would keep the order of x.T
    assert (x.T + 1).base is None


def test_memory_in_use_is_known(fake_gpu: ModuleType) -> None:  # noqa: F811
    gc.collect()
    pool = fake_gpu.get_default_memory_pool()
    before = pool.used_bytes()
    held = fake_gpu.zeros(1000, np.float32)
    view = held[:10]
    gone = weakref.ref(held)
    assert pool.used_bytes() == before + 4096
    del held
    assert pool.used_bytes() == before + 4096
    del view
    assert gone() is None
    assert pool.used_bytes() == before
    assert pool.total_bytes() >= before + 4096
    pool.free_all_blocks()
    assert pool.total_bytes() == before
    with fake_gpu.cuda.Device(1):
        assert pool.used_bytes() == 0


def test_other_libraries_see_the_same_memory(fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    class Foreign:
        __cuda_array_interface__ = x.__cuda_array_interface__

    assert x.__dlpack_device__() == (2, 0)
    for shared in (fake_gpu.from_dlpack(x), fake_gpu.asarray(Foreign())):
        assert shared.data.ptr == x.data.ptr
        np.testing.assert_array_equal(shared.get(), HOST)


def test_pinned_memory_is_written_by_numpy_and_copied_by_set(fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    pinned = fake_gpu.cuda.alloc_pinned_memory(HOST.nbytes)
    buffer = np.frombuffer(pinned, np.float32, HOST.size).reshape(HOST.shape)
    buffer[...] = 7
    x.set(buffer, stream=fake_gpu.cuda.Stream(non_blocking=True))
    assert (counters.to_device, counters.to_host) == (1, 0)
    assert (x.get() == 7).all()


def test_copies_and_pickles_are_arrays_of_their_own(fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    for other in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(other) is ndarray
        assert not fake_gpu.may_share_memory(other, x)
        np.testing.assert_array_equal(other.get(), HOST)


def test_seeded_draws_come_again_and_are_not_numpys(fake_gpu: ModuleType) -> None:  # noqa: F811
    first, again = (fake_gpu.random.default_rng(0).standard_normal(5).get() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != np.random.default_rng(0).standard_normal(5)).any()


@pytest.mark.skipif(fibers.COMPILER is None, reason="kernels run through a C++ compiler")
def test_a_launch_is_counted_and_stays_on_its_device(fake_gpu: ModuleType, x: Any) -> None:  # noqa: F811
    code = """extern "C" __global__ void twice(float* x, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) x[i] *= 2;
    }"""
    kernel = fake_gpu.RawModule(code=code).get_function("twice")
    kernel((1,), (32,), (x, np.int32(12)))
    assert counters.launches == 1
    assert counters.to_host == 0, counters
    np.testing.assert_array_equal(x.get(), 2 * HOST)
    with fake_gpu.cuda.Device(1), pytest.raises(ValueError, match="array of device 0"):
        kernel((1,), (32,), (x, np.int32(12)))
    with pytest.raises(RuntimeError, match="INVALID_VALUE"):
        kernel((1,), (2048,), (x, np.int32(12)))
