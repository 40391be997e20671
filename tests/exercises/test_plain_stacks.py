"""The exercises of tutorial 06: unfilled, right in several styles, and wrong in known ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.exercises import plain_stacks


def unfilled(*arguments: Any) -> Any:
    raise NotImplementedError  # as it stands in the notebook


def returning_nothing(*arguments: Any) -> Any: ...


@pytest.mark.parametrize("name", plain_stacks.__all__)
@pytest.mark.parametrize("attempt", [..., unfilled, returning_nothing])
def test_an_unfilled_attempt_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    verdict = getattr(plain_stacks, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


def std(shape: tuple[int, ...], mode: str, gain: float = 2.0) -> float:
    channels = shape[1] if mode == "fan_in" else shape[0]
    return math.sqrt(gain / (channels * math.prod(shape[2:])))


def std_of_the_library(shape: tuple[int, ...], mode: str) -> Any:
    weight = nn.init.kaiming_normal_(mr.zeros(*shape), mode=mode, nonlinearity="relu")
    fan = nn.init.fans(weight.shape)[mode == "fan_out"]
    return mr.tensor([nn.init.calculate_gain("relu") / fan**0.5])


def exchanged(shape: tuple[int, ...], mode: str) -> float:
    return std(shape, "fan_out" if mode == "fan_in" else "fan_in")


def by_multiplying(sigma: float, width: int, layers: int) -> float:
    norm = 1.0
    for _ in range(layers):
        norm *= math.sqrt(0.5 * width * sigma**2)
    return norm


def fitted(norms: np.ndarray) -> float:
    return math.exp(-np.polyfit(range(len(norms)), np.log(norms), 1)[0])


def errors_compared(shallow: Any, deep: Any) -> str:
    if deep[0] - shallow[0] > 1:
        return "degradation"
    return "over-fitting" if deep[1] - shallow[1] > 1 else "neither"


@pytest.mark.parametrize(
    ("check", "attempt"),
    [
        (plain_stacks.he_std, std),
        (plain_stacks.he_std, std_of_the_library),
        (plain_stacks.he_std, lambda shape, mode: np.float32(std(shape, mode))),
        (plain_stacks.norm_after, lambda s, n, L: (s * math.sqrt(n / 2)) ** L),
        (plain_stacks.norm_after, by_multiplying),
        (plain_stacks.factor_a_layer, fitted),
        (plain_stacks.factor_a_layer, lambda g: (g[0] / g[-1]) ** (1 / (len(g) - 1))),
        (plain_stacks.factor_a_layer, lambda g: np.exp(np.log(g[:-1] / g[1:]).mean())),
        (plain_stacks.what_went_wrong, errors_compared),
        (plain_stacks.what_went_wrong, lambda *pairs: errors_compared(*pairs).upper()),
    ],
)
def test_right_attempts_pass(check: Callable[[Any], Any], attempt: Any) -> None:
    verdict = check(attempt)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("check", "attempt", "told"),
    [
        (plain_stacks.he_std, lambda s, m: std(s, m) ** 2, "is the variance"),
        (plain_stacks.he_std, lambda s, m: std(s, m, 1.0), "without a ReLU"),
        (plain_stacks.he_std, lambda s, m: std(s[:2], m), "taps of the kernel"),
        (plain_stacks.he_std, exchanged, "exchanged"),
        (plain_stacks.he_std, lambda s, m: std(s, "fan_in"), "exchanged"),
        (
            plain_stacks.he_std,
            lambda s, m: math.sqrt(2 / sum(nn.init.fans(s))),
            "Glorot and Bengio",
        ),
        (plain_stacks.he_std, lambda s, m: [1.0, 2.0], "should be one number"),
        (plain_stacks.norm_after, lambda s, n, L: (s * s * n / 2) ** L, "squared norm"),
        (plain_stacks.norm_after, lambda s, n, L: (s * math.sqrt(n)) ** L, "without the ReLU"),
        (plain_stacks.norm_after, lambda s, n, L: s * math.sqrt(n / 2) * L, "multiplied, not"),
        (plain_stacks.norm_after, lambda s, n, L: s**L, "inputs: where"),
        (plain_stacks.norm_after, lambda s, n, L: (s * math.sqrt(n / 2)) ** (L - 1), "too few"),
        (plain_stacks.norm_after, lambda s, n, L: (s * math.sqrt(n / 2)) ** -L, "inverse"),
        (plain_stacks.factor_a_layer, lambda g: 1 / fitted(g), "factor forward"),
        (plain_stacks.factor_a_layer, lambda g: g[0] / g[-1], "over all layers"),
        (plain_stacks.factor_a_layer, lambda g: (g[0] / g[-1]) / (len(g) - 1), "L-th power"),
        (plain_stacks.factor_a_layer, lambda g: (g[0] / g[-1]) ** (1 / len(g)), "are 8 layers"),
        (plain_stacks.factor_a_layer, lambda g: math.log(fitted(g)), "slope of the logarithm"),
        (plain_stacks.factor_a_layer, lambda g: (g[:-1] / g[1:]).mean(), "arithmetic mean"),
        (
            plain_stacks.what_went_wrong,
            lambda a, b: "over-fitting" if b[1] > a[1] + 1 else "neither",
            "does not even learn the images",
        ),
        (
            plain_stacks.what_went_wrong,
            lambda a, b: "degradation" if b[1] > a[1] + 1 else "neither",
            "lower training error and the higher test error",
        ),
        (
            plain_stacks.what_went_wrong,
            lambda a, b: "over-fitting" if b[1] - b[0] > a[1] - a[0] + 1 else errors_compared(a, b),
            "its test error is no higher",
        ),
        (plain_stacks.what_went_wrong, lambda a, b: "bad", "none of them"),
    ],
)
def test_a_wrong_attempt_hears_what_it_overlooks(
    check: Callable[[Any], Any], attempt: Any, told: str
) -> None:
    verdict = check(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message
