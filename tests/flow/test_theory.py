"""The formulas, against integrals and eigenvalues found another way, and against small networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.errors import UsageError
from minires.flow import ledger, theory


def normal_pairs(c: float, n: int = 400_000) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x, other = draw.standard_normal((2, n))
    return x, c * x + math.sqrt(1 - c * c) * other


@pytest.mark.parametrize("c", [-0.7, 0.0, 0.3, 0.9])
def test_the_two_kernels_are_averages_over_normal_pairs(c: float) -> None:
    x, y = normal_pairs(c)
    assert theory.both_on(c) == pytest.approx(2 * np.mean((x > 0) & (y > 0)), abs=4e-3)
    relus = np.maximum(x, 0), np.maximum(y, 0)
    assert theory.relu_correlation(c) == pytest.approx(2 * np.mean(relus[0] * relus[1]), abs=6e-3)


def test_the_growth_is_one_over_the_deviation_of_a_relu_with_weights_of_he() -> None:
    x = np.linspace(-9, 9, 200_001)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    relu, step = np.maximum(x, 0), x[1] - x[0]
    mean, square = ((relu**k * density).sum() * step for k in (1, 2))
    assert theory.batch_norm_growth() == pytest.approx((2 * (square - mean**2)) ** -0.5, rel=1e-6)


def tap_matrix(size: int) -> np.ndarray:
    """Which pixels lie within one step of which, (size * size, size * size), counted out."""
    pixels = [(i, j) for i in range(size) for j in range(size)]
    return np.array(
        [[abs(i - k) <= 1 and abs(j - m) <= 1 for k, m in pixels] for i, j in pixels], dtype=float
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_border_factors_are_those_of_the_tap_matrix(size: int) -> None:
    taps = tap_matrix(size)
    energy = np.ones(size * size)
    assert theory.border_factor(size) == pytest.approx(math.sqrt(taps.sum(axis=1).mean() / 9))
    for factor in theory.border_factors(size, 5):
        after = taps @ energy / 9
        assert factor == pytest.approx(math.sqrt(after.sum() / energy.sum()))
        energy = after
    largest = np.linalg.eigvalsh(taps)[-1]
    assert theory.steady_border_factor(size) == pytest.approx(math.sqrt(largest / 9))
    assert theory.border_factors(size, 200)[-1] == pytest.approx(theory.steady_border_factor(size))


def test_a_scale_multiplies_each_factor() -> None:
    assert theory.border_factor(4, 0.5) == 0.5 * theory.border_factor(4)
    assert theory.border_factors(4, 2, 3.0)[1] == pytest.approx(3 * theory.border_factors(4, 2)[1])
    assert theory.steady_border_factor(4, 2.0) == 2 * theory.steady_border_factor(4)
    assert theory.scale_growth(2.0, 5) == 32


def test_independent_gates_follow_the_three_theorems() -> None:
    value = theory.independent_gates_correlation
    assert [value("plain", None, n) for n in (1, 3)] == [1 / 2, 1 / 8]
    assert value("plain", "batch", 3) == 1 / 8
    assert value("residual", None, 3) == 27 / 64
    for n in (5, 10, 1000):  # the product in closed form
        logs = math.lgamma(n + 1.5) - math.lgamma(1.5) - math.lgamma(n + 2)
        assert value("residual", "batch", n) == pytest.approx(math.exp(logs))
        root = 2 / math.sqrt(math.pi * n)
        assert value("residual", "batch", n) == pytest.approx(root, rel=1 / n)


def test_the_recursion_begins_at_the_theorem_and_stays_above_it() -> None:
    real, ideal = theory.gradient_correlation, theory.independent_gates_correlation
    for kind in ("plain", "residual"):
        assert real(kind, None, 1) == ideal(kind, None, 1)
        for depth in (2, 5, 10):
            assert real(kind, None, depth) > ideal(kind, None, depth)
    assert real("residual", "batch", 10) < ideal("residual", "batch", 10)
    assert real("plain", None, 10, c=1.0) == 1.0


def test_the_recursion_carries_the_correlation_of_the_inputs_on() -> None:
    real, on, after = theory.gradient_correlation, theory.both_on, theory.relu_correlation
    expected = on(0.2) * on(after(0.2)) * on(after(after(0.2)))
    assert real("plain", None, 3, c=0.2) == pytest.approx(expected)
    second = (0.2 + after(0.2)) / 2
    third = (second + after(second)) / 2
    expected = math.prod((1 + on(c)) / 2 for c in (0.2, second, third))
    assert real("residual", None, 3, c=0.2) == pytest.approx(expected)


def test_the_normalised_residual_recursion_falls_with_the_power_it_names() -> None:
    one, other = (theory.gradient_correlation("residual", "batch", n) for n in (10_000, 40_000))
    assert math.log(one / other) / math.log(4) == pytest.approx(
        math.pi / (2 * math.pi - 2), abs=1e-3
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: theory.border_factor(0),
        lambda: theory.both_on(1.1),
        lambda: theory.relu_correlation(math.nan),
        lambda: theory.gradient_correlation("highway", None, 3),
        lambda: theory.independent_gates_correlation("plain", "layer", 3),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any) -> None:
    with pytest.raises(UsageError, match="theory: "):
        call()


def factors(depth: int, shape: tuple[int, ...], **options: Any) -> np.ndarray:
    """|g_l| / |g_(l+1)| of the layers of a stack, the last one beside the read-out."""
    mr.manual_seed(0)
    model = mr.models.stack(depth, shape[1], dense=len(shape) == 2, **options)
    draw = np.random.default_rng(1)
    x, readout = (draw.standard_normal(shape).astype(np.float32) for _ in range(2))
    found = ledger(model, x, readout, lambda out, target: (out * target).sum())
    norms = [entry.grad_norm for entry in found.blocks] + [float(np.linalg.norm(readout))]
    return np.array(norms[:-1]) / np.array(norms[1:])


def test_batch_norm_makes_the_gradient_grow_by_its_factor() -> None:
    middle = factors(12, (256, 256), norm="batch")[3:-3]
    assert middle.min() > 0.95 * theory.batch_norm_growth()
    assert middle.max() < 1.05 * theory.batch_norm_growth()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_without_norm_a_layer_multiplies_by_its_scale(scale: float) -> None:
    each = factors(8, (32, 512), norm=None, init_scale=scale)
    assert each.prod() ** (1 / 8) == pytest.approx(scale, rel=0.03)


@pytest.mark.parametrize("size", [8, 4, 2])
def test_convolutions_lose_at_the_border_what_the_formulas_say(size: int) -> None:
    each = factors(10, (8, 48, size, size), norm=None)[::-1]  # the last layer first
    predicted = np.array(theory.border_factors(size, 10))
    assert (each / predicted).prod() ** 0.1 == pytest.approx(1.0, rel=0.05)
    assert each[4:].prod() ** (1 / 6) == pytest.approx(theory.steady_border_factor(size), rel=0.05)
