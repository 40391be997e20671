"""Places in the graph: ``Node``, and ``Leaf``, where a tensor that requires grad starts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minires.device import Array

if TYPE_CHECKING:
    from minires.autograd.tensor import Tensor

__all__ = ["Leaf", "Node", "leading_to"]

_next_rank = itertools.count().__next__


class Node:
    """A place in the graph: where a tensor came from, and where its gradient will arrive.

    Nodes point to the nodes of their inputs (``parents``), never to a tensor, so that a graph that
    nobody uses any more is freed at once by reference counting.
    """

    __slots__ = (
        "__weakref__",
        "dtype",
        "grad",
        "hooks",
        "keeps_grad",
        "parents",
        "rank",
        "shape",
    )

    name = "Node"

    def __init__(self, parents: tuple[Node | None, ...], shape: tuple[int, ...], dtype: Any):
        self.parents = parents
        self.shape = shape
        self.dtype = dtype
        # Nodes are numbered as they are made.  A node is made after its parents, so going through
        # them from the highest rank down meets every consumer of a node before the node.
        self.rank = _next_rank()
        self.grad: Tensor | None = None
        self.keeps_grad = False
        self.hooks: dict[int, Callable[[Tensor], Tensor | None]] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} {self.shape} {self.dtype}>"


class Leaf(Node):
    """Where a tensor starts that requires grad: its gradient is kept, and goes no further."""

    __slots__ = ()
    name = "Leaf"

    def __init__(self, data: Array):
        super().__init__((), data.shape, data.dtype)
        self.keeps_grad = True


def leading_to(targets: set[Node], roots: list[Node]) -> set[Node]:
    """The nodes on a way from the roots to the targets: those whose backward is needed."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(parent for parent in node.parents if parent is not None)
    wanted: set[Node] = set()
    for node in sorted(seen, key=lambda node: node.rank):  # parents before their consumers
        if node in targets or any(parent in wanted for parent in node.parents):
            wanted.add(node)
    return wanted
