"""The comparison: what it trains, that it is fair, what it returns, and how it is written."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import flow, kernels
from minires.data import DataLoader, Dataset
from minires.errors import DataError, UsageError
from minires.experiments import CompareConfig, compare, training, write_results
from minires.files import output_folder, write_whole

COMPARE = importlib.import_module("minires.experiments.compare")  # the module, not the function
TINY = CompareConfig(depths=(8,), width=2, epochs=2, batch_size=32)
FILES = ["curves.png", "gradient_flow.png", "report.html", "results.json"]


def some_digits(n: int = 80) -> Dataset:
    """The first digits: as many as a test needs."""
    whole = mr.data.load_digits()
    parts = {
        "train_images": whole.train_images[:n],
        "train_labels": whole.train_labels[:n],
        "test_images": whole.test_images[:40],
        "test_labels": whole.test_labels[:40],
    }
    return dataclasses.replace(whole, **parts)


DATA = some_digits()


def tiny(**changes: Any) -> CompareConfig:
    return dataclasses.replace(TINY, **changes)


def without_times(results: dict[str, Any]) -> str:
    """The results as text, without what may differ from run to run."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: kept(v) for k, v in value.items() if k not in ("seconds", "threads")}
        return [kept(v) for v in value] if isinstance(value, list | tuple) else value

    return json.dumps(kept(results))


def strict(text: str | bytes) -> Any:
    """Read JSON that has no NaN or Infinity in it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Every kind, two depths, two seeds."""
    kinds = ("plain", "residual", "preact")
    return compare(tiny(depths=(8, 14), kinds=kinds, seeds=(0, 1)), DATA)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, np.ndarray]]]:
    """The networks that are built, each with its state at the start."""
    found: list[tuple[Any, dict[str, np.ndarray]]] = []
    build = COMPARE.build

    def watched(*args: Any) -> Any:
        model = build(*args)
        found.append((model, model.state_dict()))
        return model

    monkeypatch.setattr(COMPARE, "build", watched)
    return found


# --- what it returns ---


def test_results_have_the_parts_that_are_promised(results: dict[str, Any]) -> None:
    assert list(results) == ["config", "environment", "interrupted", "runs"]
    assert results["interrupted"] is False
    assert results["config"] == {
        "data": "digits",
        "depths": (8, 14),
        "kinds": ("plain", "residual", "preact"),
        "width": 2,
        "shortcut": "A",
        "epochs": 2,
        "batch_size": 32,
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "seeds": (0, 1),
        "device": "cpu",
        "train_samples": 80,
        "test_samples": 40,
    }
    environment = results["environment"]
    assert set(environment) == {"minires", "python", "numpy", "platform", "threads"}
    assert environment["minires"] == mr.__version__
    assert environment["numpy"] == np.__version__
    assert environment["threads"] == kernels.get_num_threads()


def test_every_combination_is_run_once_kinds_side_by_side(results: dict[str, Any]) -> None:
    runs = [(run["seed"], run["depth"], run["kind"]) for run in results["runs"]]
    assert runs == [
        (seed, depth, kind)
        for seed in (0, 1)
        for depth in (8, 14)
        for kind in ("plain", "residual", "preact")
    ]


def test_every_run_has_its_numbers_history_and_gradient_flow(results: dict[str, Any]) -> None:
    for run in results["runs"]:
        assert list(run) == [
            *("kind", "depth", "seed", "parameters", "train_loss", "train_error", "test_error"),
            *("seconds", "history", "gradient_flow"),
        ]
        history = run["history"]
        assert set(history) == {
            *("epoch", "step", "lr", "batch_loss", "batch_error", "seconds"),
            *("train_loss", "train_error", "test_loss", "test_error"),
        }
        assert {len(values) for values in history.values()} == {2}
        assert history["epoch"] == [1, 2]
        for key in ("train_loss", "train_error", "test_error"):
            assert run[key] == history[key][-1]
        for key in ("train_error", "test_error", "batch_error"):
            assert all(0 <= error <= 100 for error in history[key])
        assert run["seconds"] >= sum(history["seconds"]) > 0
        assert set(run["gradient_flow"]) == {"initial", "trained"}
        blocks = (run["depth"] - 2) // 2
        for found in run["gradient_flow"].values():
            assert set(found) == {
                *("loss", "max_error", "block", "grad_rms", "skip_share"),
                *("skip_norm", "branch_norm", "cosine", "forward_ratio"),
            }
            lists = {k: v for k, v in found.items() if k not in ("loss", "max_error")}
            assert {len(values) for values in lists.values()} == {blocks}
            assert found["block"][0] == "layer1.0"
            assert found["max_error"] < 1e-5
            assert all(rms > 0 for rms in found["grad_rms"])
            for key in ("skip_share", "skip_norm", "cosine", "forward_ratio"):
                assert all((value is None) == (run["kind"] == "plain") for value in found[key])


