"""How a refusal is held: the class of the error, and what its message says in which order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

__all__ = ["assert_refused"]


def assert_refused(
    call: Callable[[], object], error: type[Exception], expected: str, prefix: str = ""
) -> None:
    """Assert that ``call()`` raises just ``error``, with the parts of ``expected`` in its message.

    The parts are divided by " ... "; the message begins with ``prefix`` and the first of them.
    """
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    message = str(caught.value)
    assert message.startswith(prefix + expected.split(" ... ")[0]), message
    assert _missing_part(message, expected) is None, message


def _missing_part(message: str, expected: str) -> str | None:
    """The first part that does not follow the one before."""
    at = 0
    for part in expected.split(" ... "):
        found = message.find(part, at)
        if found < 0:
            return part
        at = found + len(part)
    return None
