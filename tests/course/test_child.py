"""How the statements of a submission are run, and what of it is no Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minires.course.inside.child import _compact, run_cells
from minires.course.judge import Expected, difference


def run(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The names that the text leaves, and what went wrong."""
    names: dict[str, Any] = {}
    notes = run_cells([("text", 1, text)], names)
    return names, notes


@pytest.mark.parametrize("name", ["annotation", "*", "braces"])
def test_a_future_that_does_not_exist_is_a_note(name: str) -> None:
    names, notes = run(f"from __future__ import {name}\ndef f(): return 1\n")
    assert [note["type"] for note in notes] == ["SyntaxError"]
    assert names["f"]() == 1


def test_a_future_holds_for_the_statements_below() -> None:
    names, notes = run("from __future__ import annotations\ndef f(x: not_there = 1): return x\n")
    assert not notes
    assert names["f"]() == 1


@pytest.mark.parametrize(
    "line",
    [
        "f?",
        "np.sum??",
        "?f",
        "%%timeit?",
        "table['key']?",
        "%matplotlib inline",
        "files = !ls",
        "took = %timeit -o f()",
        "a, b[0] = %who",
        "if True:\n    files = !ls",
    ],
)
def test_what_jupyter_accepts_costs_a_cell_nothing(line: str) -> None:
    text = f"""
def f():
    \"\"\"Why?
    Really?
    \"\"\"
    x = 1  # is it?
    return x

{line}
files = 3
"""
    names, _ = run(text)
    assert names["f"]() == 1
    assert names["files"] == 3


def test_a_line_of_the_shell_leaves_nothing_under_its_name() -> None:
    names, notes = run("files = !ls\nx = 1\n")
    assert (names["files"], names["x"], notes) == (None, 1, [])


def test_long_lists_of_numbers_travel_as_arrays_and_others_as_they_are() -> None:
    """A right answer in nested lists must not be too long, whatever its size."""
    rows = [[float(i + j) for j in range(50)] for i in range(50)]
    found = _compact({"pair": (rows, [1, "two"]), "short": [1.5, [2]], "ragged": [[1], [2, 3]]})
    assert isinstance(found["pair"], tuple)
    np.testing.assert_array_equal(found["pair"][0], rows)
    assert found["pair"][1] == [1, "two"]
    assert found["short"] == [1.5, [2]]
    assert found["ragged"] == [[1], [2, 3]]
    both = _compact((rows, rows))  # one array, whose rows are the two
    assert difference(both, Expected((np.array(rows),) * 2, (0.0, 0.0)), "f") is None
    assert difference(both, Expected((np.array(rows), np.zeros((50, 50))), (0.0, 0.0)), "f")
