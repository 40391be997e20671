"""The figure of the Jacobian lens: by what factors branches, blocks and their product stretch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import Band, as_float, floats, positive
from minires.viz.labels import (
    label_log_axis,
    name_blocks,
    names_height,
    note,
    panel_grid,
    remark_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["jacobian_figure"]

_PANELS = (
    ("branch", "Branch: from u to F(u)", style.BRANCH_COLOR),
    ("block", "Block: from its input to its output", style.INK),
    ("onward", "Onward: from the block's input to the output of the last block", style.SKIP_COLOR),
)
_HEIGHT, _GAP, _HEAD = 1.75, 0.52, 0.74  # inches
_WIDE, _NARROW = 0.16, 0.32  # how dark the bars of the middle 90% and the middle half are


def jacobian_figure(data: Mapping[str, Any]) -> Figure:
    """Three panels, one for each Jacobian, on logarithmic axes with a rule at 1.

    In each, block by block, the largest singular value, the root-mean-square and, where all are
    known, the smallest and bars over the middle 90% and the middle half of the values.  Branch and
    block have one scale.  A smallest value of 0 has no place on the axis and no mark; a bar that
    stands on the axis goes on below it.

    >>> values = {"largest": 2.0, "rms": 1.0, "smallest": 0.5, "quantiles": [0.5, 0.8, 1, 1.2, 2]}
    >>> block = {"name": "0", "kind": "plain", "branch": values, "block": values, "onward": values}
    >>> len(jacobian_figure({"caption": "one block", "samples": 1, "blocks": [block]}).axes)
    3
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    blocks = list(data.get("blocks") or ())
    names = [str(block.get("name", i)) for i, block in enumerate(blocks)]
    width = min(max(8.4, 2.0 + 0.8 * len(names)), 11.0)
    foot = names_height(names, width - 1.15) + 0.2
    height = _HEAD + 3 * _HEIGHT + 2 * _GAP + foot
    numbers = {part: _columns(blocks, part) for part, _, _ in _PANELS}
    with style.context():
        figure = new_figure(width, height)
        grid = panel_grid(
            figure,
            [_HEIGHT] * 3,
            1,
            left=0.95,
            right=0.2,
            top=_HEAD,
            bottom=foot,
            gap=0,
            row_gap=_GAP,
        )
        panels = [row[0] for row in grid]
        plain = bool(blocks) and all(block.get("kind") == "plain" for block in blocks)
        for axes, (part, title, color) in zip(panels, _PANELS, strict=True):
            axes.set_title(title)
            axes.set_yscale("log")
            shared = ("branch", "block") if part != "onward" else ("onward",)
            label_log_axis([axes], [_extent(numbers[other]) for other in shared])
            axes.axhline(1.0, color=style.RULE, linewidth=1.2, zorder=1)
            _draw(axes, numbers[part], color, plain)
        name_blocks(panels, names)
        panels[1].set_ylabel("singular value (logarithmic)")
        _draw_key(figure, panels, height)
        remark_below(figure, _remark(data, numbers), 0.95)
    figure.alt = str(data.get("caption", ""))
    return figure


def _columns(blocks: Sequence[Mapping[str, Any]], part: str) -> dict[str, np.ndarray]:
    """Largest, rms and smallest (blocks,) and the quantiles (blocks, 5); nan where not known."""
    found = [block.get(part) or {} for block in blocks]
    columns = {
        key: floats(values.get(key) for values in found) for key in ("largest", "rms", "smallest")
    }
    quantiles = [values.get("quantiles") or [None] * 5 for values in found]
    columns["quantiles"] = np.array([[as_float(q) for q in row] for row in quantiles]).reshape(
        -1, 5
    )
    return columns


def _extent(columns: Mapping[str, np.ndarray]) -> Band:
    """What the axis must have room for: 1, too."""
    values = np.concatenate([columns[key] for key in ("largest", "rms", "smallest")] + [np.ones(1)])
    return Band(np.arange(len(values)), values, values, values, 1)


def _draw(axes: Axes, columns: Mapping[str, np.ndarray], color: str, plain: bool) -> None:
    if not (columns["largest"] > 0).any():
        note(axes, "no positive finite value to draw")
        return
    places = np.arange(len(columns["largest"]))
    bottom = axes.get_ylim()[0]
    bands = np.maximum(columns["quantiles"], bottom)  # nan stays nan
    known = np.isfinite(bands).all(axis=1)
    for low, high, alpha in ((0, 4, _WIDE), (1, 3, _NARROW)):
        sizes = bands[:, high] - bands[:, low]
        bars = places[known], sizes[known], 0.5, bands[known, low]
        axes.bar(*bars, color=color, alpha=alpha, linewidth=0)
    looks: dict[str, dict[str, Any]] = {
        "largest": dict(marker="^", linewidth=0.9, linestyle="-"),
        "rms": style.kind_style("plain" if plain else "residual").look(color),
        "smallest": dict(marker="v", linewidth=0.9, linestyle="-"),
    }
    for key, look in looks.items():
        axes.plot(places, positive(columns[key]), label=key, zorder=3, **{"color": color, **look})


def _draw_key(figure: Figure, panels: Sequence[Axes], height: float) -> None:
    """What marks and bars are, above the panels."""
    from matplotlib.lines import Line2D as Key
    from matplotlib.patches import Patch

    drawn = [line for axes in panels for line in axes.lines]
    handles: list[Any] = []
    for key, text in (("largest",) * 2, ("rms", "root-mean-square"), ("smallest",) * 2):
        lines = [line for line in drawn if line.get_label() == key and _is_seen(line)]
        for line in lines[:1]:
            hollow = line.get_markerfacecolor() == "white"
            look = {
                name: getattr(line, f"get_{name}")()
                for name in ("marker", "linestyle", "linewidth")
            }
            fill = "white" if hollow else style.INK
            handles.append(Key([], [], color=style.INK, label=text, markerfacecolor=fill, **look))
    if any(axes.patches for axes in panels):
        both = 1 - (1 - _WIDE) * (1 - _NARROW)  # one bar lies on the other
        for alpha, text in ((_WIDE, "middle 90% of the values"), (both, "middle half")):
            handles.append(Patch(facecolor=style.INK, alpha=alpha, linewidth=0, label=text))
    if handles:
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(panels[0].get_position().x0 - 0.012, 1 - 0.1 / height),
            ncols=5,
            borderaxespad=0,
            columnspacing=1.5,
            handlelength=2.6,
        )


def _is_seen(line: Line2D) -> bool:
    return bool(np.isfinite(np.asarray(line.get_ydata(), dtype=float)).any())


def _remark(data: Mapping[str, Any], numbers: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    samples = data.get("samples", 1)
    of = "One sample" if samples == 1 else f"Mean of {samples} samples"
    parts = [f"{of}, in evaluation mode."]
    if data.get("method") == "lanczos":
        parts.append("The largest by Lanczos, the root-mean-square estimated.")
    if any((columns["smallest"] == 0).any() for columns in numbers.values()):
        parts.append("Where the smallest has no mark, it is 0.")
    return " ".join(parts)
