"""What CuPy has, from names.json (written by tests/golden/make_cupy_names.py)."""

from __future__ import annotations

import functools
import inspect
import json
from pathlib import Path
from typing import Any

_STORED = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))
VERSION: str = _STORED["cupy"]
NAMES: dict[str, dict[str, str]] = _STORED["names"]


def kind(section: str, name: str) -> str:
    """What ``section.name`` is in CuPy; AttributeError if CuPy has no such name."""
    try:
        return NAMES[section][name]
    except KeyError:
        raise AttributeError(f"{section} has no attribute {name!r} (CuPy {VERSION})") from None


@functools.cache
def signature(section: str, name: str) -> inspect.Signature:
    """The parameters of a function of CuPy."""
    return inspect.signature(eval(f"lambda {kind(section, name)[1:-1]}: None"))


def bind(section: str, name: str, args: Any, kwargs: Any) -> inspect.BoundArguments:
    """The arguments by CuPy's names; TypeError if CuPy does not take them."""
    try:
        return signature(section, name).bind(*args, **kwargs)
    except TypeError as error:
        message = f"{section}.{name}{kind(section, name)}: {error} (CuPy {VERSION})"
        raise TypeError(message) from None
