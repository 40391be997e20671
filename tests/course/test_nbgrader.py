"""The notebook for nbgrader, taken through all of nbgrader: its points are those of the grader."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minires.course.assignment import Assignment, assignments, find_assignment
from minires.course.cells import BEGIN, join_cells, split_cells
from minires.course.nbgrader_form import (
    CONFIGURATION,
    configuration,
    nbgrader_notebook,
    write_course,
)
from minires.course.notebooks_of import as_json
from minires.course.skeleton import new_assignment
from tests.course.conftest import SECRET, Markers

NAME = "a03_convolution"
ROOT = Path(__file__).parents[2]
needs_nbgrader = pytest.mark.skipif(
    importlib.util.find_spec("nbgrader") is None, reason="nbgrader is not installed"
)


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def marks(cell: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = cell["metadata"]["nbgrader"]
    return found


# --- the source notebook ---


def test_every_cell_has_the_metadata_of_its_kind(assignment: Assignment) -> None:
    cells = nbgrader_notebook(assignment)["cells"]
    assert {marks(cell)["schema_version"] for cell in cells} == {3}
    names = [marks(cell)["grade_id"] for cell in cells]
    assert len(set(names)) == len(names)
    for cell in cells:
        kind = tuple(marks(cell)[key] for key in ("grade", "solution", "locked", "task"))
        if marks(cell)["grade_id"] in [task.name for task in assignment.tasks]:
            assert kind == (False, True, False, False)
            assert "### BEGIN SOLUTION" in source(cell)
        elif "HIDDEN TESTS" in source(cell):
            assert kind == (True, False, True, False)
        else:
            assert kind == (False, False, True, False)
            assert "points" not in marks(cell)


def test_the_points_are_those_of_the_tasks(assignment: Assignment) -> None:
    cells = nbgrader_notebook(assignment)["cells"]
    points = {marks(c)["grade_id"]: marks(c)["points"] for c in cells if marks(c)["grade"]}
    assert points == {f"check_{task.name}": task.points for task in assignment.tasks}


def test_the_hidden_check_is_within_the_marks(assignment: Assignment) -> None:
    for cell in nbgrader_notebook(assignment)["cells"]:
        if not marks(cell)["grade"]:
            continue
        shown, hidden, after = _split(source(cell))
        assert shown.startswith(f'in_notebook.check("{assignment.name}", ')
        assert "hidden=True" in hidden
        assert (hidden.startswith("in_notebook.require("), after) == (True, "")


def test_what_nbgrader_leaves_of_a_solution_does_no_harm(assignment: Assignment) -> None:
    """Its stub stands wherever a solution was, at the top of a cell as well."""
    names: dict[str, Any] = {}
    for cell in nbgrader_notebook(assignment)["cells"]:
        text = source(cell)
        if cell["cell_type"] == "code" and "in_notebook" not in text:
            exec(compile(_cleared(text), "cell", "exec"), names)
    assert all(callable(names[task.name]) for task in assignment.tasks)


def test_a_solution_at_the_top_of_a_cell_still_runs() -> None:
    above = [a for a in assignments() if any(f"\n{BEGIN}" in c.text for c in a.master_cells)]
    assert above, "no assignment has such a solution any more; make one up here"
    for assignment in above:
        names: dict[str, Any] = {}
        for cell in nbgrader_notebook(assignment)["cells"]:
            if cell["cell_type"] == "code" and "in_notebook" not in source(cell):
                exec(compile(source(cell), "cell", "exec"), names)
        assert set(vars(assignment.module())) <= {*names, "__name__", "__doc__"} | set(
            vars(type(sys)("m"))
        )


def test_a_configuration_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    a03 = find_assignment("a03")
    written = write_course(a03, tmp_path)
    assert {path.name for path in written} == {f"{NAME}.ipynb", CONFIGURATION}
    (tmp_path / CONFIGURATION).write_text("c = get_config()\n")
    assert write_course(a03, tmp_path) == []
    assert (tmp_path / CONFIGURATION).read_text() == "c = get_config()\n"


def test_the_configuration_says_where_assignments_of_ones_own_are(tmp_path: Path) -> None:
    own = new_assignment("b01_my_topic", tmp_path)
    assert "MINIRES_ASSIGNMENTS" not in configuration(find_assignment("a03"))
    assert repr(str(tmp_path.resolve())) in configuration(own)
    written = write_course(own, tmp_path / "course")
    inside = tmp_path / "course/source/b01_my_topic/assignment_files/b01_my_topic"
    assert inside / "answers.bin" in written
    assert not (inside / "master.py").exists()


# --- nbgrader itself ---


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course of four students, taken through generate_assignment, autograde and feedback."""
    folder = tmp_path_factory.mktemp("course")
    assignment = find_assignment("a03")
    write_course(assignment, folder)
    (folder / "secret").write_bytes(SECRET)
    (folder / "secret").chmod(0o600)
    nbgrader(folder, "generate_assignment", NAME)
    released = json.loads((folder / "release" / NAME / f"{NAME}.ipynb").read_text())
    for student, text in students(assignment).items():
        place = folder / "submitted" / student / NAME
        place.mkdir(parents=True)
        (place / f"{NAME}.ipynb").write_bytes(as_json(filled_in(released, text)))
    nbgrader(folder, "autograde", NAME)
    nbgrader(folder, "generate_feedback", NAME)
    return folder


