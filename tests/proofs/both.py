"""One call made in PyTorch and in minires, and what differs: values, gradients, second gradients.

Each leaf gets the same numbers in both, each output the same random cotangent.  The first gradient
is compared as ordinary backward gives it and as ``create_graph`` does; the second is that of a
random projection of the first, by the inputs and by the cotangents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import minires as mr
from minires.errors import MiniresError

__all__ = ["Call", "Outcome", "run"]

# What Python itself says of arguments that do not exist, as it says it of any function.
SIGNATURE = re.compile(
    r"unexpected (keyword )?argument|positional arguments? but|required (positional|keyword-only)|"
    r"multiple values for argument"
)
SHARE = {"float64": 1e-10, "float32": 1e-5, "float16": 1e-2}


@dataclass(frozen=True)
class Call:
    """``theirs`` and ``ours`` are called with the same arguments, which hold torch's tensors."""

    theirs: Callable[..., Any]
    ours: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    differentiable: bool = True
    twice: bool = True
    random: bool = False  # only shape and dtype can be compared
    must_fail: str = ""  # what PyTorch says of the call, if it refuses it


@dataclass(frozen=True)
class Outcome:
    """'equal', 'refused' (``note`` is the error), 'WRONG' (how), or 'taken' on purpose (why)."""

    verdict: str
    note: str = ""


def run(call: Call) -> Outcome:
    """Make the call in both and compare all that comes out."""
    if call.must_fail:
        return run_refusal(call)
    values_alone = ""
    try:
        theirs = Answer.of_torch(call)
    except RuntimeError as error:
        call = replace(call, differentiable=False)
        values_alone = f"values alone, since PyTorch's own backward fails: {first_line(error)}"
        try:
            theirs = Answer.of_torch(call)
        except RuntimeError as error:
            return run_refusal(replace(call, must_fail=first_line(error)))
    try:
        ours = Answer.of_minires(call, theirs)
    except Exception as error:
        return refusal_or_wrong(error)
    wrong = ours.differs(theirs)
    if wrong and theirs.single:  # both are rounded: how far is theirs from its own in float64?
        wrong = ours.differs(theirs, slack_of(theirs, Answer.of_torch(widened(call), theirs)))
    return Outcome("WRONG", wrong) if wrong else Outcome("equal", values_alone)


def run_refusal(call: Call) -> Outcome:
    """A call that PyTorch refuses: minires must too, but it takes numbers beside tensors."""
    leaves: dict[int, Any] = {}
    try:
        args, kwargs = (our_tree(x, leaves) for x in (call.args, call.kwargs))
    except (ValueError, MiniresError) as error:
        return Outcome("refused", f"there is no such array or tensor: {error}")
    try:
        with np.errstate(all="ignore"):
            call.ours(*args, **kwargs)
    except Exception as error:
        return refusal_or_wrong(error)
    if leaves and all(isinstance(x, mr.Tensor | int | float) for x in args) and not kwargs:
        return Outcome("taken", "a Python number beside a tensor, where PyTorch wants two tensors")
    return Outcome("WRONG", f"computed, but PyTorch refuses it: {call.must_fail}")


def refusal_or_wrong(error: Exception) -> Outcome:
    """Whether an error is one that minires raises on purpose, or Python's of the signature."""
    if isinstance(error, MiniresError):
        return Outcome("refused", f"{type(error).__name__}: {error}")
    if type(error) is TypeError and SIGNATURE.search(str(error)):
        return Outcome("refused", f"TypeError: {error}")
    return Outcome("WRONG", f"{type(error).__name__} from inside: {first_line(error)}")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:160]


