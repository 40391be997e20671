"""When an answer is right, how far off it may be, and which mistake it is."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

from minires.course.assignment import KnownMistake, find_assignment
from minires.course.case import case
from minires.course.judge import Expected, Failed, difference, expect, explain
from minires.course.sandbox import Answer


def right(value: Any, allowed: Any = 0.0) -> Expected:
    return Expected(value, allowed)


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (3, 3),
        (3.0, 3),
        (np.float32(3.0), 3),
        (np.array(3), 3),
        (True, True),
        ("x", "x"),
        (None, None),
        ([1.0, 2.0], np.array([1.0, 2.0])),
        (((1.0,), (2.0,)), np.array([[1.0], [2.0]])),
        (np.array([[1, 2], [3, 4]]), [np.array([1, 2]), np.array([3, 4])]),
        ([1, 2], (1, 2)),
        (np.array([np.nan, np.inf]), np.array([np.nan, np.inf])),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        ({"a": 1, "b": [2]}, {"b": (2,), "a": 1}),
    ],
)
def test_the_same_numbers_are_right_whatever_holds_them(found: Any, value: Any) -> None:
    zero = {"a": 0.0, "b": (0.0,)} if isinstance(value, dict) else 0.0
    allowed = [0.0] * len(value) if isinstance(value, list | tuple) else zero
    assert difference(found, right(value, allowed), "f") == ""


@pytest.mark.parametrize(
    ("found", "value", "message"),
    [
        (4, 3, "f should be 3, and is 4."),
        (np.array([1.0, 5.0]), np.array([1.0, 2.0]), r"f\[1\] should be 2, and is 5. 1 of 2"),
        (np.zeros((2, 1)), np.zeros(2), r"shape \(2,\), and has \(2, 1\)"),
        (np.nan, 1.0, "and is nan"),
        (np.inf, 1.0, "and is inf"),
        (1.0, np.nan, "should be nan"),
        ("1", 1, "should be the number 1, and is '1'"),
        (None, 1.0, "and is None"),
        ([[1], [1, 2]], np.zeros((2, 2)), "is a list"),
        (np.array([1 + 1j]), np.array([1.0]), "numbers of the shape"),
        (1, "one", "should be 'one', and is 1"),
        (0, None, "should be None, and is 0"),
        (1.0, (1.0, 2.0), "2 things in a tuple or list"),
        ((1.0,), (1.0, 2.0), "the length 2, and has 1"),
        ([1], {"a": 1}, "a dict with the keys a"),
        ({"b": 1}, {"a": 1}, "lacks the key 'a'"),
        ({"a": 1, "c": 2}, {"a": 1}, "has the key 'c'"),
        (np.array(["1"]), np.array([1.0]), "numbers of the shape"),
    ],
)
def test_what_is_wrong_is_said_with_what_was_expected_and_what_came(
    found: Any, value: Any, message: str
) -> None:
    allowed: Any = [0.0] * len(value) if isinstance(value, list | tuple) else 0.0
    allowed = {"a": 0.0} if isinstance(value, dict) else allowed
    text = difference(found, right(value, allowed), "f")
    assert text
    import re

    assert re.search(message, text), text


def test_an_array_whose_comparisons_lie_gains_nothing() -> None:
    """What comes over the pipe is plain; and an array that claims to be equal is looked at."""

    class Liar(np.ndarray):
        def __eq__(self, other: object) -> Any:
            return np.ones(self.shape, bool)

        __le__ = __lt__ = __eq__

    liar = np.zeros(3).view(Liar)
    assert difference(liar, right(np.ones(3)), "f") != ""


def test_what_is_allowed_is_measured_by_running_the_reference_in_float32() -> None:
    assignment = find_assignment("a03")
    task = assignment.task("conv2d")
    rng = np.random.default_rng(0)
    one = case(rng.normal(size=(1, 3, 5, 5)), rng.normal(size=(2, 3, 3, 3)), np.zeros(2))
    expected = expect(assignment, task, one, assignment.module())
    rough = assignment.module().conv2d(*(a.astype(np.float32) for a in one.args))
    error = np.abs(rough.astype(np.float64) - expected.value).max()
    eps = np.finfo(np.float32).eps
    assert expected.allowed == pytest.approx(
        32 * max(error, eps * np.abs(expected.value).max()), rel=1e-6
    )
    assert difference(expected.value + 0.9 * expected.allowed, expected, "f") == ""
    assert difference(expected.value + 1.1 * expected.allowed, expected, "f") != ""


def test_whole_numbers_are_compared_exactly_and_rtol_replaces_the_measured_tolerance() -> None:
    assignment = find_assignment("a03")
    task = assignment.task("output_size")
    module = assignment.module()
    assert expect(assignment, task, case(7, 3), module).allowed == 0.0
    module = types.ModuleType("m")
    module.output_size = lambda x: x * 2.0  # type: ignore[attr-defined]
    found = expect(assignment, task, case(np.array([1.0, -3.0]), rtol=1e-3), module)
    assert found.allowed == pytest.approx(6e-3)


def test_a_mistake_is_found_only_if_it_gives_all_the_answers() -> None:
    twice, square = (KnownMistake(name, name, "", ("f",)) for name in ("twice", "square"))
    expected = [right(1.0), right(2.0), right(3.0)]
    known = [(twice, [2.0, 4.0, 6.0]), (square, [1.0, 4.0, Failed()])]

    def answers(*values: Any) -> list[Answer]:
        return [Answer(error={}) if v is None else Answer(value=v) for v in values]

    assert explain(answers(2.0, 4.0, 6.0), expected, known) is twice
    assert explain(answers(1.0, 4.0, None), expected, known) is square
    assert explain(answers(1.0, 4.0, 9.0), expected, known) is None
    assert explain(answers(2.0, 4.0, None), expected, known) is None
    assert explain(answers(2.0, 4.0, 5.0), expected, known) is None
