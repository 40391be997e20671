"""Where the plants are collected: learners' implementations, each with slips that can be put in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["PLANTS", "Make", "Plant", "planted"]

Make = Callable[[str], tuple[Callable[..., Any], Callable[..., Any]]]


@dataclass(frozen=True)
class Plant:
    """One implementation of an operation in one style.

    ``make(slip)`` gives its forward, which is right, and its backward with that slip; ``make("")``
    gives the backward that is right.
    """

    op: str
    style: str
    slips: tuple[str, ...]
    make: Make


PLANTS: list[Plant] = []


def planted(op: str, style: str, *slips: str) -> Callable[[Make], Make]:
    """Enter a ``make`` into PLANTS."""

    def enter(make: Make) -> Make:
        PLANTS.append(Plant(op, style, slips, make))
        return make

    return enter
