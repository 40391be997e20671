"""What the bank of mistakes promises by itself: that its mistakes are mistakes, and differ."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minires.check import diagnose
from minires.check.mistakes import BANK, Mistake, indistinguishable
from minires.errors import UsageError

SEEDS = (0, 1, 7, 12345)

each_op = pytest.mark.parametrize("op", list(BANK))
each_mistake = pytest.mark.parametrize(
    ("op", "mistake"),
    [pytest.param(op, m, id=f"{op}-{m.name}") for op in BANK for m in BANK[op].mistakes],
)


def answers(op: str, mistake: Mistake, seed: int = 0) -> list[tuple[Any, ...]]:
    """For each variant what it predicts, problem by problem; None where it ends in an error."""
    problems = BANK[op].pose(seed)
    return list(zip(*(BANK[op].predictions(mistake, p) for p in problems), strict=True))


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Far enough apart that nobody takes one for the other."""
    return a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def told_apart(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether some problem that both have an answer to has different ones."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return any(differ(a[name], b[name]) for a, b in pairs for name in a)


def variants(op: str, seed: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for mistake in BANK[op].mistakes:
        for answer in answers(op, mistake, seed):
            yield mistake.name, answer


@each_mistake
def test_a_mistake_is_wrong_on_some_problem(op: str, mistake: Mistake) -> None:
    for seed in SEEDS:
        right = tuple(problem.right for problem in BANK[op].pose(seed))
        for answer in answers(op, mistake, seed):
            assert told_apart(answer, right)


@each_mistake
def test_a_mistake_spoils_the_gradients_it_says_and_no_others(op: str, mistake: Mistake) -> None:
    spoilt = set()
    for answer in answers(op, mistake):
        for wrong, problem in zip(answer, BANK[op].pose(), strict=True):
            if wrong is not None:
                assert set(wrong) == set(BANK[op].gradients)
                spoilt |= {name for name in wrong if differ(wrong[name], problem.right[name])}
    assert spoilt == set(mistake.gradients)


@each_op
@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_mistakes_predict_the_same_everywhere(op: str, seed: int) -> None:
    for (one, a), (other, b) in itertools.combinations(variants(op, seed), 2):
        assert one == other or told_apart(a, b), f"{one} and {other}"


def test_the_bank_knows_no_defects_of_its_own() -> None:
    assert [found for seed in SEEDS for found in indistinguishable(seed)] == []


@each_op
def test_names_titles_and_hints_are_there_and_each_its_own(op: str) -> None:
    mistakes = BANK[op].mistakes
    assert BANK[op].name == op
    for field in ("name", "title", "hint"):
        texts = [getattr(mistake, field) for mistake in mistakes]
        assert all(text.strip() for text in texts)
        assert len(set(texts)) == len(texts)
    assert all(mistake.name.isidentifier() for mistake in mistakes)
    assert [BANK[op].mistake(m.name) for m in mistakes] == list(mistakes)


def test_an_unknown_mistake_is_an_error() -> None:
    with pytest.raises(UsageError, match="one_at_zero"):
        BANK["relu"].mistake("two_at_zero")


@each_op
def test_problems_are_the_same_for_the_same_seed_and_others_for_another(op: str) -> None:
    once, again, other = BANK[op].pose(3), BANK[op].pose(3), BANK[op].pose(4)
    for a, b in zip(once, again, strict=True):
        np.testing.assert_equal((a.inputs, a.grad_out, a.right), (b.inputs, b.grad_out, b.right))
    assert any(differ(a.grad_out, b.grad_out) for a, b in zip(once, other, strict=True))


@each_op
def test_problems_are_small_in_float64_and_more_than_one(op: str) -> None:
    problems = BANK[op].pose()
    assert len(problems) >= 2
    for problem in problems:
        assert list(problem.inputs) == list(BANK[op].inputs)
        assert set(problem.right) == set(BANK[op].gradients)
        for name in problem.right:
            array = problem.inputs[name]
            assert (array.dtype, array.size <= 1000) == (np.float64, True)
            assert problem.right[name].shape == array.shape


@each_op
def test_predictions_leave_the_problem_as_it_was(op: str) -> None:
    for problem, fresh in zip(BANK[op].pose(), BANK[op].pose(), strict=True):
        for mistake in BANK[op].mistakes:
            BANK[op].predictions(mistake, problem)
        for field in ("inputs", "settings", "out", "grad_out", "right"):
            np.testing.assert_equal(getattr(problem, field), getattr(fresh, field))


def test_the_problems_have_what_the_mistakes_need() -> None:
    assert any((p["x"] == 0).any() for p in BANK["relu"].pose())
    rows = np.concatenate([np.sort(p["x"], axis=1)[:, -2:] for p in BANK["max"].pose()])
    assert (rows[:, 0] == rows[:, 1]).any()
    for setting, usual in {"stride": 1, "padding": 0, "dilation": 1}.items():
        assert {p[setting] == usual for p in BANK["conv2d"].pose()} == {True, False}


def test_the_command_prints_every_mistake() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "minires.check.mistakes"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    for op in BANK:
        lines = [line for line in ran.stdout.splitlines() if op in line.split()]
        for mistake in BANK[op].mistakes:
            assert any(mistake.name in line.split() for line in lines), mistake.name


@pytest.mark.parametrize("op", BANK)
def test_the_command_prints_one_operation_with_hints_and_without_its_gradient(op: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "minires.check.mistakes", op], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    for mistake in BANK[op].mistakes:
        assert f"{mistake.name}: {mistake.title}\n  {mistake.hint}" in ran.stdout
    assert "forward(" in ran.stdout
    assert "grad_x = " not in ran.stdout


def test_the_diagnosis_is_true_only_if_all_is_right() -> None:
    right = diagnose(lambda x: np.maximum(x, 0), lambda g, x: g * (x > 0), op="relu")
    wrong = diagnose(lambda x: np.maximum(x, 0), lambda g, x: g, op="relu")
    assert right
    assert not wrong
