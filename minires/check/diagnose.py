"""``diagnose``: which known mistake is in this backward?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

import numpy as np

from minires.check.callables import Attempt, Learner, as_array
from minires.check.diagnosis import Diagnosis, Worst
from minires.check.mistakes import BANK, Mistake, Operation, Problem
from minires.check.mistakes.bank import predict, same_numbers
from minires.device import Array
from minires.errors import UsageError

__all__ = ["diagnose"]

# How far from the right number is still right, relative to the largest number of the array.
_TOLERANCE = {2: 1e-2, 4: 5e-4, 8: 1e-7}  # by bytes of a number


def diagnose(
    fn_forward: Callable[..., Any], fn_backward: Callable[..., Any], op: str, *, seed: int = 0
) -> Diagnosis:
    """Judge a hand-written backward, and name the mistake in it if it is a known one.

    The functions are run on several sample problems, float64 NumPy arrays chosen to tell mistakes
    apart.  First forward is compared with the right one.  Then each gradient is compared with the
    right gradient, and where it is wrong, with what each mistake of the bank would have given.  A
    mistake is named only if it predicts the learner's numbers on every problem.

    Args:
        fn_forward, fn_backward: the learner's functions, in one of three conventions:

            * ``forward(*inputs, **settings) -> out``, ``backward(grad_out, *inputs, **settings)``
            * ``forward(*inputs, **settings) -> (out, cache)``, ``backward(grad_out, cache)``
            * ``forward(ctx, *inputs, **settings) -> out``, ``backward(ctx, grad_out)``, as in a
              Function of minires or of PyTorch

            Settings (stride, padding, ...) go by keyword, those that the function takes; problems
            that need others are left out.  backward returns a gradient for each input: a tuple or
            list in the order of the inputs, a dict by name, or the bare array if it is one only.
        op: the operation, a key of ``minires.check.mistakes.BANK``.
        seed: for the numbers of the problems.

    Returns:
        A :class:`Diagnosis`; print it.

    Raises:
        UsageError: an unknown operation, something that is not a function, or functions that
            cannot be called in any of the three ways.

    >>> import numpy as np
    >>> def forward(x):
    ...     return np.maximum(x, 0)
    >>> def backward(grad_out, x):
    ...     return grad_out * (x >= 0)
    >>> diagnose(forward, backward, op="relu").names
    ('one_at_zero',)
    >>> diagnose(forward, lambda grad_out, x: grad_out * (x > 0), op="relu").correct
    True
    """
    operation = _operation(op)
    learner = Learner(fn_forward, fn_backward, operation)
    problems: list[Problem] = []
    left_out: list[Problem] = []
    missing: set[str] = set()
    for problem in operation.pose(seed):
        lacking = learner.missing(problem)
        (left_out if lacking else problems).append(problem)
        missing.update(lacking)
    if not problems:
        needed = ", ".join(_needed(operation, left_out))
        raise UsageError(
            f"diagnose: the problems for {op} need {needed}, which forward does not take. "
            "Give forward an argument of each of these names."
        )
    remarks = []
    if left_out:
        remarks.append(
            f"{len(left_out)} of {len(left_out) + len(problems)} problems were left out, because "
            f"forward does not take {', '.join(sorted(missing))}."
        )
    attempts = [learner.attempt(problem) for problem in problems]
    remarks += _changes(attempts)
    counts = dict(posed=len(problems), left_out=len(left_out))
    complaint, worst = _check_forward(attempts)
    if complaint:
        remarks.insert(0, complaint)
        return Diagnosis(op, False, False, (), (), tuple(remarks), worst=worst, **counts)
    return _judge(operation, attempts, remarks, counts)


def _operation(op: str) -> Operation:
    if isinstance(op, str) and op in BANK:
        return BANK[op]
    near = difflib.get_close_matches(str(op), BANK, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"diagnose: no operation is called {op!r}.{hint}\n  There are: {', '.join(BANK)}."
    )


def _needed(operation: Operation, problems: list[Problem]) -> list[str]:
    """The settings that every one of the problems needs."""
    needs = [operation.needs(problem) for problem in problems]
    return [name for name in needs[0] if all(name in others for others in needs)]


def _changes(attempts: list[Attempt]) -> list[str]:
    found = dict.fromkeys(text for attempt in attempts for text in attempt.changed)
    return [f"{text}; others may still need it. Work on a copy." for text in found]


# --- forward ---


def _check_forward(attempts: list[Attempt]) -> tuple[str, Worst | None]:
    """What is wrong with forward, and where most; an empty text if it is right."""
    candidates: list[tuple[float, Worst]] = []
    for attempt in attempts:
        problem = attempt.problem
        if attempt.failure is not None and attempt.stage == "forward":
            return f"forward failed on {problem.describe()}\n{attempt.failure}", None
        out = as_array(attempt.out)
        if out is None or not _is_right(out, problem.out):
            candidates.append(_difference("output", attempt.out, problem.out, problem))
    if not candidates:
        return "", None
    worst = max(candidates, key=lambda found: found[0])[1]
    return f"forward is wrong on {len(candidates)} of {len(attempts)} problems.", worst


# --- backward ---


def _judge(
    operation: Operation, attempts: list[Attempt], remarks: list[str], counts: dict[str, int]
) -> Diagnosis:
    answered = [attempt for attempt in attempts if attempt.failure is None]
    wrong: dict[str, list[tuple[float, Worst]]] = {}
    for attempt in answered:
        for name in operation.gradients:
            given, right = attempt.grads[name], attempt.problem.right[name]
            grad = as_array(given)
            if grad is None or not _is_right(grad, right):
                difference = _difference(f"grad_{name}", given, right, attempt.problem)
                wrong.setdefault(name, []).append(difference)
    found = _find(operation, attempts, set(wrong))
    explained = {name for _, touched, _ in found for name in touched}
    failed = [attempt for attempt in attempts if attempt.failure is not None]
    unexplained = [a for a in failed if not any(a.problem in fails for *_, fails in found)]

    remarks = [*_failures(failed, unexplained, len(attempts)), *remarks]
    remarks += _looks(operation, answered)
    unknown = [name for name in wrong if name not in explained]
    exchanged = [pair for pair in combinations(unknown, 2) if _are_exchanged(pair, answered)]
    for one, other in exchanged:
        remarks.append(f"grad_{one} and grad_{other} are right, but in each other's place.")
    unknown = [name for name in unknown if not any(name in pair for pair in exchanged)]
    puzzling = [name for name in unknown if _has_wrong_numbers(name, answered)]
    if puzzling:
        named = " and ".join(f"grad_{name}" for name in puzzling)
        verb = "are" if len(puzzling) > 1 else "is"
        remarks.append(
            f"{named} {verb} wrong in a way that the bank does not know, or in several ways at "
            "once. mr.check.gradcheck compares a gradient with slopes measured by nudging the "
            "inputs; try it on the smallest example that still fails."
        )
    if len(found) > 1 and len({touched for _, touched, _ in found}) < len(found):
        remarks.append("The problems that were posed cannot tell the mistakes named here apart.")
    differences = [d for name in unknown or wrong for d in wrong[name]]
    worst = max(differences, key=lambda d: d[0])[1] if differences else None
    mistakes = tuple(mistake for mistake, _, _ in found)
    wrong_names = tuple(name for name in operation.gradients if name in wrong)
    correct = not wrong and not failed
    return Diagnosis(
        operation.name, correct, True, mistakes, wrong_names, tuple(remarks), worst=worst, **counts
    )


_Found = tuple[Mistake, frozenset[str], list[Problem]]


def _find(operation: Operation, attempts: list[Attempt], wrong: set[str]) -> list[_Found]:
    """The mistakes that predict what was seen: each with the gradients it explains, and the
    problems on which it ends in an error.

    Of several, one that explains fewer gradients than another is dropped.
    """
    found: dict[str, _Found] = {}
    for mistake in operation.mistakes:
        if not wrong.intersection(mistake.gradients):
            continue
        for variant in mistake.variants:
            predicted = [predict(variant, attempt.problem) for attempt in attempts]
            touched = _explains(predicted, attempts)
            before = found[mistake.name][1] if mistake.name in found else frozenset()
            if touched > before:
                fails = [
                    attempt.problem
                    for attempt, grads in zip(attempts, predicted, strict=True)
                    if _fails(grads, attempt.problem)
                ]
                found[mistake.name] = mistake, touched, fails
    return [one for one in found.values() if not any(one[1] < other[1] for other in found.values())]


def _fails(predicted: dict[str, Array] | None, problem: Problem) -> bool:
    """Whether the mistake ends in an error here, or in a wrong shape."""
    return predicted is None or any(
        grad.shape != problem.right[name].shape for name, grad in predicted.items()
    )


def _explains(predicted: list[dict[str, Array] | None], attempts: list[Attempt]) -> frozenset[str]:
    """The gradients that a mistake touches if it predicts them on all problems, else none.

    On a problem where the right gradient is predicted the learner's must be right; and for each
    gradient there must be a problem on which mistake and truth differ.
    """
    touched = {name for grads in predicted if grads is not None for name in grads}
    seen: set[str] = set()
    for grads, attempt in zip(predicted, attempts, strict=True):
        if attempt.failure is not None:  # nothing to compare
            continue
        right = attempt.problem.right
        answers = {name: as_array(attempt.grads[name]) for name in touched}
        if grads is None:
            if all(a is not None and a.shape == right[n].shape for n, a in answers.items()):
                return frozenset()
            continue
        for name, answer in answers.items():
            expected = grads.get(name, right[name])
            if answer is None or not same_numbers(answer, expected, _tolerance(answer)):
                return frozenset()
            if not same_numbers(expected, right[name], _tolerance(answer)):
                seen.add(name)
    return frozenset(touched) if seen == touched else frozenset()


def _failures(failed: list[Attempt], unexplained: list[Attempt], count: int) -> Iterable[str]:
    if not failed:
        return
    first = (unexplained or failed)[0]
    text = (
        f"backward failed on {len(failed)} of {count} problems, first on "
        f"{first.problem.describe()}\n{first.failure}"
    )
    yield text if unexplained else f"{text}\nThe mistake named here leads to that."


def _are_exchanged(pair: tuple[str, str], answered: list[Attempt]) -> bool:
    """Whether each of the two is the other's right gradient, on every problem."""
    return all(
        (grad := as_array(attempt.grads[name])) is not None
        and _is_right(grad, attempt.problem.right[other])
        for attempt in answered
        for name, other in (pair, pair[::-1])
    )


