"""Two recordings beside each other: how far apart they are, quantity by quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.table import format_table, html_table

__all__ = ["Change", "Difference", "Key", "Table", "difference"]

Key = tuple[str, int]  # the name of a block or layer, and which run of it in a pass
Table = tuple[Sequence[Key], np.ndarray]  # what the columns are of, and numbers (steps, columns)


@dataclass(frozen=True)
class Change:
    """Where one quantity differs the most.

    Attributes:
        quantity: 'loss', or a column such as 'blocks.share'.
        difference: |here - there| / max(|here|, |there|), from 0 to 2; infinite where one is.
        step, where: where it is the largest: the step, and the name of the block or layer.
        here, there: the two numbers.
        one_sided: how many places have a number in one of the recordings only.

    All but the first and the last are None if no place has a number in both.
    """

    quantity: str
    difference: float | None
    step: int | None
    where: str | None
    here: float | None
    there: float | None
    one_sided: int


@dataclass(frozen=True)
class Difference:
    """What :meth:`minires.flow.Recording.compare` found.

    Attributes:
        steps: those that both recordings have.
        only_here, only_there: those that one has, and the other has not.
        unmatched: names of blocks and layers that only one of them has.
        changes: an entry for each quantity that both have: the place of its largest difference.
    """

    steps: tuple[int, ...]
    only_here: tuple[int, ...]
    only_there: tuple[int, ...]
    unmatched: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def largest(self) -> Change | None:
        """The largest of the changes, if there are numbers to compare."""
        known = [change for change in self.changes if change.difference is not None]
        return max(known, key=lambda change: change.difference or 0.0, default=None)

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a quantity."""
        headers = ["quantity", "largest difference", "at step", "in", "here", "there", "one-sided"]
        return headers, [
            [c.quantity, c.difference, c.step, c.where or None, c.here, c.there, c.one_sided]
            for c in self.changes
        ]

    def table(self) -> str:
        """The changes as a table in plain text."""
        return format_table(*self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "steps": list(self.steps),
            "only_here": list(self.only_here),
            "only_there": list(self.only_there),
            "unmatched": list(self.unmatched),
            "changes": [dict(vars(change)) for change in self.changes],
        }

    def caption(self) -> str:
        """Whether the two are the same at their common steps, and if not, where."""
        if not self.steps:
            return "The two recordings have no step in common."
        text = f"{len(self.steps)} step{'s' * (len(self.steps) != 1)} in common"
        if self.unmatched:
            text += f", {len(self.unmatched)} blocks and layers that one alone has"
        alone = sum(change.one_sided for change in self.changes)
        if alone:
            text += f", {alone} numbers that one alone has"
        largest = self.largest
        if largest is None:
            return f"{text}: nothing to compare."
        if not largest.difference:
            return f"{text}: {'every other' if alone else 'every'} number is the same."
        place = f"of {largest.where} " if largest.where else ""
        return (
            f"{text}: the largest relative difference is {largest.difference:.2g}, in "
            f"{largest.quantity} {place}at step {largest.step}."
        )

    def __str__(self) -> str:
        return f"{self.caption()}\n{self.table()}"

    def _repr_html_(self) -> str:
        return html_table(*self.rows(), caption=self.caption())


def difference(
    here: Mapping[str, Table],
    there: Mapping[str, Table],
    steps_here: Sequence[int],
    steps_there: Sequence[int],
) -> Difference:
    """Compare tables of the same names at the steps, blocks and layers that both have."""
    common = [step for step in steps_here if step in set(steps_there)]
    rows = (
        [steps_here.index(step) for step in common],
        [steps_there.index(step) for step in common],
    )
    changes, unmatched = [], dict[str, None]()
    for quantity, (keys, table) in here.items():
        other_keys, other_table = there[quantity]
        unmatched |= dict.fromkeys(name for name, _ in set(keys) ^ set(other_keys))
        shared = [key for key in keys if key in set(other_keys)]
        a = table[np.ix_(rows[0], [keys.index(key) for key in shared])]
        b = other_table[np.ix_(rows[1], [other_keys.index(key) for key in shared])]
        if a.size and not (np.isnan(a) & np.isnan(b)).all():
            changes.append(_largest(quantity, common, shared, a, b))
    return Difference(
        steps=tuple(common),
        only_here=tuple(step for step in steps_here if step not in common),
        only_there=tuple(step for step in steps_there if step not in common),
        unmatched=tuple(sorted(unmatched)),
        changes=tuple(changes),
    )


def _largest(
    quantity: str, steps: Sequence[int], keys: Sequence[Key], a: np.ndarray, b: np.ndarray
) -> Change:
    """The place where two tables (steps, keys) are the furthest apart."""
    both = ~(np.isnan(a) | np.isnan(b))
    one_sided = int((np.isnan(a) ^ np.isnan(b)).sum())
    if not both.any():
        return Change(quantity, None, None, None, None, None, one_sided)
    with np.errstate(all="ignore"):
        apart = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    apart = np.where(np.isnan(apart), np.inf, apart)  # infinity and a number
    apart = np.where(a == b, 0.0, apart)
    apart = np.where(both, apart, -1.0)
    t, k = divmod(int(apart.argmax()), apart.shape[1])
    here, there = float(a[t, k]), float(b[t, k])
    return Change(quantity, float(apart[t, k]), steps[t], keys[k][0], here, there, one_sided)
