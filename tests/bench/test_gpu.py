"""What ``minires bench --device cuda`` measures and shows, on CuPy's stand-in."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minires.bench import GPU_WORKLOADS, Bench, Measurement, Side, Workload, bench, choose, worker
from minires.bench.gpu_workloads import copied_bytes
from minires.bench.process import choose_interpreters
from minires.bench.run import measure
from minires.bench.sides import minires_side
from minires.kernels.cuda.launcher import Source
from tests.bench.test_report import MACHINE, cells
from tests.bench.test_worker import ask
from tests.fake_cupy import counters, fake_gpu

__all__ = ["fake_gpu"]


@pytest.fixture(autouse=True)
def back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A side keeps its device for the life of its process."""
    monkeypatch.setattr(minires_side, "_device", "cpu")


MINIRES, COPY, PYTORCH = choose_interpreters({}, "cuda")
NETWORK: dict[str, Any] = {"depth": 8, "width": 2, "shape": [2, 1, 8, 8], "train": True}
ON_THE_STAND_IN = """
from tests.fake_cupy import installed
from minires.bench.sides.{name} import *
stand_in = installed()
stand_in.__enter__()
"""
PYTORCH_ON_GPU = """
import time
class Event:
    def record(self): self.time = time.perf_counter()
    def synchronize(self): pass
event = Event
def elapsed(start, end): return end.time - start.time
def setup(threads): return {"pytorch": "9.9"}
def use(device):
    if WRONG: raise RuntimeError("this PyTorch finds no GPU")
    return {"gpu": "a card"}
def step_memory(step): return 3 * 2**20
def network(spec, inputs): return (lambda: None), PARAMETERS
def bandwidth(spec, inputs): return (lambda: None), None
"""


def stand_ins(folder: Path, wrong: bool = False) -> list[Side]:
    """minires and bare copies on CuPy's stand-in, and a PyTorch that does nothing."""
    texts = {
        "minires": ON_THE_STAND_IN.format(name="minires_side"),
        "cupy": ON_THE_STAND_IN.format(name="cupy_side"),
        "pytorch": f"WRONG, PARAMETERS = {wrong}, 1320\n{PYTORCH_ON_GPU}",
    }
    found = []
    for side in (MINIRES, COPY, PYTORCH):
        script = folder / f"{side.name}.py"
        script.write_text(texts[side.name])
        found.append(Side(side.name, side.label, side.module, sys.executable, str(script)))
    return found


def tiny(workload: Workload) -> Workload:
    """The same with arrays of (2, 3, 8, 8)."""
    spec = {**workload.spec, "shape": [2, 3, 8, 8]}
    return Workload(workload.name, workload.kind, spec, 1, workload.group, sides=workload.sides)


def measured(name: str, ours: float, theirs: float, **more: Any) -> Measurement:
    (workload,) = choose([name], GPU_WORKLOADS)
    times = {"minires": [[ours]], "pytorch": [[theirs]]}
    return Measurement(workload, times, **more)


def report(*measurements: Measurement) -> Bench:
    labels = {side.name: side.label for side in (MINIRES, COPY, PYTORCH)}
    versions = {
        "minires": {"minires": "0.1.0", "cupy": "14.2.0", "gpu": "a card"},
        "pytorch": {"pytorch": "9.9"},
    }
    found = list(measurements)
    return Bench(MACHINE, 2, 3, labels, versions, measurements=found, device="cuda")


def test_the_networks_and_the_kernels_that_memory_limits_are_there() -> None:
    assert [w.name for w in choose(["*resnet*"], GPU_WORKLOADS)] == [
        *("cifar-resnet20-b128-train", "cifar-resnet20-b128-infer"),
        *("resnet50-224-b32-train", "resnet50-224-b32-infer"),
    ]
    layers = {w.name.rsplit("-", 1)[0] for w in choose(["bandwidth"], GPU_WORKLOADS)}
    assert layers == {
        *("bandwidth-batchnorm", "bandwidth-maxpool-k3s2", "bandwidth-avgpool-k2s2"),
        "bandwidth-globalpool",
    }
    assert len(choose(["bandwidth"], GPU_WORKLOADS)) == 2 * len(layers)


