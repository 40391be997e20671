"""Who a row of the roster is, who a teacher means, and points given by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from minires.course.assignment import Assignment
from minires.course.grades import Override
from minires.course.handed_in import Entry
from minires.course.roster import (
    Student,
    class_list,
    find_student,
    overrides_json,
    read_kept,
    read_overrides,
    read_roster,
)
from minires.errors import UsageError
from tests.course.small import small_assignment


def entry(student: str, name: str = "", number: str = "", *sources: str) -> Entry:
    return Entry(student, name or student, number, sources or (student,), list)


ENTRIES = [
    entry("Jane Doe_12", "Jane Doe", "12", "Jane Doe_12_assignsubmission_file_"),
    entry("Jane Doe_13", "Jane Doe", "13", "Jane Doe_13_assignsubmission_file_"),
    entry("anna", "", "", "anna.zip"),
    entry("roej_5", "roej", "5", "roej_5_77_a03.py"),
]


def roster(folder: Path, text: str) -> Path:
    path = folder / "roster.csv"
    path.write_text(text, encoding="utf-8")
    return path


def everybody(folder: Path, text: str) -> list[Student]:
    path = roster(folder, text)
    return class_list(ENTRIES, read_roster(path), path)


@pytest.fixture
def small(tmp_path: Path) -> Assignment:
    return small_assignment(tmp_path / "assignments")


def test_without_a_roster_everybody_is_who_the_submission_says() -> None:
    students = class_list(ENTRIES, None, Path())
    assert [(one.student, one.name) for one in students] == [
        ("anna", "anna"),
        ("Jane Doe_12", "Jane Doe"),
        ("Jane Doe_13", "Jane Doe"),
        ("roej_5", "roej"),
    ]
    assert all(one.listed and one.entry for one in students)


@pytest.mark.parametrize(
    ("folder", "student"),
    [
        ("Jane Doe_12", "Jane Doe_12"),
        ("Jane Doe_12_assignsubmission_file_", "Jane Doe_12"),
        ("12", "Jane Doe_12"),
        ("anna.zip", "anna"),
        ("anna", "anna"),
        ("roej", "roej_5"),
        ("roej_5_77_a03", "roej_5"),
    ],
)
def test_a_row_finds_its_submission_by_any_of_its_names(
    tmp_path: Path, folder: str, student: str
) -> None:
    students = everybody(tmp_path, f"folder,name,number,email\n{folder},X Y,7,x@y.z\n")
    [found] = [one for one in students if one.name == "X Y"]
    assert (found.student, found.number, found.email) == (student, "7", "x@y.z")
    assert found.entry is not None
    assert found.listed
    assert len(students) == 4
    assert sum(one.listed for one in students) == 1


def test_a_dot_in_the_name_of_a_folder_begins_no_ending(tmp_path: Path) -> None:
    path = roster(tmp_path, "folder,name\nanna,Anna\n")
    for name in ("anna.b", "anna.py"):
        students = class_list([entry(name)], read_roster(path), path)
        assert [(one.student, one.listed) for one in students] == [("anna", True), (name, False)]
    path = roster(tmp_path, "folder,name\nanna,Anna\nanna.b,Anna B\n")
    students = class_list([entry("anna.b")], read_roster(path), path)
    assert [(one.name, one.entry is not None) for one in students] == [
        ("Anna", False),
        ("Anna B", True),
    ]
    moodle = entry("J. Doe_12", "J. Doe", "12", "J. Doe_12_assignsubmission_file_")
    with pytest.raises(UsageError, match="no student is called 'J'"):
        find_student("J", [Student("J. Doe_12", "J. Doe", entry=moodle)], "--only")


def test_who_handed_in_nothing_is_in_the_class(tmp_path: Path) -> None:
    students = everybody(tmp_path, "folder,name,section\nzora,Zora Z,B\n")
    assert [one.student for one in students][-1] == "zora"
    assert students[-1].entry is None
    assert students[-1].more == {"section": "B"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("anna,A\nanna,B\n", "line 3: 'anna' is in line 2, too"),
        ("anna,A\nanna.zip,B\n", "line 3: 'anna.zip' is the submission 'anna', which line 2 has"),
        ("Jane Doe,A\n", "line 2: 'Jane Doe' fits Jane Doe_12, Jane Doe_13; write the whole name"),
        (",A\n", "line 2: no folder"),
        ("anna,\n", "line 2: no name"),
    ],
)
def test_rows_that_are_not_clear_are_named(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        everybody(tmp_path, f"folder,name\n{rows}")


def test_odd_characters_of_a_roster_are_made_visible(tmp_path: Path) -> None:
    [student] = class_list([], read_roster(roster(tmp_path, "folder,name\nx,A\x1b[2J\n")), Path())
    assert student.name == r"A\x1b[2J"


# --- by a name ---

STUDENTS = [
    Student("anna", "Anna Berg", "100", "anna@x.org", ENTRIES[2]),
    Student("ben", "Ben Anna", "101", "ben@x.org"),
    Student("Jane Doe_12", "Jane Doe", entry=ENTRIES[0]),
    Student("Jane Doe_13", "Jane Doe", entry=ENTRIES[1]),
]


@pytest.mark.parametrize(
    ("text", "student"),
    [
        *[("anna", "anna"), ("ANNA", "anna"), ("Anna Berg", "anna"), ("100", "anna")],
        *[("ben@x.org", "ben"), (" anna.zip ", "anna"), ("13", "Jane Doe_13")],
    ],
)
def test_a_student_is_found_by_every_name(text: str, student: str) -> None:
    assert find_student(text, STUDENTS, "--only").student == student


@pytest.mark.parametrize("name", ["Anna  Blume", "Anna\u00a0Blume", "Meyer;-x", "'=x"])
def test_a_name_with_odd_spaces_or_signs_is_found_as_it_is_and_as_one_types_it(name: str) -> None:
    students = [Student(name, name), Student("Anna Blum", "Anna Blum")]
    assert find_student(name, students, "--only").student == name
    assert find_student(" ".join(name.split()), students, "--only").student == name
    students.append(Student("Anna Blume", "B"))
    assert find_student(name, students, "--only").student == name
    assert find_student("Anna Blume", students, "--only").student == "Anna Blume"


def test_a_name_of_nobody_or_of_two_is_an_error_with_names_that_are_near() -> None:
    with pytest.raises(UsageError, match=r"--only: no student is called 'Ana Berg'; perhaps Anna"):
        find_student("Ana Berg", STUDENTS, "--only")
    with pytest.raises(UsageError, match=r"no student is called 'qqqqqq'\."):
        find_student("qqqqqq", STUDENTS, "--only")
    with pytest.raises(UsageError, match="may be Jane Doe_12, Jane Doe_13; write one of these"):
        find_student("Jane Doe", STUDENTS, "--only")


# --- by hand ---


def by_hand(folder: Path, rows: str) -> Path:
    path = folder / "by_hand.csv"
    path.write_text(f"student,task,points,reason\n{rows}", encoding="utf-8")
    return path


def test_points_by_hand_are_read_and_written_again(tmp_path: Path, small: Assignment) -> None:
    path = by_hand(tmp_path, "Anna Berg,twice,2.5,'=nearly\nben,fourfold,0,a; - is  lost\n")
    found = read_overrides(path, small, STUDENTS)
    assert found == {
        "anna": {"twice": Override(2.5, "=nearly")},
        "ben": {"fourfold": Override(0.0, "a; - is lost")},
    }
    path.write_bytes(overrides_json(found))
    assert read_kept(path, small) == found


@pytest.mark.parametrize("student", ["a  b", " a", "a\u00a0b", "Meyer;-x", "'=x", "=x", "a\nb"])
def test_what_is_kept_comes_back_letter_by_letter(
    tmp_path: Path, small: Assignment, student: str
) -> None:
    given = {student: {"twice": Override(2.5, "'; -'  =x")}}
    (tmp_path / "kept.json").write_bytes(overrides_json(given))
    assert read_kept(tmp_path / "kept.json", small) == given


@pytest.mark.parametrize(
    "content",
    [
        *["", "{", "[]", '{"anna": 3}', '{"anna": {"twice": 3}}'],
        *['{"anna": {"twice": {"points": "x", "reason": "y"}}}', "[" * 100_000],
    ],
)
def test_what_is_kept_and_cannot_be_read_is_told(
    tmp_path: Path, small: Assignment, content: str
) -> None:
    (tmp_path / "kept.json").write_text(content)
    with pytest.raises(UsageError, match=r"kept\.json'.*--override"):
        read_kept(tmp_path / "kept.json", small)


@pytest.mark.parametrize(
    ("task", "points", "message"),
    [
        ("old", 1.0, "there is no task 'old'"),
        ("twice", 9.0, "points for twice must be from 0"),
    ],
)
def test_what_is_kept_must_fit_the_assignment(
    tmp_path: Path, small: Assignment, task: str, points: float, message: str
) -> None:
    given = {"anna": {task: Override(points, "x")}}
    (tmp_path / "kept.json").write_bytes(overrides_json(given))
    with pytest.raises(UsageError, match=f"of anna: {message}"):
        read_kept(tmp_path / "kept.json", small)


def test_a_comma_may_be_the_point(tmp_path: Path, small: Assignment) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\ufeffreason;points;task;student\nwhy;0,5;twice;ben\n", encoding="utf-8")
    assert read_overrides(path, small, STUDENTS) == {"ben": {"twice": Override(0.5, "why")}}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("anne,twice,1,x", r"line 3: no student is called 'anne'; perhaps anna"),
        ("anna,twize,1,x", "line 3: there is no task 'twize'; there are twice, fourfold"),
        ("anna,twice,3.1,x", "line 3: points for twice must be from 0 to 3, got '3.1'"),
        ("anna,twice,-1,x", "from 0 to 3"),
        ("anna,twice,nan,x", "from 0 to 3"),
        ("anna,twice,,x", "from 0 to 3"),
        ("anna,twice,1,", "line 3: no reason"),
        ("anna,twice,1,a,b", "line 3: 5 cells"),
        ("Ben Anna,twice,2,x", "line 3: twice of ben is in line 2, too"),
    ],
)
def test_every_mistake_names_its_line(
    tmp_path: Path, small: Assignment, row: str, message: str
) -> None:
    path = by_hand(tmp_path, f"ben,twice,1,fine\n{row}\n")
    with pytest.raises(UsageError, match=message):
        read_overrides(path, small, STUDENTS)
