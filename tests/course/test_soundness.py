"""An assignment that is not fit to be given out is told before anybody gets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from minires.course.assignment import Assignment, find_assignment
from minires.course.soundness import faults, require_sound
from minires.course.trial import try_out
from minires.errors import UsageError
from tests.course import small

HANDOUT = "# a90\n\n## 1 `twice`\n\n## 2 `fourfold`\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = small.small_assignment(tmp_path).folder
    (folder / "handout.md").write_text(HANDOUT)
    return folder


def change(place: Path, name: str, old: str, new: str) -> Assignment:
    text = (place / name).read_text() if (place / name).exists() else ""
    assert not old or text.count(old) >= 1
    (place / name).write_text(text.replace(old, new) if old else text + new)
    return Assignment(place)


def test_a_sound_one_has_no_faults(place: Path) -> None:
    assert list(faults(Assignment(place))) == []
    require_sound(Assignment(place))


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        ("assignment.toml", '"fourfold"', '"twice"', "'twice' is there twice"),
        ("assignment.toml", "points = 3", "points = -4", "has -4 points"),
        ("assignment.toml", "points = 3", "points = inf", "has inf points"),
        ("assignment.toml", 'uses = ["twice"]', 'uses = ["twicf"]', "'twicf', which is no task"),
        ("assignment.toml", "points = 1.5", "points = 1.5\nseconds = 0", "0 seconds"),
        ("master.py", "return 2 * x", "return 2 *", "master.py, line"),
        ("master.py", "def fourfold", "def four", "defines no fourfold"),
        ("master.py", "return 2 * x", "return 2 * y", "NameError: name 'y'"),
        ("master.py", "# %% task: twice", "# %%", "no cell '# %% task: twice'"),
        ("cases.py", "", "\n1 / 0\n", "cases.py, line 8: ZeroDivisionError"),
        ("cases.py", "yield case(rng.standard_normal(3))", "yield (1, 2)", "yields a tuple"),
        ("cases.py", "yield case(rng.standard_normal(3))", "yield from []", "makes no case"),
        ("cases.py", "def twice(rng):", "def twice(rng:", "cases.py, line 3: SyntaxError"),
        ("hidden.py", "", "1 / 0\n", "hidden.py, line 1: ZeroDivisionError"),
        ("drivers.py", "", "def twice(s, x):\n    return s.nothing(x)\n", "drivers.py, line 2"),
        ("handout.md", "## 2", "### 2", "no section for fourfold"),
        ("mistakes.toml", "return x * x", "return x + x", "right on all public cases of twice"),
        ("mistakes.toml", '["twice"]', '["thrice"]', "'thrice', which is no task"),
        ("mistakes.toml", "return 2 * x", "return 3 * x", "0 times in master.py"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_place(
    place: Path, file: str, old: str, new: str, found: str
) -> None:
    assignment = change(place, file, old, new)
    told = list(faults(assignment))
    assert told
    assert found in told[0]
    assert "\n" not in told[0]
    with pytest.raises(UsageError, match="a90_small: "):
        require_sound(assignment)


def test_what_is_no_number_is_told_with_its_task(place: Path) -> None:
    with pytest.raises(
        UsageError, match="the task 'twice' has points = 'many', which is no number"
    ):
        change(place, "assignment.toml", "points = 3", 'points = "many"')


def test_a_name_that_is_nearly_right_is_told_the_right_one() -> None:
    for name, meant in (("a3", "a03"), ("A05", "a05"), ("a03_convolutoin", "a03_convolution")):
        with pytest.raises(UsageError, match=rf"Did you mean {meant}\?"):
            find_assignment(name)


def test_two_mistakes_that_give_the_same_are_told(place: Path) -> None:
    again = small.MISTAKES.replace("squared", "square").replace("x * x", "x ** 2")
    assert "give the same on all public cases of twice" in next(
        faults(change(place, "mistakes.toml", "", again))
    )


def test_trying_it_out_grades_the_solution_the_stub_and_the_mistakes(place: Path) -> None:
    found = list(try_out(Assignment(place)))
    assert [(one.name, one.points, one.verdict) for one in found] == [
        ("the solution", 4.5, "yes"),
        ("the stub", 0, "yes"),
        ("squared", 1.5, "yes"),
    ]


def test_what_is_not_as_it_should_be_is_told(place: Path) -> None:
    assignment = change(place, "mistakes.toml", '["twice"]', '["twice", "fourfold"]')
    [trial] = [one for one in try_out(assignment) if not one.as_it_should]
    assert trial.name == "squared"
    assert trial.verdict.startswith("no: fourfold is passed")
