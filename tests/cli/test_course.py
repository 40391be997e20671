"""``minires course list``, ``start`` and ``check``: what a student types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minires.course.assignment import assignments, find_assignment
from minires.course.cells import join_cells
from tests.cli.conftest import Ran

Command = Callable[..., Ran]


def test_list_shows_every_assignment_with_its_points(command: Command) -> None:
    ran = command("course", "list")
    assert ran.code == 0
    for assignment in assignments():
        [line] = [line for line in ran.out.splitlines() if line.startswith(assignment.number)]
        assert assignment.title in line
        assert line.split()[-2:] == [f"{assignment.points:g}", str(assignment.minutes)]


def test_start_gives_out_text_script_and_notebook_and_no_work_is_lost(
    command: Command, elsewhere: Path
) -> None:
    ran = command("course", "start", "a03", "my work")
    assert ran.code == 0, ran.err
    folder = elsewhere / "my work"
    assert sorted(p.name for p in folder.iterdir()) == [
        "a03_convolution.ipynb",
        "a03_convolution.py",
        "handout.md",
    ]
    assert "minires course check" in ran.out
    assert command("course", "start", "a03", "my work").code == 0
    script = folder / "a03_convolution.py"
    script.write_text("my = 'work'\n")
    again = command("course", "start", "a03", "my work")
    assert again.code == 2
    assert len(again.err.splitlines()) == 1
    assert script.read_text() == "my = 'work'\n"


def test_check_of_what_was_just_begun_is_not_yet_without_an_error(
    command: Command, elsewhere: Path
) -> None:
    command("course", "start", "a03", "work")
    ran = command("course", "check", "work")
    assert ran.code == 1
    assert ran.err == ""
    assert ran.out.count("○ not yet") == len(find_assignment("a03").tasks)
    assert "0 of 20 points" in ran.out


def test_check_of_a_solution_and_of_a_mistake(command: Command, elsewhere: Path) -> None:
    assignment = find_assignment("a03")
    script = elsewhere / "a03_convolution.py"
    script.write_text(join_cells(assignment.master_cells))
    ran = command("course", "check", str(script))
    assert (ran.code, ran.err) == (0, "")
    assert "20 of 20 points" in ran.out
    mistake = next(m for m in assignment.mistakes if "conv2d_grad_weight" in m.tasks)
    script.write_text(assignment.edited(mistake))
    ran = command("course", "check", ".", "--task", "conv2d_grad_weight")
    assert ran.code == 1
    assert "✗ wrong   0 of 3  conv2d_grad_weight" in ran.out
    text = " ".join(ran.out.split())
    assert mistake.title in text
    assert " ".join(mistake.hint.split()) in text
    assert "0 of 3 points" in ran.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("start", "a99", "x"), "no assignment is called 'a99'"),
        (("start", "a03", ""), "needs the name of a folder"),
        (("check", "nowhere"), "there is no 'nowhere'"),
        (("check", "."), "no file is named after an assignment"),
        (("chek",), "invalid choice"),
        (("start",), "required"),
    ],
)
def test_wrong_use_takes_one_line_and_exit_code_2(
    command: Command, words: tuple[str, ...], message: str, elsewhere: Path
) -> None:
    ran = command("course", *words)
    assert ran.code == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert list(elsewhere.iterdir()) == []


def test_a_task_that_does_not_exist_is_named(command: Command, elsewhere: Path) -> None:
    command("course", "start", "a03", "work")
    ran = command("course", "check", "work", "--task", "im2cols")
    assert ran.code == 2
    assert "no task 'im2cols'; there are output_size" in ran.err


def test_without_a_file_to_check_it_says_what_is_missing(command: Command, elsewhere: Path) -> None:
    (elsewhere / "a03_convolution.py").write_bytes(b"\xff\xfe")
    ran = command("course", "check", ".")
    assert ran.code == 2
    assert "not a text in UTF-8" in ran.err
