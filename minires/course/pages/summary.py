"""What a teacher is told about the class."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from minires.course.assignment import Assignment, Task
from minires.course.grades import Grade
from minires.course.pages.figures import mistakes_figure, tasks_figure, totals_figure
from minires.course.pages.frame import (
    Row,
    name_html,
    render,
    rows_of,
    shown,
    status_html,
)
from minires.course.pages.walls import walls_html
from minires.course.sheets import points_text
from minires.course.words import plural
from minires.exercises.verdict import NOT_YET, PASSED, WRONG
from minires.viz.report import figure_html

__all__ = ["summary_html"]

_MOST_MISTAKES = 4  # of a task


def summary_html(
    assignment: Assignment,
    grades: Sequence[Grade],
    walls: Sequence[str] | None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The page of the class: it needs nothing beside it, no script, and no network.

    Args:
        assignment: what was graded.
        grades: one a student; they are shown in this order.
        walls: which walls stood around the students' code (see ``minires.course.sandbox.WALLS``);
            None if none of it was run.
        links: by :attr:`Grade.student` where the page of a student lies, as a path from this page.

    The same grades give the same text.
    """
    names = [task.name for task in assignment.tasks]
    totals = [grade.total(names) for grade in grades]
    graded = [grade for grade in grades if not grade.trouble]
    rows = {grade.student: rows_of(assignment, grade) for grade in grades}
    parts = [
        f'<header><p class="kicker">{shown(assignment.name)} · the class</p>',
        f"<h1>{shown(assignment.title)}</h1>",
        f'<p class="lead">{_in_short(assignment, totals, len(grades) - len(graded))}</p>',
        walls_html(walls) if walls is not None else "",
        "</header>\n<main>",
        _totals(assignment, totals) if grades else "",
        _tasks(assignment, graded, rows) if graded else "",
        _mistakes(assignment, graded) if graded else "",
        _students(assignment, grades, rows, links or {}) if grades else "",
        _not_graded(grades),
        _by_hand(grades, rows),
        "</main>",
        "<footer><p>Graded by <code>minires course grade</code>.</p></footer>",
    ]
    return render(f"{assignment.title} · the class", "\n".join(filter(None, parts)))


def _in_short(assignment: Assignment, totals: Sequence[float], not_graded: int) -> str:
    if not totals:
        return "There is no submission."
    full = sum(total >= assignment.points for total in totals)
    text = f"{plural(len(totals), 'student')}, {points_text(assignment.points)} points to be had. "
    if len(totals) > 1:
        mean = statistics.fmean(totals)
        text += f"The median is {points_text(statistics.median(totals))}, the mean {mean:.1f}; "
        text += f"{plural(full, 'has', 'have')} all points." if full else "nobody has all points."
    else:
        text += f"The total is {points_text(totals[0])}."
    if not_graded:
        text += f" {plural(not_graded, 'was', 'were')} not graded."
    return text


