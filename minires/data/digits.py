"""The 8x8 digits: 1,797 real handwritten digits, small enough to be part of the package.

Where they come from, and under which licence, is told in files/ATTRIBUTION.md beside them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from minires.data.assemble import Normalization, assemble
from minires.data.dataset import Dataset
from minires.data.packaged import Layout, read_packaged

__all__ = ["DIGITS_FILE", "load_digits"]

DIGITS_FILE = Path(__file__).with_name("files") / "digits.npz"

_SHA256 = "aa88c590b6a23c796271c3d9d496206b2a24fcde41c4378749a6732edd29b26b"  # of the arrays
_LAYOUT: Layout = {
    "images": ((1797, 8, 8), np.dtype("u1"), 16),  # shape, dtype, greatest value
    "labels": ((1797,), np.dtype("u1"), 9),
    "test_index": ((360,), np.dtype("<u2"), 1796),
}


def load_digits(
    *, normalize: Normalization = True, path: str | os.PathLike[str] | None = None
) -> Dataset:
    """The digits as a :class:`Dataset`: 1,437 training and 360 test images of shape (1, 8, 8).

    The split is stored in the file, the same for everybody, and takes one fifth of each class.  It
    was drawn image by image, so digits of one writer are on both sides.
    Pixels are the stored 0 .. 16 divided by 16; the mean and std are those of the training part.

    Args:
        normalize: ``(pixels - mean) / std`` if true, else pixels between 0 and 1 (and the mean
            and std of the data set are 0 and 1); "pixel" takes off the mean image alone.
        path: another copy of digits.npz; None means the one in the package.

    Raises DataError when the file is missing, damaged, or something else; UsageError for another
    ``normalize``.

    >>> load_digits()
    Dataset('digits': 1437 train + 360 test images of (1, 8, 8), 10 classes, mean (0.3055), \
std (0.3761))
    """
    file = Path(DIGITS_FILE if path is None else path)
    images, labels, test_index = read_packaged(
        "digits", file, _LAYOUT, f"sha256:{_SHA256}", own=path is None
    )
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[test_index] = True
    images = images[:, None]  # (1797, 1, 8, 8)
    return assemble(
        "digits",
        (images[~is_test], labels[~is_test]),
        (images[is_test], labels[is_test]),
        tuple("0123456789"),
        greatest=16,
        normalize=normalize,
    )
