"""A network and its plain twin under the instruments: what is run, kept and written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import experiments, flow, train
from minires.errors import ContractError, DataError, UsageError
from minires.experiments import flow_config, instruments, microscope
from minires.experiments.flow_config import FlowConfig, from_checkpoints

DATA = mr.data.load_digits()


def tiny(**changes: Any) -> FlowConfig:
    few = ("ledger", "spectrum")
    return replace(FlowConfig("resnet8", width=2, batch_size=32, instruments=few), **changes)


def test_the_plain_twin_has_the_same_weights_and_the_numbers_are_those_of_the_instruments() -> None:
    results, trained = microscope.microscope(tiny(), DATA)
    assert trained == {}
    assert [n["name"] for n in results["networks"]] == ["plain-8", "residual-8"]
    for network, residual in zip(results["networks"], (False, True), strict=True):
        mr.manual_seed(0)
        model = mr.models.cifar_resnet(8, residual=residual, width=2, in_channels=1)
        expected = flow.ledger(model, *DATA.batch(32))
        found = network["moments"]["initial"]["ledger"]
        assert found == {**expected.to_dict(), "caption": expected.caption()}
        assert list(network["moments"]) == ["initial"]
        assert network["recording"] is None
        assert network["failed"] == []


@pytest.mark.parametrize(
    ("shortcut", "kinds"),
    [("A", ["identity", "padding", "padding"]), ("B", ["identity", "projection", "projection"])],
)
def test_each_block_is_described(shortcut: str, kinds: list[str]) -> None:
    plain, residual = microscope.microscope(tiny(shortcut=shortcut), DATA)[0]["networks"]
    assert [b["shortcut"] for b in residual["blocks"]] == kinds
    assert [b["shortcut"] for b in plain["blocks"]] == ["none"] * 3
    assert [b["name"] for b in residual["blocks"]] == ["layer1.0", "layer2.0", "layer3.0"]
    assert [b["shape"] for b in residual["blocks"]] == [[2, 8, 8], [4, 4, 4], [8, 2, 2]]
    assert residual["depth"] == 8
    assert residual["parameters"] > 0


def test_before_training_evaluation_mode_has_the_statistics_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def look(model: Any, batch: Any) -> Any:
        seen.append((model.bn1.running_var.numpy(), model.conv1(mr.tensor(batch.x)).numpy()))
        return flow.ledger(model, batch.x, batch.y)

    monkeypatch.setitem(instruments.INSTRUMENTS, "ledger", look)
    microscope.microscope(tiny(instruments=("ledger",)), DATA)
    for running, answers in seen:
        np.testing.assert_allclose(running, answers.var(axis=(0, 2, 3), ddof=1), rtol=0.02)


def test_training_is_recorded_and_looked_at_once_more() -> None:
    results, trained = microscope.microscope(tiny(epochs=2, batch_size=256), DATA)
    assert list(trained) == ["plain-8", "residual-8"]
    for network in results["networks"]:
        assert list(network["moments"]) == ["initial", "trained"]
        losses = [network["moments"][m]["ledger"]["loss"] for m in ("initial", "trained")]
        assert losses[1] < losses[0]
        steps = network["recording"]["steps"]
        assert steps[0] == 1
        assert steps[-1] == 12
        found = flow.ledger(trained[network["name"]], *DATA.batch(256)).to_dict()
        assert network["moments"]["trained"]["ledger"]["blocks"] == found["blocks"]


def test_recording_changes_no_bit_of_the_training() -> None:
    _, trained = microscope.microscope(tiny(epochs=1, batch_size=256), DATA)
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    config = tiny(epochs=1, batch_size=256)
    experiments.training.train_network(model, DATA, config.recipe, seed=0, label="")
    for name, array in model.state_dict().items():
        assert trained["residual-8"].state_dict()[name].tobytes() == array.tobytes(), name


def test_an_instrument_that_fails_is_noted_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(model: Any, batch: Any) -> Any:
        raise ContractError("ledger: no\nway")

    monkeypatch.setitem(instruments.INSTRUMENTS, "ledger", broken)
    results, _ = microscope.microscope(tiny(), DATA)
    for network in results["networks"]:
        assert list(network["moments"]["initial"]) == ["spectrum"]
        assert network["failed"] == [f"{network['name']}, before training: ledger: ledger: no way"]


def test_ctrl_c_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def interrupted(model: Any, batch: Any) -> Any:
        calls.append(model)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return flow.ledger(model, batch.x, batch.y)

    monkeypatch.setitem(instruments.INSTRUMENTS, "ledger", interrupted)
    results, _ = microscope.microscope(tiny(), DATA)
    assert results["interrupted"]
    plain, residual = results["networks"]
    assert list(plain["moments"]["initial"]) == ["ledger", "spectrum"]
    assert residual["moments"]["initial"] == {}


def test_ctrl_c_before_anything_is_finished_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(model: Any, batch: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(instruments.INSTRUMENTS, "ledger", interrupted)
    with pytest.raises(KeyboardInterrupt):
        microscope.microscope(tiny(), DATA)
    monkeypatch.setattr(microscope, "_settle", interrupted)  # before the first instrument
    with pytest.raises(KeyboardInterrupt):
        microscope.microscope(tiny(), DATA)


# --- what is written ---


def test_numbers_pictures_page_and_trained_networks_are_written(tmp_path: Path) -> None:
    config = tiny(instruments=("ledger",), epochs=1, batch_size=512)
    results, trained = microscope.microscope(config, DATA)
    stale = ["residual-56-trained-ledger.png", "plain-20-recording.png"]
    mine = ["residual.png", "residual-56-initial.png", "my-plain-8-initial-ledger.png"]
    for name in [*stale, *mine]:
        (tmp_path / name).write_bytes(b"old")
    files = microscope.write_numbers(results, trained, tmp_path)
    files += microscope.write_pictures(microscope.draw_pictures(results), tmp_path)
    for name in mine:
        assert (tmp_path / name).read_bytes() == b"old"
        (tmp_path / name).unlink()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in files)
    kinds = ("plain-8", "residual-8")
    pictures = [f"{k}-{m}-ledger.png" for k in kinds for m in ("initial", "trained")]
    pictures += [f"{k}-recording.png" for k in kinds]
    assert names == sorted(["flow.html", "flow.json", *(f"{k}.npz" for k in kinds), *pictures])
    kept = json.loads((tmp_path / "flow.json").read_text())
    assert [n["name"] for n in kept["networks"]] == list(kinds)
    for name, model in trained.items():
        found = train.load_checkpoint(tmp_path / f"{name}.npz")
        assert found.about["data"] == "digits"
        assert found.about["epochs"] == 1
        assert found.model.state_dict()["fc.weight"].tolist() == model.fc.weight.tolist()


def test_numbers_and_networks_stay_if_a_figure_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(instruments=("ledger",), epochs=1, batch_size=512)
    results, trained = microscope.microscope(config, DATA)

    def broken(results: Any) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(mr.viz, "flow_page", broken)
    microscope.write_numbers(results, trained, tmp_path)
    with pytest.raises(UsageError, match=r"could not be drawn \(RuntimeError: no ink\)"):
        microscope.draw_pictures(results)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["flow.json", "plain-8.npz", "residual-8.npz"]


@pytest.mark.filterwarnings("error")
def test_a_training_that_diverges_is_said_to() -> None:
    config = tiny(instruments=("ledger",), epochs=1, batch_size=512, lr=1e30)
    results, _ = microscope.microscope(config, DATA)
    for network in results["networks"]:
        assert network["failed"][0].startswith(f"training {network['name']}: it diverged")


# --- checkpoints ---


def trained_twins(tmp_path: Path, **options: Any) -> dict[str, train.Checkpoint]:
    found = {}
    for kind in ("residual", "plain"):
        mr.manual_seed(5)
        model = mr.models.cifar_resnet(
            8, width=4, in_channels=1, residual=kind == "residual", **options
        )
        model.fc.weight.data[...] += 1.0
        file = train.save_checkpoint(tmp_path / f"{kind}.npz", model, data="digits", seed=5)
        found[kind] = train.load_checkpoint(file)
    return found


def test_checkpoints_say_what_the_network_is_and_are_looked_at_as_trained(tmp_path: Path) -> None:
    twins = trained_twins(tmp_path, shortcut="B", preactivation=True)
    config = from_checkpoints(tiny(), twins)
    assert (config.model, config.width, config.shortcut) == ("preresnet8", 4, "B")
    assert (config.seed, config.batch_size) == (5, 32)
    for given in (twins, {"residual": twins["residual"]}):
        results, _ = microscope.microscope(config, DATA, checkpoints=given)
        plain, residual = results["networks"]
        assert list(residual["moments"]) == ["initial", "trained"]
        assert ("trained" in plain["moments"]) == ("plain" in given)
        expected = flow.ledger(twins["residual"].model, *DATA.batch(32)).to_dict()
        assert residual["moments"]["trained"]["ledger"]["blocks"] == expected["blocks"]
        # at the start it has the weights that its seed gives
        mr.manual_seed(5)
        model = mr.models.cifar_resnet(8, width=4, in_channels=1, shortcut="B", preactivation=True)
        expected = flow.ledger(model, *DATA.batch(32)).to_dict()
        assert residual["moments"]["initial"]["ledger"]["blocks"] == expected["blocks"]


def test_checkpoints_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    twins = trained_twins(tmp_path)
    other = train.Checkpoint(mr.models.cifar_plain(8, width=2, in_channels=1), twins["plain"].about)
    with pytest.raises(DataError, match="differ in more than their skips"):
        from_checkpoints(tiny(), {**twins, "plain": other})
    changed = train.Checkpoint(twins["plain"].model, {**twins["plain"].about, "seed": 6})
    with pytest.raises(DataError, match="differ in more than their skips"):
        from_checkpoints(tiny(), {**twins, "plain": changed})
    silent = train.Checkpoint(twins["plain"].model, {})
    with pytest.raises(DataError, match="does not say on which data"):
        from_checkpoints(tiny(), {"plain": silent})
    special = trained_twins(tmp_path, norm=None)
    with pytest.raises(DataError, match="norm=None"):
        from_checkpoints(tiny(), special)


# --- settings ---


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "resnet21"}, "Depth 21 does not exist"),
        ({"model": "resnet"}, "Unknown model 'resnet'"),
        ({"model": "vgg16"}, "name it as in resnet56 or preresnet56"),
        ({"model": "resnet99998"}, "out of reach"),
        ({"width": 0}, "width must be from 1"),
        ({"epochs": -1}, "epochs must be 0 or more"),
        ({"seed": -1}, "seed must be"),
        ({"instruments": ("telescope",)}, "Unknown instrument 'telescope'"),
        ({"instruments": ()}, "No instrument is given"),
        ({"batch_size": 1}, "batch size 1 does not fit"),
        ({"batch_size": 5000}, "batch size 5000 does not fit"),
        ({"lr": 0.0}, "lr must be"),
        ({"epochs": 1, "warm_up": 1}, "warm-up must be"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_built(
    changes: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microscope, "_build", None)
    with pytest.raises(UsageError, match=reason):
        microscope.microscope(tiny(**changes), DATA)


def test_from_depth_110_on_one_epoch_warms_up_unless_told_otherwise() -> None:
    assert tiny(epochs=12).recipe.warm_up == 0
    assert tiny(model="resnet110", epochs=12).recipe.warm_up == 1
    assert tiny(model="resnet110", epochs=12, warm_up=0).recipe.warm_up == 0
    assert tiny(model="resnet110", epochs=1).recipe.warm_up == 0
    assert flow_config.FlowConfig("preresnet20").parts() == ("preresnet", 20)
