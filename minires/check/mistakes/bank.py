"""What the bank is made of: problems, mistakes, and operations with their mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from minires.autograd import Tensor, enable_grad
from minires.device import Array
from minires.errors import UsageError

__all__ = [
    "Grads",
    "Mistake",
    "Operation",
    "Problem",
    "Sample",
    "Variant",
    "part",
    "predict",
    "same_numbers",
]

Grads: TypeAlias = dict[str, Array]
Sample: TypeAlias = tuple[tuple[Array, ...], dict[str, Any]]  # the inputs in order, the settings


@dataclass(frozen=True, eq=False)
class Problem:
    """One sample problem with its solution: the inputs, and what the library makes of them.

    ``problem["x"]`` is an input or a setting; ``right`` has the right gradient of each input.
    """

    inputs: dict[str, Array]
    settings: dict[str, Any]
    out: Array
    grad_out: Array
    right: Grads

    def __getitem__(self, name: str) -> Any:
        return self.inputs[name] if name in self.inputs else self.settings[name]

    def describe(self) -> str:
        """Shapes and settings in one line, for a report."""
        shapes = [f"{name} {value.shape}" for name, value in self.inputs.items()]
        return ", ".join([*shapes, *(f"{name}={value}" for name, value in self.settings.items())])


# The gradients that a backward with the mistake returns; those it leaves out are right.  NumPy's
# own error, or an array of a wrong shape, where that is what the mistake ends in.
Variant: TypeAlias = Callable[[Problem], Grads]


@dataclass(frozen=True)
class Mistake:
    """One known way to get a backward wrong.

    Attributes:
        name: what programs and tests call it.
        title: the mistake in a phrase.
        gradients: the inputs whose gradients it can touch.
        hint: where to look and what to ask; never the solution.
        variants: the ways it comes out, each a function of the problem.
    """

    name: str
    title: str
    gradients: tuple[str, ...]
    hint: str
    variants: tuple[Variant, ...] = field(repr=False)


@dataclass(frozen=True)
class Operation:
    """An operation, sample problems that tell its mistakes apart, and the mistakes.

    Attributes:
        name: the name given to ``diagnose(op=...)``.
        inputs: names of the inputs, in order.
        forward: the right one, on tensors, ``forward(*inputs, **settings)``.
        samples: makes the inputs and settings of the problems with a generator.
        mistakes: what is known to go wrong.
        defaults: values of the settings that may be left out.
        constants: inputs that have no gradient.
    """

    name: str
    inputs: tuple[str, ...]
    forward: Callable[..., Any] = field(repr=False)
    samples: Callable[[np.random.Generator], list[Sample]] = field(repr=False)
    mistakes: tuple[Mistake, ...] = field(repr=False)
    defaults: dict[str, Any] = field(default_factory=dict)
    constants: tuple[str, ...] = ()

    @property
    def gradients(self) -> tuple[str, ...]:
        """Names of the inputs that have a gradient."""
        return tuple(name for name in self.inputs if name not in self.constants)

    def signature(self) -> str:
        """The inputs and settings of forward, and their shapes in one problem."""
        problem = self.pose()[0]
        settings = {**dict.fromkeys(problem.settings, "..."), **self.defaults}
        shapes = [f"{name} {value.shape}" for name, value in problem.inputs.items()]
        takes = [*self.inputs, *(f"{name}={value}" for name, value in settings.items())]
        return f"forward({', '.join(takes)}), as with {', '.join(shapes)}"

    def mistake(self, name: str) -> Mistake:
        """The mistake of that name."""
        for mistake in self.mistakes:
            if mistake.name == name:
                return mistake
        known = ", ".join(mistake.name for mistake in self.mistakes)
        raise UsageError(f"{self.name}: no mistake is called {name!r}; there are {known}.")

    def pose(self, seed: int = 0) -> tuple[Problem, ...]:
        """The sample problems, each with a random grad_out and the right gradients, in float64."""
        rng = np.random.default_rng(seed)
        return tuple(
            self._solve(dict(zip(self.inputs, inputs, strict=True)), settings, rng)
            for inputs, settings in self.samples(rng)
        )

    def needs(self, problem: Problem) -> list[str]:
        """The settings that a forward must take to be given this problem."""
        absent = object()
        return [k for k, v in problem.settings.items() if self.defaults.get(k, absent) != v]

    def predictions(self, mistake: Mistake, problem: Problem) -> tuple[Grads | None, ...]:
        """What a backward with this mistake returns: for each variant the gradients of all inputs.

        The right gradients are filled in where the mistake does not touch them.  A gradient may
        have a wrong shape.  None stands for a variant that ends in an error on this problem.
        """
        return tuple(
            None if wrong is None else {**problem.right, **wrong}
            for wrong in (predict(variant, problem) for variant in mistake.variants)
        )

    def collisions(self, seed: int = 0) -> Iterator[tuple[str, str, str]]:
        """Mistakes that these problems cannot tell from another, or from the right gradient."""
        problems = self.pose(seed)
        right = [problem.right for problem in problems]
        seen: list[tuple[str, list[Grads | None]]] = []
        for mistake in self.mistakes:
            answers = [self.predictions(mistake, problem) for problem in problems]
            for variant in zip(*answers, strict=True):
                if _agree(list(variant), right):
                    yield self.name, mistake.name, "the right gradient"
                for name, other in seen:
                    if name != mistake.name and _agree(list(variant), other):
                        yield self.name, mistake.name, name
                seen.append((mistake.name, list(variant)))

    def _solve(
        self, inputs: dict[str, Array], settings: dict[str, Any], rng: np.random.Generator
    ) -> Problem:
        settings = {**self.defaults, **settings}
        tensors: list[Any] = [
            value if name in self.constants else Tensor(value.copy(), requires_grad=True)
            for name, value in inputs.items()
        ]
        with enable_grad():
            out = self.forward(*tensors, **settings)
            grad_out = np.asarray(rng.standard_normal(out.shape))
            out.backward(Tensor(grad_out.copy()))
        right = {
            name: np.array(tensor.grad.data)
            for name, tensor in zip(inputs, tensors, strict=True)
            if name not in self.constants
        }
        return Problem(inputs, settings, out.data.copy(), grad_out, right)


def predict(variant: Variant, problem: Problem) -> Grads | None:
    """The wrong gradients, or None if the mistake ends in an error."""
    try:
        return variant(problem)
    except (ValueError, IndexError):
        return None


def part(variant: Variant, *names: str) -> Variant:
    """The same mistake made in some of its gradients only."""

    def partly(p: Problem) -> Grads:
        return {name: grad for name, grad in variant(p).items() if name in names}

    return partly


def same_numbers(a: Array, b: Array, tolerance: float = 1e-7) -> bool:
    """Equal within ``tolerance`` of the largest number; dimensions of size 1 do not matter."""
    a, b = np.squeeze(a), np.squeeze(b)
    if a.shape != b.shape:
        return False
    scale = max(float(np.abs(b).max(initial=0.0)), 1e-3)  # rounding of what should be zero is fine
    return bool(np.abs(a - b).max(initial=0.0) <= tolerance * scale)  # never, if there is a nan


def _agree(one: list[Grads | None], other: Any) -> bool:
    """Whether two sets of answers are the same on every problem on which both give any."""
    return all(
        same_numbers(a[name], b[name])
        for a, b in zip(one, other, strict=True)
        if a is not None and b is not None
        for name in a
    )
