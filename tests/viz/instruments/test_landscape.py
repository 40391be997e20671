from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from minires.viz import style
from minires.viz.instruments.landscape import hessian_figure, landscape_figure
from tests.viz.test_figures import assert_legible

Data = dict[str, Any]


def make_line(points: int = 21, height: float = 2.0, floor: float = 2.0) -> Data:
    steps = np.linspace(-1, 1, points)
    losses = floor + height * (steps - 0.1) ** 2
    return {
        "dimensions": 1,
        "mode": "training",
        "coordinates": steps.tolist(),
        "losses": losses.tolist(),
        "loss": float(losses[points // 2]),
        "slopes": [-0.2 * height],
        "caption": "a valley, in numbers",
    }


def make_map(points: int = 15, height: float = 2.0, floor: float = 2.0) -> Data:
    steps = np.linspace(-1, 1, points)
    a, b = np.meshgrid(steps, steps, indexing="ij")
    losses = floor + height * ((a - 0.1) ** 2 + 0.3 * (b + 0.4) ** 2)
    return {
        **make_line(points),
        "dimensions": 2,
        "losses": losses.tolist(),
        "loss": float(losses[points // 2, points // 2]),
        "slopes": [0.1, 0.2],
    }


def remarks(figure: Any) -> str:
    return " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("height", [1e-6, 2.0, 500.0, 1e8])
@pytest.mark.parametrize("points", [3, 31])
def test_figures_are_legible_at_any_size_and_range(points: int, height: float) -> None:
    assert_legible(landscape_figure(make_line(points, height)))
    assert_legible(without_contour_labels(landscape_figure(make_map(points, height))))


def without_contour_labels(figure: Any) -> Any:
    """Labels of levels lie on the lines inside the panel, wherever these are."""
    for text in figure.axes[0].texts:
        if not text.get_text().startswith("the weights"):
            text.set_visible(False)
    return figure


def test_the_curve_has_the_losses_with_the_weights_marked_and_their_slope() -> None:
    data = make_line()
    (axes,) = landscape_figure(data).axes
    curve, slope, centre = axes.lines
    assert np.asarray(curve.get_xdata()).tolist() == data["coordinates"]
    assert np.asarray(curve.get_ydata()).tolist() == data["losses"]
    assert np.asarray(centre.get_xdata()).tolist() == [0.0]
    assert np.asarray(centre.get_ydata()).tolist() == [data["loss"]]
    rise = np.diff(np.asarray(slope.get_ydata(), dtype=float)) / np.diff(data["coordinates"])
    np.testing.assert_allclose(rise, data["slopes"][0])
    assert axes.get_yscale() == "linear"
    assert axes.get_ylabel() == "loss"
    assert axes.get_xlabel() == "step (1 = as long as the weights)"
    low, high = axes.get_ylim()
    assert low < min(data["losses"]) < max(data["losses"]) < high


def test_a_steep_slope_does_not_flatten_the_curve() -> None:
    limits = landscape_figure(make_line()).axes[0].get_ylim()
    steep = {**make_line(), "slopes": [1e6]}
    assert landscape_figure(steep).axes[0].get_ylim() == limits


def test_a_wide_range_is_logarithmic_and_says_so() -> None:
    axes = landscape_figure(make_line(height=500.0)).axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "loss (logarithmic)"
    figure = landscape_figure(make_map(height=500.0))
    assert "Levels are spaced logarithmically." in remarks(figure)
    levels = np.asarray(figure.axes[0].collections[0].levels)  # type: ignore[attr-defined]
    np.testing.assert_allclose(levels[1:] / levels[:-1], levels[1] / levels[0])
    # A loss below 0 has no logarithm, however wide the range.
    assert landscape_figure(make_line(height=500.0, floor=-1.0)).axes[0].get_yscale() == "linear"


def test_the_map_has_the_first_direction_across_and_levels_from_lowest_to_highest() -> None:
    data = make_map()
    figure = landscape_figure(data)
    axes, bar = figure.axes
    filled: Any = axes.collections[0]
    losses = np.array(data["losses"])
    levels = np.asarray(filled.levels)
    assert (levels[0], levels[-1]) == pytest.approx((losses.min(), losses.max()))
    np.testing.assert_allclose(np.diff(levels), np.diff(levels)[0])
    np.testing.assert_allclose(filled.zmax, losses.max())
    lowest = filled.get_paths()[0].vertices.mean(axis=0)  # around the lowest level
    place = np.unravel_index(losses.argmin(), losses.shape)
    np.testing.assert_allclose(lowest, np.array(data["coordinates"])[list(place)], atol=0.3)
    labels = [text.get_text() for text in axes.texts]
    assert f"the weights: {data['loss']:.3g}" in labels
    assert {f"{level:.3g}" for level in levels[1::2]} & set(labels)
    assert [label.get_text() for label in bar.get_yticklabels()] == [f"{x:.3g}" for x in levels]
    assert axes.get_xlabel().startswith("step along direction 1")
    assert axes.get_ylabel() == "step along direction 2"
    assert axes.get_aspect() == 1.0


def test_the_colours_of_the_map_can_be_told_apart_in_grey() -> None:
    filled: Any = landscape_figure(make_map()).axes[0].collections[0]
    grey = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in filled.get_facecolor()]
    assert all(later - earlier > 0.02 for earlier, later in pairwise(grey))


def test_lines_are_white_on_dark_and_dark_on_light() -> None:
    lines: Any = landscape_figure(make_map()).axes[0].collections[1]
    colors = [tuple(color[:3]) for color in lines.get_edgecolor()]
    assert colors[0] == to_rgb("white")
    assert colors[-1] == to_rgb(style.INK)


@pytest.mark.parametrize("make", [make_line, make_map])
def test_losses_that_are_not_finite_leave_a_gap_and_are_counted(make: Any) -> None:
    data = make()
    if data["dimensions"] == 1:
        data["losses"][:2] = [None, math.inf]
    else:
        data["losses"][0][:2] = [None, math.inf]
    figure = landscape_figure(data)
    assert f"not drawn: 2 of {np.size(data['losses'])} points" in remarks(figure)
    assert_legible(without_contour_labels(figure))


@pytest.mark.parametrize("make", [make_line, make_map])
def test_nothing_to_draw_is_said(make: Any) -> None:
    data = make()
    data.update(losses=np.full(np.shape(data["losses"]), None).tolist(), loss=None, slopes=[None])
    figure = landscape_figure(data)
    assert any("no finite loss" in text.get_text() for text in figure.axes[0].texts)
    assert_legible(figure)


def test_a_flat_landscape_is_said_to_be_flat() -> None:
    figure = landscape_figure(make_map(height=0.0))
    assert any("the same everywhere" in text.get_text() for text in figure.axes[0].texts)
    assert_legible(landscape_figure(make_line(height=0.0)))


def test_the_caption_is_the_alternative_text_and_the_mode_is_named() -> None:
    for figure in (landscape_figure(make_line()), landscape_figure(make_map())):
        assert figure.alt == "a valley, in numbers"  # type: ignore[attr-defined]
        assert "In training mode." in remarks(figure)


# --- the Hessian ---


def make_hessian(products: int = 12, value: float = -10.3) -> Data:
    shares = [0.4**k for k in range(products)]
    return {
        "value": value,
        "residual": 1.5 * shares[-1] if shares else None,
        "history": [[value * (1 - share), share] for share in shares],
        "caption": "a curvature, in numbers",
    }


@pytest.mark.parametrize("products", [0, 1, 2, 12, 40])
def test_the_hessian_figure_is_legible_with_any_number_of_products(products: int) -> None:
    assert_legible(hessian_figure(make_hessian(products)))
    assert_legible(hessian_figure(make_hessian(products, 3.7e7)))


def test_value_and_residual_are_drawn_product_by_product() -> None:
    data = make_hessian()
    left, right = hessian_figure(data).axes
    history = np.array(data["history"])
    assert np.asarray(left.lines[0].get_ydata()).tolist() == history[:, 0].tolist()
    assert np.asarray(right.lines[0].get_ydata()).tolist() == history[:, 1].tolist()
    assert np.asarray(right.lines[0].get_xdata()).tolist() == list(range(1, 13))
    assert np.asarray(right.lines[1].get_ydata()).tolist() == [data["residual"]]
    assert right.get_yscale() == "log"
    assert hessian_figure(data).alt == "a curvature, in numbers"  # type: ignore[attr-defined]


def test_residuals_of_0_and_infinity_leave_a_gap() -> None:
    data = make_hessian(4)
    data["history"][0][1] = None
    data["history"][3] = [-10.3, 0.0]
    data["residual"] = 0.0
    figure = hessian_figure(data)
    drawn = np.isnan(np.asarray(figure.axes[1].lines[0].get_ydata(), dtype=float))
    assert drawn.tolist() == [True, False, False, True]
    assert_legible(figure)
