"""What the drawing shows: the numbers of every block, at each moment that was measured.

Plain data in, plain data out.  A value that is missing or not finite is ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minires.viz.groups import as_float
from minires.viz.words import joined, plain_number

__all__ = [
    "MOMENTS",
    "Moment",
    "Numbers",
    "Scale",
    "View",
    "longest_stack",
    "make_scale",
    "make_views",
    "shape_text",
    "sentences",
]

MOMENTS = {"initial": "At initialisation", "trained": "After training"}

# What the widths of the drawing show: at the input, and the two ways at the fork.
_EDGES = ("grad_norm", "skip_norm", "branch_norm")
_MEASURED = (*_EDGES, "grad_rms", "share", "cosine", "forward_ratio")

_MOST_DECADES = 12.0
_TIMES = "\N{MULTIPLICATION SIGN}"

Network = Mapping[str, Any]
Numbers = dict[str, list[float | None]]  # a quantity -> one value a block, stem first


@dataclass(frozen=True)
class Moment:
    """All networks at one time: at a training step, where ``step`` is given."""

    step: int | None
    losses: list[float | None]  # one a network
    numbers: list[Numbers]  # one a network


@dataclass(frozen=True)
class View:
    """One choice of the switch; only the view of a recording has more than one moment."""

    key: str
    title: str
    moments: list[Moment]

    @property
    def measured(self) -> bool:
        """Whether there is a number to show at all."""
        return any(value is not None for value in _sizes([self]))


@dataclass(frozen=True)
class Scale:
    """Widths of lines, in pixels: linear in the logarithm of the norm, cut off at both ends."""

    low: float  # log10 of the norm drawn with the thinnest line
    high: float  # log10 of the norm drawn with the widest
    thin: float = 1.5
    wide: float = 12.0

    def width(self, norm: float | None) -> float:
        """The width of a line for ``norm``; what has no logarithm gets the thinnest.

        >>> scale = Scale(-1.0, 1.0)
        >>> [scale.width(norm) for norm in (0.1, 1.0, 10.0, 1000.0, None)]
        [1.5, 6.75, 12.0, 12.0, 1.5]
        """
        if not norm:
            return self.thin
        part = (math.log10(norm) - self.low) / (self.high - self.low)
        return round(self.thin + (self.wide - self.thin) * min(max(part, 0.0), 1.0), 2)

    def marks(self) -> list[float]:
        """Norms for the key: powers of ten, or 1, 2 and 5 times these where they are few.

        >>> Scale(-3.2, 1.1).marks(), Scale(-0.4, 0.6).marks()
        ([0.001, 0.01, 0.1, 1.0, 10.0], [0.5, 1.0, 2.0])
        """
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        inside = [p for p in powers if self.low <= p <= self.high]
        if len(inside) > 2:
            step = math.ceil(len(inside) / 6)
            return [10.0**p for p in inside[::step]]
        fine = [lead * 10.0**p for p in powers for lead in (1, 2, 5)]
        return [v for v in fine if self.low <= math.log10(v) <= self.high]


def make_views(networks: Sequence[Network]) -> list[View]:
    """At initialisation, after training, and along the recording: those that were measured.

    Without any, one view without numbers, so that the network can be drawn all the same.
    """
    views = []
    for key, title in MOMENTS.items():
        ledgers = [((n.get("moments") or {}).get(key) or {}).get("ledger") or {} for n in networks]
        if any(ledgers):
            numbers = [_of_ledger(n, found) for n, found in zip(networks, ledgers, strict=True)]
            losses = [_finite(found.get("loss")) for found in ledgers]
            views.append(View(key, title, [Moment(None, losses, numbers)]))
    recordings = [network.get("recording") or {} for network in networks]
    steps = sorted({int(step) for found in recordings for step in found.get("steps") or ()})
    if steps:
        moments = [_recorded(networks, recordings, step) for step in steps]
        views.append(View("training", "During training", moments))
    views = [view for view in views if view.measured]
    empty = Moment(None, [None] * len(networks), [_arranged(n, [], {}) for n in networks])
    return views or [View("structure", "The network; no ledger was made of it", [empty])]


def make_scale(views: Sequence[View]) -> Scale:
    """One scale for all networks and all moments, over one decade at least and twelve at most."""
    logs = [math.log10(size) for size in _sizes(views) if size]
    if not logs:
        return Scale(-1.0, 1.0)
    low, high = max(min(logs), max(logs) - _MOST_DECADES), max(logs)
    spare = max(0.0, 1.0 - (high - low)) / 2
    return Scale(low - spare, high + spare)


def sentences(view: View, networks: Sequence[Network]) -> list[str]:
    """What the numbers of a view say, network by network."""
    if not view.measured:
        return []
    moment = view.moments[-1]
    when = f"{view.title}, at step {moment.step}" if moment.step is not None else view.title
    ways = []
    for network, numbers in zip(networks, moment.numbers, strict=True):
        norms = numbers["grad_norm"]
        if norms and norms[0] and norms[-1]:
            ways.append(
                f"from {plain_number(norms[-1])} at the last block to {plain_number(norms[0])} at "
                f"the first ({times(norms[0] / norms[-1])}) in {network.get('name')}"
            )
    said = [f"{when}, on its way back, the norm of the gradient goes {joined(ways)}."] * bool(ways)
    for network, numbers in zip(networks, moment.numbers, strict=True):
        shares = [share for share in numbers["share"] if share is not None]
        if shares:
            low, high = (f"{100 * end:.0f}%" for end in (min(shares), max(shares)))
            between = low if low == high else f"between {low} and {high}"
            said.append(
                f"{when}, in {network.get('name')} the skip's share of the gradient at a fork "
                f"is {between}."
            )
    return said


def times(factor: float) -> str:
    """A factor with two digits or so.

    >>> times(2948.3), times(0.5)
    ('×2,948', '×0.50')
    """
    return f"{_TIMES}{plain_number(factor)}"


def longest_stack(networks: Sequence[Network]) -> list[Mapping[str, Any]]:
    """The blocks of the network that has the most."""
    return max((list(network.get("blocks") or ()) for network in networks), key=len, default=[])


def shape_text(shape: Sequence[int] | None) -> str:
    """C, H, W as it is written on the page.

    >>> shape_text([16, 8, 8]), shape_text(None)
    ('16×8×8', '')
    """
    return _TIMES.join(map(str, shape or ()))


def _of_ledger(network: Network, found: Mapping[str, Any]) -> Numbers:
    entries = list(found.get("blocks") or ())
    columns = {key: [entry.get(key) for entry in entries] for key in _MEASURED}
    return _arranged(network, [entry.get("name") for entry in entries], columns)


def _recorded(
    networks: Sequence[Network], recordings: Sequence[Mapping[str, Any]], step: int
) -> Moment:
    losses: list[float | None] = []
    numbers = []
    for network, found in zip(networks, recordings, strict=True):
        steps = list(found.get("steps") or ())
        blocks = found.get("blocks") or {}
        at = steps.index(step) if step in steps else None
        columns = {key: _at(blocks.get(key), at) or [] for key in _MEASURED}
        losses.append(_finite(_at(found.get("loss"), at)))
        numbers.append(_arranged(network, list(blocks.get("name") or ()), columns))
    return Moment(step, losses, numbers)


def _at(rows: Sequence[Any] | None, index: int | None) -> Any:
    return None if index is None or rows is None or index >= len(rows) else rows[index]


def _arranged(
    network: Network, names: Sequence[Any], columns: Mapping[str, Sequence[Any]]
) -> Numbers:
    """The measured columns in the order of the network's blocks; a block may stand there twice."""
    places: dict[Any, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(name, []).append(i)
    order = [
        places[name].pop(0) if places.get(name) else None
        for name in (block.get("name") for block in network.get("blocks") or ())
    ]
    numbers = {key: [_finite(_at(columns.get(key), place)) for place in order] for key in _MEASURED}
    norms = numbers["grad_norm"]
    numbers["growth"] = [_ratio(norm, _at(norms, i + 1)) for i, norm in enumerate(norms)]
    numbers["since_last"] = [_ratio(norm, norms[-1]) for norm in norms]
    return numbers


def _finite(value: Any) -> float | None:
    """A number with the six digits that a page needs, or None.

    >>> _finite(1 / 3), _finite(float("inf")), _finite(None)
    (0.333333, None, None)
    """
    number = as_float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else _finite(a / b)


def _sizes(views: Sequence[View]) -> Iterator[float | None]:
    """All norms that a line of the drawing can show."""
    for view in views:
        for moment in view.moments:
            for numbers in moment.numbers:
                for edge in _EDGES:
                    yield from numbers[edge]
