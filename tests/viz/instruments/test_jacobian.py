from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from minires.viz import style
from minires.viz.instruments.jacobian import jacobian_figure
from tests.viz.test_figures import assert_legible, line, ydata

Data = dict[str, Any]


def make_values(i: int, spread: float, exact: bool, smallest: float) -> Data:
    rms = 1.2 * math.exp(-0.02 * i)
    low = max(smallest, 1e-3)
    return {
        "largest": 3.0 * spread**i,
        "rms": rms,
        "smallest": smallest if exact else None,
        "quantiles": [low, 0.7 * rms, 0.9 * rms, 1.1 * rms, 1.8 * rms] if exact else None,
    }


def make_data(
    blocks: int = 9, *, kind: str = "residual", exact: bool = True, spread: float = 1.05
) -> Data:
    return {
        "method": "exact" if exact else "lanczos",
        "samples": 2,
        "caption": f"{blocks} blocks, as the lens describes them",
        "blocks": [
            {
                "name": f"layer{1 + 3 * i // blocks}.{i % max(blocks // 3, 1)}",
                "kind": kind,
                "branch": make_values(i, spread, exact, 0.0),
                "block": make_values(i, spread, exact, 0.1),
                "onward": make_values(blocks - i, spread**2, exact, 0.02),
            }
            for i in range(blocks)
        ],
    }


def bars(axes: Axes) -> list[tuple[float, float]]:
    """Lower and upper end of each bar."""
    patches: Any = axes.patches
    return [(patch.get_y(), patch.get_y() + patch.get_height()) for patch in patches]


@pytest.mark.parametrize(("exact", "spread"), [(True, 1.05), (False, 1.6)])
@pytest.mark.parametrize("blocks", [0, 1, 3, 12, 54])
def test_it_is_legible_at_any_depth(blocks: int, exact: bool, spread: float) -> None:
    assert_legible(jacobian_figure(make_data(blocks, exact=exact, spread=spread)))


def test_each_panel_draws_its_own_numbers_block_by_block() -> None:
    data = make_data(9)
    panels = jacobian_figure(data).axes
    for axes, part in zip(panels, ("branch", "block", "onward"), strict=True):
        assert axes.get_yscale() == "log"
        for key in ("largest", "rms"):
            assert ydata(axes, key) == [block[part][key] for block in data["blocks"]]
        rules = [r for r in axes.lines if set(np.asarray(r.get_ydata())) == {1.0}]
        assert len(rules) == 1
        low, high = axes.get_ylim()
        assert low < 1.0 < high
    assert ydata(panels[1], "smallest") == [0.1] * 9
    assert panels[0].get_ylim() == panels[1].get_ylim()  # one scale, to be compared
    names = [label.get_text() for label in panels[2].get_xticklabels()]
    assert names == [block["name"] for block in data["blocks"]]
    assert panels[1].get_ylabel() == "singular value (logarithmic)"


def test_bars_reach_over_the_middle_of_the_values_and_a_value_of_0_goes_to_the_bottom() -> None:
    data = make_data(4)
    data["blocks"][2]["block"]["quantiles"][0] = 0.0
    axes = jacobian_figure(data).axes[1]
    quantiles = [block["block"]["quantiles"] for block in data["blocks"]]
    bottom = axes.get_ylim()[0]
    wide, narrow = bars(axes)[:4], bars(axes)[4:]
    assert wide == [pytest.approx((max(q[0], bottom), q[4])) for q in quantiles]
    assert narrow == [pytest.approx((q[1], q[3])) for q in quantiles]
    assert wide[2][0] == bottom


def test_a_smallest_value_of_0_has_no_mark_and_that_is_said() -> None:
    figure = jacobian_figure(make_data(9))
    assert np.isnan(ydata(figure.axes[0], "smallest")).all()
    assert any("Where the smallest has no mark, it is 0." in t.get_text() for t in figure.texts)
    data = make_data(9)
    for block in data["blocks"]:
        block["branch"]["smallest"] = 0.01
    figure = jacobian_figure(data)
    assert not any("no mark" in text.get_text() for text in figure.texts)


def test_the_key_names_what_is_drawn_and_nothing_else() -> None:
    def key(data: Data) -> list[str]:
        (legend,) = jacobian_figure(data).legends
        return [text.get_text() for text in legend.get_texts()]

    lines = ["largest", "root-mean-square", "smallest"]
    assert key(make_data(9)) == [*lines, "middle 90% of the values", "middle half"]
    assert key(make_data(9, exact=False)) == lines[:2]
    assert jacobian_figure(make_data(0)).legends == []


def test_plain_networks_are_dashed_with_hollow_circles() -> None:
    for kind in ("plain", "residual"):
        rms = line(jacobian_figure(make_data(9, kind=kind)).axes[1], "rms")
        look = style.kind_style(kind)
        assert (rms.get_linestyle(), rms.get_marker()) == (look.linestyle, look.marker)
        assert (rms.get_markerfacecolor() == "white") == look.hollow


def test_lanczos_has_no_bars_and_says_what_is_estimated() -> None:
    figure = jacobian_figure(make_data(9, exact=False))
    assert not any(axes.patches for axes in figure.axes)
    assert any("the root-mean-square estimated" in text.get_text() for text in figure.texts)


def test_missing_and_infinite_values_leave_a_gap() -> None:
    data = make_data(4)
    data["blocks"][1]["block"].update(largest=None, rms=math.inf, quantiles=None)
    data["blocks"][2]["onward"] = None
    figure = jacobian_figure(data)
    assert_legible(figure)
    assert np.isnan(ydata(figure.axes[1], "largest")).tolist() == [False, True, False, False]
    assert len(bars(figure.axes[1])) == 6
    nothing = copy.deepcopy(data)
    for block in nothing["blocks"]:
        for part in ("branch", "block", "onward"):
            block[part] = {"largest": None, "rms": None, "smallest": None, "quantiles": None}
    assert_legible(jacobian_figure(nothing))


def test_the_caption_is_the_alternative_text() -> None:
    figure: Any = jacobian_figure(make_data(3))
    assert figure.alt == "3 blocks, as the lens describes them"
