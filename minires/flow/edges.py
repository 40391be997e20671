"""A lesion of the backward pass, as an observer of the blocks: also to train with.

In each block that is chosen, with d the gradient that arrives at the sum,

    forward    z = a*S(u) + b*F(u)                            as ever, to the last bit
    backward   dLoss/du = skip * a*J_S^T d + branch * b*J_F^T d

with a and b the scales that the block has, and two numbers ``skip`` and ``branch`` that are 1 in an
ordinary pass.  A network without skips differs from one with skips in two things at once: it
computes another function, and its gradient takes another way.  A lesion changes the second alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from minires import nn
from minires.autograd import Tensor
from minires.device import to_device, to_numpy, zeros_like
from minires.errors import UsageError
from minires.flow.passes import block_names, check_is_model, norm
from minires.functional.shape import alias
from minires.rng import check_seed

__all__ = ["Blocks", "Edge", "Lesion", "LesionObserver", "checked_lesion", "lesioned", "normal"]

Blocks = str | int | Iterable[str | int] | None


class Lesion(NamedTuple):
    """What is done to which blocks, see :func:`minires.flow.backward_lesion`."""

    chosen: frozenset[int]  # the identities of the blocks
    skip: float
    branch: float
    noise: float
    seed: int


class Edge(NamedTuple):
    """One way out of a fork: where it begins in the graph, its factor, and the key of its noise."""

    place: Tensor
    factor: float
    key: tuple[int, int]


@contextmanager
def lesioned(
    model: nn.Module,
    blocks: Blocks = None,
    *,
    skip: float = 0.0,
    branch: float = 1.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Iterator[None]:
    """Train with a lesion: for passes that run forward inside, the gradient is lesioned.

    Every value of the forward pass has the bits it has outside; the gradients are those of
    :func:`minires.flow.backward_lesion`, which explains the arguments.  So a network can be trained
    with its skips in the function and not in the gradient, beside one that has them in both, and
    beside its plain twin, which has them in neither.  The noise is new in each pass.  It costs
    nothing but the scaling of the gradients.

    It is the observer of the blocks (:func:`minires.nn.observe`): an instrument that is used inside
    looks at the model with its own in its place, and so without the lesion.

    Raises:
        ContractError: the model is none, or has no residual block.
        UsageError: blocks that are not there, or numbers that make no sense.

    >>> import minires as mr
    >>> import minires.functional as F
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=4, in_channels=1)
    >>> x, y = mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3])
    >>> with lesioned(model, skip=0.0, branch=0.0):
    ...     F.cross_entropy(model(x), y).backward()
    >>> bool(model.conv1.weight.grad.data.any()), bool(model.fc.weight.grad.data.any())
    (False, True)
    """
    check_is_model("lesioned", model)
    lesion = checked_lesion("lesioned", model, blocks, skip, branch, noise, seed)
    with nn.observe(LesionObserver(lesion)):
        yield


class LesionObserver(nn.Observer):
    """Changes the gradient along the edges of the chosen blocks, on its way back."""

    def __init__(self, lesion: Lesion):
        self.lesion = lesion
        self.edges = 0  # met so far: each has noise of its own

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        if id(block) not in self.lesion.chosen:
            return u, u
        to_skip = u if block.shortcut is None else self.edge(u, self.lesion.skip)
        return to_skip, self.edge(u, self.lesion.branch)

    def edge(self, u: Tensor, factor: float) -> Tensor:
        """What one way out of the fork is given: u at a place of its own, or u itself."""
        if factor == 1.0 and not self.lesion.noise:
            return u  # the graph stays the model's own, with its order of sums
        edge = Edge(alias(u), factor, (self.lesion.seed, self.edges))
        self.edges += 1
        self.act(edge)
        return edge.place

    def act(self, edge: Edge) -> None:
        """Change what arrives at the edge, if anything will."""
        if edge.place.requires_grad:
            # No method: a graph that holds the observer would hold what it has taken note of.
            hook = partial(_changed, factor=edge.factor, noise=self.lesion.noise, key=edge.key)
            edge.place.register_hook(hook)


def checked_lesion(
    what: str,
    model: nn.Module,
    blocks: Blocks,
    skip: float,
    branch: float,
    noise: float,
    seed: int,
) -> Lesion:
    """The lesion; UsageError, for the instrument ``what``, if it makes no sense."""
    for name, value in (("skip", skip), ("branch", branch), ("noise", noise)):
        if not isinstance(value, Real) or not math.isfinite(value):
            raise UsageError(f"{what}: {name} must be a finite number, got {value!r}.")
    if noise < 0:
        raise UsageError(
            f"{what}: noise must be at least 0, got {noise!r}: it is a size, relative to the "
            "root-mean-square of the gradient."
        )
    chosen = _chosen(what, model, blocks)
    return Lesion(chosen, float(skip), float(branch), float(noise), check_seed(seed, what))


def normal(shape: tuple[int, ...], key: tuple[int, int]) -> np.ndarray:
    """The noise of an edge, the same whenever its turn comes: the key is seed and number."""
    seed, number = key
    # A child of the seed: default_rng((0, 0)) would draw what default_rng(0) draws.
    child = np.random.SeedSequence(seed, spawn_key=(number,))
    return np.random.default_rng(child).standard_normal(shape)


def _changed(grad: Tensor, factor: float, noise: float, key: tuple[int, int]) -> Tensor:
    """factor * grad + noise * rms(grad) * n."""
    array = grad.data
    # Not a product with zero: what is not finite is cut as well.
    after = grad * factor if factor else Tensor(zeros_like(array))
    if not noise:
        return after
    rms = norm(to_numpy(array)) / max(float(array.size), 1.0) ** 0.5
    drawn = (noise * rms * normal(array.shape, key)).astype(array.dtype)
    return after + Tensor(to_device(drawn, grad.device))


def _chosen(what: str, model: nn.Module, blocks: Blocks) -> frozenset[int]:
    """The identities of the blocks that are named, by name or index; of all for None."""
    every = [module for module in model.modules() if isinstance(module, nn.ResidualBlock)]
    if blocks is None:
        return frozenset(map(id, every))
    names = block_names(model)
    by_name: dict[Any, int] = {names[id(block)]: id(block) for block in every}
    several = isinstance(blocks, Iterable) and not isinstance(blocks, str)
    asked: list[Any] = list(blocks) if several else [blocks]  # type: ignore[arg-type]
    if not asked:
        raise UsageError(f"{what}: blocks is empty; name one, or give None for all of them.")
    found = []
    for one in asked:
        if isinstance(one, str) and one in by_name:
            found.append(by_name[one])
        elif isinstance(one, Integral) and -len(every) <= int(one) < len(every):
            found.append(id(every[int(one)]))
        else:
            shown = ", ".join(list(by_name)[:4]) + (", ..." if len(by_name) > 4 else "")
            raise UsageError(
                f"{what}: there is no residual block {one!r}. {type(model).__name__} has "
                f"{len(every)}: {shown}; give names or indices from 0 to {len(every) - 1}."
            )
    return frozenset(found)
