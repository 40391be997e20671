"""The ledger: at each fork, what the gradient owes to the skip and what to the branch.

With u the tensor at the fork of a block, S its shortcut, F its branch, a the scale of the skip and
d the gradient that arrives at the sum, two gradients come back to u and are added there:

    skip   = a * J_S^T d          branch = J_F^T d          dLoss/du = skip + branch

The split is taken at the fork.  At the sum, where tutorials often take it, both edges carry the
same gradient d, and the comparison says nothing.  (He et al. 2016, equation 5, is the case of
clean identities: dLoss/dx_l = dLoss/dx_L * (1 + d/dx_l sum F).)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor, enable_grad, grad
from minires.device import array_module, to_numpy
from minires.errors import ContractError, ShapeError
from minires.flow.untouched import untouched
from minires.functional.shape import alias
from minires.result import Result

__all__ = ["Ledger", "LedgerEntry", "ledger"]

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LedgerEntry:
    """One fork.  Norms are over the whole batch; rms is norm / sqrt(elements).

    Attributes:
        name: the block, as ``named_modules`` calls it.
        kind: 'residual', or 'plain' for a block without a shortcut.
        skip, branch: the two gradients at the fork, arrays like u; skip is None in a plain block.
        skip_norm, branch_norm, skip_rms, branch_rms: their sizes.
        share: |skip| / (|skip| + |branch|), between 0 and 1; None in a plain block.
        cosine: of the angle between the two; None in a plain block.
        forward_ratio: |F(u)| / |a S(u)| in the forward pass, with the scale of the skip, as the two
            terms stand in the sum; None in a plain block.
        grad_rms, grad_norm: of the gradient at the block's input, dLoss/dx.
        error: of the check; the larger of two relative differences (see :func:`ledger`).
    """

    name: str
    kind: str
    skip: np.ndarray | None = field(repr=False)
    branch: np.ndarray = field(repr=False)
    skip_norm: float | None
    branch_norm: float
    skip_rms: float | None
    branch_rms: float
    share: float | None
    cosine: float | None
    forward_ratio: float | None
    grad_rms: float
    grad_norm: float
    error: float

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays."""
        return {k: v for k, v in vars(self).items() if k not in ("skip", "branch")}


@dataclass(frozen=True)
class Ledger(Result):
    """What :func:`ledger` found, stem first.

    Attributes:
        loss: the loss of the batch.
        blocks: an entry for each fork, in the order of the forward pass.
        max_error: the largest of the entries' errors, or nan if one of them is: the check of the
            whole ledger.
    """

    loss: float
    blocks: tuple[LedgerEntry, ...]
    max_error: float

    figure_name = "ledger_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a block; ``|F|/|S|`` is ``forward_ratio``, where S has the scale of the skip."""
        headers = [
            "block",
            "skip |g|",
            "branch |g|",
            "skip share",
            "cosine",
            "|F|/|S|",
            "input rms",
        ]
        return headers, [
            [
                e.name,
                e.skip_norm,
                e.branch_norm,
                None if e.share is None else f"{100 * e.share:.1f}%",
                None if e.cosine is None else f"{e.cosine:+.3f}",
                e.forward_ratio,
                e.grad_rms,
            ]
            for e in self.blocks
        ]

    def to_dict(self) -> dict[str, Any]:
        """Loss, check, and the entries without their arrays."""
        return {
            "loss": self.loss,
            "max_error": self.max_error,
            "blocks": [entry.to_dict() for entry in self.blocks],
        }

    def caption(self) -> str:
        """How much comes back over the skips, and how well it was checked."""
        shares = [entry.share for entry in self.blocks if entry.share is not None]
        count, s = len(self.blocks), "s" * (len(self.blocks) != 1)
        if not math.isfinite(self.max_error):
            check = "the sum could not be checked, because some gradients are not finite."
        elif self.max_error > 1e-3:
            check = (
                f"but skip + branch and the gradient of a separate pass differ by "
                f"{self.max_error:.0e}: the model does not compute the same twice."
            )
        else:
            how = f"within {self.max_error:.0e}" if self.max_error else "to the last bit"
            check = f"skip + branch equals the gradient of a separate pass {how}."
        if not shares:
            text = f"{count} plain block{s}: all of the gradient comes back over the branch"
            return f"{text}." if self.max_error <= 1e-3 else f"{text}; {check}"
        if not all(map(math.isfinite, shares)):
            return f"{count} block{s}: the shares of the skip are not all finite; {check}"
        low, high = f"{100 * min(shares):.0f}%", f"{100 * max(shares):.0f}%"
        between = low if low == high else f"{low} to {high}"
        return f"{count} block{s}: {between} of the gradient comes back over the skip; {check}"


