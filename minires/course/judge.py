"""Whether an answer is right, and if not, which known mistake it is.

How far an answer may be from the right one is measured, for every case anew:

    allowed = 32 * max(|f32(x) - f64(x)|, eps32 * max|f64(x)|)

The reference is run in float64, and on the same inputs rounded to float32; what that costs it is
the first term, and the second is what rounding the result alone costs.  A sum of n products is off
by about sqrt(n) roundings, whatever its order, and by n at most; 32 = sqrt(1024) is the ratio of
the two for a thousand terms.  Few sums of the assignments have more, and the longest, of 16,384,
stays below half of what is allowed if it is added one by one in float32.  So every order of
summation passes, and float32 throughout.  Whole numbers, booleans and texts are compared exactly.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.course.assignment import Assignment, KnownMistake, Task
from minires.course.case import Case, mapped
from minires.course.sandbox import Answer

__all__ = ["Expected", "Failed", "difference", "expect", "explain", "largest", "predictions"]

MARGIN = 32.0
_EPS32 = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Expected:
    """The right answer of a case, and how far each of its arrays may be off, in the same tree."""

    value: Any
    allowed: Any


class Failed:
    """What stands for the answer of a known mistake that ends in an error."""

    def __repr__(self) -> str:
        return "Failed()"


def expect(assignment: Assignment, task: Task, case: Case, module: types.ModuleType) -> Expected:
    """Run the reference, in float64 and in float32."""
    value = as_numbers(assignment.drive(module, task, case))
    if case.rtol is not None:
        return Expected(value, _zip(lambda v, _: case.rtol * largest(v), value, value))
    args, kwargs = mapped(_rounded, (case.args, case.kwargs))
    try:
        with np.errstate(all="ignore"):
            rough = as_numbers(assignment.drive(module, task, Case(args, kwargs)))
        allowed = _zip(_allowed, value, rough)
    except (ValueError, TypeError, LookupError, AttributeError):  # the rough one is another tree
        allowed = _zip(_allowed, value, value)
    return Expected(value, allowed)


def difference(found: Any, expected: Expected, what: str) -> str:
    """What is wrong with an answer, in a sentence or two; '' if nothing is."""
    return _differ(found, expected.value, expected.allowed, what)


def predictions(
    assignment: Assignment, task: Task, cases: Sequence[Case]
) -> list[tuple[KnownMistake, list[Any]]]:
    """What each known mistake of a task makes of the cases; Failed() where it ends in an error."""
    found = []
    for mistake in assignment.mistakes:
        if task.name in mistake.tasks:
            module = assignment.module(mistake)
            found.append((mistake, [_wrong(assignment, task, case, module) for case in cases]))
    return found


def explain(
    answers: Sequence[Answer],
    expected: Sequence[Expected],
    known: Sequence[tuple[KnownMistake, Sequence[Any]]],
) -> KnownMistake | None:
    """The first known mistake that gives just these answers, where they are wrong and elsewhere."""
    for mistake, predicted in known:
        pairs = zip(answers, predicted, expected, strict=True)
        if all(_is_predicted(answer, wrong, right) for answer, wrong, right in pairs):
            return mistake
    return None


def as_numbers(value: Any) -> Any:
    """A tree with tensors and NumPy's numbers as arrays."""
    data = getattr(value, "data", None)
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if isinstance(data, np.ndarray):
        return data
    if isinstance(value, list | tuple):
        return type(value)([as_numbers(item) for item in value])
    if isinstance(value, dict):
        return {key: as_numbers(item) for key, item in value.items()}
    return value


# --- trees ---


def _differ(found: Any, value: Any, allowed: Any, what: str) -> str:
    if isinstance(value, dict):
        if not isinstance(found, dict):
            return (
                f"{what} should be a dict with the keys {', '.join(value)}, and is {_kind(found)}."
            )
        for key in value:
            if key not in found:
                return f"{what} lacks the key {key!r}."
        more = [key for key in found if key not in value]
        if more:
            return f"{what} has the key {more[0]!r}, which it should not have."
        parts = [(f"{what}[{key!r}]", found[key], value[key], allowed[key]) for key in value]
    elif isinstance(value, list | tuple):
        if isinstance(found, np.ndarray) and found.ndim:
            found = list(found)
        if not isinstance(found, list | tuple):
            return (
                f"{what} should be {len(value)} things in a tuple or list, and is {_kind(found)}."
            )
        if len(found) != len(value):
            return f"{what} should have the length {len(value)}, and has {len(found)}."
        parts = [
            (f"{what}[{i}]", *three)
            for i, three in enumerate(zip(found, value, allowed, strict=True))
        ]
    else:
        return _differ_leaf(found, value, allowed, what)
    return next((text for text in (_differ(f, v, a, w) for w, f, v, a in parts) if text), "")


