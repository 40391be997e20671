"""The signal: how strong each layer answers, which units are dead, how fast it learns.

For each layer y = f(x; w) of a network, over the whole batch:

    mean, std of y            dead units of y            |dLoss/dy|
    |w|                       |dLoss/dw|                 lr * |dLoss/dw| / |w|

The standard deviation of layer responses is that of He et al. 2015, figure 7: there the responses
are what batch normalisation gives, before the ReLU, and residual networks have the smaller ones.
At initialisation a batch normalisation in training mode answers with a standard deviation of 1,
whatever comes in; the figure says something of a network that has been trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor
from minires.device import to_numpy
from minires.errors import ContractError, UsageError
from minires.flow.passes import Loss, check_given, distance, gradients, loss_of, norm
from minires.flow.untouched import untouched
from minires.flow.watch import Response, Watch, weights_of
from minires.nn.devices import batch_for
from minires.optim import Optimizer
from minires.result import Result

__all__ = ["LayerSignal", "Signal", "signal"]


@dataclass(frozen=True)
class LayerSignal:
    """One layer.  A layer that runs several times in the pass is one layer.

    Attributes:
        name, kind: as ``named_modules`` calls it, and its class.
        mean, std: of its answers, over the batch and all units.
        dead: the share of units (channels of (N, C, ...), or the last dimension of a Linear) whose
            answer is above 0 nowhere in the batch; None unless a ReLU, and nothing else, reads it.
        grad_norm: of the gradient at its output, over the batch; None if none came.
        weight_norm, weight_grad_norm: of its parameters and of their gradient, weight and bias as
            one vector; the second is None where no parameter is trained.
        update_ratio: |lr * gradient| / |parameters|; None without a learning rate, or weights of 0.
    """

    name: str
    kind: str
    mean: float
    std: float
    dead: float | None
    grad_norm: float | None
    weight_norm: float
    weight_grad_norm: float | None
    update_ratio: float | None


@dataclass(frozen=True)
class Signal(Result):
    """What :func:`signal` found.

    Attributes:
        loss: of the batch.
        layers: in the order in which they first ran.
        max_error: the largest relative difference between a parameter's gradient in the watched
            pass and in the bare one: 0.0, to the last bit, unless the model does not compute the
            same twice.
    """

    loss: float
    layers: tuple[LayerSignal, ...]
    max_error: float

    figure_name = "signal_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a layer."""
        headers = ["layer", "kind", "mean", "std", "dead", "output |g|", "|w|", "weight |g|"]
        headers.append("update/weight")
        return headers, [
            [
                e.name,
                e.kind,
                e.mean,
                e.std,
                None if e.dead is None else f"{100 * e.dead:.1f}%",
                e.grad_norm,
                e.weight_norm,
                e.weight_grad_norm,
                e.update_ratio,
            ]
            for e in self.layers
        ]

    def to_dict(self) -> dict[str, Any]:
        """Loss, check, and a dict a layer."""
        return {
            "loss": self.loss,
            "max_error": self.max_error,
            "layers": [dict(vars(layer)) for layer in self.layers],
        }

    def caption(self) -> str:
        """How much the answers differ along the depth, how many units are dead, and the check."""
        count = len(self.layers)
        parts = [f"{count} layer{'s' * (count != 1)}: {self._strength()}"]
        dead = [layer for layer in self.layers if layer.dead is not None]
        if dead:
            worst = max(dead, key=lambda layer: layer.dead or 0.0)
            parts.append(
                f"up to {100 * worst.dead:.0f}% of a layer's units are dead ({worst.name})"
                if worst.dead
                else "no unit is dead"
            )
        if self.max_error == 0.0:
            parts.append("watching changed no bit of a gradient.")
        elif math.isfinite(self.max_error):
            parts.append(
                f"the gradients of a bare pass differ by {self.max_error:.0e}: the model does not "
                "compute the same twice."
            )
        else:
            parts.append(
                "the check against a bare pass failed, since some gradients are not finite."
            )
        return "; ".join(parts)

    def _strength(self) -> str:
        finite = [layer for layer in self.layers if math.isfinite(layer.std)]
        if not finite:
            return "no answer is finite"
        low, high = (f(finite, key=lambda layer: layer.std) for f in (min, max))
        return (
            f"the standard deviation of their answers is between {low.std:.3g} ({low.name}) and "
            f"{high.std:.3g} ({high.name})"
        )


