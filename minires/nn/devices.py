"""Where a model is, and a batch taken there."""

from __future__ import annotations

from typing import Any

from minires.autograd.tensor import Tensor
from minires.device import as_array, to_device
from minires.nn.module import Module

__all__ = ["batch_for", "device_of_model"]


def device_of_model(model: Module) -> str:
    """Where its first parameter is; 'cpu' if it has none.

    >>> from minires import nn
    >>> device_of_model(nn.Linear(2, 3))
    'cpu'
    """
    return next((parameter.device for parameter in model.parameters()), "cpu")


def batch_for(model: Module, *batch: Any) -> tuple[Tensor, ...]:
    """The tensors or arrays of a batch as tensors where the model is.

    A tensor that is there already is handed on itself; one that is moved leaves its graph behind.

    >>> import numpy as np
    >>> from minires import nn
    >>> images, labels = batch_for(nn.Linear(2, 3), np.ones((4, 2)), [0, 1, 2, 0])
    >>> images.shape, labels.device
    ((4, 2), 'cpu')
    """
    device = device_of_model(model)
    tensors = (t if isinstance(t, Tensor) else Tensor(as_array(t)) for t in batch)
    return tuple(t if t.device == device else Tensor(to_device(t._data, device)) for t in tensors)
