"""What the checks of notebook 13 answer: to stubs, to right attempts, and to usual mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import train
from minires.exercises import training as check

EXERCISES = ["drop_in_epochs", "epoch_loss", "rate", "top1_error", "what_failed"]
OVER, FAILS, NEITHER = "over-fits", "fails to optimise", "neither"


def unfilled(*args: Any) -> Any: ...


def raising(*args: Any) -> Any:
    raise NotImplementedError


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("attempt", [unfilled, raising, ...])
def test_the_stub_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    verdict = getattr(check, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


def test_a_pair_of_nothing_is_not_yet() -> None:
    assert check.drop_in_epochs(lambda *args: (..., ...)).status == "not yet"


def is_wrong(verdict: Any, told: str) -> None:
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- the rate ---


def by_the_scheduler(step: int, base: float, milestones: list[int]) -> float:
    optimizer = mr.optim.SGD([mr.tensor([1.0], requires_grad=True)], lr=base)
    schedule = mr.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
    for _ in range(step):
        schedule.step()
    return float(optimizer.param_groups[0]["lr"])


def test_the_rate_by_counting_by_dividing_and_by_the_scheduler() -> None:
    assert check.rate(lambda s, b, ms: b * 0.1 ** sum(s >= m for m in ms)).passed
    assert check.rate(lambda s, b, ms: np.float32(b / 10 ** len([m for m in ms if m <= s]))).passed
    assert check.rate(by_the_scheduler).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda s, b, ms: b * 0.1 ** sum(s > m for m in ms), "first step at the new rate"),
        (lambda s, b, ms: b * 0.1 ** sum(s + 1 >= m for m in ms), "one step early"),
        (lambda s, b, ms: b * 0.1 ** any(s >= m for m in ms), "divides by 10 once more"),
        (lambda s, b, ms: b / max(1, 10 * sum(s >= m for m in ms)), "not by 20"),
        (lambda s, b, ms: b * 0.1 ** len(ms), "Only milestones that have been reached"),
        (lambda s, b, ms: b, "as it was at first"),
        (lambda s, b, ms: b * 10.0 ** sum(s >= m for m in ms), "is to fall"),
    ],
)
def test_a_wrong_rate_hears_what_it_overlooks(wrong: Callable[..., Any], told: str) -> None:
    is_wrong(check.rate(wrong), told)


# --- steps and epochs ---


def by_the_loader(images: int, batch_size: int, drop: int) -> list[int]:
    arrays = np.zeros((images, 1), np.float32), np.zeros(images, np.int64)
    steps = len(mr.data.DataLoader(arrays, batch_size))
    return [steps, math.floor(drop / steps) + 1]


def test_steps_and_epochs_by_hand_and_by_the_loader() -> None:
    assert check.drop_in_epochs(lambda n, b, d: (-(-n // b), d // -(-n // b) + 1)).passed
    assert check.drop_in_epochs(by_the_loader).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda n, b, d: (n // b, d // (n // b) + 1), "round up"),
        (lambda n, b, d: (n / b, d // (n / b) + 1), "whole steps only"),
        (lambda n, b, d: (n // b + 1, d // (n // b + 1) + 1), "nothing is left over"),
        (lambda n, b, d: (-(-n // b), d // -(-n // b)), "counted from 1"),
        (lambda n, b, d: (-(-n // b), -(-d // -(-n // b))), "belongs to the new one"),
        (lambda n, b, d: (-(-n // b), d / -(-n // b) + 1), "in which is the step"),
        (lambda n, b, d: -(-n // b), "Return a pair"),
    ],
)
def test_wrong_steps_hear_what_they_overlook(wrong: Callable[..., Any], told: str) -> None:
    is_wrong(check.drop_in_epochs(wrong), told)


# --- the loss and the error ---


def test_the_loss_of_an_epoch_in_several_styles() -> None:
    assert check.epoch_loss(lambda loss, n: (loss * n).sum() / n.sum()).passed
    assert check.epoch_loss(lambda loss, n: np.average(loss, weights=n)).passed
    assert check.epoch_loss(
        lambda loss, n: sum(a * b for a, b in zip(loss.tolist(), n.tolist(), strict=True)) / sum(n)
    ).passed
    assert check.epoch_loss(lambda loss, n: (mr.tensor(loss) * mr.tensor(n)).sum() / n.sum()).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda loss, n: loss.mean(), "mean of the batches"),
        (lambda loss, n: (loss * n).sum(), "not their mean"),
        (lambda loss, n: loss.sum(), "sum of the batches"),
        (lambda loss, n: (loss * n).mean(), "number of images, not of batches"),
        (lambda loss, n: loss.sum() / n.sum(), "a mean already"),
        (lambda loss, n: (loss * n).sum() / (n[0] * len(n)), "last batch is smaller"),
        (lambda loss, n: loss * n, "should have the shape ()"),
    ],
)
def test_a_wrong_loss_hears_what_it_overlooks(wrong: Callable[..., Any], told: str) -> None:
    is_wrong(check.epoch_loss(wrong), told)


def test_the_loss_of_the_exercise_is_that_of_the_history() -> None:
    mr.manual_seed(0)
    arrays = tuple(part[:20] for part in mr.data.load_digits().train)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    losses: list[float] = []
    history = train.fit(
        model,
        mr.data.DataLoader(arrays, 8),
        mr.optim.SGD(model.parameters(), lr=0.1),
        epochs=1,
        on_step=lambda step: losses.append(step.batch_loss),
    )
    assert history.batch_loss[0] == pytest.approx(np.average(losses, weights=[8, 8, 4]))


def test_the_error_by_masks_by_rows_and_by_the_library() -> None:
    def by_rows(logits: np.ndarray, labels: np.ndarray) -> float:
        right = [
            not np.isnan(a).any() and a.argmax() == b for a, b in zip(logits, labels, strict=True)
        ]
        return 100 - 100 * sum(right) / len(right)

    assert check.top1_error(by_rows).passed
    assert check.top1_error(
        lambda a, b: 100 * ((a.argmax(1) != b) | np.isnan(a).any(1)).mean(dtype=np.float32)
    ).passed
    assert check.top1_error(
        lambda a, b: 100 * train.errors(mr.tensor(a), mr.tensor(b)) / len(b)
    ).passed


def bad(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found: np.ndarray = (logits.argmax(1) != labels) | np.isnan(logits).any(1)
    return found


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda a, b: 100 * (a.argmax(1) != b).mean(), "argmax takes a nan for the largest"),
        (lambda a, b: 100 * (np.nanargmax(a, 1) != b).mean(), "a row with one counts as wrong"),
        (lambda a, b: bad(a, b).mean(), "percent are wanted"),
        (lambda a, b: 100 * (1 - bad(a, b).mean()), "the accuracy"),
        (lambda a, b: 1 - bad(a, b).mean(), "share of right answers"),
        (lambda a, b: bad(a, b).sum(), "how many are wrong"),
        (
            lambda a, b: (
                100
                * (a.argmax(1) != b)[~np.isnan(a).any(1)].sum()
                / max(1, (~np.isnan(a).any(1)).sum())
            ),
            "are left out",
        ),
    ],
)
def test_a_wrong_error_hears_what_it_overlooks(wrong: Callable[..., Any], told: str) -> None:
    is_wrong(check.top1_error(wrong), told)


# --- what a log says ---


def test_what_failed_by_cases() -> None:
    def by_cases(shallow: tuple[float, float], deep: tuple[float, float]) -> str:
        if deep[1] <= shallow[1]:
            return NEITHER
        return FAILS if deep[0] > shallow[0] else OVER

    assert check.what_failed(by_cases).passed
    assert check.what_failed(lambda *pairs: by_cases(*pairs).upper()).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda a, b: OVER if b[1] > a[1] else NEITHER, "worse on its own training images"),
        (lambda a, b: FAILS if b[1] > a[1] else NEITHER, "so it was optimised"),
        (lambda a, b: FAILS if b[0] > a[0] else OVER, "does not matter where the test error"),
        (lambda a, b: FAILS if b[0] > a[0] else NEITHER, "worse on test images"),
        (lambda a, b: OVER if b[1] - b[0] > 5 else FAILS, "it was optimised|is no worse"),
        (lambda a, b: NEITHER, "worse on both"),
        (
            lambda a, b: NEITHER if b[1] <= a[1] else OVER if b[0] < 5 else FAILS,
            "so it was optimised",
        ),
        (lambda a, b: "underfits", "is none of them"),
    ],
)
def test_a_wrong_reading_hears_what_it_overlooks(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.what_failed(wrong)
    assert verdict.status == "wrong"
    assert any(part in verdict.message for part in told.split("|"))


def test_the_long_runs_are_those_of_the_results() -> None:
    results = json.loads((Path(__file__).parents[2] / "docs" / "results.json").read_text())
    for (kind, depth, seed), run in check.LONG_RUNS.items():
        name = "resnet" if kind == "residual" else kind
        found = results[f"{name}{depth}-seed{seed}"]
        assert run.batch_error == tuple(found["batch_error"])
        assert (run.train_error, run.test_error) == (
            found["train_error"][-1],
            found["test_error"][-1],
        )
    assert len(check.LONG_RUNS) == 12