def signal(
    model: nn.Module,
    x: Any,
    target: Any = None,
    *,
    loss: Loss = F.cross_entropy,
    lr: float | None = None,
    optimizer: Optimizer | None = None,
) -> Signal:
    """Measure what every layer answers, and what gradient comes to it, for one batch.

    A layer is a module with parameters of its own and no modules below: Conv2d, BatchNorm2d,
    Linear, or a user's own; the model needs no residual blocks.  A residual block that has
    parameters of its own (a learned ``branch_scale``, the scalars of Fixup) is a layer too: its
    answer is what the block gives, and |w| is the size of these parameters alone.

    A unit is dead if its answer is above 0 for no image and at no place, and a ReLU reads it: then
    the ReLU hands on zeros, and no gradient comes back.  The answers that count are those the ReLU
    itself reads (with batch norm that of the BatchNorm2d, without it that of the convolution); for
    the last layer before a sum, or before a batch norm, there is no such number.

    The model runs twice, forward and backward, in the mode it is in: once under watch and once
    bare, for the check.  So it costs two training steps without the optimiser, and the watch about
    a third of one more; no arrays are kept.  It leaves no trace on the model.

    Args:
        model: any module whose layers have tensors for outputs.
        x: a batch, tensor or array (N, ...).
        target: what the loss compares with, tensor or array.
        loss: ``loss(output, target)``, a single number.
        lr: a learning rate, for the ratio |lr * gradient| / |parameters|: the step of plain
            gradient descent, without momentum and weight decay.
        optimizer: in place of ``lr``: the learning rate of each parameter group.  What an
            optimiser's real step changes is logged by :class:`minires.flow.Recorder`.

    Returns:
        A :class:`Signal`: one entry a layer, ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        ContractError: the model is none, the target is missing, no layer with parameters ran, or
            the loss is no tensor.
        ShapeError: the loss is not a single number.
        UsageError: ``lr`` is negative or no finite number, or both it and ``optimizer`` are given.

    He et al. 2015, figure 7.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=4, in_channels=1)
    >>> found = signal(model, mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3]), lr=0.1)
    >>> [layer.name for layer in found.layers][:4]
    ['conv1', 'bn1', 'layer1.0.conv1', 'layer1.0.bn1']
    >>> round(found.layers[1].std, 3), found.max_error
    (1.0, 0.0)
    """
    check_given("signal", model, target)
    rate = _rates(lr, optimizer)
    x, target = batch_for(model, x, target)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    watch = Watch(model)
    with untouched(model):
        value, watched = _pass(model, x, target, loss, trained, watch)
    if not watch.responses:
        raise ContractError(
            f"signal: no layer with parameters ran in {type(model).__name__}. It looks at modules "
            "such as nn.Conv2d, nn.BatchNorm2d and nn.Linear that are called in forward."
        )
    with untouched(model):
        _, bare = _pass(model, x, target, loss, trained, None)

    found = {id(p): g for p, g in zip(trained, watched, strict=True)}
    layers = tuple(_entry(response, found, rate) for response in watch.responses)
    errors = [distance(a, b) for a, b in zip(watched, bare, strict=True)]
    return Signal(value, layers, float(np.max(errors)) if errors else 0.0)


def _pass(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    loss: Loss,
    trained: list[nn.Parameter],
    watch: Watch | None,
) -> tuple[float, list[np.ndarray]]:
    """The loss, and the gradients by the trained parameters."""
    inputs: list[Tensor] = []  # a gradient by the input goes through all layers, frozen ones too

    def see(module: nn.Module, given: tuple[Any, ...]) -> None:
        inputs.extend(t for t in given if isinstance(t, Tensor) and t.requires_grad)

    model.register_forward_pre_hook(see)
    if watch is not None:
        watch.begin()
    value = loss_of("signal", model, x, target, loss, nn.Observer())
    if watch is not None:
        watch.end(value)
    found = gradients(value, [*trained, *inputs[:1]])
    return float(value.item()), [to_numpy(gradient.data) for gradient in found[: len(trained)]]


def _entry(
    response: Response, found: dict[int, np.ndarray], rate: Callable[[Tensor], float] | None
) -> LayerSignal:
    weights = weights_of(response.layer)
    trained = [p for p in weights if id(p) in found]
    size = math.hypot(*(norm(to_numpy(p._data)) for p in weights))
    gradients_ = [norm(found[id(p)]) for p in trained]
    ratio = None
    if rate is not None and trained and size:
        ratio = math.hypot(*(rate(p) * g for p, g in zip(trained, gradients_, strict=True))) / size
    return LayerSignal(
        name=response.name,
        kind=type(response.layer).__name__,
        mean=response.mean,
        std=response.std,
        dead=response.dead,
        grad_norm=response.grad_norm,
        weight_norm=size,
        weight_grad_norm=math.hypot(*gradients_) if trained else None,
        update_ratio=ratio,
    )


def _rates(lr: Any, optimizer: Any) -> Callable[[Tensor], float] | None:
    """The learning rate of a parameter, if any; 0 for what the optimiser does not train."""
    if lr is not None and optimizer is not None:
        raise UsageError("signal: give lr or optimizer, not both: the optimiser has its own rates.")
    if optimizer is not None:
        if not isinstance(optimizer, Optimizer):
            raise UsageError(
                f"signal: optimizer is a {type(optimizer).__name__}; give one of minires.optim, or "
                "lr=0.1 for a rate by itself."
            )
        rates = {id(p): float(g["lr"]) for g in optimizer.param_groups for p in g["params"]}
        return lambda parameter: rates.get(id(parameter), 0.0)
    if lr is None:
        return None
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 <= lr < math.inf:
        raise UsageError(f"signal: lr must be a finite number from 0 on, not {lr!r}.")
    return lambda parameter: float(lr)
