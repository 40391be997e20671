"""The training loop: nothing but forward, backward, step; and the same bits on any threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import kernels, nn
from minires.data import DataLoader
from minires.errors import UsageError
from minires.kernels import parallel
from minires.optim.lr_scheduler import MultiStepLR
from minires.train import History, Step, evaluate, fit

DIGITS = mr.data.load_digits()
DATA = DIGITS.train_images[:90], DIGITS.train_labels[:90]
TEST = DIGITS.test_images[:40], DIGITS.test_labels[:40]


def setup(width: int = 2, batch_size: int = 32, **loading: Any) -> tuple[Any, Any, Any, Any]:
    """Model, loader, optimiser and schedule, always the same."""
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=width, in_channels=1)
    loader = DataLoader(DATA, batch_size=batch_size, shuffle=True, seed=3, **loading)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return model, loader, optimizer, MultiStepLR(optimizer, [2, 3])


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in model.state_dict().items()}


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts the number of threads back."""
    before = kernels.get_num_threads()
    yield
    kernels.set_num_threads(before)


# --- it is the loop one would write ---


def test_fit_is_the_loop_one_would_write_by_hand() -> None:
    model, loader, optimizer, schedule = setup()
    losses, wrong, seen = [], 0, []
    for _ in range(4):
        model.train()
        total = wrong = 0
        for x, y in loader:
            optimizer.zero_grad()
            output = model(x)
            loss = F.cross_entropy(output, y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            wrong += int((output.data.argmax(axis=1) != y.data).sum())
        losses.append((total / 90, 100.0 * wrong / 90))
        found = evaluate(model, TEST)
        seen.append((found.loss, found.error))
        schedule.step()
    by_hand = bits(model)

    model, loader, optimizer, schedule = setup()
    history = fit(
        model, loader, optimizer, epochs=4, scheduler=schedule, evaluate_on={"test": TEST}
    )
    assert bits(model) == by_hand
    assert list(zip(history.batch_loss, history.batch_error, strict=True)) == losses
    assert list(zip(history.loss["test"], history.error["test"], strict=True)) == seen


def test_training_lowers_the_loss_and_the_error() -> None:
    model, loader, optimizer, _ = setup(width=4)
    history = fit(model, loader, optimizer, epochs=12, evaluate_on={"train": DATA})
    assert history.loss["train"][-1] < history.loss["train"][0] / 2
    assert history.error["train"][-1] < 40


def test_another_loss_is_minimised() -> None:
    mr.manual_seed(0)
    model = nn.Linear(3, 2)
    x = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    target = x @ np.array([[1.0, 0.0], [0.0, -1.0], [2.0, 0.5]], np.float32)

    def loss(output: Any, index: Any) -> Any:
        return F.mse_loss(output, mr.tensor(target[index.data]))

    loader = DataLoader((x, np.arange(16)), batch_size=8)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    history = fit(model, loader, optimizer, epochs=60, loss=loss)
    assert history.batch_loss[-1] < 1e-2 * history.batch_loss[0]
    np.testing.assert_allclose(model.weight.data, [[1, 0, 2], [0, -1, 0.5]], atol=0.2)


# --- the history ---


def test_every_list_of_the_history_has_an_entry_an_epoch() -> None:
    model, loader, optimizer, schedule = setup()
    parts = {"train": DATA, "test": TEST}
    history = fit(model, loader, optimizer, epochs=4, scheduler=schedule, evaluate_on=parts)
    assert history.epoch == [1, 2, 3, 4]
    assert history.lr == pytest.approx([0.1, 0.1, 0.01, 0.001])
    flat = history.to_dict()
    assert set(flat) == {
        *("epoch", "step", "lr", "batch_loss", "batch_error", "seconds"),
        *("train_loss", "train_error", "test_loss", "test_error"),
    }
    assert {len(values) for values in flat.values()} == {4}
    assert all(type(value) in (int, float) for values in flat.values() for value in values)
    assert min(history.seconds) > 0
    assert flat["test_loss"] is history.loss["test"]
    last = evaluate(model, TEST)
    assert (history.loss["test"][-1], history.error["test"][-1]) == last


def test_without_evaluations_the_history_has_none() -> None:
    model, loader, optimizer, _ = setup()
    history = fit(model, loader, optimizer, epochs=1)
    assert history.loss == history.error == {}
    names = {"epoch", "step", "lr", "batch_loss", "batch_error", "seconds"}
    assert set(history.to_dict()) == names


def test_two_histories_share_no_list() -> None:
    assert History().epoch is not History().epoch
    assert History().error is not History().error


def test_steps_tell_the_running_means_over_the_images_so_far() -> None:
    model, loader, optimizer, _ = setup()
    steps: list[Step] = []
    history = fit(model, loader, optimizer, epochs=2, on_step=steps.append)
    assert [(s.epoch, s.step, s.steps, s.images) for s in steps] == [
        (epoch, step, 3, images) for epoch in (1, 2) for step, images in ((1, 32), (2, 64), (3, 90))
    ]
    assert [steps[2].loss, steps[5].loss] == history.batch_loss
    assert [steps[2].error, steps[5].error] == history.batch_error
    assert all(0 <= s.error <= 100 for s in steps)


def test_steps_tell_the_loss_of_their_own_batch() -> None:
    model, loader, optimizer, _ = setup()
    steps: list[Step] = []
    fit(model, loader, optimizer, epochs=1, on_step=steps.append)
    sizes = (32, 32, 26)
    for k, step in enumerate(steps):
        total = sum(s.batch_loss * n for s, n in zip(steps[: k + 1], sizes, strict=False))
        assert step.loss == total / step.images
    assert len({step.batch_loss for step in steps}) == 3


def test_a_dropped_last_batch_counts_nowhere() -> None:
    model, loader, optimizer, _ = setup(drop_last=True)
    steps: list[Step] = []
    fit(model, loader, optimizer, epochs=1, on_step=steps.append)
    assert [s.images for s in steps] == [32, 64]
    assert steps[-1].steps == 2


def test_epochs_are_reported_after_their_evaluation() -> None:
    model, loader, optimizer, schedule = setup()
    seen: list[tuple[int, int, int]] = []
    fit(
        model,
        loader,
        optimizer,
        epochs=3,
        scheduler=schedule,
        evaluate_on={"test": TEST},
        on_epoch=lambda h: seen.append((h.epoch[-1], len(h.lr), len(h.error["test"]))),
    )
    assert seen == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


def test_every_epoch_trains_in_training_mode() -> None:
    model, loader, optimizer, _ = setup()
    model.eval()
    modes: list[bool] = []
    model.bn1.register_forward_hook(lambda module, inputs, out: modes.append(module.training))
    fit(model, loader, optimizer, epochs=2, evaluate_on={"test": TEST})
    assert modes == ([True] * 3 + [False]) * 2


@pytest.mark.parametrize("epochs", [0, -1])
def test_epochs_below_one_are_refused(epochs: int) -> None:
    model, loader, optimizer, _ = setup()
    with pytest.raises(UsageError, match=f"at least 1, got {epochs}"):
        fit(model, loader, optimizer, epochs=epochs)


# --- going on ---


def test_two_calls_go_on_where_the_first_ended() -> None:
    model, loader, optimizer, schedule = setup()
    once = fit(model, loader, optimizer, epochs=4, scheduler=schedule)
    in_one_go = bits(model)

    model, loader, optimizer, schedule = setup()
    first = fit(model, loader, optimizer, epochs=1, scheduler=schedule)
    second = fit(model, loader, optimizer, epochs=3, scheduler=schedule)
    assert first.lr + second.lr == once.lr
    assert first.batch_loss + second.batch_loss == once.batch_loss
    assert bits(model) == in_one_go
    assert second.epoch == [1, 2, 3]


def test_an_interrupted_epoch_leaves_the_schedule_where_it_was() -> None:
    model, loader, optimizer, schedule = setup()

    def stop(step: Step) -> None:
        if step.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, loader, optimizer, epochs=4, scheduler=schedule, on_step=stop)
    assert schedule.last_epoch == 2
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    history = fit(model, loader, optimizer, epochs=2, scheduler=schedule)
    assert history.lr == pytest.approx([0.01, 0.001])


# --- bits ---


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("chunk_bytes", [parallel.CHUNK_BYTES, 1 << 12], ids=["whole", "chunked"])
def test_the_same_bits_on_any_number_of_threads_and_twice_in_a_row(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "CHUNK_BYTES", chunk_bytes)
    pools: list[int] = []
    get_pool = parallel._get_pool
    monkeypatch.setattr(
        parallel, "_get_pool", lambda: pools.append(kernels.get_num_threads()) or get_pool()
    )

    def run(count: int) -> tuple[Any, ...]:
        kernels.set_num_threads(count)
        model, loader, optimizer, schedule = setup(width=4)
        parts = {"test": TEST}
        history = fit(model, loader, optimizer, epochs=2, scheduler=schedule, evaluate_on=parts)
        return bits(model), history.batch_loss, history.loss, history.error

    runs = {count: run(count) for count in (1, 2, 4)}
    assert runs[1] == runs[2] == runs[4]
    assert run(2) == runs[2]
    assert set(pools) == ({2, 4} if chunk_bytes == 1 << 12 else set())  # threads were at work
