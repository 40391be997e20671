"""Matrix products."""

from __future__ import annotations

from typing import Any

from minires.autograd.function import Function
from minires.autograd.tensor import Tensor
from minires.device import array_module
from minires.errors import ShapeError, describe
from minires.functional.arithmetic import add, alike
from minires.functional.dtypes import check_same_dtype
from minires.functional.shape import Permute, Reshape, unbroadcast
from minires.kernels.checks import check_arrays
from minires.kernels.parallel import one_blas_thread

__all__ = ["linear", "matmul"]

# Up to so many multiplications BLAS uses one thread of itself.  OpenBLAS's own bounds are 9,216 for
# a matrix by a vector, 10,000 for two vectors and 262,144 for two matrices.
ONE_THREAD = 1 << 13


class MatMul(Function):
    """out = a @ b, batched;  grad_a = grad_out @ b^T;  grad_b = a^T @ grad_out."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save(a=a, b=b)
        if a.shape[-2] * a.shape[-1] * b.shape[-1] <= ONE_THREAD:
            return array_module(a).matmul(a, b)
        with one_blas_thread():
            return array_module(a).matmul(a, b)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        a, b = ctx.saved("a", "b")
        need_a, need_b = ctx.needs_input_grad
        return (
            unbroadcast(MatMul.apply(grad_out, _transposed(b)), a.shape) if need_a else None,
            unbroadcast(MatMul.apply(_transposed(a), grad_out), b.shape) if need_b else None,
        )


def _transposed(x: Any) -> Any:
    """The last two dimensions exchanged."""
    if not isinstance(x, Tensor):
        return x.swapaxes(-1, -2)
    n = x.ndim
    return Permute.apply(x, dims=(*range(n - 2), n - 1, n - 2))


def matmul(a: Any, b: Any) -> Any:
    """The matrix product, batched and broadcast over leading dimensions.

    A vector on the left counts as a row, one on the right as a column; that dimension is left out
    of the result.

    Args:
        a: (..., n, k) or (k,).
        b: (..., k, m) or (k,).

    Returns:
        (..., n, m).

    >>> import minires as mr
    >>> mr.ones(2, 3) @ mr.ones(3)
    tensor([3., 3.])
    """
    if not alike(a, b):
        check_arrays("matmul", a=a, b=b)
        check_same_dtype("matmul", a=a, b=b)
    shape_a, shape_b = a.shape, b.shape
    if not (shape_a and shape_b and shape_a[-1] == shape_b[-2 if len(shape_b) > 1 else 0]):
        raise ShapeError(
            "matmul: the last dimension of a must equal the last but one of b "
            f"(a vector has one dimension).\n  {describe(a=a, b=b)}"
        )
    row, column = len(shape_a) == 1, len(shape_b) == 1
    if row:
        a = Reshape.apply(a, shape=(1, *shape_a))
    if column:
        b = Reshape.apply(b, shape=(*shape_b, 1))
    try:
        out = MatMul.apply(a, b)
    except ValueError:
        raise ShapeError(
            f"matmul: the leading dimensions cannot be broadcast.\n  {describe(a=a, b=b)}\n"
            "  Before the last two, dimensions must be equal, or one of them 1."
        ) from None
    if row or column:
        shape = list(out.shape)
        if column:
            del shape[-1]
        if row:
            del shape[-1 if column else -2]
        out = Reshape.apply(out, shape=tuple(shape))
    return out


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """out = input @ weight^T + bias.

        grad_input = grad_out @ weight;  grad_weight = grad_out^T @ input;  grad_bias = sum grad_out

    Args:
        input: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,) or None.

    Returns:
        (..., out_features).

    >>> import minires as mr, minires.functional as F
    >>> F.linear(mr.ones(2, 3), mr.ones(4, 3)).shape
    (2, 4)
    """
    check_arrays("linear", input=input, weight=weight)
    check_same_dtype("linear", input=input, weight=weight, bias=bias)
    if input.ndim == 0 or weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            "linear: input must end in the in_features of weight (out_features, in_features).\n"
            f"  {describe(input=input, weight=weight)}\n  Check in_features of this layer."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(
            f"linear: bias must have one number for each output feature, {tuple(weight.shape[:1])}."
            f"\n  {describe(weight=weight, bias=bias)}"
        )
    out = matmul(input, _transposed(weight))
    return out if bias is None else add(out, bias)
