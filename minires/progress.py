"""Progress of a row of tasks: a bar on a terminal, a line a task anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

__all__ = ["Progress"]


class Progress:
    """Shows which task is at work; an output that nobody reads any more is left alone.

    Args:
        tasks, rounds: how many there are, and rounds of each.
        file: where to; nowhere if None.

    >>> import io
    >>> text = io.StringIO()
    >>> with Progress(1, 3, text) as progress:
    ...     progress.start("pool-global")
    ...     progress.finish("pool-global  1.2 ms")
    >>> text.getvalue()
    '[1/1] pool-global  1.2 ms\\n'
    """

    def __init__(self, tasks: int, rounds: int, file: TextIO | None):
        self.tasks, self.rounds, self.file = tasks, rounds, file
        self._bar: Any = None
        self._number = 0
        self._broken = file is None

    def __enter__(self) -> Progress:
        if self.file is not None and self.file.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.tasks * self.rounds,
                file=self.file,
                dynamic_ncols=True,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._try(self._bar.close)

    def start(self, name: str) -> None:
        """The task of this name begins."""
        self._number += 1
        if self._bar is not None:
            self._try(self._bar.set_description_str, f"[{self._number}/{self.tasks}] {name}")

    def round(self) -> None:
        """A round of it is done."""
        if self._bar is not None:
            self._try(self._bar.update, 1)

    def finish(self, line: str) -> None:
        """It is done, all of it or as far as it came."""
        if self._bar is not None:
            self._try(self._bar.update, self._number * self.rounds - self._bar.n)
        else:
            text = f"[{self._number}/{self.tasks}] {line}"
            self._try(print, text, file=self.file, flush=True)

    def _try(self, show: Callable[..., Any], *values: Any, **options: Any) -> None:
        if self._broken:
            return
        try:
            show(*values, **options)
        except OSError:
            self._broken = True
