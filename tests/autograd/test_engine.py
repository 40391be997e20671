"""The backward pass: the engine rules of the design, each with what it promises."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import kernels, nn
from minires.autograd import Function, Node, engine
from minires.check import gradcheck, gradgradcheck
from minires.errors import GraphError, GraphFreedError, ShapeError
from minires.functional.conv import Conv2d, Conv2dGradInput, Conv2dGradWeight


def leaf(*shape: int, seed: int = 0) -> mr.Tensor:
    return mr.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def fired(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The nodes whose backward methods have run, in order."""
    nodes: list[Node] = []
    fire = engine._fire

    def watched(node: Any, grad: Any) -> Any:
        nodes.append(node)
        return fire(node, grad)

    monkeypatch.setattr(engine, "_fire", watched)
    return nodes


def residual_stack(blocks: int) -> nn.Sequential:
    class Block(nn.ResidualBlock):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def branch(self, u: mr.Tensor) -> mr.Tensor:
            return self.linear(u).relu()

    return nn.Sequential(*(Block() for _ in range(blocks)))


# --- rule 1: one backward method, for arrays and for tensors ---

ARITHMETIC: dict[str, Callable[..., mr.Tensor]] = {
    "a quotient of products": lambda x, y: x * y / (x * x + 1.0),
    "powers and roots": lambda x, y: (x * x + 1.0) ** 0.5 - y**3,
    "exponentials": lambda x, y: (x.exp() + (y * y + 0.5).log()) * 0.5,
    "a product of matrices": lambda x, y: x @ y @ x,
    "a tensor and its detached self": lambda x, y: x * x.detach() * y,
    "batches of matrices": lambda x, y: F.matmul(x.reshape(1, 2, 2), y) @ x,
}


@pytest.mark.parametrize("name", [n for n in ARITHMETIC if "detached" not in n])
def test_arithmetic_and_matmul_are_twice_differentiable(name: str) -> None:
    inputs = [leaf(2, 2, seed=1), leaf(2, 2, seed=2)]
    gradcheck(ARITHMETIC[name], inputs, rtol=1e-6)
    gradgradcheck(ARITHMETIC[name], inputs, rtol=1e-6)


