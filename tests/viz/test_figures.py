from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from minires.viz import figure_png, figure_svg, gradient_flow, ledger_figure, training_curves
from minires.viz.groups import group_runs, lr_drops, stage_bounds
from minires.viz.style import context, depth_colors, kind_style

Results = dict[str, Any]
Build = Callable[..., Results]


def line(axes: Axes, label: str) -> Line2D:
    found = [candidate for candidate in axes.lines if candidate.get_label() == label]
    assert len(found) == 1, [candidate.get_label() for candidate in axes.lines]
    return found[0]


def ydata(axes: Axes, label: str) -> list[float]:
    return [float(value) for value in np.asarray(line(axes, label).get_ydata())]


def outline(collection: PolyCollection) -> dict[float, tuple[float, float]]:
    """Lowest and highest value of a band at each x."""
    vertices: np.ndarray = np.asarray(collection.get_paths()[0].vertices)
    return {
        float(x): (
            float(vertices[vertices[:, 0] == x, 1].min()),
            float(vertices[vertices[:, 0] == x, 1].max()),
        )
        for x in vertices[:, 0]
    }


def texts(figure: Figure) -> list[Text]:
    found = [t for t in figure.findobj(Text) if isinstance(t, Text)]
    shown = []
    for axes in figure.axes:
        # Ticks outside the limits exist as objects, and are not drawn.
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    found = [t for t in found if t not in (tick.label1, tick.label2)]
    for text in found:
        if text.get_visible() and text.get_text().strip():
            shown.append(text)
    return shown


def assert_legible(figure: Figure) -> None:
    """Every text lies inside the figure, and no two touch."""
    with context():
        figure.canvas.draw()
        boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
    for i, (text, box) in enumerate(boxes):
        for other_text, other in boxes[:i]:
            # A pixel of blank above and below the letters is not a collision.
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 1 or down <= 2, (text, other_text)


def diverge(results: Results) -> Results:
    changed = copy.deepcopy(results)
    run = next(r for r in changed["runs"] if r["kind"] == "plain" and r["depth"] == 56)
    for key in ("train_loss", "train_error", "test_error"):
        run[key] = math.nan
        run["history"][key][5:] = [math.nan] * len(run["history"][key][5:])
    run["gradient_flow"]["trained"]["grad_rms"] = [math.nan] * 27
    return changed


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "seeds": {"seeds": (0, 1, 2)},
    "one run": {"depths": (20,), "kinds": ("residual",)},
    "one epoch": {"epochs": 1},
    "two epochs": {"epochs": 2, "seeds": (0, 1)},
    "plain only": {"kinds": ("plain",)},
    "three kinds": {"kinds": ("plain", "residual", "preact"), "depths": (20, 56, 110)},
    "everything": {
        "kinds": ("plain", "residual", "preact"),
        "depths": (20, 32, 44, 56, 110),
        "seeds": (0, 1, 2),
    },
    "many epochs": {"epochs": 160},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("draw", [training_curves, gradient_flow])
def test_every_text_is_inside_the_figure_and_none_overlaps(
    case: str, draw: Callable[..., Figure], build: Build
) -> None:
    assert_legible(draw(build(**CASES[case])["runs"]))


@pytest.mark.parametrize("draw", [training_curves, gradient_flow])
def test_diverged_and_missing_values_stay_legible(
    draw: Callable[..., Figure], results: Results, seeded: Results
) -> None:
    for data in (diverge(results), diverge(seeded)):
        data["runs"][-1]["gradient_flow"] = None
        data["runs"][0]["history"] = {}
        assert_legible(draw(data["runs"]))
    assert_legible(draw([]))


def test_training_error_comes_first_and_shares_its_scale_with_test_error(results: Results) -> None:
    left, right = training_curves(results["runs"]).axes
    assert left.get_title(loc="left") == "Training error"
    assert right.get_title(loc="left") == "Test error"
    assert left.get_position().x0 < right.get_position().x0
    assert left.get_ylim() == right.get_ylim()
    for axes in (left, right):
        assert axes.get_xlabel() == "epoch"
        assert axes.get_ylabel() == "error (%)"
        assert axes.get_ylim()[0] <= 0


