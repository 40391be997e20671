"""The Dataset container, normalisation, and data sets by name."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from minires.data import Dataset, channel_statistics, load, normalize, subtract_pixel_mean
from minires.data.sources import LOADERS
from minires.errors import DataError, DTypeError, ShapeError, UsageError


def tiny(**changes: Any) -> Dataset:
    """A valid two-channel data set of 6 + 3 images, with some fields replaced."""
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "name": "tiny",
        "train_images": rng.standard_normal((6, 2, 3, 4)).astype(np.float32),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": rng.standard_normal((3, 2, 3, 4)).astype(np.float32),
        "test_labels": np.array([2, 1, 0]),
        "classes": ("a", "b", "c"),
        "mean": (0.5, 0.25),
        "std": (1.0, 2.0),
    }
    return Dataset(**(fields | changes))


def test_dataset_tells_its_sizes() -> None:
    data = tiny()
    assert (len(data), data.num_classes, data.image_shape) == (6, 3, (2, 3, 4))
    assert data.train == (data.train_images, data.train_labels)
    assert data.test == (data.test_images, data.test_labels)


def test_repr_names_everything_one_wants_to_know() -> None:
    assert repr(tiny()) == (
        "Dataset('tiny': 6 train + 3 test images of (2, 3, 4), 3 classes, mean (0.5, 0.25),"
        " std (1, 2))"
    )


def test_dataset_cannot_be_reassigned() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny().name = "other"  # type: ignore[misc]


def test_batch_is_the_first_images_and_a_copy() -> None:
    data = tiny()
    images, labels = data.batch(2)
    np.testing.assert_array_equal(images, data.train_images[:2])
    np.testing.assert_array_equal(labels, data.train_labels[:2])
    images[:] = 7
    labels[:] = 2
    assert not (data.train_images == 7).any()
    assert data.train_labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("n", [-1, 0, 7])
def test_batch_of_an_impossible_size_names_both_numbers(n: int) -> None:
    with pytest.raises(UsageError, match=rf"batch of {n} from 6 training images"):
        tiny().batch(n)


LABELS = np.array([0, 1, 2, 0, 1, 2])
IMAGES = np.zeros((6, 2, 3, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train_images": IMAGES[:5]}, ShapeError, r"train part.*\n.*\(5, 2, 3, 4\).*\(6,\)"),
        ({"train_images": IMAGES[:, 0]}, ShapeError, r"train part: needs images \(N, C, H, W\)"),
        ({"test_labels": LABELS[:4]}, ShapeError, r"test part"),
        ({"test_images": IMAGES[:3, :, :2]}, ShapeError, "differ in shape"),
        ({"train_images": IMAGES.astype(np.float64)}, DTypeError, "float64"),
        ({"train_labels": LABELS.astype(np.int32)}, DTypeError, "int32"),
        ({"train_labels": LABELS + 1}, DataError, "labels run from 1 to 3, but the 3 classes"),
        ({"train_labels": LABELS - 1}, DataError, "labels run from -1 to 1"),
        ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, DataError, "test part: is empty"),
        ({"mean": (0.0,)}, ShapeError, "each of its 2 channels, got 1 and 2"),
        ({"std": (1.0, 1.0, 1.0)}, ShapeError, "got 2 and 3"),
        ({"pixel_mean": IMAGES}, ShapeError, r"image, \(2, 3, 4\)\.\n  pixel_mean: \(6, 2, 3, 4\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tiny(**changes)


def test_normalized_images_have_mean_0_and_std_1_in_each_channel() -> None:
    images = np.random.default_rng(1).uniform(0, 1, (50, 3, 4, 5)) * [[[[3.0]], [[1.0]], [[9.0]]]]
    mean, std = channel_statistics(images)
    out = normalize(images, mean, std)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), 1, rtol=1e-5)
    back = out * np.reshape(std, (1, 3, 1, 1)) + np.reshape(mean, (1, 3, 1, 1))
    np.testing.assert_allclose(back, images, rtol=1e-5, atol=1e-6)


def test_normalize_leaves_its_input_alone() -> None:
    images = np.ones((2, 1, 2, 2), dtype=np.float32)
    normalize(images, [0.5], [2.0])
    assert (images == 1).all()


def test_normalize_refuses_what_it_cannot_do() -> None:
    images = np.zeros((2, 3, 4, 4), dtype=np.float32)
    with pytest.raises(ShapeError, match="got 1 and 1"):
        normalize(images, [0.0], [1.0])
    with pytest.raises(ShapeError, match=r"images: \(3, 4, 4\)"):
        normalize(images[0], [0.0] * 4, [1.0] * 4)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="std must be positive"):
            normalize(images, [0.0] * 3, [1.0, bad, 1.0])


def uneven(counts: tuple[int, ...] = (60, 30, 10)) -> Dataset:
    """Classes of these sizes, mixed; the one pixel of an image is its number."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    half = len(labels) // 2
    return Dataset(
        "uneven", images, labels, images[:half], labels[:half], ("a", "b", "c"), (0.5,), (2.0,)
    )


