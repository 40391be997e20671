"""Fashion-MNIST: 70,000 pieces of clothing of 28x28, of which 6,000 are part of the package.

Where they come from, and under which licence, is told in files/ATTRIBUTION.md beside them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from minires.data.assemble import Normalization, assemble
from minires.data.dataset import Dataset
from minires.data.idx import IdxSet, load_idx_set
from minires.data.packaged import Layout, read_packaged
from minires.errors import UsageError

__all__ = ["FASHION_MNIST", "FASHION_MNIST_FILE", "load_fashion_mnist"]

FASHION_MNIST_FILE = Path(__file__).with_name("files") / "fashion_mnist.npz"
FASHION_MNIST = IdxSet(
    "fashion-mnist",
    (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    (
        "md5:f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "md5:9018921c3c673c538a1fc5bad174d6f9",
        "md5:8181f5470baa50b63fa0f6fddb340f0a",
        "md5:15d484375f8d13e6eb1aabb0c3f46965",
    ),
    otherwise=(
        ", or install Debian's package dataset-fashion-mnist; the 5,000 + 1,000 images in the"
        " package need nothing: load_fashion_mnist(), or --data fashion-mnist"
    ),
)

_SHA256 = "e2da9ac6c3d663d89e5a7be191f14cf6a8688dbd4597179257446cbbc4c82f92"  # of the arrays
_LAYOUT: Layout = {
    "train_images": ((5000, 28, 28), np.dtype("u1"), 255),  # shape, dtype, greatest value
    "train_labels": ((5000,), np.dtype("u1"), 9),
    "test_images": ((1000, 28, 28), np.dtype("u1"), 255),
    "test_labels": ((1000,), np.dtype("u1"), 9),
}


def load_fashion_mnist(
    *,
    full: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    normalize: Normalization = True,
) -> Dataset:
    """Fashion-MNIST as a :class:`Dataset` of images of shape (1, 28, 28) in ten classes.

    Args:
        full: False for the part in the package, 5,000 training and 1,000 test images, the same
            number of each class, drawn from the two parts of the published set.  True for all
            60,000 and 10,000; their four IDX files, gzipped or not, are looked for in the folders
            of :func:`~minires.data.places.candidate_folders`.  ``minires fetch fashion-mnist``
            gets them.
        data_dir: of the full set: look there, and in its sub-folder ``fashion-mnist``, alone.
        normalize: True for ``(pixels - mean) / std``, False for pixels between 0 and 1, "pixel"
            for pixels less the mean image of the training part.

    Raises DataError when files are missing, damaged, or something else; UsageError for a data_dir
    without ``full``, and for another ``normalize``.  The full set takes about 220 MB.

    Source: Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST: a novel image dataset for benchmarking
    machine learning algorithms".

    >>> load_fashion_mnist()
    Dataset('fashion-mnist': 5000 train + 1000 test images of (1, 28, 28), 10 classes, \
mean (0.2875), std (0.3534))
    """
    if full:
        return load_idx_set(FASHION_MNIST, "fashion-mnist-full", data_dir, normalize)
    if data_dir is not None:
        raise UsageError(
            "load_fashion_mnist: data_dir is for the full set; give full=True as well, or leave"
            " data_dir out for the part in the package."
        )
    train_images, train_labels, test_images, test_labels = read_packaged(
        "fashion_mnist", FASHION_MNIST_FILE, _LAYOUT, f"sha256:{_SHA256}", own=True
    )
    return assemble(
        "fashion-mnist",
        (train_images[:, None], train_labels),  # (5000, 1, 28, 28)
        (test_images[:, None], test_labels),
        FASHION_MNIST.classes,
        normalize=normalize,
    )
