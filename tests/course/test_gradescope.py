"""The autograder for Gradescope, unpacked and run as Gradescope does it, in a clean folder."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
import tqdm

from minires.course import grading, in_gradescope
from minires.course.assignment import PRIVATE_FILES, Assignment, find_assignment
from minires.course.cells import join_cells
from minires.course.gradescope_form import autograder_files, write_autograder
from minires.course.in_gradescope import who_handed_in
from minires.course.marking import Marker, TaskResult, hidden_cases
from minires.course.notebooks_of import as_json, notebook_of
from minires.course.skeleton import new_assignment
from minires.errors import UsageError
from tests.course.conftest import SECRET, whole
from tests.course.small import RIGHT, small_assignment

ROOT = Path(__file__).parents[2]
USERS = {"users": [{"email": "anna@example.org", "id": 1234, "name": "Anna"}]}

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


class Autograder:
    """What Gradescope keeps in /autograder, in a folder of its own."""

    def __init__(self, root: Path):
        self.root = root
        self.source, self.results = root / "source", root / "results" / "results.json"

    def script(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts with almost no variables."""
        environment = {
            "MINIRES_AUTOGRADER": str(self.root),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        }
        return subprocess.run(
            ["bash", str(self.source / name)],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def grade(self, files: dict[str, bytes], users: object = USERS) -> dict[str, Any]:
        """Hand in these files, and read the results."""
        shutil.rmtree(self.root / "submission", ignore_errors=True)
        (self.root / "submission").mkdir()
        for name, data in files.items():
            (self.root / "submission" / name).write_bytes(data)
        metadata = self.root / "submission_metadata.json"
        metadata.unlink(missing_ok=True)
        if users is not None:
            metadata.write_text(json.dumps(users))
        self.ran = self.script("run_autograder")
        results: dict[str, Any] = json.loads(self.results.read_text(encoding="utf-8"))
        validate(results)
        return results


def validate(results: dict[str, Any]) -> None:
    """What Gradescope's specification asks for."""
    assert set(results) <= {
        *("score", "execution_time", "output", "output_format", "test_output_format"),
        *("test_name_format", "visibility", "stdout_visibility", "extra_data", "tests"),
    }
    assert isinstance(results["score"], int | float)
    assert isinstance(results["output"], str)
    for test in results["tests"]:
        assert set(test) <= {
            *("score", "max_score", "status", "name", "name_format", "number", "output"),
            *("output_format", "tags", "visibility", "extra_data"),
        }
        assert 0 <= test["score"] <= test["max_score"]
        assert test["status"] in ("passed", "failed")
        assert all(isinstance(test[key], str) for key in ("name", "output", "number"))
        assert test["visibility"] in ("hidden", "after_due_date", "after_published", "visible")


@pytest.fixture(scope="module")
def a03() -> Assignment:
    return find_assignment("a03")


@pytest.fixture(scope="module")
def autograder(a03: Assignment) -> Iterator[Autograder]:
    """Unpacked, and set up with what it asks for and nothing else."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)  # as /autograder is: the code of students runs as another user
        made = Autograder(root)
        [path] = write_autograder(a03, root, SECRET)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(made.source)
        wanted = made.source / "requirements.txt"
        names = [line.split(">")[0] for line in wanted.read_text().splitlines()]
        wanted.write_text("")  # there is no network in tests; so they are put there instead
        ran = made.script("setup.sh")
        assert ran.returncode == 0, ran.stderr
        [site] = (root / "minires-venv").glob("lib/python*/site-packages")
        modules = [module for module in (np, threadpoolctl, tqdm) if module.__name__ in names]
        assert len(modules) == len(names)
        for module in modules:
            file = Path(str(module.__file__))
            (site / (file.parent if file.stem == "__init__" else file).name).symlink_to(
                file.parent if file.stem == "__init__" else file
            )
        libraries = Path(np.__file__).parents[1] / "numpy.libs"
        if libraries.is_dir():
            (site / "numpy.libs").symlink_to(libraries)
        yield made


def marked(assignment: Assignment, text: str, student: str) -> list[TaskResult]:
    with Marker(assignment, references=True) as marker:
        return [
            marker.mark(
                whole(text), task, hidden_cases(assignment, task, SECRET, student, once=False)
            )
            for task in assignment.tasks
        ]


# --- the zip file ---


def test_the_scripts_are_at_the_root_and_can_be_started(a03: Assignment, tmp_path: Path) -> None:
    [path] = write_autograder(a03, tmp_path, SECRET)
    with zipfile.ZipFile(path) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
        for name in ("setup.sh", "run_autograder"):
            assert modes[name] & 0o111
            assert archive.read(name).startswith(b"#!/usr/bin/env bash\n")
    before = path.read_bytes()
    assert write_autograder(a03, tmp_path, SECRET) == []
    assert path.read_bytes() == before


def test_this_assignment_is_in_it_complete_and_no_other(a03: Assignment) -> None:
    names = set(autograder_files(a03, SECRET))
    inside = {name for name in names if name.startswith("minires/course/assignments/")}
    assert {name.split("/")[3] for name in inside} == {"a03_convolution"}
    assert {name.split("/")[4] for name in inside} >= set(PRIVATE_FILES)
    assert "minires/__init__.py" in names
    assert not any("__pycache__" in name for name in names)


def test_what_is_to_be_installed_is_what_minires_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = autograder_files(find_assignment("a03"), SECRET)["requirements.txt"].decode()
    assert set(wanted.splitlines()) <= set(project["dependencies"])


def test_an_assignment_of_ones_own_goes_along(tmp_path: Path) -> None:
    own = new_assignment("b01_my_topic", tmp_path)
    names = set(autograder_files(own, SECRET))
    assert "minires/course/assignments/b01_my_topic/master.py" in names
    assert not any("a03_convolution" in name for name in names)


# --- a run ---


def test_it_imports_only_what_it_brings_and_asks_for(autograder: Autograder) -> None:
    code = "import minires, sys; print(minires.__file__)"
    ran = subprocess.run(
        [autograder.root / "minires-venv/bin/python", "-P", "-c", code],
        env={"PYTHONPATH": str(autograder.source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(ran.stdout.strip()).is_relative_to(autograder.source)


def test_the_solution_gets_full_points(a03: Assignment, autograder: Autograder) -> None:
    text = join_cells(a03.master_cells).encode()
    results = autograder.grade({"a03_convolution.py": text})
    assert autograder.ran.returncode == 0, autograder.ran.stderr
    assert results["score"] == a03.points
    assert [test["max_score"] for test in results["tests"]] == [t.points for t in a03.tasks]
    assert {test["status"] for test in results["tests"]} == {"passed"}


def test_others_get_what_the_grader_gives_them(a03: Assignment, autograder: Autograder) -> None:
    """And on the inputs of the secret and the student, which the message shows in part."""
    mistake = next(m for m in a03.mistakes if m.name == "padding_counted_once")
    text = a03.edited(mistake)
    results = autograder.grade({"a03_convolution.py": text.encode()})
    expected = marked(a03, text, "1234")
    assert [test["score"] for test in results["tests"]] == [one.points for one in expected]
    assert results["score"] == a03.points - a03.task("output_size").points
    [wrong] = [one for one in expected if one.status == "wrong"]
    [told] = [test["output"] for test in results["tests"] if test["status"] == "failed"]
    assert wrong.message in told
    assert mistake.title in told


def test_a_notebook_of_a_student_without_a_name(a03: Assignment, autograder: Autograder) -> None:
    results = autograder.grade({"a03_convolution.ipynb": as_json(notebook_of(a03))}, users=None)
    assert (autograder.ran.returncode, results["score"]) == (0, 0)
    assert all(test["output"].startswith("not yet") for test in results["tests"])


@pytest.mark.parametrize(
    ("text", "who"),
    [
        (json.dumps(USERS), ("1234", "Anna")),
        ('{"users": [{"id": 7, "name": "B"}, {"id": 3, "name": "A"}]}', ("3+7", "B, A")),
        ('{"users": []}', ("nobody", "nobody")),
        ('{"users": 3}', ("nobody", "nobody")),
        ("[]", ("nobody", "nobody")),
        ("{", ("nobody", "nobody")),
    ],
)
def test_who_handed_in_is_read_from_what_gradescope_says(
    text: str, who: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "metadata.json").write_text(text)
    assert who_handed_in(tmp_path / "metadata.json") == who


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "Not graded: "),
        ({"essay.txt": b"words"}, "Not graded: "),
        ({"a03_convolution.py": b"\xff\xfe\x00"}, "Not graded: "),
        ({"a03_convolution.ipynb": b"{"}, "Not graded: "),
        ({"a03_convolution.py": b"def ("}, ""),
        ({"a03_convolution.py": b"import os\nos._exit(0)\n"}, ""),
    ],
    ids=["nothing", "no code", "no text", "no notebook", "no Python", "early exit"],
)
def test_what_cannot_be_graded_gets_nothing_and_is_told(
    autograder: Autograder, files: dict[str, bytes], said: str
) -> None:
    results = autograder.grade(files)
    assert (autograder.ran.returncode, results["score"]) == (0, 0), autograder.ran.stderr
    assert results["output"].startswith(said)
    assert len(results["tests"]) == 8


def test_others_can_read_neither_the_solution_nor_the_results(autograder: Autograder) -> None:
    autograder.grade({})
    for place in (autograder.source, autograder.results.parent):
        for path in (place, *place.rglob("*")):
            if path != autograder.results:
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like /autograder, with a small assignment and a right submission."""
    small = small_assignment(tmp_path / "own")
    monkeypatch.setattr(in_gradescope, "assignments", lambda: [small])
    monkeypatch.setattr(grading, "PAUSE", 0.0)
    for folder in ("source", "submission", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "source" / "secret").write_bytes(SECRET)
    (tmp_path / "submission" / "a90_small.py").write_text(RIGHT)
    return tmp_path


def results_below(root: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((root / "results" / "results.json").read_text())
    validate(results)
    return results


def test_a_fault_of_the_grader_costs_one_task_and_is_told(
    below: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = Marker.mark

    def failing(self: Marker, submission: Any, task: Any, tried: Any) -> TaskResult:
        if task.name == "twice":
            raise ZeroDivisionError
        return mark(self, submission, task, tried)

    monkeypatch.setattr(Marker, "mark", failing)
    assert in_gradescope.main([str(below)]) == 1
    results = results_below(below)
    assert results["score"] == 1.5
    assert "The grader failed on this task (ZeroDivisionError)" in results["tests"][0]["output"]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_moment_without_processes_is_waited_for(
    below: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, tried = Marker.mark, dict[str, int]()

    def failing(self: Marker, submission: Any, task: Any, cases: Any) -> TaskResult:
        tried[task.name] = tried.get(task.name, 0) + 1
        if tried[task.name] == 1:
            raise OSError(11, "no process") if task.name == "twice" else UsageError("no process")
        return mark(self, submission, task, cases)

    monkeypatch.setattr(Marker, "mark", failing)
    assert in_gradescope.main([str(below)]) == 0
    assert results_below(below)["score"] == 4.5
    assert tried == {"twice": 2, "fourfold": 2}


def test_a_grader_that_fails_says_so(autograder: Autograder, a03: Assignment) -> None:
    secret = autograder.source / "secret"
    secret.rename(autograder.root / "away")
    try:
        results = autograder.grade({"a03_convolution.py": join_cells(a03.master_cells).encode()})
    finally:
        (autograder.root / "away").rename(secret)
    assert autograder.ran.returncode == 1
    assert "FileNotFoundError" in autograder.ran.stderr
    assert results["score"] == 0
    assert "The autograder itself failed (FileNotFoundError)" in results["output"]


def test_a_grader_that_cannot_even_begin_says_so(autograder: Autograder) -> None:
    package = autograder.source / "minires"
    package.rename(autograder.root / "away")
    try:
        results = autograder.grade({})
    finally:
        (autograder.root / "away").rename(package)
    assert autograder.ran.returncode == 1
    assert "The autograder itself failed" in results["output"]
