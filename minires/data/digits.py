"""The 8x8 digits: 1,797 real handwritten digits, small enough to be part of the package.

Where they come from, and under which licence, is told in files/ATTRIBUTION.md beside them.
"""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from minires.data.dataset import Dataset, channel_statistics
from minires.data.dataset import normalize as normalize_images
from minires.errors import DataError

__all__ = ["DIGITS_FILE", "load_digits"]

DIGITS_FILE = Path(__file__).with_name("files") / "digits.npz"

# Of the bytes of the three arrays, in the order below; not of the file, so that a copy which was
# only compressed again is still the same data.
_SHA256 = "aa88c590b6a23c796271c3d9d496206b2a24fcde41c4378749a6732edd29b26b"
_LAYOUT = {
    "images": ((1797, 8, 8), np.dtype("u1"), 16),  # shape, dtype, greatest value
    "labels": ((1797,), np.dtype("u1"), 9),
    "test_index": ((360,), np.dtype("<u2"), 1796),
}


def load_digits(*, normalize: bool = True, path: str | os.PathLike[str] | None = None) -> Dataset:
    """The digits as a :class:`Dataset`: 1,437 training and 360 test images of shape (1, 8, 8).

    The split is stored in the file, the same for everybody, and takes one fifth of each class.  It
    was drawn image by image, so digits of one writer are on both sides.
    Pixels are the stored 0 .. 16 divided by 16; the mean and std are those of the training part.

    Args:
        normalize: ``(pixels - mean) / std`` if true, else pixels between 0 and 1 (and the mean
            and std of the data set are 0 and 1).
        path: another copy of digits.npz; None means the one in the package.

    Raises DataError when the file is missing, damaged, or something else.

    >>> load_digits()
    Dataset('digits': 1437 train + 360 test images of (1, 8, 8), 10 classes, mean (0.3055), \
std (0.3761))
    """
    own = path is None
    images, labels, test_index = _read(Path(DIGITS_FILE if path is None else path), own)
    pixels = images[:, None].astype(np.float32)  # (1797, 1, 8, 8)
    pixels /= 16
    targets = labels.astype(np.int64)
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[test_index] = True
    mean, std = channel_statistics(pixels[~is_test]) if normalize else ((0.0,), (1.0,))
    if normalize:
        pixels = normalize_images(pixels, mean, std)
    return Dataset(
        name="digits",
        train_images=pixels[~is_test],
        train_labels=targets[~is_test],
        test_images=pixels[is_test],
        test_labels=targets[is_test],
        classes=tuple("0123456789"),
        mean=mean,
        std=std,
    )


def _read(path: Path, own: bool) -> list[NDArray[np.integer]]:
    """The stored arrays, in the order of _LAYOUT, checked; DataError for anything else."""
    import hashlib  # here: these two take longer to import than the whole of this module
    from zipfile import BadZipFile

    unreadable = (OSError, EOFError, KeyError, RuntimeError, ValueError, BadZipFile, zlib.error)
    try:
        # The bytes first: a zip archive that turns out broken would stay open.
        archive = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise ValueError("a single array, not an archive of three")
        with archive:
            arrays = [archive[name] for name in _LAYOUT]
    except unreadable as error:
        text = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        if text and "allow_pickle" in text:  # NumPy's advice would run whatever code is in the file
            text = "not an archive of plain arrays"
        raise _damaged(path, own, f"cannot be read ({text or type(error).__name__})") from error
    for (name, (shape, dtype, greatest)), array in zip(_LAYOUT.items(), arrays, strict=True):
        if array.shape != shape or array.dtype != dtype:
            raise _damaged(
                path, own, f"has {name} {array.shape} {array.dtype} instead of {shape} {dtype}"
            )
        if array.max() > greatest:
            raise _damaged(path, own, f"has {name} up to {array.max()} instead of {greatest}")
    if hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest() != _SHA256:
        raise _damaged(path, own, "does not have the checksum of the digits that were published")
    return arrays


def _damaged(path: Path, own: bool, what: str) -> DataError:
    """``own`` is the file of the package; who named another can name a better one."""
    mend = "reinstall minires"
    if not own:
        mend += ", or name a good copy of digits.npz with path="
    return DataError(f"digits: {path} {what}; {mend}.")
