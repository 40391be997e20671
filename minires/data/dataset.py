"""A data set: images and labels, a training and a test part, and the scaling they went through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minires.errors import DataError, DTypeError, ShapeError, UsageError, describe

__all__ = ["Dataset", "channel_statistics", "normalize"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels in memory, split once into a training and a test part.

    Args:
        name: what the command line calls it.
        train_images, test_images: float32 arrays of shape (N, C, H, W).
        train_labels, test_labels: int64 arrays of shape (N,), each in 0 .. len(classes) - 1.
        classes: the name of each class, in the order of the labels.
        mean, std: one number a channel.  ``images * std + mean`` gives the pixels between 0 and 1
            again, so they are 0 and 1 where nothing was normalised.

    Raises ShapeError, DTypeError or DataError when the parts do not fit together.

    >>> images = np.zeros((4, 1, 2, 2), dtype=np.float32)
    >>> labels = np.array([0, 1, 0, 1])
    >>> data = Dataset("tiny", images, labels, images[:2], labels[:2], ("a", "b"), (0.0,), (1.0,))
    >>> data
    Dataset('tiny': 4 train + 2 test images of (1, 2, 2), 2 classes, mean (0), std (1))
    >>> data.image_shape, data.num_classes, len(data)
    ((1, 2, 2), 2, 4)
    """

    name: str
    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for part, images, labels in (("train", *self.train), ("test", *self.test)):
            _check_part(f"{self.name}, {part} part", images, labels, len(self.classes))
        if self.test_images.shape[1:] != self.image_shape:
            raise ShapeError(
                f"{self.name}: training and test images differ in shape.\n  "
                + describe(train_images=self.train_images, test_images=self.test_images)
            )
        channels = self.image_shape[0]
        if not len(self.mean) == len(self.std) == channels:
            raise ShapeError(
                f"{self.name}: needs one mean and one std for each of its {channels} channels,"
                f" got {len(self.mean)} and {len(self.std)}."
            )

    @property
    def train(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The training images and labels, as :class:`~minires.data.DataLoader` takes them."""
        return self.train_images, self.train_labels

    @property
    def test(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The test images and labels, as :class:`~minires.data.DataLoader` takes them."""
        return self.test_images, self.test_labels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, C, H, W = self.train_images.shape
        return C, H, W

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def __len__(self) -> int:
        """The number of training images."""
        return len(self.train_labels)

    def batch(self, n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The first ``n`` training images (n, C, H, W) and labels (n,), as copies.

        Always the same ones: for a first look, or to measure two networks on the same batch.
        Raises UsageError unless 1 <= n <= len(self).
        """
        if not 1 <= n <= len(self):
            raise UsageError(
                f"{self.name}: cannot take a batch of {n} from {len(self)} training images;"
                f" ask for 1 to {len(self)}."
            )
        return self.train_images[:n].copy(), self.train_labels[:n].copy()

    def __repr__(self) -> str:
        mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        return (
            f"Dataset({self.name!r}: {len(self)} train + {len(self.test_labels)} test images of"
            f" {self.image_shape}, {self.num_classes} classes, mean ({mean}), std ({std}))"
        )


def channel_statistics(
    images: NDArray[np.floating],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (biased) standard deviation of each channel of images (N, C, H, W).

    Take them from the training part alone: statistics that have seen the test images leak a
    little of the test into the training.

    >>> channel_statistics(np.array([0.0, 2.0, 4.0, 6.0]).reshape(2, 1, 1, 2))
    ((3.0,), (2.23606797749979,))
    """
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64)  # (C,)
    std = images.std(axis=(0, 2, 3), dtype=np.float64)
    return tuple(mean.tolist()), tuple(std.tolist())


def normalize(
    images: NDArray[np.floating], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """``(images - mean) / std``, channel by channel, as a new float32 array.

    Args:
        images: (N, C, H, W).
        mean, std: one number a channel, as :func:`channel_statistics` gives them.

    Raises ShapeError when their lengths are not C, and UsageError for a std that is not positive.

    >>> images = np.array([0.0, 2.0, 4.0, 6.0]).reshape(2, 1, 1, 2)
    >>> normalize(images, mean=[3.0], std=[2.0]).ravel().tolist()
    [-1.5, -0.5, 0.5, 1.5]
    """
    if images.ndim != 4 or not len(mean) == len(std) == images.shape[1]:
        raise ShapeError(
            f"normalize: needs images (N, C, H, W) and one mean and one std a channel,"
            f" got {len(mean)} and {len(std)}.\n  " + describe(images=images)
        )
    if not all(s > 0 for s in std):
        raise UsageError(
            f"normalize: std must be positive, got {tuple(std)}; a channel that never changes"
            " cannot be normalised: drop it, or give it a std of 1."
        )
    shape = (1, -1, 1, 1)
    shift = np.asarray(mean, dtype=np.float32).reshape(shape)
    scale = np.asarray(std, dtype=np.float32).reshape(shape)
    out = images.astype(np.float32)
    out -= shift
    out /= scale
    return out


def _check_part(
    what: str, images: NDArray[np.generic], labels: NDArray[np.generic], num_classes: int
) -> None:
    """Raise unless images (N, C, H, W) and labels (N,) fit together."""
    if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels):
        raise ShapeError(
            f"{what}: needs images (N, C, H, W) and labels (N,) of one length.\n  "
            + describe(images=images, labels=labels)
        )
    if images.dtype != np.float32 or labels.dtype != np.int64:
        raise DTypeError(
            f"{what}: needs float32 images and int64 labels.\n  "
            + describe(images=images, labels=labels)
        )
    if not len(labels):
        raise DataError(f"{what}: is empty.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"{what}: labels run from {low} to {high}, but the {num_classes} classes are numbered"
            f" 0 to {num_classes - 1}."
        )
