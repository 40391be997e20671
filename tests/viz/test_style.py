from __future__ import annotations

from itertools import pairwise

import pytest

from minires.viz.style import BRANCH_COLOR, SKIP_COLOR, depth_colors, kind_style

# Machado, Oliveira and Fernandes 2009, full deficiency, on linear RGB.
DEFICIENCIES = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)

Triple = tuple[float, float, float]


def linear(color: str) -> Triple:
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(  # type: ignore[return-value]
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)
    )


def times(matrix: tuple[Triple, Triple, Triple], vector: Triple) -> Triple:
    return tuple(  # type: ignore[return-value]
        sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix
    )


def lab(rgb: Triple) -> Triple:
    clipped: Triple = tuple(min(max(c, 0.0), 1.0) for c in rgb)  # type: ignore[assignment]
    x, y, z = (
        v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116
        for v in (
            c / white
            for c, white in zip(times(TO_XYZ, clipped), (0.95047, 1.0, 1.08883), strict=True)
        )
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def contrast_on_white(color: str) -> float:
    return 1.05 / (times(TO_XYZ, linear(color))[1] + 0.05)


@pytest.mark.parametrize("count", range(1, 9))
def test_colors_are_distinct_darken_with_depth_and_stand_out_on_white(count: int) -> None:
    colors = list(depth_colors(range(20, 20 + 6 * count, 6)).values())
    lightness = [lab(linear(color))[0] for color in colors]
    assert len(set(colors)) == count
    assert lightness == sorted(lightness, reverse=True)
    assert min(map(contrast_on_white, colors)) >= 3.0


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize("count", range(2, 6))
def test_up_to_five_depths_are_told_apart_with_any_colour_vision(
    count: int, deficiency: str
) -> None:
    colors = depth_colors(range(count)).values()
    seen = [lab(times(DEFICIENCIES[deficiency], linear(color))) for color in colors]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            distance = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
            assert distance > 15


@pytest.mark.parametrize("count", range(2, 6))
def test_up_to_five_depths_are_told_apart_in_grey(count: int) -> None:
    lightness = [lab(linear(color))[0] for color in depth_colors(range(count)).values()]
    assert min(a - b for a, b in pairwise(lightness)) > 8


def test_skip_and_branch_are_told_apart_in_grey() -> None:
    assert abs(lab(linear(SKIP_COLOR))[0] - lab(linear(BRANCH_COLOR))[0]) > 20


def test_kinds_differ_in_dashes_and_in_marker() -> None:
    kinds = [kind_style(kind) for kind in ("plain", "residual", "preact", "another")]
    assert [kind.linestyle for kind in kinds] == ["--", "-", "-.", ":"]
    assert len({kind.marker for kind in kinds}) == 4


def test_the_order_of_depths_does_not_matter() -> None:
    assert depth_colors([110, 20, 56]) == depth_colors([20, 56, 110])
    assert depth_colors([]) == {}
