"""The figure of a model check: the layers in order, and marks where something was found."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minires.viz import style
from minires.viz.labels import legend_above, panel_grid
from minires.viz.words import joined

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["contracts_figure"]

_MARKS: dict[str, dict[str, Any]] = {  # told apart by their shape
    "error": dict(marker="X", color="#b3261e", markersize=9, markeredgecolor="white"),
    "warning": dict(marker="^", color=style.BRANCH_COLOR, markersize=8, markeredgecolor="white"),
    "information": dict(marker="o", color=style.SKIP_COLOR, markersize=7, markerfacecolor="white"),
}
_LOOKED_AT: dict[str, Any] = dict(marker="o", linestyle="none", markersize=2, color=style.RULE)
_WIDTH, _LEFT, _RIGHT = 10.0, 1.5, 0.85
_MOST_TEXTS = 6
_MOST_NAMES = 40


def contracts_figure(data: Mapping[str, Any]) -> Figure:
    """A row for each check and a column for each layer, from input to output; a mark for a finding.

    At the right the number of findings of each check; below, the first of them in words.

    >>> layers = [{"name": "0", "kind": "Linear", "calls": 1}]
    >>> finding = {"layer": "0", "kind": "cut off", "severity": "error", "text": "no history"}
    >>> data = {"model": "Sequential", "mode": "training", "layers": layers, "findings": [finding]}
    >>> len(contracts_figure({**data, "checks": ["cut off"]}).axes)
    1
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    layers, findings = list(data.get("layers") or ()), list(data.get("findings") or ())
    checks = [str(check) for check in data.get("checks") or ()]
    names = [str(layer["name"]) for layer in layers]
    step = math.ceil(len(names) / _MOST_NAMES) or 1
    labels = [name or "(the model)" for name in names]
    longest = max(map(len, labels), default=0)
    texts = _texts(findings)
    lines = sum(text.count("\n") + 1 for text in texts)
    foot = 0.55 + 0.064 * longest + 0.19 * lines
    rows = 0.27 * max(len(checks), 1)
    height = 0.8 + rows + foot
    with style.context():
        figure = new_figure(_WIDTH, height)
        margins = dict(left=_LEFT, right=_RIGHT, top=0.8, bottom=foot, gap=0.0, row_gap=0.0)
        axes = panel_grid(figure, (rows,), 1, **margins)[0][0]
        axes.set_title(_title(data, findings), pad=24)
        _draw_rows(axes, layers, checks, findings)
        places = _ticks(names, step, findings)
        axes.set_xticks(places, [labels[i] for i in places], rotation=90, fontsize=8)
        axes.set_xlabel("layers and blocks, in the order in which they ran")
        _legend(axes, findings)
        _write(figure, texts, height)
    figure.alt = _describe(data, findings)
    return figure


def _draw_rows(
    axes: Axes,
    layers: Sequence[Mapping[str, Any]],
    checks: Sequence[str],
    findings: Sequence[Mapping[str, Any]],
) -> None:
    axes.grid(False)
    names = [str(layer["name"]) for layer in layers]
    ran = [i for i, layer in enumerate(layers) if layer.get("calls")]
    counts = Counter(finding["kind"] for finding in findings)
    for row, check in enumerate(checks):
        axes.axhline(row, color=style.GRID, linewidth=1.0, zorder=1)
        axes.plot(ran, [row] * len(ran), zorder=2, **_LOOKED_AT)
        count = counts[check]
        axes.text(
            1.012,
            row,
            f"{count} found" if count else "none",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=style.INK if count else style.MUTED,
            fontweight="bold" if count else "normal",
        )
    for finding in reversed(findings):  # the worst, which come first, on top
        if finding["kind"] in checks and finding["layer"] in names:
            place = names.index(finding["layer"]), checks.index(finding["kind"])
            axes.plot(*place, zorder=3, linestyle="none", **_MARKS[finding["severity"]])
    margin = max(0.8, 0.012 * len(names))  # a mark at the end stays inside
    axes.set_xlim(-margin, max(len(names), 1) - 1 + margin)
    axes.set_ylim(max(len(checks), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(checks)), checks)
    axes.tick_params(length=0)


def _ticks(names: Sequence[str], step: int, findings: Sequence[Mapping[str, Any]]) -> list[int]:
    """The layers to name: those with findings first, then every so many of the others."""
    room = max(1, round(len(names) / _MOST_NAMES))
    found = sorted({names.index(f["layer"]) for f in findings if f["layer"] in names})
    chosen: list[int] = []
    for i in [*found, *range(0, len(names), step)]:
        if all(abs(i - other) >= room for other in chosen):
            chosen.append(i)
    return sorted(chosen)


def _legend(axes: Axes, findings: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    counts = Counter(finding["severity"] for finding in findings)
    handles = [
        Line2D([], [], linestyle="none", label=f"{severity} ({counts[severity]})", **look)
        for severity, look in _MARKS.items()
    ]
    handles.append(Line2D([], [], label="layer looked at", **_LOOKED_AT))
    legend_above(axes, handles=handles, ncols=4, handletextpad=0.3)


def _texts(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first findings in words, wrapped, and how many more there are."""
    lines = []
    for finding in findings[:_MOST_TEXTS]:
        line = f"{finding['severity']}, {finding['layer'] or 'the model'}: {finding['text']}"
        lines.append(textwrap.fill(line, 136, subsequent_indent="    "))
    if len(findings) > _MOST_TEXTS:
        lines.append(f"and {len(findings) - _MOST_TEXTS} more, in the table")
    return lines


def _write(figure: Figure, texts: Sequence[str], height: float) -> None:
    figure.text(
        0.2 / _WIDTH,
        0.12 / height,
        "\n".join(texts),
        va="bottom",
        fontsize=8.5,
        linespacing=1.45,
    )


def _title(data: Mapping[str, Any], findings: Sequence[Any]) -> str:
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}" if findings else "nothing found"
    return f"{data.get('model', 'model')} in {data.get('mode', '?')} mode: {count}"


def _describe(data: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> str:
    ran = sum(layer.get("calls", 0) > 0 for layer in data.get("layers") or ())
    checks = len(data.get("checks") or ())
    said = f"Chart of {checks} checks on {ran} layers. {_title(data, findings)}."
    by_kind: dict[str, list[str]] = {}
    for finding in findings:
        by_kind.setdefault(finding["kind"], []).append(finding["layer"] or "the model")
    for kind, layers in by_kind.items():
        more = [f"{len(layers) - 4} more"] if len(layers) > 4 else []
        said += f" {kind}: {joined([*layers[:4], *more])}."
    return said
