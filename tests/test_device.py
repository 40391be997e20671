"""Devices: their names, what is said where there is no GPU, and the test of one for all arrays."""

from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import device
from minires.device import check_same_device, names_device, to_device
from minires.errors import DeviceError
from tests.fake_cupy import fake_gpu  # noqa: F401


def without_cupy(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Importing CuPy fails with ``error``."""
    importing = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "cupy":
            raise error
        return importing(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize(
    ("version", "mend"),
    [
        (None, "No NVIDIA driver is loaded here: .*cupy-cuda13x"),
        (11080, "The driver is for CUDA 11.8: pip install cupy-cuda12x"),
        (12040, "The driver is for CUDA 12.4: pip install cupy-cuda12x"),
        (13000, "The driver is for CUDA 13.0: pip install cupy-cuda13x"),
        (14010, "The driver is for CUDA 14.1: pip install cupy-cuda13x"),
    ],
)
def test_a_missing_cupy_is_told_in_one_line_with_the_wheel_for_the_driver(
    monkeypatch: pytest.MonkeyPatch, version: int | None, mend: str
) -> None:
    without_cupy(monkeypatch, ModuleNotFoundError("No module named 'cupy'", name="cupy"))
    monkeypatch.setattr(device, "_driver_version", lambda: version)
    with pytest.raises(DeviceError, match=f"not available: CuPy is not installed. {mend}") as told:
        to_device(np.ones(2), "cuda")
    assert "\n" not in str(told.value)
    assert "'cpu'" in str(told.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ImportError("libcublas.so.13: no such file\nand more"),
            "libcublas.so.13: no such file",
        ),
        (RuntimeError("CuPy is installed twice"), "CuPy is installed twice"),
        (OSError(), "OSError"),
        (ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"), "fastrlock"),
    ],
)
def test_a_broken_cupy_is_told_in_one_line_with_its_own_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    without_cupy(monkeypatch, error)
    with pytest.raises(DeviceError, match="cannot be imported") as told:
        to_device(np.ones(2), "cuda:0")
    assert reason in str(told.value)
    assert "\n" not in str(told.value)
    assert mr.cuda.device_count() == 0


def test_cupy_without_a_gpu_is_told(
    fake_gpu: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["cupy"].cuda, "is_available", lambda: False)
    assert not mr.cuda.is_available()
    with pytest.raises(DeviceError, match="Device 'cuda' is not available: CuPy finds no GPU"):
        to_device(np.ones(2), "cuda")
    with pytest.raises(DeviceError, match="CuPy finds no GPU"):
        mr.cuda.synchronize()


@pytest.mark.parametrize("name", ["tpu", "cuda0", "cuda:", "cuda:x", "CPU", "cpu:0", "cudaa"])
def test_what_names_no_device_is_refused(name: str) -> None:
    assert not names_device(name)
    with pytest.raises(DeviceError, match="Unknown device"):
        to_device(np.ones(2), name)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:13"])
def test_what_names_a_device_is_known(name: str) -> None:
    assert names_device(name)


def test_a_gpu_that_the_machine_does_not_have_is_told_with_those_that_it_has(
    fake_gpu: Any,  # noqa: F811
) -> None:
    with pytest.raises(DeviceError, match=r"'cuda:2' is not available: .* 'cuda:0' to 'cuda:1'"):
        to_device(np.ones(2), "cuda:2")
    with pytest.raises(DeviceError, match="'cuda:7' is not available"):
        mr.cuda.memory_allocated("cuda:7")
    with pytest.raises(DeviceError, match="Unknown device 'cpu'"):
        mr.cuda.synchronize("cpu")


def test_arrays_go_to_the_gpu_that_is_named_and_back(fake_gpu: Any) -> None:  # noqa: F811
    x = np.arange(3.0)
    there = to_device(x, "cuda:1")
    assert device.device_of(there) == "cuda:1"
    assert to_device(there, "cuda") is there
    assert to_device(there, "cuda:1") is there
    other = to_device(there, "cuda:0")
    assert device.device_of(other) == "cuda:0"
    np.testing.assert_array_equal(to_device(other, "cpu"), x)


def test_arrays_of_two_devices_are_refused_with_the_operation_and_both(
    fake_gpu: Any,  # noqa: F811
) -> None:
    x = np.ones(2)
    there, other = to_device(x, "cuda:0"), to_device(x, "cuda:1")
    check_same_device("add", x=there, y=there, scale=2.0, nothing=None)
    with pytest.raises(DeviceError, match="add: x is on cuda:0 and y is on cuda:1"):
        check_same_device("add", x=there, y=other)
    with pytest.raises(DeviceError, match="linear: input is on cpu and weight is on cuda:0"):
        check_same_device("linear", input=x, weight=there)


def test_the_gpu_tells_what_it_holds(fake_gpu: Any) -> None:  # noqa: F811
    assert mr.cuda.is_available()
    assert mr.cuda.device_count() == 2
    before = mr.cuda.memory_allocated()
    held = mr.tensor(np.zeros(1000, np.float32)).to("cuda")
    assert mr.cuda.memory_allocated() - before >= held.data.nbytes
    mr.cuda.synchronize()


def test_asking_for_a_gpu_imports_cupy_and_nothing_before_does() -> None:
    code = (
        "import sys, minires as mr; mr.nn, mr.models, mr.train, mr.flow, mr.optim;"
        "import minires.kernels.cuda.launcher;"
        "assert not any(name.split('.')[0] == 'cupy' for name in sys.modules);"
        "print(mr.cuda.is_available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("True", "False")
