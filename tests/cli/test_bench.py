"""``minires bench``: what it prints and writes, how it stops, and how it refuses bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minires import kernels
from minires.bench import choose_interpreters
from tests.bench.fakes import fake_python
from tests.cli.conftest import Ran

ROOT = Path(__file__).parents[2]
TINY = ["bench", "--only", "conv-n64-c32-o32-h2-*", "--repeat", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, beside one for the fakes."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    threads = kernels.get_num_threads()
    yield folder
    kernels.set_num_threads(threads)


def test_a_table_on_stdout_and_everything_in_a_file(
    command: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = command(*TINY, "--python", f"pytorch={fake_python(tmp_path)}", "--json", "b.json")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert " beside PyTorch 9.9 on " in lines[0]
    assert [line.split()[0] for line in lines[5:7]] == [
        *("conv-n64-c32-o32-h2-forward", "conv-n64-c32-o32-h2-backward")
    ]
    assert lines[-1] == "written: b.json"
    assert len(ran.err.splitlines()) == 2
    found = json.loads(Path("b.json").read_text())
    assert (found["threads"], found["repeat"], found["interrupted"]) == (1, 1, False)
    assert set(found["machine"]) == {"cpu", "cores", "cores_available", "platform", "date"}
    assert set(found["versions"]["minires"]) == {"minires", "python", "numpy", "blas"}
    assert found["versions"]["pytorch"]["pytorch"] == "9.9"
    assert "chainer" in found["absent"] or "chainer" in found["versions"]
    for workload in found["workloads"]:
        assert workload["failure"] is None
        assert len(workload["times"]["pytorch"]) == 1
        assert workload["ratios"]["pytorch"]["median"] > 0
    assert os.listdir() == ["b.json"]


def test_without_pytorch_one_line_says_so_and_minires_is_measured(
    command: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = str(fake_python(tmp_path, "absent"))
    named = command(*TINY, "--python", f"pytorch={absent}")
    assert named.code == 2
    assert f"--python pytorch={absent}: pytorch takes no part (ModuleNotFoundError" in named.err
    sides = choose_interpreters({"pytorch": absent})
    monkeypatch.setattr("minires.bench.choose_interpreters", lambda given, device: sides)
    ran = command(*TINY)
    assert ran.code == 0
    line, *others = ran.err.splitlines()
    assert line.startswith("PyTorch takes no part (ModuleNotFoundError: No module named")
    assert "`pip install torch`" in line
    assert len(others) == 2
    assert ran.out.splitlines()[5].split()[2:5] == ["-", "-", "-"]


def test_a_workload_that_fails_ends_in_exit_status_1(
    command: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = command(*TINY, "--python", f"pytorch={fake_python(tmp_path, 'raise')}", "--json", "b")
    assert ran.code == 1
    assert ran.out.count("failed: no luck today") == 2
    failures = [w["failure"] for w in json.loads(Path("b").read_text())["workloads"]]
    assert failures == ["no luck today"] * 2


def test_the_list_names_workloads_and_frameworks(
    command: Callable[..., Ran], tmp_path: Path
) -> None:
    python = f"pytorch={fake_python(tmp_path, 'absent')}"
    ran = command("bench", "--list", "--only", "depth-scaling", "import", "--python", python)
    assert ran.code == 0
    assert "depth-scaling-d1202  depth-scaling  ResNet-1202, width 8, 16x1x8x8" in ran.out
    assert "conv-" not in ran.out
    assert "PyTorch: left out: ModuleNotFoundError" in ran.out
    assert "\nChainer: " in ran.out


def test_on_a_gpu_there_are_other_workloads(command: Callable[..., Ran], tmp_path: Path) -> None:
    python = f"pytorch={fake_python(tmp_path)}"
    ran = command("bench", "--list", "--device", "cuda", "--python", python)
    assert ran.code == 0
    assert "resnet50-224-b32-train  " in ran.out
    assert "bandwidth-batchnorm-forward  " in ran.out
    assert "engine-overhead" not in ran.out
    ran = command("bench", "--list", "--device", "cuda", "--only", "pool-global")
    assert "No workload is called 'pool-global'" in ran.err


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_without_the_gpu_one_line_says_so_and_nothing_is_started(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr("minires.bench.run.probe", None)
    ran = command("bench", "--device", device)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("minires bench: error: ")
    assert f"'{device}'" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "no-such"], "No workload is called 'no-such'; --list shows them all."),
        (["--repeat", "0"], "repeat must be from 1 to 10000, not 0."),
        (["--repeat", "x"], "argument --repeat: invalid int value: 'x'"),
        (["--threads", "-1"], "threads must be from 1 to 1024, not -1."),
        (["--python", "torch"], "'torch' is not NAME=PATH, as in pytorch=/path/python"),
        (["--python", "jax=python3"], "the name must be pytorch or chainer."),
        (
            ["--python", "pytorch=/no/python"],
            "pytorch=/no/python: that is no program that can be started.",
        ),
        (["--python", "pytorch=true"], "true is no Python that can measure PyTorch"),
        (["--json", "no/folder.json"], "cannot write there (No such file"),
        (["--json", "."], "that is a folder; give the name of a file."),
        (["--json", " "], "needs the name of a file"),
    ],
)
def test_bad_input_takes_one_line_and_exit_status_2(
    words: list[str], message: str, command: Callable[..., Ran]
) -> None:
    ran = command(*TINY[:3], *words)
    assert ran.code == 2
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("minires bench: error: ")
    assert message in line
    assert os.listdir() == []


def test_a_file_that_cannot_be_written_at_the_end_still_leaves_the_table(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    python = f"pytorch={fake_python(tmp_path)}"
    ran = command(*TINY, "--python", python, "--json", "b.json")
    assert ran.code == 2
    assert "conv-n64-c32-o32-h2-forward" in ran.out
    assert "No space left on device" in ran.err.splitlines()[-1]
    assert os.listdir() == []


def test_ctrl_c_prints_and_writes_what_is_finished_and_leaves_no_process(tmp_path: Path) -> None:
    """PyTorch hangs in the second workload."""
    words = ["bench", "--only", "engine-overhead-add", "pool-global", "--repeat", "1"]
    python = fake_python(tmp_path)
    words += ["--threads", "1", "--json", "b.json", "--python", f"pytorch={python}"]
    script = tmp_path / "pytorch_.py"
    source = script.read_text().replace("pool = norm = chain = conv", "pool = norm = conv")
    source += "\n\ndef chain(spec, inputs):\n    def step():\n        log('hang')\n"
    source += "        time.sleep(600)\n    return step, None\n"
    script.write_text(source)
    ignored = signal.getsignal(signal.SIGINT)  # in the background of a shell it is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen(
        [sys.executable, "-m", "minires", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, ignored)
    try:
        log, end = tmp_path / "log", time.monotonic() + 60
        while "hang" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < end
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 130, err
    assert "pool-global" in out
    assert "interrupted: 1 finished workload is kept\nwritten: b.json" in out
    assert "Traceback" not in err
    assert json.loads(Path("b.json").read_text())["interrupted"] is True
    for line in log.read_text().splitlines():
        if " pid " in line:
            with pytest.raises(ProcessLookupError):
                os.kill(int(line.split()[-1]), 0)


def test_ctrl_c_before_anything_is_finished_says_so(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*words: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("minires.bench.run.probe", interrupted)
    ran = command(*TINY, "--json", "b.json")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "minires bench: interrupted before a workload was finished\n"
    assert os.listdir() == []


def test_a_device_or_a_pipe_is_not_replaced(command: Callable[..., Ran], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ran = command(*TINY, "--json", str(pipe))
    assert ran.code == 2
    assert "that is a device or a pipe" in ran.err
    assert pipe.is_fifo()


def test_a_link_stays_and_what_it_points_to_is_written(
    command: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert command(*TINY, "--json", str(tmp_path / "link.json")).code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["workloads"]


@pytest.mark.parametrize("length", [250, 300])
def test_a_name_that_is_too_long_is_refused_before_the_work(
    command: Callable[..., Ran], length: int
) -> None:
    ran = command(*TINY, "--json", "x" * length + ".json")
    assert ran.code == 2
    assert "name too long" in ran.err
    assert ran.err.count("\n") == 1


def test_an_interpreter_that_never_answers_is_ended(
    command: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minires.bench.run._PATIENCE", 2.0)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 100\n")
    silent.chmod(0o755)
    ran = command(*TINY, "--python", f"pytorch={silent}")
    assert ran.code == 2
    assert "is no Python that can measure PyTorch" in ran.err
