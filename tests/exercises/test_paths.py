"""What the checks of notebook 09 answer: to stubs, to right attempts, and to usual mistakes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.exercises import paths as check


def unfilled(*args: Any) -> Any: ...


@pytest.mark.parametrize("name", ["count_paths", "spectrum", "effective_length"])
@pytest.mark.parametrize("attempt", [unfilled, ...])
def test_the_stub_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    verdict = getattr(check, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


def test_no_answer_is_not_yet() -> None:
    assert check.lesions(...).status == "not yet"


# --- counting ---


def counts(residual: int, plain: int) -> list[int]:
    return [0] * plain + [math.comb(residual, k) for k in range(residual + 1)]


def counts_by_adding(residual: int, plain: int) -> Any:
    found = np.array([1.0], np.float32)
    for _ in range(residual):
        found = np.append(found, 0) + np.append(0, found)
    return mr.tensor(np.concatenate([np.zeros(plain), found]))


def test_counts_may_be_a_list_or_a_tensor() -> None:
    assert check.count_paths(counts).passed
    assert check.count_paths(counts_by_adding).passed


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda r, p: 2**r, "the number of all paths"),
        (lambda r, p: counts(r, 0), "The plain blocks are missing"),
        (lambda r, p: counts(r, 0) + [0] * p, "no path is shorter"),
        (lambda r, p: counts(r + p, 0), "It has no skip"),
        (lambda r, p: counts(r, p)[1:], "through no branch at all"),
        (lambda r, p: np.cumsum(counts(r, p)), "of exactly k"),
        (lambda r, p: [math.perm(r, k) for k in range(r + 1)], "Here the order counts"),
        (lambda r, p: [2**k for k in range(r + p + 1)], "a network of k blocks"),
        (lambda r, p: math.factorial("r"), "TypeError"),  # type: ignore[arg-type]
    ],
)
def test_wrong_counts_are_told_what_is_wrong(attempt: Any, text: str) -> None:
    verdict = check.count_paths(attempt)
    assert verdict.status == "wrong"
    assert text in " ".join(verdict.message.split())


# --- the spectrum of a chain ---


def multiplied(a: list[float], b: list[float]) -> list[float]:
    c = [1.0]
    for one, other in zip(a, b, strict=True):
        c = [one * x + other * y for x, y in zip([*c, 0.0], [0.0, *c], strict=True)]
    return c


def by_paths(a: list[float], b: list[float]) -> list[float]:
    c = [0.0] * (len(a) + 1)
    for path in itertools.product((0, 1), repeat=len(a)):
        c[sum(path)] += math.prod(y if way else x for x, y, way in zip(a, b, path, strict=True))
    return c


def test_a_spectrum_may_be_multiplied_or_summed_over_paths() -> None:
    assert check.spectrum(multiplied).passed
    assert check.spectrum(by_paths).passed
    assert check.spectrum(lambda a, b: np.array(by_paths(a, b), np.float32)).passed


def from_means(a: list[float], b: list[float]) -> list[float]:
    L, one, other = len(a), float(np.mean(a)), float(np.mean(b))
    return [math.comb(L, k) * one ** (L - k) * other**k for k in range(L + 1)]


def one_each(a: list[float], b: list[float]) -> list[float]:
    return [math.prod(a[k:]) * math.prod(b[:k]) for k in range(len(a) + 1)]


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda a, b: multiplied(a, b)[::-1], "The order is turned round"),
        (lambda a, b: math.prod(x + y for x, y in zip(a, b, strict=True)), "Keep them apart"),
        (from_means, "a product of means"),
        (one_each, "one path of each length"),
        (lambda a, b: multiplied([1.0] * len(a), b), "The skips are taken as 1"),
        (lambda a, b: multiplied(a, [abs(x) for x in b]), "The signs of the branches"),
        (lambda a, b: multiplied(a, b)[1:], "c_0, is missing"),
        (lambda a, b: [multiplied(a, b)], "2 dimensions"),
    ],
)
def test_a_wrong_spectrum_is_told_what_is_wrong(attempt: Any, text: str) -> None:
    verdict = check.spectrum(attempt)
    assert verdict.status == "wrong"
    assert text in verdict.message


# --- the effective length ---


def test_a_length_may_be_a_loop_or_an_average() -> None:
    assert check.effective_length(
        lambda lengths, norms: sum(map(math.prod, zip(lengths, norms, strict=True))) / sum(norms)
    ).passed
    assert check.effective_length(
        lambda lengths, norms: np.float32(np.average(lengths, weights=norms))
    ).passed


def weighted(lengths: Any, weights: Any) -> float:
    return float(np.average(lengths, weights=weights))


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda k, n: np.mean(k), "the middle of the lengths"),
        (lambda k, n: np.dot(k, n), "divide by it"),
        (lambda k, n: np.dot(k, n) / len(k), "Divide by the sum of the norms"),
        (lambda k, n: weighted(k, np.square(n)), "squares of the norms"),
        (lambda k, n: weighted(k, counts(len(k) - 1, 0)), "whatever gradient they carry"),
        (
            lambda k, n: weighted(k, np.multiply(counts(len(k) - 1, 0), n)),
            "all its paths together already",
        ),
        (lambda k, n: k[int(np.argmax(n))], "not a mean"),
        (lambda k, n: weighted(range(len(k)), n), "need not begin at 0"),
        (lambda k, n: weighted(k, n) + 1, "one too much"),
    ],
)
def test_a_wrong_length_is_told_what_is_wrong(attempt: Any, text: str) -> None:
    verdict = check.effective_length(attempt)
    assert verdict.status == "wrong"
    assert text in " ".join(verdict.message.split())


# --- the lesions ---


def test_the_right_answer_passes() -> None:
    assert check.lesions("b").passed
    assert check.lesions("B").passed


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("a", "need them together"),
        ("c", "it learned"),
        ("d", "no gradient flows"),
        (2, "none of them"),
    ],
)
def test_a_wrong_answer_is_told_what_it_overlooks(answer: Any, text: str) -> None:
    verdict = check.lesions(answer)
    assert verdict.status == "wrong"
    assert text in " ".join(verdict.message.split())
