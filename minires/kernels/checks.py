"""Checks of arguments that the reference kernels and the fast ones share.

Wherever an array is asked for, its shape will do; the array itself gives a fuller error message,
with the dtype in it.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from minires.device import Array, check_same_device, is_array, is_on_gpu, using_device_of
from minires.errors import DTypeError, ShapeError, UsageError, describe

if TYPE_CHECKING:
    from minires.kernels.geometry import PoolGeometry

__all__ = [
    "ArrayOrShape",
    "check_arrays",
    "check_batch_norm",
    "check_cross_entropy",
    "check_floating",
    "check_grad_out",
    "check_image",
    "check_indices",
    "check_softmax",
    "compared",
    "normal_dim",
    "number",
    "numbers",
    "shape_of",
    "whole",
]

ArrayOrShape: TypeAlias = Any  # an array, or the shape of one that is not at hand


def shape_of(value: ArrayOrShape) -> tuple[int, ...]:
    """The shape of an array, or the shape that was given in its place."""
    return tuple(value.shape if hasattr(value, "shape") else value)


def check_arrays(operation: str, **given: Any) -> None:
    """Raise DTypeError unless each is an array or a tensor, and holds real numbers or booleans.

    >>> check_arrays("relu", input=[-1.0, 2.0])
    Traceback (most recent call last):
    minires.errors.DTypeError: relu: input must be a tensor or an array, not list.
      input: [-1.0, 2.0]
      Make a tensor of it: mr.tensor(input).
    """
    for name, x in given.items():
        dtype = getattr(x, "dtype", None)
        if dtype is None:
            mend = f"Make a tensor of it: mr.tensor({name})."
            if x is None:
                mend = "A function or a forward that lacks its return gives None."
            elif isinstance(x, str):
                mend = "Only numbers can be computed with."
            raise DTypeError(
                f"{operation}: {name} must be a tensor or an array, not {type(x).__name__}.\n"
                f"  {name}: {reprlib.repr(x)}\n  {mend}"
            )
        if dtype.kind not in "fiub":
            raise DTypeError(
                f"{operation}: {name} must hold real numbers, not {dtype}.\n"
                f"  {describe(**{name: x})}\n  Convert the array first, or take its real part."
            )


def number(value: Any, name: str) -> float:
    """One real number, as Python's; ``name`` is what the error calls it.

    NumPy's own single numbers would widen float32.  Raises UsageError for anything else.

    >>> number(3, "dropout: p")
    3.0
    """
    if not isinstance(value, str):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise UsageError(f"{name} must be a number, not {value!r}.")


def whole(value: Any, name: str) -> int:
    """One whole number, as Python's; ``name`` is what the error calls it.

    Raises UsageError for anything else, also for True and False.

    >>> whole(-1, "sum: dim")
    -1
    """
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise UsageError(f"{name} must be a whole number, not {value!r}.")


def normal_dim(name: str, ndim: int, dim: int) -> int:
    """``dim`` counted from the first dimension.

    >>> normal_dim("cat", 3, -1)
    2
    """
    dim = whole(dim, f"{name}: dim")
    if not -ndim <= dim < ndim:
        raise ShapeError(f"{name}: dim {dim} is out of range for {ndim} dimensions.")
    return dim % ndim


def numbers(data: Any, name: str) -> Array:
    """``data`` as an array of real numbers or booleans; an array is not copied.

    Raises ShapeError for nested lists of several lengths, DTypeError for what holds no numbers.
    """
    try:
        array = data if is_array(data) else np.asarray(data)
    except ValueError:
        raise ShapeError(
            f"{name}: lists inside a list must all have one length.\n  data: {reprlib.repr(data)}\n"
            "  Pad the shorter ones, or make a tensor of each."
        ) from None
    if array.dtype.kind not in "fiub":
        what = array.dtype if is_array(data) else type(data).__name__
        raise DTypeError(
            f"{name}: cannot make numbers of {what}.\n  data: {reprlib.repr(data)}\n"
            "  Give it real numbers or booleans: lists of them, or an array."
        )
    return array


def compared(compare: Callable[[Any, Any], Any], a: Array, b: Any) -> Any:
    """``compare(a, b)``, element by element, with an error that shows the shapes."""
    check_same_device(compare.__name__, a=a, b=b)
    try:
        with using_device_of(a):
            return compare(a, b)
    except (TypeError, ValueError) as error:
        refused = ShapeError if isinstance(error, ValueError) else DTypeError
        raise refused(
            f"{compare.__name__}: these cannot be compared element by element.\n"
            f"  {describe(a=a, b=b)}\n"
            "  Counted from the last, dimensions must be equal, or one of them 1; both numbers."
        ) from None


def check_image(operation: str, x_shape: tuple[int, ...], **arrays: ArrayOrShape) -> None:
    """Raise ShapeError unless ``x`` is (N, C, H, W)."""
    if len(x_shape) != 4:
        got = describe(**arrays)
        mend = "\n  A single image needs a batch axis: x[None]." if len(x_shape) == 3 else ""
        raise ShapeError(
            f"{operation}: x must be (N, C, H, W), but has {len(x_shape)} axes.\n  {got}{mend}"
        )


def check_floating(operation: str, **arrays: ArrayOrShape) -> None:
    """Raise DTypeError for an array that does not hold floating-point numbers.

    Shapes and None pass: they have no dtype.

    >>> import numpy as np
    >>> check_floating("softmax", x=np.array([1, 2]))
    Traceback (most recent call last):
    minires.errors.DTypeError: softmax: x must hold floating-point numbers, not int64.
      x: (2,) int64
      Convert it first: x.to('float32').
    """
    for name, array in arrays.items():
        dtype = getattr(array, "dtype", None)
        if dtype is not None and dtype.kind != "f":
            raise DTypeError(
                f"{operation}: {name} must hold floating-point numbers, not {dtype}.\n"
                f"  {describe(**{name: array})}\n  Convert it first: {name}.to('float32')."
            )


def check_grad_out(
    operation: str, grad_out: ArrayOrShape, expected: tuple[int, ...], name: str = "grad_out"
) -> None:
    """Raise unless ``grad_out`` has the shape of the output it belongs to, and is floating.

    ShapeError for the shape, DTypeError for the dtype; ``name`` is what the error calls it.
    """
    if shape_of(grad_out) != expected:
        raise ShapeError(
            f"{operation}: {name} must have the shape of the output, {expected}.\n"
            f"  {describe(**{name: grad_out})}"
        )
    check_floating(operation, **{name: grad_out})


def check_indices(
    operation: str, x: ArrayOrShape, indices: Array, window: PoolGeometry | None = None
) -> None:
    """Raise unless ``indices`` (N, C, OH, OW) are whole numbers from 0 to H*W - 1.

    ShapeError for shapes that differ, also from the outputs of the ``window``, or a place outside
    the plane, DTypeError for the dtype.  On a GPU the places are not looked at: to look would make
    the CPU wait.
    """
    x_shape = shape_of(x)
    check_image(operation, x_shape, x=x)
    if indices.ndim != 4 or indices.shape[:2] != x_shape[:2]:
        got = describe(x=x, indices=indices)
        raise ShapeError(f"{operation}: indices and x differ in batch or channels.\n  {got}")
    if indices.dtype.kind not in "iu":
        got = describe(x=x, indices=indices)
        raise DTypeError(f"{operation}: indices must be whole numbers.\n  {got}")
    if window is not None and window.out != indices.shape[2:]:
        raise ShapeError(
            f"{operation}: window has {window.out} outputs, but indices are of another pooling.\n"
            f"  {describe(x=x, indices=indices)}\n  Give the window that max_pool2d had."
        )
    if indices.size and not is_on_gpu(indices):
        places = x_shape[2] * x_shape[3]
        least, most = int(indices.min()), int(indices.max())
        if least < 0 or most >= places:
            raise ShapeError(
                f"{operation}: indices hold {least if least < 0 else most}, but a plane of x has "
                f"{places} places, 0 to {places - 1}.\n  {describe(x=x, indices=indices)}\n"
                "  Use the indices that max_pool2d gave for an input of this shape."
            )


def check_batch_norm(
    x: ArrayOrShape, *, operation: str = "batch_norm", **per_channel: ArrayOrShape
) -> None:
    """Raise unless x is (N, C, ...), each named array is None or (C,), and all are floating.

    ShapeError for the shapes, DTypeError for the dtypes.

    >>> check_batch_norm((8, 3, 4, 4), mean=(3,), var=(3,), weight=None)
    """
    x_shape = shape_of(x)
    if len(x_shape) < 2:
        raise ShapeError(f"{operation}: x must be (N, C, ...), not {x_shape}.")
    for name, values in per_channel.items():
        if values is not None and shape_of(values) != (x_shape[1],):
            raise ShapeError(
                f"{operation}: x has {x_shape[1]} channels, so {name} must be ({x_shape[1]},).\n"
                f"  {describe(x=x, **{name: values})}\n  Check num_features of this layer."
            )
    check_floating(operation, x=x, **per_channel)


def check_softmax(operation: str, x: Array, axis: int) -> None:
    """Raise unless x is floating and has the axis; a single number has the axes 0 and -1.

    DTypeError for the dtype, ShapeError for an axis out of range, UsageError for one that is no
    whole number.
    """
    check_floating(operation, x=x)
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise UsageError(f"{operation}: axis must be a whole number, not {axis!r}.")
    axes = max(x.ndim, 1)
    if not -axes <= axis < axes:
        raise ShapeError(f"{operation}: x has no axis {axis}.\n  {describe(x=x)}")


def check_cross_entropy(
    logits: Array, target: Array, ignore_index: int, *, operation: str = "cross_entropy"
) -> None:
    """Raise unless logits is (N, C) and target (N,) holds classes from 0 to C - 1, or ignore_index.

    On a GPU the classes are not looked at, since that would make the CPU wait, and the kernels give
    nan for one that is not there; but for float16, which has no such kernel.

    ShapeError for a shape or a class that logits does not have, DTypeError for a dtype: logits
    are floating, target whole.
    """
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        got = describe(logits=logits, target=target)
        raise ShapeError(f"{operation}: logits must be (N, C) and target (N,).\n  {got}")
    check_floating(operation, logits=logits)
    if target.dtype.kind not in "iu":
        got = describe(logits=logits, target=target)
        raise DTypeError(f"{operation}: target must hold whole numbers, the classes.\n  {got}")
    if is_on_gpu(target) and logits.dtype.char in "fd":
        return
    C = logits.shape[1]
    outside = target[((target < 0) | (target >= C)) & (target != ignore_index)]
    if outside.size:
        raise ShapeError(
            f"{operation}: target holds class {int(outside[0])}, but logits has {C} classes, "
            f"0 to {C - 1}.\n  {describe(logits=logits, target=target)}\n"
            "  Check num_classes of the model, and that labels count from 0."
        )
