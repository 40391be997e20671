"""``--device``: the commands on a GPU, and a run that goes on on another device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minires.cli import train
from minires.train import load_checkpoint
from tests.cli.conftest import Ran
from tests.fake_cupy import fake_gpu

__all__ = ["fake_gpu"]

TINY = [
    *("--model", "resnet8", "--network", "width=2", "--train-images", "48"),
    *("--test-images", "16", "--epochs", "2", "--batch-size", "16", "--no-augment"),
]


def history(folder: str) -> list[float]:
    lines = Path(folder, "history.jsonl").read_text().splitlines()
    return [json.loads(line)["batch_loss"] for line in lines]


def interrupted(command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, *words: str) -> Ran:
    """The command, stopped by Ctrl-C when it looks for that the second time."""
    with monkeypatch.context() as patch:
        calls: list[int] = []

        class Asked:
            def __enter__(self) -> Any:
                return lambda: calls.append(1) or len(calls) == 2  # type: ignore[func-returns-value]

            def __exit__(self, *_: object) -> None: ...

        patch.setattr(train, "_asked_to_stop", Asked)
        return command("train", *words)


def test_a_run_on_a_gpu_has_the_numbers_of_one_on_the_cpu(
    fake_gpu: ModuleType, command: Callable[..., Ran]
) -> None:
    assert command("train", *TINY, "--out", "here").code == 0
    assert command("train", *TINY, "--out", "there", "--device", "cuda").code == 0
    np.testing.assert_allclose(history("there"), history("here"), rtol=1e-5)
    config = load_checkpoint("there/checkpoint.npz").about["config"]
    assert config["device"] == "cuda"


def test_a_run_goes_on_where_it_was_unless_it_is_told_otherwise(
    fake_gpu: ModuleType, command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TINY, "--out", "a", "--device", "cuda"]
    assert interrupted(command, monkeypatch, *words).code == 130
    ran = interrupted(command, monkeypatch, "--resume", "--out", "a")
    assert ran.code == 130
    assert "goes on after step 2\n" in ran.err
    assert load_checkpoint("a/checkpoint.npz").about["config"]["device"] == "cuda"
    ran = command("train", "--resume", "--out", "a", "--device", "cpu")
    assert ran.code == 0
    told = "goes on after step 3 on cpu; before it was on cuda, which rounds otherwise\n"
    assert told in ran.err
    assert load_checkpoint("a/checkpoint.npz").about["config"]["device"] == "cpu"
    assert command("train", *TINY, "--out", "whole").code == 0
    np.testing.assert_allclose(history("a"), history("whole"), rtol=1e-5)


def test_a_run_whose_gpu_is_gone_says_how_to_go_on(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interrupted(command, monkeypatch, *TINY, "--out", "a").code == 130
    file = Path("a/checkpoint.npz")
    with np.load(file) as archive:
        arrays = dict(archive)
    about = json.loads(str(arrays["about"]))
    about["config"]["device"] = "cuda:99"
    np.savez(file, **{**arrays, "about": np.array(json.dumps(about))})
    before = file.read_bytes()
    ran = command("train", "--resume", "--out", "a")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "Device 'cuda:99' is not available" in ran.err
    assert "--device cpu goes on with it here" in ran.err
    assert file.read_bytes() == before
    assert command("train", "--resume", "--out", "a", "--device", "cpu").code == 0


def test_compare_on_a_gpu_says_which_one(fake_gpu: ModuleType, command: Callable[..., Ran]) -> None:
    words = ["--depths", "8", "--width", "2", "--epochs", "1", "--batch-size", "512"]
    tables = [
        command("compare", *words, "--out", device, "--device", device)
        for device in ("cpu", "cuda")
    ]
    assert [ran.code for ran in tables] == [0, 0]
    here, there = (
        json.loads(Path(device, "results.json").read_text()) for device in ("cpu", "cuda")
    )
    assert there["config"] == {**here["config"], "device": "cuda"}
    gpu = {"cupy": fake_gpu.__version__, "gpu": "CuPy's stand-in"}
    assert there["environment"] == {**here["environment"], **gpu}
    for one, other in zip(here["runs"], there["runs"], strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        for moment in ("initial", "trained"):
            a, b = (run["gradient_flow"][moment]["grad_rms"] for run in (one, other))
            np.testing.assert_allclose(b, a, rtol=1e-3)
