"""What a kernel tells the cut into chunks: the bytes that one image takes in its work."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minires.kernels import conv, im2col, norm
from minires.kernels.pieces import Piece, cut, once_a_share
from minires.kernels.shifted import Reading, images_together, working_set

N, C, H, W = 3, 4, 7, 6
C_OUT, GROUPS, KH, KW = 10, 2, 3, 2
PADDING, DILATION = (2, 1), (1, 2)
OH, OW = H + 2 * 2 - 2, W + 2 * 1 - 2  # at stride 1
X = np.ones((N, C, H, W))
WEIGHT = np.ones((C_OUT, C // GROUPS, KH, KW))
GRAD_OUT = np.ones((N, C_OUT, OH, OW))
HOW = {"padding": PADDING, "dilation": DILATION, "groups": GROUPS}

COLUMNS = OH * OW * (C * KH * KW + C_OUT)  # the columns and the output
ROWS = OW * (C * KW * (OH + KH - 1) + 2 * C_OUT * OH)  # the unfolded rows, a sum and a product


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(images, bytes each) of every cut into chunks."""
    seen: list[tuple[int, int]] = []

    def map_chunks(work: Any, count: int, bytes_each: int, **options: Any) -> list[Any]:
        seen.append((count, bytes_each))
        return [work(slice(0, count))]

    def chunks(count: int, bytes_each: int) -> list[slice]:
        seen.append((count, bytes_each))
        return [slice(0, count)]

    def cut(count: int, bytes_each: int, products: int, channels: int) -> list[Piece]:
        seen.append((count, bytes_each))
        return [Piece(slice(0, count), number=0, shares=1)]

    for module in (im2col, norm):
        monkeypatch.setattr(module, "map_chunks", map_chunks)
    monkeypatch.setattr(norm, "chunks", chunks)
    monkeypatch.setattr(conv, "cut", cut)
    return seen


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("module", "numbers"), [(im2col, COLUMNS), (conv, ROWS)], ids=["im2col", "conv"]
)
def test_forward_and_by_weight_count_what_one_image_is_made_into(
    asked: list[tuple[int, int]], module: ModuleType, numbers: int, dtype: Any
) -> None:
    x, weight, grad_out = (array.astype(dtype) for array in (X, WEIGHT, GRAD_OUT))
    assert module.conv2d(x, weight, **HOW).shape == grad_out.shape
    module.conv2d_grad_weight(grad_out, x, weight.shape, **HOW)
    assert asked == [(N, numbers * np.dtype(dtype).itemsize)] * 2


def test_the_gradient_by_the_input_counts_the_columns_or_is_a_convolution_of_grad_out(
    asked: list[tuple[int, int]],
) -> None:
    im2col.conv2d_grad_input(GRAD_OUT, WEIGHT, X.shape, **HOW)
    conv.conv2d_grad_input(GRAD_OUT, WEIGHT, X.shape, **HOW)
    rows = W * (C_OUT * KW * (H + KH - 1) + 2 * C * H)  # C_OUT channels in, C out
    assert asked == [(N, COLUMNS * 8), (N, rows * 8)]
    del asked[:]
    conv.conv2d_grads(GRAD_OUT, X, WEIGHT, **HOW)
    assert asked == [(N, rows * 8)]


def test_with_a_stride_rows_of_the_same_remainder_share_a_buffer(
    asked: list[tuple[int, int]],
) -> None:
    conv.conv2d(X, WEIGHT[:, :, :, :1], stride=2, groups=GROUPS)  # rows 0 and 2; row 1 alone
    out_rows, out_columns = 3, 3
    rows = out_columns * (C * (out_rows + 1) + 2 * C_OUT * out_rows)
    assert asked == [(N, rows * 8)]


def test_outputs_that_no_kernel_row_reaches_need_no_buffer() -> None:
    nowhere = Reading((), (0,), 1, 1)
    assert working_set(C, C_OUT, nowhere, OH, OW) == 2 * C_OUT * OH * OW


