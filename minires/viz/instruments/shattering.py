"""The figure of shattered gradients: autocorrelation along a line, correlation against depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import Band, as_float, floats, positive
from minires.viz.labels import label_log_axis, note, panel_grid
from minires.viz.words import joined

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["shattering_figure"]

# A colour each for kind and norm; markers and lines tell them apart as well.
_COLORS = {
    ("plain", False): style.kind_color("plain"),
    ("residual", False): style.kind_color("residual"),
    ("residual", True): "#1b7f79",
    ("plain", True): "#3b1f6b",
}


def shattering_figure(data: Mapping[str, Any]) -> Figure:
    """How soon the gradient forgets itself: along a line of inputs, and with depth.

    Left, where ``data`` has an ``autocorrelation``: by lag, with the range over the read-outs, and
    beside it brown noise, white noise and the band in which white noise lies.  Right, where it has
    ``by_depth``, a list of curves: the correlation of two gradients with standard errors, the
    theorem for independent gates dotted, the infinite-width recursion solid, and shaded, what
    remains of white noise.  Below that nothing is measured.

    >>> curve = {"kind": "plain", "gates": "independent", "depths": [1, 2], "floor": 1e-3,
    ...          "correlation": [0.5, 0.26], "errors": [0.01, 0.01], "theorem": [0.5, 0.25]}
    >>> len(shattering_figure({"by_depth": [curve]}).axes)
    1
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    curves = list(data.get("by_depth") or ())
    by_lag = bool(data.get("autocorrelation")) or not curves
    panels = by_lag + bool(curves)
    legend_rows = max(5 if by_lag else 0, len(curves) + 3 if curves else 0)
    foot = 0.64 + 0.2 * legend_rows
    with style.context():
        figure = new_figure(5.4 if panels == 1 else 9.6, 3.55 + foot)
        (row,) = panel_grid(
            figure,
            (1.0,),
            panels,
            left=0.85,
            right=0.25,
            top=0.45,
            bottom=foot,
            gap=1.0,
            row_gap=0.0,
        )
        if by_lag:
            _draw_lags(row[0], data)
        if curves:
            _draw_depths(row[-1], curves)
        for axes in row:
            _legend_below(axes)
    figure.alt = " ".join(filter(None, (_describe_lags(data), *map(_describe_depths, curves))))
    return figure


def _draw_lags(axes: Axes, data: Mapping[str, Any]) -> None:
    lags, measured, low, high, white, brown = (
        floats(data.get(key))
        for key in ("lags", "autocorrelation", "low", "high", "white", "brown")
    )
    axes.set_title("Gradient along a line of inputs")
    axes.set(xlabel="lag, in steps between inputs", ylabel="autocorrelation of the slope")
    if not np.isfinite(measured).any():
        note(axes, "nothing to correlate")
        axes.set(xticks=[], yticks=[])
        return
    floor = as_float(data.get("floor"))
    if math.isfinite(floor):
        axes.axhspan(-floor, floor, color=style.GRID, zorder=0, label="95% of white noise")
    axes.axhline(0.0, color=style.RULE, linewidth=0.8, zorder=1)
    axes.plot(lags, brown, ":", color="#7a4a1e", label="brown noise (running sum)", zorder=2)
    axes.plot(lags, white, "--", color=style.MUTED, linewidth=1.1, label="white noise", zorder=2)
    label = f"its range over {data.get('outputs', '?')} read-outs"
    look: dict[str, Any] = {"color": style.SKIP_COLOR, "alpha": 0.16, "linewidth": 0, "zorder": 2}
    axes.plot(lags, measured, "-", color=style.SKIP_COLOR, label=_network(data), zorder=3)
    axes.fill_between(lags, low, high, label=label, **look)
    axes.set_xlim(0, max(float(lags[-1]), 1.0))
    lowest = np.nanmin(np.concatenate([low, brown, white, [-0.25]]))
    axes.set_ylim(lowest - 0.03, 1.04)


def _draw_depths(axes: Axes, curves: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Gradients of two inputs")
    axes.set(xlabel="layers", yscale="log")
    axes.set_ylabel("correlation (logarithmic)")
    shown: list[float] = []
    for curve in curves:
        kind = style.kind_style(str(curve.get("kind")))
        color = _COLORS.get((str(curve.get("kind")), bool(curve.get("norm"))), style.INK)
        depths, measured, errors, theorem, wide = (
            floats(curve.get(key)) for key in ("depths", "correlation", "errors", "theorem", "wide")
        )
        measured = positive(measured)
        errors = np.where(np.isfinite(errors), errors, 0.0)
        bars = np.array([np.minimum(errors, 0.9 * measured), errors])  # down no further than 0
        axes.errorbar(
            depths,
            measured,
            bars,
            fmt=kind.marker,
            color=color,
            markerfacecolor="white" if kind.hollow else color,
            markersize=3.2 if curve.get("gates") == "independent" else 5.5,
            elinewidth=1.0,
            capsize=2,
            label=_name(curve),
            zorder=3,
        )
        axes.plot(depths, theorem, ":", color=color, linewidth=1.3, zorder=2)
        if len(wide):
            axes.plot(depths, wide, "-", color=color, linewidth=1.1, zorder=2)
        shown += [*measured, *theorem, *wide]
    floor = max((as_float(curve.get("floor")) for curve in curves), default=math.nan)
    if math.isfinite(floor):
        axes.axhspan(floor / 1e6, floor, color=style.GRID, zorder=0, label="within white noise")
        shown.append(floor / 2)
    axes.plot([], [], ":", color=style.INK, label="theorem, independent gates")
    if any(curve.get("wide") for curve in curves):
        axes.plot([], [], "-", color=style.INK, label="infinite-width recursion")
    values = np.array(shown)
    label_log_axis([axes], [Band(values, values, values, values, 1)])
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _legend_below(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        inch = axes.bbox.height / axes.figure.dpi
        axes.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(-0.02, -0.5 / inch), borderaxespad=0
        )


def _name(curve: Mapping[str, Any]) -> str:
    """What was measured, in a few words."""
    norm = "normalised " if curve.get("norm") else ""
    gates = "independent gates" if curve.get("gates") == "independent" else "its own gates"
    return f"{norm}{curve.get('kind', '?')}, {gates}"


def _network(data: Mapping[str, Any]) -> str:
    return str(data.get("network", "the network"))


def _describe_lags(data: Mapping[str, Any]) -> str:
    if not np.isfinite(floats(data.get("autocorrelation"))).any():
        return ""
    half, brown = data.get("half_lag"), data.get("brown_half_lag")
    where = f"at a lag of {half}" if half is not None else "at no lag that was looked at"
    return (
        f"Autocorrelation of the gradient of {_network(data)} along a line of "
        f"{data.get('points', '?')} inputs: it falls below one half {where}; white noise does so "
        f"at 1, brown noise at {brown if brown is not None else 'none'}."
    )


def _describe_depths(curve: Mapping[str, Any]) -> str:
    depths, measured = list(curve.get("depths") or ()), floats(curve.get("correlation"))
    if not depths:
        return ""
    theory = [
        f"{text} {floats(curve.get(key))[-1]:.2g}"
        for key, text in (("theorem", "theorem"), ("wide", "infinite-width recursion"))
        if curve.get(key)
    ]
    return (
        f"Correlation of two gradients, {_name(curve)}: {measured[0]:.2g} after {depths[0]} and "
        f"{measured[-1]:.2g} after {depths[-1]} layers ({joined(theory)})."
    )
