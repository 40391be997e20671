"""Optimisers and schedulers on a GPU: the numbers of the CPU, step by step, and no copies."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import optim
from minires.optim import lr_scheduler
from tests.fake_cupy import counters, fake_gpu

__all__ = ["fake_gpu"]

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.1, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1, betas=(0.8, 0.95)),
}

SCHEDULERS: dict[str, Callable[[Any], lr_scheduler.LRScheduler]] = {
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=3),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 2]),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.5, total_iters=2), lr_scheduler.StepLR(o, 1)], [2]
    ),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
}


def test_every_one_is_tried() -> None:
    assert set(OPTIMIZERS) == set(optim.__all__) - {"Optimizer", "lr_scheduler"}
    assert set(SCHEDULERS) == set(lr_scheduler.__all__) - {"LRScheduler"}


def weights_of(device: str) -> list[mr.Tensor]:
    draw = np.random.default_rng(0)
    shapes = ((3, 4), (5,), ())
    return [
        mr.tensor(draw.standard_normal(shape), device=device, requires_grad=True)
        for shape in shapes
    ]


def walk(weights: Any, optimizer: Any, scheduler: Any, steps: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for _ in range(steps):
        for weight in weights:
            grad = mr.tensor(draw.standard_normal(weight.shape), device=weight.device)
            weight.grad = grad
        counters.reset()
        optimizer.step()
        scheduler.step()
        assert (counters.to_device, counters.to_host) == (0, 0), str(counters)


def assert_same(there: list[mr.Tensor], here: list[mr.Tensor]) -> None:
    for one, other in zip(there, here, strict=True):
        np.testing.assert_allclose(one.detach().cpu().numpy(), other.data, rtol=1e-12)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_give_the_numbers_of_the_cpu(fake_gpu: ModuleType, name: str, scheduler: str) -> None:
    made = []
    for device in ("cpu", "cuda:1"):
        weights = weights_of(device)
        optimizer = OPTIMIZERS[name](weights)
        walk(weights, optimizer, SCHEDULERS[scheduler](optimizer), 4, seed=1)
        made.append(weights)
    assert {weight.device for weight in made[1]} == {"cuda:1"}
    assert_same(made[1], made[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("before", "after"), [("cuda:1", "cpu"), ("cpu", "cuda:1")])
def test_the_state_goes_on_on_another_device(
    fake_gpu: ModuleType, name: str, before: str, after: str
) -> None:
    def make(device: str, values: Any) -> tuple[list[mr.Tensor], Any]:
        weights = [w.detach().to(device).requires_grad_(True) for w in values]
        return weights, OPTIMIZERS[name](weights)

    schedule = SCHEDULERS["StepLR"]
    whole, optimizer = make("cpu", weights_of("cpu"))
    steps = schedule(optimizer)
    walk(whole, optimizer, steps, 2, seed=1)
    first, begun = make(before, weights_of("cpu"))
    walk(first, begun, schedule(begun), 2, seed=1)
    second, resumed = make(after, first)
    resumed.load_state_dict(begun.state_dict())
    arrays = [v for entry in resumed.state.values() for v in entry.values() if hasattr(v, "shape")]
    assert {mr.Tensor(array).device for array in arrays} == {after}
    settings = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    resumed.param_groups[0].update(settings)
    walk(whole, optimizer, lr_scheduler.StepLR(optimizer, 9), 2, seed=2)
    walk(second, resumed, lr_scheduler.StepLR(resumed, 9), 2, seed=2)
    assert_same([w.detach().cpu() for w in second], whole)
