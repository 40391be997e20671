"""The Jacobian lens: by what factors a block stretches and shrinks what passes through it.

With J the Jacobian of one map for one sample, its singular values are the factors by which J
stretches a small change of the input on its way forward, and J^T the gradient on its way back.
Three maps are looked at for each block l of L:

    branch   J_F          from u to F(u), its scale in it
    block    J_l          from the block's input to its output: J_phi (a J_S + J_F) J_p
    onward   J_L ... J_l  from the block's input to the output of the last block

The product is taken onward, from block l to the end, because that is what the gradient meets on its
way back: dLoss/dx_l = (J_L ... J_l)^T dLoss/dx_(L+1).

If all singular values of J are 1, nothing that passes grows, shrinks or is lost (Saxe et al. 2014,
section 3, call that dynamical isometry; Pennington et al. 2017 compute the values of deep plain
networks).  An identity shortcut puts J = I + J_F near that wherever J_F is small, without further
care; a ReLU after the sum sets rows of J to zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Handle, Tensor, enable_grad, no_grad
from minires.errors import ContractError, UsageError
from minires.flow.passes import (
    Bare,
    check_is_model,
    check_ran,
    finite,
    kind_of,
    names_of,
    naming_batch,
)
from minires.flow.singular import Part, Pick, SingularValues, all_values, largest_values
from minires.flow.untouched import untouched
from minires.kernels.checks import whole
from minires.nn.devices import batch_for
from minires.nn.modes import evaluating
from minires.result import Result

__all__ = ["JacobianEntry", "JacobianLens", "jacobian_lens"]

METHODS = ("auto", "exact", "lanczos")
EXACT_UP_TO = 512  # numbers a sample at a block's input or output; "auto" is exact up to that


@dataclass(frozen=True)
class JacobianEntry:
    """One block: its name, its kind ('residual' or 'plain'), and the three Jacobians."""

    name: str
    kind: str
    branch: SingularValues
    block: SingularValues
    onward: SingularValues

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the three."""
        parts = {part: getattr(self, part).to_dict() for part in ("branch", "block", "onward")}
        return {"name": self.name, "kind": self.kind, **parts}


@dataclass(frozen=True)
class JacobianLens(Result):
    """What :func:`jacobian_lens` found, stem first.

    Attributes:
        method: 'exact' or 'lanczos'.
        samples: N, over which the numbers of the table are means.
        blocks: an entry for each block, in the order of the forward pass.
        max_error: the largest error of all checks, or nan if one of them is.
    """

    method: str
    samples: int
    blocks: tuple[JacobianEntry, ...]
    max_error: float

    figure_name = "jacobian_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a block; '0.5 to 2' is the share of the block's values in that range."""
        headers = ["block", "branch max", "branch rms", "block max", "block rms"]
        exact = self.method == "exact"
        if exact:
            headers += ["block min", "rank", "of", "0.5 to 2"]
        rows = []
        for e in self.blocks:
            row: list[Any] = [e.name, e.branch.largest, e.branch.rms, e.block.largest, e.block.rms]
            if exact:
                size = min(e.block.n_in, e.block.n_out)
                row += [
                    e.block.smallest,
                    e.block.rank,
                    size,
                    f"{100 * (e.block.near_one or 0):.0f}%",
                ]
            rows.append([*row, e.onward.largest, e.onward.rms])
        return [*headers, "onward max", "onward rms"], rows

    def to_dict(self) -> dict[str, Any]:
        """Method, check, and the numbers of each block."""
        return {
            "method": self.method,
            "samples": self.samples,
            "max_error": finite(self.max_error),
            "caption": self.caption(),
            "blocks": [entry.to_dict() for entry in self.blocks],
        }

    def caption(self) -> str:
        """How the values of blocks and branches lie, and what they make together."""
        blocks, branches = [e.block for e in self.blocks], [e.branch for e in self.blocks]
        onward = self.blocks[0].onward
        text = (
            f"{_count(len(blocks), 'block')}, {_count(self.samples, 'sample')}: the "
            f"root-mean-square singular value of a block is {_span([v.rms for v in blocks])}, of "
            f"its branch {_span([v.rms for v in branches])}"
        )
        if self.method == "exact":
            near = [
                _span([round(100 * (v.near_one or 0.0)) for v in some])
                for some in (blocks, branches)
            ]
            text += (
                f"; {near[0]}% of a block's values lie between 0.5 and 2, {near[1]}% of a branch's"
            )
        return (
            f"{text}; from the input of the first block to the output of the last the largest is "
            f"{onward.largest:.3g} and the root-mean-square {onward.rms:.3g}; {self._check()}"
        )

    def _check(self) -> str:
        if not math.isfinite(self.max_error):
            return "the check failed, because some values are not finite."
        if self.method == "exact":
            if self.max_error > 1e-3:
                return (
                    f"but the Jacobians and products found without them differ by "
                    f"{self.max_error:.0e}: samples of a batch influence each other, or the model "
                    "does not compute the same twice."
                )
            return (
                f"the Jacobians agree with products found without them within {self.max_error:.0e}."
            )
        if self.max_error > 1e-2:
            return f"but the largest have residuals up to {self.max_error:.0e}: give it more steps."
        return f"the largest have residuals of at most {self.max_error:.0e} of their size."


