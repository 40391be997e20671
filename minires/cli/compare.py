"""``minires compare``: plain and residual networks side by side."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from minires.cli.options import (
    add_data_options,
    add_device_option,
    add_sgd_options,
    add_threads_option,
    folder_name,
)
from minires.cli.output import say, undisturbed

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
        epilog=(
            "The same seed gives the same bits on any number of threads, on one processor and one "
            "build of BLAS. Others differ in the last digits and so, after training, in the table."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_data_options(parser, default.data)
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
    add_sgd_options(parser, default)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=list(default.seeds), help="one run for each"
    )
    parser.add_argument(
        "--out",
        type=folder_name,
        default=argparse.SUPPRESS,
        help="folder; files of an earlier run in it are replaced (default: runs/compare-DATA)",
    )
    add_device_option(parser)
    add_threads_option(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from minires import data, kernels, viz
    from minires.errors import UsageError
    from minires.experiments.compare import FILES, CompareConfig, compare, write_results
    from minires.files import output_folder
    from minires.table import format_table

    given = vars(options)
    names = {field.name for field in fields(CompareConfig)}
    values: dict[str, Any] = {name: value for name, value in given.items() if name in names}
    for name in ("depths", "kinds", "seeds"):
        values[name] = tuple(values[name])
    config = CompareConfig(**values)
    if "threads" in given:
        kernels.set_num_threads(options.threads)
    kernels.get_num_threads()  # now, not after an hour: MINIRES_NUM_THREADS may be nonsense
    dataset = data.load(config.data, data_dir=given.get("data_dir"))
    config.check(dataset)
    folder = given.get("out", Path("runs") / f"compare-{config.data}")
    with output_folder(folder, FILES):
        short_of_memory: list[str] = []
        results = compare(
            config, dataset, progress=sys.stderr, on_memory_error=short_of_memory.append
        )
        finished = len(results["runs"])
        if not finished:
            print("minires compare: interrupted before a run was finished", file=sys.stderr)
            return 130
        replaced = any((folder / name).exists() for name in FILES)
        text, problem = format_table(*viz.summary_rows(results["runs"])), None
        try:
            with undisturbed():  # first of all: what follows may fail, and training took long
                files = write_results(results, folder)
        except UsageError as error:
            problem = error
        else:
            text += "\n" + _closing(files, folder, finished, results["interrupted"], replaced)
    try:
        say(text)
    except BrokenPipeError:
        pass  # who reads has seen enough
    except OSError as error:
        if problem is None:
            reason = error.strerror or error
            problem = UsageError(f"cannot print ({reason}); the files are in {str(folder)!r}.")
    if problem is not None:
        raise problem
    if short_of_memory:
        raise UsageError(
            f"not enough memory for {short_of_memory[0]}; choose a smaller --width or --batch-size."
        )
    return 130 if results["interrupted"] else 0


def _closing(
    files: list[Path], folder: Path, finished: int, interrupted: bool, replaced: bool
) -> str:
    """What is said below the table."""
    text = ""
    if interrupted:
        kept = "1 finished run is" if finished == 1 else f"{finished} finished runs are"
        text += f"\ninterrupted: {kept} kept"
    text += "\nwritten: " + ", ".join(str(path) for path in files)
    if replaced:
        text += f"\nThe files of an earlier run in {str(folder)!r} were replaced."
    return text
