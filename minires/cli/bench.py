"""``minires bench``: minires beside PyTorch, in turn in one run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minires.bench import Bench, Side

from minires.cli.options import add_device_option
from minires.cli.output import say, undisturbed

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "bench",
        help="measure time, memory and accuracy beside PyTorch",
        description=(
            "Measure minires beside PyTorch (and Chainer, where it is installed): each framework "
            "in a process of its own, fresh for every workload, in turn A B A B, so that both see "
            "the same machine. Prints medians, ratios (minires / PyTorch) and peak memory. All of "
            "it takes some ten minutes; Ctrl-C prints and writes what is finished. With --device "
            "cuda it measures networks, and the bandwidth of kernels, on a GPU."
        ),
        epilog=(
            "Nothing else should run meanwhile. Exit status 1 says that a workload failed, 130 "
            "that the run was interrupted."
        ),
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="workloads or groups that fit a shell pattern, such as 'conv-*' (default: all)",
    )
    parser.add_argument(
        "--repeat", type=int, default=7, help="rounds after the one that warms up (default: 7)"
    )
    parser.add_argument(
        "--threads", type=int, default=None, help="threads of each side (default: all processors)"
    )
    add_device_option(parser)
    parser.add_argument(
        "--json", type=_file, default=None, metavar="FILE", help="write all numbers there"
    )
    parser.add_argument(
        "--python",
        nargs="+",
        action="extend",
        type=_interpreter,
        default=[],
        metavar="NAME=PATH",
        help="the Python that has pytorch or chainer (default: the one that runs minires)",
    )
    parser.add_argument("--list", action="store_true", help="show the workloads, and measure none")
    parser.set_defaults(run=_run)


def _file(text: str) -> Path:
    if not text.strip() or text.endswith("/"):
        raise argparse.ArgumentTypeError("needs the name of a file")
    try:
        file = Path(text)
        return file.resolve() if file.is_symlink() else file  # what a link points to is written
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{error.strerror or error}") from None


def _interpreter(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH, as in pytorch=/path/python")
    return name, path


def _run(options: argparse.Namespace) -> int:
    from minires import kernels
    from minires.bench import GPU_WORKLOADS, WORKLOADS, bench, choose, choose_interpreters
    from minires.device import gpu

    device = getattr(options, "device", "cpu")
    workloads = choose(options.only, WORKLOADS if device == "cpu" else GPU_WORKLOADS)
    sides = choose_interpreters(dict(options.python), device)
    if options.list:
        return _list(workloads, sides, device)
    if device != "cpu":
        gpu(device)  # said here, before processes are started, if there is none
    threads = kernels.get_num_threads() if options.threads is None else options.threads
    if options.json is not None:
        _check_writable(options.json)
    found = bench(
        workloads,
        sides=sides,
        repeat=options.repeat,
        threads=threads,
        device=device,
        progress=sys.stderr,
        on_absent=partial(_say_absent, dict(options.python)),
    )
    if not found.measurements:
        print("minires bench: interrupted before a workload was finished", file=sys.stderr)
        return 130
    return _deliver(found, options.json)


def _deliver(found: Bench, file: Path | None) -> int:
    """Write first, since printing may fail; then print."""
    from minires.errors import UsageError
    from minires.files import strict_json, write_whole

    text, problem = str(found), None
    if found.interrupted:
        count = len(found.measurements)
        text += f"\ninterrupted: {count} finished workload{' is' if count == 1 else 's are'} kept"
    if file is not None:
        try:
            with undisturbed():
                numbers = strict_json(found.to_dict())
                write_whole(file.parent, {file.name: numbers.encode()})
            text += f"\nwritten: {file}"
        except UsageError as error:
            problem = error
    try:
        say(text)
    except BrokenPipeError:
        pass  # who reads has seen enough
    if problem is not None:
        raise problem
    if found.interrupted:
        return 130
    return 1 if found.failed else 0


def _say_absent(named: dict[str, str], name: str, reason: str) -> None:
    """An error where it was asked for; else a line for PyTorch, and nobody misses Chainer."""
    from minires.errors import UsageError

    if name in named:
        raise UsageError(f"--python {name}={named[name]}: {name} takes no part ({reason}).")
    if name == "pytorch":
        print(
            f"PyTorch takes no part ({reason}): minires is measured alone. To compare, install "
            "it with `pip install torch`, or name a Python that has it with --python pytorch=PATH.",
            file=sys.stderr,
        )


def _list(workloads: list[Any], sides: tuple[Side, ...], device: str) -> int:
    from minires.bench.process import WorkerError
    from minires.bench.run import probe
    from minires.table import format_table

    rows = [[w.name, w.group if w.group != w.name else "", w.about] for w in workloads]
    lines = [format_table(["workload", "group", "what"], rows), ""]
    for side in sides:
        if side.name not in ("numpy", "cupy"):
            try:
                versions = probe(side, 1, device)
                state = f"{versions[side.name]} (Python {versions['python']})"
            except WorkerError as error:
                state = f"left out: {error}"
            lines.append(f"{side.label}: {state}")
    try:
        say("\n".join(lines))
    except BrokenPipeError:
        pass
    return 0


def _check_writable(file: Path) -> None:
    """Before the work, not after an hour of it."""
    from minires.errors import UsageError

    try:
        folder, other = file.is_dir(), file.exists() and not file.is_file()
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}."):
            pass
    except OSError as error:
        raise UsageError(
            f"--json {file}: cannot write there ({error.strerror or error})."
        ) from None
    if folder:
        raise UsageError(f"--json {file}: that is a folder; give the name of a file.")
    if other:
        raise UsageError(f"--json {file}: that is a device or a pipe; give the name of a file.")