def test_parameters_are_counted(results: dict[str, Any]) -> None:
    for run in results["runs"]:
        preactivation = run["kind"] == "preact"
        model = mr.models.cifar_resnet(
            run["depth"], width=2, in_channels=1, preactivation=preactivation
        )
        assert run["parameters"] == sum(p.numel() for p in model.parameters())


def test_results_are_plain_data(results: dict[str, Any]) -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert all(type(key) is str for key in value)
            value = list(value.values())
        if isinstance(value, list | tuple):
            for item in value:
                check(item)
        else:
            assert value is None or type(value) in (str, int, float, bool)

    check(results)


@pytest.mark.parametrize(
    ("epochs", "lrs"),
    [
        (1, [0.1]),
        (2, [0.1, 0.01]),
        (4, [0.1, 0.1, 0.01, 0.001]),
        (12, [0.1] * 6 + [0.01] * 3 + [0.001] * 3),
    ],
)
def test_the_rate_is_divided_by_ten_at_one_half_and_three_quarters(
    epochs: int, lrs: list[float]
) -> None:
    config = tiny(epochs=epochs, kinds=("plain",), batch_size=80)
    run = compare(config, some_digits())["runs"][0]
    assert run["history"]["lr"] == pytest.approx(lrs)


# --- what it measures ---


@pytest.mark.parametrize("kind", ["plain", "residual", "preact"])
def test_errors_are_percentages_measured_in_evaluation_mode(
    kind: str, built: list[tuple[Any, Any]]
) -> None:
    run = compare(tiny(kinds=(kind,)), DATA)["runs"][0]
    model = built[0][0].eval()
    for part, (images, labels) in {"train": DATA.train, "test": DATA.test}.items():
        logits = model(mr.tensor(images)).data
        wrong = 100.0 * np.mean(logits.argmax(axis=1) != labels)
        assert run[f"{part}_error"] == pytest.approx(wrong, abs=1e-9)
        log_sum = np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
        loss = (log_sum - logits[np.arange(len(labels)), labels]).mean()
        assert run["history"][f"{part}_loss"][-1] == pytest.approx(loss, rel=1e-5)
    assert run["train_error"] != run["history"]["batch_error"][-1]


def test_gradient_flow_is_the_ledger_in_training_mode_before_and_after(
    built: list[tuple[Any, Any]],
) -> None:
    run = compare(tiny(kinds=("residual",)), DATA)["runs"][0]
    model, start = built[0]
    batch = DATA.batch(32)
    after = flow.ledger(model.train(), *batch)
    model.load_state_dict(start)
    before = flow.ledger(model, *batch)
    for moment, found in (("initial", before), ("trained", after)):
        measured = run["gradient_flow"][moment]
        assert measured["loss"] == found.loss
        assert measured["grad_rms"] == [entry.grad_rms for entry in found.blocks]
        assert measured["skip_share"] == [entry.share for entry in found.blocks]
        assert measured["block"] == [entry.name for entry in found.blocks]


def test_measuring_the_gradient_flow_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = compare(tiny(), DATA)
    monkeypatch.setattr(COMPARE, "_gradient_flow", lambda model, batch: {})
    blind = compare(tiny(), DATA)
    for one, other in zip(looked["runs"], blind["runs"], strict=True):
        assert one["history"]["train_loss"] == other["history"]["train_loss"]
        assert one["history"]["batch_loss"] == other["history"]["batch_loss"]


