"""The figures of lesions: of the gradient on its way back, and of the network itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import as_float, band, finite_mean, floats, positive
from minires.viz.labels import (
    label_log_axis,
    legend_above,
    name_blocks,
    names_height,
    note,
    panel_grid,
)
from minires.viz.words import plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["backward_lesion_figure", "forward_lesion_figure"]

LESION_COLOR = "#a8361a"


def backward_lesion_figure(data: Mapping[str, Any]) -> Figure:
    """The gradient at each block's input without and with the lesion, and the angle between them.

    Above, on a logarithmic axis, the two norms; a gradient of zero leaves a gap.  Below, the cosine
    between the gradients without and with, at the input and of the weights.  The lesioned blocks
    are shaded.

    >>> change = {"norm": 1.0, "lesioned_norm": 0.1, "cosine": 0.9}
    >>> block = {"name": "0", "lesioned": True, "input": change, "weights": change}
    >>> figure = backward_lesion_figure({"skip": 0.0, "branch": 1.0, "blocks": [block]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ["norm of the gradient\\nat the block's input", 'cosine with\\nthe intact one']
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    blocks = list(data.get("blocks") or ())
    names = [str(block.get("name", i)) for i, block in enumerate(blocks)]
    norms = [_column(blocks, "input", key) for key in ("norm", "lesioned_norm")]
    width = _width(names)
    foot = names_height(names, width - 1.2)
    height = 0.85 + 2.4 + 0.5 + 1.5 + foot
    with style.context():
        figure = new_figure(width, height)
        grid = panel_grid(
            figure, (2.4, 1.5), 1, left=1.0, right=0.2, top=0.85, bottom=foot, gap=0, row_gap=0.5
        )
        size, cosine = (row[0] for row in grid)
        size.set_title(f"Lesion of the backward pass: {_lesion_text(data)}", pad=26)
        cut = [i for i, block in enumerate(blocks) if block.get("lesioned")]
        _shade(size, cut, "lesioned blocks")
        _shade(cosine, cut, "_")
        size.set_yscale("log")
        for values, color, look in (
            (norms[0], style.INK, {"marker": "s", "label": "intact"}),
            (norms[1], LESION_COLOR, _hollow("o", "--") | {"label": "with the lesion"}),
        ):
            size.plot(positive(values), color=color, zorder=3, **look)
        label_log_axis([size], [band(range(len(values)), [values.tolist()]) for values in norms])
        if not any((values > 0).any() for values in norms):
            note(size, "no positive finite value to draw")
        size.set_ylabel("norm of the gradient\nat the block's input")
        cosine.axhline(0, color=style.RULE, linewidth=1.2, zorder=1)
        at_input, of_weights = (_column(blocks, part, "cosine") for part in ("input", "weights"))
        cosine.plot(
            at_input, color=LESION_COLOR, zorder=3, label="at the input", **_hollow("o", "--")
        )
        cosine.plot(
            of_weights,
            color=style.SKIP_COLOR,
            zorder=3,
            marker="^",
            linestyle=":",
            label="of the weights",
        )
        cosine.set(ylim=(-1.1, 1.1), yticks=[-1, 0, 1], ylabel="cosine with\nthe intact one")
        legend_above(size, ncols=3)
        legend_above(cosine, ncols=2)
        name_blocks([size, cosine], names)
    figure.alt = _describe_backward(data, names, norms, at_input)
    return figure


def forward_lesion_figure(data: Mapping[str, Any]) -> Figure:
    """Error without each block, without random sets of blocks, and in random orders.

    Above, the error with one block left out, beside that of the intact network; a diamond is a
    plain block that changes the shapes, where its input padded with zeros is handed on.  Below, as
    far as measured: the error against the number of blocks left out, a point for each set and a
    line through the means; and against Kendall's tau between the order of the blocks and their own.

    >>> row = {"name": "0", "kind": "residual", "stand_in": "skip", "error": 12.0}
    >>> figure = forward_lesion_figure({"error": 10.0, "blocks": [row], "sets": [], "orders": []})
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['block left out, from input to output']
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    blocks = list(data.get("blocks") or ())
    names = [str(block.get("name", i)) for i, block in enumerate(blocks)]
    below = [key for key in ("sets", "orders") if data.get(key)]
    foot = names_height(names, 9.5 - 1.05)
    height = 0.85 + 2.3 + foot + (2.95 if below else 0.0)
    intact = as_float(data.get("error"))
    errors = [
        as_float(row.get("error")) for key in ("blocks", *below) for row in data.get(key) or ()
    ]
    top = 1.06 * max([e for e in [*errors, intact] if math.isfinite(e)] or [100.0])
    with style.context():
        figure = new_figure(9.5, height)
        ((axes,),) = panel_grid(
            figure,
            (1.0,),
            1,
            left=0.8,
            right=0.25,
            top=0.85,
            bottom=height - 0.85 - 2.3,
            gap=0,
            row_gap=0,
        )
        panels = [axes]
        if below:
            panels += panel_grid(
                figure,
                (1.0,),
                len(below),
                left=0.8,
                right=0.25,
                top=0.85 + 2.3 + foot + 0.4,
                bottom=0.6,
                gap=0.75,
                row_gap=0,
            )[0]
        for panel in panels:
            panel.set(ylim=(0, max(top, 1.0)), ylabel="error (%)")
            if math.isfinite(intact):
                panel.axhline(intact, color=style.INK, linewidth=1.2, linestyle=":", zorder=2)
        _draw_single(axes, blocks, intact)
        name_blocks([axes], names, "block left out, from input to output")
        draw = {"sets": _draw_sets, "orders": _draw_orders}
        kinds = {str(block.get("kind")) for block in blocks}
        color = style.kind_color("plain" if kinds == {"plain"} else "residual")
        for key, panel in zip(below, panels[1:], strict=True):
            draw[key](panel, data[key], color)
    figure.alt = _describe_forward(data, names)
    return figure


def _width(names: Sequence[str]) -> float:
    return min(max(7.5, 2.0 + 0.8 * len(names)), 11.0)


def _hollow(marker: str, linestyle: str) -> dict[str, Any]:
    return {"marker": marker, "linestyle": linestyle, "markerfacecolor": "white"}


def _column(blocks: Sequence[Mapping[str, Any]], part: str, key: str) -> np.ndarray:
    """One number a block, nan where there is none."""
    return floats((block.get(part) or {}).get(key) for block in blocks)


def _shade(axes: Axes, places: Sequence[int], label: str) -> None:
    """Mark blocks, neighbours in one piece."""
    for start in (i for i in places if i - 1 not in places):
        end = start
        while end + 1 in places:
            end += 1
        axes.axvspan(start - 0.5, end + 0.5, color="#f3e7e2", linewidth=0, zorder=0, label=label)
        label = "_"  # one entry in the legend is enough


def _lesion_text(data: Mapping[str, Any]) -> str:
    """The numbers of the lesion."""
    noise = as_float(data.get("noise"))
    skip, branch = (as_float(data.get(edge)) for edge in ("skip", "branch"))
    text = f"skip times {skip:g}, branch times {branch:g}"
    return f"{text}, noise {noise:g}" if noise > 0 else text


def _draw_single(axes: Axes, blocks: Sequence[Mapping[str, Any]], intact: float) -> None:
    """The error without each block, a line for each kind."""
    axes.set_title("Error with one block left out", pad=26)
    errors = floats(block.get("error") for block in blocks)
    for kind in dict.fromkeys(str(block.get("kind")) for block in blocks):
        look = style.kind_style(kind).look(style.kind_color(kind))
        shown = np.where([block.get("kind") == kind for block in blocks], errors, np.nan)
        axes.plot(shown, label=f"{kind} blocks", zorder=3, **look)
    padded = [i for i, block in enumerate(blocks) if block.get("stand_in") == "padded input"]
    if padded:
        axes.plot(
            padded,
            errors[padded],
            "D",
            color=style.BRANCH_COLOR,
            markersize=7,
            zorder=4,
            label="padded input instead",
        )
    if math.isfinite(intact):
        axes.plot(
            [], [], color=style.INK, linewidth=1.2, linestyle=":", label=f"intact: {intact:.1f}%"
        )
    if not np.isfinite(errors).any():
        note(axes, "no block could be left out" if blocks else "no block was measured")
    legend_above(axes, ncols=4)


def _draw_sets(axes: Axes, sets: Sequence[Mapping[str, Any]], color: str) -> None:
    """A point for each set, and a line through the mean of each size."""
    axes.set_title("Several at random")
    groups = _by_size(sets)
    for size, errors in groups.items():
        axes.plot([size] * len(errors), errors, "o", color=color, markerfacecolor="white", zorder=3)
    axes.plot([*groups], [finite_mean(errors) for errors in groups.values()], color=color, zorder=2)
    largest = max(groups)
    ticks: list[int] = []
    for size in groups:
        if not ticks or size - ticks[-1] >= largest / 14:
            ticks.append(size)
    axes.set_xticks(ticks)
    axes.set_xlim(0.5 - 0.03 * largest, largest * 1.03 + 0.5)
    axes.set_xlabel("number of blocks left out")


def _draw_orders(axes: Axes, orders: Sequence[Mapping[str, Any]], color: str) -> None:
    """A point for each order."""
    axes.set_title("In another order")
    taus, errors = (floats(row.get(key) for row in orders) for key in ("tau", "error"))
    axes.plot(taus, errors, "o", color=color, markerfacecolor="white", zorder=3)
    low = float(min(taus[np.isfinite(taus)], default=0.0))
    pad = max(0.05 * (1.0 - low), 0.005)
    axes.set_xlim(1.0 + pad, low - pad)
    axes.set_xlabel("Kendall's tau with the own order (1 = the same)")


def _by_size(sets: Sequence[Mapping[str, Any]]) -> dict[int, list[float]]:
    """The errors of the sets of each size, small ones first."""
    sizes = sorted({len(row["blocks"]) for row in sets})
    return {
        size: [as_float(row.get("error")) for row in sets if len(row["blocks"]) == size]
        for size in sizes
    }


def _describe_backward(
    data: Mapping[str, Any], names: Sequence[str], norms: Sequence[np.ndarray], cosine: np.ndarray
) -> str:
    lines = [
        f"{name}: {plain_number(before)} intact, {plain_number(after)} with the lesion"
        + (f", cosine {angle:+.2f}" if math.isfinite(angle) else "")
        for name, before, after, angle in zip(names, *norms, cosine, strict=True)
    ]
    cut = sum(bool(block.get("lesioned")) for block in data.get("blocks") or ())
    return (
        f"Norm of the gradient at the input of each block, without and with a lesion of the "
        f"backward pass in {cut} of {len(names)} blocks ({_lesion_text(data)}). {'; '.join(lines)}."
    )


def _describe_forward(data: Mapping[str, Any], names: Sequence[str]) -> str:
    def number(value: Any) -> str:
        return f"{as_float(value):.1f}%" if math.isfinite(as_float(value)) else "not measured"

    rows = zip(names, data.get("blocks") or (), strict=True)
    without = [f"{name} {number(row.get('error'))}" for name, row in rows]
    parts = [
        f"Error of the intact network: {number(data.get('error'))}.",
        f"Without one block: {'; '.join(without)}.",
    ]
    groups = _by_size(data.get("sets") or ())
    if groups:
        means = (f"{n} blocks {number(finite_mean(v))}" for n, v in groups.items())
        parts.append(f"Mean without several at random: {'; '.join(means)}.")
    orders = sorted(data.get("orders") or (), key=lambda row: -as_float(row.get("tau")))
    if orders:
        lines = (f"tau {as_float(row.get('tau')):.2f} {number(row.get('error'))}" for row in orders)
        parts.append(f"In another order: {'; '.join(lines)}.")
    return " ".join(parts)
