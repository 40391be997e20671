"""What a card can do at best, in bare CuPy: copy as much memory as a layer's input has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minires.bench.sides.minires_side import elapsed, event, setup, step_memory, use
from minires.device import import_cupy

__all__ = ["bandwidth", "elapsed", "event", "setup", "step_memory", "use"]

Work = tuple[Callable[[], Any], int | None]


def bandwidth(spec: Any, inputs: Any) -> Work:
    """A copy from one array on the card to another."""
    cupy = import_cupy()
    x = cupy.zeros(spec["shape"], dtype="float32")
    out = cupy.empty_like(x)
    return lambda: cupy.copyto(out, x), None
