"""The CUDA kernels of batch normalisation, run on the CPU, against the textbook loops."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import DeviceError, DTypeError, ShapeError
from minires.kernels import norm as on_cpu
from minires.kernels import reference
from minires.kernels.cuda import launcher, norm
from minires.kernels.cuda.fibers import in_order
from tests.fake_cupy import counters, fake_gpu, installed  # noqa: F401  (a fixture)

EPS = 0.1  # keeps channels of one value well behaved
SHAPES = st.one_of(
    st.tuples(st.integers(1, 70), st.integers(1, 40)),
    st.tuples(st.integers(1, 20), st.integers(1, 5), st.integers(1, 40)),
    st.tuples(*(st.integers(1, n) for n in (6, 5, 12, 12))),
)


@pytest.fixture
def cupy(fake_gpu: ModuleType) -> ModuleType:  # noqa: F811
    return fake_gpu


def close(found: Any, expected: np.ndarray, dtype: Any, what: str = "") -> None:
    """Equal but for a few dozen roundings of the largest number there is.

    `expected` is computed in float64; the sums here have less than 10^4 terms near 1.
    """
    assert (found.shape, found.dtype) == (expected.shape, dtype), what
    step = 32 * np.finfo(dtype).eps * max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(found.get(), expected, rtol=0, atol=step, err_msg=what)


def random_arrays(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> list[np.ndarray]:
    """x, grad_out, weight, bias."""
    rng = np.random.default_rng(seed)
    shapes = (shape, shape, shape[1:2], shape[1:2])
    return [rng.standard_normal(each).astype(dtype) for each in shapes]


def holds_against_reference(x: Any, g: Any, weight: Any, bias: Any) -> None:
    """All three kernels on device arrays, in training and evaluation, with and without weight."""
    dtype = x.dtype
    X, G, W, B = (array.get().astype(np.float64) for array in (x, g, weight, bias))
    mean, var = norm.batch_norm_stats(x)
    for name, found, exact in zip(
        ("mean", "var"), (mean, var), reference.batch_norm_stats(X), strict=True
    ):
        close(found, exact, dtype, name)
    M, V = mean.get().astype(np.float64), var.get().astype(np.float64)
    for w, b, Wb, Bb in ((weight, bias, W, B), (None, None, None, None), (None, bias, None, B)):
        for training in (True, False):
            how: dict[str, Any] = {"eps": EPS, "training": training}
            out = norm.batch_norm(x, mean, var, w, b, **how)
            close(out, reference.batch_norm(X, M, V, Wb, Bb, **how), dtype, "out")
            grads = norm.batch_norm_grad(g, x, mean, var, w, **how)
            exact_grads = reference.batch_norm_grad(G, X, M, V, Wb, **how)
            for name, found, exact in zip(
                ("grad_x", "grad_weight", "grad_bias"), grads, exact_grads, strict=True
            ):
                close(found, exact, dtype, f"{name}, {how}")


def everything(x: Any, g: Any, weight: Any, bias: Any) -> list[bytes]:
    """The bits of all that the kernels compute from these."""
    mean, var = norm.batch_norm_stats(x)
    out = norm.batch_norm(x, mean, var, weight, bias)
    grads = norm.batch_norm_grad(g, x, mean, var, weight)
    return [array.get().tobytes() for array in (mean, var, out, *grads)]


@settings(deadline=None, max_examples=50)
@given(
    SHAPES,
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(["C", "F"]),
    st.sampled_from(["forward", "reverse", "random"]),
)
def test_every_kernel_equals_the_reference_over_random_shapes(
    shape: tuple[int, ...], seed: int, dtype: Any, order: Any, turns: str
) -> None:
    x, g, weight, bias = random_arrays(shape, dtype, seed)
    with installed() as cupy, in_order(turns, seed % 100):
        holds_against_reference(
            cupy.array(x, order=order), *(cupy.asarray(a) for a in (g, weight, bias))
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "splits"),
    [
        ((32, 2, 16, 16), 4),  # planes in packs, several blocks a channel
        ((24, 3, 17, 17), 3),  # odd planes, whose walk has a carry at other places each time
        ((2, 40, 6, 6), 1),  # planes of barely more than a warp
        ((1200, 5), 3),  # single numbers
        ((40, 70, 3, 3), 1),  # columns of several blocks
        ((300, 2, 31), 5),  # 31 columns a channel, of several blocks each
    ],
)
def test_channels_cut_in_several_parts_equal_the_reference(
    shape: tuple[int, ...], splits: int, dtype: Any, cupy: ModuleType
) -> None:
    x, g, weight, bias = (cupy.asarray(a) for a in random_arrays(shape, dtype))
    assert norm._cut(*norm._sizes(x)).splits == splits
    holds_against_reference(x, g, weight, bias)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 5, 8, 8), (5, 7, 7, 7), (90, 31), (30, 4, 4, 4)])
def test_more_elements_than_the_grid_has_threads_are_all_treated(
    shape: tuple[int, ...], dtype: Any, cupy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "MAX_BLOCKS", 1)
    assert np.prod(shape) > 4 * launcher.THREADS
    holds_against_reference(*(cupy.asarray(a) for a in random_arrays(shape, dtype)))


def test_more_channels_than_the_merging_warps_are_all_merged(
    cupy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "MAX_BLOCKS", 1)
    assert launcher.THREADS // 32 < 100
    holds_against_reference(*(cupy.asarray(a) for a in random_arrays((3, 100), np.float64)))


@pytest.mark.parametrize("shape", [(32, 2, 16, 16), (5, 3, 7, 7), (1200, 5), (60, 4, 4, 4)])
def test_threads_in_any_order_give_the_same_bits(shape: tuple[int, ...], cupy: ModuleType) -> None:
    given = [cupy.asarray(a) for a in random_arrays(shape, np.float32)]
    bits = []
    for turns, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        with in_order(turns, seed):
            bits.append(everything(*given))
    assert bits[0] == bits[1] == bits[2] == bits[3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("misaligned", [0, 1], ids=["x", "grad_out"])
def test_arrays_that_do_not_begin_at_16_bytes_equal_the_reference(
    misaligned: int, dtype: Any, cupy: ModuleType
) -> None:
    shape = (3, 4, 8, 8)
    given = [cupy.asarray(a) for a in random_arrays(shape, dtype)]
    room = cupy.zeros(given[0].size + 1, dtype=dtype)
    room[1:] = given[misaligned].reshape(-1)
    given[misaligned] = room[1:].reshape(shape)
    assert given[misaligned].data.ptr % 16 != 0
    assert given[misaligned].flags.c_contiguous
    holds_against_reference(*given)


def test_arrays_with_gaps_equal_the_reference(cupy: ModuleType) -> None:
    x, g, weight, bias = (cupy.asarray(a) for a in random_arrays((6, 8, 9, 10), np.float64))
    holds_against_reference(x[::2, ::2, :, ::3], g[1::2, 1::2, ::-1, ::3], weight[::2], bias[1::2])


@pytest.mark.parametrize("far", [0.0, 1e4, 1e6])
@pytest.mark.parametrize("shape", [(2048, 3), (64, 3, 16, 16), (16, 4, 7, 7)])
def test_a_mean_far_from_zero_costs_no_digits(
    shape: tuple[int, ...], far: float, cupy: ModuleType
) -> None:
    x, *_ = random_arrays(shape, np.float32)
    x += np.float32(far)
    exact = reference.batch_norm_stats(x.astype(np.float64))
    mean, var = norm.batch_norm_stats(cupy.asarray(x))
    # The nearest float32 is half a step away; near 0 the roundings of a deviation of 1 count.
    nearest = np.spacing(np.abs(exact[0]).astype(np.float32).max()) / 2
    np.testing.assert_allclose(mean.get(), exact[0], rtol=0, atol=max(1.01 * nearest, 1e-7))
    by_numpy = on_cpu.batch_norm_stats(x)[1]
    error, numpys = (np.abs(found / exact[1] - 1).max() for found in (var.get(), by_numpy))
    # As good as the NumPy kernel, whose error can happen to be 0, or a few roundings.
    assert error <= numpys + 4 * np.finfo(np.float32).eps
    out = norm.batch_norm(cupy.asarray(x), mean, var)
    exact_out = reference.batch_norm(*(a.astype(np.float64) for a in (x, mean.get(), var.get())))
    np.testing.assert_allclose(out.get(), exact_out, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(3000, 1), (50, 1, 8, 8)])
def test_a_first_number_far_from_all_others_costs_few_digits(
    shape: tuple[int, ...], cupy: ModuleType
) -> None:
    x, *_ = random_arrays(shape, np.float32)
    x[0] += 1e4  # dozens of standard deviations away, and means are counted from it
    exact = reference.batch_norm_stats(x.astype(np.float64))
    mean, var = norm.batch_norm_stats(cupy.asarray(x))
    eps = np.finfo(np.float32).eps
    # Counted from 10^4, a mean near 0 is known to a rounding of 10^4, or two.
    np.testing.assert_allclose(mean.get(), exact[0], rtol=0, atol=2 * eps * 1e4)
    np.testing.assert_allclose(var.get(), exact[1], rtol=64 * eps)


@pytest.mark.parametrize("shape", [(300, 3), (20, 3, 9, 9)])
def test_a_channel_of_one_value_has_that_mean_and_no_variance(
    shape: tuple[int, ...], cupy: ModuleType
) -> None:
    mean, var = norm.batch_norm_stats(cupy.full(shape, 0.1, dtype=np.float32))
    assert mean.get().tolist() == [np.float32(0.1)] * 3
    assert var.get().tolist() == [0.0] * 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(40, 5), (5, 5, 6, 8)])
def test_what_is_not_finite_reaches_its_whole_channel_and_no_other(
    shape: tuple[int, ...], value: float, cupy: ModuleType
) -> None:
    x, g, weight, bias = random_arrays(shape, np.float32)
    x[3, 2] = value
    given = [cupy.asarray(a) for a in (x, g, weight, bias)]
    mean, var = norm.batch_norm_stats(given[0])
    out = norm.batch_norm(given[0], mean, var, *given[2:])
    grads = norm.batch_norm_grad(given[1], given[0], mean, var, given[2])
    assert np.isnan(var.get()[2])
    assert not np.isfinite(mean.get()[2])
    for found in (out, grads[0]):
        assert np.isnan(found.get()[:, 2]).all()
    for found in (mean, var, grads[1], grads[2]):
        assert np.isfinite(np.delete(found.get(), 2)).all()
    for found in (out, grads[0]):
        assert np.isfinite(np.delete(found.get(), 2, axis=1)).all()


def test_in_evaluation_the_input_does_not_come_into_its_own_gradient(cupy: ModuleType) -> None:
    x, g, weight, _ = (cupy.asarray(a) for a in random_arrays((2, 3, 5, 8), np.float32))
    x[:] = np.nan
    ones = cupy.ones(3, dtype=np.float32)
    grad_x = norm.batch_norm_grad(g, x, ones, ones, weight, eps=0.0, training=False)[0]
    np.testing.assert_array_equal(grad_x.get(), (weight[:, None, None] * g).get())


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 3, 0, 2), (2, 0, 3, 3), (0, 3)])
def test_empty_arrays_have_statistics_and_gradients_of_zero_and_launch_nothing(
    shape: tuple[int, ...], cupy: ModuleType
) -> None:
    x = cupy.zeros(shape, dtype=np.float32)
    mean, var = norm.batch_norm_stats(x)
    results = (mean, var, norm.batch_norm(x, mean, var), *norm.batch_norm_grad(x, x, mean, var))
    for found, of in zip(
        results, ((shape[1],),) * 2 + (shape,) * 2 + ((shape[1],),) * 2, strict=True
    ):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.get(), np.zeros(of))
    assert counters.launches == 0


@pytest.mark.parametrize("wide", range(5))
def test_results_have_the_widest_dtype_that_was_given(wide: int, cupy: ModuleType) -> None:
    x, g, weight, bias = random_arrays((4, 3, 5, 7), np.float32)
    arrays = [x, x.mean((0, 2, 3)), x.var((0, 2, 3)), weight, bias]
    arrays[wide] = arrays[wide].astype(np.float64)
    x, mean, var, weight, bias = (cupy.asarray(a) for a in arrays)
    exact = [a.astype(np.float64) for a in arrays]
    close(norm.batch_norm(x, mean, var, weight, bias), reference.batch_norm(*exact), np.float64)
    if wide == 4:  # bias has no part in the gradients: here it is grad_out that is wide
        g = g.astype(np.float64)
    found = norm.batch_norm_grad(cupy.asarray(g), x, mean, var, weight)
    for one, of in zip(
        found, reference.batch_norm_grad(g.astype(np.float64), *exact[:4]), strict=True
    ):
        close(one, of, np.float64)


def test_eps_may_be_a_whole_number(cupy: ModuleType) -> None:
    x = cupy.asarray(np.array([[1.0], [3.0]], np.float32))
    statistics = norm.batch_norm_stats(x)
    assert norm.batch_norm(x, *statistics, eps=0).get().tolist() == [[-1.0], [1.0]]
    assert norm.batch_norm_grad(x, x, *statistics, eps=0)[1].get().tolist() == [2.0]


def test_a_step_copies_nothing_to_or_from_the_device_and_launches_six_kernels(
    cupy: ModuleType,
) -> None:
    given = [cupy.asarray(a) for a in random_arrays((4, 3, 8, 8), np.float32)]
    counters.reset()
    mean, var = norm.batch_norm_stats(given[0])
    norm.batch_norm(given[0], mean, var, *given[2:])
    norm.batch_norm_grad(given[1], given[0], mean, var, given[2])
    assert (counters.to_host, counters.to_device, counters.synchronizations) == (0, 0, 0), counters
    assert counters.launches == 6


def test_arguments_are_refused_with_the_words_of_the_numpy_kernel(cupy: ModuleType) -> None:
    ones, wide = np.ones(3, np.float32), np.ones(4, np.float32)
    x = np.ones((2, 3, 4, 4), np.float32)
    refused: list[tuple[type[Exception], str, tuple[np.ndarray, ...]]] = [
        (ShapeError, "batch_norm_stats", (ones,)),
        (DTypeError, "batch_norm_stats", (x.astype(np.int64),)),
        (ShapeError, "batch_norm", (x, wide, ones)),
        (ShapeError, "batch_norm", (x, ones, ones, wide)),
        (DTypeError, "batch_norm", (x, ones, ones, ones, ones.astype(np.int32))),
        (ShapeError, "batch_norm_grad", (x[:1], x, ones, ones)),
        (ShapeError, "batch_norm_grad", (x, x, ones, wide)),
        (DTypeError, "batch_norm_grad", (x.astype(np.int64), x, ones, ones)),
    ]
    for error, name, arrays in refused:
        with pytest.raises(error) as expected:
            getattr(on_cpu, name)(*arrays)
        with pytest.raises(error) as found:
            getattr(norm, name)(*(cupy.asarray(a) for a in arrays))
        assert str(found.value) == str(expected.value)


def test_arrays_on_two_devices_are_refused_by_name(cupy: ModuleType) -> None:
    x, ones = np.ones((2, 3, 4, 4), np.float32), np.ones(3, np.float32)
    with cupy.cuda.Device(1):
        far = cupy.asarray(ones)
    x, near = cupy.asarray(x), cupy.asarray(ones)
    with pytest.raises(DeviceError, match="batch_norm: x is on cuda:0 and bias is on cuda:1"):
        norm.batch_norm(x, near, near, near, far)
    with pytest.raises(DeviceError, match="batch_norm_grad: grad_out is on cuda:0 and var is on"):
        norm.batch_norm_grad(x, x, near, far)
