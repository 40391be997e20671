"""The figures of paths: the gradient by the number of branches it came through."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import as_float, band, floats, positive
from minires.viz.labels import label_log_axis, note, panel_grid, power_text
from minires.viz.words import plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["paths_figure", "spectrum_figure"]

_MAP_COLORS = ("#f6f7f9", "#c9d8ea", "#7fa6d1", "#2f6cb0", "#0a2c5c")


def spectrum_figure(data: Mapping[str, Any]) -> Figure:
    """The size of each component, its signed share of the gradient, and both for every block.

    Left, above: |c_k|, the gradient over all paths through k branches.  Left, below: its signed
    share, <c_k, g> / |g|^2; the shares add up to one.  Right: a row for each block, with the sizes
    of the components at its input as parts of their sum.

    >>> by_block = {"name": ["0"], "lengths": [[0, 1]], "norms": [[1.0, 2.0]]}
    >>> data = {"block": "0", "lengths": [0, 1], "norms": [1.0, 2.0], "shares": [0.3, 0.7],
    ...         "counts": [1, 1], "by_block": by_block, "cancellation": 1.1}
    >>> [axes.get_ylabel() for axes in spectrum_figure(data).axes[:2]]
    ['norm of the\\ncomponent', 'signed share of\\nthe gradient (%)']
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    lengths = list(data.get("lengths") or ())
    norms, shares = floats(data.get("norms")), 100 * floats(data.get("shares"))
    with style.context():
        figure = new_figure(11.0, 4.6)
        grid = panel_grid(
            figure,
            (2.0, 1.5),
            2,
            left=0.95,
            right=1.0,
            top=0.62,
            bottom=0.62,
            gap=1.15,
            row_gap=0.28,
        )
        size, share = grid[0][0], grid[1][0]
        size.set_title(f"Gradient at the input of {data.get('block', '?')}", pad=16)
        size.bar(lengths, norms, width=0.72, color=style.BRANCH_COLOR)
        size.set_ylabel("norm of the\ncomponent")
        cancellation = as_float(data.get("cancellation"))
        if math.isfinite(cancellation):
            _remark(size, f"sum of the norms: {cancellation:.3g} times the gradient")
        share.bar(lengths, shares, width=0.72, color=style.SKIP_COLOR)
        share.axhline(0, color=style.RULE, linewidth=1.0)
        share.set_ylabel("signed share of\nthe gradient (%)")
        share.set_xlabel("branches on the path (0 = skips alone)")
        for axes in (size, share):
            _whole_numbers(axes, lengths)
            if not np.isfinite(norms).any():
                note(axes, "no finite value to draw")
        size.tick_params(axis="x", labelbottom=False)
        for row in grid:
            row[0].yaxis.set_label_coords(-0.135, 0.5)
            row[1].remove()
        top, bottom = size.get_position(), share.get_position()
        left = 1 - (1.0 + top.width * 11.0) / 11.0
        axes = figure.add_axes((left, bottom.y0, top.width, top.y1 - bottom.y0))
        _draw_map(figure, axes, data.get("by_block") or {})
    figure.alt = _describe_spectrum(data)
    return figure