CONVOLUTIONS = [
    {},
    {"stride": (2, 1), "padding": 1},
    {"dilation": (1, 2), "padding": (0, 2)},
    {"groups": 2},
    {"groups": 2, "stride": 2, "padding": (1, 2), "dilation": 2},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_each_of_the_three_maps_of_convolution_is_twice_differentiable(
    settings: dict[str, Any],
) -> None:
    how = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **settings}
    rng = np.random.default_rng(4)
    x = rng.standard_normal((1, 2, 4, 4))
    weight = rng.standard_normal((2, 2 // how["groups"], 2, 2))
    g = rng.standard_normal(F.conv2d(x, weight, **settings).shape)
    maps: list[tuple[Callable[..., Any], list[np.ndarray]]] = [
        (lambda x, w: Conv2d.apply(x, w, None, **how), [x, weight]),
        (lambda g, w: Conv2dGradInput.apply(g, w, x_shape=x.shape, **how), [g, weight]),
        (lambda g, x: Conv2dGradWeight.apply(g, x, weight_shape=weight.shape, **how), [g, x]),
    ]
    for function, inputs in maps:
        gradcheck(function, inputs, rtol=1e-6)
        gradgradcheck(function, inputs, rtol=1e-6)


def test_a_tensor_times_its_detached_self_has_the_gradient_of_one_factor() -> None:
    x = mr.tensor([3.0], requires_grad=True)
    (x * x.detach()).backward()
    assert x.grad.item() == 3.0
    (first,) = mr.grad(x * x.detach(), x, create_graph=True)
    assert mr.grad(first * x, x)[0].item() == 3.0  # the other factor stays a constant
    (first,) = mr.grad(x.detach() * x * x, x, create_graph=True)
    assert mr.grad(first, x)[0].item() == 6.0


def test_gradients_can_be_differentiated_any_number_of_times() -> None:
    x = mr.tensor(2.0, requires_grad=True)
    y = x**4
    found = []
    for _ in range(5):
        (y,) = mr.grad(y, x, create_graph=True)
        found.append(y.item())
    assert found == [32.0, 48.0, 48.0, 24.0, 0.0]


def test_backward_with_create_graph_leaves_gradients_that_can_be_differentiated() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    penalty = (x.grad * x.grad).sum()  # sum of 9 x^4
    assert mr.grad(penalty, x)[0].tolist() == [36.0, 288.0]


def test_ordinary_backward_hands_arrays_and_create_graph_hands_tensors() -> None:
    kinds = []

    class Twice(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save(x=x)
            kinds.append(type(x))
            return x * 2.0

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            kinds.extend([type(grad_out), type(ctx.saved("x"))])
            return grad_out * 2.0

    x = mr.tensor([1.0], requires_grad=True)
    mr.grad(Twice.apply(x), x)
    mr.grad(Twice.apply(x), x, create_graph=True)
    array = np.ndarray
    assert kinds == [array, array, array, array, mr.Tensor, mr.Tensor]


def test_an_operation_given_arrays_only_returns_arrays_and_records_nothing() -> None:
    x = np.ones((2, 2), np.float32)
    for out in (F.add(x, x), F.matmul(x, x), F.relu(x), F.sum(x, 0)):
        assert type(out) is np.ndarray


# --- rule 2: a dropped graph is gone ---


def test_a_dropped_graph_is_freed_by_reference_counting(no_collector: None) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )
    hidden = model(mr.randn(2, 1, 6, 6))
    loss = F.cross_entropy(residual_stack(2)(hidden.reshape(8, 2)).softmax(1).exp(), [1] * 8)
    watched: list[Any] = [weakref.ref(hidden.node), weakref.ref(hidden.data)]
    stack: list[Any] = [loss.node]
    while stack:
        node = stack.pop()
        if node.parents:
            watched.append(weakref.ref(node))
            stack.extend(parent for parent in node.parents if parent is not None)
    del node, stack
    assert len(watched) > 20
    del loss, hidden
    assert [ref() for ref in watched if ref() is not None] == []


def test_a_recorded_gradient_is_freed_by_reference_counting(no_collector: None) -> None:
    x = leaf(3)
    (first,) = mr.grad((x.exp() * x).sum(), x, create_graph=True)
    node = weakref.ref(first.node)
    del first
    assert node() is None


def test_backward_frees_the_saved_arrays_while_the_loss_is_still_there(no_collector: None) -> None:
    x = leaf(3)
    hidden = x.exp()
    array = weakref.ref(hidden.data)
    loss = (hidden * hidden).sum()
    del hidden
    assert array() is not None
    loss.backward()
    assert array() is None


# --- rule 3: every node once, without recursion ---


def test_fifty_residual_blocks_cost_ten_times_what_five_cost(fired: list[Node]) -> None:
    def calls(blocks: int) -> int:
        fired.clear()
        residual_stack(blocks)(mr.randn(1, 2, requires_grad=True)).sum().backward()
        assert len(set(fired)) == len(fired)
        return len(fired) - 1  # less the sum at the end

    assert calls(50) == 10 * calls(5) > 0


def test_a_node_fires_after_all_its_consumers_with_the_whole_gradient(fired: list[Node]) -> None:
    x = mr.tensor([2.0], requires_grad=True)
    fork = x * 1.0
    seen = []
    fork.register_hook(lambda grad: seen.append(grad.item()))
    long_way = fork
    for _ in range(5):
        long_way = long_way * 2.0
    (long_way + fork * 3.0 + fork).backward()
    assert seen == [36.0]
    assert x.grad.item() == 36.0
    assert len(set(fired)) == len(fired)
    assert fired[-1] is fork.node


def test_a_ladder_of_diamonds_costs_one_visit_a_node(fired: list[Node]) -> None:
    x = mr.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(60):  # 2^60 ways
        y = y + y * 1.0
    y.backward()
    assert len(fired) == 120
    assert x.grad.item() == 2.0**60


def test_a_tensor_used_several_times_gets_the_sum() -> None:
    x = mr.tensor([3.0], requires_grad=True)
    (x * x + x + x * 4.0 - x / 3.0).backward()
    np.testing.assert_allclose(x.grad.data, 6.0 + 1.0 + 4.0 - 1.0 / 3.0, rtol=1e-6)
    gradcheck(lambda x: (x @ x) * x + x.sum() - x.transpose(0, 1), [leaf(3, 3)], rtol=1e-6)


def test_a_chain_of_5000_operations_goes_backward_without_recursion(fired: list[Node]) -> None:
    x = mr.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1.0
    y.backward(retain_graph=True)
    assert x.grad.item() == 1.0
    assert len(fired) == 5000
    (gradient,) = mr.grad((y * y).sum(), x, create_graph=True)
    assert gradient.item() == 2.0 * 5001.0


def test_a_chain_of_100000_operations_can_be_dropped(no_collector: None) -> None:
    x = mr.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y * 1.0
    first = weakref.ref((y.node.parents[0] or y.node).parents[0])
    del y
    assert first() is None
    assert x.data.flags.writeable


# --- rule 4: one backward, unless told otherwise ---


def test_a_second_backward_says_how_to_mend_it() -> None:
    x = leaf(3)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(GraphFreedError, match=r"(?s)freed.*retain_graph=True.*loss again"):
        loss.backward()


def test_a_second_backward_through_a_shared_part_says_so_too() -> None:
    x = leaf(3)
    shared = x.exp()
    (shared * 2.0).sum().backward()
    with pytest.raises(GraphFreedError, match="backward through Exp"):
        (shared * 3.0).sum().backward()


def test_retain_graph_allows_a_second_backward_and_gradients_add_up() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad.tolist() == [4.0, 8.0]
    with pytest.raises(GraphFreedError):
        loss.backward()


def test_create_graph_keeps_the_graph_unless_told_otherwise() -> None:
    x = leaf(3)
    loss = (x * x).sum()
    mr.grad(loss, x, create_graph=True)
    mr.grad(loss, x, create_graph=True, retain_graph=False)
    with pytest.raises(GraphFreedError):
        mr.grad(loss, x)


# --- rule 5: gradients are handed on, and never changed ---


def shares(*tensors: mr.Tensor) -> bool:
    return any(np.shares_memory(a.data, b.data) for a, b in combinations(tensors, 2))


@pytest.mark.parametrize("create_graph", [False, True])
def test_no_two_tensors_share_a_gradient_array(create_graph: bool) -> None:
    a, b, c = leaf(2, 3), leaf(2, 3), leaf(2, 3)
    inner = a + b
    inner.retain_grad()
    out = inner + c
    cotangent = mr.tensor(np.ones((2, 3)))
    out.backward(cotangent, create_graph=create_graph)
    kept = [a.grad, b.grad, c.grad, inner.grad]
    assert not shares(*kept, cotangent)
    for grad in kept:
        assert grad.data.flags.writeable
        grad.data[...] *= 2.0
    assert all((grad.data == 2.0).all() for grad in kept)
    assert (cotangent.data == 1.0).all()


@pytest.mark.parametrize("create_graph", [False, True])
def test_no_two_results_of_grad_share_an_array(create_graph: bool) -> None:
    a, b = leaf(3), leaf(3)
    inner = a + b
    cotangent = mr.tensor(np.ones(3))
    found = mr.grad(inner - 0.0, [a, b, inner], cotangent, create_graph=create_graph)
    assert not shares(*found, cotangent)
    total = mr.grad((a + b).sum(), [a, b], create_graph=create_graph)
    assert not shares(*total)
    assert all(grad.data.flags.writeable for grad in total)


def test_a_gradient_handed_to_several_is_not_changed_by_the_sum_at_one_of_them() -> None:
    a, b, c, d = (leaf(3, seed=i) for i in range(4))
    cotangent = np.array([1.0, -2.0, 3.0])
    ((a + b) + (a + c) + (a + d)).backward(cotangent)
    assert a.grad.tolist() == [3.0, -6.0, 9.0]
    assert b.grad.tolist() == c.grad.tolist() == d.grad.tolist() == [1.0, -2.0, 3.0]
    assert cotangent.tolist() == [1.0, -2.0, 3.0]


def test_a_second_backward_adds_to_the_gradient_in_an_array_of_its_own() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    first = x.grad.data
    (x * 3.0).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]
    assert first.tolist() == [2.0, 4.0]


def test_weight_decay_is_counted_once_where_two_weights_get_one_gradient() -> None:
    a, b = (mr.tensor([1.0], requires_grad=True) for _ in range(2))
    (a + b).backward()
    mr.optim.SGD([a, b], lr=1.0, momentum=0.5, weight_decay=0.1).step()
    np.testing.assert_allclose([a.item(), b.item()], 1.0 - 1.1, rtol=1e-5)
    assert a.grad.item() == b.grad.item() == 1.0


# --- rule 6: nothing that nobody asked for ---


def test_the_image_gradient_of_the_first_convolution_is_never_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = []
    by_input, both = kernels.conv2d_grad_input, kernels.conv2d_grads

    def watched(grad_out: Any, weight: Any, x_shape: Any, **how: Any) -> Any:
        shapes.append(x_shape)
        return by_input(grad_out, weight, x_shape, **how)

    def both_watched(grad_out: Any, x: Any, weight: Any, **how: Any) -> Any:
        shapes.append(x.shape)
        return both(grad_out, x, weight, **how)

    monkeypatch.setattr(kernels, "conv2d_grad_input", watched)
    monkeypatch.setattr(kernels, "conv2d_grads", both_watched)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    images = mr.randn(2, 3, 8, 8)
    model(images).sum().backward()
    assert shapes == [(2, 4, 6, 6)]
    assert all(parameter.grad is not None for parameter in model.parameters())
    images.requires_grad_()
    model(images).sum().backward()
    assert shapes[-1] == (2, 3, 8, 8)


def test_frozen_weights_cost_no_weight_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **how: Any) -> Any:
        raise AssertionError("nobody asked for this gradient")

    monkeypatch.setattr(kernels, "conv2d_grads", forbidden)
    monkeypatch.setattr(kernels, "conv2d_grad_weight", forbidden)
    layer = nn.Conv2d(3, 4, 3).requires_grad_(False)
    images = mr.randn(2, 3, 8, 8, requires_grad=True)
    layer(images).sum().backward()
    assert images.grad is not None