def ledger(model: nn.Module, x: Any, target: Any = None, loss: Loss = F.cross_entropy) -> Ledger:
    """Split the gradient at every fork of ``model`` into what skip and branch send back.

    The model runs twice, forward and backward, in the mode it is in: once with the forks taken
    apart, once bare, in the graph that training has, for the check.  So it costs two training steps
    without the optimiser, and memory for four arrays a block.  It leaves no trace on the model.

    The check of an entry compares two things, and ``error`` is the larger relative difference:

    - skip + branch with the gradient that arrives where the two ways part, in the first pass;
    - the gradient at u in the first pass with the gradient at u in the bare one.  Where u feeds
      nothing but this fork, both are skip + branch.  Where others read u too (a block that starts
      the branch of another, an auxiliary head), both hold what those send back as well, which is
      not booked on the block.

    Args:
        model: any module with blocks derived from :class:`minires.nn.ResidualBlock`.
        x: a batch, tensor or array (N, ...).
        target: what the loss compares with, tensor or array.
        loss: ``loss(output, target)``, a single number.

    Returns:
        A :class:`Ledger`: one entry a block, ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        ContractError: the model is none, the target is missing, no block of the contract ran, or
            the loss is no tensor.
        ShapeError: the loss is not a single number.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=4, in_channels=1)
    >>> found = ledger(model, mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3]))
    >>> [entry.name for entry in found.blocks], found.max_error < 1e-5
    (['layer1.0', 'layer2.0', 'layer3.0'], True)
    """
    if not isinstance(model, nn.Module):
        raise ContractError(
            f"ledger: a {type(model).__name__} is no model. It takes a minires.nn.Module with "
            "blocks derived from minires.nn.ResidualBlock."
        )
    if target is None:
        raise ContractError(
            "ledger: needs the labels of the batch, since the gradient is that of the loss: "
            "ledger(model, x, target)."
        )
    x, target = _as_tensor(x), _as_tensor(target)
    names = {id(module): name for name, module in model.named_modules()}

    apart = _Apart()
    with untouched(model):
        value = _loss_of(model, x, target, loss, apart)
        forks = apart.forks
        if not forks:
            raise ContractError(
                f"ledger: no residual block ran in {type(model).__name__}. Instruments look at "
                "blocks derived from minires.nn.ResidualBlock, which gives the fork and the sum "
                "their places; build the model of those."
            )
        wanted = [t for fork in forks for t in fork.tensors()]
        found = {id(t): g for t, g in zip(wanted, _grads(value, wanted), strict=True)}

    whole = _Whole()
    with untouched(model):
        separate = _grads(_loss_of(model, x, target, loss, whole), whole.forks)

    entries = tuple(
        _entry(names.get(id(fork.block), "?"), fork, found, to_numpy(bare._data))
        for fork, bare in zip(forks, separate, strict=True)
    )
    return Ledger(float(value.item()), entries, _largest(entry.error for entry in entries))


class _Fork:
    """A fork taken apart.

    The block's input, u, the place where the ways part (behind all that others read from u), the
    two ways, and the sizes of the two terms.
    """

    def __init__(self, block: nn.ResidualBlock, x: Tensor, u: Tensor):
        self.block, self.x, self.u = block, x, u
        self.parting = alias(u)
        self.skip = None if block.shortcut is None else alias(self.parting)
        self.branch = alias(self.parting)
        self.forward_ratio: float | None = None

    def tensors(self) -> list[Tensor]:
        ways = [] if self.skip is None else [self.skip]
        return [self.x, self.u, self.parting, self.branch, *ways]


