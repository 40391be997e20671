"""Fetching: whole and checked, or nothing that could be taken for it; cut transfers go on."""

from __future__ import annotations

import hashlib
import io
import os
import socket
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from minires.data import fetch, fetching
from minires.data.fetching import PUBLISHED, RemoteFile
from minires.errors import DataError, UsageError
from tests.data.servers import Server, serving, whole
from tests.refusals import assert_refused

CONTENT = np.random.default_rng(0).bytes(200_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has the one file of the data set "tiny"; no proxy, and no waiting."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetching, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(fetching, "_TIMEOUT", 5.0)
    with serving() as server:
        server.content = CONTENT
        publish(monkeypatch, server.address)
        yield server


def publish(monkeypatch: pytest.MonkeyPatch, *addresses: str, checksum: str = SHA256) -> None:
    file = RemoteFile("a.gz", len(CONTENT), checksum, tuple(f"{a}/a.gz" for a in addresses))
    monkeypatch.setitem(PUBLISHED, "tiny", (file,))


def listed(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "tiny")) if (folder / "tiny").exists() else []


def refuse(handler: BaseHTTPRequestHandler, content: bytes, code: int = 404) -> None:
    handler.send_error(code)


def redirect(handler: BaseHTTPRequestHandler, content: bytes, to: str) -> None:
    handler.send_response(302)
    handler.send_header("Location", to)
    handler.end_headers()


def test_a_file_comes_whole_and_a_second_time_nothing_is_asked(
    server: Server, tmp_path: Path
) -> None:
    said = io.StringIO()
    path = tmp_path / "tiny" / "a.gz"
    assert fetch("tiny", tmp_path, progress=said) == [path]
    assert path.read_bytes() == CONTENT
    assert fetch("tiny", tmp_path, progress=said) == [path]
    assert (server.asked, listed(tmp_path)) == ([None], ["a.gz"])
    assert said.getvalue() == f"[1/1] {path}  200,000 bytes\n[1/1] {path} is already there\n"