@pytest.mark.parametrize("workload", choose(["bandwidth"], GPU_WORKLOADS), ids=lambda w: w.name)
def test_the_bytes_of_a_kernel_are_those_of_the_arrays_it_is_given(
    workload: Workload, fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted on a smaller layer: each array of a launch once, but for the numbers of channels."""
    monkeypatch.setattr(minires_side, "_device", "cuda:0")
    step, _ = minires_side.bandwidth(tiny(workload).spec, worker.Inputs())
    step()
    launch, given = Source.launch, []

    def counted(self: Any, kernel: str, dtype: Any, blocks: Any, *args: Any, **how: Any) -> None:
        given.extend(a.nbytes for a in args if isinstance(a, fake_gpu.ndarray) and a.ndim == 4)
        launch(self, kernel, dtype, blocks, *args, **how)

    monkeypatch.setattr(Source, "launch", counted)
    step()
    small, large = (4 * np.prod(w.spec["shape"]) for w in (tiny(workload), workload))
    means = 4 * np.prod(workload.spec["shape"][:2]) if "global" in workload.name else 0
    moved = sum(given) - (4 * 2 * 3 if means else 0)
    assert moved / small * large == workload.spec["bytes"] - means


@pytest.mark.parametrize("train", [True, False])
def test_a_network_takes_a_step_on_the_gpu_timed_by_events_without_a_copy(
    train: bool, fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    event = fake_gpu.cuda.Event
    monkeypatch.setattr(
        "minires.bench.sides.minires_side.event", lambda: made.append(event()) or made[-1]
    )
    work = worker._Worker(MINIRES.path)
    hello = work.hello(1, "cuda:1")["versions"]
    assert (hello["gpu"], hello["cupy"]) == ("CuPy's stand-in", fake_gpu.__version__)
    assert work.prepare("network", {**NETWORK, "train": train}) == {"parameters": 1320}
    work.block(1)
    counters.reset()
    seconds = work.block(3)["seconds"]
    assert len(seconds) == 3
    assert min(seconds) > 0
    assert (counters.to_device, counters.to_host) == (0, 0), str(counters)
    assert counters.synchronizations == 1, "once, for the last event"
    assert counters.launches > 3 * 10
    answer = work.gpu()
    assert 0 < answer["peak_mb"] < 1


@pytest.mark.parametrize(("train", "launches"), [(True, 251), (False, 77)])
def test_resnet20_launches_as_many_kernels_as_the_page_on_performance_says(
    train: bool, launches: int, fake_gpu: ModuleType
) -> None:
    """A small one: neither its width nor the size of its images changes their number."""
    spec = {"depth": 20, "width": 2, "shape": [1, 3, 8, 8], "train": train}
    minires_side.use("cuda")
    step, _ = minires_side.network(spec, worker.Inputs())
    step()
    counters.reset()
    step()
    assert counters.launches == launches
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "launches 251 kernels of ours, inference 77:" in page


def test_the_peak_of_a_step_is_not_that_of_what_was_before_it(fake_gpu: ModuleType) -> None:
    def step(count: int = 1000) -> None:
        held = fake_gpu.empty(count, dtype="float32")
        del held

    step(10**6)
    before = fake_gpu.get_default_memory_pool().used_bytes()
    assert minires_side.step_memory(step) == before + 4096


@pytest.mark.parametrize("workload", choose(["bandwidth"], GPU_WORKLOADS), ids=lambda w: w.name)
def test_a_layer_and_the_copy_beside_it_take_a_step(
    workload: Workload, fake_gpu: ModuleType
) -> None:
    spec = tiny(workload).spec
    for side in (MINIRES, COPY):
        _, made, block = ask(
            side.path,
            {"do": "hello", "threads": 1, "device": "cuda"},
            {"do": "prepare", "kind": "bandwidth", "spec": spec},
            {"do": "block", "steps": 2},
        )
        assert made == {"parameters": None}
        assert len(block["seconds"]) == 2


def test_from_end_to_end_on_the_stand_in(tmp_path: Path) -> None:
    pool = tiny(choose(["bandwidth-avgpool-k2s2-forward"], GPU_WORKLOADS)[0])
    network = Workload("net-tiny", "network", NETWORK, 1, sides=("minires", "pytorch"))
    found = bench([network, pool], sides=stand_ins(tmp_path), repeat=1, threads=1, device="cuda")
    assert found.failed == []
    net, layer = found.measurements
    assert net.parameters == 1320
    assert net.peak_mb["pytorch"] == 3.0
    assert net.launches == {"minires": None, "pytorch": None}  # no PyTorch here that could count
    assert list(layer.times) == ["minires", "cupy", "pytorch"]
    assert [title.split(":")[0] for title, *_ in found.sections()] == ["Networks", "Bandwidth"]
    assert found.to_dict()["device"] == "cuda"


def test_a_pytorch_without_a_gpu_is_told_and_left_out(tmp_path: Path) -> None:
    found = bench([], sides=stand_ins(tmp_path, wrong=True), repeat=1, threads=1, device="cuda")
    assert found.absent == {"pytorch": "RuntimeError: this PyTorch finds no GPU"}
    assert set(found.versions) == {"minires", "cupy"}


def test_the_table_of_networks() -> None:
    found = report(
        measured(
            "resnet50-224-b32-train",
            0.1,
            0.05,
            peak_mb={"minires": 5000.0, "pytorch": 4000.0},
            launches={"minires": 900, "pytorch": None},
        )
    )
    caption, _, title, _, _, row, *_ = str(found).splitlines()
    assert caption == (
        "minires 0.1.0 (CuPy 14.2.0) beside PyTorch 9.9 on a card, float32 without TF32, timed by "
        "CUDA events: medians of 3 rounds in turn; ratio = minires / PyTorch."
    )
    assert title.startswith("Networks")
    assert cells(row) == [
        *("resnet50-224-b32-train", "320", "640", "2.00", "2.00..2.00"),
        *("5000", "4000", "900", "-"),
    ]


def test_the_table_of_bandwidth_holds_the_kernel_against_the_copy() -> None:
    pool = measured("bandwidth-avgpool-k2s2-forward", 1e-3, 2e-3)
    pool.times["cupy"] = [[1e-3]]
    spec = pool.workload.spec
    assert copied_bytes(spec) == 2 * 4 * 128 * 64 * 112 * 112
    assert spec["bytes"] == copied_bytes(spec) / 2 * 1.25
    title, _, _, row = str(report(pool)).splitlines()[2:6]
    assert title.startswith("Bandwidth")
    assert cells(row) == [
        *("bandwidth-avgpool-k2s2-forward", "1.000", "0.51", "514", "822", "62%"),
        *("2.000", "0.50"),
    ]


def test_a_failure_on_the_gpu_is_a_remark_in_its_row(tmp_path: Path) -> None:
    network = Workload("net-tiny", "network", {**NETWORK, "depth": 9}, 1, sides=("minires",))
    failed = measure(network, stand_ins(tmp_path)[:1], 1, 1, device="cuda")
    assert failed.failure is not None
    assert "failed: " in str(report(failed)).splitlines()[5]


class Profile:
    """torch.profiler.profile, as far as the worker asks it."""

    def __init__(self, activities: list[str]):
        assert activities == ["CUDA"]

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *args: object) -> None: ...

    def events(self) -> list[Any]:
        table = [
            ("Memcpy HtoD (Pageable -> Device)", "gpu", False),
            ("cudaLaunchKernel", "cpu", False),
            ("relu", "gpu", False),
            ("Optimizer.step#SGD.step", "gpu", True),
        ]
        return [
            type("Event", (), {"name": n, "device_type": d, "is_user_annotation": u})
            for n, d, u in table
        ]


def test_launches_are_the_gpus_own_work_as_pytorch_traces_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch: Any = ModuleType("torch")
    torch.cuda = type("cuda", (), {"is_available": lambda: True, "synchronize": lambda: None})
    torch.profiler = type("profiler", (), {"profile": Profile, "ProfilerActivity": None})
    torch.profiler.ProfilerActivity = type("ProfilerActivity", (), {"CUDA": "CUDA"})
    torch.profiler.supported_activities = lambda: {"CUDA"}
    torch.autograd = type("autograd", (), {"DeviceType": type("D", (), {"CUDA": "gpu"})})
    monkeypatch.setitem(sys.modules, "torch", torch)
    steps: list[int] = []
    work = worker.device_work(lambda: steps.append(1))
    assert work == ["Memcpy HtoD (Pageable -> Device)", "relu"]
    assert steps == [1]
    torch.cuda.is_available = lambda: False
    assert worker.device_work(lambda: None) is None
    monkeypatch.setitem(sys.modules, "torch", None)
    assert worker.device_work(lambda: None) is None
