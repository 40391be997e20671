"""How exercises are checked: the decorator of a check, and what it may ask of an attempt."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minires.autograd import Tensor
from minires.check import diagnose
from minires.device import to_numpy
from minires.exercises.verdict import NOT_YET, PASSED, WRONG, Verdict
from minires.nn import Module
from minires.rng import get_state as rng_state
from minires.rng import set_state as set_rng_state

__all__ = [
    "NotYet",
    "Wrong",
    "call",
    "choose",
    "close",
    "diagnosed",
    "exercise",
    "explanation",
    "numbers",
    "one_number",
    "set_state",
    "two",
]


class NotYet(Exception):
    """The attempt is not filled in."""


class Wrong(Exception):
    """The attempt is not right; the message says what was expected and what came."""


def exercise(
    title: str, hint: str
) -> Callable[[Callable[..., str | None]], Callable[..., Verdict]]:
    """Make a check of an exercise out of a function that judges the attempt.

    The function takes the attempt, and returns if it is right: None, or a sentence to go with it.
    It raises :class:`Wrong` if it is wrong, and :class:`NotYet` if there is nothing to judge.  What
    else it raises is taken as the attempt's fault, and told with the line of the attempt.

    Args:
        title: of the exercise.
        hint: for who has not begun, and for who is stuck; never the solution.

    >>> @exercise("Twice", "What is x + x?")
    ... def twice(attempt):
    ...     close(call(attempt, 3.0), 6.0, "twice(3.0)")
    >>> twice(lambda x: x + x)
    ✓ passed · Twice
    >>> twice(lambda x: x * x)
    ✗ wrong · Twice
      twice(3.0) should be 6, but is 9.
      Hint: What is x + x?
    >>> twice(...)
    ○ not yet · Twice
      There is nothing here yet.
      Hint: What is x + x?
    """

    def make(judge: Callable[..., str | None]) -> Callable[..., Verdict]:
        @functools.wraps(judge)
        def check(*attempt: Any) -> Verdict:
            if any(_is_empty(part) for part in attempt):
                return Verdict(title, NOT_YET, "There is nothing here yet.", hint)
            state = rng_state()
            try:
                said = judge(*attempt)
            except (NotYet, NotImplementedError) as reason:
                return Verdict(title, NOT_YET, str(reason) or "There is nothing here yet.", hint)
            except Wrong as reason:
                return Verdict(title, WRONG, str(reason), hint)
            except Exception as error:
                return Verdict(title, WRONG, _told(error), hint)
            finally:
                set_rng_state(state)
            return Verdict(title, PASSED, said or "")

        return check

    return make


def call(attempt: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """What the attempt returns for copies of the arguments; NotYet for None and ``...``."""
    if not callable(attempt):
        raise Wrong(f"A function is wanted here, not {type(attempt).__name__}.")
    given = [arg.copy() if isinstance(arg, np.ndarray) else arg for arg in args]
    result = attempt(*given, **settings)
    if _is_empty(result):
        raise NotYet("The function returns nothing yet.")
    for before, after in zip(args, given, strict=True):
        if isinstance(before, np.ndarray) and not np.array_equal(before, after, equal_nan=True):
            raise Wrong("The function changes an array that it was given; work on a copy.")
    return result


def numbers(value: Any, what: str) -> np.ndarray:
    """``value`` as an array of numbers: an array, a tensor, a number, or lists of them."""
    try:
        if isinstance(value, Tensor):
            value = to_numpy(value.data)
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise Wrong(f"{what} should hold numbers, but is {_short(value)}.")
    return array


def one_number(value: Any, what: str) -> float:
    """``value`` as a number, if it is a single one."""
    array = numbers(value, what)
    if array.size != 1:
        raise Wrong(f"{what} should be one number, but has the shape {array.shape}.")
    return float(array.reshape(()))


def set_state(module: Module, **values: Any) -> None:
    """Set those of the module's parameters and buffers that it has, from arrays."""
    state = module.state_dict()
    new = {n: Tensor(np.asarray(v, np.float32)) for n, v in values.items() if n in state}
    module.load_state_dict({**state, **new})


