"""How one task of a submission is marked, and what the student is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from minires.course import in_notebook
from minires.course.assignment import Assignment, find_assignment
from minires.course.cells import join_cells
from minires.course.marking import LONGEST, TaskResult, hidden_cases, solved, verdict_of
from minires.course.sandbox import Answer, Outcome
from tests.course.conftest import SECRET, Markers, whole


@pytest.fixture
def a03() -> Assignment:
    return find_assignment("a03")


def solution_with(assignment: Assignment, addition: str) -> str:
    return f"{join_cells(assignment.master_cells)}\n\n{addition}\n"


def mark(markers: Markers, assignment: Assignment, addition: str, task: str) -> TaskResult:
    return markers.mark(assignment, solution_with(assignment, addition), task)


def test_a_mistake_in_an_earlier_task_costs_no_later_one(a03: Assignment, markers: Markers) -> None:
    broken = "def im2col(*args, **kwargs):\n    raise RuntimeError('never')"
    assert mark(markers, a03, broken, "im2col").status == "wrong"
    for task in ("conv2d", "conv2d_grad_weight", "col2im"):
        assert mark(markers, a03, broken, task).status == "passed"


def test_scratch_work_that_fails_costs_nothing_and_neither_does_a_cell_that_is_no_python(
    a03: Assignment, markers: Markers
) -> None:
    scratch = "print(undefined)\nassert False\n1 / 0\nimport torch\n"
    assert mark(markers, a03, scratch, "conv2d").status == "passed"
    assert mark(markers, a03, "# %%\nthis is no python (", "conv2d").status == "passed"


def test_no_python_at_all_is_wrong_with_the_line(a03: Assignment, markers: Markers) -> None:
    result = markers.mark(a03, "import numpy\n\ndef conv2d(:\n    pass\n", "conv2d")
    assert result.status == "wrong"
    assert "There is no conv2d in the submission." in result.message
    assert "line 3: def conv2d(:" in result.message


def test_a_task_that_is_missing_is_not_yet(a03: Assignment, markers: Markers) -> None:
    result = markers.mark(a03, "x = 1\n", "conv2d")
    assert (result.status, result.points) == ("not yet", 0.0)
    assert result.message == "There is no conv2d in the submission."


def test_an_error_is_told_with_its_line(a03: Assignment, markers: Markers) -> None:
    result = mark(markers, a03, "def pad(x, padding):\n    return x + 'a'", "pad")
    assert result.status == "wrong"
    assert "line" in result.message
    assert "return x + 'a'" in result.message
    assert "UFuncTypeError" in result.message or "TypeError" in result.message


def test_what_is_not_there_to_import_is_explained(a03: Assignment, markers: Markers) -> None:
    for module in ("torch", "scipy.signal", "minires", "cupy"):
        code = f"def pad(x, padding):\n    import {module}\n    return x"
        result = mark(markers, a03, code, "pad")
        assert "ModuleNotFoundError" in result.message
        assert "written with NumPy and Python's own modules alone" in result.message


def test_feedback_on_hidden_cases_does_not_tell_what_was_expected(
    a03: Assignment, markers: Markers
) -> None:
    code = "def output_size(*args, **kwargs):\n    return 12345"
    hidden = mark(markers, a03, code, "output_size")
    assert "is not right: it is 12345" in hidden.message
    assert "should be" not in hidden.message
    task = a03.task("output_size")
    tried = dataclasses.replace(markers.tried(a03, "output_size"), shows_numbers=True)
    shown = markers.of(a03).mark(whole(solution_with(a03, code)), task, tried)
    assert "should be" in shown.message


def test_where_one_can_hand_in_again_nothing_is_told_that_the_code_says(
    a03: Assignment, markers: Markers
) -> None:
    """A later task's process has the solutions of earlier ones; a message could carry them out."""
    carried = "def pad(x, padding):\n    raise ValueError(str(output_size.__code__.co_consts))"
    named = "class Carried(Exception): pass\n\ndef pad(x, padding):\n    raise Carried('secret')"
    N = "N, C, H, W = x.shape; P = 2 * padding"
    wrong = f"def pad(x, padding):\n    {N}\n    return np.full((N, C, H + P, W + P), 31415.0)"
    tried = hidden_cases(a03, a03.task("pad"), SECRET, "anna", once=False)

    def message(addition: str) -> str:
        submission = whole(solution_with(a03, addition))
        return markers.of(a03).mark(submission, a03.task("pad"), tried).message

    number = len(solution_with(a03, carried).splitlines())
    assert message(carried).endswith(f":\nValueError, in line {number}")
    assert message(named).endswith(f":\nan error of another kind, in line {number + 2}")
    assert "is not right." in message(wrong)
    assert "31415" not in message(wrong)
    assert "31415" in mark(markers, a03, wrong, "pad").message


