"""Reads chosen files out of a .tar.gz, in memory; nothing is ever unpacked to disk."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tarfile
    from gzip import GzipFile

from minires.errors import DataError

__all__ = ["read_members"]

_PIECE = 1 << 20
_ROOM = 1 << 20  # bytes that headers and files nobody asked for may take
_ENDS = 10  # reads at the end that give nothing


def read_members(path: Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    """The content of the files named in ``limits`` from the .tar.gz at ``path``, in that order.

    Args:
        path: the archive.
        limits: for each file, by its full name in the archive, how many bytes it may have at most.
            All of the archive, unzipped, may have little more than their sum.

    Raises DataError when the archive cannot be read, is cut short or damaged, lacks a file, has one
    that is longer, or has anything in it but files and folders with names below its own root.

    >>> read_members(Path("none.tar.gz"), {})
    Traceback (most recent call last):
    minires.errors.DataError: none.tar.gz cannot be read (No such file or directory).
    """
    import gzip
    import tarfile

    try:
        with path.open("rb") as file, gzip.GzipFile(fileobj=file) as unzipped:
            stream = _Limited(unzipped, sum(limits.values()) + _ROOM)
            with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
                found = _read(archive, limits)
            while stream.read(_PIECE):  # to the end, where the checksum of gzip stands
                pass
    except _Unfit as error:
        raise DataError(f"{path} {error}.") from None
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read ({reason}).") from error
    lacking = [name for name in limits if name not in found]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}.")
    return {name: found[name] for name in limits}


class _Unfit(Exception):
    """What is wrong with the archive, as the end of a sentence."""


class _Limited:
    """A stream that refuses to give more than ``room`` bytes, and to be read on and on at its end.

    The reader of tar believes a header that announces 2^60 bytes, and would step over them.
    """

    def __init__(self, stream: GzipFile, room: int):
        self.stream, self.room, self.ends = stream, room, 0

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.room -= len(content)
        if self.room < 0:
            raise _Unfit("is far larger, unzipped, than the published archive")
        self.ends += not content
        if self.ends > _ENDS:
            raise _Unfit("is damaged: it ends before what its headers announce")
        return content


def _read(archive: tarfile.TarFile, limits: Mapping[str, int]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for member in archive:
        name = member.name.removeprefix("./")
        if not (member.isreg() or member.isdir()):
            raise _Unfit(f"has {name!r}, which is a link or a device, and only files are read")
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
            raise _Unfit(f"has {name!r}, which points outside of the archive")
        if name not in limits or member.isdir():
            continue
        if member.size > limits[name]:
            raise _Unfit(f"has {name!r} of {member.size:,} bytes, more than {limits[name]:,}")
        stream = archive.extractfile(member)
        assert stream is not None  # it is a file
        found[name] = stream.read()
    return found
