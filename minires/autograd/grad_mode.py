"""Whether operations are recorded: ``no_grad`` and ``enable_grad``.

The mode is a context variable, so that threads and coroutines do not switch each other's off.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from types import TracebackType

__all__ = ["enable_grad", "is_grad_enabled", "no_grad", "recording"]

recording: ContextVar[bool] = ContextVar("minires_grad_mode", default=True)


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require grad are recorded at the moment."""
    return recording.get()


class _SetGradMode(ContextDecorator):
    """Switches the mode inside a ``with`` block or a decorated function; may be nested."""

    mode: bool

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def _recreate_cm(self) -> _SetGradMode:
        # Each call of a decorated function has an object of its own, as it may run in any thread.
        return type(self)()

    def __enter__(self) -> None:
        self._tokens.append(recording.set(self.mode))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        recording.reset(self._tokens.pop())


class no_grad(_SetGradMode):
    """Record nothing inside: results require no grad and keep nothing alive.

    >>> import minires as mr
    >>> w = mr.tensor([1.0, 2.0], requires_grad=True)
    >>> with mr.no_grad():
    ...     (w * w).requires_grad
    False
    """

    mode = False


class enable_grad(_SetGradMode):
    """Record again inside a ``no_grad`` block.

    >>> import minires as mr
    >>> w = mr.tensor([1.0, 2.0], requires_grad=True)
    >>> with mr.no_grad(), mr.enable_grad():
    ...     (w * w).requires_grad
    True
    """

    mode = True
