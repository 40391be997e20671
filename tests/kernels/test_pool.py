"""Fast pooling held against the textbook loops, and the promises the loops cannot show."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import ShapeError, UsageError
from minires.kernels import parallel, pool, reference_pool

quick = settings(deadline=None, max_examples=60)
LAYOUTS = ["C", "F", "strided", "read-only"]


def lay_out(x, layout):
    """The same numbers, laid out in memory in another way."""
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "strided":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 99.0, x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "read-only":
        x = x.copy()
        x.flags.writeable = False
    return x


@st.composite
def images(draw, few_values=False):
    shape = tuple(draw(st.integers(low, high)) for low, high in [(0, 2), (1, 2), (1, 8), (1, 8)])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal(shape)
    if few_values:  # so that ties, and windows of nothing but one value, are common
        x = rng.choice([-np.inf, -1.0, 2.0, np.inf, np.nan], shape, p=[0.4, 0.3, 0.2, 0.05, 0.05])
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return lay_out(x.astype(dtype), draw(st.sampled_from(LAYOUTS)))


@st.composite
def windows(draw, image, dilated=True):
    """Settings that fit the image."""
    kernel, stride, padding, dilation = [], [], [], []
    for size in image.shape[2:]:
        k = draw(st.integers(1, min(4, size)))
        p = draw(st.integers(0, k // 2))
        reach = (size - 1) // (k - 1) if k > 1 else 3
        kernel.append(k)
        padding.append(p)
        dilation.append(draw(st.integers(1, max(1, min(3, reach)))) if dilated else 1)
        stride.append(draw(st.integers(1, 4)))
    chosen = {"kernel_size": tuple(kernel), "padding": tuple(padding), "stride": tuple(stride)}
    if dilated:
        chosen["dilation"] = tuple(dilation)
    return {**chosen, "ceil_mode": draw(st.booleans())}


def same(fast, slow):
    assert (fast.shape, fast.dtype) == (slow.shape, slow.dtype)
    tolerance = 1e-5 if fast.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(fast, slow, rtol=tolerance, atol=tolerance)


@quick
@given(st.data())
def test_max_pool_equals_the_reference_also_for_ties_infinities_and_nan(data):
    x = data.draw(images(few_values=data.draw(st.booleans())))
    window = data.draw(windows(x))
    out, indices = pool.max_pool2d(x, **window)
    expected_out, expected_indices = reference_pool.max_pool2d(x, **window)
    np.testing.assert_array_equal(out, expected_out, strict=True)
    np.testing.assert_array_equal(indices, expected_indices, strict=True)


@quick
@given(st.data())
def test_max_pool_gradient_and_gather_equal_the_reference(data):
    x = data.draw(images())
    _, indices = reference_pool.max_pool2d(x, **data.draw(windows(x)))
    layout = data.draw(st.sampled_from(LAYOUTS))
    grad = np.random.default_rng(3).standard_normal(indices.shape).astype(x.dtype)
    grad, indices = lay_out(grad, layout), lay_out(indices, layout)
    same(
        pool.max_pool2d_grad_input(grad, indices, x.shape),
        reference_pool.max_pool2d_grad_input(grad, indices, x.shape),
    )
    same(pool.max_pool2d_gather(x, indices), reference_pool.max_pool2d_gather(x, indices))


@quick
@given(st.data())
def test_avg_pool_and_its_gradient_equal_the_reference(data):
    x = data.draw(images())
    window = data.draw(windows(x, dilated=False))
    window["count_include_pad"] = data.draw(st.booleans())
    window["divisor_override"] = data.draw(st.sampled_from([None, None, 3, -2]))
    out = reference_pool.avg_pool2d(x, **window)
    same(pool.avg_pool2d(x, **window), out)
    grad = np.random.default_rng(3).standard_normal(out.shape).astype(x.dtype)
    grad = lay_out(grad, data.draw(st.sampled_from(LAYOUTS)))
    same(
        pool.avg_pool2d_grad_input(grad, x.shape, **window),
        reference_pool.avg_pool2d_grad_input(grad, x.shape, **window),
    )


@quick
@given(st.data())
def test_adaptive_pool_and_its_gradient_equal_the_reference(data):
    x = data.draw(images())
    size = st.one_of(st.none(), st.integers(1, 9))
    output_size = data.draw(st.one_of(st.integers(1, 9), st.tuples(size, size)))
    out = reference_pool.adaptive_avg_pool2d(x, output_size)
    same(pool.adaptive_avg_pool2d(x, output_size), out)
    grad = np.random.default_rng(3).standard_normal(out.shape).astype(x.dtype)
    grad = lay_out(grad, data.draw(st.sampled_from(LAYOUTS)))
    same(
        pool.adaptive_avg_pool2d_grad_input(grad, x.shape),
        reference_pool.adaptive_avg_pool2d_grad_input(grad, x.shape),
    )


OVERLAPPING = [(5, 2), (5, 3), (7, 4), (10, 7), (4, 6)]  # places, and bins that share some


@pytest.mark.parametrize(("size", "bins"), OVERLAPPING)
def test_bins_that_overlap_along_one_axis_or_both_equal_the_reference(size, bins):
    rng = np.random.default_rng(0)
    for H, W, output_size in [
        (size, size, (bins, bins)),
        (size, 6, (bins, 3)),  # only the rows overlap
        (6, size, (3, bins)),
        (size, 6, (bins, 4)),  # each axis in its own way
    ]:
        x = rng.standard_normal((2, 3, H, W))
        grad = rng.standard_normal((2, 3, *output_size))
        same(
            pool.adaptive_avg_pool2d(x, output_size),
            reference_pool.adaptive_avg_pool2d(x, output_size),
        )
        same(
            pool.adaptive_avg_pool2d_grad_input(grad, x.shape),
            reference_pool.adaptive_avg_pool2d_grad_input(grad, x.shape),
        )


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize(("size", "bins"), OVERLAPPING)
def test_spreading_over_bins_is_the_adjoint_of_their_means_along_each_axis_alone(size, bins, axis):
    rng = np.random.default_rng(0)
    shape, out_shape = [2, 3, 4, 4], [2, 3, 4, 4]
    shape[axis], out_shape[axis] = size, bins
    x, grad = rng.standard_normal(shape), rng.standard_normal(out_shape)
    means, spread = pool._bin_means(x, axis, bins), pool._spread_bins(grad, axis, size)
    assert (means.shape, spread.shape) == (grad.shape, x.shape)
    np.testing.assert_allclose((spread * x).sum(), (grad * means).sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_indices_of_any_whole_dtype_stand_for_the_same_places(dtype):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 6))
    grad, indices = pool.max_pool2d(x, 2)
    narrow = indices.astype(dtype)
    np.testing.assert_array_equal(pool.max_pool2d_gather(x, narrow), grad, strict=True)
    np.testing.assert_array_equal(
        pool.max_pool2d_grad_input(grad, narrow, x.shape),
        reference_pool.max_pool2d_grad_input(grad, indices, x.shape),
        strict=True,
    )


@pytest.mark.parametrize("kernel_size", [(12, 11), (1, 130)])
def test_max_pool_window_of_more_taps_than_a_byte_can_number(kernel_size):
    x = np.random.default_rng(0).integers(0, 9, (1, 2, 14, 140)).astype(np.float32)
    x[0, 1, 2, 3] = np.nan
    for fast, slow in zip(
        pool.max_pool2d(x, kernel_size, 5),
        reference_pool.max_pool2d(x, kernel_size, 5),
        strict=True,
    ):
        np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_average_by_a_window_as_large_as_the_plane_also_where_it_is_padded(padding):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    out = reference_pool.avg_pool2d(x, (4, 5), 1, padding)
    same(pool.avg_pool2d(x, (4, 5), 1, padding), out)
    same(
        pool.avg_pool2d_grad_input(out, x.shape, (4, 5), 1, padding),
        reference_pool.avg_pool2d_grad_input(out, x.shape, (4, 5), 1, padding),
    )


def test_the_mean_of_a_whole_plane_has_the_bits_of_numpys_sum():
    x = np.random.default_rng(0).standard_normal((4, 8, 13, 11)).astype(np.float32)
    expected = x.sum(axis=(2, 3), keepdims=True) / 143
    np.testing.assert_array_equal(pool.avg_pool2d(x, (13, 11)), expected, strict=True)
    np.testing.assert_array_equal(pool.adaptive_avg_pool2d(x, 1), expected, strict=True)


@pytest.mark.parametrize(("window", "padding"), [((2, 1), (1, 0)), ((1, 2), (0, 1)), ((2, 2), 1)])
def test_a_window_of_which_no_tap_reaches_every_output_equals_the_reference(window, padding):
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 2)) - 3.0
    how = {"kernel_size": window, "padding": padding}
    same(pool.avg_pool2d(x, **how), reference_pool.avg_pool2d(x, **how))
    for fast, slow in zip(
        pool.max_pool2d(x, **how), reference_pool.max_pool2d(x, **how), strict=True
    ):
        same(fast, slow)


def test_max_pool_first_of_equals_in_reading_order_wins():
    x = np.array([[[[0.0, 7.0], [7.0, 7.0]]]])
    assert pool.max_pool2d(x, 2)[1].item() == 1
    assert pool.max_pool2d(np.zeros((1, 1, 3, 3)), 3, 1, 1)[1].ravel().tolist() == [
        *(0, 0, 1),
        *(0, 0, 1),
        *(3, 3, 4),
    ]


def test_max_pool_padding_never_wins_and_gets_no_gradient():
    x = np.full((1, 1, 2, 2), -np.inf)
    out, indices = pool.max_pool2d(x, 2, 2, padding=1)
    assert (out == -np.inf).all()
    assert indices.ravel().tolist() == [0, 1, 2, 3]
    grad = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    assert (pool.max_pool2d_grad_input(grad, indices, x.shape) == grad).all()


def test_gradients_that_are_infinite_stay_where_they_belong():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    _, indices = pool.max_pool2d(x, 2)
    grad = np.array([[[[np.inf, 1.0], [np.nan, 2.0]]]])
    grad_x = pool.max_pool2d_grad_input(grad, indices, x.shape)
    assert grad_x.ravel().tolist()[:13] == [0.0] * 5 + [np.inf, 0.0, 1.0] + [0.0] * 5
    assert np.isnan(grad_x[0, 0, 3, 1])
    assert grad_x[0, 0, 3, 3] == 2.0


def test_infinities_and_nan_raise_no_warnings():
    x = np.array([[[[np.inf, -np.inf, np.nan], [-np.inf, np.inf, 3e38]]]], np.float32)
    grad = np.array([[[[np.inf, -np.inf]]]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, indices = pool.max_pool2d(x, 2, 1)
        assert np.isnan(pool.avg_pool2d(x, 2, 1)).all()
        assert np.isnan(pool.adaptive_avg_pool2d(x, (1, 2))).all()
        assert np.isnan(pool.adaptive_avg_pool2d(x, 1)).all()
        assert np.isnan(pool.avg_pool2d_grad_input(grad, x.shape, 2, 1)[0, 0, :, 1]).all()
        assert np.isnan(pool.adaptive_avg_pool2d_grad_input(grad, x.shape)[0, 0, :, 1]).all()
        indices[...] = 0  # both at one place
        assert np.isnan(pool.max_pool2d_grad_input(grad, indices, x.shape)[0, 0, 0, 0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_are_never_written_to_and_never_handed_back(layout):
    x = lay_out(np.random.default_rng(0).standard_normal((2, 3, 4, 4)), layout)
    before = x.copy()
    indices = np.arange(16).reshape(1, 1, 4, 4) * np.ones((2, 3, 1, 1), np.int64)
    results = [
        *pool.max_pool2d(x, 1),
        pool.max_pool2d_grad_input(x, indices, x.shape),
        pool.max_pool2d_gather(x, indices),
        pool.avg_pool2d(x, 1),
        pool.avg_pool2d(x, 3, 1, 1),
        pool.avg_pool2d_grad_input(x, x.shape, 1),
        pool.avg_pool2d_grad_input(x[:, :, :1, :1], x.shape, 4),
        pool.adaptive_avg_pool2d(x, None),
        pool.adaptive_avg_pool2d(x, 3),
        pool.adaptive_avg_pool2d_grad_input(x, x.shape),
    ]
    assert (x == before).all()
    for result in results:
        assert not np.shares_memory(result, x)
        assert result.flags.writeable


def test_pieces_of_a_batch_give_the_bits_of_the_whole():
    x = np.random.default_rng(0).standard_normal((5, 3, 9, 9)).astype(np.float32)
    grad = np.random.default_rng(1).standard_normal((5, 3, 5, 5)).astype(np.float32)

    def results(x, grad):
        out, indices = pool.max_pool2d(x, 3, 2, 1)
        return (
            out,
            indices,
            pool.max_pool2d_grad_input(grad, indices, x.shape),
            pool.avg_pool2d(x, 3, 2, 1),
            pool.avg_pool2d_grad_input(grad, x.shape, 3, 2, 1),
            pool.adaptive_avg_pool2d(x, 1),
            pool.adaptive_avg_pool2d(x, 4),
            pool.adaptive_avg_pool2d_grad_input(grad, x.shape),
        )

    whole = results(x, grad)
    pieces = results(x[:2], grad[:2]), results(x[2:], grad[2:])
    for expected, first, second in zip(whole, *pieces, strict=True):
        np.testing.assert_array_equal(np.concatenate([first, second]), expected)


@pytest.mark.parametrize("kernels", [pool, reference_pool])
def test_mistakes_are_named_by_fast_and_reference_alike(kernels):
    x, indices = np.zeros((2, 3, 8, 8)), np.zeros((2, 3, 4, 4), np.int64)
    with pytest.raises(UsageError, match=r"max_pool2d: padding .* more than half of kernel_size"):
        kernels.max_pool2d(x, 3, padding=2)
    with pytest.raises(UsageError, match=r"avg_pool2d: padding .* more than half of kernel_size"):
        kernels.avg_pool2d(x, 3, padding=2)
    with pytest.raises(UsageError, match="divisor_override must not be 0"):
        kernels.avg_pool2d(x, 3, divisor_override=0)
    with pytest.raises(ShapeError, match="max_pool2d: the kernel spans 9 x 9"):
        kernels.max_pool2d(x, 9)
    with pytest.raises(ShapeError, match="max_pool2d: a window sees nothing but padding"):
        kernels.max_pool2d(x[:, :, :2], (2, 1), 1, (1, 0), (3, 1))
    with pytest.raises(ShapeError, match="max_pool2d_grad_input: grad_out must have the shape"):
        kernels.max_pool2d_grad_input(x, indices, x.shape)
    with pytest.raises(ShapeError, match="max_pool2d_gather: indices and x differ"):
        kernels.max_pool2d_gather(x[:1], indices)
    with pytest.raises(ShapeError, match="avg_pool2d_grad_input: grad_out must have the shape"):
        kernels.avg_pool2d_grad_input(x, x.shape, 2)
    with pytest.raises(ShapeError, match="adaptive_avg_pool2d: cannot pool x to output_size"):
        kernels.adaptive_avg_pool2d(x, 0)
    with pytest.raises(ShapeError, match="adaptive_avg_pool2d_grad_input: grad_out must have"):
        kernels.adaptive_avg_pool2d_grad_input(x[:1], x.shape)


@pytest.mark.parametrize(("chunk", "planes"), [(4, [3, 4, 4, 4]), (8, [7, 8])])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_pooling_some_planes_at_a_time_has_the_bits_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, count: int, chunk: int, planes: list[int]
) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 9, 8)).astype(np.float32)
    x[1, 2, 3, 4] = np.nan
    max_pool, planes_at_a_time = pool._max_pool, []

    def counted(planes, window):
        planes_at_a_time.append(planes.shape[0] * planes.shape[1])
        return max_pool(planes, window)

    monkeypatch.setattr(pool, "_max_pool", counted)
    whole = pool.max_pool2d(x, 3, 2, 1)
    usual = parallel.get_num_threads()
    parallel.set_num_threads(count)
    plane = 4 * 4 * 9 * 8  # bytes: its numbers, and three times as many that are made of them
    monkeypatch.setattr(parallel, "CHUNK_BYTES", chunk * plane)
    try:
        cut = pool.max_pool2d(x, 3, 2, 1)
    finally:
        parallel.set_num_threads(usual)
    assert planes_at_a_time[0] == 15
    assert sorted(planes_at_a_time[1:]) == planes
    for a, b in zip(whole, cut, strict=True):
        assert (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())
