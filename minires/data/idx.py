"""The IDX format of MNIST: a header with the shape, then the numbers, often gzipped.

::

    bytes 0, 1    zero
    byte  2       the type of the numbers: 8 for unsigned bytes, see _TYPES
    byte  3       how many dimensions there are
    4 each        the length of each dimension, most significant byte first
    then          the numbers, the last dimension fastest, most significant byte first

Source: https://yann.lecun.com/exdb/mnist, "The IDX file format".
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from minires.data.assemble import Normalization, Part, assemble
from minires.data.checksums import has_checksum
from minires.data.dataset import Dataset
from minires.data.places import find_files
from minires.errors import DataError

__all__ = ["IdxSet", "load_idx_set", "read_idx", "read_idx_set"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20  # bytes read at a time: what a header claims is not set aside in advance


def read_idx(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, ...] | None = None,
    checksum: str | None = None,
) -> NDArray[Any]:
    """The array in an IDX file, gzipped or not (which is seen from its first bytes).

    Args:
        path: the file.
        shape: what the file must hold; None for any shape.
        checksum: of the content after unzipping, such as "md5:..."; None to leave it unchecked.

    Raises DataError, with the file and the reason, when the file is missing, is no IDX file, is cut
    short or too long, is damaged, or holds something else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels")
    ...     size = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1]))
    ...     read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            if not zipped:
                return _read(file, shape, checksum)
            import gzip

            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, shape, checksum)
    except _Unfit as error:
        raise DataError(f"{path} {error}.") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read ({reason}).") from error


class _Unfit(Exception):
    """What is wrong with the file, as the end of a sentence."""


def _read(stream: Any, shape: tuple[int, ...] | None, checksum: str | None) -> NDArray[Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        raise _Unfit(f"is no IDX file: it begins with the bytes {magic.hex(' ') or '(none)'}")
    header = _read_up_to(stream, 4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise _Unfit("is cut short, inside its header")
    found = tuple(np.frombuffer(header, ">u4").tolist())
    dtype = np.dtype(_TYPES[magic[2]])
    if shape is not None and (found, dtype) != (shape, np.dtype("u1")):
        raise _Unfit(f"has {found} {dtype} instead of {shape} uint8")
    size = dtype.itemsize
    for length in found:
        size *= length
    body = _read_up_to(stream, size + 1)
    if len(body) != size:
        how = "cut short: it has" if len(body) < size else "too long: it has more than"
        raise _Unfit(f"is {how} {min(len(body), size):,} of {size:,} bytes after the header")
    if checksum is not None and not has_checksum(checksum, (magic, header, body)):
        raise _Unfit("does not have the checksum of the published file: it is another, or damaged")
    try:
        array = np.frombuffer(body, dtype).reshape(found)
    except ValueError as error:  # too many dimensions, or too long ones beside an empty one
        raise _Unfit(f"has a shape that no array can have ({error})") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_up_to(stream: BinaryIO, size: int) -> bytearray:
    content = bytearray()
    while piece := stream.read(min(_PIECE, size - len(content))):
        content += piece
    return content


@dataclass(frozen=True)
class IdxSet:
    """A data set of square grey images that is published as four IDX files.

    Args:
        name: as the command line calls it; also that of the sub-folder.
        classes: their names, in the order of the labels.
        checksums: of the contents of the four files, in the order of ``files``.
        train, test: how many images each part has.
        size: height and width of an image, in pixels.
        otherwise: other ways to come by the data, for the message when no folder has it.
    """

    name: str
    classes: Sequence[str]
    checksums: Sequence[str | None]
    train: int = 60_000
    test: int = 10_000
    size: int = 28
    otherwise: str = ""

    @property
    def files(self) -> Mapping[str, tuple[int, ...]]:
        """The four published files, and the shape of what they hold."""
        image = (self.size, self.size)
        return {
            "train-images-idx3-ubyte": (self.train, *image),
            "train-labels-idx1-ubyte": (self.train,),
            "t10k-images-idx3-ubyte": (self.test, *image),
            "t10k-labels-idx1-ubyte": (self.test,),
        }


def read_idx_set(
    source: IdxSet, data_dir: str | os.PathLike[str] | None = None
) -> tuple[Part, Part]:
    """The stored images (N, H, W) and labels (N,) of the training part and of the test part.

    Raises DataError when files are missing, damaged, or something else.
    """
    spellings = [_spellings(name) for name in source.files]
    paths = find_files(source.name, [spellings], data_dir, otherwise=source.otherwise)
    arrays = [
        read_idx(path, shape=shape, checksum=checksum)
        for path, shape, checksum in zip(
            paths, source.files.values(), source.checksums, strict=True
        )
    ]
    for path, labels in zip(paths[1::2], arrays[1::2], strict=True):
        if labels.max() >= len(source.classes):
            raise DataError(
                f"{path} has a label {labels.max()}, but the {len(source.classes)} classes are"
                f" numbered 0 to {len(source.classes) - 1}."
            )
    train_images, train_labels, test_images, test_labels = arrays
    return (train_images, train_labels), (test_images, test_labels)


def load_idx_set(
    source: IdxSet,
    name: str,
    data_dir: str | os.PathLike[str] | None,
    normalize: Normalization,
) -> Dataset:
    """What :func:`read_idx_set` reads, as a :class:`Dataset` called ``name``."""
    train, test = (
        (images[:, None], labels)  # (N, 1, H, W)
        for images, labels in read_idx_set(source, data_dir)
    )
    return assemble(name, train, test, source.classes, normalize=normalize)


def _spellings(name: str) -> tuple[str, ...]:
    """train-images-idx3-ubyte is also written train-images.idx3-ubyte; both may be gzipped."""
    dotted = name.replace("-idx", ".idx")
    return name, f"{name}.gz", dotted, f"{dotted}.gz"
