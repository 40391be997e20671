"""What decides the numbers of one training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from minires import data, models, saving
from minires.data import DataLoader, Dataset
from minires.data.assemble import Normalization
from minires.device import known_device
from minires.errors import MiniresError, UsageError
from minires.models.resnet import ResNet
from minires.train import RECIPES, Recipe, load_checkpoint

__all__ = ["NORMALIZE", "RunConfig"]

NORMALIZE: dict[str, Normalization] = {"channel": True, "pixel": "pixel", "none": False}


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of one run.

    Attributes:
        model: the name of the network, see :func:`minires.models.named`.
        network: further arguments of the function that builds it: width, shortcut, aux_heads, ...
        data: the name of the data set.
        normalize: 'channel' (mean 0 and std 1 each), 'pixel' (less the mean image) or 'none'.
        train_images, test_images: so many of each part, the classes in proportion; None for all.
        recipe: one of :data:`minires.train.RECIPES`; what follows replaces what it says.
        epochs, steps, batch_size, lr, momentum, weight_decay, warm_up, augment: see
            :class:`minires.train.Recipe`; None where the recipe is followed.
        seed: of the weights, the order and the augmentation of the images, and dropout.
        evaluate_every: epochs from one evaluation to the next.
        weights: a file of weights to start from, any that :func:`minires.load` reads.
        deepen: a checkpoint whose network, made as deep as ``model`` by blocks that are the
            identity, is trained on; see :func:`minires.models.deepen`.
        device: 'cpu', 'cuda' or 'cuda:1', where the network is trained.  It starts with the same
            weights everywhere, and the same images come in the same order; the numbers agree as far
            as rounding goes.  So two settings that differ in it are equal, and a run may go on on
            another device.
    """

    model: str = "resnet20"
    network: Mapping[str, Any] = field(default_factory=dict)
    data: str = "digits"
    normalize: str = "channel"
    train_images: int | None = None
    test_images: int | None = None
    recipe: str = "short"
    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    warm_up: int | None = None
    augment: bool | None = None
    seed: int = 0
    evaluate_every: int = 1
    weights: str | None = None
    deepen: str | None = None
    device: str = field(default="cpu", compare=False)

    def training(self) -> Recipe:
        """The recipe, and what replaces parts of it."""
        if self.recipe not in RECIPES:
            raise UsageError(f"Unknown recipe {self.recipe!r}: choose of {', '.join(RECIPES)}.")
        names = {entry.name for entry in fields(Recipe)} & {entry.name for entry in fields(self)}
        own = {name: getattr(self, name) for name in names}
        changes = {name: value for name, value in own.items() if value is not None}
        if "epochs" in changes and "steps" not in changes:
            changes["steps"] = None
        elif "steps" in changes and "epochs" not in changes:
            changes["epochs"] = None
        recipe = replace(RECIPES[self.recipe], **changes)
        if recipe.warm_up and recipe.unit != RECIPES[self.recipe].unit and self.warm_up is None:
            raise UsageError(
                f"the warm-up of {self.recipe} is {recipe.warm_up} {RECIPES[self.recipe].unit}; "
                f"where the length is told in {recipe.unit}, tell the warm-up too."
            )
        return recipe

    def load_data(self, data_dir: str | Path | None = None) -> Dataset:
        """The data set, or the part of it that is asked for."""
        if self.normalize not in NORMALIZE:
            raise UsageError(
                f"Unknown normalize {self.normalize!r}: choose of {', '.join(NORMALIZE)}."
            )
        dataset = data.load(self.data, data_dir=data_dir, normalize=NORMALIZE[self.normalize])
        if self.train_images is None and self.test_images is None:
            return dataset
        return dataset.take(self.train_images, self.test_images)

    def check(self, dataset: Dataset) -> None:
        """Raise UsageError for a setting that cannot work, before anything is built.

        DeviceError for a device that is not there.
        """
        known_device(self.device)
        recipe = self.training()
        recipe.check(len(dataset), self.data)
        if recipe.length < 1:
            raise UsageError(f"{recipe.unit} must be at least 1, not {recipe.length}.")
        if self.seed < 0:
            raise UsageError(f"seed must be a whole number from 0 on, not {self.seed}.")
        if self.evaluate_every < 1:
            raise UsageError(f"evaluate_every must be at least 1, not {self.evaluate_every}.")
        if self.weights is not None and self.deepen is not None:
            raise UsageError("weights and deepen both say what to start from: give one of them.")

    def build(self, dataset: Dataset) -> ResNet:
        """The network, drawn from the default generator or read from a file, on the CPU."""
        options = {
            "in_channels": dataset.image_shape[0],
            "num_classes": dataset.num_classes,
            **self.network,
        }
        classes = options["num_classes"]
        if isinstance(classes, int) and classes < dataset.num_classes:
            raise UsageError(
                f"num_classes={classes} is too few for {self.data}, which has "
                f"{dataset.num_classes}; leave it out."
            )
        if options["in_channels"] != dataset.image_shape[0]:
            raise UsageError(
                f"in_channels={options['in_channels']!r} does not fit the images of {self.data}, "
                f"which have {dataset.image_shape[0]}; leave it out."
            )
        model = models.named(self.model, **options)
        if self.weights is not None:
            weights = saving.load(self.weights)
            try:
                model.load_state_dict(weights)
            except MiniresError as error:
                reason = str(error).partition(". ")[0]  # what follows is advice for Python
                raise UsageError(
                    f"the weights of {self.weights!r} do not fit {self.model} with these settings "
                    f"of --network ({reason})."
                ) from None
        if self.deepen is not None:
            model = self._deepened(self.deepen, model, dataset)
        return model

    def _deepened(self, file: str, wanted: ResNet, dataset: Dataset) -> ResNet:
        """The network in ``file``, as deep as ``wanted``."""
        shallow = load_checkpoint(file).model
        if type(shallow) is not type(wanted):
            raise UsageError(
                f"deepen: the network of {file!r} is a {type(shallow).__name__}, and "
                f"{self.model} is a {type(wanted).__name__}."
            )
        blocks = [
            len(list(deep.children())) - len(list(short.children()))
            for deep, short in zip(wanted.stages(), shallow.stages(), strict=True)
        ]
        if min(blocks) < 0 or max(blocks) == 0:
            raise UsageError(
                f"deepen: {shallow.extra_repr()} of {file!r} is not shallower than "
                f"{wanted.extra_repr()}."
            )
        if shallow.residual or shallow.norm is None:
            deeper = models.deepen(shallow, blocks)
        else:  # with batch norm, so that it is a network of the family
            batches = DataLoader(dataset.train, min(len(dataset), self.training().batch_size))
            deeper = models.deepen(shallow, blocks, identity="calibrated", data=batches)
        _check_known(file, deeper)
        _check_same_kind(file, deeper, wanted)
        return deeper


def _check_known(file: str, deeper: ResNet) -> None:
    """Raise UsageError unless the network could be built, and so kept in a checkpoint."""
    if deeper.options is None:
        raise UsageError(
            f"deepen: {deeper.extra_repr()}, made of the network of {file!r}, is not one that its "
            "family builds (auxiliary heads, survival probabilities, or blocks without batch norm "
            "stand elsewhere), and a checkpoint could not keep it. minires.models.deepen and "
            "train.fit in Python train it all the same."
        )


def _check_same_kind(file: str, found: ResNet, wanted: ResNet) -> None:
    """Raise UsageError for options of the two networks that differ."""
    has, needs = (model.options or {} for model in (found, wanted))
    for name in needs.keys() & has.keys() - {"zero_init_residual"}:
        if has[name] != needs[name]:
            raise UsageError(
                f"deepen: the network of {file!r} has {name} {has[name]!r}, and {needs[name]!r} is "
                f"asked for; say --network {name}={has[name]}, or another --model."
            )
