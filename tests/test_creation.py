"""Tensors from nothing: shapes in every spelling, float32 unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import rng
from minires.errors import DeviceError, DTypeError

MAKERS: dict[str, Callable[..., mr.Tensor]] = {
    "zeros": mr.zeros,
    "ones": mr.ones,
    "rand": mr.rand,
    "randn": mr.randn,
    "full": lambda *shape, **options: mr.full(shape, 7.0, **options),
}


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Each test leaves the default generator where it found it."""
    state = rng.get_state()
    yield
    rng.set_state(state)


@pytest.mark.parametrize("name", MAKERS)
def test_float32_leaves_that_need_no_gradient(name: str) -> None:
    made = MAKERS[name](2, 3)
    assert made.shape == (2, 3)
    assert made.dtype == np.float32
    assert not made.requires_grad
    assert made.is_leaf
    assert made.device == "cpu"


@pytest.mark.parametrize("name", MAKERS)
def test_another_dtype_and_a_gradient_on_demand(name: str) -> None:
    made = MAKERS[name](4, dtype=np.float64, requires_grad=True)
    assert made.dtype == np.float64
    assert made.requires_grad
    (made * made).sum().backward()
    np.testing.assert_array_equal(made.grad.data, 2 * made.data)


@pytest.mark.parametrize("name", ["zeros", "ones", "rand", "randn"])
@pytest.mark.parametrize(
    ("spelling", "shape"),
    [
        ((), ()),
        (((),), ()),
        ((3,), (3,)),
        ((np.int64(3),), (3,)),
        (((3,),), (3,)),
        (([3, 2],), (3, 2)),
        (((3, 2),), (3, 2)),
        ((3, 2, 1), (3, 2, 1)),
        ((np.int32(3), 2), (3, 2)),
        ((0, 2), (0, 2)),
    ],
)
def test_a_shape_may_be_numbers_or_one_sequence(
    name: str, spelling: tuple[Any, ...], shape: tuple[int, ...]
) -> None:
    made = MAKERS[name](*spelling)
    assert made.shape == shape
    assert isinstance(made.data, np.ndarray)


def test_zeros_ones_and_full_hold_their_value() -> None:
    assert not mr.zeros(5).data.any()
    assert (mr.ones(5).data == 1).all()
    assert (mr.full((2, 2), -3.5).data == -3.5).all()
    assert mr.full((), 2.0).item() == 2.0
    assert mr.full((2,), 2, dtype=np.int64).dtype == np.int64


def test_two_tensors_share_no_memory() -> None:
    one, two = mr.zeros(3), mr.zeros(3)
    one.data[...] = 1
    assert not two.data.any()


def test_a_whole_number_tensor_cannot_require_a_gradient() -> None:
    with pytest.raises(DTypeError):
        mr.zeros(3, dtype=np.int64, requires_grad=True)


@pytest.mark.parametrize(
    ("bounds", "values", "dtype"),
    [
        ((4,), [0, 1, 2, 3], np.int64),
        ((1, 4), [1, 2, 3], np.int64),
        ((5, 0, -2), [5, 3, 1], np.int64),
        ((np.int32(3),), [0, 1, 2], np.int64),
        ((0,), [], np.int64),
        ((3.0,), [0.0, 1.0, 2.0], np.float32),
        ((0, 1, 0.25), [0.0, 0.25, 0.5, 0.75], np.float32),
    ],
)
def test_arange_counts_in_whole_numbers_or_float32(
    bounds: tuple[Any, ...], values: list[float], dtype: Any
) -> None:
    made = mr.arange(*bounds)
    assert made.tolist() == values
    assert made.dtype == dtype


def test_arange_takes_a_dtype_and_a_gradient() -> None:
    made = mr.arange(3, dtype=np.float64, requires_grad=True)
    assert made.dtype == np.float64
    assert made.requires_grad


def test_randn_is_normal_and_rand_is_even() -> None:
    mr.manual_seed(0)
    normal, even = mr.randn(200, 100).data, mr.rand(200, 100).data
    assert normal.mean() == pytest.approx(0.0, abs=0.03)
    assert normal.std() == pytest.approx(1.0, abs=0.02)
    assert (np.abs(normal) > 1.96).mean() == pytest.approx(0.05, abs=0.005)
    assert even.min() >= 0
    assert even.max() < 1
    assert even.mean() == pytest.approx(0.5, abs=0.01)
    assert even.std() == pytest.approx(12**-0.5, abs=0.01)


@pytest.mark.parametrize("name", ["rand", "randn"])
def test_the_dtype_changes_the_rounding_and_not_the_draw(name: str) -> None:
    mr.manual_seed(0)
    single = MAKERS[name](50)
    after = rng.get_state()
    mr.manual_seed(0)
    double = MAKERS[name](50, dtype=np.float64)
    assert rng.get_state() == after
    np.testing.assert_array_equal(single.data, double.data.astype(np.float32))
    assert (single.data != double.data).any()


@pytest.mark.parametrize("name", MAKERS)
def test_the_cpu_may_be_named(name: str) -> None:
    assert MAKERS[name](2, device="cpu").device == "cpu"


@pytest.mark.skipif(mr.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", MAKERS)
def test_a_gpu_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(DeviceError, match="not available"):
        MAKERS[name](2, device="cuda")


def test_an_unknown_device_is_told() -> None:
    with pytest.raises(DeviceError, match="Unknown device 'tpu'"):
        mr.zeros(2, device="tpu")


@pytest.mark.parametrize("make", [mr.zeros, mr.ones, mr.rand, mr.randn])
def test_no_dtype_is_the_default_one(make: Callable[..., mr.Tensor]) -> None:
    assert make(2, dtype=None).dtype == np.float32
    assert mr.full((2,), 0.5, dtype=None).dtype == np.float32
