"""Instruments leave no trace: what they must put back, and putting it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minires import nn, rng
from minires.autograd.node import Leaf
from minires.device import copied

__all__ = ["untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Afterwards ``model`` is as it was before, whatever the block did, also if it failed.

    That covers the values of parameters and buffers (the running statistics of batch norm too),
    gradients, which parameters require grad, the mode of every module, its attributes, children
    and hooks, and the default generator.  What a module keeps in a list of its own is not covered.
    Observers of residual blocks that were at work before see nothing of the block.

    >>> import minires as mr
    >>> layer = nn.BatchNorm2d(2)
    >>> with untouched(layer):
    ...     _ = layer(mr.randn(4, 2, 3, 3))
    >>> layer.num_batches_tracked.item()
    0
    """
    tensors = [*model.parameters(), *model.buffers()]
    before = [(t, t._data, t.node, t._frozen, t.grad) for t in tensors]
    # Attributes, and the tables among them: parameters, buffers, children, hooks.  A handle points
    # to the table of its hook, so a table is put back in place.
    modules = [
        (vars(m), dict(vars(m)), {k: dict(v) for k, v in vars(m).items() if type(v) is dict})
        for m in model.modules()
    ]
    state = rng.get_state()
    # The block works on copies.  The arrays themselves are never written, so that a graph recorded
    # before, which may hold them, notices nothing.
    for tensor in tensors:
        tensor._data = copied(tensor._data)
    try:
        with nn.observe(nn.Observer()):  # what runs in the block is no pass for others to observe
            yield
    finally:
        rng.set_state(state)
        for own, attributes, tables in modules:
            own.clear()
            own.update(attributes)
            for name, table in tables.items():
                own[name].clear()
                own[name].update(table)
        for tensor, array, node, frozen, grad in before:
            tensor._data, tensor.node, tensor._frozen = array, node, frozen
            tensor.grad = grad
            if isinstance(node, Leaf):
                node.shape, node.dtype = tensor.shape, tensor.dtype
