"""Tensors from nothing: zeros, ones, ranges and random numbers, float32 unless told otherwise."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from minires.autograd.tensor import Tensor
from minires.device import to_device
from minires.rng import default_generator

__all__ = ["arange", "full", "ones", "rand", "randn", "zeros"]


def _make(array: Any, device: str | None, requires_grad: bool) -> Tensor:
    return Tensor(array if device is None else to_device(array, device), requires_grad)


def _shape_of(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], Integral) else shape


def zeros(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return _make(np.zeros(_shape_of(shape), dtype), device, requires_grad)


def ones(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones."""
    return _make(np.ones(_shape_of(shape), dtype), device, requires_grad)


def full(
    shape: Any,
    value: float,
    *,
    dtype: Any = np.float32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor filled with ``value``."""
    return _make(np.full(shape, value, dtype), device, requires_grad)


def arange(
    *bounds: float, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, ... below stop; int64 for whole bounds, else float32.

    >>> arange(3), arange(0.0, 1.0, 0.5)
    (tensor([0, 1, 2]), tensor([0. , 0.5]))
    """
    if dtype is None:
        dtype = np.int64 if all(isinstance(b, Integral) for b in bounds) else np.float32
    return _make(np.arange(*bounds, dtype=dtype), device, requires_grad)


def randn(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Normal random numbers of mean 0 and standard deviation 1, from the default generator."""
    draw = default_generator().standard_normal(_shape_of(shape)).astype(dtype)
    return _make(draw, device, requires_grad)


def rand(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Random numbers spread evenly over 0 to 1, from the default generator."""
    return _make(default_generator().random(_shape_of(shape)).astype(dtype), device, requires_grad)
