"""The backward pass: from the outputs to the leaves, every node once.

Going from the highest rank down, a node fires when its gradient is complete: all its consumers
were made later, so they have fired before.  A block of a residual network has two ways through, and
L of them have 2^L, but the graph has only L forks and L sums, and that is what a pass costs.  There
is no recursion, so depth has no limit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import nullcontext
from heapq import heappop, heappush
from typing import Any

import numpy as np

from minires.autograd import anomaly
from minires.autograd.function import Function, Recorded
from minires.autograd.grad_mode import enable_grad, no_grad
from minires.autograd.node import Leaf, Node, leading_to
from minires.autograd.tensor import Tensor, raw
from minires.device import (
    Array,
    array_module,
    as_array,
    check_same_device,
    copied,
    is_array,
    using_device_of,
)
from minires.errors import DTypeError, GraphError, ShapeError, describe
from minires.kernels import ladder
from minires.kernels.elementwise import elementwise
from minires.kernels.parallel import one_blas_thread

__all__ = ["backward", "grad", "grad_by_label"]


class Copy(Function):
    """out = x in memory of its own;  grad_x = grad_out."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.copy("K")

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out


def backward(
    tensor: Tensor,
    gradient: Tensor | Array | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add d tensor / d leaf to ``leaf.grad`` for every leaf that ``tensor`` depends on."""
    node = _node_of(tensor, "backward()")
    seed = _seed("backward", tensor, gradient, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    _run([(node, seed)], None, keep, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """d outputs / d inputs, as new tensors; no ``.grad`` is touched.

    Args:
        outputs: one tensor, or several, whose gradients are added up.
        inputs: one tensor, or several, leaves or not, that the outputs depend on.
        grad_outputs: the gradient that arrives at each output; 1 for a scalar if left out.
        retain_graph: keep the graph for another pass; by default only with ``create_graph``.
        create_graph: record the backward pass too, so that the result can be differentiated.
        allow_unused: give None for an input on which no output depends, instead of an error.

    Returns:
        One gradient for each input, of its shape.

    Raises:
        GraphError: an output requires no grad, or an input is not part of its graph.

    >>> import minires as mr
    >>> x = mr.tensor(3.0, requires_grad=True)
    >>> (first,) = mr.grad(x**3, x, create_graph=True)
    >>> (second,) = mr.grad(first, x)
    >>> first.item(), second.item()
    (27.0, 18.0)
    """
    outputs, inputs = _tensors("outputs", outputs), _tensors("inputs", inputs)
    given: list[Any]
    if hasattr(grad_outputs, "dtype") or not isinstance(grad_outputs, Iterable):
        given = [grad_outputs] * len(outputs)
    else:
        given = list(grad_outputs)
    if len(given) != len(outputs):
        raise GraphError(
            f"grad: {len(outputs)} outputs but {len(given)} grad_outputs; give one for each."
        )
    roots = [
        (_node_of(output, "grad()"), _seed("grad", output, g, create_graph))
        for output, g in zip(outputs, given, strict=True)
    ]
    targets = [_node_of(x, "grad() with respect to it") for x in inputs]
    keep = create_graph if retain_graph is None else retain_graph
    found = _run(roots, set(targets), keep, create_graph)
    results = [found.get(target) for target in targets]
    if not allow_unused:
        for i, result in enumerate(results):
            if result is None:
                raise GraphError(
                    f"grad: the outputs do not depend on input {i} of shape {inputs[i].shape}. "
                    "Pass allow_unused=True to get None for it."
                )
    return tuple(results)


def grad_by_label(
    output: Tensor,
    labels: Iterable[Hashable],
    changes: Sequence[tuple[Tensor, Callable[[Any], Hashable | None]]],
    inputs: Sequence[Tensor],
    visit: Callable[[int, dict[Any, Array]], None],
) -> None:
    """A backward pass that carries several gradients at once, and keeps them apart by a label.

    A node fires once for every label.  So with a label that counts, the gradient is taken apart by
    how often it went through certain places; with one that names a way, it is sent along that way
    alone.  The gradients of all labels add up to the ordinary one unless a label was dropped.  The
    graph is freed.

    Args:
        output: a single number, where each of the ``labels`` starts with gradient 1.
        labels: those to start with.
        changes: tensors and what becomes of a label there, on the way back: ``change(label)`` is
            the new one, or None to drop its gradient.  Labels that become one are added.
        inputs: tensors that the output depends on.
        visit: called as ``visit(i, gradients)``, with those that arrive at ``inputs[i]`` by label,
            before a change there; once for each input that any gradient comes to.
    """
    root = _node_of(output, "grad_by_label()")
    seed = _seed("grad_by_label", output, None, False)
    places: dict[Node, list[int]] = {}
    for i, x in enumerate(inputs):
        places.setdefault(_node_of(x, "grad_by_label() with respect to it"), []).append(i)
    change = {_node_of(x, "grad_by_label() with a change at it"): f for x, f in changes}
    wanted = leading_to(set(places), [root])
    grads: dict[Node, dict[Any, Any]] = {root: dict.fromkeys(labels, seed)}
    heap: list[tuple[int, Node]] = [(-root.rank, root)]

    def add(to: dict[Any, Any], label: Any, grad: Any) -> None:
        with using_device_of(grad):
            to[label] = grad if label not in to else to[label] + grad  # one handed on stays as is

    with no_grad(), one_blas_thread():
        while heap:
            _, node = heappop(heap)
            found = grads.pop(node)
            if node.hooks:
                found = {label: _call_hooks(node, grad) for label, grad in found.items()}
            for i in places.get(node, ()):
                visit(i, found)
            if node in change:
                before, found = found, {}
                for label, grad in before.items():
                    new = change[node](label)
                    if new is not None:
                        add(found, new, grad)
            if not isinstance(node, Recorded):
                continue
            asked = any(parent in wanted for parent in node.parents)
            for label, grad in found.items() if asked else ():
                grads_in = _fire_for(wanted, node, grad)
                for parent, grad_in in zip(node.parents, grads_in, strict=True):
                    if parent is None or grad_in is None or parent not in wanted:
                        continue
                    if parent not in grads:
                        grads[parent] = {}
                        heappush(heap, (-parent.rank, parent))
                    add(grads[parent], label, _checked(node, parent, grad_in))
            node.free()


def _tensors(name: str, given: Any) -> list[Tensor]:
    """One tensor, or several, as a list."""
    several = isinstance(given, Iterable) and not isinstance(given, Tensor)
    tensors = list(given) if several else [given]
    for x in tensors:
        if not isinstance(x, Tensor):
            raise DTypeError(
                f"grad: {name} must be a tensor or several of them, not {type(x).__name__}.\n"
                f"  {describe(**{name: x})}"
            )
    return tensors


def _node_of(tensor: Tensor, what: str) -> Node:
    if tensor.node is None:
        raise GraphError(
            f"{what}: this tensor of shape {tensor.shape} does not require grad and has no "
            "history. Create it with requires_grad=True, or check that no no_grad() or detach() "
            "cut it off."
        )
    return tensor.node


def _seed(name: str, tensor: Tensor, gradient: Any, create_graph: bool) -> Any:
    """The gradient that a pass starts from: an array, or a Tensor under ``create_graph``."""
    data = tensor._data
    if gradient is None:
        if data.size != 1:
            raise GraphError(
                f"{name} of a tensor of shape {tensor.shape} needs a gradient of that shape, "
                "since only a single number has a gradient by itself. Pass "
                f"{'gradient' if name == 'backward' else 'grad_outputs'}=..., or reduce it first, "
                "with .sum() or a loss."
            )
        with using_device_of(data):
            seed = array_module(data).ones_like(data)
        return Tensor._wrap(seed, None) if create_graph else seed
    array = raw(gradient)
    if getattr(array, "shape", None) != data.shape:
        raise ShapeError(
            f"{name}: the gradient must be a tensor or an array of the shape of the tensor.\n"
            f"  {describe(tensor=data, gradient=array)}"
        )
    check_same_device(name, tensor=data, gradient=array)
    with using_device_of(data):
        array = array.astype(data.dtype, copy=False)
    if not create_graph:
        return array
    return gradient.to(data.dtype) if isinstance(gradient, Tensor) else Tensor._wrap(array, None)


def _run(
    roots: list[tuple[Node, Any]], targets: set[Node] | None, keep: bool, create_graph: bool
) -> dict[Node, Tensor]:
    """Send gradients backward from ``roots``.

    With ``targets`` only the nodes between them and the roots fire, and the gradients that arrive
    at the targets are returned; without, gradients are kept at the leaves.
    """
    wanted = None if targets is None else leading_to(targets, [node for node, _ in roots])
    found: dict[Node, Tensor] = {}
    grads: dict[Node, Any] = {}
    ours: set[Node] = set()  # nodes whose gradient array nobody else has: it may be added to
    heap: list[tuple[int, Node]] = []

    def arrive(node: Node, grad: Any, is_ours: bool) -> None:
        if wanted is not None and node not in wanted:
            return
        before = grads.get(node)
        if before is None:
            grads[node] = grad
            if is_ours:
                ours.add(node)
            heappush(heap, (-node.rank, node))
        elif create_graph:
            grads[node] = before + grad
        else:
            with using_device_of(before):
                # An array that others may hold is not written to.
                into = before if node in ours else None
                total = elementwise(array_module(before).add, before, grad, out=into)
            grads[node] = as_array(total)
            ours.add(node)

    with enable_grad() if create_graph else no_grad(), one_blas_thread():
        for node, seed in roots:
            arrive(node, seed, False)
        while heap:
            _, node = heappop(heap)
            grad = grads.pop(node)
            if node.hooks:
                ours.discard(node)  # a hook may keep what it is shown
                grad = _call_hooks(node, grad)
            if targets is None:
                if node.keeps_grad:
                    # All but a leaf go on to use the array themselves, or to hand it on.
                    _accumulate(node, grad, node in ours and isinstance(node, Leaf))
            elif node in targets:
                found[node] = _as_tensor(grad)
            asked = wanted is None or any(parent in wanted for parent in node.parents)
            if asked and isinstance(node, Recorded):
                if wanted is None:
                    grads_in = _fire(node, grad)
                else:
                    grads_in = _fire_for(wanted, node, grad)
                is_ours = node.function.hands_over and not create_graph
                for parent, grad_in in zip(node.parents, grads_in, strict=True):
                    if parent is not None and grad_in is not None:
                        arrive(parent, _checked(node, parent, grad_in), is_ours)
                if not keep:
                    node.free()
    return found


def _fire_for(wanted: set[Node], node: Recorded, grad: Any) -> Any:
    """:func:`_fire` in a pass that asks for less than a full one."""
    needs = node.needs_input_grad
    node.needs_input_grad = tuple(parent in wanted for parent in node.parents)
    try:
        return _fire(node, grad)
    finally:
        node.needs_input_grad = needs


def _fire(node: Recorded, grad: Any) -> Any:
    """Run the backward method of one node."""
    node.create_graph = isinstance(grad, Tensor)
    record = node.anomaly
    watching = record is not None and anomaly.active()
    if record is not None and not node.freed:
        record.check_saved(node.name, node._held or ())
    elsewhere = node.rung is not None and node.rung != ladder.current()
    if watching or elsewhere:
        # What NumPy would warn of, the watch names with its operation and line.
        quiet = np.errstate(all="ignore") if watching else nullcontext()
        data = raw(grad)
        with ladder.use(node.rung or ladder.current()), quiet, using_device_of(data):
            grads = node.function.backward(node, grad)
    elif type(grad) is np.ndarray:  # the common case, and quick
        grads = node.function.backward(node, grad)
    else:
        with using_device_of(raw(grad)):
            grads = node.function.backward(node, grad)
    if not isinstance(grads, tuple):
        grads = (grads,)
    if len(grads) != len(node.parents):
        raise GraphError(
            f"{node.name}.backward returned {len(grads)} gradients for {len(node.parents)} inputs; "
            "it must return one, or None, for each."
        )
    if record is not None and watching:
        for grad_in in grads:
            if grad_in is not None:
                record.check_gradient(node.name, grad_in)
    return grads


def _checked(node: Recorded, parent: Node, grad: Any) -> Any:
    """A gradient has the shape and the dtype of what it is the gradient of."""
    if type(grad) is not np.ndarray:
        if isinstance(grad, np.generic):
            grad = np.asarray(grad)
        if not isinstance(grad, Tensor) and not is_array(grad):
            raise GraphError(
                f"{node.name}.backward returned a {type(grad).__name__} as a gradient; return an "
                "array (or what operations made of grad_out), or a tuple with one for each input."
            )
    if grad.shape != parent.shape:
        raise ShapeError(
            f"{node.name}.backward returned a gradient of shape {tuple(grad.shape)} for an input "
            f"of shape {tuple(parent.shape)}."
        )
    if grad.dtype != parent.dtype:
        if isinstance(grad, Tensor):
            return grad.to(parent.dtype)
        with using_device_of(grad):
            return grad.astype(parent.dtype)
    return grad


def _as_tensor(grad: Any) -> Tensor:
    """A gradient for keeps: its own copy, recorded if the gradient is."""
    return Copy.apply(grad) if isinstance(grad, Tensor) else Tensor._wrap(copied(grad), None)


_accumulating = threading.RLock()  # two threads may go backward to one leaf


def _accumulate(node: Node, grad: Any, is_ours: bool) -> None:
    with _accumulating:
        if node.grad is None:
            node.grad = Tensor._wrap(grad, None) if is_ours else _as_tensor(grad)
        else:
            with enable_grad() if isinstance(grad, Tensor) else no_grad():
                node.grad = node.grad + grad


def _call_hooks(node: Node, grad: Any) -> Any:
    for hook in list((node.hooks or {}).values()):
        before = grad if isinstance(grad, Tensor) else Tensor._wrap(_read_only(grad), None)
        after = hook(before)
        if after is not None:
            after = after if isinstance(after, Tensor) else Tensor(after)
            if after.shape != node.shape:
                raise ShapeError(
                    f"register_hook: the hook returned shape {after.shape} for a gradient of "
                    f"shape {node.shape}. Return the gradient to put in its place, or None."
                )
            after = after.to(node.dtype)
            grad = after if isinstance(grad, Tensor) else after._data
    return grad


def _read_only(grad: Array) -> Array:
    """A gradient to be shown: others may have been handed the same array."""
    view = grad.view()
    if isinstance(view, np.ndarray):
        view.setflags(write=False)
    return view
