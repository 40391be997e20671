"""Recipes: the rate over time, and settings that cannot work."""

from __future__ import annotations

import pytest

import minires as mr
from minires.errors import UsageError
from minires.train import Recipe


def rates(recipe: Recipe) -> list[float]:
    optimizer = mr.optim.SGD([mr.tensor([1.0], requires_grad=True)], lr=recipe.lr)
    schedule = recipe.schedule(optimizer)
    found = []
    for _ in range(recipe.epochs):
        found.append(round(optimizer.param_groups[0]["lr"], 8))
        schedule.step()
    return found


def test_the_rate_falls_after_half_and_after_three_quarters() -> None:
    assert rates(Recipe(epochs=8)) == [0.1] * 4 + [0.01] * 2 + [0.001] * 2


def test_a_drop_inside_the_warm_up_counts_behind_it() -> None:
    assert rates(Recipe(epochs=4, warm_up=2)) == [0.01] * 2 + [0.01, 0.001]
    assert rates(Recipe(epochs=4, warm_up=3)) == [0.01] * 3 + [0.001]


def test_a_warm_up_comes_first_and_moves_no_later_drop() -> None:
    assert rates(Recipe(epochs=8, warm_up=2)) == [0.01] * 2 + [0.1] * 2 + [0.01] * 2 + [0.001] * 2


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (Recipe(2, 10, warm_up=2), "warm-up must be from 0 to fewer epochs than the 2"),
        (Recipe(2, 10, warm_up=-1), "warm-up must be from 0"),
        (Recipe(2, batch_size=1), "batch size 1 does not fit 20 training images of tiny"),
        (Recipe(2, batch_size=21), "choose 2 to 20"),
        (Recipe(2, 10, lr=0.0), "lr must be a number above 0"),
        (Recipe(2, 10, lr=float("nan")), "lr must be a number above 0"),
        (Recipe(2, 10, momentum=1.0), "momentum must be"),
        (Recipe(2, 10, weight_decay=-1.0), "weight decay must be"),
    ],
)
def test_settings_that_cannot_work_are_refused(recipe: Recipe, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        recipe.check(20, "tiny")
    Recipe(2).check(100, "tiny")
    Recipe(0).check(100, "tiny")
