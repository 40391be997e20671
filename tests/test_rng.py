"""The default generator: one seed, one place, and draws that can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import rng
from minires.errors import UsageError


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Each test leaves the default generator where it found it."""
    state = rng.get_state()
    yield
    rng.set_state(state)


def test_the_same_seed_gives_the_same_numbers() -> None:
    first = mr.manual_seed(3).standard_normal(5).tolist()
    assert mr.manual_seed(3).standard_normal(5).tolist() == first
    assert mr.manual_seed(4).standard_normal(5).tolist() != first


def test_a_seed_means_what_it_means_to_numpy() -> None:
    expected = np.random.default_rng(7).standard_normal(4)
    np.testing.assert_array_equal(mr.manual_seed(7).standard_normal(4), expected)


def test_seeding_keeps_the_generator_that_others_hold() -> None:
    held = rng.default_generator()
    assert mr.manual_seed(0) is held
    assert rng.default_generator() is held
    first = held.random()
    mr.manual_seed(0)
    assert held.random() == first


def test_layers_and_random_tensors_draw_from_it() -> None:
    mr.manual_seed(1)
    numbers = mr.randn(3).tolist(), mr.rand(2).tolist(), mr.nn.Linear(2, 2).weight.tolist()
    mr.manual_seed(1)
    again = mr.randn(3).tolist(), mr.rand(2).tolist(), mr.nn.Linear(2, 2).weight.tolist()
    assert again == numbers


def test_numpys_global_generator_is_left_alone() -> None:
    before: Any = np.random.get_state()  # noqa: NPY002
    mr.manual_seed(5)
    mr.randn(10)
    after: Any = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_state_that_is_set_gives_the_same_numbers_again() -> None:
    mr.manual_seed(2)
    rng.default_generator().random(3)
    state = rng.get_state()
    first = rng.default_generator().random(4).tolist()
    rng.set_state(state)
    assert rng.default_generator().random(4).tolist() == first


def test_a_state_does_not_move_with_the_generator() -> None:
    state = rng.get_state()
    text = repr(state)
    rng.default_generator().random(100)
    assert repr(state) == text
    assert rng.get_state() != state


def test_a_spawned_generator_costs_one_draw_however_much_it_draws() -> None:
    def after(draws: int) -> dict[str, Any]:
        mr.manual_seed(6)
        rng.spawn().random(draws)
        return rng.get_state()

    assert after(0) == after(1000)
    mr.manual_seed(6)
    start = rng.get_state()
    rng.default_generator().integers(2**63)
    assert rng.get_state() == after(0) != start


def test_spawned_generators_differ_and_depend_on_the_seed() -> None:
    def numbers(seed: int) -> list[float]:
        mr.manual_seed(seed)
        return [float(rng.spawn().random()) for _ in range(3)]

    assert len(set(numbers(0))) == 3
    assert numbers(0) == numbers(0)
    assert numbers(0) != numbers(1)


def test_drawing_from_a_spawned_generator_leaves_the_default_one_alone() -> None:
    own = rng.spawn()
    before = rng.get_state()
    own.random(10)
    assert rng.get_state() == before
    assert own is not rng.default_generator()


@pytest.mark.parametrize("seed", [-1, 1.5, None, "a"])
def test_a_seed_that_is_no_whole_number_from_0_on_is_refused_and_changes_nothing(seed: Any) -> None:
    before = rng.get_state()
    with pytest.raises(UsageError, match=r"manual_seed: a seed must be a whole number from 0 on"):
        mr.manual_seed(seed)
    assert rng.get_state() == before
