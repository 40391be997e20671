"""``summary``: the layers of a model with shapes, parameters and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Tensor, no_grad
from minires.nn.modes import evaluating
from minires.table import format_table, html_table

__all__ = ["LayerSummary", "Summary", "summary"]


@dataclass(frozen=True)
class LayerSummary:
    """One layer: its name, kind, output shape, parameters, and multiply-adds for the input.

    Of several outputs the shape is that of the first; without any it is ().
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

    A module that holds others has a row if it has parameters of its own beside them.

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
    layers: list[LayerSummary] = []
    handles = []
    for name, module in model.named_modules():
        if not list(module.children()) or _own_parameters(module):
            handles.append(module.register_forward_hook(_recorder(name, layers)))
    try:
        with evaluating(model), no_grad():
            model(Tensor(np.zeros(shape, _dtype_of(model))))
    finally:
        for handle in handles:
            handle.remove()
    return Summary(
        type(model).__name__,
        shape,
        tuple(layers),
        sum(parameter.numel() for parameter in model.parameters()),
        sum(layer.multiply_adds for layer in layers),
    )


def _recorder(name: str, layers: list[LayerSummary]) -> Any:
    def record(module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        layers.append(
            LayerSummary(
                name or type(module).__name__,
                type(module).__name__,
                _shape_of(out),
                _own_parameters(module),
                _multiply_adds(module, out),
            )
        )

    return record


def _own_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module._parameters.values() if p is not None)


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
