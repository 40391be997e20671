"""What all optimisers share: parameter groups, and forgetting gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from minires.autograd.tensor import Tensor
from minires.device import copied, to_device, using_device_of
from minires.errors import StateError, UsageError
from minires.kernels.checks import number
from minires.nn.module import Module

__all__ = ["Optimizer"]


class Optimizer:
    """Parameters in groups, each group with its settings; ``state`` holds one dict a parameter.

    Args:
        params: tensors, or dicts like ``{"params": [...], "lr": 0.01}`` for groups of their own.
        defaults: the settings of groups that do not give their own.

    Raises:
        UsageError: there are none, one stands twice, or one is no leaf tensor; or a setting of a
            group makes no sense.
    """

    not_negative: tuple[str, ...] = ()  # the settings that are numbers from 0 on

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
        self.param_groups: list[dict[str, Any]] = []
        for group in given:
            if not isinstance(group, Mapping) or "params" not in group:
                raise UsageError(
                    f"{type(self).__name__}: each group must be a dict with its 'params', like "
                    f"{{'params': [...], 'lr': 0.01}}; one is {_short(group)}."
                )
            settings = {**defaults, **group}
            self._check_settings(settings)
            self.param_groups.append({**_plain(settings), "params": self._listed(group["params"])})
        self._check(self._parameters())
        self.state: dict[Tensor, dict[str, Any]] = {}

    def _listed(self, params: Iterable[Any]) -> list[Any]:
        if isinstance(params, Tensor):  # a list of it would hold its rows
            raise UsageError(f"{type(self).__name__}: put a single tensor in a list: [tensor].")
        if isinstance(params, Module):
            raise UsageError(f"{type(self).__name__}: trains tensors: pass model.parameters().")
        if not isinstance(params, Iterable) or isinstance(params, str):
            raise UsageError(
                f"{type(self).__name__}: takes a list of tensors, or model.parameters(), not "
                f"{params!r}."
            )
        return list(params)

    def _check_settings(self, settings: dict[str, Any]) -> None:
        """Refuse a setting that makes no sense; subclasses add to it."""
        name = type(self).__name__
        for setting in self.not_negative:
            if not number(settings[setting], f"{name}: {setting}") >= 0.0:
                raise UsageError(
                    f"{name}: {setting} must not be negative, got {settings[setting]}."
                )

    def _check(self, params: list[Any]) -> None:
        name = type(self).__name__
        for parameter in params:
            if not isinstance(parameter, Tensor):
                mend = ": pass its .parameters()" if isinstance(parameter, Module) else ""
                if isinstance(parameter, tuple):
                    mend = ": pass model.parameters(), without the names"
                raise UsageError(f"{name}: trains tensors, not {type(parameter).__name__}{mend}.")
            if not parameter.is_leaf:
                made_by = parameter.node.name if parameter.node is not None else ""
                raise UsageError(
                    f"{name}: trains leaves, not a result of {made_by}, here of shape "
                    f"{parameter.shape}. Pass the parameter itself, or .detach() it first."
                )
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

    def state_dict(self) -> dict[str, Any]:
        """A copy of what :meth:`load_state_dict` needs to go on, in PyTorch's form.

        Returns:
            ``param_groups``, each with its settings and the numbers of its parameters, which are
            counted through all groups; and ``state``, by those numbers, for the parameters that
            have been stepped.

        >>> import minires as mr
        >>> w = mr.tensor([1.0], requires_grad=True)
        >>> mr.optim.SGD([w], lr=0.1).state_dict()["param_groups"][0]["params"]
        [0]
        """
        groups, number = [], 0
        for group in self.param_groups:
            settings = {name: value for name, value in group.items() if name != "params"}
            count = len(group["params"])
            groups.append({**settings, "params": list(range(number, number + count))})
            number += count
        state = {
            i: {name: _copied(value) for name, value in self.state[parameter].items()}
            for i, parameter in enumerate(self._parameters())
            if parameter in self.state
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over settings and state from :meth:`state_dict` of an optimiser of the same kind.

        Raises:
            StateError: it is of other groups, or of parameters of other shapes; nothing is changed.
        """
        name = type(self).__name__
        try:
            groups, states = state["param_groups"], dict(state["state"])
            sizes = [len(group["params"]) for group in groups]
            entries = [(i, entry, v) for i, values in states.items() for entry, v in values.items()]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise StateError(f"{name}: this is no state of an optimiser.") from None
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise StateError(
                f"{name}: the state is of groups of {sizes} parameters, and this optimiser has "
                f"{own}. Is it the state of another model?"
            )
        for group in groups:
            missing = sorted(self.defaults.keys() - group.keys())
            if missing:
                raise StateError(
                    f"{name}: the state has no {missing[0]}: it is of another kind of optimiser."
                )
            self._check_settings(dict(group))
        parameters = self._parameters()
        for i, entry, value in entries:
            if type(i) is not int or not 0 <= i < len(parameters):
                raise StateError(
                    f"{name}: the state has {entry} of parameter {i!r}, and the parameters are "
                    f"numbered 0 to {len(parameters) - 1}."
                )
            shape = getattr(value, "shape", None)
            if shape not in (None, parameters[i].shape):
                raise StateError(
                    f"{name}: {entry} of parameter {i} has shape {shape} in the state, but the "
                    f"parameter has {parameters[i].shape}."
                )
        for mine, group in zip(self.param_groups, groups, strict=True):
            mine.update({key: value for key, value in group.items() if key != "params"})
        self.state = {
            parameters[i]: {entry: _copied(value, parameters[i]) for entry, value in values.items()}
            for i, values in states.items()
        }

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{name}={value}" for name, value in self.param_groups[0].items() if name != "params"
        )
        return f"{type(self).__name__}({settings})"


def _copied(value: Any, parameter: Tensor | None = None) -> Any:
    """A copy of an array, as the ``parameter`` is if one is given; a number as it is."""
    if not hasattr(value, "dtype"):
        return value
    if parameter is None:
        return copied(value)
    there = to_device(value, parameter.device)
    with using_device_of(there):
        return there.astype(parameter.dtype)


def _short(group: Any) -> str:
    return str(sorted(group)) if isinstance(group, Mapping) else type(group).__name__


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Python floats for numbers: np.float64(0.1) * a float32 array would be float64."""
    return {
        name: float(value) if isinstance(value, Real) and not isinstance(value, bool) else value
        for name, value in settings.items()
    }
