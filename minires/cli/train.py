"""``minires train``: one network on one data set, to be interrupted and gone on with at will."""

from __future__ import annotations

import argparse
import ast
import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from minires.cli.options import (
    add_data_options,
    add_device_option,
    add_threads_option,
    folder_name,
)
from minires.cli.output import say, undisturbed

__all__ = ["add_parser"]

_ABSENT: dict[str, Any] = {"default": argparse.SUPPRESS}


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    from minires.experiments.run_config import NORMALIZE, RunConfig
    from minires.train import RECIPES

    default = RunConfig()
    parser = commands.add_parser(
        "train",
        help="train one network; interrupt it and go on with it at will",
        description=(
            "Train one network and write checkpoint.npz, history.jsonl (a line an epoch) and "
            "curves.png into a folder. Ctrl-C saves where it is; the same command with --resume "
            "goes on from there, bit for bit, also after the process was killed."
        ),
        epilog=(
            "Recipes: he2015-cifar (64,000 steps of 128, /10 at 32,000 and 48,000), "
            "he2015-cifar-110 and he2016-cifar (the same after 400 steps at a tenth of the rate), "
            "huang2016-cifar (500 epochs), short (12 epochs of 64)."
        ),
    )
    add = parser.add_argument
    add(
        "--model", **_ABSENT, help=f"resnet20, plain56, preresnet110, ... (default {default.model})"
    )
    add(
        "--network",
        nargs="+",
        action="extend",
        type=_setting,
        metavar="NAME=VALUE",
        **_ABSENT,
        help="further arguments of the network, such as width=8 shortcut=C aux_heads=2 norm=None",
    )
    add_data_options(parser, default.data)
    add(
        "--normalize",
        choices=list(NORMALIZE),
        **_ABSENT,
        help="mean 0 and std 1 a channel (default); less the mean image; pixels from 0 to 1",
    )
    add("--train-images", type=int, **_ABSENT, help="so many of them, the classes in proportion")
    add("--test-images", type=int, **_ABSENT, help="so many of them, the classes in proportion")
    add("--recipe", choices=list(RECIPES), **_ABSENT, help=f"(default {default.recipe})")
    add("--epochs", type=int, **_ABSENT, help="the length, instead of the recipe's")
    add("--steps", type=int, **_ABSENT, help="the length in steps, instead of the recipe's")
    add("--batch-size", type=int, **_ABSENT, help="instead of the recipe's")
    add("--lr", type=float, **_ABSENT, help="learning rate, instead of the recipe's")
    add("--momentum", type=float, **_ABSENT, help="instead of the recipe's")
    add("--weight-decay", type=float, **_ABSENT, help="instead of the recipe's")
    add(
        "--warm-up",
        type=int,
        **_ABSENT,
        help="epochs at a tenth of the rate, or steps where the length is told in steps",
    )
    augment = argparse.BooleanOptionalAction
    add("--augment", action=augment, **_ABSENT, help="pad by 4, crop and flip, or not")
    add("--seed", type=int, **_ABSENT, help=f"(default {default.seed})")
    add("--evaluate-every", type=int, **_ABSENT, help="epochs between evaluations (default 1)")
    add("--weights", metavar="FILE", **_ABSENT, help="start from weights: .npz, .safetensors, .pth")
    add(
        "--deepen",
        metavar="CHECKPOINT",
        **_ABSENT,
        help="start from this network, made as deep as --model by blocks that are the identity",
    )
    add("--out", type=folder_name, **_ABSENT, help="folder (default runs/train-MODEL-DATA)")
    add("--resume", action="store_true", help="go on with the run in the folder, or begin it")
    add("--save-every", type=float, default=30.0, help="seconds between checkpoints (default 30)")
    add_device_option(parser, "cpu, and with --resume where the run was")
    add_threads_option(parser)
    parser.set_defaults(run=_run)


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, where the value is a Python literal or else a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as width=8")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _run(options: argparse.Namespace) -> int:
    from minires import kernels
    from minires.experiments.run import CURVES, FILES, HISTORY, Run
    from minires.files import output_folder

    given = vars(options)
    if "threads" in given:
        kernels.set_num_threads(options.threads)
    kernels.get_num_threads()  # now, not after an hour: MINIRES_NUM_THREADS may be nonsense
    folder, config, resume = _settings(given)
    dataset = config.load_data(given.get("data_dir"))
    config.check(dataset)
    with output_folder(folder, FILES):
        run = Run(config, folder, dataset, resume=resume)
        if run.finished:
            run.write_history()  # a run that was killed at its very end may lack the last line
            if not (folder / CURVES).exists():
                run.draw()
            return _end(run, f"{folder} holds a run that has come to its end: {_result(run)}")
        if run.training.step:
            _tell(f"goes on after step {run.training.step:,}{_moved(run)}")
        with _asked_to_stop() as stop:
            run.go(progress=sys.stderr, save_every=options.save_every, stop=stop)
        if run.diverged and not run.finished:
            return _end(run, "")
        if not run.finished:
            where = f"after step {run.training.step:,}, kept in {str(run.file)!r}"
            _tell(f"minires train: interrupted {where}; --resume goes on")
            return 130
        with undisturbed():
            curves = run.draw()
    return _end(run, f"{_result(run)}\nwritten: {run.file}, {folder / HISTORY}, {curves}")


