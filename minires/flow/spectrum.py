"""The path spectrum: the gradient taken apart by how many branches it came through.

A network of L residual blocks is a sum over 2^L paths: at each block the gradient comes back over
the skip or through the branch (Veit et al. 2016, equations 3 to 6 and figure 1).  Give every branch
a formal weight t, on the way back only.  Then the gradient at the input of block l,

    g_l(t) = J_pre^T (a J_S^T + t b J_F^T) J_phi^T g_{l+1}(t)  =  c_0 + c_1 t + c_2 t^2 + ...

is a polynomial, and its coefficient c_k is the gradient that came through exactly k branches: the
sum over all paths of that length.  At t = 1 it is the gradient.  (J_pre, J_S, J_F and J_phi are the
Jacobians of the block's parts pre, shortcut, branch and activation, and a and b are its skip_scale
and branch_scale.)  The coefficients are carried back side by side, each under its own number, and
the number grows by one where the gradient comes out of a branch, at the fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Node, Tensor
from minires.autograd.engine import grad_by_label
from minires.device import to_numpy
from minires.errors import UsageError
from minires.flow.graph import reaches
from minires.flow.passes import (
    Bare,
    Fork,
    Forks,
    Loss,
    check_given,
    check_ran,
    check_reached,
    gradients,
    loss_of,
    names_of,
    norm,
)
from minires.flow.untouched import untouched
from minires.nn.devices import batch_for
from minires.result import Result

__all__ = ["BlockSpectrum", "PathSpectrum", "path_counts", "path_spectrum", "place_of"]


@dataclass(frozen=True)
class BlockSpectrum:
    """The spectrum of the gradient at the input of one block.

    Attributes:
        name: the block, as ``named_modules`` calls it.
        lengths: the numbers of branches that a path from here to the loss can go through.
        norms: |c_k| for each of them.
        shares: <c_k, g> / |g|^2, which add up to 1.  Norms do not add up: components cancel.
        counts: how many paths have that length; None inside the branch of another block, and where
            the blocks from here on do not stand in a row (a second head, towers, longer skips).
        cancellation: sum of |c_k| over |g|; 1 if all point the same way.
        error: |sum of c_k - g| / sum of |c_k|, where g comes from a separate pass.
    """

    name: str
    lengths: tuple[int, ...]
    norms: tuple[float, ...]
    shares: tuple[float, ...]
    counts: tuple[int, ...] | None
    cancellation: float | None
    error: float


@dataclass(frozen=True)
class PathSpectrum(Result):
    """What :func:`path_spectrum` found.

    Attributes:
        loss: the loss of the batch.
        block: the name of the block at whose input the components are.
        components: c_k, arrays like the input of that block, in the order of ``lengths``.
        blocks: the :class:`BlockSpectrum` of every block, stem first.
        chosen: the place of ``block`` among them.
        max_error: the largest error of all blocks, or nan: the check of the whole spectrum.

    ``lengths``, ``norms``, ``shares``, ``counts`` and ``cancellation`` are those of ``block``.
    """

    loss: float
    block: str
    components: tuple[np.ndarray, ...] = field(repr=False)
    blocks: tuple[BlockSpectrum, ...]
    chosen: int
    max_error: float

    figure_name = "spectrum_figure"

    @property
    def here(self) -> BlockSpectrum:
        """The spectrum at the block that was asked for."""
        return self.blocks[self.chosen]

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of paths."""
        return self.here.lengths

    @property
    def norms(self) -> tuple[float, ...]:
        """|c_k|."""
        return self.here.norms

    @property
    def shares(self) -> tuple[float, ...]:
        """<c_k, g> / |g|^2."""
        return self.here.shares

    @property
    def counts(self) -> tuple[int, ...] | None:
        """Paths of each length."""
        return self.here.counts

    @property
    def cancellation(self) -> float | None:
        """Sum of |c_k| over |g|."""
        return self.here.cancellation

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a length of path."""
        here = self.here
        counts: Sequence[int | None] = here.counts or [None] * len(here.lengths)
        return ["branches", "paths", "|c|", "signed share"], [
            [k, count, size, f"{100 * share:+.2f}%"]
            for k, count, size, share in zip(
                here.lengths, counts, here.norms, here.shares, strict=True
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the chosen block, and the norms at every block; no arrays."""
        here = self.here
        return {
            "loss": self.loss,
            "block": self.block,
            "lengths": list(here.lengths),
            "norms": list(here.norms),
            "shares": list(here.shares),
            "counts": None if here.counts is None else list(here.counts),
            "cancellation": here.cancellation,
            "max_error": self.max_error,
            "by_block": {
                "name": [b.name for b in self.blocks],
                "lengths": [list(b.lengths) for b in self.blocks],
                "norms": [list(b.norms) for b in self.blocks],
                "cancellation": [b.cancellation for b in self.blocks],
            },
        }

    def caption(self) -> str:
        """Which paths carry the gradient, how much cancels, and how well it was checked."""
        here = self.here
        check = "the components add up to the gradient of a separate pass " + (
            f"within {here.error:.0e}" if here.error else "to the last bit"
        )
        if self.max_error > 1e-3:
            check = (
                f"but the components and the gradient of a separate pass differ by "
                f"{self.max_error:.0e}: the model does not compute the same twice"
            )
        if not np.isfinite(self.max_error):
            return f"Gradient at the input of {self.block}: not finite, so it has no spectrum."
        if len(here.lengths) == 1:
            only = here.lengths[0]
            ways = "the one path there is" if here.counts == (1,) else "paths"
            return (
                f"Gradient at the input of {self.block}: all of it comes over {ways}, through "
                f"{only} branches; {check}."
            )
        if not any(here.norms):
            return f"Gradient at the input of {self.block}: no gradient is left; {check}."
        low, high = middle_half(here.lengths, here.norms)
        size = (
            "all of it cancels"
            if here.cancellation is None
            else (f"together they are {here.cancellation:.3g} times as large as the gradient")
        )
        return (
            f"Gradient at the input of {self.block}: the middle half of the sum of the norms comes "
            f"over paths through {low} to {high} of {here.lengths[-1]} branches; {size}; {check}."
        )