def test_needs_input_grad_says_which_inputs_are_part_of_a_graph() -> None:
    x, constant = leaf(2), mr.tensor(np.ones(2))
    assert (x * constant).node.needs_input_grad == (True, False)
    assert (2.0 - x).node.needs_input_grad == (False, True)


def test_grad_does_not_go_beyond_its_inputs(fired: list[Node]) -> None:
    x, w = leaf(3), leaf(3)
    hidden = (x * w).exp()
    loss = (hidden * 2.0).sum()
    (found,) = mr.grad(loss, hidden)
    assert found.tolist() == [2.0] * 3
    assert hidden.node not in fired
    hidden.sum().backward()  # the part before ``hidden`` has not been freed
    assert x.grad is not None


# --- mr.grad ---


def test_grad_takes_several_outputs_and_inputs_and_touches_no_grad() -> None:
    x, y = mr.tensor([1.0, 2.0], requires_grad=True), mr.tensor([3.0, 4.0], requires_grad=True)
    outputs = [x * y, (x + y).sum()]
    by_x, by_y = mr.grad(outputs, [x, y], [mr.tensor([10.0, 100.0]), None])
    assert by_x.tolist() == [31.0, 401.0]
    assert by_y.tolist() == [11.0, 201.0]
    assert x.grad is None
    assert y.grad is None


