"""What is read of what a student hands in, and what is refused."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from minires.course.assignment import Assignment, find_assignment
from minires.course.cells import join_cells
from minires.course.submission import LARGEST, Submission, read_submission
from minires.errors import UsageError

WORK = "def output_size(*a, **k):\n    return 1\n"


@pytest.fixture
def a03() -> Assignment:
    return find_assignment("a03")


def notebook(*cells: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})


def text_of(submission: Submission) -> str:
    return "\n".join(text for _, _, text in submission.cells)


def test_a_script_a_folder_and_a_zip_give_the_same(tmp_path: Path, a03: Assignment) -> None:
    folder = tmp_path / "anna" / "deep"
    folder.mkdir(parents=True)
    (folder / "a03_convolution.py").write_text(WORK)
    with zipfile.ZipFile(tmp_path / "anna.zip", "w") as archive:
        archive.writestr("deep/a03_convolution.py", WORK)
    (tmp_path / "anna.py").write_text(WORK)
    found = [read_submission(tmp_path / name, a03) for name in ("anna", "anna.zip", "anna.py")]
    assert [text_of(one) for one in found] == [WORK] * 3
    assert len({one.digest for one in found}) == 1


def test_a_notebook_gives_its_code_cells(tmp_path: Path, a03: Assignment) -> None:
    cells = [
        {"cell_type": "markdown", "source": "# text"},
        {"cell_type": "code", "source": ["import numpy as np\n", "x = 1"]},
        {"cell_type": "code", "source": "y = 2"},
    ]
    (tmp_path / "a03.ipynb").write_text(json.dumps({"cells": cells}))
    submission = read_submission(tmp_path, a03)
    assert submission.cells == (
        ("code cell 1", 1, "import numpy as np\nx = 1"),
        ("code cell 2", 1, "y = 2"),
    )


def test_of_script_and_notebook_the_one_that_was_worked_on_is_taken(
    tmp_path: Path, a03: Assignment
) -> None:
    stub = join_cells(a03.stub_cells)
    (tmp_path / "a03_convolution.py").write_text(stub)
    (tmp_path / "a03_convolution.ipynb").write_text(notebook(WORK))
    (tmp_path / "other.py").write_text("z = 3")
    assert read_submission(tmp_path, a03).name == "a03_convolution.ipynb"
    (tmp_path / "a03_convolution.ipynb").write_text(
        notebook(*(cell.text.rstrip("\n") for cell in a03.stub_cells))
    )
    (tmp_path / "a03_convolution.py").write_text(stub + WORK.replace("output_size", "pad"))
    both = read_submission(tmp_path, a03)
    assert both.name == "a03_convolution.py"


def test_if_both_were_worked_on_the_script_is_taken_and_it_is_said(
    tmp_path: Path, a03: Assignment
) -> None:
    (tmp_path / "a03_convolution.py").write_text(WORK)
    (tmp_path / "a03_convolution.ipynb").write_text(notebook(WORK))
    submission = read_submission(tmp_path, a03)
    assert submission.name == "a03_convolution.py"
    assert submission.remarks == ("a03_convolution.py was graded, and not a03_convolution.ipynb.",)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        (["a03_attempt.py", "a03_convolution.py"], "a03_convolution.py"),
        (["a03_attempt.py", "a03_convolution.ipynb"], "a03_convolution.ipynb"),
        (["a03.py", "a03_attempt.py"], "a03.py"),
        (["a03.py", "deep/a03_convolution.py"], "deep/a03_convolution.py"),
        (["a03_convolution.py", "a/a03_convolution.py"], "a03_convolution.py"),
    ],
)
def test_of_several_the_one_named_like_the_assignment_is_taken(
    tmp_path: Path, a03: Assignment, others: list[str], chosen: str
) -> None:
    for name in others:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(notebook(WORK) if name.endswith("ipynb") else WORK)
    submission = read_submission(tmp_path, a03)
    assert submission.name == chosen
    [left] = set(others) - {chosen}
    assert submission.remarks == (f"{chosen} was graded, and not {left}.",)


@pytest.mark.parametrize(
    ("name", "content", "remark"),
    [
        ("a03_plots.ipynb", b"x" * (LARGEST + 1), "is too large"),
        ("a03_old.ipynb", b"", "is not a notebook"),
        ("a03_latin.py", b"# \xe4\n", "is not a text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_out_with_a_remark(
    tmp_path: Path, a03: Assignment, name: str, content: bytes, remark: str
) -> None:
    (tmp_path / "a03_convolution.ipynb").write_text(notebook(WORK))
    (tmp_path / name).write_bytes(content)
    submission = read_submission(tmp_path, a03)
    assert text_of(submission) == WORK
    [told] = submission.remarks
    assert told.startswith(name)
    assert remark in told


def test_many_large_files_leave_the_right_one(tmp_path: Path, a03: Assignment) -> None:
    (tmp_path / "a03_convolution.py").write_text(WORK)
    for n in range(7):
        (tmp_path / f"a03_{n}.py").write_bytes(b"#" * LARGEST)
    submission = read_submission(tmp_path, a03)
    assert submission.name == "a03_convolution.py"
    assert len(submission.remarks) <= 6


def test_of_several_zips_one_may_be_damaged(tmp_path: Path, a03: Assignment) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UsageError, match=r"cannot read bad\.zip"):
        read_submission(tmp_path, a03)
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("a03.py", WORK)
    submission = read_submission(tmp_path, a03)
    assert submission.name == "good.zip/a03.py"
    assert submission.remarks[0].startswith("cannot read bad.zip")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a03.txt", b"x", "has no .py or .ipynb"),
        ("a03.py", b"\xff\xfe\x00", "not a text in UTF-8"),
        ("a03.ipynb", b"{", "not a notebook"),
        ("a03.ipynb", b'{"cells": 3}', "not a notebook"),
        ("a03.ipynb", b'{"cells": [{"cell_type": "code", "source": 5}]}', "not a notebook"),
        ("a03.ipynb", b"[" * 100_000, "not a notebook"),
        ("a03.py", b"#" * (LARGEST + 1), "at most"),
    ],
)
def test_what_cannot_be_read_is_an_error_in_one_line(
    tmp_path: Path, a03: Assignment, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_submission(tmp_path, a03)


def test_a_zip_that_is_none_or_is_a_bomb_is_an_error(tmp_path: Path, a03: Assignment) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UsageError, match="cannot read"):
        read_submission(tmp_path / "bad.zip", a03)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a03.py", "#" * (LARGEST + 1))
    with pytest.raises(UsageError, match="at most"):
        read_submission(tmp_path / "bomb.zip", a03)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for i in range(2001):
            archive.writestr(f"{i}.py", "")
    with pytest.raises(UsageError, match="more than 2000"):
        read_submission(tmp_path / "many.zip", a03)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes of POSIX")
def test_links_and_pipes_and_leftovers_are_not_read(tmp_path: Path, a03: Assignment) -> None:
    (tmp_path / "secret.py").write_text("secret = 1")
    folder = tmp_path / "anna"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__" / "a03.py").write_text("x = 1")
    (folder / "._a03.py").write_text("x = 1")
    (folder / "a03.py").symlink_to(tmp_path / "secret.py")
    os.mkfifo(folder / "a03_convolution.py")
    with pytest.raises(UsageError, match=r"has no \.py"):
        read_submission(folder, a03)
