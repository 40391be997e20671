"""The textbook kernels against numbers by hand, their adjoints, and central differences."""

import numpy as np
import pytest

from minires.errors import ShapeError
from minires.kernels import reference as ref

CONVOLUTIONS = [
    {},
    {"stride": (2, 1), "padding": (1, 2)},
    {"dilation": (2, 1), "padding": 1},
    {"groups": 2, "stride": 2},
    {"groups": 2, "stride": (1, 3), "padding": (0, 2), "dilation": (1, 2)},
]
AVERAGES = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True, "divisor_override": 5},
]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def central_difference(function, x, cotangent, step=1e-6):
    """Gradient of <function(x), cotangent> by x, one entry at a time."""
    grad = np.empty_like(x)
    for place in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[place] += step
        below[place] -= step
        grad[place] = ((function(above) - function(below)) * cotangent).sum() / (2 * step)
    return grad


def assert_is_gradient(grad, function, x, cotangent):
    np.testing.assert_allclose(
        grad, central_difference(function, x, cotangent), rtol=1e-6, atol=1e-7
    )


def image(*rows):
    return np.array(rows, dtype=float)[None, None]


def test_convolution_does_not_flip_the_kernel():
    x = image([1, 2, 3], [4, 5, 6], [7, 8, 9])
    out = ref.conv2d(x, image([1, 10], [100, 1000]))
    assert out.tolist() == image([5421, 6532], [8754, 9865]).tolist()


def test_convolution_pads_with_zeros_and_adds_the_bias():
    out = ref.conv2d(image([1, 2]), image([1, 1, 1]), np.array([0.5]), padding=(1, 1))
    assert out.tolist() == image([0.5, 0.5], [3.5, 3.5], [0.5, 0.5]).tolist()


def test_convolution_stride_and_dilation_step_rows_and_columns_apart():
    x = np.arange(20.0).reshape(1, 1, 4, 5)
    out = ref.conv2d(x, image([1, 1]), stride=(3, 1), dilation=(1, 3))
    assert out.tolist() == image([0 + 3, 1 + 4], [15 + 18, 16 + 19]).tolist()


def test_convolution_groups_keep_channels_apart():
    x = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
    weight = np.array([[1.0, 10.0], [1.0, 10.0]]).reshape(2, 2, 1, 1)
    assert ref.conv2d(x, weight, groups=2).ravel().tolist() == [21.0, 43.0]