def two(result: Any, what: str) -> tuple[Any, Any]:
    """The two things of a result that should be a pair."""
    if not isinstance(result, tuple | list | np.ndarray | Tensor) or len(result) != 2:
        length = f" of length {len(result)}" if isinstance(result, tuple | list) else ""
        raise Wrong(f"Return a pair {what}, not a {type(result).__name__}{length}.")
    if any(_is_empty(part) for part in result):
        raise NotYet(f"One of the pair {what} is not there yet.")
    return result[0], result[1]


def explanation(
    found: Any, known: Iterable[tuple[Any, str]] | Mapping[str, Any], *, rtol: float = 1e-5
) -> str:
    """What the first known mistake overlooks that gives just these numbers; '' if none does.

    ``known`` has pairs of the numbers that a mistake gives, and what it overlooks; or is a mapping
    from what it overlooks to the numbers.
    """
    array = numbers(found, "the result").astype(np.float64)
    pairs = ((n, text) for text, n in known.items()) if isinstance(known, Mapping) else known
    for numbers_of_mistake, overlooks in pairs:
        other = np.asarray(numbers_of_mistake, dtype=np.float64)
        allowed = rtol * np.abs(other).max(initial=0.0)
        if array.shape == other.shape and np.allclose(array, other, 0.0, allowed, equal_nan=True):
            return overlooks
    return ""


def close(found: Any, expected: Any, what: str, *, rtol: float = 1e-6, why: str = "") -> None:
    """Wrong, with the place that is furthest off, unless ``found`` is ``expected``.

    ``rtol`` is relative to the largest number expected; ``why`` is added to the message.
    """
    found, expected = numbers(found, what), numbers(expected, what)
    why = f"\n{why}" if why else ""
    if found.shape != expected.shape:
        raise Wrong(f"{what} should have the shape {expected.shape}, but has {found.shape}.{why}")
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        error = np.nan_to_num(np.where(same, 0.0, np.abs(found - expected)), nan=np.inf)
    finite = np.abs(expected[np.isfinite(expected)])
    allowed = rtol * max(float(finite.max(initial=0.0)), 1e-12)
    if error.size == 0 or error.max() <= allowed:
        return
    place = np.unravel_index(int(error.argmax()), error.shape)
    at = f"[{', '.join(map(str, place))}]" if place else ""
    rest = ""
    if place:
        off = int((error > allowed).sum())
        rest = f"  {off} of {error.size} numbers are off, this one most."
    raise Wrong(
        f"{what}{at} should be {expected[place]:.6g}, but is {found[place]:.6g}.{rest}{why}"
    )


def choose(answer: Any, right: Any, options: dict[Any, str]) -> None:
    """Wrong, with what the chosen option overlooks, unless the answer is the right option.

    ``options`` has the right one too, with anything.
    """
    answer = answer.strip().lower() if isinstance(answer, str) else answer
    if answer not in options:
        known = ", ".join(repr(option) for option in options)
        raise Wrong(f"Answer with one of {known}; {answer!r} is none of them.")
    if answer != right:
        raise Wrong(options[answer])


def diagnosed(forward: Callable[..., Any], backward: Callable[..., Any], op: str) -> None:
    """Wrong, with the mistake by its name, unless ``minires.check.diagnose`` finds none."""
    found = diagnose(forward, backward, op)
    if not found.correct:
        raise Wrong(str(found))


def _is_empty(value: Any) -> bool:
    return value is None or value is Ellipsis


def _told(error: Exception) -> str:
    """An exception, and the line of the attempt that raised it."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    frames = list(traceback.walk_tb(error.__traceback__))
    ours = [frame.f_globals.get("__name__", "").startswith("minires.") for frame, _ in frames]
    summary = traceback.extract_tb(error.__traceback__)
    own = [place for place, of_library in zip(summary, ours, strict=True) if not of_library]
    if not own:
        return text
    line = f": {own[-1].line}" if own[-1].line else ""
    return f"{text}\nin {own[-1].name}, line {own[-1].lineno}{line}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
