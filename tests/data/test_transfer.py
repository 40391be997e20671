"""Batches on a GPU: the same bits, one copy each, and no memory written to too early."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minires.data import DataLoader, PadCropFlip
from minires.data.transfer import Sender, sent_ahead
from minires.errors import DeviceError
from tests.data.late_streams import LateGPU
from tests.fake_cupy import counters, fake_gpu

__all__ = ["fake_gpu"]

N = 23
IMAGES = np.random.default_rng(0).standard_normal((N, 3, 5, 5)).astype(np.float32)
LABELS = np.arange(N)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


def loader(device: str | None, prefetch: int = 0, **settings: Any) -> DataLoader:
    settings = {"shuffle": True, "augment": PadCropFlip(1), "seed": 3, **settings}
    return DataLoader((IMAGES, LABELS), 4, prefetch=prefetch, device=device, **settings)


def bits(batches: Any) -> list[tuple[bytes, ...]]:
    return [tuple(part.numpy().tobytes() for part in batch) for batch in batches]


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_batches_on_a_gpu_have_the_bits_of_those_on_the_cpu(
    fake_gpu: ModuleType, device: str, prefetch: int
) -> None:
    there, here = loader(device, prefetch), loader(None)
    assert there.device == ("cuda:1" if device == "cuda:1" else "cuda:0")
    for _ in range(2):
        batches, expected = list(there), list(here)
        for batch, (x, y) in zip(batches, expected, strict=True):
            assert [part.device for part in batch] == [there.device] * 2
            assert [part.shape for part in batch] == [x.shape, y.shape]
            assert [part.dtype for part in batch] == [x.dtype, y.dtype]
            assert all(part.data.flags.c_contiguous for part in batch)
        assert bits(batches) == bits(expected)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_batch_costs_one_copy_and_no_wait(fake_gpu: ModuleType, prefetch: int) -> None:
    counters.reset()
    batches = list(loader("cuda", prefetch))
    assert counters.to_device == len(batches), counters
    assert counters.to_host == counters.synchronizations == 0, counters


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.ones((5, 3), np.float32), np.arange(5, dtype=np.int64)),
        (np.ones((5, 3), np.float64), np.arange(5, dtype=np.int32)),
        (np.ones((5, 1), np.float16), np.arange(10, dtype=np.uint8).reshape(5, 2)),
        (np.arange(5), np.arange(5.0)),
    ],
)
def test_images_and_labels_of_any_dtype_lie_in_one_buffer_with_the_labels_aligned(
    fake_gpu: ModuleType, images: np.ndarray, labels: np.ndarray
) -> None:
    for (x, y), (x_here, y_here) in zip(
        DataLoader((images, labels), 3, device="cuda"), DataLoader((images, labels), 3), strict=True
    ):
        assert x.data.data.mem is y.data.data.mem
        start = y.data.data.ptr - x.data.data.ptr
        assert x.data.nbytes <= start < x.data.nbytes + 16
        assert start % 16 == 0
        assert bits([(x, y)]) == bits([(x_here, y_here)])
        assert (x.dtype, y.dtype) == (x_here.dtype, y_here.dtype)


def test_a_state_says_nothing_of_the_device_and_is_gone_on_from_on_another(
    fake_gpu: ModuleType,
) -> None:
    there, here = loader("cuda", 2), loader("cpu")
    walk, same = iter(there), iter(here)
    next(walk), next(walk), next(same), next(same)
    assert there.state_dict() == here.state_dict()
    other = loader("cpu", seed=8)
    other.load_state_dict(there.state_dict())
    assert bits(other) == bits(walk)


def test_a_batch_is_the_memory_of_the_stream_that_is_current(fake_gpu: ModuleType) -> None:
    made_on = []
    empty = fake_gpu.empty

    def noted(*args: Any) -> Any:
        made_on.append(fake_gpu.cuda.get_current_stream())
        return empty(*args)

    with pytest.MonkeyPatch.context() as patch, fake_gpu.cuda.Stream() as stream:
        patch.setattr(fake_gpu, "empty", noted, raising=False)
        list(loader("cuda", 2))
    assert made_on == [stream] * 6


def test_the_per_thread_stream_gets_its_batches_from_its_own_thread(
    fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_gpu.cuda.get_current_stream(), "ptr", 2)
    threads = set()
    send = Sender.send

    def noted(*args: Any) -> Any:
        threads.add(threading.current_thread())
        return send(*args)

    monkeypatch.setattr(Sender, "send", noted)
    assert bits(loader("cuda", 2)) == bits(loader("cpu"))
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("device", ["cuda:7", "gpu", "cuda:x"])
def test_a_device_that_is_not_there_is_refused_at_once(fake_gpu: ModuleType, device: str) -> None:
    with pytest.raises(DeviceError, match=device):
        loader(device)


def test_the_text_of_a_loader_says_where_its_batches_go(fake_gpu: ModuleType) -> None:
    assert "cuda" not in repr(loader("cpu"))
    assert repr(loader("cuda:1")).endswith(", to cuda:1)")


# What follows runs on streams that do their work as early or as late as they may.

BATCHES = [
    (np.full((4, 6), i, np.float32), np.full(4, i, np.int64)) for i in range(12)
]  # all of one size, so that memory is used again and again
EAGER = [[], ["consumer"], ["loader"], ["consumer", "loader"], ["loader", "consumer"]]


@pytest.fixture(params=EAGER, ids=lambda eager: " ".join(eager) or "lazy")
def late(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LateGPU:
    gpu = LateGPU(request.param)
    monkeypatch.setitem(sys.modules, "cupy", gpu.module())
    return gpu


def read(gpu: LateGPU, array: np.ndarray, into: list[float]) -> None:
    """Queue a kernel that reads ``array``; like one, it does not keep its memory from the pool."""
    address, count = array.ctypes.data, array.size
    kind = np.ctypeslib.as_ctypes_type(array.dtype)

    def kernel() -> None:
        into.extend(set((kind * count).from_address(address)))

    gpu.current().queue(kernel)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_a_kernel_reads_its_own_batch_whenever_it_runs(late: LateGPU, ahead: int) -> None:
    images, labels = [], []
    for i, (x, y) in enumerate(sent_ahead(BATCHES.__getitem__, range(12), ahead, "cuda")):
        if i % 3:  # as a step does that reads its loss: the batch has arrived
            late.default.synchronize()
        read(late, x, images)
        read(late, y, labels)
        del x, y  # the memory goes back to the pool, and the kernels have perhaps not run
    late.default.synchronize()
    assert images == labels == list(range(12))
    assert late.reused > 0


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_what_was_sent_ahead_and_not_used_writes_into_nothing_later(
    late: LateGPU, ahead: int
) -> None:
    batches = sent_ahead(BATCHES.__getitem__, range(12), ahead, "cuda")
    size = next(batches)[0].base.nbytes
    batches.close()
    gc.collect()
    seen: list[float] = []
    arrays = [late.empty(size, np.uint8) for _ in range(ahead + 2)]
    for array in arrays:
        late.default.queue(lambda array=array: array.fill(77))  # type: ignore[misc]
        read(late, array, seen)
    for stream in late.streams.values():
        stream.synchronize()
    assert seen == [77] * len(arrays)
    assert [set(array.tolist()) for array in arrays] == [{77}] * len(arrays)


@pytest.mark.parametrize("ahead", [0, 2])
def test_page_locked_memory_is_used_again_and_not_heaped_up(ahead: int) -> None:
    gpu = LateGPU(["loader", "consumer"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", gpu.module())
        for x, _ in islice(sent_ahead(lambda i: BATCHES[0], range(50), ahead, "cuda"), 50):
            read(gpu, x, [])
    assert sum(len(free) for (of, _), free in gpu.free.items() if of == "host") <= ahead + 2
