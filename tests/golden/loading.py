"""Reads the stored goldens: what another framework computed, as plain NumPy arrays.

    for case in load_cases("conv"):
        leaves = {}

        def leaf(path, array):
            leaves[path] = mr.tensor(array, requires_grad=path in case.grads)
            return leaves[path]

        args, kwargs = case.call_with(leaf)
        out = FUNCTIONS[case.op](*args, **kwargs)     # compare with case.outputs[0]
        out.backward(mr.tensor(case.cotangents[0]))   # compare leaves[path].grad, case.grads[path]

Nothing here needs the other framework, or minires.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "FOLDER",
    "OP_FILES",
    "Case",
    "NetworkCase",
    "OptimizerCase",
    "SchedulerCase",
    "load_cases",
    "load_manifest",
    "load_networks",
    "load_optimizers",
    "load_schedulers",
]

FOLDER = Path(__file__).parent
OP_FILES = ("elementwise", "reduce", "shape", "matmul", "conv", "pool", "norm", "loss")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """One call of one operation, by PyTorch's name for it.

    Attributes:
        op: "add" (torch.add), "Tensor.sum", "F.conv2d", ...
        name: unique, "<op> <what is special>"; good as a test id.
        args, kwargs: as PyTorch was called, with arrays where it was given tensors.
        outputs: the results; more than one where PyTorch returns a tuple (values, indices).
        cotangents: by number of the output, for those that can be differentiated.
        grads: the gradients, by path of the input: "0" is args[0], "0.1" is args[0][1],
            "weight" is kwargs["weight"].  Arrays that have none here need no gradient.
        changed: inputs that the call changes in place, as they are afterwards, by path.
        directions, second: by path, where there is a second gradient: the gradient, by each of the
            inputs that have one, of the sum of directions * grads.
    """

    op: str
    name: str
    outputs: tuple[np.ndarray, ...]
    cotangents: dict[int, np.ndarray]
    grads: Arrays
    changed: Arrays
    directions: Arrays
    second: Arrays
    coded_args: list[Any] = field(repr=False)
    coded_kwargs: dict[str, Any] = field(repr=False)
    stored: Stored = field(repr=False)

    @property
    def single(self) -> bool:
        """Whether PyTorch computed it in float32."""
        return any(output.dtype == np.float32 for output in self.outputs)

    @property
    def args(self) -> tuple[Any, ...]:
        return self.call_with(lambda _, array: array)[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        return self.call_with(lambda _, array: array)[1]

    def call_with(
        self, leaf: Callable[[str, np.ndarray], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """args and kwargs with each array (a fresh copy) replaced by ``leaf(path, array)``."""
        args = tuple(self._decode(code, leaf) for code in self.coded_args)
        return args, {key: self._decode(code, leaf) for key, code in self.coded_kwargs.items()}

    def _decode(self, code: dict[str, Any], leaf: Callable[[str, np.ndarray], Any]) -> Any:
        match code:
            case {"array": place, "path": path}:
                return leaf(path, self.stored.array(place))
            case {"list": items}:
                return [self._decode(item, leaf) for item in items]
            case {"tuple": items}:
                return tuple(self._decode(item, leaf) for item in items)
            case {"slice": [start, stop, step]}:
                return slice(start, stop, step)
            case {"ellipsis": True}:
                return Ellipsis
            case {"value": value}:
                return value
        raise ValueError(f"{self.name}: cannot decode {code}")


@dataclass(frozen=True, eq=False)
class NetworkCase:
    """A whole network in training mode, with torchvision's parameter names.

    Attributes:
        name: which network, such as "cifar_resnet8_A".
        config: depth, width, block, shortcut, preactivation, num_classes.
        state: parameters and buffers at the start.
        input, labels: one batch; images (N, C, H, W) float64 and int64 labels.
        logits, loss: of the first forward pass; the loss is the mean cross-entropy.
        grads: gradient of that loss by each parameter; input_grad by the images.
        buffers: the buffers after that forward pass.
        eval_logits: in evaluation mode, with those buffers and the parameters at the start.
        optimizer: keyword arguments of SGD.
        losses: the loss at the start and after 1, 2, ... steps on the same batch, all in
            training mode.
    """

    name: str
    config: dict[str, Any]
    state: Arrays
    input: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    loss: float
    grads: Arrays
    input_grad: np.ndarray
    buffers: Arrays
    eval_logits: np.ndarray
    optimizer: dict[str, Any]
    losses: np.ndarray


@dataclass(frozen=True, eq=False)
class OptimizerCase:
    """Several steps of an optimiser on one vector, with gradients given beforehand.

    Attributes:
        op: "SGD", "Adam" or "AdamW"; kwargs: its settings, lr among them.
        start: the parameter (n,); grads: the gradient of each step (steps, n).
        values: the parameter after each step (steps, n).
    """

    op: str
    name: str
    kwargs: dict[str, Any]
    start: np.ndarray
    grads: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class SchedulerCase:
    """Learning rates of a schedule: lrs[k] is the one in use in epoch k, before its k+1st step."""

    op: str
    name: str
    base_lr: float
    kwargs: dict[str, Any]
    lrs: np.ndarray


class Stored:
    """One file: its manifest, and its arrays by where they lie."""

    def __init__(self, file: str) -> None:
        with np.load(FOLDER / f"{file}.npz", allow_pickle=False) as archive:
            self.buffers = {key: archive[key] for key in archive.files}
        self.manifest: dict[str, Any] = json.loads(str(self.buffers.pop("manifest")))

    def array(self, place: dict[str, Any]) -> np.ndarray:
        """A fresh copy of the array at this place."""
        start, shape = place["start"], place["shape"]
        flat = self.buffers[place["dtype"]][start : start + math.prod(shape)]
        return flat.reshape(shape).copy()

    def arrays(self, places: dict[str, dict[str, Any]]) -> Arrays:
        """The arrays at these places, by name."""
        return {name: self.array(place) for name, place in places.items()}

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The coded entries, all or those of one kind."""
        return [e for e in self.manifest["entries"] if kind is None or e["kind"] == kind]


