"""The residual block: one forward, and a window through which instruments look.

    u = pre(x)                                      before the fork
    z = skip_scale * shortcut(u) + branch_scale * branch(u)
    y = activation(z)

A block supplies the parts, as methods or as modules assigned under these names, and leaves
``forward`` alone.  Then every instrument of :mod:`minires.flow` works on it, because all of them
look through :func:`observe` at the two places where a skip connection happens: the fork, where one
tensor goes two ways, and the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import minires.functional as F
from minires import rng
from minires.autograd.tensor import Tensor
from minires.device import is_array, zeros_like
from minires.errors import ContractError, ShapeError, UsageError
from minires.functional.activation import AddReLU
from minires.nn.module import Module

__all__ = ["Observer", "ResidualBlock", "observe", "observing"]


class Observer:
    """What an instrument may see, and change, of every residual block in a forward pass."""

    def fork(self, block: ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Called at the fork with the block's input and ``u``; returns what each way is given."""
        return u, u

    def join(
        self, block: ResidualBlock, skip: Tensor | None, branch: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Called at the sum with its two terms; returns the two that are added.

        Both have their scale in them already.  ``skip`` is None in a plain block; ``branch`` is
        zeros without a history where stochastic depth has dropped it.
        """
        return skip, branch


_observer: ContextVar[Observer | None] = ContextVar("minires_block_observer", default=None)


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Let ``observer`` see every residual block that runs in the block of code."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def observing() -> Observer | None:
    """The observer that sees the blocks that run now, the innermost one; None if there is none.

    >>> with observe(Observer()):
    ...     observing() is None
    False
    """
    return _observer.get()


class ResidualBlock(Module):
    """Base of all residual blocks: subclass it and define ``branch``, as a method or a module.

    ====================  ==============================================  ==============
    part                  what it is                                      by default
    ====================  ==============================================  ==============
    pre                   what comes before the fork                      identity
    shortcut              the way past the branch; None: a plain block    identity
    branch                the layers                                      must be given
    activation            what follows the sum; if it is ``F.relu``       identity
                          itself, it is computed together with the sum
    skip_scale            multiplies the shortcut: a number, a Parameter  1.0
    branch_scale          multiplies the branch, likewise                 1.0
    survival_probability  of the branch, in training                      1.0
    ====================  ==============================================  ==============

    He et al. 2015, equations 1 and 2: y = F(x) + x and y = F(x) + W_s x.

    A learned ``branch_scale`` that starts at 0 is SkipInit (De and Smith 2020) and ReZero
    (Bachlechner et al. 2020).  A ``survival_probability`` p below 1 is stochastic depth (Huang et
    al. 2016): in training the branch is left out of the whole batch with probability 1 - p, which
    is drawn from the default generator, and is not computed then; in evaluation it is multiplied
    by p (their equations 2 and 5).

    >>> import minires as mr, minires.nn as nn
    >>> class Double(nn.ResidualBlock):
    ...     def branch(self, u):
    ...         return 2 * u
    >>> Double()(mr.tensor([1.0, 2.0]))
    tensor([3., 6.])
    """

    skip_scale: Any = 1.0  # a number, or a Tensor that the shortcut can be multiplied by
    branch_scale: Any = 1.0
    survival_probability: float = 1.0
    # A block instance may set this to None: then it is a plain block.
    shortcut: Callable[[Any], Any] | None

    def pre(self, x: Any) -> Any:
        """Before the fork."""
        return x

    def shortcut(self, u: Any) -> Any:  # type: ignore[no-redef]
        """The way past the branch."""
        return u

    def branch(self, u: Any) -> Any:
        """The layers that are skipped."""
        raise NotImplementedError(
            f"{type(self).__name__} must define branch(u): the layers beside the shortcut."
        )

    def activation(self, z: Any) -> Any:
        """After the sum."""
        return z

    def forward(self, x: Any) -> Any:
        """y = activation(skip_scale * shortcut(u) + branch_scale * branch(u)) with u = pre(x)."""
        observer = _observer.get()
        u = self.pre(x)
        if not isinstance(u, Tensor):
            self._check_part("pre", x, u)
        to_skip, to_branch = (u, u) if observer is None else observer.fork(self, x, u)
        drops = self.survival_probability != 1.0 and self._drops_branch()
        branch = None if drops else self.branch_term(to_branch)
        skip = None
        if self.shortcut is not None:
            skip = self.shortcut(to_skip)
            if not isinstance(skip, Tensor):
                self._check_part("shortcut", to_skip, skip)
            scale = self.skip_scale
            if isinstance(scale, Tensor) or scale != 1.0:  # a learned scale can be 1 at the start
                skip = skip * scale
            if branch is not None and skip.shape != branch.shape:
                raise ShapeError(
                    f"{type(self).__name__}: the shortcut gives {tuple(skip.shape)} but the branch "
                    f"gives {tuple(branch.shape)}, and they are added. Where dimensions change, "
                    "the shortcut must pad with zeros or project (1x1 convolution)."
                    + _padding_hint(tuple(skip.shape), tuple(branch.shape))
                )
        if observer is not None:
            skip, branch = _join(observer, self, skip, branch)
        if skip is None or branch is None:
            z = branch if skip is None else skip
        elif observer is None and self.activation is F.relu:
            return AddReLU.apply(skip, branch)  # the same bits, without an array between
        else:
            z = skip + branch
        y = self.activation(z)
        if not isinstance(y, Tensor):
            self._check_part("activation", z, y)
        return y

    def branch_term(self, u: Any) -> Any:
        """branch_scale * branch(u); in evaluation times the probability of survival."""
        branch = self.branch(u)
        if not isinstance(branch, Tensor):
            self._check_part("branch", u, branch)
        scale = self.branch_scale
        if isinstance(scale, Tensor) or scale != 1.0:
            branch = branch * scale
        if self.survival_probability != 1.0 and not self.training:
            branch = branch * self.survival_probability
        return branch

    def _drops_branch(self) -> bool:
        """Whether stochastic depth leaves the branch out this time."""
        p, name = self.survival_probability, type(self).__name__
        if not 0.0 < p <= 1.0:
            raise UsageError(
                f"{name}: survival_probability is {p}, and must be above 0 and at most 1."
            )
        if self.shortcut is None:
            raise UsageError(
                f"{name}: survival_probability is {p}, but a plain block has no skip that would "
                "be left without the branch. Leave it at 1.0 where shortcut is None."
            )
        return self.training and bool(rng.default_generator().random() >= p)

    def _check_part(self, part: str, given: Any, got: Any) -> None:
        """Refuse what is no tensor; arrays may come of arrays."""
        if isinstance(got, Tensor) or (is_array(got) and not isinstance(given, Tensor)):
            return
        mend = {
            "tuple": "Return one tensor, not several.",
            "list": "Return one tensor, not several.",
            "NoneType": "Is its return statement missing?",
        }
        kind = type(got).__name__
        raise ContractError(
            f"{type(self).__name__}: {part} must return a tensor, but returned "
            f"{'None' if got is None else f'a {kind}'}. "
            + mend.get(kind, "Return the tensor itself, so that the gradient finds its way.")
        )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in cls.__dict__:
            raise ContractError(
                f"{cls.__name__} overrides forward() of ResidualBlock. Define its parts instead "
                "(pre, shortcut, branch, activation): instruments rely on how forward puts them "
                "together. For another structure derive from nn.Module."
            )


def _join(
    observer: Observer, block: ResidualBlock, skip: Any, branch: Any
) -> tuple[Tensor | None, Tensor | None]:
    """What the observer makes of the two terms; a dropped branch, None, is shown to it as zeros."""
    if branch is not None:
        return observer.join(block, skip, branch)
    nothing = Tensor(zeros_like(skip.data))
    skip, branch = observer.join(block, skip, nothing)
    return skip, None if branch is nothing and skip is not None else branch


def _padding_hint(skip: tuple[int, ...], branch: tuple[int, ...]) -> str:
    """A question, if only rows and columns differ, and by what 3x3 without padding cut off."""
    if not len(skip) == len(branch) == 4 or skip[:2] != branch[:2]:
        return ""
    rows, columns = skip[2] - branch[2], skip[3] - branch[3]
    if rows != columns or rows <= 0 or rows % 2:
        return ""
    hint = (
        f"\n  The images of the branch are {rows} pixels smaller each way: is padding=1 missing in "
    )
    hint += "the branch? Each 3x3 convolution without it cuts off 2."
    if skip[2] == 2 * branch[2] and skip[3] == 2 * branch[3]:
        hint += " Or, as they are halved, does the shortcut lack the stride of the branch?"
    return hint
