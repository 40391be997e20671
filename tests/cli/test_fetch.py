"""``minires fetch``: what it says, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran
from tests.data.servers import Server, whole
from tests.data.test_fetching import refuse, server

__all__ = ["server"]  # the fixture


def test_it_says_where_the_files_are(
    command: Callable[..., Ran], server: Server, tmp_path: Path
) -> None:
    for said in ("  200,000 bytes", " is already there"):
        ran = command("fetch", "tiny", "--data-dir", str(tmp_path))
        assert ran.code == 0
        assert ran.out == f"tiny is in {tmp_path}/tiny\n"
        assert ran.err == f"[1/1] {tmp_path}/tiny/a.gz{said}\n"


def test_a_failure_takes_one_line_that_says_what_to_do(
    command: Callable[..., Ran], server: Server, tmp_path: Path
) -> None:
    server.answers = [partial(whole, cut=10), refuse]
    ran = command("fetch", "tiny", "--data-dir", str(tmp_path))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"minires fetch: error: could not fetch a.gz: {server.address}/a.gz: HTTP error 404 (Not"
        f" Found). 10 bytes are kept in {tmp_path}/tiny/a.gz.part; the same command goes on there."
        f" By hand: get {server.address}/a.gz and save it as {tmp_path}/tiny/a.gz.\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits"], "there is nothing to fetch for 'digits'; known: cifar10, cifar100, fashion-"),
        ([], "the following arguments are required: NAME"),
        (["mnist", "--data-dir", " "], "argument --data-dir: needs the name of a folder"),
    ],
)
def test_bad_input_takes_one_line_and_exit_status_2(
    words: list[str], message: str, command: Callable[..., Ran]
) -> None:
    ran = command("fetch", *words)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith(f"minires fetch: error: {message}")


def test_ctrl_c_says_that_it_can_go_on(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("minires.data.fetch", interrupted)
    ran = command("fetch", "mnist")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == (
        "minires fetch: interrupted; what came is kept, and the same command goes on there\n"
    )