def test_every_run_is_drawn_with_its_own_numbers_and_style(build: Build) -> None:
    runs = build(kinds=("plain", "residual", "preact"))["runs"]
    left, right = training_curves(runs).axes
    colors = depth_colors([20, 56])
    for run in runs:
        name = f"{run['kind']}-{run['depth']}"
        assert ydata(left, name) == run["history"]["train_error"]
        assert ydata(right, name) == run["history"]["test_error"]
        assert np.asarray(line(left, name).get_xdata()).tolist() == run["history"]["epoch"]
        assert line(left, name).get_linestyle() == kind_style(run["kind"]).linestyle
        assert line(left, name).get_marker() == kind_style(run["kind"]).marker
        assert line(left, name).get_color() == colors[run["depth"]]


def test_lines_are_labelled_with_their_last_value(results: Results) -> None:
    left, right = training_curves(results["runs"]).axes
    for axes, key in ((left, "train_error"), (right, "test_error")):
        expected = {
            f"{run['kind']}-{run['depth']}  {run['history'][key][-1]:.1f}%"
            for run in results["runs"]
        }
        assert expected <= {text.get_text() for text in axes.texts}


def test_labels_stand_in_the_order_of_the_line_ends(seeded: Results) -> None:
    axes = training_curves(seeded["runs"]).axes[0]
    places = {text.get_text().split()[0]: text.get_position()[1] for text in axes.texts}
    ends = {g.name: g.curve("train_error").mean[-1] for g in group_runs(seeded["runs"])}
    assert sorted(places, key=places.__getitem__) == sorted(ends, key=ends.__getitem__)


def test_seeds_give_their_mean_and_a_band_from_smallest_to_largest(seeded: Results) -> None:
    figure = training_curves(seeded["runs"])
    groups = group_runs(seeded["runs"])
    bands = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    assert len(bands) == len(groups)
    for group, drawn in zip(groups, bands, strict=True):
        data = np.array([run["history"]["train_error"] for run in group.runs])
        assert len(data) == 3
        np.testing.assert_allclose(ydata(figure.axes[0], group.name), data.mean(axis=0))
        sides = outline(drawn)
        assert list(sides) == group.runs[0]["history"]["epoch"]
        np.testing.assert_array_equal([low for low, _ in sides.values()], data.min(axis=0))
        np.testing.assert_array_equal([high for _, high in sides.values()], data.max(axis=0))
    remarks = [text.get_text() for text in figure.texts]
    assert any("mean of 3 seeds; band: from the smallest to the largest" in r for r in remarks)


def test_one_seed_has_no_band(results: Results) -> None:
    figure = training_curves(results["runs"])
    assert not [c for axes in figure.axes for c in axes.collections]
    assert not [t for t in figure.texts if "band" in t.get_text()]


def test_falls_of_the_learning_rate_are_marked_and_a_slow_glide_is_not(results: Results) -> None:
    assert lr_drops(results["runs"]) == [(6, 0.01), (9, 0.001)]
    for axes in training_curves(results["runs"]).axes:
        rules = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert [float(np.asarray(rule.get_xdata())[0]) for rule in rules] == [6, 9]
    for run in results["runs"]:
        run["history"]["lr"] = [0.1 * 0.9**i for i in range(12)]
    assert lr_drops(results["runs"]) == []


def test_a_diverged_run_ends_in_a_cross_and_says_so(results: Results) -> None:
    left, right = training_curves(diverge(results)["runs"]).axes
    for axes in (left, right):
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        assert [float(np.asarray(cross.get_xdata())[0]) for cross in crosses] == [5]
        assert "plain-56  diverged" in [text.get_text() for text in axes.texts]
    assert np.isnan(ydata(left, "plain-56")[5:]).all()


def test_a_seed_that_diverged_leaves_mean_and_band_and_is_counted(seeded: Results) -> None:
    changed = diverge(seeded)
    axes = training_curves(changed["runs"]).axes[0]
    others = [r for r in seeded["runs"] if r["kind"] == "plain" and r["depth"] == 56][1:]
    expected = np.mean([run["history"]["train_error"][-1] for run in others])
    assert ydata(axes, "plain-56")[-1] == pytest.approx(expected)
    assert any("1 of 3 diverged" in text.get_text() for text in axes.texts)


