"""What the checks of notebook 10 answer: to stubs, to right attempts, and to usual mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.exercises import preactivation as check

FUNCTIONS = ["gate_bias", "mask_statistics", "skip_factors"]


def unfilled(*args: Any) -> Any: ...


class Unfilled(nn.ResidualBlock):
    def __init__(self, channels: int):
        super().__init__()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("attempt", [unfilled, ...])
def test_the_stub_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    verdict = getattr(check, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


def test_the_stub_of_the_block_and_of_the_choice_are_not_yet() -> None:
    for verdict in (check.preactivation_block(Unfilled), check.only_grows(...)):
        assert verdict.status == "not yet"
        assert verdict.hint


def wrong(verdict: Any, told: str) -> None:
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- the skips alone ---


def one_by_one(scales: np.ndarray) -> list[float]:
    found, product = [], 1.0
    for scale in scales.tolist()[::-1]:
        product *= scale
        found.insert(0, product)
    return found


def test_the_factors_of_the_skips_in_several_styles() -> None:
    assert check.skip_factors(lambda s: np.cumprod(s[::-1])[::-1]).passed
    assert check.skip_factors(one_by_one).passed
    assert check.skip_factors(lambda s: [*one_by_one(s), 1.0]).passed
    assert check.skip_factors(
        lambda s: mr.tensor([s[i:].prod() for i in range(len(s))], dtype=np.float64)
    ).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (np.cumprod, "begin at the first block"),
        (lambda s: [s[i + 1 :].prod() for i in range(len(s))], "skip of block l itself"),
        (lambda s: [s[i:].sum() for i in range(len(s))], "These are sums"),
        (lambda s: np.full(len(s), s.prod()), "only those from its own on"),
        (lambda s: s.prod(), "right for x_0 alone"),
        (lambda s: s[0] ** np.arange(len(s), 0, -1), "takes the first scale"),
        (lambda s: 1 / np.cumprod(s[::-1])[::-1], "upside down"),
        (lambda s: s, "That is one skip each"),
    ],
)
def test_wrong_factors_hear_what_they_overlook(attempt: Callable[..., Any], told: str) -> None:
    wrong(check.skip_factors(attempt), told)


# --- the mask ---

BLOCK = (1, 2, 3, 4)


def with_loops(sums: np.ndarray) -> tuple[list[float], float]:
    shares = [sum(value <= 0 for value in z.ravel()) / z.size for z in sums]
    places = list(np.ndindex(*sums.shape[1:]))
    clear = sum(all(z[place] > 0 for z in sums) for place in places)
    return shares, clear / len(places)


def test_the_mask_vectorised_and_by_loops() -> None:
    assert check.mask_statistics(
        lambda s: ((s <= 0).mean(axis=BLOCK), (s > 0).all(axis=0).mean())
    ).passed
    assert check.mask_statistics(with_loops).passed
    assert check.mask_statistics(
        lambda s: [(s <= 0).mean(axis=BLOCK, keepdims=True), (s.min(axis=0) > 0).mean()]
    ).passed


def right_shares(sums: np.ndarray) -> np.ndarray:
    return (sums <= 0).mean(axis=BLOCK)


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda s: ((s > 0).mean(axis=BLOCK), 0.0), "asked is what is masked"),
        (lambda s: ((s <= 0).sum(axis=BLOCK), 0.0), "These are counts"),
        (lambda s: ((s <= 0).mean(), 0.0), "over all blocks together"),
        (lambda s: ((s < 0).mean(axis=BLOCK), 0.0), "At exactly 0"),
        (lambda s: (right_shares(s), (s >= 0).all(axis=0).mean()), "At exactly 0"),
        (lambda s: (right_shares(s), np.prod(1 - right_shares(s))), "product of the shares"),
        (lambda s: (right_shares(s), (s > 0).any(axis=0).mean()), "at least one block"),
        (lambda s: (right_shares(s), (s <= 0).any(axis=0).mean()), "masked somewhere"),
        (lambda s: (right_shares(s), 1 - right_shares(s).mean()), "mean share of one block"),
        (lambda s: (right_shares(s), (s.sum(axis=0) > 0).mean()), "sum over the blocks"),
        (right_shares, "Return a pair"),
    ],
)
def test_a_wrong_count_hears_what_it_overlooks(attempt: Callable[..., Any], told: str) -> None:
    wrong(check.mask_statistics(attempt), told)


def test_half_of_the_pair_is_not_yet() -> None:
    assert check.mask_statistics(lambda s: (right_shares(s), None)).status == "not yet"


# --- the block ---


def conv(channels: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, **options)


def block_of(*parts: str, before: Any = None, after: Any = None) -> type[nn.ResidualBlock]:
    """A block whose branch is a row of 'bn', 'relu' and 'conv'."""
    kinds: dict[str, Callable[[int], nn.Module]] = {
        "bn": nn.BatchNorm2d,
        "relu": lambda channels: nn.ReLU(),
        "conv": conv,
    }

    class Block(nn.ResidualBlock):
        def __init__(self, channels: int):
            super().__init__()
            self.branch = nn.Sequential(*(kinds[part](channels) for part in parts))
            if before is not None:
                self.pre = before(channels)
            if after is not None:
                self.activation = after

    return Block


RIGHT = ("bn", "relu", "conv", "bn", "relu", "conv")


class AsMethod(nn.ResidualBlock):
    def __init__(self, channels: int):
        super().__init__()
        self.second, self.first = conv(channels, bias=False), conv(channels)
        self.bn2, self.bn1 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def branch(self, u: Any) -> Any:
        u = self.first(F.relu(self.bn1(u)))
        return self.second(F.relu(self.bn2(u)))


def test_a_pre_activation_block_as_a_sequential_a_method_and_of_the_library() -> None:
    assert check.preactivation_block(block_of(*RIGHT)).passed
    assert check.preactivation_block(AsMethod).passed
    library = mr.models.cifar_resnet(14, width=3, preactivation=True).layer1[1]
    assert check.preactivation_block(lambda channels: library).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (block_of(*RIGHT, after=nn.ReLU()), "ReLU after the sum"),
        (block_of("conv", "bn", "relu", "conv", "bn", after=nn.ReLU()), "block of 2015"),
        (block_of("conv", "bn", "relu", "conv", "bn"), "come after the convolutions"),
        (block_of("conv", "bn", "relu", "conv", "bn", "relu"), "ReLU before addition"),
        (block_of("relu", "bn", "conv", "relu", "bn", "conv"), "ReLU comes before batch norm"),
        (block_of("bn", "conv", "bn", "conv"), "no ReLU here"),
        (
            block_of(
                "conv",
                "bn",
                "relu",
                "conv",
                before=lambda channels: nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()),
            ),
            "The skip reads",
        ),
        (block_of("bn", "relu", "conv"), "it has two of each"),
        (lambda channels: nn.Sequential(conv(channels)), "Return an nn.ResidualBlock"),
    ],
)
def test_a_wrong_block_hears_what_it_overlooks(attempt: Callable[..., Any], told: str) -> None:
    wrong(check.preactivation_block(attempt), told)


def test_a_block_without_a_skip_is_a_plain_one() -> None:
    class Plain(AsMethod):
        shortcut = None  # type: ignore[assignment]

    wrong(check.preactivation_block(Plain), "There is no skip")


# --- the order ---


def test_the_order_that_only_grows() -> None:
    assert check.only_grows("relu-before-addition").passed
    assert check.only_grows(" ReLU-before-addition ").passed


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("original", "not from getting smaller"),
        ("bn-after-addition", "sets mean and variance anew"),
        ("relu-only-preactivation", "batch norm, which gives numbers of both signs"),
        ("full-preactivation", "a convolution, which gives numbers of both signs"),
        ("relu", "Answer with one of"),
    ],
)
def test_another_order_hears_why_not(answer: str, told: str) -> None:
    wrong(check.only_grows(answer), told)


# --- gates ---


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def by_halving(blocks: int, kept: float) -> float:
    low, high = -40.0, 40.0
    for _ in range(100):
        middle = (low + high) / 2
        passed = (1 - 1 / (1 + math.exp(-middle))) ** blocks
        low, high = (middle, high) if passed > kept else (low, middle)
    return low


def test_the_bias_of_a_gate_by_formula_by_halving_and_in_float32() -> None:
    assert check.gate_bias(lambda L, kept: logit(1 - kept ** (1 / L))).passed
    assert check.gate_bias(by_halving).passed
    assert check.gate_bias(lambda L, kept: np.float32([-np.log(kept ** (-1 / L) - 1)]) * -1).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda L, kept: -logit(1 - kept ** (1 / L)), "The sign is turned"),
        (lambda L, kept: logit(1 - kept), "for a single block"),
        (lambda L, kept: logit((1 - kept) / L), "Factors multiply"),
        (lambda L, kept: 1 - kept ** (1 / L), "That is sigmoid(b)"),
        (lambda L, kept: kept ** (1 / L), "1 - sigmoid(b); asked is b"),
        (lambda L, kept: math.log(1 - kept ** (1 / L)), "denominator is missing"),
        (lambda L, kept: logit(1 - kept**L), "L-th power of kept"),
    ],
)
def test_a_wrong_bias_hears_what_it_overlooks(attempt: Callable[..., Any], told: str) -> None:
    wrong(check.gate_bias(attempt), told)