@pytest.mark.parametrize(
    ("n", "expected"),
    [(100, [60, 30, 10]), (50, [30, 15, 5]), (10, [6, 3, 1]), (11, [7, 3, 1]), (1, [1, 0, 0])],
)
def test_take_keeps_the_share_of_each_class(n: int, expected: list[int]) -> None:
    part = uneven().take(n)
    assert np.bincount(part.train_labels, minlength=3).tolist() == expected


def test_take_is_as_even_as_can_be() -> None:
    for n in range(1, 101):
        counts = np.bincount(uneven().take(n).train_labels, minlength=3)
        assert counts.sum() == n
        assert (abs(counts - n * np.array([0.6, 0.3, 0.1])) < 1).all()


def test_take_keeps_the_order_and_the_labels_of_the_images_and_is_a_copy() -> None:
    data = uneven()
    part = data.take(20, 7, seed=3)
    for images, labels, whole in ((*part.train, data.train), (*part.test, data.test)):
        numbers = images.ravel().astype(int)
        assert (np.diff(numbers) > 0).all()
        np.testing.assert_array_equal(labels, whole[1][numbers])
    assert not np.shares_memory(part.train_images, data.train_images)
    assert repr(part).startswith("Dataset('uneven': 20 train + 7 test images")
    assert (part.mean, part.std) == (data.mean, data.std)


def test_take_draws_from_its_seed_and_each_part_for_itself() -> None:
    data = uneven()
    one, two, other = (data.take(20, 7, seed=seed) for seed in (3, 3, 4))
    for name in ("train_images", "test_images"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
        assert getattr(one, name).tobytes() != getattr(other, name).tobytes()
    twice = dataclasses.replace(data, test_images=data.train_images, test_labels=data.train_labels)
    part = twice.take(20, 20)
    assert part.train_images.tobytes() != part.test_images.tobytes()
    assert data.take(test=7, seed=3).test_images.tobytes() == one.test_images.tobytes()
    assert data.take(test=7).train_images is data.train_images
    assert data.take(20).test_images is data.test_images


@pytest.mark.parametrize("n", [0, 101, 2.0, True])
def test_take_of_an_impossible_number_names_both(n: Any) -> None:
    with pytest.raises(UsageError, match=f"cannot take {n!r} of the 100 images of the train part"):
        uneven().take(n)
    with pytest.raises(UsageError, match=r"cannot take 51 of the 50 images of the test part"):
        uneven().take(test=51)
    with pytest.raises(UsageError, match="uneven, take: a seed"):
        uneven().take(1, seed=-1)


def test_the_mean_image_of_the_training_part_is_taken_off_both_and_can_be_put_back() -> None:
    raw = tiny(mean=(0.0, 0.0), std=(1.0, 1.0))
    before = raw.train_images.copy()
    data = subtract_pixel_mean(raw)
    expected = sum(image.astype(np.float64) for image in raw.train_images) / 6
    assert data.pixel_mean is not None
    assert data.pixel_mean.dtype == data.train_images.dtype == data.test_images.dtype == np.float32
    np.testing.assert_allclose(data.pixel_mean, expected, rtol=1e-6)
    np.testing.assert_allclose(data.train_images.mean(axis=0), 0, atol=1e-6)
    for images, pixels in (
        (data.train_images, raw.train_images),
        (data.test_images, raw.test_images),
    ):
        np.testing.assert_allclose(images + data.pixel_mean, pixels, atol=1e-6)
    np.testing.assert_array_equal(raw.train_images, before)
    assert repr(data).endswith("mean (0, 0), std (1, 1), less the mean image)")
    assert data.take(3).pixel_mean is data.pixel_mean


@pytest.mark.parametrize("changes", [{"mean": (0.0, 0.5)}, {"std": (1.0, 2.0)}])
def test_the_mean_image_of_scaled_images_is_refused(changes: dict[str, Any]) -> None:
    raw = {"mean": (0.0, 0.0), "std": (1.0, 1.0)}
    with pytest.raises(UsageError, match=r"they were scaled: Dataset\('tiny'.*normalize=False"):
        subtract_pixel_mean(tiny(**(raw | changes)))
    once = subtract_pixel_mean(tiny(**raw))
    with pytest.raises(UsageError, match="less the mean image"):
        subtract_pixel_mean(once)


def test_load_by_name_is_the_normalised_data_set() -> None:
    data = load("digits")
    assert (data.name, len(data)) == ("digits", 1437)
    assert data.mean != (0.0,)


def test_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(DataError) as caught:
        load("foo")
    known = ", ".join(sorted(LOADERS))
    assert str(caught.value) == f"unknown data set 'foo'; known: {known}"


def test_importing_data_needs_nothing_heavy() -> None:
    code = (
        "import sys, minires.data; heavy = {'sklearn', 'matplotlib', 'cupy', 'scipy', 'torch'};"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout.strip() == ""
