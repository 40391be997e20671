"""Numbers as the tables of a benchmark show them."""

from __future__ import annotations

from collections.abc import Sequence

from minires.bench.measurement import Measurement
from minires.table import Cell

__all__ = ["Section", "fixed", "mb", "ms", "spread", "with_failures"]

Section = tuple[str, list[str], list[list[Cell]]]


def ms(seconds: float | None) -> str | None:
    """Milliseconds, three digits or more.

    >>> ms(0.0012345), ms(1.5)
    ('1.234', '1500.0')
    """
    if seconds is None:
        return None
    value = 1e3 * seconds
    return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}"


def mb(value: float | None) -> str | None:
    """Whole megabytes."""
    return None if value is None else f"{value:.0f}"


def fixed(value: float | None) -> str | None:
    """A ratio.

    >>> fixed(1.234), fixed(0.0123)
    ('1.23', '0.012')
    """
    return None if value is None else f"{value:.{2 if value >= 0.1 else 3}f}"


def spread(values: Sequence[float]) -> str | None:
    """The least and the largest.

    >>> spread([2.0, 0.5, 1.0])
    '0.50..2.00'
    """
    return f"{fixed(min(values))}..{fixed(max(values))}" if values else None


def with_failures(
    headers: list[str], rows: list[list[Cell]], found: Sequence[Measurement]
) -> tuple[list[str], list[list[Cell]]]:
    """A last column for what went wrong, if anything did."""
    if not any(m.failure for m in found):
        return headers, rows
    texts = [f"failed: {m.failure}" if m.failure else "" for m in found]
    return [*headers, "remark"], [[*row, text] for row, text in zip(rows, texts, strict=True)]
