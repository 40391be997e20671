"""The CSV files of a class, and what is told on the screen."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from minires.course.assignment import Assignment
from minires.course.class_report import report, wall_warning
from minires.course.gradebook import canvas_csv, grades_csv, moodle_csv
from minires.course.grades import Grade, Override
from minires.course.grading import NOTHING
from minires.course.handed_in import Entry
from minires.course.marking import TaskResult
from minires.course.roster import Student
from minires.course.sandbox import WALLS
from tests.course.small import small_assignment


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    return small_assignment(tmp_path_factory.mktemp("assignments"))


@pytest.fixture
def grades(small: Assignment) -> list[Grade]:
    twice, fourfold = small.tasks
    right = (TaskResult(twice, "passed", 3.0), TaskResult(fourfold, "passed", 1.5))
    wrong = (
        TaskResult(twice, "wrong", 0.0, "m", "h", "squared"),
        TaskResult(fourfold, "not yet", 0.0),
    )
    return [
        Grade("anna", "Anna", right, number="7", email="a@x.org", remarks=("Late.",)),
        Grade("ben", "=Ben", wrong, overrides={"twice": Override(2.5, "nearly")}),
        Grade("carl", "Carl", trouble="no zip file"),
        Grade("dora", "Dora", trouble=NOTHING),
    ]


STUDENTS = [
    Student("anna", "Anna", "7", "a@x.org", more={"section": "B"}),
    Student("ben", "=Ben", entry=Entry("ben", "ben", "55", (), list, "moodle")),
    Student("carl", "Carl", entry=Entry("carl", "carl", "66", (), list, "canvas")),
    Student("dora", "Dora"),
]


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def test_grades_csv_has_a_line_a_student(small: Assignment, grades: list[Grade]) -> None:
    found = rows(grades_csv(small, grades))
    assert [(r["student"], r["points"], r["of"], r["twice"], r["fourfold"]) for r in found] == [
        ("anna", "4.5", "4.5", "3", "1.5"),
        ("ben", "2.5", "4.5", "2.5", "0"),
        ("carl", "0", "4.5", "0", "0"),
        ("dora", "0", "4.5", "0", "0"),
    ]
    assert [r["note"] for r in found] == [
        "Late.",
        "twice by hand: nearly.",
        "no zip file",
        "nothing handed in",
    ]
    assert found[1]["mistakes"] == "squared"
    assert found[1]["name"] == "'=Ben"
    assert (found[0]["number"], found[0]["email"]) == ("7", "a@x.org")


def test_moodle_gets_whom_it_can_know_and_the_others_are_named(
    small: Assignment, grades: list[Grade]
) -> None:
    content, missing = moodle_csv(small, STUDENTS, grades)
    assert missing == ["carl", "dora"]
    assert rows(content) == [
        {
            "Identifier": "",
            "Full name": "Anna",
            "ID number": "7",
            "Email address": "a@x.org",
            "Grade": "4.5",
            "Feedback comments": "twice 3 of 3, fourfold 1.5 of 1.5",
        },
        {
            "Identifier": "Participant 55",
            "Full name": "'=Ben",
            "ID number": "",
            "Email address": "",
            "Grade": "2.5",
            "Feedback comments": "twice 2.5 of 3 (by hand: nearly), fourfold 0 of 1.5 (not yet)",
        },
    ]


def test_canvas_gets_whom_it_can_know_and_the_others_are_named(
    small: Assignment, grades: list[Grade]
) -> None:
    content, missing = canvas_csv(small, STUDENTS, grades)
    assert missing == ["ben", "dora"]
    title = "a90 Twice, and four times"
    headers = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", title]
    assert list(csv.reader(io.StringIO(content.decode()))) == [
        headers,
        ["    Points Possible", "", "", "", "", "4.5"],
        ["Anna", "", "7", "a@x.org", "B", "4.5"],
        ["Carl", "66", "", "", "", "0"],
    ]


def test_who_was_not_graded_is_in_no_file(small: Assignment, grades: list[Grade]) -> None:
    for make in (moodle_csv, canvas_csv):
        content, missing = make(small, STUDENTS, grades[:1])
        assert missing == []
        assert b"Anna" in content
        assert b"Carl" not in content
        assert b"Ben" not in content


def test_the_screen_shows_tasks_mistakes_and_what_could_not_be_read(
    small: Assignment, grades: list[Grade]
) -> None:
    text = report(small, grades, tuple(WALLS))
    assert text.splitlines()[:3] == [
        "a90 Twice, and four times: 4 students, 3 handed in",
        "mean 1.8 of 4.5 points, median 1.2, full marks 1",
        "points by hand: 1",
    ]
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "twice 3 1 1 0" in lines
    assert "fourfold 1.5 1 0 1" in lines
    assert "squared twice 1" in lines
    assert "carl no zip file" in lines
    assert not any(line.startswith("dora") for line in lines)
    assert lines[-1] == "walls that stood: limits, user, files, calls"
    assert report(small, grades, ()).endswith("walls that stood: none")


def test_a_wall_that_did_not_stand_is_warned_of() -> None:
    assert wall_warning(tuple(WALLS)) == ""
    assert wall_warning(()).startswith(f"walls that did not stand: {', '.join(WALLS)}.")
    assert wall_warning(("limits", "files", "calls")) == "", "an ordinary user needs no other"
    warning = wall_warning(("limits", "user"))
    assert warning.startswith("walls that did not stand: files, calls. It was not so that: only")


def test_a_class_of_nobody_is_no_error(small: Assignment, tmp_path: Path) -> None:
    assert report(small, [], None).splitlines() == ["a90 Twice, and four times: 0 students"]
    assert len(grades_csv(small, []).splitlines()) == 1
