"""One network trained on one data set, by a run that can be interrupted and gone on with.

The folder of a run has a checkpoint with all that it depends on, a history with a line an epoch,
and at the end a picture of the curves.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from minires import rng, viz
from minires.data import DataLoader, Dataset, PadCropFlip
from minires.errors import DataError, MiniresError, UsageError
from minires.experiments.run_config import RunConfig
from minires.files import is_temporary, lock, write_whole
from minires.train import (
    STOP,
    History,
    Progress,
    Step,
    Training,
    load_checkpoint,
    save_checkpoint,
)

__all__ = ["CHECKPOINT", "CURVES", "FILES", "HISTORY", "Run", "stored_config"]

FILES = CHECKPOINT, HISTORY, CURVES = "checkpoint.npz", "history.jsonl", "curves.png"
_AHEAD = 2  # batches that a thread makes while the network is at work on another


class Run:
    """A training run and the folder it is kept in.

    Args:
        config: what decides its numbers.
        folder: where its files are written.
        dataset: the data, if it is loaded already.
        resume: go on with the run in ``folder``, which must be one of the same ``config`` and data.
            It may have been on another device; from there on its bits are those of neither device
            alone.

    Attributes:
        came_from: the device of the run that is gone on with.

    Raises:
        UsageError, DataError, DeviceError, StateError: before anything is written, for settings
            that cannot work, a folder that has a run already, a device that is not there, and a
            checkpoint that is damaged or of another run.

    >>> import tempfile
    >>> config = RunConfig(model="resnet8", network={"width": 2}, epochs=1, batch_size=512)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = Run(config, Path(folder)).go()
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['checkpoint.npz', 'history.jsonl']
    >>> history.step
    [3]
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        dataset: Dataset | None = None,
        *,
        resume: bool = False,
    ):
        self.config, self.folder, self.file = config, folder, folder / CHECKPOINT
        if not resume:
            _check_free(folder)
        self.dataset = config.load_data() if dataset is None else dataset
        config.check(self.dataset)
        self.recipe = config.training()
        self.data_crc = _crc(self.dataset)
        rng.manual_seed(config.seed)
        checkpoint, self.came_from = None, config.device
        if resume:
            checkpoint = load_checkpoint(self.file)
            _check_same(self.file, checkpoint.about, config, self.data_crc)
            self.model = checkpoint.model
            self.came_from = checkpoint.about["config"].get("device", "cpu")
        else:
            self.model = config.build(self.dataset)
        self.model.to(config.device)
        self.training = self._training()
        if checkpoint is not None:
            if checkpoint.training is None:
                raise DataError(f"{str(self.file)!r} holds a network, but no run to go on with.")
            try:
                self.training.load_state_dict(checkpoint.training)
            except MiniresError as error:
                raise DataError(f"{str(self.file)!r} cannot be gone on with: {error}") from None

    def _training(self) -> Training:
        recipe = self.recipe
        loader = DataLoader(
            self.dataset.train,
            batch_size=recipe.batch_size,
            shuffle=True,
            seed=self.config.seed,
            augment=PadCropFlip() if recipe.augment else None,
            prefetch=_AHEAD,
            device=self.config.device,
        )
        optimizer = recipe.optimizer(self.model)
        return Training(
            self.model,
            loader,
            optimizer,
            recipe.schedule(optimizer),
            step_schedule=recipe.unit == "steps",
            evaluate_on={"train": self.dataset.train, "test": self.dataset.test},
            evaluate_every=self.config.evaluate_every,
        )

    @property
    def finished(self) -> bool:
        """Whether it has been trained to its end."""
        done, step = self.training.history, self.training.step
        if self.recipe.unit == "epochs":
            return len(done.epoch) >= self.recipe.length
        return step >= self.recipe.length and done.step[-1:] == [step]

    @property
    def diverged(self) -> bool:
        """Whether its loss is no number any more, in training or in the last evaluation."""
        history = self.training.history
        losses = [self.training.last_loss, *history.batch_loss[-1:]]
        if self.finished:
            losses += [values[-1] for values in history.loss.values()]
        return not np.isfinite(losses).all()

    def go(
        self,
        *,
        progress: TextIO | None = None,
        save_every: float = 30.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> History:
        """Train to the end, or until ``stop()`` is true after a step; saves what there is then.

        A loss that is no number any more ends it too: nothing will be learned from there on.

        Args:
            progress: where to show progress; nowhere if left out.
            save_every: seconds from one checkpoint to the next; one is saved after every epoch
                besides.
            stop: asked after each step.

        Returns:
            The history of the whole run so far.
        """
        saved = time.monotonic()

        def on_step(step: Step) -> str | None:
            nonlocal saved
            leave = stop() or not np.isfinite(step.batch_loss)
            if leave or time.monotonic() - saved >= save_every:
                self.save()
                saved = time.monotonic()
            return STOP if leave else None

        def on_epoch(_: History) -> str | None:
            nonlocal saved
            self.save()
            saved = time.monotonic()
            return STOP if stop() else None

        length = {self.recipe.unit: self.recipe.length}
        with (
            _alone(self.folder),
            ExitStack() as stack,
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            self._clean()
            if self.training.step:
                self.write_history()
            on_steps: list[Callable[[Step], Any]] = [on_step]
            on_epochs: list[Callable[[History], Any]] = [on_epoch]
            if progress is not None:
                shown = stack.enter_context(self._progress(progress))
                on_steps.insert(0, shown.step)
                on_epochs.insert(0, shown.epoch)
            return self.training.run(**length, on_step=on_steps, on_epoch=on_epochs)

    def _progress(self, file: TextIO) -> Progress:
        steps = len(self.training.loader)
        total = self.recipe.length if self.recipe.unit == "epochs" else self.recipe.length / steps
        images = len(self.dataset)
        done = self.training.step * images / steps
        return Progress(self.config.model, epochs=total, images=images, file=file, done=round(done))

    def save(self) -> None:
        """Write the checkpoint and the history, each whole or not at all."""
        config = self.config
        about = {
            "data": config.data,
            "seed": config.seed,
            "config": asdict(config),
            "data_crc": self.data_crc,
        }
        save_checkpoint(self.file, self.model, training=self.training, **about)
        self.write_history()

    def write_history(self) -> None:
        """Write a line for each epoch that is finished."""
        lines = history_lines(self.training.history)
        write_whole(self.folder, {HISTORY: lines.encode()})

    def _clean(self) -> None:
        """Take away what a run that was killed while it wrote has left behind."""
        for name in FILES:
            for path in self.folder.glob(f".{name}.*"):
                if is_temporary(path.name, name):
                    path.unlink(missing_ok=True)

    def draw(self) -> Path:
        """Write the picture of the curves."""
        model = self.model
        kind = "preact" if model.preactivation and model.residual else "residual"
        run = {
            "kind": kind if model.residual else "plain",
            "depth": model.depth,
            "seed": self.config.seed,
            "history": self.training.history.to_dict(),
        }
        return write_whole(self.folder, {CURVES: viz.figure_png(viz.training_curves([run]))})[0]


def _check_free(folder: Path) -> None:
    """Raise UsageError if the folder has a file that a run would write over."""
    if (folder / CHECKPOINT).exists():
        raise UsageError(
            f"{str(folder)!r} has a run already: --resume goes on with it, and --out names "
            "another folder."
        )
    for name in FILES:
        if (folder / name).exists():
            raise UsageError(
                f"{str(folder / name)!r} is there already, and is not of a run of minires train; "
                "choose another folder with --out."
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs in one folder would write over each other: the second is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":  # a folder cannot be opened there
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not lock(handle):
            raise UsageError(f"another run is at work in {str(folder)!r}; wait for it.")
        yield
    finally:
        os.close(handle)


def history_lines(history: History) -> str:
    """A line of JSON an epoch; null for what was not measured or is not finite.

    >>> history_lines(History([1], [0.1], [2.3], [90.0], [1.5], {}, {}, [12]))
    '{"epoch": 1, "step": 12, "lr": 0.1, "batch_loss": 2.3, "batch_error": 90.0, "seconds": 1.5}\\n'
    """
    flat = history.to_dict()
    lines = []
    for i in range(len(history.epoch)):
        entry = {name: values[i] for name, values in flat.items()}
        finite = {name: value if np.isfinite(value) else None for name, value in entry.items()}
        lines.append(json.dumps(finite, allow_nan=False) + "\n")
    return "".join(lines)


def stored_config(folder: Path) -> RunConfig:
    """The settings of the run in ``folder``.

    Raises DataError if there is none, or if its checkpoint is damaged or of something else.
    """
    file = folder / CHECKPOINT
    found: Any = load_checkpoint(file).about.get("config")
    try:
        return RunConfig(**found)
    except TypeError:
        raise DataError(
            f"{str(file)!r} is the checkpoint of a network, but not of a run of minires train."
        ) from None


def _check_same(file: Path, about: Mapping[str, Any], config: RunConfig, crc: int) -> None:
    """Raise DataError for the first setting of the stored run that is another."""
    stored, own = about.get("config"), json.loads(json.dumps(asdict(config)))
    if not isinstance(stored, Mapping):
        raise DataError(
            f"{str(file)!r} is the checkpoint of a network, but not of a run of minires train."
        )
    for name in (entry.name for entry in fields(config) if entry.compare):
        value = own[name]
        if stored.get(name) != value:
            raise DataError(
                f"{str(file)!r} is of another run: its {name} is {_shown(stored.get(name))}, and "
                f"{_shown(value)} is asked for. Leave that out to go on with it, or name another "
                "folder with --out."
            )
    if about.get("data_crc") != crc:
        raise DataError(
            f"{str(file)!r} is of a run on other data: the images of {config.data} that are here "
            "have another checksum."
        )


def _shown(value: Any) -> str:
    return "not given" if value is None else repr(value)


def _crc(dataset: Dataset) -> int:
    crc = 0
    for array in (*dataset.train, *dataset.test):
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return crc
