"""Plain and residual networks side by side: degradation, and where the gradient goes.

For each seed and depth the kinds start from the same weights and see the data in the same order.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from minires import data, flow, kernels, models, rng, viz
from minires.autograd import Tensor
from minires.data import Dataset
from minires.device import gpu, import_cupy, known_device, to_device
from minires.errors import UsageError
from minires.experiments.training import train_network
from minires.files import strict_json, write_whole
from minires.models import CifarResNet
from minires.train import Recipe

__all__ = ["FILES", "KINDS", "CompareConfig", "compare", "write_results"]

FILES = ("results.json", "curves.png", "gradient_flow.png", "report.html")
_DEEPEST, _WIDEST = 10_000, 4_096

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"residual": False},
    "residual": {},
    "preact": {"preactivation": True},
}


@dataclass(frozen=True)
class CompareConfig:
    """Everything that decides the numbers of a comparison.

    Attributes:
        data: name of the data set.
        depths: of the networks, each 6n + 2.
        kinds: 'plain', 'residual', 'preact'.
        width: filters of the first stage.
        shortcut: 'A', 'B' or 'C'.
        epochs, batch_size, lr, momentum, weight_decay: of the training; the learning rate is
            divided by 10 after half and after three quarters of the epochs.
        seeds: one run of every kind and depth for each.
        device: 'cpu', 'cuda' or 'cuda:1'; the networks start with the same weights everywhere.
    """

    data: str = "digits"
    depths: tuple[int, ...] = (20, 56)
    kinds: tuple[str, ...] = ("plain", "residual")
    width: int = 8
    shortcut: str = "A"
    epochs: int = 12
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    seeds: tuple[int, ...] = (0,)
    device: str = "cpu"

    @property
    def recipe(self) -> Recipe:
        """How each network is trained."""
        return Recipe(self.epochs, self.batch_size, self.lr, self.momentum, self.weight_decay)

    def check(self, dataset: Dataset) -> None:
        """Raise UsageError for a setting that cannot work, before anything is trained.

        DeviceError for a device that is not there.
        """
        known_device(self.device)
        for depth in self.depths:
            if depth > _DEEPEST:
                raise UsageError(
                    f"Depth {depth} is out of reach: choose depths of at most {_DEEPEST:,}."
                )
            models.check_depth(depth)
        for name in ("depths", "kinds", "seeds"):
            values = getattr(self, name)
            if len(set(values)) != len(values) or not values:
                raise UsageError(f"{name} must be given once each, and at least one of them.")
        for kind in self.kinds:
            if kind not in KINDS:
                raise UsageError(f"Unknown kind {kind!r}: choose of {', '.join(KINDS)}.")
        if self.width > _WIDEST:
            raise UsageError(f"width {self.width} is out of reach: choose at most {_WIDEST:,}.")
        for name in ("width", "epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        self.recipe.check(len(dataset), self.data)
        if any(seed < 0 for seed in self.seeds):
            raise UsageError("seeds must be whole numbers from 0 on.")

    def combinations(self) -> Iterator[tuple[int, int, str]]:
        """(seed, depth, kind) of all runs; kinds to be compared come one after the other."""
        for seed in self.seeds:
            for depth in self.depths:
                for kind in self.kinds:
                    yield seed, depth, kind


def compare(
    config: CompareConfig,
    dataset: Dataset | None = None,
    *,
    progress: TextIO | None = None,
    on_run: Callable[[dict[str, Any]], None] | None = None,
    on_memory_error: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train every combination of ``config`` and measure its gradient flow before and after.

    Ctrl-C ends it early: the runs that are finished are returned, with ``interrupted`` true.  So
    does a MemoryError, if ``on_memory_error`` is given and a run is finished.

    Args:
        config: what to run.
        dataset: the data, if it is loaded already.
        progress: where to show progress; nowhere if left out.
        on_run: called with each finished run.
        on_memory_error: called with the label of a run for which there is not enough memory.

    Returns:
        Plain data: ``config``, ``environment``, ``interrupted``, and ``runs``, one dict a run.

    Raises:
        UsageError, DataError, DeviceError: before the first run, for settings, data or a device
            that cannot work.

    >>> config = CompareConfig(depths=(8,), width=2, epochs=1, batch_size=256)
    >>> [(run["kind"], run["depth"]) for run in compare(config)["runs"]]
    [('plain', 8), ('residual', 8)]
    """
    dataset = data.load(config.data) if dataset is None else dataset
    config.check(dataset)
    runs: list[dict[str, Any]] = []
    interrupted = False
    combinations = list(config.combinations())
    label = ""
    try:
        for number, (seed, depth, kind) in enumerate(combinations, 1):
            label = f"[{number}/{len(combinations)}] {kind}-{depth}, seed {seed}"
            run = _run(config, dataset, seed, depth, kind, label, progress)
            runs.append(run)
            if on_run is not None:
                on_run(run)
    except KeyboardInterrupt:
        interrupted = True
    except MemoryError:
        if on_memory_error is None or not runs:
            raise
        on_memory_error(label)
        interrupted = True
    sizes = {"train_samples": len(dataset), "test_samples": len(dataset.test_labels)}
    return {
        "config": {**asdict(config), **sizes},
        "environment": environment(config.device),
        "interrupted": interrupted,
        "runs": runs,
    }


