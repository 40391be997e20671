"""Every assignment of the course: the solution, the stub, the known mistakes, and other styles."""

from __future__ import annotations

import ast
import doctest
import re

import numpy as np
import pytest

from minires.course import publish
from minires.course.assignment import Assignment, KnownMistake, find_assignment
from minires.course.case import Case, mapped
from minires.course.cells import join_cells, split_cells
from minires.course.judge import (
    Expected,
    Failed,
    as_numbers,
    difference,
    expect,
    explain,
    predictions,
)
from minires.course.marking import Tried, solved
from minires.course.sandbox import Answer
from tests.course.conftest import STYLES, Markers


def test_the_points_and_the_tasks_it_stands_on_make_sense(assignment: Assignment) -> None:
    names = [task.name for task in assignment.tasks]
    assert len(set(names)) == len(names) >= 4
    assert 15 <= assignment.points <= 40
    for i, task in enumerate(assignment.tasks):
        assert task.points > 0
        assert set(task.uses) <= set(names[:i]), "a task uses only earlier ones"
        assert task.title
        assert task.hint


def test_the_handout_has_a_section_for_each_task(assignment: Assignment) -> None:
    headings = re.findall(r"^## .*$", assignment.handout, re.MULTILINE)
    for task in assignment.tasks:
        assert sum(f"`{task.name}`" in heading for heading in headings) == 1, task.name
    assert assignment.handout.startswith("# ")


def test_the_solution_gets_full_points(assignment: Assignment, markers: Markers) -> None:
    text = join_cells(assignment.master_cells)
    for result in markers.mark_all(assignment, text).values():
        assert (result.status, result.points) == ("passed", result.task.points), result.message


def test_the_untouched_stub_is_not_yet_and_gets_nothing(
    assignment: Assignment, markers: Markers
) -> None:
    text = join_cells(assignment.stub_cells)
    for name, result in markers.mark_all(assignment, text).items():
        assert (result.status, result.points) == ("not yet", 0.0), (name, result.message)
        assert "written yet" in result.message


def test_each_wrong_solution_loses_exactly_its_tasks_with_the_mistake_named(
    assignment: Assignment, markers: Markers
) -> None:
    """The tasks whose code an edit touches; the others are those of the solution, word for word."""
    assert len(assignment.mistakes) >= 8
    assert len({mistake.name for mistake in assignment.mistakes}) == len(assignment.mistakes)
    broken = {task for mistake in assignment.mistakes for task in mistake.tasks}
    assert broken == {task.name for task in assignment.tasks}
    for mistake in assignment.mistakes:
        touched = _touched(assignment, mistake)
        assert set(mistake.tasks) <= touched, mistake.name
        _loses_its_tasks(assignment, markers, mistake, sorted(touched))


@pytest.mark.slow
def test_no_other_task_of_a_wrong_solution_loses_anything(
    assignment: Assignment, markers: Markers
) -> None:
    """All tasks of all wrong solutions, also those that no edit touches."""
    for mistake in assignment.mistakes:
        names = [task.name for task in assignment.tasks]
        _loses_its_tasks(assignment, markers, mistake, names)


def _loses_its_tasks(
    assignment: Assignment, markers: Markers, mistake: KnownMistake, tasks: list[str]
) -> None:
    results = markers.mark_all(assignment, assignment.edited(mistake), tasks)
    for name, result in results.items():
        if name in mistake.tasks:
            assert (result.status, result.points) == ("wrong", 0.0), (mistake.name, name)
            assert result.mistake == mistake.name, (name, result.message)
            assert mistake.title in result.message
        else:
            assert result.status == "passed", (mistake.name, name, result.message)


def _touched(assignment: Assignment, mistake: KnownMistake) -> set[str]:
    """The tasks whose own cell an edit changes; all of them if it changes code that is given."""
    cells = zip(assignment.master_cells, split_cells(assignment.edited(mistake)), strict=True)
    changed = {one.task for one, other in cells if one.text != other.text}
    names = {task.name for task in assignment.tasks}
    return names if None in changed else {name for name in changed if name}


