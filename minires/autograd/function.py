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

import inspect
from typing import Any

import numpy as np

from minires.autograd import anomaly, guard
from minires.autograd.grad_mode import recording
from minires.autograd.node import Node
from minires.autograd.tensor import Tensor
from minires.device import (
    Array,
    array_module,
    check_same_device,
    is_array,
    is_on_gpu,
    using_device_of,
)
from minires.errors import GraphError, GraphFreedError, SavedArrayChangedError, describe
from minires.kernels import ladder

__all__ = ["Function", "Recorded"]

_OWN_OUTPUT = Node((), (), None)  # stands for the node itself, which must not point to itself
_NO_ARRAYS = {int, float, bool, tuple, str, type(None)}  # which most constants are
_NOTHING: dict[str, Any] = {}  # saved: one for all nodes, and never written to


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

    _to_save: dict[str, Array]
    _saved: dict[str, tuple[Array, Node | None, guard.Record | None, int]]
    _constants: dict[str, Any]
    _cache: dict[str, Any]
    _held: list[Array] | None
    anomaly: anomaly.Record | None
    rung: str | None

    def __init__(
        self, function: type[Function], parents: tuple[Node | None, ...], needs: tuple[bool, ...]
    ):
        Node.__init__(self, parents, (), None)
        self.function = function
        self.needs_input_grad = needs
        self._to_save = self._saved = self._constants = self._cache = _NOTHING
        self._held = self.anomaly = None
        self.create_graph = self.freed = False
        self.rung = ladder.current() if function.uses_kernels else None

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.function.__name__

    # --- for forward methods ---

    def save(self, **arrays: Array) -> None:
        """Keep inputs or outputs for backward, by name."""
        self._to_save = {**self._to_save, **arrays} if self._to_save else arrays

    def save_constant(self, **values: Any) -> None:
        """Keep values whose derivative is zero: masks, indices, shapes, numbers."""
        self._constants = {**self._constants, **values} if self._constants else values

    def save_cache(self, **values: Any) -> None:
        """Keep intermediate results for ordinary backward; absent under ``create_graph``."""
        self._cache = {**self._cache, **values} if self._cache else values

    # --- for backward methods ---

    def saved(self, *names: str) -> Any:
        """What was saved under these names: one value, or a tuple of several."""
        if self.freed:
            raise GraphFreedError(
                f"backward through {self.name}: its saved arrays were freed by an earlier "
                "backward(). Pass retain_graph=True to the earlier call if you need a second one, "
                "or compute the loss again."
            )
        if len(names) == 1:
            return self._read(names[0])
        return tuple([self._read(name) for name in names])

    def cache(self, *names: str) -> Any:
        """What was cached under these names; not there under ``create_graph``."""
        if self.create_graph:
            raise GraphError(
                f"{self.name}.backward: ctx.cache is for ordinary backward only. Write "
                "'if ctx.create_graph:' and compute it again there from ctx.saved(...), so that "
                "the gradient can be differentiated."
            )
        for name in names:
            if name not in self._cache:
                raise self._not_saved(name, "save_cache", self._cache)
        values = [self._cache[name] for name in names]
        return values[0] if len(values) == 1 else tuple(values)

    @property
    def saved_arrays(self) -> dict[str, Any]:
        """All that this node keeps for backward, by name: for a learner to look at."""
        kept = {name: entry[0] for name, entry in self._saved.items()}
        return {**kept, **self._constants, **self._cache}

    def _read(self, name: str) -> Any:
        if name in self._constants:
            return self._constants[name]
        if name not in self._saved:
            raise self._not_saved(name, "save", {**self._saved, **self._constants})
        array, node, record, version = self._saved[name]
        if record is not None and record.version != version:
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
        if name in self._cache and how == "save":
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

    def seal(self, places: dict[int, Node | None], out: Array) -> None:
        """Give every saved array its place in the graph, and put it under watch.

        ``places`` has those of the inputs, by identity.
        """
        self.shape, self.dtype = out.shape, out.dtype
        held = self._held = []
        if self._to_save:
            places.setdefault(id(out), _OWN_OUTPUT)
            self._saved = {}
            for name, given in self._to_save.items():
                # NumPy makes a single number of a 0-d result; what is kept is the 0-d output.
                value = out if isinstance(given, np.generic) else given
                if id(value) not in places:
                    self.free()
                    raise self._no_place(name)
                record, version = None, 0
                if type(value) is np.ndarray or is_array(value):
                    record = guard.hold(value)
                    version = record.version
                    held.append(value)
                self._saved[name] = value, places[id(value)], record, version
            self._to_save = _NOTHING
        for constant in self._constants.values():  # an index can be a tuple of arrays
            for value in constant if type(constant) is tuple else (constant,):
                if type(value) not in _NO_ARRAYS and is_array(value):
                    guard.hold(value)
                    held.append(value)
        if anomaly.active() is not None:
            self.anomaly = anomaly.Record.of(held)

    def _no_place(self, name: str) -> GraphError:
        return GraphError(
            f"{self.name}.forward: ctx.save({name}=...) takes inputs and outputs of the operation "
            "only, and this is neither. Use ctx.save_constant if its derivative is zero, "
            "ctx.save_cache if backward can compute it again from the inputs."
        )

    def free(self) -> None:
        """Let go of all that was saved."""
        held, self._held = self._held, None
        self._saved = self._constants = self._cache = self._to_save = _NOTHING
        self.freed = True
        if held:
            guard.release(*held)

    def __del__(self) -> None:
        if self._held:
            guard.release(*self._held)


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
    # Whether backward, without create_graph, returns only fresh arrays: none is grad_out or saved,
    # a view of one, or returned twice.  Then a leaf keeps them as they are, without a copy, and
    # gradients that meet are added up in them.
    hands_over = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "hands_over" not in vars(cls):  # the promise of one backward is not that of another
            cls.hands_over = False

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
        needs: list[bool] = []
        any_tensor = False
        gpu: Array = None  # an input that is there
        for value in inputs:
            node = None
            if isinstance(value, Tensor):
                any_tensor = True
                value, node = value._data, value.node
            if type(value) is not np.ndarray and is_on_gpu(value):
                gpu = value
            arrays.append(value)
            parents.append(node)
            needs.append(node is not None)
        if gpu is not None:
            _check_devices(cls, arrays, gpu)
        if not any_tensor:
            if gpu is None:
                return cls.forward(_not_recorded, *arrays, **options)
            with using_device_of(gpu):
                return cls.forward(_not_recorded, *arrays, **options)
        extra: tuple[Array, ...] = ()
        ctx = None
        if True in needs and recording.get():
            ctx = Recorded(cls, tuple(parents), tuple(needs))
            places = _tell_apart(arrays, parents)
        if gpu is None:
            out = cls.forward(_not_recorded if ctx is None else ctx, *arrays, **options)
        else:
            with using_device_of(gpu):
                out = cls.forward(_not_recorded if ctx is None else ctx, *arrays, **options)
        if type(out) is not np.ndarray:
            out, extra = _split(out, arrays)
        if ctx is not None:
            ctx.seal(places, out)
        result = Tensor._wrap(out, ctx)
        return (result, *extra) if extra else result


def _check_devices(function: type[Function], arrays: list[Any], gpu: Array) -> None:
    """Refuse inputs that are not where ``gpu`` is, by their names in ``forward``."""
    here = gpu.device.id
    if all(x.device.id == here if is_on_gpu(x) else not is_array(x) for x in arrays):
        return
    names: list[str] = []
    for name, parameter in list(inspect.signature(function.forward).parameters.items())[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{name}[{i}]" for i in range(len(arrays))]
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(name)
    check_same_device(function.__name__, **dict(zip(names, arrays, strict=False)))


def _tell_apart(arrays: list[Any], parents: list[Node | None]) -> dict[int, Node | None]:
    """The place of each input in the graph, by the identity of its array.

    Inputs that share an array, but not a place, get arrays of their own: ``x * x.detach()`` has one
    array twice.
    """
    places: dict[int, Node | None] = {}
    for i, parent in enumerate(parents):
        if places.setdefault(id(arrays[i]), parent) is not parent:
            arrays[i] = arrays[i].view()
            places[id(arrays[i])] = parent
    return places


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
