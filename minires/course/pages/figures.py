"""The plots of the class, from plain numbers."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minires.exercises.verdict import NOT_YET, PASSED, WRONG
from minires.viz import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["mistakes_figure", "tasks_figure", "totals_figure"]

_WIDTH = 8.6
_MOST_BARS = 26
_LINE = 92  # characters of a mistake's title on one line

# Filled, empty and hatched: to be told apart on a grey copy, too.
_LOOKS: dict[str, dict[str, Any]] = {
    PASSED: {"facecolor": style.SKIP_COLOR, "edgecolor": style.SKIP_COLOR},
    NOT_YET: {"facecolor": "white", "edgecolor": style.RULE},
    WRONG: {"facecolor": "#fdebd2", "edgecolor": style.BRANCH_COLOR, "hatch": "////"},
}


def totals_figure(totals: Sequence[float], full: float) -> Figure:
    """How many students have how many points.

    >>> totals_figure([3.0, 20.0], 20).axes[0].get_xlabel()
    'points, of 20'
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    with style.context():
        figure = new_figure(_WIDTH, 2.9)
        axes = figure.add_axes((0.075, 0.2, 0.9, 0.66))
        step, counts = binned(totals, full)
        low = min(counts)
        bars = axes.bar(
            [i * step for i in counts],
            list(counts.values()),
            width=0.82 * step,
            color=style.SKIP_COLOR,
        )
        axes.bar_label(bars, [str(n) if n else "" for n in counts.values()], padding=2, fontsize=9)
        most = max(counts.values())
        axes.set_ylim(0, max(most, 1) * 1.25)
        axes.set_yticks(_whole_ticks(most))
        axes.set_ylabel("students")
        axes.set_xlim((low - 0.6) * step, (max(counts) + 0.6) * step)
        every = math.ceil(len(counts) / 13)
        ticks = [i for i in counts if (i - low) % every == 0]
        axes.set_xticks([i * step for i in ticks], [_bin_text(i, step) for i in ticks])
        axes.set_xlabel(f"points, of {full:g}")
        if len(totals) > 1:
            _mark_median(axes, statistics.median(totals))
    return figure


def binned(totals: Sequence[float], full: float) -> tuple[float, dict[int, int]]:
    """The width of a bar, and how many totals lie in each.

    Bar i holds what lies from i * width to, and without, (i + 1) * width.

    >>> binned([0.0, 1.5, 2.0], 2)
    (1.0, {0: 1, 1: 1, 2: 1})
    """
    low, high = min([0.0, *totals]), max([full, 1.0, *totals])
    step = next((s for s in (1.0, 2.0, 5.0, 10.0) if (high - low) / s < _MOST_BARS), 0.0)
    step = step or float(math.ceil((high - low) / _MOST_BARS))
    places = [math.floor(total / step + 1e-9) for total in totals]
    bars = range(math.floor(low / step + 1e-9), math.floor(high / step + 1e-9) + 1)
    return step, {i: places.count(i) for i in bars}


def _bin_text(i: int, step: float) -> str:
    return f"{i * step:g}" if step == 1.0 else f"{i * step:g} to {(i + 1) * step - 1:g}"


def _whole_ticks(most: int) -> list[int]:
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if most / s <= 5), 1000)
    return list(range(0, most + 1, step)) or [0]


def _mark_median(axes: Axes, value: float) -> None:
    left, right = axes.get_xlim()
    place = (value, 1.0)
    axes.plot(
        *place,
        marker="v",
        color=style.INK,
        markersize=6,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )
    beyond = (value - left) / (right - left) > 0.85
    axes.annotate(
        f"median {value:g}",
        place,
        xycoords=("data", "axes fraction"),
        xytext=(-7 if beyond else 7, 0),
        textcoords="offset points",
        ha="right" if beyond else "left",
        va="center_baseline",
        fontsize=9,
    )


