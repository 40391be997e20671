"""Words on a figure: labels at the ends of lines, ticks of a logarithmic axis, notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import Band, Group, Run, lr_drops

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "drops_note",
    "end_labels",
    "epoch_ticks",
    "label_log_axis",
    "label_width",
    "legend_above",
    "mark_stages",
    "name_blocks",
    "names_height",
    "note",
    "panel_grid",
    "power_text",
    "remark_below",
    "seeds_note",
    "spread",
]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def panel_grid(
    figure: Figure,
    heights: Sequence[float],
    columns: int,
    *,
    left: float,
    right: float,
    top: float,
    bottom: float,
    gap: float,
    row_gap: float,
) -> list[list[Axes]]:
    """Axes in rows and columns with margins in inches.

    Fixed margins, and not one of matplotlib's layout engines, because the labels beside a line
    must know where the panel ends before they can be spread without touching.
    """
    width, height = figure.get_size_inches()
    panel_width = (width - left - right - gap * (columns - 1)) / columns
    panel_height = (height - top - bottom - row_gap * (len(heights) - 1)) / len(heights)
    grid = figure.add_gridspec(
        len(heights),
        columns,
        left=left / width,
        right=1 - right / width,
        top=1 - top / height,
        bottom=bottom / height,
        wspace=gap / panel_width,
        hspace=row_gap / panel_height,
        height_ratios=list(heights),
    )
    return [[figure.add_subplot(grid[r, c]) for c in range(columns)] for r in range(len(heights))]


def spread(targets: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to their targets as they can be while ``gap`` apart and within low..high.

    Places that would touch are pushed apart as one cluster, centred on the mean of its targets.

    >>> spread([0.5, 0.5, 0.9], 0.1, 0.0, 1.0)
    [0.45, 0.55, 0.9]
    """
    if not targets:
        return []
    gap = min(gap, (high - low) / max(len(targets) - 1, 1))
    order = sorted(range(len(targets)), key=lambda i: targets[i])
    clusters: list[list[float]] = []  # each: the first place, the number of members
    for i in order:
        clusters.append([min(max(targets[i], low), high), 1])
        while len(clusters) > 1:
            (first, count), (second, more) = clusters[-2:]
            if first + gap * count <= second + 1e-12:
                break
            middle = (first * count + (second - gap * count) * more) / (count + more)
            merged = min(max(middle, low), high - gap * (count + more - 1))
            clusters[-2:] = [[merged, count + more]]
    places = [first + gap * k for first, count in clusters for k in range(int(count))]
    result = [0.0] * len(targets)
    for i, place in zip(order, places, strict=True):
        result[i] = round(place, 9)
    return result


def epoch_ticks(first: float, last: float) -> list[int]:
    """Whole epochs to name on the axis, a dozen at most.

    >>> epoch_ticks(1, 12), epoch_ticks(1, 1), epoch_ticks(1, 40)
    ([2, 4, 6, 8, 10, 12], [1], [5, 10, 15, 20, 25, 30, 35, 40])
    """
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100) if (last - first) / s < 11), 1000)
    ticks = [epoch for epoch in range(int(first), int(last) + 1) if epoch % step == 0]
    return ticks or [int(first)]


def label_width(texts: Sequence[str]) -> float:
    """Inches that :func:`end_labels` needs to the right of a panel for these texts."""
    return 0.66 + 0.071 * max(map(len, texts), default=10)


def end_labels(
    axes: Axes,
    groups: Sequence[Group],
    colors: Sequence[str],
    ends: Sequence[tuple[float, float]],
    texts: Sequence[str],
) -> None:
    """Name each line to the right of the panel, with a short piece of the line as its key.

    The text is in the colour of ink, for contrast; the key and the leader carry the line's own.
    A line with no finite end gets its label at the top.
    """
    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    inch_x = axes.figure.dpi / axes.bbox.width
    gap = 0.165 * axes.figure.dpi / axes.bbox.height
    # The order of the groups breaks ties, so that the labels do not jump from run to run.
    targets = [(y - bottom) / (top - bottom) if math.isfinite(y) else 1.0 for _, y in ends]
    for group, color, (x, y), text, target, place in zip(
        groups, colors, ends, texts, targets, spread(targets, gap, 0.0, 1.0), strict=True
    ):
        kind = style.kind_style(group.kind)
        if math.isfinite(y):
            start = (x - left) / (right - left)
            axes.plot(
                [start, 1.0 + 0.02 * inch_x, 1.0 + 0.16 * inch_x],
                [target, target, place],
                color=color,
                linewidth=0.7,
                alpha=0.75,
                transform=axes.transAxes,
                clip_on=False,
                label="_leader",
            )
        axes.plot(
            [1.0 + 0.18 * inch_x, 1.0 + 0.34 * inch_x, 1.0 + 0.5 * inch_x],
            [place] * 3,
            linewidth=1.6,
            markevery=[1],
            markersize=4,
            transform=axes.transAxes,
            clip_on=False,
            label="_key",
            **kind.look(color),
        )
        axes.text(
            1.0 + 0.57 * inch_x,
            place,
            text,
            transform=axes.transAxes,
            fontsize=8.5,
            va="center_baseline",
        )


