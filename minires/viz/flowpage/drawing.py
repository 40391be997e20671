"""The network as an SVG, stem to head: two edges a block, as wide as the gradient in them.

The trunk of a network is a straight line.  At the fork of a block (a dot) the skip leaves it in an
arc and the branch goes on through a box F; they meet again at the sum (a circle with a plus).
Networks stand above each other, block under block; long ones are cut where the shape changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from minires.viz.flowpage.views import (
    Numbers,
    Scale,
    View,
    longest_stack,
    sentences,
    shape_text,
)
from minires.viz.labels import power_text
from minires.viz.words import joined

__all__ = ["drawing_key", "network_drawing"]

Network = Mapping[str, Any]

# Lengths are pixels on the screen.
_MOST_BLOCKS, _FEW = 18, 5  # in a row
_SIDE = 66  # for the stem on the left and the head on the right
_ROW = 860  # for the blocks between them
_LEAST = 360  # for the words above a row
_NARROWEST, _WIDEST = 46, 110  # of a block
_TITLE, _NAME, _PLAIN, _RESIDUAL, _NUMBER, _GAP = 24, 20, 32, 66, 22, 22
_ARC = 34  # height of the arc over the trunk
_SHORTCUTS = {"padding": "pad", "projection": "proj"}


def network_drawing(networks: Sequence[Network], view: View, scale: Scale) -> str:
    """The drawing of all networks at the first moment of a view, as an ``<svg>``.

    An edge is a path of class ``edge``; data attributes name its network, block and quantity, so
    that a script can change its width.
    """
    moment = view.moments[0]
    rows = _rows(networks)
    longest = max(map(len, rows))
    cell = min(max(_ROW // max(longest, 1), _NARROWEST), _WIDEST)
    width = max(2 * _SIDE + cell * longest, _LEAST)
    parts, y = [], 0
    for number, row in enumerate(rows):
        height = _TITLE + sum(_NAME + _height(n) for n in networks) + _NUMBER
        parts.append(_row_title(networks, row, y + 15, width))
        parts += [_spot(i, _SIDE + k * cell, y + _TITLE, cell, height) for k, i in enumerate(row)]
        below = y + _TITLE
        for n, network in enumerate(networks):
            parts.append(f'<text class="name" x="4" y="{below + 15}">{_name(network)}</text>')
            below += _NAME + _height(network)
            track = _Track(n, network, moment.numbers[n], scale, cell, below - 16)
            parts.append(track.draw(row, first=number == 0))
        y += height + _GAP
    # The picture of a recording changes with the slider, and words about it would be wrong.
    said = [] if view.key == "training" else sentences(view, networks)
    alt = " ".join([_what(networks), *said])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="network" role="img" '
        f'aria-label="{escape(alt)}" width="{width}" height="{y - _GAP + 4}" '
        f'viewBox="0 0 {width} {y - _GAP + 4}">{"".join(parts)}</svg>'
    )


def drawing_key(networks: Sequence[Network], scale: Scale | None) -> str:
    """What lines and widths of the drawing mean, as lists; no widths where none was measured."""
    kinds = {b.get("shortcut") for network in networks for b in network.get("blocks") or ()}
    skip = [("edge skip", "what came back over the skip")] * bool(kinds - {"none", None})
    lines = [
        ("edge trunk", "gradient at the input of a block"),
        ("edge branch", "what came back through the branch F"),
        *skip,
        ("edge trunk missing", "dotted: zero, or not measured"),
    ]
    items = [
        f"<li>{_sample(kind, 1.5 if 'missing' in kind else 6)}<span>{text}</span></li>"
        for kind, text in lines
    ]
    items += [
        f"<li><strong>{_SHORTCUTS[kind]}</strong><span>{text}</span></li>"
        for kind, text in (
            ("padding", "the skip pads new channels with zeros"),
            ("projection", "the skip is a projection"),
        )
        if kind in kinds
    ]
    lists = f'<ul aria-label="Lines of the drawing">{"".join(items)}</ul>'
    return f'<div class="key">{lists}{_widths(scale) if scale else ""}</div>'


def _widths(scale: Scale) -> str:
    marks = scale.marks()
    powers = any(mark < 0.01 or mark > 100 for mark in marks)
    items = "".join(
        f"<li>{_sample('edge trunk', scale.width(mark))}"
        f"<span>{power_text(mark) if powers else f'{mark:g}'}</span></li>"
        for mark in marks
    )
    return (
        '<p id="widths">Width: norm of the gradient over the batch, on one logarithmic scale for '
        f'all networks and moments of this page.</p><ul aria-labelledby="widths">{items}</ul>'
    )


class _Track:
    """One network in one row: where its trunk lies, and what is drawn along it."""

    def __init__(
        self, n: int, network: Network, numbers: Numbers, scale: Scale, cell: int, y: int
    ) -> None:
        self.n = n
        self.blocks = list(network.get("blocks") or ())
        self.network, self.numbers, self.scale = network, numbers, scale
        self.cell, self.y = cell, y

    def draw(self, row: Sequence[int], *, first: bool) -> str:
        """The blocks of ``row`` that this network has, with the stem or the head at its ends."""
        mine = [i for i in row if i < len(self.blocks)]
        if not mine:
            return ""
        parts = [self._block(i, _SIDE + k * self.cell, k == 0) for k, i in enumerate(mine)]
        end = _SIDE + len(mine) * self.cell
        start = end - 0.2 * self.cell + 6
        if mine[-1] + 1 < len(self.blocks):  # it goes on in the next row
            parts.append(
                self._edge("trunk", "grad_norm", mine[-1] + 1, f"M{start:g} {self.y}H{end + 10}")
            )
        else:
            parts.append(f'<path class="rule" d="M{start:g} {self.y}H{end + 12}"/>')
            parts.append(self._box(end + 10, str(self.network.get("head") or "head")))
        if first:
            parts.append(self._box(2, str(self.network.get("stem") or "stem")))
        return "".join(parts)

    def _block(self, i: int, x: int, first: bool) -> str:
        block, y = self.blocks[i], self.y
        fork, plus, middle = x + 0.2 * self.cell, x + 0.8 * self.cell, x + 0.5 * self.cell
        start = x - 10 if first else x - 0.2 * self.cell + 6
        end = plus if _skips(block) else plus + 6  # a plain block has no sum to end at
        parts = [
            self._edge("trunk", "grad_norm", i, f"M{fork:g} {y}H{start:g}"),
            self._edge("branch", "branch_norm", i, f"M{end:g} {y}H{fork:g}"),
        ]
        if _skips(block):
            parts.append(self._skip(i, fork, plus))
        parts.append(_boxed(middle, y, 16, 22, "F"))
        title = f"<title>{escape(self._words(i))}</title>"
        return f'<g data-block="{i}">{title}{"".join(parts)}</g>'

    def _skip(self, i: int, fork: float, plus: float) -> str:
        y = self.y
        top = y - _ARC * 4 / 3  # a cubic curve reaches three quarters of the way there
        arc = f"M{plus:g} {y}C{plus:g} {top:g} {fork:g} {top:g} {fork:g} {y}"
        label = _SHORTCUTS.get(str(self.blocks[i].get("shortcut")))
        named = _boxed((fork + plus) / 2, y - _ARC, 13 + 5 * len(label), 18, label) if label else ""
        return (
            f"{self._edge('skip', 'skip_norm', i, arc)}{named}"
            f'<circle class="sum" cx="{plus:g}" cy="{y}" r="6"/>'
            f'<path class="plus" d="M{plus - 3.5:g} {y}h7M{plus:g} {y - 3.5:g}v7"/>'
            f'<circle class="fork" cx="{fork:g}" cy="{y}" r="3.5"/>'
        )

    def _edge(self, kind: str, quantity: str, block: int, path: str) -> str:
        value = self.numbers[quantity][block]
        missing = "" if value else " missing"
        return (
            f'<path class="edge {kind}{missing}" data-network="{self.n}" data-block="{block}" '
            f'data-quantity="{quantity}" d="{path}" stroke-width="{self.scale.width(value):g}"/>'
        )

    def _box(self, x: float, text: str) -> str:
        shown = text if len(text) <= 6 else f"{text[:5]}…"
        return f"<g><title>{escape(text)}</title>{_boxed(x + 26, self.y, 52, 26, shown)}</g>"

    def _words(self, i: int) -> str:
        """The tooltip of a block: what it is; its numbers are in the tables."""
        block = self.blocks[i]
        shape, shortcut = shape_text(block.get("shape")), block.get("shortcut")
        facts = [
            f"{self.network.get('name')}, block {i + 1}: {block.get('name')}",
            f"output {shape}" * bool(shape),
            f"skip: {shortcut}" if _skips(block) else "no skip",
        ]
        return ", ".join(filter(None, facts))


def _rows(networks: Sequence[Network]) -> list[list[int]]:
    """The numbers of the blocks, row by row.

    Up to eighteen stand in one row.  Of more, each stage (blocks of one shape) begins a row, unless
    the row has a few blocks only; a stage that is too long for one row is cut into equal parts.
    """
    blocks = longest_stack(networks)
    if len(blocks) <= _MOST_BLOCKS:
        return [list(range(len(blocks)))]
    stages: list[list[int]] = []
    for i, block in enumerate(blocks):
        if i and block.get("shape") == blocks[i - 1].get("shape"):
            stages[-1].append(i)
        else:
            stages.append([i])
    rows: list[list[int]] = []
    for stage in stages:
        if rows and len(rows[-1]) <= _FEW and len(rows[-1] + stage) <= _MOST_BLOCKS:
            rows[-1] += stage
            continue
        parts = -(-len(stage) // _MOST_BLOCKS)
        size = -(-len(stage) // parts)
        rows += [stage[k : k + size] for k in range(0, len(stage), size)]
    return rows


def _height(network: Network) -> int:
    return _RESIDUAL if any(map(_skips, network.get("blocks") or ())) else _PLAIN


def _skips(block: Mapping[str, Any]) -> bool:
    return block.get("shortcut") not in ("none", None)


def _row_title(networks: Sequence[Network], row: Sequence[int], y: int, width: int) -> str:
    blocks = longest_stack(networks)
    if not row:
        return f'<text class="row" x="4" y="{y}">no block was found</text>'
    shapes = dict.fromkeys(shape_text(blocks[i].get("shape")) for i in row)
    which = f"blocks {row[0] + 1} to {row[-1] + 1}" if len(row) > 1 else f"block {row[0] + 1}"
    named = list(filter(None, shapes))
    text = " to ".join(named[:1] + named[1:][-1:])
    return (
        f'<text class="row" x="4" y="{y}">{which}{f": {text}" * bool(text)}</text>'
        f'<text class="row" x="{width - 4}" y="{y}" text-anchor="end">← gradient</text>'
    )


def _spot(i: int, x: int, y: int, cell: int, height: int) -> str:
    """The column of a block behind all networks, and its number: what the slider lights up."""
    bottom = y + height - _TITLE
    return (
        f'<g class="spot" data-block="{i}"><rect x="{x + 1}" y="{y}" width="{cell - 2}" '
        f'height="{height - _TITLE}" rx="5"/>'
        f'<text x="{x + cell / 2:g}" y="{bottom - 6}" text-anchor="middle">{i + 1}</text></g>'
    )


def _boxed(x: float, y: float, width: float, height: float, text: str) -> str:
    return (
        f'<rect class="box" x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" '
        f'height="{height:g}" rx="3"/>'
        f'<text x="{x:g}" y="{y + 4.2:g}" text-anchor="middle">{escape(text)}</text>'
    )


def _sample(classes: str, width: float) -> str:
    """A line of the key, in the shape that it has in the drawing."""
    path = "M4 20C4 2 40 2 40 20" if "skip" in classes else "M2 13H42"
    box = _boxed(22, 13, 14, 20, "F") if "branch" in classes else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="network" width="44" height="26" '
        f'viewBox="0 0 44 26" aria-hidden="true">'
        f'<path class="{classes}" d="{path}" stroke-width="{width:g}"/>{box}</svg>'
    )


def _what(networks: Sequence[Network]) -> str:
    counts = []
    for network in networks:
        count = len(network.get("blocks") or ())
        counts.append(f"{network.get('name')} ({count} block{'s' * (count != 1)})")
    return f"Drawing of {joined(counts)}, from the stem to the head."


def _name(network: Network) -> str:
    return escape(str(network.get("name") or network.get("kind") or "network"))
