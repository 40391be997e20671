"""The ledger: at each fork, what the gradient owes to the skip and what to the branch.

With u the tensor at the fork of a block, S its shortcut, F its branch, a and b the scales of the
two and d the gradient that arrives at the sum z = a*S(u) + b*F(u), two gradients come back to u
and are added there:

    skip   = a * J_S^T d          branch = b * J_F^T d      dLoss/du = skip + branch

With stochastic depth b is 0 in training for a branch that is dropped in this pass; in evaluation
the probability of survival is a factor of it.

The split is taken at the fork.  At the sum, where tutorials often take it, both edges carry the
same gradient d, and the comparison says nothing.  (He et al. 2016, equation 5, is the case of
clean identities: dLoss/dx_l = dLoss/dx_L * (1 + d/dx_l sum F).)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor
from minires.device import to_numpy
from minires.flow.passes import (
    Bare,
    Fork,
    Forks,
    Loss,
    check_given,
    check_ran,
    check_reached,
    distance,
    gradients,
    kind_of,
    loss_of,
    names_of,
    norm,
)
from minires.flow.untouched import untouched
from minires.nn.devices import batch_for
from minires.result import Result

__all__ = ["Ledger", "LedgerEntry", "ledger"]


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
        forward_ratio: |b F(u)| / |a S(u)| in the forward pass, with the two scales, as the terms
            stand in the sum; None in a plain block.
        grad_rms, grad_norm: of the gradient at the block's input, dLoss/dx.
        error: of the check; the larger of two relative differences (see :func:`ledger`).
        dropped: whether stochastic depth has left the branch out in this pass.
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
    dropped: bool = False

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
        """One row a block; ``|F|/|S|`` is ``forward_ratio``, both with their scales."""
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
        plain = sum(entry.kind == "plain" for entry in self.blocks)
        blocks = f"{count} block{s}" + (f" ({plain} of them plain)" if plain else "")
        dropped = sum(entry.dropped for entry in self.blocks)
        if dropped:
            blocks += f" (stochastic depth dropped {dropped} of their branches in this pass)"
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
        if not shares and plain < count:
            return f"{blocks}: no gradient is left at the forks; {check}"
        if not shares:
            text = f"{count} plain block{s}: all of the gradient comes back over the branch"
            return f"{text}." if self.max_error <= 1e-3 else f"{text}; {check}"
        if not all(map(math.isfinite, shares)):
            return f"{blocks}: the shares of the skip are not all finite; {check}"
        low, high = f"{100 * min(shares):.0f}%", f"{100 * max(shares):.0f}%"
        between = low if low == high else f"{low} to {high}"
        return f"{blocks}: {between} of the gradient comes back over the skip; {check}"


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
    check_given("ledger", model, target)
    x, target = batch_for(model, x, target)

    apart = Forks()
    with untouched(model):
        value = loss_of("ledger", model, x, target, loss, apart)
        forks = apart.found
        check_ran("ledger", model, forks)
        check_reached("ledger", model, [f.block for f in forks], [f.x for f in forks])
        wanted = [t for fork in forks for t in _places(fork)]
        found = {id(t): g for t, g in zip(wanted, gradients(value, wanted), strict=True)}

    bare = Bare()
    with untouched(model):
        separate = gradients(loss_of("ledger", model, x, target, loss, bare), bare.forks)

    names = names_of(model, (fork.block for fork in forks))
    entries = tuple(
        _entry(name, fork, found, to_numpy(alone._data))
        for name, fork, alone in zip(names, forks, separate, strict=True)
    )
    return Ledger(float(value.item()), entries, _largest(entry.error for entry in entries))


def _places(fork: Fork) -> list[Tensor]:
    """Where the gradients of an entry arrive."""
    ways = [] if fork.skip is None else [fork.skip]
    return [fork.x, fork.u, fork.parting, fork.branch, *ways]


def _entry(name: str, fork: Fork, found: dict[int, Tensor], bare: np.ndarray) -> LedgerEntry:
    at_input, at_u, at_parting, branch = (
        to_numpy(found[id(t)].data) for t in (fork.x, fork.u, fork.parting, fork.branch)
    )
    skip = None if fork.skip is None else to_numpy(found[id(fork.skip)].data)
    total = branch if skip is None else skip + branch
    skip_norm = share = cosine = None
    branch_norm = norm(branch)
    if skip is not None:
        skip_norm = norm(skip)
        both = skip_norm + branch_norm
        share = skip_norm / both if both else None
        dot = float((skip.astype(np.float64) * branch.astype(np.float64)).sum())
        cosine = dot / (skip_norm * branch_norm) if skip_norm and branch_norm else None
    root = float(branch.size) ** 0.5
    return LedgerEntry(
        name=name,
        kind=kind_of(fork.block),
        skip=skip,
        branch=branch,
        skip_norm=skip_norm,
        branch_norm=branch_norm,
        skip_rms=None if skip_norm is None else skip_norm / root,
        branch_rms=branch_norm / root,
        share=share,
        cosine=cosine,
        forward_ratio=_ratio(fork),
        grad_rms=norm(at_input) / float(at_input.size) ** 0.5,
        grad_norm=norm(at_input),
        error=_largest((distance(total, at_parting), distance(at_u, bare))),
        dropped=fork.dropped,
    )


def _ratio(fork: Fork) -> float | None:
    """|b F(u)| / |a S(u)|, where there is a skip, and not a zero one."""
    if fork.branch_size is None or not fork.skip_size:
        return None
    return fork.branch_size / fork.skip_size


def _largest(errors: Iterable[float]) -> float:
    """max() that hands on nan instead of hiding it."""
    return float(np.max(list(errors)))
