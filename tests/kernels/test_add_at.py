"""Adding at places named more than once: in order on a CPU, by turns on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minires.kernels.add_at import _add_by_turns, add_at
from tests.fake_cupy import fake_gpu  # noqa: F401


def test_adding_by_turns_gives_the_bits_of_adding_in_order():
    rng = np.random.default_rng(0)
    places = rng.integers(0, 7, 50)
    values = (rng.standard_normal(50) * 10.0 ** rng.integers(-6, 6, 50)).astype(np.float32)
    expected, by_turns = np.zeros(9, np.float32), np.zeros(9, np.float32)
    np.add.at(expected, places, values)
    _add_by_turns(by_turns, places, values)
    assert by_turns.tolist() == expected.tolist()
    _add_by_turns(by_turns, places[:0], values[:0])
    assert by_turns.tolist() == expected.tolist()


def test_there_are_as_many_turns_as_the_place_that_occurs_most_often_needs():
    class Written(np.ndarray):
        times = 0

        def __setitem__(self, key, value):
            self.times += 1
            super().__setitem__(key, value)

    out = np.zeros(8).view(Written)
    _add_by_turns(out, np.array([3, 1, 3, 6, 3, 1]), np.arange(6.0))
    assert out.tolist() == [0.0, 6.0, 0.0, 6.0, 0.0, 0.0, 3.0, 0.0]
    assert out.times == 3
    _add_by_turns(out, np.array([], int), np.array([]))
    assert out.times == 3


@pytest.mark.parametrize(
    "index",
    [
        np.array([0, 2, 0, 0]),
        (slice(None), np.array([1, 1, 0])),
        (np.array([[0, 1], [0, 0]]), np.array([2, 2])),
        np.array([True, False, True]),
    ],
)
def test_a_gpu_adds_what_the_cpu_adds(fake_gpu: Any, index: Any) -> None:  # noqa: F811
    cupy = fake_gpu
    expected = np.zeros((3, 4))
    values = np.random.default_rng(0).standard_normal(expected[index].shape)
    add_at(expected, index, values)
    there = (
        tuple(cupy.asarray(part) if isinstance(part, np.ndarray) else part for part in index)
        if isinstance(index, tuple)
        else cupy.asarray(index)
    )
    out = cupy.zeros((3, 4))
    add_at(out, there, cupy.asarray(values))
    np.testing.assert_array_equal(out.get(), expected)
