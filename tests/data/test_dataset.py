"""The Dataset container, normalisation, and data sets by name."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from minires.data import Dataset, channel_statistics, load, normalize
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


def test_load_by_name_is_the_normalised_data_set() -> None:
    data = load("digits")
    assert (data.name, len(data)) == ("digits", 1437)
    assert data.mean != (0.0,)


def test_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(DataError) as caught:
        load("foo")
    assert str(caught.value) == "unknown data set 'foo'; known: digits"


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
