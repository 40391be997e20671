"""Progress of a training run: a bar on a terminal, a line an epoch anywhere else."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from minires.train.history import History, Step

__all__ = ["Progress"]


class Progress:
    """Shows a run of :func:`fit` while it goes; give its methods as ``on_step`` and ``on_epoch``.

    On a terminal that is a tqdm bar over all images of the run, with loss, error, images a second
    and the time left.  Where the output is no terminal it prints one line an epoch.  An output that
    cannot be written to any more (a closed pipe, a full disk) is left alone; training goes on.

    Args:
        label: what stands before the bar.
        epochs, images: how long the run is: epochs (the last may be a part), and images an epoch.
        file: standard error if left out.
        done: images of the run that were seen before, where it is gone on with.

    >>> import io
    >>> text = io.StringIO()
    >>> with Progress("plain-20", epochs=1, images=10, file=text) as progress:
    ...     progress.epoch(History([1], [0.1], [2.3], [90.0], [1.0], {}, {"test": [88.0]}))
    >>> text.getvalue()
    'plain-20  epoch 1/1  loss 2.3000  error 90.0%  test error 88.0%  10 images/s\\n'
    """

    def __init__(
        self,
        label: str,
        *,
        epochs: float,
        images: int,
        file: TextIO | None = None,
        done: int = 0,
    ):
        self.label, self.images = label, images
        self.total, self.epochs = round(epochs * images), math.ceil(epochs)
        self.file = sys.stderr if file is None else file
        self._bar: Any = None
        self._done = done
        self._broken = False

    def __enter__(self) -> Progress:
        if self.file.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.total,
                initial=self._done,
                desc=self.label,
                unit=" images",
                unit_scale=False,
                file=self.file,
                dynamic_ncols=True,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left"
                "{postfix}",
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

    def step(self, step: Step) -> None:
        """Move the bar."""
        if self._bar is None or self._broken:
            return
        done = (step.epoch - 1) * self.images + step.images
        self._bar.set_postfix_str(
            f"epoch {step.epoch}/{self.epochs} loss {step.loss:.3f} error {step.error:.1f}%",
            refresh=False,
        )
        self._try(self._bar.update, done - self._done)
        self._done = done

    def epoch(self, history: History) -> None:
        """Print the line of an epoch, unless there is a bar."""
        if self._bar is not None or self._broken:
            return
        evaluated = "".join(
            f"  {name} error {values[-1]:.1f}%"
            for name, values in history.error.items()
            if not math.isnan(values[-1])
        )
        images = min(self.images, self.total - (history.epoch[-1] - 1) * self.images)
        rate = images / max(history.seconds[-1], 1e-9)
        self._try(
            print,
            f"{self.label}  epoch {history.epoch[-1]}/{self.epochs}"
            f"  loss {history.batch_loss[-1]:.4f}  error {history.batch_error[-1]:.1f}%"
            f"{evaluated}  {rate:.0f} images/s",
            file=self.file,
            flush=True,
        )

    def _try(self, show: Callable[..., Any], *values: Any, **options: Any) -> None:
        try:
            show(*values, **options)
        except OSError:
            self._broken = True
