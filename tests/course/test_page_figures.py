"""The plots of the class: legible whatever happened, and every student in them."""

from __future__ import annotations

import pytest

from minires.course.pages.figures import binned, mistakes_figure, tasks_figure, totals_figure
from tests.viz.test_figures import assert_legible


def test_totals_are_binned_where_they_lie() -> None:
    assert binned([], 20) == (1.0, dict.fromkeys(range(21), 0))
    step, counts = binned([0.0, 0.5, 19.0, 20.0, 22.0], 20)
    assert step == 1.0
    assert {i: n for i, n in counts.items() if n} == {0: 2, 19: 1, 20: 1, 22: 1}
    step, counts = binned([0.0, 37.0, 100.0], 100)
    assert step == 5.0
    assert {i: n for i, n in counts.items() if n} == {0: 1, 7: 1, 20: 1}
    assert sum(binned([-1.5, 0.3], 20)[1].values()) == 2
    assert len(binned([5000.0], 5000)[1]) < 30


@pytest.mark.parametrize(
    "totals", [[], [20.0], [0.0] * 8, [20.0] * 8, [float(i) for i in range(21)]]
)
@pytest.mark.parametrize("full", [20, 100, 3])
def test_the_plot_of_the_totals_is_legible(totals: list[float], full: int) -> None:
    assert_legible(totals_figure(totals, full))


@pytest.mark.parametrize(
    "found",
    [
        {"passed": 1},
        {"wrong": 8},
        {"passed": 180, "not yet": 1, "wrong": 19},
        {"passed": 7, "not yet": 8, "wrong": 9},
        {},
    ],
)
def test_the_plot_of_the_tasks_is_legible(found: dict[str, int]) -> None:
    figure = tasks_figure([(f"{'long_' * i}name", found) for i in range(6)])
    assert_legible(figure)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert sum(widths) == 6 * sum(found.values())


def test_the_plot_of_the_mistakes_is_legible_and_draws_texts_as_they_are() -> None:
    titles = ["$x$ for $y$", "a title of many words " * 9, "short"]
    groups = [
        (f"task_{i}", [(title, 3 - j, j < 2) for j, title in enumerate(titles)]) for i in range(3)
    ]
    figure = mistakes_figure(groups)
    assert_legible(figure)
    assert "$x$ for $y$" in [t.get_text() for t in figure.axes[0].texts if not t.get_parse_math()]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [3, 2, 1] * 3