def _section(name: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>\n{content}</section>'


def _figure(svg: str, label: str, caption: str) -> str:
    return (
        f'<figure><div class="card" tabindex="0" role="group" aria-label="{label}">{svg}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _totals(assignment: Assignment, totals: Sequence[float]) -> str:
    alt = "Totals: " + ", ".join(
        f"{plural(count, 'student')} with {points_text(points)}"
        for points, count in sorted(Counter(totals).items())
    )
    svg = figure_html(totals_figure(totals, assignment.points), "totals", alt)
    caption = "How many students have how many points. Everybody counts, graded or not."
    return _section("points", "Points", _figure(svg, "Distribution of the points", caption))


def _tasks(assignment: Assignment, graded: Sequence[Grade], rows: Mapping[str, list[Row]]) -> str:
    counts = []
    for i, task in enumerate(assignment.tasks):
        found = Counter(rows[grade.student][i].status for grade in graded)
        counts.append((task.name, found))
    alt = ". ".join(
        f"{name}: {found[PASSED]} passed, {found[NOT_YET]} not yet, {found[WRONG]} wrong"
        for name, found in counts
    )
    svg = figure_html(tasks_figure(counts), "bars", alt)
    caption = (
        f"What the grader found in {plural(len(graded), 'submission')}. Later tasks ran with "
        "correct versions of the earlier ones, so each bar is about its task alone."
    )
    if any(grade.overrides for grade in graded):
        caption += " Points given by hand do not show here."
    return _section("tasks", "Tasks", _figure(svg, "Results by task", caption))


def _mistakes(assignment: Assignment, graded: Sequence[Grade]) -> str:
    groups = [(task.name, _mistakes_of(assignment, task, graded)) for task in assignment.tasks]
    groups = [(name, mistakes) for name, mistakes in groups if mistakes]
    if not groups:
        return _section("mistakes", "Mistakes", "<p>No task was found wrong.</p>\n")
    alt = ". ".join(
        f"{name}: " + "; ".join(f"{title} ({count})" for title, count, _ in mistakes)
        for name, mistakes in groups
    )
    svg = figure_html(mistakes_figure(groups), "frequent", alt)
    caption = (
        "What was wrong, by task. Hatched: a known mistake, whose answers are just those of the "
        "submission. Empty: all else, such as errors, endless loops, and mistakes not known or "
        f"rarer than the first {_MOST_MISTAKES}."
    )
    return _section("mistakes", "Mistakes", _figure(svg, "Mistakes by task", caption))


def _mistakes_of(
    assignment: Assignment, task: Task, graded: Sequence[Grade]
) -> list[tuple[str, int, bool]]:
    """The mistakes of a task: what each is, how often it was made, whether it is known."""
    titles = {m.name: m.title for m in assignment.mistakes if task.name in m.tasks}
    wrong = [
        result.mistake
        for grade in graded
        for result in grade.results
        if result.task.name == task.name and result.status == WRONG
    ]
    known = Counter(name for name in wrong if name in titles)
    order = sorted(known, key=lambda name: (-known[name], list(titles).index(name)))
    found = [(titles[name], known[name], True) for name in order[:_MOST_MISTAKES]]
    rest = len(wrong) - sum(count for _, count, _ in found)
    return [*found, ("something else", rest, False)] if rest else found


# --- tables ---


def _students(
    assignment: Assignment,
    grades: Sequence[Grade],
    rows: Mapping[str, list[Row]],
    links: Mapping[str, str],
) -> str:
    heads = "".join(
        f'<th scope="col"><span class="turned">{shown(task.name)}</span></th>'
        for task in assignment.tasks
    )
    most = "".join(f"<td>{points_text(task.points)}</td>" for task in assignment.tasks)
    lines = [
        f"<p>{status_html(PASSED)}, {status_html(NOT_YET)}, {status_html(WRONG)}, "
        f"{status_html('by hand')}: beside each, the points.</p>",
        '<div class="wide"><div class="scroll" tabindex="0" role="region" '
        'aria-label="Table of students">',
        '<table class="students"><thead>',
        f'<tr><th scope="col">student</th><th scope="col" class="number">total</th>{heads}</tr>',
        '</thead>\n<tbody><tr><th scope="row">points to be had</th>'
        f'<td class="sum">{points_text(assignment.points)}</td>{most}</tr>',
    ]
    names = [task.name for task in assignment.tasks]
    for grade in grades:
        cells = "".join(map(_cell, rows[grade.student]))
        total = points_text(grade.total(names))
        lines.append(
            f'<tr><th scope="row">{_who(grade, links)}</th><td class="sum">{total}</td>{cells}</tr>'
        )
    content = "\n".join([*lines, "</tbody></table></div></div>"])
    return _section("students", "Students", content)


def _who(grade: Grade, links: Mapping[str, str]) -> str:
    name = name_html(grade)
    if grade.student not in links:
        return name
    path = quote(links[grade.student], errors="surrogateescape")  # as file names are decoded
    return f'<a href="{path}">{name}</a>'


def _cell(row: Row) -> str:
    if row.result is None and row.override is None:
        return f"<td>{status_html(row.shown_status, word=False)}</td>"
    return f"<td>{status_html(row.shown_status, word=False)} {points_text(row.points)}</td>"


def _not_graded(grades: Sequence[Grade]) -> str:
    items = [
        f"<li><strong>{name_html(grade)}</strong>: {shown(grade.trouble)}</li>"
        for grade in grades
        if grade.trouble
    ]
    if not items:
        return ""
    return _section("not-graded", "Not graded", "\n".join(["<ul>", *items, "</ul>"]))


def _by_hand(grades: Sequence[Grade], rows: Mapping[str, list[Row]]) -> str:
    lines = [
        f'<tr><th scope="row">{name_html(grade)}</th><td>{shown(row.task.name)}</td>'
        f'<td class="number">{_found_points(row)}</td>'
        f'<td class="number">{points_text(row.override.points)}</td>'
        f"<td>{shown(row.override.reason)}</td></tr>"
        for grade in grades
        for row in rows[grade.student]
        if row.override is not None
    ]
    if not lines:
        return ""
    heads = '<th scope="col">student</th><th scope="col">task</th>'
    heads += '<th scope="col" class="number">found</th><th scope="col" class="number">given</th>'
    content = "\n".join(
        [
            '<div class="wide"><div class="scroll" tabindex="0" role="region" '
            'aria-label="Points given by hand">',
            f'<table class="reasons"><thead><tr>{heads}<th scope="col">why</th></tr></thead>',
            "<tbody>",
            *lines,
            "</tbody></table></div></div>",
        ]
    )
    return _section("by-hand", "Points given by hand", content)


def _found_points(row: Row) -> str:
    return points_text(row.result.points) if row.result is not None else "-"
