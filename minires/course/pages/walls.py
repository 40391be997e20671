"""Which walls stood around the students' code, and what it means where some did not."""

from __future__ import annotations

from collections.abc import Sequence

from minires.course.pages.frame import shown
from minires.course.sandbox import WALLS

__all__ = ["walls_html", "weak_walls"]

_WITHOUT = {
    "limits": "A submission could use all of the processor and the memory, until the time by the "
    "clock was over.",
    "user": "The code ran as the user who graded.",
    "files": "A submission could read whatever the user who ran it may read: the hidden cases, "
    "the solutions, and other submissions.",
    "calls": "A submission could use the network, and what the system offers besides; and start "
    "processes, unless the limits refuse that, as on Linux they do for all but root.",
}


def weak_walls(walls: Sequence[str]) -> list[str]:
    """Those that did not stand, if that matters.

    An ordinary user cannot become another one, and behind the other walls has no need to.
    """
    missing = [name for name in WALLS if name not in walls]
    return [] if missing == ["user"] else missing


def walls_html(walls: Sequence[str]) -> str:
    """A line where all stood, a warning where some did not, and a list of them all."""
    weak = weak_walls(walls)
    lines = [_line(name, name in walls, name in weak) for name in WALLS]
    listed = "\n".join(['<ul class="plain walls">', *lines, "</ul>"])
    if not weak:
        return (
            "<details><summary>The walls around the students' code stood.</summary>"
            f"\n{listed}</details>"
        )
    what = " and ".join(filter(None, [", ".join(weak[:-1]), weak[-1]]))
    return (
        '<p class="notice"><strong>Some walls around the students\' code did not stand: '
        f"{shown(what)}.</strong> This system lacks what they are made of. Grade in a container or "
        "a virtual machine that holds nothing but the submissions, or on a newer Linux.</p>"
        f"\n{listed}"
    )


def _line(name: str, stood: bool, weak: bool) -> str:
    if stood:
        text = f"{WALLS[name][0].upper()}{WALLS[name][1:]}."
        sign = '<span class="passed">✓ stood</span>'
    else:
        text = _WITHOUT.get(name, f"This does not hold: {WALLS[name]}.")
        sign = '<span class="wrong">✗ did not stand</span>'
        if not weak:
            text += " Only root needs this wall; the others held."
            sign = "○ not needed"
    return f"<li><strong>{shown(name)}: {sign}</strong> <span>{shown(text)}</span></li>"
