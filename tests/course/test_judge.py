"""When an answer is right, how far off it may be, and which mistake it is."""

from __future__ import annotations

import re
import types
from typing import Any

import numpy as np
import pytest

from minires.course.assignment import KnownMistake, find_assignment
from minires.course.case import case
from minires.course.judge import Expected, Failed, difference, expect, explain, predictions, tell
from minires.course.sandbox import Answer


def right(value: Any, allowed: Any = 0.0) -> Expected:
    return Expected(value, allowed)


def told(answer: Any, value: Any, allowed: Any = 0.0, **may: bool) -> str:
    wrong = difference(answer, right(value, allowed), "f")
    assert wrong is not None
    return tell(wrong, **may)


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
    assert difference(found, right(value, allowed), "f") is None


@pytest.mark.parametrize(
    ("found", "value", "message"),
    [
        (4, 3, "f should be 3, and is 4."),
        (np.array([1.0, 5.0]), np.array([1.0, 2.0]), r"f\[1\] should be 2, and is 5. 1 of 2"),
        (np.zeros((2, 1)), np.zeros(2), r"shape \(2,\), and has \(2, 1\)"),
        (np.nan, 1.0, "and is nan"),
        (np.inf, 1.0, "and is inf"),
        (1.7e308, -1.7e308, "should be -1.7e[+]308, and is 1.7e[+]308"),
        (1.0, np.nan, "should be nan"),
        ("1", 1, "should be the number 1, and is '1'"),
        (None, 1.0, "and is None"),
        ([[1], [1, 2]], np.zeros((2, 2)), "is a list"),
        (np.array([1 + 1j]), np.array([1.0]), "numbers of the shape"),
        (1, "one", "should be 'one', and is 1"),
        (0, None, "should be None, and is 0"),
        (1.0, (1.0, 2.0), "a tuple or list of the length 2"),
        ((1.0,), (1.0, 2.0), "the length 2, and has 1"),
        ([1], {"a": 1}, "a dict with the keys a"),
        ({"b": 1}, {"a": 1}, "lacks the key 'a'"),
        ({"a": 1, "c": 2}, {"a": 1}, "has the key 'c'"),
        (np.array(["1"]), np.array([1.0]), "numbers of the shape"),
        (np.array([1.0]), 1.0, r"should be the number 1, and is an array of the shape \(1,\)"),
        (np.array(2.0), None, "should be None, and is 2.0"),
        (True, "yes", "should be 'yes', and is True"),
    ],
)
def test_what_is_wrong_is_said_with_what_was_expected_and_what_came(
    found: Any, value: Any, message: str
) -> None:
    allowed: Any = [0.0] * len(value) if isinstance(value, list | tuple) else 0.0
    allowed = {"a": 0.0} if isinstance(value, dict) else allowed
    text = told(found, value, allowed)
    assert re.search(message, text), text


@pytest.mark.parametrize(
    ("found", "value", "message"),
    [
        (1.000004, 1.0, "f should be 1, and is 1.000004."),
        (np.nextafter(0.1, 1), 0.1, "f should be 0.10000000000000001, and is 0.10000000000000002."),
        (1234568, 1234567, "f should be 1234567, and is 1234568."),
        (1234567.25, 1234567.0, "f should be 1234567, and is 1234567.2."),
        (np.array(1234568.0), 1234567.0, "f should be 1234567, and is 1234568."),
        (2**53 + 1, 2**53, "f should be 9007199254740992, and is 9007199254740993."),
        (True, False, "f should be False, and is True."),
        (2, True, "f should be True, and is 2."),
        ("x", 1234567, "f should be the number 1234567, and is 'x'."),
    ],
)
def test_two_numbers_that_differ_are_told_so_that_one_sees_it(
    found: Any, value: Any, message: str
) -> None:
    assert told(found, value) == message


@pytest.mark.parametrize(
    ("found", "value", "hidden", "alone"),
    [
        (3, 2, "f is not right: it is 3.", "f is not right."),
        ("b", "a", "f is not right: it is 'b'.", "f is not right."),
        (7, "a", "f should be a text, and is 7.", "f should be a text, and is something else."),
        (None, 2.5, "f should be a number, and is None.", "f should be a number, and is something"),
        ("x", np.zeros((2, 2)), "numbers of the shape (2, 2), and is 'x'.", "is something else."),
        (0, None, "f should be None, and is 0.", "f should be None, and is something else."),
        (np.zeros(3), np.zeros(2), "shape (2,), and has (3,).", "shape (2,), and has another."),
        ((), (1.0,), "the length 1, and has 0.", "the length 1, and has another."),
        (
            None,
            (1.0,),
            "a tuple or list of the length 1, and is None.",
            "length 1, and is something else.",
        ),
        ([1], {"a": 1}, "a dict with the keys a, and is a list.", "keys a, and is something else."),
        ({"b": 1}, {"a": 1}, "f lacks the key 'a'.", "f lacks the key 'a'."),
        (
            {"a": 1, "b": 1},
            {"a": 1},
            "the key 'b', which it should",
            "has a key that it should not",
        ),
    ],
)
def test_of_hidden_cases_the_form_is_told_but_no_number_and_where_asked_nothing_of_the_answer(
    found: Any, value: Any, hidden: str, alone: str
) -> None:
    allowed: Any = {"a": 0.0} if isinstance(value, dict) else 0.0
    allowed = (0.0,) if isinstance(value, tuple) else allowed
    assert hidden in told(found, value, allowed, expected=False)
    assert alone in told(found, value, allowed, expected=False, found=False)