def path_spectrum(
    model: nn.Module,
    x: Any,
    target: Any = None,
    loss: Loss = F.cross_entropy,
    *,
    block: str | int = 0,
) -> PathSpectrum:
    """Take the gradient apart by the number of branches that it came through.

    Exact: no sampling and no differences.  The model runs forward as usual, in the mode it is in,
    and backward once with all components side by side, so that a block behind which there are n
    others fires its branch n + 1 times.  For L blocks that are L(L+1)/2 products with a block's
    Jacobian, where an ordinary backward pass has L of them: as many as in (L+1)/2 passes, 14 for
    27 blocks.  A second, bare pass gives the
    gradient for the check.  Memory: L + 1 arrays like the input of a block.

    Plain blocks have no skip, so every path goes through them and counts them.

    Args:
        model: any module with blocks derived from :class:`minires.nn.ResidualBlock`.
        x: a batch, tensor or array (N, ...).
        target: what the loss compares with.
        loss: ``loss(output, target)``, a single number.
        block: at whose input the components themselves are kept: a name, or a place in the order of
            the forward pass.  Norms and shares are kept for all.

    Returns:
        A :class:`PathSpectrum`.

    Raises:
        ContractError: as :func:`minires.flow.ledger` does.
        ShapeError: the loss is not a single number.
        UsageError: no such block.

    Path counts are binomial, C(L, k), where residual blocks stand one after the other; blocks
    inside another are taken into account, and where blocks stand in no row there are no counts.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(14, width=4, in_channels=1)
    >>> found = path_spectrum(model, mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3]))
    >>> found.counts, found.max_error < 1e-5
    ((1, 6, 15, 20, 15, 6, 1), True)
    """
    check_given("path_spectrum", model, target)
    x, target = batch_for(model, x, target)

    bare = Bare()
    with untouched(model):
        value = loss_of("path_spectrum", model, x, target, loss, bare)
        check_ran("path_spectrum", model, bare.inputs)
        check_reached("path_spectrum", model, bare.blocks, bare.inputs)
        whole = [to_numpy(g.data) for g in gradients(value, bare.inputs)]

    apart = Forks()
    with untouched(model):
        value = loss_of("path_spectrum", model, x, target, loss, apart)
        forks = apart.found
        called = names_of(model, (fork.block for fork in forks))
        chosen = place_of("path_spectrum", block, called)
        # Now, for the pass below frees the graph.
        counts = [path_counts(value, forks, i) for i in range(len(forks))]
        found: dict[int, BlockSpectrum] = {}
        components: dict[int, np.ndarray] = {}

        def visit(i: int, gradients: dict[int, Any]) -> None:
            parts = {k: to_numpy(gradients[k]) for k in sorted(gradients)}
            found[i] = _spectrum(called[i], parts, counts[i], whole[i])
            if i == chosen:
                components.update({k: part.copy() for k, part in parts.items()})

        through = [(fork.branch, lambda k: k + 1) for fork in forks]
        grad_by_label(value, [0], through, [fork.source for fork in forks], visit)

    blocks = tuple(
        found.get(i) or _spectrum(called[i], {}, counts[i], whole[i]) for i in range(len(forks))
    )
    return PathSpectrum(
        loss=float(value.item()),
        block=called[chosen],
        components=tuple(components.values()),
        blocks=blocks,
        chosen=chosen,
        max_error=float(np.max([b.error for b in blocks])),
    )


