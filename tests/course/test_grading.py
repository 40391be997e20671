"""The run over a class: what is marked, what is kept, and that nothing depends on the order."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minires.course import grading
from minires.course.assignment import Assignment
from minires.course.grades import Override
from minires.course.grading import NOTHING, ClassRun, Graded, alone_in, settled, stood
from minires.course.handed_in import entries_in
from minires.course.marking import Marker
from minires.course.roster import Student, class_list
from minires.course.sandbox import WALLS
from minires.errors import UsageError
from tests.course.small import HALF, RIGHT, SQUARED, hand_in, small_assignment

SECRET = b"a secret of the tests"


@pytest.fixture
def small(tmp_path: Path) -> Assignment:
    return small_assignment(tmp_path / "assignments")


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that are marked, one by one."""
    names: list[str] = []
    mark = Marker.mark

    def noted(self: Marker, submission: Any, task: Any, tried: Any) -> Any:
        names.append(f"{submission.name} {task.name}")
        return mark(self, submission, task, tried)

    monkeypatch.setattr(Marker, "mark", noted)
    return names


def class_in(folder: Path) -> list[Student]:
    return class_list(entries_in(folder)[0], None, Path())


def run(
    small: Assignment,
    folder: Path,
    *,
    jobs: int = 2,
    secret: bytes = SECRET,
    only: set[str] | None = None,
    overrides: dict[str, dict[str, Override]] | None = None,
    done: Callable[[Student, Graded | None], None] = lambda student, graded: None,
) -> dict[str, Graded]:
    chosen = None if only is None else frozenset(only)
    students = class_in(folder / "in")
    one = ClassRun(small, students, secret, folder / "out", overrides, chosen)
    return {graded.grade.student: graded for graded in one.run(jobs, done)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def points(found: dict[str, Graded]) -> dict[str, float]:
    return {name: one.grade.total(["twice", "fourfold"]) for name, one in found.items()}


def test_everybody_is_graded_and_has_two_files(tmp_path: Path, small: Assignment) -> None:
    hand_in(tmp_path / "in", anna=RIGHT, ben=SQUARED, carl=HALF, dora="")
    (tmp_path / "in" / "ed.zip").write_text("no zip")
    found = run(small, tmp_path)
    assert points(found) == {"anna": 4.5, "ben": 1.5, "carl": 3.0, "dora": 0.0, "ed": 0.0}
    assert found["ben"].grade.results[0].mistake == "squared"
    assert "cannot read ed.zip as a zip file" in found["ed"].grade.trouble
    assert sorted(contents(tmp_path / "out")) == sorted(
        f"students/{name}/{file}" for name in found for file in ("feedback.html", "results.json")
    )
    assert stood(list(found.values())), "some wall stands everywhere"


def test_jobs_order_and_a_second_run_change_no_byte(tmp_path: Path, small: Assignment) -> None:
    shown = RIGHT.replace("return 4 * x", "raise ValueError(object(), open('/nowhere'))")
    path = RIGHT.replace("return 4 * x", "import os; raise ValueError(os.getcwd())")
    hand_in(tmp_path / "in", anna=shown, ben=SQUARED, carl=HALF, dora=path)
    run(small, tmp_path, jobs=1)
    first = contents(tmp_path / "out")
    run(small, tmp_path, jobs=3)
    assert contents(tmp_path / "out") == first, "kept"
    (tmp_path / "out").rename(tmp_path / "earlier")
    run(small, tmp_path, jobs=3)
    assert contents(tmp_path / "out") == first, "found again"


def test_only_what_has_changed_is_marked_again(
    tmp_path: Path, small: Assignment, marked: list[str]
) -> None:
    hand_in(tmp_path / "in", anna=RIGHT, ben=SQUARED)
    assert all(one.fresh for one in run(small, tmp_path).values())
    assert len(marked) == 4
    marked.clear()
    assert not any(one.fresh for one in run(small, tmp_path).values())
    assert marked == []

    hand_in(tmp_path / "in", ben=RIGHT)
    found = run(small, tmp_path)
    assert marked == ["ben.py twice", "ben.py fourfold"]
    assert points(found) == {"anna": 4.5, "ben": 4.5}

    for change in ("secret", "cases", "grader", "NumPy", "Python", "bank", "file"):
        marked.clear()
        secret = SECRET
        if change == "secret":
            secret = SECRET + b"!"
        elif change == "cases":
            with (small.folder / "cases.py").open("a") as file:
                file.write("# more\n")
        elif change == "file":
            (tmp_path / "out" / "students" / "anna" / "results.json").write_text("{")
        with pytest.MonkeyPatch.context() as patch:
            if change == "grader":
                patch.setattr(grading, "version", lambda library: "another")
            elif change == "NumPy":
                patch.setattr(np, "__version__", "0.1")
            elif change == "Python":
                patch.setattr(sys, "version_info", (3, 99, 0))
            elif change == "bank":
                found = [replace(one, title="another") for one in small.mistakes]
                patch.setitem(small.__dict__, "mistakes", tuple(found))
            run(small, tmp_path, secret=secret)
        expected = 2 if change == "file" else 4
        assert len(marked) == expected, change
        run(small, tmp_path)


def test_a_changed_page_is_written_without_marking(
    tmp_path: Path, small: Assignment, marked: list[str]
) -> None:
    hand_in(tmp_path / "in", anna=RIGHT)
    run(small, tmp_path)
    before = contents(tmp_path / "out")
    marked.clear()
    (tmp_path / "out" / "students" / "anna" / "feedback.html").unlink()
    run(small, tmp_path)
    assert contents(tmp_path / "out") == before
    assert marked == []


def test_only_marks_those_again_and_keeps_the_others_as_they_are(
    tmp_path: Path, small: Assignment, marked: list[str]
) -> None:
    hand_in(tmp_path / "in", anna=RIGHT, ben=SQUARED)
    run(small, tmp_path)
    marked.clear()
    hand_in(tmp_path / "in", ben=RIGHT, carl=RIGHT)
    found = run(small, tmp_path, only={"anna"})
    assert marked == ["anna.py twice", "anna.py fourfold"]
    assert points(found) == {"anna": 4.5, "ben": 1.5}, "carl was never graded"
    assert [name for name, one in found.items() if one.stale] == ["ben"]


def test_points_by_hand_go_on_top_and_survive_marking(
    tmp_path: Path, small: Assignment, marked: list[str]
) -> None:
    hand_in(tmp_path / "in", anna=SQUARED)
    run(small, tmp_path)
    marked.clear()
    by_hand = {"anna": {"twice": Override(2.0, "a slip & nothing more")}}
    assert points(run(small, tmp_path, overrides=by_hand)) == {"anna": 3.5}
    assert marked == [], "nothing of what was found has changed"
    hand_in(tmp_path / "in", anna="")
    assert points(run(small, tmp_path, overrides=by_hand)) == {"anna": 2.0}
    written = contents(tmp_path / "out" / "students" / "anna")
    assert b"a slip &amp; nothing more" in written["feedback.html"]
    assert json.loads(written["results.json"])["score"] == 2.0
    assert points(run(small, tmp_path)) == {"anna": 0.0}


def test_who_handed_in_nothing_has_no_points_and_the_reason(
    tmp_path: Path, small: Assignment, marked: list[str]
) -> None:
    student = Student("zora", "Zora Z", "7", "z@x.org")
    [graded] = ClassRun(small, [student], SECRET, tmp_path / "out").run(1, lambda *_: None)
    assert graded.grade.trouble == NOTHING
    assert (graded.grade.name, graded.grade.number) == ("Zora Z", "7")
    assert marked == []


def test_another_name_gives_other_inputs_and_the_same_name_the_same(
    tmp_path: Path, small: Assignment
) -> None:
    told = "def twice(x):\n    raise ValueError(x.tolist())\n"
    hand_in(tmp_path / "in", anna=told, ben=told)
    found = run(small, tmp_path)
    messages = {name: one.grade.results[0].message for name, one in found.items()}
    assert messages["anna"] != messages["ben"]
    other = run(small, tmp_path, secret=SECRET + b"!")
    assert other["anna"].grade.results[0].message != messages["anna"]
    again = run(small, tmp_path)
    assert again["anna"].grade.results[0].message == messages["anna"]


def test_the_secret_is_in_no_file(tmp_path: Path, small: Assignment) -> None:
    hand_in(tmp_path / "in", anna=RIGHT, ben="def twice(x):\n    raise ValueError(vars())\n")
    run(small, tmp_path)
    for content in contents(tmp_path / "out").values():
        assert SECRET not in content
        assert SECRET.hex().encode() not in content


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path, small: Assignment) -> None:
    hand_in(tmp_path / "in", anna=RIGHT)
    place = tmp_path / "out" / "students" / "anna"
    place.mkdir(parents=True)
    (place / ".results.json.abcd1234").write_text("half")
    (place / ".mine").write_text("the teacher's")
    run(small, tmp_path)
    assert sorted(p.name for p in place.iterdir()) == [".mine", "feedback.html", "results.json"]


