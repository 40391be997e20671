"""The runner: turns, ratios, failures, and what is left when it is interrupted."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import pytest

from minires.bench import SIDES, Side, Workload, bench
from minires.bench.run import measure, probe
from minires.errors import UsageError
from tests.bench.fakes import fake_python, fake_side, turns

CONV = Workload("conv-fake", "conv", {"shape": [1, 1, 4, 4]}, 2)
NETWORK = Workload("net-fake", "network", {"shape": [1, 1, 4, 4]}, 2)
ACCURACY = Workload(
    "accuracy-fake",
    "accuracy",
    {"shape": [1, 1, 4, 4], "out": 1, "kernel": 3, "stride": 1, "padding": 1},
    1,
    "accuracy",
)


def two(folder: Path, wrong: str = "") -> list[Side]:
    return [fake_side(folder, "minires"), fake_side(folder, "pytorch", wrong)]


def test_the_sides_take_turns_and_the_first_round_is_left_out(tmp_path: Path) -> None:
    rounds: list[int] = []
    found = measure(CONV, two(tmp_path), 2, 1, lambda: rounds.append(1))
    assert found.failure is None
    assert turns(tmp_path) == [
        *("minires prepare", "pytorch prepare"),
        *["minires step", "minires step", "pytorch step", "pytorch step"] * 3,
    ]
    assert {side: [len(r) for r in times] for side, times in found.times.items()} == {
        "minires": [2, 2],
        "pytorch": [2, 2],
    }
    assert len(rounds) == 3
    assert list(found.peak_mb) == list(found.base_mb) == ["minires", "pytorch"]


def test_each_workload_gets_fresh_processes(tmp_path: Path) -> None:
    found = bench([CONV, CONV], sides=two(tmp_path), repeat=1, threads=3)
    lines = (tmp_path / "log").read_text().splitlines()
    pids = [line.split()[-1] for line in lines if " pid " in line]
    assert len(set(pids)) == len(pids) == 6  # two to ask for the versions, and two a workload
    assert found.versions["pytorch"]["threads"] == "3"
    assert found.versions["pytorch"]["omp"] == "3"


def test_networks_with_other_parameters_are_not_compared(tmp_path: Path) -> None:
    assert measure(NETWORK, two(tmp_path), 1, 1).parameters == 10
    found = measure(NETWORK, two(tmp_path, "parameters"), 1, 1)
    assert found.failure == "the networks differ in their parameters: minires 10, PyTorch 11"
    assert found.times == {}


@pytest.mark.parametrize(
    ("wrong", "failure"),
    [
        ("raise", "no luck today"),
        ("die", "the process of PyTorch ended (exit status -9)"),
        ("last words", "the process of PyTorch ended (exit status 3): Fatal: out of cheese"),
    ],
)
def test_a_worker_that_fails_costs_its_own_row(tmp_path: Path, wrong: str, failure: str) -> None:
    pool = Workload("pool-fake", "pool", {}, 1, sides=("minires",))
    found = bench([CONV, pool], sides=two(tmp_path, wrong), repeat=1, threads=1)
    failed, other = found.measurements
    assert failed.failure is not None
    assert failed.failure.startswith(failure)
    assert other.failure is None
    assert found.failed == [failed]
    assert f"failed: {failure}" in str(found)


def test_a_framework_that_is_not_there_is_told_and_left_out(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    sides = two(tmp_path, "absent")
    found = bench(
        [CONV], sides=sides, repeat=1, threads=1, on_absent=lambda *words: told.append(words)
    )
    reason = "ModuleNotFoundError: No module named 'torch'"
    assert told == [("pytorch", reason)]
    assert found.absent == {"pytorch": reason}
    (measured,) = found.measurements
    assert list(measured.times) == ["minires"]
    assert measured.ratio("pytorch") is None


def test_a_program_that_is_no_python_is_refused(tmp_path: Path) -> None:
    side = Side("pytorch", "PyTorch", "torch", python="true")
    with pytest.raises(UsageError, match="true is no Python that can measure PyTorch"):
        probe(side, 1)


def test_another_interpreter_runs_the_side(tmp_path: Path) -> None:
    side = Side("pytorch", "PyTorch", "torch", python=str(fake_python(tmp_path)))
    assert probe(side, 2)["pytorch"] == "9.9"


def test_imports_are_timed_in_fresh_processes(tmp_path: Path) -> None:
    workload = Workload("import", "import", {}, 1)
    found = measure(workload, two(tmp_path), 2, 1)
    assert [len(found.times[side]) for side in ("minires", "pytorch")] == [2, 2]


def test_float64_results_must_agree(tmp_path: Path) -> None:
    same = measure(ACCURACY, two(tmp_path), 1, 1)
    assert same.failure is None
    assert same.disagreement == 0.0
    assert same.errors["pytorch"]["forward"] == {"rms": 0.0, "max": 0.0}
    other = measure(ACCURACY, two(tmp_path, "another"), 1, 1)
    assert other.failure is not None
    assert other.failure.startswith("forward in float64 differs by 1.")
    assert other.failure.endswith(": not the same convolution")


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("minires.bench.run")
    calls: list[str] = []

    def interrupted(workload: Workload, *words: Any) -> Any:
        calls.append(workload.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(workload, *words)

    monkeypatch.setattr(module, "measure", interrupted)
    found = bench([CONV, NETWORK], sides=two(tmp_path), repeat=1, threads=1)
    assert found.interrupted
    assert [m.workload.name for m in found.measurements] == ["conv-fake"]


@pytest.mark.parametrize("name", ["repeat", "threads"])
def test_settings_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} must be from 1 to \d+, not 0"):
        bench([CONV], **{name: 0})


def test_progress_is_a_line_a_workload_or_a_bar(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    lines, terminal = io.StringIO(), Terminal()
    for file in (lines, terminal):
        bench([CONV, NETWORK], sides=two(tmp_path), repeat=1, threads=1, progress=file)
    first, second = lines.getvalue().splitlines()
    assert first.startswith("[1/2] conv-fake  minires 0.")
    assert "ratio" in second
    assert "[2/2] net-fake: 100%|" in terminal.getvalue()


def test_minires_itself_is_measured_from_end_to_end() -> None:
    """The real side in a real process, and the bare calls beside it; no PyTorch."""
    spec = {"depth": 8, "width": 2, "shape": [2, 1, 8, 8], "train": True}
    network = Workload("net-tiny", "network", spec, 1)
    chain = Workload(
        "engine-overhead-add",
        "chain",
        {"operation": "add", "shape": [8, 8], "length": 200},
        3,
        "engine-overhead",
    )
    found = bench([network, chain, ACCURACY], sides=SIDES[:2], repeat=1, threads=1)
    assert found.failed == []
    net, engine, accuracy = found.measurements
    assert net.parameters == 1320
    assert net.seconds("minires") is not None
    assert engine.overhead() is not None
    assert engine.overhead() > 0  # type: ignore[operator]
    assert 0 < accuracy.errors["minires"]["grad_weight"]["rms"] < 1e-6
    assert found.caption().startswith("minires 0.1.0 on ")
