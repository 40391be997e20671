"""Modules that hold others or only pass on what they are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import minires.functional as F
from minires.errors import DTypeError
from minires.nn.module import Module

__all__ = ["Flatten", "Identity", "ModuleList", "Sequential"]

L = TypeVar("L", bound="_ListOfModules")


class _ListOfModules(Module):
    """What a list of modules can do; each has its position as its name."""

    def __init__(self, modules: Iterable[Module]):
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self: L, module: Module) -> L:
        """Add a module at the end; raises DTypeError for anything else."""
        if not isinstance(module, Module):
            raise DTypeError(
                f"{type(self).__name__}: position {len(self)} is {_kind(module)}, not a Module: "
                f"{_mend(module)}."
            )
        taken = [int(name) for name in self._modules if name.isdigit()]
        setattr(self, str(max(taken, default=-1) + 1), module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: Any) -> Any:
        """One module, or for a slice a list of the same kind."""
        found = list(self._modules.values())[index]
        if isinstance(index, slice):
            return type(self)(*found) if isinstance(self, Sequential) else type(self)(found)
        return found


class Sequential(_ListOfModules):
    """Modules one after the other.

    >>> import minires as mr, minires.nn as nn
    >>> nn.Sequential(nn.Flatten(), nn.Linear(4, 2))(mr.zeros(3, 1, 2, 2)).shape
    (3, 2)
    """

    def __init__(self, *modules: Module):
        super().__init__(modules)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input


class ModuleList(_ListOfModules):
    """A list of modules that are found by name; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()):
        if not isinstance(modules, Iterable):
            raise DTypeError(
                f"ModuleList: takes a list of modules, not {_kind(modules)}: "
                "write nn.ModuleList([layer])."
            )
        super().__init__(modules)


def _kind(given: Any) -> str:
    if isinstance(given, type):
        return f"the class {given.__name__}"
    name = getattr(given, "__name__", None)
    return f"a {type(given).__name__}" + (f" ({name})" if name else "")


def _mend(given: Any) -> str:
    if isinstance(given, type):
        return f"call the class, {given.__name__}(...)"
    if isinstance(given, Mapping):
        return "unpack its modules with *, *modules.values()"
    if callable(given):
        return "put in a layer, as nn.ReLU() instead of F.relu"
    if isinstance(given, Iterable):
        return "unpack the list with *, *layers"
    return "put in layers only; nn.Identity() is one that does nothing"


class Identity(Module):
    """out = input."""

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """(N, C, H, W) to (N, C*H*W): dimensions ``start_dim`` to ``end_dim`` made one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Any:
        return F.flatten(input, self.start_dim, self.end_dim)