class _Apart(nn.Observer):
    """Gives each way out of a fork a place of its own in the graph, where its gradient arrives."""

    def __init__(self) -> None:
        self.forks: list[_Fork] = []
        self._models_own: dict[int, Tensor] = {}  # the tensor of the model that an alias stands for
        self._open: list[_Fork] = []  # blocks inside the branch of another block are closed first

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        fork = _Fork(block, x, u)
        fork.u = self._models_own.get(id(u), u)
        self._models_own |= {id(t): fork.u for t in (fork.skip, fork.branch) if t is not None}
        self.forks.append(fork)
        self._open.append(fork)
        return (u if fork.skip is None else fork.skip), fork.branch

    def join(self, block: nn.ResidualBlock, skip: Tensor | None, branch: Tensor) -> None:
        fork = self._open.pop()
        if skip is not None:
            size = _norm(to_numpy(skip._data))
            fork.forward_ratio = _norm(to_numpy(branch._data)) / size if size else None


class _Whole(nn.Observer):
    """Takes note of the tensor at each fork and adds nothing: the graph is the model's own."""

    def __init__(self) -> None:
        self.forks: list[Tensor] = []

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        self.forks.append(u)
        return u, u


def _loss_of(
    model: nn.Module, x: Tensor, target: Tensor, loss: Loss, observer: nn.Observer
) -> Tensor:
    # The input requires grad, so that a block right at the input has a gradient to split.
    x = Tensor(x.data, requires_grad=x.dtype.kind == "f")
    with enable_grad(), nn.observe(observer):
        value = loss(model(x), target)
    if not isinstance(value, Tensor):
        raise ContractError(
            f"ledger: the loss returned a {type(value).__name__}, which has no gradient. "
            "It must return the tensor itself, not float(...) or .item() of it."
        )
    if value.numel() != 1:
        raise ShapeError(
            f"ledger: the loss must be a single number, but has shape {value.shape}. "
            "Use a reduction, such as reduction='mean'."
        )
    return value


def _grads(value: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    """The gradients; zeros where the loss does not depend on a tensor."""
    found = grad(value, tensors, allow_unused=True)
    return [
        Tensor(array_module(t.data).zeros_like(t.data)) if g is None else g
        for t, g in zip(tensors, found, strict=True)
    ]


def _entry(name: str, fork: _Fork, found: dict[int, Tensor], bare: np.ndarray) -> LedgerEntry:
    at_input, at_u, at_parting, branch = (
        to_numpy(found[id(t)].data) for t in (fork.x, fork.u, fork.parting, fork.branch)
    )
    skip = None if fork.skip is None else to_numpy(found[id(fork.skip)].data)
    total = branch if skip is None else skip + branch
    skip_norm = share = cosine = None
    branch_norm = _norm(branch)
    if skip is not None:
        skip_norm = _norm(skip)
        both = skip_norm + branch_norm
        share = skip_norm / both if both else None
        dot = float((skip.astype(np.float64) * branch.astype(np.float64)).sum())
        cosine = dot / (skip_norm * branch_norm) if skip_norm and branch_norm else None
    root = float(branch.size) ** 0.5
    return LedgerEntry(
        name=name,
        kind="plain" if skip is None else "residual",
        skip=skip,
        branch=branch,
        skip_norm=skip_norm,
        branch_norm=branch_norm,
        skip_rms=None if skip_norm is None else skip_norm / root,
        branch_rms=branch_norm / root,
        share=share,
        cosine=cosine,
        forward_ratio=fork.forward_ratio,
        grad_rms=_norm(at_input) / float(at_input.size) ** 0.5,
        grad_norm=_norm(at_input),
        error=_largest((_distance(total, at_parting), _distance(at_u, bare))),
    )


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    difference, size = _norm(one - other), _norm(other)
    return difference / size if size else difference


def _largest(errors: Iterable[float]) -> float:
    """max() that hands on nan instead of hiding it."""
    return float(np.max(list(errors)))


def _norm(array: np.ndarray) -> float:
    # Not np.linalg.norm: BLAS sums in another order for every number of threads.
    return float(np.sqrt(np.square(array, dtype=np.float64).sum()))


def _as_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(np.asarray(value))
