"""Writing files whole, and reading them within bounds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minires.errors import UsageError
from minires.files import is_temporary, read_at_most, write_whole


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o000])
def test_files_are_readable_by_whom_the_user_lets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """Nobody is asked for the umask: to ask is to set it, for the files of other threads, too."""
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patch:
            patch.delattr(os, "umask")
            [path] = write_whole(tmp_path / "new", {"a.txt": b"a"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert path.read_bytes() == b"a"


def test_what_a_killed_run_leaves_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.extend(os.listdir(tmp_path)))
    write_whole(tmp_path, {"a.npz": b"a"})
    assert len(seen) == 1
    assert is_temporary(seen[0], "a.npz")


def test_nothing_is_left_of_files_that_cannot_all_be_written(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "in_it").touch()
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(UsageError, match="cannot write to"):
        write_whole(tmp_path, {"no/such/folder": b"1", "a": b"after"})
    with pytest.raises(UsageError, match="cannot write to"):
        write_whole(tmp_path, {"b": b"1"})
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == b"before"


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_at_most(tmp_path / "a", 5) == b"12345"
    with pytest.raises(UsageError, match="more than 4 bytes"):
        read_at_most(tmp_path / "a", 4)
    with pytest.raises(UsageError, match="does not exist"):
        read_at_most(tmp_path / "b", 4)
    with pytest.raises(UsageError, match="is no file"):
        read_at_most(tmp_path, 4)