def test_without_a_folder_it_goes_where_all_loaders_look(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch("tiny-full") == [tmp_path / "minires" / "tiny" / "a.gz"]


def test_a_terminal_sees_a_bar(server: Server, tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    said = Terminal()
    fetch("tiny", tmp_path, progress=said)
    assert "[1/1] a.gz: 100%|" in said.getvalue()


@pytest.mark.parametrize("length", [True, False])
def test_a_transfer_that_is_cut_goes_on_where_it_stopped(
    length: bool, server: Server, tmp_path: Path
) -> None:
    server.answers = [
        partial(whole, cut=70_000, length=length),
        partial(whole, cut=50_000, length=length),
        whole,
    ]
    (path,) = fetch("tiny", tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=70000-", "bytes=120000-"]
    assert listed(tmp_path) == ["a.gz"]


def test_what_came_is_kept_for_a_later_run(server: Server, tmp_path: Path) -> None:
    server.answers = [partial(whole, cut=60_000), partial(refuse, code=503)]
    assert_refused(
        lambda: fetch("tiny", tmp_path),
        DataError,
        f"could not fetch a.gz: {server.address}/a.gz: HTTP error 503 ... 60,000 bytes are kept in"
        f" {tmp_path}/tiny/a.gz.part; the same command goes on there. ... By hand: get"
        f" {server.address}/a.gz and save it as {tmp_path}/tiny/a.gz.",
    )
    assert (len(server.asked), listed(tmp_path)) == (3, ["a.gz.part"])
    server.answers = [whole]
    (path,) = fetch("tiny", tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked[3:] == ["bytes=60000-"]


def test_a_part_that_is_whole_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "a.gz.part").write_bytes(CONTENT)
    (path,) = fetch("tiny", tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("size", [100, 60_000, 200_000, 300_000])
def test_a_part_of_another_file_is_thrown_away_and_all_comes_again(
    size: int, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "a.gz.part").write_bytes(bytes(size))
    (path,) = fetch("tiny", tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] is None
    assert listed(tmp_path) == ["a.gz"]


def test_a_server_that_knows_no_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.answers = [partial(whole, cut=70_000), partial(whole, ranges=False)]
    (path,) = fetch("tiny", tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=70000-"]


def test_a_wrong_checksum_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = CONTENT[:-1] + b"x"
    assert_refused(
        lambda: fetch("tiny", tmp_path),
        DataError,
        f"could not fetch a.gz: {server.address}/a.gz: what came has another checksum than the"
        " published file.\n  By hand:",
    )
    assert (len(server.asked), listed(tmp_path)) == (1, [])


@pytest.mark.parametrize(
    ("length", "asked", "reason"),
    [(True, 1, "has 200,001 bytes instead of"), (False, 1, "has more than the published 200,000")],
)
def test_a_longer_file_is_refused_and_never_fills_the_disk(
    length: bool, asked: int, reason: str, server: Server, tmp_path: Path
) -> None:
    server.content = CONTENT + b"x"
    server.answers = [partial(whole, length=length)]
    assert_refused(lambda: fetch("tiny", tmp_path), DataError, f"could not ... {reason}")
    assert (len(server.asked), listed(tmp_path)) == (asked, [])


def test_a_page_instead_of_the_rest_does_not_cost_what_is_there(
    server: Server, tmp_path: Path
) -> None:
    """The page of a hotel, say, in which one has to agree to something first."""
    (tmp_path / "tiny").mkdir()
    part = tmp_path / "tiny" / "a.gz.part"
    part.write_bytes(CONTENT[:1000])
    server.content = b"<html>welcome</html>"
    server.answers = [partial(whole, ranges=False)]
    assert_refused(
        lambda: fetch("tiny", tmp_path),
        DataError,
        "could not ... 20 bytes instead of the published",
    )
    assert part.read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize(("code", "tries"), [(403, 1), (404, 1), (429, 3), (500, 3)])
def test_an_error_of_the_server_is_told_and_tried_again_where_that_may_help(
    code: int, tries: int, server: Server, tmp_path: Path
) -> None:
    server.answers = [partial(refuse, code=code)]
    assert_refused(
        lambda: fetch("tiny", tmp_path), DataError, f"could not fetch a.gz: ... HTTP error {code} ("
    )
    assert (len(server.asked), listed(tmp_path)) == (tries, [])


def test_the_next_address_is_asked_when_one_fails(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "ftp://127.0.0.1", nobody(), server.address)
    (path,) = fetch("tiny", tmp_path)
    assert path.read_bytes() == CONTENT
    publish(monkeypatch, "ftp://127.0.0.1", nobody())
    path.unlink()
    assert_refused(
        lambda: fetch("tiny", tmp_path),
        DataError,
        "could not ... ftp://127.0.0.1/a.gz: unknown url type: ftp; http ... Connection refused.",
    )
    assert listed(tmp_path) == []


def nobody() -> str:
    """An address where no server is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_silent_server_is_given_up(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_TIMEOUT", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        publish(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert_refused(lambda: fetch("tiny", tmp_path), DataError, "could not ... timed out")


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        (
            "file:///etc/passwd",
            "HTTP error 302 (Found - Redirection to url 'file:///etc/passwd' is",
        ),
        ("ftp://127.0.0.1/a.gz", "unknown url type: ftp"),
        ("data:,x", "HTTP error 302 (Found - Redirection to url 'data:,x' is not allowed"),
    ],
)
def test_a_redirection_out_of_the_web_is_refused(
    to: str, reason: str, server: Server, tmp_path: Path
) -> None:
    server.answers = [partial(redirect, to=to)]
    assert_refused(lambda: fetch("tiny", tmp_path), DataError, f"could not ... {reason}")
    assert listed(tmp_path) == []


def test_a_redirection_in_the_web_is_followed(server: Server, tmp_path: Path) -> None:
    server.answers = [partial(redirect, to=f"{server.address}/elsewhere"), whole]
    (path,) = fetch("tiny", tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_file_of_that_name_which_is_another_is_left_alone(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "tiny" / "a.gz"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    assert_refused(
        lambda: fetch("tiny", tmp_path), DataError, f"{path} is there, but it is not the published"
    )
    assert path.read_bytes() == b"mine"
    assert server.asked == []


def test_a_folder_that_cannot_be_written_to_is_told(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert_refused(
        lambda: fetch("tiny", file),
        UsageError,
        f"cannot write {file}/tiny/a.gz (Not a directory); mend that, or choose another folder",
    )


def test_a_full_disk_is_not_taken_for_a_fault_of_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("wb", buffering=0) as stream:
        assert_refused(
            lambda: fetching._write(stream, b"x"),
            UsageError,
            "cannot write /dev/full (No space left on device); mend that",
        )


def test_ctrl_c_keeps_what_came_and_nothing_else(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = fetching._write

    def interrupted(stream: io.FileIO, piece: bytes) -> None:
        write(stream, piece)
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("tiny", tmp_path)
    assert listed(tmp_path) == ["a.gz.part"]
    monkeypatch.setattr(fetching, "_write", write)
    (path,) = fetch("tiny", tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked[0] is None
    assert server.asked[1] is not None


def test_two_runs_do_not_write_into_one_file(server: Server, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="this system has no locks of that kind")
    (tmp_path / "tiny").mkdir()
    part = tmp_path / "tiny" / "a.gz.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert_refused(
            lambda: fetch("tiny", tmp_path), DataError, f"another run is fetching into {part}"
        )
    assert part.exists()


def test_every_published_file_has_a_size_a_checksum_and_an_address() -> None:
    assert set(PUBLISHED) == {"cifar10", "cifar100", "fashion-mnist", "mnist"}
    files = [file for group in PUBLISHED.values() for file in group]
    assert len({file.checksum for file in files}) == len(files) == 10
    for file in files:
        method, _, digits = file.checksum.partition(":")
        assert len(digits) == {"md5": 32, "sha256": 64}[method]
        assert all(address.endswith(f"/{file.name}") for address in file.addresses)
        assert file.addresses[0].startswith("https://")
        assert 4_000 < file.size < 171_000_000
