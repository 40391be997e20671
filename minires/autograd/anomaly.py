"""``detect_anomaly``: find the operation that made a nan, or whose saved arrays were tampered with.

Inside the block every recorded operation keeps the line of source that called it and a checksum of
each array it saved.  Backward then stops at the first gradient with a nan or inf in it, and at the
first saved array whose bytes are not what they were, and names operation and line.  It costs a pass
over every saved array, so it is for looking for a mistake, not for training.
"""

from __future__ import annotations

import os
import traceback
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.device import Array, to_numpy
from minires.errors import GraphError, SavedArrayChangedError

__all__ = ["Record", "active", "detect_anomaly"]

_active: ContextVar[bool | None] = ContextVar("minires_anomaly", default=None)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def active() -> bool | None:
    """True inside :func:`detect_anomaly`, else None."""
    return _active.get()


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Check every operation recorded in the block, and every backward pass run in it.

    Raises:
        GraphError: a gradient has a nan or an inf; the message names operation and source line.
        SavedArrayChangedError: an array saved for backward does not hold what it held.

    >>> import minires as mr
    >>> x = mr.tensor([0.0, 1.0], requires_grad=True)
    >>> with mr.detect_anomaly():
    ...     x.sqrt().sum().backward()
    Traceback (most recent call last):
    ...
    minires.errors.GraphError: backward of Sqrt gave a gradient with inf in it (1 of 2 elements).
      recorded at <doctest minires.autograd.anomaly.detect_anomaly[2]>:2
    """
    token = _active.set(True)
    try:
        yield
    finally:
        _active.reset(token)


@dataclass(frozen=True)
class Record:
    """Where an operation was called from, and what its saved arrays held."""

    source: str
    checksums: tuple[int, ...]

    @staticmethod
    def of(held: Iterable[Array]) -> Record:
        """The record of the operation being recorded now."""
        frames = traceback.extract_stack()
        outside = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
        # A doctest or a notebook cell runs below contextlib and the like: the last frame counts.
        frame = outside[-1] if outside else frames[-1]
        return Record(f"{frame.filename}:{frame.lineno}", tuple(map(_checksum, held)))

    def check_saved(self, name: str, held: Iterable[Array]) -> None:
        """Compare the saved arrays with what they held when they were saved."""
        for array, before in zip(held, self.checksums, strict=True):
            if _checksum(array) != before:
                raise SavedArrayChangedError(
                    f"backward through {name}: an array of shape {array.shape} that it saved was "
                    "changed in place after the forward pass (through a view made earlier?).\n"
                    f"  recorded at {self.source}"
                )

    def check_gradient(self, name: str, grad: Any) -> None:
        """Stop at a gradient that is not finite."""
        data = getattr(grad, "_data", grad)  # of a tensor under create_graph
        values = to_numpy(data)
        bad = int((~np.isfinite(values)).sum())
        if bad:
            what = "nan" if np.isnan(values).any() else "inf"
            raise GraphError(
                f"backward of {name} gave a gradient with {what} in it "
                f"({bad} of {data.size} elements).\n  recorded at {self.source}"
            )


def _checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(array)).tobytes())
