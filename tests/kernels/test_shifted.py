"""Products with shifted views: where their sum may be written, and what memory they ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minires.kernels import reference, shifted
from minires.kernels.shifted import Reading, correlate, correlate_with, matrices

N, G, C, M, H, W = 2, 2, 3, 4, 5, 6
APART, TOGETHER = 1e9, 0.0  # what moving a number must cost for the images of a chunk to lie so


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


X = drawn(N, G, C, H, W)

# Memory, and the output (N, G, M, H, W) in it.
LAYOUTS: dict[str, tuple[tuple[int, ...], Any, tuple[int, ...]]] = {
    "a share of the channels": ((N, G, 2 * M, H, W), np.s_[:, :, M:], (0, 1, 2, 3, 4)),
    "every second row": ((N, G, M, 2 * H, W), np.s_[..., ::2, :], (0, 1, 2, 3, 4)),
    "every second column": ((N, G, M, H, 2 * W), np.s_[..., 1::2], (0, 1, 2, 3, 4)),
    "a corner of larger images": ((N, G, M, H + 1, W + 1), np.s_[..., 1:, 1:], (0, 1, 2, 3, 4)),
    "backwards": ((N, G, M, H, W), np.s_[::-1, :, ::-1, ::-1, ::-1], (0, 1, 2, 3, 4)),
    "columns before rows": ((N, G, M, W, H), np.s_[:], (0, 1, 2, 4, 3)),
    "channels last": ((N, H, W, G, M), np.s_[:], (0, 3, 4, 1, 2)),
}


def by_the_reference(x: np.ndarray, weight: np.ndarray, **how: Any) -> np.ndarray:
    """(N, G, M, OH, OW), one group after the other."""
    groups = [reference.conv2d(x[:, g], weight[g], **how) for g in range(x.shape[1])]
    return np.stack(groups, axis=1)


@pytest.mark.parametrize("move", [APART, TOGETHER], ids=["images apart", "images together"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_output_is_written_whole_however_it_lies_and_nothing_beside_it(
    layout: str, move: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shifted, "MOVE", move)
    shape, part, axes = LAYOUTS[layout]
    memory = np.full(shape, 99.0)
    out = memory[part].transpose(axes)
    weight = drawn(G, M, C, 3, 3)
    correlate(X, matrices(weight), Reading((-1, 0, 1), (-1, 0, 1), 1, 1), out)
    np.testing.assert_allclose(out, by_the_reference(X, weight, padding=1), atol=1e-12)
    out[...] = 99.0
    assert (memory == 99.0).all()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What memory was asked for, by its names."""
    names: list[str] = []
    scratch = shifted.scratch

    def recorded(like: Any, name: str, *how: Any) -> Any:
        names.append(name)
        return scratch(like, name, *how)

    monkeypatch.setattr(shifted, "scratch", recorded)
    monkeypatch.setattr(shifted, "MOVE", APART)
    return names


