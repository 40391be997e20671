"""``minires notebooks``: the tutorials, listed, copied, and opened in JupyterLab."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

from minires.cli.options import folder_name
from minires.cli.output import say
from minires.errors import UsageError

__all__ = ["add_parser"]

_WORKING_COPY = Path("minires-notebooks")


def add_parser(commands: Any) -> None:
    """Add the command, its three actions and their options."""
    parser = commands.add_parser(
        "notebooks",
        help="list the tutorials, copy them, or open them in JupyterLab",
        description="The tutorials: notebooks with exercises that check themselves.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    action = actions.add_parser(
        "list", help="the tutorials in reading order", description="List the tutorials."
    )
    action.set_defaults(run=_list)

    action = actions.add_parser(
        "copy",
        help="copy them into a folder",
        description=(
            "Copy the tutorials into a folder. What is there and differs, perhaps your own work, "
            "is not overwritten; then nothing is copied."
        ),
    )
    action.add_argument("folder", type=folder_name, metavar="DIR", help="made if need be")
    _add_solutions(action)
    action.add_argument("--force", action="store_true", help="replace notebooks that differ")
    action.set_defaults(run=_copy)

    action = actions.add_parser(
        "start",
        help="open a working copy in JupyterLab",
        description=(
            "Copy the tutorials that are not there yet into a working copy, and start JupyterLab "
            "in it. What is there stays as it is. Ctrl-C ends it."
        ),
    )
    action.add_argument(
        "folder",
        nargs="?",
        type=folder_name,
        default=_WORKING_COPY,
        metavar="DIR",
        help=f"the working copy (default: {_WORKING_COPY})",
    )
    _add_solutions(action)
    action.add_argument("--no-browser", action="store_true", help="only print the address")
    action.add_argument("--port", type=int, metavar="N", help="of JupyterLab (default: its own)")
    action.add_argument(
        "--allow-root", action="store_true", help="start as root too, as in a container"
    )
    action.set_defaults(run=_start)


def _add_solutions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--solutions", action="store_true", help="copy the worked solutions too")


def _list(options: argparse.Namespace) -> int:
    from minires.table import NOT_MEASURED, format_table
    from minires.tutorials import tutorials

    found = tutorials()
    headers = ["", "title", "minutes", "afterwards you"]
    rows = [[t.number, t.title, t.minutes, t.teaches or NOT_MEASURED] for t in found]
    table = format_table(headers, rows)
    width = shutil.get_terminal_size((1000, 24)).columns
    if max(map(len, table.splitlines())) > width:  # the last column goes below the others
        *head, table = format_table(headers[:3], [row[:3] for row in rows]).split("\n", 2)
        indent = " " * 4
        for line, t in zip(table.splitlines(), found, strict=True):
            teaches = f"you {t.teaches}" if t.teaches else NOT_MEASURED
            below = textwrap.wrap(
                teaches, max(width, 40), initial_indent=indent, subsequent_indent=indent
            )
            head += [line, *below]
        table = "\n".join(head)
    say(table)
    return 0


def _copy(options: argparse.Namespace) -> int:
    from minires.tutorials import copy_tutorials

    written = copy_tutorials(
        options.folder,
        solutions=options.solutions,
        existing="replace" if options.force else "refuse",
    )
    say(_told(written, options))
    return 0


def _start(options: argparse.Namespace) -> int:
    from minires.tutorials import copy_tutorials

    if importlib.util.find_spec("jupyterlab") is None:
        raise UsageError("JupyterLab is not installed; pip install 'minires[notebooks]'")
    if getattr(os, "geteuid", lambda: 1)() == 0 and not options.allow_root:
        raise UsageError("JupyterLab does not start as root unless it is told to: --allow-root")
    if options.port is not None and not 1 <= options.port <= 65535:
        raise UsageError(f"--port must be from 1 to 65535, got {options.port}")
    written = copy_tutorials(options.folder, solutions=options.solutions, existing="keep")
    say(_told(written, options))
    # -P: what a learner saves there must not be imported by JupyterLab in place of its own modules
    command = [sys.executable, "-P", "-m", "jupyterlab"]
    command += ["--no-browser"] if options.no_browser else []
    command += ["--allow-root"] if options.allow_root else []
    command += [] if options.port is None else [f"--port={options.port}"]
    with subprocess.Popen(command, cwd=options.folder) as jupyter:
        while jupyter.poll() is None:
            with suppress(KeyboardInterrupt):  # JupyterLab gets it too, and asks whether to end
                jupyter.wait()
    return jupyter.returncode


def _told(written: list[Path], options: argparse.Namespace) -> str:
    if not written:
        text = f"{options.folder} has all notebooks; nothing was copied."
    else:
        plural = "notebook" if len(written) == 1 else "notebooks"
        text = f"{len(written)} {plural} copied to {options.folder}."
    return text if options.solutions else f"{text} The worked solutions come with --solutions."