class Answer:
    """All that a call gave, as arrays by name, and how it was asked."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.cotangents: dict[int, np.ndarray] = {}
        self.projections: dict[str, np.ndarray] = {}
        self.generator = np.random.default_rng(0)
        self.single = False  # whether float32 takes part

    @classmethod
    def of_torch(cls, call: Call, asked: Answer | None = None) -> Answer:
        """PyTorch's; with ``asked`` the same cotangents and projections are used again."""
        self = cls()
        leaves: dict[int, torch.Tensor] = {}
        args, kwargs = (tree(x, lambda t: theirs_of(t, leaves)) for x in (call.args, call.kwargs))
        outputs = flat(call.theirs(*args, **kwargs))
        self.keep("output", outputs, random=call.random)
        self.keep("input", list(leaves.values()))
        self.single = any(
            x.dtype == torch.float32 for x in [*outputs, *leaves.values()] if torch.is_tensor(x)
        )
        where = [i for i, x in enumerate(outputs) if torch.is_tensor(x) and x.requires_grad]
        if not (call.differentiable and where):  # of whole numbers there is no gradient
            return self
        inputs = [x for x in leaves.values() if x.requires_grad]
        for i in where:
            old = None if asked is None else asked.cotangents[i]
            self.cotangents[i] = self.draw(outputs[i]) if old is None else old
        seeds = [torch.from_numpy(self.cotangents[i].copy()) for i in where]
        seeds = [s.to(outputs[i].dtype) for i, s in zip(where, seeds, strict=True)]
        for seed in seeds if call.twice else ():
            seed.requires_grad_()
        grads = torch.autograd.grad(
            [outputs[i] for i in where], inputs, seeds, create_graph=call.twice, allow_unused=True
        )
        self.keep("gradient", grads)
        chosen = [i for i, g in enumerate(grads) if g is not None and g.requires_grad]
        if call.twice and chosen:
            for i in chosen:
                old = None if asked is None else asked.projections[f"gradient {i}"]
                drawn = self.draw(grads[i]) if old is None else old
                self.projections[f"gradient {i}"] = drawn
            seconds = torch.autograd.grad(
                [grads[i] for i in chosen],
                [*inputs, *seeds],
                [
                    torch.from_numpy(self.projections[f"gradient {i}"].copy()).to(grads[i].dtype)
                    for i in chosen
                ],
                allow_unused=True,
            )
            self.keep("second gradient", seconds)
        return self

    @classmethod
    def of_minires(cls, call: Call, theirs: Answer) -> Answer:
        """minires', asked with the same cotangents and projections."""
        self = cls()
        leaves: dict[int, Any] = {}
        args, kwargs = (our_tree(x, leaves) for x in (call.args, call.kwargs))
        with np.errstate(all="ignore"):
            outputs = flat(call.ours(*args, **kwargs))
            self.keep("output", outputs, random=call.random)
            self.keep("input", list(leaves.values()))
            if not theirs.cotangents:
                return self
            inputs = [x for x in leaves.values() if x.requires_grad]
            roots = [outputs[i] for i in theirs.cotangents]
            if not all(isinstance(x, mr.Tensor) and x.requires_grad for x in roots):
                self.arrays["gradient 0"] = "nothing was recorded"
                return self
            seeds = [mr.tensor(c, requires_grad=call.twice) for c in theirs.cotangents.values()]
            plain = [seed.detach() for seed in seeds]
            grads = mr.grad(roots, inputs, plain, retain_graph=True, allow_unused=True)
            self.keep("gradient", grads)
            if not call.twice:
                return self
            grads = mr.grad(roots, inputs, seeds, create_graph=True, allow_unused=True)
            self.keep("recorded gradient", grads)
            chosen = [(int(name.split()[1]), p) for name, p in theirs.projections.items()]
            chosen = [(i, p) for i, p in chosen if grads[i] is not None]
            if chosen:
                seconds = mr.grad(
                    [grads[i] for i, _ in chosen],
                    [*inputs, *seeds],
                    [mr.tensor(p) for _, p in chosen],
                    allow_unused=True,
                )
                self.keep("second gradient", seconds)
        return self

    def keep(self, what: str, values: Any, random: bool = False) -> None:
        for i, value in enumerate(values):
            if torch.is_tensor(value):
                value = value.detach().numpy(force=True)
            elif isinstance(value, mr.Tensor):
                value = value.data
            if random and isinstance(value, np.ndarray):
                value = np.zeros_like(value)
            # What changes in place later is looked at later: inputs are kept after the call.
            self.arrays[f"{what} {i}"] = value.copy() if isinstance(value, np.ndarray) else value

    def draw(self, like: torch.Tensor) -> np.ndarray:
        drawn = self.generator.standard_normal(tuple(like.shape))
        return np.asarray(drawn, dtype=like.detach().numpy().dtype)

    def differs(self, other: Answer, slack: dict[str, float] | None = None) -> str:
        """How this answer differs from ``other``, or nothing."""
        for name, found in self.arrays.items():
            wanted = other.arrays.get(name.removeprefix("recorded "))
            wrong = difference(
                found, wanted, (slack or {}).get(name.removeprefix("recorded "), 0.0)
            )
            if wrong:
                return f"{name}: {wrong}"
        missing = [n for n, a in other.arrays.items() if n not in self.arrays and not nothing(a)]
        return f"missing: {missing[0]}" if missing else ""


