"""The command: what it prints and writes, how it stops, and how it refuses bad input."""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minires as mr
from tests.cli.conftest import Ran

ROOT = Path(__file__).parents[2]
TINY = ["--depths", "8", "--width", "2", "--epochs", "1", "--batch-size", "512"]
FILES = ["curves.png", "gradient_flow.png", "report.html", "results.json"]


def process(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "minires", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def strict(path: Path) -> Any:
    """Read JSON that has no NaN or Infinity in it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


# --- the main job ---


def test_table_on_stdout_progress_on_stderr_and_four_files(command: Callable[..., Ran]) -> None:
    ran = command("compare", *TINY, "--epochs", "2", "--out", "here")
    assert ran.code == 0
    header, rule, plain, residual, _, written = ran.out.splitlines()
    assert re.split(r"  +", header) == [
        *("kind", "depth", "parameters", "training loss", "training error (%)"),
        *("test error (%)", "seconds"),
    ]
    assert set(rule) == {"-", " "}
    runs = strict(Path("here/results.json"))["runs"]
    for line, run in zip((plain, residual), runs, strict=True):
        kind, depth, parameters, loss, train, test, _ = line.split()
        assert (kind, depth) == (run["kind"], str(run["depth"]))
        assert parameters == f"{run['parameters']:,}"
        assert float(loss) == pytest.approx(run["train_loss"], abs=1e-4)
        assert float(train) == pytest.approx(run["train_error"], abs=0.01)
        assert float(test) == pytest.approx(run["test_error"], abs=0.01)
    assert written.startswith("written: ")
    assert sorted(os.path.basename(p) for p in written[9:].split(", ")) == FILES
    assert sorted(os.listdir("here")) == FILES
    lines = ran.err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        *["[1/2] plain-8, seed 0"] * 2,
        *["[2/2] residual-8, seed 0"] * 2,
    ]
    assert all(re.search(r"epoch \d/2  loss .* train error .* images/s$", line) for line in lines)


def test_results_json_has_exactly_the_promised_parts(command: Callable[..., Ran]) -> None:
    words = ["--kinds", "plain", "preact", "--shortcut", "B", "--seeds", "3", "4", "--lr", "0.05"]
    ran = command(
        "compare", *TINY, *words, "--momentum", "0.5", "--weight-decay", "0", "--out", "o"
    )
    assert ran.code == 0
    found = strict(Path("o/results.json"))
    assert list(found) == ["config", "environment", "interrupted", "runs"]
    assert found["config"] == {
        "data": "digits",
        "depths": [8],
        "kinds": ["plain", "preact"],
        "width": 2,
        "shortcut": "B",
        "epochs": 1,
        "batch_size": 512,
        "lr": 0.05,
        "momentum": 0.5,
        "weight_decay": 0.0,
        "seeds": [3, 4],
        "device": "cpu",
        "train_samples": 1437,
        "test_samples": 360,
    }
    assert [(r["seed"], r["depth"], r["kind"]) for r in found["runs"]] == [
        *[(3, 8, "plain"), (3, 8, "preact")],
        *[(4, 8, "plain"), (4, 8, "preact")],
    ]
    for run in found["runs"]:
        assert set(run) == {
            *("kind", "depth", "seed", "parameters", "train_loss", "train_error", "test_error"),
            *("seconds", "history", "gradient_flow"),
        }
    header, _, plain, preact = ran.out.splitlines()[:4]
    assert "seeds" in header.split()
    assert plain.split()[:4] == ["plain", "8", "1,320", "2"]
    assert preact.split()[0] == "preact"
    assert plain.count("±") == preact.count("±") == 4


def test_the_defaults_are_those_of_the_experiment() -> None:
    config = importlib.import_module("minires.experiments.compare").CompareConfig()
    assert (config.data, config.depths, config.kinds) == ("digits", (20, 56), ("plain", "residual"))
    assert (config.width, config.shortcut, config.batch_size, config.epochs) == (8, "A", 64, 12)
    assert (config.lr, config.momentum, config.weight_decay, config.seeds) == (0.1, 0.9, 1e-4, (0,))


def test_without_out_the_files_go_under_runs(command: Callable[..., Ran]) -> None:
    assert command("compare", *TINY, "--kinds", "plain").code == 0
    assert sorted(os.listdir("runs/compare-digits")) == FILES


def test_files_of_an_earlier_run_are_replaced_and_others_are_kept(
    command: Callable[..., Ran],
) -> None:
    os.mkdir("o")
    Path("o/results.json").write_text("old")
    Path("o/mine.txt").write_text("mine")
    ran = command("compare", *TINY, "--kinds", "residual", "--out", "o")
    assert ran.code == 0
    assert sorted(os.listdir("o")) == sorted([*FILES, "mine.txt"])
    assert "\nThe files of an earlier run in 'o' were replaced." in ran.out
    assert strict(Path("o/results.json"))["runs"][0]["kind"] == "residual"


def test_a_run_that_diverges_is_reported_and_ends_well(command: Callable[..., Ran]) -> None:
    ran = command("compare", *TINY, "--epochs", "2", "--lr", "1e6", "--out", "o")
    assert ran.code == 0
    assert ran.out.count("diverged") == 2
    assert "Warning" not in ran.err
    assert all(run["train_loss"] is None for run in strict(Path("o/results.json"))["runs"])
    assert sorted(os.listdir("o")) == FILES


def test_a_terminal_gets_a_bar(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert command("compare", *TINY, "--out", "o").code == 0
    assert "[2/2] residual-8, seed 0: 100%|" in terminal.getvalue()
    assert "images/s" in terminal.getvalue()


# --- bits ---


def test_two_processes_with_one_and_two_threads_give_the_same_results() -> None:
    """Width and batch are large enough for the kernels to hand chunks to threads."""
    words = ["--depths", "8", "--width", "8", "--epochs", "1", "--batch-size", "512"]
    texts = []
    for threads in ("1", "2"):
        ran = process("compare", *words, "--threads", threads, "--out", threads)
        assert ran.returncode == 0, ran.stderr
        found = strict(Path(threads) / "results.json")
        assert found["environment"].pop("threads") == int(threads)
        for run in found["runs"]:
            assert run.pop("seconds") > 0
            assert len(run["history"].pop("seconds")) == 1
        texts.append(json.dumps(found))
    assert texts[0] == texts[1]


# --- Ctrl-C ---


def interrupt_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the run of that number, after some steps."""
    fit, calls = mr.train.fit, []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number:

            def step(told: Any) -> None:
                if told.step == 2:
                    raise KeyboardInterrupt

            options["on_step"] = [*options["on_step"], step]
        return fit(*args, **options)

    monkeypatch.setattr(mr.train, "fit", interrupted)


def test_ctrl_c_keeps_and_reports_what_is_finished(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(2, monkeypatch)
    ran = command("compare", *TINY, "--out", "o")
    assert ran.code == 130
    assert "plain" in ran.out
    assert "residual" not in ran.out
    assert "interrupted: 1 finished run is kept" in ran.out
    assert "Traceback" not in ran.err
    found = strict(Path("o/results.json"))
    assert found["interrupted"] is True
    assert [run["kind"] for run in found["runs"]] == ["plain"]
    assert sorted(os.listdir("o")) == FILES
    assert "1 of 2 trainings that was finished" in Path("o/report.html").read_text()


@pytest.mark.parametrize("out", [["--out", "deep/down"], []], ids=["out", "default"])
def test_ctrl_c_before_a_run_is_finished_leaves_nothing(
    out: list[str], command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(1, monkeypatch)
    ran = command("compare", *TINY, *out)
    assert ran.code == 130
    assert ran.out == ""
    assert ran.err == "minires compare: interrupted before a run was finished\n"
    assert os.listdir() == []


def test_ctrl_c_while_files_are_written_loses_nothing(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def interrupted(*args: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        replace(*args)

    monkeypatch.setattr(os, "replace", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        ran = command("compare", *TINY, "--kinds", "plain", "--out", "o")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert ran.code == 0
    assert sorted(os.listdir("o")) == FILES
    assert "plain" in ran.out


# --- what fails after training ---


def test_figures_that_cannot_be_drawn_do_not_lose_the_results(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runs: Any) -> None:
        raise RuntimeError("no\nfonts")

    monkeypatch.setattr(mr.viz, "gradient_flow", broken)
    ran = command("compare", *TINY, "--kinds", "plain", "--out", "o")
    assert ran.code == 2
    assert "plain" in ran.out  # the table
    assert ran.err.splitlines()[-1] == (
        "minires compare: error: the figures could not be drawn (RuntimeError: no fonts); "
        "the numbers are kept in o/results.json."
    )
    assert os.listdir("o") == ["results.json"]
    assert strict(Path("o/results.json"))["runs"][0]["kind"] == "plain"


def test_files_that_cannot_be_written_still_leave_the_table(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    ran = command("compare", *TINY, "--kinds", "plain", "--out", "o")
    assert ran.code == 2
    assert "plain" in ran.out
    assert "No space left on device" in ran.err.splitlines()[-1]


def test_memory_that_runs_out_in_a_later_run_keeps_the_finished_ones(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("minires.experiments.compare")
    build = module.build

    def greedy(config: Any, dataset: Any, depth: int, kind: str) -> Any:
        if kind == "residual":
            raise MemoryError
        return build(config, dataset, depth, kind)

    monkeypatch.setattr(module, "build", greedy)
    ran = command("compare", *TINY, "--out", "o")
    assert ran.code == 2
    assert [run["kind"] for run in strict(Path("o/results.json"))["runs"]] == ["plain"]
    assert "1 finished run is kept" in ran.out
    assert ran.err.splitlines()[-1].startswith("minires compare: error: not enough memory")


def test_memory_that_runs_out_gets_one_line(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*given: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(importlib.import_module("minires.experiments.compare"), "build", greedy)
    ran = command("compare", *TINY)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err == (
        "minires compare: error: not enough memory; choose a smaller --width or --batch-size.\n"
    )
    assert os.listdir() == []


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $minires is the command with small settings."""
    words = " ".join([sys.executable, "-m", "minires", "compare", *TINY, "--kinds", "plain"])
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "minires": words, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_reader_that_goes_away_costs_nothing() -> None:
    ran = shell("$minires --out o | true")
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert ran.returncode == 0
    assert sorted(os.listdir("o")) == FILES


def test_progress_that_nobody_reads_costs_nothing() -> None:
    ran = shell("$minires --out o 2>&1 | true; echo ${PIPESTATUS[0]}")
    assert ran.stdout == "0\n"
    assert sorted(os.listdir("o")) == FILES


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_told_in_one_line_and_the_files_are_kept() -> None:
    ran = shell("$minires --out o > /dev/full")
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[1:] == [
        "minires compare: error: cannot print (No space left on device); the files are in 'o'."
    ]
    assert sorted(os.listdir("o")) == FILES


def test_an_output_of_ascii_alone_gets_the_table() -> None:
    ran = shell("$minires --seeds 0 1 --out o", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ran.returncode == 0, ran.stderr
    assert " +- " in ran.stdout
    assert sorted(os.listdir("o")) == FILES


@pytest.mark.parametrize("backend", ["nonsense", "module://matplotlib_inline.backend_inline"])
def test_a_backend_that_is_not_there_costs_nothing(backend: str) -> None:
    ran = shell("$minires --out o", MPLBACKEND=backend)
    assert ran.returncode == 0, ran.stderr
    assert sorted(os.listdir("o")) == FILES


def test_ctrl_c_while_the_command_is_imported_leaves_no_traceback(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(commands: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("minires.cli.compare.add_parser", interrupted)
    ran = command("compare")
    assert (ran.code, ran.out, ran.err) == (130, "", "minires: interrupted\n")


def test_a_real_interrupt_signal_keeps_what_is_finished() -> None:
    many = [str(seed) for seed in range(400)]
    ignored = signal.getsignal(signal.SIGINT)  # in the background of a shell it is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen(
            [sys.executable, "-m", "minires", "compare", *TINY, "--seeds", *many, "--out", "o"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, ignored)
    with started:
        assert started.stderr is not None
        for line in started.stderr:
            if line.startswith("[3/800]"):  # so two runs are finished
                break
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "Traceback" not in err
    found = strict(Path("o/results.json"))
    assert found["interrupted"] is True
    assert 2 <= len(found["runs"]) < 800
    assert f"interrupted: {len(found['runs'])} finished runs are kept" in out
    assert sorted(os.listdir("o")) == FILES


# --- bad input ---

BAD: dict[str, tuple[list[str], str]] = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["teach"], "invalid choice: 'teach'"),
    "unknown option": (["compare", "--color", "red"], "unrecognized arguments: --color red"),
    "unknown data set": (["compare", "--data", "nothing"], "unknown data set 'nothing'; known: "),
    "depth 21": (["compare", "--depths", "20", "21"], "6n+2; the nearest are 20 and 26."),
    "depth 3": (["compare", "--depths", "3"], "Depth 3 does not exist"),
    "depth 3 names one": (["compare", "--depths", "3"], "the nearest is 8."),
    "depth 0": (["compare", "--depths", "0"], "the nearest is 8."),
    "depth negative": (["compare", "--depths", "-20"], "the nearest is 8."),
    "depth no number": (["compare", "--depths", "deep"], "invalid int value: 'deep'"),
    "depths missing": (["compare", "--depths"], "expected at least one argument"),
    "depths twice": (["compare", "--depths", "20", "20"], "depths must be given once each"),
    "kind": (["compare", "--kinds", "dense"], "invalid choice: 'dense'"),
    "kinds twice": (["compare", "--kinds", "plain", "plain"], "kinds must be given once each"),
    "shortcut": (["compare", "--shortcut", "D"], "invalid choice: 'D'"),
    "batch too large": (["compare", "--batch-size", "1438"], "choose 2 to 1437"),
    "batch of one": (["compare", "--batch-size", "1"], "choose 2 to 1437"),
    "batch no number": (["compare", "--batch-size", "many"], "invalid int value: 'many'"),
    "epochs 0": (["compare", "--epochs", "0"], "epochs must be at least 1, not 0"),
    "epochs half": (["compare", "--epochs", "1.5"], "invalid int value: '1.5'"),
    "width beyond memory": (["compare", "--width", str(10**18)], "choose at most 4,096"),
    "width 0": (["compare", "--width", "0"], "width must be at least 1, not 0"),
    "lr nan": (["compare", "--lr", "nan"], "lr must be a number above 0, not nan"),
    "lr negative": (["compare", "--lr", "-0.1"], "lr must be a number above 0, not -0.1"),
    "lr zero": (["compare", "--lr", "0"], "lr must be a number above 0"),
    "lr no number": (["compare", "--lr", "fast"], "invalid float value: 'fast'"),
    "momentum 1": (["compare", "--momentum", "1"], "momentum must be from 0 to below 1, not 1.0"),
    "weight decay": (["compare", "--weight-decay", "-1"], "weight decay must be a number from 0"),
    "seeds negative": (["compare", "--seeds", "-1"], "seeds must be whole numbers from 0 on"),
    "seeds twice": (["compare", "--seeds", "0", "0"], "seeds must be given once each"),
    "device unknown": (["compare", "--device", "gpu"], "Unknown device 'gpu': use 'cpu', 'cuda'"),
    "device missing": (["compare", "--device", "cuda:99"], "Device 'cuda:99' is not available"),
    "threads 0": (["compare", "--threads", "0"], "whole number from 1 on, not 0"),
    "threads no number": (["compare", "--threads", "all"], "invalid int value: 'all'"),
    "out is a file": (["compare", *TINY, "--out", "file"], "'file' is a file, not a folder"),
    "out is empty": (["compare", *TINY, "--out", ""], "--out: needs the name of a folder"),
    "option cut short": (["compare", *TINY, "--epoch", "2"], "unrecognized arguments: --epoch 2"),
    "version cut short": (["--vers"], "COMMAND"),
    "depth absurd": (["compare", "--depths", "20000000"], "Depth 20000000 is out of reach"),
    "out below a file": (["compare", *TINY, "--out", "file/x/y"], "cannot write to 'file/x/y'"),
    "out too long": (["compare", *TINY, "--out", "x" * 300], "File name too long"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_one_line_and_exit_code_2_and_nothing_is_written(
    what: str, command: Callable[..., Ran]
) -> None:
    words, message = BAD[what]
    Path("file").write_text("in the way")
    ran = command(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("\n")
    name = "minires compare" if words[:1] == ["compare"] else "minires"
    assert ran.err.startswith(f"{name}: error: ")
    if ran.err.count("--help"):
        assert ran.err.endswith(f"(see {name} --help)\n")
    assert message in ran.err
    assert os.listdir() == ["file"]
    assert Path("file").read_text() == "in the way"


@pytest.mark.parametrize("damage", ["missing", "truncated", "one byte", "text"])
def test_a_damaged_data_file_gets_one_line(
    damage: str, command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digits = importlib.import_module("minires.data.digits")
    content = bytearray(digits.DIGITS_FILE.read_bytes())
    copy = tmp_path / "digits.npz"
    if damage == "truncated":
        copy.write_bytes(content[:20_000])
    elif damage == "text":
        copy.write_text("hello, world")
    elif damage == "one byte":
        content[20_000] ^= 0xFF
        copy.write_bytes(content)
    monkeypatch.setattr(digits, "DIGITS_FILE", copy)
    before = os.listdir()
    ran = command("compare", *TINY)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith(f"minires compare: error: digits: {copy} ")
    assert ran.err.endswith("; reinstall minires.\n")
    assert "pickle" not in ran.err
    assert os.listdir() == before


def test_a_full_disk_gets_one_line_and_keeps_the_old_files(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.mkdir("o")
    Path("o/results.json").write_text("old")
    monkeypatch.setattr(os, "replace", full)
    ran = command("compare", *TINY, "--kinds", "plain", "--out", "o")
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == (
        "minires compare: error: cannot write to 'o' (No space left on device)."
    )
    assert os.listdir("o") == ["results.json"]
    assert Path("o/results.json").read_text() == "old"


def test_bad_input_has_no_traceback_in_a_process_of_its_own() -> None:
    ran = process("compare", "--depths", "21")
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == (
        "minires compare: error: Depth 21 does not exist: with basic blocks it must be 6n+2; "
        "the nearest are 20 and 26.\n"
    )
    assert os.listdir() == []


# --- help and version ---


def test_python_m_minires_is_the_command() -> None:
    ran = process("--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"minires {mr.__version__}\n", "")


def test_the_version_is_that_of_the_project(command: Callable[..., Ran]) -> None:
    ran = command("--version")
    assert ran.code == 0
    assert ran.out == f"minires {mr.__version__}\n"
    assert f'version = "{mr.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_help_names_the_commands(command: Callable[..., Ran]) -> None:
    ran = command("--help")
    assert ran.code == 0
    assert ran.err == ""
    assert "compare" in ran.out
    assert "The residual-learning microscope" in ran.out


def test_help_of_compare_names_every_option_with_its_default(command: Callable[..., Ran]) -> None:
    ran = command("compare", "--help")
    assert ran.code == 0
    text = " ".join(ran.out.split())
    defaults = {
        "--data": "digits",
        "--depths": "[20, 56]",
        "--kinds": "['plain', 'residual']",
        "--width": "8",
        "--shortcut": "A",
        "--epochs": "12",
        "--batch-size": "64",
        "--lr": "0.1",
        "--momentum": "0.9",
        "--weight-decay": "0.0001",
        "--seeds": "[0]",
        "--out": "runs/compare-DATA",
        "--device": "cpu",
        "--threads": "all processors",
    }
    listed = text[text.index("options:") :]
    places = {option: listed.index(f"{option} ") for option in defaults}
    for option, default in defaults.items():
        later = [place for place in places.values() if place > places[option]]
        part = listed[places[option] : min(later, default=len(listed))]
        assert f"default: {default})" in part, option
    assert "plain,residual,preact" in text
