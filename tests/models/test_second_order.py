"""Whole networks against differences: their gradients, and the gradients of those."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.check import gradcheck, gradgradcheck
from minires.models import cifar_resnet

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.standard_normal((3, 1, 8, 8)), np.array([1, 0, 3])

SMALL: dict[str, Any] = dict(width=4, in_channels=1, num_classes=4)


def resnet8(**settings: Any) -> nn.Module:
    mr.manual_seed(0)
    return cifar_resnet(8, **{**SMALL, **settings}).to("float64")


def gradients(model: nn.Module, create_graph: bool = False) -> tuple[mr.Tensor, ...]:
    """Of the loss by all parameters."""
    loss = F.cross_entropy(model(mr.tensor(IMAGES)), LABELS)
    return mr.grad(loss, list(model.parameters()), create_graph=create_graph)


def hessian_vector(model: nn.Module, vector: list[np.ndarray]) -> list[np.ndarray]:
    """H v, as the gradient of <gradient, v>."""
    found = gradients(model, create_graph=True)
    terms = [(g * mr.tensor(v)).sum() for g, v in zip(found, vector, strict=True)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return [product.data for product in mr.grad(total, list(model.parameters()))]


def direction(model: nn.Module, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(p.shape) for p in model.parameters()]


def inner(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))


def gradients_at(model: nn.Module, where: list[np.ndarray]) -> list[np.ndarray]:
    kept = [p.data for p in model.parameters()]
    for parameter, array in zip(model.parameters(), where, strict=True):
        parameter.data = array
    try:
        return [gradient.data for gradient in gradients(model)]
    finally:
        for parameter, array in zip(model.parameters(), kept, strict=True):
            parameter.data = array


def test_gradients_of_resnet_8_by_input_and_parameters_agree_with_differences() -> None:
    report = gradcheck(resnet8(), IMAGES)
    assert len(report.inputs) == 24
    assert report.kinks == []


def test_gradients_of_gradients_of_resnet_8_agree_with_differences() -> None:
    report = gradgradcheck(resnet8(), IMAGES)
    assert len(report.inputs) == 25
    assert report.kinks == []


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"preactivation": True}, {"shortcut": "B"}, {"residual": False}, {"norm": None}],
    ids=str,
)
def test_hessian_vector_products_agree_with_differences_of_the_gradient(
    settings: dict[str, Any], training: bool
) -> None:
    model = resnet8(**settings).train(training)
    vector = direction(model, 1)
    found = hessian_vector(model, vector)
    at = [p.data.copy() for p in model.parameters()]
    h = 1e-5 / np.sqrt(inner(vector, vector))
    above, below = (
        gradients_at(model, [x + s * h * v for x, v in zip(at, vector, strict=True)])
        for s in (1.0, -1.0)
    )
    largest = max(np.abs(product).max() for product in found)
    assert largest > 1e-3
    for product, a, b in zip(found, above, below, strict=True):
        np.testing.assert_allclose(product, (a - b) / (2 * h), rtol=1e-5, atol=1e-6 * largest)


def test_the_hessian_is_symmetric() -> None:
    model = resnet8()
    u, v = direction(model, 1), direction(model, 2)
    left, right = inner(u, hessian_vector(model, v)), inner(v, hessian_vector(model, u))
    assert abs(left) > 1e-3
    assert left == pytest.approx(right, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 20},
        {"depth": 14, "residual": False},
        {"depth": 14, "preactivation": True},
        {"depth": 14, "shortcut": "C", "zero_init_residual": True},
        {"depth": 11, "block": "bottleneck", "shortcut": "B"},
        {"depth": 11, "block": "bottleneck", "preactivation": True, "shortcut": "B"},
    ],
    ids=str,
)
def test_deeper_networks_of_every_kind_agree_with_differences(settings: dict[str, Any]) -> None:
    mr.manual_seed(0)
    model = cifar_resnet(**settings, **SMALL).to("float64")
    assert gradcheck(model, IMAGES, rtol=1e-4)
    assert gradgradcheck(model, IMAGES, rtol=1e-4)
