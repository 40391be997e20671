"""Everything minires raises on purpose.

Each class derives from :class:`MiniresError` and from the built-in exception a reader would have
expected, so ``except ValueError`` keeps working.  A message has up to three parts: what was wrong,
what came in (shapes and dtypes), and how to mend it.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ContractError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "GraphError",
    "GraphFreedError",
    "IndexingError",
    "MiniresError",
    "SavedArrayChangedError",
    "ShapeError",
    "StateError",
    "UsageError",
    "describe",
]


class MiniresError(Exception):
    """Base of all errors that minires raises on purpose."""


class ShapeError(MiniresError, ValueError):
    """Arrays whose shapes do not fit the operation, or each other."""


class IndexingError(MiniresError, IndexError):
    """An index that names what is not there, or that is none."""


class DTypeError(MiniresError, TypeError):
    """An element type that the operation cannot take."""


class DeviceError(MiniresError, RuntimeError):
    """An array on the wrong device, or a device that is not there."""


class GraphError(MiniresError, RuntimeError):
    """A question that the recorded graph cannot answer."""


class GraphFreedError(GraphError):
    """A second backward pass through a graph whose saved arrays were freed by the first."""


class SavedArrayChangedError(GraphError):
    """An array saved for backward was changed in place before backward read it."""


class ContractError(MiniresError, TypeError):
    """A model or block that does not keep the contract an instrument relies on."""


class DataError(MiniresError, ValueError):
    """A data set that is unknown, damaged, or too small for what was asked of it."""


class StateError(MiniresError, RuntimeError):
    """A saved state whose names are not those of the model it is loaded into."""


class UsageError(MiniresError, ValueError):
    """A setting that makes no sense; on the command line it ends in one line and exit code 2."""


def describe(**arrays: Any) -> str:
    """Name, shape and dtype of each array, for an error message.

    >>> import numpy as np
    >>> describe(x=np.zeros((2, 3), dtype=np.float32), bias=None)
    'x: (2, 3) float32    bias: None'
    """
    parts = []
    for name, array in arrays.items():
        shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
        parts.append(f"{name}: {array!r}" if shape is None else f"{name}: {tuple(shape)} {dtype}")
    return "    ".join(parts)
