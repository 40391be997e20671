"""The ``minires`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from minires.errors import MiniresError

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """Mistakes in the arguments take one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from minires import __version__
    from minires.cli import compare

    parser = _Parser(
        prog="minires",
        description="The residual-learning microscope: see what skip connections change.",
    )
    parser.add_argument("--version", action="version", version=f"minires {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    compare.add_parser(commands)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:  # said by the command, whose help lists what it knows
        commands.choices[options.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return int(options.run(options))
    except MiniresError as error:
        line = " ".join(str(error).split())
        print(f"minires {options.command}: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"minires {options.command}: interrupted", file=sys.stderr)
        return 130
