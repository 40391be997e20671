"""Makes a data set of images and labels as they are stored: whole numbers, in two parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minires.data.dataset import Dataset, channel_statistics, subtract_pixel_mean
from minires.data.dataset import normalize as normalize_images
from minires.errors import UsageError

__all__ = ["Normalization", "Part", "assemble", "check_normalization"]

Normalization = bool | Literal["pixel"]
Part = tuple[NDArray[np.integer], NDArray[np.integer]]


def assemble(
    name: str,
    train: Part,
    test: Part,
    classes: Sequence[str],
    *,
    greatest: int = 255,
    normalize: Normalization = True,
) -> Dataset:
    """A :class:`Dataset` of stored pixels 0 .. ``greatest``, which become numbers from 0 to 1.

    Args:
        name, classes: as in Dataset.
        train, test: images (N, C, H, W) and labels (N,), whole numbers.
        normalize: True for ``(pixels - mean) / std`` with one mean and std a channel; "pixel" for
            the pixels less the mean image, as in He et al. 2015, section 4.2; False for neither.
            What is taken off and divided by is that of the training part.

    Raises UsageError for another ``normalize``, and what Dataset raises.

    >>> pixels, labels = np.array([[0], [255]], dtype=np.uint8), np.array([0, 1])
    >>> part = pixels[:, :, None, None], labels
    >>> assemble("tiny", part, part, ("dark", "light")).train_images.ravel().tolist()
    [-1.0, 1.0]
    """
    check_normalization(name, normalize)
    channels = train[0].shape[1]
    raw = Dataset(
        name=name,
        train_images=_scaled(train[0], greatest),
        train_labels=train[1].astype(np.int64),
        test_images=_scaled(test[0], greatest),
        test_labels=test[1].astype(np.int64),
        classes=tuple(classes),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    if not normalize:
        return raw
    if normalize == "pixel":
        return subtract_pixel_mean(raw)
    mean, std = channel_statistics(raw.train_images)
    return replace(
        raw,
        train_images=normalize_images(raw.train_images, mean, std),
        test_images=normalize_images(raw.test_images, mean, std),
        mean=mean,
        std=std,
    )


def check_normalization(name: str, normalize: object) -> None:
    """Raise UsageError, which names the data set, unless it is one of Normalization."""
    if normalize not in (True, False, "pixel"):
        raise UsageError(
            f"{name}: normalize must be True (per channel), 'pixel' (less the mean image) or"
            f" False, got {normalize!r}."
        )


def _scaled(images: NDArray[np.integer], greatest: int) -> NDArray[np.float32]:
    pixels = images.astype(np.float32)
    pixels /= greatest
    return pixels