def test_with_a_stride_the_gradient_by_the_input_counts_the_largest_of_its_convolutions(
    asked: list[tuple[int, int]],
) -> None:
    """Of 7 x 5 pixels 4 x 3 have even rows and columns: they are reached by 2 x 2 of 3 x 3 taps."""
    x_shape, weight = (N, C, 7, 5), np.ones((C_OUT, C, 3, 3))
    conv.conv2d_grad_input(np.ones((N, C_OUT, 3, 2)), weight, x_shape, stride=2)
    rows = 3 * (C_OUT * 2 * (4 + 1) + 2 * C * 4)
    assert asked == [(N, rows * 8)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_norm_counts_half_of_two_images_forward_and_of_four_backward(
    asked: list[tuple[int, int]], dtype: Any
) -> None:
    x = np.random.default_rng(0).standard_normal((N, C, H, W)).astype(dtype)
    image = C * H * W * np.dtype(dtype).itemsize
    mean, var = norm.batch_norm_stats(x)
    norm.batch_norm(x, mean, var)
    norm.batch_norm_train(x)
    norm.batch_norm_grad(x, x, mean, var)
    assert asked == [(N, image), (N, image), (N, image), (N, 2 * image)]


def test_a_convolution_tells_the_cut_its_products_and_the_channels_of_a_group_that_it_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []

    def cut(count: int, bytes_each: int, products: int, channels: int) -> list[Piece]:
        told.append((products, channels))
        return [Piece(slice(0, count), number=0, shares=1)]

    monkeypatch.setattr(conv, "cut", cut)
    conv.conv2d(X, WEIGHT, **HOW)
    conv.conv2d_grad_weight(GRAD_OUT, X, WEIGHT.shape, **HOW)
    conv.conv2d_grad_input(GRAD_OUT, WEIGHT, X.shape, **HOW)
    conv.conv2d_grads(GRAD_OUT, X, WEIGHT, **HOW)
    products = N * C_OUT * OH * OW * (C // GROUPS) * KH * KW
    by_filter, by_channel = C_OUT // GROUPS, C // GROUPS
    assert told == [
        (products, by_filter),
        (products, by_filter),
        (products, by_channel),
        (2 * products, by_channel),
    ]


def shared(count: int, bytes_each: int, products: int, channels: int) -> tuple[int, int]:
    """Chunks of the batch, and shares of the filters."""
    pieces = cut(count, bytes_each, products, channels)
    return len({piece.images.start for piece in pieces}), pieces[0].shares


MEGABYTE, MILLION = 1 << 20, 1_000_000


def test_filters_are_shared_out_where_few_chunks_have_much_to_multiply() -> None:
    assert shared(4, MEGABYTE // 2, 400 * MILLION, 512) == (1, 4)
    assert shared(4, 2 * MEGABYTE, 400 * MILLION, 512) == (2, 2)
    assert shared(4, 3 * MEGABYTE, 400 * MILLION, 512) == (4, 1)
    assert shared(64, MEGABYTE, 9000 * MILLION, 64) == (16, 1)
    assert shared(4, MEGABYTE // 2, 400 * MILLION, 64) == (1, 4)


def test_little_work_and_few_channels_stay_together() -> None:
    assert shared(4, MEGABYTE // 2, 1 * MILLION, 512) == (1, 1)
    assert shared(4, MEGABYTE // 2, 60 * MILLION, 512) == (1, 2)
    assert shared(4, MEGABYTE // 2, 400 * MILLION, 47) == (1, 2)
    assert shared(4, MEGABYTE // 2, 400 * MILLION, 8) == (1, 1)
    assert shared(4, 2 * MEGABYTE, 75 * MILLION, 512) == (2, 1)  # 37 million in each chunk
    assert cut(0, MEGABYTE, 0, 8) == []


def test_the_shares_cover_the_channels_once_and_are_even() -> None:
    for channels in (64, 65, 70):
        pieces = cut(4, MEGABYTE // 2, 400 * MILLION, channels)
        bounds = [(piece.share(channels).start, piece.share(channels).stop) for piece in pieces]
        assert [start for start, _ in bounds[1:]] == [stop for _, stop in bounds[:-1]]
        assert (bounds[0][0], bounds[-1][1]) == (0, channels)
        sizes = [stop - start for start, stop in bounds]
        assert max(sizes) - min(sizes) <= 1


def test_weights_are_made_once_for_each_share() -> None:
    made: list[slice] = []

    def make(share: slice) -> np.ndarray:
        made.append(share)
        return np.arange(10)[share]

    weights = once_a_share(make)
    for share in (slice(0, 5), slice(5, 10), slice(0, 5)):
        np.testing.assert_array_equal(weights(share), np.arange(10)[share])
    assert made == [slice(0, 5), slice(5, 10)]


@pytest.mark.parametrize(
    ("C", "M", "size", "kernel", "together"),
    [
        (8, 8, 8, 3, False),
        (16, 16, 4, 3, True),
        (32, 32, 2, 3, True),
        (16, 16, 32, 3, False),
        (64, 64, 8, 3, False),
        (64, 64, 28, 3, False),
        (512, 512, 7, 3, True),
        (512, 512, 4, 3, True),
        (64, 256, 14, 1, False),
        (256, 128, 7, 1, False),
    ],
)
def test_images_lie_together_where_that_was_measured_to_be_faster(
    C: int, M: int, size: int, kernel: int, together: bool
) -> None:
    """The clear cases of tests/proofs/cost_model.py: 15% or more between the two ways."""
    places = size * size
    weights = C * M * kernel * kernel
    assert images_together((C + M) * places, kernel, weights) == together
