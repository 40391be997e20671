"""The shape arithmetic that reference and fast kernels share."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import DTypeError, MiniresError, ShapeError, UsageError
from minires.kernels.checks import (
    check_batch_norm,
    check_cross_entropy,
    check_grad_out,
    check_indices,
)
from minires.kernels.geometry import (
    adaptive_bins,
    check_adaptive_pool2d,
    check_conv2d,
    check_pool2d,
    conv_output_size,
    pair,
    pool_output_size,
    window_counts,
)

X = np.zeros((8, 3, 32, 32), np.float32)
axis_settings = {
    "size": st.integers(1, 12),
    "kernel": st.integers(1, 5),
    "stride": st.integers(1, 5),
    "padding": st.integers(0, 3),
    "dilation": st.integers(1, 3),
}


@pytest.mark.parametrize("value", [3, (3, 3), [3, 3], np.int64(3), (np.int32(3), 3)])
def test_pair_takes_a_number_or_two_and_returns_plain_ints(value):
    rows, cols = pair(value, "stride")
    assert (rows, cols) == (3, 3)
    assert type(rows) is int
    assert type(cols) is int


@pytest.mark.parametrize(
    "value", [1.5, "3", "33", True, None, (1,), (1, 2, 3), (1, 2.0), (1, None)]
)
def test_pair_refuses_anything_else_and_names_the_argument(value):
    with pytest.raises(UsageError, match="stride must be a whole number or a pair"):
        pair(value, "stride")


@settings(deadline=None, max_examples=100)
@given(**axis_settings)
def test_convolution_output_size_counts_the_places_where_the_kernel_fits(
    size, kernel, stride, padding, dilation
):
    reach = dilation * (kernel - 1) + 1
    starts = range(0, size + 2 * padding - reach + 1, stride)
    got = conv_output_size(size, kernel, stride, padding, dilation)
    assert max(0, got) == len(starts)
    assert pool_output_size(size, kernel, stride, padding, dilation, ceil_mode=False) == got


@settings(deadline=None, max_examples=100)
@given(**axis_settings)
def test_ceil_mode_adds_a_window_only_where_something_is_left_over_and_it_starts_before_the_end(
    size, kernel, stride, padding, dilation
):
    padding = min(padding, kernel // 2)
    reach, padded = dilation * (kernel - 1) + 1, size + 2 * padding
    if reach > padded:
        return
    count = 1
    while (count - 1) * stride + reach < padded and count * stride < size + padding:
        count += 1
    assert pool_output_size(size, kernel, stride, padding, dilation, ceil_mode=True) == count


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 15), bins=st.integers(1, 15))
def test_adaptive_bins_cover_the_axis_in_order_and_are_never_empty(size, bins):
    spans = adaptive_bins(size, bins)
    assert len(spans) == bins
    assert spans[0][0] == 0
    assert spans[-1][1] == size
    assert all(start < end for start, end in spans)
    assert all(b[0] <= a[1] for a, b in itertools.pairwise(spans))


def test_window_counts_include_padding_but_never_what_lies_beyond_it():
    shape = (1, 1, 4, 5)
    window = check_pool2d("avg_pool2d", shape, (3, 2), (2, 2), (1, 0), ceil_mode=True)
    rows, cols = window_counts(window, shape, include_pad=True)
    assert rows.tolist() == [3, 3, 2]  # the last covers rows 3, padding 4, and nothing
    assert cols.tolist() == [2, 2, 1]
    rows, cols = window_counts(window, shape, include_pad=False)
    assert rows.tolist() == [2, 3, 1]
    assert cols.tolist() == [2, 2, 1]


def test_check_conv2d_returns_the_output_size_with_settings_that_differ_by_axis():
    size = check_conv2d(
        (2, 4, 10, 20), (6, 2, 3, 5), (6,), stride=(1, 2), padding=(0, 2), dilation=(2, 1), groups=2
    )
    assert size == (6, 10)


def test_check_conv2d_shows_both_shapes_when_channels_differ():
    with pytest.raises(ShapeError) as caught:
        check_conv2d(X, np.zeros((16, 16, 3, 3), np.float32))
    assert str(caught.value) == (
        "conv2d: x has 3 channels but weight expects 16.\n"
        "  x: (8, 3, 32, 32) float32    weight: (16, 16, 3, 3) float32\n"
        "  Check in_channels of this layer."
    )


@pytest.mark.parametrize(
    ("x", "weight", "arguments", "kind", "message"),
    [
        ((3, 8, 8), (4, 3, 3, 3), {}, ShapeError, r"x must be \(N, C, H, W\).*\n.*\n.*x\[None\]"),
        ((3, 8), (4, 3, 3, 3), {}, ShapeError, r"x must be \(N, C, H, W\), but has 2 axes"),
        ((1, 3, 8, 8), (4, 3, 3), {}, ShapeError, r"weight must be \(C_out, C/groups, KH, KW\)"),
        ((1, 3, 8, 8), (4, 3, 0, 3), {}, ShapeError, r"weight must be"),
        ((1, 4, 8, 8), (4, 4, 3, 3), {"groups": 2}, ShapeError, r"expects 8 \(2 groups of 4\)"),
        ((1, 4, 8, 8), (3, 2, 3, 3), {"groups": 2}, ShapeError, "2 groups cannot share"),
        ((1, 4, 8, 8), (4, 4, 3, 3), {"groups": 0}, UsageError, "groups must be"),
        ((1, 4, 8, 8), (4, 4, 3, 3), {"groups": 1.0}, UsageError, "groups must be"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"bias": (3,)}, ShapeError, r"bias must have .* \(4,\)"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"stride": 0}, UsageError, "stride must be 1 or more"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"padding": (0, -1)}, UsageError, "padding must be 0 or more"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"dilation": 0}, UsageError, "dilation must be 1 or more"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {"padding": "same"}, UsageError, "padding must be a whole"),
        ((1, 3, 4, 9), (4, 3, 3, 3), {"dilation": 3}, ShapeError, "spans 7 x 7, but .* 4 x 9"),
    ],
)
def test_check_conv2d_names_what_is_wrong(x, weight, arguments, kind, message):
    with pytest.raises(kind, match=r"(?s)^conv2d: .*" + message):
        check_conv2d(x, weight, **arguments)


def test_check_conv2d_names_the_operation_it_was_called_for():
    with pytest.raises(ShapeError, match=r"^conv2d_grad_weight: x has 3 channels"):
        check_conv2d(X, (4, 2, 3, 3), operation="conv2d_grad_weight")


def test_check_pool2d_resolves_every_setting():
    window = check_pool2d("max_pool2d", X, (3, 2), padding=(1, 0), dilation=(1, 2))
    assert window.kernel == window.stride == (3, 2)
    assert window.padding == (1, 0)
    assert window.dilation == (1, 2)
    assert window.out == (11, 15)


@pytest.mark.parametrize(
    ("x", "arguments", "kind", "message"),
    [
        ((3, 8, 8), {"kernel_size": 2}, ShapeError, r"x must be \(N, C, H, W\)"),
        ((1, 1, 8, 8), {"kernel_size": 3, "padding": 2}, UsageError, "more than half of kernel_s"),
        ((1, 1, 8, 8), {"kernel_size": 1, "padding": (1, 0)}, UsageError, "more than half of"),
        ((1, 1, 8, 8), {"kernel_size": 1, "padding": (0, 1)}, UsageError, "more than half of"),
        ((1, 1, 8, 8), {"kernel_size": 0}, UsageError, "kernel_size must be 1 or more"),
        ((1, 1, 8, 8), {"kernel_size": 2, "stride": 0}, UsageError, "stride must be 1 or more"),
        ((1, 1, 2, 8), {"kernel_size": 3}, ShapeError, "spans 3 x 3, but .* 2 x 8"),
        ((1, 1, 0, 8), {"kernel_size": 2}, ShapeError, "spans 2 x 2, but .* 0 x 8"),
        ((1, 1, 8, 8), {"kernel_size": 2, "divisor_override": 0}, UsageError, "must not be 0"),
        (
            (1, 1, 2, 8),
            {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 3},
            ShapeError,
            "sees nothing but padding",
        ),
    ],
)
def test_check_pool2d_names_what_is_wrong(x, arguments, kind, message):
    with pytest.raises(kind, match=r"(?s)^max_pool2d: .*" + message):
        check_pool2d("max_pool2d", x, **arguments)


@pytest.mark.parametrize(
    ("output_size", "expected"),
    [(7, (7, 7)), ((2, 3), (2, 3)), ((None, 3), (32, 3)), (None, (32, 32)), ([1, None], (1, 32))],
)
def test_adaptive_output_size_may_keep_an_axis(output_size, expected):
    assert check_adaptive_pool2d(X, output_size) == expected


@pytest.mark.parametrize(
    ("x", "output_size"), [(X, 0), (X, (1, 2, 3)), (X, 1.5), (X[0], 1), (X[:, :, :0], 1)]
)
def test_adaptive_output_size_is_checked(x, output_size):
    with pytest.raises(MiniresError, match="adaptive_avg_pool2d: "):
        check_adaptive_pool2d(x, output_size)


def test_a_gradient_must_have_the_shape_of_its_output():
    check_grad_out("conv2d_grad_input", X, (8, 3, 32, 32))
    with pytest.raises(ShapeError, match=r"conv2d_grad_input: .* \(8, 3, 16, 16\)"):
        check_grad_out("conv2d_grad_input", X, (8, 3, 16, 16))


def test_indices_must_be_whole_numbers_for_the_same_planes():
    check_indices("max_pool2d_gather", X, np.zeros((8, 3, 2, 2), np.int64))
    with pytest.raises(ShapeError, match="differ in batch or channels"):
        check_indices("max_pool2d_gather", X, np.zeros((8, 4, 2, 2), np.int64))
    with pytest.raises(DTypeError, match="must be whole numbers"):
        check_indices("max_pool2d_gather", X, np.zeros((8, 3, 2, 2)))


def test_batch_norm_wants_one_value_per_channel():
    check_batch_norm(X, mean=np.zeros(3), weight=None)
    with pytest.raises(ShapeError, match=r"x has 3 channels, so var must be \(3,\)"):
        check_batch_norm(X, mean=np.zeros(3), var=np.zeros(4))
    with pytest.raises(ShapeError, match=r"x must be \(N, C, ...\)"):
        check_batch_norm(np.zeros(3))


@pytest.mark.parametrize(
    ("logits", "target", "kind", "message"),
    [
        ((2, 3), [0, 3], ShapeError, "target holds class 3, but logits has 3 classes, 0 to 2"),
        ((2, 3), [-1, 0], ShapeError, "target holds class -1"),
        ((2, 3), [0.0, 1.0], DTypeError, "target must hold whole numbers"),
        ((2, 3), [0, 1, 2], ShapeError, r"logits must be \(N, C\) and target \(N,\)"),
        ((2, 3, 1), [0, 1], ShapeError, r"logits must be \(N, C\) and target \(N,\)"),
    ],
)
def test_cross_entropy_names_what_is_wrong(logits, target, kind, message):
    with pytest.raises(kind, match=message):
        check_cross_entropy(np.zeros(logits), np.array(target), -100)
