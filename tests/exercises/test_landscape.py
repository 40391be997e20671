"""The exercises of tutorial 12: unfilled, right in several styles, and wrong in known ways."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.exercises import landscape
from minires.flow.landscape import _filter_normalised

Product = Callable[[Any], Any]


def unfilled(*arguments: Any) -> Any:
    raise NotImplementedError  # as it stands in the notebook


def returning_nothing(*arguments: Any) -> Any: ...


@pytest.mark.parametrize("name", landscape.__all__)
@pytest.mark.parametrize("attempt", [..., unfilled, returning_nothing])
def test_an_unfilled_attempt_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    attempt = ... if name == "what_it_shows" else attempt
    verdict = getattr(landscape, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


def correlation(grads: np.ndarray) -> float:
    n, products = len(grads), grads @ grads.T
    return float((products.sum() - np.trace(products)) / (n - 1) / np.trace(products))


def correlation_by_loops(grads: np.ndarray) -> Any:
    pairs = [sum(a * b) for a, b in combinations(grads.tolist(), 2) for a, b in [np.array([a, b])]]
    squares = [sum(g * g) for g in grads]
    return mr.tensor([np.mean(pairs) / np.mean(squares)])


def cosines(grads: np.ndarray) -> float:
    units = grads / np.linalg.norm(grads, axis=1, keepdims=True)
    return float((units @ units.T)[~np.eye(len(grads), dtype=bool)].mean())


def power_iteration(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    v = v / np.linalg.norm(v)
    for _ in range(steps):
        v = vjp(jvp(v))
        v = v / np.linalg.norm(v)
    return float(np.linalg.norm(jvp(v)))


def from_the_other_side(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> Any:
    u, size = jvp(v).astype(np.float32), 0.0
    for _ in range(steps):
        back = vjp(mr.tensor(u / np.linalg.norm(u)))
        u, size = jvp(back.tolist()), float(np.linalg.norm(back))
    return np.array([size])


def dense(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    return float(np.linalg.norm(np.stack([jvp(e) for e in np.eye(len(v))], axis=1), 2))


def powers_of_J(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    for _ in range(steps):
        v = jvp(v)
        v = v / np.linalg.norm(v)
    return float(np.linalg.norm(jvp(v)))


def unnormalised(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    for _ in range(steps):
        v = vjp(jvp(v))
    return float(np.linalg.norm(jvp(v)) / np.linalg.norm(v))


def eigenvalue(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    return power_iteration(jvp, vjp, v, steps) ** 2


def one_step(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    return power_iteration(jvp, vjp, v, 1)


def few_steps(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    return power_iteration(jvp, vjp, v, steps // 2)  # near enough by luck


def not_of_length_one(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    return 2.0 * power_iteration(jvp, vjp, v, steps)


def in_the_wrong_order(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
    return float(np.linalg.norm(jvp(vjp(v))))


def rows(weight: np.ndarray, direction: np.ndarray) -> list[Any]:
    pairs = zip(weight, direction, strict=True)
    return [(d * (np.linalg.norm(w) / np.linalg.norm(d))).tolist() for w, d in pairs]


def at_once(weight: np.ndarray, direction: np.ndarray) -> Any:
    w, d = (a.reshape(len(a), -1) for a in (weight, direction))
    ratio = np.linalg.norm(w, axis=1) / np.linalg.norm(d, axis=1)
    return mr.tensor((d * ratio[:, None]).reshape(weight.shape))


def in_place(weight: np.ndarray, direction: np.ndarray) -> np.ndarray:
    for w, d in zip(weight, direction, strict=True):
        d *= np.linalg.norm(w) / np.linalg.norm(d)
    return direction


def sizes(a: np.ndarray, *axes: int) -> Any:
    return np.sqrt((a**2).sum(axis=axes, keepdims=True))


def all_but_first(a: np.ndarray) -> Any:
    return sizes(a, *range(1, a.ndim))


def by_inputs(w: np.ndarray, d: np.ndarray) -> Any:
    axes = 0, *range(2, w.ndim)
    return d * sizes(w, *axes) / sizes(d, *axes)


def by_kernels(w: np.ndarray, d: np.ndarray) -> Any:
    return d * sizes(w, *range(2, w.ndim)) / sizes(d, *range(2, w.ndim))


@pytest.mark.parametrize(
    ("check", "attempt"),
    [
        (landscape.gradient_correlation, correlation),
        (landscape.gradient_correlation, correlation_by_loops),
        (landscape.gradient_correlation, lambda g: np.float32(correlation(g.astype(np.float32)))),
        (landscape.largest_singular_value, power_iteration),
        (landscape.largest_singular_value, from_the_other_side),
        (landscape.filter_normalised, rows),
        (landscape.filter_normalised, at_once),
        (landscape.what_it_shows, " C "),
    ],
)
def test_right_attempts_pass(check: Callable[[Any], Any], attempt: Any) -> None:
    verdict = check(attempt)
    assert verdict.passed, verdict


def test_the_filter_normalised_direction_is_the_one_of_the_library() -> None:
    weight = mr.tensor(np.random.default_rng(0).standard_normal((4, 3, 2, 2)))
    (found,) = _filter_normalised([weight], np.random.default_rng(1))
    drawn = np.random.default_rng(1).standard_normal((4, 12)).reshape(4, 3, 2, 2)
    assert found is not None
    np.testing.assert_allclose(at_once(weight.numpy(), drawn).numpy(), found, rtol=1e-12)


@pytest.mark.parametrize(
    ("check", "attempt", "told"),
    [
        (
            landscape.gradient_correlation,
            lambda g: (g @ g.T).mean() / (g**2).sum(axis=1).mean(),
            "take i != j",
        ),
        (landscape.gradient_correlation, cosines, "mean of the cosines"),
        (
            landscape.gradient_correlation,
            lambda g: np.corrcoef(g)[~np.eye(len(g), dtype=bool)].mean(),
            "np.corrcoef takes the mean off",
        ),
        (
            landscape.gradient_correlation,
            lambda g: correlation(g) * (g**2).sum(axis=1).mean(),
            "not divided by anything",
        ),
        (landscape.gradient_correlation, lambda g: correlation(g) / len(g), "sum of the squares"),
        (landscape.gradient_correlation, lambda g: correlation(g) / 2, "Half of it"),
        (landscape.gradient_correlation, lambda g: g @ g.T, "should be one number"),
        (landscape.largest_singular_value, powers_of_J, "vjp is not used"),
        (landscape.largest_singular_value, dense, "vjp is not used"),
        (landscape.largest_singular_value, few_steps, "each step takes one product"),
        (landscape.largest_singular_value, unnormalised, "out of the range of numbers"),
        (landscape.largest_singular_value, eigenvalue, "the square of the singular value"),
        (landscape.largest_singular_value, one_step, "each step takes one product"),
        (landscape.largest_singular_value, not_of_length_one, "more than J stretches"),
        (landscape.largest_singular_value, in_the_wrong_order, "each step takes one product"),
        (landscape.filter_normalised, lambda w, d: d / all_but_first(d), "has length 1"),
        (landscape.filter_normalised, lambda w, d: d * all_but_first(w), "not divided"),
        (
            landscape.filter_normalised,
            lambda w, d: d * np.linalg.norm(w) / np.linalg.norm(d),
            "scales the layer as a whole",
        ),
        (landscape.filter_normalised, lambda w, d: d * np.abs(w / d), "each weight by itself"),
        (landscape.filter_normalised, by_inputs, "for each input channel"),
        (landscape.filter_normalised, by_kernels, "for each kernel"),
        (landscape.filter_normalised, lambda w, d: w, "These are the weights"),
        (landscape.filter_normalised, in_place, "changes an array"),
        (landscape.what_it_shows, "a", "Flat is not good"),
        (landscape.what_it_shows, "b", "not convex"),
        (landscape.what_it_shows, "d", "Compare like with like"),
        (landscape.what_it_shows, "e", "none of them"),
    ],
)
def test_a_wrong_attempt_hears_what_it_overlooks(
    check: Callable[[Any], Any], attempt: Any, told: str
) -> None:
    verdict = check(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def test_vectors_of_the_wrong_side_are_told_apart() -> None:
    def exchanged(jvp: Product, vjp: Product, v: np.ndarray, steps: int) -> float:
        return power_iteration(vjp, jvp, v, steps)

    assert "v lives where the input does" in landscape.largest_singular_value(exchanged).message
