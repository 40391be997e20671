"""The figures of signal and recording, from plain data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from minires.viz import figure_png, figure_svg
from minires.viz.instruments.signals import recording_figure, signal_figure
from tests.viz.test_figures import assert_legible, ydata


def signal(depth: int = 20, *, norm: bool = True, spread: float = 1.0, lr: bool = True) -> Any:
    """A network of ``depth`` layers; numbers change by ``spread`` from one to the next."""
    blocks = (depth - 2) // 2
    names = ["conv1", *(["bn1"] if norm else [])]
    for i in range(blocks):
        at = f"layer{1 + i // max(blocks // 3, 1)}.{i % max(blocks // 3, 1)}"
        for k in (1, 2):
            names += [f"{at}.conv{k}", *([f"{at}.bn{k}"] if norm else [])]
    layers = []
    for i, name in enumerate([*names, "fc"]):
        is_norm = ".bn" in f".{name}"
        layers.append(
            {
                "name": name,
                "kind": "BatchNorm2d" if is_norm else "Linear" if name == "fc" else "Conv2d",
                "mean": 0.0,
                "std": 1.0 + 0.1 * math.sin(i) + (spread**i - 1),
                "dead": 0.25 * (i % 3 == 1) if is_norm == norm and i % 2 else None,
                "grad_norm": 0.1 * spread**-i,
                "weight_norm": 2.0,
                "weight_grad_norm": 0.2,
                "update_ratio": 0.002 * spread**i if lr else None,
            }
        )
    return {"loss": 2.3, "max_error": 0.0, "layers": layers}


def recording(
    blocks: int = 9, steps: Any = (1, 50, 100, 150, 180), *, skips: bool = True, spread: float = 1.3
) -> Any:
    sizes = [
        [0.01 * spread ** (blocks - b) * (1 + t) for b in range(blocks)] for t in range(len(steps))
    ]
    shares = [
        [0.4 + 0.4 * (t + b) / (len(steps) + blocks) for b in range(blocks)]
        for t in range(len(steps))
    ]
    third = max(blocks // 3, 1)
    return {
        "steps": list(steps),
        "loss": [2.3 / (1 + t) for t in range(len(steps))],
        "blocks": {
            "name": [f"layer{1 + b // third}.{b % third}" for b in range(blocks)],
            "grad_norm": sizes,
            "share": shares if skips else [[None] * blocks for _ in steps],
        },
    }


def map_of(axes: Axes) -> np.ma.MaskedArray:
    (mesh,) = axes.collections
    return np.ma.asarray(mesh.get_array())


# --- the signal ---


def test_panels_have_the_numbers_at_the_places_of_the_layers() -> None:
    data = signal(8)
    figure = signal_figure(data)
    std, dead, grads, updates = figure.axes
    for label, is_norm in (("batch normalisation", True), ("convolution, linear", False)):
        chosen = [x for x in data["layers"] if (x["kind"] == "BatchNorm2d") is is_norm]
        assert ydata(std, label) == [x["std"] for x in chosen]
        assert ydata(grads, label) == [x["grad_norm"] for x in chosen]
        assert ydata(updates, label) == [x["update_ratio"] for x in chosen]
    places = next(li for li in std.lines if li.get_label() == "batch normalisation").get_xdata()
    kinds = [x["kind"] for x in data["layers"]]
    assert list(places) == [i for i, kind in enumerate(kinds) if kind == "BatchNorm2d"]
    shares = [100 * x["dead"] for x in data["layers"] if x["dead"] is not None]
    drawn = ydata(dead, "batch normalisation")
    assert [value for value in drawn if math.isfinite(value)] == shares
    assert [t.get_text() for t in updates.get_xticklabels()] == [x["name"] for x in data["layers"]]
    assert {axes.get_xlim() for axes in figure.axes} == {std.get_xlim()}
    assert [axes.get_ylabel().replace("\n", " ") for axes in figure.axes] == [
        *("std of the answers", "dead units (%)", "norm of the gradient", "update / weights"),
    ]


def test_panels_without_numbers_are_left_out() -> None:
    data = signal(8, lr=False)
    assert len(signal_figure(data).axes) == 3
    for layer in data["layers"]:
        layer["dead"] = None
    assert len(signal_figure(data).axes) == 2


@pytest.mark.parametrize(
    ("depth", "norm", "spread"),
    [(2, True, 1.0), (8, False, 0.9), (20, True, 1.04), (56, False, 1.0), (110, True, 0.9)],
)
def test_a_signal_is_legible_at_any_depth(depth: int, norm: bool, spread: float) -> None:
    assert_legible(signal_figure(signal(depth, norm=norm, spread=spread)))


def test_a_wide_range_is_logarithmic_and_a_narrow_one_starts_at_zero() -> None:
    narrow, wide = signal_figure(signal(8)).axes, signal_figure(signal(56, spread=0.9)).axes
    assert narrow[2].get_yscale() == "linear"
    assert narrow[2].get_ylim()[0] == 0.0
    assert wide[2].get_yscale() == "log"


def test_missing_and_infinite_numbers_leave_a_gap() -> None:
    data = signal(8)
    data["layers"][0].update(std=math.nan, grad_norm=None)
    data["layers"][2].update(std=math.inf, update_ratio=math.nan)
    figure = signal_figure(data)
    assert_legible(figure)
    assert math.isnan(ydata(figure.axes[0], "convolution, linear")[0])
    for layer in data["layers"]:
        layer.update(std=math.nan, grad_norm=math.nan, update_ratio=math.nan, dead=math.nan)
    assert_legible(signal_figure(data))
    assert_legible(signal_figure({}))


def test_the_alternative_text_has_the_extremes_with_their_names() -> None:
    alt = signal_figure(signal(8, spread=1.2)).alt  # type: ignore[attr-defined]
    assert "Norm of the gradient at the output: from" in alt
    assert "at fc to 0.10 at conv1." in alt
    assert "Share of dead units: from 0 at" in alt


# --- the recording ---


def test_maps_have_a_row_a_block_and_a_column_a_step() -> None:
    data = recording()
    figure = recording_figure(data)
    loss, sizes, shares = figure.axes[:3]
    assert [float(y) for y in loss.lines[0].get_ydata()] == data["loss"]
    assert [float(x) for x in loss.lines[0].get_xdata()] == data["steps"]
    np.testing.assert_allclose(map_of(sizes).T, np.log10(data["blocks"]["grad_norm"]))
    np.testing.assert_allclose(map_of(shares).T, data["blocks"]["share"])
    mesh = sizes.collections[0]
    assert mesh.get_coordinates()[0, :, 0].tolist() == [  # type: ignore[attr-defined]
        *(-23.5, 25.5, 75.0, 125.0, 165.0, 195.0)
    ]
    assert [t.get_text() for t in sizes.get_yticklabels()] == data["blocks"]["name"]
    assert {axes.get_xlim() for axes in figure.axes[:3]} == {loss.get_xlim()}


def test_a_plain_network_has_no_map_of_shares() -> None:
    titles = [a.get_title(loc="left") for a in recording_figure(recording(skips=False)).axes]
    assert [title for title in titles if title] == [
        *("Loss of the recorded steps", "Norm of the gradient at the block's input")
    ]


@pytest.mark.parametrize(
    ("blocks", "steps", "spread"),
    [
        (1, (1,), 1.0),
        (3, (1, 2), 2.0),
        (9, (10, 90_000), 1.05),
        (27, (1, 50, 51), 2.0),
        (54, range(1, 90), 1.05),
    ],
)
def test_a_recording_is_legible_at_any_size(blocks: int, steps: Any, spread: float) -> None:
    assert_legible(recording_figure(recording(blocks, steps, spread=spread)))


def test_what_is_missing_or_not_finite_stays_white() -> None:
    data = recording(3, (1, 50))
    data["loss"] = [None, math.nan]
    data["blocks"]["grad_norm"][0] = [None, 0.0, math.inf]
    data["blocks"]["share"][1][2] = None
    figure = recording_figure(data)
    assert_legible(figure)
    assert np.ma.getmaskarray(map_of(figure.axes[1])).T.tolist() == [[True] * 3, [False] * 3]
    assert np.ma.getmaskarray(map_of(figure.axes[2])).T.tolist() == [
        *([False] * 3, [False, False, True])
    ]
    data["blocks"]["grad_norm"] = [[None] * 3] * 2
    assert_legible(recording_figure(data))
    for empty in ({}, {"steps": [], "loss": [], "blocks": {"name": []}}, recording(0)):
        assert_legible(recording_figure(empty))


def test_an_svg_of_a_long_recording_stays_small() -> None:
    assert len(figure_svg(recording_figure(recording(54, range(1, 300))), "a")) < 500_000


def test_the_alternative_text_has_the_first_and_the_last_numbers() -> None:
    alt = recording_figure(recording()).alt  # type: ignore[attr-defined]
    assert "9 blocks, at 5 training steps from 1 to 180" in alt
    assert "Loss: 2.3 at first, 0.46 at last." in alt
    assert "Gradient at layer1.0: 0.11 at first, 0.53 at last." in alt
    assert "Mean share over the skip:" in alt


def test_the_same_data_give_the_same_bytes() -> None:
    for draw, data in ((signal_figure, signal(8)), (recording_figure, recording(3))):
        assert figure_png(draw(data)) == figure_png(draw(data))
