"""NumPy archives (.npz) of plain arrays: a zip with one .npy entry an array, never a pickle."""

from __future__ import annotations

import ast
import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from minires.errors import DataError
from minires.saving.content import File, array_from, open_zip, read_content, read_entry

__all__ = ["npz_bytes", "read_npz"]

_MADE = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can say: the same arrays, the same bytes
_ENDING = ".npy"
_KINDS = "biufcUS"  # numbers, truth values and texts
_LONGEST_HEADER = 10_000
# The layout of the length of the header, and where that ends, by version of the format.
_VERSIONS = {b"\1": ("<H", 10), b"\2": ("<I", 12), b"\3": ("<I", 12)}


def npz_bytes(arrays: Mapping[str, np.ndarray], *, compress: bool = True) -> bytes:
    """The archive that ``numpy.load`` reads back as ``arrays``, in this order.

    The same arrays give the same bytes, at any time.

    Args:
        arrays: by name; slashes and dots in names are kept, and so are arrays without dimensions.
        compress: whether to deflate them.

    Raises DataError for an array of something else than numbers, truth values and texts.

    >>> arrays = {"fc/bias": np.ones(2), "step": np.array(3)}
    >>> archive = io.BytesIO(npz_bytes(arrays))
    >>> {name: array.tolist() for name, array in read_npz(archive).items()}
    {'fc/bias': [1.0, 1.0], 'step': 3}
    """
    import zipfile

    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, array in arrays.items():
            array = np.asarray(array)
            if array.dtype.kind not in _KINDS:
                raise DataError(f"npz: {name} holds {array.dtype}, which are no numbers or texts.")
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(name + _ENDING, _MADE)
            entry.compress_type = method
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


def read_npz(file: File) -> dict[str, np.ndarray]:
    """All arrays of an archive, by name, in its order; numbers in the byte order of this machine.

    Args:
        file: its name, or its content in memory.

    Raises:
        DataError: with the file, the entry and the reason, when it is missing, is no archive, was
            cut short or damaged, or holds anything but numbers, truth values and texts; also when
            it claims to unpack to more than 1 GiB that is more than 100 times its size.
    """
    shown, content = read_content(file)
    if content.startswith(np.lib.format.MAGIC_PREFIX):
        raise DataError(f"{shown} is no .npz archive: it is a single array (.npy).")
    arrays = {}
    with open_zip(shown, content, ".npz archive") as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(_ENDING)
            if name == entry.filename:
                raise DataError(f"{shown} is no .npz archive: its entry {name!r} is no array.")
            unpacked = read_entry(shown, archive, entry)
            try:
                arrays[name] = _array(unpacked)
            # the header is a Python literal: damaged bytes there can fail in any way
            except Exception as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise DataError(f"{shown}: its entry {name!r} is no array ({reason}).") from None
    return arrays


def _array(content: bytes) -> np.ndarray:
    """The array in the bytes of a .npy file; :mod:`numpy.lib.format` describes the layout."""
    magic, version = content[:6], content[6:7]
    if magic != np.lib.format.MAGIC_PREFIX or version not in _VERSIONS:
        raise ValueError("it does not begin like one")
    form, start = _VERSIONS[version]
    (length,) = struct.unpack_from(form, content, 8)
    if length > _LONGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    text = content[start : start + length].decode("utf-8" if version == b"\3" else "latin1")
    about: dict[str, Any] = ast.literal_eval(text.strip())
    dtype, shape = _plain_dtype(about["descr"]), about["shape"]
    if about["fortran_order"]:
        return array_from(content[start + length :], dtype, shape[::-1]).T
    return array_from(content[start + length :], dtype, shape)


def _plain_dtype(described: Any) -> np.dtype:
    if not isinstance(described, str):
        raise ValueError("it holds structures, not plain numbers or texts")
    dtype = np.dtype(described)
    if dtype.kind == "O":
        raise ValueError("it holds objects, which only running code could read")
    if dtype.kind not in _KINDS:
        raise ValueError(f"it holds {dtype}, not plain numbers or texts")
    return dtype
