from __future__ import annotations

import math
from itertools import pairwise

import pytest

from minires.viz.groups import band
from minires.viz.labels import power_text, spread


def test_band_pads_interrupted_runs_and_leaves_out_what_is_not_finite() -> None:
    result = band([1, 2, 3], [[1.0, 2.0], [3.0, math.inf, math.nan]])
    assert result.mean.tolist()[:2] == [2.0, 2.0]
    assert result.low.tolist()[:2] == [1.0, 2.0]
    assert result.high.tolist()[:2] == [3.0, 2.0]
    assert math.isnan(result.mean[2])
    assert math.isnan(result.low[2])
    assert math.isnan(result.high[2])


@pytest.mark.parametrize(
    ("targets", "gap"), [([0.5] * 5, 0.1), ([0.0, 0.01, 1.0, 0.99], 0.05), ([0.2] * 30, 0.2)]
)
def test_spread_places_are_apart_inside_and_in_order(targets: list[float], gap: float) -> None:
    places = spread(targets, gap, 0.0, 1.0)
    ordered = sorted(places)
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 1 + 1e-9
    apart = min(gap, 1 / (len(targets) - 1))
    assert min(b - a for a, b in pairwise(ordered)) >= apart - 1e-6
    assert sorted(range(len(targets)), key=lambda i: (targets[i], i)) == sorted(
        range(len(targets)), key=lambda i: places[i]
    )


def test_powers_are_written_in_plain_characters() -> None:
    assert power_text(1e-12) == "10⁻¹²"
    assert power_text(3e5) == "3·10⁵"
