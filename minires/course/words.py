"""Words that several reports use."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["listed", "plural"]


def plural(count: int, word: str, words: str = "") -> str:
    """A number with its noun.

    >>> plural(1, "student"), plural(2, "student"), plural(0, "is", "are")
    ('1 student', '2 students', '0 are')
    """
    return f"{count} {word if count == 1 else words or word + 's'}"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names after one another, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
