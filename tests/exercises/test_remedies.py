"""What the checks of notebook 11 answer: to stubs, to right attempts, and to usual mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.exercises import remedies as check


def unfilled(*args: Any) -> Any: ...


@pytest.mark.parametrize("name", check.__all__)
@pytest.mark.parametrize("attempt", [unfilled, ...])
def test_the_stub_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    verdict = getattr(check, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


def wrong(verdict: Any, told: str) -> None:
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- auxiliary losses ---


def in_a_row(loss: Any, main: Any, auxiliary: Any, target: Any, weight: float) -> Any:
    return sum((weight * loss(output, target) for output in auxiliary), loss(main, target))


def with_stack(loss: Any, main: Any, auxiliary: Any, target: Any, weight: float) -> Any:
    losses = mr.stack([loss(output, target) for output in (main, *auxiliary)])
    return (losses * mr.tensor([1.0] + [weight] * len(auxiliary), dtype=np.float64)).sum()


def test_the_total_loss_in_several_styles() -> None:
    assert check.total_loss(in_a_row).passed
    assert check.total_loss(with_stack).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda f, m, a, t, w: f(m, t), "auxiliary losses are missing"),
        (lambda f, m, a, t, w: w * sum(f(o, t) for o in a), "loss of the main output is missing"),
        (lambda f, m, a, t, w: f(m, t) + sum(f(o, t) for o in a), "the weight is missing"),
        (lambda f, m, a, t, w: w * sum(f(o, t) for o in (m, *a)), "on the main loss, too"),
        (
            lambda f, m, a, t, w: (1 - w) * f(m, t) + w * sum(f(o, t) for o in a),
            "it is added, not mixed",
        ),
        (
            lambda f, m, a, t, w: f(m, t) + w / max(len(a), 1) * sum(f(o, t) for o in a),
            "are averaged here",
        ),
        (lambda f, m, a, t, w: f(m, t) + w * f(a[0], t), "Only the first"),
        (lambda *args: in_a_row(*args).item(), "no history"),
        (
            lambda f, m, a, t, w: f(m, t) + w * sum(f(o, t).item() for o in a),
            "no gradient comes back to auxiliary output 1",
        ),
    ],
)
def test_a_wrong_total_hears_what_it_overlooks(attempt: Callable[..., Any], told: str) -> None:
    wrong(check.total_loss(attempt), told)


# --- construction ---


def put(norm: Any, **values: Any) -> None:
    new = {name: mr.tensor(np.asarray(v, np.float32)) for name, v in values.items()}
    norm.load_state_dict({**norm.state_dict(), **new})


def neutral(
    block: Any,
    mean: np.ndarray,
    var: np.ndarray,
    *,
    layers: tuple[int, ...] = (1, 2),
    **changed: Callable[..., Any],
) -> Any:
    """The solution; ``changed`` gives other values, as functions of mean, var and eps."""
    for i in layers:
        norm = getattr(block, f"bn{i}")
        nn.init.dirac_(getattr(block, f"conv{i}").weight)
        values = dict(running_mean=mean, running_var=var, weight=np.sqrt(var + norm.eps), bias=mean)
        values |= {name: make(mean, var, norm.eps) for name, make in changed.items()}
        put(norm, **values)
    return block


def by_hand(block: Any, mean: np.ndarray, var: np.ndarray) -> Any:
    """Kernel by kernel, and another share of the work for each of the two norms."""
    kernel = np.zeros(block.conv1.weight.shape)
    for c in range(len(mean)):
        kernel[c, c, 1, 1] = 1.0
    for conv in (block.conv1, block.conv2):
        put(conv, weight=kernel)
    root = np.sqrt(var + block.bn1.eps)
    for norm in (block.bn1, block.bn2):
        put(norm, weight=root, bias=mean, running_mean=mean, running_var=var)
    return block


def test_a_neutral_block_by_dirac_and_by_hand() -> None:
    assert check.neutral_block(neutral).passed
    assert check.neutral_block(by_hand).passed


def with_values(**changed: Callable[..., Any]) -> Callable[..., Any]:
    return lambda block, mean, var: neutral(block, mean, var, **changed)


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (with_values(weight=lambda mean, var, eps: np.sqrt(var)), "eps is in the root"),
        (with_values(weight=lambda mean, var, eps: np.ones(len(var))), "weight is 1"),
        (with_values(weight=lambda mean, var, eps: var), "weight is the variance"),
        (with_values(weight=lambda mean, var, eps: (var + eps) ** -0.5), "divides once more"),
        (with_values(bias=lambda mean, var, eps: 0 * mean), "bias is 0"),
        (with_values(bias=lambda mean, var, eps: -mean), "bias is -mean"),
        (with_values(running_var=lambda mean, var, eps: var + 0.5), "The running statistics of"),
        (
            with_values(
                running_mean=lambda mean, var, eps: 0 * mean,
                running_var=lambda mean, var, eps: 1 + 0 * var,
                weight=lambda mean, var, eps: np.full(len(var), np.sqrt(1 + eps)),
                bias=lambda mean, var, eps: 0 * mean,
            ),
            "running mean 0 and variance 1",
        ),
        (lambda block, mean, var: neutral(block, mean, var, layers=(1,)), "conv2 does not copy"),
        (lambda block, mean, var: block, "conv1 does not copy"),
        (lambda block, mean, var: nn.Identity(), "Return the block that was given"),
    ],
)
def test_a_block_that_changes_something_hears_where(attempt: Callable[..., Any], told: str) -> None:
    wrong(check.neutral_block(attempt), told)


def test_a_skip_is_no_answer() -> None:
    def attempt(block: Any, mean: Any, var: Any) -> Any:
        block.shortcut = lambda u: u
        return block

    wrong(check.neutral_block(attempt), "has a skip now")


def test_another_forward_is_no_answer() -> None:
    def attempt(block: Any, mean: Any, var: Any) -> Any:
        block.forward = lambda x: x
        return block

    wrong(check.neutral_block(attempt), "leave forward alone")


# --- Fixup ---


def from_the_library(blocks: int, layers: int) -> float:
    from minires.models.identity_blocks import _fixup_scale

    return _fixup_scale(blocks, layers)


def test_the_scale_of_fixup_by_formula_and_as_the_library_has_it() -> None:
    assert check.fixup_scale(lambda L, m: L ** (-1 / (2 * m - 2))).passed
    assert check.fixup_scale(lambda L, m: np.exp(-np.log([L]) / (2 * (m - 1)))).passed
    assert check.fixup_scale(from_the_library).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda L, m: L ** (1 / (2 * m - 2)), "sign of the exponent"),
        (lambda L, m: L ** (-1 / (2 * m)), "2m - 2, not 2m"),
        (lambda L, m: L ** (-1 / (m - 1)), "That is the square"),
        (lambda L, m: L**-0.5, "two layers alone"),
        (lambda L, m: L**-0.25, "three layers alone"),
        (lambda L, m: (L * m) ** (-1 / (2 * m - 2)), "number of branches, not of layers"),
        (lambda L, m: 1 / L, "a root of 1 / L"),
    ],
)
def test_a_wrong_scale_hears_what_it_overlooks(attempt: Callable[..., Any], told: str) -> None:
    wrong(check.fixup_scale(attempt), told)


# --- stochastic depth ---


def from_a_network(blocks: int, last: float) -> float:
    from minires.models.resnet import thin_out

    made = [nn.ResidualBlock() for _ in range(blocks)]
    thin_out(made, last)
    return sum(block.survival_probability for block in made)


def test_the_expected_depth_by_formula_and_by_adding() -> None:
    assert check.expected_depth(lambda L, p: L - (1 - p) * (L + 1) / 2).passed
    assert check.expected_depth(lambda L, p: (1 - np.arange(1, L + 1) / L * (1 - p)).sum()).passed
    assert check.expected_depth(from_a_network).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda L, p: L * p, "last probability for all blocks"),
        (lambda L, p: sum(1 - i / L * (1 - p) for i in range(L)), "counted from 1"),
        (lambda L, p: L * (1 + p) / 2, "probability of the stem"),
        (lambda L, p: (1 - p) * (L + 1) / 2, "how many are left out"),
        (lambda L, p: 1 - (1 - p) * (L + 1) / 2 / L, "That is the share"),
        (lambda L, p: (3 * L - 1) / 4, "last = 0.5 alone"),
        (
            lambda L, p: np.prod(1 - np.arange(1, L + 1) / L * (1 - p)),
            "probability that all run",
        ),
    ],
)
def test_a_wrong_number_hears_what_it_overlooks(attempt: Callable[..., Any], told: str) -> None:
    wrong(check.expected_depth(attempt), told)
