"""PadCropFlip: where the window may lie, how often it is mirrored, and what stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minires.data import DataLoader, PadCropFlip
from minires.errors import ShapeError, UsageError


def loop(images: np.ndarray, generator: np.random.Generator, pad: int, flip: bool) -> np.ndarray:
    """One image and one pixel at a time, with the same draws."""
    B, C, H, W = images.shape
    out = np.zeros_like(images)
    top, left = generator.integers(2 * pad + 1, size=(2, B))
    coins = generator.random(B) if flip else np.ones(B)
    for n, c, y, x in np.ndindex(B, C, H, W):
        column = W - 1 - x if coins[n] < 0.5 else x
        row_in, column_in = y + top[n] - pad, column + left[n] - pad
        if 0 <= row_in < H and 0 <= column_in < W:
            out[n, c, y, x] = images[n, c, row_in, column_in]
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize(
    ("pad", "shape"), [(4, (9, 3, 5, 7)), (1, (4, 1, 3, 2)), (0, (6, 2, 2, 3))]
)
def test_it_is_the_textbook_loop(pad: int, shape: tuple[int, ...], flip: bool, dtype: Any) -> None:
    images = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    before = images.copy()
    out = PadCropFlip(pad, flip)(images, np.random.default_rng(2))
    assert out.dtype == dtype
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, loop(images, np.random.default_rng(2), pad, flip))
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(out, images)


def test_every_place_is_as_likely_and_every_second_image_is_mirrored() -> None:
    images = np.zeros((18_000, 1, 5, 5), dtype=np.float32)
    images[:, :, 2, 2], images[:, :, 2, 3] = 1, 2  # the 2 lies to the right of the 1
    out = PadCropFlip(pad=1)(images, np.random.default_rng(3))[:, 0]
    ones, twos = (np.argwhere(out == value) for value in (1, 2))
    np.testing.assert_array_equal(ones[:, 0], np.arange(18_000))
    mirrored = twos[:, 2] < ones[:, 2]
    assert abs(mirrored.mean() - 0.5) < 0.02
    places, counts = np.unique(ones[:, 1:], axis=0, return_counts=True)
    assert places.tolist() == [[y, x] for y in (1, 2, 3) for x in (1, 2, 3)]
    assert abs(counts / 2000 - 1).max() < 0.15
    # The place tells nothing of the mirroring.
    assert abs(np.corrcoef(ones[:, 1], mirrored)[0, 1]) < 0.03


def test_it_depends_on_the_generator_alone() -> None:
    images = np.random.default_rng(1).standard_normal((8, 1, 4, 4))
    one, two, other = (PadCropFlip()(images, np.random.default_rng(s)) for s in (5, 5, 6))
    assert one.tobytes() == two.tobytes() != other.tobytes()


def test_in_a_loader_every_batch_can_be_made_again_by_itself() -> None:
    images = np.random.default_rng(1).standard_normal((10, 1, 4, 4)).astype(np.float32)
    loader = DataLoader((images, np.arange(10)), 4, seed=7, augment=PadCropFlip(2))
    seed = int(np.random.default_rng(7).integers(2**63))
    batches = [x.data for x, _ in loader]
    again = PadCropFlip(2)(images[4:8], np.random.default_rng((seed, 1)))
    np.testing.assert_array_equal(batches[1], again)


def test_repr_tells_the_settings() -> None:
    assert repr(PadCropFlip()) == "PadCropFlip(pad=4, flip=True)"
    assert repr(PadCropFlip(2, flip=False)) == "PadCropFlip(pad=2, flip=False)"


@pytest.mark.parametrize("pad", [-1, 1.0, True, "4"])
def test_a_pad_that_is_no_whole_number_is_refused(pad: Any) -> None:
    with pytest.raises(UsageError, match=f"pad must be a whole number from 0 on, got {pad!r}"):
        PadCropFlip(pad)


def test_images_without_a_batch_are_refused_with_their_shape() -> None:
    with pytest.raises(ShapeError, match=r"\(B, C, H, W\)\.\n  images: \(3, 4, 4\) float64"):
        PadCropFlip()(np.zeros((3, 4, 4)), np.random.default_rng(0))