def test_grad_takes_one_cotangent_for_one_output_as_array_or_tensor() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    cotangent = np.array([1.0, 10.0], np.float32)
    for given in (cotangent, mr.tensor(cotangent), [cotangent]):
        assert mr.grad(x * x, x, given)[0].tolist() == [2.0, 40.0]


def test_grad_by_an_intermediate_tensor_and_by_what_it_came_from() -> None:
    x = mr.tensor([2.0], requires_grad=True)
    hidden = x * x
    assert [g.item() for g in mr.grad(hidden * hidden, [hidden, x])] == [8.0, 32.0]


def test_grad_of_an_output_by_itself_is_the_cotangent() -> None:
    x = mr.tensor([2.0], requires_grad=True)
    assert mr.grad(x, x)[0].item() == 1.0
    hidden = x * 3.0
    assert mr.grad(hidden, hidden, mr.tensor([5.0]))[0].item() == 5.0


def test_grad_by_an_input_named_twice_gives_it_twice() -> None:
    x = mr.tensor([2.0], requires_grad=True)
    first, second = mr.grad(x * x, [x, x])
    assert first.item() == second.item() == 4.0


def test_grad_by_an_unused_input_is_an_error_that_names_it_or_none() -> None:
    x, unused = leaf(2), leaf(3)
    with pytest.raises(GraphError, match=r"input 1 of shape \(3,\).*allow_unused=True"):
        mr.grad((x * x).sum(), [x, unused])
    found = mr.grad((x * x).sum(), [x, unused], allow_unused=True)
    assert found[0] is not None
    assert found[1] is None


