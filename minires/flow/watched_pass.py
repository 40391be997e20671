"""A pass under full watch: which call of which module recorded which node, and what came back.

Hooks stand before and after every module, and an observer at every fork and sum; afterwards a hook
on every node of the graph takes note of the gradient that arrives there.  It is for a check that is
made once: what can be afforded in a training step is in :mod:`minires.flow.watch`.
"""

from __future__ import annotations

import zlib
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Handle, Leaf, Node, Tensor, is_grad_enabled
from minires.device import is_array, to_numpy
from minires.flow.graph import ancestors, consumers_of, tensors_in
from minires.flow.passes import Fork, Forks

__all__ = [
    "Call",
    "Graph",
    "Terms",
    "WatchedPass",
    "is_finite",
    "kept_outside",
]

_TABLES = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(eq=False)
class Call:
    """One call of one module.

    Attributes:
        name, module: what was called.
        parent: the call inside which it happened; None for the model itself.
        inputs, outputs: the tensors it was given and gave, also those in tuples, lists and dicts.
        first, last: the nodes that it recorded have ranks between these two; ``last`` is None
            while it runs, and for ever if it failed.
        recording: whether operations were recorded when it began.
        checksums: of the inputs when it began.
        gave_array: whether it returned a bare array.
        finite: whether all its outputs are.
        changed_input: whether an array that it was given holds other numbers afterwards.
    """

    name: str
    module: nn.Module
    parent: Call | None
    inputs: list[Tensor]
    first: int
    recording: bool
    checksums: list[int]
    outputs: list[Tensor] = field(default_factory=list)
    last: int | None = None
    gave_array: bool = False
    finite: bool = True
    changed_input: bool = False

    def above(self) -> Iterator[Call]:
        """The calls inside which it happened, from the nearest outward."""
        call = self.parent
        while call is not None:
            yield call
            call = call.parent


@dataclass(eq=False)
class Terms:
    """One residual block in the pass: its fork, what came before it, and the terms of its sum."""

    fork: Fork
    x: Tensor
    u: Tensor
    call: Call | None
    skip: Tensor | None = None
    branch: Tensor | None = None  # None: the block did not come to its sum


class WatchedPass(Forks):
    """Takes note of every call of a module and of every residual block in one forward pass."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.calls: list[Call] = []  # in the order in which they began
        self.done: list[Call] = []  # in the order in which they ended
        self.blocks: list[Terms] = []
        self.running: list[Call] = []
        self._at_work: list[Terms] = []

    def hook(self, modules: Iterable[nn.Module]) -> None:
        """Watch these modules; whoever calls puts the tables of their hooks back."""
        for module in modules:
            module.register_forward_pre_hook(self._begin)
            module.register_forward_hook(self._end)

    def layer_of(self, node: Node) -> str | None:
        """The innermost module that recorded ``node``; None if that was outside the model."""
        place = bisect(self.calls, node.rank, key=lambda call: call.first) - 1
        call = self.calls[place] if place >= 0 else None
        while call is not None and call.last is not None and call.last < node.rank:
            call = call.parent
        return None if call is None else call.name

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        ways = super().fork(block, x, u)
        call = self.running[-1] if self.running and self.running[-1].module is block else None
        self.blocks.append(Terms(self.found[-1], x, u, call))
        self._at_work.append(self.blocks[-1])
        return ways

    def join(
        self, block: nn.ResidualBlock, skip: Tensor | None, branch: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        terms = self._at_work.pop()
        terms.skip, terms.branch = skip, branch
        return super().join(block, skip, branch)

    def _begin(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        tensors = list(tensors_in(inputs))
        call = Call(
            name=self.names.get(id(module), "?"),
            module=module,
            parent=self.running[-1] if self.running else None,
            inputs=tensors,
            first=_rank_now(),
            recording=is_grad_enabled(),
            checksums=[_checksum(t) for t in tensors],
        )
        self.calls.append(call)
        self.running.append(call)

    def _end(self, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        call = self.running.pop()
        while call.module is not module:  # a module inside failed, and its error was caught
            call = self.running.pop()
        call.outputs, call.gave_array = list(tensors_in(out)), is_array(out)
        call.last = _rank_now()
        call.finite = all(map(is_finite, call.outputs))
        call.changed_input = call.checksums != [_checksum(t) for t in call.inputs]
        self.done.append(call)


class Graph:
    """The graph behind one tensor, and what came back to its nodes.

    Attributes:
        value: the tensor, or None: then there are no nodes.
        nodes: all of them, leaves too.
        consumers: for each node the nodes of the graph that read it.
        visits: how often each node was given its gradient.
        zero: the nodes at which a gradient of nothing but zeros arrived.
        first_bad: the node where a gradient with nan or inf arrived first, or None.
        latest: the node that was visited last.
    """

    def __init__(self, value: Tensor | None) -> None:
        self.value = value
        self.nodes = ancestors([] if value is None else [value.node])
        self.consumers = consumers_of(self.nodes)
        self.visits: Counter[Node] = Counter()
        self.zero: set[Node] = set()
        self.first_bad: Node | None = None
        self.latest: Node | None = None

    def listen(self) -> None:
        """Take note of what arrives; not at leaves, which live on after the pass."""
        for node in self.nodes:
            if isinstance(node, Leaf):
                continue
            if node.hooks is None:
                node.hooks = {}
            Handle(node.hooks, lambda grad, node=node: self._arrived(node, grad))

    def _arrived(self, node: Node, grad: Tensor) -> None:
        self.visits[node] += 1
        self.latest = node
        if not to_numpy(grad.data).any():
            self.zero.add(node)
        if self.first_bad is None and not is_finite(grad):
            self.first_bad = node


def kept_outside(model: nn.Module) -> dict[str, nn.Module | Tensor]:
    """Modules and trainable tensors that ``model`` keeps where ``named_parameters`` does not look.

    That is in plain lists, tuples, sets and dicts, or, for tensors, under an attribute without
    being a Parameter.  The name of each says where it is kept.
    """
    known = {id(module) for module in model.modules()}
    known |= {id(parameter) for parameter in model.parameters()}
    found: dict[str, nn.Module | Tensor] = {}
    waiting = list(model.named_modules())
    while waiting:
        path, module = waiting.pop(0)
        for attribute, value in vars(module).items():
            if attribute in _TABLES or attribute in _HOOKS:
                continue
            for place, kept in _inside(value, attribute, 3):
                if id(kept) in known:
                    continue
                name = f"{path}.{place}" if path else place
                found[name] = kept
                known.add(id(kept))
                if isinstance(kept, nn.Module):
                    waiting += kept.named_modules(name)
                    known |= {id(inner) for inner in kept.modules()}
    return found


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are."""
    return bool(np.isfinite(to_numpy(tensor.data)).all())


def _inside(value: Any, place: str, depth: int) -> Iterator[tuple[str, nn.Module | Tensor]]:
    """The modules in ``value``, and the leaves of graphs."""
    if isinstance(value, nn.Module) or (isinstance(value, Tensor) and isinstance(value.node, Leaf)):
        yield place, value
    elif depth and isinstance(value, dict):
        for key, inner in value.items():
            yield from _inside(inner, f"{place}[{key!r}]", depth - 1)
    elif depth and isinstance(value, list | tuple | set):
        for i, inner in enumerate(value):
            yield from _inside(inner, f"{place}[{i}]", depth - 1)


def _rank_now() -> int:
    """A number between those of the nodes made before and after."""
    return Node((), (), None).rank


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(tensor.data)))
