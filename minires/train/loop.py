"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import minires.functional as F
from minires import nn
from minires.autograd import Tensor
from minires.data import DataLoader
from minires.errors import UsageError
from minires.kernels.parallel import one_blas_thread
from minires.optim import Optimizer
from minires.optim.lr_scheduler import LRScheduler
from minires.train.metrics import Evaluation, errors, evaluate

__all__ = ["History", "Step", "fit"]

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """What ``on_step`` is told: where training is, and how it goes in this epoch so far.

    Attributes:
        epoch, step, steps: the epoch and the step in it, from 1; steps an epoch.
        images: seen in this epoch.
        loss, error: means over these images; the error in percent.
        batch_loss: of this step's batch.
    """

    epoch: int
    step: int
    steps: int
    images: int
    loss: float
    error: float
    batch_loss: float = math.nan


@dataclass
class History:
    """One entry an epoch in each list; errors in percent.

    Attributes:
        epoch: 1, 2, ...
        lr: the learning rate of the first parameter group.
        batch_loss, batch_error: means over the epoch's batches, in training mode, while the weights
            move.
        seconds: of training, without the evaluations.
        loss, error: by the name of the data evaluated on, in evaluation mode after the epoch.
    """

    epoch: list[int] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    batch_loss: list[float] = field(default_factory=list)
    batch_error: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    loss: dict[str, list[float]] = field(default_factory=dict)
    error: dict[str, list[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, list[Any]]:
        """Flat lists: ``train_loss``, ``train_error``, ... for data evaluated on as "train"."""
        flat: dict[str, list[Any]] = {
            name: getattr(self, name)
            for name in ("epoch", "lr", "batch_loss", "batch_error", "seconds")
        }
        for name in self.loss:
            flat[f"{name}_loss"] = self.loss[name]
            flat[f"{name}_error"] = self.error[name]
        return flat


def fit(
    model: nn.Module,
    loader: DataLoader,
    optimizer: Optimizer,
    *,
    epochs: int,
    scheduler: LRScheduler | None = None,
    loss: Loss = F.cross_entropy,
    evaluate_on: Mapping[str, tuple[Any, Any]] | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train ``model``: for each epoch, for each batch, forward, backward, step.

    Args:
        model: gives logits (N, classes) for images (N, C, H, W).
        loader: the batches.
        optimizer: over the parameters of the model.
        epochs: how often to go through the data.
        scheduler: stepped after each epoch.
        loss: ``loss(output, target)``, a single number, a mean over the batch.
        evaluate_on: name -> (images, labels), evaluated after each epoch in evaluation mode.
        on_step, on_epoch: called after each step and each epoch.

    Returns:
        The :class:`History`.

    >>> import minires as mr
    >>> data = mr.data.load_digits()
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=4, in_channels=1)
    >>> loader = mr.data.DataLoader(data.train, batch_size=128, shuffle=True, seed=0)
    >>> history = fit(model, loader, mr.optim.SGD(model.parameters(), lr=0.1), epochs=2)
    >>> history.batch_loss[1] < history.batch_loss[0]
    True
    """
    if epochs < 1:
        raise UsageError(f"fit: epochs must be at least 1, got {epochs}.")
    history = History()
    for epoch in range(1, epochs + 1):
        model.train()
        lr = float(optimizer.param_groups[0]["lr"])
        started = time.perf_counter()
        mean_loss, mean_error = _one_epoch(model, loader, optimizer, loss, epoch, on_step)
        seconds = time.perf_counter() - started
        found = {
            name: evaluate(model, arrays, loss=loss) for name, arrays in (evaluate_on or {}).items()
        }
        if scheduler is not None:
            scheduler.step()
        _note(history, epoch, lr, mean_loss, mean_error, seconds, found)
        if on_epoch is not None:
            on_epoch(history)
    return history


def _one_epoch(
    model: nn.Module,
    loader: DataLoader,
    optimizer: Optimizer,
    loss: Loss,
    epoch: int,
    on_step: Callable[[Step], None] | None,
) -> tuple[float, float]:
    """Mean loss and error (percent) over the epoch's images."""
    total, wrong, images = 0.0, 0, 0
    for step, (x, y) in enumerate(loader, 1):
        with one_blas_thread():  # once around the step, not once around every product
            optimizer.zero_grad()
            output = model(x)
            value = loss(output, y)
            value.backward()
            optimizer.step()
        batch_loss = float(value)
        total += batch_loss * len(y)
        wrong += errors(output, y)
        images += len(y)
        if on_step is not None:
            mean_loss, mean_error = total / images, 100.0 * wrong / images
            on_step(Step(epoch, step, len(loader), images, mean_loss, mean_error, batch_loss))
    return total / images, 100.0 * wrong / images


def _note(
    history: History,
    epoch: int,
    lr: float,
    batch_loss: float,
    batch_error: float,
    seconds: float,
    found: dict[str, Evaluation],
) -> None:
    history.epoch.append(epoch)
    history.lr.append(lr)
    history.batch_loss.append(batch_loss)
    history.batch_error.append(batch_error)
    history.seconds.append(seconds)
    for name, evaluation in found.items():
        history.loss.setdefault(name, []).append(evaluation.loss)
        history.error.setdefault(name, []).append(evaluation.error)