@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_the_three_maps_of_convolution_are_adjoint(settings, rng):
    x = rng.standard_normal((2, 4, 6, 7))
    weight = rng.standard_normal((6, 4 // settings.get("groups", 1), 3, 2))
    out = ref.conv2d(x, weight, **settings)
    g = rng.standard_normal(out.shape)
    inner = (out * g).sum()
    grad_x = ref.conv2d_grad_input(g, weight, x.shape, **settings)
    grad_weight = ref.conv2d_grad_weight(g, x, weight.shape, **settings)
    np.testing.assert_allclose((x * grad_x).sum(), inner, rtol=1e-12)
    np.testing.assert_allclose((weight * grad_weight).sum(), inner, rtol=1e-12)


@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_convolution_gradients_agree_with_central_differences(settings, rng):
    x = rng.standard_normal((2, 2, 4, 5))
    weight = rng.standard_normal((2, 2 // settings.get("groups", 1), 2, 2))
    g = rng.standard_normal(ref.conv2d(x, weight, **settings).shape)
    grad_x = ref.conv2d_grad_input(g, weight, x.shape, **settings)
    assert_is_gradient(grad_x, lambda v: ref.conv2d(v, weight, **settings), x, g)
    grad_weight = ref.conv2d_grad_weight(g, x, weight.shape, **settings)
    assert_is_gradient(grad_weight, lambda v: ref.conv2d(x, v, **settings), weight, g)


def test_convolution_gradients_want_a_gradient_of_the_output_s_shape():
    x, weight, g = np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 4, 4))
    with pytest.raises(ShapeError, match=r"conv2d_grad_input: grad_out must .* \(1, 1, 2, 2\)"):
        ref.conv2d_grad_input(g, weight, x.shape)
    with pytest.raises(ShapeError, match=r"conv2d_grad_weight: grad_out must .* \(1, 1, 2, 2\)"):
        ref.conv2d_grad_weight(g, x, weight.shape)


def test_max_pool_gives_the_largest_and_its_place_in_the_plane():
    out, indices = ref.max_pool2d(image([1, 2, 5], [4, 3, 0]), 2, stride=1)
    assert out.tolist() == image([4, 5]).tolist()
    assert indices.tolist() == image([3, 2]).tolist()
    assert indices.dtype == np.int64


def test_max_pool_first_of_equals_wins_and_nan_beats_all():
    assert ref.max_pool2d(image([0, 7], [7, 7]), 2)[1].item() == 1
    out, indices = ref.max_pool2d(image([np.nan, 7], [np.nan, np.inf]), 2)
    assert np.isnan(out).all()
    assert indices.item() == 2


def test_max_pool_padding_never_wins():
    x = image([-5, -6], [-np.inf, -8])
    out, indices = ref.max_pool2d(x, 2, stride=2, padding=1)
    assert out.tolist() == x.tolist()
    assert indices.tolist() == image([0, 1], [2, 3]).tolist()


def test_max_pool_gradient_adds_up_where_windows_overlap(rng):
    x = image([0, 9, 0], [0, 0, 0])
    _, indices = ref.max_pool2d(x, 2, stride=1)
    grad_x = ref.max_pool2d_grad_input(image([3, 4]), indices, x.shape)
    assert grad_x.tolist() == image([0, 7, 0], [0, 0, 0]).tolist()


def test_max_pool_gradient_agrees_with_central_differences(rng):
    x = rng.permutation(2 * 2 * 5 * 5).reshape(2, 2, 5, 5).astype(float)  # no ties, no kinks
    settings = {"kernel_size": 3, "stride": 2, "padding": 1}
    out, indices = ref.max_pool2d(x, **settings)
    g = rng.standard_normal(out.shape)
    grad_x = ref.max_pool2d_grad_input(g, indices, x.shape)
    assert_is_gradient(grad_x, lambda v: ref.max_pool2d(v, **settings)[0], x, g)


def test_max_pool_gather_reads_the_winners_and_is_the_adjoint_of_the_gradient(rng):
    x = rng.standard_normal((2, 3, 6, 5))
    out, indices = ref.max_pool2d(x, 3, 1, 1)
    assert (ref.max_pool2d_gather(x, indices) == out).all()
    v, g = rng.standard_normal(x.shape), rng.standard_normal(out.shape)
    np.testing.assert_allclose(
        (ref.max_pool2d_gather(v, indices) * g).sum(),
        (ref.max_pool2d_grad_input(g, indices, x.shape) * v).sum(),
        rtol=1e-12,
    )


def test_avg_pool_divisor_counts_padding_unless_told_not_to():
    x = image([4, 8])
    padded = {"kernel_size": (1, 2), "stride": 2, "padding": (0, 1)}
    assert ref.avg_pool2d(x, **padded).tolist() == image([2, 4]).tolist()
    out = ref.avg_pool2d(x, **padded, count_include_pad=False)
    assert out.tolist() == image([4, 8]).tolist()
    assert ref.avg_pool2d(x, **padded, divisor_override=-4).tolist() == image([-1, -2]).tolist()


def test_avg_pool_never_counts_what_hangs_over_beyond_the_padding():
    out = ref.avg_pool2d(image([1, 2, 3, 12]), (1, 3), stride=2, padding=(0, 1), ceil_mode=True)
    np.testing.assert_allclose(out.ravel(), [(0 + 1 + 2) / 3, (2 + 3 + 12) / 3, (12 + 0) / 2])


@pytest.mark.parametrize("settings", AVERAGES)
def test_avg_pool_gradient_agrees_with_central_differences(settings, rng):
    x = rng.standard_normal((2, 2, 5, 6))
    g = rng.standard_normal(ref.avg_pool2d(x, **settings).shape)
    grad_x = ref.avg_pool2d_grad_input(g, x.shape, **settings)
    assert_is_gradient(grad_x, lambda v: ref.avg_pool2d(v, **settings), x, g)


def test_adaptive_pool_bins_overlap_where_sizes_do_not_divide():
    out = ref.adaptive_avg_pool2d(image([1, 2, 3, 4, 5]), (None, 2))
    assert out.tolist() == image([2, 4]).tolist()  # columns 0-2 and 2-4


@pytest.mark.parametrize("output_size", [1, (2, 3), (4, None), 7])
def test_adaptive_pool_gradient_agrees_with_central_differences(output_size, rng):
    x = rng.standard_normal((2, 2, 5, 6))
    g = rng.standard_normal(ref.adaptive_avg_pool2d(x, output_size).shape)
    grad_x = ref.adaptive_avg_pool2d_grad_input(g, x.shape)
    assert_is_gradient(grad_x, lambda v: ref.adaptive_avg_pool2d(v, output_size), x, g)


@pytest.mark.parametrize("shape", [(6, 3), (3, 2, 4, 5)])
def test_batch_norm_brings_each_channel_to_mean_0_and_variance_1(shape, rng):
    x = 5.0 + 3.0 * rng.standard_normal(shape)
    mean, var = ref.batch_norm_stats(x)
    others = (0, *range(2, x.ndim))
    np.testing.assert_allclose(var, x.var(axis=others, ddof=0), rtol=1e-12)  # biased
    out = ref.batch_norm(x, mean, var, eps=0.0)
    np.testing.assert_allclose(out.mean(axis=others), 0.0, atol=1e-12)
    np.testing.assert_allclose(out.var(axis=others), 1.0, rtol=1e-12)
    weight, bias = rng.standard_normal(shape[1]), rng.standard_normal(shape[1])
    out = ref.batch_norm(x, mean, var, weight, bias, eps=0.0)
    np.testing.assert_allclose(out.mean(axis=others), bias, atol=1e-12)
    np.testing.assert_allclose(out.std(axis=others), np.abs(weight), rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 2, 4)])
