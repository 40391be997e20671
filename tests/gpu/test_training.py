"""Training on a card: NumPy's numbers, the same bits each time, two copies a step, and no wait."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import models, optim
from minires.bench.worker import device_work
from minires.data import DataLoader
from tests.fake_cupy import counters
from tests.gpu.conftest import FAKE, Watch
from tests.test_training_on_a_gpu import NETWORKS, trained

pytestmark = pytest.mark.gpu
WIDTH, BATCH = (2, 4) if FAKE else (16, 64)  # a stand-in takes its time
DATA = mr.data.load_digits().take(20 * BATCH, 10).train


class Run:
    """ResNet-20 on the GPU, and its optimizer."""

    def __init__(self, width: int = WIDTH):
        mr.manual_seed(0)
        self.model = models.cifar_resnet(20, width=width, in_channels=1).to("cuda")
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)

    def step(self, x: mr.Tensor, y: mr.Tensor) -> mr.Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def bits(self) -> list[bytes]:
        return [mr.Tensor(a).cpu().numpy().tobytes() for a in self.model.state_dict().values()]


def batches() -> list[tuple[mr.Tensor, mr.Tensor]]:
    return list(DataLoader(DATA, BATCH, device="cuda"))


@pytest.mark.parametrize("name", NETWORKS)
def test_five_steps_give_the_numbers_of_numpy(cupy: ModuleType, name: str) -> None:
    """In float64; roundings of 1e-16 grow with each step, to below 1e-11 on the stand-in."""
    losses, state = trained(NETWORKS[name], "cpu")
    there, state_there = trained(NETWORKS[name], "cuda")
    np.testing.assert_allclose(there, losses, rtol=1e-11)
    for key, array in state.items():
        np.testing.assert_allclose(state_there[key], array, rtol=1e-8, atol=1e-11, err_msg=key)


def test_five_steps_in_float32_err_as_much_as_those_of_numpy(cupy: ModuleType) -> None:
    exact, _ = trained(NETWORKS["resnet"], "cpu", "float64")
    here, _ = trained(NETWORKS["resnet"], "cpu", "float32")
    there, _ = trained(NETWORKS["resnet"], "cuda", "float32")
    own_error = np.abs(np.subtract(here, exact)).max()
    assert np.abs(np.subtract(there, exact)).max() < 5 * own_error + 1e-6


def test_the_same_seed_gives_the_same_bits_twice(cupy: ModuleType) -> None:
    """ResNet-20, 20 steps of 64 images, float32, with dropout's draws on the card beside them."""

    def once() -> tuple[list[bytes], list[float]]:
        run, losses = Run(), []
        for x, y in batches():
            losses.append(run.step(F.dropout(x, 0.1), y).item())
        return run.bits(), losses

    first, second = once(), once()
    assert len(first[1]) == 20
    assert first == second


def test_a_step_waits_for_nothing(cupy: ModuleType, without_waiting: Watch) -> None:
    run, (x, y) = Run(), batches()[0]
    run.step(x, y)
    with without_waiting():
        loss = run.step(x, y)
    assert np.isfinite(loss.item())


def test_a_step_has_one_copy_in_and_one_out(cupy: ModuleType) -> None:
    """Counted by PyTorch's profiler, which sees all that this process asks of the card."""
    run, loader = Run(), DataLoader(DATA, 4 * BATCH, device="cuda")

    def epoch() -> None:
        for x, y in loader:
            run.step(x, y).item()

    epoch()  # compiles, and makes ready what is made once
    if FAKE:
        counters.reset()
        epoch()
        copied = counters.to_device, counters.to_host
    else:
        work = device_work(epoch)
        if work is None:
            pytest.skip("counting copies takes a PyTorch with CUDA in this Python")
        copied = tuple(sum(way in name for name in work) for way in ("HtoD", "DtoH"))  # type: ignore[assignment]
    assert copied == (len(loader), len(loader))


@contextmanager
def another_stream(cupy: ModuleType) -> Iterator[Any]:
    """A stream that does not wait for the usual one, nor that for it; all work is done at the end.

    It is kept busy at first, so that work told to the usual stream would come too early.
    """
    stream = cupy.cuda.Stream(non_blocking=True)
    busy = cupy.full((2048, 2048), 0.5, dtype=np.float32)
    cupy.cuda.Device().synchronize()
    with stream:
        for _ in range(20):
            busy = (busy @ busy) * np.float32(1 / 1024)
        yield stream
    stream.synchronize()


def test_work_goes_to_the_current_stream_alone(cupy: ModuleType) -> None:
    given = batches()[:3]
    plain, other = Run(), Run()
    losses = [plain.step(x, y).item() for x, y in given]
    mr.cuda.synchronize()
    with another_stream(cupy) as stream:
        there = [other.step(x, y) for x, y in given]
        assert cupy.cuda.get_current_stream() == stream
    assert [loss.item() for loss in there] == losses
    assert other.bits() == plain.bits()


def test_the_memory_of_a_step_is_free_again_after_it(cupy: ModuleType) -> None:
    run, (x, y) = Run(), batches()[0]
    run.step(x, y)
    gc.collect()
    before = mr.cuda.memory_allocated()
    gc.disable()  # reference counting alone must free the graph
    try:
        for _ in range(3):
            loss = run.step(x, y)
            assert mr.cuda.memory_allocated() == before + 512  # the loss, in the pool's least block
            del loss
            assert mr.cuda.memory_allocated() == before
    finally:
        gc.enable()
    parameters = sum(p.numel() for p in run.model.parameters())
    del run
    gc.collect()
    # Parameters, gradients and velocities, 4 bytes each, are gone.
    assert mr.cuda.memory_allocated() <= before - 3 * 4 * parameters


def test_memory_is_shared_with_pytorch_both_ways(cupy: ModuleType) -> None:
    torch = pytest.importorskip("torch", reason="there is no PyTorch to share memory with")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch is without CUDA")
    x = mr.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), device="cuda")
    there = torch.from_dlpack(x)
    assert there.is_cuda
    assert there.tolist() == x.tolist()
    assert there.data_ptr() == x.data.data.ptr
    theirs = torch.full((3,), 2.0, device="cuda")
    ours = mr.from_dlpack(theirs)
    assert ours.device == "cuda:0"
    assert ours.data.data.ptr == theirs.data_ptr()
    assert (ours * x).sum().item() == 30.0
