"""Loss and error of a model on data, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor, no_grad
from minires.data import DataLoader
from minires.device import Array, array_module, to_numpy, using_device_of
from minires.errors import ShapeError
from minires.nn.devices import device_of_model
from minires.nn.modes import evaluating

__all__ = ["Evaluation", "device_of_model", "errors", "evaluate", "loss_and_errors"]

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
    return int(_count_wrong(output.data, target.data))


def loss_and_errors(loss: Tensor | float, output: Tensor, target: Tensor) -> tuple[float, int]:
    """``float(loss)`` and :func:`errors`, read from the device at once.

    A GPU works while the host goes on; each number that the host asks for makes it wait.

    Raises:
        ShapeError: the loss is not a single number.

    >>> import minires as mr
    >>> loss_and_errors(mr.tensor(0.5), mr.tensor([[1.0, 2.0], [3.0, 0.0]]), mr.tensor([1, 1]))
    (0.5, 1)
    """
    if not isinstance(loss, Tensor):
        return float(loss), errors(output, target)
    if loss.numel() != 1:
        raise ShapeError(
            f"the loss must be a single number, a mean over the batch, not of shape {loss.shape}. "
            "Reduce it, with .mean()."
        )
    xp = array_module(loss.data)
    with using_device_of(loss.data):
        both = xp.empty(2, dtype=np.float64)  # holds any float32 and any count exactly
        both[:1] = loss.data.reshape(1)
        both[1:] = _count_wrong(output.data, target.data)
    value, wrong = to_numpy(both).tolist()
    return value, int(wrong)


def _count_wrong(logits: Array, target: Array) -> Array:
    """A single number, on the device of the logits (N, classes)."""
    with using_device_of(logits):
        wrong = (logits.argmax(axis=1) != target) | (logits != logits).any(axis=1)
        return wrong.sum()


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
        arrays: images (N, ...) and labels (N,), on the CPU; each batch goes to where the model is.
        loss: a mean over the batch.
        batch_size: images at a time; changes time, memory, and the last digits of the loss.

    Returns:
        The mean loss and the error in percent.
    """
    total, wrong, count = 0.0, 0, 0
    batch_size = min(batch_size, max(1, len(arrays[1])))
    loader = DataLoader(arrays, batch_size=batch_size, device=device_of_model(model))
    with evaluating(model), no_grad():
        for x, y in loader:
            output = model(x)
            batch_loss, batch_wrong = loss_and_errors(loss(output, y), output, y)
            total += batch_loss * len(y)
            wrong += batch_wrong
            count += len(y)
    return Evaluation(total / count, 100.0 * wrong / count)
