"""A student's own check: the public cases, with the student's own earlier tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from minires.course import in_notebook
from minires.course.assignment import Assignment, find_assignment
from minires.course.cells import join_cells
from minires.course.checking import assignment_in, check_submission
from minires.course.marking import TaskResult
from minires.errors import UsageError
from tests.course.conftest import SECRET, whole


@pytest.fixture
def a03() -> Assignment:
    return find_assignment("a03")


def results(assignment: Assignment, text: str) -> dict[str, TaskResult]:
    return {r.task.name: r for r in check_submission(assignment, whole(text))}


def with_mistake(assignment: Assignment, name: str) -> str:
    return assignment.edited(next(m for m in assignment.mistakes if m.name == name))


def test_the_solution_passes_and_the_stub_is_not_yet(a03: Assignment) -> None:
    solved = results(a03, join_cells(a03.master_cells))
    assert all(result.status == "passed" for result in solved.values())
    stub = results(a03, join_cells(a03.stub_cells))
    assert all(result.status == "not yet" for result in stub.values())
    assert sum(result.points for result in stub.values()) == 0


def test_a_known_mistake_is_named_and_what_stands_on_it_says_so(a03: Assignment) -> None:
    task = a03.task("im2col")
    mistake = next(m for m in a03.mistakes if task.name in m.tasks)
    found = results(a03, with_mistake(a03, mistake.name))
    assert found["im2col"].mistake == mistake.name
    assert found["im2col"].hint == mistake.hint
    assert "should" in found["im2col"].message
    assert found["conv2d"].status == "wrong"
    assert found["conv2d"].message.startswith("It stands on im2col, not right yet: ")
    assert found["output_size"].status == "passed"


def test_half_done_work_says_which_earlier_task_is_missing(a03: Assignment) -> None:
    cells = [
        stub if stub.task == "im2col" else master
        for stub, master in zip(a03.stub_cells, a03.master_cells, strict=True)
    ]
    found = results(a03, join_cells(cells))
    assert found["im2col"].message == "It is not written yet."
    assert found["conv2d"].status == "not yet"
    assert found["conv2d"].message == "It calls im2col, which is not written yet."
    assert found["col2im"].status == "passed"


def test_one_task_can_be_checked_alone(a03: Assignment) -> None:
    text = whole(join_cells(a03.master_cells))
    [result] = check_submission(a03, text, "pad")
    assert (result.task.name, result.status) == ("pad", "passed")
    with pytest.raises(UsageError, match="no task 'pods'; there are output_size"):
        list(check_submission(a03, text, "pods"))


def test_the_assignment_is_told_by_the_names_of_the_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file is named after"):
        assignment_in(tmp_path)
    with pytest.raises(UsageError, match="there is no"):
        assignment_in(tmp_path / "nothing")
    (tmp_path / "a03.py").write_text("")
    assert assignment_in(tmp_path).number == "a03"
    (tmp_path / "a05_pooling.ipynb").write_text("")
    assert assignment_in(tmp_path).number == "a05"
    (tmp_path / "a04_batch_norm.py").write_text("")
    with pytest.raises(UsageError, match="a04_batch_norm and a05_pooling"):
        assignment_in(tmp_path)
    assert assignment_in(tmp_path / "a04_batch_norm.py").number == "a04"


# --- in a notebook ---


def test_a_check_in_a_notebook_says_the_same_and_leaves_the_names_alone(a03: Assignment) -> None:
    names: dict[str, object] = {}
    exec(join_cells(a03.master_cells), names)
    before = dict(names)
    verdict = in_notebook.check("a03", "conv2d", names)
    assert verdict.passed
    assert "conv2d" in repr(verdict)
    names["im2col"] = None
    assert not in_notebook.check("a03", "conv2d", names).passed
    assert {**names, "im2col": before["im2col"]} == before


def test_what_nbgrader_runs_raises_unless_right_and_takes_the_solution_for_earlier_tasks(
    a03: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    monkeypatch.setenv("MINIRES_COURSE_SECRET", str(secret))
    names: dict[str, object] = {}
    exec(join_cells(a03.master_cells), names)
    wrong = names["im2col"] = lambda *args, **kwargs: 0
    in_notebook.require("a03", "conv2d", names, hidden=True)
    assert names["im2col"] is wrong
    for hidden in (False, True):
        with pytest.raises(AssertionError, match="im2col: wrong"):
            in_notebook.require("a03", "im2col", names, hidden=hidden)
    with pytest.raises(AssertionError, match="conv2d: wrong"):
        in_notebook.require("a03", "conv2d", names)
    del names["col2im"]
    with pytest.raises(AssertionError, match="col2im: not yet"):
        in_notebook.require("a03", "col2im", names)
