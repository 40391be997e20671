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
from minires.data.loader import Augment
from minires.errors import ContractError, DataError, ShapeError, UsageError


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
    before = loader.state_dict()
    order(loader)
    assert loader.state_dict() == before


def test_a_given_generator_is_the_one_drawn_from() -> None:
    generator = np.random.default_rng(11)
    loader = DataLoader(arrays(30), 4, shuffle=True, generator=generator)
    assert order(loader) == order(DataLoader(arrays(30), 4, shuffle=True, seed=11))
    assert generator.bit_generator.state == loader.state_dict()["generator"]


def jitter(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """An augmentation that shows which numbers it drew."""
    return images + generator.random(images.shape, dtype=images.dtype)


def bits(batches: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[bytes, bytes]]:
    return [(x.data.tobytes(), y.data.tobytes()) for x, y in batches]


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("augment", [None, jitter])
@pytest.mark.parametrize("shuffle", [False, True])
def test_any_batch_of_any_epoch_can_be_gone_on_from_bit_for_bit(
    shuffle: bool, augment: Augment | None, prefetch: int
) -> None:
    def make(seed: int, ahead: int) -> DataLoader:
        return DataLoader(arrays(11), 3, shuffle, seed=seed, augment=augment, prefetch=ahead)

    seed, places = make(2, 0), range(5)  # from before the first to after the last of 4 batches
    epochs = [bits(seed) for _ in range(4)]
    for epoch in range(2):
        for place in places:
            loader = make(2, prefetch)
            for _ in range(epoch):
                bits(loader)
            batches = iter(loader)
            for _ in range(place):
                next(batches)
            saved = json.loads(json.dumps(loader.state_dict()))
            assert saved["position"] == place
            resumed = make(99, prefetch)
            resumed.load_state_dict(saved)
            assert resumed.state_dict() == saved
            assert bits(resumed) == epochs[epoch][place:]
            assert [bits(resumed), bits(resumed)] == epochs[epoch + 1 : epoch + 3]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_position_counts_what_was_handed_out_and_is_0_between_epochs(prefetch: int) -> None:
    loader = DataLoader(arrays(), 3, shuffle=True, seed=2, prefetch=prefetch)
    begin = loader.state_dict()
    assert begin["position"] == 0
    for i, _ in enumerate(loader, 1):
        assert loader.state_dict() == begin | {"position": i}
    end = loader.state_dict()
    assert end["position"] == 0
    assert end["generator"] != begin["generator"]
    iter(loader)
    assert loader.state_dict() == end  # started, nothing handed out


def test_a_state_is_of_the_epoch_that_was_started_last() -> None:
    loader = DataLoader(arrays(), 5, shuffle=True, seed=2)
    first = iter(loader)
    between = loader.state_dict()["generator"]
    second = iter(loader)
    next(second)
    assert len(list(first)) == 2
    state = loader.state_dict()
    assert state["position"] == 1
    assert state["generator"] != between


def test_an_epoch_left_early_is_gone_on_with_only_after_loading_a_state() -> None:
    def make() -> DataLoader:
        return DataLoader(arrays(30), 4, shuffle=True, seed=2, augment=jitter)

    whole, loader = make(), make()
    first, second = bits(whole), bits(whole)
    for _ in zip(range(3), loader, strict=False):
        pass
    left = loader.state_dict()
    assert bits(loader) == second
    loader.load_state_dict(left)
    assert bits(loader) == first[left["position"] :]
    assert bits(loader) == second


def test_loading_a_state_during_a_walk_leaves_the_walk_alone() -> None:
    loader = DataLoader(arrays(30), 4, shuffle=True, seed=2)
    start = loader.state_dict()
    walk = iter(loader)
    head = bits([next(walk)])
    loader.load_state_dict(start)
    assert loader.state_dict() == start
    whole = head + bits(walk)
    assert loader.state_dict() == start
    assert bits(loader) == whole


def test_a_saved_state_does_not_change_when_the_loader_goes_on() -> None:
    loader = DataLoader(arrays(30), 4, shuffle=True, seed=2)
    for _ in loader:
        saved = loader.state_dict()
        before = json.dumps(saved)
        break
    order(loader)
    assert json.dumps(saved) == before != json.dumps(loader.state_dict())


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_kind_of_generator_has_a_state_that_json_can_hold(kind: str) -> None:
    def make(seed: int) -> DataLoader:
        generator = np.random.Generator(getattr(np.random, kind)(seed))
        return DataLoader(arrays(30), 4, shuffle=True, generator=generator)

    loader, resumed = make(1), make(2)
    order(loader)
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert order(resumed) == order(loader)


def test_the_augmentation_draws_after_the_order_and_only_if_there_is_one() -> None:
    plain, augmented = (
        DataLoader(arrays(30), 30, shuffle=True, seed=5, augment=augment)
        for augment in (None, jitter)
    )
    generator = np.random.default_rng(5)
    expected = generator.permutation(30)
    ((x, y),) = augmented
    assert y.data.tolist() == expected.tolist() == order(plain)
    assert plain.state_dict()["generator"] == generator.bit_generator.state
    seed = int(generator.integers(2**63))
    assert augmented.state_dict()["generator"] == generator.bit_generator.state
    images = arrays(30)[0][expected]
    np.testing.assert_array_equal(x.data, jitter(images, np.random.default_rng((seed, 0))))


def test_batches_and_epochs_are_augmented_with_numbers_of_their_own() -> None:
    images = np.zeros((6, 1, 2, 2), dtype=np.float32)
    loader = DataLoader((images, np.zeros(6)), 2, augment=jitter)
    assert len({x for _ in range(2) for x, _ in bits(loader)}) == 6


def test_an_augmentation_may_write_into_its_batch_and_return_a_view() -> None:
    def backwards(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        images += 1
        return images[:, :, ::-1]

    images, labels = arrays()
    for x, y in DataLoader((images, labels), 4, augment=backwards):
        assert x.data.flags.c_contiguous
        assert (x.data == y.data[:, None, None, None] + 1).all()
    assert images.min() == 0


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (lambda x, g: x[1:], r"as many images .*\n  given: \(4, 1, 2, 2\) .* \(3, 1, 2, 2\)"),
        (lambda x, g: x.astype(np.float64), "returned: .* float64"),
        (lambda x, g: None, "returned: None"),
    ],
)
def test_an_augmentation_that_loses_images_or_changes_their_dtype_is_refused(
    augment: Any, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        list(DataLoader(arrays(), 4, augment=augment))


@pytest.mark.parametrize(
    "change",
    [
        {"generator": {}},
        {"generator": {"bit_generator": "MT19937"}},
        {"generator": {"bit_generator": "PCG64", "state": 3}},
        {"generator": {"bit_generator": "PCG64", "state": {"state": 1, "inc": 3}}},
        {"generator": {"bit_generator": "PCG64", "state": {"state": -1, "inc": 3}}},
        {"generator": 5},
        {"generator": None},
    ],
)
def test_a_state_of_another_generator_is_refused_and_changes_nothing(
    change: dict[str, Any],
) -> None:
    loader = DataLoader(arrays(), batch_size=4, seed=2)
    before = loader.state_dict()
    with pytest.raises(UsageError, match="no state of a PCG64 generator"):
        loader.load_state_dict(before | change)
    assert loader.state_dict() == before


def test_a_generator_that_took_half_of_a_state_is_put_back() -> None:
    generator = np.random.Generator(np.random.Philox(1))
    loader = DataLoader(arrays(), 4, shuffle=True, generator=generator)
    before = loader.state_dict()
    damaged = json.loads(json.dumps(before))
    damaged["generator"]["state"]["counter"] = [7, 7, 7, "x"]
    with pytest.raises(UsageError, match="no state of a Philox generator"):
        loader.load_state_dict(damaged)
    assert loader.state_dict() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 11}, "of a loader with images 11, and this one has images 10"),
        ({"batch_size": 5}, "with batch_size 5, and this one has batch_size 4"),
        ({"shuffle": True}, "with shuffle True, and this one has shuffle False"),
        ({"drop_last": True}, "with drop_last True"),
        ({"augment": True}, "with augment True"),
        ({"position": 4}, "from 0 to the 3 batches of an epoch, got 4"),
        ({"position": -1}, "got -1"),
        ({"position": 1.0}, "got 1.0"),
        ({"position": True}, "got True"),
    ],
)
def test_a_state_that_does_not_fit_says_what_differs_and_changes_nothing(
    change: dict[str, Any], message: str
) -> None:
    loader = DataLoader(arrays(), batch_size=4)
    walk = iter(loader)
    next(walk)
    before = loader.state_dict()
    with pytest.raises(UsageError, match=message):
        loader.load_state_dict(before | change)
    assert loader.state_dict() == before


@pytest.mark.parametrize("name", ["generator", "position", "images", "batch_size"])
def test_a_state_that_lacks_something_is_none(name: str) -> None:
    loader = DataLoader(arrays(), batch_size=4)
    state = loader.state_dict()
    del state[name]
    with pytest.raises(UsageError, match=f"no state of a DataLoader, for it has no {name}"):
        loader.load_state_dict(state)
    with pytest.raises(UsageError, match="no state of a DataLoader"):
        loader.load_state_dict(None)  # type: ignore[arg-type]


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
    with pytest.raises(UsageError, match="prefetch must be a whole number"):
        DataLoader(arrays(), prefetch=2.0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="prefetch must be at least 0, got -1"):
        DataLoader(arrays(), prefetch=-1)
    with pytest.raises(UsageError, match=r"augment must be a function .*, got 'flip'"):
        DataLoader(arrays(), augment="flip")  # type: ignore[arg-type]
    for seed in (-1, 0.5):
        with pytest.raises(UsageError, match=f"DataLoader: a seed .* from 0 on, got {seed}"):
            DataLoader(arrays(), seed=seed)
    with pytest.raises(DataError, match="no images"):
        DataLoader(arrays(0))
