"""What a kernel tells the cut into chunks: the bytes that one image takes in its work."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minires.kernels import im2col, norm, shifted

N, C, H, W = 3, 4, 7, 6
C_OUT, GROUPS, KH, KW = 10, 2, 3, 2
PADDING, DILATION = (2, 1), (1, 2)
OH, OW, WP = H + 2 * 2 - 2, W + 2 * 1 - 2, W + 2 * 1  # at stride 1
X = np.ones((N, C, H, W))
WEIGHT = np.ones((C_OUT, C // GROUPS, KH, KW))
GRAD_OUT = np.ones((N, C_OUT, OH, OW))
HOW = {"padding": PADDING, "dilation": DILATION, "groups": GROUPS}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(images, bytes each) of every cut into chunks."""
    seen: list[tuple[int, int]] = []

    def map_chunks(work: Any, count: int, bytes_each: int, **options: Any) -> list[Any]:
        seen.append((count, bytes_each))
        return [work(slice(0, count))]

    for module in (im2col, norm, shifted):
        monkeypatch.setattr(module, "map_chunks", map_chunks)
    return seen


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("module", "numbers"),
    [
        (im2col, OH * OW * (C * KH * KW + C_OUT)),  # the columns and the output
        (shifted, OH * WP * (C * KH + 2 * C_OUT)),  # the stacked rows, and two wide outputs
    ],
    ids=["im2col", "shifted"],
)
def test_the_three_convolutions_count_what_one_image_is_made_into(
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
    # As a convolution: C_OUT channels in, C out, on rows of OW and dilation*(KW-1) - padding twice.
    shifted.conv2d_grad_input(GRAD_OUT, WEIGHT, X.shape, padding=(2, 1), dilation=(1, 2), groups=2)
    columns, rows = OH * OW * (C * KH * KW + C_OUT), H * (OW + 2) * (C_OUT * KH + 2 * C)
    assert asked == [(N, columns * 8), (N, rows * 8)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_norm_counts_two_images_forward_and_four_backward(
    asked: list[tuple[int, int]], dtype: Any
) -> None:
    x = np.random.default_rng(0).standard_normal((N, C, H, W)).astype(dtype)
    image = C * H * W * np.dtype(dtype).itemsize
    mean, var = norm.batch_norm_stats(x)
    norm.batch_norm(x, mean, var)
    norm.batch_norm_grad(x, x, mean, var)
    assert asked == [(N, 2 * image), (N, 2 * image), (N, 4 * image), (N, 4 * image)]
