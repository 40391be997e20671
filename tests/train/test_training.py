"""A run of training can be left after any step and gone on with, with the same bits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn, rng
from minires.data import DataLoader, PadCropFlip
from minires.errors import MiniresError, StateError, UsageError
from minires.optim.lr_scheduler import LinearLR, MultiStepLR, SequentialLR
from minires.train import STOP, Step, Training, fit, load_checkpoint, save_checkpoint

DIGITS = mr.data.load_digits()
DATA = DIGITS.train_images[:70], DIGITS.train_labels[:70]
TEST = DIGITS.test_images[:20], DIGITS.test_labels[:20]


class Net(nn.Module):
    """Small, and with all that draws numbers or counts: dropout and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.relu, self.drop, self.fc = nn.ReLU(), nn.Dropout(0.3), nn.Linear(3 * 64, 10)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.bn(self.conv(x)))
        return self.fc(self.drop(x.flatten(1)))


def begin(kind: str = "sgd", **options: Any) -> Training:
    """A run, always the same; five batches an epoch, the last one smaller."""
    mr.manual_seed(0)
    model = Net()
    loader = DataLoader(DATA, 16, shuffle=True, seed=1, augment=PadCropFlip(2), prefetch=2)
    optimizer: Any
    if kind == "adam":
        optimizer = mr.optim.Adam(model.parameters(), lr=0.01)
        return Training(model, loader, optimizer, evaluate_on={"test": TEST}, **options)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    low = LinearLR(optimizer, 0.1, 1.0, total_iters=3)
    schedule = SequentialLR(optimizer, [low, MultiStepLR(optimizer, [5])], [4])
    options.setdefault("step_schedule", True)
    return Training(model, loader, optimizer, schedule, evaluate_on={"test": TEST}, **options)


def outcome(training: Training) -> dict[str, Any]:
    """All that a run has come to, but the time it took."""
    state = training.state_dict()
    plain = json.loads(json.dumps(state["plain"]))
    del plain["history"]["seconds"], plain["epoch"]["seconds"]
    return {"bits": {k: v.tobytes() for k, v in state["arrays"].items()}, **plain}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return json.dumps(one, default=repr) == json.dumps(other, default=repr)


def stop_at(number: int) -> Any:
    return lambda step: STOP if step.number == number else None


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("at", [1, 4, 5, 6, 10, 12, 15])
def test_a_run_gone_on_with_from_its_state_ends_with_the_same_bits(kind: str, at: int) -> None:
    whole = begin(kind)  # seeds the default generator, which dropout draws from
    whole.run(epochs=3)
    first = begin(kind)
    first.run(epochs=3, on_step=stop_at(at))
    assert first.step == at
    state = first.state_dict()
    second = begin(kind)
    mr.manual_seed(99)  # whatever was drawn meanwhile
    second.load_state_dict({**state, "plain": json.loads(json.dumps(state["plain"]))})
    second.run(epochs=3)
    assert same(outcome(second), outcome(whole))


def test_a_run_that_was_stopped_goes_on_in_place() -> None:
    whole = begin()
    whole.run(epochs=2)
    other = begin()
    for at in (2, 5, 7):
        other.run(epochs=2, on_step=stop_at(at))
    other.run(epochs=2)
    assert same(outcome(other), outcome(whole))


@pytest.mark.parametrize("steps", [3, 5, 7, 10])
def test_so_many_steps_may_end_in_the_middle_of_an_epoch(steps: int) -> None:
    training = begin()
    told: list[Step] = []
    history = training.run(steps=steps, on_step=told.append)
    assert [step.number for step in told] == list(range(1, steps + 1))
    assert history.step == [n for n in (5, 10) if n < steps] + [steps]
    assert len(history.error["test"]) == len(history.epoch)


def test_a_run_killed_before_the_evaluation_of_its_last_step_evaluates_then() -> None:
    whole = begin()
    whole.run(steps=7)
    first = begin()
    first.run(steps=7, on_step=stop_at(7))
    assert first.history.step == [5]
    second = begin()
    second.load_state_dict(first.state_dict())
    second.run(steps=7)
    assert same(outcome(second), outcome(whole))
    before = outcome(second)
    second.run(steps=7)  # nothing is left to do
    assert same(outcome(second), before)


def test_a_schedule_moves_with_the_steps_or_with_the_epochs() -> None:
    rates: dict[bool, list[float]] = {}
    for by_step in (True, False):
        training = begin(step_schedule=by_step)
        seen: list[float] = []
        group = training.optimizer.param_groups[0]
        training.run(epochs=2, on_step=lambda _, seen=seen, group=group: seen.append(group["lr"]))
        rates[by_step] = seen
    assert rates[False][:5] == pytest.approx([0.01] * 5)
    assert rates[True][:5] == pytest.approx([0.04, 0.07, 0.1, 0.1, 0.1])
    assert rates[True][-1] == pytest.approx(0.01)


def test_evaluations_come_after_every_nth_epoch_and_at_the_end() -> None:
    history = begin(evaluate_every=2).run(epochs=5)
    measured = [not math.isnan(error) for error in history.error["test"]]
    assert measured == [False, True, False, True, True]
    with pytest.raises(UsageError, match="evaluate_every must be at least 1"):
        begin(evaluate_every=0)