def _differ_leaf(found: Any, value: Any, allowed: Any, what: str) -> str:
    if value is None or isinstance(value, str):
        same = found is None if value is None else isinstance(found, str) and found == value
        return "" if same else f"{what} should be {value!r}, and is {_kind(found)}."
    right = np.asarray(value)
    array = _array(found)
    if array is None:
        return f"{what} should be {_numbers_of(right)}, and is {_kind(found)}."
    if array.shape != right.shape:
        return f"{what} should have the shape {right.shape}, and has {array.shape}."
    if right.size == 0:
        return ""
    exact, given = right.astype(np.float64), array.astype(np.float64)
    same = (exact == given) | (np.isnan(exact) & np.isnan(given))
    with np.errstate(invalid="ignore"):
        error = np.nan_to_num(np.where(same, 0.0, np.abs(given - exact)), nan=np.inf)
    if error.max() <= allowed:
        return ""
    place = np.unravel_index(int(error.argmax()), error.shape)
    where = f"[{', '.join(map(str, place))}]" if place else ""
    off = int((error > allowed).sum())
    rest = f" {off} of {error.size} numbers are off, this one most." if error.size > 1 else ""
    return f"{what}{where} should be {exact[place]:.6g}, and is {given[place]:.6g}.{rest}"


def _array(found: Any) -> np.ndarray | None:
    if not _holds_numbers(found):
        return None
    try:
        array = np.asarray(found)
    except ValueError:  # lists of unequal lengths
        return None
    return array if array.dtype.kind in "fiub" else None


def _holds_numbers(found: Any) -> bool:
    """Whether it is numbers alone; of a list with one long text NumPy would make a vast array."""
    if isinstance(found, list | tuple):
        return all(map(_holds_numbers, found))
    return isinstance(found, np.ndarray | np.generic | int | float)


def _allowed(value: Any, rough: Any) -> float:
    if not isinstance(value, np.ndarray | float) or isinstance(value, bool):
        return 0.0
    exact = np.asarray(value)
    if exact.dtype.kind != "f":
        return 0.0
    error = 0.0
    other = _array(rough)
    if other is not None and other.shape == exact.shape:
        with np.errstate(invalid="ignore"):
            apart = np.abs(other.astype(np.float64) - exact)
        error = float(apart[np.isfinite(apart)].max(initial=0.0))
    return MARGIN * max(error, _EPS32 * largest(exact))


def largest(value: Any) -> float:
    """The largest of the numbers by size, of those that are finite."""
    if value is None or isinstance(value, str | bool):
        return 0.0
    numbers = np.abs(np.asarray(value, dtype=np.float64))
    return float(numbers[np.isfinite(numbers)].max(initial=0.0))


def _zip(join: Any, one: Any, other: Any) -> Any:
    if isinstance(one, list | tuple):
        return type(one)([_zip(join, a, b) for a, b in zip(one, other, strict=True)])
    if isinstance(one, dict):
        return {key: _zip(join, item, other[key]) for key, item in one.items()}
    return join(one, other)


def _rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _kind(found: Any) -> str:
    if isinstance(found, str | bool | int | float) or found is None:
        text = repr(found)
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(found, np.ndarray):
        return f"an array of the shape {found.shape}"
    return f"a {type(found).__name__}"


def _numbers_of(right: np.ndarray) -> str:
    return f"numbers of the shape {right.shape}" if right.ndim else f"the number {right:.6g}"


# --- mistakes ---


def _wrong(assignment: Assignment, task: Task, case: Case, module: types.ModuleType) -> Any:
    try:
        with np.errstate(all="ignore"):
            return as_numbers(assignment.drive(module, task, case))
    except Exception:
        return Failed()


def _is_predicted(answer: Answer, wrong: Any, right: Expected) -> bool:
    if isinstance(wrong, Failed):
        return answer.error is not None
    if answer.error is not None:
        return False
    try:
        allowed = _zip(lambda w, a: max(a, MARGIN * _EPS32 * largest(w)), wrong, right.allowed)
    except (TypeError, KeyError, ValueError):  # the mistake makes another tree
        allowed = _zip(lambda w, _: MARGIN * _EPS32 * largest(w), wrong, wrong)
    return not difference(answer.value, Expected(wrong, allowed), "it")
