"""Where lengths and dimensions begin and end: the last that is taken and the first that is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.errors import ShapeError


@pytest.mark.parametrize("shape", [(0, -1), (-1, 0), (0, -1, 2)])
def test_an_open_length_beside_a_length_of_0_is_not_known(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="reshape"):
        F.reshape(np.zeros((0, 3)), shape)


@pytest.mark.parametrize("shape", [(-2, -2), (-4, -1), (-2, -1, -2), (1, -2, -2), (-2, 2, -1)])
def test_lengths_below_minus_1_are_refused_also_where_their_product_fits(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(ShapeError, match="reshape"):
        F.reshape(np.zeros(4), shape)


def test_a_single_number_has_the_dimensions_0_and_minus_1_alone() -> None:
    number = np.array(2.0)
    assert F.transpose(number, 0, -1) == 2.0
    assert F.squeeze(number, -1) == 2.0
    for operation, dims in ((F.transpose, (0, 1)), (F.transpose, (-2, 0)), (F.squeeze, (1,))):
        with pytest.raises(ShapeError, match="out of range"):
            operation(number, *dims)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_one_tensor_alone_can_be_stacked_and_joined(dim: int) -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(F.stack([x], dim), np.stack([x], dim), strict=True)
    if -2 <= dim < 2:
        np.testing.assert_array_equal(F.cat([x], dim), x, strict=True)
    for beyond in (3, -4):
        with pytest.raises(ShapeError, match="out of range"):
            F.stack([x], beyond)


@pytest.mark.parametrize("wrap", [np.array, mr.tensor], ids=["array", "tensor"])
def test_a_single_boolean_as_index_keeps_all_or_nothing_and_a_single_number_one_place(
    wrap: Any,
) -> None:
    x = mr.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert x[wrap(True)].shape == (1, 2, 3)
    assert x[wrap(False)].shape == (0, 2, 3)
    assert x[wrap(1)].tolist() == [3.0, 4.0, 5.0]
    x[wrap(True)].backward(mr.ones(1, 2, 3))
    assert x.grad.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("dim", [0, -1])
def test_the_softmax_of_a_single_number_is_1(dim: int) -> None:
    number = np.array(0.7)
    assert F.softmax(number, dim) == 1.0
    assert F.log_softmax(number, dim) == 0.0
    for operation in (F.softmax, F.log_softmax):
        with pytest.raises(ShapeError, match="out of range"):
            operation(number, 1)