def test_gradient_flow_draws_each_block_at_its_place(results: Results) -> None:
    figure = gradient_flow(results["runs"])
    assert len(figure.axes) == 4
    start, end, share_start, share_end = figure.axes
    for axes, moment in ((start, "initial"), (end, "trained")):
        assert axes.get_yscale() == "log"
        for run in results["runs"]:
            name = f"{run['kind']}-{run['depth']}"
            rms = run["gradient_flow"][moment]["grad_rms"]
            assert ydata(axes, name) == rms
            x = np.asarray(line(axes, name).get_xdata(), dtype=float)
            np.testing.assert_allclose(x, (np.arange(len(rms)) + 0.5) / len(rms))
            assert line(axes, name).get_linestyle() == kind_style(run["kind"]).linestyle
    assert start.get_ylim() == end.get_ylim()
    assert start.get_ylabel().startswith("rms of the gradient")
    assert share_start.get_ylabel().startswith("share over the skip")
    for axes in (share_start, share_end):
        assert axes.get_xlabel().startswith("position of the block")


def test_share_panels_show_networks_with_skips_alone_and_a_line_at_one_half(
    build: Build,
) -> None:
    runs = build(kinds=("plain", "residual", "preact"))["runs"]
    for axes, moment in zip(gradient_flow(runs).axes[2:], ("initial", "trained"), strict=True):
        low, high = axes.get_ylim()
        assert low <= 0
        assert high >= 1
        assert high < 1.1
        drawn = {str(line.get_label()) for line in axes.lines if "-" in str(line.get_label())}
        assert drawn == {"residual-20", "residual-56", "preact-20", "preact-56"}
        halves = [line for line in axes.lines if set(np.asarray(line.get_ydata())) == {0.5}]
        assert len(halves) == 1
        for run in (run for run in runs if run["kind"] != "plain"):
            name = f"{run['kind']}-{run['depth']}"
            assert ydata(axes, name) == run["gradient_flow"][moment]["skip_share"]


def test_plain_networks_alone_have_no_share_panels(build: Build) -> None:
    assert len(gradient_flow(build(kinds=("plain",))["runs"]).axes) == 2


def test_gradient_flow_bands_reach_from_the_smallest_to_the_largest_seed(seeded: Results) -> None:
    axes = gradient_flow(seeded["runs"]).axes[0]
    groups = group_runs(seeded["runs"])
    bands = [c for c in axes.collections if isinstance(c, PolyCollection)]
    for group, drawn in zip(groups, bands, strict=True):
        data = np.array([run["gradient_flow"]["initial"]["grad_rms"] for run in group.runs])
        sides = list(outline(drawn).values())
        np.testing.assert_array_equal([low for low, _ in sides], data.min(axis=0))
        np.testing.assert_array_equal([high for _, high in sides], data.max(axis=0))


def test_what_a_logarithm_cannot_show_leaves_a_gap(results: Results) -> None:
    run = results["runs"][0]
    run["gradient_flow"]["initial"]["grad_rms"][:3] = [0.0, math.inf, None]
    drawn = ydata(gradient_flow(results["runs"]).axes[0], "plain-20")
    assert np.isnan(drawn[:3]).all()
    assert np.isfinite(drawn[3:]).all()


def test_stages_are_marked_where_all_networks_agree_on_them(results: Results) -> None:
    assert stage_bounds(group_runs(results["runs"])) == [0.333333, 0.666667]
    results["runs"][0]["gradient_flow"]["initial"]["block"] = ["blocks.0"] * 9
    assert stage_bounds(group_runs(results["runs"])) == []


def test_gradient_flow_legend_names_every_network(build: Build) -> None:
    figure = gradient_flow(build(kinds=("plain", "residual", "preact"))["runs"])
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {
        f"{kind}-{depth}" for kind in ("plain", "residual", "preact") for depth in (20, 56)
    }


