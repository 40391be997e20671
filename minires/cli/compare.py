"""``minires compare``: plain and residual networks side by side."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    from minires.experiments.compare import KINDS, CompareConfig

    default = CompareConfig()
    parser = commands.add_parser(
        "compare",
        help="train plain and residual networks side by side and report what the skips change",
        description=(
            "Train plain and residual networks of the CIFAR family on the same data, from the same "
            "weights, in the same order; print a table and write results.json, curves.png, "
            "gradient_flow.png and report.html. Ctrl-C keeps the runs that are finished."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", default=default.data, help="data set")
    parser.add_argument(
        "--depths", type=int, nargs="+", default=list(default.depths), help="depths, each 6n+2"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=list(KINDS), default=list(default.kinds), help="networks"
    )
    parser.add_argument("--width", type=int, default=default.width, help="filters of stage one")
    parser.add_argument(
        "--shortcut",
        choices=["A", "B", "C"],
        default=default.shortcut,
        help="A pads with zeros where dimensions grow, B projects there, C projects everywhere",
    )
    parser.add_argument("--epochs", type=int, default=default.epochs, help="times through the data")
    parser.add_argument("--batch-size", type=int, default=default.batch_size, help="images a step")
    parser.add_argument("--lr", type=float, default=default.lr, help="learning rate at the start")
    parser.add_argument("--momentum", type=float, default=default.momentum, help="of SGD")
    parser.add_argument("--weight-decay", type=float, default=default.weight_decay, help="of SGD")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=list(default.seeds), help="one run for each"
    )
    parser.add_argument(
        "--out", type=Path, default=argparse.SUPPRESS, help="folder (default: runs/compare-DATA)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=argparse.SUPPRESS,
        help="threads; the numbers are the same for any (default: all processors)",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from minires import data, kernels, viz
    from minires.experiments.compare import CompareConfig, compare, write_results
    from minires.experiments.files import output_folder
    from minires.table import format_table

    given = vars(options)
    values: dict[str, Any] = {field.name: given[field.name] for field in fields(CompareConfig)}
    for name in ("depths", "kinds", "seeds"):
        values[name] = tuple(values[name])
    config = CompareConfig(**values)
    if "threads" in given:
        kernels.set_num_threads(options.threads)
    kernels.get_num_threads()  # now, not after an hour: MINIRES_NUM_THREADS may be nonsense
    dataset = data.load(config.data)
    config.check(dataset)
    folder = given.get("out", Path("runs") / f"compare-{config.data}")
    with output_folder(folder):
        results = compare(config, dataset, progress=sys.stderr)
        if not results["runs"]:
            print("minires compare: interrupted before a run was finished", file=sys.stderr)
            return 130
        print(format_table(*viz.summary_rows(results["runs"])), flush=True)
        files = write_results(results, folder)
    if results["interrupted"]:
        print(f"\ninterrupted: {len(results['runs'])} finished runs are kept")
    print("\nwritten: " + ", ".join(str(path) for path in files))
    return 130 if results["interrupted"] else 0
