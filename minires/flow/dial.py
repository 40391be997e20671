"""The dial: one network with its skips turned from 0 to 1, and nothing else changed.

In each residual block z = alpha * a*S(u) + b*F(u).  All settings have the same weights, and if they
are trained, the same batches in the same order: what differs is what the skips do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn, rng
from minires.autograd import Tensor, no_grad
from minires.data import DataLoader, Dataset
from minires.device import to_numpy
from minires.errors import UsageError
from minires.flow.passes import (
    Bare,
    Loss,
    as_numpy,
    check_given,
    check_ran,
    check_reached,
    distance,
    gradients,
    keep_branches,
    loss_of,
    mode_of,
    names_of,
    norm,
)
from minires.flow.untouched import untouched
from minires.models import twin
from minires.nn.devices import device_of_model
from minires.optim import Optimizer
from minires.result import Result
from minires.rng import check_seed
from minires.train import fit
from minires.train.metrics import loss_and_errors
from minires.train.recipes import Recipe

__all__ = ["Dial", "DialReading", "dial"]

Arrays = tuple[Any, Any]


@dataclass(frozen=True)
class DialReading:
    """One setting of the dial.

    Attributes:
        alpha: what the skips are multiplied by.
        loss, error: over all images, the error in percent.
        test_loss, test_error: over the test part of a data set; None if a pair was given.
        first_norm, last_norm: of the gradient at the input of the first and of the last block.
        grad_rms: root-mean-square of the gradient at the input of each block, stem first.
    """

    alpha: float
    loss: float
    error: float
    test_loss: float | None
    test_error: float | None
    first_norm: float
    last_norm: float
    grad_rms: tuple[float, ...]


@dataclass(frozen=True)
class Dial(Result):
    """What :func:`dial` found.

    Attributes:
        mode: the one it was measured in: 'training', 'evaluation', or 'mixed'.
        images: how many loss and error were measured on.
        train_epochs: how long each setting was trained; 0 = not at all.
        blocks: the names of the blocks, stem first.
        before: a reading for each alpha, with the weights as they were given.
        after: the same after training; empty if there was none.
        max_error: the check: how far loss and gradients of the twin at 1 are from those of the
            network itself; 0 = the same bits.
    """

    mode: str
    images: int
    train_epochs: int
    blocks: tuple[str, ...]
    before: tuple[DialReading, ...]
    after: tuple[DialReading, ...]
    max_error: float

    figure_name = "dial_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row for each alpha, and each again after training."""
        headers = ["alpha", "epochs", "loss", "error %", "test error %", "first |g|", "last |g|"]
        return headers, [
            [
                f"{reading.alpha:g}",
                epochs,
                reading.loss,
                f"{reading.error:.1f}",
                None if reading.test_error is None else f"{reading.test_error:.1f}",
                reading.first_norm,
                reading.last_norm,
            ]
            for epochs, readings in ((0, self.before), (self.train_epochs, self.after))
            for reading in readings
        ]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, as nested dictionaries."""
        return {
            **asdict(self),
            "blocks": list(self.blocks),
            "before": [_plain(reading) for reading in self.before],
            "after": [_plain(reading) for reading in self.after],
        }

    def caption(self) -> str:
        """The two ends of the dial, before and after training."""
        low, high = _ends(self.before)
        text = (
            f"From alpha {high.alpha:g} to {low.alpha:g}, with the same weights, the loss goes "
            f"from {high.loss:.3g} to {low.loss:.3g}, the error from {high.error:.1f}% to "
            f"{low.error:.1f}%, and the gradient at the first block from {high.first_norm:.2g} to "
            f"{low.first_norm:.2g} ({self.images} images, {self.mode} mode)"
        )
        if self.after:
            low, high = _ends(self.after)
            text += (
                f"; after {self.train_epochs} epoch{'s' * (self.train_epochs != 1)} of training "
                f"each, the error is {high.error:.1f}% at {high.alpha:g} and {low.error:.1f}% at "
                f"{low.alpha:g}"
            )
        if self.max_error != 0:
            text += f"; but at 1 it is off the network by {self.max_error:.0e}"
        return f"{text}."


def dial(
    model: nn.Module,
    data: Dataset | Arrays,
    alphas: Iterable[float] = (0, 0.25, 0.5, 0.75, 1),
    *,
    train_epochs: int = 0,
    batch_size: int = 64,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    seed: int = 0,
    loss: Loss = F.cross_entropy,
) -> Dial:
    """Measure a network with its skips scaled by each of ``alphas``, and train it so if asked.

    For each alpha a :func:`~minires.models.twin`, with the same weights: z = alpha*a*S(u) + b*F(u),
    with a and b the scales that the block has.  Loss and error are over all images; the gradients
    are those of the loss of the first ``batch_size`` of them.  With ``train_epochs`` each twin is
    trained from there by SGD, over the same batches in the same order (the scalars of a Fixup
    network with a tenth of the rate, see :mod:`minires.models.fixup`), and all is measured again.
    The model itself is not touched.

    It measures in the mode the model is in.  That matters with batch normalisation: in evaluation
    mode the running statistics of a trained network are those of its own alpha, and do not fit the
    signal of another; in training mode each twin is normalised by the statistics of its batch.

    With auxiliary heads, in training mode, the loss is that of the main output plus 0.3 times that
    of each head; in evaluation mode, and for the error, the main output counts alone.  With
    stochastic depth all branches run wherever the mode is training, in the training of the twins
    too: at alpha 0 a block whose branch is dropped would hand on nothing at all.  In evaluation
    mode the branches are multiplied by their probability of survival, until the twin is trained;
    then no more, since it was trained with whole ones.

    A setting costs a forward pass over the data and one training step, twice if it is trained, and
    the training; in memory one twin at a time.  The check costs two training steps: the twin at 1
    must give the loss, and the gradients of all parameters and block inputs, of the network itself.

    Args:
        model: gives logits (N, classes), of blocks derived from :class:`minires.nn.ResidualBlock`.
        data: images (N, ...) and labels (N,), or a data set, whose test part is then measured too.
        alphas: the settings; 1 = as given, 0 = without skips.
        train_epochs: how often to go through the data.
        batch_size: images in a batch, in measuring and training.
        lr, momentum, weight_decay: of :class:`minires.optim.SGD`.
        seed: of the order of the batches.
        loss: ``loss(output, target)``, a mean over the batch.

    Returns:
        A :class:`Dial`: ``.table()``, ``.plot()``, ``.to_dict()``.

    Raises:
        ContractError: the model is none, no block of the contract ran, the loss is no tensor, or a
            block learns the scale of its skip.
        ShapeError: the loss is not a single number.
        UsageError: ``data`` is no pair, or alphas, epochs or another setting make no sense.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    >>> found = dial(model, mr.data.load_digits().batch(32), alphas=(0, 1))
    >>> [reading.alpha for reading in found.before], len(found.before[0].grad_rms)
    ([0.0, 1.0], 3)
    >>> found.max_error
    0.0
    """
    check_given("dial", model, target=data)
    train, test = _parts(data)
    settings = _alphas(alphas)
    if not isinstance(train_epochs, Integral) or train_epochs < 0:
        raise UsageError(f"dial: train_epochs must be a whole number from 0, got {train_epochs!r}.")
    check_seed(seed, "dial")
    batch_size, device = min(batch_size, max(1, len(train[1]))), device_of_model(model)
    batch = next(iter(DataLoader(train, batch_size, device=device)))
    # The check comes first, and refuses what is no model of blocks.
    names, own = _gradients(model, batch, loss)
    _, at_one = _gradients(twin(model, 1.0), batch, loss)

    def read(net: nn.Module, alpha: float) -> DialReading:
        value, error = _over(net, train, batch_size, loss)
        test_loss, test_error = (None, None) if test is None else _over(net, test, batch_size, loss)
        _, (_, *found) = _gradients(net, batch, loss)
        at_inputs = found[: len(names)]
        return DialReading(
            alpha=alpha,
            loss=value,
            error=error,
            test_loss=test_loss,
            test_error=test_error,
            first_norm=norm(at_inputs[0]),
            last_norm=norm(at_inputs[-1]),
            grad_rms=tuple(norm(g) / float(g.size) ** 0.5 for g in at_inputs),
        )

    before, after = [], []
    for alpha in settings:
        net = twin(model, alpha)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # it may diverge
            before.append(read(net, alpha))
            if train_epochs:
                recipe = Recipe(lr=lr, momentum=momentum, weight_decay=weight_decay)
                order = DataLoader(train, batch_size, shuffle=True, seed=seed, device=device)
                _train(net, order, recipe.optimizer(net), int(train_epochs), loss)
                after.append(read(net, alpha))
    return Dial(
        mode=mode_of(model),
        images=len(train[1]),
        train_epochs=int(train_epochs),
        blocks=names,
        before=tuple(before),
        after=tuple(after),
        max_error=_largest_difference(at_one, own),
    )


def _gradients(
    net: nn.Module, batch: tuple[Tensor, Tensor], loss: Loss
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The names of the blocks; the loss, and its gradients at their inputs and of parameters."""
    seen = Bare()
    with untouched(net):
        keep_branches(net)
        value = loss_of("dial", net, *batch, loss, seen)
        check_ran("dial", net, seen.blocks)
        check_reached("dial", net, seen.blocks, seen.inputs)
        weights = [p for p in net.parameters() if p.requires_grad]
        found = [to_numpy(g.data) for g in gradients(value, [*seen.inputs, *weights])]
    return tuple(names_of(net, seen.blocks)), [to_numpy(value.data), *found]