def build(config: CompareConfig, dataset: Dataset, depth: int, kind: str) -> CifarResNet:
    """The network of one run, drawn from the default generator, on the CPU."""
    return models.cifar_resnet(
        depth,
        width=config.width,
        shortcut=config.shortcut,
        in_channels=dataset.image_shape[0],
        num_classes=dataset.num_classes,
        **KINDS[kind],
    )


def _run(
    config: CompareConfig,
    dataset: Dataset,
    seed: int,
    depth: int,
    kind: str,
    label: str,
    progress: TextIO | None,
) -> dict[str, Any]:
    started = time.perf_counter()
    rng.manual_seed(seed)
    model = build(config, dataset, depth, kind).to(config.device)
    x, y = dataset.batch(config.batch_size)
    batch = Tensor(to_device(x, config.device)), Tensor(to_device(y, config.device))

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a run may diverge
        initial = _gradient_flow(model, batch)
        history = train_network(
            model,
            dataset,
            config.recipe,
            seed=seed,
            label=label,
            progress=progress,
            evaluate_on={"train": dataset.train, "test": dataset.test},
        )
        trained = _gradient_flow(model, batch)
    flat = history.to_dict()
    return {
        "kind": kind,
        "depth": depth,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "train_loss": flat["train_loss"][-1],
        "train_error": flat["train_error"][-1],
        "test_error": flat["test_error"][-1],
        "seconds": time.perf_counter() - started,
        "history": flat,
        "gradient_flow": {"initial": initial, "trained": trained},
    }


def _gradient_flow(model: CifarResNet, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """The ledger of one batch in training mode, a list a quantity."""
    model.train()
    found = flow.ledger(model, *batch)
    columns = ("grad_rms", "skip_norm", "branch_norm", "cosine", "forward_ratio")
    return {
        "loss": found.loss,
        "max_error": found.max_error,
        "block": [entry.name for entry in found.blocks],
        "skip_share": [entry.share for entry in found.blocks],
        **{name: [getattr(entry, name) for entry in found.blocks] for name in columns},
    }


def environment(device: str) -> dict[str, Any]:
    """What the numbers are computed with on ``device``."""
    from minires import __version__

    found = {
        "minires": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": kernels.get_num_threads(),
    }
    if device != "cpu":
        cupy = import_cupy()
        card = cupy.cuda.runtime.getDeviceProperties(gpu(device).id)
        found |= {"cupy": cupy.__version__, "gpu": card["name"].decode()}
    return found


def write_results(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write results.json, curves.png, gradient_flow.png and report.html, each whole or not at all.

    The numbers are written first, and stay if a figure cannot be drawn.  A number that is not
    finite is written as null, since JSON has none.

    Raises UsageError, in a sentence that names what was kept, if something cannot be drawn or
    written.
    """
    runs = results["runs"]
    numbers = strict_json(results)
    written = write_whole(folder, {"results.json": numbers.encode()})
    kept = f"the numbers are kept in {written[0]}"
    try:
        contents = {
            "curves.png": viz.figure_png(viz.training_curves(runs)),
            "gradient_flow.png": viz.figure_png(viz.gradient_flow(runs)),
            "report.html": viz.compare_report(results).encode(),  # tells diverged from not measured
        }
    except Exception as error:  # whatever it is, hours of training must not end in a traceback
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise UsageError(f"the figures could not be drawn ({reason}); {kept}.") from error
    try:
        return written + write_whole(folder, contents)
    except UsageError as error:
        raise UsageError(f"{str(error).removesuffix('.')}; {kept}.") from error
