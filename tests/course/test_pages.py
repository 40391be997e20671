"""The pages of the course: whatever students wrote, a page shows it and is not changed by it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minires.course.assignment import Assignment, Task, find_assignment
from minires.course.grades import Grade, Override
from minires.course.marking import TaskResult
from minires.course.pages import feedback_html, summary, summary_html
from minires.course.sandbox import WALLS
from minires.course.sheets import points_text
from tests.browsers import real_browser
from tests.viz.test_report import Page, alts

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
EVIL = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)> & \"q\" 'x' {body} %s "
    "$x$ \x1b[31m\x00 \ud800 \u202egnp.exe " + "A" * 300
)


@pytest.fixture(scope="module")
def a03() -> Assignment:
    return find_assignment("a03")


def found(
    assignment: Assignment, task: Task, status: str, mistake: int | None = None
) -> TaskResult:
    """A result as the marker makes it."""
    if status == "passed":
        return TaskResult(task, status, task.points, cases=4, passed=4)
    if status == "not yet":
        return TaskResult(task, status, 0.0, "It is not written yet.", task.hint, cases=4)
    message = "Case 2 of 4, one row: (1, 1, 1, 7), 2:\nit is not right: it is 3."
    if mistake is None:
        return TaskResult(task, status, 0.0, message, task.hint, cases=4, passed=1)
    known = [m for m in assignment.mistakes if task.name in m.tasks][mistake]
    message += f"\nFound: {known.title} ({known.name})."
    return TaskResult(task, status, 0.0, message, known.hint, known.name, cases=4, passed=1)


def the_same(assignment: Assignment, status: str, name: str = "anna") -> Grade:
    """A grade with this status in every task."""
    return Grade(name, name, tuple(found(assignment, t, status) for t in assignment.tasks))


def mixed(assignment: Assignment, count: int) -> list[Grade]:
    """A class, always the same one."""
    rng = random.Random(5)
    grades = []
    for i in range(count):
        results = []
        for task in assignment.tasks:
            status = rng.choice(["passed", "passed", "not yet", "wrong"])
            kinds = sum(task.name in m.tasks for m in assignment.mistakes)
            which = rng.choice([None, *range(kinds)]) if status == "wrong" else None
            results.append(found(assignment, task, status, which))
        grades.append(Grade(f"s{i:03}", f"Student {i}", tuple(results), number=str(4000 + i)))
    return grades


def whole_class(assignment: Assignment) -> list[Grade]:
    """A class in which everything has happened."""
    grades = mixed(assignment, 12)
    grades[2] = dataclasses.replace(grades[2], overrides={"pad": Override(0.5, "half is right")})
    grades[3] = Grade("s003", "Student 3", trouble="it is not a zip file", remarks=("late",))
    return grades


def evil(assignment: Assignment) -> Grade:
    results = tuple(
        TaskResult(task, "wrong", 0.0, f"{EVIL}\n{EVIL}", EVIL, cases=4)
        for task in assignment.tasks
    )
    overrides = {"pad": Override(1.0, EVIL)}
    return Grade(EVIL, EVIL, results, EVIL, (EVIL,), number=EVIL, overrides=overrides)


def text_of(html: str) -> str:
    return " ".join(Page(html).text.split())


@functools.cache
def pages(assignment: Assignment) -> dict[str, str]:
    """Pages of every kind."""
    grades = whole_class(assignment)
    links = {grade.student: f"students/{grade.student}/feedback.html" for grade in grades}
    return {
        "feedback": feedback_html(assignment, grades[2]),
        "full points": feedback_html(assignment, the_same(assignment, "passed")),
        "no points": feedback_html(assignment, the_same(assignment, "not yet")),
        "trouble": feedback_html(assignment, grades[3]),
        "evil": feedback_html(assignment, evil(assignment)),
        "class": summary_html(assignment, grades, tuple(WALLS), links),
        "one student": summary_html(assignment, grades[:1], ("limits",)),
        "no student": summary_html(assignment, [], ()),
        "evil class": summary_html(
            assignment, [evil(assignment)], tuple(WALLS), {EVIL: "students/<a>\udc80"}
        ),
        "all zero": summary_html(assignment, [the_same(assignment, "not yet")] * 3, ()),
        "no mistakes": summary_html(assignment, [the_same(assignment, "passed")] * 3, ()),
        "not graded": summary_html(assignment, [grades[3]], ()),
    }


# --- all pages ---


def test_pages_are_well_formed_and_need_nothing_beside_them(a03: Assignment) -> None:
    for html in pages(a03).values():
        page = Page(html)
        assert html.startswith("<!DOCTYPE html>")
        assert len(page.ids) == len(set(page.ids))
        for reference in re.findall(r'(?:href="|url\()#([^")]+)', html):
            assert reference in page.ids
        assert set(re.findall(r'[^"\s(]*https?:[^"\s)]*', html)) <= {"http://www.w3.org/2000/svg"}
        assert not {"script", "iframe", "object", "embed", "img"} & {tag for tag, _ in page.tags}
        policy = next(m for m in page.all("meta") if "http-equiv" in m)
        assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
        assert headings[0] == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(headings))


def test_what_students_wrote_is_shown_and_changes_nothing(a03: Assignment) -> None:
    for name in ("evil", "evil class"):
        html = pages(a03)[name]
        html.encode("utf-8")  # no half of a character
        assert not any(ord(c) < 32 and c not in "\n\t" for c in html)
        assert "\u202e" not in html
        text = text_of(html)
        assert "<img src=x onerror=alert(1)> & \"q\" 'x' {body} %s $x$" in text
        assert "\\x1b[31m\\x00 \\ud800 \\u202egnp.exe" in text


def test_a_link_is_a_path_and_nothing_else(a03: Assignment) -> None:
    grade = the_same(a03, "passed")
    links = {"anna": 'javascript:"<a b>#?\udc80'}
    (link,) = Page(summary_html(a03, [grade], (), links)).all("a")
    assert link["href"] == "javascript%3A%22%3Ca%20b%3E%23%3F%80"


def test_the_same_grades_give_the_same_bytes_in_another_process(a03: Assignment) -> None:
    code = (
        "import hashlib; from tests.course import test_pages as t;"
        "print(hashlib.sha256(repr(t.pages(t.find_assignment('a03'))).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


# --- the page of a student ---


def test_every_task_has_its_sign_its_word_and_its_points(a03: Assignment) -> None:
    statuses = ["passed", "not yet", "wrong", *["passed"] * (len(a03.tasks) - 3)]
    results = tuple(found(a03, t, s) for t, s in zip(a03.tasks, statuses, strict=True))
    html = feedback_html(a03, Grade("anna", "Anna Blume", results))
    text = text_of(html)
    signs = {"passed": "✓", "not yet": "○", "wrong": "✗"}
    for task, status in zip(a03.tasks, statuses, strict=True):
        got = task.points if status == "passed" else 0
        line = f"{task.name}{task.title} {signs[status]} {status} {got:g} of {task.points:g}"
        assert line.replace(" ", "") in text.replace(" ", "")
    assert "Anna Blume" in text
    assert f"{sum(r.points for r in results):g} of 20 points" in text


def test_what_was_found_the_mistake_and_the_hint_are_told_once(a03: Assignment) -> None:
    task = a03.task("output_size")
    result = found(a03, task, "wrong", mistake=0)
    known = a03.mistakes[0]
    text = text_of(feedback_html(a03, Grade("a", "a", (result,))))
    assert "Case 2 of 4, one row: (1, 1, 1, 7), 2: it is not right: it is 3." in text
    assert text.count(known.title) == 1
    assert f"A known mistake: {known.title}." in text
    assert f"Hint: {known.hint.strip()}".replace("\n", " ") in text
    assert "right on 1 of 4 cases" in text


def test_a_task_that_passed_has_no_section(a03: Assignment) -> None:
    text = text_of(feedback_html(a03, the_same(a03, "passed")))
    assert "20 of 20 points" in text
    assert "What was found" not in text
    assert "Hint" not in text


def test_points_by_hand_are_told_with_the_reason_and_counted(a03: Assignment) -> None:
    grade = the_same(a03, "not yet")
    grade = dataclasses.replace(grade, overrides={"pad": Override(0.5, "half is right")})
    text = text_of(feedback_html(a03, grade))
    assert "0.5 of 20 points" in text
    assert "✎ by hand · 0.5 of 1 points: half is right" in text


def test_a_submission_that_was_not_graded_says_why(a03: Assignment) -> None:
    grade = Grade("anna", "Anna", trouble="it is not a zip file", remarks=("It was late.",))
    text = text_of(feedback_html(a03, grade))
    assert "Not graded: it is not a zip file. What is wanted is a03_convolution.py" in text
    assert "It was late." in text
    assert text.count("- not graded") == len(a03.tasks)
    assert "0 of 20 points" in text


# --- the page of the class ---


def test_the_class_is_told_in_short(a03: Assignment) -> None:
    grades = [the_same(a03, "passed", "a"), the_same(a03, "not yet", "b")]
    grades.append(Grade("c", "c", trouble="it is empty"))
    text = text_of(summary_html(a03, grades, tuple(WALLS)))
    assert "3 students, 20 points to be had. The median is 0, the mean 6.7; 1 has all" in text
    assert "1 was not graded." in text
    assert "c: it is empty" in text


def test_the_table_has_every_student_with_points_by_task(a03: Assignment) -> None:
    grades = whole_class(a03)
    html = summary_html(a03, grades, tuple(WALLS), {"s001": "students/s001/feedback.html"})
    (table,) = re.findall(r'<table class="students">.*?</table>', html, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", table)[2:]
    assert len(rows) == len(grades)
    names = [task.name for task in a03.tasks]
    for grade, row in zip(grades, rows, strict=True):
        total, *cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
        assert total == points_text(grade.total(names))
        for task, cell in zip(names, cells, strict=True):
            points = points_text(grade.points_for(task))
            assert re.sub("<.*?>", "", cell)[1:].strip() == ("" if grade.trouble else points)
    links = [link["href"] for link in Page(html).all("a")]
    assert links == ["students/s001/feedback.html"]


def test_the_plots_say_in_words_what_they_show(a03: Assignment) -> None:
    grades = [the_same(a03, "passed", "a"), the_same(a03, "wrong", "b")]
    known = found(a03, a03.tasks[0], "wrong", mistake=1)
    grades += [
        dataclasses.replace(grades[1], student=s, results=(known, *grades[1].results[1:]))
        for s in "cd"
    ]
    totals, tasks, mistakes = alts(Page(summary_html(a03, grades, tuple(WALLS))))
    assert totals == "Totals: 3 students with 0, 1 student with 20"
    assert tasks.startswith("output_size: 1 passed, 0 not yet, 3 wrong. pad: 1 passed")
    title = a03.mistakes[1].title
    assert mistakes.startswith(f"output_size: {title} (2); something else (1). pad: something")


def test_rare_mistakes_are_counted_and_none_is_lost(a03: Assignment) -> None:
    task = a03.task("conv2d_grad_weight")
    kinds = sum(task.name in m.tasks for m in a03.mistakes)
    assert kinds > 4
    grades = [
        Grade(f"{i}{j}", "x", (found(a03, task, "wrong", mistake=i),))
        for i in range(kinds)
        for j in range(i + 1)
    ]
    listed = summary._mistakes_of(a03, task, grades)
    assert [count for _, count, _ in listed[:4]] == [kinds, kinds - 1, kinds - 2, kinds - 3]
    assert sum(count for _, count, _ in listed) == len(grades)
    assert listed[-1][0] == "something else"


def test_points_by_hand_are_listed_for_the_teacher(a03: Assignment) -> None:
    html = summary_html(a03, whole_class(a03), tuple(WALLS))
    (table,) = re.findall(r'<table class="reasons">.*?</table>', html, re.DOTALL)
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", table)
    assert cells[-4] == "pad"
    assert cells[-2:] == ["0.5", "half is right"]
    assert "Points given by hand do not show here." in html


@pytest.mark.parametrize("wall", WALLS)
def test_a_wall_that_did_not_stand_is_told(a03: Assignment, wall: str) -> None:
    stood = [name for name in WALLS if name != wall]
    text = text_of(summary_html(a03, mixed(a03, 2), stood))
    if wall == "user":  # an ordinary user behind the other walls
        assert "did not stand" not in text
        assert "user: ○ not needed" in text
    else:
        assert f"Some walls around the students' code did not stand: {wall}." in text
        assert f"{wall}: ✗ did not stand" in text
    for name in stood:
        assert f"{name}: ✓ stood" in text


def test_all_walls_are_told_quietly(a03: Assignment) -> None:
    html = summary_html(a03, mixed(a03, 2), tuple(WALLS))
    assert 'class="notice"' not in html
    assert "The walls around the students" in html


# --- in a browser ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with real_browser() as found:
        yield found


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 375])
def test_pages_open_whole_and_quiet(
    browser: Browser, a03: Assignment, tmp_path: Path, scheme: Any, width: int
) -> None:
    view = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    try:
        complaints: list[str] = []
        requests: list[str] = []
        view.on("console", lambda message: complaints.append(message.text))
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.on("dialog", lambda dialog: complaints.append(dialog.message))
        view.on("request", lambda request: requests.append(request.url))
        for name, html in pages(a03).items():
            path = tmp_path / f"{name}.html"
            path.write_text(html, encoding="utf-8")
            view.goto(path.as_uri())
            assert complaints == []
            assert all(url.startswith(("file:", "data:")) for url in requests)
            # Wide things scroll in their own box; the page itself never does.
            assert view.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
    finally:
        view.close()