# Kernel, stride and padding; where that reads; and the memory that the product of it asks for.
WORK: dict[str, tuple[tuple[int, int], dict[str, Any], Reading, list[str]]] = {
    "1x1": ((1, 1), {}, Reading((0,), (0,), 1, 1), []),
    "1x1 every second row": ((1, 1), {"stride": (2, 1)}, Reading((0,), (0,), 2, 1), ["unfolded"]),
    "1x1 every second column": (
        *((1, 1), {"stride": (1, 2)}),
        *(Reading((0,), (0,), 1, 2), ["unfolded"]),
    ),
    "1x1 padded": ((1, 1), {"padding": (1, 0)}, Reading((-1,), (0,), 1, 1), ["unfolded"]),
    "1x3": ((1, 3), {"padding": (0, 1)}, Reading((0,), (-1, 0, 1), 1, 1), ["unfolded"]),
    "3x3": (
        *((3, 3), {"padding": 1}),
        *(Reading((-1, 0, 1), (-1, 0, 1), 1, 1), ["unfolded", "product"]),
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_the_first_product_lands_in_the_output_and_only_more_of_them_take_memory(
    name: str, asked: list[str]
) -> None:
    kernel, how, reading, wanted = WORK[name]
    weight = drawn(G, M, C, *kernel)
    expected = by_the_reference(X, weight, **how)
    out = np.empty_like(expected)
    correlate(X, matrices(weight), reading, out)
    np.testing.assert_allclose(out, expected, atol=1e-12)
    assert sorted(asked) == sorted(wanted)


def test_a_long_sum_is_cut_and_its_second_part_takes_memory(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = drawn(G, M, C, 1, 1)
    expected, out = by_the_reference(X, weight), np.empty((N, G, M, H, W))
    for longest, wanted in ((C, []), (C - 1, ["product"])):
        monkeypatch.setattr(shifted, "LONGEST_SUM", longest)
        correlate(X, matrices(weight), Reading((0,), (0,), 1, 1), out)
        np.testing.assert_allclose(out, expected, atol=1e-12)
        assert asked == wanted


@pytest.mark.parametrize("length", [1, 127, 128, 129, 256, 257, 1000])
def test_no_sum_has_more_than_128_terms_and_there_are_as_few_and_as_even_as_can_be(
    length: int,
) -> None:
    sums = shifted.short_sums(length)
    assert [i for terms in sums for i in range(terms.start, terms.stop)] == list(range(length))
    sizes = [terms.stop - terms.start for terms in sums]
    assert len(sums) == int(np.ceil(length / 128))
    assert max(sizes) <= 128
    assert max(sizes) - min(sizes) <= 1


def test_whether_images_lie_together_is_asked_with_the_sizes_of_one_image_and_of_all_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(shifted, "images_together", lambda *sizes: bool(told.append(sizes)))
    x, g, weight = drawn(1, G, C, H, W), drawn(1, G, M, H, W), drawn(G, M, C, 3, 3)
    reading = Reading((-1, 0, 1), (-1, 0, 1), 1, 1)
    correlate(x, matrices(weight), reading, np.empty_like(g))
    correlate_with(g, x, reading)
    numbers = G * C * H * W + G * M * H * W  # of a single image, which lies both ways
    assert told == [(-numbers, 3 * G, G * M * C * 9)] * 2
    told.clear()
    x, g = drawn(2, G, C, H, W), drawn(2, G, M, H, W)
    correlate(x, matrices(weight), reading, g)
    correlate_with(g.transpose(1, 2, 3, 4, 0).copy().transpose(4, 0, 1, 2, 3), x, reading)
    assert told == [
        (moved, 3 * G, G * M * C * 9) for moved in (numbers, G * C * H * W - G * M * H * W)
    ]


def test_an_output_in_pieces_and_images_together_take_memory_for_the_sum(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, reading = drawn(G, M, C, 1, 1), Reading((0,), (0,), 1, 1)
    correlate(X, matrices(weight), reading, np.empty((N, G, M, H, 2 * W))[..., ::2])
    assert asked == ["total"]
    asked.clear()
    monkeypatch.setattr(shifted, "MOVE", TOGETHER)
    correlate(X, matrices(weight), reading, np.empty((N, G, M, H, W)))
    assert sorted(asked) == ["source", "total"]


def test_the_gradient_by_a_1x1_weight_multiplies_what_lies_there_and_turns_a_copy_where_told(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    g, reading = drawn(N, G, M, H, W), Reading((0,), (0,), 1, 1)
    expected = np.einsum("ngmhw,ngchw->gcm", g, X)[None]
    for name, value, wanted in (
        ("MOVE", APART, []),
        ("TURN_FROM", -1, ["turned"]),
        ("TURN_TO", 0, []),
        ("MOVE", TOGETHER, ["side by side", "source"]),
    ):
        monkeypatch.setattr(shifted, name, value)
        np.testing.assert_allclose(correlate_with(g, X, reading), expected, atol=1e-12)
        assert sorted(asked) == wanted
        asked.clear()


@pytest.mark.parametrize(
    ("channels", "turned"), [(16, False), (32, True), (64, True), (256, False)]
)
def test_the_gradient_is_turned_where_that_was_measured_to_be_faster(
    channels: int, turned: bool, asked: list[str]
) -> None:
    """For layers of as many filters as channels, with 3 columns of the kernel."""
    g = drawn(1, 1, channels, 1, 4)
    correlate_with(g, g, Reading((0,), (-1, 0, 1), 1, 1))
    assert ("turned" in asked) == turned
