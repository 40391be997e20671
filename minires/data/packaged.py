"""Reads the archives of arrays that are part of the package, and checks what it read."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from minires.data.checksums import has_checksum
from minires.errors import DataError

__all__ = ["Layout", "read_packaged"]

Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any], int]]


def read_packaged(
    name: str, path: Path, layout: Layout, checksum: str, *, own: bool
) -> list[NDArray[np.integer]]:
    """The arrays stored in an .npz archive, in the order of ``layout``.

    Args:
        name: the data set, for the messages.
        path: the archive.
        layout: for each array its shape, its dtype and the greatest value it may have.
        checksum: of the bytes of the arrays, one after the other; not of the file, so that a copy
            which was only compressed again is still the same data.
        own: it is the file of the package; who named another can name a better one.

    Raises DataError when the file is missing, damaged, or something else.
    """
    try:
        arrays = _read(path, layout)
        _check(arrays, layout, checksum)
    except _Unfit as error:
        mend = "reinstall minires"
        if not own:
            mend += f", or name a good copy of {name}.npz with path="
        raise DataError(f"{name}: {path} {error}; {mend}.") from error.__cause__
    return arrays


class _Unfit(Exception):
    """What is wrong with the file, as the end of a sentence."""


def _read(path: Path, layout: Layout) -> list[NDArray[np.integer]]:
    from zipfile import BadZipFile  # here: it takes longer to import than the whole of this module

    unreadable = (OSError, EOFError, KeyError, RuntimeError, ValueError, BadZipFile, zlib.error)
    try:
        # The bytes first: a zip archive that turns out broken would stay open.
        archive = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise ValueError(f"a single array, not an archive of {len(layout)}")
        with archive:
            return [archive[key] for key in layout]
    except unreadable as error:
        text = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        if text and "allow_pickle" in text:  # NumPy's advice would run whatever code is in the file
            text = "not an archive of plain arrays"
        raise _Unfit(f"cannot be read ({text or type(error).__name__})") from error


def _check(arrays: list[NDArray[np.integer]], layout: Layout, checksum: str) -> None:
    for (name, (shape, dtype, greatest)), array in zip(layout.items(), arrays, strict=True):
        if array.shape != shape or array.dtype != dtype:
            raise _Unfit(f"has {name} {array.shape} {array.dtype} instead of {shape} {dtype}")
        if array.max() > greatest:
            raise _Unfit(f"has {name} up to {array.max()} instead of {greatest}")
    if not has_checksum(checksum, (array.tobytes() for array in arrays)):
        raise _Unfit("does not have the checksum of the arrays that were published")
