"""Backward methods as learners write them, right and with one slip each, in several styles.

loops       explicit loops; forward(*inputs) -> out, backward(grad_out, *inputs)
vectorised  slices and einsum; forward(*inputs) -> (out, cache), backward(grad_out, cache)
function    as in minires: forward(ctx, *inputs), backward(ctx, grad_out)

and, where a slip shows itself in more ways than these three, others beside them.
"""

from tests.check.plants import activation, conv, joined, linear, loss, norm, pool
from tests.check.plants.registry import PLANTS, Plant

__all__ = ["PLANTS", "Plant", "activation", "conv", "joined", "linear", "loss", "norm", "pool"]