def nbgrader(folder: Path, *words: str) -> None:
    scripts = str(Path(sys.executable).parent)  # nbgrader starts the program alembic
    environment = {
        **os.environ,
        "MINIRES_COURSE_SECRET": str(folder / "secret"),
        "MINIRES_NUM_THREADS": "1",
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "nbgrader", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def students(assignment: Assignment) -> dict[str, str]:
    """Submissions: right, untouched, with a mistake that later tasks stand on, and half done."""
    stub, master = assignment.stub_cells, assignment.master_cells
    half = [m if i % 2 else s for i, (s, m) in enumerate(zip(stub, master, strict=True))]
    im2col = next(mistake for mistake in assignment.mistakes if mistake.tasks == ("im2col",))
    return {
        "half": join_cells(half),
        "mistake": assignment.edited(im2col),
        "solution": join_cells(master),
        "stub": join_cells(stub),
    }


def filled_in(released: dict[str, Any], text: str) -> dict[str, Any]:
    """What a student hands in who wrote this text into the released notebook."""
    cells = {cell.task: cell.text for cell in split_cells(text) if cell.task}
    made = []
    for cell in released["cells"]:
        task = marks(cell)["grade_id"]
        if task in cells:
            cell = {**cell, "source": cells[task].splitlines(keepends=True)}
        made.append(cell)
    return {**released, "cells": made}


@needs_nbgrader
def test_the_released_notebook_has_no_solution_no_hidden_tests_and_no_output(
    course: Path,
) -> None:
    released = json.loads((course / "release" / NAME / f"{NAME}.ipynb").read_text())
    assignment = find_assignment("a03")
    code = [cell for cell in released["cells"] if cell["cell_type"] == "code"]
    assert all((cell["outputs"], cell["execution_count"]) == ([], None) for cell in code)
    text = "\n".join(map(source, released["cells"]))
    for word in ("BEGIN SOLUTION", "HIDDEN", "require", "hidden=True"):
        assert word not in text
    by_task = {marks(cell)["grade_id"]: source(cell) for cell in code}
    for cell in assignment.stub_cells:
        if cell.task:  # the same as the stub, but for the text of the error
            stub = cell.text.strip().replace(f'NotImplementedError("{cell.task}")', "E")
            assert by_task[cell.task].replace("NotImplementedError", "E") == stub


@needs_nbgrader
def test_nbgrader_gives_the_points_that_the_grader_gives(course: Path, markers: Markers) -> None:
    assignment = find_assignment("a03")
    given: dict[str, dict[str, float]] = {}
    for student, text in students(assignment).items():
        results = [markers.mark(assignment, text, task.name) for task in assignment.tasks]
        given[student] = {f"check_{result.task.name}": result.points for result in results}
    assert points_in(course / "gradebook.db") == given
    totals = {student: sum(points.values()) for student, points in given.items()}
    assert totals["solution"] == assignment.points
    assert totals["stub"] == 0
    assert totals["mistake"] == assignment.points - assignment.task("im2col").points
    assert 0 < totals["half"] < assignment.points


@needs_nbgrader
def test_the_feedback_tells_what_is_wrong(course: Path) -> None:
    pages = {
        student: (course / "feedback" / student / NAME / f"{NAME}.html").read_text()
        for student in students(find_assignment("a03"))
    }
    assert "AssertionError" not in pages["solution"]
    assert "im2col: wrong." in pages["mistake"]
    assert "im2col: not yet." in pages["stub"]


@needs_nbgrader
@pytest.mark.slow
def test_every_assignment_can_be_graded_so(assignment: Assignment, tmp_path: Path) -> None:
    """The released notebook as it is gets nothing, and with the solution in it all points."""
    name = assignment.name
    write_course(assignment, tmp_path)
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "secret").chmod(0o600)
    nbgrader(tmp_path, "generate_assignment", name)
    released = json.loads((tmp_path / "release" / name / f"{name}.ipynb").read_text())
    solved = filled_in(released, join_cells(assignment.master_cells))
    for student, notebook in {"solution": solved, "stub": released}.items():
        place = tmp_path / "submitted" / student / name
        place.mkdir(parents=True)
        (place / f"{name}.ipynb").write_bytes(as_json(notebook))
    nbgrader(tmp_path, "autograde", name)
    full = {f"check_{task.name}": task.points for task in assignment.tasks}
    assert points_in(tmp_path / "gradebook.db") == {
        "solution": full,
        "stub": dict.fromkeys(full, 0.0),
    }


