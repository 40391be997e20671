"""DataLoader: which batches come, in which order, and what the order depends on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.autograd import Tensor
from minires.data import DataLoader
from minires.errors import DataError, ShapeError, UsageError


def arrays(n: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, 2, 2) whose pixels all equal their label, 0 to n-1."""
    labels = np.arange(n)
    return np.broadcast_to(labels[:, None, None, None], (n, 1, 2, 2)).astype(np.float32), labels


def order(loader: Iterable[tuple[Tensor, Tensor]]) -> list[int]:
    """The labels of one epoch, batch after batch."""
    return [int(label) for _, labels in loader for label in labels.data]


def test_batches_are_tensors_of_contiguous_float32_images_and_int64_labels() -> None:
    images, labels = arrays()
    for batch, targets in DataLoader((images.transpose(0, 1, 3, 2), labels), batch_size=4):
        assert isinstance(batch, Tensor)
        assert isinstance(targets, Tensor)
        assert batch.data.dtype == np.float32
        assert targets.data.dtype == np.int64
        assert batch.data.flags.c_contiguous
        assert not batch.requires_grad


def test_without_shuffling_the_stored_order_comes_every_epoch() -> None:
    loader = DataLoader(arrays(), batch_size=4)
    assert [y.data.tolist() for _, y in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert order(loader) == list(range(10))


def test_drop_last_leaves_out_only_the_smaller_batch() -> None:
    assert order(DataLoader(arrays(), batch_size=4, drop_last=True)) == list(range(8))
    assert order(DataLoader(arrays(), batch_size=5, drop_last=True)) == list(range(10))


def test_images_stay_with_their_labels() -> None:
    for images, labels in DataLoader(arrays(), batch_size=3, shuffle=True, seed=5):
        assert (images.data == labels.data[:, None, None, None]).all()


@given(
    n=st.integers(1, 40),
    data=st.data(),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_union_of_the_batches_is_the_data(
    n: int, data: st.DataObject, shuffle: bool, drop_last: bool, seed: int
) -> None:
    batch_size = data.draw(st.integers(1, n))
    loader = DataLoader(arrays(n), batch_size, shuffle, drop_last, seed=seed)
    sizes = [len(labels.data) for _, labels in loader]
    assert len(sizes) == len(loader)
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    seen = order(loader)
    kept = n - n % batch_size if drop_last else n
    assert len(seen) == len(set(seen)) == kept
    assert set(seen) <= set(range(n))


def test_a_batch_may_be_changed_without_touching_the_data() -> None:
    images, labels = arrays()
    for batch, targets in DataLoader((images, labels), batch_size=10):
        batch.data[:] = -1
        targets.data[:] = -1
    assert images.min() == 0
    assert labels.tolist() == list(range(10))


def test_the_same_seed_gives_the_same_orders_and_another_seed_others() -> None:
    def epochs(seed: int | None) -> list[list[int]]:
        loader = DataLoader(arrays(50), batch_size=8, shuffle=True, seed=seed)
        return [order(loader) for _ in range(3)]

    first = epochs(7)
    assert first == epochs(7)
    assert first != epochs(8)
    assert first[0] != first[1] != first[2]
    assert epochs(None) == epochs(0)


def test_the_order_of_an_epoch_does_not_depend_on_the_batch_size() -> None:
    one, two = (DataLoader(arrays(30), size, shuffle=True, seed=2) for size in (1, 7))
    assert [order(one) for _ in range(2)] == [order(two) for _ in range(2)]


def test_an_epoch_left_early_counts_like_a_whole_one() -> None:
    whole, broken = (DataLoader(arrays(30), 4, shuffle=True, seed=2) for _ in range(2))
    order(whole)
    next(iter(broken))
    assert order(whole) == order(broken)


def test_an_epoch_counts_when_it_is_started_and_not_when_it_is_first_read() -> None:
    one, two = (DataLoader(arrays(30), 4, shuffle=True, seed=2) for _ in range(2))
    expected = [order(one), order(one)]
    first, second = iter(two), iter(two)
    assert [order(second), order(first)] == expected[::-1]


def test_the_global_generator_is_neither_read_nor_disturbed() -> None:
    loaders = [DataLoader(arrays(30), 4, shuffle=True, seed=2) for _ in range(2)]
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()  # noqa: NPY002
    expected = order(loaders[0])
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    np.random.seed(1)  # noqa: NPY002
    assert order(loaders[1]) == expected


def test_loaders_do_not_disturb_each_other() -> None:
    def make() -> DataLoader:
        return DataLoader(arrays(30), 4, shuffle=True, seed=2)

    alone = make()
    expected = [order(alone) for _ in range(2)]
    one, two = make(), make()
    assert [order(one), order(two)] == [expected[0], expected[0]]
    assert [order(two), order(one)] == [expected[1], expected[1]]


def test_a_loader_that_does_not_shuffle_draws_nothing() -> None:
    loader = DataLoader(arrays(), batch_size=4, seed=3)
    before = loader.generator_state
    order(loader)
    assert loader.generator_state == before


def test_a_given_generator_is_the_one_drawn_from() -> None:
    generator = np.random.default_rng(11)
    loader = DataLoader(arrays(30), 4, shuffle=True, generator=generator)
    assert order(loader) == order(DataLoader(arrays(30), 4, shuffle=True, seed=11))
    assert generator.bit_generator.state == loader.generator_state


def test_a_run_goes_on_from_a_saved_state_as_if_never_stopped() -> None:
    loader = DataLoader(arrays(30), 4, shuffle=True, seed=2)
    order(loader)
    saved = json.loads(json.dumps(loader.generator_state))
    rest = [order(loader) for _ in range(2)]
    resumed = DataLoader(arrays(30), 4, shuffle=True, seed=99)
    resumed.generator_state = saved
    assert [order(resumed) for _ in range(2)] == rest


def test_a_saved_state_does_not_change_when_the_loader_goes_on() -> None:
    loader = DataLoader(arrays(30), 4, shuffle=True, seed=2)
    saved = loader.generator_state
    before = json.dumps(saved)
    order(loader)
    assert json.dumps(saved) == before != json.dumps(loader.generator_state)


@pytest.mark.parametrize(
    "state", [{}, {"bit_generator": "MT19937"}, {"bit_generator": "PCG64", "state": 3}, 5]
)
def test_a_state_of_another_kind_is_refused_and_changes_nothing(state: Any) -> None:
    loader = DataLoader(arrays(), batch_size=4, seed=2)
    before = loader.generator_state
    with pytest.raises(UsageError, match="no state of a PCG64 generator"):
        loader.generator_state = state
    assert loader.generator_state == before


def test_a_batch_larger_than_the_data_names_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"batch_size 11 is larger than the data \(10 images\)"):
        DataLoader(arrays(), batch_size=11)


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_size_below_1_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"at least 1, got {size}"):
        DataLoader(arrays(), batch_size=size)


