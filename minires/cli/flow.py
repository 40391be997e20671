"""``minires flow``: a network under all instruments, beside its plain twin."""

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

_OF_THE_NETWORK = ("model", "data", "width", "shortcut", "seed")


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    from minires.experiments.flow_config import FlowConfig
    from minires.experiments.instruments import INSTRUMENTS

    default = FlowConfig()
    absent: dict[str, Any] = dict(default=argparse.SUPPRESS)  # not given tells from the default
    parser = commands.add_parser(
        "flow",
        help="look at a residual network and its plain twin with every instrument",
        description=(
            "Build a residual network and its plain twin of the same weights, look at both with "
            "every instrument on one batch, and write flow.json, a picture for each result and "
            "flow.html, a page to walk back through the network. With --epochs both are trained "
            "and recorded, and looked at once more; with --checkpoint trained ones are looked at."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--model",
        **absent,
        help=f"resnet or preresnet with a depth of 6n+2 (default: {default.model})",
    )
    add_data_options(parser, default.data)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        nargs="+",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="a trained network, or it and its plain twin; says model, data, width, shortcut, seed",
    )
    parser.add_argument(
        "--instruments",
        nargs="+",
        choices=list(INSTRUMENTS),
        default=argparse.SUPPRESS,
        metavar="NAME",
        help=f"of {', '.join(INSTRUMENTS)}, with spaces between them (default: all)",
    )
    parser.add_argument(
        "--width", type=int, **absent, help=f"filters of stage one (default: {default.width})"
    )
    parser.add_argument(
        "--shortcut",
        choices=["A", "B", "C"],
        **absent,
        help="A pads with zeros where dimensions grow, B projects there, C projects everywhere "
        f"(default: {default.shortcut})",
    )
    parser.add_argument(
        "--batch-size", type=int, default=default.batch_size, help="images looked at, and a step"
    )
    parser.add_argument(
        "--seed", type=int, **absent, help=f"of weights and order (default: {default.seed})"
    )
    parser.add_argument(
        "--epochs", type=int, default=default.epochs, help="train for so many, 0 for not at all"
    )
    add_sgd_options(parser, default)
    parser.add_argument(
        "--warm-up",
        type=int,
        default=argparse.SUPPRESS,
        help="epochs at a tenth of the rate (default: 1 from depth 110 on, else 0)",
    )
    parser.add_argument(
        "--out",
        type=folder_name,
        default=argparse.SUPPRESS,
        help="folder; numbers, page and pictures of an earlier run in it go, trained networks stay "
        "until others are trained (default: runs/flow-MODEL-DATA, with -again for checkpoints)",
    )
    add_device_option(parser)
    add_threads_option(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from minires import data, kernels
    from minires.errors import UsageError
    from minires.experiments.flow_config import FlowConfig, from_checkpoints
    from minires.experiments.microscope import (
        PAGE,
        RESULTS,
        draw_pictures,
        microscope,
        write_numbers,
        write_pictures,
    )
    from minires.files import output_folder

    given = vars(options)
    values = {f.name: given[f.name] for f in fields(FlowConfig) if f.name in given}
    if "instruments" in values:
        values["instruments"] = tuple(dict.fromkeys(values["instruments"]))
    config = FlowConfig(**values)
    checkpoints = _checkpoints(given.get("checkpoint", ()))
    if checkpoints:
        _check_alone(given)
        config = from_checkpoints(config, checkpoints)
    if "threads" in given:
        kernels.set_num_threads(options.threads)
    kernels.get_num_threads()  # now, not after the work: MINIRES_NUM_THREADS may be nonsense
    dataset = data.load(config.data, data_dir=given.get("data_dir"))
    config.check(dataset)
    again = "-again" * bool(checkpoints)  # what the training run left stays as it is
    folder = given.get("out", Path("runs") / f"flow-{config.model}-{config.data}{again}")
    replaced = (folder / RESULTS).exists()
    with output_folder(folder, (RESULTS, PAGE)):
        results, trained = microscope(config, dataset, checkpoints=checkpoints, progress=sys.stderr)
        with undisturbed():  # first of all: what follows may fail, or be interrupted
            files = write_numbers(results, trained, folder)
        try:
            pictures = draw_pictures(results, sys.stderr)
            with undisturbed():
                files += write_pictures(pictures, folder)
        except (UsageError, KeyboardInterrupt) as error:
            kept = f"the numbers are kept in {files[0]}"
            if isinstance(error, KeyboardInterrupt):
                print(f"minires flow: interrupted before the pictures; {kept}", file=sys.stderr)
                return 130
            raise UsageError(f"{str(error).removesuffix('.')}; {kept}.") from error
    try:
        text = _closing(results, files, folder)
        if replaced:
            text += f"\nThe files of an earlier look in {str(folder)!r} were replaced."
        say(text)
    except BrokenPipeError:
        pass  # who reads has seen enough
    failed = [line for network in results["networks"] for line in network["failed"]]
    for line in failed:
        print(f"minires flow: failed: {line}", file=sys.stderr)
    if results["interrupted"]:
        print("minires flow: interrupted: what was finished is kept", file=sys.stderr)
        return 130
    return 1 if failed else 0


def _check_alone(given: dict[str, Any]) -> None:
    """A checkpoint says what the network is, and is trained already."""
    from minires.errors import UsageError

    beside = [name for name in _OF_THE_NETWORK if name in given] + ["epochs"] * bool(
        given["epochs"]
    )
    if beside:
        raise UsageError(
            f"--checkpoint: it says itself what the network is; leave out --{beside[0]}."
        )


def _checkpoints(files: Any) -> dict[str, Any]:
    """The trained networks by kind."""
    from minires import train
    from minires.errors import UsageError

    found: dict[str, Any] = {}
    for file in files:
        checkpoint = train.load_checkpoint(file)
        kind = "residual" if checkpoint.model.residual else "plain"
        if kind in found:
            raise UsageError(f"--checkpoint: two {kind} networks; give one of each kind at most.")
        found[kind] = checkpoint
    return found


def _closing(results: dict[str, Any], files: list[Path], folder: Path) -> str:
    """What each instrument found, in a sentence, and where the rest is."""
    lines = []
    for network in results["networks"]:
        for moment, found in network["moments"].items():
            when = "at initialisation" if moment == "initial" else "after training"
            lines.append(f"{network['name']}, {when}")
            lines += [f"  {name}: {result['caption']}" for name, result in found.items()]
    count = sum(path.suffix == ".png" for path in files)
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    others = [str(path) for path in files if path.suffix != ".png"]
    return "\n".join([*lines, f"\nwritten: {', '.join(others)}, and {pictures} in {str(folder)!r}"])