def test_all_functions_are_told_also_when_the_first_one_stops() -> None:
    told: list[int] = []
    epochs: list[int] = []
    begin().run(
        epochs=2,
        on_step=[stop_at(3), lambda step: told.append(step.number)],
        on_epoch=[lambda history: epochs.append(len(history.epoch))],
    )
    assert (told, epochs) == ([1, 2, 3], [])


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ({}, "give epochs or steps"),
        ({"epochs": 1, "steps": 1}, "give epochs or steps"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_the_length_is_told_once(length: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        begin().run(**length)


def test_auxiliary_outputs_are_trained_with_weight_0_3() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.other = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = x.flatten(1)
            if not self.training:
                return self.main(x)
            return nn.Outputs(self.main(x), (self.other(x),))

    mr.manual_seed(0)
    model = Twice()
    x, y = mr.tensor(DATA[0]), mr.tensor(DATA[1])
    value = nn.total_loss(mr.functional.cross_entropy, model(x), y)
    value.backward()
    expected = {n: p.data - 0.5 * p.grad.data for n, p in model.named_parameters()}
    optimizer = mr.optim.SGD(model.parameters(), lr=0.5)
    history = fit(model, DataLoader(DATA, 70), optimizer, epochs=1, evaluate_on={"train": DATA})
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.data, expected[name], rtol=1e-5, atol=1e-7)
    assert history.batch_loss == [pytest.approx(float(value))]


# --- what does not fit ---


def change(state: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *outer, last = path.split(".", 1) if path.startswith("arrays") else path.split(".")
    inner: Any = state
    for name in outer:
        inner = inner[int(name) if isinstance(inner, list) else name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return state


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("plain", None, "no state of a run"),
        ("plain.step", None, "no state of a run"),
        ("plain.epoch.total", None, "no state of a run"),
        ("plain.history.lr", None, "no state of a run"),
        ("plain.optimizer.param_groups", [], r"groups of \[\] parameters"),
        ("plain.optimizer.param_groups", [{"params": [0] * 6}], "another kind of optimiser"),
        ("plain.scheduler", {}, "no state of a schedule"),
        ("plain.scheduler.schedulers", [], "another row of schedules"),
        ("plain.loader.images", 71, "images 71, and this one has images 70"),
        ("plain.generator.state", {}, "no state of a generator"),
        ("arrays.weights/fc.bias", np.zeros(3), "has shape"),
        ("arrays.weights/fc.bias", None, "missing"),
        ("arrays.optimizer/0/momentum_buffer", np.zeros(3), "momentum_buffer of parameter 0"),
        ("arrays.optimizer/0/momentum_buffer", np.float32(1), r"shape \(\)"),
        ("arrays.optimizer/9/momentum_buffer", np.zeros(3), "of parameter 9, and"),
        ("plain.optimizer.param_groups.0.lr", -1.0, "lr must not be negative"),
        ("plain.optimizer.state", {"0": 3}, "no state of a run"),
        ("plain.scheduler.settings.milestones", [9], "a schedule with"),
        ("arrays.optimizer/x", np.zeros(3), "no state of a run"),
    ],
)
def test_a_foreign_state_is_refused_by_what_does_not_fit(
    path: str, value: Any, message: str
) -> None:
    training = begin()
    training.run(epochs=1)
    state = change(training.state_dict(), path, value)
    with pytest.raises(MiniresError, match=message):
        begin().load_state_dict(state)


def test_a_state_is_not_changed_by_the_run_that_goes_on_from_it() -> None:
    first = begin()
    first.run(epochs=2, on_step=stop_at(7))
    state = first.state_dict()
    outcomes = []
    for _ in range(2):
        other = begin()
        other.load_state_dict(state)
        other.run(epochs=2)
        outcomes.append(outcome(other))
    assert same(*outcomes)


def test_a_run_whose_last_epoch_was_cut_short_goes_no_further() -> None:
    training = begin()
    training.run(steps=7)
    training.run(steps=7)
    for length in ({"steps": 9}, {"epochs": 2}):
        with pytest.raises(UsageError, match="ended after 7 steps, in the middle of an epoch"):
            training.run(**length)


@pytest.mark.parametrize("answer", [True, 1, np.zeros(2), "go"])
def test_only_the_word_stop_ends_a_run(answer: Any) -> None:
    history = begin().run(epochs=2, on_step=lambda _: answer, on_epoch=lambda _: answer)
    assert history.step == [5, 10]
    assert begin().run(epochs=2, on_epoch=lambda _: STOP).step == [5]


def test_runs_with_and_without_a_schedule_are_told_apart() -> None:
    with pytest.raises(StateError, match="one of the two runs has a schedule"):
        begin("adam").load_state_dict(begin("sgd").state_dict())


# --- in a file ---


def test_a_run_comes_back_from_a_checkpoint_with_the_same_bits(tmp_path: Path) -> None:
    def run() -> Training:
        mr.manual_seed(0)
        model = mr.models.cifar_resnet(8, width=2, in_channels=1)
        loader = DataLoader(DATA, 16, shuffle=True, seed=1)
        optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return Training(model, loader, optimizer, MultiStepLR(optimizer, [1]))

    whole, first, second = run(), run(), run()
    whole.run(epochs=2)
    first.run(epochs=2, on_step=stop_at(7))
    state = rng.get_state()
    file = save_checkpoint(tmp_path / "a.npz", first.model, training=first)  # type: ignore[arg-type]
    assert rng.get_state() == state
    found = load_checkpoint(file)
    assert found.training is not None
    second.load_state_dict(found.training)
    second.run(epochs=2)
    assert same(outcome(second), outcome(whole))


def test_a_diverged_run_can_be_saved_and_gone_on_with(tmp_path: Path) -> None:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    optimizer = mr.optim.SGD(model.parameters(), lr=1e30)
    training = Training(model, DataLoader(DATA, 35), optimizer)
    with np.errstate(all="ignore"):
        training.run(epochs=2)
    assert not math.isfinite(training.history.batch_loss[-1])
    found = load_checkpoint(save_checkpoint(tmp_path / "a.npz", model, training=training))
    training.load_state_dict(found.training or {})
    assert not math.isfinite(training.history.batch_loss[-1])