def load_cases(file: str) -> list[Case]:
    """The cases of one of OP_FILES."""
    stored = Stored(file)
    return [
        Case(
            op=entry["op"],
            name=entry["name"],
            outputs=tuple(stored.array(place) for place in entry["outputs"]),
            cotangents={int(i): a for i, a in stored.arrays(entry["cotangents"]).items()},
            grads=stored.arrays(entry["grads"]),
            changed=stored.arrays(entry["changed"]),
            directions=stored.arrays(entry["directions"]),
            second=stored.arrays(entry["second"]),
            coded_args=entry["args"],
            coded_kwargs=entry["kwargs"],
            stored=stored,
        )
        for entry in stored.entries()
    ]


def load_networks() -> dict[str, NetworkCase]:
    """The network cases, by name."""
    stored = Stored("networks")
    groups = ("state", "grads", "buffers")
    singles = ("input", "labels", "logits", "input_grad", "eval_logits", "losses")
    return {
        entry["name"]: NetworkCase(
            name=entry["name"],
            config=entry["config"],
            optimizer=entry["optimizer"],
            loss=float(stored.array(entry["losses"])[0]),
            **{group: stored.arrays(entry[group]) for group in groups},
            **{single: stored.array(entry[single]) for single in singles},
        )
        for entry in stored.entries()
    }


def load_optimizers() -> list[OptimizerCase]:
    """The optimiser cases."""
    stored = Stored("optim")
    return [
        OptimizerCase(
            op=entry["op"],
            name=entry["name"],
            kwargs=entry["kwargs"],
            start=stored.array(entry["start"]),
            grads=stored.array(entry["grads"]),
            values=stored.array(entry["values"]),
        )
        for entry in stored.entries("optimizer")
    ]


def load_schedulers() -> list[SchedulerCase]:
    """The learning-rate schedules."""
    stored = Stored("optim")
    return [
        SchedulerCase(
            op=entry["op"],
            name=entry["name"],
            base_lr=entry["base_lr"],
            kwargs=entry["kwargs"],
            lrs=stored.array(entry["lrs"]),
        )
        for entry in stored.entries("scheduler")
    ]


def load_manifest(file: str) -> dict[str, Any]:
    """Theme, versions of the frameworks, and the coded entries of one file."""
    return Stored(file).manifest
