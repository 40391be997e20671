"""``minires notebooks``: the tutorials, listed, copied and started, and no work overwritten."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minires import tutorials
from tests.cli.conftest import Ran

Command = Callable[..., Ran]

FOLDER = tutorials.tutorial_folder()
NAMES = sorted(path.name for path in FOLDER.glob("[0-9]*.ipynb"))
SOLUTIONS = sorted(path.name for path in (FOLDER / "solutions").glob("[0-9]*.ipynb"))


def listed(folder: Path) -> list[str]:
    """All files below a folder, hidden ones too."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture(autouse=True)
def no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests, the commands are not run by root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)


def test_root_is_told_of_the_option_and_nothing_is_copied(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    ran = command("notebooks", "start", "a", "--no-browser")
    assert (ran.code, listed(Path())) == (2, [])
    assert "--allow-root" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("port", ["0", "-1", "99999"])
def test_a_port_that_cannot_be_is_refused(command: Command, port: str) -> None:
    ran = command("notebooks", "start", "a", "--port", port)
    assert (ran.code, listed(Path())) == (2, [])
    assert "--port must be from 1 to 65535" in ran.err


# --- list ---


@pytest.mark.parametrize("name", NAMES)
def test_every_tutorial_says_what_it_teaches_and_how_long_it_takes(name: str) -> None:
    (found,) = [t for t in tutorials.tutorials() if t.path.name == name]
    assert found.number == name[:2]
    assert found.title
    assert re.match(r"(can|know|have) \w.{10,98}", found.teaches), found.teaches
    assert found.minutes is not None
    assert 1 <= found.minutes <= 120


def test_list_is_a_table_in_reading_order(command: Command, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ran = command("notebooks", "list")
    assert (ran.code, ran.err) == (0, "")
    header, rule, *rows = ran.out.splitlines()
    assert header.split() == ["title", "minutes", "afterwards", "you"]
    assert set(rule) == {"-", " "}
    assert [row[:2] for row in rows] == [name[:2] for name in NAMES]
    assert re.fullmatch(r"00  A first look +2  have built a residual block", rows[0])


def test_list_fits_a_narrow_terminal(command: Command, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = command("notebooks", "list").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[3] == "    you have built a residual block"
    assert [line[:2] for line in lines[2:] if line[:2].strip()] == [name[:2] for name in NAMES]


def test_a_notebook_that_says_nothing_is_listed_by_its_name(
    command: Command, monkeypatch: Any, tmp_path: Path
) -> None:
    cells = [{"cell_type": "code", "source": ["# 07 · Not a title"]}]
    (tmp_path / "07_my_own.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(tutorials, "tutorial_folder", lambda: tmp_path)
    last = command("notebooks", "list").out.splitlines()[-1]
    assert last.split() == ["07", "my", "own", "-", "-"]


# --- copy ---


def test_copy_makes_the_folder_and_copies_the_notebooks_alone(command: Command) -> None:
    ran = command("notebooks", "copy", "a/b")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"{len(NAMES)} notebooks copied to a/b. The worked solutions come with --solutions.\n"
    )
    assert listed(Path("a/b")) == NAMES
    for name in NAMES:
        assert (Path("a/b") / name).read_bytes() == (FOLDER / name).read_bytes()


def test_copy_brings_the_solutions_when_asked(command: Command) -> None:
    command("notebooks", "copy", "a")
    ran = command("notebooks", "copy", "a", "--solutions")
    assert (ran.code, ran.out) == (0, f"{len(SOLUTIONS)} notebooks copied to a.\n")
    assert listed(Path("a")) == sorted([*NAMES, *(f"solutions/{name}" for name in SOLUTIONS)])


def test_copy_twice_has_nothing_to_do(command: Command) -> None:
    command("notebooks", "copy", "a")
    before = {name: os.stat(Path("a") / name).st_mtime_ns for name in NAMES}
    ran = command("notebooks", "copy", "a")
    assert ran.code == 0
    assert ran.out.startswith("a has all notebooks; nothing was copied.")
    assert {name: os.stat(Path("a") / name).st_mtime_ns for name in NAMES} == before


def test_copy_refuses_to_overwrite_and_then_copies_nothing(command: Command) -> None:
    Path("a/solutions").mkdir(parents=True)
    mine = [f"a/{NAMES[1]}", f"a/{NAMES[-1]}", f"a/solutions/{SOLUTIONS[0]}"]
    for name in mine:
        Path(name).write_text("my own")
    ran = command("notebooks", "copy", "a", "--solutions")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "minires notebooks: error: in 'a' there is something else under the names of solutions/"
        f"{SOLUTIONS[0]}, {NAMES[1]}, {NAMES[-1]}, perhaps your own work; nothing was copied. "
        "'minires notebooks start' adds what is missing and leaves the rest alone; --force "
        "replaces it, and your work is lost.\n"
    )
    assert listed(Path()) == sorted(mine)
    assert {Path(name).read_text() for name in mine} == {"my own"}


def test_many_that_differ_take_one_line(command: Command) -> None:
    Path("a").mkdir()
    for name in NAMES[:5]:
        (Path("a") / name).write_text("my own")
    (line,) = command("notebooks", "copy", "a").err.splitlines()
    assert f"{', '.join(NAMES[:3])} and 2 more, perhaps" in line


def test_force_replaces_what_differs_and_nothing_else(command: Command) -> None:
    command("notebooks", "copy", "a")
    Path("a", NAMES[0]).write_text("my own")
    Path("a", "notes.ipynb").write_text("my own")
    ran = command("notebooks", "copy", "a", "--force")
    assert (ran.code, ran.out.split(".")[0]) == (0, "1 notebook copied to a")
    assert Path("a", NAMES[0]).read_bytes() == (FOLDER / NAMES[0]).read_bytes()
    assert Path("a", "notes.ipynb").read_text() == "my own"


@pytest.mark.parametrize("action", ["copy", "start"])
def test_a_file_or_a_folder_in_the_way_takes_one_line(
    action: str, command: Command, monkeypatch: Any
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    Path("file").write_text("")
    Path("a", NAMES[2]).mkdir(parents=True)
    for folder, message in {
        "file": "'file' is a file, not a folder; choose another one.",
        "file/b": "cannot write to 'file/b' (Not a directory).",
        "a": f"'{Path('a', NAMES[2])}' is a folder, and a notebook is to be there.",
    }.items():
        ran = command("notebooks", action, folder)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == f"minires notebooks: error: {message}\n"
    assert listed(Path()) == ["file"]


def test_without_notebooks_it_says_so(command: Command, monkeypatch: Any) -> None:
    monkeypatch.setattr(tutorials, "__file__", str(Path("site/minires/tutorials.py").absolute()))
    for words in (["list"], ["copy", "a"]):
        ran = command("notebooks", *words)
        assert (ran.code, ran.out) == (2, "")
        assert re.fullmatch(
            r"minires notebooks: error: the tutorials are not there, neither in '.*notebook_files' "
            r"nor in '.*notebooks'; install minires again\.\n",
            ran.err,
        )
    assert listed(Path()) == []


# --- start ---


@pytest.fixture
def jupyterlab(tmp_path_factory: Any, monkeypatch: Any) -> None:
    """A JupyterLab that says in ``started.json`` how it was started, and ends with status 3."""
    package = tmp_path_factory.mktemp("site") / "jupyterlab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import json, os, sys\n"
        "said = [os.getcwd(), sys.argv[1:], sys.path]\n"
        "open('../started.json', 'w').write(json.dumps(said))\n"
        "sys.exit(3)\n"
    )
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


@pytest.mark.usefixtures("jupyterlab")
def test_start_runs_jupyterlab_in_a_working_copy(command: Command, tmp_path: Path) -> None:
    ran = command("notebooks", "start")
    assert (ran.code, ran.err) == (3, "")
    assert ran.out.startswith(f"{len(NAMES)} notebooks copied to minires-notebooks.")
    working_copy = tmp_path / "minires-notebooks"
    assert listed(working_copy) == NAMES
    folder, words, path = json.loads(Path("started.json").read_text())
    assert (Path(folder), words) == (working_copy, [])
    assert not {"", str(working_copy)} & set(path)  # a learner's random.py stays a learner's


@pytest.mark.usefixtures("jupyterlab")
def test_start_passes_on_what_jupyterlab_has_to_know(command: Command) -> None:
    command("notebooks", "start", "a", "--no-browser", "--port", "8901", "--allow-root")
    words = json.loads(Path("started.json").read_text())[1]
    assert words == ["--no-browser", "--allow-root", "--port=8901"]


@pytest.mark.usefixtures("jupyterlab")
def test_start_never_overwrites_a_learners_work(command: Command) -> None:
    Path("a").mkdir()
    Path("a", NAMES[0]).write_text("my own")
    ran = command("notebooks", "start", "a", "--solutions")
    assert ran.out == f"{len(NAMES) - 1 + len(SOLUTIONS)} notebooks copied to a.\n"
    assert Path("a", NAMES[0]).read_text() == "my own"
    Path("a", NAMES[1]).unlink()
    assert command("notebooks", "start", "a").out.startswith("1 notebook copied to a.")
    assert command("notebooks", "start", "a").out.startswith("a has all notebooks;")
    assert Path("a", NAMES[0]).read_text() == "my own"


def test_start_without_jupyterlab_says_how_to_get_it(command: Command, monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ran = command("notebooks", "start")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "minires notebooks: error: JupyterLab is not installed; pip install 'minires[notebooks]'\n"
    )
    assert listed(Path()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "minires notebooks: error: the following arguments are required: ACTION"),
        (["copy"], "minires notebooks copy: error: the following arguments are required: DIR"),
        (["copy", " "], "minires notebooks copy: error: argument DIR: needs the name of a folder"),
        (["open"], "minires notebooks: error: argument ACTION: invalid choice: 'open'"),
        (["start", "--port", "x"], "minires notebooks start: error: argument --port: invalid int"),
        (["list", "a"], "minires notebooks: error: unrecognized arguments: a"),
    ],
)
def test_bad_input_takes_one_line_and_exit_status_2(
    words: list[str], message: str, command: Command
) -> None:
    ran = command("notebooks", *words)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith(message)
