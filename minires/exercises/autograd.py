"""The exercises of tutorial 01: order, accumulation, broadcasting, a Function, a Hessian."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minires import functional as F
from minires.autograd import Function, Tensor, grad
from minires.check import gradgradcheck
from minires.errors import GraphError
from minires.exercises.checking import (
    NotYet,
    Wrong,
    call,
    close,
    diagnosed,
    exercise,
    explanation,
    numbers,
)

__all__ = ["accumulate", "broadcast_product", "firing_order", "hessian_vector", "softplus"]

Graph = dict[str, tuple[str, ...]]  # each node's parents: what it was computed from

_DIAMOND: Graph = {"out": ("left", "right"), "left": ("x",), "right": ("x",), "x": ()}
_LONG_SKIP: Graph = {
    "out": ("x", "d"),
    "d": ("c",),
    "c": ("b",),
    "b": ("x",),
    "x": (),
    "other": ("x",),  # not on any way to out
}
_SQUARE: Graph = {"out": ("y", "y"), "y": ("x", "z"), "z": ("x", "x"), "x": ()}


def _skips(count: int) -> Graph:
    """A chain of residual blocks, x_k = x_{k-1} + f_k, from x_0 to x_count."""
    graph: Graph = {"x0": ()}
    for k in range(1, count + 1):
        graph[f"f{k}"] = (f"x{k - 1}",)
        graph[f"x{k}"] = (f"x{k - 1}", f"f{k}")
    return graph


def _chain(length: int) -> Graph:
    return {"0": (), **{str(k): (str(k - 1),) for k in range(1, length + 1)}}


def _reached(root: str, parents: Graph) -> set[str]:
    reached: set[str] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in reached:
            reached.add(node)
            stack.extend(parents[node])
    return reached


def _order(root: str, parents: Graph) -> list[str]:
    """The nodes that ``root`` depends on, each after all its consumers."""
    wanted = _reached(root, parents)
    waiting = Counter(parent for node in wanted for parent in parents[node])
    order, ready = [], [root]
    while ready:
        node = ready.pop()
        order.append(node)
        for parent in parents[node]:
            waiting[parent] -= 1
            if not waiting[parent]:
                ready.append(parent)
    return order


@exercise(
    "The order of the backward pass",
    "A node may fire when all its consumers have fired. Visit the parents of a node, each node\n"
    "once, and note it down after them: read backward, that list is an order.",
)
def firing_order(attempt: Callable[[str, Graph], Sequence[str]]) -> str | None:
    """In which order do the nodes of a graph fire?

    The attempt is a function ``order(root, parents)``: ``parents`` is a dict from each node's name
    to a tuple of the names it was computed from.  It returns the names of all nodes that ``root``
    depends on, ``root`` first, each once, and each after everything that was computed from it.

    >>> def order(root, parents):
    ...     done = []
    ...     def visit(node):
    ...         if node not in done:
    ...             for parent in parents[node]:
    ...                 visit(parent)
    ...             done.append(node)
    ...     visit(root)
    ...     return done
    >>> firing_order(order).message.splitlines()[0]
    'The first node must be out, and this begins with x.'
    """
    for root, parents in (("out", _DIAMOND), ("out", _LONG_SKIP), ("out", _SQUARE)):
        _check_order(_names(call(attempt, root, dict(parents))), root, parents)
    _check_order(_names(call(attempt, "x9", _skips(9))), "x9", _skips(9))
    try:
        _check_order(_names(call(attempt, "5000", _chain(5000))), "5000", _chain(5000))
    except RecursionError:
        return (
            "It calls itself once for each node on the way down, so on a chain of 5,000 nodes\n"
            "Python stops it: RecursionError. A list used as a stack has no such limit."
        )
    return None


def _names(result: Any) -> list[str]:
    if isinstance(result, str) or not isinstance(result, Iterable):
        raise Wrong(f"A list of names is wanted, not {type(result).__name__}.")
    return list(result)


def _check_order(found: list[str], root: str, parents: Graph) -> None:
    wanted = _reached(root, parents)
    shown = f"\nGraph: {parents}\nOrder: {found}" if len(parents) < 8 else ""
    for node, count in Counter(found).items():
        if count > 1:
            raise Wrong(
                f"{node} fires {count} times: there is more than one way from it to {root}, and "
                f"each\nway was walked by itself. Keep in mind what has been visited.{shown}"
            )
    if set(found) != wanted:
        missing = sorted(wanted - set(found))
        extra = sorted(map(str, set(found) - wanted))
        what = f"{missing[0]} is missing" if missing else f"{extra[0]} does not lead to {root}"
        raise Wrong(f"The nodes are not those that {root} depends on: {what}.{shown}")
    place = {node: i for i, node in enumerate(found)}
    if found[0] != root:
        why = ""
        if all(place[p] < place[n] for n in wanted for p in parents[n]):
            why = "\nIt is the order of the forward pass, parents first; turn it round."
        raise Wrong(f"The first node must be {root}, and this begins with {found[0]}.{why}{shown}")
    for node in found:
        for parent in parents[node]:
            if place[parent] < place[node]:
                raise Wrong(
                    f"{parent} fires before {node}, which was computed from it, so what {node} "
                    f"sends it\ncomes too late: its gradient is not complete when it fires. To "
                    f"meet a node is not\nenough; all its consumers must have been met.{shown}"
                )


@exercise(
    "The gradient of a value used twice",
    "out starts with 1. A node sends each parent its gradient times the slope of that edge. What\n"
    "happens at a parent to which something has come before?",
)
def accumulate(attempt: Callable[..., Mapping[str, float]]) -> None:
    """Carry the gradient through a graph whose firing order is known.

    The attempt is a function ``gradients(order, parents, slopes)``: ``order`` is the list of nodes
    as they fire, the output first; ``parents[node]`` is the tuple of nodes that it was computed
    from, and ``slopes[node]`` the derivative of the node by each of these, in the same order.  It
    returns a dict with d output / d node for every node; the output's own is 1.

    >>> accumulate(lambda order, parents, slopes: dict.fromkeys(order, 0.0)).message
    'Everything is 0. The gradient of the output by itself is 1: that is where it starts.'
    """
    rng = np.random.default_rng(11)
    cases = [("out", _DIAMOND), ("out", _LONG_SKIP), ("x6", _skips(6)), ("out", _SQUARE)]
    for root, parents in cases:
        order = _order(root, parents)
        slopes = {n: tuple(float(s) for s in rng.uniform(0.5, 2.0, len(parents[n]))) for n in order}
        here = {n: parents[n] for n in order}
        result = call(attempt, list(order), dict(here), dict(slopes))
        if not isinstance(result, Mapping):
            raise Wrong(f"A dict is wanted, from node to gradient, not {type(result).__name__}.")
        lost = [n for n in order if n not in result]
        if lost:
            raise Wrong(f"The dict has no gradient of {lost[0]}; it should have one of every node.")
        found = {n: float(numbers(result[n], f"The gradient of {n}")) for n in order}
        right = _gradients(order, here, slopes, _add)
        why = _why_not_added(found, order, here, slopes)
        for node in order:
            close(found[node], right[node], f"d {root} / d {node}", why=why)


def _add(before: float | None, sent: float) -> float:
    return sent if before is None else before + sent


def _gradients(
    order: Sequence[str],
    parents: Graph,
    slopes: Mapping[str, tuple[float, ...]],
    arrive: Callable[[float | None, float], float],
    carry: bool = True,
) -> dict[str, float]:
    grads = {order[0]: 1.0}
    for node in order:
        for parent, slope in zip(parents[node], slopes[node], strict=True):
            sent = slope * (grads[node] if carry else 1.0)
            grads[parent] = arrive(grads.get(parent), sent)
    return grads


def _why_not_added(
    found: dict[str, float],
    order: Sequence[str],
    parents: Graph,
    slopes: Mapping[str, tuple[float, ...]],
) -> str:
    """What the wrong gradients have in common with those of a known mistake."""
    if not any(found.values()):
        raise Wrong(
            "Everything is 0. The gradient of the output by itself is 1: that is where it starts."
        )
    both = "A value that is used twice gets a gradient from each use: they add up."
    chain = "The slopes are added, but not multiplied with the gradient that arrives at the node"
    known = (
        (lambda before, sent: sent, True, f"Only what came last is kept. {both}"),
        (lambda before, sent: before or sent, True, f"Only what came first is kept. {both}"),
        (_add, False, f"{chain}: the chain rule is missing."),
    )
    for arrive, carry, text in known:
        wrong = _gradients(order, parents, slopes, arrive, carry)
        if all(abs(found[n] - wrong[n]) < 1e-5 * max(1.0, abs(wrong[n])) for n in wrong):
            return text
    return ""


@exercise(
    "Backward of a broadcast product",
    "Write it as if the shapes were equal first. Then look at the shape of each gradient: it must\n"
    "be that of its input. What happened to b on the way forward?",
)
def broadcast_product(attempt: Callable[..., Any]) -> None:
    """The backward pass of out = a * b, with a of shape (N, D) and b of shape (D,).

    The attempt is a function ``backward(grad_out, a, b)`` of arrays, which returns the pair
    (grad_a, grad_b).  Known mistakes are called by their name.

    >>> broadcast_product(lambda g, a, b: (g * b, (g * a).sum(axis=0)))
    ✓ passed · Backward of a broadcast product
    """
    rng = np.random.default_rng(12)
    call(attempt, rng.standard_normal((4, 3)), rng.standard_normal((4, 3)), rng.standard_normal(3))
    diagnosed(lambda a, b: a * b, attempt, "broadcast_mul")


@exercise(
    "A Function for softplus",
    "The slope of log(1 + e^x) is a function that you know, between 0 and 1. Save what it needs,\n"
    "an input or the output, and compute it in backward with operations of minires.functional.",
)
def softplus(attempt: Any) -> None:
    """softplus(x) = log(1 + e^x), as an operation of one's own.

    The attempt is a subclass of :class:`minires.autograd.Function`.  Its forward must stand x of
    +-1000, its backward multiplies with grad_out, and it must be possible to differentiate twice.

    >>> softplus(abs).message
    'A class derived from Function is wanted here, not builtin_function_or_method.'
    """
    if not (isinstance(attempt, type) and issubclass(attempt, Function)):
        kind = attempt.__name__ if isinstance(attempt, type) else type(attempt).__name__
        raise Wrong(f"A class derived from Function is wanted here, not {kind}.")
    with np.errstate(all="ignore"):
        _check_softplus(attempt)


def _check_softplus(attempt: type[Function]) -> None:
    rng = np.random.default_rng(13)
    x = 2.0 * rng.standard_normal((3, 4))
    far = np.array([-1000.0, -50.0, 50.0, 1000.0])
    why = (
        "e^1000 is larger than any float64. log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), or\n"
        "np.logaddexp(0, x)."
    )
    close(call(attempt.apply, x), np.logaddexp(0.0, x), "forward(x)", rtol=1e-5)
    close(call(attempt.apply, far), np.logaddexp(0.0, far), "forward([-1000, ...])", why=why)
    g = rng.standard_normal(x.shape)
    found = _gradient(attempt, x, g)
    s = 1.0 / (1.0 + np.exp(-x))
    mistakes = {
        "grad_out is forgotten: backward returns the slope alone, and not the slope times the\n"
        "gradient that arrives.": s,
        "This is the slope of softplus(-x), with its sign turned: look at large x, where\n"
        "softplus(x) is nearly x.": g * (1.0 - s),
        "grad_out is multiplied with the output, and not with the slope.": g * np.logaddexp(0, x),
        "This is differentiated once too often: s (1 - s) is the slope of the sigmoid.": g
        * s
        * (1.0 - s),
        "The gradient passes unchanged, as if the slope were 1.": g,
    }
    said = [text for text, wrong in mistakes.items() if np.allclose(found, wrong, rtol=1e-5)]
    close(found, g * s, "grad_x", rtol=1e-5, why=said[0] if said else "")
    far_slope = np.array([0.0, 0.0, 1.0, 1.0])
    why = "e^x overflows in backward: e^1000 / (1 + e^1000) is inf / inf."
    close(_gradient(attempt, far, np.ones(4)), far_slope, "the slope at +-1000", why=why)
    _check_twice(attempt, x)


def _gradient(attempt: type[Function], x: np.ndarray, grad_out: np.ndarray) -> np.ndarray:
    leaf = Tensor(x.copy(), requires_grad=True)
    try:
        attempt.apply(leaf).backward(grad_out.copy())
    except NotImplementedError:
        raise NotYet("forward is right; backward is still to be written.") from None
    if leaf.grad is None:
        raise NotYet("forward is right; backward returns nothing yet.")
    return numbers(leaf.grad, "grad_x")


def _check_twice(attempt: type[Function], x: np.ndarray) -> None:
    """Second derivatives, with what stands in their way."""
    first = "Forward and backward are right. Second derivatives are not: "
    try:
        report = gradgradcheck(attempt.apply, x, raise_exception=False)
    except TypeError as error:
        raise Wrong(
            f"{first}{str(error).splitlines()[0]}\nUnder create_graph backward is given tensors, "
            "and NumPy's functions do not take them: use\nthose of minires.functional."
        ) from None
    except GraphError as error:
        raise Wrong(f"{first}{error}") from None
    if report:
        return
    leaf = Tensor(x.copy(), requires_grad=True)
    (slope,) = grad(attempt.apply(leaf).sum(), leaf, create_graph=True)
    if slope is None or slope.node is None:
        raise Wrong(
            f"{first}they are 0. Backward takes for a constant what depends on x (save_constant,\n"
            "or an array made in forward). Save x or the output with ctx.save, and compute the "
            "slope from it."
        )
    raise Wrong(f"{first}{report.caption()}")


@exercise(
    "A Hessian times a vector",
    "The gradient g is a function of x too. What is the derivative of the number g . v by x? For\n"
    "that g must be recorded.",
)
def hessian_vector(attempt: Callable[..., Any]) -> str | None:
    """H v, for the Hessian H of a function, without H itself.

    The attempt is a function ``product(f, x, v)``: ``f`` takes a tensor and returns a tensor with
    one number, ``x`` is a tensor that requires grad, ``v`` a tensor of its shape.  It returns the
    Hessian of f at x times v, of the same shape.

    >>> hessian_vector(lambda f, x, v: grad(f(x), x)[0]).message.splitlines()[-1]
    'This is the gradient of f, which has been differentiated once only.'
    """
    rng = np.random.default_rng(14)
    remark = None
    for n in (3, 5):
        root = rng.standard_normal((n, n))
        matrix = root @ root.T + np.triu(root) + np.triu(root).T
        point, vector = rng.uniform(0.5, 1.5, n), rng.standard_normal(n)

        def f(x: Any, matrix: Any = matrix) -> Any:
            return (x @ Tensor(matrix) @ x) / 2 + (x**4).sum() / 12

        hessian = matrix + np.diag(point**2)
        gradient = matrix @ point + point**3 / 3
        x = Tensor(point.copy(), requires_grad=True)
        result = call(attempt, f, x, Tensor(vector.copy()))
        found = numbers(_bare(result), "H v")
        _explain_hessian(found, hessian, gradient, vector)
        _close_hessian(found, hessian @ vector, "H v")
        if x.grad is not None:
            remark = "It left a gradient in x.grad, for an optimiser to find; mr.grad does not."
    x = Tensor(rng.standard_normal((2, 3)), requires_grad=True)
    v = Tensor(rng.standard_normal((2, 3)))
    result = call(attempt, lambda x: F.logsumexp(x), x, v)
    p = np.exp(x.data) / np.exp(x.data).sum()
    right = p * (v.data - (p * v.data).sum())
    _close_hessian(_bare(result), right, "H v of logsumexp, x of shape (2, 3)")
    return remark


def _bare(result: Any) -> Any:
    """One gradient, also out of the tuple of one that mr.grad returns."""
    return result[0] if isinstance(result, tuple | list) and len(result) == 1 else result


def _close_hessian(result: Any, right: np.ndarray, what: str) -> None:
    """Double backward is right to rounding, and the best difference of gradients is not."""
    rough = "Double backward errs by rounding. Is this a difference of two gradients, or float32?"
    found = numbers(result, what)
    close(found, right, what, rtol=1e-12, why=explanation(found, [(right, rough)], rtol=1e-4))


def _explain_hessian(
    found: np.ndarray, hessian: np.ndarray, gradient: np.ndarray, v: np.ndarray
) -> None:
    sums = hessian.sum(axis=0)
    known = (
        (gradient, "This is the gradient of f, which has been differentiated once only."),
        (
            sums * v,
            "These are the sums of the rows of H, times v element by element. v must be\n"
            "multiplied in before the second derivative is taken, not after.",
        ),
        (sums, "This is H times a vector of ones: the gradient was summed, and v forgotten."),
        (np.diag(hessian) * v, "This is the diagonal of H times v: all beside it is missing."),
        (gradient * v, "This is the gradient times v: it has been differentiated once only."),
        (
            hessian @ v + gradient,
            "This is H v + g: .grad had the gradient of the first pass in it, and the second was\n"
            "added. mr.grad returns a gradient and leaves .grad alone.",
        ),
    )
    if text := explanation(found, known):
        close(found, hessian @ v, "H v", why=text)
