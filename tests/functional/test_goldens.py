"""Every operation against what PyTorch gave: values, gradients, and what it changes in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.functional.bind import METHODS
from tests.golden.loading import OP_FILES, Case, load_cases

CASES = [case for file in OP_FILES for case in load_cases(file)]

each_case = pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in CASES])


def function_of(op: str) -> Any:
    """minires' function of PyTorch's name: of minires.functional, or a method."""
    kind, _, name = op.rpartition(".")
    if kind == "Tensor":
        return METHODS.get(name) or getattr(mr.Tensor, name)
    return getattr(F, name)


def compare(case: Case, dtype: Any, value_share: float, gradient_share: float) -> None:
    """Run a case in ``dtype``; differences up to a share of the largest number, or of each."""
    leaves: dict[str, Any] = {}

    def leaf(path: str, array: np.ndarray) -> Any:
        if array.dtype.kind == "f":
            array = array.astype(dtype)
        leaves[path] = mr.tensor(array, requires_grad=path in case.grads)
        return leaves[path]

    def same(found: Any, expected: np.ndarray, share: float) -> None:
        kept = expected.dtype if expected.dtype.kind != "f" else dtype
        assert (found.shape, found.dtype) == (expected.shape, kept)
        # Sums cancel, so the size of their terms counts: numbers of order 1, if not larger.
        largest = max(1.0, np.abs(expected).max(initial=0.0))
        np.testing.assert_allclose(
            found.data, expected, rtol=share, atol=share * largest, equal_nan=False
        )

    args, kwargs = case.call_with(leaf)
    result = function_of(case.op)(*args, **kwargs)
    outputs = result if isinstance(result, tuple) else (result,)
    assert len(outputs) == len(case.outputs)
    for found, expected in zip(outputs, case.outputs, strict=True):
        same(found, expected, value_share)
    for path, expected in case.changed.items():
        same(leaves[path], expected, value_share)
    differentiable = [outputs[i] for i in case.cotangents]
    cotangents = [mr.tensor(c.astype(dtype)) for c in case.cotangents.values()]
    inputs = [leaves[path] for path in case.grads]
    for found, expected in zip(
        mr.grad(differentiable, inputs, cotangents), case.grads.values(), strict=True
    ):
        same(found, expected, gradient_share)


def float32_share(case: Case) -> float:
    """How far float32 may be off, as a share of the largest number.

    A sum of n terms has a rounding error of about sqrt(n) half-units in the last place, and no sum
    in an operation is longer than its largest array.  Normalising numbers far from zero leaves what
    is small of what is large, and the rounding of the large ones with it.
    """
    arrays = (*case.args, *case.kwargs.values(), *case.outputs)
    terms = max((array.size for array in arrays if isinstance(array, np.ndarray)), default=1)
    units = 2.0 * np.sqrt(max(terms, 1))
    if case.op == "F.batch_norm":
        x = case.args[0]
        others = tuple(i for i in range(x.ndim) if i != 1)
        spread = np.sqrt(x.var(axis=others) + case.kwargs.get("eps", 1e-5))
        units += 2.0 * float((np.abs(x).max(axis=others) / spread).max())
    return float(np.finfo(np.float32).eps * units)


@each_case
def test_values_and_gradients_agree_in_float64(case: Case) -> None:
    compare(case, np.float64, 1e-10, 1e-9)


@each_case
def test_values_and_gradients_agree_in_float32(case: Case) -> None:
    share = float32_share(case)
    compare(case, np.float32, share, share)
