"""Where the teacher's secret comes from, and that nobody else gets it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minires.course.secret import VARIABLE, find_secret
from minires.errors import UsageError

LONG = "0123456789abcdef"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "home"


def test_it_is_made_on_first_use_for_its_owner_alone_and_then_stays(home: Path) -> None:
    first = find_secret()
    assert first.made
    assert first.path == home / ".config" / "minires" / "course-secret"
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert len(first.data) >= 32
    second = find_secret()
    assert (second.made, second.data, second.warning) == (False, first.data, "")


def test_two_secrets_that_are_made_are_different(home: Path) -> None:
    first = find_secret()
    first.path.unlink()
    assert find_secret().data != first.data


def test_a_file_that_is_named_comes_before_the_variable_and_that_before_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    for name in ("named", "variable"):
        (tmp_path / name).write_text(f"{LONG} {name}\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "variable"))
    assert find_secret(tmp_path / "named").data == f"{LONG} named".encode()
    assert find_secret().data == f"{LONG} variable".encode()
    assert not home.exists(), "none is made where one is named"


def test_the_same_secret_with_other_line_ends_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LONG.encode())
    (tmp_path / "b").write_bytes(f"{LONG}\r\n".encode())
    assert find_secret(tmp_path / "a").data == find_secret(tmp_path / "b").data


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_it_warns_if_others_can_read_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    path.write_text(LONG)
    path.chmod(mode)
    assert "can be read by others; chmod 600" in find_secret(path).warning
    path.chmod(0o600)
    assert find_secret(path).warning == ""


@pytest.mark.parametrize("content", ["", "   \n", "short", "x" * 15])
def test_one_that_could_be_guessed_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "s").write_text(content)
    with pytest.raises(UsageError, match="at least 16") as caught:
        find_secret(tmp_path / "s")
    assert content.strip() == "" or content.strip() not in str(caught.value)


def test_what_is_no_file_or_much_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_secret(tmp_path / "absent")
    with pytest.raises(UsageError, match="is no file"):
        find_secret(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is no file"):
        find_secret(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"x" * 70_000)
    with pytest.raises(UsageError, match="more than 65,536 bytes"):
        find_secret(tmp_path / "long")


def test_where_it_cannot_be_made_the_way_out_is_named(home: Path) -> None:
    home.write_text("a file in the place of the folder")
    with pytest.raises(UsageError, match="--secret FILE"):
        find_secret()


def test_it_is_not_printed_with_the_rest(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(LONG)
    assert LONG not in repr(find_secret(tmp_path / "s"))