def _end(run: Any, text: str) -> int:
    """Say the last words; the exit code."""
    from minires.errors import UsageError

    try:
        if text:
            say(text)
    except BrokenPipeError:
        pass  # who reads has seen enough
    except OSError as error:
        raise UsageError(f"cannot print ({error.strerror}); the run is in {run.folder}.") from None
    if run.diverged:
        _tell(
            f"minires train: it diverged: after step {run.training.step:,} the loss is no number "
            "any more; begin another run with a lower --lr, and another --out"
        )
        return 1
    return 0


def _settings(given: dict[str, Any]) -> tuple[Path, Any, bool]:
    """The folder, the settings, and whether there is a run to go on with."""
    from minires.errors import DataError, UsageError
    from minires.experiments.run import CHECKPOINT, stored_config
    from minires.experiments.run_config import RunConfig

    names = {entry.name for entry in fields(RunConfig)}
    own = {name: value for name, value in given.items() if name in names}
    if "network" in own:
        settings = [name for name, _ in own["network"]]
        if len(set(settings)) < len(settings):
            raise UsageError(f"--network: {max(settings, key=settings.count)} is given twice.")
        own["network"] = dict(own["network"])
    if not 0 <= given["save_every"] < math.inf:
        raise UsageError(f"--save-every must be seconds, 0 or more, not {given['save_every']}.")
    config = RunConfig(**own)
    folder = given.get("out", Path("runs") / f"train-{config.model}-{config.data}")
    resume = given["resume"] and (folder / CHECKPOINT).exists()
    if resume:  # the run says itself what it is, and what is said besides must agree
        try:
            stored = stored_config(folder)
        except DataError as error:
            raise DataError(
                f"{error}; take the file away to begin again, or name another folder with --out."
            ) from None
        recipe = stored.training()  # to say what the recipe says is to agree
        own = {name: v for name, v in own.items() if v != getattr(recipe, name, _ABSENT)}
        config = replace(stored, **own)
        if "device" not in own:
            _check_still_there(config.device)
    elif given["resume"] and not own.keys() - {"device"}:
        raise UsageError(
            f"--resume: there is no run in {str(folder)!r} to go on with, and nothing is said of "
            "one to begin; name its folder with --out."
        )
    return folder, config, resume


def _check_still_there(device: str) -> None:
    """Raise DeviceError, with the mend, if the device of a run is not on this machine."""
    from minires.device import known_device
    from minires.errors import DeviceError

    try:
        known_device(device)
    except DeviceError as error:
        raise DeviceError(
            f"{error} The run was there; --device cpu goes on with it here."
        ) from None


@contextmanager
def _asked_to_stop() -> Iterator[Any]:
    """A function that says whether Ctrl-C was pressed; pressed again, it ends at once."""
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT) or signal.SIG_DFL

    def ask(*_: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)
        _tell("\nminires train: saving after this step ...")

    ignored = before is signal.SIG_IGN  # as whoever started this wants it
    if ignored or threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(text: str) -> None:
    """To standard error, if anybody still reads it; also from within a signal handler."""
    with suppress(OSError, RuntimeError):
        print(text, file=sys.stderr, flush=True)


def _moved(run: Any) -> str:
    """Which device the run goes on on, if it was on another one."""
    before, now = run.came_from, run.config.device
    if before.removesuffix(":0") == now.removesuffix(":0"):  # "cuda" is "cuda:0" here
        return ""
    return f" on {now}; before it was on {before}, which rounds otherwise"


def _result(run: Any) -> str:
    flat = run.training.history.to_dict()
    train, test = flat["train_error"][-1], flat["test_error"][-1]
    return (
        f"{run.config.model}, {flat['step'][-1]:,} steps: "
        f"training error {train:.2f}%, test error {test:.2f}%"
    )