def _largest_difference(arrays: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest relative distance; 0 for the same bits, also of what is not finite."""
    return float(
        np.max(
            [
                0.0 if one.tobytes() == other.tobytes() else distance(one, other)
                for one, other in zip(arrays, expected, strict=True)
            ]
        )
    )


def _over(net: nn.Module, arrays: Arrays, batch_size: int, loss: Loss) -> tuple[float, float]:
    """Mean loss and error (percent) over all images, in the mode the network is in."""
    total, wrong, images = 0.0, 0, 0
    with untouched(net), no_grad():
        keep_branches(net)
        batch_size = min(batch_size, max(1, len(arrays[1])))
        for x, y in DataLoader(arrays, batch_size, device=device_of_model(net)):
            output = net(x)
            batch_loss = nn.total_loss(loss, output, y)
            value, batch_wrong = loss_and_errors(batch_loss, nn.main_output(output), y)
            total += value * len(y)
            wrong += batch_wrong
            images += len(y)
    return total / images, 100.0 * wrong / images


def _train(
    net: nn.Module, loader: DataLoader, optimizer: Optimizer, epochs: int, loss: Loss
) -> None:
    """Train with all branches; the modes and the default generator are then as before."""
    modes = [(module, module.training) for module in net.modules()]
    keep_branches(net.train())
    state = rng.get_state()
    try:
        fit(net, loader, optimizer, epochs=epochs, loss=loss)
    finally:
        rng.set_state(state)
    for module, training in modes:
        module.training = training


def _parts(data: Any) -> tuple[Arrays, Arrays | None]:
    """What is measured and trained on, and the test part of a data set."""
    if isinstance(data, Dataset):
        return data.train, data.test
    if isinstance(data, tuple | list) and len(data) == 2:
        return (as_numpy(data[0]), as_numpy(data[1])), None
    raise UsageError(
        f"dial: data must be a pair (images, labels) or a Dataset, not a {type(data).__name__}."
    )


def _alphas(alphas: Any) -> list[float]:
    if not isinstance(alphas, Iterable):
        raise UsageError(f"dial: alphas must be several numbers, not {alphas!r}: ({alphas!r},).")
    settings = list(alphas)
    for alpha in settings:
        if not isinstance(alpha, Real) or not math.isfinite(alpha):
            raise UsageError(f"dial: alphas must be finite numbers, got {alpha!r}.")
    if not settings:
        raise UsageError(
            "dial: alphas is empty; give the settings to measure, such as (0, 0.5, 1)."
        )
    return [float(alpha) for alpha in settings]


def _ends(readings: Sequence[DialReading]) -> tuple[DialReading, DialReading]:
    """Those with the smallest and the largest alpha."""
    ordered = sorted(readings, key=lambda reading: reading.alpha)
    return ordered[0], ordered[-1]


def _plain(reading: DialReading) -> dict[str, Any]:
    return {**asdict(reading), "grad_rms": list(reading.grad_rms)}