def difference(found: Any, wanted: Any, slack: float = 0.0) -> str:
    """How two arrays differ by more than a share of the largest number, or than ``slack``."""
    if nothing(found) and nothing(wanted):
        return ""
    if not (isinstance(found, np.ndarray) and isinstance(wanted, np.ndarray)):
        if found is None or wanted is None:
            return f"{'nothing' if found is None else 'something'} where the other is not"
        nans = found != found and wanted != wanted
        same = type(found) is type(wanted) and (found == wanted or nans)
        return "" if same else f"{found!r} instead of {wanted!r}"
    if found.shape != wanted.shape:
        return f"shape {found.shape} instead of {wanted.shape}"
    if found.dtype != wanted.dtype:
        return f"{found.dtype} instead of {wanted.dtype}"
    if found.dtype.kind != "f":
        return "" if np.array_equal(found, wanted) else "other whole numbers"
    finite = np.isfinite(wanted)
    with np.errstate(all="ignore"):
        if not np.array_equal(found[~finite], wanted[~finite], equal_nan=True):
            other = ~finite & ~((found == wanted) | (np.isnan(found) & np.isnan(wanted)))
            return f"{found[other][:3]} instead of {wanted[other][:3]}"
        largest = np.abs(wanted[finite]).max(initial=0.0)
        share = SHARE[str(found.dtype)]
        allowed = max(share * max(1.0, largest), slack)
        off = np.abs(found.astype(np.float64) - wanted)[finite]
        far = ~(off <= allowed)  # a nan is far
    if not far.any():
        return ""
    worst = int(np.argmax(np.where(np.isfinite(off), off, np.inf)))
    return f"{found[finite][worst]!r} instead of {wanted[finite][worst]!r}"


def slack_of(theirs: Answer, truth: Answer) -> dict[str, float]:
    """How far ours may be from PyTorch's float32: five times as far as that is from its float64.

    Ours is then at most four times as far from the truth as PyTorch's.
    """
    slack = {}
    for name, rounded in theirs.arrays.items():
        exact = truth.arrays.get(name)
        if isinstance(rounded, np.ndarray) and isinstance(exact, np.ndarray):
            with np.errstate(all="ignore"):
                off = np.abs(rounded - exact.astype(np.float64))
            slack[name] = 5.0 * float(off[np.isfinite(off)].max(initial=0.0))
    return slack


def nothing(value: Any) -> bool:
    """No gradient, or one that is zero."""
    return value is None or (isinstance(value, np.ndarray) and not value.any())


def widened(call: Call) -> Call:
    """The same call in float64."""

    def wide(t: torch.Tensor) -> torch.Tensor:
        if t.dtype != torch.float32:
            return t
        return t.detach().to(torch.float64).requires_grad_(t.requires_grad)

    args, kwargs = tree(call.args, wide, wide=True), tree(call.kwargs, wide, wide=True)
    return replace(call, args=args, kwargs=kwargs)


def tree(value: Any, leaf: Callable[[torch.Tensor], Any], wide: bool = False) -> Any:
    """``value`` with ``leaf`` applied to the tensors in its lists, tuples and dictionaries."""
    if torch.is_tensor(value):
        return leaf(value)
    if wide and value is torch.float32:
        return torch.float64
    if isinstance(value, dict):
        return {key: tree(item, leaf, wide) for key, item in value.items()}
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (list, tuple)):
        return type(value)(tree(item, leaf, wide) for item in value)
    return value


def theirs_of(t: torch.Tensor, leaves: dict[int, torch.Tensor]) -> torch.Tensor:
    """A leaf of its own with the numbers of ``t``."""
    if id(t) not in leaves:
        leaves[id(t)] = t.detach().clone().requires_grad_(t.requires_grad)
    return leaves[id(t)]


def ours_of(t: torch.Tensor, leaves: dict[int, Any]) -> Any:
    """The same as a tensor of minires, laid out in memory as PyTorch's is."""
    if id(t) not in leaves:
        array = t.detach().resolve_conj().resolve_neg().numpy(force=True).copy(order="K")
        leaves[id(t)] = mr.Tensor(array, requires_grad=t.requires_grad)
    return leaves[id(t)]


def our_tree(value: Any, leaves: dict[int, Any]) -> Any:
    """The arguments as minires takes them."""
    return translated(tree(value, lambda t: ours_of(t, leaves)))


def translated(value: Any) -> Any:
    """dtypes and devices by their names, as minires takes them."""
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, dict):
        default = "memory_format", torch.preserve_format  # says nothing, so it may be left out
        return {key: translated(item) for key, item in value.items() if (key, item) != default}
    return type(value)(map(translated, value)) if type(value) in (tuple, list) else value


def flat(result: Any) -> list[Any]:
    """The outputs one by one."""
    return list(_flat(result))


def _flat(result: Any) -> Iterator[Any]:
    if isinstance(result, (tuple, list)):
        for item in result:
            yield from _flat(item)
    else:
        yield result
