"""The figure of a gradient check: where the errors are, and the V over the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.labels import note, power_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["gradcheck_figure"]

_MOST_ROWS = 6
_LOW, _HIGH = -4, 4  # the decades of the map's scale; 0 is what is allowed
_LEAST = 1e-18  # errors below that are drawn there
_MAP_COLORS = ("#dbe4f0", "#9db8d9", "#4f7cb2", "#f0a23c", "#b3261e", "#5d0f0b")


def gradcheck_figure(data: Mapping[str, Any]) -> Figure:
    """A row for each input: a map of the errors, and the error against the step where it is worst.

    The map shows the error as a share of what is allowed: blue to 1, orange and red above, where
    the gradient is wrong, with a cross.  Hatched (-1 in ``ratios``): not looked at, or a kink.
    With more than six inputs those that are wrong and then the worst are drawn.

    >>> place = {"element": "x[0]", "output": "out[0]"}
    >>> row = {"name": "x", "passed": True, "ratios": [[0.1, -1.0]], "curve": [[1e-3, 1e-6]],
    ...        "step": 1e-5, "worst": place, "coverage": "1 of 2", "shape": [2]}
    >>> len(gradcheck_figure({"caption": "passed", "inputs": [row]}).axes)
    3
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    inputs = list(data.get("inputs") or ())
    shown = sorted(inputs, key=lambda row: (row["passed"], -_largest(row)))[:_MOST_ROWS]
    shown = [row for row in inputs if any(row is other for other in shown)]
    rows = max(len(shown), 1)
    height = 1.62 + 2.15 * rows
    with style.context():
        figure = new_figure(8.6, height)
        grid = figure.add_gridspec(
            rows,
            2,
            left=0.09,
            right=0.975,
            top=1 - 0.74 / height,
            bottom=1.13 / height,
            wspace=0.3,
            hspace=0.62,
        )
        figure.text(
            0.02, 1 - 0.14 / height, str(data.get("caption", "")), va="top", fontweight="bold"
        )
        image = None
        for i, row in enumerate(shown):
            image = _draw_map(figure.add_subplot(grid[i, 0]), row)
            curve = figure.add_subplot(grid[i, 1])
            _draw_curve(curve, row)
            if i == rows - 1:
                curve.set_xlabel("step h")
        if image is None:
            axes = figure.add_subplot(grid[0, :])
            note(axes, "nothing was checked")
        else:
            bar = figure.add_axes((0.09, 0.57 / height, 0.38, 0.1 / height))
            _draw_scale(figure, bar, image)
        if len(inputs) > len(shown):
            figure.text(
                0.975,
                0.06 / height,
                f"{len(inputs) - len(shown)} more inputs are not drawn",
                ha="right",
                color=style.MUTED,
            )
    figure.alt = " ".join([str(data.get("caption", "")), *map(str, data.get("details") or ())])
    return figure


def _largest(row: Mapping[str, Any]) -> float:
    """The largest ratio of an input."""
    values = [x for line in row["ratios"] for x in line if x is not None]
    return max(values, default=0.0)


def _draw_map(axes: Axes, row: Mapping[str, Any]) -> Any:
    from matplotlib.colors import ListedColormap

    ratios = np.array(
        [[np.nan if x is None else x for x in line] for line in row["ratios"]], dtype=float
    )
    unseen = ratios < 0.0
    ratios = np.where(unseen, np.nan, ratios)
    with np.errstate(divide="ignore"):
        decades = np.clip(np.log10(ratios), _LOW, _HIGH)
    image = axes.imshow(
        np.ma.masked_invalid(decades),
        cmap=ListedColormap(_ramp()),
        vmin=_LOW,
        vmax=_HIGH,
        aspect="equal" if _is_squarish(ratios.shape) else "auto",
        interpolation="nearest",
    )
    if unseen.any():
        rows, columns = (np.arange(n + 1) - 0.5 for n in ratios.shape)
        places = np.ma.masked_where(~unseen, unseen)
        axes.pcolor(
            columns, rows, places, hatch="////", facecolor="none", edgecolor=style.RULE, lw=0
        )
    wrong = np.argwhere(ratios > 1.0)
    if len(wrong) and ratios.size <= 2500:
        size = min(60.0, 4000.0 / max(ratios.shape) ** 1.5)
        axes.scatter(wrong[:, 1], wrong[:, 0], marker="x", s=size, color="white", linewidth=1.1)
    axes.set_title(f"{row['name']}, looked at {row['coverage']}", fontsize=9.5)
    axes.grid(False)
    axes.tick_params(length=0, labelsize=8)
    for axis, count in ((axes.xaxis, ratios.shape[1]), (axes.yaxis, ratios.shape[0])):
        axis.set_ticks(range(count) if len(row["shape"]) <= 2 and 1 < count <= 12 else [])
    across, down = _dimensions(len(row["shape"]))
    axes.set_xlabel(across, fontsize=8.5, labelpad=2)
    axes.set_ylabel(down, fontsize=8.5, labelpad=2)
    if max(ratios.shape) <= 24:  # a white line between two elements
        for i in range(1, ratios.shape[0]):
            axes.axhline(i - 0.5, color="white", linewidth=0.8)
        for j in range(1, ratios.shape[1]):
            axes.axvline(j - 0.5, color="white", linewidth=0.8)
    return image