def label_log_axis(panels: Sequence[Axes], bands: Sequence[Band]) -> None:
    """One range for logarithmic panels, and ticks that name at least two values in it."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    values = np.concatenate([np.concatenate([b.low, b.high]) for b in bands] or [np.empty(0)])
    values = values[np.isfinite(values) & (values > 0)]
    low, high = (values.min(), values.max()) if len(values) else (0.1, 1.0)
    # A range of less than a factor of ten would blow up differences that do not matter.
    stretch = max(1.25, math.sqrt(10 / (high / low)))
    low, high = float(low) / stretch, float(high) * stretch
    ticks = _log_ticks(low, high)
    near = min(ticks) >= 0.99e-4 and max(ticks) <= 1.01e4

    def tick_text(value: float, _: int | None) -> str:
        return f"{value:.6f}".rstrip("0").rstrip(".") if near else power_text(value)

    for i, axes in enumerate(panels):
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_formatter(FuncFormatter(tick_text))
        axes.yaxis.set_minor_locator(LogLocator(subs=range(2, 10)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y", which="minor", length=2)
        if i:
            axes.tick_params(axis="y", labelleft=False)


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = math.ceil((last - first) / 8) or 1
    leads = (1.0,) if math.log10(high / low) > 2 else (1.0, 3.0)
    return [
        lead * 10.0**power
        for power in range(first - first % step, last + 1, step)
        for lead in leads
        if low <= lead * 10.0**power <= high
    ]


def power_text(value: float) -> str:
    """A power of ten in plain characters, so that an SVG needs no mathematical font.

    >>> power_text(1e-5), power_text(3e-6)
    ('10⁻⁵', '3·10⁻⁶')
    """
    power = math.floor(math.log10(value) + 1e-9)
    lead = round(value / 10.0**power)
    raised = "10" + str(power).translate(_SUPERSCRIPTS)
    return raised if lead == 1 else f"{lead}·{raised}"


def note(axes: Axes, text: str) -> None:
    """A remark in the middle of a panel that has nothing to show."""
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=style.MUTED,
        style="italic",
    )


def names_height(names: Sequence[str], width: float) -> float:
    """Inches that the names of blocks and the label take below a panel of ``width`` inches."""
    longest = max(map(len, names), default=0)
    return 0.62 if _upright(names, width) else 0.62 + 0.075 * longest


def name_blocks(
    panels: Sequence[Axes], names: Sequence[str], label: str = "block, from input to output"
) -> None:
    """A place for each block on the horizontal axis, named below the last panel."""
    width = float(panels[-1].bbox.width) / panels[-1].figure.dpi
    step = math.ceil(len(names) * 0.16 / width) or 1
    for axes in panels:
        axes.set_xlim(-0.6, max(len(names), 1) - 0.4)
        axes.set_xticks(range(0, len(names), step), labels=[])
    panels[-1].set_xticklabels(names[::step], rotation=0 if _upright(names, width) else 90)
    panels[-1].set_xlabel(label)


def _upright(names: Sequence[str], width: float) -> bool:
    """Whether the names have room beside each other."""
    return len(names) * (0.12 + 0.08 * max(map(len, names), default=0)) <= width


def legend_above(axes: Axes, **options: Any) -> None:
    """A legend between a panel and its title, which needs ``pad=24`` for one line of it."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.012, 1.0)}
    axes.legend(borderaxespad=0.2, **place | options)


def remark_below(figure: Figure, text: str, left: float) -> None:
    """A remark at the foot of a figure, ``left`` inches from its edge."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 0.1 / height, text, fontsize=8.5, color=style.MUTED)


def seeds_note(groups: Sequence[Group]) -> str:
    """What a line and a band are, when there are several seeds."""
    most = max((len(group.runs) for group in groups), default=0)
    if most < 2:
        return ""
    count = str(most) if all(len(g.runs) == most for g in groups) else f"up to {most}"
    return f"Line: mean of {count} seeds; band: from the smallest to the largest of them."


def mark_stages(axes: Axes, bounds: Sequence[float], *, named: bool = True) -> None:
    """Rules where one stage ends and the next begins, and above the panel their names."""
    for place in bounds:
        axes.axvline(place, color=style.GRID, linewidth=1.2, zorder=0.5)
    edges = [0.0, *bounds, 1.0]
    if not named or not 1 <= len(bounds) <= 5:
        return
    for i, (left, right) in enumerate(pairwise(edges), start=1):
        axes.annotate(
            f"stage {i}",
            ((left + right) / 2, 1.0),
            xycoords="axes fraction",
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=style.MUTED,
        )


def drops_note(runs: Iterable[Run]) -> str:
    """What the dotted rules of the training curves are, when there are any."""
    rates: list[str] = []
    for _, rate in lr_drops(runs):
        if (text := f"{rate:g}") not in rates:
            rates.append(text)
    return f"Dotted: learning rate falls to {', then '.join(rates)}." if rates else ""
