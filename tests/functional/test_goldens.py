"""Every operation against what PyTorch gave: values, gradients, and what it changes in place."""

from __future__ import annotations

import fnmatch
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.functional.bind import METHODS
from tests.golden.loading import OP_FILES, Case, load_cases

CASES = [case for file in OP_FILES for case in load_cases(file)]

# Names of cases (with wildcards) of operations and arguments that are not part of the package yet.
NOT_YET = (
    *(f"{op} *" for op in ("maximum", "minimum", "tanh", "sigmoid", "where", "clamp", "stack")),
    *(f"Tensor.{op} *" for op in ("max", "min", "amax", "amin", "logsumexp")),
    "Tensor.var unbiased=*",  # PyTorch's older name for correction=0 and 1
    "F.pad crops",  # negative widths
    "F.nll_loss *",
    "F.cross_entropy *, dense",  # images of classes
    "F.cross_entropy *weight*",
    "F.cross_entropy *ignore*",
    "F.cross_entropy *smoothing*",
)


def not_yet(case: Case) -> bool:
    return any(fnmatch.fnmatchcase(case.name, pattern) for pattern in NOT_YET)


each_case = pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in CASES if not not_yet(case)]
)
each_missing_case = pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in CASES if not_yet(case)]
)


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


@each_missing_case
def test_what_is_not_part_of_the_package_yet_still_fails(case: Case) -> None:
    try:
        compare(case, np.float64, 1e-10, 1e-9)
    except Exception:
        return
    pytest.fail(f"{case.name!r} passes: take it off the list NOT_YET")


@pytest.mark.parametrize("pattern", NOT_YET)
def test_every_entry_of_the_list_names_a_case(pattern: str) -> None:
    assert fnmatch.filter([case.name for case in CASES], pattern)
