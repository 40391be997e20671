"""Images last in memory: the same numbers, and kept so from one kernel to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.kernels import conv, elementwise, norm, parallel, pieces, reference
from minires.kernels.layout import (
    empty_beside,
    empty_images_last,
    images_first,
    lies_images_last,
    side_by_side,
)
from tests.kernels.laid_out import drawn, images_last


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3), (5, 2, 3, 4), (0, 2, 3, 4), (5, 0, 3)])
def test_an_array_made_images_last_owns_its_memory_and_lies_so(shape: tuple[int, ...]) -> None:
    x = empty_images_last(shape, np.dtype(np.float32))
    assert (x.shape, x.dtype, x.base) == (shape, np.float32, None)
    assert x.nbytes == 4 * x.size
    assert side_by_side(x).flags.c_contiguous
    assert lies_images_last(x) == (len(shape) > 1 and x.size > 0)
    assert images_first(side_by_side(x)).strides == x.strides


def test_numpys_own_arrays_do_not_lie_so_but_slices_and_what_numpy_makes_of_one_that_does() -> None:
    x = drawn(5, 2, 3, 4)
    assert not lies_images_last(x)
    assert lies_images_last(images_last(x)[:, :, ::2, ::2])
    assert lies_images_last(images_last(x) + images_last(x))
    assert lies_images_last(empty_beside(images_last(x), (7, 1, 2), np.float32))
    assert not lies_images_last(empty_beside(x, (7, 1, 2), np.float32))


HOWS: list[dict[str, Any]] = [
    {"padding": 1},
    {"padding": 0},
    {"padding": 1, "stride": 2},
    {"padding": (2, 0), "dilation": (1, 2)},
    {"padding": 1, "groups": 2},
    {"padding": 3, "stride": (3, 1), "groups": 2},
]


@pytest.mark.parametrize("chunk_bytes", [1 << 22, 1 << 12], ids=["one chunk", "several"])
@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (2, 3)], ids=str)
def test_convolutions_of_any_layout_equal_the_reference(
    kernel: tuple[int, int],
    how: dict[str, Any],
    count: int,
    chunk_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "CHUNK_BYTES", chunk_bytes)
    x, weight = drawn(count, 4, 7, 6), drawn(6, 4 // how.get("groups", 1), *kernel)
    out = reference.conv2d(x, weight, **how)
    g = drawn(*out.shape)
    grads = reference.conv2d_grads(g, x, weight, **how)
    near: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
    for lay_x in (np.array, images_last):
        found = conv.conv2d(lay_x(x), weight, **how)
        np.testing.assert_allclose(found, out, **near)
        if chunk_bytes == 1 << 22 and lay_x is images_last and count > 1:
            assert lies_images_last(found)
        for lay_g in (np.array, images_last):
            both = conv.conv2d_grads(lay_g(g), lay_x(x), weight, **how)
            alone = (
                conv.conv2d_grad_input(lay_g(g), weight, x.shape, **how),
                conv.conv2d_grad_weight(lay_g(g), lay_x(x), weight.shape, **how),
            )
            for one, other, expected in zip(both, alone, grads, strict=True):
                np.testing.assert_allclose(one, expected, **near)
                np.testing.assert_allclose(other, expected, **near)
            assert lies_images_last(both[0]) == lies_images_last(lay_g(g))


def test_shares_of_the_filters_of_images_that_lie_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PRODUCTS_WORTH_A_THREAD", 1)
    monkeypatch.setattr(pieces, "FEWEST_CHANNELS", 1)
    x, weight = drawn(3, 8, 5, 5), drawn(4, 4, 3, 3)
    how = {"padding": 1, "groups": 2}
    out = reference.conv2d(x, weight, **how)
    np.testing.assert_allclose(conv.conv2d(images_last(x), weight, **how), out, atol=1e-10)
    found = conv.conv2d_grads(images_last(out), images_last(x), weight, **how)
    for one, expected in zip(found, reference.conv2d_grads(out, x, weight, **how), strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (6, 3, 4, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_gives_what_it_got(shape: tuple[int, ...], training: bool) -> None:
    x, g = drawn(*shape), drawn(*shape[::-1]).transpose()
    mean, var = reference.batch_norm_stats(x)
    weight, bias = drawn(3), drawn(3) + 1.0
    how = {"eps": 0.1, "training": training}
    out = norm.batch_norm(images_last(x), mean, var, weight, bias, **how)
    np.testing.assert_allclose(out, reference.batch_norm(x, mean, var, weight, bias, **how))
    assert lies_images_last(out)
    for grad_out in (g, images_last(g)):
        found = norm.batch_norm_grad(grad_out, images_last(x), mean, var, weight, **how)
        expected = reference.batch_norm_grad(g, x, mean, var, weight, **how)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
        assert lies_images_last(found[0])


@pytest.mark.parametrize("size", [12, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_keeps_the_layout_and_its_gradient_takes_that_of_the_output(
    size: int, dtype: Any
) -> None:
    x, g = drawn(4, 3, size, size, dtype=dtype), drawn(4, 3, size, size, dtype=dtype)[::-1]
    out = elementwise.relu(images_last(x))
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    np.testing.assert_array_equal(
        elementwise.add_relu(images_last(x), images_last(g)), np.maximum(x + g, 0)
    )
    for grad_out in (g, images_last(g)):
        found = elementwise.relu_grad_input(grad_out, out)
        np.testing.assert_array_equal(found, g * (x > 0))
        assert found.dtype == dtype
        assert lies_images_last(found)
    assert lies_images_last(out)


def test_padding_keeps_the_layout() -> None:
    x = drawn(4, 3, 5, 5)
    found = F.pad(images_last(x)[:, :, ::2, ::2], (1, 0, 0, 2, 1, 1), value=7.0)
    np.testing.assert_array_equal(found, F.pad(x[:, :, ::2, ::2], (1, 0, 0, 2, 1, 1), value=7.0))
    assert lies_images_last(found)


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_all_through_a_small_network_and_back_the_images_lie_last(
    shortcut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the gradient of global pooling, which knows of no layout."""
    seen: list[tuple[str, bool]] = []

    def watched(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = kernel(*args, **options)
            given = [a for a in args if np.ndim(a) == 4 and len(a) == 12]
            made = result[0] if isinstance(result, tuple) else result
            seen.extend((name, lies_images_last(a)) for a in (*given, made) if np.ndim(a) == 4)
            return result

        return call

    for name in ("conv2d", "batch_norm_train", "relu", "add_relu", "conv2d_grads"):
        monkeypatch.setattr(mr.kernels, name, watched(name, getattr(mr.kernels, name)))
    model = mr.models.cifar_resnet(8, width=8, in_channels=1, shortcut=shortcut)
    x = mr.tensor(drawn(12, 1, 8, 8, dtype=np.float32))
    F.cross_entropy(model(x), mr.tensor(np.arange(12) % 10)).backward()
    assert [name for name, lies in seen if not lies] == ["conv2d"]  # the image itself
    assert len(seen) > 40


def test_large_work_is_shared_out_and_its_images_come_one_after_the_other() -> None:
    layer = nn.Conv2d(16, 16, 3, padding=1)
    out = layer(mr.tensor(drawn(32, 16, 32, 32, dtype=np.float32)))
    assert out.data.flags.c_contiguous


def test_padding_with_a_number_that_the_dtype_cannot_hold_is_as_numpys_own() -> None:
    x = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    with np.errstate(invalid="ignore"):
        expected = F.pad(x, (1, 1), value=-1)
        np.testing.assert_array_equal(F.pad(images_last(x), (1, 1), value=-1), expected)


def test_large_arrays_that_lie_so_are_cut_by_images(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(6, 3, 4, 5)
    expected = reference.batch_norm_train(x, None, None)
    monkeypatch.setattr(parallel, "CHUNK_BYTES", x.nbytes // 2)
    for found, other in zip(norm.batch_norm_train(images_last(x)), expected, strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-10, atol=1e-12)
    grads = norm.batch_norm_grad(x, images_last(x), *expected[1:])
    for one, two in zip(grads, reference.batch_norm_grad(x, x, *expected[1:]), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12)
    assert not norm._in_one_row(images_last(x))
