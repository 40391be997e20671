"""The figure of the dial: what changes when the skips are turned from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import as_float, band, floats, positive
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

__all__ = ["dial_figure"]

Readings = Sequence[Mapping[str, Any]]

_COLUMNS = 7  # settings that are named in one line of the legend


def dial_figure(data: Mapping[str, Any]) -> Figure:
    """Loss, error and gradient along the dial; and the gradient block by block at each setting.

    Above, against alpha: loss, error, and the norm of the gradient at the first and at the last
    block, with the weights as given (orange, dashed) and after training (blue).  Below: the
    root-mean-square of the gradient at each block's input, a line for each alpha, darker where the
    skips are stronger.

    >>> reading = {"alpha": 0.0, "loss": 2.0, "error": 90.0, "first_norm": 0.1, "last_norm": 0.2,
    ...            "grad_rms": [0.01]}
    >>> data = {"blocks": ["0"], "before": [reading, {**reading, "alpha": 1.0}], "after": []}
    >>> [axes.get_title(loc="left") for axes in dial_figure(data).axes]
    ['Loss', 'Error', 'Gradient', 'Gradient at each block']
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    names = [str(name) for name in data.get("blocks") or ()]
    epochs = data.get("train_epochs") or 0
    series: list[tuple[str, Readings]] = [("as given", _sorted(data.get("before")))]
    if data.get("after"):
        trained = f"after {epochs} epoch{'s' * (epochs != 1)}"
        series.append((trained, _sorted(data.get("after"))))
    foot = names_height(names, (10.5 - 1.05) / len(series) - 0.2)
    between = 1.3 + 0.25 * (math.ceil(len(series[0][1]) / _COLUMNS) or 1)
    height = 0.85 + 2.1 + between + 2.3 + foot
    with style.context():
        figure = new_figure(10.5, height)
        upper = panel_grid(
            figure,
            (1.0,),
            3,
            left=0.85,
            right=0.2,
            top=0.85,
            bottom=height - 0.85 - 2.1,
            gap=0.8,
            row_gap=0,
        )[0]
        lower = panel_grid(
            figure,
            (1.0,),
            len(series),
            left=0.85,
            right=0.2,
            top=height - foot - 2.3,
            bottom=foot,
            gap=0.35,
            row_gap=0,
        )[0]
        _draw_along(upper, series)
        _draw_blocks(lower, series, names)
    figure.alt = _describe(series, names)
    return figure


def _sorted(readings: Any) -> Readings:
    return sorted(readings or (), key=lambda reading: as_float(reading.get("alpha")))


def _values(readings: Readings, key: str) -> np.ndarray:
    return floats(reading.get(key) for reading in readings)


def _draw_along(panels: Sequence[Axes], series: Sequence[tuple[str, Readings]]) -> None:
    """Loss, error and two norms against alpha."""
    loss, error, gradient = panels
    drawn = []
    for (name, readings), color, line in zip(
        series, (style.BRANCH_COLOR, style.SKIP_COLOR), ("--", "-"), strict=False
    ):
        alphas = _values(readings, "alpha")
        for axes, key in ((loss, "loss"), (error, "error")):
            values = _values(readings, key)
            values = np.where(np.isfinite(values), values, np.nan)
            axes.plot(alphas, values, f"o{line}", color=color, label=name)
        for key, marker, face in (("first_norm", "s", color), ("last_norm", "^", "white")):
            norms = positive(_values(readings, key))
            gradient.plot(alphas, norms, f"{marker}{line}", color=color, markerfacecolor=face)
            drawn.append(band(range(len(norms)), [norms.tolist()]))
    gradient.set_yscale("log")
    label_log_axis([gradient], drawn)
    for axes, title, label in (
        (loss, "Loss", "loss"),
        (error, "Error", "error (%)"),
        (gradient, "Gradient", "norm at the block's input"),
    ):
        axes.set(ylabel=label, xlabel="alpha: 0 = no skips, 1 = as given")
        axes.set_title(title, pad=28)
        _note_if_empty(axes)
    error.set_ylim(bottom=0)
    if len(series) > 1:
        legend_above(loss, ncols=2)
    keys: dict[str, Any] = {"color": style.INK, "linestyle": "none"}
    gradient.plot([], [], marker="s", label="first block", **keys)
    gradient.plot([], [], marker="^", markerfacecolor="white", label="last block", **keys)
    legend_above(gradient, ncols=2)


def _draw_blocks(
    panels: Sequence[Axes], series: Sequence[tuple[str, Readings]], names: Sequence[str]
) -> None:
    """A line for each alpha, block by block."""
    count = len(series[0][1])
    colors = style.depth_colors(range(count))
    drawn = []
    for axes, (name, readings) in zip(panels, series, strict=True):
        axes.set_yscale("log")
        title = f"Gradient at each block, {name}" if len(series) > 1 else "Gradient at each block"
        axes.set_title(title, pad=10 + 18 * (math.ceil(count / _COLUMNS) or 1))
        for i, reading in enumerate(readings):
            values = positive(floats(reading.get("grad_rms")))
            every = math.ceil(len(values) / 9) or 1
            axes.plot(
                values,
                color=colors[i],
                linestyle=("-", "--", "-.", ":")[i % 4],
                marker="os^Dv"[i % 5],
                markevery=every,
                label=f"alpha {as_float(reading.get('alpha')):g}",
            )
            drawn.append(band(range(len(values)), [values.tolist()]))
        _note_if_empty(axes)
        name_blocks([axes], names)
    label_log_axis(panels, drawn)
    panels[0].set_ylabel("rms at the block's input")
    legend_above(panels[0], ncols=_COLUMNS)


def _note_if_empty(axes: Axes) -> None:
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    if not any(np.isfinite(values).any() for values in drawn):
        note(axes, "no finite value to draw")


def _describe(series: Sequence[tuple[str, Readings]], names: Sequence[str]) -> str:
    parts = ["Line charts along the dial, which multiplies every skip by alpha."]
    for name, readings in series:
        lines = [
            f"alpha {as_float(r.get('alpha')):g} has loss {plain_number(as_float(r.get('loss')))}, "
            f"error {as_float(r.get('error')):.1f}%, and a gradient of "
            f"{plain_number(as_float(r.get('first_norm')))} at the first and "
            f"{plain_number(as_float(r.get('last_norm')))} at the last of {len(names)} blocks"
            for r in readings
        ]
        parts.append(f"{name.capitalize()}: {'; '.join(lines)}.")
    return " ".join(parts)
