"""The command line, run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minires import kernels
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


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; the number of threads is put back."""
    threads = kernels.get_num_threads()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    kernels.set_num_threads(threads)
