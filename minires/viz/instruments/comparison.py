"""Two networks in one figure: ledgers on one scale, anything else as two pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import Band, as_float, finite_mean
from minires.viz.labels import label_log_axis, mark_stages, note, panel_grid
from minires.viz.words import joined, plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison_figure"]

_COLORS = (style.BRANCH_COLOR, style.SKIP_COLOR)
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
    stages = _stages(tables)
    heights = (2.7, 1.9) if has_share else (2.7,)
    above = 0.95 if stages else 0.78
    height = above + sum(heights) + 0.45 * (len(heights) - 1) + 0.75
    with style.context():
        figure = new_figure(8.0, height)
        margins = dict(left=1.1, right=0.25, top=above, bottom=0.75, gap=0.0, row_gap=0.45)
        panels = [row[0] for row in panel_grid(figure, heights, 1, **margins)]
        panels[0].set_title("Gradient at the input of each block", pad=40 if stages else 26)
        _draw(panels[0], names, [np.where(v > 0, v, np.nan) for v in rms], looks)
        panels[0].set_yscale("log")
        label_log_axis([panels[0]], [Band(v, v, v, v, 1) for v in rms])
        panels[0].set_ylabel("rms of the gradient\n(logarithmic)")
        if not any((v > 0).any() for v in rms):
            note(panels[0], "no positive finite value to draw")
        panels[0].legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.08 if stages else 1.0),
            ncols=2,
            handlelength=3.4,
            borderaxespad=0.2,
        )
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
        figure.text(
            1.1 / 8.0,
            0.1 / height,
            "The gradient travels from right to left.",
            fontsize=8.5,
            color=style.MUTED,
        )
    figure.alt = _describe(names, rms, share)
    return figure


def _column(blocks: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    values = np.array([as_float(block.get(key)) for block in blocks], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _looks(tables: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Plain dashed and hollow, residual solid; two of a kind are told apart by a second look."""
    kinds = [
        "plain" if blocks and all(b.get("kind") == "plain" for b in blocks) else "residual"
        for blocks in tables
    ]
    if kinds[0] == kinds[1]:
        kinds[1] = "preact" if kinds[1] == "residual" else "other"
    looks = []
    for kind, color in zip(map(style.kind_style, kinds), _COLORS, strict=True):
        look = {"color": color, "linestyle": kind.linestyle, "marker": kind.marker}
        looks.append({**look, "markerfacecolor": "white" if kind.hollow else color})
    return looks


def _stages(tables: Sequence[Sequence[Mapping[str, Any]]]) -> list[float]:
    """Where the stages (layer1, layer2, ...) meet, if both networks agree on it."""
    found = set()
    for blocks in tables:
        stages = [str(block.get("name")).partition(".")[0] for block in blocks]
        ends = [i / len(stages) for i in range(1, len(stages)) if stages[i] != stages[i - 1]]
        found.add(tuple(round(place, 6) for place in ends))
    return list(found.pop()) if len(found) == 1 else []


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

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    buffer.seek(0)
    return np.asarray(imread(buffer))
