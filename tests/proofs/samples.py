"""The calls: every sample of PyTorch's operator and module databases for what minires offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

import minires as mr
import minires.functional as F
from minires import nn
from minires.functional.bind import METHODS
from tests.proofs.both import Call

__all__ = ["Entry", "calls_of_layer", "calls_of_operation", "entries", "layers", "without_sample"]

CREATION = ("arange", "full", "ones", "randn", "zeros")
LAYERS = (
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "ReLU",
)
# The database runs float.__radd__ where its sample is a number, which answers NotImplemented.
REFLECTED: dict[str, Callable[[Any, Any], Any]] = {
    "__radd__": lambda x, other: other + x,
    "__rsub__": lambda x, other: other - x,
    "__rmul__": lambda x, other: other * x,
    "__rdiv__": lambda x, other: other / x,
    "__rpow__": lambda x, other: other**x,
    "__rmatmul__": lambda x, other: other @ x,
}


class Entry(NamedTuple):
    """What the database knows of an operation, PyTorch's function and that of minires."""

    info: Any
    theirs: Callable[..., Any]
    ours: Callable[..., Any]


def entries() -> dict[str, list[Entry]]:
    """The entries of the database for each function and method that minires offers too."""
    found: dict[str, list[Entry]] = {}
    for info in op_db:
        name = info.name.removeprefix("nn.functional.")
        theirs, functions = REFLECTED.get(name, info.op), {}
        if name == "where":  # the database gives the arguments in the order of the method
            functions["F.where"] = lambda x, condition, other: F.where(condition, x, other)
        elif name == "dropout":
            theirs, functions["F.dropout"] = dropout_with_one_mask()
        elif name in F.__all__:
            functions[f"F.{name}"] = getattr(F, name)
        method = METHODS.get("__rtruediv__" if name == "__rdiv__" else name)
        if method is not None and method is not getattr(F, name, None):
            functions[f"Tensor.{name}"] = method
        if name in CREATION:
            functions[name] = getattr(mr, name)
        if name == "item":
            functions["Tensor.item"] = mr.Tensor.item
        for label, ours in functions.items():
            found.setdefault(label, []).append(Entry(info, theirs, ours))
    return found


def layers() -> list[tuple[str, Any]]:
    """The database's entry for each layer that minires offers, by its name."""
    return [
        (f"nn.{name}", info) for name in LAYERS for info in module_db if info.name == f"nn.{name}"
    ]


def without_sample() -> list[str]:
    """What minires offers and the databases have no sample of."""
    functions = [getattr(F, name) for name in F.__all__]
    ours = {f"F.{name}" for name in F.__all__}
    ours |= {f"Tensor.{name}" for name, f in METHODS.items() if f not in functions}
    ours |= {f"nn.{name}" for name in LAYERS}
    theirs = {*entries(), *(name for name, _ in layers())}
    theirs |= {"Tensor.__rtruediv__"} if "Tensor.__rdiv__" in theirs else set()
    return sorted(ours - theirs)


