"""The ``minires`` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from minires.errors import MiniresError

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """Mistakes in the arguments take one line and exit code 2; options are written in full."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    name = "minires"
    try:
        options = _parse(arguments)
        name = f"minires {options.command}"
        code = int(options.run(options))
    except MiniresError as error:
        code = _complain(f"{name}: error: {error}", 2)
    except MemoryError:
        text = "not enough memory; choose a smaller --width or --batch-size."
        code = _complain(f"{name}: error: {text}", 2)
    except KeyboardInterrupt:
        code = _complain(f"{name}: interrupted", 130)
    except BrokenPipeError:  # who reads has seen enough
        code = 0
    finally:
        _close_broken_streams()
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    from minires import __version__
    from minires.cli import bench, compare, course, fetch, flow, notebooks, train

    parser = _Parser(
        prog="minires",
        description="The residual-learning microscope: see what skip connections change.",
    )
    parser.add_argument("--version", action="version", version=f"minires {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    train.add_parser(commands)
    compare.add_parser(commands)
    flow.add_parser(commands)
    bench.add_parser(commands)
    fetch.add_parser(commands)
    notebooks.add_parser(commands)
    course.add_parser(commands)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:  # said by the command, whose help lists what it knows
        commands.choices[options.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _complain(text: str, code: int) -> int:
    with suppress(OSError):
        print(" ".join(text.split()), file=sys.stderr)
    return code


def _close_broken_streams() -> None:
    """A stream that nobody reads any more must not raise once again when Python ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
