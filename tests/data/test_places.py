"""Where the files of data sets are looked for, in which order, and what is said without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minires.data.places import cache_folder, candidate_folders, find_files
from minires.errors import DataError
from tests.refusals import assert_refused

FORMS = [[("a.bin", "A.bin"), ("b.bin",)], [("all.tar.gz",)]]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for every test, and none of the variables."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MINIRES_DATA", raising=False)
    monkeypatch.setattr("minires.data.places._SYSTEM", tmp_path / "system")
    return home


def put(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return [folder / name for name in names]


def test_the_cache_is_below_home_or_where_the_variable_says(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder("s") == own_home / ".cache" / "minires" / "s"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder("s") == own_home / ".cache" / "minires" / "s"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder("s") == tmp_path / "x" / "minires" / "s"


def test_folders_come_in_the_order_that_is_told(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = [own_home / ".cache" / "minires" / "s", tmp_path / "system" / "s"]
    assert candidate_folders("s") == last
    monkeypatch.setenv("MINIRES_DATA", os.pathsep.join(["/one", "", "~/two"]))
    own = [Path("/one/s"), Path("/one"), own_home / "two" / "s", own_home / "two"]
    assert candidate_folders("s") == [*own, *last]
    assert candidate_folders("s", "~/three") == [own_home / "three" / "s", own_home / "three"]


def test_files_are_found_in_each_place_and_the_first_wins(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "env"))
    places = [
        *(tmp_path / "system" / "s", own_home / ".cache" / "minires" / "s"),
        *(tmp_path / "env", tmp_path / "env" / "s"),
    ]
    for place in places:  # the last one first
        paths = put(place, "a.bin", "b.bin")
        assert find_files("s", FORMS) == paths
    given = put(tmp_path / "given" / "s", "a.bin", "b.bin")
    assert find_files("s", FORMS, tmp_path / "given") == given


def test_a_given_folder_is_the_only_one_that_is_looked_in(own_home: Path, tmp_path: Path) -> None:
    put(own_home / ".cache" / "minires" / "s", "a.bin", "b.bin")
    assert_refused(
        lambda: find_files("s", FORMS, tmp_path / "given"),
        DataError,
        f"s: no folder has its files.\n  Looked in: {tmp_path}/given/s; {tmp_path}/given.\n",
    )


def test_spellings_and_forms_go_by_preference(tmp_path: Path) -> None:
    (packed,) = put(tmp_path, "all.tar.gz")
    assert find_files("s", FORMS, tmp_path) == [packed]
    second, b = put(tmp_path, "A.bin", "b.bin")
    assert find_files("s", FORMS, tmp_path) == [second, b]
    (first,) = put(tmp_path, "a.bin")
    assert find_files("s", FORMS, tmp_path) == [first, b]


def test_an_incomplete_folder_is_passed_over_and_named(tmp_path: Path) -> None:
    put(tmp_path / "s", "a.bin")
    (tmp_path / "s" / "b.bin").mkdir()  # a folder is no file
    complete = put(tmp_path, "a.bin", "b.bin")
    assert find_files("s", FORMS, tmp_path) == complete
    complete[1].unlink()
    lacks = "(lacks b.bin)"
    assert_refused(
        lambda: find_files("s", FORMS, tmp_path),
        DataError,
        f"s: ... {tmp_path}/s {lacks}; {tmp_path} {lacks}.",
    )


def test_the_message_tells_what_is_needed_and_every_mend() -> None:
    assert_refused(
        lambda: find_files("s", FORMS, otherwise=", or draw it"),
        DataError,
        "s: ... Needed: a.bin, b.bin; or all.tar.gz. ... `minires fetch s` ... data_dir="
        " (--data-dir, or the environment variable MINIRES_DATA), or draw it.",
    )
