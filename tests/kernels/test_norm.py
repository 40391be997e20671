"""Fast batch normalisation held against the textbook loops, in chunks and far from zero."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.kernels import get_num_threads, norm, parallel, reference, set_num_threads
from tests.kernels.laid_out import images_last

quick = settings(deadline=None, max_examples=60)
SHAPES = st.one_of(
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5)),
    st.tuples(*(st.integers(1, n) for n in (5, 3, 4, 5))),
)

EPS = 0.1  # keeps channels of one value well behaved


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    tolerance = 1e-4 if found.dtype == np.float32 else 1e-10
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def holds_against_reference(x: np.ndarray, rng: np.random.Generator) -> None:
    """All kernels, in training and evaluation, with and without weight and bias."""
    g = np.asarray(rng.standard_normal(x.shape), x.dtype)
    weight, bias = (rng.standard_normal(x.shape[1]).astype(x.dtype) for _ in range(2))
    mean, var = norm.batch_norm_stats(x)
    for found, expected in zip((mean, var), reference.batch_norm_stats(x), strict=True):
        same(found, expected)
    for w, b in ((weight, bias), (None, None), (weight, None), (None, bias)):
        together = norm.batch_norm_train(x, w, b, eps=EPS)
        for found, expected in zip(
            together, reference.batch_norm_train(x, w, b, eps=EPS), strict=True
        ):
            same(found, expected)
        for training in (True, False):
            how: dict[str, Any] = {"eps": EPS, "training": training}
            out = norm.batch_norm(x, mean, var, w, b, **how)
            same(out, reference.batch_norm(x, mean, var, w, b, **how))
            found_grads = norm.batch_norm_grad(g, x, mean, var, w, **how)
            expected_grads = reference.batch_norm_grad(g, x, mean, var, w, **how)
            for found, expected in zip(found_grads, expected_grads, strict=True):
                same(found, expected)


@quick
@given(
    SHAPES,
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([1, 500, 2 << 20]),
    st.sampled_from(["C", "F", "images last"]),
)
def test_every_kernel_equals_the_reference_however_the_batch_is_cut(
    shape: tuple[int, ...], seed: int, dtype: Any, chunk_bytes: int, order: Any
) -> None:
    rng = np.random.default_rng(seed)
    usual, parallel.CHUNK_BYTES = parallel.CHUNK_BYTES, chunk_bytes
    try:
        x = np.array(rng.standard_normal(shape), dtype, order="F" if order == "F" else "C")
        if order == "images last":
            x = images_last(x)
        holds_against_reference(x, rng)
    finally:
        parallel.CHUNK_BYTES = usual


@pytest.mark.parametrize("long_plane", [1, 1 << 30], ids=["dot by plane", "dot by place"])
@pytest.mark.parametrize("large_image", [0, 1 << 30], ids=["large images", "small images"])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (3, 3, 5, 7), (5, 2, 3, 1, 5)])
def test_images_that_count_as_large_or_long_equal_the_reference_for_any_rank_and_odd_planes(
    shape: tuple[int, ...], large_image: int, long_plane: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm, "LARGE_IMAGE", large_image)
    monkeypatch.setattr(norm, "LONG_PLANE", long_plane)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    holds_against_reference(x, rng)
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 5 * 8 * x[0].size)  # two images, then one
    assert len(parallel.chunks(len(x), 2 * 8 * x[0].size)) > 1
    holds_against_reference(x, rng)


@pytest.mark.parametrize(
    ("C", "plane", "by_plane", "dot_by_plane"),
    [
        (16, (32, 32), True, True),
        (16, (22, 23), False, True),  # 506 places
        (64, (32, 32), True, True),
        (64, (4, 4), False, False),
        (256, (56, 56), True, True),
        (16, (), False, False),
        (4096, (4, 4), True, False),
    ],
)
def test_images_lie_and_are_multiplied_by_plane_where_that_was_measured_to_be_faster(
    C: int,
    plane: tuple[int, ...],
    by_plane: bool,
    dot_by_plane: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    multiplied: list[int] = []
    vecdot = np.vecdot

    def recorded(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        multiplied.append(a.ndim)
        return vecdot(a, b)

    monkeypatch.setattr(np, "vecdot", recorded)
    x = np.ones((1, C, *plane), np.float32)
    rows = norm._laid_out(x, False)
    assert rows.ndim == (3 if by_plane else 2)
    np.testing.assert_array_equal(norm._channel_dot(rows, rows, C), np.full(C, x[0, 0].size))
    assert multiplied == ([3] if dot_by_plane else [])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("shape", "short"), [((2, 3, 512), True), ((2, 3, 511), False)])
def test_numpys_buffers_are_short_beside_long_planes_and_as_before_afterwards(
    shape: tuple[int, ...], short: bool, fails: bool
) -> None:
    before = np.getbufsize()
    with contextlib.suppress(ZeroDivisionError), norm._short_buffers(np.ones(shape)):
        assert np.getbufsize() == (norm.SHORT_BUFFER if short else before)
        if fails:
            raise ZeroDivisionError
    assert np.getbufsize() == before
    with norm._short_buffers(np.ones((2, 1536))):
        assert np.getbufsize() == before


@pytest.mark.parametrize("shape", [(4096, 3), (64, 3, 16, 16)])
@pytest.mark.parametrize("chunk_bytes", [4096, 2 << 20])
def test_numbers_far_from_zero_keep_the_accuracy_of_their_dtype(
    shape: tuple[int, ...], chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "CHUNK_BYTES", chunk_bytes)
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) + 1e4).astype(np.float32)
    g = rng.standard_normal(shape).astype(np.float32)
    exact_mean, exact_var = norm.batch_norm_stats(x.astype(np.float64))
    mean, var = norm.batch_norm_stats(x)
    # A float32 near 10^4 is known to 5e-4, and so is the mean; that moves what depends on it.
    # (Sum of x^2 less mean^2 would lose every digit of the 1.)
    step = 1e-3
    np.testing.assert_allclose(mean, exact_mean, rtol=0, atol=step)
    np.testing.assert_allclose(var, exact_var, rtol=1e-4)
    out = norm.batch_norm(x, mean, var)
    exact_out = norm.batch_norm(x.astype(np.float64), exact_mean, exact_var)
    np.testing.assert_allclose(out, exact_out, rtol=0, atol=2 * step)
    found = norm.batch_norm_grad(g, x, mean, var)
    exact = norm.batch_norm_grad(g.astype(np.float64), x.astype(np.float64), exact_mean, exact_var)
    np.testing.assert_allclose(found[0], exact[0], rtol=0, atol=2 * step)
    np.testing.assert_allclose(
        found[1], exact[1], rtol=0, atol=step * np.abs(exact[2]).max() + 0.01
    )
    np.testing.assert_allclose(found[2], exact[2], rtol=0, atol=step)


def test_in_training_the_mean_is_taken_away_first_so_that_nothing_cancels() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((16, 3, 5, 5)) + 1e6).astype(np.float32)  # steps of 1/16
    statistics = norm.batch_norm_stats(x)
    exact = norm.batch_norm(*(a.astype(np.float64) for a in (x, *statistics)))
    np.testing.assert_allclose(norm.batch_norm(x, *statistics), exact, rtol=1e-5, atol=1e-6)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 2000)
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((9, 3, 7, 5)).astype(np.float32) for _ in range(2))
    usual, results = get_num_threads(), []
    for count in (1, 2, 3):
        set_num_threads(count)
        try:
            mean, var = norm.batch_norm_stats(x)
            out = norm.batch_norm(x, mean, var)
            grads = norm.batch_norm_grad(g, x, mean, var)
        finally:
            set_num_threads(usual)
        results.append([a.tobytes() for a in (mean, var, out, *grads)])
    assert results[0] == results[1] == results[2]


def test_an_empty_batch_has_statistics_and_gradients_of_zero_like_the_reference() -> None:
    x = np.zeros((0, 3, 2, 2), np.float32)
    mean, var = norm.batch_norm_stats(x)
    for found, expected in zip((mean, var), reference.batch_norm_stats(x), strict=True):
        same(found, expected)
    same(norm.batch_norm(x, mean, var), x)
    for found, expected in zip(
        norm.batch_norm_grad(x, x, mean, var),
        reference.batch_norm_grad(x, x, mean, var),
        strict=True,
    ):
        same(found, expected)


def test_images_without_pixels_have_statistics_of_zero_like_the_reference() -> None:
    x = np.zeros((2, 3, 0, 2))
    for found, expected in zip(
        norm.batch_norm_stats(x), reference.batch_norm_stats(x), strict=True
    ):
        same(found, expected)


def test_float64_numbers_are_not_narrowed_by_statistics_in_float32() -> None:
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 3))
    mean, var = np.zeros(2, np.float32), np.ones(2, np.float32)
    out = norm.batch_norm(x, mean, var)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out, x / np.sqrt(1.0 + 1e-5), rtol=1e-6)
    grad_x, grad_weight, _ = norm.batch_norm_grad(x, x, mean, var, training=False)
    assert grad_x.dtype == grad_weight.dtype == np.float64


def test_no_channels_at_all_are_normalised_to_none() -> None:
    x, none = np.ones((2, 0, 3, 3), np.float32), np.ones(0, np.float32)
    for training in (True, False):
        assert norm.batch_norm(x, none, none, none, none, training=training).shape == x.shape


def test_in_float16_sums_do_not_overflow() -> None:
    rng = np.random.default_rng(0)
    x = (8 * rng.standard_normal((8, 4, 56, 56))).astype(np.float16)
    mean, var = norm.batch_norm_stats(x)
    assert mean.dtype == var.dtype == np.float16
    np.testing.assert_allclose(var, 64, rtol=0.05)
    np.testing.assert_allclose(norm.batch_norm_stats(x[:, :, 0, 0])[1], 64, rtol=0.9)
