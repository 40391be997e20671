"""Instruments leave no trace: what they must put back, and putting it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minires import nn, rng
from minires.autograd import guard
from minires.autograd.node import Leaf

__all__ = ["untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Afterwards ``model`` is as it was before, whatever the block did, also if it failed.

    That covers the values of parameters and buffers (the running statistics of batch norm too),
    gradients, which parameters require grad, the mode of every module, its attributes, children
    and hooks, and the default generator.  What a module keeps in a list of its own is not covered.

    >>> import minires as mr
    >>> layer = nn.BatchNorm2d(2)
    >>> with untouched(layer):
    ...     _ = layer(mr.randn(4, 2, 3, 3))
    >>> layer.num_batches_tracked.item()
    0
    """
    tensors = [*model.parameters(), *model.buffers()]
    values = [(tensor, tensor._data, tensor._data.copy()) for tensor in tensors]
    places = [(tensor, tensor.node, tensor.grad) for tensor in tensors]
    # Attributes, and the tables among them: parameters, buffers, children, hooks.  A handle points
    # to the table of its hook, so a table is put back in place.
    modules = [
        (vars(m), dict(vars(m)), {k: dict(v) for k, v in vars(m).items() if type(v) is dict})
        for m in model.modules()
    ]
    state = rng.get_state()
    try:
        yield
    finally:
        rng.set_state(state)
        for own, attributes, tables in modules:
            own.clear()
            own.update(attributes)
            for name, before in tables.items():
                own[name].clear()
                own[name].update(before)
        for tensor, array, before in values:
            tensor._data = array
            if not _same_bits(array, before):
                with guard.writable(array) as data:
                    data[...] = before
        for tensor, node, grad in places:
            tensor.node = node
            tensor.grad = grad
            if isinstance(node, Leaf):
                node.shape, node.dtype = tensor.shape, tensor.dtype


def _same_bits(a: object, b: object) -> bool:
    """Equal to the last bit, nan included."""
    return a.tobytes() == b.tobytes()  # type: ignore[attr-defined, no-any-return]
