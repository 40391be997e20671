"""``Module``: parameters, buffers and children by name, and hooks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minires.autograd import guard
from minires.autograd.grad_mode import recording
from minires.autograd.tensor import Tensor
from minires.creation import tensor as make_tensor
from minires.device import (
    Array,
    as_array,
    copied,
    device_of,
    is_array,
    names_device,
    to_device,
    using_device_of,
)
from minires.errors import DTypeError, MiniresError, ShapeError, StateError
from minires.kernels.parallel import blas_is_held, one_blas_thread
from minires.nn.hooks import BackwardHooks, Hooked

__all__ = ["LoadResult", "Module", "Parameter"]

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A tensor that a module owns and an optimiser trains.

    Arrays and tensors are used as they are, without a copy; lists and numbers become what
    ``mr.tensor`` makes of them, float32 for Python floats.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        if not isinstance(data, Tensor) and not is_array(data):
            data = make_tensor(data)
        super().__init__(data, requires_grad)


class LoadResult(NamedTuple):
    """What ``load_state_dict`` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Hooked):
    """Base of all layers and networks.

    Parameters and modules that are assigned as attributes are found again by name, in the order of
    assignment; ``register_buffer`` adds tensors that are saved but not trained.

    >>> import minires as mr, minires.nn as nn
    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = nn.Parameter(mr.tensor([2.0]))
    ...     def forward(self, x):
    ...         return self.scale * x
    >>> Twice()(mr.tensor([1.0, 3.0]))
    tensor([2., 6.], node=<Mul>)
    """

    training: bool
    _parameters: dict[str, Parameter | None]  # None: a name that is kept free
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module]

    def __init__(self) -> None:
        for name in ("_parameters", "_buffers", "_modules"):
            object.__setattr__(self, name, {})
        self._start_hooks()
        self.training = True

    def forward(self, *inputs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} must define forward().")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        try:
            # Once around the whole network, not around each of its products.
            with _as_it_is if blas_is_held() else one_blas_thread():
                for pre_hook in list(self._forward_pre_hooks.values()):
                    changed = pre_hook(self, inputs)
                    if changed is not None:
                        inputs = changed if isinstance(changed, tuple) else (changed,)
                backward = None
                if (self._backward_hooks or self._backward_pre_hooks) and recording.get():
                    backward = BackwardHooks(self)
                    inputs = backward.enter(inputs)
                out = self.forward(*inputs, **options)
                for hook in list(self._forward_hooks.values()):
                    changed = hook(self, inputs, out)
                    if changed is not None:
                        out = changed
                return out if backward is None else backward.leave(out)
        except MiniresError as error:
            self._note_place(error)
            raise

    def _note_place(self, error: MiniresError) -> None:
        """Let the note of ``error`` say where below this module it happened.

        Each module on the way out takes the note of the one below off and puts its own there, so
        that one is left, with the path from the outermost.
        """
        innermost, below, path, note = vars(error).get("_place", (self, self, "", None))
        if note is not None:
            error.__notes__.remove(note)
            name = next((name for name, module in self.named_modules() if module is below), "")
            path = ".".join(part for part in (name, path) if part)
        text = repr(innermost)
        text = type(innermost).__name__ if "\n" in text else text
        note = f"  in {path}: {text}" if path else f"  in {text}"
        error.add_note(note)
        vars(error)["_place"] = innermost, self, path, note

    # --- names ---

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register("_parameters", name, value)
        elif isinstance(value, Module):
            self._register("_modules", name, value)
        elif name in self.__dict__.get("_parameters", ()):
            self.register_parameter(name, value)
        elif name in self.__dict__.get("_buffers", ()):
            self.register_buffer(name, value)
        else:
            self._refuse_over_method(name, value)
            self._register(None, name, value)

    def _register(self, table: str | None, name: str, value: Any) -> None:
        """Put ``value`` under ``name`` in one table, or in none, and take it out of the others."""
        if "_modules" not in self.__dict__:
            raise MiniresError(
                f"{type(self).__name__}: call super().__init__() before assigning {name!r}."
            )
        for other in ("_parameters", "_modules", "_buffers"):
            if other != table:  # there it keeps its place in the order
                self.__dict__[other].pop(name, None)
        if table is None:
            object.__setattr__(self, name, value)
            return
        if table == "_parameters":
            self._refuse_over_method(name, value)
        self.__dict__[table][name] = value
        self.__dict__.pop(name, None)
        if hasattr(type(self), name):  # in place of a part of the class: branch, skip_scale
            self.__dict__[name] = value

    def _refuse_over_method(self, name: str, value: Any) -> None:
        """A list under the name of a method (branch) could not be called in its place."""
        if not callable(getattr(type(self), name, None)) or value is None:
            return
        if not callable(value) or isinstance(value, type):
            what = f"the class {value.__name__}" if isinstance(value, type) else _a(value)
            raise DTypeError(
                f"{type(self).__name__}: {name} is called in forward; {what} cannot take its "
                f"place. Give it a module: {name} = nn.Sequential(*layers), or the class called, "
                "nn.ReLU()."
            )

    def __getattr__(self, name: str) -> Any:  # only called when the ordinary look-up fails
        own = self.__dict__
        for table in ("_parameters", "_modules", "_buffers"):
            if table in own and name in own[table]:
                return own[table][name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._modules, self._buffers):
            if name in table:
                del table[name]
                self.__dict__.pop(name, None)
                return
        object.__delattr__(self, name)

    def register_buffer(self, name: str, value: Tensor | None) -> None:
        """A tensor that belongs to the state of the module and is not trained."""
        if value is not None and not isinstance(value, Tensor):
            raise DTypeError(
                f"{type(self).__name__}: the buffer {name} must be a Tensor or None, not "
                f"{_a(value)}: wrap it, {name} = mr.tensor(...)."
            )
        self._register("_buffers", name, value)

    def register_parameter(self, name: str, value: Parameter | None) -> None:
        """A parameter under ``name``; None reserves the name, for a bias that is not there."""
        if value is not None and not isinstance(value, Parameter):
            raise DTypeError(
                f"{type(self).__name__}: the parameter {name} must be a Parameter or None, not "
                f"{_a(value)}, which no optimiser would train: wrap it, "
                f"{name} = nn.Parameter(...), or write into its array, {name}.data[...] = ..."
            )
        self._register("_parameters", name, value)

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with dotted names; a shared one once, or each time."""
        seen: set[int] = set()
        stack: list[tuple[str, Module, tuple[int, ...]]] = [(prefix, self, ())]
        while stack:
            path, module, above = stack.pop()
            # Going round a circle of modules would never end.
            if id(module) in (seen if remove_duplicate else above):
                continue
            seen.add(id(module))
            yield path, module
            above = (*above, id(module))
            for name, child in reversed(module._modules.items()):
                stack.append((f"{path}.{name}" if path else name, child, above))

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one."""
        return iter(self._modules.items())

    def children(self) -> Iterator[Module]:
        """The modules directly below this one, without names."""
        return iter(self._modules.values())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names, each once, in the order of assignment."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield (f"{path}.{name}" if path else name), parameter

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, as an optimiser takes them."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """All buffers with dotted names."""
        for path, module in self.named_modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    yield (f"{path}.{name}" if path else name), buffer

    def buffers(self) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers())

    # --- state ---

    def state_dict(self) -> OrderedDict[str, Array]:
        """A copy of all parameters and buffers as arrays, by dotted name, where they are."""
        return OrderedDict((name, copied(tensor._data)) for name, tensor in self._named_state())

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers; a shared one, or one of a shared module, under each name."""
        for path, module in self.named_modules(remove_duplicate=False):
            for name, tensor in {**module._parameters, **module._buffers}.items():
                if tensor is not None:
                    yield (f"{path}.{name}" if path else name), tensor

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy arrays or tensors into parameters and buffers of the same names.

        Nothing is changed unless everything fits.

        Args:
            state: arrays by dotted name, as :meth:`state_dict` gives them.
            strict: raise if names are missing or left over, instead of returning them.

        Raises:
            ShapeError: an array has another shape than the parameter.
            StateError: ``strict``, and the names differ.
        """
        own = dict(self._named_state())
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        if strict and (missing or unexpected):
            raise StateError(
                f"load_state_dict of {type(self).__name__}: missing {missing[:5]}, "
                f"unexpected {unexpected[:5]} ({len(missing)} and {len(unexpected)} in all). "
                "Build the model that was saved, or pass strict=False to load what fits."
            )
        fitting = []
        for name, tensor in own.items():
            if name in state:
                value = state[name]
                array = value._data if isinstance(value, Tensor) else as_array(value)
                if array.shape != tensor.shape:
                    raise ShapeError(
                        f"load_state_dict: {name} has shape {tensor.shape}, but the state holds "
                        f"{array.shape}. Is it the state of another model?"
                    )
                if array.dtype.kind not in "fiub":
                    raise StateError(
                        f"load_state_dict: {name} holds {array.dtype}, which are no numbers. "
                        "Is the file damaged?"
                    )
                with guard.writable(tensor._data):  # raises now if it cannot be written
                    fitting.append((tensor, array))
        for tensor, array in fitting:
            with guard.writable(tensor._data) as data:
                data[...] = to_device(array, device_of(data))
        return LoadResult(missing, unexpected)

    def train(self: M, mode: bool = True) -> M:
        """Training mode for this module and all below: batch norm uses the batch."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Evaluation mode: batch norm uses its running statistics."""
        return self.train(False)

    def requires_grad_(self: M, value: bool = True) -> M:
        """Switch training of all parameters on or off."""
        for parameter in self.parameters():
            parameter.requires_grad_(value)
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def apply(self: M, function: Callable[[Module], None]) -> M:
        """Call ``function`` on every module once, children first, in the order of assignment."""
        seen: set[int] = set()

        def visit(module: Module) -> None:
            if id(module) not in seen:
                seen.add(id(module))
                for child in module.children():
                    visit(child)
                function(module)

        visit(self)
        return self

    def to(self: M, device_or_dtype: Any) -> M:
        """Move parameters and floating-point buffers to a device or another float type, in place.

        Gradients that are there move with their parameters.

        >>> import minires.nn as nn
        >>> nn.Linear(2, 2).to("float64").weight.dtype
        dtype('float64')
        """
        is_device = names_device(device_or_dtype)
        dtype = None if is_device else _floating(device_or_dtype)

        def convert(array: Any) -> Any:
            if is_device:
                return to_device(array, device_or_dtype)
            with using_device_of(array):
                return array.astype(dtype) if array.dtype.kind == "f" else array

        for tensor in [*self.parameters(), *self.buffers()]:
            grad = tensor.grad
            tensor.data = convert(tensor._data)
            if grad is not None:
                tensor.grad = Tensor(convert(grad._data))
        return self

    def cuda(self: M) -> M:
        """``to("cuda")``."""
        return self.to("cuda")

    def cpu(self: M) -> M:
        """``to("cpu")``."""
        return self.to("cpu")

    # --- text ---

    def extra_repr(self) -> str:
        """Settings to show in the module's line of ``repr``."""
        return ""

    def __repr__(self) -> str:
        lines = []
        for name, child in self._modules.items():
            first, *rest = repr(child).split("\n")
            lines += [f"  ({name}): {first}", *(f"  {line}" for line in rest)]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return head + ")" if not lines else "\n".join([head, *lines, ")"])


_as_it_is = nullcontext()


def _a(value: Any) -> str:
    return f"a {type(value).__name__}"


def _floating(dtype: Any) -> np.dtype[Any]:
    found: np.dtype[Any] | None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.kind != "f":
        raise DTypeError(
            f"to: {dtype!r} is neither a device ('cpu', 'cuda') nor a floating type ('float32')."
        )
    return found
