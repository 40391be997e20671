"""The figures of paths, from plain data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minires.viz import figure_png, paths_figure, spectrum_figure


def spectrum(blocks: int = 3) -> dict[str, Any]:
    lengths = [list(range(blocks - i + 1)) for i in range(blocks)]
    norms = [[float(math.comb(len(ks) - 1, k)) for k in ks] for ks in lengths]
    return {
        "block": "layer1.0",
        "lengths": lengths[0],
        "norms": norms[0],
        "shares": [1 / len(lengths[0])] * len(lengths[0]),
        "counts": [math.comb(blocks, k) for k in lengths[0]],
        "cancellation": 2.5,
        "max_error": 1e-16,
        "by_block": {
            "name": [f"layer1.{i}" for i in range(blocks)],
            "lengths": lengths,
            "norms": norms,
        },
    }


def paths(blocks: int = 3) -> dict[str, Any]:
    ks = range(blocks + 1)
    means = [10.0**-k for k in ks]
    return {
        "block": "layer1.0",
        "lengths": list(ks),
        "norms": [
            [mean, 2 * mean] if 0 < k < blocks else [mean]
            for k, mean in zip(ks, means, strict=True)
        ],
        "counts": [math.comb(blocks, k) for k in ks],
        "means": means,
        "totals": [math.comb(blocks, k) * mean for k, mean in zip(ks, means, strict=True)],
    }


def test_bars_are_the_norms_and_the_shares_in_percent() -> None:
    data = spectrum()
    figure = spectrum_figure(data)
    size, share = figure.axes[:2]
    assert [bar.get_height() for bar in size.patches] == data["norms"]
    assert [bar.get_height() for bar in share.patches] == pytest.approx([25.0] * 4)
    assert "through 1" in figure.alt
    assert "2.5 times the gradient" in figure.alt


def test_the_map_has_a_row_for_each_block_and_nothing_where_no_path_is() -> None:
    figure = spectrum_figure(spectrum())
    image = next(axes.images[0] for axes in figure.axes if axes.images)
    expected = [[12.5, 37.5, 37.5, 12.5], [25, 50, 25, None], [50, 50, None, None]]
    shown = np.ma.filled(image.get_array().astype(float), np.nan)
    np.testing.assert_allclose(shown, np.array(expected, dtype=float))


def test_paths_show_every_sample_their_mean_and_the_product() -> None:
    data = paths()
    number, one, both = paths_figure(data).axes
    assert [bar.get_height() for bar in number.patches] == data["counts"]
    assert [bar.get_height() for bar in both.patches] == data["totals"]
    points = [y for line in one.lines[:-1] for y in line.get_ydata()]
    assert sorted(points) == sorted(v for norms in data["norms"] for v in norms)
    assert list(one.lines[-1].get_ydata()) == data["means"]


def test_large_numbers_of_paths_are_written_in_a_power_of_ten() -> None:
    number = paths_figure(paths(54)).axes[0]
    assert number.get_ylabel() == "paths, in 10¹⁵"


BROKEN: dict[str, dict[str, Any]] = {
    "spectrum": {
        **spectrum(),
        "norms": [None] * 4,
        "shares": [math.nan] * 4,
        "by_block": {"name": ["a"], "lengths": [[0, 1]], "norms": [[None, math.inf]]},
    },
    "paths": {
        **paths(),
        "norms": [[math.nan]] * 4,
        "means": [math.nan] * 4,
        "totals": [None] * 4,
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_nothing_and_nonsense_leave_a_note_and_no_warning(name: str) -> None:
    draw = {"spectrum": spectrum_figure, "paths": paths_figure}[name]
    for data in ({}, BROKEN[name]):
        figure = draw(data)
        assert figure_png(figure, dpi=40).startswith(b"\x89PNG")
        texts = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert "no finite value to draw" in texts
        assert "without finite values" in figure.alt
