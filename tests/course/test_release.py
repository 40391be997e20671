"""What is given out: folders and notebooks, without a solution, output, or work overwritten."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from minires.course.assignment import PUBLIC_FILES, Assignment, find_assignment
from minires.course.cells import join_cells
from minires.course.checking import assignment_in, check_submission
from minires.course.handing_out import (
    CARRIED,
    hand_out,
    hand_out_notebook,
    is_own,
    known_at,
    publish_if_stale,
)
from minires.course.notebooks_of import as_json, notebook_of, parts_of, sections_of
from minires.course.skeleton import new_assignment
from minires.course.submission import read_submission
from minires.errors import UsageError
from tests.course.conftest import Markers


@pytest.fixture(scope="module")
def a03() -> Assignment:
    return find_assignment("a03")


@pytest.fixture
def own(tmp_path: Path) -> Assignment:
    return new_assignment("b01_my_topic", tmp_path / "assignments")


def texts(notebook: dict[str, Any], kind: str) -> list[str]:
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


def filled_in(assignment: Assignment) -> dict[str, Any]:
    """The notebook with the solution in place of what is to be written."""
    notebook = notebook_of(assignment)
    cells = zip(assignment.stub_cells, assignment.master_cells, strict=True)
    solved = {stub.text.strip(): master.text for stub, master in cells}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        cell["source"] = solved.get(text, text).splitlines(keepends=True)
    return notebook


def listed(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# --- notebooks ---


def test_the_notebook_is_valid_and_has_no_output(assignment: Assignment) -> None:
    notebook = notebook_of(assignment)
    nbformat.validate(nbformat.reads(as_json(notebook).decode(), as_version=4))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_the_file_is_laid_out_as_jupyter_would_and_the_same_every_time(a03: Assignment) -> None:
    data = as_json(notebook_of(a03))
    again = nbformat.writes(nbformat.reads(data.decode(), as_version=4)) + "\n"
    assert data.decode() == again
    assert as_json(notebook_of(find_assignment("a03_convolution"))) == data
    ids = [cell["id"] for cell in notebook_of(a03)["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_code_of_the_notebook_is_the_stub_and_a_check_of_every_task(
    assignment: Assignment,
) -> None:
    code = texts(notebook_of(assignment), "code")
    checks = [cell for cell in code if cell.startswith("in_notebook.")]
    assert checks == [
        f'in_notebook.check("{assignment.name}", "{task.name}", globals())'
        for task in assignment.tasks
    ]
    code.remove("from minires.course import in_notebook")
    stub = [cell for cell in code if cell not in checks]
    assert stub == [cell.text.strip() for cell in assignment.stub_cells]
    assert not any("BEGIN SOLUTION" in cell for cell in code)


def test_no_word_of_the_text_is_lost(assignment: Assignment) -> None:
    text = "\n\n".join(texts(notebook_of(assignment), "markdown"))
    assert text.split() == assignment.handout.split()


def test_a_task_stands_below_its_section_and_above_its_check(assignment: Assignment) -> None:
    parts = parts_of(assignment, assignment.stub_cells)
    assert parts[0].source.startswith("# ")
    assert parts[1].kind == "given"
    for task in assignment.tasks:
        [place] = [i for i, p in enumerate(parts) if p.kind == "task" and p.task == task]
        above = [part for part in parts[:place] if part.kind == "text"]
        assert f"`{task.name}`" in above[-1].source.splitlines()[0]
        assert (parts[place + 1].kind, parts[place + 1].task) == ("check", task)
    assert [p.task for p in parts if p.kind == "task"] == list(assignment.tasks)


def test_what_is_given_between_tasks_stands_below_the_heading_of_the_next() -> None:
    a08 = find_assignment("a08")
    parts = parts_of(a08, a08.stub_cells)
    kinds = [part.kind for part in parts]
    assert "given" in kinds[kinds.index("task") :]
    for i, part in enumerate(parts):
        if part.kind == "given" and i > kinds.index("task"):
            assert parts[i + 1].kind in ("given", "task")


def test_headings_in_code_are_no_sections() -> None:
    text = "# T\n\n~~~\n## a\n~~~\n\n### deeper\n\n## b\n"
    assert sections_of(text) == ["# T\n\n~~~\n## a\n~~~\n\n### deeper", "## b"]


def test_a_filled_in_notebook_is_marked_like_the_script(
    a03: Assignment, markers: Markers, tmp_path: Path
) -> None:
    """What Jupyter saves, with output, is read back, and the checks in it do no harm."""
    notebook = filled_in(a03)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 7
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    (tmp_path / "a03_convolution.ipynb").write_bytes(as_json(notebook))
    submission = read_submission(tmp_path, a03)
    assert len(submission.cells) == len(a03.stub_cells)
    for task in a03.tasks:
        result = markers.of(a03).mark(submission, task, markers.tried(a03, task.name))
        assert (result.status, result.points) == ("passed", task.points), result.message


def test_a_notebook_without_a_task_is_not_said_to_have_an_error(
    a03: Assignment, markers: Markers, tmp_path: Path
) -> None:
    notebook = notebook_of(a03)
    notebook["cells"] = [c for c in notebook["cells"] if "def pad(" not in "".join(c["source"])]
    (tmp_path / "a03.ipynb").write_bytes(as_json(notebook))
    submission = read_submission(tmp_path, a03)
    result = markers.of(a03).mark(submission, a03.task("pad"), markers.tried(a03, "pad"))
    assert result.status == "not yet"
    assert "minires" not in result.message


def run(notebook: dict[str, Any], folder: Path) -> list[str]:
    """Run a notebook as Jupyter would, and return what its checks showed."""
    made = nbformat.reads(as_json(notebook).decode(), as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(made, timeout=120, kernel_name="python3", resources=resources).execute()
    return [
        output["data"]["text/plain"]
        for cell in made.cells
        if cell.cell_type == "code" and cell.source.startswith("in_notebook.")
        for output in cell.outputs
    ]


def test_the_notebook_runs_in_jupyter_solved_and_as_it_is_given_out(
    a03: Assignment, tmp_path: Path
) -> None:
    shown = run(filled_in(a03), tmp_path)
    assert [text.splitlines()[0] for text in shown] == [
        f"✓ passed · {task.title} ({task.name})" for task in a03.tasks
    ]
    shown = run(notebook_of(a03), tmp_path)
    assert [text.split(" ·")[0] for text in shown] == ["○ not yet"] * len(a03.tasks)


# --- folders ---


def test_a_folder_has_stub_notebook_and_text(assignment: Assignment, tmp_path: Path) -> None:
    written = hand_out(assignment, tmp_path)
    name = assignment.name
    assert listed(tmp_path) == sorted([f"{name}.ipynb", f"{name}.py", "handout.md"])
    assert sorted(written) == sorted(tmp_path.iterdir())
    assert (tmp_path / f"{name}.py").read_text() == join_cells(assignment.stub_cells)
    assert (tmp_path / "handout.md").read_text() == assignment.handout


def test_nothing_is_written_where_work_has_begun(a03: Assignment, tmp_path: Path) -> None:
    hand_out(a03, tmp_path)
    (tmp_path / "a03_convolution.ipynb").unlink()
    work = tmp_path / "a03_convolution.py"
    work.write_text("my work")
    with pytest.raises(UsageError, match=r"name of a03_convolution\.py, perhaps"):
        hand_out(a03, tmp_path)
    assert listed(tmp_path) == ["a03_convolution.py", "handout.md"]
    assert work.read_text() == "my work"
    assert len(hand_out(a03, tmp_path, replace=True)) == 2
    assert hand_out(a03, tmp_path) == []
    assert work.read_text() == join_cells(a03.stub_cells)


def test_a_folder_in_the_place_of_a_file_is_told(a03: Assignment, tmp_path: Path) -> None:
    (tmp_path / "handout.md").mkdir()
    with pytest.raises(UsageError, match=r"handout\.md' is a folder"):
        hand_out(a03, tmp_path)
    assert listed(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file, not a folder"):
        hand_out(a03, tmp_path / "file")


def test_students_of_an_assignment_of_ones_own_get_its_public_files(
    own: Assignment, a03: Assignment, tmp_path: Path
) -> None:
    assert (is_own(own), is_own(a03)) == (True, False)
    place = tmp_path / "given out"
    hand_out(own, place)
    inside = {name for name in listed(place) if name.startswith(CARRIED)}
    assert inside == {f"{CARRIED}/{own.name}/{name}" for name in PUBLIC_FILES}
    assert not any(b"SOLUTION" in path.read_bytes() for path in place.rglob("*") if path.is_file())
    alone = tmp_path / "notebook"
    hand_out_notebook(own, alone)
    assert set(listed(alone)) == inside | {f"{own.name}.ipynb"}


def test_students_check_an_assignment_of_ones_own_from_what_they_were_given(
    own: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "given out"
    hand_out(own, place)
    work = place / f"{own.name}.py"
    work.write_text(own.edited(own.mistakes[0]))
    shutil.rmtree(own.folder)
    monkeypatch.chdir(tmp_path)
    for path in (place, work):
        found = assignment_in(path)
        assert (found.name, found.is_complete) == (own.name, False)
        submission = read_submission(path, found)
        assert submission.name == work.name
        results = list(check_submission(found, submission))
        assert [r.status for r in results] == ["wrong", "wrong"]
        assert results[0].mistake == own.mistakes[0].name


def test_a_name_of_ones_own_does_not_hide_the_files_that_were_handed_out(
    own: Assignment, tmp_path: Path
) -> None:
    place = tmp_path / "given out"
    hand_out(own, place)
    (place / f"{own.name}.ipynb").unlink()
    (place / f"{own.name}.py").rename(place / "homework.py")
    assert read_submission(place, own).name == "homework.py"


def test_the_variable_for_nbgrader_comes_before_what_was_handed_out(
    own: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_out(own, tmp_path / "given out")
    monkeypatch.setenv("MINIRES_ASSIGNMENTS", str(own.folder.parent))
    known = {one.name: one for one in known_at(tmp_path / "given out")}
    assert known[own.name].is_complete
    assert {"a03_convolution", own.name} <= set(known)


def test_releasing_publishes_what_the_master_has_become(own: Assignment) -> None:
    master = own.folder / "master.py"
    text = master.read_text()
    changed = re.sub(r"Where gradient descent is after some steps", "The last place", text)
    assert changed != text
    master.write_text(changed)
    again = Assignment(own.folder)
    publish_if_stale(again)
    assert "The last place" in (own.folder / "stub.py").read_text()
    before = (own.folder / "stub.py").stat().st_mtime_ns
    publish_if_stale(again)
    assert (own.folder / "stub.py").stat().st_mtime_ns == before


def test_without_a_master_nothing_is_released(own: Assignment) -> None:
    (own.folder / "master.py").unlink()
    with pytest.raises(UsageError, match="Solutions are not in an installed minires"):
        publish_if_stale(own)


def test_the_notebook_of_an_assignment_is_plain_json(a03: Assignment) -> None:
    assert json.loads(as_json(notebook_of(a03))) == notebook_of(a03)
