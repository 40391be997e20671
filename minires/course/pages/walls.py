"""Which walls stood around the students' code, and what it means where one did not."""

from __future__ import annotations

from collections.abc import Sequence

from minires.course.pages.frame import shown
from minires.course.sandbox import WALLS

__all__ = ["walls_html"]

_WITHOUT = {
    "limits": "A submission could use all of the processor and the memory, until the time by the "
    "clock was over.",
    "user": "The code ran as the user who graded.",
    "files": "A submission could read whatever the user who ran it may read: the hidden cases, "
    "the solutions, and other submissions.",
    "calls": "A submission could start processes, and use the network.",
}


def walls_html(walls: Sequence[str]) -> str:
    """A line where all stood, a warning where some did not, and a list of them all."""
    missing = [name for name in WALLS if name not in walls]
    lines = [_line(name, name in walls, missing) for name in WALLS]
    listed = "\n".join(['<ul class="plain walls">', *lines, "</ul>"])
    weak = [name for name in missing if not _does_not_matter(name, missing)]
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


def _line(name: str, stood: bool, missing: Sequence[str]) -> str:
    if stood:
        text = f"{WALLS[name][0].upper()}{WALLS[name][1:]}."
        sign = '<span class="passed">✓ stood</span>'
    else:
        text = _WITHOUT.get(name, f"This does not hold: {WALLS[name]}.")
        sign = '<span class="wrong">✗ did not stand</span>'
        if _does_not_matter(name, missing):
            text += " Only root needs this wall; the others held."
            sign = "○ not needed"
    return f"<li><strong>{shown(name)}: {sign}</strong> <span>{shown(text)}</span></li>"


def _does_not_matter(name: str, missing: Sequence[str]) -> bool:
    """Whether the others make up for it: an ordinary user behind them can do nothing either."""
    return name == "user" and list(missing) == ["user"]
