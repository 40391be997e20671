"""A class some of whom hand in what was made to do harm: names, and files that trip a reader."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from minires.course.assignment import Assignment
from minires.course.grading import ClassRun
from minires.course.roster import Student
from tests.course.small import RIGHT, hand_in, small_assignment
from tests.course.test_grading import SECRET, contents, points, run


@pytest.fixture
def small(tmp_path: Path) -> Assignment:
    return small_assignment(tmp_path / "assignments")


def test_names_cannot_lead_out_of_the_folder(tmp_path: Path, small: Assignment) -> None:
    students = [
        Student(name, name) for name in ("../../evil", "/abs", "..", "a\\b", "\u202eabc", "x" * 500)
    ]
    one = ClassRun(small, students, SECRET, tmp_path / "out")
    assert len(one.run(2, lambda *_: None)) == len(students)
    assert {path.name for path in tmp_path.iterdir()} == {"assignments", "out"}
    assert len(list((tmp_path / "out" / "students").iterdir())) == len(students)


def test_submissions_made_to_trip_the_reader_stop_nobody(tmp_path: Path, small: Assignment) -> None:
    folder = hand_in(
        tmp_path / "in",
        anna=RIGHT,
        deep="(" * 100_000,
        nul=RIGHT + "\0",
        bad=RIGHT.replace("return x + x", "raise ValueError('\\ud800\\x00\\x1b[2J')"),
        long="x = " + "1" * 3_000_000,
    )
    half = {"cells": [{"cell_type": "code", "source": RIGHT + "# \ud800"}]}
    (folder / "half.ipynb").write_text(json.dumps(half))
    (folder / "nan.ipynb").write_text('{"cells": [NaN, {"cell_type": "code"}]}')
    (folder / "latin.py").write_bytes(b"# \xe4\n" + RIGHT.encode())
    os.truncate(folder / "latin.py", 1 << 40)  # and it is huge, as it says
    (folder / "link").symlink_to("/")
    found = run(small, tmp_path)
    assert points(found)["anna"] == 4.5
    assert points(found)["bad"] == 1.5
    for name, content in contents(tmp_path / "out").items():
        text = content.decode("utf-8")
        if name.endswith(".json"):  # in which halves of characters and controls are escaped
            text = json.dumps(json.loads(text), ensure_ascii=False)
            text.encode("utf-8")
        assert "\0" not in text
        assert "\x1b" not in text
        assert "\\u00" not in text
    for name in ("nan", "latin", "link"):
        assert found[name].grade.trouble, name
