"""Which rung of the ladder a kernel call runs on: reference, im2col or fast.

    with minires.kernels.use("reference"):
        y = model(x)            # the same network on the textbook loops

The choice is a context variable.  An operation reads it in its forward pass, keeps it on its node,
and runs its backward pass on the same rung, whenever that comes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from minires.errors import UsageError

__all__ = ["RUNGS", "current", "dispatch", "use"]

P = ParamSpec("P")
R = TypeVar("R")

RUNGS = ("reference", "im2col", "fast")
_rung: ContextVar[str] = ContextVar("minires_kernel_rung", default="fast")


def current() -> str:
    """The rung in use: 'fast' unless :func:`use` says otherwise."""
    return _rung.get()


@contextmanager
def use(rung: str) -> Iterator[None]:
    """Run kernels on one rung of the ladder inside the block.

    ``reference``: the loops of kernels/reference.py.  ``im2col``: convolution by columns; all
    else as in ``fast``.  ``fast``: the default.

    >>> with use("reference"):
    ...     current()
    'reference'
    """
    if rung not in RUNGS:
        raise UsageError(f"kernels.use: unknown rung {rung!r}; choose one of {', '.join(RUNGS)}.")
    token = _rung.set(rung)
    try:
        yield
    finally:
        _rung.reset(token)


def dispatch(
    reference: Callable[P, R], fast: Callable[P, R], im2col: Callable[P, R] | None = None
) -> Callable[P, R]:
    """One function that runs on the rung in use; it is documented as its fast version."""
    rungs = {"reference": reference, "im2col": im2col or fast, "fast": fast}

    @functools.wraps(fast)
    def kernel(*args: P.args, **kwargs: P.kwargs) -> R:
        return rungs[_rung.get()](*args, **kwargs)

    return kernel
