"""A network under all instruments, and its plain twin beside it, before training and after.

Both networks start from the same weights and, where they are trained, see the data in one order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from minires import data, flow, models, nn, rng, train, viz
from minires.autograd import Tensor, no_grad
from minires.data import Dataset
from minires.device import to_device
from minires.errors import MiniresError, UsageError
from minires.experiments.compare import environment
from minires.experiments.flow_config import MODELS, FlowConfig
from minires.experiments.instruments import INSTRUMENTS, NEED_SKIPS, Batch
from minires.experiments.training import train_network
from minires.files import strict_json, write_whole
from minires.flow.passes import names_of
from minires.models import CifarResNet, PadShortcut
from minires.models.resnet import ResNet
from minires.nn.modes import evaluating
from minires.progress import Progress

__all__ = [
    "PAGE",
    "RESULTS",
    "draw_pictures",
    "microscope",
    "write_numbers",
    "write_pictures",
]

RESULTS, PAGE = "flow.json", "flow.html"
_PICTURE = re.compile(r"(plain|residual|preact)-\d+-(initial-\w+|trained-\w+|recording)\.png")


@dataclass
class _Subject:
    """One network on its way through the experiment."""

    model: CifarResNet
    moments: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    recording: Any = None

    @property
    def name(self) -> str:
        kind = "preact" if self.model.preactivation and self.model.residual else self.kind
        return f"{kind}-{self.model.depth}"

    @property
    def kind(self) -> str:
        return "residual" if self.model.residual else "plain"


def microscope(
    config: FlowConfig,
    dataset: Dataset | None = None,
    *,
    checkpoints: Mapping[str, train.Checkpoint] | None = None,
    progress: TextIO | None = None,
) -> tuple[dict[str, Any], dict[str, ResNet]]:
    """Run the instruments on a network and on its plain twin.

    Args:
        config: what to run.
        dataset: the data, if it is loaded already.
        checkpoints: trained networks, by kind ('residual', 'plain'), which ``config`` fits (see
            :func:`minires.experiments.flow_config.from_checkpoints`); they are moved to its device.
        progress: where to show progress; nowhere if left out.

    Returns:
        Plain data (``config``, ``environment``, ``interrupted``, and ``networks``, the plain one
        first), and the networks that were trained here, by name.  After Ctrl-C it is what was
        finished by then, unless that is nothing.

    Raises:
        UsageError, DataError, DeviceError: before the first instrument, for settings that cannot
            work.

    >>> config = FlowConfig("resnet8", width=2, batch_size=8, instruments=("ledger",))
    >>> [network["name"] for network in microscope(config)[0]["networks"]]
    ['plain-8', 'residual-8']
    """
    dataset = data.load(config.data) if dataset is None else dataset
    config.check(dataset)
    given = dict(checkpoints or {})
    x, y = (Tensor(to_device(a, config.device)) for a in dataset.batch(config.batch_size))
    batch = Batch(x, y, dataset, config.lr)
    subjects = [_Subject(_build(config, dataset, residual)) for residual in (False, True)]
    trained: dict[str, ResNet] = {}
    interrupted = False
    again = [s for s in subjects if config.epochs or s.kind in given]
    looks = sum(len(_instruments(s, config)) for s in [*subjects, *again])
    try:
        with Progress(looks, 1, progress) as shown:
            for subject in subjects:
                _settle(subject.model, batch)
                _look(subject, subject.model, "initial", config, batch, shown)
            for subject in again:
                if subject.kind in given:
                    model: ResNet = given[subject.kind].model.to(config.device)
                else:
                    model = _train(subject, config, dataset, progress)
                    trained[subject.name] = model
                _look(subject, model, "trained", config, batch, shown)
    except KeyboardInterrupt:
        if not subjects[0].moments.get("initial"):
            raise
        interrupted = True
    results = {
        "config": {**asdict(config), "warm_up": config.recipe.warm_up},
        "environment": environment(config.device),
        "interrupted": interrupted,
        "networks": [_described(subject, batch) for subject in subjects],
    }
    return results, trained


def _build(config: FlowConfig, dataset: Dataset, residual: bool) -> CifarResNet:
    family, depth = config.parts()
    rng.manual_seed(config.seed)  # both kinds start from the same weights
    model = models.cifar_resnet(
        depth,
        residual=residual,
        width=config.width,
        shortcut=config.shortcut,
        in_channels=dataset.image_shape[0],
        num_classes=dataset.num_classes,
        **MODELS[family],
    )
    return model.to(config.device)


def _settle(model: CifarResNet, batch: Batch) -> None:
    """Let batch norm's running statistics, which start at 0 and 1, become those of the batch.

    Instruments that look at evaluation mode would else look at a network without normalisation.
    Each pass takes them a tenth of the way, 50 within half a percent.
    """
    with no_grad():
        for _ in range(50):
            model(batch.x)


def _look(
    subject: _Subject,
    model: ResNet,
    moment: str,
    config: FlowConfig,
    batch: Batch,
    shown: Progress,
) -> None:
    """Run the instruments; one that fails is noted, and the others go on."""
    model.train()
    found = subject.moments.setdefault(moment, {})
    for name in _instruments(subject, config):
        label = f"{subject.name}, {'before' if moment == 'initial' else 'after'} training: {name}"
        shown.start(label)
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                result = INSTRUMENTS[name](model, batch)
        except MiniresError as error:
            subject.failed.append(f"{label}: {' '.join(str(error).split())}")
            shown.finish(f"{label} (failed)")
            continue
        found[name] = {**result.to_dict(), "caption": result.caption()}
        shown.finish(label)


def _instruments(subject: _Subject, config: FlowConfig) -> list[str]:
    """Those that have something to look at in this network."""
    plain = subject.kind == "plain"
    return [name for name in config.instruments if not (plain and name in NEED_SKIPS)]


def _train(
    subject: _Subject, config: FlowConfig, dataset: Dataset, progress: TextIO | None
) -> CifarResNet:
    """A trained copy of the network, recorded on the way."""
    model = _build(config, dataset, subject.model.residual)
    steps = config.epochs * -(-len(dataset) // config.batch_size)
    every = min(50, max(1, steps // 24))
    with (
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        flow.Recorder(model, every=every, steps=steps) as recorder,
    ):
        history = train_network(
            model,
            dataset,
            config.recipe,
            seed=config.seed,
            label=f"training {subject.name}",
            progress=progress,
            on_step=recorder,
        )
    if not math.isfinite(history.batch_loss[-1]):
        subject.failed.append(
            f"training {subject.name}: it diverged, the loss is {history.batch_loss[-1]}; "
            "choose a lower --lr"
        )
    subject.recording = recorder.log.to_dict()
    return model


def _described(subject: _Subject, batch: Batch) -> dict[str, Any]:
    model = subject.model
    return {
        "name": subject.name,
        "kind": subject.kind,
        "depth": model.depth,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "stem": "conv1",
        "head": "fc",
        "blocks": list(_blocks(model, batch.x[:1])),
        "moments": subject.moments,
        "failed": subject.failed,
        "recording": subject.recording,
    }


def _blocks(model: CifarResNet, x: Tensor) -> Iterator[dict[str, Any]]:
    """Name, shape of the output, and shortcut of each block."""
    shapes = _Shapes()
    blocks = model.blocks()
    with flow.untouched(model), evaluating(model), no_grad(), nn.observe(shapes):
        model(x)
    for block, name, shape in zip(blocks, names_of(model, blocks), shapes.found, strict=True):
        yield {"name": name, "shape": list(shape), "shortcut": _shortcut(block)}


class _Shapes(nn.Observer):
    """Takes note of what each block gives."""

    def __init__(self) -> None:
        self.found: list[tuple[int, ...]] = []

    def join(self, block: nn.ResidualBlock, skip: Any, branch: Tensor) -> Any:
        self.found.append(branch.shape[1:])
        return skip, branch


def _shortcut(block: Any) -> str:
    if block.shortcut is None:
        return "none"
    if block.downsample is None:
        return "identity"
    return "padding" if isinstance(block.downsample, PadShortcut) else "projection"


def write_numbers(
    results: Mapping[str, Any], trained: Mapping[str, ResNet], folder: Path
) -> list[Path]:
    """Write flow.json, and a checkpoint of each network that was trained."""
    written = write_whole(folder, {RESULTS: strict_json(results).encode()})
    config = results["config"]
    for name, model in trained.items():
        about = {"data": config["data"], "seed": config["seed"], "epochs": config["epochs"]}
        written.append(train.save_checkpoint(folder / f"{name}.npz", model, **about))
    return written


def draw_pictures(results: Mapping[str, Any], progress: TextIO | None = None) -> dict[str, bytes]:
    """A PNG for each result, and the page, by the name of its file.

    Raises UsageError if something cannot be drawn.
    """
    pictures = list(_pictures(results))
    contents: dict[str, bytes] = {}
    try:
        with Progress(len(pictures), 1, progress) as shown:
            for file, instrument, result in pictures:
                shown.start(f"drawing {file}")
                contents[file] = viz.figure_png(viz.instrument_figure(instrument, result))
                shown.finish(f"drew {file}")
        contents[PAGE] = viz.flow_page(results).encode()
    except Exception as error:  # whatever it is, the work must not end in a traceback
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise UsageError(f"the figures could not be drawn ({reason}).") from error
    return contents


def write_pictures(contents: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write what :func:`draw_pictures` drew; pictures of an earlier run in the folder go."""
    written = write_whole(folder, contents)
    for path in folder.glob("*-*.png"):
        if _PICTURE.fullmatch(path.name) and path.name not in contents:
            path.unlink(missing_ok=True)
    return written


def _pictures(results: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The file of each picture, the instrument, and the result that is drawn."""
    for network in results["networks"]:
        for moment, found in network["moments"].items():
            for name, result in found.items():
                yield f"{network['name']}-{moment}-{name}.png", name, result
        if network["recording"] is not None:
            yield f"{network['name']}-recording.png", "recording", network["recording"]
