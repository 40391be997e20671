"""What all optimisers share: parameter groups, and forgetting gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from minires.autograd.tensor import Tensor
from minires.errors import UsageError
from minires.nn.module import Module

__all__ = ["Optimizer"]


class Optimizer:
    """Parameters in groups, each group with its settings; ``state`` holds one dict a parameter.

    Args:
        params: tensors, or dicts like ``{"params": [...], "lr": 0.01}`` for groups of their own.
        defaults: the settings of groups that do not give their own.

    Raises:
        UsageError: there are none, one stands twice, or one is no leaf tensor.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        given = self._listed(params)
        if not given:
            raise UsageError(
                f"{type(self).__name__}: got no parameters to train. Layers in a plain list are "
                "not found: put them in an nn.ModuleList."
            )
        if not isinstance(given[0], Mapping):
            given = [{"params": given}]
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = [
            {**_plain({**defaults, **group}), "params": self._listed(group["params"])}
            for group in given
        ]
        self._check([p for group in self.param_groups for p in group["params"]])
        self.state: dict[Tensor, dict[str, Any]] = {}

    def _listed(self, params: Iterable[Any]) -> list[Any]:
        if isinstance(params, Tensor):  # a list of it would hold its rows
            raise UsageError(f"{type(self).__name__}: put a single tensor in a list: [tensor].")
        if isinstance(params, Module):
            raise UsageError(f"{type(self).__name__}: trains tensors: pass model.parameters().")
        return list(params)

    def _check(self, params: list[Any]) -> None:
        name = type(self).__name__
        for parameter in params:
            if not isinstance(parameter, Tensor):
                mend = ": pass its .parameters()" if isinstance(parameter, Module) else ""
                raise UsageError(f"{name}: trains tensors, not {type(parameter).__name__}{mend}.")
            if not parameter.is_leaf:
                made_by = parameter.node.name if parameter.node is not None else ""
                raise UsageError(f"{name}: trains leaves, not a result of {made_by}.")
        if len(set(map(id, params))) != len(params):
            raise UsageError(f"{name}: a parameter stands twice, and would be changed twice.")

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        raise NotImplementedError

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{name}={value}" for name, value in self.param_groups[0].items() if name != "params"
        )
        return f"{type(self).__name__}({settings})"


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Python floats for numbers: np.float64(0.1) * a float32 array would be float64."""
    return {
        name: float(value) if isinstance(value, Real) and not isinstance(value, bool) else value
        for name, value in settings.items()
    }