def test_grad_says_what_is_wrong_with_its_arguments() -> None:
    x, constant = leaf(2), mr.tensor([1.0, 2.0])
    with pytest.raises(GraphError, match="does not require grad"):
        mr.grad(constant.sum(), x)
    with pytest.raises(GraphError, match="does not require grad"):
        mr.grad((x * x).sum(), constant)
    with pytest.raises(GraphError, match="1 outputs but 2 grad_outputs"):
        mr.grad([x * x], x, [constant, constant])
    with pytest.raises(ShapeError, match=r"(?s)shape of the tensor.*\(2,\).*\(3,\)"):
        mr.grad(x * x, x, np.ones(3))
    with pytest.raises(GraphError, match=r"shape \(2,\) needs a gradient"):
        mr.grad(x * x, x)


# --- backward, hooks, retain_grad ---


def test_backward_needs_a_gradient_unless_there_is_a_single_number() -> None:
    x = leaf(2, 1)
    with pytest.raises(GraphError, match=r"(?s)\(2, 1\) needs a gradient.*\.sum\(\)"):
        (x * x).backward()
    (x[:1] * 3.0).backward()  # one element, of shape (1, 1)
    assert x.grad.tolist() == [[3.0], [0.0]]
    with pytest.raises(GraphError, match="does not require grad"):
        mr.tensor([1.0]).backward()


def test_the_gradient_given_to_backward_takes_the_dtype_of_the_tensor() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    for create_graph in (False, True):
        x.grad = None
        (x * x).backward(mr.tensor(np.array([1.0, 10.0])), create_graph=create_graph)
        assert x.grad.dtype == np.float32
        assert x.grad.tolist() == [2.0, 40.0]


def test_retain_grad_keeps_the_gradient_of_an_intermediate_tensor() -> None:
    x = mr.tensor([2.0], requires_grad=True)
    kept, other = x * 3.0, x * 5.0
    kept.retain_grad()
    (kept * kept + other).backward()
    assert kept.grad.item() == 12.0
    assert other.grad is None
    with pytest.raises(GraphError, match="requires grad"):
        mr.tensor([1.0]).retain_grad()


