"""Hooks of modules: functions that are called around forward and backward.

For backward, a module is no node of the graph but a piece of it.  So its inputs and its outputs
get a place of their own on the way in and out (:func:`~minires.functional.shape.alias`), and the
hooks of those places see the gradients.  Several come as one vector, which is taken apart again:
its gradient is complete when those of all of them are.

    inputs -> [one place] -> forward -> [one place] -> outputs
                   |                         |
              grad_input       <---     grad_output
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from minires.autograd.tensor import Handle, Tensor
from minires.device import zeros_like
from minires.errors import ContractError, GraphError, ShapeError, UsageError
from minires.functional.shape import alias, cat, reshape

if TYPE_CHECKING:
    from minires.nn.module import Module

__all__ = ["BackwardHooks", "Hooked"]


class Hooked:
    """The part of a module that keeps its hooks."""

    _forward_hooks: dict[int, Any]
    _forward_pre_hooks: dict[int, Any]
    _backward_hooks: dict[int, Any]
    _backward_pre_hooks: dict[int, Any]

    def _start_hooks(self) -> None:
        for when in ("forward", "forward_pre", "backward", "backward_pre"):
            object.__setattr__(self, f"_{when}_hooks", {})

    def register_forward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, inputs, output)`` after forward; a returned value replaces output."""
        return Handle(self._forward_hooks, _callable(hook))

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, inputs)`` before forward; a returned value replaces the inputs."""
        return Handle(self._forward_pre_hooks, _callable(hook))

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, grad_input, grad_output)`` when the module's inputs have gradients.

        Both are tuples, with None for what has no gradient; a returned tuple (or single tensor)
        takes the place of ``grad_input``, and None in it that of a zero.  Outputs are seen if they
        are a tensor, or several in a tuple or list; inputs if they are given by place.  Where no
        input requires grad it is called when the gradient reaches the output.  A backward pass that
        does not come to the inputs, as that of ``mr.grad`` for parameters alone, does not call it;
        nor does one that comes to them, but not through the outputs, as for a second derivative.

        >>> import minires as mr, minires.nn as nn
        >>> layer = nn.ReLU()
        >>> show = lambda module, grad_input, grad_output: print(grad_input[0].tolist())
        >>> handle = layer.register_full_backward_hook(show)
        >>> layer(mr.tensor([-1.0, 2.0], requires_grad=True)).sum().backward()
        [0.0, 1.0]
        """
        return Handle(self._backward_hooks, _callable(hook))

    def register_full_backward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, grad_output)`` before; a returned value replaces ``grad_output``."""
        return Handle(self._backward_pre_hooks, _callable(hook))


class BackwardHooks:
    """The backward hooks of one call of a module."""

    def __init__(self, module: Module):
        self.module = module
        self.places: list[int] = []  # of the inputs that have a gradient
        self.count = 0
        self.arrived: set[int] = set()  # the outputs that a gradient has come to in this pass
        self.grad_output: list[Tensor | None] | None = None  # once all of it has come

    def enter(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inputs, at a place where their gradients are seen."""
        values = list(inputs)
        self.count, self.places = len(values), _places(values)
        self._meet(values, "inputs", self._at_inputs)
        return tuple(values)

    def leave(self, out: Any) -> Any:
        """The output, or several, at a place where their gradients are seen."""
        values = list(out) if isinstance(out, tuple | list) else [out]
        places, count = _places(values), len(values)
        self._meet(values, "outputs", lambda grads: self._at_outputs(grads, places, count))
        for i in places:
            values[i] = alias(values[i])  # tells an output that no gradient came to from a zero
            values[i].register_hook(lambda grad, i=i: self.arrived.add(i))
        if isinstance(out, tuple | list):
            return type(out)(values) if type(out) in (tuple, list) else type(out)(*values)
        return values[0]

    def _meet(
        self, values: list[Any], what: str, see: Callable[[list[Tensor]], list[Any] | None]
    ) -> None:
        """Lead those of the values that have a gradient through one place, and ``see`` it there."""
        places = _places(values)
        xs = [values[i] for i in places]
        dtypes = sorted({str(x.dtype) for x in xs})
        if len(dtypes) > 1:
            raise GraphError(
                f"full backward hook of {type(self.module).__name__}: its {what} have dtypes "
                f"{' and '.join(dtypes)}, and they travel together. Convert them to one."
            )
        if not xs:
            return
        shapes = [x.shape for x in xs]
        together = alias(xs[0]) if len(xs) == 1 else cat([reshape(x, -1) for x in xs])

        def hook(grad: Tensor) -> Tensor | None:
            grads = _apart(grad, shapes)
            changed = see(grads)
            return None if changed is None else self._replaced(changed, grads)

        together.register_hook(hook)
        for i, x in zip(places, _apart(together, shapes), strict=True):
            values[i] = x

    def _replaced(self, changed: Sequence[Any], grads: Sequence[Tensor]) -> Any:
        """What hooks made of the gradients, for the way on; None stands for zero."""
        for new, old in zip(changed, grads, strict=True):
            if new is not None and not isinstance(new, Tensor):
                raise ContractError(
                    f"full backward hook of {type(self.module).__name__}: it returned "
                    f"{type(new).__name__} for a gradient. Return tensors, or None."
                )
            if new is not None and new.shape != old.shape:
                raise ShapeError(
                    f"full backward hook of {type(self.module).__name__}: it returned shape "
                    f"{tuple(new.shape)} for a gradient of shape {tuple(old.shape)}. Return each "
                    "in the shape it came in."
                )
        filled = [
            Tensor(zeros_like(old.data)) if new is None else new
            for new, old in zip(changed, grads, strict=True)
        ]
        return filled[0] if len(filled) == 1 else cat([reshape(x, -1) for x in filled])

    def _at_outputs(
        self, grads: list[Tensor], places: list[int], count: int
    ) -> list[Tensor | None] | None:
        came: list[Tensor | None] = [None] * count
        for i, grad in zip(places, grads, strict=True):
            came[i] = grad if i in self.arrived else None
        self.arrived.clear()
        changed = None
        for hook in list(self.module._backward_pre_hooks.values()):
            given = hook(self.module, tuple(came))
            if given is not None:
                came = changed = self._same_number(given, count)
        self.grad_output = came
        if not self.places:  # no input will be reached, so this is the time
            self._call((None,) * self.count)
        return None if changed is None else [changed[i] for i in places]

    def _at_inputs(self, grads: list[Tensor]) -> list[Any] | None:
        if self.grad_output is None:  # in from the side, as the gradient of a gradient comes
            return None
        grad_input: list[Tensor | None] = [None] * self.count
        for i, grad in zip(self.places, grads, strict=True):
            grad_input[i] = grad
        changed = self._call(tuple(grad_input))
        return None if changed is None else [changed[i] for i in self.places]

    def _call(self, grad_input: tuple[Tensor | None, ...]) -> list[Any] | None:
        """Run the hooks in turn, each on what the one before made of ``grad_input``."""
        grad_output, self.grad_output = tuple(self.grad_output or ()), None  # for the next pass
        replaced = None
        for hook in list(self.module._backward_hooks.values()):
            changed = hook(self.module, grad_input, grad_output)
            if changed is not None:
                replaced = self._same_number(changed, len(grad_input))
                grad_input = tuple(replaced)
        return replaced

    def _same_number(self, changed: Any, count: int) -> list[Any]:
        given = list(changed) if isinstance(changed, tuple | list) else [changed]
        if len(given) != count:
            raise ContractError(
                f"full backward hook of {type(self.module).__name__}: it returned {len(given)} "
                f"gradients where {count} are needed. Return a tuple like the one it was given, "
                "or None to change nothing."
            )
        return given


def _callable(hook: Any) -> Any:
    if not callable(hook):
        raise UsageError(f"A hook must be a function, not {type(hook).__name__}.")
    return hook


def _apart(vector: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The tensors of these shapes that lie one after the other in a vector; one is itself."""
    if len(shapes) == 1:
        return [vector]
    ends = list(accumulate((math.prod(shape) for shape in shapes), initial=0))
    return [
        reshape(vector[start:end], shape)
        for start, end, shape in zip(ends, ends[1:], shapes, strict=False)
    ]


def _places(values: Sequence[Any]) -> list[int]:
    """The places of the tensors that have a gradient."""
    return [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