def _dimensions(ndim: int) -> tuple[str, str]:
    """What goes across the map, and what down."""
    if ndim < 3:
        return (("", ""), ("dim 0", ""), ("dim 1", "dim 0"))[ndim]
    tiles = f"dims 0 to {ndim - 4}" if ndim > 4 else "dim 0"
    return (
        f"tiles: dim {ndim - 3}, in a tile: dim {ndim - 1}",
        f"{tiles},\nthen dim {ndim - 2}" if ndim > 3 else f"dim {ndim - 2}",
    )


def _is_squarish(shape: tuple[int, ...]) -> bool:
    return 0.25 <= shape[0] / shape[1] <= 4.0


def _ramp() -> list[str]:
    """256 colours: pale to blue below 1, orange to dark red above."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    below = LinearSegmentedColormap.from_list("below", _MAP_COLORS[:3])
    above = LinearSegmentedColormap.from_list("above", _MAP_COLORS[3:])
    return [to_hex(part(i / 127)) for part in (below, above) for i in range(128)]


def _draw_scale(figure: Figure, axes: Axes, image: Any) -> None:
    bar = figure.colorbar(image, cax=axes, orientation="horizontal")
    ticks = list(range(_LOW, _HIGH + 1, 2))
    bar.set_ticks(ticks, labels=[power_text(10.0**k) if k else "1" for k in ticks])
    bar.set_label(
        "error as a share of what is allowed; above 1 (crosses) it is wrong;\n"
        "hatched: not looked at, or a kink",
        size=8.5,
    )


def _draw_curve(axes: Axes, row: Mapping[str, Any]) -> None:
    worst = row.get("worst")
    if worst is None or not row["curve"]:
        empty = "nothing was looked at" if worst is None else "not finite at any step"
        note(axes, "nothing but kinks" if worst is None and row.get("kinks") else empty)
        axes.set(xticks=[], yticks=[])
        return
    axes.set_title(f"worst: {worst['element']}", fontsize=9.5)
    if not any(point[1] for point in row["curve"]):
        note(axes, "no error at any step")
        axes.set(xticks=[], yticks=[])
        return
    steps = np.array([point[0] for point in row["curve"]])
    errors = np.maximum([point[1] for point in row["curve"]], _LEAST)
    axes.loglog(steps, errors, "o-", color=style.SKIP_COLOR, markersize=3, linewidth=1.3, zorder=3)
    axes.axvline(row["step"], color=style.BRANCH_COLOR, linewidth=1.4, linestyle="--", zorder=2)
    axes.annotate(
        "step used",
        (row["step"], 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=8.5,
        color="#8a5200",
    )
    low, high = math.floor(np.log10(errors.min())), math.ceil(np.log10(errors.max()) + 0.2)
    axes.set_ylim(10.0**low, 10.0 ** max(high, low + 1))
    for axis, (first, last) in (
        (axes.xaxis, (math.floor(np.log10(steps.min())), math.ceil(np.log10(steps.max())))),
        (axes.yaxis, (low, max(high, low + 1))),
    ):
        _label_decades(axis, first, last)
    axes.set_ylabel("|analytic - numeric|", fontsize=8.5)


def _label_decades(axis: Any, first: int, last: int) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    every = math.ceil((last - first) / 5) or 1
    axis.set_major_locator(FixedLocator([10.0**k for k in range(first, last + 1, every)]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_text(value)))
    axis.set_minor_locator(NullLocator())
