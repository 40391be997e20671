"""How equal a deeper network is to the one that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import minires.functional as F
from minires import nn, rng
from minires.autograd import Tensor, no_grad
from minires.device import to_numpy
from minires.models.twins import twin
from minires.nn.devices import batch_for

__all__ = ["Deepening", "deepening"]


@dataclass(frozen=True)
class Deepening:
    """How much a deeper network differs from the one that it was made of, on one batch.

    Attributes:
        depths: of the two, the shallower first.
        evaluation, training: |deeper(x) - model(x)| / |model(x)| in that mode, the largest numbers
            of all.
        evaluation_loss, training_loss: of both, the shallower first.
    """

    depths: tuple[int, int]
    evaluation: float
    training: float
    evaluation_loss: tuple[float, float]
    training_loss: tuple[float, float]

    def __str__(self) -> str:
        lines = [f"from {self.depths[0]} to {self.depths[1]} layers"]
        for mode in ("evaluation", "training"):
            jump, (one, other) = getattr(self, mode), getattr(self, f"{mode}_loss")
            lines.append(f"{mode}: outputs differ by {jump:.2g}, loss {one:.6g} -> {other:.6g}")
        return "\n".join(lines)


def deepening(model: Any, deeper: Any, x: Any, target: Any) -> Deepening:
    """Compare the outputs and the loss (cross-entropy) of two networks on a batch, in both modes.

    Both are left as they are.

    Args:
        model, deeper: a network, and what :func:`deepen` made of it.
        x, target: images (N, C, H, W) and labels (N,).

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> plain = mr.models.cifar_plain(8, width=2)
    >>> x, y = mr.randn(4, 3, 8, 8), mr.tensor([0, 1, 2, 3])
    >>> deeper = mr.models.deepen(plain, 1, identity="calibrated", data=x)
    >>> found = deepening(plain, deeper, x, y)
    >>> found.depths, found.evaluation < 1e-5, found.training < 1e-3
    ((8, 14), True, True)
    """
    x, target = batch_for(model, x, target)
    numbers: dict[str, Any] = {}
    for mode in ("evaluation", "training"):
        (one, loss), (other, deeper_loss) = (
            _outcome(network, mode == "training", x, target) for network in (model, deeper)
        )
        numbers[mode] = float(abs(other - one).max()) / (float(abs(one).max()) or 1.0)
        numbers[f"{mode}_loss"] = (loss, deeper_loss)
    return Deepening(depths=(model.depth, deeper.depth), **numbers)


def _outcome(network: Any, training: bool, x: Tensor, target: Tensor) -> tuple[Any, float]:
    """Output and loss of a copy, which may change its running statistics."""
    state = rng.get_state()
    with no_grad():
        output = twin(network, 1.0).train(training)(x)
        loss = nn.total_loss(F.cross_entropy, output, target)
    rng.set_state(state)
    return to_numpy(nn.main_output(output).data), float(loss)
