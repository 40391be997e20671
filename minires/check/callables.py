"""The learner's functions, whichever way they hand things from forward to backward.

Three conventions are known, and told apart by the functions themselves:

    plain    forward(*inputs, **settings) -> out             backward(grad_out, *inputs, **settings)
    cache    forward(*inputs, **settings) -> (out, cache)    backward(grad_out, cache)
    ctx      forward(ctx, *inputs, **settings) -> out        backward(ctx, grad_out)

It is *ctx* if the first parameter of forward has that name, *cache* if forward returns a tuple or
list of exactly two that is not an output itself, and *plain* otherwise.  Settings go by keyword to
the functions that take them.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minires.autograd import Tensor
from minires.check.mistakes import Grads, Operation, Problem
from minires.device import Array, copied, is_array, is_on_gpu, to_numpy
from minires.errors import GraphError, UsageError

__all__ = ["Attempt", "Context", "Learner", "as_array"]


class Context:
    """What a learner's forward gets as ``ctx``: it keeps what backward needs.

    It takes the calls of a Function of minires, and the two that PyTorch has for this.

    >>> ctx = Context((True,))
    >>> ctx.save(x=1.0)
    >>> ctx.saved("x")
    1.0
    """

    create_graph = False

    def __init__(self, needs_input_grad: tuple[bool, ...]):
        self.needs_input_grad = needs_input_grad
        self._kept: dict[str, Any] = {}

    def save(self, **values: Any) -> None:
        """Keep values for backward, by name."""
        self._kept.update(values)

    save_constant = save_cache = save

    def saved(self, *names: str) -> Any:
        """What was kept under these names: one value, or a tuple of several."""
        for name in names:
            if name not in self._kept:
                there = ", ".join(self._kept) or "nothing"
                raise GraphError(f"ctx: {name!r} was not saved in forward; there is {there}.")
        values = [self._kept[name] for name in names]
        return values[0] if len(values) == 1 else tuple(values)

    cache = saved

    def save_for_backward(self, *values: Any) -> None:
        """Keep values for backward, which finds them in ``saved_tensors``."""
        self.saved_tensors = values


@dataclass
class Attempt:
    """What the learner's functions did with one problem."""

    problem: Problem
    out: Any = None
    grads: dict[str, Any] = field(default_factory=dict)  # an array, or None, for each input
    failure: str | None = None  # why there is no output, or there are no gradients
    stage: str = "forward"  # where that was
    changed: list[str] = field(default_factory=list)  # arrays that were changed in place


class Learner:
    """A pair of functions under one convention."""

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any], op: Operation):
        for name, function in (("fn_forward", forward), ("fn_backward", backward)):
            if not callable(function):
                raise UsageError(
                    f"diagnose: {name} must be a function, and this is {type(function).__name__}. "
                    "Give the function itself, without calling it."
                )
        self.forward, self.backward, self.op = forward, backward, op
        self.signature = _signature(forward)
        self.with_ctx = [*getattr(self.signature, "parameters", ())][:1] == ["ctx"]

    def missing(self, problem: Problem) -> list[str]:
        """Settings that this problem needs and forward does not take."""
        return [name for name in self.op.needs(problem) if not _takes(self.signature, name)]

    def attempt(self, problem: Problem) -> Attempt:
        """Run forward and backward on copies of the inputs."""
        attempt = Attempt(problem)
        ctx = Context(tuple(name not in self.op.constants for name in self.op.inputs))
        given = _copies(problem)
        first = [ctx] if self.with_ctx else []
        returned = self._call(attempt, self.forward, [*first, *given.values()], problem)
        if attempt.failure is not None:
            return attempt
        pair = _is_pair(returned, problem)
        out = returned[0] if pair else returned
        attempt.out = _plain(out)
        _note_changes(attempt, "forward", given, problem.inputs)
        after = {name: value.copy() for name, value in given.items()}

        attempt.stage, grad_out = "backward", problem.grad_out.copy()
        if self.with_ctx:
            arguments = [ctx, grad_out]
        elif pair:
            arguments = [grad_out, returned[1]]
        else:
            given = _copies(problem)
            after = {name: value.copy() for name, value in given.items()}
            arguments = [grad_out, *given.values()]
        plain = not (self.with_ctx or pair)
        grads = self._call(attempt, self.backward, arguments, problem if plain else None)
        if attempt.failure is None:
            grads = _named(attempt, grads, self.op)
            attempt.grads = {name: _plain(grad) for name, grad in grads.items()}
        _note_changes(
            attempt,
            "backward",
            {"grad_out": grad_out, **given},
            {"grad_out": problem.grad_out, **after},
        )
        return attempt

    def _call(
        self, attempt: Attempt, function: Any, arguments: list[Any], problem: Problem | None
    ) -> Any:
        """Call with the settings that the function takes; an exception is noted as the failure."""
        signature = _signature(function)
        settings = {} if problem is None else problem.settings
        settings = {name: value for name, value in settings.items() if _takes(signature, name)}
        if signature is not None:
            try:
                signature.bind(*arguments, **settings)
            except TypeError as error:
                raise self._not_callable(attempt.stage, signature, settings, error) from None
        try:
            with np.errstate(all="ignore"):  # numbers that are not finite are reported later on
                return function(*arguments, **settings)
        except (Exception, SystemExit) as error:
            attempt.failure = f"{type(error).__name__}: {error}{_line_of(error)}"
            return None

    def _not_callable(
        self, stage: str, signature: Any, settings: dict[str, Any], error: TypeError
    ) -> UsageError:
        inputs = ", ".join(self.op.inputs)
        more = "".join(f", {name}=..." for name in settings)
        return UsageError(
            f"diagnose: {stage}{signature} cannot be called for {self.op.name}: {error}.\n"
            f"  Write forward({inputs}{more}) -> out and backward(grad_out, {inputs}{more}), or\n"
            f"  forward({inputs}{more}) -> (out, cache) and backward(grad_out, cache), or\n"
            f"  forward(ctx, {inputs}{more}) -> out and backward(ctx, grad_out)."
        )


