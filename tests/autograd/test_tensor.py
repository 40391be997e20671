"""``Tensor``: what it holds, what it refuses, and how it meets NumPy and Python."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.errors import DTypeError, GraphError


@pytest.fixture
def x() -> mr.Tensor:
    return mr.tensor([1.0, 2.0], requires_grad=True)


# --- making one ---


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.0, 2.0], "float32"),
        ([[1, 2]], "int64"),
        (True, "bool"),
        ([1, 2.5], "float32"),
        ([], "float32"),
        (np.zeros(2), "float64"),
        (np.zeros(2, np.float32), "float32"),
        (np.zeros(2, np.int32), "int32"),
        (np.float64(1.0), "float64"),
        (np.float32(1.0), "float32"),
    ],
    ids=str,
)
def test_python_numbers_become_float32_and_arrays_keep_their_dtype(data: Any, dtype: str) -> None:
    made = mr.tensor(data)
    assert made.dtype == dtype
    assert made.shape == np.shape(data)
    assert isinstance(made.data, np.ndarray)
    assert made.is_leaf
    assert not made.requires_grad
    assert mr.tensor(data, dtype="float64").dtype == "float64"


def test_tensor_copies_and_the_class_does_not() -> None:
    array = np.array([1.0, 2.0])
    made, wrapped = mr.tensor(array), mr.Tensor(array)
    array[0] = 7.0
    assert made.tolist() == [1.0, 2.0]
    assert wrapped.data is array
    assert mr.tensor(wrapped).data is not array
    assert mr.Tensor(wrapped).data is array
    assert mr.Tensor([1.0, 2.0]).shape == (2,)


def test_a_tensor_made_of_a_tensor_is_a_leaf_of_its_own(x: mr.Tensor) -> None:
    made = mr.tensor(x * 2.0, requires_grad=True)
    (made * made).sum().backward()
    assert x.grad is None
    assert made.grad.tolist() == [4.0, 8.0]


def test_a_device_is_checked() -> None:
    assert mr.tensor([1.0], device="cpu").device == "cpu"
    with pytest.raises(RuntimeError, match="Unknown device 'gpu'"):
        mr.tensor([1.0], device="gpu")


@pytest.mark.parametrize("data", ["abc", None, [1j], {"a": 1}], ids=str)
def test_what_is_no_number_is_refused(data: Any) -> None:
    with pytest.raises(DTypeError, match="cannot make numbers"):
        mr.tensor(data)


def test_only_floating_point_tensors_can_require_grad() -> None:
    with pytest.raises(DTypeError, match=r"int64.*\.to\('float32'\)"):
        mr.tensor([1, 2], requires_grad=True)


# --- reading it ---


def test_attributes_are_those_of_the_array() -> None:
    t = mr.zeros(2, 3)
    assert (t.shape, t.ndim, t.numel(), t.dtype, t.device) == ((2, 3), 2, 6, np.float32, "cpu")
    assert len(t) == 2
    assert [row.shape for row in t] == [(3,), (3,)]
    with pytest.raises(TypeError, match="no length"):
        len(mr.tensor(1.0))


def test_single_elements_are_python_numbers() -> None:
    assert type(mr.tensor([[2.5]]).item()) is float
    assert type(mr.tensor(3).item()) is int
    assert (float(mr.tensor([2.5])), int(mr.tensor(3.7)), bool(mr.tensor([0.0]))) == (2.5, 3, False)
    assert mr.tensor([[1.5, 2.0]]).tolist() == [[1.5, 2.0]]
    with pytest.raises(ValueError, match=r"one element.*\(2,\)"):
        mr.tensor([1.0, 2.0]).item()
    with pytest.raises(ValueError, match="one element"):
        bool(mr.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: mr.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (lambda: mr.tensor([1, 2]), "tensor([1, 2])"),
        (lambda: mr.tensor(np.zeros(1)), "tensor([0.], dtype=float64)"),
        (lambda: mr.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: mr.tensor([2.0], requires_grad=True) * 2, "tensor([4.], node=<Mul>)"),
        (lambda: mr.tensor([[1.0], [2.0]]), "tensor([[1.],\n        [2.]])"),
        (lambda: mr.tensor([1.0]) == 1.0, "tensor([ True])"),
    ],
)
def test_repr_tells_dtype_and_place_in_the_graph(made: Callable[[], Any], text: str) -> None:
    assert repr(made()) == text


def test_a_node_says_what_it_is(x: mr.Tensor) -> None:
    assert repr((x * x).node) == "<Mul (2,) float32>"
    assert repr(x.node) == "<Leaf (2,) float32>"


# --- NumPy ---


def test_numpy_refuses_while_the_tensor_requires_grad(x: mr.Tensor) -> None:
    for leaves_the_graph in (x.numpy, (x * 2.0).numpy, lambda: np.asarray(x), lambda: np.array(x)):
        with pytest.raises(GraphError, match=r"x\.detach\(\)\.numpy\(\)"):
            leaves_the_graph()
    assert x.detach().numpy() is x.data


def test_numpy_reads_a_tensor_without_grad_and_converts_it() -> None:
    t = mr.tensor([1.0, 2.0])
    assert np.asarray(t) is t.data
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    assert np.asarray(t, dtype=np.float32) is t.data
    copied = np.array(t)
    assert copied is not t.data
    assert copied.tolist() == [1.0, 2.0]
    assert np.array(t, dtype=np.int64).tolist() == [1, 2]
    assert np.linalg.norm(t) == pytest.approx(5.0**0.5)


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]


@pytest.mark.parametrize("op", OPERATORS)
def test_an_array_on_the_left_leaves_the_operation_to_the_tensor(
    op: Callable[[Any, Any], Any], x: mr.Tensor
) -> None:
    array = np.array([3.0, 5.0], np.float32)
    out = op(array, x)
    assert isinstance(out, mr.Tensor)
    assert out.requires_grad
    np.testing.assert_allclose(out.data, op(array, x.data), rtol=1e-6)
    assert isinstance(np.eye(2, dtype=np.float32) @ x, mr.Tensor)
    assert isinstance(np.float64(2.0) * x, mr.Tensor)


# --- rule 8: float32 stays float32 ---

NUMBERS = [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2), np.array(2.5), np.array(2)]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{type(n).__name__} {n}")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2,), ()], ids=["1-d", "0-d"])
@pytest.mark.parametrize("op", OPERATORS)
def test_a_number_of_any_kind_leaves_the_dtype_alone(
    op: Callable[[Any, Any], Any], shape: tuple[int, ...], dtype: Any, number: Any
) -> None:
    t = mr.tensor(np.full(shape, 1.5, dtype), requires_grad=True)
    for out, expected in (
        (op(t, number), op(1.5, float(number))),
        (op(number, t), op(float(number), 1.5)),
    ):
        assert out.dtype == dtype
        assert out.shape == shape
        np.testing.assert_allclose(out.data, expected, rtol=1e-6)
        t.grad = None
        out.sum().backward()
        assert t.grad.dtype == dtype


@pytest.mark.parametrize("op", OPERATORS)
def test_whole_numbers_beside_float32_do_not_make_float64(op: Callable[[Any, Any], Any]) -> None:
    t, whole = mr.tensor([1.5, 2.5], requires_grad=True), mr.arange(1, 3)
    for other in (whole, whole.data, whole.data > 0):
        assert op(t, other).dtype == np.float32
        op(t, other).sum().backward()
        assert t.grad.dtype == np.float32
    assert op(whole, t).dtype == np.float32
    np.testing.assert_allclose(op(whole, t).data, op(np.array([1, 2]), [1.5, 2.5]), rtol=1e-6)


def test_a_network_in_float32_stays_in_float32_from_loss_to_weights() -> None:
    model = mr.nn.Sequential(
        mr.nn.Conv2d(1, 2, 3), mr.nn.BatchNorm2d(2), mr.nn.ReLU(), mr.nn.AvgPool2d(2)
    )
    out = model(mr.randn(2, 1, 6, 6))
    loss = (out * np.float64(0.5)).mean() + np.mean([1.0, 2.0])
    loss.backward()
    assert loss.dtype == np.float32
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_mixed_floating_types_widen_and_gradients_come_back_in_each(x: mr.Tensor) -> None:
    wide = mr.tensor(np.array([3.0, 4.0]), requires_grad=True)
    out = x * wide
    assert out.dtype == np.float64
    out.sum().backward()
    assert (x.grad.dtype, wide.grad.dtype) == (np.float32, np.float64)


@pytest.mark.parametrize("other", [[1.0, 2.0], None, "a", (1, 2)], ids=str)
def test_what_is_neither_number_nor_array_is_refused(other: Any, x: mr.Tensor) -> None:
    for call in (lambda: x + other, lambda: other * x, lambda: F.pow(x, other)):
        with pytest.raises(TypeError, match=r"(?s)(add|mul|pow): .*mr\.tensor"):
            call()


# --- comparisons ---


def test_comparisons_give_boolean_tensors_outside_the_graph(x: mr.Tensor) -> None:
    y = mr.tensor([1.0, 1.0])
    results = [x == y, x != y, x < y, x <= y, x > y, x >= y]
    expected = [[1, 0], [0, 1], [0, 0], [1, 0], [0, 1], [1, 1]]
    for result, values in zip(results, expected, strict=True):
        assert result.dtype == np.bool_
        assert not result.requires_grad
        assert result.tolist() == [bool(v) for v in values]
    assert (x > 1.5).tolist() == [False, True]
    assert (np.array([1.0, 3.0]) == x).tolist() == [True, False]
    assert (mr.tensor(1.0) == 1.0).shape == ()
    assert (np.float32(2.0) > x).tolist() == [True, False]


def test_tensors_are_keys_by_identity(x: mr.Tensor) -> None:
    same = mr.tensor([1.0, 2.0])
    table = {x: "x", same: "same"}
    assert table[x] == "x"
    assert table[same] == "same"


# --- the graph ---


def test_leaves_and_results_know_what_they_are(x: mr.Tensor) -> None:
    assert x.is_leaf
    assert x.requires_grad
    assert not (x * 2.0).is_leaf
    assert (mr.tensor([1.0]) * 2.0).is_leaf
    detached = (x * 2.0).detach()
    assert detached.is_leaf
    assert not detached.requires_grad


def test_requires_grad_can_be_switched_on_a_leaf_only(x: mr.Tensor) -> None:
    t = mr.tensor([1.0])
    assert t.requires_grad_() is t
    assert t.requires_grad
    t.requires_grad = False
    assert t.node is None
    with pytest.raises(GraphError, match=r"leaf.*detach\(\)"):
        (x * 2.0).requires_grad_(False)
    hidden = x * 2.0
    assert hidden.requires_grad_() is hidden  # it does already


def test_grad_can_be_set_and_its_shape_is_checked(x: mr.Tensor) -> None:
    assert x.grad is None
    x.grad = mr.tensor([1.0, 1.0])
    (x * x).sum().backward()
    assert x.grad.tolist() == [3.0, 5.0]
    x.grad = np.ones(2, np.float32)  # an array becomes a tensor
    assert isinstance(x.grad, mr.Tensor)
    with pytest.raises(GraphError, match=r"\(3,\).*\(2,\)"):
        x.grad = mr.ones(3)
    x.grad = None
    assert x.grad is None
    t = mr.tensor([1.0])
    t.grad = None
    with pytest.raises(GraphError, match="does not require grad"):
        t.grad = mr.tensor([1.0])


def test_data_of_a_leaf_can_be_replaced_and_that_of_a_result_cannot(x: mr.Tensor) -> None:
    loss = (x * x).sum()
    x.data = np.array([5.0, 6.0, 7.0])
    assert x.shape == (3,)
    (x * x).sum().backward()
    assert x.grad.tolist() == [10.0, 12.0, 14.0]
    assert loss.item() == 5.0
    with pytest.raises(GraphError, match=r"result of Mul.*detach\(\)"):
        (x * 2.0).data = np.zeros(3)
    plain = mr.tensor([1.0])
    plain.data = mr.tensor([2.0])
    assert plain.item() == 2.0


def test_augmented_assignment_makes_a_new_tensor(x: mr.Tensor) -> None:
    before, array = x, x.data
    x += 1.0
    assert x is not before
    assert array.tolist() == [1.0, 2.0]
    x.sum().backward()
    assert before.grad.tolist() == [1.0, 1.0]


def test_a_tensor_has_no_attributes_by_mistake(x: mr.Tensor) -> None:
    with pytest.raises(AttributeError):
        x.requires_gard = False


# --- copies ---


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copied_leaf_is_a_leaf_of_its_own(copied: Callable[[Any], Any], x: mr.Tensor) -> None:
    parameter = mr.nn.Parameter(np.array([1.0, 2.0], np.float32))
    parameter.grad = mr.tensor([7.0, 8.0])
    twin = copied(parameter)
    assert type(twin) is mr.nn.Parameter
    assert twin.requires_grad
    assert twin.tolist() == [1.0, 2.0]
    assert twin.grad.tolist() == [7.0, 8.0]
    assert not np.shares_memory(twin.data, parameter.data)
    assert not np.shares_memory(twin.grad.data, parameter.grad.data)
    (parameter * twin * 3.0).sum().backward()  # both in one graph
    assert parameter.grad.tolist() == twin.grad.tolist() == [10.0, 14.0]
    assert not copied(mr.tensor([1.0])).requires_grad


def test_a_copy_of_a_weight_that_a_graph_holds_can_be_written(x: mr.Tensor) -> None:
    loss = (x * x).sum()
    twin = copy.deepcopy(x)
    twin.data[0] = 9.0
    loss.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_a_result_cannot_be_copied_with_its_graph(x: mr.Tensor) -> None:
    with pytest.raises(GraphError, match=r"Mul.*detach\(\)"):
        copy.deepcopy(x * 2.0)


def test_size_numel_and_places_of_extremes_are_pytorchs() -> None:
    x = mr.tensor([[1.0, 5.0, 5.0], [7.0, 0.0, 2.0]], requires_grad=True)
    assert x.size() == (2, 3)
    assert (x.size(1), x.size(-2), x.numel()) == (3, 2, 6)
    assert (x.argmax().item(), x.argmin().item()) == (3, 4)
    assert x.argmax(1).tolist() == [1, 0]
    assert x.argmin(dim=0, keepdim=True).tolist() == [[0, 1, 1]]
    assert not x.argmax(1).requires_grad


def test_a_clone_has_memory_of_its_own_and_sends_the_gradient_back() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    y = x.clone()
    assert not np.shares_memory(x.data, y.data)
    (y * 3.0).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 3.0]
