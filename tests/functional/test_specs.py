"""What every operation promises, driven by the table in specs.py."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.check import GradcheckReport, gradcheck, gradgradcheck
from minires.functional.bind import METHODS
from minires.functional.pool import MaxPool2dGather, MaxPool2dScatter
from tests.functional.specs import NO_SPEC, SPECS, Spec, operations

NAMES = {operation: name for name, operation in reversed(operations().items())}
each_spec = pytest.mark.parametrize(
    "spec", [pytest.param(s, id=f"{NAMES.get(s.operation, 'alias')} {s.label}") for s in SPECS]
)


def strided(x: np.ndarray) -> np.ndarray:
    """The same numbers, every second element of a larger array."""
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,), 99.0, x.dtype)
    view = wide[..., ::2] if x.ndim else wide[::2].reshape(())
    view[...] = x
    return view


def backwards(x: np.ndarray) -> np.ndarray:
    """The same numbers, read from the end of the memory to its start."""
    return np.flip(np.flip(x).copy())


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.setflags(write=False)
    return x


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran": lambda x: np.array(x, order="F"),
    "strided": strided,
    "backwards": backwards,
    "read-only": read_only,
}


def check_everything(check: Callable[..., GradcheckReport], spec: Spec) -> None:
    """Every element of every input, and none of them at a kink."""
    report = check(spec, spec.inputs, rtol=spec.rtol)
    assert report.kinks == []
    assert all(found.looked_at == found.size for found in report.inputs)


def run(spec: Spec, arrays: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The output, and the gradients for a random cotangent, on tensors around these arrays."""
    leaves = [mr.Tensor(array, requires_grad=True) for array in arrays]
    out = spec(*leaves)
    cotangent = np.random.default_rng(5).standard_normal(out.shape)
    out.backward(mr.tensor(cotangent.astype(out.dtype)))
    return out.data, [leaf.grad.data for leaf in leaves]


def test_every_operation_has_a_spec() -> None:
    covered = {spec.operation for spec in SPECS}
    assert [name for name, operation in operations().items() if operation not in covered] == []
    assert set(NO_SPEC) <= set(METHODS), "an exception for something that is not there"


def test_every_operation_meets_more_than_one_shape() -> None:
    few = {NAMES[o]: n for o in NAMES if (n := sum(s.operation is o for s in SPECS)) < 2}
    assert set(few) <= {"cpu"}


@each_spec
def test_gradients_agree_with_central_differences(spec: Spec) -> None:
    check_everything(gradcheck, spec)


@each_spec
def test_second_gradients_agree_with_central_differences(spec: Spec) -> None:
    check_everything(gradgradcheck, spec)


@each_spec
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays_and_float32_gives_the_numbers_of_float64(spec: Spec, dtype: Any) -> None:
    out, grads = run(spec, [x.astype(dtype) for x in spec.inputs])
    exact_out, exact_grads = run(spec, [x.astype(dtype).astype(np.float64) for x in spec.inputs])
    for found, exact in zip((out, *grads), (exact_out, *exact_grads), strict=True):
        assert found.dtype == dtype
        largest = max(1.0, np.abs(exact).max(initial=0.0))
        np.testing.assert_allclose(found, exact, rtol=0, atol=spec.float32 * largest)


@each_spec
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_inputs_makes_no_difference(spec: Spec, layout: str) -> None:
    arrays = [LAYOUTS[layout](x) for x in spec.inputs]
    flags = [array.flags.writeable for array in arrays]
    out, grads = run(spec, arrays)
    plain_out, plain_grads = run(spec, [x.copy() for x in spec.inputs])
    for found, plain in zip((out, *grads), (plain_out, *plain_grads), strict=True):
        np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-14)
    for array, x, flag in zip(arrays, spec.inputs, flags, strict=True):
        np.testing.assert_array_equal(array, x)
        assert array.flags.writeable == flag


@each_spec
def test_arrays_in_arrays_out(spec: Spec) -> None:
    out = spec(*(x.copy() for x in spec.inputs))
    assert isinstance(out, np.ndarray | np.float64)
    np.testing.assert_array_equal(out, spec(*map(mr.tensor, spec.inputs)).data)


@each_spec
def test_nothing_is_recorded_without_need(spec: Spec) -> None:
    assert spec(*map(mr.tensor, spec.inputs)).node is None
    with mr.no_grad():
        leaves = [mr.tensor(x, requires_grad=True) for x in spec.inputs]
        out = spec(*leaves)
    assert out.node is None or any(out is leaf for leaf in leaves)


@each_spec
def test_a_dropped_graph_is_freed_at_once(spec: Spec) -> None:
    leaves = [mr.tensor(x, requires_grad=True) for x in spec.inputs]
    gc.disable()
    try:
        out = spec(*leaves)
        if out is leaves[0]:
            return
        node, array = weakref.ref(out.node), weakref.ref(out.data)
        del out
        assert node() is None
        assert array() is None
    finally:
        gc.enable()
    assert all(leaf.data.flags.writeable for leaf in leaves)


def test_powers_of_zero_have_the_gradient_of_their_limit() -> None:
    base = mr.tensor(np.zeros(3), requires_grad=True)
    exponent = mr.tensor(np.array([0.0, 1.0, 2.0]), requires_grad=True)
    (base**exponent).sum().backward()
    assert base.grad.tolist() == [0.0, 1.0, 0.0]
    assert exponent.grad.tolist() == [0.0, 0.0, 0.0]
    base.grad = None
    (base**2 + base**1 + base**0).sum().backward()
    assert base.grad.tolist() == [1.0, 1.0, 1.0]
    both = [np.array([0.7, 1.3]), np.array([0.0, 1.0])]  # at exponent 0 the base still counts
    gradcheck(lambda a, b: a**b, both, rtol=1e-6)
    gradgradcheck(lambda a, b: a**b, both, rtol=1e-6)


def test_the_maps_behind_max_pooling_are_each_other_s_gradient_at_any_order() -> None:
    rng = np.random.default_rng(0)
    x_shape = (1, 2, 4, 4)
    _, indices = F.max_pool2d(rng.standard_normal(x_shape), 2, 1, return_indices=True)
    where = {"indices": indices, "x_shape": x_shape}
    g, x = rng.standard_normal(indices.shape), rng.standard_normal(x_shape)
    for maps, given in ((MaxPool2dScatter, g), (MaxPool2dGather, x)):
        gradcheck(lambda t, maps=maps: maps.apply(t, **where), given, rtol=1e-6)
        gradgradcheck(lambda t, maps=maps: maps.apply(t * t, **where), given, rtol=1e-6)


@pytest.mark.parametrize("there", ["float32", "float16"])
def test_a_cast_sends_its_gradient_back_in_the_old_dtype(there: str) -> None:
    x = mr.tensor(np.array([1.0, 2.0]), requires_grad=True)
    out = x.to(there)
    assert out.dtype == there
    out.backward(mr.tensor(np.array([0.5, -3.0], there)))
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [0.5, -3.0]


def test_a_cast_to_whole_numbers_leaves_the_graph() -> None:
    x = mr.tensor([1.5, 2.5], requires_grad=True)
    assert not x.to("int64").requires_grad
    assert F.add(x.to("int64"), x).requires_grad


def test_a_move_to_another_device_sends_its_gradient_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "minires.functional.shape.to_device", lambda x, device: asked.append(device) or x.copy()
    )
    x = mr.tensor([1.0], requires_grad=True)
    x.cuda().backward(mr.tensor([2.0]))
    assert asked == ["cuda", "cpu"]
    assert x.grad.tolist() == [2.0]
