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
from typing import Any, ParamSpec, TypeVar

import numpy as np

from minires.device import device_of, is_on_gpu, to_device, to_numpy, using_device_of
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
    reference: Callable[P, R],
    fast: Callable[P, R],
    im2col: Callable[P, R] | None = None,
    cuda: Callable[P, R] | None = None,
) -> Callable[P, R]:
    """One function that runs on the rung in use; it is documented as its fast version.

    On a GPU ``fast`` is the ``cuda`` version, if there is one and the numbers are float32 or
    float64; else it is the same array code as on the CPU.  The loops of ``reference`` run on the
    CPU, on copies: a loop that asks a GPU for one number at a time would never end.
    """
    rungs = {"reference": reference, "im2col": im2col or fast, "fast": fast}
    on_gpu = {"reference": _on_the_cpu(reference), "fast": cuda or fast}
    on_gpu["im2col"] = im2col or on_gpu["fast"]

    @functools.wraps(fast)
    def kernel(*args: P.args, **kwargs: P.kwargs) -> R:
        rung = _rung.get()
        if not args or isinstance(args[0], np.ndarray) or not is_on_gpu(args[0]):
            return rungs[rung](*args, **kwargs)
        first: Any = args[0]
        array_code = rung != "reference" and first.dtype.char not in "fd"
        with using_device_of(first):
            return (rungs if array_code else on_gpu)[rung](*args, **kwargs)

    return kernel


def _on_the_cpu(kernel: Callable[P, R]) -> Callable[P, R]:
    def on_copies(*args: P.args, **kwargs: P.kwargs) -> R:
        device = device_of(args[0])
        given: Any = [to_numpy(arg) if is_on_gpu(arg) else arg for arg in args]
        named: Any = {name: to_numpy(v) if is_on_gpu(v) else v for name, v in kwargs.items()}
        result: Any = kernel(*given, **named)
        if isinstance(result, tuple):
            return tuple(to_device(part, device) for part in result)  # type: ignore[return-value]
        return to_device(result, device)  # type: ignore[no-any-return]

    return on_copies