# --- ends before its time ---


def test_an_interrupted_run_keeps_what_was_done_and_goes_on(
    tmp_path: Path, small: Assignment, marked: list[str]
) -> None:
    hand_in(tmp_path / "in", anna=RIGHT, ben=SQUARED, carl=HALF)

    def interrupt(student: Student, graded: Graded | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small, tmp_path, jobs=1, done=interrupt)
    done = [p.name for p in (tmp_path / "out" / "students").iterdir()]
    assert done == ["anna"]
    marked.clear()
    found = run(small, tmp_path)
    assert not any(name.startswith("anna") for name in marked)
    assert points(found) == {"anna": 4.5, "ben": 1.5, "carl": 3.0}
    first = contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "earlier")
    run(small, tmp_path)
    assert contents(tmp_path / "out") == first


def test_ctrl_c_does_not_wait_for_a_submission_that_sleeps(
    tmp_path: Path, small: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(tmp_path / "in", anna="import time\ntime.sleep(80)\n" + RIGHT, ben=RIGHT)
    at_work = threading.Event()
    mark = Marker.mark

    def noted(self: Marker, *args: Any) -> Any:
        at_work.set()
        return mark(self, *args)

    monkeypatch.setattr(Marker, "mark", noted)

    def interrupt(futures: Any) -> Any:
        at_work.wait(30)
        raise KeyboardInterrupt

    monkeypatch.setattr(grading, "_as_they_come", interrupt)
    ended: list[type[BaseException]] = []

    def work() -> None:
        try:
            run(small, tmp_path, jobs=1)
        except BaseException as error:
            ended.append(type(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert ended == [KeyboardInterrupt]
    assert contents(tmp_path / "out") == {}, "nothing that was cut short is kept"


def test_a_fault_of_the_grader_costs_one_task_is_told_and_tried_again(
    tmp_path: Path, small: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(tmp_path / "in", anna=RIGHT, ben=RIGHT)
    with monkeypatch.context() as patch:
        mark = Marker.mark

        def failing(self: Marker, submission: Any, task: Any, tried: Any) -> Any:
            if (submission.name, task.name) == ("anna.py", "twice"):
                raise ZeroDivisionError
            return mark(self, submission, task, tried)

        patch.setattr(Marker, "mark", failing)
        found = run(small, tmp_path)
    assert points(found) == {"anna": 1.5, "ben": 4.5}
    assert found["anna"].failed == ("twice",)
    assert "The grader failed on this task" in found["anna"].grade.results[0].message
    assert points(run(small, tmp_path)) == {"anna": 4.5, "ben": 4.5}


def test_a_moment_without_processes_is_waited_for(
    tmp_path: Path, small: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(tmp_path / "in", anna=RIGHT)
    mark = Marker.mark
    tried: dict[str, int] = {}

    def failing(self: Marker, submission: Any, task: Any, cases: Any) -> Any:
        tried[task.name] = tried.get(task.name, 0) + 1
        if tried[task.name] == 1:
            raise OSError(11, "no process") if task.name == "twice" else UsageError("no process")
        return mark(self, submission, task, cases)

    monkeypatch.setattr(Marker, "mark", failing)
    monkeypatch.setattr(grading, "PAUSE", 0.0)
    assert points(run(small, tmp_path)) == {"anna": 4.5}
    assert tried == {"twice": 2, "fourfold": 2}


def test_a_sandbox_that_does_not_work_ends_the_run_and_costs_nobody(
    tmp_path: Path, small: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(tmp_path / "in", anna=RIGHT)

    def failing(self: Marker, *args: Any) -> Any:
        raise UsageError("no submission can be run in the sandbox: x.")

    monkeypatch.setattr(Marker, "mark", failing)
    monkeypatch.setattr(grading, "PAUSE", 0.0)
    with pytest.raises(UsageError, match="no submission can be run"):
        run(small, tmp_path)
    assert contents(tmp_path / "out") == {}


def test_two_runs_do_not_meet_in_one_folder(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match="another run is at work")
    with alone_in(tmp_path), refused, alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass


def test_a_run_that_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    """A process between its birth and its program holds the lock of a run that was killed."""
    with ExitStack() as other:
        other.enter_context(alone_in(tmp_path))
        ending = threading.Timer(0.1, other.close)
        ending.start()
        with alone_in(tmp_path):
            ending.join()


# --- messages and walls ---


def test_what_differs_from_run_to_run_is_taken_out_of_messages() -> None:
    text = settled("<a at 0x7f1234567890> /tmp/minires-course-ab_1/task-x9/f \n\tok")
    assert text == "<a at 0x...> f \n\tok"


def test_a_long_message_is_settled_in_no_time() -> None:
    begun = time.perf_counter()
    for text in ("a" * 200_000, "/minires-course-" * 12_000, "minires-course-a" * 12_000):
        assert len(settled(text)) <= len(text)
    assert time.perf_counter() - begun < 1.0


def test_only_walls_that_stood_for_everybody_count(small: Assignment) -> None:
    from minires.course.grades import Grade

    grade = Grade("a", "a")
    some = [Graded(grade, ("limits", "files")), Graded(grade, ("limits",)), Graded(grade)]
    assert stood(some) == ("limits",)
    assert stood([Graded(grade, tuple(WALLS)), Graded(grade)]) == tuple(WALLS)
    assert stood([Graded(grade, tuple(WALLS)), Graded(grade, ())]) == ()
    assert stood([Graded(grade)]) is None, "nobody's code was run"
    assert stood([]) is None
