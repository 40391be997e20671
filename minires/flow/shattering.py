"""Shattered gradients: how long the gradient stays like itself when the input moves.

Along the line x(t) = start + t (end - start), t from 0 to 1, the output of a network, read out by a
fixed random vector r, is a function of one number, F(t) = <r, f(x(t))>.  Its slope

    F'(t) = <g(t), end - start>     with the gradient  g(t) = d<r, f(x)>/dx  at  x = x(t)

is a walk of small steps in a shallow network: brown noise, in which neighbours are alike.  In a
deep plain one it jumps from each point to the next: white noise.  Skips keep it in between.
(Balduzzi et al. 2017, "The shattered gradients problem: if resnets are the answer, then what is the
question?", figures 1 and 2.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Tensor, enable_grad, no_grad
from minires.device import to_device, to_numpy, using_device_of
from minires.errors import ContractError, ShapeError, UsageError, describe
from minires.flow.passes import as_numpy, finite, gradients, naming_batch
from minires.flow.untouched import untouched
from minires.nn.devices import batch_for, device_of_model
from minires.result import Result
from minires.rng import check_seed

__all__ = ["Shattering", "autocorrelation", "hold_statistics", "noise_references", "shattering"]

_CHECKED = 16  # points of the line at which the slope is held against differences
_STEP = 1e-7  # of t, for the differences
_KINK = 1e-5  # a change of slope that says there is a kink within the step


@dataclass(frozen=True)
class Shattering(Result):
    """What :func:`shattering` found.

    Attributes:
        network: the class of the model, and what it says of itself.
        points: how many inputs lie on the line, ends included.
        length: |end - start|, in the units of the input.
        outputs: how many random read-outs were taken; curves are means over them.
        statistics: what batch norm divided by: 'batch', 'running', or 'none' without batch norm.
        lags: 0, 1, ..., points // 4: distances along the line, in steps between points.
        autocorrelation: of the slope, by lag: sum s(t) s(t + lag) / sum s(t)^2 with the mean of the
            slope taken off; nan where the slope is the same everywhere.
        low, high: the smallest and the largest over the read-outs.
        correlation: of the whole gradient, by lag, with no mean taken off: mean <g(t), g(t + lag)>
            / mean |g(t)|^2, the quantity of the theorems.
        white, brown: autocorrelation of white noise, and of its running sum, of the same length.
        floor: 2 / sqrt(points); white noise lies within +- of it nineteen times out of twenty.
        half_lag: the first lag at which the autocorrelation is below 1/2; None if there is none.
        brown_half_lag: the same of brown noise.
        checked, kinks: at how many places (points times read-outs) the slope was held against
            differences of the function; how many more were left out for a kink within the step.
        max_error: the largest deviation there, relative to the rms of the slope: the check.
    """

    network: str
    points: int
    length: float
    outputs: int
    statistics: str
    lags: tuple[int, ...]
    autocorrelation: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    correlation: tuple[float, ...]
    white: tuple[float, ...]
    brown: tuple[float, ...]
    floor: float
    half_lag: int | None
    brown_half_lag: int | None
    checked: int
    kinks: int
    max_error: float

    figure_name = "shattering_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row for lags 0, 1, 2, 4, 8 and so on."""
        shown = [lag for lag in self.lags if lag & (lag - 1) == 0]
        curves = (self.autocorrelation, self.correlation, self.white, self.brown)
        headers = ["lag", "autocorrelation", "correlation", "white noise", "brown noise"]
        return headers, [[lag, *(curve[lag] for curve in curves)] for lag in shown]

    def to_dict(self) -> dict[str, Any]:
        """All of it; None where a value is not finite."""
        plain: dict[str, Any] = {}
        for key, value in vars(self).items():
            if isinstance(value, tuple):
                plain[key] = list(map(finite, value))
            else:
                plain[key] = value if isinstance(value, str) else finite(value)
        return plain

    def caption(self) -> str:
        """How soon the slope forgets itself, beside noise, and how well it was checked."""
        if not math.isfinite(self.autocorrelation[0]):
            return (
                f"The slope of {self.network} is the same at all {self.points} points of the line, "
                "or is not finite: there is nothing to correlate."
            )
        if self.half_lag is None:
            what = f"stays above 1/2 for all {self.lags[-1]} lags"
        else:
            what = f"falls below 1/2 at a lag of {self.half_lag}"
        text = (
            f"Autocorrelation of the gradient of {self.network} along a line of {self.points} "
            f"inputs {what} (white noise: 1, brown noise: {self.brown_half_lag})"
        )
        if not self.checked:
            return f"{text}; there are kinks at all places where it was to be checked."
        agrees = "agrees" if self.max_error <= 1e-5 else "does not agree"
        return (
            f"{text}; it {agrees} with differences of the function at {self.checked} places, "
            f"within {self.max_error:.0e}."
        )


