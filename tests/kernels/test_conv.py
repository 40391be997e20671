"""Fast convolution held against the textbook loops, and the promises the loops cannot show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import ShapeError, UsageError
from minires.kernels import (
    conv,
    get_num_threads,
    im2col,
    parallel,
    pieces,
    reference,
    set_num_threads,
    shifted,
)

quick = settings(deadline=None, max_examples=100)
LAYOUTS = ["C", "F", "strided", "backwards", "read-only"]
Maps = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]]
IMPLEMENTATIONS: dict[str, Maps] = {
    name: (
        module.conv2d,
        module.conv2d_grad_input,
        module.conv2d_grad_weight,
        module.conv2d_grads,
    )
    for name, module in {"conv": conv, "im2col": im2col}.items()
}


def lay_out(x: np.ndarray, layout: str) -> np.ndarray:
    """The same numbers, laid out in memory in another way."""
    if layout == "F":
        return np.array(x, order="F")
    if layout == "strided":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 99.0, x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "backwards":
        return np.flip(np.flip(x).copy())
    if layout == "read-only":
        x = x.copy()
        x.flags.writeable = False
    return x


@contextmanager
def chunk_bytes(size: int) -> Iterator[None]:
    """Cut batches into chunks of about ``size`` bytes."""
    usual, parallel.CHUNK_BYTES = parallel.CHUNK_BYTES, size
    try:
        yield
    finally:
        parallel.CHUNK_BYTES = usual


@contextmanager
def threads(count: int) -> Iterator[None]:
    usual = get_num_threads()
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(usual)


@st.composite
def convolutions(
    draw: st.DrawFn, least: int = 0
) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of an image and a weight, and settings, that fit together."""
    small = st.integers(1, 3)
    groups = draw(small)
    C_group, C_out_group = draw(small), draw(small)
    sizes, kernel, stride, padding, dilation = [], [], [], [], []
    for _ in range(2):
        k = draw(st.integers(1, 4))
        d = draw(st.integers(1, 3)) if k > 1 else 1
        p = draw(st.integers(0, 4))  # also more than the kernel
        smallest = max(least, d * (k - 1) + 1 - 2 * p)  # an image of no rows may be padded
        sizes.append(draw(st.integers(smallest, smallest + 5)))
        kernel.append(k)
        dilation.append(d)
        padding.append(p)
        stride.append(draw(small))
    x_shape = (draw(st.integers(0, 3)), groups * C_group, *sizes)
    weight_shape = (groups * C_out_group, C_group, *kernel)
    how = {"stride": stride, "padding": padding, "dilation": dilation}
    return x_shape, weight_shape, {**{k: tuple(v) for k, v in how.items()}, "groups": groups}


