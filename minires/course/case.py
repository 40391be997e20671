"""A case: one call that a task is tried on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Case", "case", "mapped", "shortened"]


@dataclass(frozen=True, eq=False)
class Case:
    """The arguments of one call, and how its result is compared.

    Attributes:
        args, kwargs: what the task is called with.
        why: what this case is about, in a phrase; told to the student.
        rtol: what is allowed, as a part of the largest number expected; None where rounding alone
            decides (see :mod:`minires.course.judge`).
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    rtol: float | None = None

    def __str__(self) -> str:
        """The arguments, arrays as their shapes.

        >>> str(case(np.zeros((2, 3)), stride=2, why="a stride"))
        'a stride: (2, 3), stride=2'
        """
        shown = [_short(value) for value in self.args]
        shown += [f"{name}={_short(value)}" for name, value in self.kwargs.items()]
        return f"{self.why}: {', '.join(shown)}" if self.why else ", ".join(shown)

    def copied(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with arrays of their own."""
        args, kwargs = mapped(np.copy, (self.args, self.kwargs))
        return args, kwargs


def case(*args: Any, why: str = "", rtol: float | None = None, **kwargs: Any) -> Case:
    """A case, for ``cases.py`` and ``hidden.py`` of an assignment.

    Arguments are arrays, numbers, strings, booleans, None, and lists, tuples and dicts of these.

    >>> case(5, 3, stride=2).kwargs
    {'stride': 2}
    """
    return Case(args, kwargs, why, rtol)


def mapped(change: Any, tree: Any) -> Any:
    """The same tree of tuples, lists and dicts with every array changed."""
    if isinstance(tree, np.ndarray):
        return change(tree)
    if isinstance(tree, list | tuple):
        return type(tree)([mapped(change, item) for item in tree])
    if isinstance(tree, dict):
        return {key: mapped(change, item) for key, item in tree.items()}
    return tree


def shortened(text: str, length: int) -> str:
    """The text, cut if it is longer.

    >>> shortened("convolution", 8)
    'convo...'
    """
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.shape)
    if _holds_arrays(value):
        if isinstance(value, dict):
            return f"{{{', '.join(f'{key}: {_short(item)}' for key, item in value.items())}}}"
        return f"[{', '.join(map(_short, value))}]"
    return shortened(repr(value), 40)


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_arrays, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_arrays, value))
    return isinstance(value, np.ndarray)