def jacobian_lens(
    model: nn.Module,
    x: Any,
    *,
    method: str = "auto",
    top: int = 1,
    steps: int = 60,
    seed: int = 0,
    dtype: Any = None,
) -> JacobianLens:
    """Singular values of the Jacobian of each branch, each block, and all blocks from it onward.

    It runs in evaluation mode, where batch norm does not couple the samples, and looks at each
    sample by itself.  (Before any training batch norm does nothing there: its running statistics
    are still 0 and 1.)  Branch and block are run alone, on what they got in a pass of the whole
    model; 'onward' is a pass of the whole model, from the block's input to the output of the block
    that ends last, with all that lies between, which is J_L ... J_l where block follows on block.

    - ``exact``: the whole Jacobian.  A backward pass through 64 copies of one sample, each with one
      output singled out, finds 64 rows.  It costs n_out backward passes of one sample for each
      branch and block, n_out of the last block for onward, and a singular value decomposition for
      each; memory for the onward Jacobians of one sample, n_out times the n_in of all blocks.
    - ``lanczos``: the ``top`` largest only, of all samples together, by Lanczos on J^T J, in at
      most ``steps`` steps of two backward passes: J^T w is one, and J v the derivative of
      <J^T w, v> by w, a second.  It costs up to 2 * steps + 10 passes for each Jacobian; those of
      onward go through the network from its end to the block.  The mean square is estimated by
      |J^T w|^2 / n_out with 8 random vectors of +1 and -1 (Hutchinson 1990).
    - ``auto``: exact if no input or output of a block has more than 512 numbers a sample.

    The check: for exact values, J v for a random v is compared with the product found by the second
    derivative, in the batch and without copies; ``error`` is the largest relative difference.  For
    Lanczos, with v the singular vector and u = J v / s, it is the residual |J^T u - s v| / s, from
    two products more: some singular value lies within that share of s.

    Args:
        model: any module with blocks derived from :class:`minires.nn.ResidualBlock`, in any mode;
            no trace is left on it.
        x: a batch, tensor or array (N, ...).
        method: 'auto', 'exact' or 'lanczos'.
        top: how many of the largest Lanczos finds; several equal ones may count as one.
        steps: of Lanczos, at most.
        seed: of the random vectors.
        dtype: 'float64' to compute in that, whatever type the model has; as it is if left out.

    Returns:
        A :class:`JacobianLens`: one entry a block, ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        ContractError: the model is none, no block of the contract ran, or a block's first dimension
            is not that of the samples.
        UsageError: an unknown method, or numbers that make no sense.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    >>> found = jacobian_lens(model, mr.randn(2, 1, 4, 4))
    >>> found.method, found.blocks[0].block.values.shape, found.max_error < 1e-5
    ('exact', (2, 32), True)
    """
    check_is_model("jacobian_lens", model)
    (x,) = batch_for(model, x)
    _check_settings(x, method, top, steps)
    draw = np.random.default_rng(whole(seed, "jacobian_lens: seed"))
    n = len(x._data)
    with untouched(model), evaluating(model), enable_grad():
        if dtype is not None:
            model.to(dtype)
            x = x.to(dtype) if x.dtype.kind == "f" else x
        with no_grad():
            ends = _run(model, x)
        check_ran("jacobian_lens", model, ends.blocks)
        names = names_of(model, ends.blocks)
        _check_samples(n, ends, names)
        if method == "auto":
            method = "exact" if ends.largest_size() // n <= EXACT_UP_TO else "lanczos"

        def measure(part: Part) -> list[SingularValues]:
            if method == "exact":
                return all_values(part, n, draw)
            return largest_values(part, n, draw, steps, top)

        pairs = zip(ends.blocks, ends.forks, strict=True)
        branches = [measure(_alone(block.branch_term, u))[0] for block, u in pairs]
        pairs = zip(ends.blocks, ends.inputs, strict=True)
        blocks = [measure(_alone(block, at))[0] for block, at in pairs]
        onward = measure(_onward(model, x))
    entries = tuple(
        JacobianEntry(name, kind_of(block), *three)
        for name, block, *three in zip(names, ends.blocks, branches, blocks, onward, strict=True)
    )
    errors = [v.error for e in entries for v in (e.branch, e.block, e.onward)]
    return JacobianLens(method, n, entries, float(np.max(errors)))