def shattering(
    model: nn.Module,
    x: Any,
    *,
    start: Any = None,
    end: Any = None,
    points: int = 256,
    outputs: int = 8,
    seed: int = 0,
) -> Shattering:
    """Correlate the input gradient of ``model`` with itself along a straight line of inputs.

    Batch norm in training mode would make the gradient at a point depend on the rest of its batch,
    and along a line it would do harm: there the first layer is the same function of t in all units
    but for shift and scale, which batch norm takes away, so that all of its units would switch at
    one point.  So batch norm that is in training mode takes its statistics from one pass of the
    batch ``x``, and batch norm in evaluation mode its running ones; both are then held, and
    everything is in evaluation mode, so that each point has a function and a gradient of its own.

    All is computed in float64, on a model converted for the time being, whatever its dtype: in a
    network that shatters, float32 rounds onto the wrong side of many a kink.  Costs a pass of the
    batch, and of the line one forward and ``outputs`` backward passes.  Leaves no trace.

    The check compares the slope with (F(t + h) - F(t - h)) / 2h, h = 1e-7, at up to 16 points,
    where there is no kink within h, that is, where (F(t + h) - F(t)) / h and (F(t) - F(t - h)) / h
    differ by less than 1e-5 of the rms of the slope.

    Args:
        model: any module that gives a tensor (N, ...); it need not be made of blocks.
        x: a batch, tensor or array (N, ...), with N at least 2.
        start, end: the ends of the line, each of the shape of a sample; x[0] and x[1] if left out.
        points: how many inputs on the line, at least 8.
        outputs: random read-outs of the output to average over.
        seed: of the read-outs and of the noise to compare with.

    Returns:
        A :class:`Shattering`: ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        ContractError: the model is none, or gives something else than a tensor (N, ...).
        ShapeError: the batch or the ends of the line do not fit.
        UsageError: too few points or read-outs, or both ends are the same.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> batch = np.random.default_rng(0).standard_normal((16, 8))
    >>> plain, residual = (mr.models.stack(12, 16, kind=kind, in_channels=8, num_classes=2)
    ...                    for kind in ("plain", "residual"))
    >>> found = [shattering(model, batch, points=64) for model in (plain, residual)]
    >>> found[0].correlation[4] < found[1].correlation[4], found[0].max_error < 1e-5
    (True, True)
    """
    if not isinstance(model, nn.Module):
        raise ContractError(
            f"shattering: a {type(model).__name__} is no model. It takes a minires.nn.Module."
        )
    seed = check_seed(seed, "shattering")
    _check_counts(points, outputs)
    (batch,) = batch_for(model, x)
    start, end = _ends(batch, start, end)
    batch = batch.detach().to("float64")
    direction = end - start
    draw = np.random.default_rng(seed)

    def line(t: np.ndarray) -> np.ndarray:
        inputs: np.ndarray = start + t.reshape(-1, *(1,) * start.ndim) * direction
        return inputs  # (len(t), *sample)

    places = np.linspace(0.0, 1.0, points)
    with untouched(model):
        model.to("float64")
        statistics = hold_statistics(model, batch)
        out_shape = _output_shape(model, line(places[:1]))
        readouts = draw.standard_normal((outputs, *out_shape))
        grads = _input_gradients(model, line(places), readouts)  # (outputs, points, numbers)
        slopes = grads @ direction.ravel()  # (outputs, points)
        checked, kinks, error = _check(model, line, readouts, places, slopes)

    count = points // 4 + 1
    curves = np.array([autocorrelation(slope, count) for slope in slopes])
    varies = np.isfinite(curves[:, 0])
    curves = curves[varies] if varies.any() else curves[:1]
    mean = curves.mean(axis=0)
    white, brown = noise_references(points, count, draw)
    return Shattering(
        network=" ".join(filter(None, (type(model).__name__, model.extra_repr()))),
        points=points,
        length=float(np.sqrt((direction**2).sum())),
        outputs=outputs,
        statistics=statistics,
        lags=tuple(range(count)),
        autocorrelation=tuple(mean.tolist()),
        low=tuple(curves.min(axis=0).tolist()),
        high=tuple(curves.max(axis=0).tolist()),
        correlation=tuple(_correlation(grads, count).tolist()),
        white=tuple(white.tolist()),
        brown=tuple(brown.tolist()),
        floor=2.0 / math.sqrt(points),
        half_lag=_first_below(mean, 0.5),
        brown_half_lag=_first_below(brown, 0.5),
        checked=checked,
        kinks=kinks,
        max_error=error,
    )


