"""The exercises of tutorial 02: what their checks answer to nothing, to right and to wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.exercises import gradient_checks

FUNCTIONS = [
    gradient_checks.central_difference,
    gradient_checks.best_steps,
    gradient_checks.cotangent,
]


def unfilled(*args: Any) -> Any:
    raise NotImplementedError


def unfilled_dots(*args: Any) -> Any: ...


@pytest.mark.parametrize("check", FUNCTIONS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("attempt", [unfilled, unfilled_dots, ..., None])
def test_an_unfilled_function_is_not_yet(check: Any, attempt: Any) -> None:
    verdict = check(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


# --- central differences ---


def by_loops(f: Any, x: Any, d: Any, h: float) -> Any:
    ahead, behind = x.astype(float), x.astype(float)
    for index in np.ndindex(x.shape):
        ahead[index] += h * d[index]
        behind[index] -= h * d[index]
    return [(a - b) / (2 * h) for a, b in zip(f(ahead), f(behind), strict=True)]


def in_place(f: Any, x: Any, d: Any, h: float) -> Any:
    x += h * d
    ahead = f(x)
    x -= 2 * h * d
    return (ahead - f(x)) / (2 * h)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda f, x, d, h: (f(x + h * d) - f(x - h * d)) / (2 * h),
        lambda f, x, d, h: mr.tensor(0.5 * (f(x + h * d) - f(x - h * d)) / h),
        by_loops,
    ],
)
def test_a_central_difference_passes_in_any_style(attempt: Any) -> None:
    verdict = gradient_checks.central_difference(attempt)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda f, x, d, h: (f(x + h * d) - f(x)) / h, "the forward difference"),
        (lambda f, x, d, h: (f(x) - f(x - h * d)) / h, "the backward difference"),
        (lambda f, x, d, h: (f(x + h * d) - f(x - h * d)) / h, "twice the slope"),
        (lambda f, x, d, h: (f(x + h * d) - f(x - h * d)) / (4 * h), "half the slope"),
        (lambda f, x, d, h: (f(x - h * d) - f(x + h * d)) / (2 * h), "The sign is reversed"),
        (lambda f, x, d, h: f(x + h * d) - f(x - h * d), "not divided by anything"),
        (lambda f, x, d, h: (f(x + h) - f(x - h)) / (2 * h), "d has no part in it"),
        (
            lambda f, x, d, h: (
                (f(x + h * d / np.linalg.norm(d)) - f(x - h * d / np.linalg.norm(d))) / (2 * h)
            ),
            "d is scaled to length 1",
        ),
        (
            lambda f, x, d, h: ((f(x + h * d) - f(x - h * d)) / (2 * h)).sum(),
            "should have the shape (3,)",
        ),
        (in_place, "changes an array that it was given"),
    ],
)
def test_a_wrong_difference_hears_which_one_it_is(attempt: Any, told: str) -> None:
    verdict = gradient_checks.central_difference(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- the step ---


@pytest.mark.parametrize(
    "attempt",
    [
        lambda f, f2, f3, eps: (
            np.sqrt(2 * eps * f / f2),
            np.cbrt(1.5 * eps * f / f3),
        ),
        # rounding counted otherwise
        lambda f, f2, f3, eps: [2 * (eps * f / f2) ** 0.5, (3 * eps * f / f3) ** (1 / 3)],
        lambda f, f2, f3, eps: np.float32([(eps * f / f2) ** 0.5, (eps * f / f3) ** (1 / 3)]),
        # the smallest of what was tried
        lambda f, f2, f3, eps: tuple(
            min(10.0 ** np.arange(-14, 2, 0.1), key=error)
            for error in (
                lambda h: h / 2 * f2 + eps * f / h,
                lambda h: h * h / 6 * f3 + eps * f / (2 * h),
            )
        ),
    ],
)
def test_the_steps_pass_by_formula_or_by_search(attempt: Any) -> None:
    verdict = gradient_checks.best_steps(attempt)
    assert verdict.passed, verdict


def sizes(forward: Any, central: Any) -> Any:
    return lambda f, f2, f3, eps: (forward(f, f2, eps), central(f, f3, eps))


def root(f: float, bent: float, eps: float) -> float:
    return float((2 * eps * f / bent) ** 0.5)


def cube_root(f: float, bent: float, eps: float) -> float:
    return float((1.5 * eps * f / bent) ** (1 / 3))


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (sizes(lambda f, b, eps: eps**0.5, cube_root), "have no part in it"),
        (sizes(root, lambda f, b, eps: eps ** (1 / 3)), "have no part in it"),
        (sizes(cube_root, cube_root), "This is a cube root"),
        (sizes(root, root), "This is a square root"),
        (sizes(root, lambda f, b, eps: (1.5 * eps * b / f) ** (1 / 3)), "upside down"),
        (sizes(lambda f, b, eps: (2 * eps * b / f) ** 0.5, cube_root), "upside down"),
        (sizes(root, lambda f, b, eps: -1.0), "a number above 0"),
        (lambda f, f2, f3, eps: 1e-6, "should be two numbers"),
        (lambda f, f2, f3, eps: (1e-3, 1e-3), "should be about"),
    ],
)
def test_a_wrong_step_hears_what_it_overlooks(attempt: Any, told: str) -> None:
    verdict = gradient_checks.best_steps(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- suspects ---

RIGHT = {
    "Normalize": "right",
    "Divide": "square",
    "Scale": "mean",
    "Cumsum": "order",
    "Hinge": "right",
}


def test_suspects_are_not_yet_while_an_answer_is_missing() -> None:
    for attempt in (dict.fromkeys(RIGHT, ...), {}, {**RIGHT, "Hinge": ...}, ..., None):
        assert gradient_checks.suspects(attempt).status == "not yet"
    assert "Hinge" in gradient_checks.suspects({**RIGHT, "Hinge": None}).message


def test_the_right_answers_pass_in_any_case_of_letters() -> None:
    assert gradient_checks.suspects(RIGHT).passed
    assert gradient_checks.suspects({k: f" {v.title()}" for k, v in RIGHT.items()}).passed


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("Divide", "right", "At b = 1 it passes"),
        ("Divide", "sign", "The sign is right"),
        ("Divide", "mean", "look at b"),
        ("Scale", "right", "With one element in x it passes"),
        ("Scale", "square", "count the elements"),
        ("Cumsum", "right", "reads the same from both ends"),
        ("Cumsum", "sign", "Which outputs does x[0] move"),
        ("Hinge", "sign", "it reports a kink"),
        ("Normalize", "mean", "the length of x changes too"),
        ("Normalize", "?", "Answer with one of"),
    ],
)
def test_a_wrong_answer_hears_where_to_look(name: str, answer: str, told: str) -> None:
    verdict = gradient_checks.suspects({**RIGHT, name: answer})
    assert verdict.status == "wrong"
    assert told in verdict.message


def test_something_else_than_a_dict_hears_so() -> None:
    assert "A dict is wanted" in gradient_checks.suspects("Divide").message


# --- the cotangent ---


@pytest.mark.parametrize(
    "attempt",
    [
        lambda x: np.random.default_rng(0).standard_normal(x.shape),
        lambda x: np.float32(np.cos(np.arange(x.size))).reshape(x.shape),
        lambda x: mr.tensor(np.random.default_rng(1).standard_normal(x.shape)).tolist(),
        lambda x: x,
    ],
)
def test_a_cotangent_with_unlike_entries_passes(attempt: Any) -> None:
    verdict = gradient_checks.cotangent(attempt)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (np.ones_like, "All entries of a row are alike"),
        (lambda x: np.arange(len(x))[:, None] + np.zeros_like(x), "All entries of a row are alike"),
        (np.zeros_like, "It is all zeros"),
        (np.ones_like, "out * (g - mean(g))"),
        (lambda x: np.ones(3), "should have the shape of x, (3, 4)"),
        (lambda x: x / 0.0, "not finite"),
        (lambda x: 1.0 + 1e-12 * x, "All entries of a row are alike"),
    ],
)
def test_a_blind_cotangent_hears_what_it_misses(attempt: Any, told: str) -> None:
    with np.errstate(divide="ignore"):
        verdict = gradient_checks.cotangent(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message
