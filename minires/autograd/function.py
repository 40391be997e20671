"""How an operation is declared and recorded: ``Function``, and the node it leaves in the graph.

An operation is a class with a forward and a backward, side by side:

    from minires.autograd import Function
    from minires.functional.shape import unbroadcast    # sums over what broadcasting repeated

    class Mul(Function):
        @staticmethod
        def forward(ctx, a, b):                  # arrays in, array out
            ctx.save(a=a, b=b)
            return a * b

        @staticmethod
        def backward(ctx, grad_out):             # one gradient, or None, for each input
            a, b = ctx.saved("a", "b")
            return unbroadcast(grad_out * b, a.shape), unbroadcast(grad_out * a, b.shape)

``ctx`` is the node of the graph.  ``Mul.apply(x, y)`` unwraps tensors, runs forward and records the
node.  Given arrays only, ``apply`` just runs forward and returns arrays; that is why the lines of a
backward method serve twice: ordinary backward hands them arrays, and ``create_graph=True`` hands
them tensors, with every saved array put back at its place in the graph, so that the gradient is
itself recorded and can be differentiated again.

Three kinds of saving keep that honest.

* ``ctx.save``: inputs and outputs of the operation, and nothing else: only those have a place in
  the graph.  Any other array is refused, because its dependence on the inputs would be lost
  without a word and second derivatives would be wrong.
* ``ctx.save_constant``: what the derivative takes as constant: masks, indices, shapes.
* ``ctx.save_cache``: intermediate results that save work.  They exist for ordinary backward only;
  under ``create_graph`` (``if ctx.create_graph:``) the backward method computes them again from the
  inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.autograd import anomaly, guard
from minires.autograd.grad_mode import recording
from minires.autograd.node import Node
from minires.autograd.tensor import Tensor
from minires.device import Array, array_module, is_array
from minires.errors import GraphError, GraphFreedError, SavedArrayChangedError, describe
from minires.kernels import ladder

__all__ = ["Function", "Recorded"]

_OWN_OUTPUT = Node((), (), None)  # stands for the node itself, which must not point to itself


class Recorded(Node):
    """The node of an operation, and the ``ctx`` of its forward and backward."""

    __slots__ = (
        "_cache",
        "_constants",
        "_held",
        "_saved",
        "_to_save",
        "anomaly",
        "create_graph",
        "freed",
        "function",
        "needs_input_grad",
        "rung",
    )

    def __init__(self, function: type[Function], parents: tuple[Node | None, ...]):
        super().__init__(parents, (), None)
        self.function = function
        self.needs_input_grad = tuple(parent is not None for parent in parents)
        self._to_save: dict[str, Array] | None = None
        self._saved: dict[str, tuple[Array, Node | None, int]] | None = None
        self._constants: dict[str, Any] | None = None
        self._cache: dict[str, Any] | None = None
        self._held: list[Array] | None = None
        self.anomaly: anomaly.Record | None = None
        self.create_graph = False
        self.freed = False
        self.rung = ladder.current() if function.uses_kernels else None

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.function.__name__

    # --- for forward methods ---

    def save(self, **arrays: Array) -> None:
        """Keep inputs or outputs for backward, by name."""
        self._to_save = {**(self._to_save or {}), **arrays}

    def save_constant(self, **values: Any) -> None:
        """Keep values whose derivative is zero: masks, indices, shapes, numbers."""
        self._constants = {**(self._constants or {}), **values}

    def save_cache(self, **values: Any) -> None:
        """Keep intermediate results for ordinary backward; absent under ``create_graph``."""
        self._cache = {**(self._cache or {}), **values}

    # --- for backward methods ---

    def saved(self, *names: str) -> Any:
        """What was saved under these names: one value, or a tuple of several."""
        if self.freed:
            raise GraphFreedError(
                f"backward through {self.name}: its saved arrays were freed by an earlier "
                "backward(). Pass retain_graph=True to the earlier call if you need a second one, "
                "or compute the loss again."
            )
        values = [self._read(name) for name in names]
        return values[0] if len(values) == 1 else tuple(values)

    def cache(self, *names: str) -> Any:
        """What was cached under these names; not there under ``create_graph``."""
        if self.create_graph:
            raise GraphError(
                f"{self.name}.backward: ctx.cache is for ordinary backward only. Write "
                "'if ctx.create_graph:' and compute it again there from ctx.saved(...), so that "
                "the gradient can be differentiated."
            )
        cached = self._cache or {}
        for name in names:
            if name not in cached:
                raise self._not_saved(name, "save_cache", cached)
        values = [cached[name] for name in names]
        return values[0] if len(values) == 1 else tuple(values)

    @property
    def saved_arrays(self) -> dict[str, Any]:
        """All that this node keeps for backward, by name: for a learner to look at."""
        kept = {name: entry[0] for name, entry in (self._saved or {}).items()}
        return {**kept, **(self._constants or {}), **(self._cache or {})}

    def _read(self, name: str) -> Any:
        if self._constants is not None and name in self._constants:
            return self._constants[name]
        saved = self._saved or {}
        if name not in saved:
            raise self._not_saved(name, "save", {**saved, **(self._constants or {})})
        array, node, version = saved[name]
        if version >= 0 and guard.version(array) != version:
            raise SavedArrayChangedError(
                f"backward through {self.name}: its saved array {name!r} was changed in place "
                "after the forward pass, so the gradient would be wrong.\n"
                f"  {describe(**{name: array})}\n"
                "  Run backward before the optimiser steps or the weights are loaded, or compute "
                "the loss again."
            )
        if self.create_graph and node is not None:
            return Tensor._wrap(array, self if node is _OWN_OUTPUT else node)
        return array

    def _not_saved(self, name: str, how: str, kept: dict[str, Any]) -> GraphError:
        if name in (self._cache or {}) and how == "save":
            return GraphError(
                f"{self.name}.backward: {name!r} is in the cache: read it there, with "
                f"ctx.cache({name!r}), in ordinary backward only."
            )
        there = ", ".join(kept) or "nothing"
        return GraphError(
            f"{self.name}.backward: {name!r} was not saved; there is {there}. "
            f"Write ctx.{how}({name}=...) in forward."
        )

    # --- for the engine ---

    def seal(self, inputs: list[Any], out: Array) -> None:
        """Give every saved array its place in the graph, and put it under watch."""
        self.shape, self.dtype = out.shape, out.dtype
        places: dict[str, tuple[Array, Node | None]] = {}
        for name, given in (self._to_save or {}).items():
            # NumPy makes a single number of a 0-d result; what is kept is the 0-d output.
            value = out if isinstance(given, np.generic) else given
            places[name] = value, self._place_of(name, value, inputs, out)
        self._to_save, self._saved, self._held = None, {}, []
        for name, (value, node) in places.items():
            self._saved[name] = value, node, self._hold(value)
        for constant in (self._constants or {}).values():  # an index can be a tuple of arrays
            for value in constant if isinstance(constant, tuple) else (constant,):
                self._hold(value)
        if anomaly.active() is not None:
            self.anomaly = anomaly.Record.of(self._held or ())

    def _hold(self, value: Any) -> int:
        """Watch an array until this node is freed; returns its version, -1 if it is no array."""
        if not is_array(value):
            return -1
        version = guard.hold(value)
        assert self._held is not None
        self._held.append(value)
        return version

    def _place_of(self, name: str, value: Any, inputs: list[Any], out: Array) -> Node | None:
        for given, parent in zip(inputs, self.parents, strict=True):
            if value is given:
                return parent
        if value is out:
            return _OWN_OUTPUT
        raise GraphError(
            f"{self.name}.forward: ctx.save({name}=...) takes inputs and outputs of the operation "
            "only, and this is neither. Use ctx.save_constant if its derivative is zero, "
            "ctx.save_cache if backward can compute it again from the inputs."
        )

    def free(self) -> None:
        """Let go of all that was saved."""
        held, self._held = self._held, None
        self._saved = self._constants = self._cache = self._to_save = None
        self.freed = True
        for array in held or ():
            guard.release(array)

    def __del__(self) -> None:
        for array in self._held or ():
            guard.release(array)


class _NotRecorded:
    """The ``ctx`` of a forward pass that nobody will ask to go backward."""

    __slots__ = ()
    needs_input_grad: tuple[bool, ...] = ()

    def save(self, **arrays: Array) -> None: ...

    def save_constant(self, **values: Any) -> None: ...

    def save_cache(self, **values: Any) -> None: ...


_not_recorded = _NotRecorded()


class Function:
    """Base of all operations.  See the module for how one is written.

    ``forward(ctx, *inputs, **options)`` gets arrays (and whatever else ``apply`` was given) and
    returns the output array, or a tuple of it and of extra arrays that have no gradient.
    ``backward(ctx, grad_out)`` returns one gradient, or None, for each positional input.  It calls
    operations, which take arrays and tensors alike.  Where a kernel computes the whole gradient at
    once, it may be called beside them ``if not ctx.create_graph``.
    """

    uses_kernels = False  # whether the node must remember the rung of kernels.use(...)

    @staticmethod
    def forward(ctx: Any, *inputs: Any, **options: Any) -> Any:
        raise NotImplementedError("An operation needs a static method forward(ctx, *inputs).")

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        raise NotImplementedError("An operation needs a static method backward(ctx, grad_out).")

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run the operation on tensors or arrays, and record it if one of them requires grad."""
        arrays: list[Any] = []
        parents: list[Node | None] = []
        any_tensor = any_node = False
        for value in inputs:
            if isinstance(value, Tensor):
                any_tensor = True
                node = value.node
                any_node = any_node or node is not None
                arrays.append(value._data)
                parents.append(node)
            else:
                arrays.append(value)
                parents.append(None)
        if not any_tensor:
            return cls.forward(_not_recorded, *arrays, **options)
        if not (any_node and recording.get()):
            out, extra = _split(cls.forward(_not_recorded, *arrays, **options), arrays)
            result = Tensor._wrap(out, None)
        else:
            _tell_apart(arrays, parents)
            ctx = Recorded(cls, tuple(parents))
            out, extra = _split(cls.forward(ctx, *arrays, **options), arrays)
            ctx.seal(arrays, out)
            result = Tensor._wrap(out, ctx)
        return (result, *extra) if extra else result


def _tell_apart(arrays: list[Any], parents: list[Node | None]) -> None:
    """Give inputs that share an array, but not a place in the graph, arrays of their own.

    ``x * x.detach()`` has one array twice; what is saved is found again by identity.
    """
    for i in range(1, len(arrays)):
        for j in range(i):
            if arrays[i] is arrays[j] and parents[i] is not parents[j]:
                arrays[i] = arrays[i].view()


def _split(out: Any, arrays: list[Any]) -> tuple[Array, tuple[Array, ...]]:
    """The differentiable output and the rest; NumPy's scalars become 0-d arrays."""
    extra: tuple[Array, ...] = ()
    if type(out) is tuple:
        out, *rest = out
        extra = tuple(rest)
    if isinstance(out, np.generic):
        out = np.asarray(out)
    elif not hasattr(out, "dtype"):
        xp = array_module(next(a for a in arrays if hasattr(a, "dtype")))
        out = xp.asarray(out)
    return out, extra
