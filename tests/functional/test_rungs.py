"""Every operation goes back on the rung of its forward pass, at the first gradient and beyond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import kernels
from minires.kernels import reference
from tests.functional.specs import SPECS, Spec
from tests.functional.test_specs import NAMES


@pytest.fixture
def rungs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rung of every kernel call that an operation makes, in order."""
    seen: list[str] = []

    def noted(kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(kernels.current())
            return kernel(*args, **kwargs)

        return call

    for name in reference.__all__:
        monkeypatch.setattr(kernels, name, noted(getattr(kernels, name)))
    return seen


def one_of_each() -> list[Spec]:
    """The first spec, not of an empty batch, of each operation by its name and label's end."""
    chosen: dict[tuple[Any, bool], Spec] = {}
    for spec in SPECS:
        if all(x.size for x in spec.inputs):
            chosen.setdefault((spec.operation, "evaluation" in spec.label), spec)
    return list(chosen.values())


@pytest.mark.parametrize(
    "spec", [pytest.param(s, id=f"{NAMES.get(s.operation)} {s.label}") for s in one_of_each()]
)
def test_an_operation_goes_back_on_the_rung_of_its_forward(spec: Spec, rungs: list[str]) -> None:
    leaves = [mr.tensor(x, requires_grad=True) for x in spec.inputs]
    cotangent = np.random.default_rng(5).standard_normal(spec(*spec.inputs).shape)
    rungs.clear()
    with kernels.use("reference"):
        once, grads = spec(*leaves), [spec(*leaves)]
    mr.grad(once, leaves, cotangent, allow_unused=True)
    for _ in range(3):  # linear maps depend on the cotangents alone, so these are leaves too
        leaves.append(mr.tensor(cotangent, requires_grad=True))
        found = mr.grad(grads[-1], leaves, leaves[-1], create_graph=True, allow_unused=True)
        recorded = [g for g in found if g is not None and g.requires_grad]
        if not recorded:
            break
        grads.append(recorded[-1])
        cotangent = np.ones(recorded[-1].shape)
    assert set(rungs) <= {"reference"}


def test_the_kernels_are_reached_at_all(rungs: list[str]) -> None:
    for spec in one_of_each():
        spec(*spec.inputs)
    assert len(rungs) >= 8
    assert set(rungs) == {"fast"}
