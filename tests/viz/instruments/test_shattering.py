"""The figure of shattered gradients, from data made up by a formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from minires.viz import figure_png, shattering_figure
from minires.viz.style import kind_style
from tests.viz.test_figures import assert_legible, ydata


def along(points: int = 256, **change: Any) -> dict[str, Any]:
    lags = list(range(points // 4 + 1))
    curve = [0.8**lag for lag in lags]
    return {
        "network": "Stack plain-24, width=64",
        "points": points,
        "outputs": 8,
        "lags": lags,
        "autocorrelation": curve,
        "low": [value - 0.1 for value in curve],
        "high": [value + 0.1 for value in curve],
        "correlation": curve,
        "white": [1.0] + [0.0] * (len(lags) - 1),
        "brown": [1.0 - lag / len(lags) for lag in lags],
        "floor": 2 / points**0.5,
        "half_lag": 4,
        "brown_half_lag": 24,
        **change,
    }


def curve(kind: str = "plain", norm: str | None = None, **change: Any) -> dict[str, Any]:
    depths = list(range(1, 11))
    base = {"plain": 0.5, "residual": 0.75}.get(kind, 0.6)
    return {
        "kind": kind,
        "norm": norm,
        "gates": "independent",
        "depths": depths,
        "correlation": [1.1 * base**depth for depth in depths],
        "errors": [0.1 * base**depth for depth in depths],
        "theorem": [base**depth for depth in depths],
        "wide": None,
        "floor": 1e-3,
        **change,
    }


def real(kind: str, norm: str | None = None) -> dict[str, Any]:
    return curve(kind, norm, gates="relu", wide=[0.9**depth for depth in range(1, 11)])


def named(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def bars(axes: Axes, label: str) -> Any:
    return next(c for c in axes.containers if c.get_label() == label)


def test_the_left_panel_shows_the_curve_beside_both_noises_and_the_band() -> None:
    data = along()
    (axes,) = shattering_figure(data).axes
    assert ydata(axes, "Stack plain-24, width=64") == data["autocorrelation"]
    assert ydata(axes, "white noise") == data["white"]
    assert ydata(axes, "brown noise (running sum)") == data["brown"]
    (band,) = (p for p in axes.patches if p.get_label() == "95% of white noise")
    y = band.get_extents().transformed(axes.transData.inverted())
    assert (y.y0, y.y1) == pytest.approx((-0.125, 0.125))
    assert "its range over 8 read-outs" in named(axes)
    assert axes.get_xlabel() == "lag, in steps between inputs"
    assert axes.get_ylabel() == "autocorrelation of the slope"


def test_the_right_panel_shows_points_with_errors_theory_and_floor() -> None:
    data = {"by_depth": [curve("plain"), real("residual")]}
    (axes,) = shattering_figure(data).axes
    assert axes.get_yscale() == "log"
    for one, name in zip(
        data["by_depth"], ("plain, independent gates", "residual, its own gates"), strict=True
    ):
        drawn = bars(axes, name)
        line = drawn.lines[0]
        assert list(line.get_ydata()) == pytest.approx(one["correlation"])
        assert line.get_marker() == kind_style(one["kind"]).marker
        (segments,) = (c.get_segments() for c in drawn.lines[2])
        heights = [s[1, 1] - s[0, 1] for s in segments]
        assert heights == pytest.approx([2 * error for error in one["errors"]])
        dotted = [
            line
            for line in axes.lines
            if line.get_linestyle() == ":" and len(np.asarray(line.get_ydata())) == 10
        ]
        assert any(list(np.asarray(d.get_ydata())) == one["theorem"] for d in dotted)
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert any(list(np.asarray(s.get_ydata())) == data["by_depth"][1]["wide"] for s in solid)
    (band,) = (p for p in axes.patches if p.get_label() == "within white noise")
    top = band.get_extents().transformed(axes.transData.inverted()).y1
    assert top == pytest.approx(1e-3)
    assert {"theorem, independent gates", "infinite-width recursion"} <= set(named(axes))


def test_without_a_recursion_none_is_named() -> None:
    (axes,) = shattering_figure({"by_depth": [curve()]}).axes
    assert "infinite-width recursion" not in named(axes)


def test_both_panels_stand_side_by_side() -> None:
    left, right = shattering_figure({**along(), "by_depth": [curve()]}).axes
    assert left.get_title(loc="left") == "Gradient along a line of inputs"
    assert right.get_title(loc="left") == "Gradients of two inputs"


STACKS = [("plain", None), ("residual", None), ("residual", "batch"), ("plain", "batch")]
CASES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "line": along(),
    "short line": along(8),
    "one curve": {"by_depth": [curve()]},
    "one depth": {"by_depth": [curve(depths=[3], correlation=[0.1], errors=[0.1], theorem=[0.1])]},
    "all curves": {
        **along(),
        "by_depth": [*(curve(*stack) for stack in STACKS), *(real(*stack) for stack in STACKS)],
    },
    "deep": {
        "by_depth": [
            curve(
                depths=[1, 50, 100],
                correlation=[0.5, 1e-15, 1e-30],
                errors=[0.1, 1e-16, 1e-30],
                theorem=[0.5, 0.5**50, 0.5**100],
            )
        ]
    },
    "unknown kind": {"by_depth": [curve("highway")]},
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_legible(case: str) -> None:
    figure = shattering_figure(CASES[case])
    assert_legible(figure)
    assert figure_png(figure).startswith(b"\x89PNG")


def test_missing_and_infinite_values_leave_a_gap() -> None:
    measured = [None, 0.25, float("nan"), -0.1, float("inf"), 0.02, 0.01, 0.005, 0.002, 0.001]
    data = {**along(), "by_depth": [curve(correlation=measured, errors=[None] * 10)]}
    data["autocorrelation"][3] = None
    figure = shattering_figure(data)
    left, right = figure.axes
    assert np.isnan(ydata(left, "Stack plain-24, width=64")[3])
    drawn = bars(right, "plain, independent gates").lines[0].get_ydata()
    assert np.isfinite(drawn).tolist() == [False, True, False, False, False] + [True] * 5
    assert_legible(figure)


def test_a_constant_slope_has_nothing_to_draw() -> None:
    figure = shattering_figure(along(autocorrelation=[None] * 65, half_lag=None))
    assert "nothing to correlate" in [text.get_text() for text in figure.axes[0].texts]
    assert_legible(figure)


def test_the_alternative_text_has_the_numbers() -> None:
    figure: Any = shattering_figure({**along(), "by_depth": [curve(), real("residual", "batch")]})
    assert "below one half at a lag of 4" in figure.alt
    assert "brown noise at 24" in figure.alt
    assert "plain, independent gates: 0.55 after 1 and 0.0011 after 10 layers" in figure.alt
    assert "normalised residual, its own gates" in figure.alt
    assert "infinite-width recursion 0.35" in figure.alt
    assert "at no lag" in shattering_figure(along(half_lag=None)).alt  # type: ignore[attr-defined]


def test_the_same_data_give_the_same_bytes() -> None:
    data = {**along(), "by_depth": [curve()]}
    assert figure_png(shattering_figure(data)) == figure_png(shattering_figure(data))
