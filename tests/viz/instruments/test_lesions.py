from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

from minires import viz
from minires.viz import style
from minires.viz.instruments.lesions import backward_lesion_figure, forward_lesion_figure
from tests.viz.test_figures import assert_legible, line, ydata


def names(count: int) -> list[str]:
    return [f"layer{1 + 3 * i // count}.{i % max(count // 3, 1)}" for i in range(count)]


def make_backward(count: int = 9, chosen: tuple[int, ...] = (1, 2, 5)) -> dict[str, Any]:
    blocks = []
    for i, name in enumerate(names(count)):
        norm = 0.05 * 1.1 ** (count - i)
        change = {
            "norm": norm,
            "lesioned_norm": norm * 0.5 ** (count - i),
            "ratio": 0.5 ** (count - i),
            "cosine": math.cos(0.3 * (count - i)),
        }
        weights = {**change, "norm": 7.0, "cosine": math.cos(0.1 * (count - i))}
        lesioned = i in chosen
        blocks.append(
            {
                "name": name,
                "kind": "residual",
                "lesioned": lesioned,
                "input": change,
                "weights": weights,
            }
        )
    return {
        "loss": 2.3, "skip": 0.0, "branch": 1.0, "noise": 0.0, "blocks": blocks, "weights": None,
        "same_forward": True, "max_error": 0.0,
    }  # fmt: skip


def make_forward(count: int = 9, kind: str = "residual") -> dict[str, Any]:
    shown = names(count)
    blocks = [
        {"name": name, "kind": kind, "stand_in": "skip", "loss": 1.0, "error": 12.0 + 50 / (i + 1)}
        for i, name in enumerate(shown)
    ]
    sizes = [2**k for k in range(count.bit_length())]
    return {
        "images": 360, "loss": 0.3, "error": 10.0, "blocks": blocks, "max_error": 0.0,
        "sets": [
            {"blocks": shown[:n], "loss": 1.0, "error": 10.0 + 60 * n / count + draw}
            for n in sizes
            for draw in range(3)
        ],
        "orders": [
            {"swaps": n, "order": shown, "tau": 1 - 0.2 * n / count, "loss": 1.0, "error": 10.0 + n}
            for n in sizes
        ],
    }  # fmt: skip


# --- backward ---


def test_norms_and_cosines_are_drawn_as_they_are() -> None:
    data = make_backward()
    size, cosine = backward_lesion_figure(data).axes
    blocks = data["blocks"]
    assert ydata(size, "intact") == [block["input"]["norm"] for block in blocks]
    assert ydata(size, "with the lesion") == [block["input"]["lesioned_norm"] for block in blocks]
    assert ydata(cosine, "at the input") == [block["input"]["cosine"] for block in blocks]
    assert ydata(cosine, "of the weights") == [block["weights"]["cosine"] for block in blocks]
    assert size.get_yscale() == "log"
    low, high = cosine.get_ylim()
    assert low <= -1
    assert high >= 1
    assert [label.get_text() for label in cosine.get_xticklabels()] == names(9)
    assert line(size, "intact").get_linestyle() != line(size, "with the lesion").get_linestyle()


