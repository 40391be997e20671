"""Two ledgers on one scale, and two figures of anything else side by side."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minires.viz import figure_svg
from minires.viz.instruments import comparison
from minires.viz.instruments.comparison import comparison_figure
from minires.viz.style import kind_color, kind_style
from tests.viz.test_figures import assert_legible, line, ydata

Make = Callable[..., dict[str, Any]]


def pair(make: Make, blocks: tuple[int, int], skips: tuple[bool, bool]) -> dict[str, Any]:
    results = [make(n, skips=s) for n, s in zip(blocks, skips, strict=True)]
    for result, skip in zip(results, skips, strict=True):
        for block in result["blocks"]:
            block["kind"] = "residual" if skip else "plain"
    return {"names": ["one", "other"], "results": results, "instrument": "ledger"}


@pytest.mark.parametrize("blocks", [(0, 3), (1, 1), (3, 27), (54, 54)])
@pytest.mark.parametrize("skips", [(True, True), (True, False), (False, False)])
def test_every_text_is_inside_and_none_overlaps(
    blocks: tuple[int, int], skips: tuple[bool, bool], ledger: Make
) -> None:
    data = pair(ledger, blocks, skips)
    assert_legible(comparison_figure(data))
    data["results"][0] = {**data["results"][0], "blocks": []}
    assert_legible(comparison_figure(data))


def test_a_kind_has_its_colour_whichever_network_comes_first(ledger: Make) -> None:
    for skips in ((True, False), (False, True)):
        rms = comparison_figure(pair(ledger, (9, 9), skips)).axes[0]
        for name, skip in zip(("one", "other"), skips, strict=True):
            assert line(rms, name).get_color() == kind_color("residual" if skip else "plain")


def test_both_curves_have_their_own_numbers_on_one_axis(ledger: Make) -> None:
    data = pair(ledger, (9, 27), (True, False))
    figure = comparison_figure(data)
    rms, share = figure.axes
    assert rms.get_yscale() == "log"
    for name, result in zip(data["names"], data["results"], strict=True):
        count = len(result["blocks"])
        assert ydata(rms, name) == [block["grad_rms"] for block in result["blocks"]]
        x = np.asarray(line(rms, name).get_xdata(), dtype=float)
        np.testing.assert_allclose(x, (np.arange(count) + 0.5) / count)
    assert ydata(share, "one") == [block["share"] for block in data["results"][0]["blocks"]]
    assert np.isnan(ydata(share, "other")).all()
    everything = [block["grad_rms"] for result in data["results"] for block in result["blocks"]]
    low, high = rms.get_ylim()
    assert low < min(everything)
    assert high > max(everything)


def test_kinds_have_their_styles_and_two_of_a_kind_are_told_apart_without_colour(
    ledger: Make,
) -> None:
    rms = comparison_figure(pair(ledger, (9, 9), (False, True))).axes[0]
    assert line(rms, "one").get_linestyle() == kind_style("plain").linestyle
    assert line(rms, "one").get_markerfacecolor() == "white"
    assert line(rms, "other").get_linestyle() == kind_style("residual").linestyle
    for skips in ((True, True), (False, False)):
        rms = comparison_figure(pair(ledger, (9, 9), skips)).axes[0]
        one, other = line(rms, "one"), line(rms, "other")
        assert one.get_linestyle() != other.get_linestyle()
        assert one.get_marker() != other.get_marker()
        assert one.get_color() != other.get_color()


def test_plain_networks_alone_have_no_share_panel(ledger: Make) -> None:
    assert len(comparison_figure(pair(ledger, (9, 9), (False, False))).axes) == 1


def test_what_is_missing_or_not_finite_leaves_a_gap(ledger: Make) -> None:
    data = pair(ledger, (9, 9), (True, True))
    blocks = data["results"][0]["blocks"]
    blocks[0]["grad_rms"], blocks[1]["grad_rms"], blocks[2]["grad_rms"] = 0.0, math.inf, None
    blocks[3]["share"] = math.nan
    rms, share = comparison_figure(data).axes
    assert np.isnan(ydata(rms, "one")[:3]).all()
    assert np.isfinite(ydata(rms, "one")[3:]).all()
    assert np.flatnonzero(np.isnan(ydata(share, "one"))).tolist() == [3]


def test_the_alternative_text_has_the_numbers_of_both(ledger: Make) -> None:
    data = pair(ledger, (9, 27), (True, False))
    alt = comparison_figure(data).alt  # type: ignore[attr-defined]
    assert "first of 9 blocks, with a share of" in alt
    assert "first of 27 blocks." in alt
    assert "one: " in alt
    assert "other: " in alt


def check(layers: int) -> dict[str, Any]:
    return {
        "model": "Net",
        "mode": "training",
        "checks": ["cut off", "growth"],
        "layers": [{"name": f"layer{i}", "kind": "Conv2d", "calls": 1} for i in range(layers)],
        "findings": [],
    }


@pytest.mark.parametrize("width", [5.0, 20.0], ids=["below each other", "beside each other"])
def test_other_instruments_are_two_undistorted_pictures(
    width: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_WIDE", width)
    data = {"names": ["one", "other"], "results": [check(3), check(60)], "instrument": "contracts"}
    before = copy.deepcopy(data)
    figure = comparison_figure(data)
    assert data == before
    one, other = (axes.get_position() for axes in figure.axes)
    inches = figure.get_size_inches()
    for axes, box in zip(figure.axes, (one, other), strict=True):
        rows, columns = np.asarray(axes.images[0].get_array()).shape[:2]
        drawn = box.width * inches[0] / (box.height * inches[1])
        assert drawn == pytest.approx(columns / rows, rel=0.01)
    if width > 10:
        assert one.x1 < other.x0
    else:
        assert one.y0 > other.y1
    assert [text.get_text() for text in figure.texts] == ["one", "other"]
    assert_legible(figure)
    assert "one: Chart of 2 checks on 3 layers" in figure.alt  # type: ignore[attr-defined]
    assert "<svg" in figure_svg(figure, "c")
