"""The figures of the signal, along the depth, and of a recording, along the training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import Band, as_float, finite_mean, floats
from minires.viz.labels import label_log_axis, legend_above, note, panel_grid, power_text
from minires.viz.words import plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["recording_figure", "signal_figure"]

# Batch normalisations are drawn apart: theirs are the layer responses of He et al. 2015, figure 7.
_GROUPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("batch normalisation", style.kind_style("residual").look(style.SKIP_COLOR)),
    ("convolution, linear", style.kind_style("plain").look(style.BRANCH_COLOR)),
)
_WIDE = 50.0  # from this ratio of largest to smallest on an axis is logarithmic
_USUAL_UPDATE = 1e-3  # a rule of thumb


def signal_figure(data: Mapping[str, Any]) -> Figure:
    """A panel each for the answers' standard deviation, dead units, gradient, and update.

    Layers stand in the order in which they run.  An axis is logarithmic where its largest number is
    more than fifty times its smallest.

    >>> layer = {"name": "fc", "kind": "Linear", "std": 1.0, "dead": None, "grad_norm": 2.0}
    >>> len(signal_figure({"loss": 2.3, "layers": [layer]}).axes)
    2
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    layers = list(data.get("layers") or ())
    names = [str(layer.get("name", i)) for i, layer in enumerate(layers)]
    column = {
        key: floats(layer.get(key) for layer in layers)
        for key in ("std", "dead", "grad_norm", "update_ratio")
    }
    panels = [("std", "std of\nthe answers", 1.7)]
    if np.isfinite(column["dead"]).any():
        panels.append(("dead", "dead units\n(%)", 1.0))
    panels.append(("grad_norm", "norm of the\ngradient", 1.7))
    if np.isfinite(column["update_ratio"]).any():
        panels.append(("update_ratio", "update /\nweights", 1.5))
    normalised = np.array([str(x.get("kind", "")).startswith("BatchNorm") for x in layers], bool)
    heights = [height for _, _, height in panels]
    foot = 0.6 + 0.068 * max(map(len, names), default=0)
    height = 0.78 + sum(heights) + 0.25 * (len(heights) - 1) + foot
    with style.context():
        figure = new_figure(11.0, height)
        grid = panel_grid(
            figure, heights, 1, left=0.95, right=0.2, top=0.78, bottom=foot, gap=0, row_gap=0.25
        )
        axes_by_key = {key: row[0] for (key, _, _), row in zip(panels, grid, strict=True)}
        for key, label, _ in panels:
            axes = axes_by_key[key]
            values = column[key] * (100 if key == "dead" else 1)
            _draw_layers(axes, values, normalised)
            _scale(axes, values, label, percent=key == "dead")
        if "update_ratio" in axes_by_key:
            _mark_usual_update(axes_by_key["update_ratio"])
        _head(grid[0][0], data, normalised)
        _layer_ticks([row[0] for row in grid], names)
    figure.alt = _describe_signal(data, layers)
    return figure


def _draw_layers(axes: Axes, values: np.ndarray, normalised: np.ndarray) -> None:
    """One line for the batch normalisations and one for the other layers."""
    places = np.arange(len(values))
    small = len(values) > 60
    for (label, look), chosen in zip(_GROUPS, (normalised, ~normalised), strict=True):
        if np.isfinite(values[chosen]).any():
            axes.plot(
                places[chosen],
                values[chosen],
                label=label,
                linewidth=1.2,
                markersize=2.6 if small else 4.5,
                **look,
            )


def _scale(axes: Axes, values: np.ndarray, label: str, *, percent: bool) -> None:
    """A linear axis from 0, or a logarithmic one for a wide range."""
    axes.set_ylabel(label)
    positive = values[np.isfinite(values) & (values > 0)]
    if percent:
        top = max(10.0, float(positive.max()) if len(positive) else 0.0)
        axes.set_ylim(-0.04 * top, 1.1 * top)
    elif not len(positive):
        axes.set_ylim(0, 1)
        note(axes, "no positive finite value to draw")
    elif positive.max() > _WIDE * positive.min():
        axes.set_yscale("log")
        label_log_axis([axes], [Band(values, values, positive, positive, 1)])
    else:
        axes.set_ylim(0, 1.12 * float(positive.max()))
        axes.locator_params(axis="y", nbins=4)


def _mark_usual_update(axes: Axes) -> None:
    low, high = axes.get_ylim()
    if not low < _USUAL_UPDATE < high:
        return
    axes.axhline(_USUAL_UPDATE, color=style.RULE, linewidth=1.2, zorder=1)
    axes.annotate(
        "0.001, a rule of thumb",
        (1.0, _USUAL_UPDATE),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 2),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=style.MUTED,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
    )


