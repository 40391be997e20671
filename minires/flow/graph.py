"""Walks over the graph that a pass recorded, from where it ends back to where it began."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minires.autograd import Node, Tensor
from minires.autograd.function import Recorded

__all__ = ["ancestors", "consumers_of", "reaches", "tensors_in"]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors that a module is given or gives, also those in tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors_in(inner)


def ancestors(starts: Iterable[Node | None]) -> set[Node]:
    """``starts`` and all nodes behind them."""
    seen: set[Node] = set()
    stack = [node for node in starts if node is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(parent for parent in node.parents if parent is not None)
    return seen


def consumers_of(nodes: Iterable[Node]) -> dict[Node, list[Recorded]]:
    """For each of ``nodes`` the operations that read it, in the order in which they were made.

    The parents of the nodes must be among them, as they are in :func:`ancestors`.
    """
    consumers: dict[Node, list[Recorded]] = {node: [] for node in nodes}
    operations = (node for node in consumers if isinstance(node, Recorded))
    for operation in sorted(operations, key=lambda node: node.rank):
        for parent in dict.fromkeys(operation.parents):
            if parent is not None:
                consumers[parent].append(operation)
    return consumers


def reaches(
    starts: Iterable[Node | None], goals: Iterable[Node | None], *, around: Node | None = None
) -> bool:
    """Whether a way leads back from ``starts`` to ``goals``, and not through ``around``."""
    wanted = {node for node in goals if node is not None}
    oldest = min((node.rank for node in wanted), default=0)
    seen: set[Node | None] = {around}
    stack = [node for node in starts if node is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        if node in wanted:
            return True
        seen.add(node)
        stack.extend(p for p in node.parents if p is not None and p.rank >= oldest)
    return False
