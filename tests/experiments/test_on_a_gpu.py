"""Experiments on a GPU: the numbers of the CPU, from the same weights, images and settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.errors import DeviceError
from minires.experiments.compare import CompareConfig, compare
from minires.experiments.flow_config import FlowConfig
from minires.experiments.microscope import microscope, write_numbers
from minires.experiments.run import Run
from minires.experiments.run_config import RunConfig
from minires.train import load_checkpoint
from minires.train.metrics import device_of_model
from tests.fake_cupy import counters, fake_gpu

__all__ = ["fake_gpu"]

DATA = mr.data.load_digits().take(40, 20)
TINY = RunConfig("resnet8", {"width": 2}, epochs=2, batch_size=16, augment=True, device="cuda")


def numbers(found: Any) -> list[float]:
    """All numbers in plain data, in order."""
    if isinstance(found, dict):
        return [n for key in sorted(found) for n in numbers(found[key])]
    if isinstance(found, list | tuple):
        return [n for part in found for n in numbers(part)]
    return [float(found)] if isinstance(found, int | float) else []


def test_settings_that_differ_in_the_device_are_of_one_run() -> None:
    assert replace(TINY, device="cpu") == TINY
    assert replace(TINY, seed=1) != TINY


@pytest.mark.parametrize("config", [TINY, CompareConfig(), FlowConfig()], ids=lambda c: type(c))
def test_a_device_that_is_not_there_is_told_before_anything_is_built(config: Any) -> None:
    with pytest.raises(DeviceError, match="Device 'cuda:99' is not available"):
        replace(config, device="cuda:99").check(DATA)


def test_a_run_on_a_gpu_is_one_of_the_cpu_but_for_rounding(
    fake_gpu: ModuleType, tmp_path: Path
) -> None:
    here = Run(replace(TINY, device="cpu"), tmp_path / "here", DATA)
    there = Run(TINY, tmp_path / "there", DATA)
    for one, other in zip(here.model.parameters(), there.model.parameters(), strict=True):
        assert other.device == "cuda:0"
        assert one.detach().numpy().tobytes() == other.detach().cpu().numpy().tobytes()
    a, b = here.go(), there.go()
    np.testing.assert_allclose(b.batch_loss, a.batch_loss, rtol=1e-5)
    assert b.error == a.error
    assert device_of_model(load_checkpoint(there.file).model) == "cpu"


@pytest.mark.parametrize(("before", "after"), [("cuda", "cpu"), ("cpu", "cuda:1")])
def test_a_run_goes_on_on_another_device_and_knows_where_it_came_from(
    fake_gpu: ModuleType, before: str, after: str, tmp_path: Path
) -> None:
    first = Run(replace(TINY, device=before), tmp_path / "a", DATA)
    first.go(stop=lambda: first.training.step == 4)
    second = Run(replace(TINY, device=after), tmp_path / "a", DATA, resume=True)
    assert (first.came_from, second.came_from) == (before, before)
    assert device_of_model(second.model) == after
    history = second.go()
    whole = Run(replace(TINY, device="cpu"), tmp_path / "b", DATA).go()
    np.testing.assert_allclose(history.batch_loss, whole.batch_loss, rtol=1e-5)


def test_a_checkpoint_from_before_there_were_devices_is_of_the_cpu(tmp_path: Path) -> None:
    first = Run(replace(TINY, device="cpu"), tmp_path, DATA)
    first.go(stop=lambda: True)
    about = load_checkpoint(first.file).about
    del about["format"], about["config"]["device"]
    mr.train.save_checkpoint(first.file, first.model, training=first.training, **about)
    second = Run(replace(TINY, device="cpu"), tmp_path, DATA, resume=True)
    assert second.came_from == "cpu"


def test_batches_of_compare_are_where_the_network_is(fake_gpu: ModuleType) -> None:
    config = CompareConfig(depths=(8,), kinds=("residual",), width=2, epochs=1, batch_size=8)
    (here,) = compare(config, DATA)["runs"]
    counters.reset()
    (there,) = compare(replace(config, device="cuda"), DATA)["runs"]
    sent = [line for line in counters.lines if "data/transfer.py" in line]
    assert len(sent) == 5 + 1 + 1, counters  # steps, and evaluations of 40 and 20 images
    assert there["train_error"] == here["train_error"]
    for moment, tolerance in (("initial", 1e-4), ("trained", 1e-3)):
        a, b = (numbers(run["gradient_flow"][moment]["grad_rms"]) for run in (here, there))
        np.testing.assert_allclose(b, a, rtol=tolerance)


def test_instruments_look_at_a_network_on_a_gpu(fake_gpu: ModuleType, tmp_path: Path) -> None:
    few = ("ledger", "spectrum", "forward_lesion", "dial")
    config = FlowConfig("resnet8", width=2, batch_size=16, epochs=1, instruments=few, device="cuda")
    results, trained = microscope(config, DATA)
    expected, _ = microscope(replace(config, device="cpu"), DATA)
    for one, other in zip(expected["networks"], results["networks"], strict=True):
        assert other["failed"] == one["failed"] == []
        assert other["blocks"] == one["blocks"]
        a, b = (network["moments"]["initial"]["ledger"]["blocks"] for network in (one, other))
        np.testing.assert_allclose(numbers(b), numbers(a), rtol=1e-3, atol=1e-6)
    assert {device_of_model(model) for model in trained.values()} == {"cuda:0"}
    write_numbers(results, trained, tmp_path)
    checkpoint = load_checkpoint(tmp_path / "residual-8.npz")
    again, _ = microscope(config, DATA, checkpoints={"residual": checkpoint})
    assert again["networks"][1]["moments"] == results["networks"][1]["moments"]
