"""The command line, run in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minires.cli.main import main


class Ran:
    """Exit code, standard output and standard error of a command."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command line in this process."""

    def run(*words: str) -> Ran:
        try:
            code = main(words)
        except SystemExit as stop:  # argparse
            code = stop.code if isinstance(stop.code, int) else 1
        return Ran(code, *capsys.readouterr())

    return run