@pytest.mark.parametrize(
    "cut", [lambda x, y: (x[:9], y), lambda x, y: (x, y[:9]), lambda x, y: (x, y[0])]
)
def test_lengths_that_differ_are_refused_with_the_shapes(cut: Callable[..., Any]) -> None:
    with pytest.raises(ShapeError, match=r"images: \(\d+, 1, 2, 2\) float32 .* labels: \("):
        DataLoader(cut(*arrays()))


def test_a_seed_and_a_generator_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="not both"):
        DataLoader(arrays(), seed=1, generator=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("given_dtype", "batch_dtype"),
    [("uint8", "float32"), ("int64", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_whole_numbers_become_float32_and_floats_stay(given_dtype: str, batch_dtype: str) -> None:
    images, labels = arrays()
    loader = DataLoader((images.astype(given_dtype), labels), batch_size=10)
    ((batch, _),) = loader
    assert batch.data.dtype == np.dtype(batch_dtype)
    np.testing.assert_array_equal(batch.data, images)


def test_repr_tells_what_will_come() -> None:
    loader = DataLoader(arrays(), batch_size=4, shuffle=True, drop_last=True)
    assert repr(loader) == (
        "DataLoader(10 images shuffled, 2 batches of 4, the smaller last one dropped)"
    )
    assert repr(DataLoader(arrays(), batch_size=4)) == (
        "DataLoader(10 images in order, 3 batches of 4)"
    )


def test_settings_of_the_wrong_kind_and_empty_data_are_refused() -> None:
    for size in (2.0, "2", True):
        with pytest.raises(UsageError, match="batch_size must be a whole number, got"):
            DataLoader(arrays(), batch_size=size)
    assert DataLoader(arrays(), batch_size=np.int64(4)).batch_size == 4
    for seed in (-1, 0.5):
        with pytest.raises(UsageError, match=f"DataLoader: a seed .* from 0 on, got {seed}"):
            DataLoader(arrays(), seed=seed)
    with pytest.raises(DataError, match="no images"):
        DataLoader(arrays(0))
