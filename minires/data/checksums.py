"""Checksums as they are published: ``md5:...`` or ``sha256:...``."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["has_checksum"]


def has_checksum(checksum: str, pieces: Iterable[bytes | bytearray]) -> bool:
    """Whether the bytes of ``pieces``, one after the other, have this checksum.

    Args:
        checksum: the name of the method in hashlib, a colon, and the sum in hexadecimal digits.
        pieces: the content, whole or cut anywhere.

    >>> has_checksum("md5:900150983cd24fb0d6963f7d28e17f72", [b"a", b"bc"])
    True
    """
    import hashlib  # here: it takes longer to import than the whole of this module

    method, _, expected = checksum.partition(":")
    digest = hashlib.new(method, usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest() == expected
