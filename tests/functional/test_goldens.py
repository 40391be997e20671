"""Every operation against what PyTorch gave: values, both gradients, what is changed in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.functional.bind import METHODS
from tests.golden.loading import OP_FILES, Case, load_cases

CASES = [case for file in OP_FILES for case in load_cases(file)]
IN_FLOAT64 = [case for case in CASES if not case.single]
TWICE = [case for case in CASES if case.second]


def each(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in cases])


def function_of(op: str) -> Any:
    """minires' function of PyTorch's name: of minires.functional, or a method."""
    kind, _, name = op.rpartition(".")
    if kind == "Tensor":
        return METHODS.get(name) or getattr(mr.Tensor, name)
    return getattr(F, name)


def same(found: Any, expected: np.ndarray, dtype: Any, share: float) -> None:
    """Equal up to a share of the largest number, or of each."""
    kept = expected.dtype if expected.dtype.kind != "f" else dtype
    assert (found.shape, found.dtype) == (expected.shape, kept)
    # Sums cancel, so the size of their terms counts: numbers of order 1, if not larger.
    largest = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(
        found.data, expected, rtol=share, atol=share * largest, equal_nan=False
    )


def run(case: Case, dtype: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The outputs of a case in ``dtype``, and its input tensors by path."""
    leaves: dict[str, Any] = {}

    def leaf(path: str, array: np.ndarray) -> Any:
        if array.dtype.kind == "f":
            array = array.astype(dtype)
        leaves[path] = mr.tensor(array, requires_grad=path in case.grads)
        return leaves[path]

    args, kwargs = case.call_with(leaf)
    result = function_of(case.op)(*args, **kwargs)
    return (result if isinstance(result, tuple) else (result,)), leaves


def gradients(case: Case, outputs: Any, leaves: Any, dtype: Any, **how: Any) -> Any:
    """The gradients of a case, by path."""
    if not case.grads:
        return {}
    cotangents = [mr.tensor(c.astype(dtype)) for c in case.cotangents.values()]
    inputs = [leaves[path] for path in case.grads]
    found = mr.grad([outputs[i] for i in case.cotangents], inputs, cotangents, **how)
    return dict(zip(case.grads, found, strict=True))


def compare(case: Case, dtype: Any, value_share: float, gradient_share: float) -> None:
    """Run a case in ``dtype`` and hold all that it gives against what is stored."""
    outputs, leaves = run(case, dtype)
    assert len(outputs) == len(case.outputs)
    for found, expected in zip(outputs, case.outputs, strict=True):
        same(found, expected, dtype, value_share)
    for path, expected in case.changed.items():
        same(leaves[path], expected, dtype, value_share)
    for path, found in gradients(case, outputs, leaves, dtype).items():
        same(found, case.grads[path], dtype, gradient_share)


def float32_share(case: Case) -> float:
    """How far float32 may be off, as a share of the largest number.

    A sum of n terms has a rounding error of about sqrt(n) half-units in the last place, and no sum
    in an operation is longer than its largest array.  Normalising numbers far from zero leaves what
    is small of what is large, and the rounding of the large ones with it.
    """
    arrays = (*case.args, *case.kwargs.values(), *case.outputs)
    terms = max((array.size for array in arrays if isinstance(array, np.ndarray)), default=1)
    units = 2.0 * np.sqrt(max(terms, 1)) * (2.0 if case.single else 1.0)  # they rounded too
    if case.op == "F.batch_norm" and case.args[0].size:
        x = case.args[0]
        others = tuple(i for i in range(x.ndim) if i != 1)
        spread = np.sqrt(x.var(axis=others) + case.kwargs.get("eps", 1e-5))
        units += 2.0 * float((np.abs(x).max(axis=others) / spread).max())
    return float(np.finfo(np.float32).eps * units)


@each(IN_FLOAT64)
def test_values_and_gradients_agree_in_float64(case: Case) -> None:
    compare(case, np.float64, 1e-10, 1e-9)


@each(CASES)
def test_values_and_gradients_agree_in_float32(case: Case) -> None:
    share = float32_share(case)
    compare(case, np.float32, share, share)


@each(TWICE)
def test_second_gradients_agree(case: Case) -> None:
    outputs, leaves = run(case, np.float64)
    found = gradients(case, outputs, leaves, np.float64, create_graph=True)
    along = [(found[path] * mr.tensor(d)).sum() for path, d in case.directions.items()]
    inputs = [leaves[path] for path in case.grads]
    second = mr.grad([a for a in along if a.requires_grad], inputs, allow_unused=True)
    for path, gradient in zip(case.grads, second, strict=True):
        expected = case.second[path]
        if gradient is None:
            assert not expected.any()
        else:
            same(gradient, expected, np.float64, 1e-9)


def test_every_operation_and_method_has_a_stored_case() -> None:
    stored = {function_of(op) for op in {case.op for case in CASES}}
    of_a_gpu, of_a_number = {METHODS["cuda"]}, {METHODS[n] for n in ("__radd__", "__rmul__")}
    operations = {getattr(F, name) for name in F.__all__} | set(METHODS.values())
    assert operations - stored == of_a_gpu
    assert of_a_number <= stored