def test_ledger_bars_are_as_high_as_the_norms(ledger: Callable[..., Results]) -> None:
    data = ledger(9)
    norms, share, cosine = ledger_figure(data).axes
    heights = [patch.get_height() for patch in norms.patches]  # type: ignore[attr-defined]
    assert heights[:9] == [block["skip_norm"] for block in data["blocks"]]
    assert heights[9:] == [block["branch_norm"] for block in data["blocks"]]
    assert np.asarray(share.lines[0].get_ydata()).tolist() == [b["share"] for b in data["blocks"]]
    assert np.asarray(cosine.lines[0].get_ydata()).tolist() == [b["cosine"] for b in data["blocks"]]
    assert [label.get_text() for label in cosine.get_xticklabels()] == [
        block["name"] for block in data["blocks"]
    ]
    assert norms.get_ylabel() == "norm of the gradient"


def test_ledger_of_a_wide_range_is_logarithmic_and_drawn_as_points(
    ledger: Callable[..., Results],
) -> None:
    data = ledger(9, spread=2.0)
    norms = ledger_figure(data).axes[0]
    assert norms.get_yscale() == "log"
    assert "logarithmic" in norms.get_ylabel()
    assert not norms.patches
    assert ydata(norms, "skip") == [block["skip_norm"] for block in data["blocks"]]
    assert ydata(norms, "branch") == [block["branch_norm"] for block in data["blocks"]]


def test_ledger_of_a_plain_stack_shows_its_one_edge(ledger: Callable[..., Results]) -> None:
    figure = ledger_figure(ledger(9, skips=False))
    assert len(figure.axes) == 1
    assert len(figure.axes[0].patches) == 9


@pytest.mark.parametrize("blocks", [0, 1, 3, 9, 12, 27, 54])
@pytest.mark.parametrize("spread_", [1.05, 1.6])
def test_ledger_is_legible_at_any_depth(
    blocks: int, spread_: float, ledger: Callable[..., Results]
) -> None:
    assert_legible(ledger_figure(ledger(blocks, spread=spread_)))


def test_ledger_with_missing_and_infinite_values_is_drawn(ledger: Callable[..., Results]) -> None:
    data = ledger(4)
    data["loss"] = math.nan
    data["blocks"][0].update(skip_norm=None, share=None, cosine=None)
    data["blocks"][1].update(branch_norm=math.inf, share=math.nan)
    assert_legible(ledger_figure(data))


def test_figures_carry_an_alternative_text_and_show_themselves_in_a_notebook(
    results: Results, ledger: Callable[..., Results]
) -> None:
    for figure in (
        training_curves(results["runs"]),
        gradient_flow(results["runs"]),
        ledger_figure(ledger()),
    ):
        data, metadata = figure._repr_png_()  # type: ignore[attr-defined]
        assert data.startswith(b"\x89PNG")
        assert len(metadata["alt"]) > 50
        assert metadata["width"] == round(figure.get_size_inches()[0] * 96)


def test_the_same_data_give_the_same_bytes(results: Results) -> None:
    first, second = (training_curves(results["runs"]) for _ in range(2))
    assert figure_png(first) == figure_png(second)
    assert figure_svg(first, "a") == figure_svg(second, "a")


def test_the_readers_own_style_neither_reaches_figures_nor_is_changed(results: Results) -> None:
    expected = figure_png(training_curves(results["runs"]))
    with matplotlib.rc_context({"lines.markeredgewidth": 6, "xtick.direction": "in"}):
        before = dict(matplotlib.rcParams)
        assert figure_png(training_curves(results["runs"])) == expected
        assert dict(matplotlib.rcParams) == before


def test_importing_viz_loads_no_matplotlib_and_drawing_loads_no_pyplot() -> None:
    code = """
import sys
import minires.viz
assert not [name for name in sys.modules if name.startswith("matplotlib")]
minires.viz.figure_png(minires.viz.training_curves([]))
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_of_the_package_are_listed_and_others_refused() -> None:
    import minires.viz

    assert set(minires.viz.__all__) <= set(dir(minires.viz))
    for name in minires.viz.__all__:
        assert callable(getattr(minires.viz, name))
    with pytest.raises(AttributeError, match="no attribute 'heatmap'"):
        minires.viz.heatmap  # noqa: B018
