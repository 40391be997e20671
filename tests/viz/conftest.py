"""Results as the command writes them, made up from a formula: no training in these tests."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.browsers import real_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Closing training errors in percent, near what the real networks reach on the digits.
_TRAINING_ERROR = {
    ("plain", 20): 4.0,
    ("plain", 56): 61.0,
    ("plain", 110): 88.0,
    ("residual", 20): 1.5,
    ("residual", 56): 5.0,
    ("residual", 110): 9.0,
}


def make_flow(kind: str, depth: int, rng: random.Random, slope: float) -> dict[str, Any]:
    blocks = (depth - 2) // 2
    stage = blocks // 3
    names = [f"layer{1 + i // stage}.{i % stage}" for i in range(blocks)]
    steps = [blocks - 1 - i for i in range(blocks)]
    rate = slope if kind == "plain" else slope / 6
    rms = [3e-4 * math.exp(rate * step) * math.exp(rng.gauss(0, 0.08)) for step in steps]
    if kind == "plain":
        nothing: list[float | None] = [None] * blocks
        return {
            "block": names,
            "grad_rms": rms,
            "skip_share": nothing,
            "skip_norm": nothing,
            "branch_norm": rms,
            "cosine": nothing,
        }
    share = [0.5 + 0.35 * (1 - 1 / (2 + i % stage)) + rng.gauss(0, 0.02) for i in range(blocks)]
    return {
        "block": names,
        "grad_rms": rms,
        "skip_share": share,
        "skip_norm": [2 * s * r for s, r in zip(share, rms, strict=True)],
        "branch_norm": [2 * (1 - s) * r for s, r in zip(share, rms, strict=True)],
        "cosine": [rng.uniform(-0.3, 0.5) for _ in share],
    }


def make_run(kind: str, depth: int, seed: int = 0, epochs: int = 12) -> dict[str, Any]:
    rng = random.Random(f"{kind}-{depth}-{seed}")
    end = _TRAINING_ERROR.get((kind, depth), 2.0 + depth / 20) * rng.uniform(0.9, 1.1)
    train = []
    for epoch in range(1, epochs + 1):
        noise = 1 + 0.25 * rng.gauss(0, 1) * (1 - epoch / epochs)
        train.append(min(90.0, max(0.0, (end + (89 - end) * math.exp(-epoch / 2.2)) * noise)))
    train[-1] = end
    test = [min(90.0, error + 2.5 + rng.uniform(0, 2)) for error in train]
    loss = [0.02 + error / 35 for error in train]
    rate = [
        0.1 * 0.1 ** ((epoch > epochs / 2) + (epoch > epochs * 3 / 4))
        for epoch in range(1, epochs + 1)
    ]
    return {
        "kind": kind,
        "depth": depth,
        "seed": seed,
        "parameters": 1200 * depth + 44_000,
        "train_loss": loss[-1],
        "train_error": train[-1],
        "test_error": test[-1],
        "seconds": depth * 0.4 + rng.uniform(0, 1),
        "history": {
            "epoch": list(range(1, epochs + 1)),
            "lr": [round(r, 8) for r in rate],
            "train_loss": loss,
            "train_error": train,
            "test_error": test,
            "batch_loss": [value * 1.1 for value in loss],
        },
        "gradient_flow": {
            "initial": make_flow(kind, depth, rng, 0.16),
            "trained": make_flow(kind, depth, rng, 0.06),
        },
    }


def make_results(
    depths: tuple[int, ...] = (20, 56),
    kinds: tuple[str, ...] = ("plain", "residual"),
    seeds: tuple[int, ...] = (0,),
    epochs: int = 12,
) -> dict[str, Any]:
    return {
        "config": {
            "data": "digits",
            "depths": list(depths),
            "kinds": list(kinds),
            "width": 8,
            "epochs": epochs,
            "batch_size": 64,
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "shortcut": "A",
            "seeds": list(seeds),
            "train_samples": 1437,
            "test_samples": 360,
        },
        "environment": {"minires": "0.1.0", "python": "3.12.1", "numpy": "2.1.0", "threads": 2},
        "interrupted": False,
        "runs": [
            make_run(kind, depth, seed, epochs)
            for depth in depths
            for kind in kinds
            for seed in seeds
        ],
    }


def make_ledger(blocks: int = 9, *, skips: bool = True, spread: float = 1.1) -> dict[str, Any]:
    rows = []
    for i in range(blocks):
        skip, branch = 0.02 * spread**i, 0.012 * spread ** (i * 0.8)
        rows.append(
            {
                "name": f"layer{1 + 3 * i // blocks}.{i % max(blocks // 3, 1)}",
                "skip_norm": skip if skips else None,
                "branch_norm": branch,
                "skip_rms": skip / 64 if skips else None,
                "branch_rms": branch / 64,
                "share": skip / (skip + branch) if skips else None,
                "cosine": math.sin(i) * 0.4 if skips else None,
                "forward_ratio": 0.8 if skips else None,
                "grad_rms": (skip + branch) / 64,
            }
        )
    return {"loss": 2.3026, "blocks": rows}


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A real browser, for the pages that are opened from the file system."""
    with real_browser() as browser:
        yield browser


@pytest.fixture
def results() -> dict[str, Any]:
    """Plain and residual, 20 and 56 layers, one seed: what the command runs by default."""
    return make_results()


@pytest.fixture
def seeded() -> dict[str, Any]:
    """The same with three seeds."""
    return make_results(seeds=(0, 1, 2))


@pytest.fixture
def build() -> Callable[..., dict[str, Any]]:
    return make_results


@pytest.fixture
def ledger() -> Callable[..., dict[str, Any]]:
    return make_ledger
