"""Tensors from nothing: zeros, ones, ranges and random numbers, float32 unless told otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from minires.autograd.sharing import shared_on_gpu
from minires.autograd.tensor import Tensor
from minires.device import gpu, import_cupy, is_array, to_device, using_device_of
from minires.errors import (
    DeviceError,
    DTypeError,
    GraphError,
    MiniresError,
    ShapeError,
    UsageError,
)
from minires.functional.shape import given_shape
from minires.kernels.checks import number, numbers
from minires.rng import default_generator

__all__ = ["arange", "from_dlpack", "full", "ones", "rand", "randn", "tensor", "zeros"]

_DLPACK_CPU, _DLPACK_CUDA = (1, 3), (2, 13)  # ordinary and page-locked; of a GPU and managed


def _lengths(name: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape that was given, in one of two ways, to the function of this name."""
    lengths = given_shape(shape, name)
    if min(lengths, default=0) < 0:
        raise ShapeError(f"{name}: the lengths of a shape must be 0 or more, not {lengths}.")
    return lengths


def _real(name: str, dtype: Any) -> np.dtype[Any]:
    """``dtype`` as NumPy's, if it is one of real numbers or booleans; None is the default one."""
    if dtype is None:
        return np.dtype(np.float32)
    found: np.dtype[Any] | None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.kind not in "fiub":
        raise DTypeError(
            f"{name}: {dtype!r} is no dtype of real numbers; take 'float32', 'float64', 'int64' or "
            "'bool'."
        )
    return found


def _make(array: Any, device: str | None, requires_grad: bool) -> Tensor:
    return Tensor(array if device is None else to_device(array, device), requires_grad)


def _on(device: str | None, make: Callable[[Any], Any]) -> Any:
    """``make`` with the array module of the device: what it makes is made there."""
    if device is None or device == "cpu":
        return make(np)
    with gpu(device):
        return make(import_cupy())


def tensor(
    data: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor holding a copy of ``data``.

    Python floats become float32; arrays keep their dtype; Python integers become int64.

    Args:
        data: numbers, nested lists, an array or a tensor, also of another library.
        dtype: element type; by default as above.
        device: 'cpu', 'cuda' or 'cuda:1'; by default where ``data`` is.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A new leaf.

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    >>> tensor([1, 2]).dtype, tensor(np.zeros(2)).dtype
    (dtype('int64'), dtype('float64'))
    """
    raw = data._data if isinstance(data, Tensor) else shared_on_gpu(data)
    if dtype is not None:
        dtype = _real("tensor", dtype)
    if is_array(raw) or isinstance(raw, np.generic):
        array = numbers(raw, "tensor")
        with using_device_of(array):
            array = array.astype(dtype or array.dtype)
    else:
        try:
            array = numbers(raw, "tensor")
        except GraphError:
            raise GraphError(
                "tensor: a copy of tensors that require grad would leave the graph without a word; "
                "write mr.stack([...]), or detach() them."
            ) from None
        narrow = np.float32 if array.dtype == np.float64 else array.dtype
        array = array.astype(dtype or narrow)
    if device is not None:
        array = to_device(array, device)
    return Tensor(array, requires_grad=requires_grad)


def from_dlpack(x: Any) -> Tensor:
    """A tensor of the same memory as an array of another library; nothing is copied.

    A change on one side is seen on the other.  It is read-only where that library says so, or is
    too old to say; :func:`tensor` makes a copy that is not.  The other way round,
    ``torch.from_dlpack(tensor)`` and its like take a tensor of minires.

    Args:
        x: an array on the CPU or a GPU that has ``__dlpack__``: of PyTorch, JAX, CuPy, NumPy, ...

    Returns:
        A leaf that does not require grad.

    Raises:
        UsageError: ``x`` has no ``__dlpack__``, or its library does not let go of it, such as a
            tensor of PyTorch that requires grad.
        GraphError: it is a tensor of minires that requires grad.
        DTypeError: it holds no real numbers.
        DeviceError: it is neither on the CPU nor on a GPU of CUDA.

    >>> array = np.zeros(3)
    >>> shared = from_dlpack(array)
    >>> array[0] = 7.0
    >>> shared
    tensor([7., 0., 0.], dtype=float64)
    """
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise UsageError(
            f"from_dlpack: a {type(x).__name__} has no __dlpack__ and cannot be shared; mr.tensor "
            "makes a copy of numbers."
        )
    try:
        kind = x.__dlpack_device__()[0]
        if kind not in _DLPACK_CPU + _DLPACK_CUDA:
            raise DeviceError(
                f"from_dlpack: DLPack's device {int(kind)} is neither the CPU nor a GPU of CUDA. "
                "Move the array to one of them first."
            )
        array = (np if kind in _DLPACK_CPU else import_cupy()).from_dlpack(x)
    except MiniresError:
        raise
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"from_dlpack: {type(x).__name__} cannot be shared: {error}") from None
    return Tensor(array)


def zeros(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    lengths, dtype = _lengths("zeros", shape), _real("zeros", dtype)
    return Tensor(_on(device, lambda xp: xp.zeros(lengths, dtype)), requires_grad)


def ones(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones."""
    lengths, dtype = _lengths("ones", shape), _real("ones", dtype)
    return Tensor(_on(device, lambda xp: xp.ones(lengths, dtype)), requires_grad)


def full(
    shape: Any,
    value: float,
    *,
    dtype: Any = np.float32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor filled with ``value``."""
    number(value, "full: value")
    lengths, dtype = _lengths("full", (shape,)), _real("full", dtype)
    return Tensor(_on(device, lambda xp: xp.full(lengths, value, dtype)), requires_grad)


def arange(
    *bounds: float, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, ... below stop; int64 for whole bounds, else float32.

    >>> arange(3), arange(0.0, 1.0, 0.5)
    (tensor([0, 1, 2]), tensor([0. , 0.5]))
    """
    if not 1 <= len(bounds) <= 3:
        raise UsageError(f"arange: takes stop, or start, stop and perhaps step, not {bounds}.")
    for bound in bounds:
        number(bound, "arange: a bound")
    start, end, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    if step == 0:
        raise UsageError(f"arange: the step must not be 0, as it is in {bounds}.")
    if not all(math.isfinite(bound) for bound in bounds):
        raise UsageError(f"arange: the bounds must be finite, which {bounds} are not.")
    if (end - start) * step < 0:
        raise UsageError(f"arange: steps of {step} lead away from {end}; give the step its sign.")
    if dtype is None:
        dtype = np.int64 if all(isinstance(b, Integral) for b in bounds) else np.float32
    dtype = _real("arange", dtype)
    if dtype.kind in "iu" and any(bound != int(bound) for bound in bounds):
        raise UsageError(
            f"arange: whole numbers need whole bounds, not {bounds}.\n"
            "  Leave dtype out, and convert the result if it is to be cut off: .to('int64')."
        )
    return Tensor(_on(device, lambda xp: xp.arange(*bounds, dtype=dtype)), requires_grad)


def randn(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Normal random numbers of mean 0 and standard deviation 1, from the default generator.

    They are drawn on the CPU, and are the same on every device.
    """
    lengths, dtype = _lengths("randn", shape), _real("randn", dtype)
    return _make(default_generator().standard_normal(lengths).astype(dtype), device, requires_grad)


def rand(
    *shape: Any, dtype: Any = np.float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Random numbers spread evenly over 0 to 1, from the default generator.

    They are drawn on the CPU, and are the same on every device.
    """
    lengths, dtype = _lengths("rand", shape), _real("rand", dtype)
    return _make(default_generator().random(lengths).astype(dtype), device, requires_grad)
