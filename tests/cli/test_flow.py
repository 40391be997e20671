"""``minires flow`` on the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minires as mr
from minires import flow
from minires.experiments import instruments
from tests.cli.conftest import Ran

TINY = ["--model", "resnet8", "--width", "2", "--batch-size", "32", "--instruments", "ledger"]


def test_it_says_what_was_found_and_writes_numbers_pictures_and_page(
    command: Callable[..., Ran],
) -> None:
    ran = command("flow", *TINY, "spectrum", "--out", "here")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "plain-8, at initialisation"
    assert lines[1].startswith("  ledger: 3 plain blocks")
    assert lines[3] == "residual-8, at initialisation"
    assert lines[4].startswith("  ledger: 3 blocks: ")
    assert lines[5].startswith("  spectrum: Gradient at the input of layer1.0")
    assert lines[-1].startswith("written: ")
    assert "4 pictures in 'here'" in lines[-1]
    assert sorted(os.listdir("here")) == [
        "flow.html",
        "flow.json",
        *(f"{k}-8-initial-{i}.png" for k in ("plain", "residual") for i in ("ledger", "spectrum")),
    ]
    progress = ran.err.splitlines()
    assert progress[0] == "[1/4] plain-8, before training: ledger"
    assert progress[4] == "[1/4] drew plain-8-initial-ledger.png"
    assert len(progress) == 8


def test_the_default_folder_names_model_and_data(command: Callable[..., Ran]) -> None:
    assert command("flow", *TINY).code == 0
    assert "flow.html" in os.listdir("runs/flow-resnet8-digits")


def test_what_was_trained_can_be_looked_at_again(command: Callable[..., Ran]) -> None:
    words = ["--epochs", "1", "--batch-size", "512", "--seed", "3", "--out", "first"]
    assert command("flow", *TINY, *words).code == 0
    files = ["first/residual-8.npz", "first/plain-8.npz"]
    ran = command(
        "flow", *("--checkpoint", *files), *("--instruments", "ledger"), "--batch-size", "512"
    )
    assert ran.code == 0
    first = json.loads(Path("first/flow.json").read_text())
    again = json.loads(Path("runs/flow-resnet8-digits-again/flow.json").read_text())
    assert again["config"]["seed"] == 3
    assert again["config"]["width"] == 2
    for one, other in zip(first["networks"], again["networks"], strict=True):
        assert one["moments"] == other["moments"]


BAD: dict[str, tuple[list[str], str]] = {
    "depth": (["--model", "resnet21"], "Depth 21 does not exist"),
    "model": (["--model", "alexnet"], "Unknown model 'alexnet'"),
    "data": (["--data", "stars"], "stars"),
    "instrument": (["--instruments", "telescope"], "invalid choice: 'telescope'"),
    "number": (["--epochs", "many"], "invalid int value"),
    "width": (["--width", "0"], "width must be"),
    "no such checkpoint": (["--checkpoint", "none.npz"], "'none.npz' is not a checkpoint"),
    "a checkpoint that is none": (["--checkpoint", "text.npz"], "'text.npz' is not a checkpoint"),
    "folder": (["--out", "text.npz"], "is a file, not a folder"),
    "nothing": (["--out", ""], "needs the name of a folder"),
    "threads": (["--threads", "0"], "0"),
    "device unknown": (["--device", "gpu"], "Unknown device 'gpu'"),
    "device missing": (["--device", "cuda:99"], "Device 'cuda:99' is not available"),
    "option": (["--speed", "9"], "unrecognized arguments"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_takes_one_line_and_exit_code_2_and_leaves_nothing(
    name: str, command: Callable[..., Ran], elsewhere: Path
) -> None:
    Path("text.npz").write_text("hello")
    words, reason = BAD[name]
    ran = command("flow", *TINY, *words)
    assert ran.code == 2
    assert reason in ran.err
    assert ran.err.startswith("minires flow: error: ")
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""
    assert os.listdir(elsewhere) == ["text.npz"]


@pytest.mark.parametrize(
    "words",
    [["--model", "resnet8"], ["--seed", "3"], ["--width", "2"], ["--epochs", "1"]],
    ids=lambda words: words[0],
)
def test_what_a_checkpoint_says_itself_is_not_taken_beside_it(
    words: list[str], command: Callable[..., Ran], elsewhere: Path
) -> None:
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    mr.train.save_checkpoint("a.npz", model, data="digits", seed=3)
    ran = command("flow", "--checkpoint", "a.npz", "--instruments", "ledger", *words)
    assert ran.code == 2
    assert f"leave out {words[0]}" in ran.err
    assert os.listdir(elsewhere) == ["a.npz"]


def test_ctrl_c_while_the_pictures_are_drawn_keeps_the_numbers(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(results: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(mr.viz, "flow_page", interrupted)
    ran = command("flow", *TINY, "--out", "here")
    assert ran.code == 130
    assert "interrupted before the pictures; the numbers are kept in here/flow.json" in ran.err
    assert os.listdir("here") == ["flow.json"]


def test_a_figure_that_cannot_be_drawn_takes_one_line_and_keeps_the_numbers(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(results: Any) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(mr.viz, "flow_page", broken)
    ran = command("flow", *TINY, "--out", "here")
    assert ran.code == 2
    error = ran.err.splitlines()[-1]
    assert "no ink" in error
    assert error.endswith("the numbers are kept in here/flow.json.")
    assert os.listdir("here") == ["flow.json"]


def test_two_checkpoints_of_one_kind_are_refused(command: Callable[..., Ran]) -> None:
    assert command("flow", *TINY, "--epochs", "1", "--batch-size", "512", "--out", "o").code == 0
    ran = command("flow", "--checkpoint", "o/plain-8.npz", "o/plain-8.npz")
    assert ran.code == 2
    assert "two plain networks" in ran.err


def test_an_instrument_that_fails_is_told_and_the_rest_is_kept(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any, batch: Any) -> Any:
        return flow.ledger(model, batch.x)

    monkeypatch.setitem(instruments.INSTRUMENTS, "spectrum", broken)
    ran = command("flow", *TINY, "spectrum", "--out", "here")
    assert ran.code == 1
    assert "minires flow: failed: plain-8, before training: spectrum: ledger: needs" in ran.err
    assert "plain-8-initial-ledger.png" in os.listdir("here")


def test_ctrl_c_keeps_what_is_finished_and_says_so(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(model: Any, batch: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(instruments.INSTRUMENTS, "spectrum", interrupted)
    ran = command("flow", *TINY, "spectrum", "--out", "here")
    assert ran.code == 130
    assert "interrupted: what was finished is kept" in ran.err
    assert "plain-8-initial-ledger.png" in os.listdir("here")
    monkeypatch.setitem(instruments.INSTRUMENTS, "ledger", interrupted)
    ran = command("flow", *TINY, "--out", "there")
    assert ran.code == 130
    assert not Path("there").exists()
