"""results.json is valid and comes back as it was; every student has a folder of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.course.assignment import Assignment
from minires.course.grades import Grade, Override
from minires.course.marking import TaskResult
from minires.course.process import printable
from minires.course.results import (
    folder_names,
    gradescope_results,
    read_results,
    results_json,
)
from tests.course.small import small_assignment

NASTY = "</script>\ud800\x00\x1b[2J\u202e\u2028\"'\\\n= NaN \U0001f600"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    return small_assignment(tmp_path_factory.mktemp("assignments"))


def graded(small: Assignment, message: str = "a message") -> Grade:
    twice, fourfold = small.tasks
    return Grade(
        "anna",
        "anna",
        (
            TaskResult(twice, "wrong", 0.0, message, "a hint", "squared", 3, 1),
            TaskResult(fourfold, "passed", 1.5, cases=3, passed=3),
        ),
        remarks=("a remark",),
        digest="d",
    )


def test_it_has_gradescopes_form(small: Assignment) -> None:
    results = gradescope_results(small, graded(small))
    assert results["score"] == sum(test["score"] for test in results["tests"]) == 1.5
    assert results["output"] == "a remark"
    assert results["tests"][0] == {
        "name": "twice: Two times",
        "number": "1",
        "score": 0.0,
        "max_score": 3.0,
        "status": "failed",
        "output": "wrong (1 of 3 cases are right)\na message\nHint: a hint",
        "output_format": "text",
        "visibility": "visible",
    }
    assert results["tests"][1]["status"] == "passed"


def test_points_by_hand_come_with_the_reason_and_above_what_was_found(small: Assignment) -> None:
    grade = replace(graded(small), overrides={"twice": Override(2.5, "nearly right")})
    results = gradescope_results(small, grade)
    assert results["score"] == 4.0
    test = results["tests"][0]
    assert (test["score"], test["status"]) == (2.5, "failed")
    assert test["output"].startswith("2.5 points were given by hand: nearly right\nwrong (1 of 3")


def test_a_submission_that_cannot_be_read_has_its_tests_and_the_reason(small: Assignment) -> None:
    results = gradescope_results(small, Grade("ben", "ben", trouble="no zip"))
    assert results["output"] == "Not graded: no zip"
    assert [test["score"] for test in results["tests"]] == [0.0, 0.0]


@given(text=st.text(st.characters(), max_size=30))
@settings(max_examples=100, deadline=None)
def test_it_is_valid_json_whatever_the_students_code_says(small: Assignment, text: str) -> None:
    """All of it goes through ``printable`` on its way into the process that grades."""
    check_valid(small, printable(text))


def test_it_is_valid_json_with_what_is_known_to_be_nasty(small: Assignment) -> None:
    check_valid(small, printable(NASTY))
    check_valid(small, printable("\ud83d" + "\ude00" + "\udc00"))


def check_valid(small: Assignment, text: str) -> None:
    grade = replace(
        graded(small, text), remarks=(text,), trouble=text, overrides={"twice": Override(1.0, text)}
    )
    content = results_json(small, grade, ("limits",))
    found = json.loads(content.decode("ascii"), parse_constant=refuse)
    json.dumps(found, ensure_ascii=False).encode("utf-8")  # no halves of characters
    assert "\0" not in json.dumps(found, ensure_ascii=False).replace("\\u0000", "\0")


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def test_it_comes_back_as_it_was(tmp_path: Path, small: Assignment) -> None:
    path = tmp_path / "results.json"
    for grade in (graded(small), Grade("anna", "anna", trouble="no zip", digest="e")):
        for walls in (("limits", "user"), (), None):
            path.write_bytes(results_json(small, grade, walls))
            assert read_results(path, small, "anna") == (grade, walls)


def test_names_and_points_by_hand_do_not_come_from_the_file(
    tmp_path: Path, small: Assignment
) -> None:
    path = tmp_path / "results.json"
    grade = replace(
        graded(small), name="Anna B", email="a@b.c", overrides={"twice": Override(2.0, "x")}
    )
    path.write_bytes(results_json(small, grade, ()))
    found = read_results(path, small, "anna")
    assert found is not None
    assert found[0] == graded(small)


def test_what_is_damaged_or_of_something_else_does_not_come_back(
    tmp_path: Path, small: Assignment
) -> None:
    path = tmp_path / "results.json"
    assert read_results(path, small, "anna") is None
    content = results_json(small, graded(small), ())
    path.write_bytes(content)
    assert read_results(path, small, "ben") is None
    for old, new in [
        (b'"form": 1', b'"form": 0'),
        (b'"a90_small"', b'"a91_other"'),
        (b'"task": "twice"', b'"task": "thrice"'),
        (b'"status": "wrong"', b'"status": "brilliant"'),
        (b'"minires"', b'"other"'),
        (b'"results": [', b'"results": ["x", '),
        (content[-40:], b""),
        (content, b"[" * 100_000),
    ]:
        assert old in content
        path.write_bytes(content.replace(old, new))
        assert read_results(path, small, "anna") is None, old[:30]


# --- folders ---


def check_folders(names: list[str]) -> dict[str, str]:
    found = folder_names(names)
    assert len({name.casefold() for name in found.values()}) == len(set(names))
    for name in found.values():
        assert name
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert name[0] not in ". -"
        assert name[-1] not in ". "
        assert len(name.encode()) <= 240
        assert name.split(".")[0].lower() not in ("con", "nul", "com1", "")
    return found


def test_plain_names_are_their_own_folders() -> None:
    names = ["anna", "Jane Doe_12", "doej_5", "Zo\u00eb", "\u4e2d\u6587", "a.b@c.de"]
    assert check_folders(names) == {name: name for name in names}


def test_hostile_names_get_folders_that_lead_nowhere_else() -> None:
    long = ["x" * 300, "x" * 301, "\u4e2d" * 200]
    odd = ["..", ".", "", " ", "../../etc", "/etc/passwd", "a/b", "a\\b", "a:b", "CON", "nul.txt"]
    same = ["Anna", "anna", "ANNA", "\ufb01n", "fin", "a\nb", "a b.", "a b", "-rf", "~"]
    check_folders([*long, *odd, *same])


def test_a_name_cannot_take_the_folder_of_another() -> None:
    taken = folder_names(["../ben"])["../ben"]
    found = check_folders(["../ben", taken])
    assert found["../ben"] == taken, "which does not depend on who else is there"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), unique=True))
@settings(max_examples=200, deadline=None)
def test_no_two_have_the_same_folder(names: list[str]) -> None:
    check_folders(names)
