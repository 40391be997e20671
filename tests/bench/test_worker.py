"""The worker: what it answers, what it leaves alone, and the sides that it runs."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minires.bench
from minires.bench import worker
from minires.bench.sides import minires_side, numpy_side
from minires.bench.workloads import choose
from tests.bench.fakes import fake_side

PACKAGE = Path(minires.bench.__file__).parent


def ask(script: str, *requests: dict[str, Any]) -> list[Any]:
    answers = io.StringIO()
    worker.main(script, io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_a_block_takes_the_steps_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    prepare = {"do": "prepare", "kind": "network", "spec": {}}
    hello, made, block, memory = ask(
        fake_side(tmp_path).path,
        {"do": "hello", "threads": 1},
        prepare,
        {"do": "block", "steps": 3},
        {"do": "memory"},
    )
    assert hello["versions"]["pytorch"] == "9.9"
    assert hello["versions"]["numpy"] == np.__version__
    assert made == {"parameters": 10}
    assert len(block["seconds"]) == 3
    assert all(second > 0 for second in block["seconds"])
    assert memory["peak_mb"] is None or memory["peak_mb"] > 5


def test_an_error_is_an_answer_and_the_next_request_is_answered_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = ask(
        fake_side(tmp_path, wrong="absent").path,
        {"do": "hello", "threads": 1},
        {"do": "import", "module": "json"},
    )
    error = "ModuleNotFoundError: No module named 'torch'"
    assert first == {"error": error, "kind": "ModuleNotFoundError"}
    assert second["seconds"][0] >= 0
    assert "Traceback" in capsys.readouterr().err


def test_what_libraries_print_does_not_get_between_the_answers(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(PACKAGE / "worker.py"), fake_side(tmp_path).path],
        input='{"do": "hello", "threads": 1}\n',
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = ran.stdout.splitlines()
    assert json.loads(line)["versions"]["pytorch"] == "9.9"
    assert "a library that prints" in ran.stderr
    assert "on the file descriptor too" in ran.stderr


def test_the_folder_of_the_worker_is_not_on_the_path_of_modules(tmp_path: Path) -> None:
    script = tmp_path / "side.py"
    script.write_text("import sys\ndef setup(threads): return {'path': '|'.join(sys.path)}")
    ran = subprocess.run(
        [sys.executable, str(PACKAGE / "worker.py"), str(script)],
        input='{"do": "hello", "threads": 1}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert str(PACKAGE) not in json.loads(ran.stdout)["versions"]["path"].split("|")


@pytest.mark.parametrize(
    "name", ["worker.py", *(f"sides/{s}_side.py" for s in ("numpy", "pytorch", "chainer"))]
)
def test_what_other_interpreters_run_imports_nothing_of_minires(name: str) -> None:
    tree = ast.parse((PACKAGE / name).read_text())
    imports = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imports |= {n.module or "." for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not any(module.split(".")[0] == "minires" for module in imports)
    assert {i.split(".")[0] for i in imports} <= {*sys.stdlib_module_names, "numpy"}


def test_inputs_are_the_same_for_all_and_float32() -> None:
    one, other = worker.Inputs(), worker.Inputs()
    np.testing.assert_array_equal(one.normal(2, 3), other.normal(2, 3))
    np.testing.assert_array_equal(one.labels(5, 10), other.labels(5, 10))
    assert one.normal(2).dtype == one.orthogonal(2).dtype == np.float32


def test_errors_are_relative_and_against_the_sides_own_float64(tmp_path: Path) -> None:
    def convolve(x: Any, weight: Any, grad_out: Any, stride: int, padding: int) -> Any:
        too_much = 1.01 if x.dtype == np.float32 else 1.0
        half = np.where(np.arange(x.size) % 2, x.dtype.type(too_much), 1).reshape(x.shape)
        return grad_out * grad_out.dtype.type(too_much), (x * half).astype(x.dtype), weight

    spec = {"shape": [1, 1, 8, 8], "out": 2, "kernel": 3, "stride": 2, "padding": 1}
    found = worker.accuracy(convolve, spec, str(tmp_path))
    assert found["forward"]["rms"] == pytest.approx(0.01, rel=1e-4)
    assert found["grad_x"]["rms"] == pytest.approx(0.01 / 2**0.5, rel=0.3)
    assert found["grad_x"]["max"] > found["grad_x"]["rms"]
    assert found["grad_weight"] == {"rms": 0.0, "max": 0.0}
    assert np.load(tmp_path / "forward.npy").shape == (1, 2, 4, 4)
    assert np.load(tmp_path / "grad_weight.npy").dtype == np.float64


def test_a_side_that_does_not_compute_in_the_precision_asked_for_is_refused(
    tmp_path: Path,
) -> None:
    spec = {"shape": [1, 1, 2, 2], "out": 1, "kernel": 1, "stride": 1, "padding": 0}
    with pytest.raises(TypeError, match="forward is float64 and float64"):
        worker.accuracy(
            lambda x, w, g, s, p: [a.astype(np.float64) for a in (g, x, w)], spec, str(tmp_path)
        )


# --- the side of minires, and the bare calls ---


@pytest.mark.parametrize("train", [True, False])
def test_a_network_takes_a_step(train: bool) -> None:
    spec = {"depth": 8, "width": 2, "shape": [2, 1, 8, 8], "train": train}
    step, parameters = minires_side.network(spec, worker.Inputs())
    step()
    assert parameters == 1320


def test_resnet18_has_the_parameters_of_the_paper() -> None:
    spec = {"depth": "resnet18", "shape": [1, 3, 32, 32], "train": False}
    step, parameters = minires_side.network(spec, worker.Inputs())
    step()
    assert parameters == 11_689_512


@pytest.mark.parametrize("backward", [True, False])
def test_a_convolution_takes_a_step(backward: bool) -> None:
    spec = {"shape": [2, 3, 6, 6], "out": 4, "kernel": 3, "stride": 2, "padding": 1}
    step, parameters = minires_side.conv({**spec, "backward": backward}, worker.Inputs())
    step()
    step()
    assert parameters is None


@pytest.mark.parametrize("pool", ["max", "avg", "global"])
def test_a_pooling_layer_takes_a_step(pool: str) -> None:
    step, _ = minires_side.pool({"pool": pool, "shape": [2, 3, 8, 8]}, worker.Inputs())
    assert step() is None


def test_batch_normalisation_takes_a_step() -> None:
    step, _ = minires_side.norm({"shape": [2, 3, 4, 4]}, worker.Inputs())
    assert step() is None


@pytest.mark.parametrize("workload", choose(["engine-overhead"]), ids=lambda w: w.name)
def test_the_bare_calls_compute_the_gradient_that_the_engine_computes(workload: Any) -> None:
    spec = {**workload.spec, "length": 5}
    engine, _ = minires_side.chain(spec, worker.Inputs())
    bare, _ = numpy_side.chain(spec, worker.Inputs())
    ours, theirs = engine().numpy(), bare()
    assert ours.shape == theirs.shape == tuple(spec["shape"])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