def test_a_hook_sees_the_gradient_and_can_replace_it_until_it_is_removed() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    seen = []
    looks = x.register_hook(lambda grad: seen.append(grad.tolist()))
    changes = x.register_hook(lambda grad: grad * 10.0)
    (x * x).sum().backward()
    assert seen == [[2.0, 4.0]]
    assert x.grad.tolist() == [20.0, 40.0]
    changes.remove()
    changes.remove()  # a second time does nothing
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]
    looks.remove()
    (x * x).sum().backward()
    assert len(seen) == 2


def test_hooks_run_in_order_also_when_nobody_keeps_their_handles() -> None:
    x = mr.tensor([1.0], requires_grad=True)
    order: list[int] = []
    for hook in [lambda grad, i=i: order.append(i) for i in range(5)]:
        x.register_hook(hook)
    x.backward()
    assert order == [0, 1, 2, 3, 4]


def test_a_hook_on_an_intermediate_tensor_changes_what_comes_before_it() -> None:
    x = mr.tensor([1.0], requires_grad=True)
    hidden = x * 3.0
    hidden.retain_grad()
    hidden.register_hook(lambda grad: mr.tensor([7.0]))
    (hidden * 2.0).backward()
    assert hidden.grad.item() == 7.0
    assert x.grad.item() == 21.0


def test_a_hook_cannot_change_a_gradient_in_place() -> None:
    a, b = leaf(2), leaf(2)

    def writes(grad: mr.Tensor) -> None:
        grad.data[...] = 99.0

    a.register_hook(writes)
    with pytest.raises(ValueError, match="read-only"):
        (a + b).backward(np.ones(2))


def test_a_gradient_kept_by_a_hook_is_not_changed_later() -> None:
    x = mr.tensor([1.0], requires_grad=True)
    kept: list[mr.Tensor] = []
    x.register_hook(kept.append)
    (x * 2.0 + x * 3.0 + x * 4.0).backward()
    mr.optim.SGD([x], lr=1.0, momentum=0.9, weight_decay=0.5).step()
    x.grad.data[...] = 0.0
    assert kept[0].item() == 9.0


def test_a_hook_must_return_the_shape_and_gets_back_the_dtype() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    handle = x.register_hook(lambda grad: grad.sum())
    with pytest.raises(ShapeError, match=r"hook returned shape \(\).*\(2,\)"):
        (x * x).sum().backward()
    handle.remove()
    x.register_hook(lambda grad: grad.to("float64"))
    (x * x).sum().backward()
    assert x.grad.dtype == np.float32


def test_a_hook_sees_a_recorded_gradient_under_create_graph() -> None:
    x = mr.tensor([3.0], requires_grad=True)
    x.register_hook(lambda grad: grad * grad)
    (gradient,) = mr.grad(x * x, x, create_graph=True)  # (2x)^2
    assert gradient.item() == 36.0
    x.node.hooks.clear()
    assert mr.grad(gradient, x)[0].item() == 24.0  # 8x


# --- mistakes in backward methods ---


