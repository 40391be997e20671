"""The figures of minires: training curves, the flow of the gradient, one ledger.

Each takes plain data (lists and dictionaries, as they come out of ``results.json``) and returns a
matplotlib figure that belongs to no window.  Values that are missing or not finite leave a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import (
    Band,
    Group,
    Run,
    as_float,
    floats,
    group_runs,
    lr_drops,
    positive,
    stage_bounds,
)
from minires.viz.labels import (
    drops_note,
    end_labels,
    epoch_ticks,
    label_log_axis,
    label_width,
    legend_above,
    mark_stages,
    name_blocks,
    names_height,
    note,
    panel_grid,
    remark_below,
    seeds_note,
)
from minires.viz.words import describe_curves, describe_flow, describe_ledger

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["gradient_flow", "ledger_figure", "training_curves"]

_MOMENTS = (("initial", "At initialisation"), ("trained", "After training"))


def training_curves(runs: Iterable[Run]) -> Figure:
    """Training error, then test error, against the epoch, in percent and on one scale.

    A line is the mean over the seeds and its band reaches from the smallest to the largest of
    them.  Dotted rules mark where the learning rate fell to half or less.  A cross ends the line
    of a run whose loss stopped being a finite number.

    >>> history = {"epoch": [1, 2], "train_error": [40.0, 20.0], "test_error": [50.0, 30.0]}
    >>> figure = training_curves([{"kind": "plain", "depth": 20, "history": history}])
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['Training error', 'Test error']
    """
    style.import_matplotlib()
    from matplotlib.ticker import FixedLocator

    from minires.viz.canvas import new_figure

    runs = list(runs)
    groups = group_runs(runs)
    colors = style.depth_colors(group.depth for group in groups)
    with style.context():
        keys = ("train_error", "test_error")
        curves = {key: [group.curve(key) for group in groups] for key in keys}
        top, first, last = _curve_limits([b for bands in curves.values() for b in bands])
        ends = {key: [_end_point(curve) for curve in curves[key]] for key in keys}
        texts = {
            key: [_end_text(group, end) for group, end in zip(groups, ends[key], strict=True)]
            for key in keys
        }
        beside = label_width([text for lines in texts.values() for text in lines])
        figure = new_figure(11.0, 4.3)
        left, right = panel_grid(
            figure,
            (1.0,),
            2,
            left=0.62,
            right=beside,
            top=0.42,
            bottom=0.82,
            gap=beside + 0.68,
            row_gap=0,
        )[0]
        panels = ((left, "Training error", "train_error"), (right, "Test error", "test_error"))
        pad = max(0.03 * (last - first), 0.25)
        ticks = epoch_ticks(first, last)
        for axes, title, key in panels:
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.set_ylabel("error (%)")
            axes.set_xlim(first - pad, last + pad)
            axes.set_ylim(-0.02 * top, 1.02 * top)
            axes.xaxis.set_major_locator(FixedLocator(ticks))
            for epoch, _ in lr_drops(runs):
                axes.axvline(epoch, color=style.RULE, linewidth=0.9, linestyle=":", zorder=1)
            for group, curve, end in zip(groups, curves[key], ends[key], strict=True):
                color = colors[group.depth]
                _draw_group(axes, group, curve, color)
                if group.diverged and math.isfinite(end[1]):
                    axes.plot(*end, "x", color=color, markersize=9, markeredgewidth=2, zorder=4)
            end_labels(axes, groups, [colors[g.depth] for g in groups], ends[key], texts[key])
            if not any(math.isfinite(y) for _, y in ends[key]):
                note(axes, "no finite value to draw" if groups else "no run was finished")
        remarks = filter(None, (drops_note(runs), seeds_note(groups)))
        remark_below(figure, "   ".join(remarks), 0.62)
    figure.alt = describe_curves(groups)
    return figure


def gradient_flow(runs: Iterable[Run]) -> Figure:
    """Size of the gradient at each block's input, and the share of it that the skip carries.

    Upper panels: root-mean-square of the gradient on a logarithmic axis, at initialisation and
    after training, plain and residual networks together.  Lower panels, for networks with skips
    only: |skip| / (|skip| + |branch|), where one half means that both edges carry as much.  The
    position of a block is the middle of its place in the stack, which reaches from 0 to 1: the
    stages of networks of different depth then lie under each other.

    >>> flow = {"block": ["layer1.0"], "grad_rms": [0.01], "skip_share": [0.7]}
    >>> run = {"kind": "residual", "depth": 8, "gradient_flow": {"initial": flow, "trained": flow}}
    >>> len(gradient_flow([run]).axes)
    4
    """
    style.import_matplotlib()
    from matplotlib.lines import Line2D

    from minires.viz.canvas import new_figure

    groups = group_runs(runs)
    colors = style.depth_colors(group.depth for group in groups)
    skips = [g for g in groups if any(_has_share(g, moment) for moment, _ in _MOMENTS)]
    rows = 2 if skips else 1
    columns, legend_rows = _legend_shape(groups)
    stages = stage_bounds(groups)
    above = 0.5 + 0.21 * legend_rows + (0.18 if stages else 0.0)
    height = above + 2.7 + (2.45 if skips else 0.0) + 0.75
    with style.context():
        figure = new_figure(11.0, height)
        grid = panel_grid(
            figure,
            (2.7, 1.9)[:rows],
            2,
            left=1.0,
            right=0.2,
            top=above,
            bottom=0.75,
            gap=0.45,
            row_gap=0.55,
        )
        rms = {m: [g.flow(m, "grad_rms") for g in groups] for m, _ in _MOMENTS}
        for column, (moment, title) in enumerate(_MOMENTS):
            axes = grid[0][column]
            axes.set_title(title, pad=20 if stages else 9)
            axes.set_yscale("log")
            for group, curve in zip(groups, rms[moment], strict=True):
                _draw_group(axes, group, _positive(curve), colors[group.depth], blocks=True)
            if not any((c.mean > 0).any() for c in rms[moment]):
                note(axes, "no positive finite value to draw")
            mark_stages(axes, stages)
            if not skips:
                continue
            axes = grid[1][column]
            axes.set_ylim(-0.02, 1.02)
            axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
            axes.tick_params(axis="y", labelleft=column == 0)
            axes.axhline(0.5, color=style.RULE, linewidth=1.2, zorder=1)
            for group in skips:
                curve = group.flow(moment, "skip_share")
                _draw_group(axes, group, curve, colors[group.depth], blocks=True)
            if not any(_has_share(group, moment) for group in skips):
                note(axes, "not measured")
            mark_stages(axes, stages, named=False)
        label_log_axis(grid[0], [c for bands in rms.values() for c in bands])
        grid[0][0].set_ylabel("rms of the gradient\nat the block's input")
        if skips:
            grid[1][0].set_ylabel("share over the skip\n(0.5 = equal shares)")
        for row in grid:
            # In one line above each other, however wide the ticks are.
            row[0].yaxis.set_label_coords(-0.6 / (row[0].get_position().width * 11.0), 0.5)
        for axes in (axes for row in grid for axes in row):
            axes.set_xlim(0, 1)
        for axes in grid[-1]:
            axes.set_xlabel("position of the block: 0 = input, 1 = output")
        handles = [
            Line2D(
                [], [], label=group.name, **style.kind_style(group.kind).look(colors[group.depth])
            )
            for group in _by_column(groups)
        ]
        if handles:
            figure.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=(1.0 / 11.0 - 0.008, 1 - 0.04 / height),
                ncols=columns,
                handlelength=3.4,
                borderaxespad=0,
                columnspacing=2.2,
            )
        remark = "The gradient travels from right to left."
        remark_below(figure, "   ".join(filter(None, (remark, seeds_note(groups)))), 1.0)
    figure.alt = describe_flow(groups)
    return figure


def ledger_figure(data: Mapping[str, Any]) -> Figure:
    """One ledger: at each fork, what came back over the skip and what came through the branch.

    Upper panel: the two norms, as bars, or as points on a logarithmic axis when the largest is
    more than fifty times the smallest.  Below, where there are skips: the share
    |skip| / (|skip| + |branch|), and the cosine of the angle between the two gradients.

    >>> block = {"name": "0", "skip_norm": 2.0, "branch_norm": 1.0, "share": 0.67, "cosine": 0.1}
    >>> len(ledger_figure({"loss": 2.3, "blocks": [block]}).axes)
    3
    """
    from minires.viz.canvas import new_figure

    blocks = list(data.get("blocks") or ())
    column = {
        key: floats(block.get(key) for block in blocks)
        for key in ("skip_norm", "branch_norm", "share", "cosine")
    }
    has_skip = bool(np.isfinite(column["skip_norm"]).any())
    names = [str(block.get("name", i)) for i, block in enumerate(blocks)]
    width = min(max(7.0, 2.0 + 0.8 * len(names)), 11.0)
    foot = names_height(names, width - 1.15)
    heights = (2.3, 1.25, 1.25) if has_skip else (2.3,)
    height = 0.78 + sum(heights) + 0.3 * (len(heights) - 1) + foot
    with style.context():
        figure = new_figure(width, height)
        grid = panel_grid(
            figure, heights, 1, left=0.95, right=0.2, top=0.78, bottom=foot, gap=0, row_gap=0.3
        )
        panels = [row[0] for row in grid]
        panels[0].set_title("Gradient at each fork", pad=24)
        loss = as_float(data.get("loss"))
        if math.isfinite(loss):
            panels[0].set_title(
                f"loss {loss:.3g}", loc="right", pad=24, fontsize=9.5, fontweight="normal"
            )
        _draw_norms(panels[0], column["skip_norm"], column["branch_norm"], has_skip)
        if has_skip:
            for axes, key in ((panels[1], "share"), (panels[2], "cosine")):
                axes.plot(column[key], "o-", color=style.INK, linewidth=1.2, markersize=4)
            panels[1].axhline(0.5, color=style.RULE, linewidth=1.2, zorder=1)
            panels[1].set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1], ylabel="share over\nthe skip")
            panels[2].axhline(0, color=style.RULE, linewidth=1.2, zorder=1)
            panels[2].set(ylim=(-1.06, 1.06), yticks=[-1, 0, 1], ylabel="cosine of\nskip, branch")
        name_blocks(panels, names)
    figure.alt = describe_ledger(data)
    return figure


def _draw_group(axes: Axes, group: Group, curve: Band, color: str, *, blocks: bool = False) -> None:
    """One line for a kind and depth, and behind it the band over its seeds."""
    # Twenty-seven blocks with a marker on each would hide the dashes that tell the kinds apart.
    every = math.ceil(len(curve.x) / 9) if blocks or len(curve.x) > 16 else 1
    axes.plot(
        curve.x,
        curve.mean,
        label=group.name,
        markevery=max(every, 1),
        zorder=3,
        **style.kind_style(group.kind).look(color),
    )
    if curve.seeds > 1:
        axes.fill_between(
            curve.x, curve.low, curve.high, color=color, alpha=0.16, linewidth=0, zorder=2
        )


def _curve_limits(bands: Sequence[Band]) -> tuple[float, float, float]:
    """Highest error to show, first and last epoch."""
    highest = [h for b in bands for h in b.high[np.isfinite(b.high)]]
    epochs = [x for b in bands for x in b.x] or [0.0, 1.0]
    return max([*highest, 5.0]) if highest else 100.0, min(epochs), max(epochs)


def _end_point(curve: Band) -> tuple[float, float]:
    """The last point of a line that is finite."""
    finite = np.flatnonzero(np.isfinite(curve.mean))
    if not len(finite):
        return math.nan, math.nan
    return float(curve.x[finite[-1]]), float(curve.mean[finite[-1]])


def _end_text(group: Group, end: tuple[float, float]) -> str:
    seeds = len(group.runs)
    if group.diverged == seeds:
        return f"{group.name}  diverged"
    text = group.name + (f"  {end[1]:.1f}%" if math.isfinite(end[1]) else "  no value")
    return text + (f", {group.diverged} of {seeds} diverged" if group.diverged else "")


def _positive(curve: Band) -> Band:
    """The same band with what a logarithmic axis cannot show left out."""
    mean, low, high = map(positive, (curve.mean, curve.low, curve.high))
    return Band(curve.x, mean, low, high, curve.seeds)


def _has_share(group: Group, moment: str) -> bool:
    return bool(np.isfinite(group.flow(moment, "skip_share").mean).any())


def _legend_shape(groups: Sequence[Group]) -> tuple[int, int]:
    """Columns and rows: a column for each depth when every kind has every depth."""
    kinds, depths = len({g.kind for g in groups}), len({g.depth for g in groups})
    columns = depths if kinds * depths == len(groups) and depths > 1 else 5
    return max(columns, 1), math.ceil(len(groups) / max(columns, 1))


def _by_column(groups: Sequence[Group]) -> list[Group]:
    """matplotlib fills a legend column by column."""
    columns, _ = _legend_shape(groups)
    if columns == len({g.depth for g in groups}):
        return sorted(groups, key=lambda g: (g.depth, style.kind_style(g.kind).order, g.kind))
    return list(groups)


def _draw_norms(axes: Axes, skip: np.ndarray, branch: np.ndarray, has_skip: bool) -> None:
    from matplotlib.patches import Patch

    both = np.concatenate([skip, branch])
    shown = both[np.isfinite(positive(both))]
    wide = len(shown) > 0 and shown.max() > 50 * shown.min()
    series = [(branch, 0.0, style.BRANCH_COLOR, "", "o", "branch (the only way back)")]
    if has_skip:
        series = [
            (skip, -0.2, style.SKIP_COLOR, "", "s", "skip"),
            (branch, 0.2, style.BRANCH_COLOR, "////", "o", "branch"),
        ]
    handles: list[Any] = []
    for values, shift, color, hatch, marker, label in series:
        places = np.arange(len(values))
        if wide:
            handles += axes.plot(
                places, positive(values), marker, color=color, label=label, markersize=6
            )
        else:
            width = 0.38 if has_skip else 0.6
            look: dict[str, Any] = {
                "facecolor": color,
                "edgecolor": "white",
                "hatch": hatch,
                "linewidth": 0,
            }
            axes.bar(places + shift, np.nan_to_num(values, posinf=0.0), width, **look)
            handles.append(Patch(label=label, **look))
    if wide:
        axes.set_yscale("log")
        label_log_axis([axes], [Band(places, branch, both, both, 1)])
    axes.set_ylabel("norm of the gradient" + ("\n(logarithmic)" if wide else ""))
    if not len(shown):
        axes.set_ylim(0, 1)
        note(axes, "no positive finite value to draw")
    legend_above(axes, handles=handles, ncols=2)
