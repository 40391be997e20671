"""Deeper networks that are the same function: the argument by construction.

He et al. 2015, section 1: a deeper network can be built of a shallower one and of layers that pass
on what they are given.  It computes the same, so its training error is the same, and the best
deeper network is no worse than the best shallower one.  That plain networks trained from scratch
are worse shows that the optimiser does not find what is there to be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from minires import nn, rng
from minires.errors import ContractError, UsageError
from minires.kernels.checks import whole
from minires.models.cifar import CifarResNet, nearest_depths
from minires.models.identity_blocks import (
    Plan,
    check_can_deepen,
    identity_block,
    statistics_of,
)
from minires.models.imagenet import STAGES, block_of
from minires.models.resnet import ResNet, evenly_between
from minires.models.stack import Stack
from minires.models.twins import twin

__all__ = ["deepen"]

M = TypeVar("M", bound=nn.Module)


def deepen(
    model: M, blocks: int | Sequence[int], *, identity: str = "without-norm", data: Any = None
) -> M:
    """A deeper network that computes the same as ``model``, which stays as it is.

    The argument by construction (He et al. 2015, section 1): put blocks that are the identity at
    the end of each stage, and the function is the same, and so is the training error.  So a deeper
    network need never be worse than a shallower one.  Where it is worse after training, the reason
    is the training, and not what the network could express.

        residual                 y = x + F(x),              F = 0
        plain, post-activation   y = relu(D relu(D x)),     D x = x  and  x >= 0

    **Residual** blocks get a branch whose last scale is zero (its learned scale, if there is one,
    else the weight of the last batch norm, or of the last convolution where none follows), and all
    other weights by He's rule, or Fixup's.  It is the same function in training and in evaluation
    mode.  The zero gets a gradient in the first step, the weights before it from the second on.
    Running statistics start at 0 and 1 as in every new network; a branch of zero does not show
    them.

    **Plain** blocks of basic convolutions with ReLU at the end are given numbers from 0 on, and
    get Dirac convolutions (:func:`minires.nn.init.dirac_`).  So do pre-activation ones in a network
    without batch norm: they give relu(x), and all that follows begins with ReLU, so that the
    function is the same.  Batch norm in between would change what it is given, so there are two
    ways where a post-activation network has it, by ``identity``:

    - 'without-norm': the blocks put in have none, but biases; the same in both modes.
    - 'calibrated': they have it, with gamma = sqrt(var + eps) and beta = mean of what the layer is
      given on ``data`` in training mode.  With these as running statistics it does nothing in
      evaluation mode.  In training mode it divides by the statistics of each batch, and there is a
      jump, as small as they are close to those of ``data``; :func:`deepening` measures it.

    Residual blocks with projections in every block (shortcut C, Dirac again), or with batch norm
    after the addition, have batch norm in the way as well, and the same choice.  Without batch norm
    in the way ``identity`` and ``data`` make no difference.

    What neither way serves is refused, and the error says why.  No plain bottleneck is the
    identity.  Nor is a block that reads nothing but relu(bn(x)): with batch norm that is a plain
    one that begins with ReLU, or a pre-activation one with shortcut C.  (Plain stacks are refused
    with batch norm or without: they need not have a head that begins with ReLU.)  With skips that
    are scaled, gated or dropped a branch of zero does not make a block the identity, and with ReLU
    before the addition (and no ``branch_scale``) it could never learn.

    Args:
        model: of :func:`cifar_resnet`, the ImageNet family, or :func:`stack`.
        blocks: how many to put at the end of every stage, or a number for each stage: (1, 2, 4, 1)
            makes a 34-layer network of an 18-layer one.
        identity: how to deal with batch norm in the way; see above.
        data: images (N, C, H, W), or batches of them (with labels or without), such as a
            ``DataLoader``, for 'calibrated'; the more like the batches of training, the smaller
            the jump.  With stochastic depth all branches run on them.

    Returns:
        A network of the same class and mode, with copies of all parameters, buffers and attributes,
        but not of gradients and hooks; ``depth`` counts the new layers too.  Auxiliary heads stay
        behind their blocks.  The new blocks are never dropped: their ``survival_probability`` is 1.
        One draw is made of the default generator.

        ``options`` are those that build such a network again, where its family has one.  They are
        None for stages of other lengths, blocks without batch norm among others, heads that are no
        longer evenly between the blocks, and stochastic depth, where each block has a probability
        by its place: to get such a network again, deepen the shallow one again.

    Raises:
        ContractError: ``model`` is of another kind, or one that is refused; see above.
        UsageError: numbers or settings that make no sense.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=2)
    >>> deeper = deepen(model, 1)
    >>> deeper.depth, len(deeper.blocks()), deeper.options["depth"]
    (14, 6, 14)
    >>> x = mr.randn(4, 3, 8, 8)
    >>> bool((deeper(x) == model(x)).data.all())
    True
    """
    if not isinstance(model, ResNet | Stack):
        raise ContractError(
            f"deepen: a {type(model).__name__} has no stages to put blocks into. It takes the "
            "networks of models.cifar_resnet, of the ImageNet family and of models.stack."
        )
    stages = _stages(model)
    added = _counts(blocks, len(stages))
    check_can_deepen(model)
    plan = Plan.of(model, identity, data, len(model.blocks()) + sum(added))
    found = statistics_of(model, data) if plan.calibrated else [None] * len(stages)
    made: Any = twin(model, 1.0)  # a copy
    generator = rng.spawn()
    state = rng.get_state()
    for stage, count, statistics in zip(_stages(made), added, found, strict=True):
        for _ in range(count):
            stage.append(identity_block(made, stage, plan, statistics, generator))
    rng.set_state(state)  # the layers' own first draws are replaced, and count for nothing
    _describe(made, added, plan)
    return made  # type: ignore[no-any-return]


def _stages(model: Any) -> list[nn.Sequential]:
    return [model.layers] if isinstance(model, Stack) else list(model.stages())


def _counts(blocks: Any, stages: int) -> tuple[int, ...]:
    """How many blocks each stage gets."""
    given = blocks if isinstance(blocks, list | tuple) else (blocks,) * stages
    counts = tuple(whole(count, "deepen: blocks") for count in given)
    if len(counts) != stages or min(counts) < 0 or not any(counts):
        raise UsageError(
            f"deepen: blocks={blocks!r}; it takes how many blocks to put at the end of every "
            f"stage, from 1 on, or a number from 0 on for each of the {stages} stages."
        )
    return counts


# --- what the deeper network says of itself ---


def _describe(made: Any, added: Sequence[int], plan: Plan) -> None:
    """Set depth, places of the heads, and options of the network that has become deeper."""
    if isinstance(made, Stack):
        made.depth += sum(added)
        return
    layers = made.block_options.layers
    counts = [len(stage) for stage in made.stages()]
    made.depth += layers * sum(added)
    ends = np.cumsum([count - more for count, more in zip(counts, added, strict=True)])
    before = np.cumsum([0, *added])
    stage_of = np.searchsorted(ends, made.aux_after)
    made.aux_after = tuple(
        int(at + before[s]) for at, s in zip(made.aux_after, stage_of, strict=True)
    )
    if made.options is not None:
        even = made.aux_after == evenly_between(sum(counts), len(made.aux_after))
        # Stochastic depth has a probability for each block by its place among all.
        same = plan.norm == made.norm and made.block_options.stochastic_depth is None
        known = same and even and _exists(made, counts)
        made.options = {**made.options, "depth": made.depth} if known else None


def _exists(made: ResNet, counts: Sequence[int]) -> bool:
    """Whether the family has a network of this depth with so many blocks a stage."""
    options = made.block_options
    if isinstance(made, CifarResNet):
        known = made.depth in nearest_depths(made.depth, options.block, options.layers)
        return known and len(set(counts)) == 1
    return STAGES.get(made.depth) == tuple(counts) and options.block == block_of(made.depth)
