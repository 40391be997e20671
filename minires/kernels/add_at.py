"""Adding at places that may be named more than once, always in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.device import Array, array_module

__all__ = ["add_at"]


def add_at(out: Array, index: Any, values: Array) -> None:
    """``out[index] += values``, where a place that is named several times gets all of its values.

    Args:
        out: changed in place; in one run of memory.
        index: as NumPy takes it, with arrays of whole numbers or booleans in it.
        values: of the shape of ``out[index]``, or one that is stretched to it.

    >>> out = np.zeros(3)
    >>> add_at(out, np.array([0, 2, 0]), np.array([1.0, 10.0, 100.0]))
    >>> out
    array([101.,   0.,  10.])
    """
    if isinstance(out, np.ndarray):
        np.add.at(out, index, values)
        return
    xp = array_module(out)
    places = xp.arange(out.size).reshape(out.shape)[index]
    _add_by_turns(out.reshape(-1), places.ravel(), xp.broadcast_to(values, places.shape).ravel())


def _add_by_turns(out: Array, places: Array, values: Array) -> None:
    """For a GPU, whose own ``add.at`` adds in whatever order its threads come by.

    Turn t adds the t-th occurrence of each place; within a turn no two places are equal.  The CPU
    waits once, for the number of turns.
    """
    xp = array_module(out)
    order = xp.argsort(places, kind="stable")
    ordered = places[order]
    turn = xp.arange(len(places)) - xp.searchsorted(ordered, ordered)
    for t in range(int(turn.max()) + 1 if len(places) else 0):
        now = order[turn == t]
        out[places[now]] += values[now]
