"""Files that were damaged on the way: a strategy, for the tests of all formats."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["damaged"]


def _change(content: bytes, kind: str, at: int, piece: bytes) -> bytes:
    at %= len(content) + 1
    if kind == "cut":
        return content[:at]
    if kind == "insert":
        return content[:at] + piece + content[at:]
    if kind == "drop":
        return content[:at] + content[at + len(piece) :]
    return content[:at] + piece + content[at + len(piece) :]


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """``content`` with some bytes overwritten, cut off, put in or left out."""
    return st.builds(
        _change,
        st.just(content),
        st.sampled_from(["overwrite", "cut", "insert", "drop"]),
        st.integers(0, len(content)),
        st.binary(min_size=1, max_size=8),
    )
