"""How the experiments train: SGD on one recipe, with progress shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, TextIO

from minires import nn, train
from minires.data import DataLoader, Dataset
from minires.train import Recipe
from minires.train.metrics import device_of_model

__all__ = ["train_network"]


def train_network(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    label: str,
    progress: TextIO | None = None,
    evaluate_on: Mapping[str, tuple[Any, Any]] | None = None,
    on_step: Callable[[train.Step], None] | None = None,
) -> train.History:
    """Train ``model``, where it is, on the training part of ``dataset``.

    ``seed`` is of the order of the images; ``label`` names the run where ``progress`` is shown.
    """
    loader = DataLoader(
        dataset.train,
        batch_size=recipe.batch_size,
        shuffle=True,
        seed=seed,
        device=device_of_model(model),
    )
    optimizer = recipe.optimizer(model)
    epochs = recipe.length
    with (
        nullcontext()
        if progress is None
        else train.Progress(label, epochs=epochs, images=len(dataset), file=progress)
    ) as shown:
        told = [] if on_step is None else [on_step]
        return train.fit(
            model,
            loader,
            optimizer,
            epochs=epochs,
            scheduler=recipe.schedule(optimizer),
            evaluate_on=evaluate_on,
            on_step=told if shown is None else [shown.step, *told],
            on_epoch=() if shown is None else shown.epoch,
        )
