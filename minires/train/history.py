"""What a training run tells: of a step to those who ask, and of its epochs in the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["History", "Step"]


@dataclass(frozen=True)
class Step:
    """What ``on_step`` is told: where training is, and how it goes in this epoch so far.

    Attributes:
        epoch, step, steps: the epoch and the step in it, from 1; steps an epoch.
        images: seen in this epoch.
        loss, error: means over these images; the error in percent.
        batch_loss: of this step's batch.
        number: of this step in the whole run, from 1.
    """

    epoch: int
    step: int
    steps: int
    images: int
    loss: float
    error: float
    batch_loss: float = math.nan
    number: int = 0


@dataclass
class History:
    """One entry an epoch in each list; errors in percent.

    Attributes:
        epoch: 1, 2, ...
        lr: the learning rate of the first parameter group at the start of the epoch.
        batch_loss, batch_error: means over the epoch's batches, in training mode, while the weights
            move.
        seconds: of training, without the evaluations.
        step: steps of the run so far.
        loss, error: by the name of the data evaluated on, in evaluation mode after the epoch; nan
            for an epoch after which nothing was evaluated.
    """

    epoch: list[int] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    batch_loss: list[float] = field(default_factory=list)
    batch_error: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    loss: dict[str, list[float]] = field(default_factory=dict)
    error: dict[str, list[float]] = field(default_factory=dict)
    step: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, list[Any]]:
        """Flat lists: ``train_loss``, ``train_error``, ... for data evaluated on as "train"."""
        flat: dict[str, list[Any]] = {
            name: getattr(self, name)
            for name in ("epoch", "step", "lr", "batch_loss", "batch_error", "seconds")
        }
        for name in self.loss:
            flat[f"{name}_loss"] = self.loss[name]
            flat[f"{name}_error"] = self.error[name]
        return flat
