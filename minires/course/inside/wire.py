"""How inputs and answers travel over a pipe: trees of arrays, and nothing that could run.

A message is two lengths, a header in JSON, and the bytes of the arrays:

    0  4  8               8 + n
    | n  | m  | JSON, n bytes | arrays, m bytes |

In the JSON an array is {"a": [dtype, shape]}, a list {"l": [...]}, a tuple {"t": [...]}, a dict
{"d": [[key, value], ...]}, bytes {"b": length}, a number that JSON does not know {"f": "nan"}.
Booleans, whole and other numbers, strings and None are themselves.  The arrays lie one behind the
other in the order in which the header names them, so none can point outside or at another's bytes,
and what is read is never larger than what was sent.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

__all__ = [
    "LONGEST_TEXT",
    "MOST_NOTES",
    "WireError",
    "checked_length",
    "decode",
    "encode",
    "read",
    "receive",
    "send",
    "size_once_read",
]

DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
DEEPEST = 32  # lists within lists
LONGEST_HEADER = 1 << 20  # bytes of JSON in an answer; once read, it takes some fifty times as much
UNLIMITED = 1 << 32  # as a limit: from the grader, who is trusted
LONGEST_EMPTY = 1 << 20  # numbers that an empty array would hold if its zeros were ones
# Of what goes wrong in a submission: so many errors are told, and so many characters of each text.
MOST_NOTES, LONGEST_TEXT = 20, 300
_HEAD = struct.Struct("<II")


class WireError(ValueError):
    """A value that cannot travel, or bytes that are no message."""


def encode(value: Any) -> bytes:
    """The value as one message.

    >>> decode(encode({"x": (1, [2.5, None]), "y": float("inf")}))
    {'x': (1, [2.5, None]), 'y': inf}
    >>> encode({1, 2})
    Traceback (most recent call last):
    ...
    minires.course.inside.wire.WireError: a set cannot be sent; return arrays, numbers, or lists
    """
    chunks: list[bytes] = []
    header = json.dumps(_pack(value, chunks, 0), allow_nan=False).encode()
    return b"".join([_HEAD.pack(len(header), sum(map(len, chunks))), header, *chunks])


def decode(message: bytes) -> Any:
    """The value of a message; WireError for anything that :func:`encode` does not make."""
    if len(message) < _HEAD.size:
        raise WireError("a message is cut short")
    n, m = _HEAD.unpack_from(message)
    if len(message) != _HEAD.size + n + m:
        raise WireError("a message is not as long as it says")
    try:
        tree = json.loads(message[_HEAD.size : _HEAD.size + n])
        data = _Data(memoryview(message)[_HEAD.size + n :])
        value = _unpack(tree, data, 0)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise WireError(f"a message cannot be read ({type(error).__name__})") from None
    if data.left:
        raise WireError("a message has bytes that belong to no array")
    return value


def send(stream: IO[bytes], value: Any) -> None:
    """Write one message."""
    stream.write(encode(value))
    stream.flush()


def receive(stream: IO[bytes], limit: int) -> Any:
    """Read one message of at most ``limit`` bytes; EOFError where there is none any more."""
    return decode(read(stream, limit))


def read(stream: IO[bytes], limit: int) -> bytes:
    """Read one message and leave it as it is; otherwise like :func:`receive`."""
    head = _read(stream, _HEAD.size)
    return head + _read(stream, checked_length(head, limit))


def size_once_read(message: bytes) -> int:
    """About how many bytes the value of a message takes: its lists far more than were sent."""
    n, m = map(int, _HEAD.unpack_from(message))
    return 50 * n + m


def checked_length(message: bytes, limit: int) -> int:
    """How many bytes follow the first eight of a message; WireError if they are too many."""
    n, m = map(int, _HEAD.unpack_from(message))
    if n + m > limit:
        raise WireError(f"{n + m:,} bytes are too many; {limit:,} may be sent")
    if limit < UNLIMITED and n > LONGEST_HEADER:
        raise WireError("lists of so many numbers cannot be sent; an array can")
    return n + m


def _read(stream: IO[bytes], length: int) -> bytes:
    parts = []
    while length:
        part = stream.read(min(length, 1 << 20))
        if not part:
            raise EOFError("the other side has gone")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _pack(value: Any, chunks: list[bytes], depth: int) -> Any:
    if depth > DEEPEST:
        raise WireError(f"lists within lists, more than {DEEPEST} deep, cannot be sent")
    if value is None or isinstance(value, bool | str):  # NumPy's texts are str as well
        return value
    if isinstance(value, np.ndarray | np.generic):
        return _pack_array(np.asarray(value), chunks, depth)
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise WireError("a whole number beyond 64 bits cannot be sent")
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"f": repr(float(value))}
    if isinstance(value, bytes):
        chunks.append(value)
        return {"b": len(value)}
    if isinstance(value, list | tuple):
        kind = "l" if isinstance(value, list) else "t"
        return {kind: [_pack(item, chunks, depth + 1) for item in value]}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise WireError("a dict can be sent if its keys are strings")
        return {"d": [[key, _pack(item, chunks, depth + 1)] for key, item in value.items()]}
    if isinstance(getattr(value, "data", None), np.ndarray):  # a tensor
        return _pack(value.data, chunks, depth)
    kind = type(value).__name__
    raise WireError(f"a {kind} cannot be sent; return arrays, numbers, or lists")


def _pack_array(array: np.ndarray, chunks: list[bytes], depth: int) -> Any:
    if array.dtype.kind == "U":
        return _pack(array.tolist(), chunks, depth)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # long doubles differ from CPU to CPU
        array = array.astype(np.float64)
    if array.dtype.name not in DTYPES:
        raise WireError(f"an array of {array.dtype} cannot be sent; it should hold numbers")
    _check_shape(array.shape)
    chunks.append(array.astype(array.dtype.newbyteorder("<"), order="C").tobytes())
    return {"a": [array.dtype.name, list(array.shape)]}


def _check_shape(shape: Sequence[int]) -> None:
    """Refuse an array of no bytes that is a long list to whoever goes through it."""
    if 0 in shape and math.prod(n for n in shape if n) > LONGEST_EMPTY:
        raise WireError("an empty array of so many rows or columns cannot be sent")


class _Data:
    """The bytes of the arrays, taken from the front."""

    def __init__(self, left: memoryview):
        self.left = left

    def take(self, length: int) -> memoryview:
        if type(length) is not int or not 0 <= length <= len(self.left):
            raise WireError("a message holds fewer bytes than its arrays need")
        part, self.left = self.left[:length], self.left[length:]
        return part


def _unpack(tree: Any, data: _Data, depth: int) -> Any:
    if depth > DEEPEST:
        raise WireError("a message is nested too deeply")
    if isinstance(tree, str):
        return _text(tree)
    if isinstance(tree, int) and not -(1 << 63) <= tree < 1 << 63:
        raise WireError("a message holds a whole number beyond 64 bits")
    if tree is None or isinstance(tree, bool | int | float):
        return tree
    if not isinstance(tree, dict) or len(tree) != 1:
        raise WireError("a message holds what it should not")
    [(kind, content)] = tree.items()
    if kind in ("l", "t"):
        items = [_unpack(item, data, depth + 1) for item in _list(content)]
        return items if kind == "l" else tuple(items)
    if kind == "d":
        pairs = [_list(pair, 2) for pair in _list(content)]
        return {_text(key): _unpack(item, data, depth + 1) for key, item in pairs}
    if kind == "f" and content in ("nan", "inf", "-inf"):
        return float(content)
    if kind == "b":
        return bytes(data.take(content))
    if kind == "a":
        name, shape = _list(content, 2)
        return _array(name, shape, data)
    raise WireError("a message holds what it should not")


def _list(content: Any, length: int | None = None) -> list[Any]:
    if type(content) is not list or length not in (None, len(content)):
        raise WireError("a message holds what it should not")
    return content


def _text(text: Any) -> str:
    """The text; halves of characters, which no file can hold, as question marks."""
    if type(text) is not str:
        raise WireError("a message holds what it should not")
    return text.encode("utf-8", "replace").decode()


def _array(name: str, shape: Any, data: _Data) -> np.ndarray:
    if type(name) is not str or name not in DTYPES:
        raise WireError("a message holds an array that is none")
    if len(_list(shape)) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise WireError("a message holds an array that is none")
    _check_shape(shape)
    dtype = np.dtype(name).newbyteorder("<")
    part = data.take(math.prod(shape) * dtype.itemsize)
    if name == "bool":  # any byte may have come; True is 1
        return np.asarray(np.frombuffer(part, np.uint8).reshape(shape) != 0)
    return np.frombuffer(part, dtype).reshape(shape).astype(np.dtype(name))
