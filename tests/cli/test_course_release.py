"""``minires course release`` and ``minires course new``: what they write, say, and refuse."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran

Command = Callable[..., Ran]
NAME = "a03_convolution"


def listed(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture(autouse=True)
def secret(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_text("a secret of the tests")
    path.chmod(0o600)
    monkeypatch.setenv("MINIRES_COURSE_SECRET", str(path))
    return path


def test_a_folder_is_what_start_gives_a_student(command: Command) -> None:
    ran = command("course", "release", "a03", "--to", "out")
    assert (ran.code, ran.err) == (0, "")
    assert f"out/{NAME}" in ran.out
    assert command("course", "start", "a03", "mine").code == 0
    assert listed(Path("out") / NAME) == listed(Path("mine"))
    for name in listed(Path("mine")):
        assert (Path("out") / NAME / name).read_bytes() == (Path("mine") / name).read_bytes()


def test_a_notebook_is_the_one_of_the_folder(command: Command) -> None:
    ran = command("course", "release", "a03", "--to", "out", "--format", "notebook")
    assert (ran.code, ran.err, listed(Path("out"))) == (0, "", [f"{NAME}.ipynb"])
    command("course", "release", "a03", "--to", "folder")
    assert (
        Path(f"out/{NAME}.ipynb").read_bytes() == Path(f"folder/{NAME}/{NAME}.ipynb").read_bytes()
    )


def test_nbgrader_gets_a_course_and_is_told_how_to_go_on(command: Command) -> None:
    ran = command("course", "release", "a03", "--to", "out", "--format", "nbgrader")
    assert (ran.code, ran.err) == (0, "")
    assert listed(Path("out")) == ["nbgrader_config.py", f"source/{NAME}/{NAME}.ipynb"]
    assert f"nbgrader generate_assignment {NAME}" in ran.out
    Path("out/nbgrader_config.py").write_text("c = get_config()\n")
    ran = command("course", "release", "a03", "--to", "out", "--format", "nbgrader")
    assert "left as it is" in ran.out
    assert "\n  c.ClearSolutions.code_stub = " in ran.out


def test_gradescope_gets_an_autograder_with_the_secret(command: Command, tmp_path: Path) -> None:
    ran = command("course", "release", "a03", "--to", "out", "--format", "gradescope")
    assert (ran.code, ran.err, listed(Path("out"))) == (0, "", [f"{NAME}_autograder.zip"])
    assert "keep it to yourself" in ran.out
    assert "a secret of the tests" not in ran.out
    with zipfile.ZipFile(f"out/{NAME}_autograder.zip") as archive:
        assert archive.read("secret") == b"a secret of the tests\n"
    (tmp_path / "other").write_text("another secret of the tests")
    words = ["--to", "other out", "--format", "gradescope", "--secret", "other"]
    command("course", "release", "a03", *words)
    with zipfile.ZipFile(f"other out/{NAME}_autograder.zip") as archive:
        assert archive.read("secret") == b"another secret of the tests\n"


def test_what_differs_is_replaced_only_by_force(command: Command) -> None:
    words = ["course", "release", "a03", "--to", "out"]
    command(*words)
    handout = Path(f"out/{NAME}/handout.md")
    text = handout.read_text()
    handout.write_text("my own words")
    ran = command(*words)
    assert (ran.code, ran.err.count("\n"), handout.read_text()) == (2, 1, "my own words")
    assert "handout.md" in ran.err
    assert command(*words, "--force").code == 0
    assert handout.read_text() == text


def test_from_new_to_a_student_who_checks(command: Command, tmp_path: Path) -> None:
    ran = command("course", "new", "b01_my_topic")
    assert (ran.code, ran.err) == (0, "")
    assert "minires course release b01 --assignments assignments --to DIR" in ran.out
    ran = command("course", "release", "b01", "--assignments", "assignments", "--to", "out")
    assert (ran.code, ran.err) == (0, "")
    Path("assignments").rename(tmp_path / "away")
    ran = command("course", "check", "out/b01_my_topic")
    assert (ran.code, ran.err) == (1, "")
    assert "0 of 10 points" in ran.out


def test_new_makes_it_where_it_is_told(command: Command) -> None:
    assert command("course", "new", "b02_other", "--to", "mine").code == 0
    assert Path("mine/b02_other/master.py").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["release", "a99", "--to", "out"], "a99"),
        (["release", "a03", "--to", "out", "--assignments", "nothing"], "no assignment in"),
        (["release", "a03", "--to", "out", "--format", "pdf"], "invalid choice"),
        (["release", "a03"], "--to"),
        (["release", "a03", "--to", " "], "name of a folder"),
        (
            ["release", "a03", "--to", "out", "--format", "gradescope", "--secret", "nothing"],
            "does not exist",
        ),
        (["new", "topic"], "b01_my_topic"),
        (["new", "a03_mine"], "b03_mine"),
    ],
)
def test_mistakes_take_one_line_and_leave_nothing(
    command: Command, words: list[str], said: str
) -> None:
    ran = command("course", *words)
    assert (ran.code, ran.out, listed(Path())) == (2, "", [])
    assert ran.err.count("\n") == 1
    assert said in ran.err


def test_without_the_solution_it_says_where_to_work(command: Command, tmp_path: Path) -> None:
    command("course", "new", "b01_my_topic")
    Path("assignments/b01_my_topic/master.py").unlink()
    words = ["release", "b01", "--assignments", "assignments", "--to", "out"]
    for form in ("folder", "notebook", "nbgrader", "gradescope"):
        ran = command("course", *words, "--format", form)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "install a clone" in ran.err
        assert ran.err.count("b01_my_topic: ") == 1
    assert not Path("out").exists()
