"""Two networks in one figure: ledgers on one scale, anything else as two pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import Band, common_stages, finite_mean, floats, positive
from minires.viz.labels import (
    label_log_axis,
    legend_above,
    mark_stages,
    note,
    panel_grid,
    remark_below,
)
from minires.viz.report import figure_png
from minires.viz.words import joined, plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison_figure"]

_WIDE = 6.2  # inches: two pictures that are wider stand below each other
_DPI = 200


def comparison_figure(data: Mapping[str, Any]) -> Figure:
    """Two results of one instrument, side by side.

    Two ledgers are drawn on one scale: the root-mean-square of the gradient at the input of each
    block, and where there are skips the share that comes back over them, against the position of
    the block in its network.  Of any other instrument the two figures are shown as they are.

    >>> block = {"name": "0", "grad_rms": 0.1, "share": 0.6, "kind": "residual"}
    >>> ledgers = [{"loss": 2.3, "blocks": [block]}] * 2
    >>> data = {"names": ["one", "other"], "results": ledgers, "instrument": "ledger"}
    >>> len(comparison_figure(data).axes)
    2
    """
    style.import_matplotlib()
    if data.get("instrument") == "ledger":
        return _ledgers(list(data["names"]), list(data["results"]))
    return _pictures(list(data["names"]), list(data["results"]), str(data["instrument"]))


def _ledgers(names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> Figure:
    from minires.viz.canvas import new_figure

    tables = [list(result.get("blocks") or ()) for result in results]
    rms, share = ([_column(blocks, key) for blocks in tables] for key in ("grad_rms", "share"))
    has_share = any(np.isfinite(values).any() for values in share)
    looks = _looks(tables)
    stages = common_stages([block.get("name") for block in blocks] for blocks in tables)
    heights = (2.7, 1.9) if has_share else (2.7,)
    above = 0.95 if stages else 0.78
    height = above + sum(heights) + 0.45 * (len(heights) - 1) + 0.75
    with style.context():
        figure = new_figure(8.0, height)
        margins = dict(left=1.1, right=0.25, top=above, bottom=0.75, gap=0.0, row_gap=0.45)
        panels = [row[0] for row in panel_grid(figure, heights, 1, **margins)]
        panels[0].set_title("Gradient at the input of each block", pad=40 if stages else 26)
        _draw(panels[0], names, list(map(positive, rms)), looks)
        panels[0].set_yscale("log")
        label_log_axis([panels[0]], [Band(v, v, v, v, 1) for v in rms])
        panels[0].set_ylabel("rms of the gradient\n(logarithmic)")
        if not any((v > 0).any() for v in rms):
            note(panels[0], "no positive finite value to draw")
        place = (-0.012, 1.08 if stages else 1.0)
        legend_above(panels[0], ncols=2, handlelength=3.4, bbox_to_anchor=place)
        if has_share:
            _draw(panels[1], names, share, looks)
            panels[1].axhline(0.5, color=style.RULE, linewidth=1.2, zorder=1)
            panels[1].set(ylim=(-0.03, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
            panels[1].set_ylabel("share over the skip\n(0.5 = equal shares)")
            panels[0].tick_params(axis="x", labelbottom=False)
        for axes in panels:
            mark_stages(axes, stages, named=axes is panels[0])
            axes.set_xlim(0, 1)
            axes.yaxis.set_label_coords(-0.68 / (axes.get_position().width * 8.0), 0.5)
        panels[-1].set_xlabel("position of the block: 0 = input, 1 = output")
        remark_below(figure, "The gradient travels from right to left.", 1.1)
    figure.alt = _describe(names, rms, share)
    return figure


def _column(blocks: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    values = floats(block.get(key) for block in blocks)
    return np.where(np.isfinite(values), values, np.nan)


def _looks(tables: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A look for each kind; two networks of one kind are told apart by a second one."""
    kinds = [
        "plain" if blocks and all(b.get("kind") == "plain" for b in blocks) else "residual"
        for blocks in tables
    ]
    if kinds[0] == kinds[1]:
        kinds[1] = "preact" if kinds[1] == "residual" else "other"
    colors = [style.BRANCH_COLOR, style.SKIP_COLOR]
    if kinds[0] == "residual" and kinds[1] == "plain":
        colors.reverse()
    return [style.kind_style(kind).look(color) for kind, color in zip(kinds, colors, strict=True)]


def _draw(
    axes: Axes,
    names: Sequence[str],
    curves: Sequence[np.ndarray],
    looks: Sequence[Mapping[str, Any]],
) -> None:
    for name, values, look in zip(names, curves, looks, strict=True):
        place = (np.arange(len(values)) + 0.5) / max(len(values), 1)
        every = max(math.ceil(len(values) / 9), 1)
        axes.plot(place, values, label=name, markevery=every, zorder=3, **look)


def _describe(names: Sequence[str], rms: Sequence[np.ndarray], share: Sequence[np.ndarray]) -> str:
    said = ["Root-mean-square of the gradient at the input of each block, on one scale."]
    for name, sizes, shares in zip(names, rms, share, strict=True):
        finite = sizes[np.isfinite(sizes)]
        if not len(finite):
            said.append(f"{name}: no finite value.")
            continue
        line = (
            f"{name}: {plain_number(float(finite[-1]))} at the last and "
            f"{plain_number(float(finite[0]))} at the first of {len(sizes)} blocks"
        )
        mean = finite_mean(shares)
        if math.isfinite(mean):
            line += f", with a share of {mean:.2f} over the skip as a mean over the blocks"
        said.append(f"{line}.")
    return " ".join(said)


def _pictures(
    names: Sequence[str], results: Sequence[Mapping[str, Any]], instrument: str
) -> Figure:
    """The two figures of any instrument, undistorted, with the names above them."""
    from minires import viz
    from minires.viz.canvas import new_figure

    figures: list[Any] = [getattr(viz, f"{instrument}_figure")(result) for result in results]
    sizes = [tuple(map(float, figure.get_size_inches())) for figure in figures]
    beside = all(width <= _WIDE for width, _ in sizes)
    head, gap = 0.38, 0.15
    if beside:
        width = sum(w for w, _ in sizes) + gap
        height = head + max(h for _, h in sizes)
        lefts, tops = (0.0, sizes[0][0] + gap), (0.0, 0.0)
    else:
        width = max(w for w, _ in sizes)
        height = 2 * head + sum(h for _, h in sizes) + gap
        lefts, tops = (0.0, 0.0), (0.0, head + sizes[0][1] + gap)
    with style.context():
        whole = new_figure(width, height)
        for name, figure, (w, h), left, top in zip(names, figures, sizes, lefts, tops, strict=True):
            low = height - top - head - h
            axes = whole.add_axes((left / width, low / height, w / width, h / height))
            axes.imshow(_picture(figure), aspect="auto", interpolation="lanczos")
            axes.set_axis_off()
            whole.text(
                (left + 0.12) / width,
                1 - (top + 0.1) / height,
                name,
                va="top",
                fontsize=12,
                fontweight="bold",
            )
    alts = [f"{name}: {figure.alt}" for name, figure in zip(names, figures, strict=True)]
    whole.alt = f"Two figures, of {joined(list(names))}. {' '.join(alts)}"
    return whole


def _picture(figure: Any) -> np.ndarray:
    """The figure as an image (H, W, 4)."""
    from matplotlib.image import imread

    return np.asarray(imread(io.BytesIO(figure_png(figure, _DPI))))
