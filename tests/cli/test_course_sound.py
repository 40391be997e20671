"""What a teacher is told before students are: faults of an assignment, and grades of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minires.course.secret import VARIABLE
from tests.cli.conftest import Ran
from tests.course.small import MASTER, RIGHT, hand_in, small_assignment

Command = Callable[..., Ran]


@pytest.fixture(autouse=True)
def place(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(elsewhere / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)
    folder = small_assignment(elsewhere / "own").folder
    (folder / "handout.md").write_text("# a90\n\n## 1 `twice`\n\n## 2 `fourfold`\n")
    hand_in(elsewhere / "in", anna=RIGHT)
    return elsewhere


def grade(command: Command, *words: str) -> Ran:
    return command("course", "grade", "a90", "in", "--assignments", "own", "--out", "out", *words)


def test_a_fault_of_the_assignment_stops_release_and_grade_before_they_write(
    command: Command, place: Path
) -> None:
    (place / "own" / "a90_small" / "hidden.py").write_text("1 / 0\n")
    for ran in (
        grade(command),
        command("course", "release", "a90", "--assignments", "own", "--to", "out"),
        command("course", "try", "a90", "--assignments", "own"),
    ):
        assert (ran.code, ran.out) == (2, "")
        assert "a90_small: hidden.py, line 1: ZeroDivisionError" in ran.err
        assert ran.err.count("\n") == 1
    assert not (place / "out").exists()


def test_the_grades_of_another_assignment_are_not_overwritten(
    command: Command, place: Path
) -> None:
    assert grade(command).code == 0
    before = (place / "out" / "grades.csv").read_bytes()
    (place / "own" / "a90_small").rename(place / "own" / "a91_other")
    ran = command("course", "grade", "a91", "in", "--assignments", "own", "--out", "out")
    assert ran.code == 2
    assert "'out' has the grades of a90_small" in ran.err
    assert (place / "out" / "grades.csv").read_bytes() == before


def test_a_gradebook_of_an_earlier_run_is_kept_up_to_date(command: Command, place: Path) -> None:
    (place / "roster.csv").write_text("folder,name,id\nanna,Anna,1\nben,Ben,2\n")
    assert grade(command, "--roster", "roster.csv", "--format", "canvas").code == 0
    assert "Ben,2,,,,0\n" in (place / "out" / "canvas.csv").read_text().replace('"', "")
    hand_in(place / "in", ben=RIGHT)
    assert grade(command, "--roster", "roster.csv").code == 0
    assert "Ben,2,,,,4.5\n" in (place / "out" / "canvas.csv").read_text().replace('"', "")


def test_trying_an_assignment_shows_what_each_of_its_own_gets(
    command: Command, place: Path
) -> None:
    ran = command("course", "try", "a90", "--assignments", "own")
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["the", "solution", "4.5", "yes"] in lines
    assert ["the", "stub", "0", "yes"] in lines
    assert ["squared", "1.5", "yes"] in lines
    master = place / "own" / "a90_small" / "master.py"
    master.write_text(MASTER.replace("return twice(twice(x))", "return twice(twice)"))
    assert command("course", "try", "a90", "--assignments", "own").code == 2
