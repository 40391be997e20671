"""What every instrument does first: look at what it was given, and run the model under watch.

A pass under watch is an ordinary one, forward and backward, in which an observer stands at the
fork and at the sum of every residual block (see :mod:`minires.nn.residual`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Node, Tensor, enable_grad, grad
from minires.device import as_array, to_numpy, zeros_like
from minires.errors import ContractError, DTypeError, ShapeError, describe
from minires.functional.shape import alias

__all__ = [
    "Bare",
    "Fork",
    "Forks",
    "Loss",
    "as_numpy",
    "block_names",
    "check_given",
    "check_is_model",
    "check_loss",
    "check_ran",
    "check_reached",
    "distance",
    "finite",
    "gradients",
    "keep_branches",
    "kind_of",
    "loss_of",
    "mode_of",
    "names_of",
    "naming_batch",
    "norm",
]

Loss = Callable[[Tensor, Tensor], Tensor]


class Fork:
    """One residual block in one pass: its places in the graph, and its two terms.

    Attributes:
        block: the module.
        x: the block's input.
        source: the same as the model has it, where x is a way of another block's fork.
        u: what goes into the fork, as the model has it.
        parting: where the ways part, behind all that others read from u.
        skip, branch: the places where the two ways begin; skip is None in a plain block.
        parent: the block in whose branch this one runs, if any.
        skip_size, branch_size: norms of the two terms of the sum; None where there is none.
        dropped: whether stochastic depth has left the branch out.

    ``parting``, ``skip`` and ``branch`` hold the values of u.  What arrives at ``skip`` and
    ``branch`` on the way back is what the two ways send, and at ``parting`` it is added.
    """

    def __init__(self, block: nn.ResidualBlock, x: Tensor, u: Tensor, parent: Fork | None):
        self.block, self.x, self.u, self.parent = block, x, u, parent
        self.source = x
        self.parting = alias(u)
        self.skip = None if block.shortcut is None else alias(self.parting)
        self.branch = alias(self.parting)
        self.skip_size: float | None = None
        self.branch_size: float | None = None
        self.dropped = False
        # Where the two ways end, at the sum.
        self.skip_end: Node | None = None
        self.branch_end: Node | None = None


class Forks(nn.Observer):
    """Gives each way out of a fork a place of its own in the graph, where its gradient arrives."""

    def __init__(self) -> None:
        self.found: list[Fork] = []  # in the order of the forward pass
        self._models_own: dict[int, Tensor] = {}  # the tensor of the model that an alias stands for
        self._open: list[Fork] = []  # blocks inside the branch of another block are closed first

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        fork = Fork(block, x, u, self._open[-1] if self._open else None)
        fork.source, fork.u = (self._models_own.get(id(t), t) for t in (x, u))
        self._models_own |= {id(t): fork.u for t in (fork.skip, fork.branch) if t is not None}
        self.found.append(fork)
        self._open.append(fork)
        return (u if fork.skip is None else fork.skip), fork.branch

    def join(
        self, block: nn.ResidualBlock, skip: Tensor | None, branch: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        fork = self._open.pop()
        fork.branch_size, fork.branch_end = norm(to_numpy(branch._data)), branch.node
        if skip is not None:
            fork.skip_end = skip.node
            fork.skip_size = norm(to_numpy(skip._data))
        thinned = block.training and block.survival_probability != 1.0
        fork.dropped = thinned and branch.node is None
        return skip, branch


class Bare(nn.Observer):
    """Takes note of the tensors at each fork and adds nothing: the graph is the model's own."""

    def __init__(self) -> None:
        self.blocks: list[nn.ResidualBlock] = []  # in the order of the forward pass
        self.inputs: list[Tensor] = []  # x of each block
        self.forks: list[Tensor] = []  # u of each block

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        self.blocks.append(block)
        self.inputs.append(x)
        self.forks.append(u)
        return u, u


def check_is_model(what: str, model: Any) -> None:
    """Raise ContractError unless there is a model."""
    if not isinstance(model, nn.Module):
        raise ContractError(
            f"{what}: a {type(model).__name__} is no model. It takes a minires.nn.Module with "
            "blocks derived from minires.nn.ResidualBlock."
        )


def check_given(what: str, model: Any, target: Any) -> None:
    """Raise ContractError unless there is a model, and something to compare its output with."""
    check_is_model(what, model)
    if target is None:
        raise ContractError(
            f"{what}: needs the labels of the batch, since the gradient is that of the loss: "
            f"{what}(model, x, target)."
        )


def check_ran(what: str, model: nn.Module, seen: Sequence[Any]) -> None:
    """Raise ContractError unless at least one residual block was seen in the pass."""
    if not seen:
        raise ContractError(
            f"{what}: no residual block ran in {type(model).__name__}. Instruments look at "
            "blocks derived from minires.nn.ResidualBlock, which gives the fork and the sum "
            "their places; build the model of those."
        )


