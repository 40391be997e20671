"""``minires course grade``: its files, what it says, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minires
from minires.course import grading
from minires.course.grading import alone_in
from minires.course.marking import Marker
from minires.course.sandbox import WALLS
from minires.course.secret import VARIABLE
from minires.course.submission import Submission
from tests.cli.conftest import Ran
from tests.course.small import HALF, RIGHT, SQUARED, hand_in, small_assignment

Command = Callable[..., Ran]
SECRET = "a secret of the tests"


@pytest.fixture(autouse=True)
def place(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an assignment, a secret, and three submissions."""
    monkeypatch.setenv("HOME", str(elsewhere / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)
    small_assignment(elsewhere / "own")
    hand_in(elsewhere / "in", anna=RIGHT, ben=SQUARED, carl=HALF)
    (elsewhere / "secret").write_text(SECRET)
    (elsewhere / "secret").chmod(0o600)
    return elsewhere


@pytest.fixture
def grade(command: Command) -> Command:
    """The command on these submissions; further words follow."""

    def run(*words: str, secret: str = "secret", out: str = "out") -> Ran:
        always = ["--assignments", "own", "--out", out, "--secret", secret, "--jobs", "2"]
        return command("course", "grade", "a90", "in", *always, *words)

    return run


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The submissions that are marked, a name for each task."""
    names: list[str] = []
    mark = Marker.mark

    def noted(self: Marker, submission: Submission, *more: Any) -> Any:
        names.append(submission.name)
        return mark(self, submission, *more)

    monkeypatch.setattr(Marker, "mark", noted)
    return names


def grades(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def test_it_writes_the_class_and_every_student_and_tells(grade: Command, place: Path) -> None:
    (place / "in" / "ed.zip").write_text("none")
    ran = grade()
    assert ran.code == 0
    out = place / "out"
    assert sorted(path.name for path in out.iterdir()) == ["grades.csv", "students", "summary.html"]
    assert {s: row["points"] for s, row in grades(out).items()} == {
        "anna": "4.5",
        "ben": "1.5",
        "carl": "3",
        "ed": "0",
    }
    for student in ("anna", "ben", "carl", "ed"):
        files = sorted(path.name for path in (out / "students" / student).iterdir())
        assert files == ["feedback.html", "results.json"]
        assert f"students/{student}/feedback.html" in (out / "summary.html").read_text()
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[0] == "a90 Twice, and four times: 4 students"
    assert "twice 3 2 1 0" in lines
    assert "squared twice 1" in lines
    assert any(line.startswith("ed cannot read ed.zip") for line in lines)
    assert lines[-1] == "grades.csv, summary.html and the students' pages are in out"
    assert "[4/4]" in ran.err
    assert SECRET not in ran.out + ran.err


def test_the_same_again_marks_nobody_and_changes_nothing(
    grade: Command, place: Path, marked: list[str]
) -> None:
    first = grade("--jobs", "1")
    files = contents(place / "out")
    assert len(marked) == 6
    marked.clear()
    second = grade()
    assert marked == []
    assert second.out == first.out
    assert second.err.count("(kept)") == 3
    assert contents(place / "out") == files


def test_a_zip_file_of_the_class_gives_the_same_grades(
    grade: Command, command: Command, place: Path
) -> None:
    with zipfile.ZipFile(place / "class.zip", "w") as archive:
        for path in sorted((place / "in").iterdir()):
            archive.write(path, f"subs/{path.name}")
    words = ["--assignments", "own", "--out", "zipped", "--secret", "secret"]
    assert command("course", "grade", "a90", "class.zip", *words).code == 0
    grade()
    assert grades(place / "zipped") == grades(place / "out")


def test_a_secret_is_made_on_first_use_and_that_is_said_once(command: Command, place: Path) -> None:
    words = ["course", "grade", "a90", "in", "--assignments", "own", "--out", "out"]
    first, second = command(*words), command(*words)
    secret = place / "home" / ".config" / "minires" / "course-secret"
    assert f"a secret was made in '{secret}'; keep it" in first.err
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert "secret" not in second.err
    assert second.err.count("(kept)") == 3
    data = secret.read_text().strip()
    for path in (place / "out").rglob("*.*"):
        assert data not in path.read_text(encoding="utf-8")
    secret.chmod(0o644)
    assert "can be read by others; chmod 600" in command(*words).err


# --- who is who ---

ROSTER = "folder,name,number,email\nanna,Anna A,7,a@x.org\nzora,Zora Z,8,\nben,Ben B,,\n"


def test_a_roster_names_students_and_has_those_who_handed_in_nothing(
    grade: Command, place: Path
) -> None:
    (place / "roster.csv").write_text(ROSTER)
    ran = grade("--roster", "roster.csv", "--format", "moodle")
    assert ran.code == 0
    found = grades(place / "out")
    assert [row["name"] for row in found.values()] == ["Anna A", "Ben B", "carl", "Zora Z"]
    assert found["zora"]["note"] == "nothing handed in"
    assert "graded, and not in the roster: carl" in ran.err
    assert (
        "not in moodle.csv, for the roster has no number or email of theirs: ben, carl" in ran.err
    )
    assert "4 students, 3 handed in" in ran.out
    content = (place / "out" / "moodle.csv").read_text()
    assert content.splitlines()[1].startswith('"","Anna A","7","a@x.org","4.5","twice 3 of 3')
    assert "Anna A" in (place / "out" / "students" / "anna" / "feedback.html").read_text()
    assert (place / "out" / "students" / "zora" / "results.json").is_file()


def test_a_roster_that_changes_marks_nobody_again(
    grade: Command, place: Path, marked: list[str]
) -> None:
    grade()
    marked.clear()
    (place / "roster.csv").write_text(ROSTER)
    grade("--roster", "roster.csv")
    assert marked == []
    assert grades(place / "out")["anna"]["name"] == "Anna A"


def test_canvas_takes_numbers_from_the_names_of_files(grade: Command, place: Path) -> None:
    hand_in(place / "in", doej_77_81_a90=RIGHT)
    assert grade("--format", "canvas").code == 0
    lines = (place / "out" / "canvas.csv").read_text().splitlines()
    assert lines[2:] == ['"doej","77","","","","4.5"']


def test_only_marks_these_and_says_what_is_not_as_it_should_be(
    grade: Command, place: Path, marked: list[str]
) -> None:
    grade()
    marked.clear()
    hand_in(place / "in", ben=RIGHT, dora=RIGHT)
    ran = grade("--only", "anna", "carl")
    assert sorted(set(marked)) == ["anna.py", "carl.py"]
    assert "kept though something has changed: ben; grade without --only" in ran.err
    assert "not graded yet, and in no table: dora" in ran.err
    assert list(grades(place / "out")) == ["anna", "ben", "carl"]
    assert grade().code == 0
    assert grades(place / "out")["ben"]["points"] == "4.5"


def test_students_who_are_gone_are_named_and_left_alone(grade: Command, place: Path) -> None:
    grade()
    (place / "in" / "ben.py").unlink()
    ran = grade()
    assert "of an earlier run, and nobody's now: students/ben" in ran.err
    assert (place / "out" / "students" / "ben" / "results.json").is_file()
    assert "ben" not in grades(place / "out")


# --- by hand ---


def test_points_by_hand_are_shown_everywhere_and_kept(
    grade: Command, place: Path, marked: list[str]
) -> None:
    (place / "hand.csv").write_text("student,task,points,reason\nben,twice,2,=a slip\n")
    assert grade("--override", "hand.csv").code == 0
    marked.clear()
    hand_in(place / "in", ben=HALF.replace("x + x", "3 * x"))
    ran = grade()
    assert "points by hand are kept from before, in 'out/overrides.json': ben twice" in ran.err
    assert set(marked) == {"ben.py"}
    row = grades(place / "out")["ben"]
    assert (row["points"], row["note"]) == ("2", "twice by hand: =a slip.")
    results = json.loads((place / "out" / "students" / "ben" / "results.json").read_text())
    assert results["score"] == 2.0
    assert "given by hand: =a slip" in results["tests"][0]["output"]
    assert "a slip" in (place / "out" / "students" / "ben" / "feedback.html").read_text()

    (place / "in" / "ben.py").unlink()
    ran = grade()
    assert "points by hand for nobody who is here: ben twice" in ran.err
    (place / "hand.csv").write_text("student,task,points,reason\n")
    ran = grade("--override", "hand.csv")
    assert "points by hand that are taken back, for they are not in the file: ben twice" in ran.err
    hand_in(place / "in", ben=SQUARED)
    assert "by hand" not in grade().err
    assert grades(place / "out")["ben"]["points"] == "1.5"


@pytest.mark.parametrize("name", ["Anna  Blume", "Anna\u00a0Blume", "Meyer;-x"])
def test_points_by_hand_stay_with_a_student_of_any_name(
    grade: Command, place: Path, name: str
) -> None:
    (place / "in" / "ben.py").rename(place / "in" / f"{name}.py")
    (place / "roster.csv").write_text(f'folder,name,number\n"{name}",Anna,7\n')
    (place / "hand.csv").write_text("student,task,points,reason\n7,twice,2,right idea; - is lost\n")
    grade("--roster", "roster.csv", "--override", "hand.csv")
    files = contents(place / "out")
    grade("--roster", "roster.csv")
    assert grades(place / "out")[name.replace(";-", ";'-")]["points"] == "3.5"
    assert contents(place / "out") == files


def test_a_file_of_points_replaces_what_is_kept_and_cannot_be_read(
    grade: Command, place: Path
) -> None:
    grade()
    (place / "out" / "overrides.json").write_text("{")
    ran = grade()
    assert (ran.code, ran.out) == (2, "")
    assert "cannot read 'out/overrides.json'" in ran.err
    (place / "hand.csv").write_text("student,task,points,reason\nben,twice,2,a slip\n")
    ran = grade("--override", "hand.csv")
    assert ran.code == 0
    assert "cannot read 'out/overrides.json'" in ran.err
    assert grades(place / "out")["ben"]["points"] == "3.5"
    assert "kept from before, in 'out/overrides.json': ben twice" in grade().err


# --- ends that are not good ones ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "--jobs must be from 1 to 64, got 0"),
        (["--only", "Ana"], "--only: no student is called 'Ana'; perhaps anna?"),
        (["--secret", "absent"], "the secret: 'absent' does not exist"),
        (["--roster", "absent"], "'absent' does not exist"),
        (["--override", "bad.csv"], "'bad.csv', line 2: points for twice must be from 0 to 3"),
        (["--format", "canvas"], "--format canvas needs --roster FILE with the students' id, num"),
        (["--out", "in/out"], "'in/out' and 'in' lie in one another"),
        (["--out", "secret"], "'secret' is a file, not a folder"),
        (["--assignments", "in"], "there is no assignment in 'in'"),
        (["--assignments", "without"], "Solutions are not in an installed minires"),
        (["--format", "word"], "argument --format: invalid choice"),
    ],
)
def test_bad_input_takes_one_line_and_writes_nothing(
    grade: Command, place: Path, words: list[str], message: str
) -> None:
    (place / "bad.csv").write_text("student,task,points,reason\nanna,twice,9,x\n")
    (small_assignment(place / "without").folder / "master.py").unlink()
    before = sorted(place.rglob("*"))
    ran = grade(*words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err.splitlines()[-1]
    assert sorted(place.rglob("*")) == before


def test_submissions_that_are_not_there_take_one_line(command: Command) -> None:
    ran = command("course", "grade", "a90", "nowhere", "--assignments", "own", "--out", "out")
    assert ran.code == 2
    assert ran.err == (
        "minires course: error: there is no folder and no zip file 'nowhere' with submissions.\n"
    )


def test_two_runs_in_one_folder_are_refused(grade: Command, place: Path) -> None:
    (place / "out").mkdir()
    with alone_in(place / "out"):
        ran = grade()
    assert ran.code == 2
    assert "another run is at work in 'out'" in ran.err
    assert list((place / "out").iterdir()) == []


def test_ctrl_c_says_how_to_go_on(
    grade: Command, place: Path, monkeypatch: pytest.MonkeyPatch, marked: list[str]
) -> None:
    come = grading._as_they_come

    def interrupted(futures: Any) -> Any:
        yield next(come(futures))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(grading, "_as_they_come", interrupted)
        ran = grade("--jobs", "1")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.splitlines()[-1] == (
        "minires course grade: interrupted; 1 of 3 students are kept in 'out', and the same "
        "command goes on there"
    )
    marked.clear()
    assert grade().code == 0
    assert "anna.py" not in marked


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_files(
    grade: Command, place: Path
) -> None:
    hand_in(place / "in", dora=RIGHT, ed=SQUARED, fred=HALF)
    words = [sys.executable, "-m", "minires", "course", "grade", "a90", "in", "--jobs", "1"]
    words += ["--assignments", "own", "--secret", "secret", "--out", "killed"]
    tree = os.environ | {"PYTHONPATH": str(Path(minires.__file__).parents[1])}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=tree) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("[1/6] anna")
        process.kill()
    written = [p.parent.name for p in (place / "killed").rglob("results.json")]
    assert 1 <= len(written) < 6
    ran = grade(out="killed")
    assert ran.err.count("(kept)") == len(written)
    grade()
    assert contents(place / "killed") == contents(place / "out")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_fault_of_the_grader_is_told_at_the_end_and_by_the_exit_code(
    grade: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = Marker.mark

    def failing(self: Marker, submission: Submission, task: Any, tried: Any) -> Any:
        if submission.name == "ben.py":
            raise ZeroDivisionError
        return mark(self, submission, task, tried)

    monkeypatch.setattr(Marker, "mark", failing)
    ran = grade()
    assert ran.code == 1
    assert "the grader itself failed, and tries again next time: ben (twice, fourfold)" in ran.err


def test_a_wall_that_does_not_stand_is_warned_of(
    grade: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "walls that did not stand" not in grade().err or os.uname().sysname != "Linux"
    for walls in (("limits",), ()):
        monkeypatch.setattr(grading, "stood", lambda graded, walls=walls: walls)
        ran = grade()
        missing = [wall for wall in WALLS if wall not in walls]
        assert f"walls that did not stand: {', '.join(missing)}" in ran.err
        assert f"walls that stood: {', '.join(walls) or 'none'}" in ran.out


def test_where_no_code_was_run_nothing_is_said_of_walls(command: Command, place: Path) -> None:
    (place / "empty" / "anna").mkdir(parents=True)
    words = ["--assignments", "own", "--out", "out", "--secret", "secret"]
    ran = command("course", "grade", "a90", "empty", *words)
    assert ran.code == 0
    assert "walls" not in ran.err + ran.out


def test_a_folder_called_gradebook_is_in_nobodys_way(grade: Command, place: Path) -> None:
    (place / "out" / "gradebook.csv").mkdir(parents=True)
    assert grade().code == 0
