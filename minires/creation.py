"""Tensors from nothing: zeros, ones, ranges and random numbers, float32 unless told otherwise."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from minires.autograd.tensor import Tensor
from minires.device import is_array, to_device
from minires.errors import DTypeError
from minires.functional.shape import given_shape
from minires.rng import default_generator

__all__ = ["arange", "full", "ones", "rand", "randn", "tensor", "zeros"]


def _make(array: Any, device: str | None, requires_grad: bool) -> Tensor:
    return Tensor(array if device is None else to_device(array, device), requires_grad)


def tensor(
    data: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor holding a copy of ``data``.

    Python floats become float32; arrays keep their dtype; Python integers become int64.

    Args:
        data: numbers, nested lists, an array or a tensor.
        dtype: element type; by default as above.
        device: 'cpu' or 'cuda'; by default where ``data`` is.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A new leaf.

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    >>> tensor([1, 2]).dtype, tensor(np.zeros(2)).dtype
    (dtype('int64'), dtype('float64'))
    """
    raw = data._data if isinstance(data, Tensor) else data
    if is_array(raw) or isinstance(raw, np.generic):
        array = (
            np.array(raw, dtype) if isinstance(raw, np.generic) else raw.astype(dtype or raw.dtype)
        )
    else:
        array = np.array(raw, dtype=dtype)
        if dtype is None and array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype.kind not in "fiub":
            raise DTypeError(f"tensor: cannot make numbers of {type(data).__name__}.")
    if device is not None:
        array = to_device(array, device)
    return Tensor(array, requires_grad=requires_grad)


def zeros(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return _make(np.zeros(given_shape(shape), dtype), device, requires_grad)


def ones(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones."""
    return _make(np.ones(given_shape(shape), dtype), device, requires_grad)


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
    draw = default_generator().standard_normal(given_shape(shape)).astype(dtype)
    return _make(draw, device, requires_grad)


def rand(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Random numbers spread evenly over 0 to 1, from the default generator."""
    return _make(
        default_generator().random(given_shape(shape)).astype(dtype), device, requires_grad
    )