def test_batch_norm_gradients_agree_with_central_differences(shape, training, rng):
    x, g = rng.standard_normal(shape), rng.standard_normal(shape)
    weight, bias = rng.standard_normal(shape[1]), rng.standard_normal(shape[1])
    fixed = rng.standard_normal(shape[1]), rng.uniform(0.5, 2.0, shape[1])
    eps = 1e-2  # large enough to be seen if it is forgotten

    def forward(x, weight, bias):
        mean, var = ref.batch_norm_stats(x) if training else fixed
        return ref.batch_norm(x, mean, var, weight, bias, eps=eps)

    mean, var = ref.batch_norm_stats(x) if training else fixed
    grad_x, grad_weight, grad_bias = ref.batch_norm_grad(
        g, x, mean, var, weight, eps=eps, training=training
    )
    assert_is_gradient(grad_x, lambda v: forward(v, weight, bias), x, g)
    assert_is_gradient(grad_weight, lambda v: forward(x, v, bias), weight, g)
    assert_is_gradient(grad_bias, lambda v: forward(x, weight, v), bias, g)
    without = ref.batch_norm_grad(g, x, mean, var, eps=eps, training=training)[0]
    assert_is_gradient(without, lambda v: forward(v, None, None), x, g)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_its_logarithm_along_any_axis(axis, rng):
    x = rng.standard_normal((2, 3, 4))
    exp = np.exp(x)
    expected = exp / exp.sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(ref.softmax(x, axis), expected, rtol=1e-12)
    np.testing.assert_allclose(ref.log_softmax(x, axis), np.log(expected), rtol=1e-12)


def test_cross_entropy_of_known_probabilities():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    losses = ref.cross_entropy(logits, np.array([1, 2]))
    np.testing.assert_allclose(losses, [np.log(4.0), -np.log(0.8)], rtol=1e-12)


def test_cross_entropy_gradient_agrees_with_central_differences(rng):
    logits, target, g = rng.standard_normal((4, 5)), rng.integers(0, 5, 4), rng.standard_normal(4)
    grad = ref.cross_entropy_grad(g, logits, target)
    assert_is_gradient(grad, lambda v: ref.cross_entropy(v, target), logits, g)


def every_result(x, weight, dtype):
    """All results of all reference kernels, on inputs of one dtype."""
    x, weight = x.astype(dtype), weight.astype(dtype)
    channel, target = np.ones(x.shape[1], dtype), np.zeros(len(x), np.int64)
    out = ref.conv2d(x, weight, np.ones(len(weight), dtype), padding=1)
    pooled, indices = ref.max_pool2d(x, 2)
    bins = ref.adaptive_avg_pool2d(x, 3)
    mean, var = ref.batch_norm_stats(x)
    logits = x.reshape(len(x), -1) if len(x) else np.zeros((0, 3), dtype)
    losses = ref.cross_entropy(logits, target)
    return [
        out,
        ref.conv2d_grad_input(out, weight, x.shape, padding=1),
        ref.conv2d_grad_weight(out, x, weight.shape, padding=1),
        pooled,
        ref.max_pool2d_grad_input(pooled, indices, x.shape),
        ref.max_pool2d_gather(x, indices),
        ref.avg_pool2d(x, 2),
        ref.avg_pool2d_grad_input(pooled, x.shape, 2),
        bins,
        ref.adaptive_avg_pool2d_grad_input(bins, x.shape),
        mean,
        var,
        ref.batch_norm(x, mean, var, channel, channel),
        *ref.batch_norm_grad(x, x, mean, var, channel),
        ref.softmax(logits),
        ref.log_softmax(logits),
        losses,
        ref.cross_entropy_grad(losses, logits, target),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_reference_kernel_keeps_the_dtype(dtype, rng):
    x, weight = rng.standard_normal((2, 2, 4, 4)), rng.standard_normal((3, 2, 3, 3))
    assert {result.dtype for result in every_result(x, weight, dtype)} == {np.dtype(dtype)}


def test_every_reference_kernel_takes_an_empty_batch(rng):
    results = every_result(np.zeros((0, 2, 4, 4)), rng.standard_normal((3, 2, 3, 3)), np.float64)
    assert [result.shape for result in results[:2]] == [(0, 3, 4, 4), (0, 2, 4, 4)]
    assert all((result == 0).all() for result in results)
