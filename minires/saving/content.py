"""The bytes of a file of weights: read at once, and not believed before they are checked."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minires.errors import DataError

if TYPE_CHECKING:
    import zipfile

__all__ = ["Content", "File", "array_from", "check_claim", "open_zip", "read_content", "read_entry"]


class Content(NamedTuple):
    """A file that was read: how messages name it, and its bytes."""

    shown: str
    data: bytes


File = str | os.PathLike[str] | io.BytesIO | Content

_LARGEST, _LARGEST_RATIO = 1 << 30, 100  # bytes; times the size of the file


def read_content(file: File) -> Content:
    """All of ``file``; DataError if it cannot be read."""
    if isinstance(file, Content):
        return file
    if isinstance(file, io.BytesIO):
        return Content("the file in memory", file.getvalue())
    shown = repr(os.fspath(file))
    try:
        return Content(shown, Path(file).read_bytes())
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # a zero byte in the name
        raise DataError(f"{shown} cannot be read: {error}.") from None


def open_zip(shown: str, content: bytes, kind: str) -> zipfile.ZipFile:
    """The zip archive in ``content``, whose directory has each name once and believable sizes."""
    import zipfile

    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    # zipfile lets through whatever a damaged directory gives: struct.error, UnicodeDecodeError, ...
    except Exception as error:
        reason = "it is cut short or damaged" if content.startswith(b"PK") else "it is no zip"
        raise DataError(f"{shown} is no {kind}: {reason} ({error}).") from None
    entries = archive.infolist()
    seen: set[str] = set()
    for entry in entries:
        if entry.filename in seen:
            raise DataError(
                f"{shown} has more than one entry {entry.filename!r}: which one counts?"
            )
        seen.add(entry.filename)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{shown}: its entry {entry.filename!r} is not stored or deflated.")
    check_claim(shown, sum(entry.file_size for entry in entries), len(content))
    return archive


def check_claim(shown: str, claimed: int, size: int) -> None:
    """A file of ``size`` bytes may unpack to 1 GiB, or to 100 times its size if that is more."""
    if claimed > max(_LARGEST, _LARGEST_RATIO * size):
        raise DataError(
            f"{shown} has {size} bytes and claims to unpack to {claimed}: more than 1 GiB, and "
            f"more than {_LARGEST_RATIO} times its size. It is damaged or made to fill memory."
        )


def read_entry(shown: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """One entry of an archive: as many bytes as it claims, with the right checksum."""
    try:
        with archive.open(entry) as stream:
            content = stream.read(entry.file_size)  # read() would unpack before it looks
        if len(content) != entry.file_size:
            raise ValueError(f"{len(content)} bytes instead of {entry.file_size}")
    # zipfile and zlib have many ways to fail on damaged bytes; a wrong checksum is one of them
    except Exception as error:
        raise DataError(
            f"{shown}: its entry {entry.filename!r} is damaged ({error or type(error).__name__})."
        ) from None
    return content


def array_from(content: bytes, dtype: Any, shape: Any) -> np.ndarray:
    """A fresh array of ``content``, in the byte order of this machine; ValueError if it is not one.

    >>> array_from(b"\\0\\2", ">u2", (1,)).tolist()
    [2]
    """
    dtype = np.dtype(dtype)
    if not isinstance(shape, tuple | list) or not all(
        type(n) is int and 0 <= n < 1 << 62 for n in shape
    ):
        raise ValueError(f"its shape is {shape!r:.80}")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes for {tuple(shape)} {dtype}")
    if dtype.kind == "b" and content.strip(b"\0\1"):
        raise ValueError("a truth value that is neither 0 nor 1")
    return np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(shape)
