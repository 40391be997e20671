"""What is checked: a function of float64 arrays, whatever the caller gave.

A :class:`Subject` runs the caller's function at any point, with or without a graph.
:class:`Gradients` is the same for the function's gradients, so that the one check serves first and
second derivatives.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minires.autograd import Tensor, enable_grad, grad, no_grad
from minires.device import Array, array_like, as_array, is_array, to_numpy
from minires.errors import DTypeError, UsageError, describe
from minires.nn import Module

__all__ = ["Arrays", "Gradients", "Subject"]

Arrays = list[np.ndarray]


class Subject:
    """A function and the point at which it is checked.

    Attributes:
        name: of the function, for the report.
        names: of the inputs that are checked.
        point: their values, as float64 arrays of their own.
    """

    order = 1

    def __init__(self, fn: Callable[..., Any], inputs: Any, caller: str):
        if isinstance(fn, type) and hasattr(fn, "apply"):
            raise UsageError(f"{caller}: give it {fn.__name__}.apply, which runs the operation.")
        if isinstance(fn, type) or not callable(fn):
            what = f"the class {fn.__name__}" if isinstance(fn, type) else type(fn).__name__
            raise UsageError(f"{caller}: fn must be a function of tensors, not {what}.")
        self.caller = caller
        self.given = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
        self.module: Module | None = None
        self.fn = fn
        if isinstance(fn, Module):  # a copy: nothing is left behind in the caller's model
            self.fn = self.module = copy.deepcopy(fn).to("float64")
        self.name = _name_of(fn)
        self.places = _checked_places(self.given)
        names = _parameter_names(fn, len(self.given))
        self.names = [names[place] for place in self.places]
        self.point = [_float64(self.given[place]) for place in self.places]
        self.parameters: list[Tensor] = []
        if self.module is not None:
            for name, parameter in self.module.named_parameters():
                if parameter.requires_grad:
                    self.names.append(name)
                    self.parameters.append(parameter)
                    self.point.append(_float64(parameter))
        if not self.point:
            raise UsageError(
                f"{caller}: none of the {len(self.given)} inputs is a floating-point array or "
                "tensor, so there is nothing to differentiate by. Make one of numbers or a list: "
                "np.array([0.3, 1.0]); integers stay as they are."
            )

    def run(self, point: Sequence[np.ndarray], record: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs and leaves at ``point``; without ``record`` there is no graph."""
        here = point[: len(self.places)]
        xs = [
            Tensor(_moved(array, self.given[place]), requires_grad=record)
            for array, place in zip(here, self.places, strict=True)
        ]
        arguments = [_constant(value) for value in self.given]
        for place, x in zip(self.places, xs, strict=True):
            arguments[place] = x
        for parameter, array in zip(self.parameters, point[len(xs) :], strict=True):
            parameter.data = _moved(array, parameter)
        leaves = [*xs, *self.parameters]
        with enable_grad() if record else no_grad():
            outputs = self._outputs(self.fn(*arguments))
        for name, leaf, array in zip(self.names, leaves, point, strict=True):
            if not np.array_equal(to_numpy(leaf.data), array, equal_nan=True):
                raise UsageError(
                    f"{self.caller} of {self.name}: the function changes its input {name} in "
                    "place, so there is no point at which to differentiate. Work on a copy."
                )
        return outputs, leaves

    def _outputs(self, result: Any) -> list[Tensor]:
        outputs = [x for x in _flat(result) if isinstance(x, Tensor) and x.dtype.kind == "f"]
        if not outputs:
            raise UsageError(
                f"{self.caller} of {self.name}: the function must return a tensor (or several), "
                f"but it returned {type(result).__name__}. Call it on tensors, and make its output "
                "by operations that are recorded."
            )
        for out in outputs:
            if out.dtype != np.float64:
                raise DTypeError(
                    f"{self.caller} of {self.name}: float64 came in and {out.dtype} came out, "
                    "whose rounding hides the differences.\n"
                    f"  {describe(out=out)}\n"
                    "  Look for a cast, or for float32 constants and weights, in the function."
                )
        return outputs

    def values(self, point: Sequence[np.ndarray]) -> Arrays:
        """The outputs at ``point``, as arrays, by the ordinary way through the function."""
        return [to_numpy(out.data) for out in self.run(point, record=False)[0]]


