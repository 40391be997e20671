"""Do deep stacks do what theory says?  Measured beside predicted, with the deviation.

    python -m tests.proofs.theory [--figure FILE.png]

Batch norm and the explosion of the gradient, the scale of the weights, zero padding, and shattered
gradients, on networks of this library at initialisation, with ``minires.flow``.  Takes a few
minutes on one core.  Exit 1 if a bar is missed; a line without a bar is there to be looked at.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, NamedTuple

import numpy as np

import minires as mr
from minires.flow import ledger, theory
from minires.flow.shattering import shattering
from minires.flow.shattering_by_depth import ShatteringByDepth, shattering_by_depth
from minires.table import format_table


class Line(NamedTuple):
    """What was measured, the prediction, and the deviation that is allowed (None: any)."""

    what: str
    measured: float
    predicted: float
    bar: float | None

    @property
    def deviation(self) -> float:
        return self.measured / self.predicted - 1.0

    @property
    def missed(self) -> bool:
        return self.bar is not None and not abs(self.deviation) <= self.bar


def norms(seed: int, shape: tuple[int, ...], depth: int, **options: Any) -> np.ndarray:
    """|g| at the input of each block and at the output of the last, of a random read-out."""
    mr.manual_seed(seed)
    model = mr.models.stack(depth, shape[1], dense=len(shape) == 2, **options)
    draw = np.random.default_rng(1000 + seed)
    x, readout = (draw.standard_normal(shape).astype(np.float32) for _ in range(2))
    found = ledger(model, x, readout, lambda out, target: (out * target).sum())
    return np.array([entry.grad_norm for entry in found.blocks] + [np.linalg.norm(readout)])


def factors(seeds: int, shape: tuple[int, ...], depth: int, **options: Any) -> np.ndarray:
    """|g_l| / |g_(l+1)| of each layer, first layer first: geometric mean over the seeds."""
    each = np.array([norms(seed, shape, depth, **options) for seed in range(seeds)])
    return np.exp(np.log(each[:, :-1] / each[:, 1:]).mean(axis=0))


def mean(values: np.ndarray) -> float:
    return float(np.exp(np.log(values).mean()))


def batch_norm() -> list[Line]:
    lines = []
    for width, n, seeds in ((512, 256, 4), (1024, 512, 2)):
        middle = factors(seeds, (n, width), 24, norm="batch")[4:-4]
        what = f"width {width}, batch {n}: factor a layer, away from the ends"
        lines.append(Line(what, mean(middle), theory.batch_norm_growth(), 0.05))
        lines.append(Line("  smallest of them", float(middle.min()), lines[-1].predicted, 0.05))
        lines.append(Line("  largest of them", float(middle.max()), lines[-2].predicted, 0.05))
    return lines


def scales() -> list[Line]:
    lines = []
    for scale in (0.5, 1.0, 2.0):
        for depth in (10, 20):
            each = factors(12, (32, 512), depth, norm=None, init_scale=scale)
            what = f"scale {scale:g}, {depth} layers: |g_1|/|g_L+1|"
            expected = theory.scale_growth(scale, depth)
            lines.append(Line(what, float(each.prod()), expected, 0.1))
            lines.append(Line("  a layer", mean(each), scale, 0.01))
    return lines


def borders() -> list[Line]:
    lines = []
    depth = 16
    for size in (8, 4, 2):
        each = factors(8, (8, 96, size, size), depth, norm=None)[::-1]  # the last layer first
        exact = theory.border_factors(size, depth)
        even, steady = theory.border_factor(size), theory.steady_border_factor(size)
        name = f"{size}x{size}"
        lines += [
            Line(f"{name}: last layer, where the gradient is even", each[0], even, 0.05),
            Line(f"{name}: all {depth} layers, exact formula", mean(each), mean(exact), 0.05),
            Line(f"{name}: layers 6 to {depth} from the end, steady", mean(each[5:]), steady, 0.05),
            Line(f"{name}: all {depth} layers, sqrt(mean taps / 9)", mean(each), even, 0.05),
            Line(f"{name}: layers 6 to {depth}, the same", mean(each[5:]), even, None),
        ]
    return lines


STACKS: tuple[tuple[str, str | None], ...] = (
    ("plain", None),
    ("residual", None),
    ("residual", "batch"),
    ("plain", "batch"),
)


def by_depth(gates: str) -> list[ShatteringByDepth]:
    """Independent gates with a bar of 10%; real ones as they are."""
    found = []
    for kind, norm in STACKS if gates == "relu" else STACKS[:3]:
        size: dict[str, int] = dict(width=256, samples=128, networks=24)
        if gates == "independent":  # (1/2)^10 within 10% takes many pairs
            size = dict(width=256, samples=256, networks=150 if kind == "plain" else 40)
        found.append(shattering_by_depth(kind=kind, norm=norm, gates=gates, **size))
    return found


def depth_lines(found: ShatteringByDepth) -> list[Line]:
    name = f"{'normalised ' if found.norm else ''}{found.kind}"
    bar = 0.1 if found.wide is None else None
    points = zip(found.depths, found.correlation, found.errors, found.predicted, strict=True)
    lines = [
        Line(f"{name}, {depth} layers (+-{100 * error / measured:.0f}%)", measured, expected, bar)
        for depth, measured, error, expected in points
    ]
    if found.kind == "residual" and found.norm and found.wide is None:
        depth = found.depths[-1]
        root = depth**-0.5
        lines.append(Line("  beside 1/sqrt(layers)", found.correlation[-1], root, None))
    return lines


def along_lines() -> list[list[Any]]:
    """What shattering() finds along a line of inputs, in shallow and deep networks."""
    rows = []
    x = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    for depth, kind, norm in ((1, "plain", None), *((50, *stack) for stack in STACKS)):
        mr.manual_seed(1)
        model = mr.models.stack(depth, 64, kind=kind, norm=norm, in_channels=16, num_classes=4)
        found = shattering(model, x)
        rows.append(
            [
                f"{'normalised ' if norm else ''}{kind}-{depth}",
                found.half_lag,
                found.brown_half_lag,
                found.autocorrelation[1],
                found.floor,
                f"{found.max_error:.0e}",
                found.kinks,
            ]
        )
    return rows


def show(title: str, lines: list[Line]) -> bool:
    """Print a table; whether a bar was missed."""
    headers = ["", "measured", "predicted", "deviation", "bar", ""]
    rows = [
        [
            line.what,
            line.measured,
            line.predicted,
            f"{100 * line.deviation:+.1f}%",
            None if line.bar is None else f"{100 * line.bar:g}%",
            "MISSED" if line.missed else "",
        ]
        for line in lines
    ]
    print(f"\n{title}\n\n{format_table(headers, rows)}", flush=True)
    return any(line.missed for line in lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Deep stacks beside theory.")
    parser.add_argument("--figure", help="draw the correlations by depth into this PNG")
    figure = parser.parse_args(arguments).figure
    missed = show("Batch norm: growth backward, sqrt(pi/(pi-1))", batch_norm())
    missed |= show("No norm: the scale of He's weights", scales())
    missed |= show("No norm: 3x3 convolutions with zero padding", borders())
    print(
        "The mean number of taps is exact for a gradient that is even over the image.  Layers on,\n"
        "it has gathered in the middle, and what is measured is the steady factor."
    )
    curves = []
    for gates, title in (
        ("independent", "Correlation of two gradients, gates made independent: theorems 1 to 3"),
        ("relu", "Correlation of two gradients, real networks: the infinite-width recursion"),
    ):
        found = by_depth(gates)
        missed |= show(title, [line for one in found for line in depth_lines(one)])
        worst = max(one.max_error for one in found)
        print(
            f"\nnoise floor {max(one.floor for one in found):.1e}; chain rule by hand {worst:.0e}"
        )
        missed |= not worst < 1e-10
        curves += [curve for one in found for curve in one.to_dict()["by_depth"]]
    headers = ["network", "half at lag", "brown noise", "at lag 1", "white noise", "check", "kinks"]
    print("\nAutocorrelation of the gradient along a line of inputs\n")
    rows = along_lines()
    print(format_table(headers, rows))
    missed |= not all(math.isfinite(float(row[5])) and float(row[5]) < 1e-6 for row in rows)
    if figure:
        from minires.viz import shattering_figure

        shattering_figure({"by_depth": curves}).savefig(figure, dpi=120)
    print("\na bar was missed" if missed else "\nall within their bars")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