def tasks_figure(counts: Sequence[tuple[str, Mapping[str, int]]]) -> Figure:
    """For each task, how many have passed it, not written it, or got it wrong.

    Args:
        counts: (task, number of students by status), in the order of the assignment.

    >>> len(tasks_figure([("pad", {"passed": 3, "wrong": 1})]).axes)
    1
    """
    style.import_matplotlib()
    from matplotlib.patches import Patch

    from minires.viz.canvas import new_figure

    height = 0.95 + 0.36 * max(len(counts), 1)
    longest = max((len(name) for name, _ in counts), default=4)
    left = min(0.25 + 0.083 * longest, 3.6)
    with style.context():
        figure = new_figure(_WIDTH, height)
        axes = figure.add_axes(
            (left / _WIDTH, 0.42 / height, 0.97 - left / _WIDTH, 1 - 0.8 / height)
        )
        for y, (_, found) in enumerate(counts):
            start = 0
            for status, look in _LOOKS.items():
                if found.get(status):
                    axes.barh(y, found[status], left=start, height=0.7, linewidth=1.0, **look)
                    start += found[status]
        total = max([1, *(sum(found.get(s, 0) for s in _LOOKS) for _, found in counts)])
        room = total / (_WIDTH - left)  # of one inch
        for y, (_, found) in enumerate(counts):
            _write_counts(axes, y, found, room)
        axes.set_xlim(0, total)
        axes.set_ylim(max(len(counts), 1) - 0.5, -0.5)
        axes.set_yticks(range(len(counts)), [name for name, _ in counts])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(False)
        axes.set_xticks(_whole_ticks(total))
        axes.set_xlabel("students")
        axes.legend(
            handles=[Patch(label=status, **look) for status, look in _LOOKS.items()],
            loc="lower left",
            bbox_to_anchor=(-0.008, 1.0),
            ncols=3,
            borderaxespad=0.2,
            fontsize=9,
        )
    return figure


def _write_counts(axes: Axes, y: int, found: Mapping[str, int], room: float) -> None:
    """The number in each piece of a bar that has room for it."""
    start = 0
    for status in _LOOKS:
        count = found.get(status, 0)
        if count > 0.11 * len(str(count)) * room:
            text = axes.text(
                start + count / 2,
                y,
                str(count),
                ha="center",
                va="center_baseline",
                fontsize=9,
                color="white" if status == PASSED else style.INK,
            )
            if status == WRONG:  # legible on the hatching
                text.set_bbox({"facecolor": "#fdebd2", "edgecolor": "none", "pad": 1.2})
        start += count


def mistakes_figure(groups: Sequence[tuple[str, Sequence[tuple[str, int, bool]]]]) -> Figure:
    """The mistakes of each task, most frequent first.

    Args:
        groups: (task, its mistakes); a mistake is (what it is called, how many made it, whether it
            is a known one).

    >>> len(mistakes_figure([("pad", [("the padding is counted once", 3, True)])]).axes)
    1
    """
    style.import_matplotlib()
    from minires.viz.canvas import new_figure

    places, texts, y = [], [], 0.0  # inches from the top
    for task, mistakes in groups:
        texts.append((y + 0.13, task, True))
        y += 0.32
        for title, count, known in mistakes:
            lines = textwrap.wrap(title, _LINE) or [""]
            for line in lines:
                texts.append((y + 0.08, line, False))
                y += 0.185
            places.append((y + 0.085, count, known))
            y += 0.31
        y += 0.14
    height = max(y, 0.5) + 0.1
    most = max((count for _, count, _ in places), default=1)
    with style.context():
        figure = new_figure(_WIDTH, height)
        axes = figure.add_axes((0.02, 0.0, 0.92, 1.0))
        axes.set_axis_off()
        axes.set(xlim=(0, most), ylim=(height - 0.05, -0.05))
        for place, text, is_task in texts:
            weight = "bold" if is_task else "normal"
            written = axes.text(0, place, text, va="center", fontweight=weight, fontsize=9.5)
            written.set_parse_math(False)
        for place, count, known in places:
            look = _LOOKS[WRONG] if known else _LOOKS[NOT_YET]
            axes.barh([place], [count], height=0.15, linewidth=1.0, **look)
            axes.annotate(
                str(count),
                (count, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                annotation_clip=False,
            )
    return figure
