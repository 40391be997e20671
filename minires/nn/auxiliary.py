"""Auxiliary classifiers: outputs in the middle of a network that are trained beside the main one.

In training mode such a network returns ``(main, (auxiliary, ...))``, in evaluation mode the main
output alone.  Whoever computes a loss asks :func:`total_loss`, and whoever reads what the network
answers asks :func:`main_output`: then neither needs to know whether there are such outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minires.autograd.tensor import Tensor

__all__ = ["AUXILIARY_WEIGHT", "main_output", "total_loss"]

AUXILIARY_WEIGHT = 0.3


def main_output(output: Any) -> Any:
    """The main one of what a network returned; anything else is given back as it is.

    >>> import minires as mr
    >>> logits = mr.tensor([[1.0, 2.0]])
    >>> main_output((logits, (logits + 1,))) is logits, main_output(logits) is logits
    (True, True)
    """
    return _split(output)[0]


def total_loss(loss: Callable[[Tensor, Tensor], Tensor], output: Any, target: Tensor) -> Tensor:
    """The loss of the main output and 0.3 times that of each auxiliary one.

        loss(main, target) + 0.3 * (loss(auxiliary_1, target) + ...)

    The weight is that of Szegedy et al. 2015 (GoogLeNet), section 5.  Without auxiliary outputs it
    is the loss, of whatever the network returned.

    Args:
        loss: ``loss(output, target)``, a mean over the batch.
        output: of the network, ``(main, (auxiliary, ...))`` or the main output alone.
        target: what each of them is compared with.

    Returns:
        What ``loss`` returns, weighted and added.

    >>> import minires as mr, minires.functional as F
    >>> logits, target = mr.zeros(1, 4), mr.tensor([2])
    >>> whole = total_loss(F.cross_entropy, (logits, (logits, logits)), target)
    >>> round(float(whole) / float(F.cross_entropy(logits, target)), 6)
    1.6
    """
    main, auxiliary = _split(output)
    value = loss(main, target)
    for other in auxiliary:
        value = value + AUXILIARY_WEIGHT * loss(other, target)
    return value


def _split(output: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """The main output and the auxiliary ones; other tuples are a network's own affair."""
    if isinstance(output, tuple) and len(output) == 2:
        main, auxiliary = output
        if isinstance(auxiliary, tuple) and all(isinstance(other, Tensor) for other in auxiliary):
            return main, auxiliary
    return output, ()
