"""What the rules of :func:`minires.flow.contracts.check_model` look at, and what they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Node, Tensor
from minires.flow.watched_pass import Graph, WatchedPass

__all__ = [
    "ERROR",
    "INFORMATION",
    "LOSS",
    "SEVERITIES",
    "WARNING",
    "Finding",
    "Seen",
    "joined",
    "owner",
]

LOSS = "loss"  # stands for the layer where something happened behind the model
ERROR, WARNING, INFORMATION = SEVERITIES = "error", "warning", "information"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a model, or worth knowing.

    Attributes:
        layer: the module, as ``named_modules`` calls it; '' is the model itself, 'loss' the loss.
        kind: which of the checks found it.
        severity: 'error' (training cannot be right), 'warning' (it is hardly meant so) or
            'information' (it can well be meant so).
        text: what was found, with numbers.
        mend: what to do about it.
        parameters: the parameters that it is about, by name.
    """

    layer: str
    kind: str
    severity: str
    text: str
    mend: str
    parameters: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it."""
        return {**vars(self), "parameters": list(self.parameters)}


@dataclass(frozen=True)
class Seen:
    """What the rules look at: one pass forward and backward.

    ``gradients`` has None for a parameter that is not in the graph of the loss.  ``outside`` are
    the tensors and modules that the model keeps where ``named_parameters`` does not look.  If the
    forward pass failed there is no ``value``, and the graph is empty.
    """

    model: nn.Module
    outside: dict[str, nn.Module | Tensor]
    watch: WatchedPass
    graph: Graph
    value: Tensor | None
    gradients: dict[str, np.ndarray | None]

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that require a gradient, by name."""
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def layer_of(self, node: Node) -> str:
        """The innermost module that recorded ``node``, or the loss."""
        name = self.watch.layer_of(node)
        return LOSS if name is None else name


def owner(parameter: str) -> str:
    """The module that has a parameter of this name.

    >>> owner("layer1.0.conv1.weight"), owner("weight")
    ('layer1.0.conv1', '')
    """
    return parameter.rpartition(".")[0]


def joined(path: str, name: str) -> str:
    """The name of what is called ``name`` in the module ``path``."""
    return f"{path}.{name}" if path else name
