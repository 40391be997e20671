"""One batch through a network of the ImageNet family, and three steps of SGD, in minires."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import minires as mr
import minires.functional as F
from minires.models import ImageNetResNet
from tests.golden.imagenet_inputs import SGD, STEPS, Run

__all__ = ["run"]


def run(
    network: ImageNetResNet,
    weights: Mapping[str, Any],
    x: np.ndarray,
    y: np.ndarray,
    mode: str,
    dtype: str,
) -> Run:
    """One pass and three steps of SGD from these weights."""
    network.to(dtype)
    network.load_state_dict(weights)
    network.train(mode == "training")
    inputs, targets = mr.tensor(x.astype(dtype), requires_grad=True), mr.tensor(y)
    optimizer = mr.optim.SGD(network.parameters(), **SGD)
    for step in range(STEPS):
        optimizer.zero_grad()
        outputs = network(inputs)
        if step == 0:
            first, buffers = outputs.detach().numpy(), _arrays(network.named_buffers())
        F.cross_entropy(outputs, targets).backward()
        if step == 0:
            grads = {name: p.grad.numpy().copy() for name, p in network.named_parameters()}
            grads["input"] = inputs.grad.numpy().copy()
            inputs.requires_grad_(False)
        optimizer.step()
    with mr.no_grad():
        after = network(inputs)
        loss = F.cross_entropy(after, targets).reshape(1)
    return Run(first, grads, buffers, loss.numpy(), after.numpy())


def _arrays(named: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in named}