def test_a_long_key_text_or_shape_is_cut() -> None:
    long = "x" * 100_000
    both = {"a": 1, long: 1}
    for text in (
        told(both, {"a": 1}, {"a": 0.0}),
        told(long, 1.0),
        told(long, "a"),
        told(np.zeros((0, *[123456] * 3, *[1] * 25)), np.zeros(2)),
    ):
        assert len(text) < 200


def test_an_array_of_endless_rows_without_numbers_is_not_taken_apart() -> None:
    rows = np.empty((10**9, 0))
    assert "the length 2, and has 1000000000" in told(rows, (1.0, 2.0), (0.0, 0.0))


def test_an_array_whose_comparisons_lie_gains_nothing() -> None:
    """What comes over the pipe is plain; and an array that claims to be equal is looked at."""

    class Liar(np.ndarray):
        def __eq__(self, other: object) -> Any:
            return np.ones(self.shape, bool)

        __le__ = __lt__ = __eq__

    liar = np.zeros(3).view(Liar)
    assert difference(liar, right(np.ones(3)), "f") is not None


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
    assert difference(expected.value + 0.9 * expected.allowed, expected, "f") is None
    assert difference(expected.value + 1.1 * expected.allowed, expected, "f") is not None


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
    known = [(twice, [2.0, 4.0, 6.0]), (square, [1.0, 4.0, Failed("TypeError")])]

    def answers(*values: Any) -> list[Answer]:
        return [
            Answer(error={"type": "TypeError"}) if v is None else Answer(value=v) for v in values
        ]

    assert explain(answers(2.0, 4.0, 6.0), expected, known) is twice
    assert explain(answers(1.0, 4.0, None), expected, known) is square
    assert explain(answers(1.0, 4.0, 9.0), expected, known) is None
    assert explain(answers(2.0, 4.0, None), expected, known) is None
    assert explain(answers(2.0, 4.0, 5.0), expected, known) is None


def test_a_mistake_that_ends_in_an_error_is_found_by_the_kind_of_the_error() -> None:
    mistake = KnownMistake("m", "m", "", ("f",))
    known = [(mistake, [Failed("IndexError")])]

    def found(kind: str) -> KnownMistake | None:
        return explain([Answer(error={"type": kind})], [right(1.0)], known)

    assert found("IndexError") is mistake
    assert found("NameError") is None


def test_the_kind_of_the_error_is_that_which_the_wrong_solution_raises() -> None:
    assignment = find_assignment("a03")
    task = assignment.task("output_size")
    mistake = KnownMistake("m", "m", "", (task.name,), (("def output_size(", "def other("),))
    assignment.__dict__["mistakes"] = (mistake,)
    [(_, [answer])] = predictions(assignment, task, [case(5, 3)])
    assert answer == Failed("AttributeError")


@pytest.mark.parametrize("kind", [ZeroDivisionError, AssertionError, RuntimeError, KeyError])
def test_a_reference_that_has_no_float32_leaves_the_rounding_of_the_result(kind: type) -> None:
    assignment = find_assignment("a03")

    def reference(x: np.ndarray) -> np.ndarray:
        if x.dtype == np.float32:
            raise kind("never in float32")
        return x / np.array([0.0, 1.0])  # and what NumPy warns of is no concern of a grader

    module = types.ModuleType("m")
    module.output_size = reference  # type: ignore[attr-defined]
    one = case(np.array([1.0, 3.0]))
    found = expect(assignment, assignment.task("output_size"), one, module)
    assert found.allowed == pytest.approx(32 * 3 * np.finfo(np.float32).eps)


def test_sums_of_a_thousand_products_one_by_one_in_float32_stay_below_half_of_what_is_allowed() -> (
    None
):
    assignment = find_assignment("a03")
    module = types.ModuleType("m")
    module.output_size = lambda x, y: (x * y).sum(axis=1)  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.normal(size=(2, 32, 1024))
        expected = expect(assignment, assignment.task("output_size"), case(x, y), module)
        half = right(expected.value, expected.allowed / 2)
        for order in (np.arange(1024), rng.permutation(1024)):
            products = (x.astype(np.float32) * y.astype(np.float32))[:, order]
            one_by_one = np.cumsum(products, axis=1)[:, -1]
            assert one_by_one.dtype == np.float32
            assert difference(one_by_one, half, "sums") is None