def test_correct_solutions_in_other_styles_get_full_points(
    assignment: Assignment, markers: Markers
) -> None:
    styles = sorted((STYLES / assignment.name).glob("*.py"))
    assert len(styles) >= 3
    for style in styles:
        for name, result in markers.mark_all(assignment, style.read_text()).items():
            assert result.status == "passed", (style.name, name, result.message)


@pytest.mark.parametrize("hidden", [False, True], ids=["public", "hidden"])
def test_the_cases_tell_every_mistake_from_the_solution_and_from_the_others(
    assignment: Assignment, hidden: bool
) -> None:
    for seed in range(3 if hidden else 1):
        for task in assignment.tasks:
            tried = _tried(assignment, task.name, hidden, seed)
            known = list(tried.known())
            for mistake, predicted in known:
                answers = [
                    Answer(error={"type": p.kind}) if isinstance(p, Failed) else Answer(value=p)
                    for p in predicted
                ]
                found = explain(answers, tried.expected, known)
                assert found is not None
                assert found.name == mistake.name, (task.name, mistake.name, found.name)
                assert any(
                    answer.error is not None or difference(answer.value, right, "it")
                    for answer, right in zip(answers, tried.expected, strict=True)
                ), f"{mistake.name} is right on all cases of {task.name}"


def test_what_is_allowed_is_far_above_the_roundings_of_float32(assignment: Assignment) -> None:
    """Inputs that are rounded otherwise make less than half of it; and by far not a 64th."""
    halves, parts = _in_float32(assignment, 1 / 2), _in_float32(assignment, 1 / 64)
    assert halves == []
    assert parts, "the roundings are too small to say anything"


def test_what_is_allowed_is_far_below_what_mistakes_make(assignment: Assignment) -> None:
    """The largest error of a mistake is more than 30 times it."""
    for task in assignment.tasks:
        tried = _tried(assignment, task.name, hidden=True, seed=5)
        for mistake, predicted in tried.known():
            assert any(
                isinstance(wrong, Failed) or difference(wrong, _scaled(right, 30.0), "it")
                for wrong, right in zip(predicted, tried.expected, strict=True)
            ), (task.name, mistake.name)


def test_the_longest_sums_of_all_may_be_added_one_by_one_in_float32() -> None:
    a04 = find_assignment("a04")
    tried = _tried(a04, "grad_input", hidden=True, seed=5)
    case, right = tried.cases[-1], tried.expected[-1]
    grad_out, x, weight = (array.astype(np.float32) for array in case.args)
    M = x.size // x.shape[1]
    assert M == 16_384

    def mean(array: np.ndarray) -> np.ndarray:
        """Of each channel."""
        channels = array.transpose(1, 0, 2, 3).reshape(-1, M)  # (C, N*H*W)
        return (np.cumsum(channels, axis=1)[:, -1] / M).reshape(-1, 1, 1).astype(np.float32)

    centred = x - mean(x)
    std = np.sqrt(mean(centred**2) + np.float32(1e-5))
    x_hat = centred / std
    inner = grad_out - mean(grad_out) - x_hat * mean(grad_out * x_hat)
    found = weight.reshape(-1, 1, 1) / std * inner
    assert found.dtype == np.float32
    assert not difference(found, _scaled(right, 1 / 2), "grad_input")


def test_no_code_of_the_solution_is_in_the_stub(assignment: Assignment) -> None:
    """No statement of a solution is left, and nothing is in the stub that is not in the master."""
    for master, stub in zip(assignment.master_cells, assignment.stub_cells, strict=True):
        solution = _statements(master.text) - _statements(stub.text)
        if master.task is None:
            continue
        assert solution, f"{master.task}: nothing is to be written"
        left = _statements(stub.text) - _statements(master.text)
        assert left == {f"raise NotImplementedError('{master.task}')"}, master.task
        inside = {s for region in _regions(master.text) for s in _statements(region)}
        trivial = {"pass", "return x", "return out", "return"}
        assert not (inside & _statements(stub.text)) - trivial, master.task


def test_the_examples_of_the_solution_are_right(assignment: Assignment) -> None:
    names: dict[str, object] = {"__name__": "examples"}
    exec(compile("\n".join(cell.text for cell in assignment.master_cells), "m", "exec"), names)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    finder = doctest.DocTestFinder()
    tried = 0
    for task in assignment.tasks:
        for test in finder.find(names[task.name], task.name, globs=names):
            if test.examples:
                tried += 1
                assert runner.run(test).failed == 0, task.name
    assert tried >= len(assignment.tasks) // 2


