"""MNIST: 70,000 handwritten digits of 28x28."""

from __future__ import annotations

import os

from minires.data.assemble import Normalization
from minires.data.dataset import Dataset
from minires.data.idx import IdxSet, load_idx_set

__all__ = ["MNIST", "load_mnist"]

MNIST = IdxSet(
    "mnist",
    tuple("0123456789"),
    (
        "md5:6bbc9ace898e44ae57da46a324031adb",
        "md5:a25bea736e30d166cdddb491f175f624",
        "md5:2646ac647ad5339dbf082846283269ea",
        "md5:27ae3e4e09519cfbb04c329615203637",
    ),
)


def load_mnist(
    *, data_dir: str | os.PathLike[str] | None = None, normalize: Normalization = True
) -> Dataset:
    """MNIST as a :class:`Dataset`: 60,000 training and 10,000 test images of shape (1, 28, 28).

    The four IDX files, gzipped or not, are looked for in the folders of
    :func:`~minires.data.places.candidate_folders`; ``minires fetch mnist`` gets them.

    Args:
        data_dir: look there, and in its sub-folder ``mnist``, alone.
        normalize: True for ``(pixels - mean) / std``, False for pixels between 0 and 1, "pixel"
            for pixels less the mean image of the training part.

    Raises DataError when files are missing, damaged, or something else; UsageError for another
    ``normalize``.  Takes about 220 MB.

    Source: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document
    recognition".
    """
    return load_idx_set(MNIST, "mnist", data_dir, normalize)
