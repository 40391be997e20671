"""Arrays of other libraries and tensors of this one are one memory, on the CPU and on a GPU."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.errors import DeviceError, DTypeError, GraphError, UsageError
from tests.fake_cupy import counters, fake_gpu

__all__ = ["fake_gpu"]

DTYPES = ["float32", "float64", "int64", "uint8", "bool"]


class Producer:
    """Another library's array, which may be old (no version is spoken of) or refuse."""

    def __init__(self, array: Any, device: Any = (1, 0), error: Exception | None = None):
        self.array, self.device, self.error = array, device, error

    def __dlpack__(self, stream: Any = None) -> Any:
        if self.error is not None:
            raise self.error
        return self.array.__dlpack__(stream=stream)

    def __dlpack_device__(self) -> Any:
        return self.device


class OnGPU:
    """Another library's array on a GPU, which only says where it lies."""

    def __init__(self, array: Any):
        self.__cuda_array_interface__ = array.__cuda_array_interface__
        self.array = array


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_takes_a_tensor_and_gives_one_of_the_same_memory(dtype: str) -> None:
    tensor = mr.tensor(np.ones((2, 3), dtype))
    array = np.from_dlpack(tensor)
    array[0, 0] = 0
    assert array.dtype == dtype
    assert tensor.numpy().tolist() == array.tolist()
    assert np.shares_memory(mr.from_dlpack(array).data, tensor.data)


def test_a_view_is_shared_as_a_view() -> None:
    array = np.arange(12.0).reshape(3, 4)
    tensor = mr.from_dlpack(array.T[::2])
    array[1, 2] = -1.0
    assert tensor.numpy().tolist() == array.T[::2].tolist()
    assert not tensor.requires_grad


def test_what_cannot_be_said_to_be_writable_is_read_only() -> None:
    assert mr.from_dlpack(np.ones(2)).data.flags.writeable
    array = np.ones(2)
    assert not mr.from_dlpack(Producer(array)).data.flags.writeable
    array.flags.writeable = False
    assert not mr.from_dlpack(array).data.flags.writeable
    assert mr.tensor(mr.from_dlpack(array)).data.flags.writeable


def test_a_tensor_that_requires_grad_is_not_shared() -> None:
    x = mr.ones(2, requires_grad=True)
    for share in (np.from_dlpack, mr.from_dlpack):
        with pytest.raises(GraphError, match=r"requires grad.*from_dlpack\(x.detach\(\)\)"):
            share(x)
        with pytest.raises(GraphError, match="requires grad"):
            share(x * 2)
    assert np.shares_memory(np.from_dlpack(x.detach()), x.data)


@pytest.mark.parametrize("value", [[1.0], 3, "text", None])
def test_what_has_no_dlpack_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(UsageError, match=f"a {type(value).__name__} has no __dlpack__"):
        mr.from_dlpack(value)


@pytest.mark.parametrize("error", [BufferError, RuntimeError, TypeError, ValueError])
def test_a_library_that_does_not_let_go_is_quoted(error: type[Exception]) -> None:
    with pytest.raises(UsageError, match="Producer cannot be shared: it requires grad"):
        mr.from_dlpack(Producer(np.ones(1), error=error("it requires grad")))


def test_numbers_that_are_not_real_and_other_devices_are_refused() -> None:
    with pytest.raises(DTypeError, match="complex"):
        mr.from_dlpack(np.ones(2, complex))
    with pytest.raises(DeviceError, match="device 8 is neither the CPU nor a GPU of CUDA"):
        mr.from_dlpack(Producer(np.ones(2), device=(8, 0)))


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_on_a_gpu_memory_is_shared_both_ways_without_a_copy(
    fake_gpu: ModuleType, device: str
) -> None:
    tensor = mr.tensor([1.0, 2.0, 3.0]).to(device)
    counters.reset()
    array = fake_gpu.from_dlpack(tensor)
    back = mr.from_dlpack(array)
    assert array.data.ptr == back.data.data.ptr == tensor.data.data.ptr
    assert back.device == device
    assert tensor.__dlpack_device__() == (2, int(device[-1]))
    with pytest.raises(GraphError, match="requires grad"):
        fake_gpu.from_dlpack(tensor.requires_grad_())
    assert counters.to_host == counters.to_device == 0, counters


def test_another_librarys_array_on_a_gpu_is_wrapped_by_tensor_and_copied_by_mr_tensor(
    fake_gpu: ModuleType,
) -> None:
    theirs = OnGPU(fake_gpu.asarray(np.arange(6, dtype=np.float32).reshape(2, 3)))
    counters.reset()
    wrapped, copied = mr.Tensor(theirs), mr.tensor(theirs)
    assert counters.to_host == counters.to_device == 0, counters
    theirs.array[0, 0] = 9.0
    assert wrapped.device == copied.device == "cuda:0"
    assert wrapped.numpy().tolist() == [[9.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert copied.numpy().tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert mr.tensor(theirs, dtype="float64", device="cpu").numpy().dtype == np.float64


def test_a_copy_of_a_tensor_on_another_gpu_stays_there(fake_gpu: ModuleType) -> None:
    tensor = mr.tensor([1.0, 2.0]).to("cuda:1")
    assert mr.tensor(tensor).device == "cuda:1"
    assert mr.tensor(tensor, dtype="float64", device="cpu").numpy().tolist() == [1.0, 2.0]


def test_pytorch_and_minires_share_memory() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.arange(6.0).reshape(2, 3)
    ours = mr.from_dlpack(theirs)
    theirs[0, 0] = 5.0
    assert ours.numpy().tolist() == theirs.tolist()
    back = torch.from_dlpack(mr.ones(2))
    assert back.tolist() == [1.0, 1.0]
    with pytest.raises(UsageError, match="Tensor cannot be shared"):
        mr.from_dlpack(theirs.clone().requires_grad_())
    with pytest.raises(UsageError, match="Tensor cannot be shared"):
        mr.from_dlpack(theirs.to(torch.bfloat16))
