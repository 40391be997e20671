"""Does the cost model of kernels/shifted.py choose well?  Measured on this machine.

    python -m tests.proofs.cost_model

For each shape the images of a chunk are multiplied apart and together, forward and for the gradient
by the weight, in turn, on one thread.  The table says how long each took, what the model chose, and
what the choice costs beside the better of the two.  Exit 1 if a choice costs more than half as much
again, or all together more than 3%.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minires.kernels import shifted
from minires.kernels.parallel import one_blas_thread
from minires.kernels.shifted import Reading, correlate, correlate_with, matrices
from minires.table import format_table

READING = Reading((-1, 0, 1), (-1, 0, 1), 1, 1)


class Shape(NamedTuple):
    """Images (N, C, size, size), and M filters of 3 x 3 or 1 x 1."""

    N: int
    C: int
    M: int
    size: int
    kernel: int = 3


SHAPES = [
    *(Shape(64, 8, 8, 8), Shape(64, 16, 16, 4), Shape(64, 32, 32, 2), Shape(16, 3, 16, 32)),
    *(Shape(8, 16, 16, 32), Shape(16, 32, 32, 16), Shape(16, 64, 64, 8), Shape(32, 64, 64, 4)),
    *(Shape(4, 64, 64, 28), Shape(4, 128, 128, 28), Shape(4, 128, 128, 14), Shape(4, 128, 128, 7)),
    *(Shape(4, 256, 256, 14), Shape(4, 256, 256, 7), Shape(4, 512, 512, 7), Shape(1, 512, 512, 7)),
    *(Shape(4, 256, 128, 7, 1), Shape(4, 64, 256, 14, 1), Shape(32, 512, 512, 4)),
]


def seconds(work: Callable[[], object], ways: dict[bool, float], rounds: int) -> dict[bool, float]:
    """Median time with the images apart and together, in turn."""
    usual = shifted.MOVE
    times: dict[bool, list[float]] = {way: [] for way in ways}
    try:
        for turn in range(rounds + 2):
            for together, cost_of_moving in ways.items():
                shifted.MOVE = cost_of_moving
                start = time.perf_counter()
                work()
                if turn > 1:  # the first two find memory and caches cold
                    times[together].append(time.perf_counter() - start)
    finally:
        shifted.MOVE = usual
    return {way: statistics.median(found) for way, found in times.items()}


def measure(shape: Shape, rounds: int) -> list[tuple[str, bool, dict[bool, float]]]:
    """For the forward pass and the gradient by the weight: what was chosen, and the times."""
    rng = np.random.default_rng(0)
    N, C, M, size, kernel = shape
    reading = READING if kernel == 3 else Reading((0,), (0,), 1, 1)
    x = rng.standard_normal((N, 1, C, size, size), dtype=np.float32)
    g = rng.standard_normal((N, 1, M, size, size), dtype=np.float32)
    weights = matrices(rng.standard_normal((1, M, C, kernel, kernel), dtype=np.float32))
    ways = {False: float("inf"), True: 0.0}
    chosen = shifted.images_together(shifted.to_move(x, g), kernel, weights.size)
    forward = seconds(lambda: correlate(x, weights, reading, g), ways, rounds)
    by_weight = seconds(lambda: correlate_with(g, x, reading), ways, rounds)
    return [("forward", chosen, forward), ("by weight", chosen, by_weight)]


def main(rounds: int = 15) -> int:
    rows, costs = [], []
    with one_blas_thread():
        for shape in SHAPES:
            for name, chosen, times in measure(shape, rounds):
                cost = times[chosen] / min(times.values()) - 1.0
                costs.append(cost)
                rows.append(
                    [
                        f"{shape.N}x{shape.C}x{shape.size}x{shape.size} to {shape.M}, "
                        f"{shape.kernel}x{shape.kernel}",
                        name,
                        f"{times[False] * 1e6:.0f}",
                        f"{times[True] * 1e6:.0f}",
                        "together" if chosen else "apart",
                        f"{100 * cost:.0f}%",
                    ]
                )
    print(format_table(["images", "map", "apart (us)", "together (us)", "chosen", "costs"], rows))
    mean, worst = statistics.mean(costs), max(costs)
    print(f"\nthe choices cost {100 * mean:.1f}% on average, {100 * worst:.0f}% at most")
    return int(worst > 0.5 or mean > 0.03)


if __name__ == "__main__":
    sys.exit(main())
