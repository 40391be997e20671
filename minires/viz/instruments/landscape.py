"""The figures of the landscape: the loss around the weights, and the way to its curvature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.viz import style
from minires.viz.groups import Band, as_float, floats, positive
from minires.viz.labels import label_log_axis, note, panel_grid, remark_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["hessian_figure", "landscape_figure"]

_WIDE = 20.0  # a range that wide is drawn on a logarithmic scale
_LEVELS = 12
_MAP = "cividis"  # one way from dark to light, made for readers without full colour vision


def landscape_figure(data: Mapping[str, Any]) -> Figure:
    """The loss along one direction as a curve, along two as filled contours with labelled levels.

    The weights themselves, in the middle, are marked; in one dimension a dashed line shows the
    slope that the gradient gives there.  Where the highest loss is more than twenty times the
    lowest, the axis, or the spacing of the levels, is logarithmic.  Losses that are not finite
    leave a gap.

    >>> line = {"dimensions": 1, "coordinates": [-1.0, 0.0, 1.0], "losses": [3.0, 2.0, 4.0],
    ...         "loss": 2.0, "slopes": [0.5], "mode": "training", "caption": "a valley"}
    >>> len(landscape_figure(line).axes)
    1
    """
    style.import_matplotlib()
    with style.context():
        figure = _line_figure(data) if data.get("dimensions", 1) == 1 else _map_figure(data)
    figure.alt = str(data.get("caption", ""))  # type: ignore[attr-defined]
    return figure


def hessian_figure(data: Mapping[str, Any]) -> Figure:
    """The eigenvalue after each Hessian-vector product, and its residual on a logarithmic axis.

    >>> found = {"value": 2.0, "residual": 1e-4, "history": [[1.0, 0.5], [2.0, 1e-4]]}
    >>> len(hessian_figure(found).axes)
    2
    """
    style.import_matplotlib()
    from matplotlib.ticker import MaxNLocator

    from minires.viz.canvas import new_figure

    history = np.array([floats(pair) for pair in data.get("history") or ()])
    values, residuals = history.reshape(-1, 2).T
    steps = np.arange(1, len(values) + 1)
    value, residual = as_float(data.get("value")), as_float(data.get("residual"))
    with style.context():
        figure = new_figure(9.0, 3.7)
        left, right = panel_grid(
            figure, (1.0,), 2, left=0.95, right=0.2, top=0.82, bottom=0.62, gap=0.95, row_gap=0
        )[0]
        left.set_title("Eigenvalue of largest magnitude")
        right.set_title("Residual |Hv - λv| / |λ|")
        left.plot(steps, values, "s-", color=style.SKIP_COLOR)
        left.axhline(0.0, color=style.RULE, linewidth=1.2, zorder=1)
        right.set_yscale("log")
        shown = positive(residuals)
        right.plot(steps, shown, "s-", color=style.SKIP_COLOR, label="as Lanczos estimates it")
        last = np.array([residual])
        if residual > 0:
            right.plot(
                steps[-1:],
                last,
                "x",
                color=style.BRANCH_COLOR,
                markersize=9,
                markeredgewidth=2,
                label="measured at the end",
                clip_on=False,
                zorder=4,
            )
        label_log_axis([right], [Band(steps, shown, np.append(shown, last), shown, 1)])
        for axes in (left, right):
            axes.set_xlabel("Hessian-vector products")
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            if not np.isfinite(values).any():
                note(axes, "no finite value to draw")
        left.set_ylabel("λ")
        right.set_ylabel("share of |λ|")
        if np.isfinite(shown).any():
            right.legend(loc="lower left", borderaxespad=0.4)
        if math.isfinite(value):
            text = f"λ = {value:.4g} after {len(values)} products"
            figure.text(0.95 / 9.0, 1 - 0.1 / 3.7, text, va="top", color=style.MUTED)
    figure.alt = str(data.get("caption", ""))
    return figure


# --- one dimension ---


def _line_figure(data: Mapping[str, Any]) -> Figure:
    from minires.viz.canvas import new_figure

    steps, losses = floats(data.get("coordinates")), floats(data.get("losses"))
    losses[~np.isfinite(losses)] = np.nan
    figure = new_figure(7.4, 4.0)
    axes = panel_grid(
        figure, (1.0,), 1, left=0.8, right=0.2, top=0.5, bottom=0.85, gap=0, row_gap=0
    )[0][0]
    axes.set_title("Loss along a filter-normalised random direction")
    axes.set_xlabel("step (1 = as long as the weights)")
    wide = _is_wide(losses)
    axes.set_ylabel("loss" + (" (logarithmic)" if wide else ""))
    _remark(figure, data, losses)
    if not np.isfinite(losses).any():
        note(axes, "no finite loss to draw")
        return figure
    axes.plot(steps, losses, "o-", color=style.SKIP_COLOR, markersize=4, zorder=3)
    if wide:
        axes.set_yscale("log")
        label_log_axis([axes], [Band(steps, losses, losses, losses, 1)])
    else:
        axes.margins(y=0.12)
    axes.set_ylim(axes.get_ylim())  # the slope must not widen it
    loss = as_float(data.get("loss"))
    if math.isfinite(loss):
        slope = as_float((data.get("slopes") or [None])[0])
        axes.plot(
            steps,
            loss + slope * steps,
            "--",
            color=style.BRANCH_COLOR,
            linewidth=1.2,
            label=f"slope {slope:.3g}, from the gradient",
        )
        axes.plot(
            [0.0],
            [loss],
            "D",
            color=style.BRANCH_COLOR,
            markeredgecolor="white",
            markersize=9,
            linestyle="none",
            label=f"the weights: loss {loss:.3g}",
            zorder=4,
        )
        axes.legend(loc="best")
    return figure


# --- two dimensions ---


def _map_figure(data: Mapping[str, Any]) -> Figure:
    from minires.viz.canvas import new_figure

    steps = floats(data.get("coordinates"))
    losses = np.array([floats(row) for row in data.get("losses") or ()])
    losses = np.where(np.isfinite(losses), losses, np.nan)
    width, height = 6.6, 6.1
    figure = new_figure(width, height)
    axes = panel_grid(
        figure, (1.0,), 1, left=0.8, right=1.2, top=0.68, bottom=0.82, gap=0, row_gap=0
    )[0][0]
    axes.set_title("Loss around the weights, along two\nfilter-normalised random directions")
    axes.set_xlabel("step along direction 1 (1 = as long as the weights)")
    axes.set_ylabel("step along direction 2")
    axes.grid(False)
    _remark(figure, data, losses)
    if not np.isfinite(losses).any() or np.nanmin(losses) == np.nanmax(losses):
        flat = np.isfinite(losses).any()
        note(axes, "the loss is the same everywhere" if flat else "no finite loss to draw")
        axes.set(xticks=[], yticks=[])
        return figure
    levels = _levels(losses)
    _draw_map(axes, steps, losses, levels)
    bar = figure.add_axes((1 - 1.02 / width, 0.82 / height, 0.2 / width, 1 - 1.5 / height))
    colors = figure.colorbar(axes.collections[0], cax=bar, spacing="uniform")
    colors.set_ticks(levels, labels=[f"{level:.3g}" for level in levels])
    bar.tick_params(length=0, labelsize=8.5)
    bar.set_title("loss", fontsize=9.5, fontweight="normal", loc="left", pad=7)
    loss = as_float(data.get("loss"))
    axes.plot(
        [0.0],
        [0.0],
        "D",
        color="white",
        markeredgecolor=style.INK,
        markeredgewidth=1.4,
        markersize=8,
        zorder=5,
    )
    axes.annotate(
        f"the weights: {loss:.3g}",
        (0.0, 0.0),
        xytext=(9, 7),
        textcoords="offset points",
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
        zorder=5,
    )
    return figure


def _draw_map(axes: Axes, steps: np.ndarray, losses: np.ndarray, levels: list[float]) -> None:
    from matplotlib.colors import BoundaryNorm

    shown = np.ma.masked_invalid(losses.T)  # rows of the picture are the second direction
    norm = BoundaryNorm(levels, 256)  # as many steps of colour apart, whatever the spacing
    axes.contourf(steps, steps, shown, levels=levels, cmap=_MAP, norm=norm)
    ink = ["white" if i < len(levels) / 2 else style.INK for i in range(len(levels))]
    lines = axes.contour(steps, steps, shown, levels=levels, colors=ink, linewidths=0.6)
    axes.clabel(lines, levels[1::2], fmt=lambda level: f"{level:.3g}", fontsize=8)
    axes.set_aspect("equal")


def _levels(losses: np.ndarray) -> list[float]:
    """Where contours run: evenly, or evenly on a logarithmic scale, from lowest to highest."""
    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    if _is_wide(losses):
        return [float(level) for level in np.geomspace(low, high, _LEVELS)]
    return [float(level) for level in np.linspace(low, high, _LEVELS)]


def _is_wide(losses: np.ndarray) -> bool:
    finite = losses[np.isfinite(losses)]
    return bool(len(finite)) and finite.min() > 0 and bool(finite.max() > _WIDE * finite.min())


def _remark(figure: Figure, data: Mapping[str, Any], losses: np.ndarray) -> None:
    """The mode, and how many points are missing, below the panel."""
    parts = [f"In {data.get('mode', 'an unknown')} mode."]
    missing = int(np.isnan(losses).sum())
    if missing:
        parts.append(f"Not finite, and not drawn: {missing} of {losses.size} points.")
    if losses.ndim == 2 and _is_wide(losses):
        parts.append("Levels are spaced logarithmically.")
    remark_below(figure, " ".join(parts), 0.8)
