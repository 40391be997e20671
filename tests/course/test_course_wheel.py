"""What students install: handouts and public tests of every assignment, and no solution."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from minires.course.assignment import PRIVATE_FILES, PUBLIC_FILES, assignments
from tests.course.conftest import SECRET

ROOT = Path(__file__).parents[2]
INSIDE = "minires/course/assignments/"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    ran = subprocess.run(
        [*command, "--target", str(folder), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return folder


def in_wheel(built: Path) -> dict[str, bytes]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def in_sdist(built: Path) -> dict[str, bytes]:
    (sdist,) = built.glob("*.tar.gz")
    found = {}
    with tarfile.open(sdist) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                found[member.name.split("/", 1)[1]] = file.read()
    return found


def away(installed: Path, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python where minires is the installed one and the source tree nowhere."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("files", [in_wheel, in_sdist])
def test_all_that_students_need_is_there(built: Path, files: object) -> None:
    assert callable(files)
    names = set(files(built))
    for assignment in assignments():
        there = {name for name in PUBLIC_FILES if (assignment.folder / name).is_file()}
        assert there >= {"assignment.toml", "handout.md", "cases.py", "stub.py", "answers.bin"}
        assert {f"{INSIDE}{assignment.name}/{name}" for name in there} <= names


@pytest.mark.parametrize("files", [in_wheel, in_sdist])
def test_nothing_of_an_assignment_is_there_but_its_public_files(built: Path, files: object) -> None:
    assert callable(files)
    inside = [name for name in files(built) if name.startswith(INSIDE)]
    assert {name.rsplit("/")[-1] for name in inside} <= set(PUBLIC_FILES)
    assert all(name.count("/") == 4 for name in inside)


@pytest.mark.parametrize("files", [in_wheel, in_sdist])
def test_no_solution_is_in_any_file(built: Path, files: object) -> None:
    """Neither a private file under another name, nor what a master has between its marks."""
    assert callable(files)
    contents: dict[str, bytes] = files(built)
    assert not any("styles" in name for name in contents)
    tried = 0
    for assignment in assignments():
        private = [assignment.folder / name for name in PRIVATE_FILES]
        assert not {path.read_bytes() for path in private if path.is_file()} & {*contents.values()}
        for solution in solutions((assignment.folder / "master.py").read_bytes()):
            tried += 1
            assert [name for name, data in contents.items() if solution in data] == []
    assert tried > 20


def test_nothing_in_the_wheel_is_marked_as_a_solution_but_the_skeletons(built: Path) -> None:
    marked = {name for name, data in in_wheel(built).items() if b"\n    ### BEGIN SOL" in data}
    assert marked == {"minires/course/skeleton_files/master.py.txt"}


def solutions(master: bytes) -> list[bytes]:
    """What stands between the marks, if it is more than two lines."""
    found = re.findall(rb"### BEGIN SOLUTION\n(.*?) *### END SOLUTION", master, re.DOTALL)
    return [text for text in found if text.count(b"\n") > 2]


def test_an_installed_minires_lists_the_assignments_and_has_their_public_tests(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "from minires.course import assignments\n"
        "from minires.course.publish import public_tried\n"
        "for one in assignments():\n"
        "    print(one.name, sum(len(public_tried(one, task).cases) for task in one.tasks))\n"
    )
    ran = away(installed, tmp_path, code)
    assert ran.returncode == 0, ran.stderr
    expected = [
        f"{one.name} {sum(len(one.public_cases(task)) for task in one.tasks)}"
        for one in assignments()
    ]
    assert ran.stdout.splitlines() == expected


def test_an_installed_minires_marks_the_stub_on_the_public_tests(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "from pathlib import Path\n"
        "from minires.course import find_assignment\n"
        "from minires.course.checking import check_submission\n"
        "from minires.course.handing_out import hand_out\n"
        "from minires.course.submission import read_submission\n"
        "one = find_assignment('a03')\n"
        "hand_out(one, Path('work'))\n"
        "for result in check_submission(one, read_submission(Path('work'), one), 'pad'):\n"
        "    print(result.status, sorted(path.name for path in Path('work').iterdir()))\n"
    )
    ran = away(installed, tmp_path, code)
    assert ran.returncode == 0, ran.stderr
    names = ["a03_convolution.ipynb", "a03_convolution.py", "handout.md"]
    assert ran.stdout == f"not yet {names}\n"


def test_grading_and_releasing_say_that_the_solution_is_not_there(
    installed: Path, tmp_path: Path
) -> None:
    calls = {
        "grading": f"hidden_cases(one, one.tasks[0], {SECRET!r}, 'anna')",
        "releasing": "publish_if_stale(one)",
    }
    for what, call in calls.items():
        code = (
            "from minires.course import find_assignment\n"
            "from minires.course.handing_out import publish_if_stale\n"
            "from minires.course.marking import hidden_cases\n"
            "one = find_assignment('a03')\n"
            f"{call}\n"
        )
        ran = away(installed, tmp_path, code)
        assert ran.returncode == 1, what
        last = ran.stderr.splitlines()[-1]
        assert last.startswith("minires.errors.UsageError: a03_convolution: "), what
        assert "install a clone" in last
        assert "--assignments DIR" in last
