"""Data sets by name, for the command line; in Python, call the loader itself."""

from __future__ import annotations

from collections.abc import Callable

from minires.data.dataset import Dataset
from minires.data.digits import load_digits
from minires.errors import DataError

__all__ = ["LOADERS", "load"]

LOADERS: dict[str, Callable[[], Dataset]] = {"digits": load_digits}


def load(name: str) -> Dataset:
    """The data set called ``name``, normalised; the known names are the keys of LOADERS.

    Raises DataError for a name that is not known, or data that cannot be read.

    >>> load("digits").image_shape
    (1, 8, 8)
    >>> load("foo")
    Traceback (most recent call last):
    minires.errors.DataError: unknown data set 'foo'; known: digits
    """
    if name not in LOADERS:
        raise DataError(f"unknown data set {name!r}; known: {', '.join(sorted(LOADERS))}")
    return LOADERS[name]()