def test_stub_and_public_answers_are_what_the_master_says(assignment: Assignment) -> None:
    assert publish.stale(assignment) == []


def test_public_files_are_small_and_hold_no_marks_of_the_solution(assignment: Assignment) -> None:
    for name in ("stub.py", "cases.py", "drivers.py", "handout.md", "answers.bin"):
        path = assignment.folder / name
        if path.is_file():
            data = path.read_bytes()
            assert b"BEGIN SOLUTION" not in data
            assert len(data) < 200_000
    for task in assignment.tasks:
        size = sum(
            array.nbytes
            for case in assignment.public_cases(task)
            for array in _arrays((case.args, case.kwargs))
        )
        assert size < 40_000, task.name


def test_other_students_get_other_inputs(assignment: Assignment, markers: Markers) -> None:
    differ = 0
    for task in assignment.tasks:
        one = markers.tried(assignment, task.name, "anna").cases
        other = markers.tried(assignment, task.name, "ben").cases
        again = _tried(assignment, task.name, hidden=True, seed=0).cases
        differ += repr([c.args for c in one]) != repr([c.args for c in other])
        assert len(again) >= len(assignment.public_cases(task))
    assert differ >= len(assignment.tasks) - 2


# --- helpers ---


def _tried(assignment: Assignment, task: str, hidden: bool, seed: int) -> Tried:
    one = assignment.task(task)
    cases = (
        assignment.cases(one, np.random.default_rng(seed), hidden=True)
        if hidden
        else assignment.public_cases(one)
    )
    made = solved(assignment, one, cases, shows_numbers=False)
    known = predictions(assignment, one, cases)
    return Tried(made.cases, made.expected, lambda: known, shows_numbers=False)


def _in_float32(assignment: Assignment, part: float) -> list[tuple[str, str]]:
    """The cases in which float32 is off by more than a part of what is allowed."""
    found, module = [], assignment.module()
    for task in assignment.tasks:
        for seed in (5, 6, 7):
            cases = assignment.cases(task, np.random.default_rng(seed), hidden=True)
            for case in cases:
                if case.rtol is None:
                    right = expect(assignment, task, case, module)
                    args, kwargs = mapped(_other_rounding, (case.args, case.kwargs))
                    rough = as_numbers(assignment.drive(module, task, Case(args, kwargs)))
                    if difference(rough, _scaled(right, part), task.name):
                        found.append((task.name, str(case)))
    return found


def _other_rounding(array: np.ndarray) -> np.ndarray:
    """As float32, half of the numbers rounded to the neighbour that is the farther one.

    Which half their last digits decide, so that equal numbers stay equal.  What is a number of
    float32 stays as it is.
    """
    if array.dtype != np.float64:
        return array
    near = array.astype(np.float32)
    beyond = np.where(array > near, np.inf, -np.inf).astype(np.float32)
    odd = (np.ascontiguousarray(array).view(np.int64) >> 5) % 2 == 1
    return np.where((near != array) & odd.reshape(array.shape), np.nextafter(near, beyond), near)


def _scaled(right: Expected, factor: float) -> Expected:
    return Expected(right.value, mapped_numbers(factor, right.allowed))


def mapped_numbers(factor: float, tree: object) -> object:
    if isinstance(tree, list | tuple):
        return type(tree)([mapped_numbers(factor, item) for item in tree])
    if isinstance(tree, dict):
        return {key: mapped_numbers(factor, item) for key, item in tree.items()}
    assert isinstance(tree, float | int)
    return factor * tree


def _statements(text: str) -> set[str]:
    """Every statement of a text, as Python would write it."""
    return {
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.stmt)
        and not _is_documentation(node)
        and not isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def _is_documentation(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _regions(text: str) -> list[str]:
    found = re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", text, re.DOTALL)
    return [_dedented(region) for region in found]


def _dedented(region: str) -> str:
    import textwrap

    return textwrap.dedent(region.rstrip(" "))


def _arrays(tree: object) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    mapped(lambda array: found.append(array) or array, tree)
    return found
