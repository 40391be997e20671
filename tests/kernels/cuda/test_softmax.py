"""The kernels of softmax.cu, run on the CPU, held against the textbook loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import kernels
from minires.errors import DeviceError, DTypeError, ShapeError, UsageError
from minires.kernels import reference
from minires.kernels.cuda import launcher, softmax
from minires.kernels.cuda.fibers import ORDERS, in_order
from tests.fake_cupy import counters, fake_gpu, installed  # noqa: F401  (a fixture)
from tests.kernels.cuda.test_pool import LAYOUTS, put
from tests.kernels.test_softmax import arrays, labelled_logits, same

quick = settings(deadline=None, max_examples=40)
layouts, orders = st.sampled_from(LAYOUTS), st.sampled_from(ORDERS)
DTYPES = [np.float32, np.float64]
LENGTHS = [1, 2, 31, 32, 33, 100, 1024, 1025, 3001]  # a warp up to 1024, then a block


def random_like(shape: Any, dtype: Any, seed: int = 0) -> np.ndarray:
    return (3.0 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


@quick
@given(st.data(), layouts, orders)
def test_softmax_and_its_logarithm_equal_the_reference_along_any_axis(
    data: st.DataObject, layout: str, order: str
) -> None:
    x = data.draw(arrays(data.draw(st.integers(1, 4))))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    with installed() as cupy, in_order(order):
        X = put(cupy, x, layout)
        same(softmax.softmax(X, axis).get(), reference.softmax(x, axis))
        same(softmax.log_softmax(X, axis).get(), reference.log_softmax(x, axis))


@quick
@given(labelled_logits(), st.integers(-1, 5), layouts, orders)
def test_cross_entropy_and_its_gradient_equal_the_reference_also_for_ignored_targets(
    labelled: Any, ignored: int, layout: str, order: str
) -> None:
    logits, target = labelled
    grad = random_like(len(logits), logits.dtype)
    with installed() as cupy, in_order(order):
        given = put(cupy, logits, layout), put(cupy, target, layout), ignored
        same(softmax.cross_entropy(*given).get(), reference.cross_entropy(logits, target, ignored))
        found = softmax.cross_entropy_grad(put(cupy, grad, layout), *given)
        same(found.get(), reference.cross_entropy_grad(grad, logits, target, ignored))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inner", [1, 2, 31, 32, 40])
@pytest.mark.parametrize("C", [1, 32, 33, 1025])
def test_rows_of_every_length_that_lie_any_distance_apart(
    fake_gpu: Any,  # noqa: F811
    C: int,
    inner: int,
    dtype: Any,
) -> None:
    x = random_like((3, C, inner), dtype)
    same(softmax.softmax(put(fake_gpu, x), 1).get(), reference.softmax(x, 1))
    same(softmax.log_softmax(put(fake_gpu, x), -2).get(), reference.log_softmax(x, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", LENGTHS)
def test_more_rows_than_teams_give_the_same_bits_in_any_order_on_any_grid(
    fake_gpu: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    C: int,
    dtype: Any,
) -> None:
    N = 19
    logits, grad = random_like((N, C), dtype), random_like(N, dtype, 1)
    target = np.arange(N) % C
    device = [put(fake_gpu, array) for array in (grad, logits, target)]

    def results() -> list[np.ndarray]:
        found = softmax.softmax(device[1]), softmax.log_softmax(device[1])
        losses, grads = softmax.cross_entropy(*device[1:]), softmax.cross_entropy_grad(*device)
        return [array.get() for array in (*found, losses, grads)]

    first = results()
    expected = (
        reference.softmax(logits),
        reference.log_softmax(logits),
        reference.cross_entropy(logits, target),
        reference.cross_entropy_grad(grad, logits, target),
    )
    for found, exact in zip(first, expected, strict=True):
        same(found, exact)
    monkeypatch.setattr(launcher, "MAX_BLOCKS", 1)
    for order in ORDERS:
        with in_order(order, seed=5):
            for found, before in zip(results(), first, strict=True):
                np.testing.assert_array_equal(found, before)


@pytest.mark.parametrize("order", ORDERS)
def test_more_rows_than_threads_that_take_one_each(
    fake_gpu: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    order: str,
) -> None:
    x = random_like((9, 5, 101), np.float32)
    first = softmax.softmax(put(fake_gpu, x), 1).get()
    same(first, reference.softmax(x, 1))
    monkeypatch.setattr(launcher, "MAX_BLOCKS", 1)
    assert launcher.THREADS < 9 * 101
    with in_order(order, seed=3):
        np.testing.assert_array_equal(softmax.softmax(put(fake_gpu, x), 1).get(), first)


@pytest.mark.parametrize("C", [2, 1500])
def test_infinities_and_nan_give_what_numpy_gives(fake_gpu: Any, C: int) -> None:  # noqa: F811
    corners = [[np.inf, 0], [-np.inf, -np.inf], [np.nan, 1], [1, np.nan], [-np.inf, 1], [3e38] * 2]
    logits = np.full((len(corners), C), -np.inf, np.float32)
    logits[:, [0, -1]] = corners
    target = np.zeros(len(corners), np.int64)
    grad = np.full(len(corners), np.inf, np.float32)
    L, T, G = (put(fake_gpu, array) for array in (logits, target, grad))
    same(softmax.softmax(L).get(), kernels.softmax(logits))
    same(softmax.log_softmax(L).get(), kernels.log_softmax(logits))
    same(softmax.cross_entropy(L, T).get(), kernels.cross_entropy(logits, target))
    same(
        softmax.cross_entropy_grad(G, L, T).get(), kernels.cross_entropy_grad(grad, logits, target)
    )


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8])
@pytest.mark.parametrize("C", [3, 1500])
def test_a_class_that_is_not_there_gives_nan_for_its_sample_alone(
    fake_gpu: Any,  # noqa: F811
    C: int,
    dtype: Any,
) -> None:
    bounds = np.iinfo(dtype)
    target = np.array([1, -1, 2, min(C, bounds.max), bounds.min, -100], dtype)
    logits, grad = random_like((6, C), np.float64), random_like(6, np.float64, 1)
    known = np.array([True, False, True, bounds.max < C, False, True])
    right = np.where(known, target, 0)
    L, T, G = (put(fake_gpu, array) for array in (logits, target, grad))
    losses = softmax.cross_entropy(L, T).get()
    grads = softmax.cross_entropy_grad(G, L, T).get()
    same(losses[known], reference.cross_entropy(logits, right)[known])
    same(grads[known], reference.cross_entropy_grad(grad, logits, right)[known])
    assert np.isnan(losses[~known]).all()
    assert np.isnan(grads[~known]).all()
    assert (losses[5], *grads[5, :2]) == (0.0, 0.0, 0.0)


def test_an_ignored_row_may_hold_anything(fake_gpu: Any) -> None:  # noqa: F811
    logits = put(fake_gpu, np.array([[np.nan, 1.0], [1.0, 1.0]]))
    target, grad = fake_gpu.asarray(np.array([5, 0])), fake_gpu.ones(2)
    assert softmax.cross_entropy(logits, target, 5).get().tolist() == [0.0, np.log(2.0)]
    found = softmax.cross_entropy_grad(grad, logits, target, np.int32(5))
    assert found.get().tolist() == [[0.0, 0.0], [-0.5, 0.5]]


def test_one_launch_each_and_nothing_copied(fake_gpu: Any) -> None:  # noqa: F811
    logits, grad = fake_gpu.ones((4, 10), np.float32), fake_gpu.ones(4, np.float32)
    target = fake_gpu.zeros(4, np.int64)
    counters.reset()
    softmax.softmax(logits)
    softmax.log_softmax(logits, 0)
    softmax.cross_entropy(logits, target)
    softmax.cross_entropy_grad(grad, logits, target)
    assert (counters.launches, counters.to_host, counters.to_device) == (4, 0, 0), counters
    assert counters.synchronizations == 0, counters


def test_empty_arrays_and_single_numbers(fake_gpu: Any) -> None:  # noqa: F811
    for shape, axis in (((0,), 0), ((3, 0), 1), ((0, 3), 0)):
        x = fake_gpu.ones(shape)
        assert softmax.softmax(x, axis).shape == softmax.log_softmax(x, axis).shape == shape
    assert softmax.softmax(fake_gpu.asarray(np.array(5.0)), 0).get() == 1.0
    for N, C in ((0, 3), (2, 0)):
        logits, target = fake_gpu.ones((N, C)), fake_gpu.zeros(N, np.int64)
        assert np.isnan(softmax.cross_entropy(logits, target).get()).tolist() == [True] * N
        assert softmax.cross_entropy_grad(fake_gpu.ones(N), logits, target).shape == (N, C)


def test_half_precision_logits_keep_their_dtype(fake_gpu: Any) -> None:  # noqa: F811
    logits, target = fake_gpu.zeros((1, 2), np.float16), fake_gpu.zeros(1, np.int64)
    found = softmax.cross_entropy_grad(fake_gpu.ones(1, np.float32), logits, target)
    assert found.dtype == np.float16
    assert found.get().tolist() == [[-0.5, 0.5]]


def test_mistakes_are_refused_as_on_the_cpu(fake_gpu: Any) -> None:  # noqa: F811
    x, target = fake_gpu.ones((2, 3)), fake_gpu.zeros(2, np.int64)
    with pytest.raises(ShapeError, match="softmax: x has no axis 2"):
        softmax.softmax(x, 2)
    with pytest.raises(UsageError, match="log_softmax: axis must be a whole number"):
        softmax.log_softmax(x, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"cross_entropy: logits must be \(N, C\)"):
        softmax.cross_entropy(x, target[:1])
    with pytest.raises(DTypeError, match="cross_entropy: target must hold whole numbers"):
        softmax.cross_entropy(x, x[:, 0])
    with pytest.raises(ShapeError, match="grad_losses must have the shape of the output"):
        softmax.cross_entropy_grad(x[0], x, target)
    with fake_gpu.cuda.Device(1):
        there = fake_gpu.zeros(2, np.int64)
    with pytest.raises(DeviceError, match=r"cross_entropy: logits is on cuda:0 and target is on"):
        softmax.cross_entropy(x, there)
    with pytest.raises(DeviceError, match=r"cross_entropy_grad: grad_losses is on cuda:0 and targ"):
        softmax.cross_entropy_grad(x[:, 0], x, there)
