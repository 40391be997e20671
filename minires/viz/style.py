"""How every figure of minires looks: one colour a depth, one line style and marker a kind.

The colours go from light to dark as networks get deeper, so that depth can be read off a grey
copy as well, and neighbours differ in hue for readers with any of the three common colour-vision
deficiencies.  Kinds never rest on colour: each has its own dashes and its own marker.  In figures
without depths a plain network has the colour of branches, and one with skips that of skips.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["KindStyle", "context", "depth_colors", "kind_color", "kind_style"]

INK = "#1f2430"
MUTED = "#5b6270"
GRID = "#e4e6eb"
RULE = "#9aa1ad"

SKIP_COLOR = "#0a4c94"
BRANCH_COLOR = "#d47d00"

# Each keeps a contrast of at least 3 to 1 on white and a lightness step to its neighbours.
_PALETTES: dict[int, tuple[str, ...]] = {
    1: ("#0a4c94",),
    2: ("#d47d00", "#0a4c94"),
    3: ("#d47d00", "#1b7f79", "#3b1f6b"),
    4: ("#d47d00", "#2b82bf", "#a33a1a", "#0b1430"),
    5: ("#d47d00", "#2b82bf", "#a8361a", "#6c2683", "#0b1430"),
}


@dataclass(frozen=True)
class KindStyle:
    """How the lines of one kind of network are drawn.

    ``hollow`` markers are filled with white, so that a plain network also differs from a residual
    one where so few points are drawn that no dashes show.
    """

    linestyle: str
    marker: str
    hollow: bool
    order: int

    def look(self, color: str) -> dict[str, Any]:
        """What matplotlib is to be told of a line in this style."""
        return {
            "color": color,
            "linestyle": self.linestyle,
            "marker": self.marker,
            "markerfacecolor": "white" if self.hollow else color,
        }


_KINDS = {
    "plain": KindStyle("--", "o", True, 0),
    "residual": KindStyle("-", "s", False, 1),
    "preact": KindStyle("-.", "^", False, 2),
}
_OTHER_KIND = KindStyle(":", "D", True, 3)

# Where no depth is shown a kind has a colour of its own: that of the way its gradient takes.
_KIND_COLORS = {"plain": BRANCH_COLOR, "residual": SKIP_COLOR}


def kind_style(kind: str) -> KindStyle:
    """Line style and marker of a kind of network; a kind not known here is dotted.

    >>> kind_style("plain").linestyle, kind_style("residual").linestyle
    ('--', '-')
    """
    return _KINDS.get(kind, _OTHER_KIND)


def kind_color(kind: str) -> str:
    """The colour of a kind of network in a figure whose colours do not stand for depths.

    >>> kind_color("plain") == BRANCH_COLOR, kind_color("residual") == SKIP_COLOR
    (True, True)
    """
    return _KIND_COLORS.get(kind, MUTED)


def depth_colors(depths: Iterable[int]) -> dict[int, str]:
    """One colour for each depth, darker for deeper.

    >>> depth_colors([56, 20, 20])
    {20: '#d47d00', 56: '#0a4c94'}
    """
    ordered = sorted(set(depths))
    if len(ordered) in _PALETTES or not ordered:
        return dict(zip(ordered, _PALETTES.get(len(ordered), ()), strict=True))
    last = len(ordered) - 1
    return {depth: _blend(_PALETTES[5], i / last) for i, depth in enumerate(ordered)}


def _blend(palette: tuple[str, ...], position: float) -> str:
    """The colour at ``position`` in 0..1 along a palette, mixed between its two neighbours."""
    place = position * (len(palette) - 1)
    left = min(int(place), len(palette) - 2)
    mix = place - left
    channels = []
    for start in (1, 3, 5):
        a = int(palette[left][start : start + 2], 16)
        b = int(palette[left + 1][start : start + 2], 16)
        channels.append(f"{round(a + mix * (b - a)):02x}")
    return "#" + "".join(channels)


def import_matplotlib() -> None:
    """Import matplotlib, whatever MPLBACKEND says.

    matplotlib refuses to be imported where that names a backend it does not know.  The figures
    here need none; a backend that is known stays chosen, for the reader's own pyplot.
    """
    if "matplotlib" in sys.modules:
        return
    chosen = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if chosen is not None:
            os.environ["MPLBACKEND"] = chosen
    if chosen:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = chosen


def context() -> AbstractContextManager[None]:
    """The settings shared by all figures, in force inside a ``with`` block and gone after it.

    They start from matplotlib's own defaults, so that a figure looks the same whatever style the
    reader's notebook has chosen.
    """
    import_matplotlib()
    import matplotlib.style

    settings: dict[str, object] = {
        # DejaVu comes with matplotlib: the same figure on every machine.
        "font.family": ["DejaVu Sans"],
        "font.size": 9.5,
        "text.color": INK,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 9,
        "axes.labelsize": 9.5,
        "axes.labelcolor": INK,
        "axes.edgecolor": RULE,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.grid.which": "major",
        "axes.facecolor": "white",
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "lines.linewidth": 1.7,
        "lines.markersize": 4.5,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "figure.facecolor": "white",
        "figure.dpi": 100,
        "savefig.facecolor": "white",
        # Text stays text in an SVG (it can be searched and copied); ids depend on content alone.
        "svg.fonttype": "none",
        "svg.hashsalt": "minires",
    }
    return matplotlib.style.context(["default", settings])