def _has_wrong_numbers(name: str, answered: list[Attempt]) -> bool:
    """Whether there is more to it than a gradient that is missing, or right but for its shape."""
    grads = [(as_array(a.grads[name]), a.problem.right[name]) for a in answered]
    return any(g is not None and not same_numbers(g, r, _tolerance(g)) for g, r in grads)


def _looks(operation: Operation, answered: list[Attempt]) -> Iterable[str]:
    """Remarks on gradients that are not what they should look like."""
    seen: dict[str, None] = {}
    for attempt in answered:
        for name in operation.gradients:
            given, right = attempt.grads[name], attempt.problem.right[name]
            grad = as_array(given)
            if given is None:
                seen[f"grad_{name} is None: every input but whole numbers needs a gradient."] = None
            elif grad is None:
                seen[f"grad_{name} {_no_numbers(given)}."] = None
            elif not np.isfinite(grad).all():
                seen[f"grad_{name} has numbers that are not finite (inf or nan)."] = None
            elif grad.shape != right.shape and same_numbers(grad, right, _tolerance(grad)):
                seen[f"grad_{name} has the right numbers in a wrong shape."] = None
            elif grad.dtype.kind == "f" and grad.dtype.itemsize < 8:
                seen[
                    f"grad_{name} is {grad.dtype} and the inputs are float64: compared loosely."
                ] = None
    return seen


