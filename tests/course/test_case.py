"""How a case is shown."""

from __future__ import annotations

import numpy as np

from minires.course.case import case, shortened

X = np.zeros((2, 3))


def test_arrays_are_shown_by_their_shapes_however_deep_they_lie() -> None:
    assert str(case(X, [X, X], {"w": X, "scale": 0.5}, k=[{"w": X}])) == (
        "(2, 3), [(2, 3), (2, 3)], {w: (2, 3), scale: 0.5}, k=[{w: (2, 3)}]"
    )


def test_what_is_long_is_cut_and_the_reason_comes_first() -> None:
    shown = str(case(list(range(100)), 3, why="many"))
    assert shown.startswith("many: [0, 1, 2, ")
    assert shown.endswith("..., 3")
    assert len(shown) < 60


def test_the_arguments_are_copied_with_all_their_arrays() -> None:
    made = case([X], k={"w": X})
    (inside,), kwargs = made.copied()
    inside[0][:] = 1
    kwargs["k"]["w"][:] = 1
    assert X.sum() == 0


def test_a_text_is_cut_to_a_length_and_left_alone_if_it_has_no_more() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abc..."
