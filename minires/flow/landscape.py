"""The landscape: the loss around the weights, along random directions.

A network computes the same if the weights of a layer with batch norm behind it are multiplied by
10, so a step of fixed length would show a flat valley there, and a steep one elsewhere, where there
is no difference.  Li et al. 2018, section 4, therefore scale each filter of a random direction to
the norm of that filter in the weights:

    d_(i,j)  ->  d_(i,j) / |d_(i,j)| * |w_(i,j)|,      f(a) = loss(w + a*d),
                                                       f(a, b) = loss(w + a*d + b*e)

with filter j of layer i; a row of a linear layer counts as a filter.  Biases and the parameters of
batch norm stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor, guard, no_grad
from minires.device import array_like, to_numpy
from minires.errors import ContractError, UsageError
from minires.flow.passes import (
    Loss,
    check_given,
    finite,
    gradients,
    loss_of,
    mode_of,
)
from minires.flow.untouched import untouched
from minires.kernels.checks import number, whole
from minires.nn.devices import batch_for
from minires.result import Result

__all__ = ["Landscape", "landscape"]

_STEPS = (1e-4, 1e-6, 1e-8, 1e-10)  # of the central differences, as shares of the weights' norm
_FLAT = 1e-6  # a slope of less than that share of the loss is drowned in rounding and kinks

Direction = list[np.ndarray | None]  # an array for each parameter; None: it stays where it is


@dataclass(frozen=True)
class Landscape(Result):
    """What :func:`landscape` found.

    Attributes:
        dimensions: 1 or 2.
        mode: 'training', 'evaluation' or 'mixed': the mode that the model was in.
        coordinates: (points,): steps along each direction, 0 in the middle; 1 is as long as the
            weights.
        losses: (points,) or (points, points), the first index along the first direction.  It may
            have infinite values and nan far from the centre.
        loss: of the model as it is, from a pass of its own.
        slopes: d loss / d step at the centre along each direction: <gradient, direction>.
        centre_error: |losses in the middle - loss|; it must be 0.
        max_error: the largest relative difference of a slope from the central difference of the
            loss (see :func:`landscape`), or ``centre_error`` if that is larger.
    """

    dimensions: int
    mode: str
    coordinates: np.ndarray
    losses: np.ndarray = field(repr=False)
    loss: float
    slopes: tuple[float, ...]
    centre_error: float
    max_error: float

    figure_name = "landscape_figure"

    @property
    def minima(self) -> int:
        """How many inner points of the grid lie lower than all their neighbours."""
        inner = self.losses[(slice(1, -1),) * self.dimensions]
        lowest = np.ones(inner.shape, dtype=bool)
        for shift in np.ndindex((3,) * self.dimensions):
            if any(s != 1 for s in shift):
                places = tuple(slice(s, s + n) for s, n in zip(shift, inner.shape, strict=True))
                lowest &= inner < self.losses[places]
        return int(lowest.sum())

    def along(self, direction: int) -> np.ndarray:
        """The losses (points,) on the line through the centre along one direction."""
        if self.dimensions == 1:
            return self.losses
        middle = len(self.coordinates) // 2
        return self.losses[:, middle] if direction == 0 else self.losses[middle]

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """The losses along each direction; in two dimensions the lines through the centre."""
        lines = [self.along(k).tolist() for k in range(self.dimensions)]
        names = [f"loss along direction {k + 1}" for k in range(self.dimensions)]
        steps = [f"{a:+.3g}" for a in self.coordinates]
        return ["step", *names], [list(row) for row in zip(steps, *lines, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """All numbers; losses that are not finite are None."""
        losses = [finite(value) for value in self.losses.ravel().tolist()]
        return {
            "dimensions": self.dimensions,
            "mode": self.mode,
            "coordinates": self.coordinates.tolist(),
            "losses": np.array(losses, dtype=object).reshape(self.losses.shape).tolist(),
            "loss": finite(self.loss),
            "slopes": [finite(slope) for slope in self.slopes],
            "minima": self.minima,
            "centre_error": finite(self.centre_error),
            "max_error": finite(self.max_error),
            "caption": self.caption(),
        }

    def caption(self) -> str:
        """How high the loss lies around the centre, how many dips it has, and the check."""
        where = "one random direction" if self.dimensions == 1 else "two random directions"
        text = (
            f"Along {where}, filter-normalised, in {self.mode} mode: the loss is {self.loss:.3g} "
            f"at the weights"
        )
        seen = np.isfinite(self.losses)
        if seen.any():
            shown = np.where(seen, self.losses, np.nan)
            low, high = (
                f"{shown[place]:.3g} at {self._step_text(place)}"
                for place in (
                    np.unravel_index(np.nanargmin(shown), shown.shape),
                    np.unravel_index(np.nanargmax(shown), shown.shape),
                )
            )
            text += f", the lowest of {shown.size} points {low}, the highest {high}"
        if not seen.all():
            text += f"; at {int((~seen).sum())} of {seen.size} points it is not finite"
        dips = "1 inner point is" if self.minima == 1 else f"{self.minima} inner points are"
        return f"{text}; {dips} lower than all neighbours; {self._check()}"

    def _step_text(self, place: Sequence[Any]) -> str:
        steps = [f"{self.coordinates[i]:.3g}" for i in place]
        return steps[0] if len(steps) == 1 else f"({', '.join(steps)})"

    def _check(self) -> str:
        if not math.isfinite(self.max_error):
            return "the check failed, because some values are not finite."
        if self.centre_error:
            return "but the middle is not the loss: the model does not compute the same twice."
        slope = "the slope" if self.dimensions == 1 else "each slope"
        if self.max_error > 1e-2:
            return (
                f"but {slope} at the centre and <gradient, direction> differ by "
                f"{self.max_error:.0e}: there is a kink, or the gradient is wrong."
            )
        return f"{slope} at the centre is <gradient, direction> within {self.max_error:.0e}."


def landscape(
    model: nn.Module,
    x: Any,
    target: Any = None,
    *,
    points: int = 21,
    span: float = 1.0,
    dimensions: int = 1,
    seed: int = 0,
    loss: Loss = F.cross_entropy,
) -> Landscape:
    """The loss of a batch on a line or a square around the weights of ``model``.

    The model runs in the mode it is in.  In training mode batch norm normalises by the batch, as in
    a training step, so that the picture is that of the loss that is trained on, and does not change
    when a filter is scaled; in evaluation mode it uses the running statistics of the weights in the
    centre, which do not fit the others.  (Li et al. draw evaluation mode; in a figure say which.)
    Every point sees the same random numbers, for dropout.  The model is not changed: each point
    works on copies.

    It costs ``points`` ** ``dimensions`` forward passes and memory for the parameters once more and
    once for each direction (in float64).

    The check: the middle of the grid must be the loss of the model to the last bit, and the slope
    there <gradient, direction>, with the gradient of a backward pass, must be the central
    difference (f(h) - f(-h)) / 2h.  Of h = 1e-4, 1e-6, 1e-8 and 1e-10 the one that comes nearest
    counts: a large one meets curvature and kinks, a small one rounding.  The difference is taken as
    a share of the slope and a millionth of the loss.  All is in float64, whatever type the model
    has, since differences in float32 would be mostly rounding; it costs eight forward passes a
    direction and one backward.

    Args:
        model: any module that has a parameter of two or more dimensions; those that do not require
            grad stay where they are.
        x: a batch, tensor or array (N, ...).
        target: what the loss compares with.
        points: along each direction, an odd number from 3 on, so that one is in the middle.
        span: the grid reaches from -span to span; at 1 the step is as long as the weights.
        dimensions: 1 or 2.
        seed: of the directions.
        loss: ``loss(output, target)``, a single number.

    Returns:
        A :class:`Landscape`: ``.losses``, ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        ContractError: the model is none or has nothing to move, the target is missing, or the loss
            is no tensor.
        ShapeError: the loss is not a single number.
        UsageError: numbers that make no sense.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    >>> found = landscape(model, mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3]), points=5)
    >>> found.losses.shape, found.centre_error, found.max_error < 1e-3
    ((5,), 0.0, True)
    """
    check_given("landscape", model, target)
    coordinates = _coordinates(points, span)
    if dimensions not in (1, 2):
        raise UsageError(f"landscape: draws 1 or 2 dimensions, not {dimensions!r}.")
    draw = np.random.default_rng(whole(seed, "landscape: seed"))
    x, target = batch_for(model, x, target)
    parameters = [p for p in model.parameters() if p.requires_grad]
    directions = [_filter_normalised(parameters, draw) for _ in range(dimensions)]
    if not any(d is not None for d in directions[0]):
        raise ContractError(
            f"landscape: {type(model).__name__} has no filters to move: none of its parameters has "
            "two or more dimensions and requires grad."
        )
    slopes, error = _slopes(model, x, target, loss, directions)

    def loss_at(*place: float) -> float:
        with untouched(model), no_grad(), np.errstate(all="ignore"):
            _move(parameters, directions, place)
            return float(nn.total_loss(loss, model(x), target).item())

    grid = np.ndindex((len(coordinates),) * dimensions)
    losses = np.array([loss_at(*coordinates[list(place)]) for place in grid])
    losses = losses.reshape((len(coordinates),) * dimensions)
    with untouched(model), no_grad():
        centre = float(nn.total_loss(loss, model(x), target).item())
    off = abs(float(losses[(len(coordinates) // 2,) * dimensions]) - centre)
    return Landscape(
        dimensions=dimensions,
        mode=mode_of(model),
        coordinates=coordinates,
        losses=losses,
        loss=centre,
        slopes=slopes,
        centre_error=off,
        max_error=float(np.max([error, off])),
    )


def _coordinates(points: int, span: float) -> np.ndarray:
    points, span = whole(points, "landscape: points"), number(span, "landscape: span")
    if points < 3 or points % 2 == 0:
        raise UsageError(
            f"landscape: points={points}; it needs an odd number from 3 on, so that the weights "
            f"themselves are in the middle. The nearest is {max(3, points + 1)}."
        )
    if not (span > 0.0 and math.isfinite(span)):
        raise UsageError(f"landscape: span must be above 0 and finite, got {span}.")
    half = points // 2
    return span * (np.arange(-half, half + 1) / half)  # exactly 0 in the middle


def _filter_normalised(parameters: Sequence[Tensor], draw: np.random.Generator) -> Direction:
    """A random direction, in which each filter has the norm of the filter of the weights."""
    direction: Direction = []
    for parameter in parameters:
        if parameter.ndim < 2:
            direction.append(None)
            continue
        weight = to_numpy(parameter._data).astype(np.float64).reshape(len(parameter._data), -1)
        d = draw.standard_normal(weight.shape)  # (filters, weights of a filter)
        size, length = (np.sqrt(np.square(a).sum(axis=1, keepdims=True)) for a in (weight, d))
        direction.append((d * (size / length)).reshape(parameter.shape))
    return direction


def _move(
    parameters: Sequence[Tensor], directions: Sequence[Direction], place: Sequence[float]
) -> None:
    """w + a*d + b*e, in place."""
    for parameter, *along in zip(parameters, *directions, strict=True):
        step = sum(a * d for a, d in zip(place, along, strict=True) if d is not None)
        if isinstance(step, np.ndarray):
            with guard.writable(parameter._data) as weight:
                weight[...] = weight + array_like(step, weight)


def _slopes(
    model: nn.Module, x: Tensor, target: Tensor, loss: Loss, directions: Sequence[Direction]
) -> tuple[tuple[float, ...], float]:
    """<gradient, direction> for each, and how far the loss itself rises otherwise, at most."""
    slopes, errors = [], []
    with untouched(model):
        model.to("float64")
        x, target = (t.to("float64") if t.dtype.kind == "f" else t for t in (x, target))
        parameters = [p for p in model.parameters() if p.requires_grad]

        def loss_at(direction: Direction, h: float) -> float:
            with untouched(model), no_grad():
                _move(parameters, [direction], [h])
                return float(nn.total_loss(loss, model(x), target).item())

        with untouched(model):
            value = loss_of("landscape", model, x, target, loss, nn.Observer())
            found = [to_numpy(g._data) for g in gradients(value, parameters)]
        for direction in directions:
            pairs = zip(found, direction, strict=True)
            slopes.append(float(sum((g * d).sum() for g, d in pairs if d is not None)))
            rises = []
            for h in _STEPS:
                ahead, behind = loss_at(direction, h), loss_at(direction, -h)
                rises.append((ahead - behind) / (2 * h))
            apart = np.abs(np.array(rises) - slopes[-1]).min()
            size = abs(slopes[-1]) + _FLAT * abs(float(value.item()))
            errors.append(float(apart) / (size or 1.0))
    return tuple(slopes), float(np.max(errors))
