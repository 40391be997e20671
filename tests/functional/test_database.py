"""What PyTorch's own operator database found: the cases, and PyTorch 2.13's numbers for them.

``python -m tests.proofs.operator_database`` runs the whole database where PyTorch is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd.function import Recorded
from minires.errors import DTypeError, MiniresError, ShapeError, UsageError

nan, inf = np.nan, np.inf
Numbers = Any  # nested lists of floats

# The call, its inputs, the values, and the gradients of their sum by each input.
CASES: dict[str, tuple[Callable[..., Any], list[Numbers], Numbers, list[Numbers]]] = {
    "relu passes the gradient at nan": (
        F.relu,
        [[-1.0, nan, 2.0, 0.0]],
        [0.0, nan, 2.0, 0.0],
        [[0.0, 1.0, 1.0, 0.0]],
    ),
    "abs has the gradient 0 at nan": (
        F.abs,
        [[-1.0, nan, 2.0, 0.0]],
        [1.0, nan, 2.0, 0.0],
        [[-1.0, 0.0, 1.0, 0.0]],
    ),
    "amax of a nan has the gradient nan": (
        lambda x: F.amax(x, 1),
        [[[1.0, nan, 2.0], [1.0, 2.0, 2.0]]],
        [nan, 2.0],
        [[[nan, nan, nan], [0.0, 0.5, 0.5]]],
    ),
    "max of nans sends the gradient to them": (
        F.max,
        [[1.0, nan, 2.0, nan]],
        nan,
        [[0.0, 0.5, 0.0, 0.5]],
    ),
    "the negative exponent of a zero base": (
        F.pow,
        [[0.0, 0.0, 0.0, 0.0, 2.0], [-1.0, 0.0, 2.0, 0.5, -1.0]],
        [inf, 1.0, 0.0, 0.0, 0.5],
        [[-inf, 0.0, 0.0, inf, -0.25], [-inf, 0.0, 0.0, 0.0, 0.34657359027997264]],
    ),
    "the negative exponent of the number 0": (
        lambda b: 0.0**b,
        [[-1.0, 0.0, 2.0]],
        [inf, 1.0, 0.0],
        [[-inf, 0.0, 0.0]],
    ),
    "clamp between tensors": (
        F.clamp,
        [[-3.0, 0.0, 3.0, 1.0, 2.0], [-1.0, -1.0, -1.0, 1.0, 1.5], [1.0] * 5],
        [-1.0, 0.0, 1.0, 1.0, 1.0],
        [[0.0, 1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 1.0]],
    ),
    "clamp between tensors that cross": (
        F.clamp,
        [[0.0, 3.0, 5.0], [2.0, 2.0, 2.0], [1.0, 1.0, 2.0]],
        [1.0, 1.0, 2.0],
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
    ),
    "clamp above a row": (
        F.clamp,
        [[[-3.0, 0.0, 3.0], [1.0, 2.0, nan]], [0.0, 2.0, 3.0]],
        [[0.0, 2.0, 3.0], [1.0, 2.0, nan]],
        [[[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [1.0, 1.0, 0.0]],
    ),
    "clamp below a row": (
        lambda x, high: F.clamp(x, max=high),
        [[-3.0, 0.0, 3.0], [0.0, 0.0, 0.0]],
        [-3.0, 0.0, 0.0],
        [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    ),
    "a circle once round": (
        lambda x: F.pad(x, (3, 3), mode="circular") * np.arange(1.0, 10.0),
        [[1.0, 2.0, 3.0]],
        [1.0, 4.0, 9.0, 4.0, 10.0, 18.0, 7.0, 16.0, 27.0],
        [[12.0, 15.0, 18.0]],
    ),
    "a circle cropped at its start": (
        lambda x: F.pad(x, (-1, 2), mode="circular") * np.arange(1.0, 5.0),
        [[1.0, 2.0, 3.0]],
        [2.0, 6.0, 6.0, 12.0],
        [[0.0, 4.0, 6.0]],
    ),
    "a circle cropped at its end": (
        lambda x: F.pad(x, (2, -1), mode="circular") * np.arange(1.0, 5.0),
        [[1.0, 2.0, 3.0]],
        [1.0, 4.0, 3.0, 8.0],
        [[4.0, 6.0, 0.0]],
    ),
    "a variance less one and a half": (
        lambda x: F.var(x, correction=1.5),
        [[1.0, 3.0]],
        4.0,
        [[-4.0, 4.0]],
    ),
    "a deviation less one and a half": (
        lambda x: F.std(x, correction=1.5),
        [[1.0, 3.0]],
        2.0,
        [[-1.0, 1.0]],
    ),
    "the sum over no dimensions, which is one over all": (
        lambda x: x.sum(()),
        [[[1.0, 2.0], [3.0, 4.0]]],
        10.0,
        [[[1.0, 1.0], [1.0, 1.0]]],
    ),
    "the variance over no dimensions": (
        lambda x: x.var([], keepdim=True),
        [[[1.0], [3.0]]],
        [[2.0]],
        [[[-2.0], [2.0]]],
    ),
    "the largest over no dimensions": (lambda x: x.amax(()), [[1.0, 3.0]], 3.0, [[0.0, 1.0]]),
    "an empty list as index": (lambda x: x[[]], [[1.0, 2.0]], [], [[0.0, 0.0]]),
    "an empty list among indices": (lambda x: x[0, []], [[[1.0, 2.0]]], [], [[[0.0, 0.0]]]),
    "the sum of a single number over its last dimension": (lambda x: x.sum(-1), [3.0], 3.0, [1.0]),
    "the softmax of a single number": (F.softmax, [3.0], 1.0, [0.0]),
    "a single number transposed": (lambda x: x.transpose(0, -1), [3.0], 3.0, [1.0]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_values_and_gradients_are_those_of_pytorch(case: str) -> None:
    call, inputs, values, gradients = CASES[case]
    leaves = [mr.tensor(np.array(x), requires_grad=True) for x in inputs]
    out = call(*leaves)
    np.testing.assert_allclose(out.data, values, rtol=1e-12)
    out.backward(np.ones(out.shape))
    for leaf, gradient in zip(leaves, gradients, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(leaf.grad.data, gradient, rtol=1e-12)


def test_a_transposed_convolution_may_add_rows_up_to_its_dilation() -> None:
    x, weight = (
        mr.tensor(np.arange(1.0, 5.0).reshape(1, 1, 2, 2), requires_grad=True) for _ in range(2)
    )
    how: dict[str, Any] = {"padding": 1, "output_padding": (1, 2), "dilation": 3}
    out = F.conv_transpose2d(x, weight, np.array([10.0]), **how)
    assert out.tolist() == [
        [
            [
                [14.0, 10.0, 16.0, 18.0, 10.0],
                [10.0, 10.0, 10.0, 10.0, 10.0],
                [16.0, 10.0, 14.0, 18.0, 10.0],
                [22.0, 10.0, 22.0, 26.0, 10.0],
            ]
        ]
    ]
    out.backward(np.arange(20.0).reshape(1, 1, 4, 5))
    assert x.grad is not None
    assert weight.grad is not None
    assert x.grad.tolist() == [[[[48.0, 82.0], [72.0, 123.0]]]]
    assert weight.grad.tolist() == [[[[0.0, 18.0], [80.0, 161.0]]]]


def test_the_second_argument_of_a_variance_may_be_unbiased() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert F.var(x, True) == pytest.approx(7 / 3)
    assert F.var(x, False) == pytest.approx(14 / 9)
    assert F.std(x, False) == pytest.approx(np.sqrt(14 / 9))
    assert F.var(x, correction=None) == pytest.approx(7 / 3)
    assert np.isnan(F.var(np.array([1.0])))


def test_the_bounds_of_clamp_take_part_in_the_dtype() -> None:
    x = mr.tensor([1.0, -2.0])
    assert x.clamp(mr.tensor(np.zeros(2, np.int32))).dtype == np.float32
    assert x.clamp(mr.tensor(np.zeros(2))).dtype == np.float64
    half = mr.tensor([1, -2]).clamp(mr.tensor(0.5))
    assert (half.dtype, half.tolist()) == (np.float32, [1.0, 0.5])


@pytest.mark.parametrize("join", [mr.cat, mr.stack])
def test_whole_numbers_beside_float32_become_float32(join: Callable[..., mr.Tensor]) -> None:
    x, whole = mr.tensor([1.5, 2.5], requires_grad=True), mr.tensor([3, 4])
    out = join([whole, x, x > 2.0])
    assert out.dtype == np.float32
    assert out.reshape(-1).tolist() == [3.0, 4.0, 1.5, 2.5, 0.0, 1.0]
    out.backward(np.arange(6.0).reshape(out.shape))
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 3.0]
    assert join([whole, x.to("float64")]).dtype == np.float64
    assert join([whole, whole > 3]).dtype == np.int64


def test_clamp_saves_only_the_masks_of_inputs_that_have_a_gradient() -> None:
    x, low = mr.tensor([1.0, -2.0], requires_grad=True), mr.tensor([0.0, 0.0])
    for out in (x.clamp(-1.0, 1.0), x.clamp(low, 1.0)):
        assert isinstance(out.node, Recorded)
        assert [type(mask) for mask in out.node.saved_arrays["takers"]] == [
            np.ndarray,
            type(None),
            type(None),
        ]


def test_where_makes_float32_of_two_python_numbers() -> None:
    condition = mr.tensor([1.0, -1.0]) > 0
    for one, other, dtype in ((0.5, -1.5, np.float32), (0.0, 2, np.float32), (1, 2, np.int64)):
        out = F.where(condition, one, other)
        assert (out.dtype, out.tolist()) == (dtype, [one, other])


def test_softmax_can_convert_first() -> None:
    out = F.softmax(mr.tensor([1, 2]), 0, dtype="float64")
    assert out.dtype == np.float64
    np.testing.assert_allclose(out.data, [0.2689414213699951, 0.7310585786300049], rtol=1e-12)
    logarithm = mr.tensor([1.0, 2.0]).log_softmax(0, dtype="float64")
    np.testing.assert_allclose(
        logarithm.data, [-1.3132616875182228, -0.3132616875182228], rtol=1e-12
    )


def test_layers_take_their_input_by_name() -> None:
    x = mr.ones(1, 2, 2, 2)
    for layer in (nn.ReLU(), nn.Flatten(), nn.Identity(), nn.MaxPool2d(2), nn.BatchNorm2d(2)):
        np.testing.assert_array_equal(layer(input=x).data, layer(x).data)
    assert nn.Linear(2, 3)(input=x).shape == (1, 2, 2, 3)


def test_batch_norm_can_do_without_a_bias() -> None:
    norm = nn.BatchNorm2d(2, bias=False)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
    plain = nn.BatchNorm2d(2)
    x = mr.arange(16.0).reshape(2, 2, 2, 2)
    np.testing.assert_array_equal(norm(x).data, plain(x).data)


X = np.zeros((2, 3))
REFUSED: dict[str, tuple[Callable[[], Any], type[MiniresError], str]] = {
    "two plain numbers": (lambda: F.add(1, 2), DTypeError, "neither 1 nor 2 is an array"),
    "a variance of nothing": (lambda: F.var(X[0], correction=3), UsageError, "3 is as much as"),
    "transposed, one image": (
        lambda: F.conv_transpose2d(np.zeros((1, 2, 2)), np.zeros((1, 1, 2, 2))),
        ShapeError,
        r"batch axis: x\[None\]",
    ),
    "transposed, too much output_padding": (
        lambda: F.conv_transpose2d(
            np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2, 2)), output_padding=2, dilation=2
        ),
        UsageError,
        "below stride .* or dilation",
    ),
    "pad, twice round": (lambda: F.pad(X, (4, 0), mode="circular"), ShapeError, "at most as many"),
    "batch_norm, eps": (
        lambda: F.batch_norm(X, None, None, training=True, eps=0.0),
        UsageError,
        "must be positive in training",
    ),
    "arange, direction": (lambda: mr.arange(0, -3, 2), UsageError, "give the step its sign"),
    "arange, without end": (lambda: mr.arange(0.0, inf), UsageError, "must be finite"),
    "arange, fractions": (
        lambda: mr.arange(0, 1, 0.25, dtype="int64"),
        UsageError,
        "whole numbers need whole bounds",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_pytorch_refuses_or_minires_lacks_is_refused_with_the_mend(case: str) -> None:
    call, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        call()
