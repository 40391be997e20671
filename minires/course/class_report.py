"""What a teacher is told on the screen when a class has been graded."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from minires.course.assignment import Assignment
from minires.course.grades import Grade
from minires.course.grading import NOTHING
from minires.course.pages.walls import weak_walls
from minires.course.sandbox import WALLS
from minires.course.sheets import points_text
from minires.course.words import plural
from minires.exercises.verdict import NOT_YET, PASSED, WRONG
from minires.table import Cell, format_table

__all__ = ["report", "wall_warning"]

_MOST_MISTAKES = 10


def report(assignment: Assignment, grades: Sequence[Grade], walls: Sequence[str] | None) -> str:
    """The tasks, the most frequent mistakes, what could not be read, and the walls that stood."""
    parts = [_headline(assignment, grades)]
    read = [grade for grade in grades if grade.results]
    if read:
        parts.append(_tasks(assignment, read))
    mistakes = Counter((r.mistake, r.task.name) for g in read for r in g.results if r.mistake)
    if mistakes:
        common = sorted(mistakes.items(), key=lambda item: (-item[1], item[0]))[:_MOST_MISTAKES]
        rows: list[list[Cell]] = [[mistake, task, count] for (mistake, task), count in common]
        parts.append(format_table(["mistake", "task", "students"], rows))
    bad = [[grade.student, grade.trouble] for grade in grades if _is_bad(grade)]
    if bad:
        parts.append(format_table(["could not be read", "why"], bad))
    if walls is not None:
        parts.append(f"walls that stood: {', '.join(walls) or 'none'}")
    return "\n\n".join(parts)


def wall_warning(walls: Sequence[str]) -> str:
    """What is to be warned of; '' if all walls stood that matter."""
    weak = weak_walls(walls)
    if not weak:
        return ""
    lacking = "; ".join(WALLS[wall] for wall in weak)
    return (
        f"walls that did not stand: {', '.join(weak)}. It was not so that: {lacking}. A hostile "
        "submission could have done more than answer; grade in a container or on a newer system."
    )


def _headline(assignment: Assignment, grades: Sequence[Grade]) -> str:
    tasks = [task.name for task in assignment.tasks]
    totals = [grade.total(tasks) for grade in grades]
    handed_in = [grade for grade in grades if grade.trouble != NOTHING]
    lines = [f"{assignment.number} {assignment.title}: {plural(len(grades), 'student')}"]
    if len(handed_in) < len(grades):
        lines[0] += f", {len(handed_in)} handed in"
    if totals:
        of = points_text(assignment.points)
        lines.append(
            f"mean {statistics.fmean(totals):.1f} of {of} points, median "
            f"{statistics.median(totals):.1f}, full marks "
            f"{sum(total >= assignment.points for total in totals)}"
        )
    by_hand = sum(len(grade.overrides) for grade in grades)
    if by_hand:
        lines.append(f"points by hand: {by_hand}")
    return "\n".join(lines)


def _tasks(assignment: Assignment, read: Sequence[Grade]) -> str:
    counts = Counter((r.task.name, r.status) for grade in read for r in grade.results)
    rows = [
        [task.name, points_text(task.points)]
        + [counts[task.name, status] for status in (PASSED, WRONG, NOT_YET)]
        for task in assignment.tasks
    ]
    return format_table(["task", "points", "passed", "wrong", "not yet"], rows)


def _is_bad(grade: Grade) -> bool:
    return bool(grade.trouble) and grade.trouble != NOTHING