# --- numbers ---


def _no_numbers(value: Any) -> str:
    """What to say of a value that is no array of real numbers."""
    kind = str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
    return f"is no array of real numbers, but {kind}"


def _tolerance(answer: Array) -> float:
    return _TOLERANCE.get(answer.dtype.itemsize, 1e-7) if answer.dtype.kind == "f" else 1e-7


def _is_right(answer: Array, right: Array) -> bool:
    return answer.shape == right.shape and same_numbers(answer, right, _tolerance(answer))


def _difference(name: str, given: Any, right: Array, problem: Problem) -> tuple[float, Worst]:
    """How bad it is, in parts of the largest right number, and the element that is worst."""
    where, answer = problem.describe(), as_array(given)
    if answer is None:
        return np.inf, Worst(name, where, note=f"it {_no_numbers(given)}")
    if answer.shape != right.shape:
        note = f"its shape is {answer.shape} and should be {right.shape}"
        return -1.0, Worst(name, where, note=note)  # a wrong number elsewhere says more
    distance = np.abs(answer - right)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    index = tuple(int(i) for i in np.unravel_index(int(distance.argmax()), right.shape))
    scale = max(float(np.abs(right).max(initial=0.0)), 1e-300)
    worst = Worst(name, where, index, float(right[index]), float(answer[index]))
    return float(distance[index]) / scale, worst
