"""Auxiliary classifiers: outputs in the middle of a network that are trained beside the main one.

In training mode such a network returns :class:`Outputs`, in evaluation mode the main output alone.
Whoever computes a loss asks :func:`total_loss`, and whoever reads what the network answers asks
:func:`main_output`: then neither needs to know whether there are such outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from minires.autograd.tensor import Tensor

__all__ = ["AUXILIARY_WEIGHT", "Outputs", "main_output", "total_loss"]

AUXILIARY_WEIGHT = 0.3


class Outputs(NamedTuple):
    """What a network with auxiliary classifiers returns in training.

    Attributes:
        main: the output that counts, (N, num_classes).
        auxiliary: of the classifiers in the middle, each of that shape.

    Any other tuple is a network's own affair: only by this type are auxiliary outputs known.
    """

    main: Any
    auxiliary: tuple[Any, ...]


def main_output(output: Any) -> Any:
    """The main one of what a network returned; anything else is given back as it is.

    >>> import minires as mr
    >>> logits = mr.tensor([[1.0, 2.0]])
    >>> main_output(Outputs(logits, (logits + 1,))) is logits, main_output(logits) is logits
    (True, True)
    """
    return output.main if isinstance(output, Outputs) else output


def total_loss(loss: Callable[[Tensor, Tensor], Tensor], output: Any, target: Tensor) -> Tensor:
    """The loss of the main output and 0.3 times that of each auxiliary one.

        loss(main, target) + 0.3 * (loss(auxiliary_1, target) + ...)

    The weight is that of Szegedy et al. 2015 (GoogLeNet), section 5.  Without auxiliary outputs it
    is the loss, of whatever the network returned.

    Args:
        loss: ``loss(output, target)``, a mean over the batch.
        output: of the network, :class:`Outputs` or the main output alone.
        target: what each of them is compared with.

    Returns:
        What ``loss`` returns, weighted and added.

    >>> import minires as mr, minires.functional as F
    >>> logits, target = mr.zeros(1, 4), mr.tensor([2])
    >>> whole = total_loss(F.cross_entropy, Outputs(logits, (logits, logits)), target)
    >>> round(float(whole) / float(F.cross_entropy(logits, target)), 6)
    1.6
    """
    value = loss(main_output(output), target)
    for other in output.auxiliary if isinstance(output, Outputs) else ():
        value = value + AUXILIARY_WEIGHT * loss(other, target)
    return value