# --- the maps ---


class _Ends(Bare):
    """Takes note of what each block gives, too."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Tensor | None] = []
        self.last: Any = None  # the output of the block that ended last
        self.handles: list[Handle] = []

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        place = len(self.blocks)

        def note_output(module: nn.Module, inputs: Any, out: Tensor) -> None:
            self.outputs[place] = self.last = out

        self.handles.append(block.register_forward_hook(note_output))
        self.outputs.append(None)
        return super().fork(block, x, u)

    def largest_size(self) -> int:
        """Numbers of the largest of these tensors."""
        tensors = (*self.inputs, *self.forks, *self.outputs)
        return max(tensor.numel() for tensor in tensors if tensor is not None)


def _run(model: nn.Module, x: Tensor) -> _Ends:
    """One pass of the model."""
    ends = _Ends()
    try:
        with nn.observe(ends), naming_batch("jacobian_lens", model, x=x):
            model(x)
    finally:
        for handle in ends.handles:
            handle.remove()
    return ends


def _alone(run: Callable[[Tensor], Tensor], at: Tensor) -> Part:
    """A part of the model by itself, on what it got in the whole."""

    def part(pick: Pick) -> tuple[list[Tensor], Tensor]:
        x = Tensor(pick(at._data), requires_grad=True)
        return [x], run(x)

    return part


def _onward(model: nn.Module, x: Tensor) -> Part:
    """From the input of each block to the output of the last."""

    def part(pick: Pick) -> tuple[list[Tensor], Tensor]:
        ends = _run(model, Tensor(pick(x._data), requires_grad=x.dtype.kind == "f"))
        return ends.inputs, ends.last

    return part


# --- bad use ---


def _check_settings(x: Tensor, method: str, top: int, steps: int) -> None:
    if method not in METHODS:
        raise UsageError(
            f"jacobian_lens: unknown method {method!r}; choose {', '.join(map(repr, METHODS))}."
        )
    if not 1 <= whole(top, "jacobian_lens: top") <= whole(steps, "jacobian_lens: steps"):
        raise UsageError(
            f"jacobian_lens: top={top} and steps={steps}; it needs at least one value, and a step "
            "for each."
        )
    if x.ndim == 0 or not len(x._data):
        raise UsageError(
            f"jacobian_lens: x of shape {x.shape} has no samples; give it a batch (N, ...)."
        )


def _check_samples(n: int, ends: _Ends, names: Sequence[str]) -> None:
    places = zip(names, ends.inputs, ends.forks, ends.outputs, strict=True)
    for name, *tensors in places:
        for tensor in tensors:
            if tensor is None:
                raise ContractError(
                    f"jacobian_lens: the forward method of block {name!r} was called directly. "
                    "Call the block itself, so that its output can be seen."
                )
            if tensor.ndim == 0 or tensor.shape[0] != n:
                raise ContractError(
                    f"jacobian_lens: block {name!r} has a tensor of shape {tensor.shape} in a "
                    f"batch of {n}. It looks at each sample by itself, so the first dimension "
                    "must be that of the samples."
                )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _span(values: Sequence[float]) -> str:
    """'0.5 to 2', or one number if they round to the same."""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