# --- fairness ---


@pytest.mark.parametrize("shortcut", "ABC")
def test_all_kinds_of_one_depth_and_seed_start_from_the_same_weights(
    shortcut: str, built: list[tuple[Any, dict[str, np.ndarray]]]
) -> None:
    kinds = ("plain", "residual", "preact")
    compare(tiny(kinds=kinds, shortcut=shortcut, epochs=1, seeds=(0, 1)), DATA)
    starts = [start for _, start in built]
    assert len(starts) == 6
    for plain, *others in (starts[:3], starts[3:]):
        for name in plain:
            if "conv" in name or "fc" in name:
                assert all(other[name].tobytes() == plain[name].tobytes() for other in others)
    assert (starts[0]["conv1.weight"] != starts[3]["conv1.weight"]).any()  # another seed


def test_all_kinds_of_one_seed_see_the_data_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orders: list[list[list[int]]] = []

    class Watched(DataLoader):
        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options)
            orders.append([])

        def __iter__(self) -> Iterator[Any]:
            for x, y in super().__iter__():
                orders[-1].append(y.data.tolist())
                yield x, y

    monkeypatch.setattr(training, "DataLoader", Watched)
    compare(tiny(depths=(8, 14), seeds=(0, 1)), DATA)
    assert len(orders) == 8
    first, second = orders[:4], orders[4:]
    assert all(order == first[0] for order in first)
    assert all(order == second[0] for order in second)
    assert first[0] != second[0]
    assert first[0][:3] != first[0][3:]  # another order in the second epoch
    epoch = [label for batch in first[0][:3] for label in batch]
    assert sorted(epoch) == sorted(DATA.train_labels.tolist())


def test_a_run_depends_on_its_own_settings_alone(results: dict[str, Any]) -> None:
    alone = compare(tiny(depths=(14,), kinds=("residual",), seeds=(1,)), DATA)["runs"]
    among = [
        r for r in results["runs"] if (r["kind"], r["depth"], r["seed"]) == ("residual", 14, 1)
    ]
    assert without_times({"runs": alone}) == without_times({"runs": among})


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before() -> None:
    first = compare(tiny(), DATA)
    mr.manual_seed(99)
    mr.randn(7)
    assert without_times(compare(tiny(), DATA)) == without_times(first)


def test_another_seed_gives_other_numbers(results: dict[str, Any]) -> None:
    losses = [run["train_loss"] for run in results["runs"]]
    assert len(set(losses)) == len(losses)


@pytest.mark.parametrize("shortcut", "BC")
def test_projections_are_trained_as_well(shortcut: str) -> None:
    plain, residual = compare(tiny(shortcut=shortcut), DATA)["runs"]
    assert residual["parameters"] > plain["parameters"]
    assert np.isfinite(residual["train_loss"])


# --- progress ---


def test_progress_goes_where_it_is_told() -> None:
    text = io.StringIO()
    seen: list[str] = []
    compare(tiny(), DATA, progress=text, on_run=lambda run: seen.append(run["kind"]))
    lines = text.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        *["[1/2] plain-8, seed 0"] * 2,
        *["[2/2] residual-8, seed 0"] * 2,
    ]
    assert seen == ["plain", "residual"]


def test_without_a_place_for_progress_nothing_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    compare(tiny(epochs=1), DATA)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


# --- Ctrl-C ---


def test_an_interrupt_keeps_the_runs_that_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    run = COMPARE._run
    calls: list[int] = []

    def interrupted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(*args)

    monkeypatch.setattr(COMPARE, "_run", interrupted)
    found = compare(tiny(depths=(8, 14)), DATA)
    assert found["interrupted"] is True
    assert [(r["kind"], r["depth"]) for r in found["runs"]] == [("plain", 8)]
    assert len(calls) == 2
    assert found["config"]["depths"] == (8, 14)


