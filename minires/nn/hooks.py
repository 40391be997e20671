"""Hooks of modules: functions that are called around forward and backward.

For backward, a module is no node of the graph but a piece of it.  So its inputs and its output get
a place of their own on the way in and out (:func:`~minires.functional.shape.alias`), and the hooks
of those places see the gradients.  Several inputs come in as one vector, which is taken apart
again: its gradient is complete when those of all of them are.

    inputs -> [one place] -> forward -> [one place an output] -> output
                   |                             |
              grad_input       <---        grad_output
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minires.autograd.tensor import Handle, Tensor
from minires.errors import ContractError, GraphError
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
        return Handle(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, inputs)`` before forward; a returned value replaces the inputs."""
        return Handle(self._forward_pre_hooks, hook)

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, grad_input, grad_output)`` when the module's inputs have gradients.

        Both are tuples, with None for what has no gradient; a returned tuple (or single tensor)
        takes the place of ``grad_input``.  Where no input requires grad it is called when the
        gradient reaches the output.  A backward pass that does not come to the inputs, as that of
        ``mr.grad`` for parameters alone, does not call it.

        >>> import minires as mr, minires.nn as nn
        >>> layer = nn.ReLU()
        >>> show = lambda module, grad_input, grad_output: print(grad_input[0].tolist())
        >>> handle = layer.register_full_backward_hook(show)
        >>> layer(mr.tensor([-1.0, 2.0], requires_grad=True)).sum().backward()
        [0.0, 1.0]
        """
        return Handle(self._backward_hooks, hook)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, grad_output)`` before; a returned value replaces ``grad_output``."""
        return Handle(self._backward_pre_hooks, hook)


class BackwardHooks:
    """The backward hooks of one call of a module."""

    def __init__(self, module: Module):
        self.module = module
        self.places: list[int] = []  # of the inputs that have a gradient
        self.count = 0
        self.grad_output: list[Tensor | None] = []

    def enter(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inputs, each at a place where its gradient is seen."""
        self.count = len(inputs)
        self.places = [i for i, x in enumerate(inputs) if _has_gradient(x)]
        if not self.places:
            return inputs
        xs = [inputs[i] for i in self.places]
        dtypes = sorted({str(x.dtype) for x in xs})
        if len(dtypes) > 1:
            raise GraphError(
                f"full backward hook of {type(self.module).__name__}: its inputs have dtypes "
                f"{' and '.join(dtypes)}, and they travel together. Convert them to one."
            )
        entrance = alias(xs[0]) if len(xs) == 1 else cat([reshape(x, -1) for x in xs])
        entrance.register_hook(lambda grad: self._at_input(grad, xs))
        if len(xs) == 1:
            apart = [entrance]
        else:
            ends = [0]
            for x in xs:
                ends.append(ends[-1] + x.numel())
            apart = [
                reshape(entrance[start:end], x.shape)
                for x, start, end in zip(xs, ends, ends[1:], strict=False)
            ]
        changed = list(inputs)
        for i, x in zip(self.places, apart, strict=True):
            changed[i] = x
        return tuple(changed)

    def leave(self, out: Any) -> Any:
        """The output, or each of several, at a place where its gradient is seen."""
        parts = list(out) if isinstance(out, tuple | list) else [out]
        self.grad_output = [None] * len(parts)
        for i, part in enumerate(parts):
            if _has_gradient(part):
                parts[i] = alias(part)
                parts[i].register_hook(lambda grad, i=i: self._at_output(grad, i))
        if isinstance(out, tuple | list):
            return type(out)(parts) if type(out) in (tuple, list) else type(out)(*parts)
        return parts[0]

    def _at_output(self, grad: Tensor, i: int) -> Tensor | None:
        self.grad_output[i] = grad
        for hook in list(self.module._backward_pre_hooks.values()):
            changed = hook(self.module, tuple(self.grad_output))
            if changed is not None:
                self.grad_output = self._same_number(changed, len(self.grad_output))
        if not self.places:  # no input will be reached, so this is the time
            self._call((None,) * self.count)
        return self.grad_output[i]

    def _at_input(self, grad: Tensor, xs: Sequence[Tensor]) -> Tensor | None:
        grads = [grad]
        if len(xs) > 1:
            grads, start = [], 0
            for x in xs:
                grads.append(reshape(grad[start : start + x.numel()], x.shape))
                start += x.numel()
        grad_input: list[Tensor | None] = [None] * self.count
        for i, part in zip(self.places, grads, strict=True):
            grad_input[i] = part
        changed = self._call(tuple(grad_input))
        if changed is None:
            return None
        kept: list[Tensor] = [changed[i] for i in self.places]
        replaced: Tensor = kept[0] if len(kept) == 1 else cat([reshape(x, -1) for x in kept])
        return replaced

    def _call(self, grad_input: tuple[Tensor | None, ...]) -> list[Any] | None:
        """Run the hooks in turn, each on what the one before made of ``grad_input``."""
        replaced = None
        for hook in list(self.module._backward_hooks.values()):
            changed = hook(self.module, grad_input, tuple(self.grad_output))
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


def _has_gradient(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad
