"""The pooling kernels of pool.cu, run on the CPU, held against the textbook loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import DeviceError, DTypeError, ShapeError, UsageError
from minires.kernels import reference_pool
from minires.kernels.cuda import launcher, pool
from minires.kernels.cuda.fibers import ORDERS, in_order
from minires.kernels.geometry import check_pool2d
from tests.fake_cupy import counters, fake_gpu, installed  # noqa: F401  (a fixture)
from tests.kernels.test_pool import OVERLAPPING, images, same, windows

quick = settings(deadline=None, max_examples=40)
LAYOUTS = ["contiguous", "transposed", "strided", "misaligned"]
orders = st.sampled_from(ORDERS)


def put(cupy, x, layout="contiguous"):
    """The numbers on the device, laid out there in one way or another."""
    if layout == "transposed":
        return cupy.asarray(np.ascontiguousarray(x.T)).T
    if layout == "strided":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 99, x.dtype)
        wide[..., ::2] = x
        return cupy.asarray(wide)[..., ::2]
    if layout == "misaligned":  # for loads of 16 bytes
        return cupy.asarray(np.append(x.dtype.type(0), x))[1:].reshape(x.shape)
    return cupy.asarray(np.ascontiguousarray(x))


def random_like(shape, dtype):
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


def equal(ours, expected):
    np.testing.assert_array_equal(ours.get(), expected, strict=True)


@quick
@given(st.data(), orders, st.sampled_from(LAYOUTS))
def test_max_pool_has_the_bits_of_the_reference_also_for_ties_infinities_and_nan(
    data, order, layout
):
    x = data.draw(images(few_values=data.draw(st.booleans())))
    window = data.draw(windows(x))
    expected = reference_pool.max_pool2d(x, **window)
    with installed() as cupy, in_order(order):
        out, indices = pool.max_pool2d(put(cupy, x, layout), **window)
        equal(out, expected[0])
        equal(indices, expected[1])


@quick
@given(st.data(), orders, st.sampled_from(LAYOUTS))
def test_max_pool_gradient_has_the_bits_of_the_reference_with_and_without_the_window(
    data, order, layout
):
    x = data.draw(images())
    how = data.draw(windows(x))
    _, indices = reference_pool.max_pool2d(x, **how)
    grad = random_like(indices.shape, x.dtype)
    expected = reference_pool.max_pool2d_grad_input(grad, indices, x.shape)
    with installed() as cupy, in_order(order):
        given = put(cupy, grad, layout), put(cupy, indices, layout), x.shape
        equal(pool.max_pool2d_grad_input(*given), expected)
        equal(pool.max_pool2d_grad_input(*given, check_pool2d("max_pool2d", x, **how)), expected)


@quick
@given(st.data(), orders, st.sampled_from(LAYOUTS))
def test_gather_picks_what_the_reference_picks(data, order, layout):
    x = data.draw(images())
    _, indices = reference_pool.max_pool2d(x, **data.draw(windows(x)))
    values = random_like(x.shape, x.dtype)
    with installed() as cupy, in_order(order):
        out = pool.max_pool2d_gather(put(cupy, values, layout), put(cupy, indices, layout))
        equal(out, reference_pool.max_pool2d_gather(values, indices))


@quick
@given(st.data(), orders, st.sampled_from(LAYOUTS))
def test_avg_pool_equals_the_reference_and_its_gradient_has_the_same_bits(data, order, layout):
    x = data.draw(images(few_values=data.draw(st.booleans())))
    window = data.draw(windows(x, dilated=False))
    window["count_include_pad"] = data.draw(st.booleans())
    window["divisor_override"] = data.draw(st.sampled_from([None, None, 3, -2]))
    with np.errstate(invalid="ignore"):  # inf - inf
        out = reference_pool.avg_pool2d(x, **window)
    grad = random_like(out.shape, x.dtype)
    expected = reference_pool.avg_pool2d_grad_input(grad, x.shape, **window)
    with installed() as cupy, in_order(order):
        same(pool.avg_pool2d(put(cupy, x, layout), **window).get(), out)
        given = put(cupy, grad, layout), x.shape
        equal(pool.avg_pool2d_grad_input(*given, **window), expected)


@quick
@given(st.data(), orders, st.sampled_from(LAYOUTS))
def test_adaptive_pool_equals_the_reference_and_its_gradient_has_the_same_bits(data, order, layout):
    x = data.draw(images())
    size = st.one_of(st.none(), st.integers(1, 9))
    output_size = data.draw(st.one_of(st.integers(1, 9), st.tuples(size, size)))
    out = reference_pool.adaptive_avg_pool2d(x, output_size)
    grad = random_like(out.shape, x.dtype)
    expected = reference_pool.adaptive_avg_pool2d_grad_input(grad, x.shape)
    with installed() as cupy, in_order(order):
        same(pool.adaptive_avg_pool2d(put(cupy, x, layout), output_size).get(), out)
        equal(pool.adaptive_avg_pool2d_grad_input(put(cupy, grad, layout), x.shape), expected)


@pytest.mark.parametrize(("size", "bins"), OVERLAPPING)
def test_bins_that_overlap_equal_the_reference(fake_gpu, size, bins):  # noqa: F811
    x, grad = random_like((2, 3, size, 6), np.float64), random_like((2, 3, bins, 4), np.float64)
    expected = reference_pool.adaptive_avg_pool2d(x, (bins, 4))
    same(pool.adaptive_avg_pool2d(put(fake_gpu, x), (bins, 4)).get(), expected)
    expected = reference_pool.adaptive_avg_pool2d_grad_input(grad, x.shape)
    equal(pool.adaptive_avg_pool2d_grad_input(put(fake_gpu, grad), x.shape), expected)


# Those of at most 1024 pixels are added up by a warp, the others by a block.
PLANES = [(1, 1), (1, 31), (7, 7), (32, 32), (25, 41), (33, 32), (47, 53), (64, 64)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("plane", PLANES)
def test_mean_of_a_plane_of_any_size_equals_the_reference_wherever_it_begins(
    fake_gpu,  # noqa: F811
    plane,
    dtype,
):
    x = random_like((3, 7, *plane), dtype)
    out = pool.adaptive_avg_pool2d(put(fake_gpu, x), 1)
    same(out.get(), reference_pool.adaptive_avg_pool2d(x, 1))
    equal(pool.adaptive_avg_pool2d(put(fake_gpu, x, "misaligned"), 1), out.get())
    expected = reference_pool.avg_pool2d(x, plane, divisor_override=-3)
    np.testing.assert_allclose(  # up to 4096 numbers of about 1, not divided by their count
        pool.avg_pool2d(put(fake_gpu, x), plane, divisor_override=-3).get(),
        expected,
        atol=1e-4 if dtype == np.float32 else 1e-12,
        rtol=0,
    )


def everything(cupy):
    """The result of each kernel, for sizes that fill no block and no warp, each by its name."""
    x = random_like((3, 11, 19, 37), np.float32)
    window = check_pool2d("max_pool2d", x, 3, 2, 1)
    out, indices = pool.max_pool2d(put(cupy, x), 3, 2, 1)
    grad = put(cupy, random_like(out.shape, np.float32))
    return {
        "max_pool2d": out,
        "indices": indices,
        "max_pool2d_grad_input": pool.max_pool2d_grad_input(grad, indices, x.shape, window),
        "max_pool2d_add_in_order": pool.max_pool2d_grad_input(grad, indices, x.shape),
        "max_pool2d_gather": pool.max_pool2d_gather(put(cupy, x), indices),
        "avg_pool2d": pool.avg_pool2d(put(cupy, x), 3, 2, 1),
        "avg_pool2d_grad_input": pool.avg_pool2d_grad_input(grad, x.shape, 3, 2, 1),
        "plane_mean_by_warp": pool.adaptive_avg_pool2d(put(cupy, x), 1),
        "plane_mean_by_block": pool.adaptive_avg_pool2d(put(cupy, x.reshape(1, 3, 209, 37)), 1),
        "adaptive_avg_pool2d": pool.adaptive_avg_pool2d(put(cupy, x), (5, 8)),
        "adaptive_avg_pool2d_grad_input": pool.adaptive_avg_pool2d_grad_input(grad, x.shape),
    }


@pytest.mark.parametrize("blocks", [1, 5, 4096])  # 1 and 5: fewer threads than elements
@pytest.mark.parametrize("order", ORDERS)
def test_every_kernel_has_the_same_bits_in_any_order_of_threads_and_on_any_grid(
    fake_gpu,  # noqa: F811
    monkeypatch,
    order,
    blocks,
):
    expected = {name: result.get() for name, result in everything(fake_gpu).items()}
    monkeypatch.setattr(launcher, "MAX_BLOCKS", blocks)
    with in_order(order, seed=1):
        found = everything(fake_gpu)
    for name, result in found.items():
        np.testing.assert_array_equal(result.get(), expected[name], err_msg=name)


def test_every_source_function_is_run_by_these_tests(fake_gpu):  # noqa: F811
    counters.reset()
    results = everything(fake_gpu)
    assert counters.launches == len(results) - 1  # max_pool2d gives two
    source = launcher.source_text("pool.cu")
    assert source.count('extern "C" __global__') == counters.launches


def test_nothing_is_copied_and_nothing_waits(fake_gpu):  # noqa: F811
    x = put(fake_gpu, random_like((2, 3, 8, 8), np.float32))
    counters.reset()
    out, indices = pool.max_pool2d(x, 2)
    for window in (None, check_pool2d("max_pool2d", x, 2)):
        pool.max_pool2d_grad_input(out, indices, x.shape, window)
    pool.max_pool2d_gather(x, indices)
    pool.avg_pool2d_grad_input(pool.avg_pool2d(x, 3, 2, 1), x.shape, 3, 2, 1)
    for size in (1, 4, 5):
        pool.adaptive_avg_pool2d_grad_input(pool.adaptive_avg_pool2d(x, size), x.shape)
    assert (counters.to_host, counters.to_device, counters.synchronizations) == (0, 0, 0), counters


@pytest.mark.parametrize("outside", [-1, 30, 2**40, -(2**63)])
def test_index_outside_the_plane_gives_nan_and_touches_no_other_plane(fake_gpu, outside):  # noqa: F811
    x = random_like((2, 3, 5, 6), np.float64)
    window = check_pool2d("max_pool2d", x, 2, 2)
    out, indices = reference_pool.max_pool2d(x, 2, 2)
    expected = reference_pool.max_pool2d_grad_input(out, indices, x.shape)
    indices[1, 0, 1, 2] = outside
    grad, given = put(fake_gpu, out), put(fake_gpu, indices)

    picked = out.copy()
    picked[1, 0, 1, 2] = np.nan
    equal(pool.max_pool2d_gather(put(fake_gpu, x), given), picked)

    expected[1, 0, 2:4, 4:6] = np.nan  # the pixels of that window
    equal(pool.max_pool2d_grad_input(grad, given, x.shape, window), expected)
    expected[1, 0] = np.nan
    equal(pool.max_pool2d_grad_input(grad, given, x.shape), expected)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_indices_of_any_whole_dtype_stand_for_the_same_places(fake_gpu, dtype):  # noqa: F811
    x = random_like((2, 3, 4, 6), np.float32)
    window = check_pool2d("max_pool2d", x, 2)
    out, indices = reference_pool.max_pool2d(x, 2)
    grad, narrow = put(fake_gpu, out), put(fake_gpu, indices.astype(dtype))
    equal(pool.max_pool2d_gather(put(fake_gpu, x), narrow), out)
    expected = reference_pool.max_pool2d_grad_input(out, indices, x.shape)
    equal(pool.max_pool2d_grad_input(grad, narrow, x.shape), expected)
    equal(pool.max_pool2d_grad_input(grad, narrow, x.shape, window), expected)


def test_winners_in_any_order_and_far_apart_are_added_up_in_reading_order(fake_gpu):  # noqa: F811
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 40, (2, 3, 30, 31))  # 930 outputs: several rounds of a block
    sizes = 10.0 ** rng.integers(-6, 6, indices.shape)  # so that another order shows
    grad = (rng.standard_normal(indices.shape) * sizes).astype(np.float32)
    expected = reference_pool.max_pool2d_grad_input(grad, indices, (2, 3, 20, 50))
    given = put(fake_gpu, grad), put(fake_gpu, indices)
    equal(pool.max_pool2d_grad_input(*given, (2, 3, 20, 50)), expected)


def test_many_planes_of_one_pixel_fit_into_what_a_block_may_have_of_them(fake_gpu):  # noqa: F811
    x = random_like((5, 60, 1, 1), np.float32)  # 300 planes, and 64 threads at most along z
    out, indices = pool.max_pool2d(put(fake_gpu, x), 1)
    equal(out, x)
    equal(indices, np.zeros(x.shape, np.int64))


def test_empty_arrays_launch_nothing(fake_gpu):  # noqa: F811
    x = put(fake_gpu, np.zeros((0, 3, 4, 4), np.float32))
    counters.reset()
    out, indices = pool.max_pool2d(x, 2)
    assert out.shape == indices.shape == (0, 3, 2, 2)
    for window in (None, check_pool2d("max_pool2d", x, 2)):
        assert pool.max_pool2d_grad_input(out, indices, x.shape, window).shape == x.shape
    assert pool.max_pool2d_gather(x, indices).shape == out.shape
    assert pool.avg_pool2d(x, 2).shape == out.shape
    assert pool.avg_pool2d_grad_input(out, x.shape, 2).shape == x.shape
    for size in (1, 3):
        means = pool.adaptive_avg_pool2d(x, size)
        assert means.shape == (0, 3, size, size)
        assert pool.adaptive_avg_pool2d_grad_input(means, x.shape).shape == x.shape
    assert counters.launches == 0


def test_no_windows_at_all_give_a_gradient_of_zeros(fake_gpu):  # noqa: F811
    grad = put(fake_gpu, np.zeros((2, 3, 0, 4)))
    indices = put(fake_gpu, np.zeros((2, 3, 0, 4), np.int64))
    equal(pool.max_pool2d_grad_input(grad, indices, (2, 3, 5, 6)), np.zeros((2, 3, 5, 6)))
    assert pool.max_pool2d_gather(put(fake_gpu, np.zeros((2, 3, 5, 6))), indices).size == 0


def test_mistakes_are_named_as_on_the_cpu(fake_gpu):  # noqa: F811
    x = put(fake_gpu, np.zeros((2, 3, 8, 8)))
    indices = put(fake_gpu, np.zeros((2, 3, 4, 4), np.int64))
    with pytest.raises(UsageError, match=r"max_pool2d: padding .* more than half of kernel_size"):
        pool.max_pool2d(x, 3, padding=2)
    with pytest.raises(UsageError, match="avg_pool2d: divisor_override must not be 0"):
        pool.avg_pool2d(x, 3, divisor_override=0)
    with pytest.raises(ShapeError, match="max_pool2d_grad_input: grad_out must have the shape"):
        pool.max_pool2d_grad_input(x, indices, x.shape)
    with pytest.raises(ShapeError, match=r"gather: indices and x differ.*\n.*indices: \(2, 3, 4,"):
        pool.max_pool2d_gather(x[:1], indices)
    with pytest.raises(DTypeError, match="max_pool2d_gather: indices must be whole numbers"):
        pool.max_pool2d_gather(x, x)
    with pytest.raises(ShapeError, match="avg_pool2d_grad_input: grad_out must have the shape"):
        pool.avg_pool2d_grad_input(x, x.shape, 2)
    with pytest.raises(ShapeError, match="adaptive_avg_pool2d: cannot pool x to output_size"):
        pool.adaptive_avg_pool2d(x, 0)
    with pytest.raises(ShapeError, match="adaptive_avg_pool2d_grad_input: grad_out must have"):
        pool.adaptive_avg_pool2d_grad_input(x[:1], x.shape)
    window = check_pool2d("max_pool2d", x, 3)
    with pytest.raises(ShapeError, match=r"window has \(2, 2\) outputs"):
        pool.max_pool2d_grad_input(x[:, :, :4, :4], indices, x.shape, window)


def test_arrays_of_two_devices_are_refused_by_name(fake_gpu):  # noqa: F811
    x = put(fake_gpu, np.zeros((2, 3, 4, 4)))
    indices = np.zeros((2, 3, 4, 4), np.int64)
    with pytest.raises(DeviceError, match="x is on cuda:0 and indices is on cpu"):
        pool.max_pool2d_gather(x, indices)
    with fake_gpu.cuda.Device(1):
        there = put(fake_gpu, indices)
    with pytest.raises(DeviceError, match="grad_out is on cuda:0 and indices is on cuda:1"):
        pool.max_pool2d_grad_input(x, there, x.shape)