def test_the_lesioned_blocks_are_shaded_and_named_once_in_the_legend() -> None:
    for axes in backward_lesion_figure(make_backward()).axes:
        spans = [(p.get_x(), p.get_x() + p.get_width()) for p in axes.patches]  # type: ignore[attr-defined]
        assert spans == [(0.5, 2.5), (4.5, 5.5)]
    size, cosine = backward_lesion_figure(make_backward()).axes
    shown = [text.get_text() for axes in (size, cosine) for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert shown == [
        "lesioned blocks",
        "intact",
        "with the lesion",
        "at the input",
        "of the weights",
    ]


def test_what_a_logarithm_cannot_show_leaves_a_gap() -> None:
    data = make_backward(5)
    data["blocks"][0]["input"].update(lesioned_norm=0.0, cosine=None)
    data["blocks"][1]["input"].update(lesioned_norm=math.inf, cosine=math.nan)
    data["blocks"][2]["weights"] = None
    figure = backward_lesion_figure(data)
    size, cosine = figure.axes
    assert np.isnan(ydata(size, "with the lesion")).tolist() == [True, True, False, False, False]
    assert np.isnan(ydata(cosine, "at the input")).tolist() == [True, True, False, False, False]
    assert math.isnan(ydata(cosine, "of the weights")[2])
    assert_legible(figure)
    assert "layer1.0: " in figure.alt  # type: ignore[attr-defined]
    assert "0 with the lesion;" in figure.alt  # type: ignore[attr-defined]


# --- forward ---


def test_errors_are_drawn_as_they_are_beside_the_intact_one() -> None:
    data = make_forward()
    single, several, orders = forward_lesion_figure(data).axes
    assert ydata(single, "residual blocks") == [row["error"] for row in data["blocks"]]
    for axes in (single, several, orders):
        (rule,) = [one for one in axes.lines if one.get_linestyle() == ":" and len(one.get_xdata())]  # type: ignore[arg-type]
        assert list(rule.get_ydata()) == [10.0, 10.0]  # type: ignore[arg-type]
        assert axes.get_ylim()[0] == 0
        assert axes.get_ylim()[1] >= max(row["error"] for row in data["sets"])
        assert axes.get_ylabel() == "error (%)"
    points = {
        (x, y) for one in several.lines if one.get_marker() == "o" for x, y in one.get_xydata()
    }  # type: ignore[union-attr]
    assert points == {(len(row["blocks"]), row["error"]) for row in data["sets"]}
    (means,) = [one for one in several.lines if one.get_linestyle() == "-"]
    expected = [
        np.mean([r["error"] for r in data["sets"] if len(r["blocks"]) == n]) for n in (1, 2, 4, 8)
    ]
    np.testing.assert_allclose(means.get_ydata(), expected)
    (cloud,) = [one for one in orders.lines if one.get_marker() == "o"]
    assert [tuple(xy) for xy in cloud.get_xydata()] == [
        (r["tau"], r["error"]) for r in data["orders"]
    ]  # type: ignore[union-attr]
    assert orders.get_xlim()[0] > 1 > orders.get_xlim()[1]  # from the own order to the farthest


def test_only_what_was_measured_has_a_panel() -> None:
    data = make_forward()
    for missing, titles in (
        (("sets",), ["Error with one block left out", "In another order"]),
        (("orders",), ["Error with one block left out", "Several at random"]),
        (("sets", "orders"), ["Error with one block left out"]),
    ):
        figure = forward_lesion_figure(data | {key: [] for key in missing})
        assert [axes.get_title(loc="left") for axes in figure.axes] == titles
        assert_legible(figure)


def test_kinds_have_their_line_and_padded_inputs_their_diamond() -> None:
    data = make_forward(6, "plain")
    data["blocks"][2]["stand_in"] = "padded input"
    data["blocks"][4].update(stand_in="nothing fits", error=None)
    data["blocks"][5]["kind"] = "residual"
    single = forward_lesion_figure(data).axes[0]
    for kind in ("plain", "residual"):
        drawn, look = line(single, f"{kind} blocks"), style.kind_style(kind)
        assert (drawn.get_linestyle(), drawn.get_marker()) == (look.linestyle, look.marker)
    assert np.isnan(ydata(single, "plain blocks")).tolist() == [False] * 4 + [True] * 2
    assert ydata(single, "padded input instead") == [data["blocks"][2]["error"]]
    assert line(single, "plain blocks").get_color() != line(single, "residual blocks").get_color()


def test_missing_and_infinite_values_are_drawn() -> None:
    data = make_forward(4)
    data["error"] = math.nan
    data["blocks"] = [{**row, "error": None} for row in data["blocks"]]
    data["sets"][0]["error"] = math.inf
    data["orders"][0]["tau"] = math.nan
    assert_legible(forward_lesion_figure(data))
    assert_legible(forward_lesion_figure({"error": 5.0, "blocks": []}))


# --- both ---


@pytest.mark.parametrize("count", [0, 1, 9, 13, 54])
def test_figures_are_legible_at_any_depth(count: int) -> None:
    assert_legible(backward_lesion_figure(make_backward(count)))
    assert_legible(forward_lesion_figure(make_forward(count, "plain")))


def test_long_names_stand_on_end() -> None:
    for data, draw in (
        (make_backward(3), backward_lesion_figure),
        (make_forward(3), forward_lesion_figure),
    ):
        for i, block in enumerate(data["blocks"]):
            block["name"] = f"encoder.stages.{i}.blocks.0.residual"
        figure = draw(data)
        assert_legible(figure)


def test_the_alternative_text_has_the_numbers() -> None:
    alt = backward_lesion_figure(make_backward(3, (0,))).alt  # type: ignore[attr-defined]
    assert alt.startswith("Norm of the gradient at the input of each block, without and with a")
    assert "in 1 of 3 blocks (skip times 0, branch times 1). layer1.0: 0.067 intact, 0.0083" in alt
    alt = forward_lesion_figure(make_forward(3)).alt  # type: ignore[attr-defined]
    assert alt.startswith("Error of the intact network: 10.0%. Without one block: layer1.0 62.0%;")
    assert "Mean without several at random: 1 blocks 31.0%; 2 blocks 51.0%." in alt
    assert "In another order: tau 0.93 11.0%; tau 0.87 12.0%." in alt


def test_figures_are_found_under_their_names_and_leave_their_data_alone() -> None:
    assert viz.backward_lesion_figure is backward_lesion_figure
    assert viz.forward_lesion_figure is forward_lesion_figure
    for data, draw in (
        (make_backward(), backward_lesion_figure),
        (make_forward(), forward_lesion_figure),
    ):
        before = copy.deepcopy(data)
        draw(data)
        assert data == before
