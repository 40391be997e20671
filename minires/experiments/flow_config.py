"""What an experiment with the instruments is run on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from minires import models, train
from minires.data import Dataset
from minires.device import known_device
from minires.errors import DataError, UsageError
from minires.experiments.instruments import INSTRUMENTS
from minires.train import Recipe

__all__ = ["MODELS", "FlowConfig", "from_checkpoints"]

_DEEPEST, _WIDEST = 1_202, 4_096
_WARM_UP_FROM = 110  # the depth at which He et al. 2015 needed one

MODELS: dict[str, dict[str, Any]] = {
    "resnet": {},
    "preresnet": {"preactivation": True},
}


@dataclass(frozen=True)
class FlowConfig:
    """Everything that decides the numbers.

    Attributes:
        model: 'resnet' or 'preresnet' and a depth of the CIFAR family, as in 'resnet56'.
        data: name of the data set.
        width, shortcut: of the networks.
        batch_size: images of the batch that the instruments look at, and of a training step.
        seed: of the weights and of the order of the data.
        instruments: those to run, of :data:`INSTRUMENTS`.
        epochs: of training, 0 for none; then the instruments run again, and a recorder runs along.
        lr, momentum, weight_decay: of the training.
        warm_up: epochs at a tenth of the rate; None is 1 from depth 110 on, and else 0.
        device: 'cpu', 'cuda' or 'cuda:1'; the networks start with the same weights everywhere.
    """

    model: str = "resnet56"
    data: str = "digits"
    width: int = 8
    shortcut: str = "A"
    batch_size: int = 64
    seed: int = 0
    instruments: tuple[str, ...] = tuple(INSTRUMENTS)
    epochs: int = 0
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: int | None = None
    device: str = "cpu"

    @property
    def recipe(self) -> Recipe:
        """How the networks are trained."""
        warm_up = self.warm_up
        if warm_up is None:
            warm_up = int(self.epochs > 1 and self.parts()[1] >= _WARM_UP_FROM)
        return Recipe(
            self.epochs, self.batch_size, self.lr, self.momentum, self.weight_decay, warm_up
        )

    def parts(self) -> tuple[str, int]:
        """Family and depth of the model; UsageError if its name has none."""
        found = re.fullmatch(r"([a-z]+)(\d{1,9})", self.model)
        if found is None or found[1] not in MODELS:
            names = " or ".join(f"{family}56" for family in MODELS)
            raise UsageError(f"Unknown model {self.model!r}: name it as in {names}.")
        return found[1], int(found[2])

    def check(self, dataset: Dataset) -> None:
        """Raise UsageError for a setting that cannot work, before anything is built.

        DeviceError for a device that is not there.
        """
        known_device(self.device)
        _, depth = self.parts()
        if depth > _DEEPEST:
            raise UsageError(f"Depth {depth} is out of reach: choose at most {_DEEPEST:,}.")
        models.check_depth(depth)
        if not 1 <= self.width <= _WIDEST:
            raise UsageError(f"width must be from 1 to {_WIDEST:,}, not {self.width}.")
        if self.epochs < 0:
            raise UsageError(f"epochs must be 0 or more, not {self.epochs}.")
        if self.seed < 0:
            raise UsageError("seed must be a whole number from 0 on.")
        unknown = [name for name in self.instruments if name not in INSTRUMENTS]
        if unknown or not self.instruments:
            wrong = f"Unknown instrument {unknown[0]!r}" if unknown else "No instrument is given"
            raise UsageError(f"{wrong}: choose of {', '.join(INSTRUMENTS)}.")
        self.recipe.check(len(dataset), self.data)


# The options that minires flow takes from a checkpoint, or from the data.
_FITTED = {"depth", "residual", "preactivation", "width", "shortcut", "in_channels", "num_classes"}


def from_checkpoints(config: FlowConfig, checkpoints: Mapping[str, train.Checkpoint]) -> FlowConfig:
    """``config`` with the model, data and seed of trained networks.

    Raises DataError if the two are not twins, or say too little about themselves.
    """
    abouts = [checkpoint.about for checkpoint in checkpoints.values()]
    for checkpoint in checkpoints.values():
        if not isinstance(checkpoint.model, models.CifarResNet):
            raise DataError(
                f"the checkpoint is of a {type(checkpoint.model).__name__}; minires flow looks at "
                "the CIFAR family. Use minires.flow from Python for others."
            )
    options = [
        {**c.model.options, "residual": None} for c in checkpoints.values() if c.model.options
    ]
    if any(other != options[0] for other in options) or len({_origin(a) for a in abouts}) > 1:
        raise DataError(
            "the checkpoints are of networks that differ in more than their skips, their data or "
            "their seed: give a residual network and its plain twin, or one of them."
        )
    first, (name, seed) = options[0], _origin(abouts[0])
    family = "preresnet" if first["preactivation"] else "resnet"
    known = models.cifar_resnet(8).options or {}
    for option in sorted(known.keys() - _FITTED):
        if first[option] != known[option]:
            raise DataError(
                f"the checkpoint is of a network with {option}={first[option]!r}; minires flow "
                f"builds both networks with {option}={known[option]!r}. From Python minires.flow "
                "takes any: minires.train.load_checkpoint(file).model is the network."
            )
    return replace(
        config,
        model=f"{family}{first['depth']}",
        data=name,
        seed=seed,
        width=first["width"],
        shortcut=first["shortcut"],
    )


def _origin(about: Mapping[str, Any]) -> tuple[str, int]:
    name, seed = about.get("data"), about.get("seed")
    if not isinstance(name, str) or not isinstance(seed, int):
        raise DataError(
            "the checkpoint does not say on which data and from which seed its network was "
            "trained; save it with save_checkpoint(..., data=..., seed=...)."
        )
    return name, seed