def broken(result: Any) -> Callable[..., mr.Tensor]:
    class Broken(Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            return inputs[0] * 2.0

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return result(grad_out)

    return Broken.apply


def test_a_backward_that_returns_too_few_gradients_is_named() -> None:
    x = leaf(2)
    with pytest.raises(GraphError, match=r"Broken\.backward returned 1 gradients for 2 inputs"):
        broken(lambda g: g)(x, x).sum().backward()


def test_a_backward_that_returns_another_shape_is_named() -> None:
    x = leaf(2)
    with pytest.raises(ShapeError, match=r"Broken\.backward.*shape \(1, 2\).*shape \(2,\)"):
        broken(lambda g: g.reshape(1, 2))(x).sum().backward()


def test_a_backward_that_returns_another_dtype_is_put_right() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    broken(lambda g: g.astype(np.float64) * 2.0)(x).sum().backward()
    assert x.grad.dtype == np.float32


def test_an_operation_without_its_methods_says_so() -> None:
    class Half(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x / 2.0

    with pytest.raises(NotImplementedError):
        Half.apply(leaf(1)).backward()
    with pytest.raises(NotImplementedError):
        Function.apply(leaf(1))


# --- several gradients in one pass, kept apart by a label ---


def by_label(output: Any, labels: Any, changes: Any, inputs: Any) -> list[dict[Any, np.ndarray]]:
    found: list[dict[Any, np.ndarray]] = [{} for _ in inputs]
    engine.grad_by_label(
        output, labels, changes, inputs, lambda i, grads: found[i].update({**grads})
    )
    return found


def test_under_one_label_the_gradient_is_the_ordinary_one() -> None:
    def graph() -> tuple[Any, Any, Any]:
        a, b = mr.tensor([1.0, -2.0], requires_grad=True), mr.tensor([3.0, 5.0], requires_grad=True)
        c = a * b
        return a, c, (c * c + a).sum()

    a, c, out = graph()
    expected = [grad.numpy() for grad in mr.grad(out, [a, c])]
    a, c, out = graph()
    found = by_label(out, ["all"], [], [a, c])
    for grads, gradient in zip(found, expected, strict=True):
        assert list(grads) == ["all"]
        assert grads["all"].tobytes() == gradient.tobytes()


def test_labels_that_count_take_the_gradient_apart() -> None:
    x = mr.tensor(2.0, requires_grad=True)
    ways, out = [], x
    for factor in (3.0, 5.0):  # out = (1 + 3)(1 + 5) x
        way = out * 1.0
        ways.append((way, lambda k: k + 1))
        out = out + way * factor
    (found,) = by_label(out, [0], ways, [x])
    assert {k: float(v) for k, v in found.items()} == {0: 1.0, 1: 8.0, 2: 15.0}


def test_a_label_that_becomes_none_is_dropped_and_labels_that_become_one_are_added() -> None:
    x = mr.tensor(2.0, requires_grad=True)
    left, right = x * 3.0, x * 5.0
    out = left + right
    changes = [(left, lambda label: None if label == "right" else label)]
    changes += [(right, lambda label: None if label == "left" else "both")]
    (found,) = by_label(out, ["left", "right", "both"], changes, [x])
    assert {k: float(v) for k, v in found.items()} == {"left": 3.0, "both": 13.0}


def test_an_input_asked_for_twice_is_visited_twice_and_one_without_a_gradient_never() -> None:
    x, other = mr.tensor(2.0, requires_grad=True), mr.tensor(1.0, requires_grad=True)
    found = by_label(x * x, [0], [], [x, other, x])
    assert [{k: float(v) for k, v in grads.items()} for grads in found] == [{0: 4.0}, {}, {0: 4.0}]


def test_hooks_see_the_gradient_of_every_label_and_the_graph_is_freed() -> None:
    x = mr.tensor(2.0, requires_grad=True)
    y = x * 3.0
    y.register_hook(lambda grad: grad * 10.0)
    out = y * 1.0
    (found,) = by_label(out, ["a", "b"], [], [x])
    assert {k: float(v) for k, v in found.items()} == {"a": 30.0, "b": 30.0}
    with pytest.raises(GraphFreedError):
        out.backward()
    with pytest.raises(GraphError, match="needs a gradient of that shape"):
        by_label(mr.tensor([1.0, 2.0], requires_grad=True) * 2.0, [0], [], [x])


def test_a_gradient_handed_on_under_a_label_is_never_changed() -> None:
    """Two ways hand on one array each; the sums must not be made in place."""
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    a = x + 0.0
    b = x + 0.0
    out = (a + b + x).sum()
    seen = by_label(out, [0], [], [a, b, x])
    assert [grads[0].tolist() for grads in seen] == [[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]]
