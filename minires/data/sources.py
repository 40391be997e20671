"""Data sets by name, for the command line; in Python, call the loader itself."""

from __future__ import annotations

import os
from collections.abc import Callable

from minires.data.assemble import Normalization, check_normalization
from minires.data.cifar import load_cifar10, load_cifar100
from minires.data.dataset import Dataset, subtract_pixel_mean
from minires.data.digits import load_digits
from minires.data.fashion_mnist import load_fashion_mnist
from minires.data.mnist import load_mnist
from minires.data.shapes import synthetic_shapes
from minires.errors import DataError

__all__ = ["LOADERS", "load"]

Folder = str | os.PathLike[str] | None


def _load_shapes(data_dir: Folder, normalize: Normalization) -> Dataset:
    """5,000 training and 1,000 test images of (3, 32, 32), always the same."""
    check_normalization("shapes", normalize)
    data = synthetic_shapes(5000, normalize=normalize is True)
    return subtract_pixel_mean(data) if normalize == "pixel" else data


LOADERS: dict[str, Callable[[Folder, Normalization], Dataset]] = {
    "digits": lambda _, normalize: load_digits(normalize=normalize),
    "fashion-mnist": lambda _, normalize: load_fashion_mnist(normalize=normalize),
    "fashion-mnist-full": lambda data_dir, normalize: load_fashion_mnist(
        full=True, data_dir=data_dir, normalize=normalize
    ),
    "mnist": lambda data_dir, normalize: load_mnist(data_dir=data_dir, normalize=normalize),
    "cifar10": lambda data_dir, normalize: load_cifar10(data_dir=data_dir, normalize=normalize),
    "cifar100": lambda data_dir, normalize: load_cifar100(data_dir=data_dir, normalize=normalize),
    "shapes": _load_shapes,
}


def load(name: str, *, data_dir: Folder = None, normalize: Normalization = True) -> Dataset:
    """The data set called ``name``; the known names are the keys of LOADERS.

    Args:
        name: digits and fashion-mnist are in the package and shapes is drawn, so these take no
            files; fashion-mnist-full, mnist, cifar10 and cifar100 are read from a folder.
        data_dir: the folder that has the files; the sets that take none ignore it.
        normalize: True (per channel), "pixel" (less the mean image of the training part) or False.

    Raises DataError for a name that is not known, or data that is not there or cannot be read;
    UsageError for another ``normalize``.

    >>> load("digits").image_shape
    (1, 8, 8)
    >>> load("foo")
    Traceback (most recent call last):
    minires.errors.DataError: unknown data set 'foo'; known: cifar10, cifar100, digits, \
fashion-mnist, fashion-mnist-full, mnist, shapes
    """
    if name not in LOADERS:
        raise DataError(f"unknown data set {name!r}; known: {', '.join(sorted(LOADERS))}")
    return LOADERS[name](data_dir, normalize)