def test_a_key_carries_nothing_out_either(a03: Assignment) -> None:
    task = a03.task("output_size")
    tried = hidden_cases(a03, task, SECRET, "anna", once=False)
    expected = [
        dataclasses.replace(one, value={"a": 1}, allowed={"a": 0}) for one in tried.expected
    ]
    tried = dataclasses.replace(tried, expected=expected, known=tuple)
    answers = [Answer(value={"a": 1, "CARRIED OUT": 1}) for _ in tried.cases]
    result = verdict_of(a03, task, tried, Outcome(answers, loaded=True))
    assert result.message.endswith(":\noutput_size has a key that it should not have.")


def test_why_a_process_ended_carries_nothing_out_either(a03: Assignment) -> None:
    task = a03.task("pad")
    ended = "what it sent is no answer (an array of (1, 2, 3) (4\n))"
    for outcome in (Outcome(ended=ended), Outcome(loaded=True, ended=ended)):
        for once in (True, False):
            tried = hidden_cases(a03, task, SECRET, "anna", once=once)
            message = verdict_of(a03, task, tried, outcome).message
            assert ("(1, 2, 3)" in message.split("What it sent")[1]) is once
            assert once or message.endswith("What it sent is no answer.")


def test_a_shape_is_told_also_of_hidden_cases(a03: Assignment, markers: Markers) -> None:
    code = "def pad(x, padding):\n    return np.zeros((1, 2))"
    assert ", and has (1, 2)." in mark(markers, a03, code, "pad").message


def test_no_message_is_longer_than_a_page_shows(a03: Assignment) -> None:
    task = a03.task("output_size")
    tried = solved(a03, task, a03.public_cases(task), shows_numbers=True)
    error = {"type": "E", "message": "m" * 10**6, "place": "", "number": 0, "line": ""}
    for outcome in (
        Outcome([Answer(error=error)] * len(tried.cases), loaded=True),
        Outcome(notes=[error]),
        Outcome(ended="e" * 10**6),
    ):
        message = verdict_of(a03, task, tried, outcome).message
        assert len(message) == LONGEST
        assert message.endswith("...")


def test_a_name_that_an_import_should_have_made_is_told_with_the_import(
    a03: Assignment, markers: Markers
) -> None:
    task = "def pad(x, padding):\n    return F.pad(x, padding)"
    code = f"import torch.nn.functional as F\n{solution_with(a03, task)}"
    message = markers.mark(a03, code, "pad").message
    assert "NameError: name 'F' is not defined" in message
    assert "ModuleNotFoundError: No module named 'torch'" in message
    assert "line 1: import torch.nn.functional as F" in message
    assert "written with NumPy and Python's own modules alone" in message
    other = "def pad(x, padding):\n    return undefined"
    assert "modules alone" not in mark(markers, a03, other, "pad").message
    classes = "import torch\nclass pad(torch.nn.Module):\n    pass\n"
    message = markers.mark(a03, classes, "pad").message
    assert "No module named 'torch'" in message
    assert "modules alone" in message


def test_in_a_notebook_a_helper_of_the_solution_takes_the_place_of_no_own_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a07 = find_assignment("a07")
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    monkeypatch.setenv("MINIRES_COURSE_SECRET", str(secret))
    names: dict[str, object] = {}
    exec(join_cells(a07.master_cells), names)
    assert callable(names["norm"])  # a helper of the solution
    exec(SUMMARIZE, names)
    own = names["norm"]
    in_notebook.require("a07", "summarize", names, hidden=True)
    assert names["norm"] is own


SUMMARIZE = """
def norm(arrays):
    return [np.sqrt(np.sum(a * a)) for a in arrays]

def summarize(components, gradient):
    size, norms = norm([gradient])[0], norm(components)
    total = sum(norms)
    off = norm([sum(components) - gradient])[0]
    return {
        "norms": norms,
        "shares": [np.sum(c * gradient) / size**2 if size else 0.0 for c in components],
        "cancellation": total / size if size else None,
        "error": off / total if total else off,
    }
"""


def test_the_same_secret_and_name_give_the_same_cases_and_others_give_others(
    a03: Assignment,
) -> None:
    task = a03.task("conv2d")

    def inputs(secret: bytes, student: str) -> bytes:
        cases = hidden_cases(a03, task, secret, student).cases
        return b"".join(case.args[0].tobytes() for case in cases)

    assert inputs(SECRET, "anna") == inputs(SECRET, "anna")
    assert len({inputs(SECRET, "anna"), inputs(SECRET, "ben"), inputs(b"x", "anna")}) == 3


def test_a_time_out_and_an_early_end_say_so_and_cost_one_task(
    a03: Assignment, markers: Markers
) -> None:
    short = dataclasses.replace(a03.task("pad"), seconds=1)
    tried = markers.tried(a03, "pad")
    loop = solution_with(a03, "def pad(x, padding):\n    while True: pass")
    result = markers.of(a03).mark(whole(loop), short, tried)
    assert "It took more than 1 seconds of processor time." in result.message
    leave = "def pad(x, padding):\n    import os\n    os._exit(0)"
    result = mark(markers, a03, leave, "pad")
    assert (result.status, result.points) == ("wrong", 0.0)
    assert "ended early" in result.message
    assert mark(markers, a03, leave, "conv2d").status == "passed"
