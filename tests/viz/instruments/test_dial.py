from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

from minires import viz
from minires.viz.instruments.dial import dial_figure
from tests.viz.test_figures import assert_legible, line, ydata


def make_dial(
    count: int = 9, alphas: tuple[float, ...] = (0, 0.25, 0.5, 0.75, 1), epochs: int = 0
) -> dict[str, Any]:
    def reading(alpha: float, factor: float) -> dict[str, Any]:
        rms = [0.001 * factor * (2 - alpha) ** (count - i) for i in range(count)]
        return {
            "alpha": alpha,
            "loss": factor * (2.3 - alpha),
            "error": 90.0 * factor * (1.1 - alpha),
            "test_loss": None,
            "test_error": None,
            "first_norm": (rms or [1.0])[0] * 30,
            "last_norm": (rms or [1.0])[-1] * 20,
            "grad_rms": rms,
        }

    return {
        "mode": "training",
        "images": 100,
        "train_epochs": epochs,
        "blocks": [f"layer{1 + 3 * i // count}.{i % max(count // 3, 1)}" for i in range(count)],
        "before": [reading(alpha, 1.0) for alpha in alphas],
        "after": [reading(alpha, 0.5) for alpha in alphas] if epochs else [],
        "max_error": 0.0,
    }


def test_every_number_is_drawn_as_it_is_before_and_after_training() -> None:
    data = make_dial(epochs=2)
    loss, error, gradient, before, after = dial_figure(data).axes
    for name, key in (("as given", "before"), ("after 2 epochs", "after")):
        assert ydata(loss, name) == [reading["loss"] for reading in data[key]]
        assert ydata(error, name) == [reading["error"] for reading in data[key]]
        assert list(line(loss, name).get_xdata()) == [0, 0.25, 0.5, 0.75, 1]  # type: ignore[arg-type]
    norms = [np.asarray(drawn.get_ydata()).tolist() for drawn in gradient.lines]
    for key in ("before", "after"):
        for end in ("first_norm", "last_norm"):
            assert [reading[end] for reading in data[key]] in norms
    for axes, key in ((before, "before"), (after, "after")):
        for reading in data[key]:
            assert ydata(axes, f"alpha {reading['alpha']:g}") == reading["grad_rms"]
    assert before.get_ylim() == after.get_ylim()
    assert {axes.get_yscale() for axes in (gradient, before, after)} == {"log"}
    assert error.get_ylim()[0] == 0


def test_without_training_there_is_one_panel_of_blocks_and_no_legend_of_moments() -> None:
    loss, error, gradient, blocks = dial_figure(make_dial()).axes
    assert loss.get_legend() is error.get_legend() is None
    assert [t.get_text() for t in gradient.get_legend().get_texts()] == [
        "first block",
        "last block",
    ]  # type: ignore[union-attr]
    assert len(blocks.lines) == 5
    assert blocks.get_title(loc="left") == "Gradient at each block"


def test_the_settings_are_told_apart_without_colour() -> None:
    blocks = dial_figure(make_dial()).axes[-1]
    looks = [(drawn.get_linestyle(), drawn.get_marker()) for drawn in blocks.lines]
    assert len(set(looks)) == 5
    assert len({drawn.get_color() for drawn in blocks.lines}) == 5


def test_settings_are_drawn_from_small_to_large_in_whatever_order_they_come() -> None:
    loss = dial_figure(make_dial(alphas=(1, 0, 0.5))).axes[0]
    assert list(line(loss, "as given").get_xdata()) == [0, 0.5, 1]  # type: ignore[arg-type]


def test_what_is_missing_or_not_finite_leaves_a_gap() -> None:
    data = make_dial(4, epochs=1)
    data["before"][0].update(loss=math.nan, first_norm=0.0, grad_rms=[0.0, None, math.inf, 1e-3])
    data["after"][0].update(loss=math.inf, error=None, first_norm=math.nan)
    figure = dial_figure(data)
    assert_legible(figure)
    assert math.isnan(ydata(figure.axes[0], "as given")[0])
    assert math.isnan(ydata(figure.axes[0], "after 1 epoch")[0])
    drawn = ydata(figure.axes[3], "alpha 0")
    assert np.isnan(drawn[:3]).all()
    assert drawn[3] == 1e-3


@pytest.mark.parametrize(("count", "epochs"), [(0, 0), (1, 1), (6, 1), (9, 1), (12, 0), (54, 1)])
def test_the_figure_is_legible_at_any_depth(count: int, epochs: int) -> None:
    assert_legible(dial_figure(make_dial(count, epochs=epochs)))


@pytest.mark.parametrize("settings", [1, 8, 21])
def test_the_figure_is_legible_with_any_number_of_settings(settings: int) -> None:
    alphas = tuple(np.linspace(0, 1, settings).round(3).tolist())
    assert_legible(dial_figure(make_dial(6, alphas, epochs=1)))


def test_the_alternative_text_has_the_numbers() -> None:
    alt = dial_figure(make_dial(3, (0, 1), epochs=1)).alt  # type: ignore[attr-defined]
    assert alt.startswith("Line charts along the dial, which multiplies every skip by alpha.")
    assert "As given: alpha 0 has loss 2.3, error 99.0%, and a gradient of 0.24 at the first" in alt
    assert "After 1 epoch: alpha 0 has loss 1.1" in alt


def test_the_figure_is_found_under_its_name_and_leaves_its_data_alone() -> None:
    assert viz.dial_figure is dial_figure
    data = make_dial(epochs=1)
    before = copy.deepcopy(data)
    dial_figure(data)
    assert data == before
