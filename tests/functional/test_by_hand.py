"""Rare combinations of arguments, held against the formula of the docstring, written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.errors import ShapeError


def log_probabilities(x: np.ndarray) -> np.ndarray:
    """Along the dimension of the classes, the second."""
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 2, 2)])
def test_cross_entropy_of_probabilities_weighs_classes_and_smooths(
    shape: tuple[int, ...], smoothing: float
) -> None:
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal(shape), rng.random(shape)
    weight = np.array([0.5, 2.0, 3.0])
    shares = (1.0 - smoothing) * target + smoothing / 3
    along = weight.reshape(1, 3, *(1 for _ in shape[2:]))
    for w, factor in ((None, 1.0), (weight, along)):
        losses = -(factor * shares * log_probabilities(x)).sum(axis=1)
        for reduction, wanted in (("none", losses), ("sum", losses.sum()), ("mean", losses.mean())):
            found = F.cross_entropy(x, target, w, reduction=reduction, label_smoothing=smoothing)
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_cross_entropy_of_one_row_of_probabilities_weighs_its_classes() -> None:
    x, target = np.array([1.0, -1.0, 0.5]), np.array([0.2, 0.3, 0.5])
    weight = np.array([0.5, 2.0, 3.0])
    logarithms = log_probabilities(x[None])[0]
    for smoothing in (0.0, 0.4):
        shares = (1.0 - smoothing) * target + smoothing / 3
        found = F.cross_entropy(x, target, weight, label_smoothing=smoothing)
        assert found == pytest.approx(-(weight * shares * logarithms).sum(), rel=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2)])
def test_cross_entropy_of_an_empty_batch_sums_to_0_and_has_no_mean(shape: tuple[int, ...]) -> None:
    x, target = mr.zeros(*shape), np.zeros((0, *shape[2:]), np.int64)
    options: dict[str, Any] = {"weight": mr.ones(3), "label_smoothing": 0.1}
    assert F.cross_entropy(x, target, **options, reduction="sum").item() == 0.0
    assert F.cross_entropy(x, target, **options, reduction="none").shape == target.shape
    assert np.isnan(F.cross_entropy(x, target, **options).item())


def painted(
    x: np.ndarray, weight: np.ndarray, stride: Any, padding: Any, extra: Any, dilation: Any
) -> np.ndarray:
    """conv_transpose2d of one group, pixel by pixel on a canvas that is cropped at the end."""
    (N, _, H, W), (_, C_out, KH, KW) = x.shape, weight.shape
    (SH, SW), (DH, DW) = stride, dilation
    rows, cols = (H - 1) * SH + (KH - 1) * DH + 1, (W - 1) * SW + (KW - 1) * DW + 1
    canvas = np.zeros((N, C_out, rows + extra[0], cols + extra[1]))
    for h, w, kh, kw in np.ndindex(H, W, KH, KW):
        canvas[:, :, h * SH + kh * DH, w * SW + kw * DW] += x[:, :, h, w] @ weight[:, :, kh, kw]
    return canvas[
        :, :, padding[0] : canvas.shape[2] - padding[0], padding[1] : canvas.shape[3] - padding[1]
    ]


@pytest.mark.parametrize("extra", [(0, 0), (1, 0), (2, 4), (0, 4), (3, 1)])
@pytest.mark.parametrize("padding", [(0, 2), (2, 1), (3, 0)])
@pytest.mark.parametrize("stride", [(1, 2), (2, 5)])
def test_a_transposed_convolution_paints_each_pixel_whatever_rows_it_adds(
    stride: tuple[int, int], padding: tuple[int, int], extra: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 4, 3)), rng.standard_normal((3, 2, 2, 3))
    how: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": (4, 5)}
    out = F.conv_transpose2d(x, weight, **how, output_padding=extra)
    wanted = painted(x, weight, stride, padding, extra, (4, 5))
    assert out.shape == wanted.shape
    np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-12)


def test_a_result_that_no_memory_holds_is_not_called_a_mismatch_of_shapes() -> None:
    column = np.broadcast_to(np.ones(()), (1 << 32, 1))
    for operation in (F.add, F.mul, F.maximum):
        with pytest.raises((ValueError, MemoryError), match=r"too (large|big)|allocate") as caught:
            operation(column, column.T)
        assert not isinstance(caught.value, ShapeError)
