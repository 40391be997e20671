"""Shapes drawn by formula: a data set of any size and difficulty that needs no file.

A shape is a signed distance: a function of the plane that is negative inside, positive outside, and
changes by one for each step away from the edge.  A pixel is covered by ``1/2 - distance``, cut to 0
.. 1, which gives edges without steps.  Only additions, products, quotients, roots and comparisons
are used, which are exactly rounded: the images are the same however many are drawn at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minires.data.dataset import Dataset, channel_statistics
from minires.data.dataset import normalize as normalize_images
from minires.device import Array
from minires.errors import UsageError
from minires.rng import check_seed

__all__ = ["KINDS", "synthetic_shapes"]

_AT_ONCE = 256  # images: large enough for NumPy, small enough for the processor's cache
_STROKES = 6
_FARTHEST = 1.12  # no shape reaches farther from its centre than this


def _disc(x: Array, y: Array, radius: float = 0.618) -> Array:
    return np.sqrt(x * x + y * y) - radius


def _box(x: Array, y: Array, width: float, height: float) -> Array:
    """A rectangle from -width to width and -height to height."""
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _ring(x: Array, y: Array) -> Array:
    return np.abs(_disc(x, y, 0.7)) - 0.1364


def _square(x: Array, y: Array) -> Array:
    return _box(x, y, 0.5477, 0.5477)


def _frame(x: Array, y: Array) -> Array:
    return np.abs(_box(x, y, 0.62, 0.62)) - 0.121


def _within(x: Array, y: Array, sides: int, reach: float) -> Array:
    """The distances (sides, ...) to the lines of a regular polygon, ``reach`` from its centre."""
    angles = [math.pi * (0.5 + 2 * k / sides) for k in range(sides)]
    return np.stack([x * math.cos(a) + y * math.sin(a) - reach for a in angles])


def _triangle(x: Array, y: Array) -> Array:
    return _within(x, y, sides=3, reach=0.4806).max(axis=0)


def _star(x: Array, y: Array) -> Array:
    """Five points: what is inside of at least four of the five lines of a pentagon."""
    return np.partition(_within(x, y, sides=5, reach=0.3195), 3, axis=0)[3]


def _plus(x: Array, y: Array) -> Array:
    return np.minimum(_box(x, y, 0.85, 0.2), _box(x, y, 0.2, 0.85))


def _cross(x: Array, y: Array) -> Array:
    half = math.sqrt(0.5)
    return _plus((x + y) * half, (x - y) * half)


def _stripes(x: Array, y: Array) -> Array:
    nearest = 0.55 * np.clip(np.round(y / 0.55), -1, 1)
    return _box(x, y - nearest, 0.8, 0.125)


def _checkerboard(x: Array, y: Array) -> Array:
    """Four by four fields, of which every second one is filled."""
    field = 0.3873
    # Waves with an edge at every whole field: the distances to every second column and row.  They
    # stop in the outermost fields, where the box has the last word.
    columns, rows = (
        np.abs(np.mod(np.clip(v, -1.5 * field, 1.5 * field) + field / 2, 2 * field) - field)
        - field / 2
        for v in (x, y)
    )
    either = np.maximum(np.minimum(columns, rows), -np.maximum(columns, rows))
    return np.maximum(either, _box(x, y, 2 * field, 2 * field))


def _crescent(x: Array, y: Array) -> Array:
    return np.maximum(_disc(x, y, 0.85), -_disc(x - 0.4, y, 0.6263))


def _dots(x: Array, y: Array) -> Array:
    return _disc(np.abs(x) - 0.5, np.abs(y) - 0.5, 0.309)


# Each has the area 1.2 (a test measures it), so that neither the mean nor the spread of the pixels
# tells which it is; and no two are alike when turned by a quarter and 20 degrees, or mirrored.
KINDS: dict[str, Callable[[Array, Array], Array]] = {
    "circle": _disc,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "plus": _plus,
    "cross": _cross,
    "star": _star,
    "stripes": _stripes,
    "checkerboard": _checkerboard,
    "crescent": _crescent,
    "dots": _dots,
}


def synthetic_shapes(
    n: int,
    size: int = 32,
    channels: int = 3,
    classes: int = 10,
    difficulty: float = 0.5,
    *,
    test: int | None = None,
    seed: int = 0,
    normalize: bool = True,
) -> Dataset:
    """``n`` training images of one shape each, and ``test`` others, as a :class:`Dataset`.

    Where the shape is, how large, how it is turned, and the colours of shape and background are
    drawn for each image and say nothing of its class; all shapes have the same area, so the mean
    and the spread of the pixels say nothing either.

    Args:
        n, test: numbers of images; ``test`` is n // 5 (at least 1) if None.
        size: rows and columns of pixels, at least 8.
        channels: 1 or 3.
        classes: how many kinds of shape, the first of KINDS: 2 to 12.
        difficulty: from 0 (large and upright, high contrast, nothing else) to 1: smaller, anywhere,
            tilted by up to 20 degrees and turned by quarters, of low contrast, over up to six
            strokes and under noise.
        seed: image i of a part, before the normalisation, and its label depend on the seed and i
            alone, so fewer images are the beginning of more.  Labels come in rounds of all classes,
            each in an order of its own, so the counts of the classes differ by 1 at most.
        normalize: ``(pixels - mean) / std`` with those of the training part if true, else pixels
            between 0 and 1 (and the mean and std of the data set are 0 and 1).

    Raises UsageError for an argument outside of what is said above.

    >>> synthetic_shapes(20, size=16, channels=1, normalize=False)
    Dataset('shapes': 20 train + 4 test images of (1, 16, 16), 10 classes, mean (0), std (1))
    """
    n = _whole("n", n, 1)
    test = max(1, n // 5) if test is None else _whole("test", test, 1)
    size = _whole("size", size, 8)
    classes = _whole("classes", classes, 2, len(KINDS))
    if channels not in (1, 3):
        raise UsageError(f"synthetic_shapes: channels must be 1 or 3, got {channels!r}.")
    if not isinstance(difficulty, int | float) or not 0 <= difficulty <= 1:
        raise UsageError(f"synthetic_shapes: difficulty must be from 0 to 1, got {difficulty!r}.")
    difficulty = float(difficulty)  # a NumPy number would make the images float64
    seed = check_seed(seed, "synthetic_shapes")
    parts: dict[str, Any] = {}
    for stream, (part, count) in enumerate((("train", n), ("test", test))):
        labels = _labels((seed, stream, 0), count, classes)
        images = np.empty((count, channels, size, size), dtype=np.float32)
        for start in range(0, count, _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            numbers = range(count)[here]
            images[here] = _draw(
                (seed, stream, 1), numbers, labels[here], images.shape[1:], difficulty
            )
        parts |= {f"{part}_images": images, f"{part}_labels": labels}
    mean, std = (0.0,) * channels, (1.0,) * channels
    if normalize:
        mean, std = channel_statistics(parts["train_images"])
        for name in ("train_images", "test_images"):
            parts[name] = normalize_images(parts[name], mean, std)
    return Dataset(name="shapes", **parts, classes=tuple(KINDS)[:classes], mean=mean, std=std)


def _whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value`` as an int; UsageError unless it is a whole number within these bounds."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        end = "on" if most is None else f"to {most}"
        raise UsageError(
            f"synthetic_shapes: {name} must be a whole number from {least} {end}, got {value!r}."
        )
    return int(value)


def _labels(seed: tuple[int, ...], n: int, classes: int) -> NDArray[np.int64]:
    """Round after round of all classes (n,)."""
    rounds = [
        np.random.default_rng((*seed, k)).permutation(classes) for k in range(-(-n // classes))
    ]
    return np.concatenate(rounds)[:n].astype(np.int64)


def _draw(
    seed: tuple[int, ...],
    numbers: range,
    labels: NDArray[np.int64],
    shape: tuple[int, ...],
    difficulty: float,
) -> NDArray[np.float32]:
    """The images (B, C, S, S) of these numbers, pixels between 0 and 1."""
    C, S, _ = shape
    generators = [np.random.default_rng((*seed, i)) for i in numbers]
    pose, colours, strokes = (  # uniform, 0 to 1
        np.stack([g.random(wanted, dtype=np.float32) for g in generators])
        for wanted in (7, (2, C), (_STROKES, 6 + C))
    )
    # Half a contrast to each side of the middle: no colour leaves 0 .. 1.
    contrast = ((0.9 - 0.4 * difficulty) * (0.6 + 0.4 * pose[:, 6]))[:, None]  # (B, 1)
    middle = contrast / 2 + (1 - contrast) * colours[:, 0]  # (B, C)
    away = 2 * colours[:, 1] - 1
    away *= contrast / 2 / np.abs(away).max(axis=1, keepdims=True)
    images = np.empty((len(labels), *shape), dtype=np.float32)
    images[:] = (middle - away)[:, :, None, None]
    for k in range(_STROKES):
        cover = _covered(_stroke(strokes[:, k, 1:6], S))
        cover[strokes[:, k, 0] >= difficulty] = 0
        _paint(images, cover, strokes[:, k, 6:])
    _paint(images, _covered(_shape(pose, labels, S, difficulty)), middle + away)
    if difficulty:
        noise = np.stack([g.standard_normal(shape, dtype=np.float32) for g in generators])
        images += 0.16 * difficulty * noise
    return np.clip(images, 0, 1, out=images)


def _shape(pose: Array, labels: NDArray[np.int64], S: int, difficulty: float) -> Array:
    """Signed distances (B, S, S), in pixels, to the shape of each label; pose is (B, 7)."""
    scale = S * (0.38 - (0.06 + 0.12 * difficulty) * pose[:, 0])  # pixels to a unit of the shape
    room = (S / 2 - _FARTHEST * scale)[:, None] * (0.2 + 0.8 * difficulty)
    centre = S / 2 + room * (2 * pose[:, 1:3] - 1)  # (B, 2)
    # A tilt by the half angle whose tangent is t; 0.176 is that of 10 degrees.
    t = 0.176 * difficulty * (2 * pose[:, 3] - 1)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    quarters = np.where(pose[:, 4] < difficulty, np.floor(4 * pose[:, 5]), 0)
    for turn in (1, 2, 3):
        cos, sin = np.where(quarters >= turn, [-sin, cos], [cos, sin])
    down, across = _pixels(S)
    dx, dy = across - centre[:, 0, None, None], down - centre[:, 1, None, None]
    cos, sin, scale = (v[:, None, None] for v in (cos, sin, scale))
    x, y = (cos * dx + sin * dy) / scale, (cos * dy - sin * dx) / scale  # (B, S, S)
    out = np.empty_like(x)
    for label, distance in enumerate(KINDS.values()):
        chosen = labels == label
        if chosen.any():
            out[chosen] = distance(x[chosen], y[chosen])
    return out * scale


def _stroke(draws: Array, S: int) -> Array:
    """Signed distances (B, S, S) to a line from one place to another; draws are (B, 5)."""
    x0, y0, x1, y1 = (S * draws[:, :4]).T[:, :, None, None]
    half_width = S / 32 * (0.4 + 0.6 * draws[:, 4, None, None])
    down, across = _pixels(S)
    dx, dy, along_x, along_y = across - x0, down - y0, x1 - x0, y1 - y0
    length = along_x * along_x + along_y * along_y
    share = np.clip((dx * along_x + dy * along_y) / (length + 1e-6), 0, 1)
    return _disc(dx - share * along_x, dy - share * along_y, 0) - half_width


def _pixels(S: int) -> tuple[Array, Array]:
    """The middles of the pixels: rows (S, 1) and columns (1, S)."""
    middles = np.arange(S, dtype=np.float32) + np.float32(0.5)
    return middles[:, None], middles[None, :]


def _covered(distance: Array) -> Array:
    """How much of each pixel is inside, from the signed distance of its middle."""
    return np.clip(0.5 - distance, 0, 1)


def _paint(images: NDArray[np.float32], cover: Array, colours: Array) -> None:
    """Lay ``colours`` (B, C) over images (B, C, S, S) where ``cover`` (B, S, S) is 1."""
    images += cover[:, None] * (colours[:, :, None, None] - images)
