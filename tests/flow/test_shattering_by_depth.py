"""Correlation of two gradients against depth: the theorems, and the networks as they are."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import rng
from minires.errors import UsageError
from minires.flow import theory
from minires.flow.shattering_by_depth import (
    IndependentGates,
    ShatteringByDepth,
    shattering_by_depth,
)

module = importlib.import_module("minires.flow.shattering_by_depth")


@pytest.mark.parametrize(
    ("kind", "norm"),
    [("plain", None), ("plain", "batch"), ("residual", None), ("residual", "batch")],
)
def test_independent_gates_make_the_theorems_true(kind: str, norm: str | None) -> None:
    found = shattering_by_depth(
        (1, 2, 4), kind=kind, norm=norm, width=96, samples=64, networks=16, seed=1
    )
    expected = [theory.independent_gates_correlation(kind, norm, depth) for depth in (1, 2, 4)]
    assert found.theorem == tuple(expected) == found.predicted
    assert found.deviation < 0.1
    assert found.max_error < 1e-10
    assert found.wide is None


@pytest.mark.parametrize(
    ("kind", "norm"), [("plain", None), ("plain", "batch"), ("residual", "batch")]
)
def test_real_networks_follow_the_recursion_of_infinite_width(kind: str, norm: str | None) -> None:
    found = shattering_by_depth(
        (1, 3, 5), kind=kind, norm=norm, gates="relu", width=192, samples=96, networks=8
    )
    assert found.predicted == found.wide
    assert found.deviation < 0.1
    assert found.max_error < 1e-10


def test_real_plain_networks_shatter_more_slowly_than_the_theorem_says() -> None:
    found = shattering_by_depth((8,), gates="relu", width=64, samples=32, networks=4)
    assert found.correlation[0] > 5 * found.theorem[0]


def correlate(grads: np.ndarray) -> float:
    """Mean <g, g'> over pairs by mean |g|^2, pair by pair."""
    n = len(grads)
    pairs = [grads[i] @ grads[j] for i in range(n) for j in range(i)]
    return float(np.mean(pairs) / np.mean([g @ g for g in grads]))


def test_the_correlation_is_the_mean_over_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    grads = np.random.default_rng(0).standard_normal((5, 7)) + 0.5
    monkeypatch.setattr(module, "_input_gradients", lambda *_: grads)
    found = shattering_by_depth((1,), width=7, samples=5, networks=3)
    assert found.correlation[0] == pytest.approx(correlate(grads), rel=1e-5)
    assert found.errors[0] == pytest.approx(0.0, abs=1e-12)
    assert found.max_error > 0.1  # the check holds them against gradients by hand


def test_a_gradient_that_is_not_finite_does_not_pass_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_input_gradients", lambda model, x, readout: x * np.nan)
    found = shattering_by_depth((1, 2), width=4, samples=2, networks=2)
    assert np.isnan(found.max_error)


def test_white_noise_leaves_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    monkeypatch.setattr(
        module, "_input_gradients", lambda model, x, readout: draw.standard_normal(x.shape)
    )
    found = shattering_by_depth([1] * 200, width=8, samples=4, networks=5)
    spread = float(np.std(found.correlation))
    assert spread == pytest.approx(found.floor / 2, rel=0.15)
    assert np.mean(found.errors) == pytest.approx(spread, rel=0.25)


def test_the_standard_error_is_the_spread_of_repeated_measurements() -> None:
    found = [
        shattering_by_depth((2,), width=16, samples=8, networks=8, seed=seed) for seed in range(40)
    ]
    spread = np.std([one.correlation[0] for one in found])
    assert np.mean([one.errors[0] for one in found]) == pytest.approx(spread, rel=0.35)


def test_gates_are_open_half_of_the_time_and_do_not_look_at_their_input() -> None:
    gates = IndependentGates((400, 50), np.random.default_rng(0))
    x = mr.tensor(np.random.default_rng(1).standard_normal((400, 50)))
    out = gates(x).data
    assert np.array_equal(out, x.data * gates.open)
    assert set(np.unique(gates.open)) == {0.0, 1.0}
    assert gates.open.mean() == pytest.approx(0.5, abs=0.02)
    assert (gates.open[:200] * gates.open[200:]).mean() == pytest.approx(0.25, abs=0.02)
    assert abs(np.corrcoef(gates.open.ravel(), (x.data > 0).ravel())[0, 1]) < 0.03


def test_the_default_generator_stays_where_it_is_also_after_a_failure() -> None:
    mr.manual_seed(7)
    before = rng.get_state()
    shattering_by_depth((1,), width=4, samples=2, networks=2)
    assert rng.get_state() == before
    with pytest.raises(UsageError, match="unknown kind"):
        shattering_by_depth((1,), kind="highway", width=4)
    assert rng.get_state() == before


def test_the_same_seed_gives_the_same_numbers() -> None:
    small: dict[str, Any] = dict(width=8, samples=4, networks=2)
    one, same, other = (shattering_by_depth((1, 2), seed=seed, **small) for seed in (0, 0, 1))
    assert one == same
    assert one.correlation != other.correlation


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"depths": ()}, "depths must be numbers"),
        ({"depths": (2, 0)}, "depths must be numbers"),
        ({"gates": "open"}, "choose 'independent' or 'relu'"),
        ({"samples": 1}, "at least two samples"),
        ({"networks": 1}, "two networks"),
        ({"seed": -1}, "a seed must be"),
        ({"norm": "layer"}, "choose 'batch' or None"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        shattering_by_depth(**{"depths": (1,), "width": 4, **change})


def test_the_result_tells_its_numbers() -> None:
    small: dict[str, Any] = dict(width=32, samples=8, networks=3)
    found = shattering_by_depth((1, 2), kind="residual", gates="relu", **small)
    headers, rows = found.rows()
    assert headers[0] == "layers"
    assert rows[1] == [
        2,
        found.correlation[1],
        found.errors[1],
        found.theorem[1],
        found.wide[1],  # type: ignore[index]
    ]
    data = found.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["by_depth"][0]["depths"] == [1, 2]
    assert f"{found.correlation[-1]:.2g} after 2 layers" in found.caption()
    assert "infinite-width recursion" in found.caption()
    assert f"{100 * found.deviation:.0f}%" in found.caption()
    ideal = shattering_by_depth((1,), norm="batch", **small)
    assert ideal.rows()[1][0][4] is None
    assert "normalised plain stacks with independent gates" in ideal.caption()
    low = ShatteringByDepth(**{**vars(ideal), "correlation": (1e-6,)})
    assert "below the noise floor" in low.caption()
