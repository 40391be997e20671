"""What an error says: the operation, what came in, what it needed, and the mend."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.errors import DeviceError
from minires.functional.bind import METHODS
from tests.functional.bad_calls import BEGINS, GOOD, OF_MANY, Row, put, x
from tests.functional.bad_calls_of_one import OF_ONE
from tests.refusals import assert_refused

ROWS = [*OF_MANY, *OF_ONE]


def named(row: Row) -> str:
    return row[0]


def function_of(operation: str) -> Any:
    return getattr(F, operation) if operation in F.__all__ else METHODS[operation]


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_a_wrong_call_says_which_operation_what_came_in_and_what_it_needs(row: Row) -> None:
    operation, (args, kwargs), error, expected = row
    prefix = f"{BEGINS.get(operation, operation)}: "
    assert_refused(lambda: function_of(operation)(*args, **kwargs), error, expected, prefix)


def test_every_operation_has_a_wrong_call() -> None:
    """There is none that cannot fail: each can be given what is no array."""
    rows = Counter(named(row) for row in ROWS)
    assert set(rows) == {*F.__all__, *METHODS}
    assert min(rows.values()) >= 1
    assert set(GOOD) == set(rows) - {"__getitem__"}


@pytest.mark.parametrize("operation", [name for name in GOOD if name != "cuda"])
def test_the_calls_that_are_made_wrong_are_in_order_before(operation: str) -> None:
    given = mr.rand(2, 3, 8, 8) if "2d" in operation else mr.rand(2, 3)
    if operation in ("matmul", "__matmul__", "__rmatmul__"):
        given = given if operation == "matmul" else mr.rand(3, 2)
    args, kwargs = put(given, GOOD[operation])
    if operation == "__rmatmul__":
        args = mr.rand(2, 3), mr.rand(4, 2)
    assert function_of(operation)(*args, **kwargs) is not None


def test_an_error_is_also_the_built_in_error_that_a_reader_would_expect() -> None:
    with pytest.raises(ValueError, match="reshape"):
        x.reshape(4, 2)
    with pytest.raises(TypeError, match="cross_entropy"):
        F.cross_entropy(x, np.array([0.0, 1.0]))
    with pytest.raises(IndexError, match="getitem"):
        x[2]


def test_a_gpu_that_is_not_there_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"not available: CuPy .* pip install cupy-cuda.*'cpu'"):
        x.cuda()
