"""The theorems on shattered gradients, made true: correlation of two gradients against depth.

Balduzzi et al. 2017 prove how fast the gradients of two inputs become unlike with depth, for units
that are on or off independently, each for one input with probability 1/2 and for both with 1/4.  In
real ReLU stacks without batch norm that does not hold: inputs become alike on their way up, so do
their gates, and the gradients stay alike for longer.  Here either can be measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import models, nn, rng
from minires.autograd import Tensor, enable_grad
from minires.errors import UsageError
from minires.flow import theory
from minires.flow.passes import distance, gradients
from minires.flow.shattering import hold_statistics
from minires.result import Result

__all__ = ["IndependentGates", "ShatteringByDepth", "shattering_by_depth"]


class IndependentGates(nn.Module):
    """In the place of a ReLU: lets a number through with probability 1/2, whatever it is."""

    def __init__(self, shape: tuple[int, ...], draw: np.random.Generator):
        super().__init__()
        self.open = draw.integers(0, 2, shape).astype(np.float64)  # one gate a unit and sample

    def forward(self, input: Any) -> Any:
        return input * self.open


@dataclass(frozen=True)
class ShatteringByDepth(Result):
    """What :func:`shattering_by_depth` found.

    Attributes:
        kind, norm, gates: what was measured.
        width, samples, networks: how large, with how many inputs, how often.
        depths: numbers of layers.
        correlation: mean <g, g'> over pairs of inputs and networks, by mean |g|^2.
        errors: the standard error of each, from the spread over the networks.
        theorem: with independent gates (:func:`theory.independent_gates_correlation`).
        wide: the infinite-width recursion of the real network
            (:func:`theory.gradient_correlation`); None for independent gates.
        floor: the correlation that remains of white noise: two standard deviations of the mean over
            as many pairs of random vectors.
        max_error: of the check: the largest relative difference of the gradients of one network a
            depth from those of the chain rule written out by hand.
    """

    kind: str
    norm: str | None
    gates: str
    width: int
    samples: int
    networks: int
    depths: tuple[int, ...]
    correlation: tuple[float, ...]
    errors: tuple[float, ...]
    theorem: tuple[float, ...]
    wide: tuple[float, ...] | None
    floor: float
    max_error: float

    figure_name = "shattering_figure"

    @property
    def predicted(self) -> tuple[float, ...]:
        """The theory that applies: ``theorem`` for independent gates, ``wide`` for real ones."""
        return self.theorem if self.wide is None else self.wide

    @property
    def deviation(self) -> float:
        """The largest of |measured / predicted - 1|."""
        pairs = zip(self.correlation, self.predicted, strict=True)
        return max(abs(measured / predicted - 1.0) for measured, predicted in pairs)

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a depth: measured, its standard error, what theory says."""
        headers = ["layers", "correlation", "standard error", "independent gates", "infinite width"]
        wide: Sequence[float | None] = self.wide or [None] * len(self.depths)
        columns = self.depths, self.correlation, self.errors, self.theorem, wide
        return headers, [list(row) for row in zip(*columns, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """A list ``by_depth`` of one curve, so that several can be put in one figure."""
        curve = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}
        return {"by_depth": [curve]}

    def caption(self) -> str:
        """Where the correlation begins and ends, beside the theory that applies."""
        name = f"{'normalised ' if self.norm else ''}{self.kind} stacks"
        gates = "independent gates" if self.wide is None else "their own gates"
        says = "the theorem" if self.wide is None else "the infinite-width recursion"
        if self.correlation[-1] < self.floor:
            end = f"; that is below the noise floor of {self.floor:.1e}"
        else:
            end = f"; the largest relative deviation at any depth is {100 * self.deviation:.0f}%"
        return (
            f"In {name} with {gates} the gradients of two inputs have a correlation of "
            f"{self.correlation[-1]:.2g} after {self.depths[-1]} layers, where {says} says "
            f"{self.predicted[-1]:.2g}{end}."
        )


def shattering_by_depth(
    depths: Sequence[int] = tuple(range(1, 11)),
    *,
    kind: str = "plain",
    norm: str | None = None,
    gates: str = "independent",
    width: int = 64,
    samples: int = 64,
    networks: int = 10,
    seed: int = 0,
) -> ShatteringByDepth:
    """Measure how alike the input gradients of two inputs are, in stacks of growing depth.

    For each depth it draws ``networks`` dense :func:`minires.models.stack` and ``samples`` standard
    normal inputs, which have nothing in common, reads all outputs out with one random vector, and
    goes backward.  The correlation is that of theorems 1 to 3 of Balduzzi et al. 2017: the mean of
    <g, g'> over all pairs of inputs and all networks, over the mean of |g|^2.  As a ratio of means
    it has the theorems' value at any width, and not only at a large one, if gates are independent.

    Batch norm takes its statistics from the inputs and then holds them (see
    :func:`~minires.flow.shattering.shattering`), so that each input has a gradient of its own.

    Costs len(depths) * networks passes, forward and backward, in float64.  It draws nothing from
    the default generator.

    Args:
        depths: numbers of layers, each at least 1.
        kind, norm: of the stack: 'plain' or 'residual', 'batch' or None.
        gates: 'independent' puts :class:`IndependentGates` in the place of every ReLU; 'relu'
            leaves the network as it is.
        width: of the stack; more is nearer to infinity for 'relu', and costs.
        samples: inputs a network, at least 2; the pairs among them are averaged.
        networks: to average over, at least 2, so that there is a standard error.
        seed: of everything that is drawn.

    Returns:
        A :class:`ShatteringByDepth`: ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        UsageError: a kind, norm or kind of gates that there is not, or a number that is too small.

    >>> found = shattering_by_depth((1, 2), kind="residual", width=16, samples=32, networks=20)
    >>> [round(value, 2) for value in found.theorem], found.deviation < 0.1
    ([0.75, 0.56], True)
    """
    _check(depths, gates, samples, networks)
    draw = np.random.default_rng(rng.check_seed(seed, "shattering_by_depth"))
    correlations, errors, differences = [], [], []
    for depth in depths:
        products = []
        for i in range(networks):
            x = draw.standard_normal((samples, width))
            readout = draw.standard_normal((1, width))
            model = _network(depth, width, kind, norm, draw)
            if gates == "independent":
                for block in model.blocks():
                    block.relu = IndependentGates(x.shape, draw)
            hold_statistics(model, Tensor(x))
            grads = _input_gradients(model, x, readout)
            products.append(_products(grads))
            if i == 0:
                differences.append(distance(grads, _by_hand(model, x, readout)))
        correlation, error = _ratio(np.array(products))
        correlations.append(correlation)
        errors.append(error)
    real = gates == "relu"
    pairs = samples * (samples - 1) / 2
    return ShatteringByDepth(
        kind=kind,
        norm=norm,
        gates=gates,
        width=width,
        samples=samples,
        networks=networks,
        depths=tuple(depths),
        correlation=tuple(correlations),
        errors=tuple(errors),
        theorem=tuple(theory.independent_gates_correlation(kind, norm, d) for d in depths),
        wide=tuple(theory.gradient_correlation(kind, norm, d) for d in depths) if real else None,
        floor=2.0 / math.sqrt(width * pairs * networks),
        max_error=float(np.max(differences)),  # np.max hands on nan
    )


def _check(depths: Sequence[int], gates: str, samples: int, networks: int) -> None:
    what = "shattering_by_depth"
    if gates not in ("independent", "relu"):
        raise UsageError(f"{what}: unknown gates {gates!r}; choose 'independent' or 'relu'.")
    if not depths or min(depths) < 1:
        raise UsageError(f"{what}: depths must be numbers of layers from 1 on, got {depths!r}.")
    if samples < 2 or networks < 2:
        raise UsageError(
            f"{what}: needs at least two samples, for a pair, and two networks, for a spread; got "
            f"samples={samples}, networks={networks}."
        )


def _network(
    depth: int, width: int, kind: str, norm: str | None, draw: np.random.Generator
) -> models.Stack:
    """A stack in float64 with weights from ``draw``; the default generator stays where it is."""
    state = rng.get_state()
    try:
        rng.manual_seed(int(draw.integers(2**31)))
        model = models.stack(depth, width, kind=kind, norm=norm)
    finally:
        rng.set_state(state)
    model.requires_grad_(False)  # no gradients of the weights: nobody asks for them
    return model.to("float64")


def _input_gradients(model: nn.Module, x: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """d<readout, f(x)>/dx for each input, (samples, width)."""
    inputs = Tensor(x, requires_grad=True)
    with enable_grad():
        value = (model(inputs) * readout).sum()
    grads: np.ndarray = gradients(value, [inputs])[0].data
    return grads


def _products(grads: np.ndarray) -> tuple[float, float]:
    """Means of <g, g'> over all pairs, and of |g|^2 over all inputs."""
    samples = len(grads)
    energy = float((grads**2).sum())
    of_all = float((grads.sum(axis=0) ** 2).sum())  # every product of two, and of each with itself
    return (of_all - energy) / (samples * (samples - 1)), energy / samples


def _ratio(products: np.ndarray) -> tuple[float, float]:
    """Ratio of the means of the two columns, and its standard error (by linearisation)."""
    product, energy = products.mean(axis=0)
    ratio = product / energy
    rest = products[:, 0] - ratio * products[:, 1]
    return float(ratio), float(rest.std(ddof=1) / (energy * math.sqrt(len(products))))


def _by_hand(model: models.Stack, x: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """The same gradients by the chain rule, layer by layer, without the library."""
    h = x
    layers = []
    for block in model.blocks():
        mean, std = 0.0, 1.0
        if isinstance(block.bn, nn.BatchNorm2d):
            mean = block.bn.running_mean.data
            std = np.sqrt(block.bn.running_var.data + block.bn.eps)
        normed = (h - mean) / std
        own = isinstance(block.relu, nn.ReLU)
        gate = normed > 0 if own else block.relu.open
        weight = block.layer.weight.data  # (to, from)
        skips = block.shortcut is not None
        layers.append((gate / std, weight, skips))
        h = (normed * gate) @ weight.T + (h if skips else 0.0)
    grads = np.repeat(readout, len(x), axis=0)
    for slope, weight, skips in reversed(layers):
        grads = (grads @ weight) * slope + (grads if skips else 0.0)
    return grads
