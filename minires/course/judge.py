"""Whether an answer is right, and if not, which known mistake it is.

How far an answer may be from the right one is measured, for every case anew:

    allowed = 32 * max(|f32(x) - f64(x)|, eps32 * max|f64(x)|)

The reference is run in float64, and on the same inputs rounded to float32; what that costs it is
the first term, and the second is what rounding the result alone costs.  A sum of n products is off
by about sqrt(n) roundings, whatever its order, and by n at most; 32 = sqrt(1024) is the ratio of
the two for a thousand terms.  Few sums of the assignments have more, and the longest, of 16,384,
stays below half of what is allowed if it is added one by one in float32.  So float32 passes
throughout, and so do sums in another order.  Whole numbers, booleans and texts are compared
exactly.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.course.assignment import Assignment, KnownMistake, Task
from minires.course.case import Case, mapped, shortened
from minires.course.sandbox import Answer

__all__ = [
    "Difference",
    "Expected",
    "Failed",
    "difference",
    "expect",
    "explain",
    "largest",
    "predictions",
    "tell",
]

MARGIN = 32.0
_EPS32 = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Expected:
    """The right answer of a case, and how far each of its arrays may be off, in the same tree."""

    value: Any
    allowed: Any


@dataclass(frozen=True)
class Failed:
    """What stands for the answer of a known mistake that ends in an error, of this kind."""

    kind: str


@dataclass(frozen=True)
class Difference:
    """The first thing in which an answer is not the right one.

    Attributes:
        kind: of what sort it is: 'value', 'form' (a text where there should be a number), 'shape',
            'length', 'key missing' or 'key too many'.
        place: where it is, in Python: ``f[1]['a']``.
        expected: what should be there, in words.
        form: the same without numbers and texts of the answer; '' if nothing is left then.
        found: what is there, in words: the student's code can make of it what it likes.
        off, of: how many numbers of an array are off, and how many it has.
    """

    kind: str
    place: str
    expected: str = ""
    form: str = ""
    found: str = ""
    off: int = 1
    of: int = 1


def expect(assignment: Assignment, task: Task, case: Case, module: types.ModuleType) -> Expected:
    """Run the reference, in float64 and in float32."""
    with np.errstate(all="ignore"):
        value = as_numbers(assignment.drive(module, task, case))
    if case.rtol is not None:
        return Expected(value, _zipped(lambda v, _: case.rtol * largest(v), value, value))
    args, kwargs = mapped(_rounded, (case.args, case.kwargs))
    try:
        with np.errstate(all="ignore"):
            rough = as_numbers(assignment.drive(module, task, Case(args, kwargs)))
        allowed = _zipped(_allowed, value, rough)
    except Exception:  # there is none in float32, or it is another tree
        allowed = _zipped(_allowed, value, value)
    return Expected(value, allowed)


def difference(found: Any, expected: Expected, what: str) -> Difference | None:
    """The first thing that is wrong with an answer called ``what``; None if it is right."""
    return _differ(found, expected.value, expected.allowed, what)


def tell(wrong: Difference, *, expected: bool = True, found: bool = True) -> str:
    """A difference in a sentence or two.

    Args:
        wrong: the difference.
        expected: whether the numbers and texts of the right answer are told; its form always is.
        found: whether anything is told that the student's code made.

    >>> wrong = Difference("value", "f[1]", expected="2", found="3", off=1, of=4)
    >>> tell(wrong)
    'f[1] should be 2, and is 3. 1 of 4 numbers are off, this one most.'
    >>> tell(wrong, expected=False)
    'f[1] is not right: it is 3. 1 of 4 numbers are off, this one most.'
    >>> tell(wrong, expected=False, found=False)
    'f[1] is not right.'
    """
    place, should = wrong.place, wrong.expected if expected else wrong.form
    if wrong.kind == "key missing":
        return f"{place} lacks the key {should}."
    if wrong.kind == "key too many":
        key = f"the key {wrong.found}, which" if found else "a key that"
        return f"{place} has {key} it should not have."
    if wrong.kind in ("shape", "length"):
        has = wrong.found if found else "another"
        return f"{place} should have the {wrong.kind} {should}, and has {has}."
    is_ = wrong.found if found else "something else"
    if should:
        text = f"{place} should be {should}, and is {is_}."
    else:
        text = f"{place} is not right: it is {is_}." if found else f"{place} is not right."
    if found and wrong.of > 1:
        text += f" {wrong.off} of {wrong.of} numbers are off, this one most."
    return text


def predictions(
    assignment: Assignment, task: Task, cases: Sequence[Case]
) -> list[tuple[KnownMistake, list[Any]]]:
    """What each known mistake of a task makes of the cases; Failed where it ends in an error."""
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


def _differ(found: Any, value: Any, allowed: Any, what: str) -> Difference | None:
    if isinstance(value, dict):
        if not isinstance(found, dict):
            return _other_form(what, f"a dict with the keys {', '.join(value)}", found)
        for key in value:
            if key not in found:
                return Difference("key missing", what, repr(key), repr(key))
        for key in found:
            if key not in value:
                return Difference("key too many", what, found=_kind(key))
        parts = [(f"{what}[{key!r}]", found[key], value[key], allowed[key]) for key in value]
    elif isinstance(value, list | tuple):
        if not isinstance(found, list | tuple) and not (
            isinstance(found, np.ndarray) and found.ndim
        ):
            return _other_form(what, f"a tuple or list of the length {len(value)}", found)
        if len(found) != len(value):  # before an array is taken apart, which may have endless rows
            length = str(len(value))
            return Difference("length", what, length, length, str(len(found)))
        parts = [
            (f"{what}[{i}]", *three)
            for i, three in enumerate(zip(found, value, allowed, strict=True))
        ]
    elif value is None:
        return None if found is None else _other_form(what, "None", found)
    elif isinstance(value, str):
        if not isinstance(found, str):
            return Difference("form", what, repr(value), "a text", _kind(found))
        return None if found == value else Difference("value", what, repr(value), "", _kind(found))
    else:
        return _differ_in_numbers(found, np.asarray(value), allowed, what)
    differences = (_differ(f, v, a, place) for place, f, v, a in parts)
    return next((one for one in differences if one is not None), None)


def _differ_in_numbers(
    found: Any, right: np.ndarray, allowed: float, what: str
) -> Difference | None:
    array = _array(found)
    if array is None or (array.ndim and not right.ndim):
        if right.ndim:
            return _other_form(what, f"numbers of the shape {right.shape}", found)
        number = f"the number {_text(right.item())}"
        return Difference("form", what, number, "a number", _kind(found))
    if array.shape != right.shape:
        shape = str(right.shape)
        return Difference("shape", what, shape, shape, shortened(str(array.shape), 60))
    if right.size == 0:
        return None
    exact, given = right.astype(np.float64), array.astype(np.float64)
    with np.errstate(all="ignore"):  # such as infinity less infinity
        apart = np.abs(given - exact)
    if right.dtype.kind in "iub" and array.dtype.kind in "iub":
        same = right == array
        apart = np.maximum(apart, 1.0)  # beyond 2**53 float64 does not have them all
    else:
        same = (exact == given) | (np.isnan(exact) & np.isnan(given))
    error = np.nan_to_num(np.where(same, 0.0, apart), nan=np.inf)
    if error.max() <= allowed:
        return None
    place = np.unravel_index(int(error.argmax()), error.shape)
    where = f"{what}[{', '.join(map(str, place))}]" if place else what
    off = int((error > allowed).sum())
    expected, given_text = _two_texts(right.item(place), array.item(place))
    return Difference("value", where, expected, "", given_text, off, error.size)


def _other_form(what: str, form: str, found: Any) -> Difference:
    return Difference("form", what, form, form, _kind(found))


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


def _zipped(join: Any, one: Any, other: Any) -> Any:
    """The tree of join(leaf, other leaf), of two trees of the same form; an error for others."""
    if isinstance(one, list | tuple):
        return type(one)([_zipped(join, a, b) for a, b in zip(one, other, strict=True)])
    if isinstance(one, dict):
        return {key: _zipped(join, item, other[key]) for key, item in one.items()}
    return join(one, other)


def _rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _kind(found: Any) -> str:
    """What an answer is, in a few words whatever it holds."""
    if isinstance(found, np.ndarray):
        if found.ndim == 0:
            return shortened(repr(found.item()), 60)
        return shortened(f"an array of the shape {found.shape}", 90)
    if isinstance(found, str | bool | int | float) or found is None:
        return shortened(repr(found), 60)
    return f"a {type(found).__name__}"


def _two_texts(one: float, other: float) -> tuple[str, str]:
    """Two numbers that are not the same, with as many digits as it takes to see that."""
    if _is_whole(one) and _is_whole(other):
        return _text(one), _text(other)
    texts = [(f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in range(6, 18)]
    return next((pair for pair in texts if pair[0] != pair[1]), texts[-1])


def _text(number: float) -> str:
    """A number in a few digits; a whole one in all that it has.

    >>> _text(1234567.0), _text(0.1), _text(True)
    ('1234567', '0.1', 'True')
    """
    if isinstance(number, int):
        return str(number)
    return str(int(number)) if _is_whole(number) else f"{number:.6g}"


def _is_whole(number: float) -> bool:
    return isinstance(number, int) or (abs(number) < 1e15 and number.is_integer())


# --- mistakes ---


def _wrong(assignment: Assignment, task: Task, case: Case, module: types.ModuleType) -> Any:
    try:
        with np.errstate(all="ignore"):
            return as_numbers(assignment.drive(module, task, case))
    except Exception as error:
        return Failed(type(error).__name__)


def _is_predicted(answer: Answer, wrong: Any, right: Expected) -> bool:
    if isinstance(wrong, Failed):
        return answer.error is not None and answer.error["type"] == wrong.kind
    if answer.error is not None:
        return False
    try:
        allowed = _zipped(lambda w, a: max(a, MARGIN * _EPS32 * largest(w)), wrong, right.allowed)
    except (TypeError, KeyError, ValueError):  # the mistake makes another tree
        allowed = _zipped(lambda w, _: MARGIN * _EPS32 * largest(w), wrong, wrong)
    return not difference(answer.value, Expected(wrong, allowed), "it")
