"""``minires train`` on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Ran

TINY = [
    *("--model", "resnet8", "--network", "width=2", "--train-images", "160"),
    *("--test-images", "40", "--epochs", "2", "--batch-size", "32"),
]
FILES = ["checkpoint.npz", "curves.png", "history.jsonl"]


def weights(folder: str) -> dict[str, bytes]:
    with np.load(Path(folder) / "checkpoint.npz") as archive:
        return {name: archive[name].tobytes() for name in archive.files if name != "about"}


def test_it_trains_says_the_errors_and_writes_its_files(command: Callable[..., Ran]) -> None:
    ran = command("train", *TINY)
    assert ran.code == 0
    folder = "runs/train-resnet8-digits"
    assert sorted(os.listdir(folder)) == FILES
    last = json.loads(Path(folder, "history.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 10
    first, written = ran.out.splitlines()
    assert first == (
        f"resnet8, 10 steps: training error {last['train_error']:.2f}%, "
        f"test error {last['test_error']:.2f}%"
    )
    assert written.startswith(f"written: {folder}/checkpoint.npz")
    assert len(ran.err.splitlines()) == 2  # a line an epoch


def test_a_finished_run_is_not_run_again_and_not_written_over(command: Callable[..., Ran]) -> None:
    assert command("train", *TINY, "--out", "a").code == 0
    before = Path("a/checkpoint.npz").read_bytes()
    again = command("train", *TINY, "--out", "a", "--resume")
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("a holds a run that has come to its end: resnet8, 10 steps")
    refused = command("train", *TINY, "--out", "a")
    assert refused.code == 2
    assert "'a' has a run already: --resume goes on with it" in refused.err
    assert Path("a/checkpoint.npz").read_bytes() == before


def test_resume_begins_a_run_that_is_not_there_if_it_is_told_which(
    command: Callable[..., Ran],
) -> None:
    assert command("train", *TINY, "--out", "a", "--resume").code == 0
    ran = command("train", "--out", "b", "--resume")
    assert ran.code == 2
    assert "there is no run in 'b' to go on with" in ran.err
    assert not Path("b").exists()


def test_what_is_said_beside_resume_must_agree_with_the_run(command: Callable[..., Ran]) -> None:
    command("train", *TINY, "--out", "a")
    assert command("train", "--out", "a", "--resume").code == 0
    assert command("train", "--out", "a", "--resume", "--model", "resnet8").code == 0
    ran = command("train", "--out", "a", "--resume", "--lr", "0.2")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "is of another run: its lr is not given, and 0.2 is asked for" in ran.err


def test_a_device_alone_says_nothing_of_a_run_to_begin(command: Callable[..., Ran]) -> None:
    ran = command("train", "--out", "b", "--resume", "--device", "cpu")
    assert ran.code == 2
    assert "there is no run in 'b' to go on with" in ran.err


def test_a_run_killed_at_its_very_end_gets_its_last_line_and_its_picture(
    command: Callable[..., Ran],
) -> None:
    command("train", *TINY, "--out", "a")
    history = Path("a/history.jsonl").read_text()
    Path("a/history.jsonl").write_text(history.splitlines(keepends=True)[0])
    Path("a/curves.png").unlink()
    assert command("train", *TINY, "--out", "a", "--resume").code == 0
    assert Path("a/history.jsonl").read_text() == history
    assert sorted(os.listdir("a")) == FILES


def test_a_run_that_diverged_says_so(command: Callable[..., Ran]) -> None:
    ran = command("train", *TINY, "--lr", "1e30", "--out", "a")
    assert ran.code == 1
    assert "it diverged: after step" in ran.err
    again = command("train", "--out", "a", "--resume")
    assert again.code == 1
    assert "it diverged: after step" in again.err


def test_a_run_that_diverged_in_its_last_step_says_so(command: Callable[..., Ran]) -> None:
    last = ["--network", "width=2", "norm=None", "--steps", "1", "--lr", "1e30"]
    ran = command("train", *TINY[:2], "--train-images", "160", *last, "--out", "a")
    assert ran.code == 1
    assert "it diverged: after step 1 " in ran.err


def test_several_network_options_add_up(command: Callable[..., Ran]) -> None:
    words = [*TINY, "--network", "aux_heads=1", "--out", "a"]
    assert command("train", *words).code == 0
    assert any(name.startswith("weights/aux1") for name in weights("a"))
    ran = command("train", *TINY, "--network", "width=3", "--out", "b")
    assert "width is given twice" in ran.err


def test_to_say_what_the_recipe_says_is_to_agree(command: Callable[..., Ran]) -> None:
    command("train", *TINY, "--out", "a")
    assert command("train", "--out", "a", "--resume", "--lr", "0.1").code == 0


def test_ctrl_c_saves_and_the_run_goes_on_with_the_same_bits(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    from minires.train import Progress

    steps = 0
    tell = Progress.step

    def press(self: Progress, step: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 7:
            os.kill(os.getpid(), signal.SIGINT)
        tell(self, step)  # type: ignore[arg-type]

    assert command("train", *TINY, "--out", "whole").code == 0
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Progress, "step", press)
    ran = command("train", *TINY, "--out", "a")
    assert ran.code == 130
    assert "interrupted after step 7, kept in 'a/checkpoint.npz'; --resume goes on" in ran.err
    assert signal.getsignal(signal.SIGINT) is before
    assert sorted(os.listdir("a")) == ["checkpoint.npz", "history.jsonl"]
    ran = command("train", "--out", "a", "--resume")
    assert ran.code == 0
    assert weights("a") == weights("whole")
    assert sorted(os.listdir("a")) == FILES


def test_a_killed_run_goes_on_with_the_same_bits(command: Callable[..., Ran]) -> None:
    assert command("train", *TINY, "--out", "whole").code == 0
    words = [sys.executable, "-m", "minires", "train", *TINY, "--out", "a", "--save-every", "0"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    file = Path("a/checkpoint.npz")
    while not file.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    ran = command("train", *TINY, "--out", "a", "--resume")
    assert ran.code == 0
    assert weights("a") == weights("whole")
    assert sorted(os.listdir("a")) == FILES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "resnet9"], "no network 'resnet9'"),
        (["--data", "nist"], "unknown data set 'nist'"),
        (["--data", "cifar10", "--data-dir", "nowhere"], "nowhere"),
        (["--network", "width"], "'width' is not NAME=VALUE"),
        (["--network", "breadth=3"], "breadth"),
        (["--network", "depth=32"], "depth=32 contradicts the name 'resnet20'"),
        (["--network", "num_classes=3"], "num_classes=3 is too few for digits, which has 10"),
        (["--recipe", "cake"], "invalid choice"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--steps", "-3"], "steps must be at least 1"),
        (["--network", "width=2", "width=3"], "width is given twice"),
        (["--save-every", "nan"], "--save-every must be seconds"),
        (["--lr", "nan"], "lr must be a number above 0"),
        (["--train-images", "5000"], "5000"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--deepen", "nowhere.npz"], "nowhere.npz"),
        (["--device", "gpu"], "Unknown device 'gpu': use 'cpu', 'cuda' or 'cuda:0'"),
        (["--device", "cuda:99"], "Device 'cuda:99' is not available"),
    ],
)
def test_a_mistake_takes_one_line_and_leaves_nothing(
    words: list[str], message: str, command: Callable[..., Ran]
) -> None:
    ran = command("train", *words, "--out", "new")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("minires train: error: ")
    assert message in ran.err
    assert not Path("new").exists()


def test_a_damaged_checkpoint_is_refused_and_stays(command: Callable[..., Ran]) -> None:
    command("train", *TINY, "--out", "a")
    content = Path("a/checkpoint.npz").read_bytes()[:1000]
    Path("a/checkpoint.npz").write_bytes(content)
    ran = command("train", "--out", "a", "--resume")
    assert ran.code == 2
    assert "a/checkpoint.npz" in ran.err
    assert "take the file away to begin again, or name another folder" in ran.err
    assert Path("a/checkpoint.npz").read_bytes() == content


def test_flow_looks_at_what_was_trained(command: Callable[..., Ran]) -> None:
    command("train", *TINY, "--out", "a")
    look = ["--checkpoint", "a/checkpoint.npz", "--instruments", "ledger", "--out", "flow"]
    ran = command("flow", *look)
    assert ran.code == 0
    assert "residual-8, after training" in ran.out
