"""Single paths through the network, drawn at random, and the gradient that comes along them.

Veit et al. 2016, section 4.3 and figure 6, measured the size of the gradient along sampled paths
and multiplied it by the number of paths of that length.  That product ignores that gradients of
different paths cancel; :func:`minires.flow.path_spectrum` has their exact sum to hold beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor
from minires.autograd.engine import grad_by_label
from minires.device import to_numpy
from minires.errors import ContractError, UsageError
from minires.flow.passes import (
    Fork,
    Forks,
    Loss,
    check_given,
    check_ran,
    check_reached,
    distance,
    gradients,
    loss_of,
    names_of,
    norm,
)
from minires.flow.spectrum import middle_half, path_counts, place_of
from minires.flow.untouched import untouched
from minires.nn.devices import batch_for
from minires.result import Result

__all__ = ["PathSample", "sample_paths"]

Path = frozenset[int]  # the blocks, by their place, whose branch the path goes through

# The gradient along a long path can be 1e-40 of the loss, where float32 runs out of digits.  Every
# pass starts from this in place of 1, and a power of two costs no bit.
HEAD_START = 2.0**64

AT_ONCE = 32  # paths that one pass carries: so many arrays like the input of a block are alive


@dataclass(frozen=True)
class PathSample(Result):
    """What :func:`sample_paths` found.

    Attributes:
        loss: the loss of the batch.
        block: at whose input the gradients arrive.
        lengths: branches on a path, the k of each entry below.
        norms: of the gradient along each path that was drawn, a tuple for each length.
        counts: how many paths have that length.
        max_error: of the check (see :func:`sample_paths`).

    ``means`` and ``totals`` are the mean norm, and mean norm times count.
    """

    loss: float
    block: str
    lengths: tuple[int, ...]
    norms: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]
    max_error: float

    figure_name = "paths_figure"

    @property
    def means(self) -> tuple[float, ...]:
        """The mean norm of the gradient along one path of each length."""
        return tuple(float(np.mean(sizes)) for sizes in self.norms)

    @property
    def totals(self) -> tuple[float, ...]:
        """Mean norm times the number of paths: what all would come to if none cancelled."""
        return tuple(mean * count for mean, count in zip(self.means, self.counts, strict=True))

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a length."""
        headers = ["branches", "paths", "drawn", "mean |g| of one", "smallest", "largest", "total"]
        return headers, [
            [k, count, len(sizes), mean, min(sizes), max(sizes), total]
            for k, count, sizes, mean, total in zip(
                self.lengths, self.counts, self.norms, self.means, self.totals, strict=True
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """All numbers."""
        return {
            "loss": self.loss,
            "block": self.block,
            "lengths": list(self.lengths),
            "norms": [list(sizes) for sizes in self.norms],
            "counts": list(self.counts),
            "means": list(self.means),
            "totals": list(self.totals),
            "max_error": self.max_error,
        }

    def caption(self) -> str:
        """Where the product of size and number has its weight."""
        if not np.isfinite(self.max_error):
            return f"Single paths to {self.block}: their gradients are not all finite."
        check = "a path agrees with an ordinary pass through a network cut to it " + (
            f"within {self.max_error:.0e}" if self.max_error else "to the last bit"
        )
        if self.max_error > 1e-3:
            check = (
                f"but a path and an ordinary pass through a network cut to it differ by "
                f"{self.max_error:.0e}: the model does not compute the same twice"
            )
        if not any(self.totals):
            return f"Single paths to {self.block}: no gradient is left; {check}."
        if len(self.lengths) == 1:
            k, count = self.lengths[0], self.counts[0]
            paths = "The one path" if count == 1 else f"Paths (of {count:,})"
            return (
                f"{paths} to {self.block} through {k} branches: the mean norm of the gradient is "
                f"{self.means[0]:.3g}; {check}."
            )
        low, high = middle_half(self.lengths, self.totals)
        return (
            f"Single paths to {self.block}: mean norm times number of paths has its middle half at "
            f"{low} to {high} of {self.lengths[-1]} branches, as if nothing cancelled; {check}."
        )


def sample_paths(
    model: nn.Module,
    x: Any,
    target: Any = None,
    loss: Loss = F.cross_entropy,
    *,
    lengths: Sequence[int] | None = None,
    samples: int = 10,
    block: str | int = 0,
    seed: int = 0,
) -> PathSample:
    """The size of the gradient along single paths of each length, drawn at random.

    Many paths go back in one pass, each under its own label; at a fork a path takes its way and is
    dropped on the other, so a path through k branches costs the backward work of k branches: all
    lengths of L blocks cost about ``samples * L / 2`` backward passes.  For the check, one path of
    each tenth length is measured again in an ordinary backward pass in which every other edge is
    cut; ``max_error`` is the largest relative distance between the two gradients.

    Args:
        model, x, target, loss: as for :func:`minires.flow.path_spectrum`.
        lengths: numbers of branches; all that exist if left out.
        samples: paths for each length; fewer where there are fewer.
        block: at whose input the gradient is measured, by name or place.
        seed: of the draw.

    Returns:
        A :class:`PathSample`.

    Raises:
        ContractError, ShapeError: as :func:`minires.flow.ledger` does; ContractError also where a
            block runs inside the branch of another, or blocks do not stand in a row.
        UsageError: no such block or length.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(14, width=4, in_channels=1)
    >>> found = sample_paths(model, mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3]), samples=3)
    >>> [len(sizes) for sizes in found.norms], found.max_error < 1e-5
    ([1, 3, 3, 3, 3, 3, 1], True)
    """
    check_given("sample_paths", model, target)
    if not isinstance(samples, Integral) or samples < 1:
        raise UsageError(f"sample_paths: samples must be at least 1, got {samples!r}.")
    if lengths is not None and not len(lengths):
        raise UsageError("sample_paths: lengths is empty; leave it out for all that exist.")
    x, target = batch_for(model, x, target)

    def run() -> tuple[Tensor, list[Fork]]:
        apart = Forks()
        value = loss_of("sample_paths", model, x, target, loss, apart)
        check_ran("sample_paths", model, apart.found)
        check_reached(
            "sample_paths", model, [f.block for f in apart.found], [f.x for f in apart.found]
        )
        return value, apart.found

    with untouched(model):
        loss_value, forks = run()
    called = names_of(model, (fork.block for fork in forks))
    first = place_of("sample_paths", block, called)
    counts = _counts(loss_value, forks, first)
    if lengths is None:
        lengths = list(counts)
    for k in lengths:
        if k not in counts:
            raise UsageError(
                f"sample_paths: no path from {called[first]} goes through {k} branches; there are "
                f"paths through {min(counts)} to {max(counts)}."
            )
    draw = np.random.default_rng(seed)
    paths = [_draw(forks, first, k, min(samples, counts[k]), draw) for k in lengths]
    every = [path for some in paths for path in some]

    found: dict[Path, np.ndarray] = {}
    sizes: dict[Path, float] = {}
    checked = [some[0] for some in paths[:: max(1, len(paths) // 10)]]
    for begin in range(0, len(every), AT_ONCE):
        with untouched(model):
            value, forks = run()
            for path, gradient in _along(value, forks, first, every[begin : begin + AT_ONCE]):
                sizes[path] = norm(gradient) / HEAD_START
                if path in checked:
                    found[path] = gradient
    errors = []
    for path in checked:
        with untouched(model):
            errors.append(distance(found[path], _cut_to(path, *run(), first)))
    return PathSample(
        loss=float(loss_value.item()),
        block=called[first],
        lengths=tuple(lengths),
        norms=tuple(tuple(sizes[path] for path in some) for some in paths),
        counts=tuple(counts[k] for k in lengths),
        max_error=float(np.max(errors)),
    )


def _counts(value: Tensor, forks: Sequence[Fork], first: int) -> dict[int, int]:
    for fork in forks:
        if fork.parent is not None:
            raise ContractError(
                f"sample_paths: a {type(fork.block).__name__} runs inside the branch of another "
                "block, and a single path is a choice at each of a row of blocks. Use "
                "path_spectrum, which takes such networks apart too."
            )
    counts = path_counts(value, forks, first)
    if counts is None:
        raise ContractError(
            "sample_paths: the blocks do not stand in a row: a second head, another tower or a "
            "longer skip leads round some of them, and a single path is a choice at each of a row "
            "of blocks. Use path_spectrum, which takes such networks apart too."
        )
    return counts


def _draw(
    forks: Sequence[Fork], first: int, k: int, count: int, draw: np.random.Generator
) -> list[Path]:
    """``count`` different paths through k branches; those without a skip are on every path.

    A branch that stochastic depth has dropped is on none.
    """
    places = range(first, len(forks))
    always = [i for i in places if forks[i].skip is None]
    free = [i for i in places if forks[i].skip is not None and forks[i].branch_end is not None]
    paths: dict[Path, None] = {}
    while len(paths) < count:
        chosen = draw.choice(len(free), k - len(always), replace=False)
        paths[frozenset([*always, *(free[i] for i in chosen)])] = None
    return list(paths)


def _along(
    value: Tensor, forks: Sequence[Fork], first: int, paths: Sequence[Path]
) -> list[tuple[Path, np.ndarray]]:
    """HEAD_START times the gradient along each of the paths, at the input of block ``first``."""
    changes: list[tuple[Tensor, Any]] = []
    for i, fork in enumerate(forks[first:], first):
        changes.append((fork.branch, lambda path, i=i: path if i in path else None))
        if fork.skip is not None:
            changes.append((fork.skip, lambda path, i=i: None if i in path else path))
    found: list[tuple[Path, np.ndarray]] = []
    grad_by_label(
        value * HEAD_START,
        paths,
        changes,
        [forks[first].x],
        lambda _, gradients: found.extend((p, to_numpy(g).copy()) for p, g in gradients.items()),
    )
    return found


def _cut_to(path: Path, value: Tensor, forks: Sequence[Fork], first: int) -> np.ndarray:
    """The same in an ordinary backward pass, with zeros on every edge that is not on the path."""
    for i, fork in enumerate(forks[first:], first):
        cut = fork.skip if i in path else fork.branch
        if cut is not None:
            cut.register_hook(lambda grad: grad * 0.0)
    (gradient,) = gradients(value * HEAD_START, [forks[first].x])
    return to_numpy(gradient.data)
