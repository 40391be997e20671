"""How the experiments train: SGD on one recipe, with progress shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TextIO

from minires import nn, optim, train
from minires.data import DataLoader, Dataset
from minires.errors import UsageError
from minires.optim.lr_scheduler import LinearLR, LRScheduler, MultiStepLR, SequentialLR

__all__ = ["Recipe", "train_network"]

WARM_UP = 0.1  # of the learning rate, as for ResNet-110 in He et al. 2015, section 4.2


@dataclass(frozen=True)
class Recipe:
    """SGD; the rate is divided by 10 after half and after three quarters of the epochs.

    Attributes:
        epochs, batch_size, lr, momentum, weight_decay: as their names say.
        warm_up: so many epochs at a tenth of the rate come first, and count among the epochs.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: int = 0

    def check(self, images: int, data: str) -> None:
        """Raise UsageError for a setting that cannot work on so many images."""
        if not 2 <= self.batch_size <= images:
            raise UsageError(
                f"batch size {self.batch_size} does not fit {images} training images of {data}: "
                f"choose 2 to {images}."
            )
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise UsageError(f"lr must be a number above 0, not {self.lr}.")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum must be from 0 to below 1, not {self.momentum}.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UsageError(f"weight decay must be a number from 0 on, not {self.weight_decay}.")
        if self.warm_up < 0 or 0 < self.epochs <= self.warm_up:
            raise UsageError(
                f"warm-up must be from 0 to fewer epochs than the {self.epochs} of the training, "
                f"not {self.warm_up}."
            )

    def schedule(self, optimizer: optim.Optimizer) -> LRScheduler:
        """The learning rate, epoch by epoch."""
        drops = [math.ceil(self.epochs / 2), math.ceil(self.epochs * 3 / 4)]
        if not self.warm_up:
            return MultiStepLR(optimizer, drops)
        low = LinearLR(optimizer, WARM_UP, WARM_UP, self.warm_up)
        rest = MultiStepLR(optimizer, [max(1, epoch - self.warm_up) for epoch in drops])
        return SequentialLR(optimizer, [low, rest], [self.warm_up])


def train_network(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    label: str,
    progress: TextIO | None = None,
    evaluate_on: Mapping[str, tuple[Any, Any]] | None = None,
    on_step: Callable[[train.Step], None] | None = None,
) -> train.History:
    """Train ``model`` on the training part of ``dataset``; ``seed`` is of the order of the images.

    ``label`` names the run where ``progress`` is shown.
    """
    loader = DataLoader(dataset.train, batch_size=recipe.batch_size, shuffle=True, seed=seed)
    optimizer = optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    with (
        nullcontext()
        if progress is None
        else train.Progress(label, epochs=recipe.epochs, images=len(dataset), file=progress)
    ) as shown:

        def step(step: train.Step) -> None:
            if shown is not None:
                shown.step(step)
            if on_step is not None:
                on_step(step)

        return train.fit(
            model,
            loader,
            optimizer,
            epochs=recipe.epochs,
            scheduler=recipe.schedule(optimizer),
            evaluate_on=evaluate_on,
            on_step=step,
            on_epoch=None if shown is None else shown.epoch,
        )
