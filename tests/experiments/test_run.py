"""A run in its folder: whole files, the same bits after any interruption, strangers refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.errors import DataError, MiniresError, UsageError
from minires.experiments.run import CHECKPOINT, HISTORY, Run, stored_config
from minires.experiments.run_config import RunConfig
from minires.train import load_checkpoint, save_checkpoint

TINY = RunConfig(
    model="resnet8",
    network={"width": 2},
    train_images=160,
    test_images=40,
    epochs=2,
    batch_size=32,
    augment=True,
)
DATA = TINY.load_data()


def result(folder: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The bits of the weights and of the optimiser, and the history without the times."""
    with np.load(folder / CHECKPOINT) as archive:
        bits = {name: archive[name].tobytes() for name in archive.files if name != "about"}
    lines = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    return bits, [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def stop_after(steps: int) -> Any:
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == steps

    return stop


def test_a_run_leaves_a_checkpoint_and_a_line_an_epoch(tmp_path: Path) -> None:
    history = Run(TINY, tmp_path).go()
    assert sorted(p.name for p in tmp_path.iterdir()) == [CHECKPOINT, HISTORY]
    bits, lines = result(tmp_path)
    assert [line["step"] for line in lines] == [5, 10]
    assert lines[1]["test_error"] == history.error["test"][1]
    assert any(name.endswith("momentum_buffer") for name in bits)
    checkpoint = load_checkpoint(tmp_path / CHECKPOINT)
    assert (checkpoint.about["data"], checkpoint.about["seed"]) == ("digits", 0)
    assert stored_config(tmp_path) == TINY


@pytest.mark.parametrize(
    ("config", "stops"),
    [
        (TINY, (1, 3)),
        (TINY, (5,)),
        (TINY, (9, 1)),
        (replace(TINY, epochs=None, steps=8), (4,)),
        (replace(TINY, epochs=None, steps=8), (8,)),
    ],
)  # fmt: skip
def test_a_run_that_was_left_ends_with_the_bits_of_one_that_was_not(
    config: RunConfig, stops: tuple[int, ...], tmp_path: Path
) -> None:
    Run(config, tmp_path / "whole", DATA).go()
    resume = False
    for steps in stops:
        run = Run(config, tmp_path / "other", DATA, resume=resume)
        run.go(stop=stop_after(steps))
        assert not run.finished
        mr.manual_seed(1234)
        resume = True
    run = Run(config, tmp_path / "other", DATA, resume=True)
    run.go(save_every=0.0)
    assert run.finished
    assert result(tmp_path / "other") == result(tmp_path / "whole")


def test_what_a_killed_run_left_half_written_is_taken_away(tmp_path: Path) -> None:
    Run(TINY, tmp_path).go(stop=stop_after(2))
    (tmp_path / f".{CHECKPOINT}.x1y2_abc").write_bytes(b"half")
    for name in ("mine.txt", ".history.jsonl.swp"):
        (tmp_path / name).write_text("stays")
    Run(TINY, tmp_path, resume=True).go()
    names = [".history.jsonl.swp", CHECKPOINT, HISTORY, "mine.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_a_run_is_not_begun_over_another(tmp_path: Path) -> None:
    Run(TINY, tmp_path).go(stop=stop_after(1))
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(UsageError, match="has a run already: --resume goes on with it"):
        Run(TINY, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_run_is_not_begun_over_the_files_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_text("of another command")
    with pytest.raises(UsageError, match="is not of a run of minires train"):
        Run(TINY, tmp_path)


def test_two_runs_are_not_at_work_in_one_folder(tmp_path: Path) -> None:
    first = Run(TINY, tmp_path, DATA)
    second = Run(TINY, tmp_path, DATA)

    def begin_another() -> bool:
        with pytest.raises(UsageError, match="another run is at work in"):
            second.go()
        return False

    first.go(stop=begin_another)
    assert first.finished


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "plain8"}, "its model is 'resnet8', and 'plain8' is asked for"),
        ({"network": {"width": 4}}, r"its network is \{'width': 2\}"),
        ({"lr": 0.2}, "its lr is not given, and 0.2 is asked for"),
        ({"seed": 1}, "its seed is 0"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused_by_the_field(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    Run(TINY, tmp_path).go(stop=stop_after(1))
    with pytest.raises(DataError, match=message):
        Run(replace(TINY, **change), tmp_path, resume=True)


def test_other_images_are_refused(tmp_path: Path) -> None:
    Run(TINY, tmp_path, DATA).go(stop=stop_after(1))
    images = DATA.train_images.copy()
    images[0, 0, 0, 0] += 1
    with pytest.raises(DataError, match="other data"):
        Run(TINY, tmp_path, replace(DATA, train_images=images), resume=True)


def test_a_network_without_a_run_is_refused(tmp_path: Path) -> None:
    model = mr.models.cifar_resnet(8, width=2)
    save_checkpoint(tmp_path / CHECKPOINT, model)
    with pytest.raises(DataError, match="not of a run of minires train"):
        stored_config(tmp_path)
    with pytest.raises(DataError, match="not of a run of minires train"):
        Run(TINY, tmp_path, resume=True)


def test_a_damaged_run_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    Run(TINY, tmp_path).go(stop=stop_after(1))
    content = (tmp_path / CHECKPOINT).read_bytes()
    for damaged in (content[:-100], content[: len(content) // 2], b""):
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        with pytest.raises(DataError, match=CHECKPOINT):
            Run(TINY, tmp_path, resume=True)
        assert (tmp_path / CHECKPOINT).read_bytes() == damaged


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet9"}, "no network 'resnet9'"),
        ({"network": {"shape": 3}}, "shape"),
        ({"network": {"width": "wide"}}, "width"),
        ({"network": {"in_channels": 3}}, "in_channels=3 does not fit the images of digits"),
        ({"recipe": "he2016-cifar"}, "the warm-up of he2016-cifar is 400 steps"),
        ({"recipe": "cake"}, "Unknown recipe 'cake'"),
        ({"normalize": "all"}, "Unknown normalize 'all'"),
        ({"epochs": 2, "steps": 2}, "epochs or in steps"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 1000}, "batch size 1000 does not fit 160"),
        ({"train_images": 0}, "0"),
        ({"seed": -1}, "seed"),
        ({"evaluate_every": 0}, "evaluate_every"),
        ({"weights": "a", "deepen": "b"}, "give one of them"),
        ({"weights": "nowhere.npz"}, "nowhere.npz"),
        ({"deepen": "nowhere.npz"}, "nowhere.npz"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(MiniresError, match=message):
        Run(replace(TINY, **change), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- where a run begins ---


def test_a_run_can_begin_with_weights_from_a_file(tmp_path: Path) -> None:
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    mr.save(model, tmp_path / "w.safetensors")
    run = Run(replace(TINY, weights=str(tmp_path / "w.safetensors")), tmp_path / "run")
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(run.model.state_dict()[name], array)


@pytest.mark.parametrize("kind", ["resnet", "plain"])
def test_a_run_can_begin_with_a_network_made_deeper(kind: str, tmp_path: Path) -> None:
    shallow = replace(TINY, model=f"{kind}8")
    first = Run(shallow, tmp_path / "first", DATA)
    first.go()
    deeper = replace(TINY, model=f"{kind}14", deepen=str(tmp_path / "first" / CHECKPOINT))
    run = Run(deeper, tmp_path / "second", DATA)
    assert run.model.depth == 14
    x = DATA.test_images
    with mr.no_grad():
        expected, found = (r.model.eval()(mr.tensor(x)).data for r in (first, run))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    run.go(stop=stop_after(2))
    (tmp_path / "first" / CHECKPOINT).unlink()  # it is needed no more
    Run(deeper, tmp_path / "second", DATA, resume=True).go()
    with pytest.raises(MiniresError, match="first"):
        Run(deeper, tmp_path / "third", DATA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet8"}, "is not shallower"),
        ({"model": "plain14"}, "residual True, and False is asked for"),
        ({"model": "resnet14", "network": {"width": 3}}, "has width 2, and 3 is asked for; say"),
        ({"model": "resnet18", "network": {"width": 2}}, "is a CifarResNet, and resnet18 is a"),
    ],
)
def test_a_network_of_another_kind_is_not_made_deeper(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = save_checkpoint(tmp_path / "a.npz", mr.models.cifar_resnet(8, width=2, in_channels=1))
    with pytest.raises(UsageError, match=message):
        Run(replace(TINY, deepen=str(file), **change), tmp_path / "run", DATA)


@pytest.mark.parametrize("option", [{"aux_heads": 2}, {"stochastic_depth": 0.5}])
def test_a_deeper_network_that_a_checkpoint_cannot_keep_is_refused_before_it_is_trained(
    option: dict[str, Any], tmp_path: Path
) -> None:
    model = mr.models.cifar_resnet(8, width=2, in_channels=1, **option)
    file = save_checkpoint(tmp_path / "a.npz", model)
    config = replace(TINY, model="resnet14", network={"width": 2, **option}, deepen=str(file))
    with pytest.raises(UsageError, match="a checkpoint could not keep it"):
        Run(config, tmp_path / "run", DATA)


def test_weights_that_do_not_fit_are_refused_by_file_and_shape(tmp_path: Path) -> None:
    mr.save(mr.models.cifar_resnet(8, width=3, in_channels=1), tmp_path / "w.npz")
    config = replace(TINY, weights=str(tmp_path / "w.npz"))
    with pytest.raises(UsageError, match=r"w\.npz' do not fit resnet8 .*conv1\.weight has shape"):
        Run(config, tmp_path / "run", DATA)


def test_a_recipe_is_followed_but_for_what_replaces_it() -> None:
    config = RunConfig(recipe="he2016-cifar", batch_size=32, augment=False)
    recipe = config.training()
    assert (recipe.steps, recipe.warm_up, recipe.lr) == (64_000, 400, 0.1)
    assert (recipe.batch_size, recipe.augment) == (32, False)
    assert replace(config, epochs=3, warm_up=1).training().unit == "epochs"
    assert RunConfig(steps=5).training().unit == "steps"


def test_the_recipes_have_the_numbers_of_the_papers() -> None:
    recipe = RunConfig(recipe="he2015-cifar").training()
    optimizer = recipe.optimizer(mr.nn.Linear(1, 1))
    schedule = recipe.schedule(optimizer)
    rates = {}
    for step in range(recipe.length):
        rates.setdefault(round(optimizer.param_groups[0]["lr"], 8), step)
        schedule.step()
    assert rates == {0.1: 0, 0.01: 32_000, 0.001: 48_000}
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (128, 0.9, 1e-4)
