"""The solutions of earlier tasks run among names of their own."""

from __future__ import annotations

import types

import pytest

from minires.course.assignment import Assignment
from minires.course.inside.references import solutions


def code(text: str) -> types.CodeType:
    return compile(text, "solution", "exec")


def test_only_the_names_of_tasks_come_back_and_solutions_call_each_other() -> None:
    names = {"half": lambda x: "mine", "_help": 1}
    found = solutions(
        names,
        {},
        [
            ("half", code("def _help(x): return x // 2\ndef half(x): return _help(x)")),
            ("quarter", code("def quarter(x): return half(half(x))")),
        ],
    )
    assert list(found) == ["half", "quarter"]
    assert found["quarter"](9) == 2
    assert names["_help"] == 1


def test_what_the_submission_made_of_given_code_is_not_used_but_for_its_classes() -> None:
    given_code = code("class Box: pass\ndef unit(): return 1")
    given: dict[str, object] = {}
    exec(given_code, given)
    names: dict[str, object] = {}
    exec(given_code, names)
    names["unit"] = None
    found = solutions(names, given, [("f", code("def f(): return type(Box()), unit()"))])
    assert found["f"]() == (names["Box"], 1)
    names["Box"] = 3
    exec(given_code, given)
    found = solutions(names, given, [("f", code("def f(): return type(Box()), unit()"))])
    assert found["f"]()[0] is given["Box"]


def test_a_solution_that_does_not_make_its_task_is_an_error() -> None:
    with pytest.raises(KeyError, match="f"):
        solutions({}, {}, [("f", code("g = 1"))])


def test_every_solution_runs_on_the_given_code_alone(assignment: Assignment) -> None:
    given: dict[str, object] = {"__name__": "submission"}
    for one in assignment.given_code():
        exec(one, given)
    references = assignment.reference_code(assignment.tasks[-1])
    earlier = [task.name for task in assignment.tasks[:-1]]
    assert list(solutions({}, given, references)) == earlier