def hold_statistics(model: nn.Module, x: Tensor) -> str:
    """Put ``model`` in evaluation mode, with batch norm that was in training on the batch ``x``.

    Batch norm then divides by the biased variance, as it does in training.  All else is in
    evaluation mode in the pass of the batch too, as afterwards: dropout and stochastic depth leave
    nothing out, so that every batch norm of every branch has its statistics, and nothing is drawn.
    Returns 'batch', 'running' or 'none': which statistics are held.  Changes the model, so call it
    in :func:`~minires.flow.untouched.untouched`.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    moving = [m for m in norms if m.training or m.running_mean is None]
    found: dict[int, tuple[Any, Any]] = {}

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].data
        others = (0, *range(2, x.ndim))
        with using_device_of(x):
            found[id(module)] = x.mean(axis=others), x.var(axis=others)

    model.eval()
    for module in moving:
        module.train()
    handles = [module.register_forward_pre_hook(look) for module in moving]
    if moving:
        with no_grad(), naming_batch("shattering", model, x=x):
            model(x)
    for handle in handles:
        handle.remove()
    model.eval()
    for module in moving:
        if id(module) in found:
            mean, var = found[id(module)]
            module.running_mean, module.running_var = Tensor(mean), Tensor(var)
    return "batch" if moving else "running" if norms else "none"


def autocorrelation(series: np.ndarray, count: int) -> np.ndarray:
    """sum_t s(t) s(t + lag) / sum_t s(t)^2 for ``count`` lags from 0, of a series less its mean.

    Args:
        series: (n,) numbers.
        count: of lags, at most n.

    Returns:
        (count,); nan if the series is constant, but for rounding, or not finite.

    >>> autocorrelation(np.array([1.0, -1.0, 1.0, -1.0]), 2).tolist()
    [1.0, -0.75]
    """
    n = len(series)
    centred = series - series.mean()
    energy = float(centred @ centred)
    if not energy > (1e-12 * np.abs(series).max()) ** 2 * n:
        return np.full(count, np.nan)
    products = np.array([centred[: n - lag] @ centred[lag:] for lag in range(count)])
    return products / energy


def noise_references(
    points: int, count: int, draw: np.random.Generator, series: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Mean autocorrelation of white and of brown noise of ``points`` numbers, (count,) each.

    Brown noise is the running sum of white noise.  Means over ``series`` drawn series.
    """
    white = draw.standard_normal((series, points))
    kinds = white, white.cumsum(axis=1)
    one, other = (np.mean([autocorrelation(s, count) for s in kind], axis=0) for kind in kinds)
    return one, other


def _check_counts(points: int, outputs: int) -> None:
    if points < 8:
        raise UsageError(f"shattering: needs at least 8 points on the line, got points={points}.")
    if outputs < 1:
        raise UsageError(f"shattering: needs at least one read-out, got outputs={outputs}.")