@needs_nbgrader
@pytest.mark.slow
def test_the_hidden_tests_of_ones_own_assignment_find_its_solution(tmp_path: Path) -> None:
    own = new_assignment("b01_my_topic", tmp_path / "mine")
    course = tmp_path / "course"
    write_course(own, course)
    (course / "secret").write_bytes(SECRET)
    (course / "secret").chmod(0o600)
    nbgrader(course, "generate_assignment", own.name)
    released = json.loads((course / "release" / own.name / f"{own.name}.ipynb").read_text())
    place = course / "submitted" / "anna" / own.name
    place.mkdir(parents=True)
    solved = filled_in(released, join_cells(own.master_cells))
    (place / f"{own.name}.ipynb").write_bytes(as_json(solved))
    nbgrader(course, "autograde", own.name)
    points = {f"check_{task.name}": task.points for task in own.tasks}
    assert points_in(course / "gradebook.db") == {"anna": points}


def points_in(gradebook: Path) -> dict[str, dict[str, float]]:
    """The points of every student and graded cell, as nbgrader's data base has them."""
    query = """
        SELECT submitted_assignment.student_id, base_cell.name, grade.auto_score
        FROM grade
        JOIN base_cell ON base_cell.id = grade.cell_id
        JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
        JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
    """
    found: dict[str, dict[str, float]] = {}
    connection = sqlite3.connect(gradebook)
    try:
        for student, cell, points in connection.execute(query):
            found.setdefault(student, {})[cell] = points
    finally:
        connection.close()
    return found


# --- helpers ---


def _split(text: str) -> tuple[str, str, str]:
    shown, _, rest = text.partition("### BEGIN HIDDEN TESTS\n")
    hidden, _, after = rest.partition("### END HIDDEN TESTS")
    return shown, hidden, after


def _cleared(text: str) -> str:
    """A cell after nbgrader has taken the solutions out."""
    lines, inside = [], False
    for line in text.splitlines():
        if "BEGIN SOLUTION" in line:
            inside = True
            lines.append(line.replace("### BEGIN SOLUTION", "raise NotImplementedError"))
        elif "END SOLUTION" in line:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)
