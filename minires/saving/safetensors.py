"""The safetensors format: the length of a header, the header in JSON, the bytes of the tensors.

    8 bytes     N, the length of the header, unsigned, little-endian
    N bytes     {"fc.weight": {"dtype": "F32", "shape": [10, 64], "data_offsets": [0, 2560]}, ...}
    the rest    the tensors, little-endian, in C order, without gaps; offsets count from here

Nothing in it can be run.  The format is described at
https://huggingface.co/docs/safetensors/index#format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from minires.errors import DataError
from minires.saving.content import File, array_from, read_content

__all__ = ["read_metadata", "read_safetensors", "safetensors_bytes"]

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_CODES = {text: code for code, text in _DTYPES.items()}
_BF16 = "BF16"  # the upper half of a float32; NumPy has no such type
_METADATA = "__metadata__"
_LONGEST_HEADER = 100_000_000


def safetensors_bytes(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The file that holds ``tensors``, in this order, and texts about them.

    The larger element types come first among the bytes, so that each tensor is aligned.

    Raises DataError for element types that the format does not know.

    >>> import io
    >>> file = io.BytesIO(safetensors_bytes({"bias": np.ones(2), "step": np.array(3)}))
    >>> {name: array.tolist() for name, array in read_safetensors(file).items()}
    {'bias': [1.0, 1.0], 'step': 3}
    """
    header: dict[str, Any] = {} if metadata is None else {_METADATA: dict(metadata)}
    pieces: dict[str, bytes] = {}
    for name, array in tensors.items():
        little = np.asarray(array).astype(np.asarray(array).dtype.newbyteorder("<"), copy=False)
        if little.dtype.str not in _CODES or name == _METADATA:
            raise DataError(
                f"safetensors: {name} of {little.dtype} is not what the format can hold."
            )
        header[name] = {"dtype": _CODES[little.dtype.str], "shape": list(little.shape)}
        pieces[name] = little.tobytes()
    start = 0
    by_size = sorted(pieces, key=lambda name: -np.dtype(_DTYPES[header[name]["dtype"]]).itemsize)
    for name in by_size:
        header[name]["data_offsets"] = [start, start + len(pieces[name])]
        start += len(pieces[name])
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(pieces[name] for name in by_size)])


def read_safetensors(file: File) -> dict[str, np.ndarray]:
    """All tensors of a file, by name, in the order of its header; bfloat16 becomes float32.

    Args:
        file: its name, or its content in memory.

    Raises:
        DataError: with the file, the tensor and the reason, when the file is missing, is of another
            kind, was cut short or damaged, or when tensors overlap or leave bytes between them.
    """
    shown, content = read_content(file)
    header, _, start = _header(shown, content)
    tensors, ends = {}, []
    for name, about in header.items():
        try:
            begin, end = _offsets(about, len(content) - start)
            tensors[name] = _tensor(about, content[start + begin : start + end])
        except ValueError as error:
            raise DataError(f"{shown}: its tensor {name!r} cannot be read: {error}.") from None
        ends.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(ends):
        if begin != at:
            what = "overlaps the one before" if begin < at else "leaves bytes before it unused"
            raise DataError(f"{shown}: its tensor {name!r} at byte {begin} {what} (up to {at}).")
        at = end
    if at != len(content) - start:
        raise DataError(f"{shown} has {len(content) - start - at} bytes after the last tensor.")
    return tensors


def read_metadata(file: File) -> dict[str, str]:
    """The texts that were written down with the tensors; DataError as :func:`read_safetensors`."""
    shown, content = read_content(file)
    return _header(shown, content)[1]


def _header(shown: str, content: bytes) -> tuple[dict[str, Any], dict[str, str], int]:
    """What is said of each tensor, the texts, and where the tensors begin."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_LONGEST_HEADER, len(content) - 8):
        raise DataError(
            f"{shown} is no safetensors file, or is cut short: it has {len(content)} bytes, and a "
            f"header of {length}."
        )
    try:
        text = content[8 : 8 + length].decode("utf-8")
        header = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown} is no safetensors file: its header is bad ({error}).") from None
    if not text.startswith("{"):
        raise DataError(f"{shown} is no safetensors file: its header is no JSON object.")
    texts = header.pop(_METADATA, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DataError(f"{shown}: its {_METADATA} is not a table of texts.")
    return header, texts, 8 + length


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"{name!r} is there more than once")
        table[name] = value
    return table


def _offsets(about: Any, available: int) -> tuple[int, int]:
    if not isinstance(about, dict) or set(about) != {"dtype", "shape", "data_offsets"}:
        raise ValueError("its entry needs just dtype, shape and data_offsets")
    offsets = about["data_offsets"]
    if not isinstance(offsets, list) or [type(n) for n in offsets] != [int, int]:
        raise ValueError(f"data_offsets {offsets!r:.80}")
    begin, end = offsets
    if not 0 <= begin <= end <= available:
        raise ValueError(f"it lies at {begin} to {end} of {available} bytes; the file is cut short")
    return begin, end


def _tensor(about: dict[str, Any], content: bytes) -> np.ndarray:
    code, shape = about["dtype"], about["shape"]
    if not isinstance(shape, list):
        raise ValueError(f"its shape is {shape!r:.80}")
    if code == _BF16:
        upper = array_from(content, "<u2", shape).astype(np.uint32)
        return (upper << 16).view(np.float32)
    if not isinstance(code, str) or code not in _DTYPES:
        raise ValueError(f"elements of type {code!r:.80} are not known here")
    return array_from(content, _DTYPES[code], shape)
