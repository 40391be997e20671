"""Proof: the ImageNet family equals torchvision's ResNets, number for number.

    python -m tests.proofs.torchvision_equality [--depth 18 34 ...]

torchvision draws the weights; its ``state_dict`` is loaded into minires as it is, strictly.  Both
are given one batch, in evaluation and in training mode, in float64 and in float32, and then three
steps of SGD.  An error is the largest difference as a share of the largest value; of the gradients
the worst parameter counts, each held against its own largest value (or a thousandth of the largest
of all, where that is more).

    float64     within 1e-8 of PyTorch's
    float32     within 3 times PyTorch's own error, both against PyTorch's float64, and never held
                to less than one rounding; its own error is the largest of eight runs that differ
                by rounding alone

The last scale of each branch is set to 0.2.  At 1, where torchvision starts it, a few steps on a
small batch amplify a change in the last digit until PyTorch does not repeat its own float64:
images that differ by 1e-15 moved its loss after three steps (training, 8 images of 32x32) by
1.4e-7 of itself at depth 50, 4.9e-2 at 101 and 2.4e-3 at 152.

The command fails if anything is further off.  It needs torch 2.13 and torchvision 0.28, and takes
five minutes.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import torch

from minires.models import imagenet_resnet
from minires.table import format_table
from tests.golden.imagenet_inputs import DEPTHS, MODES, errors, images, labels
from tests.golden.make_torchvision import own_errors, torchvision_models
from tests.golden.make_torchvision import run as run_torch
from tests.models.imagenet_run import run as run_ours

__all__ = ["main"]

QUANTITIES = ("outputs", "gradients", "loss")
HEADERS = ["depth", "mode", "dtype", *QUANTITIES, *(f"{q}, own" for q in QUANTITIES), "verdict"]
BAR, SHARE, ROUNDING = 1e-8, 3, float(np.finfo(np.float32).eps)


def main() -> int:
    """Compare the networks and print the table; 1 if anything is too far off."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--depth", type=int, nargs="+", choices=DEPTHS, default=list(DEPTHS))
    depths = parser.parse_args().depth
    torch.set_num_threads(1)
    models = torchvision_models()
    rows: list[list[Any]] = []
    for depth in depths:
        torch.manual_seed(depth)
        theirs = getattr(models, f"resnet{depth}")()
        for name, module in theirs.named_modules():
            if name.startswith("layer") and name.endswith("bn3" if depth >= 50 else "bn2"):
                torch.nn.init.constant_(module.weight, 0.2)
        weights = {name: value.numpy().copy() for name, value in theirs.state_dict().items()}
        ours = imagenet_resnet(depth)
        if list(ours.state_dict()) != list(weights):
            raise SystemExit(f"resnet{depth}: the names of the parameters differ, or their order.")
        for mode in MODES:
            rows += compare(depth, mode, theirs, ours, weights)
            print(format_table(HEADERS, rows[-2:]), flush=True)
    print(f"\nAll together\n\n{format_table(HEADERS, rows)}")
    return int(any(row[-1] != "equal" for row in rows))


def compare(
    depth: int, mode: str, theirs: Any, ours: Any, weights: dict[str, np.ndarray]
) -> list[list[Any]]:
    """The rows of one network in one mode: float64, and float32 beside PyTorch's own error."""
    batch = weights, images(depth), labels(depth), mode
    exact = run_torch(theirs, *batch, torch.float64)
    double = errors(run_ours(ours, *batch, "float64"), exact)
    own = own_errors(exact, theirs, *batch)
    single = errors(run_ours(ours, *batch, "float32"), exact)
    bars = {name: SHARE * max(error, ROUNDING) for name, error in own.items()}
    return [
        row(depth, mode, "float64", double, None, all(e <= BAR for e in double.values())),
        row(depth, mode, "float32", single, own, all(single[n] <= bars[n] for n in bars)),
    ]


def row(
    depth: int,
    mode: str,
    dtype: str,
    found: dict[str, float],
    own: dict[str, float] | None,
    equal: bool,
) -> list[Any]:
    texts = [f"{found[name]:.1e}" for name in QUANTITIES]
    texts += ["" if own is None else f"{own[name]:.1e}" for name in QUANTITIES]
    return [depth, mode, dtype, *texts, "equal" if equal else "OFF"]


if __name__ == "__main__":
    sys.exit(main())