def _head(axes: Axes, data: Mapping[str, Any], normalised: np.ndarray) -> None:
    from matplotlib.lines import Line2D

    axes.set_title("What each layer answers, and how it learns", pad=24)
    loss = as_float(data.get("loss"))
    if math.isfinite(loss):
        text = f"loss {loss:.3g}"
        axes.set_title(text, loc="right", pad=24, fontsize=9.5, fontweight="normal")
    handles = [
        Line2D([], [], label=label, **look)
        for (label, look), chosen in zip(_GROUPS, (normalised, ~normalised), strict=True)
        if chosen.any()
    ]
    legend_above(axes, handles=handles, ncols=2)


def _layer_ticks(panels: Sequence[Axes], names: Sequence[str]) -> None:
    step = math.ceil(len(names) / 55) or 1
    for axes in panels:
        axes.set_xlim(-0.6, max(len(names), 1) - 0.4)
        axes.set_xticks(range(0, len(names), step), labels=[])
        axes.yaxis.set_label_coords(-0.056, 0.5)
    panels[-1].set_xticklabels(names[::step], rotation=90, fontsize=8)
    every = f" (one in {step} is named)" if step > 1 else ""
    panels[-1].set_xlabel(f"layer, from input to output{every}")


def _describe_signal(data: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> str:
    parts = [f"Panels over the {len(layers)} layers of a network, from input to output."]
    for key, what in (
        ("std", "Standard deviation of the answers"),
        ("dead", "Share of dead units"),
        ("grad_norm", "Norm of the gradient at the output"),
        ("update_ratio", "Update as a part of the weights"),
    ):
        known = [(as_float(x.get(key)), str(x.get("name"))) for x in layers]
        known = [pair for pair in known if math.isfinite(pair[0])]
        if known:
            low, high = min(known), max(known)
            parts.append(
                f"{what}: from {plain_number(low[0])} at {low[1]} to {plain_number(high[0])} at "
                f"{high[1]}."
            )
    return " ".join(parts)


# --- the recording ---

_SIZE_COLORS = ("#0b1430", "#2b5d8f", "#3f9b96", "#e0c25a", "#fbf3d0")  # dark to light in grey, too
_SHARE_COLORS = (style.BRANCH_COLOR, "#f3f4f6", style.SKIP_COLOR)  # the branch, both, the skip


def recording_figure(data: Mapping[str, Any]) -> Figure:
    """Along the training steps: the loss, and for every block the gradient and the skip's share.

    The maps have a row for each block, the last on top, and a column for each recorded step, which
    reaches half-way to its neighbours.  What is missing or not finite stays white.

    >>> blocks = {"name": ["0"], "grad_norm": [[1.0], [2.0]], "share": [[0.5], [0.6]]}
    >>> figure = recording_figure({"steps": [1, 50], "loss": [2.3, 1.0], "blocks": blocks})
    >>> [axes.get_ylabel() for axes in figure.axes[:3]]
    ['loss', 'block', 'block']
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    steps = [int(step) for step in data.get("steps") or ()]
    blocks: Mapping[str, Any] = data.get("blocks") or {}
    names = [str(name) for name in blocks.get("name") or ()]
    sizes, shares = (_matrix(blocks.get(key), steps, names) for key in ("grad_norm", "share"))
    loss = floats(data.get("loss"))
    has_share = bool(np.isfinite(shares).any())
    of_map = min(max(1.2, 0.17 * len(names)), 4.2)
    heights = [1.3, of_map, of_map] if has_share else [1.3, of_map]
    left = 0.75 + 0.068 * max(map(len, names), default=0)
    height = 0.45 + sum(heights) + 0.5 * (len(heights) - 1) + 0.62
    with style.context():
        figure = new_figure(9.0, height)
        grid = panel_grid(
            figure, heights, 1, left=left, right=1.15, top=0.45, bottom=0.62, gap=0, row_gap=0.5
        )
        panels = [row[0] for row in grid]
        panels[0].set_title("Loss of the recorded steps")
        panels[0].set_ylabel("loss")
        _draw_loss(panels[0], steps, loss)
        panels[1].set_title("Norm of the gradient at the block's input")
        _draw_sizes(figure, panels[1], steps, sizes)
        if has_share:
            panels[2].set_title("Share of the gradient over the skip (0.5 = equal shares)")
            mesh = _draw_map(panels[2], steps, shares, _SHARE_COLORS, (0.0, 1.0))
            _bar(figure, panels[2], mesh, [0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        edges = _edges(steps)
        for axes in panels:
            axes.set_xlim(edges[0], edges[-1])
        for axes in panels[:-1]:
            axes.tick_params(axis="x", labelbottom=False)
        for axes in panels[1:]:
            _block_ticks(axes, names, of_map)
        _step_ticks(panels, steps)
        panels[-1].set_xlabel("training step")
    figure.alt = _describe_recording(steps, loss, names, sizes, shares)
    return figure


def _matrix(rows: Any, steps: Sequence[int], names: Sequence[str]) -> np.ndarray:
    """(steps, blocks), nan where there is nothing."""
    matrix = np.full((len(steps), len(names)), np.nan)
    for t, row in enumerate(rows or ()):
        matrix[t, : len(row)] = [as_float(value) for value in row]
    return matrix


def _edges(steps: Sequence[int]) -> np.ndarray:
    """Where the columns of a map begin and end: half-way between the steps."""
    if not steps:
        return np.array([0.0, 1.0])
    middles = (np.array(steps[1:], float) + np.array(steps[:-1], float)) / 2
    first, last = (
        (0.5, 0.5) if len(steps) == 1 else (middles[0] - steps[0], steps[-1] - middles[-1])
    )
    return np.array([steps[0] - first, *middles, steps[-1] + last])


def _draw_loss(axes: Axes, steps: Sequence[int], loss: np.ndarray) -> None:
    if not np.isfinite(loss).any():
        axes.set_ylim(0, 1)
        note(axes, "no finite value to draw" if steps else "nothing was recorded")
        return
    axes.plot(steps, loss, "o-", color=style.INK, linewidth=1.3, markersize=3)
    axes.set_ylim(0, 1.08 * float(loss[np.isfinite(loss)].max()) or 1.0)
    axes.locator_params(axis="y", nbins=4)


def _draw_sizes(figure: Figure, axes: Axes, steps: Sequence[int], sizes: np.ndarray) -> None:
    positive = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not len(positive):
        note(axes, "no positive finite value to draw")
        axes.grid(False)
        return
    low, high = math.log10(positive.min()), math.log10(positive.max())
    if high - low < 1:  # a smaller range would blow up differences that do not matter
        low, high = (low + high - 1) / 2, (low + high + 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        mesh = _draw_map(axes, steps, np.log10(sizes), _SIZE_COLORS, (low, high))
    every = math.ceil((high - low) / 6)
    leads = (1, 2, 5) if high - low < 2 else (1,)
    values = [
        lead * 10.0**k
        for k in range(math.floor(low), math.floor(high) + 1)
        if k % every == 0
        for lead in leads
        if 10**low <= lead * 10.0**k <= 10**high
    ]
    _bar(figure, axes, mesh, [math.log10(v) for v in values], [power_text(v) for v in values])


def _draw_map(
    axes: Axes,
    steps: Sequence[int],
    values: np.ndarray,
    colors: Sequence[str],
    limits: tuple[float, float],
) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    axes.grid(False)
    return axes.pcolormesh(
        _edges(steps),
        np.arange(values.shape[1] + 1) - 0.5,
        np.ma.masked_invalid(values.T),
        cmap=LinearSegmentedColormap.from_list("map", colors),
        vmin=limits[0],
        vmax=limits[1],
        rasterized=True,  # a rectangle for each number would make an SVG of megabytes
    )


def _bar(
    figure: Figure, axes: Axes, mesh: Any, ticks: Sequence[float], labels: Sequence[str]
) -> None:
    """The scale of a map, to its right."""
    box, width = axes.get_position(), figure.get_size_inches()[0]
    bar = figure.add_axes((box.x1 + 0.18 / width, box.y0, 0.16 / width, box.height))
    figure.colorbar(mesh, cax=bar).set_ticks(list(ticks), labels=list(labels))


def _block_ticks(axes: Axes, names: Sequence[str], height: float) -> None:
    axes.set_ylabel("block")
    axes.set_ylim(-0.5, max(len(names), 1) - 0.5)
    step = math.ceil(len(names) * 0.17 / height) or 1
    axes.set_yticks(range(0, len(names), step), labels=names[::step], fontsize=8)


def _step_ticks(panels: Sequence[Axes], steps: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    for axes in panels:
        if len(steps) <= 1:
            axes.set_xticks(list(steps))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _describe_recording(
    steps: Sequence[int],
    loss: np.ndarray,
    names: Sequence[str],
    sizes: np.ndarray,
    shares: np.ndarray,
) -> str:
    if not steps:
        return "Empty panels: nothing was recorded."
    parts = [
        f"Loss, and maps over {len(names)} blocks, at {len(steps)} training steps from {steps[0]} "
        f"to {steps[-1]}."
    ]
    for what, first, last in (
        ("Loss", loss[0], loss[-1]),
        *((f"Gradient at {names[b]}", sizes[0, b], sizes[-1, b]) for b in _ends(names)),
        ("Mean share over the skip", finite_mean(shares[0]), finite_mean(shares[-1])),
    ):
        if math.isfinite(first) or math.isfinite(last):
            parts.append(f"{what}: {plain_number(first)} at first, {plain_number(last)} at last.")
    return " ".join(parts)


def _ends(names: Sequence[str]) -> list[int]:
    return [0, -1] if len(names) > 1 else [0] * len(names)