def drawn(
    rng: np.random.Generator, x_shape: Any, weight_shape: Any, how: Any, dtype: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, weight, bias and a gradient of the output."""
    x, weight = rng.standard_normal(x_shape), rng.standard_normal(weight_shape)
    bias = rng.standard_normal(weight_shape[0])
    g = rng.standard_normal(reference.conv2d(x, weight, **how).shape)
    return tuple(a.astype(dtype) for a in (x, weight, bias, g))  # type: ignore[return-value]


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to rounding, for sums of order 100 terms of order 1."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    tolerance = 2e-4 if found.dtype == np.float32 else 1e-10
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def holds_against_reference(
    maps: Maps, x: Any, weight: Any, bias: Any, g: Any, how: dict[str, Any]
) -> None:
    forward, grad_input, grad_weight, both = maps
    same(forward(x, weight, bias, **how), reference.conv2d(x, weight, bias, **how))
    same(forward(x, weight, **how), reference.conv2d(x, weight, **how))
    expected = reference.conv2d_grad_weight(g, x, weight.shape, **how)
    same(grad_weight(g, x, weight.shape, **how), expected)
    by_input = reference.conv2d_grad_input(g, weight, x.shape, **how)
    same(grad_input(g, weight, x.shape, **how), by_input)
    for found, wanted in zip(both(g, x, weight, **how), (by_input, expected), strict=True):
        same(found, wanted)


@quick
@given(convolutions(), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_all_three_maps_equal_the_reference(case: Any, seed: int, dtype: Any) -> None:
    x_shape, weight_shape, how = case
    arrays = drawn(np.random.default_rng(seed), x_shape, weight_shape, how, dtype)
    for name in ("conv", "im2col"):
        holds_against_reference(IMPLEMENTATIONS[name], *arrays, how)


@quick
@given(convolutions(), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e9]))
def test_images_apart_and_images_together_equal_the_reference(
    case: Any, seed: int, cost: float
) -> None:
    x_shape, weight_shape, how = case
    arrays = drawn(np.random.default_rng(seed), x_shape, weight_shape, how, np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shifted, "MOVE", cost)
        patch.setattr(shifted, "TURN_FROM", (-1, np.inf)[seed % 2])
        patch.setattr(pieces, "PRODUCTS_WORTH_A_THREAD", (1, 1 << 60)[seed // 2 % 2])
        patch.setattr(pieces, "FEWEST_CHANNELS", 1)
        patch.setattr(shifted, "LONGEST_SUM", (2, 128)[seed // 4 % 2])
        patch.setattr(parallel, "CHUNK_BYTES", (1000, parallel.CHUNK_BYTES)[seed // 8 % 2])
        holds_against_reference(IMPLEMENTATIONS["conv"], *arrays, how)


@quick
@given(convolutions(), st.integers(0, 2**32 - 1))
def test_the_three_maps_are_adjoint(case: Any, seed: int) -> None:
    x_shape, weight_shape, how = case
    x, weight, _, g = drawn(np.random.default_rng(seed), x_shape, weight_shape, how, np.float64)
    for name in ("conv", "im2col"):
        forward, grad_input, grad_weight, _ = IMPLEMENTATIONS[name]
        inner = (forward(x, weight, **how) * g).sum()
        by_x = (grad_input(g, weight, x.shape, **how) * x).sum()
        by_weight = (grad_weight(g, x, weight.shape, **how) * weight).sum()
        np.testing.assert_allclose([by_x, by_weight], inner, rtol=1e-10, atol=1e-9)


@quick
@given(
    convolutions(),
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from(LAYOUTS), min_size=4, max_size=4),
)
def test_the_layout_of_the_inputs_makes_no_difference(
    case: Any, seed: int, layouts: list[str]
) -> None:
    x_shape, weight_shape, how = case
    plain = drawn(np.random.default_rng(seed), x_shape, weight_shape, how, np.float64)
    arrays = [lay_out(a, layout) for a, layout in zip(plain, layouts, strict=True)]
    flags = [a.flags.writeable for a in arrays]
    for name in ("conv", "im2col"):
        holds_against_reference(IMPLEMENTATIONS[name], *arrays, how)
    for a, b, flag in zip(arrays, plain, flags, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.flags.writeable == flag


SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((7, 4, 8, 9), (6, 4, 3, 3), {"padding": 1}),
    "1x1": ((7, 4, 5, 5), (6, 4, 1, 1), {}),
    "1x3": ((7, 4, 5, 5), (6, 4, 1, 3), {}),
    "3x1": ((7, 4, 5, 5), (6, 4, 3, 1), {}),
    "stride 2": ((7, 4, 8, 9), (6, 4, 3, 3), {"stride": 2, "padding": 1}),
    "groups and dilation": ((7, 4, 9, 9), (6, 2, 3, 3), {"groups": 2, "dilation": 2}),
    "padding above the kernel": ((7, 2, 3, 3), (2, 2, 2, 2), {"padding": 3}),
}


def all_maps(module: Any, arrays: Any, how: dict[str, Any]) -> list[np.ndarray]:
    x, weight, bias, g = arrays
    return [
        module.conv2d(x, weight, bias, **how),
        module.conv2d_grad_input(g, weight, x.shape, **how),
        module.conv2d_grad_weight(g, x, weight.shape, **how),
        *module.conv2d_grads(g, x, weight, **how),
    ]


@pytest.mark.parametrize("module", [conv, im2col], ids=["conv", "im2col"])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [1, 3000, 20_000])
def test_where_the_batch_is_cut_makes_no_difference(name: str, module: Any, size: int) -> None:
    x_shape, weight_shape, how = SHAPES[name]
    arrays = drawn(np.random.default_rng(0), x_shape, weight_shape, how, np.float64)
    whole = all_maps(module, arrays, how)
    with chunk_bytes(size):
        assert size > 1 or len(parallel.chunks(7, 100)) == 7
        cut = all_maps(module, arrays, how)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("module", [conv, im2col], ids=["conv", "im2col"])
@pytest.mark.parametrize("name", SHAPES)
def test_any_number_of_threads_gives_the_same_bits(name: str, module: Any) -> None:
    x_shape, weight_shape, how = SHAPES[name]
    arrays = drawn(np.random.default_rng(0), x_shape, weight_shape, how, np.float32)
    results = []
    with chunk_bytes(4000):
        for count in (1, 2, 3):
            with threads(count):
                results.append([r.tobytes() for r in all_maps(module, arrays, how)])
    assert results[0] == results[1] == results[2]


def test_a_layer_of_a_real_network_has_the_same_bits_on_any_number_of_threads() -> None:
    shape: Any = (32, 16, 32, 32), (16, 16, 3, 3)
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(s).astype(np.float32) for s in shape)
    assert len(parallel.chunks(32, 16 * 32 * 32 * 4 * 5)) > 2
    results = []
    for count in (1, 2, 3):
        with threads(count):
            out = conv.conv2d(x, weight, padding=1)
            grad = conv.conv2d_grad_weight(out, x, weight.shape, padding=1)
            results.append((out.tobytes(), grad.tobytes()))
    assert results[0] == results[1] == results[2]


def test_a_gradient_by_the_image_covers_rows_that_no_window_reached() -> None:
    x, weight = np.ones((1, 1, 6, 6)), np.ones((1, 1, 2, 2))
    g = np.ones((1, 1, 2, 2))
    grad = conv.conv2d_grad_input(g, weight, x.shape, stride=4)
    assert grad.shape == x.shape
    assert grad[0, 0, 2:4].tolist() == [[0.0] * 6] * 2
    assert grad.sum() == 16.0


@pytest.mark.parametrize("module", [conv, im2col], ids=["conv", "im2col"])
def test_bad_arguments_are_named_like_in_the_reference(module: Any) -> None:
    x, weight, g = np.ones((1, 2, 5, 5)), np.ones((3, 2, 2, 2)), np.ones((1, 3, 2, 2))
    for fitting in ({}, {"stride": 3}, {"padding": 3}):
        with pytest.raises(ShapeError, match=r"conv2d_grad_weight: grad_out must .* \(1, 3, "):
            module.conv2d_grad_weight(g[..., :1], x, weight.shape, **fitting)
        with pytest.raises(ShapeError, match=r"conv2d_grad_input: grad_out must .* \(1, 3, "):
            module.conv2d_grad_input(g[..., :1], weight, x.shape, **fitting)
        with pytest.raises(ShapeError, match="conv2d_grad_input: x has 3 channels"):
            module.conv2d_grad_input(g, weight, (1, 3, 5, 5), **fitting)
        with pytest.raises(ShapeError, match="conv2d: x has 2 channels but weight expects 3"):
            module.conv2d(x, np.ones((1, 3, 2, 2)), **fitting)
    with pytest.raises(UsageError, match="conv2d: stride must be 1 or more"):
        module.conv2d(x, weight, stride=0)


def test_a_kernel_that_reaches_further_than_the_image_is_wide_moves_nothing_into_it() -> None:
    x, weight = np.ones((1, 1, 2, 1)), np.ones((1, 1, 1, 4))
    how: dict[str, Any] = {"padding": (0, 3), "dilation": (1, 2)}
    np.testing.assert_array_equal(conv.conv2d(x, weight, **how), reference.conv2d(x, weight, **how))


def test_shares_of_filters_and_chunks_of_images_are_put_together_in_order() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((8, 6, 5, 5)), rng.standard_normal((8, 6, 3, 3))
    g = rng.standard_normal((8, 8, 5, 5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PRODUCTS_WORTH_A_THREAD", 1)
        patch.setattr(pieces, "FEWEST_CHANNELS", 1)
        patch.setattr(parallel, "CHUNK_BYTES", 8 * 5 * (6 * 3 * 7 + 2 * 8 * 5) * 4)
        cut = pieces.cut(8, 8 * 5 * (6 * 3 * 7 + 2 * 8 * 5), 10**6, 6)
        assert [(piece.images.start, piece.shares) for piece in cut] == [(0, 2)] * 2 + [(4, 2)] * 2
        found = conv.conv2d_grads(g, x, weight, padding=1)
    for a, b in zip(found, reference.conv2d_grads(g, x, weight, padding=1), strict=True):
        same(a, b)


def test_a_kernel_called_in_the_midst_of_another_leaves_its_memory_alone() -> None:
    """As the handler of a signal may do."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((4, 3, 3, 3))
    expected = reference.conv2d(x, weight, padding=1)
    add = shifted._Sum.add

    def interrupted(*args: Any) -> None:  # between unfolding and multiplying
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(shifted._Sum, "add", add)
            conv.conv2d(-7 * x, weight, padding=1)
        add(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shifted._Sum, "add", interrupted)
        same(conv.conv2d(x, weight, padding=1), expected)