def _ends(batch: Tensor, start: Any, end: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where the line begins and ends, in float64."""
    if batch.ndim < 2 or batch.shape[0] < 2 or batch.dtype.kind != "f":
        raise ShapeError(
            "shattering: x must be a batch of at least two samples of floating-point numbers, "
            f"(N, ...).\n  {describe(x=batch)}"
        )
    ends = []
    for name, given, default in (("start", start, batch[0]), ("end", end, batch[1])):
        place = as_numpy(default if given is None else given).astype(np.float64)
        if place.shape != tuple(batch.shape[1:]):
            raise ShapeError(
                f"shattering: {name} must be one sample, of the shape of those in x.\n"
                f"  {describe(x=batch, **{name: place})}"
            )
        ends.append(place)
    if not (ends[0] != ends[1]).any():
        raise UsageError("shattering: the line has no length; give two different ends.")
    return ends[0], ends[1]


def _output_shape(model: nn.Module, sample: np.ndarray) -> tuple[int, ...]:
    """What the model gives for one sample, without N."""
    x = _tensor(model, sample)
    with no_grad(), naming_batch("shattering", model, x=x):
        out = model(x)
    if not isinstance(out, Tensor) or out.ndim < 1 or out.shape[0] != 1:
        got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise ContractError(
            "shattering: the model must give one tensor (N, ...), with a row for each sample; for "
            f"one sample it gave {got}."
        )
    return tuple(out.shape[1:])


def _tensor(model: nn.Module, array: np.ndarray, requires_grad: bool = False) -> Tensor:
    """The array on the device of the model."""
    return Tensor(to_device(array, device_of_model(model)), requires_grad=requires_grad)


def _input_gradients(model: nn.Module, line: np.ndarray, readouts: np.ndarray) -> np.ndarray:
    """d<r, f(x)>/dx at each point: (read-outs, points, numbers of a sample)."""
    inputs = _tensor(model, line, requires_grad=True)
    with enable_grad():
        out = model(inputs)
        values = [(out * _tensor(model, r[None])).sum() for r in readouts]
    found = [gradients(value, [inputs], retain_graph=True)[0] for value in values]
    return np.stack([to_numpy(g.data).reshape(len(line), -1) for g in found])


def _check(
    model: nn.Module, line: Any, readouts: np.ndarray, places: np.ndarray, slopes: np.ndarray
) -> tuple[int, int, float]:
    """Places compared, places left out for a kink, and the largest relative deviation."""
    chosen = np.unique(np.linspace(1, len(places) - 2, _CHECKED).round().astype(int))
    around = places[chosen, None] + _STEP * np.array([-1.0, 0.0, 1.0])  # (chosen, 3)
    with no_grad():
        out = to_numpy(model(_tensor(model, line(around.ravel()))).data)
    values = readouts.reshape(len(readouts), -1) @ out.reshape(len(out), -1).T
    before, here, after = np.moveaxis(values.reshape(len(readouts), len(chosen), 3), 2, 0)
    scale = float(np.sqrt((slopes**2).mean())) or 1.0
    smooth = np.abs(after - 2.0 * here + before) / _STEP <= _KINK * scale
    error = np.abs((after - before) / (2.0 * _STEP) - slopes[:, chosen]) / scale
    largest = float(error[smooth].max()) if smooth.any() else math.nan
    return int(smooth.sum()), int((~smooth).sum()), largest


def _correlation(grads: np.ndarray, count: int) -> np.ndarray:
    """mean <g(t), g(t + lag)> / mean |g(t)|^2 over points and read-outs, by lag."""
    products = np.mean([g @ g.T for g in grads], axis=0)  # (points, points)
    by_lag = np.array([np.diagonal(products, lag).mean() for lag in range(count)])
    return by_lag / by_lag[0] if by_lag[0] > 0 else np.full(count, np.nan)


def _first_below(curve: np.ndarray, level: float) -> int | None:
    below = np.flatnonzero(curve < level)
    return int(below[0]) if len(below) else None