def path_counts(value: Tensor, forks: Sequence[Fork], start: int) -> dict[int, int] | None:
    """How many paths lead from block ``start`` to the loss, by the branches they go through.

    The product over the blocks of 1 + t, or t where there is no skip, as {power of t: coefficient};
    None for a block inside another, and where a way leads from there to ``value`` round a block.
    """
    if forks[start].parent is not None:
        return None
    row = [fork for fork in forks[start:] if fork.parent is None]
    return _along_row(value.node, row, forks[start].x.node, forks)


def _along_row(
    end: Node | None, row: Sequence[Fork], begin: Node | None, forks: Sequence[Fork]
) -> dict[int, int] | None:
    """The ways from ``begin`` to ``end``; None unless all lead through each block of ``row``."""
    total = {0: 1}
    for i in reversed(range(len(row))):
        door = row[i].parting.node
        before = [begin, *(fork.parting.node for fork in row[:i])]
        if reaches([end], before, around=door):
            return None
        ways = _ways(row[i], forks)
        if ways is None:
            return None
        total, end = _product(total, ways), door
    return total


def _ways(fork: Fork, forks: Sequence[Fork]) -> dict[int, int] | None:
    """The ways through one block: over the skip, or through its branch, and what is in there."""
    ways: dict[int, int] = {}
    inner = [other for other in forks if other.parent is fork]
    for way, end, more in ((fork.branch, fork.branch_end, 1), (fork.skip, fork.skip_end, 0)):
        if way is None or end is None:  # no such way, or stochastic depth has dropped the branch
            continue
        row = [f for f in inner if reaches([f.parting.node], [way.node])]
        found = _along_row(end, row, way.node, forks)
        if found is None:
            return None
        for k, count in found.items():
            ways[k + more] = ways.get(k + more, 0) + count
    return dict(sorted(ways.items()))


def _product(one: dict[int, int], other: dict[int, int]) -> dict[int, int]:
    result: dict[int, int] = {}
    for i, a in one.items():
        for j, b in other.items():
            result[i + j] = result.get(i + j, 0) + a * b
    return dict(sorted(result.items()))


def _spectrum(
    name: str, parts: dict[int, np.ndarray], counts: dict[int, int] | None, whole: np.ndarray
) -> BlockSpectrum:
    lengths = tuple(parts)
    norms = tuple(norm(part) for part in parts.values())
    g = whole.astype(np.float64)
    size, total = norm(whole), sum(norms)
    rest = -g
    shares = []
    for part in parts.values():
        wide = part.astype(np.float64)
        rest += wide
        shares.append(float((wide * g).sum()) / size**2 if size else 0.0)
    return BlockSpectrum(
        name=name,
        lengths=lengths,
        norms=norms,
        shares=tuple(shares),
        counts=None if counts is None else tuple(counts.get(k, 0) for k in lengths),
        cancellation=total / size if size else None,
        error=norm(rest) / total if total else norm(rest),
    )


def place_of(what: str, block: str | int, names: Sequence[str]) -> int:
    """The place of a block given by name or by number, in the order of the forward pass."""
    if isinstance(block, str):
        if block not in names:
            known = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            raise UsageError(f"{what}: no block {block!r} ran; there are {known}.")
        return names.index(block)
    if not isinstance(block, Integral):
        raise UsageError(f"{what}: block must be a name or a place, got {block!r}.")
    if not -len(names) <= block < len(names):
        raise UsageError(f"{what}: there is no block {block}; {len(names)} ran, 0 is the first.")
    return block % len(names)


def middle_half(lengths: Sequence[int], sizes: Sequence[float]) -> tuple[int, int]:
    """The lengths at which a quarter and three quarters of the sum of sizes are reached."""
    total = np.cumsum(sizes) / (sum(sizes) or 1.0)
    low, high = (int(np.searchsorted(total, part)) for part in (0.25, 0.75))
    last = len(lengths) - 1
    return lengths[min(low, last)], lengths[min(high, last)]
