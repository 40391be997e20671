"""A data set: images and labels, a training and a test part, and the scaling they went through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minires.errors import DataError, DTypeError, ShapeError, UsageError, describe
from minires.rng import check_seed

__all__ = ["Dataset", "channel_statistics", "normalize", "subtract_pixel_mean"]


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
        pixel_mean: the mean image (C, H, W), float32, that was taken off by
            :func:`subtract_pixel_mean`, to be added too, or None.

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
    pixel_mean: NDArray[np.float32] | None = None

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
        if self.pixel_mean is not None and self.pixel_mean.shape != self.image_shape:
            raise ShapeError(
                f"{self.name}: pixel_mean must have the shape of an image, {self.image_shape}.\n  "
                + describe(pixel_mean=self.pixel_mean)
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

    def take(self, train: int | None = None, test: int | None = None, *, seed: int = 0) -> Dataset:
        """A part of the data set: ``train`` training and ``test`` test images; None means all.

        Each class keeps its share: of n images from N it gets n/N of its own, rounded down, and the
        few that are then missing go to the classes that lost most by it.  Which images of a class
        is drawn from ``seed``; they stay in their order.  The images are copies, scaled as they
        were: mean, std and pixel_mean are those of the whole.

        Raises UsageError for a number that is not from 1 to what there is, or a seed that is none.

        >>> images = np.zeros((6, 1, 2, 2), dtype=np.float32)
        >>> part = images, np.array([0, 0, 0, 0, 1, 1])
        >>> data = Dataset("tiny", *part, *part, ("a", "b"), (0.0,), (1.0,))
        >>> data.take(3, seed=1).train_labels
        array([0, 0, 1])
        """
        seed = check_seed(seed, f"{self.name}, take")
        parts: dict[str, Any] = {}
        wanted = (("train", train, *self.train), ("test", test, *self.test))
        for stream, (part, n, images, labels) in enumerate(wanted):
            if n is None:
                continue
            whole = isinstance(n, Integral) and not isinstance(n, bool)
            if not whole or not 1 <= n <= len(labels):
                raise UsageError(
                    f"{self.name}: cannot take {n!r} of the {len(labels)} images of the {part}"
                    f" part; ask for a whole number from 1 to {len(labels)}."
                )
            chosen = _stratified(labels, int(n), np.random.default_rng((seed, stream)))
            parts |= {f"{part}_images": images[chosen], f"{part}_labels": labels[chosen]}
        return replace(self, **parts)

    def __repr__(self) -> str:
        mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        return (
            f"Dataset({self.name!r}: {len(self)} train + {len(self.test_labels)} test images of"
            f" {self.image_shape}, {self.num_classes} classes, mean ({mean}), std ({std})"
            f"{'' if self.pixel_mean is None else ', less the mean image'})"
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


def subtract_pixel_mean(dataset: Dataset) -> Dataset:
    """``images - pixel_mean``, the mean image (C, H, W) of the training part (He et al. 2015, 4.2).

    The test images lose the same image.  It is kept as ``pixel_mean`` of the result, so that
    ``images * std + mean + pixel_mean`` gives the pixels again.

    Raises UsageError when the data set was scaled already, by a mean, a std or another mean image:
    what is taken off would not be the mean of the pixels.

    >>> images = np.array([0.0, 1.0, 0.5, 0.0], dtype=np.float32).reshape(2, 1, 1, 2)
    >>> part = images, np.array([0, 1])
    >>> data = subtract_pixel_mean(Dataset("tiny", *part, *part, ("a", "b"), (0.0,), (1.0,)))
    >>> data.pixel_mean.ravel().tolist(), data.train_images.ravel().tolist()
    ([0.25, 0.5], [-0.25, 0.5, 0.25, -0.5])
    """
    if any(dataset.mean) or set(dataset.std) != {1.0} or dataset.pixel_mean is not None:
        raise UsageError(
            f"subtract_pixel_mean: needs pixels as they are, but they were scaled: {dataset!r};"
            " load the data set with normalize=False."
        )
    mean = dataset.train_images.mean(axis=0, dtype=np.float64).astype(np.float32)  # (C, H, W)
    return replace(
        dataset,
        train_images=dataset.train_images - mean,
        test_images=dataset.test_images - mean,
        pixel_mean=mean,
    )


def _stratified(
    labels: NDArray[np.int64], n: int, generator: np.random.Generator
) -> NDArray[np.integer]:
    """The places (n,), in order, of ``n`` labels with each class in proportion."""
    counts = np.bincount(labels)
    shares, rests = np.divmod(counts * n, len(labels))
    most_lost = np.argsort(-rests, kind="stable")
    shares[most_lost[: n - shares.sum()]] += 1
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:share]
        for label, share in enumerate(shares)
    ]
    return np.sort(np.concatenate(chosen))


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
