"""Loss and error of a model on data, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import minires.functional as F
from minires import nn
from minires.autograd import Tensor, no_grad
from minires.data import DataLoader
from minires.nn.modes import evaluating

__all__ = ["Evaluation", "errors", "evaluate"]

Loss = Callable[[Tensor, Tensor], Tensor]


class Evaluation(NamedTuple):
    """Mean loss over the images, and the share of wrong answers in percent."""

    loss: float
    error: float


def errors(output: Tensor, target: Tensor) -> int:
    """How many rows of logits (N, classes) have their largest value at another class.

    A row with a nan counts as wrong.

    >>> import minires as mr
    >>> errors(mr.tensor([[1.0, 2.0], [3.0, 0.0]]), mr.tensor([1, 1]))
    1
    """
    logits = output.data
    wrong = (logits.argmax(axis=1) != target.data) | (logits != logits).any(axis=1)
    return int(wrong.sum())


def evaluate(
    model: nn.Module,
    arrays: tuple[Any, Any],
    *,
    loss: Loss = F.cross_entropy,
    batch_size: int = 256,
) -> Evaluation:
    """Loss and error over all of ``arrays``, in evaluation mode and without recording.

    Args:
        model: gives logits (N, classes); its mode is put back afterwards.
        arrays: images (N, ...) and labels (N,).
        loss: a mean over the batch.
        batch_size: images at a time; changes time, memory, and the last digits of the loss.

    Returns:
        The mean loss and the error in percent.
    """
    total, wrong, count = 0.0, 0, 0
    with evaluating(model), no_grad():
        for x, y in DataLoader(arrays, batch_size=min(batch_size, max(1, len(arrays[1])))):
            output = model(x)
            total += float(loss(output, y)) * len(y)
            wrong += errors(output, y)
            count += len(y)
    return Evaluation(total / count, 100.0 * wrong / count)