def paths_figure(data: Mapping[str, Any]) -> Figure:
    """Single paths, after Veit et al. 2016, figure 6: how many, how large each, and the product.

    >>> data = {"block": "0", "lengths": [0, 1], "norms": [[1.0], [0.5]], "counts": [1, 1],
    ...         "means": [1.0, 0.5], "totals": [1.0, 0.5]}
    >>> len(paths_figure(data).axes)
    3
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    lengths = list(data.get("lengths") or ())
    column = {key: floats(data.get(key)) for key in ("counts", "means", "totals")}
    samples = [[as_float(v) for v in sizes] for sizes in data.get("norms") or ()]
    with style.context():
        figure = new_figure(11.0, 3.7)
        grid = panel_grid(
            figure,
            (1.0,),
            3,
            left=0.75,
            right=0.2,
            top=0.62,
            bottom=0.62,
            gap=0.85,
            row_gap=0,
        )[0]
        for axes, title in zip(
            grid, ("Number of paths", "Gradient along one path", "Number times size"), strict=True
        ):
            axes.set_title(title, pad=16)
            axes.set_xlabel("branches on the path")
            _whole_numbers(axes, lengths)
        grid[0].bar(lengths, column["counts"], width=0.72, color=style.MUTED)
        grid[0].set_ylabel("paths")
        one = grid[1]
        for k, sizes in zip(lengths, samples, strict=False):
            one.plot([k] * len(sizes), sizes, "o", color=style.BRANCH_COLOR, markersize=2.5)
        one.plot(lengths, positive(column["means"]), "-", color=style.INK, linewidth=1.4)
        one.set_ylabel("norm, points: paths; line: mean")
        one.set_yscale("log")
        label_log_axis([one], [band(lengths, zip_longest(*samples))])
        grid[2].bar(lengths, column["totals"], width=0.72, color=style.BRANCH_COLOR)
        grid[2].set_ylabel("mean norm x number of paths")
        _remark(grid[2], "as if nothing cancelled")
        for axes in (grid[0], grid[2]):
            _short_numbers(axes)
        if not np.isfinite(column["means"]).any():
            for axes in grid:
                note(axes, "no finite value to draw")
    figure.alt = _describe_paths(data)
    return figure


def _draw_map(figure: Figure, axes: Axes, blocks: Mapping[str, Any]) -> None:
    """A row a block: the norms of its components as parts of their sum."""
    from matplotlib.colors import LinearSegmentedColormap

    names = [str(name) for name in blocks.get("name") or ()]
    axes.set_title("Every block: part of the sum of the norms", pad=16)
    axes.grid(False)
    axes.set_xlabel("branches on the path")
    axes.set_ylabel("block, stem at the top", labelpad=8)
    most = max((max(k, default=0) for k in blocks.get("lengths") or ()), default=0)
    parts = np.full((max(len(names), 1), most + 1), np.nan)
    rows = zip(blocks.get("lengths") or (), blocks.get("norms") or (), strict=True)
    for i, (lengths, norms) in enumerate(rows):
        sizes = floats(norms)
        total = sizes.sum()
        if len(lengths) and math.isfinite(total) and total > 0:
            parts[i, list(lengths)] = 100 * sizes / total
    if not np.isfinite(parts).any():
        note(axes, "no finite value to draw")
        return
    colors = LinearSegmentedColormap.from_list("parts", _MAP_COLORS)
    image = axes.imshow(
        parts, aspect="auto", cmap=colors, vmin=0, vmax=min(100.0, float(np.nanmax(parts)))
    )
    step = math.ceil(len(names) / 14) or 1
    axes.set_yticks(range(0, len(names), step), labels=names[::step], fontsize=8)
    _whole_numbers(axes, list(range(most + 1)))
    axes.set_xlim(-0.5, most + 0.5)
    box = axes.get_position()
    bar = figure.add_axes((box.x1 + 0.012, box.y0, 0.011, box.height))
    figure.colorbar(image, cax=bar).outline.set_visible(False)
    bar.set_title("%", fontsize=8.5, fontweight="normal", pad=5)
    bar.grid(False)


def _whole_numbers(axes: Axes, lengths: Sequence[int]) -> None:
    """The axis of lengths, and ticks at eight or so whole numbers."""
    from matplotlib.ticker import FixedLocator

    low, high = min(lengths, default=0), max(lengths, default=1)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 10**9) if (high - low) / s <= 9)
    ticks = [k for k in range(low, high + 1) if k % step == 0] or [low]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    around = max(0.6, 2 - (high - low) / 2)  # one bar alone must not fill the panel
    axes.set_xlim(low - around, high + around)


def _short_numbers(axes: Axes) -> None:
    """Large numbers in units of a power of ten that is written once, above the axis."""
    from matplotlib.ticker import FuncFormatter

    power = math.floor(math.log10(max(axes.get_ylim()[1], 1e-300)))
    if power < 4:
        return
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**power:g}"))
    axes.set_ylabel(f"{axes.get_ylabel()}, in {power_text(10.0**power)}")


def _remark(axes: Axes, text: str) -> None:
    axes.annotate(
        text,
        (0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8.5,
        color=style.MUTED,
        va="bottom",
    )


def _describe_spectrum(data: Mapping[str, Any]) -> str:
    lengths, norms = list(data.get("lengths") or ()), list(data.get("norms") or ())
    sizes = [as_float(v) for v in norms]
    if not lengths or not all(map(math.isfinite, sizes)):
        return "Bar charts of a path spectrum without finite values."
    largest = lengths[int(np.argmax(sizes))]
    return (
        f"Bar charts of the gradient at the input of {data.get('block')} by the number of branches "
        f"on the path, from {lengths[0]} to {lengths[-1]}: the largest component has "
        f"{plain_number(max(sizes))}, through {largest}; the norms add up to "
        f"{plain_number(as_float(data.get('cancellation')))} times the gradient. Beside them a map "
        "with a row for every block."
    )


def _describe_paths(data: Mapping[str, Any]) -> str:
    lengths = list(data.get("lengths") or ())
    means = [as_float(v) for v in data.get("means") or ()]
    totals = [as_float(v) for v in data.get("totals") or ()]
    if not lengths or not all(map(math.isfinite, means)):
        return "Three charts of single paths without finite values."
    return (
        f"Three charts over the branches on a path, from {lengths[0]} to {lengths[-1]}: the number "
        f"of paths; the gradient along one path, {plain_number(means[0])} at the shortest and "
        f"{plain_number(means[-1])} at the longest; and their product, largest at "
        f"{lengths[int(np.argmax(totals))]} branches."
    )
