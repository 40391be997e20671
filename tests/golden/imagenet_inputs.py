"""What both frameworks are given on the networks of the ImageNet family, and what is kept of it.

ResNet-152 has 60 million weights.  So neither they nor their gradients are stored: weights come
from a formula that needs nothing but names and shapes, and of each array that a framework answers a
:func:`digest` is kept.  Nothing here needs another framework, or minires.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = [
    "CLASSES",
    "DEPTHS",
    "FILE",
    "MODES",
    "SGD",
    "STEPS",
    "Run",
    "digest",
    "digest_errors",
    "digests",
    "errors",
    "images",
    "labels",
    "state",
]

FILE = "imagenet/torchvision"
MODES = ("evaluation", "training")
STEPS = 3
SGD = {"lr": 0.001, "momentum": 0.9, "weight_decay": 1e-4}
CLASSES = 1000
# How many images, and how large: the last stage of 64x64 has 2x2 pixels, of 32x32 a single one.
DEPTHS = {18: (4, 64), 34: (4, 64), 50: (4, 64), 101: (8, 32), 152: (8, 32)}
WHOLE, SAMPLE = 64, 8  # arrays up to this size are kept whole; of others so many values
# Some gradients are zero but for rounding: batch norm takes off again what a shift before it adds.
# So none is held to less than this share of the largest gradient of all.
FLOOR = 1e-3

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Run:
    """One batch through a network in one mode and one precision, and then three steps of SGD.

    Attributes:
        outputs: the logits (N, classes).
        grads: of the mean cross-entropy, by each parameter; "input" is that by the images.
        buffers: running statistics after that pass.
        loss: on the same batch after the steps, (1,).
        outputs_after: the logits then.
    """

    outputs: np.ndarray
    grads: Arrays
    buffers: Arrays
    loss: np.ndarray
    outputs_after: np.ndarray

    def arrays(self) -> Arrays:
        """All of it, by name."""
        named = {"outputs": self.outputs, "loss": self.loss, "outputs after": self.outputs_after}
        grads = {f"gradient by {name}": array for name, array in self.grads.items()}
        return named | grads | {f"buffer {name}": array for name, array in self.buffers.items()}


def even(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers between -1 and 1, always the same for one name; each is one in float32 too.

    From the raw stream of the bit generator, which NumPy promises never to change.
    """
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    return ((raw >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - 1).reshape(shape)


def state(shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Parameters and buffers in float32, by torchvision's names.

    Weights have the variance of He's rule, 2 / fan_in.  Batch norm is away from 1 and 0, so that no
    mix-up can hide.  The last scale of a branch is small, so that the signal does not grow with
    depth in evaluation mode.  Shifts keep most of what a ReLU is given away from zero: where a
    number is all but zero, rounding decides whether the ReLU is open, and float32 errs, by chance,
    by the whole gradient behind it.
    """
    last = "bn3" if any("bn3" in name for name in shapes) else "bn2"
    return {name: _entry(name, shape, last) for name, shape in shapes.items()}


def _entry(name: str, shape: tuple[int, ...], last: str) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    drawn = even(name, shape)
    ends = name.startswith("layer") and (last in name or "downsample" in name)
    if len(shape) > 1:
        scale = 0.1 if name.startswith("fc") else 1.0
        return drawn * np.float32(scale * (6 / math.prod(shape[1:])) ** 0.5)
    if name.endswith("running_var"):
        return 1 + drawn / 2
    if name.endswith("weight"):
        return (1 + drawn / 2) * np.float32(0.2 if ends and "downsample" not in name else 0.5)
    if name.endswith("running_mean") or name.startswith("fc"):
        return drawn / 5
    if ends:
        return drawn / 25 + np.where(drawn < -0.75, np.float32(-0.1), np.float32(0.3))
    return (drawn + np.sign(drawn)) * np.float32(0.3)


def images(depth: int) -> np.ndarray:
    """One batch (N, 3, H, W) in float32."""
    count, size = DEPTHS[depth]
    return even(f"images {depth} 0", (count, 3, size, size)) * np.float32(3**0.5)


def labels(depth: int) -> np.ndarray:
    """Its classes (N,)."""
    count = DEPTHS[depth][0]
    return ((even(f"labels {depth}", (count,)) + 1) * CLASSES / 2).astype(np.int64)


def digest(name: str, array: np.ndarray) -> np.ndarray:
    """Norm, largest absolute value, projection, and values of ``array``: all, or evenly spaced.

    The projection is the inner product with a random direction of variance 1 that is drawn by the
    name, so that it is about as large as the norm, and so is a change of both.
    """
    flat = array.astype(np.float64).ravel()
    projection = flat @ (even(f"direction {name}", flat.shape).astype(np.float64) * 3**0.5)
    values = flat if flat.size <= WHOLE else flat[:: flat.size // SAMPLE][:SAMPLE]
    return np.array([np.linalg.norm(flat), np.abs(flat).max(), projection, *values])


def digests(run: Run) -> Arrays:
    """The digest of each array of a run."""
    return {name: digest(name, array) for name, array in run.arrays().items()}


def digest_errors(actual: Arrays, expected: Arrays) -> dict[str, float]:
    """The largest difference of each digest, as a share of what it belongs to.

    Norm and projection are held against the norm, values against the largest absolute value.
    """
    floor = FLOOR * max(d[1] for name, d in expected.items() if name.startswith("gradient"))
    found = {}
    for name, digest in expected.items():
        least = floor if name.startswith("gradient") else np.finfo(float).tiny
        norm, largest = np.maximum(digest[:2], least)
        sizes = np.array([norm, largest, norm] + [largest] * (len(digest) - 3))
        found[name] = float((np.abs(actual[name] - digest) / sizes).max())
    return found


def errors(actual: Run, exact: Run) -> dict[str, float]:
    """Largest error of outputs, gradients and loss, each as a share of the largest exact value.

    Of the gradients it is the worst parameter that counts, each held against its own largest value.
    """
    floor = FLOOR * max(float(np.abs(grad).max()) for grad in exact.grads.values())
    return {
        "outputs": error(actual.outputs, exact.outputs),
        "gradients": max(error(actual.grads[n], grad, floor) for n, grad in exact.grads.items()),
        "loss": error(actual.loss, exact.loss),
    }


def error(actual: np.ndarray, exact: np.ndarray, floor: float = 0.0) -> float:
    """max |actual - exact| / max |exact|."""
    return float(np.abs(actual - exact).max() / max(float(np.abs(exact).max()), floor))
