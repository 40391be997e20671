"""Initialisation: spreads as in the paper, and the same numbers from the same generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import ShapeError, UsageError
from minires.nn import init

SHAPE = (64, 32, 3, 3)  # fan_in 288, fan_out 576


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("options", "std"),
    [
        ({"nonlinearity": "relu"}, math.sqrt(2 / 288)),
        ({"nonlinearity": "relu", "mode": "fan_out"}, math.sqrt(2 / 576)),
        ({"nonlinearity": "linear"}, math.sqrt(1 / 288)),
        ({"a": math.sqrt(5)}, math.sqrt(1 / (3 * 288))),
        ({"nonlinearity": "tanh"}, 5 / 3 / math.sqrt(288)),
    ],
    ids=str,
)
@pytest.mark.parametrize("fill", [init.kaiming_normal_, init.kaiming_uniform_])
def test_the_spread_follows_fan_and_nonlinearity(
    fill: Callable[..., mr.Tensor], options: dict[str, Any], std: float
) -> None:
    weight = mr.zeros(*SHAPE)
    assert fill(weight, **options, generator=generator()) is weight
    count = weight.numel()
    assert weight.data.std() == pytest.approx(std, rel=4 / math.sqrt(2 * count))
    assert abs(weight.data.mean()) < 4 * std / math.sqrt(count)
    if fill is init.kaiming_uniform_:
        largest = np.abs(weight.data).max()
        assert 0.99 < largest / (math.sqrt(3) * std) <= 1 + 1e-6
    else:  # 4.5 standard deviations are rare, and 3 are not
        assert np.abs(weight.data).max() > 3.0 * std


def test_normal_uniform_and_constants_fill_in_place() -> None:
    t = mr.zeros(4000)
    init.normal_(t, mean=5.0, std=2.0, generator=generator())
    assert t.data.mean() == pytest.approx(5.0, abs=0.15)
    assert t.data.std() == pytest.approx(2.0, rel=0.05)
    init.uniform_(t, -1.0, 3.0, generator=generator())
    assert -1.0 <= t.data.min() < -0.98
    assert 2.98 < t.data.max() <= 3.0
    assert (init.constant_(t, 7.0).data == 7.0).all()
    assert (init.ones_(t).data == 1.0).all()
    assert (init.zeros_(t).data == 0.0).all()
    assert t.dtype == np.float32


@pytest.mark.parametrize("fill", [init.normal_, init.uniform_, init.kaiming_normal_])
def test_a_generator_of_its_own_gives_the_same_numbers_and_spares_the_default_one(
    fill: Callable[..., mr.Tensor],
) -> None:
    state = mr.manual_seed(3).bit_generator.state
    first, second = (fill(mr.zeros(4, 4), generator=generator()) for _ in range(2))
    np.testing.assert_array_equal(first.data, second.data)
    assert mr.manual_seed(3).bit_generator.state == state


@pytest.mark.parametrize("fill", [init.normal_, init.uniform_, init.kaiming_uniform_])
def test_the_default_generator_follows_manual_seed(fill: Callable[..., mr.Tensor]) -> None:
    def draw(seed: int) -> np.ndarray:
        mr.manual_seed(seed)
        return fill(mr.zeros(4, 4)).data

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_the_same_seed_gives_the_same_layers() -> None:
    def weights(seed: int) -> list[np.ndarray]:
        mr.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))
        return [p.data for p in model.parameters()]

    for a, b in zip(weights(5), weights(5), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layer", [lambda: nn.Linear(100, 400), lambda: nn.Conv2d(4, 400, 5)])
def test_layers_start_uniform_within_one_over_the_root_of_their_fan(
    layer: Callable[[], nn.Module],
) -> None:
    made, bound = layer(), 0.1  # fan_in is 100 in both
    for parameter in made.parameters():
        assert 0.95 * bound < np.abs(parameter.data).max() <= bound * (1 + 1e-6)


def test_a_parameter_is_filled_without_a_trace_in_the_graph() -> None:
    layer = nn.Linear(3, 3)
    array = layer.weight.data
    init.kaiming_normal_(layer.weight)
    assert layer.weight.data is array
    assert layer.weight.is_leaf
    assert layer.weight.requires_grad


def test_fans_and_gains_are_those_of_the_paper() -> None:
    assert init.fans(SHAPE) == (288, 576)
    assert init.fans((10, 64)) == (64, 10)
    assert init.calculate_gain("relu") == math.sqrt(2.0)
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0
    assert init.calculate_gain("sigmoid") == 1.0


def test_bad_calls_say_what_is_known() -> None:
    with pytest.raises(ShapeError, match=r"two dimensions.*\(4,\)"):
        init.kaiming_normal_(mr.zeros(4))
    with pytest.raises(UsageError, match=r"mode 'fan' is neither 'fan_in' nor 'fan_out'"):
        init.kaiming_normal_(mr.zeros(4, 4), mode="fan")
    with pytest.raises(UsageError, match=r"'gelu'; known: linear,"):
        init.kaiming_uniform_(mr.zeros(4, 4), nonlinearity="gelu")


@pytest.mark.parametrize("gain", [1.0, 5 / 3])
@pytest.mark.parametrize("fill", [init.xavier_normal_, init.xavier_uniform_])
def test_xavier_spreads_by_both_fans(fill: Callable[..., mr.Tensor], gain: float) -> None:
    weight = mr.zeros(*SHAPE)
    assert fill(weight, gain, generator=generator()) is weight
    std = gain * math.sqrt(2 / (288 + 576))
    assert weight.data.std() == pytest.approx(std, rel=4 / math.sqrt(2 * weight.numel()))
    largest = np.abs(weight.data).max() / (gain * math.sqrt(6 / (288 + 576)))
    assert 0.99 < largest <= 1 + 1e-6 if fill is init.xavier_uniform_ else largest > 1.7
    with pytest.raises(ShapeError, match=r"two dimensions.*\(4,\)"):
        fill(mr.zeros(4))


def test_eye_puts_ones_on_the_diagonal() -> None:
    np.testing.assert_array_equal(init.eye_(mr.ones(2, 3)).data, [[1, 0, 0], [0, 1, 0]])
    with pytest.raises(ShapeError, match=r"eye_: .*two dimensions, not \(2, 2, 2\)"):
        init.eye_(mr.zeros(2, 2, 2))


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_makes_a_convolution_that_keeps_its_input(groups: int) -> None:
    weight = init.dirac_(mr.ones(6, 4 // groups, 3, 3), groups)
    x = mr.randn(2, 4, 5, 5)
    out = mr.functional.conv2d(x, weight, padding=1, groups=groups).data
    kept, made = 4 // groups, 6 // groups  # the channels of a group
    for g in range(groups):
        same = min(kept, made)
        expected = x.data[:, g * kept : g * kept + same]
        np.testing.assert_array_equal(out[:, g * made : g * made + same], expected)
    assert weight.data.sum() == groups * min(kept, made)


def test_dirac_refuses_what_is_no_convolution() -> None:
    with pytest.raises(ShapeError, match=r"dirac_: .*3 to 5 dimensions, not \(2, 2\)"):
        init.dirac_(mr.zeros(2, 2))
    for groups in (0, 2):
        with pytest.raises(ShapeError, match=f"dirac_: {groups} groups .* 3 output channels"):
            init.dirac_(mr.zeros(3, 3, 1), groups)