def dropout_with_one_mask() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Dropout in both: minires draws the mask, and PyTorch is given it to multiply by.

    Where nothing or everything is dropped PyTorch needs no mask and runs by itself.
    """

    def theirs(x: Any, p: float = 0.5, training: bool = True) -> Any:
        if not training or p in (0.0, 1.0):
            return torch.nn.functional.dropout(x, p, training)
        mr.manual_seed(3)
        kept = F.dropout(mr.ones(*x.shape), p).data > 0
        return x * torch.tensor(kept / (1.0 - p), dtype=x.dtype)

    def ours(x: Any, *args: Any, **kwargs: Any) -> Any:
        mr.manual_seed(3)
        return F.dropout(x, *args, **kwargs)

    return theirs, ours


def calls_of_operation(label: str, entry: Entry, dtype: torch.dtype) -> Iterator[Call]:
    """Samples and references in one dtype; with float64 what must be refused, too."""
    info = entry.info
    if dtype not in info.dtypes:
        return
    recorded = info.supports_autograd and dtype.is_floating_point
    kinds = [info.sample_inputs]
    if info.reference_inputs_func is not None:
        kinds.append(info.reference_inputs)
    for kind in kinds:
        for sample in made(kind, dtype, recorded):
            if label in CREATION:
                sample.kwargs.setdefault("dtype", dtype)
            call = Call(
                entry.theirs,
                entry.ours,
                (sample.input, *sample.args),
                sample.kwargs,
                differentiable=recorded,
                twice=recorded and info.supports_gradgrad,
                random=label == "randn",
            )
            yield from off_zero(call) if "pow" in label else [call]
    if info.error_inputs_func is not None and dtype == torch.float64:
        for error in info.error_inputs("cpu"):
            sample, why = error.sample_input, error.error_regex or "arguments of a wrong type"
            args = (sample.input, *sample.args)
            yield Call(entry.theirs, entry.ours, args, sample.kwargs, must_fail=why)


def made(kind: Any, dtype: torch.dtype, differentiable: bool) -> list[Any]:
    """All samples of a kind.

    Some references mix whole numbers in and ask a gradient of these too, which PyTorch itself
    refuses; then the gradient is asked of the others.
    """
    torch.manual_seed(0)
    try:
        return list(kind("cpu", dtype, requires_grad=differentiable))
    except ValueError:
        samples = list(kind("cpu", dtype, requires_grad=False))
    for sample in samples:
        for value in (sample.input, *sample.args):
            if torch.is_tensor(value) and value.is_floating_point():
                value.requires_grad_()
    return samples


def off_zero(call: Call) -> Iterator[Call]:
    """A power once differentiated as it is, and twice with 0.5 in place of every 0.

    PyTorch's second derivatives at a base or exponent 0 are those of its formulas for the first,
    which have special cases there: of b * a^(b-1) by b, at b = 0, it gives 0 where 1/a is right.
    """

    def moved(value: Any) -> Any:
        if not torch.is_tensor(value) or bool((value != 0).all()):
            return value
        return value.detach().masked_fill(value == 0, 0.5).requires_grad_(value.requires_grad)

    yield replace(call, twice=False)
    yield replace(call, args=tuple(map(moved, call.args)))


def calls_of_layer(info: Any, dtype: torch.dtype) -> Iterator[Call]:
    """A layer in evaluation and in training, with one state in both; and what it must refuse."""
    if not dtype.is_floating_point:
        return
    for training in (False, True):
        given = dict(device="cpu", dtype=dtype, requires_grad=True, training=training)
        torch.manual_seed(0)
        for sample in info.module_inputs_func(info, **given):
            yield layer_call(info, sample, dtype, training)
    if info.module_error_inputs_func is not None and dtype == torch.float64:
        for error in info.module_error_inputs_func(info, **given):
            made_at_all = error.error_on != ModuleErrorEnum.CONSTRUCTION_ERROR
            call = layer_call(info, error.module_error_input, dtype, True, made_at_all)
            yield replace(call, must_fail=error.error_regex)


def layer_call(
    info: Any, sample: Any, dtype: torch.dtype, training: bool, made_at_all: bool = True
) -> Call:
    """The call of a layer as a function of its parameters, its buffers and its inputs."""
    made, inputs = sample.constructor_input, sample.forward_input
    settings = {
        key: mr.tensor(value.numpy()) if torch.is_tensor(value) else value
        for key, value in made.kwargs.items()
    }

    def build() -> Any:
        torch.manual_seed(0)
        return info.module_cls(*made.args, **made.kwargs).to(dtype).train(training)

    def theirs(state: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return torch.func.functional_call(build(), state, args, kwargs)

    def ours(state: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        model = getattr(nn, info.name.removeprefix("nn."))(*made.args, **settings)
        model.to(str(dtype).removeprefix("torch.")).train(training)
        places = {**model._parameters, **model._buffers}
        if {name for name, value in places.items() if value is not None} != set(state):
            raise AssertionError(f"other parameters and buffers: {list(places)}, {list(state)}")
        for name, value in state.items():
            (model._parameters if name in model._parameters else model._buffers)[name] = value
        return model(*args, **kwargs)

    state = {}
    if made_at_all:
        model = build()
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    args, kwargs = ((), {}) if inputs is None else (inputs.args, inputs.kwargs)
    return Call(theirs, ours, (state, *args), kwargs, twice=info.supports_gradgrad)
