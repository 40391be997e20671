"""Schedules: PyTorch's rates, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import minires as mr
from minires.errors import UsageError
from minires.optim import SGD, lr_scheduler
from tests.golden.loading import SchedulerCase, load_schedulers


def optimizer(lr: float = 0.1) -> SGD:
    return SGD([mr.tensor([1.0], requires_grad=True)], lr=lr)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in load_schedulers()])
def test_the_rates_are_the_stored_ones(case: SchedulerCase) -> None:
    sgd = optimizer(case.base_lr)
    schedule = getattr(lr_scheduler, case.op)(sgd, **case.kwargs)
    rates = []
    for _ in case.lrs:
        rates.append(sgd.param_groups[0]["lr"])
        assert schedule.get_last_lr() == [rates[-1]]
        schedule.step()
    np.testing.assert_allclose(rates, case.lrs, rtol=1e-12)


def test_each_group_keeps_its_own_starting_rate() -> None:
    groups = [
        {"params": [mr.tensor([1.0], requires_grad=True)]},
        {"params": [mr.tensor([1.0], requires_grad=True)], "lr": 0.5},
    ]
    sgd = SGD(groups, lr=1.0)
    schedule = lr_scheduler.MultiStepLR(sgd, [1, 2], gamma=0.1)
    assert schedule.base_lrs == [1.0, 0.5]
    schedule.step()
    schedule.step()
    np.testing.assert_allclose(schedule.get_last_lr(), [0.01, 0.005], rtol=1e-12)
    assert schedule.last_epoch == 2


def test_the_optimiser_uses_the_rate_of_its_epoch() -> None:
    sgd = optimizer(1.0)
    weight = sgd.param_groups[0]["params"][0]
    schedule = lr_scheduler.MultiStepLR(sgd, milestones=[1])
    for _ in range(2):
        weight.grad = mr.tensor([1.0])
        sgd.step()
        schedule.step()
    np.testing.assert_allclose(weight.item(), 1.0 - 1.0 - 0.1, rtol=1e-6)


def test_the_base_has_no_rule_of_its_own() -> None:
    with pytest.raises(NotImplementedError):
        lr_scheduler.LRScheduler(optimizer()).step()


def test_a_rate_set_by_hand_is_kept_and_multiplied_at_the_next_milestone() -> None:
    sgd = optimizer(1.0)
    schedule = lr_scheduler.MultiStepLR(sgd, [2, 2], gamma=0.5)
    sgd.param_groups[0]["lr"] = 0.4
    schedule.step()
    assert schedule.get_last_lr() == [0.4]
    schedule.step()
    assert schedule.get_last_lr() == [0.1]


def test_a_sequence_runs_each_schedule_from_its_own_beginning() -> None:
    sgd = optimizer(0.4)
    warm_up = lr_scheduler.LinearLR(sgd, start_factor=0.25, total_iters=3)
    cosine = lr_scheduler.CosineAnnealingLR(sgd, T_max=4)
    drops = lr_scheduler.StepLR(sgd, step_size=2, gamma=0.5)
    schedule = lr_scheduler.SequentialLR(sgd, [warm_up, cosine, drops], milestones=[3, 7])
    rates = []
    for _ in range(12):
        rates.append(schedule.get_last_lr()[0])
        schedule.step()
    half = (1 + 0.5**0.5) / 2
    expected = [0.1, 0.2, 0.3, 0.4, 0.4 * half, 0.2, 0.4 * (1 - half), 0.4, 0.4, 0.2, 0.2, 0.1]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda sgd: lr_scheduler.StepLR(sgd, 0),
        lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, 0),
        lambda sgd: lr_scheduler.LinearLR(sgd, start_factor=0.0),
        lambda sgd: lr_scheduler.LinearLR(sgd, end_factor=2.0),
        lambda sgd: lr_scheduler.SequentialLR(sgd, [], []),
        lambda sgd: lr_scheduler.SequentialLR(sgd, [lr_scheduler.StepLR(sgd, 1)], [1]),
        lambda sgd: lr_scheduler.SequentialLR(sgd, [lr_scheduler.StepLR(optimizer(), 1)], []),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[SGD], object]) -> None:
    with pytest.raises(UsageError):
        make(optimizer())