_PACKAGE = str(Path(__file__).parents[1])


def _line_of(error: BaseException) -> str:
    """Where in the learner's code it happened: the last line that is no library's."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and not frame.filename.startswith(_PACKAGE)
    ]
    return f"\nin line {own[-1].lineno}: {own[-1].line}" if own and own[-1].line else ""


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # a function written in C may have none
        return None


def _takes(signature: inspect.Signature | None, name: str) -> bool:
    """Whether an argument can be given by this keyword."""
    return signature is not None and any(
        p.kind is p.VAR_KEYWORD or (p.name == name and p.kind is not p.POSITIONAL_ONLY)
        for p in signature.parameters.values()
    )


def _copies(problem: Problem) -> Grads:
    return {name: value.copy() for name, value in problem.inputs.items()}


def as_array(value: Any) -> Array | None:
    """The value as a NumPy array of real numbers, if it is one."""
    if value is None:
        return None
    try:
        array = to_numpy(value) if is_on_gpu(value) else np.asarray(value)
    except Exception:  # ragged lists, or whatever another library's object says to it
        return None
    return array if array.dtype.kind in "fiub" else None


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    array = as_array(value)
    return array is not None and array.shape == shape


def _is_pair(returned: Any, problem: Problem) -> bool:
    """Whether this is (out, cache), and not two rows or numbers that are the output."""
    two = isinstance(returned, tuple | list) and len(returned) == 2
    return two and not _has_shape(returned, problem.out.shape)


def _plain(value: Any) -> Any:
    """A tensor's array; copied, because the learner's code may go on to change it."""
    value = value.data if isinstance(value, Tensor) else value
    return copied(value) if is_array(value) else value


def _note_changes(attempt: Attempt, stage: str, now: Grads, before: Grads) -> None:
    for name, value in now.items():
        if not np.array_equal(value, before[name]):
            attempt.changed.append(f"{stage} changes {name} in place")


def _named(attempt: Attempt, grads: Any, op: Operation) -> dict[str, Any]:
    """The gradients by input name; a wrong number of them is noted as the failure."""
    wanted = op.gradients
    if len(wanted) == 1 and _has_shape(grads, attempt.problem.right[wanted[0]].shape):
        return {wanted[0]: grads}
    if isinstance(grads, dict):
        named = {str(name).removeprefix("grad_"): value for name, value in grads.items()}
        unknown = [name for name in named if name not in op.inputs]
        if unknown:
            attempt.failure = (
                f"the dict of gradients has {', '.join(map(repr, unknown))}, which is no input; "
                f"its keys are {', '.join(wanted)}."
            )
        return {name: named.get(name) for name in wanted}
    if isinstance(grads, (tuple, list)):
        for names in (op.inputs, wanted):
            if len(grads) == len(names):
                return {n: g for n, g in zip(names, grads, strict=True) if n in wanted}
        count = f"{len(grads)} gradients"
    elif len(wanted) == 1:
        return {wanted[0]: grads}
    else:
        count = f"one {type(grads).__name__}"
    attempt.failure = (
        f"it returned {count}, and there must be {len(wanted)}: {', '.join(wanted)}, in this order."
    )
    return {}
