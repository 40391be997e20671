"""``minires fetch``: the files of a full data set, from their published addresses."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from minires.cli.options import folder_name
from minires.cli.output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "fetch",
        help="download a full data set",
        description=(
            "Download the files of a data set (fashion-mnist, mnist, cifar10 or cifar100) from "
            "their published addresses and check them. What is there already is left alone. A "
            "transfer that was cut goes on where it stopped when the command is given again."
        ),
    )
    parser.add_argument("name", metavar="NAME", help="the data set")
    parser.add_argument(
        "--data-dir",
        type=folder_name,
        default=None,
        metavar="DIR",
        help="put them into DIR/NAME (default: ~/.cache/minires/NAME, where all commands look)",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from minires.data import fetch

    try:
        paths = fetch(options.name, options.data_dir, progress=sys.stderr)
    except KeyboardInterrupt:
        print(
            "minires fetch: interrupted; what came is kept, and the same command goes on there",
            file=sys.stderr,
        )
        return 130
    say(f"{options.name} is in {paths[0].parent}")
    return 0
