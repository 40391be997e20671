"""A teacher's own assignment: what ``new`` makes works at once, and goes full circle."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from minires.course import publish
from minires.course.assignment import PRIVATE_FILES, PUBLIC_FILES, Assignment, find_assignment
from minires.course.cells import join_cells
from minires.course.checking import assignment_in, check_submission
from minires.course.handing_out import hand_out
from minires.course.marking import Marker, hidden_cases
from minires.course.skeleton import new_assignment
from minires.course.submission import read_submission
from minires.errors import UsageError
from tests.course.conftest import SECRET, whole

NAME = "b01_my_topic"


@pytest.fixture
def own(tmp_path: Path) -> Assignment:
    return new_assignment(NAME, tmp_path)


def test_it_has_all_files_of_the_format_and_no_place_is_left_open(own: Assignment) -> None:
    assert {path.name for path in own.folder.iterdir()} == {*PUBLIC_FILES, *PRIVATE_FILES}
    for path in own.folder.iterdir():
        assert not re.search(rb"@[A-Z]+@", path.read_bytes()), path.name
    assert own.title == "My topic"
    assert own.handout.startswith("# b01 · My topic\n")
    assert publish.stale(own) == []


def test_it_is_found_by_its_number(own: Assignment, tmp_path: Path) -> None:
    assert find_assignment("b01", tmp_path).name == NAME


def test_the_examples_of_its_solution_are_right(own: Assignment) -> None:
    module = own.module()
    names = dict(module.__dict__)
    texts = [cell.text for cell in own.master_cells]
    exec(compile("\n".join(texts), "master", "exec"), names)  # with the documentation strings
    runner = doctest.DocTestRunner()
    for task in own.tasks:
        [test] = doctest.DocTestFinder().find(names[task.name], globs=names)
        assert test.examples
        assert runner.run(test).failed == 0


def test_solution_stub_and_mistakes_get_what_they_should(own: Assignment) -> None:
    solution, stub = join_cells(own.master_cells), join_cells(own.stub_cells)
    assert {task for mistake in own.mistakes for task in mistake.tasks} == {
        task.name for task in own.tasks
    }
    with Marker(own, references=True) as marker:
        for task in own.tasks:
            tried = hidden_cases(own, task, SECRET, "anna")
            assert marker.mark(whole(solution), task, tried).points == task.points
            assert marker.mark(whole(stub), task, tried).status == "not yet"
            for mistake in own.mistakes:
                result = marker.mark(whole(own.edited(mistake)), task, tried)
                if task.name in mistake.tasks:
                    assert (result.points, result.mistake) == (0.0, mistake.name)
                else:
                    assert result.points == task.points


def test_from_the_skeleton_to_a_student_and_back_to_the_teacher(
    own: Assignment, tmp_path: Path
) -> None:
    """The student has no folder of the teacher's, and checks; the teacher marks what comes back."""
    given = tmp_path / "student"
    hand_out(own, given)
    work = given / f"{NAME}.py"
    text = own.edited(next(m for m in own.mistakes if m.name == "uphill"))
    work.write_text(text)
    theirs = assignment_in(given)
    assert not theirs.is_complete
    results = list(check_submission(theirs, read_submission(given, theirs)))
    assert [(r.status, r.mistake) for r in results] == [("passed", ""), ("wrong", "uphill")]
    submission = read_submission(given, own)
    with Marker(own, references=True) as marker:
        points = [
            marker.mark(submission, task, hidden_cases(own, task, SECRET, "anna")).points
            for task in own.tasks
        ]
    assert points == [4.0, 0.0]


@pytest.mark.parametrize(
    "name", ["", "b01", "b1_x", "B01_x", "b01_", "b01_X", "b01-x", "../b01_x", "b01_x.py", "b01__x"]
)
def test_a_name_of_another_form_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="like b01_my_topic"):
        new_assignment(name, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_number_of_minires_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="such as b03_mine"):
        new_assignment("a03_mine", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_work_on_an_assignment_is_not_overwritten(own: Assignment, tmp_path: Path) -> None:
    (own.folder / "handout.md").write_text("# mine")
    with pytest.raises(UsageError, match=r"handout\.md"):
        new_assignment(NAME, tmp_path)
    assert own.folder.joinpath("handout.md").read_text() == "# mine"
