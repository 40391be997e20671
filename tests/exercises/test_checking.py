"""What an exercise's check answers: to nothing, and to attempts that are right, wrong, or fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn, rng
from minires.exercises import checking
from minires.exercises.checking import Wrong, call, choose, close, diagnosed, exercise, numbers
from minires.exercises.verdict import Verdict


@exercise("Double", "What is x + x?")
def double(attempt: Any) -> str:
    x = np.arange(3.0)
    close(call(attempt, x), 2 * x, "double([0, 1, 2])", why="Each number counts twice.")
    return "Addition is enough."


def unfilled(x: Any) -> Any: ...


def raising(x: Any) -> Any:
    return x[7]


def unfinished(x: Any) -> Any:
    raise NotImplementedError("your turn")


def changing(x: Any) -> Any:
    x *= 2
    return x


@pytest.mark.parametrize("attempt", [None, ..., unfilled, unfinished, lambda x: None])
def test_what_is_not_filled_in_is_not_yet_and_gets_the_hint(attempt: Any) -> None:
    verdict = double(attempt)
    assert (verdict.status, verdict.passed) == ("not yet", False)
    assert verdict.hint == "What is x + x?"
    assert verdict.message


def test_a_right_attempt_passes_and_hears_what_there_is_to_say() -> None:
    for attempt in (lambda x: x + x, lambda x: (2 * x).tolist(), lambda x: mr.tensor(2 * x)):
        verdict = double(attempt)
        assert verdict.passed
        assert bool(verdict)
        assert (verdict.message, verdict.hint) == ("Addition is enough.", "")


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda x: x, "double([0, 1, 2])[2] should be 4, but is 2.  2 of 3 numbers are off"),
        (lambda x: x * np.nan, "should be 0, but is nan"),
        (lambda x: x[:2], "should have the shape (3,), but has (2,)"),
        (lambda x: "six", "should hold numbers, but is 'six'"),
        (lambda x: [[1], [2, 3]], "should hold numbers, but is [[1], [2, 3]]"),
        (raising, "IndexError: index 7 is out of bounds"),
        (raising, "in raising, line"),
        (lambda: 1, "TypeError"),
        (changing, "changes an array that it was given"),
        (7, "A function is wanted here, not int"),
    ],
)
def test_a_wrong_attempt_hears_what_was_expected_and_what_came(attempt: Any, told: str) -> None:
    verdict = double(attempt)
    assert (verdict.status, verdict.passed) == ("wrong", False)
    assert told in verdict.message
    assert verdict.hint


def test_the_reason_is_part_of_the_message() -> None:
    assert "Each number counts twice." in double(lambda x: x).message


@pytest.mark.parametrize(
    ("found", "expected", "right"),
    [
        (1.0, 1.0 + 1e-9, True),
        (1.0, 1.01, False),
        (np.inf, np.inf, True),
        (-np.inf, np.inf, False),
        (np.nan, np.nan, True),
        ([], np.zeros(0), True),
        ([1e-9, 1.0], [0.0, 1.0], True),  # small beside the largest
        ([1e-3, 1.0], [0.0, 1.0], False),
        (True, 1.0, True),
    ],
)
def test_numbers_are_close_beside_the_largest_of_them(
    found: Any, expected: Any, right: bool
) -> None:
    if right:
        close(found, expected, "it")
    else:
        with pytest.raises(Wrong):
            close(found, expected, "it")


def test_tensors_and_lists_are_numbers() -> None:
    x = mr.tensor([1.0], requires_grad=True)
    assert numbers(x * 2, "it").tolist() == [2.0]
    assert numbers([[1, 2]], "it").shape == (1, 2)


def test_an_answer_is_chosen_from_options_and_a_wrong_one_hears_what_it_overlooks() -> None:
    options = {"grows": "", "vanishes": "Look at the scale of the axis."}

    @exercise("Which way", "Read the axis.")
    def which(answer: Any) -> None:
        choose(answer, "grows", options)

    assert which(" Grows ").passed
    assert which("vanishes").message == "Look at the scale of the axis."
    assert "one of 'grows', 'vanishes'" in which("stays").message
    assert which(...).status == "not yet"


def test_a_known_mistake_is_named() -> None:
    with pytest.raises(Wrong, match="zero"):
        diagnosed(lambda x: np.maximum(x, 0), lambda grad_out, x: grad_out * (x >= 0), "relu")
    diagnosed(lambda x: np.maximum(x, 0), lambda grad_out, x: grad_out * (x > 0), "relu")


def test_a_check_leaves_the_generator_where_it_was() -> None:
    @exercise("Draws", "")
    def draws(attempt: Any) -> None:
        mr.manual_seed(1)
        call(attempt)

    mr.manual_seed(5)
    before = rng.get_state()
    draws(lambda: mr.rand(3))
    assert rng.get_state() == before


def test_a_verdict_is_readable_as_text_and_as_html() -> None:
    verdict = Verdict("A < B", "wrong", "x should be 1,\nbut is <2>.", "Look & see.")
    assert repr(verdict).splitlines() == [
        "✗ wrong · A < B",
        "  x should be 1,",
        "  but is <2>.",
        "  Hint: Look & see.",
    ]
    shown = verdict._repr_html_()
    assert "A &lt; B" in shown
    assert "&lt;2&gt;" in shown
    assert "Look &amp; see." in shown
    assert "✗" in shown


def test_set_state_sets_what_the_module_has_and_leaves_the_rest() -> None:
    layer = nn.Linear(2, 2, bias=False)
    checking.set_state(layer, weight=np.eye(2), bias=np.ones(2))
    assert (layer.weight.data == np.eye(2)).all()
    assert list(layer.state_dict()) == ["weight"]