class Gradients(Subject):
    """The gradients of another subject, as a function of its inputs and of the cotangents.

    With ``record`` they come from a backward pass under ``create_graph``, without it from an
    ordinary one: the check holds the two ways of running a backward method together as well.
    """

    order = 2

    def __init__(self, first: Subject, grad_outputs: Sequence[Any] | None, rng: Any):
        self.first, self.name, self.caller = first, first.name, first.caller
        outputs = first.values(first.point)
        if grad_outputs is None:
            cotangents = [rng.standard_normal(out.shape) for out in outputs]
        else:
            cotangents = [_float64(value) for value in grad_outputs]
        shapes, needed = [c.shape for c in cotangents], [out.shape for out in outputs]
        if shapes != needed:
            raise UsageError(
                f"{first.caller}: grad_outputs have shapes {shapes}, but the outputs {needed}."
            )
        of = [f"grad_out[{i}]" for i in range(len(outputs))] if len(outputs) > 1 else ["grad_out"]
        self.names = [*first.names, *of]
        self.point = [*first.point, *(np.asarray(c) for c in cotangents)]

    def run(self, point: Sequence[np.ndarray], record: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The gradients at ``point`` and the leaves they were taken from."""
        split = len(self.first.point)
        outputs, leaves = self.first.run(point[:split], record=True)
        cotangents = [
            Tensor(_moved(array, out), requires_grad=record)
            for array, out in zip(point[split:], outputs, strict=True)
        ]
        reached = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.node is not None]
        found: Sequence[Tensor | None] = [None] * len(leaves)
        if reached:
            found = grad(
                [out for out, _ in reached],
                leaves,
                grad_outputs=[cotangent for _, cotangent in reached],
                create_graph=record,
                allow_unused=True,
            )
        gradients = [
            Tensor(np.zeros(leaf.shape)) if g is None else g
            for leaf, g in zip(leaves, found, strict=True)
        ]
        return gradients, [*leaves, *cotangents]


def _flat(result: Any) -> list[Any]:
    """All that a function returned, out of its tuples, lists and dictionaries, in their order."""
    parts = list(result.values()) if isinstance(result, Mapping) else result
    if not isinstance(parts, tuple | list):
        return [parts]
    return [x for part in parts for x in _flat(part)]


def _checked_places(given: Sequence[Any]) -> list[int]:
    """Tensors that require grad; if there is none, everything of floating-point numbers."""
    asked = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if asked:
        return asked
    arrays = ((i, _data(x)) for i, x in enumerate(given))
    return [i for i, x in arrays if is_array(x) and x.dtype.kind == "f"]


def _data(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


def _float64(value: Any) -> np.ndarray:
    """A copy on the CPU, where points are moved and results compared."""
    return np.array(to_numpy(as_array(_data(value))), dtype=np.float64)


def _moved(array: np.ndarray, beside: Any) -> Array:
    """A copy of an array of the CPU where an array or a tensor is."""
    return array_like(array.copy(), _data(beside))


def _constant(value: Any) -> Any:
    """An input that is not checked: floating-point numbers as float64, the rest as it is."""
    data = _data(value)
    if not (is_array(data) and data.dtype.kind == "f"):
        return value
    wide = _moved(_float64(data), data)
    return Tensor(wide) if isinstance(value, Tensor) else wide


def _name_of(fn: Any) -> str:
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, type):  # MyFunction.apply
        return owner.__name__
    name = getattr(fn, "__name__", type(fn).__name__)
    return "the function" if name == "<lambda>" else name


def _parameter_names(fn: Any, count: int) -> list[str]:
    """The names of the first ``count`` parameters, as far as they can be found out."""
    owner: Any = getattr(fn, "__self__", None)
    function_class = isinstance(owner, type) and hasattr(owner, "forward")
    source = owner.forward if function_class else getattr(fn, "forward", fn)
    try:
        parameters = list(inspect.signature(source).parameters.values())
    except (TypeError, ValueError):  # some built-in functions have no signature
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = names[1:] if function_class else names  # ctx is none of the inputs
    return [names[i] if i < len(names) else f"input {i}" for i in range(count)]
