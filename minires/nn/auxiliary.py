"""Auxiliary classifiers: outputs in the middle of a network that are trained beside the main one.

In training mode such a network returns ``(main, (auxiliary, ...))``, in evaluation mode the main
output alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minires.autograd.tensor import Tensor

__all__ = ["AUXILIARY_WEIGHT", "main_output", "total_loss"]

AUXILIARY_WEIGHT = 0.3


def main_output(output: Any) -> Tensor:
    """The main one of what a network returned.

    >>> import minires as mr
    >>> logits = mr.tensor([[1.0, 2.0]])
    >>> main_output((logits, (logits + 1,))) is logits, main_output(logits) is logits
    (True, True)
    """
    main: Tensor = output[0] if isinstance(output, tuple) else output
    return main


def total_loss(loss: Callable[[Tensor, Tensor], Tensor], output: Any, target: Tensor) -> Tensor:
    """The loss of the main output and 0.3 times that of each auxiliary one.

        loss(main, target) + 0.3 * (loss(auxiliary_1, target) + ...)

    The weight is that of Szegedy et al. 2015, section 5.  Without auxiliary outputs it is the loss.

    >>> import minires as mr, minires.functional as F
    >>> logits, target = mr.zeros(1, 4), mr.tensor([2])
    >>> whole = total_loss(F.cross_entropy, (logits, (logits, logits)), target)
    >>> round(float(whole) / float(F.cross_entropy(logits, target)), 6)
    1.6
    """
    if not isinstance(output, tuple):
        return loss(output, target)
    main, auxiliary = output
    value = loss(main, target)
    for other in auxiliary:
        value = value + AUXILIARY_WEIGHT * loss(other, target)
    return value
