"""Folders of the sandbox: counted, given away, and removed whatever is in them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from minires.course import places
from minires.course.places import bytes_in, give_away, macos_profile, remove

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def test_a_folder_thousands_deep_is_removed(tmp_path: Path) -> None:
    folder, here = tmp_path / "task", os.getcwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        for _ in range(1100):  # more than a function may call itself
            os.mkdir("d")
            os.chdir("d")
        Path("file").write_text("x")
    finally:
        os.chdir(here)
    remove(folder)
    assert not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
def test_a_folder_with_odd_things_is_removed_and_what_it_points_to_is_not(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    folder = tmp_path / "task"
    for name in ("closed/inner/deep", *(f".moved-{n}/.moved-{n}" for n in range(9))):
        (folder / name).mkdir(parents=True)
    (folder / "closed" / "inner" / "file").write_text("x")
    (folder / "out").symlink_to(kept)
    (folder / "closed" / "up").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    for name in ("closed/inner", "closed", ""):
        (folder / name).chmod(0)
    remove(folder)
    assert not folder.exists()
    assert (kept / "file").read_text() == "x"


def test_files_are_counted_as_blocks_and_no_further_than_needed(tmp_path: Path) -> None:
    for n in range(10):
        (tmp_path / str(n)).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large").write_bytes(bytes(5000))
    assert bytes_in(tmp_path, 1 << 30) >= 10 * 4096 + 4096 + 8192
    assert bytes_in(tmp_path, 4096) < 1 << 20
    assert bytes_in(tmp_path / "not there", 1) == 0


@pytest.mark.skipif(not ROOT, reason="only root gives folders away")
def test_folders_at_the_same_time_belong_to_different_users(tmp_path: Path) -> None:
    folders = [tmp_path / str(n) for n in range(50)]
    for folder in folders:
        folder.mkdir()
    users = [give_away(folder) for folder in folders]
    assert len(set(users)) == 50
    assert [folder.stat().st_uid for folder in folders] == users
    assert min(users, key=lambda user: user or 0) or 0 >= 60_600


def test_where_no_user_can_be_had_the_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr(places.os, "chown", refuse, raising=False)
    monkeypatch.setattr(places.os, "geteuid", lambda: 0, raising=False)
    assert give_away(tmp_path) is None
    monkeypatch.setattr(places.os, "geteuid", lambda: 1000)
    assert give_away(tmp_path) is None
    monkeypatch.delattr(places.os, "geteuid")
    assert give_away(tmp_path) is None


def test_the_profile_for_macos_names_what_may_be_read_and_written(tmp_path: Path) -> None:
    odd = tmp_path / 'a "quoted" \\ name'
    odd.mkdir()
    profile = macos_profile([str(odd)], tmp_path)
    assert profile.startswith("(version 1)\n")
    assert profile.count("(") == profile.count(")")
    assert f'(allow file-write* (subpath "{os.path.realpath(tmp_path)}"))' in profile
    assert 'a \\"quoted\\" \\\\ name"' in profile
    for rule in ("(deny network*)", "(deny process-fork)", "(deny file-write*)"):
        assert rule in profile
