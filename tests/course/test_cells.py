"""Cells of a master, and what is left of them without the solution."""

from __future__ import annotations

import pytest

from minires.course.cells import Cell, code_of, join_cells, split_cells, without_solution
from minires.errors import UsageError

MASTER = '''\
# %%
"""What this is."""

import numpy as np

# %% task: double
### BEGIN SOLUTION
def _twice(x):
    return x + x


### END SOLUTION
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    y = _twice(x)
    return y
    ### END SOLUTION


# %% task: Both
class Both:
    def one(self):
        ### BEGIN SOLUTION
        return 1
        ### END SOLUTION

    def two(self):
        ### BEGIN SOLUTION
        return 2
        ### END SOLUTION
'''


def test_cells_keep_their_task_and_the_number_of_their_first_line() -> None:
    cells = split_cells(MASTER)
    assert [cell.task for cell in cells] == [None, "double", "Both"]
    lines = MASTER.splitlines()
    assert [lines[cell.first - 1] for cell in cells] == [
        '"""What this is."""',
        "### BEGIN SOLUTION",
        "class Both:",
    ]


def test_what_is_joined_and_split_again_is_the_same() -> None:
    cells = split_cells(MASTER)
    again = split_cells(join_cells(cells))
    assert [(c.task, c.text.strip()) for c in again] == [(c.task, c.text.strip()) for c in cells]


def test_a_solution_in_a_function_becomes_not_implemented_and_one_beside_it_vanishes() -> None:
    double, both = (without_solution(cell).text for cell in split_cells(MASTER)[1:])
    assert double == (
        'def double(x):\n    """Twice x."""\n    raise NotImplementedError("double")\n'
    )
    assert both.count('raise NotImplementedError("Both")') == 2
    assert "return" not in both


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f():\n    ### BEGIN SOLUTION\n    return 1\n", "has no end"),
        ("def f():\n    ### END SOLUTION\n", "never began"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION\n", "within another"),
    ],
)
def test_marks_that_do_not_pair_are_an_error_that_names_the_task(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        without_solution(Cell("f", text))
    assert "'f'" in str(caught.value)


def test_compiled_code_has_no_documentation_strings_and_no_file() -> None:
    names: dict[str, object] = {}
    code = code_of(Cell("f", 'def f():\n    """Secret."""\n    return 1\n'), "a03")
    exec(code, names)
    assert names["f"].__doc__ is None
    assert code.co_filename == "<a03>"
