"""The exercises of tutorial 01: what their checks answer to nothing, to right and to wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.autograd import Function
from minires.exercises import autograd


def unfilled(*args: Any) -> Any:
    raise NotImplementedError


def unfilled_dots(*args: Any) -> Any: ...


class UnfilledSoftplus(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        raise NotImplementedError


FUNCTIONS = [
    autograd.firing_order,
    autograd.accumulate,
    autograd.broadcast_product,
    autograd.hessian_vector,
]


@pytest.mark.parametrize("check", FUNCTIONS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("attempt", [unfilled, unfilled_dots, ..., None])
def test_an_unfilled_function_is_not_yet(check: Any, attempt: Any) -> None:
    verdict = check(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


# --- the order ---


def order_by_counting(root: str, parents: Any) -> list[str]:
    waiting: dict[str, int] = {}
    seen, stack = set(), [root]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for parent in parents[node]:
                waiting[parent] = waiting.get(parent, 0) + 1
                stack.append(parent)
    fired, ready = [], [root]
    while ready:
        fired.append(ready.pop())
        for parent in parents[fired[-1]]:
            waiting[parent] -= 1
            if waiting[parent] == 0:
                ready.append(parent)
    return fired


def parents_first(root: str, parents: Any) -> list[str]:
    done: dict[str, None] = {}

    def visit(node: str) -> None:
        if node not in done:
            for parent in parents[node]:
                visit(parent)
            done[node] = None

    visit(root)
    return list(done)


def order_by_recursion(root: str, parents: Any) -> list[str]:
    return parents_first(root, parents)[::-1]


def every_way(root: str, parents: Any) -> list[str]:
    return [root, *(node for parent in parents[root] for node in every_way(parent, parents))]


def breadth_first(root: str, parents: Any) -> list[str]:
    order = [root]
    for node in order:
        order += [p for p in dict.fromkeys(parents[node]) if p not in order]
    return order


def test_an_order_by_counting_passes_and_one_by_recursion_hears_of_its_limit() -> None:
    verdict = autograd.firing_order(order_by_counting)
    assert (verdict.status, verdict.message) == ("passed", "")
    verdict = autograd.firing_order(order_by_recursion)
    assert verdict.passed
    assert "RecursionError" in verdict.message


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (every_way, "x fires 2 times: there is more than one way"),
        (parents_first, "the order of the forward pass"),
        (breadth_first, "x fires before b, which was computed from it"),
        (lambda root, parents: list(parents), "other does not lead to out"),
        (lambda root, parents: [root], "left is missing"),
        (lambda root, parents: 7, "A list of names is wanted, not int"),
        (lambda root, parents: "out", "A list of names is wanted, not str"),
    ],
)
def test_a_wrong_order_hears_which_node_and_why(attempt: Any, told: str) -> None:
    verdict = autograd.firing_order(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- accumulation ---


def gradients(order: Any, parents: Any, slopes: Any) -> Any:
    grads = dict.fromkeys(order, 0.0)
    grads[order[0]] = 1.0
    for node in order:
        for parent, slope in zip(parents[node], slopes[node], strict=True):
            grads[parent] += grads[node] * slope
    return grads


def gradients_by_asking_consumers(order: Any, parents: Any, slopes: Any) -> Any:
    grads = {order[0]: np.float32(1)}
    for node in order[1:]:
        grads[node] = np.float32(
            sum(
                grads[user] * slope
                for user in grads
                for parent, slope in zip(parents[user], slopes[user], strict=True)
                if parent == node
            )
        )
    return grads


def changed_at_arrival(arrive: Callable[[Any, float], float], carry: bool = True) -> Any:
    def attempt(order: Any, parents: Any, slopes: Any) -> Any:
        grads = {order[0]: 1.0}
        for node in order:
            for parent, slope in zip(parents[node], slopes[node], strict=True):
                sent = slope * grads[node] if carry else slope
                grads[parent] = arrive(grads.get(parent), sent)
        return grads

    return attempt


@pytest.mark.parametrize("attempt", [gradients, gradients_by_asking_consumers])
def test_gradients_that_add_up_pass(attempt: Any) -> None:
    assert autograd.accumulate(attempt).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (changed_at_arrival(lambda before, sent: sent), "Only what came last is kept"),
        (changed_at_arrival(lambda before, sent: before or sent), "Only what came first is kept"),
        (
            changed_at_arrival(lambda before, sent: (before or 0.0) + sent, carry=False),
            "the chain rule is missing",
        ),
        (lambda order, parents, slopes: dict.fromkeys(order, 0.0), "Everything is 0"),
        (lambda order, parents, slopes: {order[0]: 1.0}, "no gradient of"),
        (lambda order, parents, slopes: [1.0], "A dict is wanted"),
        (lambda order, parents, slopes: dict.fromkeys(order, 1.0), "should be"),
    ],
)
def test_wrong_gradients_hear_what_is_wrong(attempt: Any, told: str) -> None:
    verdict = autograd.accumulate(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- broadcasting ---


def with_loops(grad_out: Any, a: Any, b: Any) -> Any:
    grad_a, grad_b = np.zeros(a.shape), [0.0] * len(b)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            grad_a[i, j] = grad_out[i, j] * b[j]
            grad_b[j] += grad_out[i, j] * a[i, j]
    return grad_a.tolist(), grad_b


@pytest.mark.parametrize(
    "attempt",
    [
        lambda g, a, b: (g * b, (g * a).sum(axis=0)),
        with_loops,
        lambda g, a, b: (mr.tensor(g * b), np.einsum("nd,nd->d", g, a).astype("float32")),
    ],
)
def test_a_broadcast_product_passes_in_any_style(attempt: Any) -> None:
    assert autograd.broadcast_product(attempt).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda g, a, b: (g * b, g * a), "grad_b keeps the shape of a"),
        (lambda g, a, b: (g * b, (g * a).mean(axis=0)), "a mean where it should be a sum"),
        (lambda g, a, b: (g * a, (g * b).sum(axis=0)), "multiplied with the factor it belongs to"),
        (lambda g, a, b: (g, (g * a).sum(axis=0)), "the other factor is missing"),
        (lambda g, a, b: g * b, "there must be 2: a, b"),
    ],
)
def test_a_wrong_broadcast_product_hears_the_mistake(attempt: Any, told: str) -> None:
    verdict = autograd.broadcast_product(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- softplus ---


def softplus(forward: Any, backward: Any, **keep: Any) -> type[Function]:
    """A Function of a formula, and of a slope given grad_out, x and the output."""

    class Softplus(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            out = forward(x)
            ctx.save(x=x, out=out)
            return out

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return backward(grad_out, *ctx.saved("x", "out"))

    return Softplus


def stable(x: Any) -> Any:
    return np.logaddexp(0.0, x)


def right(g: Any, x: Any, out: Any) -> Any:
    return g * F.sigmoid(x)


class ConstantSlope(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_constant(slope=F.sigmoid(x))
        return stable(x)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out * ctx.saved("slope")


class SavedSlope(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(slope=F.sigmoid(x))
        return stable(x)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out * ctx.saved("slope")


class CachedSlope(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_cache(slope=F.sigmoid(x))
        return stable(x)

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out * ctx.cache("slope")


def test_an_unfilled_softplus_is_not_yet_as_a_whole_and_by_half() -> None:
    assert autograd.softplus(UnfilledSoftplus).status == "not yet"
    assert autograd.softplus(...).status == "not yet"
    for backward in (unfilled, unfilled_dots):
        verdict = autograd.softplus(softplus(stable, backward))
        assert verdict.status == "not yet"
        assert "forward is right; backward" in verdict.message
    assert autograd.softplus(softplus(unfilled_dots, right)).status == "not yet"


@pytest.mark.parametrize(
    "attempt",
    [
        softplus(stable, right),
        softplus(lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))), right),
        softplus(stable, lambda g, x, out: g * (1.0 - F.exp(-out))),  # from the output
    ],
)
def test_a_softplus_passes_from_its_input_or_its_output(attempt: Any) -> None:
    verdict = autograd.softplus(attempt)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (softplus(lambda x: np.log(1 + np.exp(x)), right), "larger than any float64"),
        (softplus(lambda x: np.maximum(x, 0), right), "forward(x)"),
        (softplus(stable, lambda g, x, out: F.sigmoid(x)), "grad_out is forgotten"),
        (softplus(stable, lambda g, x, out: g * F.sigmoid(-x)), "with its sign turned"),
        (softplus(stable, lambda g, x, out: g * out), "multiplied with the output"),
        (softplus(stable, lambda g, x, out: g), "as if the slope were 1"),
        (
            softplus(stable, lambda g, x, out: g * F.sigmoid(x) * F.sigmoid(-x)),
            "differentiated once too often",
        ),
        (softplus(stable, lambda g, x, out: g * np.exp(x) / (1 + np.exp(x))), "overflows"),
        (
            softplus(stable, lambda g, x, out: g / (1 + np.exp(-x))),
            "Under create_graph backward is given tensors",
        ),
        (ConstantSlope, "Backward takes for a constant what depends on x"),
        (SavedSlope, "takes inputs and outputs of the operation"),
        (CachedSlope, "for ordinary backward only"),
        (F.softplus, "A class derived from Function is wanted"),
        (dict, "A class derived from Function is wanted here, not dict"),
    ],
)
def test_a_wrong_softplus_hears_what_is_wrong(attempt: Any, told: str) -> None:
    verdict = autograd.softplus(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- Hessian times vector ---


def product(f: Any, x: Any, v: Any) -> Any:
    (g,) = mr.grad(f(x), x, create_graph=True)
    (hv,) = mr.grad((g * v).sum(), x)
    return hv


def by_cotangent(f: Any, x: Any, v: Any) -> Any:
    (g,) = mr.grad(f(x), x, create_graph=True)
    return mr.grad(g, x, grad_outputs=v)


def column_by_column(f: Any, x: Any, v: Any) -> Any:
    (g,) = mr.grad(f(x), x, create_graph=True)
    flat = g.reshape(-1)
    rows = [mr.grad(flat[i], x, retain_graph=True)[0].data.ravel() for i in range(x.numel())]
    return (np.stack(rows) @ v.data.ravel()).reshape(x.shape)


def through_grad(f: Any, x: Any, v: Any) -> Any:
    x.grad = None
    f(x).backward(create_graph=True)
    g, x.grad = x.grad, None
    (g * v).sum().backward()
    return x.grad


def not_cleared(f: Any, x: Any, v: Any) -> Any:
    f(x).backward(create_graph=True)
    (x.grad * v).sum().backward()
    return x.grad


def rows_of(weighted: Callable[[Any, Any], Any], after: Callable[[Any, Any], Any]) -> Any:
    def attempt(f: Any, x: Any, v: Any) -> Any:
        (g,) = mr.grad(f(x), x, create_graph=True)
        return after(mr.grad(weighted(g, v), x)[0], v)

    return attempt


def by_differences(f: Any, x: Any, v: Any) -> Any:
    h = 1e-5
    after, before = (mr.tensor(x.data + s * h * v.data, requires_grad=True) for s in (1, -1))
    return (mr.grad(f(after), after)[0] - mr.grad(f(before), before)[0]) / (2 * h)


def not_recorded(f: Any, x: Any, v: Any) -> Any:
    (g,) = mr.grad(f(x), x)
    return mr.grad((g * v).sum(), x)[0]


@pytest.mark.parametrize("attempt", [product, by_cotangent, column_by_column])
def test_a_hessian_times_a_vector_passes_in_any_style(attempt: Any) -> None:
    verdict = autograd.hessian_vector(attempt)
    assert (verdict.status, verdict.message) == ("passed", "")


def test_a_product_that_leaves_a_gradient_behind_passes_and_hears_so() -> None:
    verdict = autograd.hessian_vector(through_grad)
    assert verdict.passed
    assert "left a gradient in x.grad" in verdict.message


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda f, x, v: mr.grad(f(x), x)[0], "differentiated once only"),
        (lambda f, x, v: mr.grad(f(x), x)[0] * v, "the gradient times v"),
        (rows_of(lambda g, v: g.sum(), lambda h, v: h * v), "multiplied in before"),
        (rows_of(lambda g, v: g.sum(), lambda h, v: h), "a vector of ones"),
        (not_cleared, "This is H v + g"),
        (not_recorded, "does not require grad"),
        (by_differences, "a difference of two gradients"),
        (lambda f, x, v: 1.0, "should have the shape (3,)"),
    ],
)
def test_a_wrong_product_hears_what_it_is(attempt: Any, told: str) -> None:
    verdict = autograd.hessian_vector(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message
