"""What a student is told: points by task, and for each that has none, what was found and a hint."""

from __future__ import annotations

from minires.course.assignment import Assignment
from minires.course.grades import Grade
from minires.course.marking import TaskResult
from minires.course.pages.frame import (
    Row,
    class_of,
    name_html,
    render,
    rows_of,
    shown,
    status_html,
)
from minires.course.sheets import points_text
from minires.course.words import plural
from minires.exercises.verdict import PASSED

__all__ = ["feedback_html"]


def feedback_html(assignment: Assignment, grade: Grade) -> str:
    """The page of one student: it needs nothing beside it, no script, and no network.

    Args:
        assignment: what was graded.
        grade: what came of it.

    The same grade gives the same text.
    """
    rows = rows_of(assignment, grade)
    parts = [
        f'<header><p class="kicker">{shown(assignment.name)}</p>',
        f"<h1>{shown(assignment.title)}</h1>",
        f'<p class="lead">{name_html(grade)}</p>',
        f'<p class="total">{_total(assignment, grade)}</p>',
        _strip(rows),
        *_notices(assignment, grade),
        "</header>\n<main>",
        '<section aria-label="Points"><table class="tasks">',
        '<thead><tr><th scope="col">task</th><th scope="col">result</th>'
        '<th scope="col" class="number">points</th></tr></thead>\n<tbody>',
        *map(_line, rows),
        "</tbody></table></section>",
        *_details(assignment, rows),
        "</main>",
        f"<footer>{_how()}</footer>" if grade.results else "",
    ]
    return render(f"{assignment.title} · {grade.name}", "\n".join(filter(None, parts)))


def _total(assignment: Assignment, grade: Grade) -> str:
    points = grade.total([task.name for task in assignment.tasks])
    return f"{points_text(points)} of {points_text(assignment.points)} points"


def _strip(rows: list[Row]) -> str:
    """The points as a strip: a piece for each task, as wide as it has points."""
    pieces = [
        f'<span class="{class_of(row.shown_status)}" style="flex: {row.task.points:g}"></span>'
        for row in rows
    ]
    return f'<div class="strip" aria-hidden="true">{"".join(pieces)}</div>'


def _notices(assignment: Assignment, grade: Grade) -> list[str]:
    notices = []
    if grade.trouble:
        text = f"<strong>Not graded:</strong> {shown(grade.trouble.rstrip('.'))}."
        if assignment.name not in grade.trouble:
            text += f" What is wanted is {shown(assignment.name)}.py or .ipynb."
        notices.append(f'<p class="notice">{text}</p>')
    return notices + [f'<p class="notice">{shown(remark)}</p>' for remark in grade.remarks]


def _line(row: Row) -> str:
    name = f"<code>{shown(row.task.name)}</code>"
    if _is_explained(row):
        name = f'<a href="#task-{shown(row.task.name)}">{name}</a>'
    by_hand = f"<br>{status_html('by hand')}" if row.override is not None else ""
    return (
        f'<tr><th scope="row">{name}<span class="title">{shown(row.task.title)}</span></th>'
        f"<td>{status_html(row.status)}{by_hand}</td>"
        f'<td class="number">{points_text(row.points)} of {points_text(row.task.points)}</td></tr>'
    )


def _is_explained(row: Row) -> bool:
    return row.override is not None or (row.result is not None and row.status != PASSED)


def _details(assignment: Assignment, rows: list[Row]) -> list[str]:
    explained = [_detail(assignment, row) for row in rows if _is_explained(row)]
    if not explained:
        return []
    return [
        '<section aria-labelledby="found"><h2 id="found">What was found</h2>',
        *explained,
        "</section>",
    ]


def _detail(assignment: Assignment, row: Row) -> str:
    task, result = row.task, row.result
    parts = [
        f'<article class="task is-{class_of(row.status)}" id="task-{shown(task.name)}">',
        f"<h3><code>{shown(task.name)}</code> · {shown(task.title)}</h3>",
        f'<p class="facts">{_facts(row)}</p>',
    ]
    if result is not None and row.status != PASSED:
        parts += _found(assignment, result)
    if row.override is not None:
        parts.append(
            f'<p class="given">{status_html("by hand")} · {points_text(row.override.points)} of '
            f"{points_text(task.points)} points: {shown(row.override.reason)}</p>"
        )
    return "\n".join([*parts, "</article>"])


def _facts(row: Row) -> str:
    facts = [status_html(row.status)]
    facts.append(f"{points_text(row.points)} of {points_text(row.task.points)} points")
    if row.result is not None and row.result.cases and row.result.passed:
        facts.append(f"right on {row.result.passed} of {plural(row.result.cases, 'case')}")
    return " · ".join(facts)


def _found(assignment: Assignment, result: TaskResult) -> list[str]:
    """What was found, the mistake if it is a known one, and the hint."""
    message, title = result.message, mistake_title(assignment, result.mistake)
    if title:  # it has a place of its own on the page
        message = message.removesuffix(f"\nFound: {title} ({result.mistake}).")
    parts = []
    if "\n" in message.strip():
        parts.append(f"<pre>{shown(message.strip())}</pre>")
    elif message.strip():
        parts.append(f'<p class="given">{shown(message.strip())}</p>')
    if title:
        parts.append(
            f'<p class="given"><strong>A known mistake:</strong> {shown(title.rstrip("."))}.</p>'
        )
    if result.hint:
        parts.append(f'<p class="given"><strong>Hint:</strong> {shown(result.hint)}</p>')
    return parts


def mistake_title(assignment: Assignment, name: str) -> str:
    """What a known mistake is called; '' if there is none of that name."""
    return next((m.title for m in assignment.mistakes if m.name == name), "") if name else ""


def _how() -> str:
    return (
        "<p>Each task was run by itself, on inputs made for this student alone. A task that builds "
        "on earlier ones was given correct versions of them, so no mistake is counted twice. A "
        "task has all of its points or none.</p>"
    )
