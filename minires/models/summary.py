"""``summary``: the layers of a model with shapes, parameters and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import no_grad
from minires.nn.devices import batch_for
from minires.nn.modes import evaluating
from minires.table import format_table, html_table

__all__ = ["LayerSummary", "Summary", "summary"]


@dataclass(frozen=True)
class LayerSummary:
    """One layer: its name, kind, output shape, parameters, and multiply-adds for the input.

    Of several outputs the shape is that of the first; without any it is (), as it is for a layer
    that did not run.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """What :func:`summary` found; printing it, or a notebook cell, shows the table."""

    model: str
    input_shape: tuple[int, ...]
    layers: tuple[LayerSummary, ...]
    parameters: int
    multiply_adds: int

    def _rows(self) -> tuple[list[str], list[list[Any]]]:
        headers = ["layer", "kind", "output", "parameters", "multiply-adds"]
        rows: list[list[Any]] = [
            [
                layer.name,
                layer.kind,
                " x ".join(map(str, layer.output_shape)),
                f"{layer.parameters:,}",
                f"{layer.multiply_adds:,}",
            ]
            for layer in self.layers
        ]
        rows.append(["total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"])
        return headers, rows

    def table(self) -> str:
        """The layers as a table in plain text."""
        return format_table(*self._rows())

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "model": self.model,
            "input_shape": list(self.input_shape),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "layers": [dict(vars(layer)) for layer in self.layers],
        }

    def __str__(self) -> str:
        return f"{self.model} on {self.input_shape}\n{self.table()}"

    def _repr_html_(self) -> str:
        caption = f"{self.model} on {self.input_shape}"
        return f"<div>{html_table(*self._rows(), caption=caption)}</div>"


def summary(model: nn.Module, input_shape: Sequence[int]) -> Summary:
    """The layers of ``model`` in the order in which they end, for one input.

    Each has one row, whose parameters add up to the total.  A layer that runs more than once has
    the multiply-adds of all its runs; one that does not run, such as an auxiliary head, comes last
    and has no output.  A module that holds others has a row if it has parameters of its own beside
    them.

    A multiply-add counts once, as in He et al. 2015, table 1; only convolutions and linear layers
    are counted.  The model runs once, in evaluation mode and without recording, and is left as it
    was.

    Args:
        model: any module.
        input_shape: (C, H, W) of one image, or the shape of a batch if it has four numbers.

    >>> import minires as mr
    >>> found = summary(mr.models.cifar_resnet(20), (3, 32, 32))
    >>> found.parameters, found.multiply_adds
    (269722, 40551040)
    """
    shape = tuple(input_shape) if len(input_shape) == 4 else (1, *input_shape)
    names = {m: n for n, m in model.named_modules() if not list(m.children()) or _own(m)}
    runs: dict[nn.Module, tuple[tuple[int, ...], int]] = {}  # shape of the output, multiply-adds

    def note(module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        first, before = runs.get(module, (_shape_of(out), 0))
        runs[module] = first, before + _multiply_adds(module, out)

    handles = [module.register_forward_hook(note) for module in names]
    try:
        with evaluating(model), no_grad():
            model(*batch_for(model, np.zeros(shape, _dtype_of(model))))
    finally:
        for handle in handles:
            handle.remove()
    order = [*runs, *(module for module in names if module not in runs)]
    seen: set[int] = set()
    layers = tuple(_row(m, names[m], *runs.get(m, ((), 0)), seen) for m in order)
    return Summary(
        type(model).__name__,
        shape,
        layers,
        sum(parameter.numel() for parameter in model.parameters()),
        sum(layer.multiply_adds for layer in layers),
    )


def _row(
    module: nn.Module, name: str, shape: tuple[int, ...], multiply_adds: int, seen: set[int]
) -> LayerSummary:
    """The row of a module; a parameter in ``seen``, by id, has been counted."""
    kind = type(module).__name__
    new = {id(p): p.numel() for p in _own(module) if id(p) not in seen}
    seen.update(new)
    return LayerSummary(name or kind, kind, shape, sum(new.values()), multiply_adds)


def _own(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module._parameters.values() if p is not None]


def _shape_of(out: Any) -> tuple[int, ...]:
    while isinstance(out, list | tuple | dict) and out:
        out = next(iter(out.values() if isinstance(out, dict) else out))
    return tuple(getattr(out, "shape", ()))


def _multiply_adds(module: nn.Module, out: Any) -> int:
    """Each number of the output is one row of the weight times what it reads."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return int(out.numel() * (module.weight.numel() // module.weight.shape[0]))
    return 0


def _dtype_of(model: nn.Module) -> Any:
    return next((parameter.dtype for parameter in model.parameters()), np.float32)
