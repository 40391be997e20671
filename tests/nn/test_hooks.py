"""Full backward hooks of modules: what they see, when they are called, and what they replace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, GraphError


class Product(nn.Module):
    """Two inputs, one output."""

    def forward(self, a: Any, b: Any) -> Any:
        return a * b


class SumAndDifference(nn.Module):
    """Two inputs, two outputs."""

    def forward(self, a: Any, b: Any) -> Any:
        return a + b, a - b


def leaf(*values: float) -> mr.Tensor:
    return mr.tensor(np.array(values), requires_grad=True)


def test_the_hook_sees_the_gradients_of_input_and_output() -> None:
    layer, seen = nn.Linear(3, 2).to("float64"), []
    layer.register_full_backward_hook(lambda *what: seen.append(what))
    x = mr.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    out = layer(x)
    out.retain_grad()
    cotangent = np.array([[1.0, -2.0], [0.5, 3.0]])
    out.backward(mr.tensor(cotangent))
    ((module, grad_input, grad_output),) = seen
    assert module is layer
    assert len(grad_input) == len(grad_output) == 1
    np.testing.assert_array_equal(grad_output[0].data, cotangent)
    np.testing.assert_allclose(grad_input[0].data, cotangent @ layer.weight.data, rtol=1e-15)
    np.testing.assert_array_equal(x.grad.data, grad_input[0].data)


def test_the_gradient_is_complete_where_the_input_is_used_twice_inside() -> None:
    class Residual(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + F.relu(x) * 3.0

    block, seen = Residual(), []
    block.register_full_backward_hook(lambda m, gi, go: seen.append(gi[0].tolist()))
    x = leaf(-1.0, 2.0)
    (block(x) + x * 100.0).sum().backward()
    assert seen == [[1.0, 4.0]], "what comes back through the module, and nothing from outside"
    assert x.grad.tolist() == [101.0, 104.0]


def test_a_hook_changes_no_number() -> None:
    def gradients(hooked: bool) -> list[list[float]]:
        mr.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
        if hooked:
            for module in model.modules():
                module.register_full_backward_hook(lambda *what: None)
                module.register_full_backward_pre_hook(lambda *what: None)
        x = mr.randn(2, 2, 5, 5, requires_grad=True)
        (model(x) ** 2).sum().backward()
        return [p.grad.tolist() for p in [x, *model.parameters()]]

    assert gradients(True) == gradients(False)


def test_what_the_hook_returns_takes_the_place_of_the_gradient() -> None:
    layer = nn.ReLU()
    first = layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10.0,))
    second = layer.register_full_backward_hook(lambda m, gi, go: gi[0] + 1.0)
    x = leaf(-1.0, 2.0)
    layer(x).sum().backward()
    assert x.grad.tolist() == [1.0, 11.0], "one after the other, on what the first returned"
    first.remove()
    x.grad = None
    layer(x).sum().backward()
    assert x.grad.tolist() == [1.0, 2.0]
    second.remove()
    x.grad = None
    layer(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


def test_what_the_pre_hook_returns_takes_the_place_of_grad_output() -> None:
    layer, seen = nn.ReLU(), []
    layer.register_full_backward_pre_hook(lambda m, go: (go[0] * -2.0,))
    layer.register_full_backward_hook(lambda m, gi, go: seen.append(go[0].tolist()))
    x = leaf(-1.0, 2.0)
    layer(x).sum().backward()
    assert seen == [[-2.0, -2.0]]
    assert x.grad.tolist() == [0.0, -2.0]


def test_several_inputs_come_together_and_can_be_replaced_together() -> None:
    layer, calls = Product(), []

    def swap(module: Any, grad_input: Any, grad_output: Any) -> Any:
        calls.append([g.tolist() for g in grad_input])
        return tuple(reversed(grad_input))

    layer.register_full_backward_hook(swap)
    a, b = leaf(2.0, 3.0), leaf(5.0, 7.0)
    layer(a, b).sum().backward()
    assert calls == [[[5.0, 7.0], [2.0, 3.0]]]
    assert (a.grad.tolist(), b.grad.tolist()) == ([2.0, 3.0], [5.0, 7.0])


def test_inputs_of_different_shapes_keep_them() -> None:
    layer, shapes = Product(), []
    layer.register_full_backward_hook(lambda m, gi, go: shapes.append([g.shape for g in gi]))
    a = mr.tensor(np.ones((2, 3)), requires_grad=True)
    b = mr.tensor(np.full((1, 3), 2.0), requires_grad=True)
    layer(a, b).sum().backward()
    assert shapes == [[(2, 3), (1, 3)]]
    assert (a.grad.tolist(), b.grad.tolist()) == ([[2.0] * 3] * 2, [[2.0] * 3])


def test_what_has_no_gradient_is_none() -> None:
    layer, seen = Product(), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append(gi))
    a = leaf(2.0)
    layer(mr.tensor(np.array([3.0])), a).sum().backward()
    assert seen[0][0] is None
    assert seen[0][1].tolist() == [3.0]
    both = SumAndDifference()
    both.register_full_backward_hook(lambda m, gi, go: seen.append(go))
    total, _ = both(a, a * 2.0)
    total.backward(mr.tensor(np.array([5.0])))
    assert seen[1][0].tolist() == [5.0]
    assert seen[1][1] is None


def test_several_outputs_keep_their_type_and_order() -> None:
    layer, seen = SumAndDifference(), []
    layer.register_full_backward_hook(
        lambda m, gi, go: seen.append(([g.item() for g in gi], [g.item() for g in go]))
    )
    a, b = leaf(2.0), leaf(3.0)
    out = layer(a, b)
    assert type(out) is tuple
    (out[0] * 10.0 + out[1]).backward()
    assert seen == [([11.0, 9.0], [10.0, 1.0])]


def test_without_a_gradient_by_the_input_it_is_called_at_the_output() -> None:
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    layer(mr.ones(1, 2)).backward()
    assert seen == [((None,), [[1.0]])]


def test_nothing_is_called_or_recorded_without_a_graph() -> None:
    layer, seen = nn.ReLU(), []
    layer.register_full_backward_hook(lambda *what: seen.append(what))
    x = leaf(1.0)
    with mr.no_grad():
        assert layer(x).node is None
    assert seen == []


def test_each_backward_pass_calls_it_and_the_gradients_can_be_differentiated() -> None:
    layer, seen = Product(), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append(gi[0].item()))
    x = leaf(3.0)
    out = layer(x, x * x)  # x^3
    (first,) = mr.grad(out, x, create_graph=True)
    (second,) = mr.grad(first, x, create_graph=True)
    assert (first.item(), second.item()) == (27.0, 18.0)
    assert seen[0] == 9.0
    assert len(seen) == 1, "the second pass comes to the inputs, but not through the outputs"


def test_errors_say_what_the_hook_should_return() -> None:
    layer = Product()
    handle = layer.register_full_backward_hook(lambda m, gi, go: gi[0])
    out = layer(leaf(1.0), leaf(2.0))
    with pytest.raises(ContractError, match="Product: it returned 1 gradients where 2 are needed"):
        out.backward()
    handle.remove()
    layer.register_full_backward_hook(lambda *what: None)
    with pytest.raises(GraphError, match="dtypes float32 and float64"):
        layer(mr.tensor([1.0], requires_grad=True), leaf(1.0))


def test_another_shape_from_the_hook_is_refused() -> None:
    layer = nn.ReLU()
    layer.register_full_backward_hook(lambda m, gi, go: (mr.ones(3),))
    with pytest.raises(mr.errors.ShapeError, match="returned shape"):
        layer(leaf(1.0, 2.0)).sum().backward()


def test_several_outputs_come_together_to_the_pre_hook() -> None:
    layer, seen = SumAndDifference(), []

    def double(module: Any, grad_output: Any) -> Any:
        seen.append([g.item() for g in grad_output])
        return tuple(g * 2.0 for g in grad_output)

    layer.register_full_backward_pre_hook(double)
    layer.register_full_backward_hook(lambda m, gi, go: seen.append([g.item() for g in go]))
    a, b = leaf(2.0), leaf(3.0)
    total, difference = layer(a, b)
    (total * 10.0 + difference).backward()
    assert seen == [[10.0, 1.0], [20.0, 2.0]]
    assert (a.grad.item(), b.grad.item()) == (22.0, 18.0)


def test_several_outputs_are_one_call_where_no_input_has_a_gradient() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(np.array([2.0]))

        def forward(self, x: Any) -> Any:
            return x * self.weight, x + self.weight

    layer, seen = Both(), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, [g.item() for g in go])))
    product, total = layer(mr.tensor(np.array([3.0])))
    (product * 10.0 + total).backward()
    assert seen == [((None,), [10.0, 1.0])]


def test_nothing_is_left_of_an_earlier_pass() -> None:
    layer, seen = SumAndDifference(), []
    layer.register_full_backward_hook(
        lambda m, gi, go: seen.append([None if g is None else g.item() for g in go])
    )
    total, difference = layer(leaf(2.0), leaf(3.0))
    total.backward(retain_graph=True)
    difference.backward()
    assert seen == [[1.0, None], [None, 1.0]]


def test_none_that_the_hook_returns_stands_for_a_gradient_of_zero() -> None:
    layer, relu = Product(), nn.ReLU()
    layer.register_full_backward_hook(lambda m, gi, go: (None, gi[1] * 5.0))
    relu.register_full_backward_hook(lambda m, gi, go: (None,))
    a, b = leaf(2.0), leaf(3.0)
    layer(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (0.0, 10.0)
    c = leaf(2.0)
    relu(c).backward()
    assert c.grad.item() == 0.0


def test_a_shape_is_refused_that_only_has_the_right_size() -> None:
    layer = Product()
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0].transpose(0, 1), gi[1]))
    a = mr.tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(mr.errors.ShapeError, match=r"returned shape \(3, 2\)"):
        layer(a, a * 2.0).sum().backward()


def test_a_second_derivative_through_a_hook_that_doubles_is_doubled_once() -> None:
    layer = Product()
    layer.register_full_backward_hook(lambda m, gi, go: tuple(g * 2.0 for g in gi))
    x = leaf(3.0)
    (first,) = mr.grad(layer(x, x * x), x, create_graph=True)  # 2 * 3 x^2
    (second,) = mr.grad(first, x)
    assert (first.item(), second.item()) == (54.0, 36.0)


def test_what_is_no_hook_and_what_is_no_gradient_is_refused() -> None:
    layer = nn.ReLU()
    for register in (
        layer.register_forward_hook,
        layer.register_forward_pre_hook,
        layer.register_full_backward_hook,
        layer.register_full_backward_pre_hook,
    ):
        with pytest.raises(mr.errors.UsageError, match="must be a function, not str"):
            register("hook")
    layer.register_full_backward_hook(lambda *what: 1.0)
    with pytest.raises(ContractError, match="it returned float for a gradient"):
        layer(leaf(1.0)).backward()