def check_reached(
    what: str, model: nn.Module, blocks: Sequence[nn.ResidualBlock], inputs: Sequence[Tensor]
) -> None:
    """Raise ContractError if no gradient can come back out of one of the blocks."""
    for block, x in zip(blocks, inputs, strict=True):
        if x.node is None:
            raise ContractError(
                f"{what}: block {names_of(model, [block])[0]!r} is given a tensor of "
                f"shape {x.shape} without a history, so it has no gradient to be looked at. "
                "Something before it cuts it off, such as detach() or no_grad(); to train only "
                "what comes later, freeze what comes before with requires_grad_(False)."
            )


def as_numpy(value: Any) -> np.ndarray:
    """The numbers of a tensor or an array, copied from the GPU if they are there."""
    return to_numpy(value._data if isinstance(value, Tensor) else as_array(value))


def block_names(model: nn.Module) -> dict[int, str]:
    """What ``named_modules`` calls each module, by its identity."""
    return {id(module): name for name, module in model.named_modules()}


def names_of(model: nn.Module, blocks: Iterable[nn.ResidualBlock]) -> list[str]:
    """The name of each block; '?' for one that the model keeps where it does not list it."""
    names = block_names(model)
    return [names.get(id(block), "?") for block in blocks]


def kind_of(block: nn.ResidualBlock) -> str:
    """'residual', or 'plain' for a block without a shortcut."""
    return "plain" if block.shortcut is None else "residual"


def mode_of(model: nn.Module) -> str:
    """'training', 'evaluation', or 'mixed' where modules differ."""
    modes = {module.training for module in model.modules()}
    return "mixed" if len(modes) > 1 else "training" if modes == {True} else "evaluation"


def keep_branches(model: nn.Module) -> None:
    """Let stochastic depth drop no branch in training mode; blocks in evaluation stay as they are.

    Changes the model, so call it in :func:`~minires.flow.untouched.untouched`, or on a copy.
    """
    for block in model.modules():
        if not isinstance(block, nn.ResidualBlock) or block.shortcut is None:
            continue
        if block.training and 0.0 < block.survival_probability < 1.0:  # others are refused
            block.survival_probability = 1.0


@contextmanager
def naming_batch(what: str, model: nn.Module, **batch: Any) -> Iterator[None]:
    """Errors about shapes and dtypes in the block name the instrument, the batch and the layer."""
    try:
        yield
    except (ShapeError, DTypeError) as error:
        if str(error).startswith(f"{what}: "):  # it says so itself
            raise
        place = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        raise type(error)(
            f"{what}: {type(model).__name__} or the loss could not take this batch.\n"
            f"  {describe(**batch)}\n  {error}{place}"
        ) from error


def loss_of(
    what: str, model: nn.Module, x: Tensor, target: Tensor, loss: Loss, observer: nn.Observer
) -> Tensor:
    """The loss of the batch, recorded, with ``observer`` at every fork and sum.

    With auxiliary outputs it is the loss that training lowers (see :func:`minires.nn.total_loss`).

    Raises ContractError or ShapeError, for the instrument ``what``, if the loss is no tensor or
    more than a number, and ShapeError or DTypeError, with the batch and the layer, if the batch
    does not fit.
    """
    # The input requires grad, so that a block right at the input has a gradient to split.
    x = Tensor(x.data, requires_grad=x.dtype.kind == "f")
    with naming_batch(what, model, x=x, target=target), enable_grad(), nn.observe(observer):
        return check_loss(what, nn.total_loss(loss, model(x), target))


def check_loss(what: str, value: Any) -> Tensor:
    """The loss; ContractError or ShapeError if it is no tensor or more than a number."""
    if not isinstance(value, Tensor):
        raise ContractError(
            f"{what}: the loss returned a {type(value).__name__}, which has no gradient. "
            "It must return the tensor itself, not float(...) or .item() of it."
        )
    if value.numel() != 1:
        raise ShapeError(
            f"{what}: the loss must be a single number, but has shape {value.shape}. "
            "Use a reduction, such as reduction='mean'."
        )
    return value


def gradients(value: Tensor, tensors: Sequence[Tensor], retain_graph: bool = False) -> list[Tensor]:
    """d value / d tensor for each; zeros where the value does not depend on it."""
    found = grad(value, tensors, retain_graph=retain_graph, allow_unused=True)
    return [
        Tensor(zeros_like(t.data)) if g is None else g for t, g in zip(tensors, found, strict=True)
    ]


def norm(array: np.ndarray) -> float:
    """The 2-norm over all elements, summed in float64 and in one order on any number of threads."""
    # Not np.linalg.norm: BLAS sums in another order for every number of threads.
    return float(np.sqrt(np.square(array, dtype=np.float64).sum()))


def finite(value: float | None) -> float | None:
    """The number, or None in the place of nan and infinity, which JSON lacks."""
    return value if value is not None and math.isfinite(value) else None


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """|one - other| / |other|, or |one| if the other is zero."""
    difference, size = norm(one - other), norm(other)
    return difference / size if size else difference
