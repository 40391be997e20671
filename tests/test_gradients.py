"""The gradient checker checked: it passes what is right and rejects each way of being wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.autograd import Function
from tests.gradients import check_gradients, check_second

RNG = np.random.default_rng(3)
SQUARE, MATRIX = RNG.standard_normal((3, 3)), RNG.standard_normal((2, 3))


def operation(
    forward: Callable[..., Any], backward: Callable[..., Any]
) -> Callable[..., mr.Tensor]:
    """A function of tensors with the given backward(x, grad_out)."""

    class Made(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save(x=x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return backward(ctx.saved("x"), grad_out)

    return Made.apply


def cube(factor: float) -> Callable[..., mr.Tensor]:
    return operation(lambda x: x**3, lambda x, g: g * (x * x) * (3.0 * factor))


def test_right_gradients_pass() -> None:
    check_gradients(cube(1.0), [MATRIX])
    check_second(cube(1.0), [MATRIX])
    check_gradients(lambda a, b: a @ b, [MATRIX, SQUARE])
    check_second(lambda a, b: F.softmax(a @ b), [MATRIX, SQUARE])


@pytest.mark.parametrize("factor", [1.001, 0.999, -1.0, 0.0, 2.0, float("nan")])
def test_a_wrong_factor_is_rejected_from_a_tenth_of_a_percent_on(factor: float) -> None:
    with pytest.raises(AssertionError, match="gradient by input 0"):
        check_gradients(cube(factor), [MATRIX])


@pytest.mark.parametrize("factor", [1.001, 0.999, -1.0, 0.0])
def test_a_wrong_second_gradient_is_rejected_from_a_tenth_of_a_percent_on(factor: float) -> None:
    inner = operation(lambda x: x * x * 3.0, lambda x, g: g * x * (6.0 * factor))
    outer = operation(lambda x: x**3, lambda x, g: g * inner(x))
    check_gradients(outer, [MATRIX])
    with pytest.raises(AssertionError, match="gradient by input 0"):
        check_second(outer, [MATRIX])


def test_a_transposed_gradient_is_rejected() -> None:
    product = operation(lambda x: SQUARE @ x, lambda x, g: SQUARE @ g)
    with pytest.raises(AssertionError, match="gradient by input 0"):
        check_gradients(product, [SQUARE])
    turned = operation(lambda x: x**2, lambda x, g: F.transpose(g * x * 2.0, 0, 1))
    with pytest.raises(AssertionError, match="gradient by input 0"):
        check_gradients(turned, [SQUARE])


def test_a_single_wrong_element_is_rejected() -> None:
    spot = np.ones((2, 3))
    spot[1, 2] = 1.001
    with pytest.raises(AssertionError, match="gradient by input 0"):
        check_gradients(operation(lambda x: x**2, lambda x, g: g * x * 2.0 * spot), [MATRIX])


def test_a_gradient_that_a_sum_cannot_tell_from_zero_is_told_apart() -> None:
    zero = operation(lambda x: F.softmax(x, 1), lambda x, g: g * 0.0)
    blind = operation(lambda x: F.softmax(x, 1).sum(), lambda x, g: x * 0.0)
    check_gradients(blind, [MATRIX])  # what a cotangent of ones would have said
    with pytest.raises(AssertionError, match="gradient by input 0"):
        check_gradients(zero, [MATRIX])


def test_a_missing_gradient_is_rejected() -> None:
    with pytest.raises(AssertionError, match="gradient by input 1"):
        check_gradients(lambda a, b: a * b.detach(), [MATRIX, MATRIX])


def test_an_intermediate_saved_as_a_constant_is_rejected_by_the_second_check_only() -> None:
    class Square(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_constant(slope=2.0 * x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out * ctx.saved("slope")

    check_gradients(Square.apply, [MATRIX])
    with pytest.raises(AssertionError, match="gradient by input 0"):
        check_second(Square.apply, [MATRIX])


def test_a_gradient_that_differs_between_the_two_passes_is_rejected() -> None:
    class Square(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save(x=x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out * ctx.saved("x") * (2.002 if ctx.create_graph else 2.0)

    check_gradients(Square.apply, [MATRIX])
    with pytest.raises(AssertionError, match="gradient by input"):
        check_second(Square.apply, [MATRIX])


def test_inputs_are_not_changed_and_float32_is_computed_in_float64() -> None:
    x = MATRIX.astype(np.float32)
    before = x.copy()
    check_gradients(lambda t: t * t, [x])
    check_second(lambda t: t * t, [mr.tensor(x)])
    np.testing.assert_array_equal(x, before)


def test_an_output_in_float32_is_refused() -> None:
    with pytest.raises(AssertionError, match="float32"):
        check_gradients(lambda t: t.to("float32"), [MATRIX])


def test_empty_inputs_are_checked_for_shape() -> None:
    check_gradients(lambda t: t * 2.0, [np.zeros((0, 3))])
    check_second(lambda t: t * t, [np.zeros((0, 3))])