def test_an_interrupt_in_the_middle_of_an_epoch_drops_that_run_only() -> None:
    class Impatient(io.StringIO):
        def write(self, text: str) -> int:
            if "[2/2]" in text and "epoch 1/2" in text:
                raise KeyboardInterrupt
            return super().write(text)

    found = compare(tiny(), DATA, progress=Impatient())
    assert found["interrupted"] is True
    assert [run["kind"] for run in found["runs"]] == ["plain"]


def test_an_interrupt_while_a_finished_run_is_reported_keeps_that_run() -> None:
    def impatient(run: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    found = compare(tiny(), DATA, on_run=impatient)
    assert found["interrupted"] is True
    assert [run["kind"] for run in found["runs"]] == ["plain"]


# --- settings that cannot work ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (8, 10_004)}, "Depth 10004 is out of reach.*at most 10,000"),
        ({"depths": (8, 21)}, "Depth 21 does not exist.*20 and 26"),
        ({"depths": ()}, "depths must be given once each, and at least one"),
        ({"depths": (8, 8)}, "depths must be given once each"),
        ({"kinds": ()}, "kinds must be given"),
        ({"kinds": ("plain", "plain")}, "kinds must be given once each"),
        ({"kinds": ("dense",)}, "Unknown kind 'dense': choose of plain, residual, preact"),
        ({"seeds": ()}, "seeds must be given"),
        ({"seeds": (0, 0)}, "seeds must be given once each"),
        ({"seeds": (0, -1)}, "seeds must be whole numbers from 0 on"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch_size": 1}, "batch size 1 does not fit 80 training images of digits: choose 2"),
        ({"batch_size": 81}, "batch size 81 does not fit 80 .*choose 2 to 80"),
        ({"lr": 0.0}, "lr must be a number above 0"),
        ({"lr": -0.1}, "lr must be a number above 0, not -0.1"),
        ({"lr": float("nan")}, "lr must be a number above 0, not nan"),
        ({"lr": float("inf")}, "lr must be a number above 0, not inf"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1, not 1.0"),
        ({"momentum": -0.1}, "momentum must be"),
        ({"momentum": float("nan")}, "momentum must be"),
        ({"weight_decay": -1e-4}, "weight decay must be a number from 0 on"),
        ({"weight_decay": float("nan")}, "weight decay must be"),
        ({"shortcut": "D"}, "Unknown shortcut 'D'"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_trained(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*args: Any, **options: Any) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr(mr.train, "fit", trained)
    with pytest.raises(UsageError, match=message) as caught:
        compare(tiny(**changes), DATA)
    assert "\n" not in str(caught.value)


def test_an_unknown_data_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="unknown data set 'nist'"):
        compare(tiny(data="nist"))


def test_the_whole_data_may_be_one_batch() -> None:
    run = compare(tiny(batch_size=80, epochs=1, kinds=("plain",)), DATA)["runs"][0]
    assert np.isfinite(run["train_loss"])


# --- writing ---


def test_four_files_are_written_and_nothing_else(tmp_path: Path, results: dict[str, Any]) -> None:
    paths = write_results(results, tmp_path)
    assert sorted(path.name for path in paths) == FILES
    assert sorted(os.listdir(tmp_path)) == FILES
    for name in ("curves.png", "gradient_flow.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_results_json_holds_the_results(tmp_path: Path, results: dict[str, Any]) -> None:
    write_results(results, tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert text.endswith("}\n")
    assert strict(text) == json.loads(json.dumps(results))


def test_the_report_holds_the_table_and_both_figures(
    tmp_path: Path, results: dict[str, Any]
) -> None:
    write_results(results, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure>") == 2
    assert page.count('role="img"') + page.count("<img alt=") == 2
    for run in results["runs"]:
        assert f"{run['parameters']:,}" in page
    assert "<script" not in page


def test_a_run_that_diverged_is_null_in_json_and_named_in_the_report(tmp_path: Path) -> None:
    found = compare(tiny(lr=1e6, kinds=("residual",)), DATA)
    assert not np.isfinite(found["runs"][0]["train_loss"])
    write_results(found, tmp_path)
    run = strict((tmp_path / "results.json").read_text())["runs"][0]
    assert run["train_loss"] is None
    assert run["train_error"] == 100.0
    assert None in run["history"]["train_loss"]
    assert None in run["gradient_flow"]["trained"]["grad_rms"]
    assert sorted(os.listdir(tmp_path)) == FILES
    assert "diverged" in (tmp_path / "report.html").read_text()


def test_files_are_readable_by_everyone_that_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path, {"a": b"1"})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def no_space(*args: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", ["replace", "fsync", "open"])
def test_old_files_are_kept_when_writing_fails(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"a": b"old a", "b": b"old b"}
    write_whole(tmp_path, old)
    with monkeypatch.context() as patch:
        patch.setattr(Path if what == "open" else os, what, no_space)
        with pytest.raises(UsageError, match=r"cannot write to .*No space left on device"):
            write_whole(tmp_path, {"a": b"new a", "b": b"new b"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_each_file_is_whole_when_moving_them_into_place_fails_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path, {"a": b"old a", "b": b"old b"})
    replace = os.replace
    moved: list[Any] = []

    def second_fails(source: Any, target: Any) -> None:
        if moved:
            no_space()
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(UsageError):
        write_whole(tmp_path, {"a": b"new a", "b": b"new b"})
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"a": b"new a", "b": b"old b"}


def test_the_numbers_are_written_when_a_figure_cannot_be_drawn(
    tmp_path: Path, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runs: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(mr.viz, "gradient_flow", broken)
    with pytest.raises(UsageError, match=r"could not be drawn \(RuntimeError\).*results.json"):
        write_results(results, tmp_path)
    assert os.listdir(tmp_path) == ["results.json"]
    assert strict((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))


def test_a_folder_that_went_away_meanwhile_is_made_again(
    tmp_path: Path, results: dict[str, Any]
) -> None:
    write_results(results, tmp_path / "gone")
    assert sorted(os.listdir(tmp_path / "gone")) == FILES


def test_an_interrupt_while_writing_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path, {"a": b"1"})
    assert os.listdir(tmp_path) == []


# --- the folder ---


def test_a_folder_that_is_missing_is_made_with_its_parents(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b") as folder:
        (folder / "file").touch()
    assert (tmp_path / "a" / "b" / "file").exists()


def test_a_folder_made_and_left_empty_goes_again(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_was_there_stays_even_if_empty(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with output_folder(tmp_path / "a" / "b"):
        pass
    assert os.listdir(tmp_path) == ["a"]
    with output_folder(tmp_path / "a"):
        assert os.listdir(tmp_path / "a") == []
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_goes_again_after_a_failure(tmp_path: Path) -> None:
    def work() -> None:
        with output_folder(tmp_path / "a"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert os.listdir(tmp_path) == []


def in_the_way(path: Path) -> Path:
    path.write_text("a file")
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda tmp: in_the_way(tmp / "file"),
        lambda tmp: in_the_way(tmp / "file") / "below" / "it",
        lambda tmp: tmp / ("x" * 300),
        lambda tmp: tmp / "new" / ("x" * 300) / "below",
    ],
    ids=["a file", "below a file", "a name too long", "below a name too long"],
)
def test_a_folder_that_cannot_be_written_is_refused_at_once(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = make(tmp_path)
    before = sorted(os.listdir(tmp_path))
    with (
        pytest.raises(UsageError, match="choose another folder with --out") as caught,
        output_folder(folder),
    ):
        raise AssertionError("the block was entered")
    assert repr(str(folder)) in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_folder_in_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with (
        pytest.raises(UsageError, match=r"report\.html' is a folder.*move it away") as caught,
        output_folder(tmp_path, FILES),
    ):
        raise AssertionError("the block was entered")
    assert "--out" in str(caught.value)


def test_a_file_in_the_place_of_the_folder_is_named_as_one(tmp_path: Path) -> None:
    path = in_the_way(tmp_path / "file")
    with pytest.raises(UsageError, match="is a file, not a folder"), output_folder(path):
        pass


def test_a_folder_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who runs as root may write anywhere, so the system's answer is made up."""

    def denied(*args: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    with pytest.raises(UsageError, match="Permission denied"), output_folder(tmp_path / "new"):
        pass
    assert os.listdir(tmp_path) == []
