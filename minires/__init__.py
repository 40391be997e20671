"""minires: the residual-learning microscope.

A small deep-learning framework on NumPy and CuPy, written from scratch to be read, in which you
build residual blocks and see how the gradient comes back through the skip and through the branch.

    import minires as mr
    import minires.functional as F
    import minires.nn as nn

The upper floors (``mr.nn``, ``mr.models``, ``mr.flow``, ...) are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minires import cuda, errors, functional, kernels
from minires.autograd import (
    Tensor,
    detect_anomaly,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
)
from minires.creation import arange, from_dlpack, full, ones, rand, randn, tensor, zeros
from minires.functional import cat, stack, where
from minires.kernels import get_num_threads, set_num_threads
from minires.rng import manual_seed

if TYPE_CHECKING:
    from minires import check, data, experiments, flow, models, nn, optim, saving, train, viz
    from minires.saving import load, save

__version__ = "0.1.0"

__all__ = [
    "Tensor",
    "arange",
    "cat",
    "bench",
    "check",
    "cuda",
    "data",
    "detect_anomaly",
    "enable_grad",
    "errors",
    "exercises",
    "experiments",
    "flow",
    "from_dlpack",
    "full",
    "functional",
    "get_num_threads",
    "grad",
    "is_grad_enabled",
    "kernels",
    "load",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "ones",
    "optim",
    "rand",
    "randn",
    "save",
    "saving",
    "set_num_threads",
    "stack",
    "tensor",
    "train",
    "viz",
    "where",
    "zeros",
]

_LATER = (
    "bench",
    "check",
    "data",
    "exercises",
    "experiments",
    "flow",
    "models",
    "nn",
    "optim",
    "saving",
    "train",
    "viz",
)
_FROM_SAVING = ("load", "save")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return import_module(f"minires.{name}")
    if name in _FROM_SAVING:
        return getattr(import_module("minires.saving"), name)
    raise AttributeError(f"module 'minires' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_FROM_SAVING})
