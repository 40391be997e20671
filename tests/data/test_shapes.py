"""Synthetic shapes: what an image depends on, and that only the shape tells its class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minires.data import synthetic_shapes
from minires.data.shapes import KINDS
from minires.errors import UsageError


def grid(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the middles of a fine net over -1.2 to 1.2."""
    line = ((np.arange(points) + 0.5) / points * 2.4 - 1.2).astype(np.float32)
    x, y = np.broadcast_arrays(line, line[:, None])
    return x, y


@pytest.mark.parametrize("kind", KINDS)
def test_every_shape_has_the_area_of_the_others_and_room_to_turn(kind: str) -> None:
    x, y = grid(1000)
    inside = KINDS[kind](x, y) < 0
    assert inside.mean() * 2.4**2 == pytest.approx(1.2, rel=0.005)
    assert np.hypot(x, y)[inside].max() < 1.12
    # And so has what is painted of it, 8 pixels to a unit.
    painted = np.clip(0.5 - 8 * KINDS[kind](x, y), 0, 1)
    assert painted.mean() * 2.4**2 == pytest.approx(1.2, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_every_formula_is_a_distance_near_the_edge(kind: str) -> None:
    x, y = grid(600)
    distance, step = KINDS[kind](x, y), 2.4 / 600
    down, across = np.gradient(distance.astype(np.float64), step)
    slope = np.hypot(down, across)
    for axis in (0, 1):
        assert abs(np.diff(distance, axis=axis)).max() < 1.001 * step
    near = abs(distance) < 2 * step
    assert np.median(slope[near]) == pytest.approx(1, abs=0.01)
    # The edge of what is inside, found from its pixels, is where the distance is small.
    inside = distance < 0
    edge = (inside[1:] != inside[:-1])[:, 1:] | (inside[:, 1:] != inside[:, :-1])[1:]
    assert abs(distance[1:, 1:])[edge].max() < 1.01 * step


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_dtypes_are_those_of_a_data_set(channels: int) -> None:
    data = synthetic_shapes(30, size=12, channels=channels, classes=4)
    assert data.name == "shapes"
    assert data.classes == ("circle", "ring", "square", "frame")
    assert data.train_images.shape == (30, channels, 12, 12)
    assert data.test_images.shape == (6, channels, 12, 12)
    np.testing.assert_allclose(data.train_images.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(data.train_images.std(axis=(0, 2, 3)), 1, rtol=1e-4)
    assert len(synthetic_shapes(3, size=8, test=9).test_labels) == 9
    assert len(synthetic_shapes(3, size=8).test_labels) == 1


@pytest.mark.parametrize("difficulty", [0, 0.5, 1])
def test_normalised_or_not_the_pixels_are_the_same_numbers_from_0_to_1(difficulty: float) -> None:
    data, raw = (
        synthetic_shapes(20, size=8, difficulty=difficulty, normalize=normalize)
        for normalize in (True, False)
    )
    assert (raw.mean, raw.std) == ((0.0,) * 3, (1.0,) * 3)
    for scaled, pixels in ((data.train, raw.train), (data.test, raw.test)):
        assert pixels[0].min() >= 0
        assert pixels[0].max() <= 1
        back = scaled[0] * np.reshape(data.std, (3, 1, 1)) + np.reshape(data.mean, (3, 1, 1))
        np.testing.assert_allclose(back, pixels[0], atol=1e-6)
        np.testing.assert_array_equal(scaled[1], pixels[1])


def raw(n: int, **options: Any) -> list[np.ndarray]:
    data = synthetic_shapes(n, **({"size": 8, "normalize": False} | options))
    return [*data.train, *data.test]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    one, two, other = (raw(30, seed=seed) for seed in (4, 4, 5))
    assert [a.tobytes() for a in one] == [a.tobytes() for a in two]
    assert all(a.tobytes() != b.tobytes() for a, b in zip(one, other, strict=True))
    scalar = raw(30, seed=4, difficulty=np.float64(0.5))
    assert [a.tobytes() for a in scalar] == [a.tobytes() for a in one]


@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_fewer_images_are_the_beginning_of_more(difficulty: float) -> None:
    few = raw(37, test=5, difficulty=difficulty, classes=12)
    many = raw(600, test=300, difficulty=difficulty, classes=12)
    for a, b in zip(few, many, strict=True):
        np.testing.assert_array_equal(a, b[: len(a)])


def test_no_image_comes_twice_nor_in_both_parts() -> None:
    images, _, others, _ = raw(400, test=200)
    assert len({image.tobytes() for image in (*images, *others)}) == 600


@pytest.mark.parametrize("n", [7, 100, 103])
@pytest.mark.parametrize("classes", [2, 7, 10])
def test_classes_are_balanced_in_both_parts_and_in_no_fixed_order(n: int, classes: int) -> None:
    _, labels, _, others = raw(n, test=n, classes=classes)
    for part in (labels, others):
        counts = np.bincount(part, minlength=classes)
        assert counts.max() - counts.min() <= 1
    assert labels.tolist() != others.tolist() or n == 7
    rounds = [tuple(labels[k : k + classes]) for k in range(0, n - classes + 1, classes)]
    assert len(set(rounds)) > 1 or len(rounds) <= 3


def accuracy(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], steps: int = 200
) -> float:
    """Of a softmax regression in float64, on features (N, D) scaled to mean 0 and std 1."""
    (x, y), (u, v) = train, test
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, u = (np.c_[(f - mean) / std, np.ones(len(f))].astype(np.float64) for f in (x, u))
    wanted = np.eye(y.max() + 1)[y]
    weight = np.zeros((x.shape[1], wanted.shape[1]))
    for _ in range(steps):
        p = np.exp(x @ weight)
        p /= p.sum(axis=1, keepdims=True)
        weight -= 0.3 * x.T @ (p - wanted) / len(x)
    return float(((u @ weight).argmax(axis=1) == v).mean())


@pytest.mark.parametrize("difficulty", [0.0, 0.5])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_brightness_and_contrast_say_nothing_of_the_class(
    channels: int, difficulty: float
) -> None:
    data = synthetic_shapes(
        2000, channels=channels, classes=12, difficulty=difficulty, test=1000, normalize=False
    )
    train, test = (
        (np.c_[x.mean(axis=(2, 3)), x.std(axis=(2, 3))], y) for x, y in (data.train, data.test)
    )
    assert accuracy(train, test) < 0.14  # chance is 0.083


def outlines(images: np.ndarray) -> np.ndarray:
    """How far each pixel is from the commonest colour of its image, (N, S * S)."""
    middle = np.median(images, axis=(2, 3), keepdims=True)
    return abs(images - middle).sum(axis=1).reshape(len(images), -1)


def nearest_mean(difficulty: float) -> float:
    """Accuracy of the nearest mean outline of a class."""
    data = synthetic_shapes(600, size=16, difficulty=difficulty, test=200, normalize=False)
    x, u = outlines(data.train_images), outlines(data.test_images)
    means = np.stack([x[data.train_labels == k].mean(axis=0) for k in range(10)])
    found = ((u[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    return float((found == data.test_labels).mean())


def test_easy_shapes_are_told_apart_and_hard_ones_are_hard() -> None:
    easy, middle, hard = (nearest_mean(difficulty) for difficulty in (0, 0.5, 1))
    assert easy > 0.95
    assert easy > middle > hard
    assert 0.25 < middle < 0.7
    assert hard < 0.3


def test_easy_images_have_two_colours_and_edges_between() -> None:
    contrasts = []
    for image in synthetic_shapes(12, difficulty=0, classes=12, normalize=False).train_images:
        colours, counts = np.unique(image.reshape(3, -1), axis=1, return_counts=True)
        ground, shape = colours[:, np.argsort(counts)[[-1, -2]]].T
        assert counts.max() > 600
        contrasts.append(abs(ground - shape).max())
        # Each pixel is a mixture of the two, with one share in all channels.
        share = (image - ground[:, None, None]) / (shape - ground)[:, None, None]
        np.testing.assert_allclose(share, share[[0]].repeat(3, axis=0), atol=2e-3)
    assert 0.54 <= min(contrasts) < 0.7 < 0.75 < max(contrasts) <= 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be a whole number from 1 on, got 0"),
        ({"n": 2.5}, "n must be a whole number from 1 on, got 2.5"),
        ({"test": 0}, "test must be a whole number from 1 on, got 0"),
        ({"size": 7}, "size must be a whole number from 8 on, got 7"),
        ({"channels": 2}, "channels must be 1 or 3, got 2"),
        ({"classes": 1}, "classes must be a whole number from 2 to 12, got 1"),
        ({"classes": 13}, "classes must be a whole number from 2 to 12, got 13"),
        ({"classes": True}, "got True"),
        ({"difficulty": 1.1}, "difficulty must be from 0 to 1, got 1.1"),
        ({"difficulty": float("nan")}, "difficulty must be from 0 to 1, got nan"),
        ({"difficulty": "hard"}, "got 'hard'"),
        ({"seed": -1}, "synthetic_shapes: a seed must be a whole number"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        synthetic_shapes(**({"n": 10} | options))
