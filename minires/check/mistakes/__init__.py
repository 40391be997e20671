"""The bank of known mistakes: wrong backward passes, as data.

``BANK["conv2d"]`` is an :class:`Operation`: the right forward, sample problems, and its known
mistakes.  A :class:`Mistake` has a name, a title, a hint that does not give the solution away, and
variants: functions that compute the wrong gradients which a backward with this mistake returns.
:func:`minires.check.diagnose` compares a learner's gradients with them.

    operation.pose(seed)                       the sample problems with their right gradients
    operation.predictions(mistake, problem)    for each variant the gradients it returns, or None
    indistinguishable(seed)                    mistakes that the problems cannot tell apart

``python -m minires.check.mistakes`` prints the bank.

>>> BANK["relu"].mistake("one_at_zero").title
'the gradient passes where x is exactly 0'
"""

from __future__ import annotations

from minires.check.mistakes.activations import LEAKY_RELU, RELU, SIGMOID, TANH
from minires.check.mistakes.avg_pool2d import AVG_POOL2D
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Variant
from minires.check.mistakes.batch_norm import BATCH_NORM
from minires.check.mistakes.broadcasting import BROADCAST_ADD, BROADCAST_MUL, MAX, MEAN
from minires.check.mistakes.conv2d import CONV2D
from minires.check.mistakes.linear import LINEAR, MATMUL
from minires.check.mistakes.max_pool2d import MAX_POOL2D
from minires.check.mistakes.skip import ADD_SKIP
from minires.check.mistakes.softmax import MSE_LOSS, SOFTMAX, SOFTMAX_CROSS_ENTROPY

__all__ = ["BANK", "Grads", "Mistake", "Operation", "Problem", "Variant", "indistinguishable"]

BANK: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        LINEAR,
        MATMUL,
        CONV2D,
        MAX_POOL2D,
        AVG_POOL2D,
        BATCH_NORM,
        RELU,
        LEAKY_RELU,
        SIGMOID,
        TANH,
        SOFTMAX,
        SOFTMAX_CROSS_ENTROPY,
        MSE_LOSS,
        ADD_SKIP,
        BROADCAST_ADD,
        BROADCAST_MUL,
        MAX,
        MEAN,
    )
}


def indistinguishable(seed: int = 0) -> list[tuple[str, str, str]]:
    """Defects of the bank: (operation, mistake, what it cannot be told from).

    The last is the name of another mistake of that operation, or 'the right gradient'.  Answers on
    which one of the two ends in an error count for nothing.

    >>> indistinguishable()
    []
    """
    return [found for operation in BANK.values() for found in operation.collisions(seed)]
