"""Where the settings of kernels and threads begin and end."""

from __future__ import annotations

import os

import numpy as np
import pytest

from minires.errors import ShapeError
from minires.kernels import geometry, parallel, pool, reference


@pytest.mark.parametrize("kernel", [(1, 127), (8, 16), (16, 8), (1, 128), (129, 1), (3, 43)])
def test_windows_of_around_128_places_find_every_winner_and_score_up_to_127_in_one_byte(
    kernel: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    KH, KW = kernel
    as_numbers, scored_in = pool._as_numbers, set()

    def recorded(mask: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
        scored_in.add(dtype)
        return as_numbers(mask, dtype)

    monkeypatch.setattr(pool, "_as_numbers", recorded)
    x = np.zeros((KH * KW, 1, KH, KW), np.float32)
    for place in range(KH * KW):
        x[place].flat[place] = 1.0
    out, indices = pool.max_pool2d(x, kernel)
    assert (out == 1.0).all()
    assert indices.reshape(-1).tolist() == list(range(KH * KW))
    nothing, first = pool.max_pool2d(np.zeros((1, 1, KH, KW)), kernel)
    assert (nothing.item(), first.item()) == (0.0, 0)
    nan, last = pool.max_pool2d(np.full((1, 1, KH, KW), np.nan), kernel)
    assert np.isnan(nan.item())
    assert last.item() == KH * KW - 1
    assert scored_in == {np.int8 if KH * KW <= 127 else np.int64}


def test_a_mask_of_one_byte_becomes_numbers_without_a_copy() -> None:
    mask = np.array([True, False])
    small, wide = pool._as_numbers(mask, np.int8), pool._as_numbers(mask, np.int64)
    assert np.shares_memory(small, mask)
    assert not np.shares_memory(wide, mask)
    assert small.tolist() == wide.tolist() == [1, 0]


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (1, -1)])
def test_no_bin_is_no_pooling_along_either_axis(size: tuple[int, int]) -> None:
    x = np.ones((1, 1, 4, 4))
    for rung in (pool, reference):
        with pytest.raises(ShapeError, match="from 1 on"):
            rung.adaptive_avg_pool2d(x, size)


def test_what_does_not_fit_is_told_with_its_span_and_the_padded_size() -> None:
    with pytest.raises(ShapeError, match=r"the kernel spans 9 x 3, .* is only 8 x 9"):
        geometry.check_conv2d((1, 1, 4, 5), (1, 1, 5, 2), padding=2, dilation=2)
    with pytest.raises(ShapeError, match=r"the kernel spans 5 x 4, .* is only 4 x 6"):
        geometry.check_pool2d("max_pool2d", (1, 1, 2, 4), (5, 4), padding=1)


@pytest.mark.parametrize(("text", "threads"), [("1", 1), ("2", 2), ("10", 10)])
def test_the_environment_may_ask_for_any_number_of_threads_from_1_on(
    text: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIRES_NUM_THREADS", text)
    assert parallel._threads_from_environment() == threads


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_processors_that_this_process_may_use_are_counted(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINIRES_NUM_THREADS", raising=False)
    this_process = {0: set(range(count))}  # 0 stands for it; 1 would be the first of the system
    monkeypatch.setattr(os, "sched_getaffinity", this_process.__getitem__, raising=False)
    assert parallel._threads_from_environment() == count


@pytest.mark.parametrize(("processors", "threads"), [(None, 1), (1, 1), (6, 6)])
def test_where_affinity_is_unknown_the_processors_count_and_1_where_they_are_too(
    processors: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINIRES_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert parallel._threads_from_environment() == threads
