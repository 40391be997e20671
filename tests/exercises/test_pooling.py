"""The exercises on pooling: right attempts of several styles pass, and wrong ones hear why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import kernels
from minires.exercises import pooling


def loops(
    x: Any, kernel_size: int, stride: int, padding: int, *, later: bool = False, fill: Any = None
) -> Any:
    N, C, H, W = x.shape
    OH, OW = ((size + 2 * padding - kernel_size) // stride + 1 for size in (H, W))
    out, indices = np.zeros((N, C, OH, OW)), np.zeros((N, C, OH, OW), int)
    for n, c, oh, ow in np.ndindex(out.shape):
        best = -np.inf
        for kh, kw in np.ndindex(kernel_size, kernel_size):
            h, w = oh * stride - padding + kh, ow * stride - padding + kw
            inside = 0 <= h < H and 0 <= w < W
            if not inside and fill is None:
                continue
            value = x[n, c, h, w] if inside else fill
            if value > best or (later and value == best):
                best = value
                out[n, c, oh, ow], indices[n, c, oh, ow] = value, h * W + w
    return out, indices


def vectorised(x: Any, kernel_size: int, stride: int, padding: int) -> Any:
    W = x.shape[3]
    padded = np.pad(x, ((0, 0), (0, 0)) + 2 * ((padding, padding),), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * (kernel_size,), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    flat = windows.reshape(*windows.shape[:4], -1)
    kh, kw = np.divmod(flat.argmax(-1), kernel_size)
    oh, ow = np.indices(flat.shape[2:4])
    rows, cols = oh * stride - padding + kh, ow * stride - padding + kw
    return [mr.tensor(flat.max(-1).astype(np.float32)), (rows * W + cols).tolist()]


def with_indices(change: Any) -> Any:
    def attempt(x: Any, kernel_size: int, stride: int, padding: int) -> Any:
        out, indices = kernels.max_pool2d(x, kernel_size, stride, padding)
        return out, change(indices, x, kernel_size, stride, padding)

    return attempt


def in_window(indices: Any, x: Any, k: int, s: int, p: int) -> Any:
    h, w = np.divmod(indices, x.shape[3])
    oh, ow = np.indices(indices.shape[2:])
    return (h + p - oh * s) * k + (w + p - ow * s)


def in_all_planes(indices: Any, x: Any, *how: int) -> Any:
    N, C, H, W = x.shape
    return indices + np.arange(N * C).reshape(N, C, 1, 1) * H * W


def max_as_in_the_notebook(x: Any, kernel_size: int, stride: int, padding: int) -> Any: ...


def test_max_pooling() -> None:
    assert pooling.max_with_indices(max_as_in_the_notebook).status == "not yet"
    seen = pooling.max_with_indices(loops)
    assert seen.passed
    assert "gives 4 with yours" in seen.message
    assert "NaN with yours" in pooling.max_with_indices(vectorised).message
    assert pooling.max_with_indices(vectorised).passed
    assert pooling.max_with_indices(kernels.max_pool2d).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda *a: loops(*a, fill=0.0), "A padding of zeros wins"),
        (lambda *a: loops(*a, later=True), "Of equal numbers the last wins here"),
        (with_indices(in_window), "count from the corner of the window"),
        (with_indices(in_all_planes), "count on through all planes"),
        (lambda *a: loops(*a)[0], "Return a pair (out, indices), not a ndarray"),
        (lambda x, k, s, p: kernels.max_pool2d(x, k, 1, p), "windows along an axis"),
    ],
)
def test_max_pooling_gone_wrong(attempt: Any, told: str) -> None:
    verdict = pooling.max_with_indices(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def scatter_loops(grad_out: Any, indices: Any, x_shape: Any) -> Any:
    grad_x = np.zeros(x_shape, np.float32)
    W = x_shape[3]
    for n, c, oh, ow in np.ndindex(grad_out.shape):
        h, w = divmod(indices[n, c, oh, ow], W)
        grad_x[n, c, h, w] += grad_out[n, c, oh, ow]
    return grad_x


def scatter_at(grad_out: Any, indices: Any, x_shape: Any) -> Any:
    N, C, H, W = x_shape
    grad_x = np.zeros((N * C, H * W))
    plane = np.arange(N * C)[:, None]
    np.add.at(grad_x, (plane, indices.reshape(N * C, -1)), grad_out.reshape(N * C, -1))
    return grad_x.reshape(x_shape)


def scatter_overwriting(grad_out: Any, indices: Any, x_shape: Any) -> Any:
    N, C, H, W = x_shape
    grad_x = np.zeros((N * C, H * W))
    plane = np.arange(N * C)[:, None]
    grad_x[plane, indices.reshape(N * C, -1)] += grad_out.reshape(N * C, -1)
    return grad_x.reshape(x_shape)


def scatter_into_one_plane(grad_out: Any, indices: Any, x_shape: Any) -> Any:
    grad_x = np.zeros(x_shape)
    np.add.at(grad_x.reshape(-1), indices.ravel(), grad_out.ravel())
    return grad_x


def scatter_into_one_channel(grad_out: Any, indices: Any, x_shape: Any) -> Any:
    grad_x = np.zeros(x_shape)
    for n, c, oh, ow in np.ndindex(grad_out.shape):
        grad_x.reshape(x_shape[0], -1)[n, indices[n, c, oh, ow]] += grad_out[n, c, oh, ow]
    return grad_x


def scatter_as_in_the_notebook(grad_out: Any, indices: Any, x_shape: Any) -> Any: ...


def test_the_way_back_of_max_pooling() -> None:
    assert pooling.scatter(scatter_as_in_the_notebook).status == "not yet"
    assert pooling.scatter(scatter_loops).passed
    assert pooling.scatter(scatter_at).passed
    assert pooling.scatter(lambda *a: mr.tensor(scatter_at(*a))).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (scatter_overwriting, "the last one overwrites the others"),
        (scatter_into_one_plane, "all planes end up in the first one"),
        (scatter_into_one_channel, "all channels of an image end up in its first one"),
        (lambda g, i, shape: g, "should have the shape (2, 3, 5, 4)"),
    ],
)
def test_the_way_back_of_max_pooling_gone_wrong(attempt: Any, told: str) -> None:
    verdict = pooling.scatter(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


RIGHT = [[0, 11, 0], [100, 0, 1000], [0, 0, 0]]


def test_ties_on_paper() -> None:
    assert pooling.ties(...).status == "not yet"
    assert pooling.ties(RIGHT).passed
    x = mr.tensor([[[[2.0, 5.0, 5.0], [5.0, 1.0, 5.0], [0.0, 5.0, 3.0]]]], requires_grad=True)
    F.max_pool2d(x, 2, 1).backward(mr.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]]))
    assert x.grad is not None
    assert pooling.ties(x.grad[0, 0]).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        ([[0, 10, 0], [100, 0, 1000], [0, 0, 0]], "Their gradients add up"),
        ([[0, 0, 0], [1, 0, 10], [0, 1100, 0]], "the last of the equal numbers wins"),
        (
            [[0, 0.5 + 10 / 3, 10 / 3], [50.5, 0, 10 / 3 + 500], [0, 550, 0]],
            "equal numbers share the gradient",
        ),
        (
            [[0, 11, 10], [101, 0, 1010], [0, 1100, 0]],
            "each of the equal numbers gets the whole gradient",
        ),
        ([1, 2, 3], "should have the shape (3, 3)"),
    ],
)
def test_ties_on_paper_gone_wrong(attempt: Any, told: str) -> None:
    verdict = pooling.ties(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def counts(size: int, k: int, s: int, p: int, windows: int, count_include_pad: bool) -> Any:
    found = []
    for i in range(windows):
        low, high = (-p, size + p) if count_include_pad else (0, size)
        found.append(sum(low <= i * s - p + tap < high for tap in range(k)))
    return found


def counts_at_once(size: int, k: int, s: int, p: int, windows: int, pad: bool) -> Any:
    start = np.arange(windows) * s - p
    edge = p if pad else 0
    return np.minimum(start + k, size + edge) - np.maximum(start, -edge)


def counts_as_in_the_notebook(size: Any, k: Any, s: Any, p: Any, windows: Any, pad: Any) -> Any: ...


def test_divisors() -> None:
    assert pooling.divisors(counts_as_in_the_notebook).status == "not yet"
    assert pooling.divisors(counts).passed
    assert pooling.divisors(counts_at_once).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda size, k, s, p, n, pad: [k] * n, "hangs over beyond the padding counts too"),
        (lambda *a: counts(*a[:5], True), "only places inside the image count"),
        (lambda *a: counts(*a[:5], False), "the padded zeros count like other numbers"),
        (lambda *a: counts(*a)[0], "should have the shape (3,)"),
    ],
)
def test_divisors_gone_wrong(attempt: Any, told: str) -> None:
    verdict = pooling.divisors(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def spread(grad_out: Any, x_shape: Any) -> Any:
    H, W = x_shape[2:]
    return np.broadcast_to(grad_out[:, :, None, None] / (H * W), x_shape)


def spread_by_loops(grad_out: Any, x_shape: Any) -> Any:
    H, W = x_shape[2:]
    return [[[[g / (H * W)] * W] * H for g in row] for row in grad_out.astype(np.float32)]


def gradient_as_in_the_notebook(grad_out: Any, x_shape: Any) -> Any: ...


def test_global_average() -> None:
    assert pooling.global_average_gradient(gradient_as_in_the_notebook).status == "not yet"
    assert pooling.global_average_gradient(spread).passed
    assert pooling.global_average_gradient(spread_by_loops).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda g, shape: spread(g, shape) * shape[2] * shape[3], "that is the way back of a sum"),
        (lambda g, shape: spread(g, shape) * shape[3], "along one axis"),
        (lambda g, shape: spread(g, shape) / shape[1], "not over all channels"),
        (lambda g, shape: spread(g, shape) / shape[0], "not over the batch too"),
        (lambda g, shape: g, "should have the shape (2, 3, 4, 5)"),
    ],
)
def test_global_average_gone_wrong(attempt: Any, told: str) -> None:
    verdict = pooling.global_average_gradient(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message
