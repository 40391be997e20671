"""Gradients that nobody else has are kept by a leaf as they are; all others are copied."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.autograd.function import Function, Recorded
from minires.functional.conv import Conv2d
from minires.functional.norm import BatchNorm, BatchNormEval


def drawn(*shape: int) -> mr.Tensor:
    return mr.tensor(np.random.default_rng(sum(shape)).standard_normal(shape), requires_grad=True)


def batch_norm(training: bool) -> Callable[[], list[mr.Tensor]]:
    def make() -> list[mr.Tensor]:
        inputs = [drawn(4, 3, 2, 2), drawn(3), drawn(1, 3).detach()[0].requires_grad_()]
        running = np.zeros(3), np.ones(3)
        return [F.batch_norm(inputs[0], *running, *inputs[1:], training=training), *inputs]

    return make


def convolution(shape: tuple[int, ...], **how: Any) -> Callable[[], list[mr.Tensor]]:
    def make() -> list[mr.Tensor]:
        inputs = [drawn(*shape), drawn(4, shape[1], 1, 1), drawn(4)]
        return [F.conv2d(*inputs, **how), *inputs]

    return make


CASES: dict[str, tuple[type[Function], Callable[[], list[mr.Tensor]]]] = {
    "convolution": (Conv2d, convolution((4, 3, 5, 5), padding=1)),
    "convolution of stride 2": (Conv2d, convolution((4, 3, 5, 5), stride=2)),
    "convolution of one pixel": (Conv2d, convolution((1, 3, 1, 1))),
    "batch norm in training": (BatchNorm, batch_norm(True)),
    "batch norm in evaluation": (BatchNormEval, batch_norm(False)),
}


def test_every_operation_that_hands_over_is_tried_here() -> None:
    def below(cls: type) -> set[type]:
        return {cls}.union(*(below(c) for c in cls.__subclasses__()))

    assert {c for c in below(Function) if c.hands_over} == {
        function for function, _ in CASES.values()
    }


@pytest.mark.parametrize("rung", ["fast", "im2col", "reference"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_handed_over_is_shared_with_nothing(name: str, rung: str) -> None:
    function, make = CASES[name]
    with mr.kernels.use(rung):
        out, *inputs = make()
        node = out.node
        assert isinstance(node, Recorded)
        assert node.function is function
        grad_out = np.random.default_rng(0).standard_normal(out.shape)
        grads = [g for g in function.backward(node, grad_out) if g is not None]
    assert len(grads) == len(inputs) == 3
    arrays = [*grads, grad_out, out.data, *(x.data for x in inputs)]
    for one, other in combinations(arrays, 2):
        assert not np.shares_memory(one, other)
    for grad in grads:  # nor does it hold on to something larger
        assert grad.base is None or grad.base.nbytes == grad.nbytes


def returned_by_conv(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The gradients by the weight that the kernel makes from now on."""
    made: list[np.ndarray] = []
    kernel = mr.kernels.conv2d_grads

    def watched(*args: Any, **how: Any) -> Any:
        grads = kernel(*args, **how)
        made.append(grads[1])
        return grads

    monkeypatch.setattr(mr.kernels, "conv2d_grads", watched)
    return made


def test_a_leaf_keeps_it_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    made = returned_by_conv(monkeypatch)
    x, weight = drawn(2, 3, 5, 5), drawn(4, 3, 3, 3)
    F.conv2d(x, weight).sum().backward()
    assert weight.grad.data is made[0]


def test_but_not_where_a_hook_saw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = returned_by_conv(monkeypatch)
    x, weight = drawn(2, 3, 5, 5), drawn(4, 3, 3, 3)
    seen: list[mr.Tensor] = []
    weight.register_hook(lambda grad: seen.append(grad))
    F.conv2d(x, weight).sum().backward()
    assert not np.shares_memory(weight.grad.data, made[0])
    assert not np.shares_memory(weight.grad.data, seen[0].data)


def test_a_tensor_between_and_the_leaf_behind_it_have_gradients_of_their_own() -> None:
    leaf, weight = drawn(2, 3, 5, 5), drawn(4, 3, 3, 3)
    between = leaf + 0.0  # hands the gradient on as it is
    between.retain_grad()
    F.conv2d(between, weight).sum().backward()
    np.testing.assert_array_equal(between.grad.data, leaf.grad.data)
    assert not np.shares_memory(between.grad.data, leaf.grad.data)


def test_gradients_that_meet_are_added_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = returned_by_conv(monkeypatch)
    x, weight = drawn(2, 3, 5, 5), drawn(3, 3, 3, 3)
    F.conv2d(F.conv2d(x, weight), weight).sum().backward(retain_graph=True)
    assert weight.grad.data is made[0]  # the second was added to it
    twice = drawn(2, 3, 5, 5)
    apart = [drawn(3, 3, 3, 3) for _ in range(2)]
    F.conv2d(F.conv2d(twice, apart[0]), apart[1]).sum().backward()
    np.testing.assert_allclose(weight.grad.data, apart[0].grad.data + apart[1].grad.data)


def test_a_second_pass_adds_and_leaves_what_was_taken_out_before_alone() -> None:
    x, weight = drawn(2, 3, 5, 5), drawn(4, 3, 3, 3)
    out = F.conv2d(x, weight).sum()
    out.backward(retain_graph=True)
    first = weight.grad
    before = first.data.copy()
    out.backward()
    np.testing.assert_array_equal(first.data, before)
    np.testing.assert_array_equal(weight.grad.data, 2 * before)


def test_an_operation_made_of_one_that_hands_over_does_not_promise_it() -> None:
    class StraightThrough(Conv2d):
        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out, None, None

    assert not StraightThrough.hands_over
    x, z = (mr.tensor(np.arange(4.0).reshape(1, 1, 2, 2), requires_grad=True) for _ in range(2))
    weight = mr.tensor(np.full((1, 1, 1, 1), 2.0))
    how = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    u, v = (StraightThrough.apply(x, weight, None, **how) for _ in range(2))
    (z * 1.0 + u + v).backward(mr.tensor(np.ones((1, 1, 2, 2))))
    np.testing.assert_array_equal(z.grad.data, np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(x.grad.data, np.full((1, 1, 2, 2), 2.0))
