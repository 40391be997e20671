"""``gradcheck`` and ``gradgradcheck``: gradients held against differences, in float64.

What is read off the outputs is never their sum: a cotangent of ones is blind, since the gradient
of the sum of a softmax, or of a normalised batch, is zero.  Small functions are read output by
output, which gives the whole Jacobian, and by a random cotangent besides; large ones by a random
cotangent alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minires.autograd import Tensor, grad
from minires.check.differences import join
from minires.check.gradcheck_report import GradcheckError, GradcheckReport, element_name
from minires.check.judge import Case, InputJudge
from minires.check.subject import Arrays, Gradients, Subject
from minires.device import array_like, to_numpy
from minires.errors import UsageError
from minires.kernels.checks import number, whole

__all__ = ["gradcheck", "gradgradcheck"]

MOST_ELEMENTS = 1000  # so many, over all inputs, are looked at one by one
MOST_OUTPUTS = 100  # so many are read one by one
FACTORS = (2.0**-14, 2.0**14)  # a gradient is linear, so with grad_out it grows and shrinks
SAMPLED = 32  # elements that are looked at in a larger input
DIRECTIONS = 4  # and directions


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    directions: int | None = None,
    raise_exception: bool = True,
    seed: int = 0,
) -> GradcheckReport:
    """Hold the gradients of ``fn`` against central differences.

        |analytic - numeric| <= rtol * max(|analytic|, |numeric|) + atol + 10 * e

    where numeric = (f(x + h) - f(x - h)) / 2h, and e is how far the differences themselves are off,
    estimated by how much they change with the step.  All is done in float64, on copies.

    With up to 1,000 elements in the inputs each is moved by itself, and with up to 100 outputs each
    is read by itself: the whole Jacobian, and a random cotangent besides.  Of larger inputs 32
    elements are moved, and the input as a whole along 4 random directions; the report says how
    probable it is that one wrong element is missed.  Where the two one-sided differences disagree
    there is a kink: any gradient between the two is right there, and is reported, not refused.

    The function is first run backward at another point, and there again at the end: a backward
    method that remembers an earlier call is found out.  So is one that is not linear in grad_out.

    Args:
        fn: takes the inputs and returns a tensor, or several; ``MyFunction.apply`` works, and a
            module, of which a copy is checked, by its parameters too.
        inputs: a tensor or array, or a tuple of them and whatever else ``fn`` takes. Checked are
            those that require grad; if none does, all of floating-point numbers.
        eps: the step h for all; by default it is chosen for each input, from 12 steps between 1e-2
            and 3e-8 of its size, as the one where the differences change least.
        atol: absolute tolerance; by default 1e-3 * rtol * the largest derivative of that one
            number of the output by the input.
        rtol: relative tolerance, 1e-5 by default.
        directions: look along so many random directions and at sampled elements, whatever the
            size; by default the size decides.
        raise_exception: raise if the check fails, instead of returning the report.
        seed: of the cotangent, the directions and the sample.

    Returns:
        A report, true if the check passed; it displays itself in a notebook.

    Raises:
        GradcheckError: the check failed; the message is the report, and ``error.report`` holds it.
        UsageError: nothing to differentiate, an output that is not a tensor, or a function that
            changes its inputs, or gives other outputs in a second call (dropout).

    >>> import numpy as np
    >>> import minires as mr
    >>> print(mr.check.gradcheck(mr.functional.softmax, np.array([[0.1, 0.7, -0.4]])).verdict)
    passed
    """
    subject = Subject(fn, inputs, "gradcheck")
    return _check(subject, _settings(eps, atol, rtol, directions, seed), raise_exception)


def gradgradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    directions: int | None = None,
    raise_exception: bool = True,
    seed: int = 0,
) -> GradcheckReport:
    """Hold the second derivatives of ``fn``, by ``create_graph=True``, against differences.

    The function that is checked is (x, grad_out) -> gradient of <fn(x), grad_out> by x.  The
    differences are those of an ordinary backward pass.  It says nothing about the first
    derivatives: run :func:`gradcheck` too.

    Args:
        fn, inputs: as in :func:`gradcheck`.
        grad_outputs: the gradient that arrives at each output; random by default.
        eps, atol, rtol, directions, raise_exception, seed: as in :func:`gradcheck`.

    Returns, raises: as :func:`gradcheck`.

    >>> import numpy as np
    >>> import minires as mr
    >>> bool(mr.check.gradgradcheck(mr.functional.tanh, np.array([0.3, -1.0])))
    True
    """
    settings = _settings(eps, atol, rtol, directions, seed)
    first = Subject(fn, inputs, "gradgradcheck")
    if grad_outputs is not None and not isinstance(grad_outputs, tuple | list):
        grad_outputs = [grad_outputs]
    rng = np.random.default_rng((seed, 2))
    with np.errstate(all="ignore"):
        subject = Gradients(first, grad_outputs, rng)
    return _check(subject, settings, raise_exception)


def _settings(
    eps: float | None, atol: float | None, rtol: float | None, directions: int | None, seed: int
) -> dict[str, Any]:
    for name, value in (("eps", eps), ("atol", atol), ("rtol", rtol)):
        value = value if value is None else number(value, f"gradcheck: {name}")
        least = "above 0" if name == "eps" else "at least 0"
        if value is not None and not (0.0 < value < np.inf or (value == 0.0 and name != "eps")):
            raise UsageError(f"gradcheck: {name} must be a number {least}, not {value}.")
    if directions is not None and whole(directions, "gradcheck: directions") < 1:
        raise UsageError(f"gradcheck: directions must be at least 1, not {directions}.")
    return dict(
        eps=eps,
        atol=atol,
        rtol=1e-5 if rtol is None else rtol,
        directions=directions,
        seed=seed,
    )


def _check(subject: Subject, settings: dict[str, Any], raise_exception: bool) -> GradcheckReport:
    try:
        with np.errstate(all="ignore"):  # a nan is reported, with its place
            report = _examine(subject, **settings)
    except TypeError as error:
        if "__array_ufunc__" in str(error):
            error.add_note(
                "NumPy's functions do not take tensors: use those of minires.functional. For "
                "second derivatives backward is given tensors too."
            )
        raise
    if raise_exception and not report.passed:
        raise GradcheckError(report)
    return report


def _examine(
    subject: Subject,
    *,
    eps: float | None,
    atol: float | None,
    rtol: float,
    directions: int | None,
    seed: int,
) -> GradcheckReport:
    rng = np.random.default_rng(seed)
    outputs = subject.values(subject.point)
    base = join(outputs)
    if not np.array_equal(base, join(subject.values(subject.point)), equal_nan=True):
        raise UsageError(
            f"{subject.caller} of {subject.name}: two calls on the same inputs gave different "
            "outputs, so differences mean nothing. Is there dropout or other chance in it? "
            "Fix its seed, or call eval() on the model."
        )
    elements = sum(x.size for x in subject.point)
    everything = directions is None and elements <= MOST_ELEMENTS
    whole_jacobian = everything and base.size <= MOST_OUTPUTS
    readings, labels, owners = _readings(outputs, whole_jacobian, rng)
    problems = []
    if not np.isfinite(base).all():
        bad = int((~np.isfinite(base)).sum())
        problems.append(f"{bad} of {base.size} numbers of the output are not finite")
    elsewhere = [x * (1.0 + 0.01 * rng.random(x.shape)) for x in subject.point]
    before = _gradients_at(subject, elsewhere, readings[-1:])
    gradients, reached, said = _analytic(subject, subject.point, base, readings)
    problems += said

    case = Case(
        values=subject.values,
        names=subject.names,
        point=subject.point,
        base=base,
        readings=readings,
        labels=labels,
        owners=owners,
        rtol=rtol,
        atol=atol,
        eps=eps,
    )
    checks = []
    plans = [
        _plan(x, everything, directions, np.random.default_rng((seed, k)))
        for k, x in enumerate(subject.point)
    ]
    with _progress(subject, sum(len(indices) + len(ways) for indices, ways in plans)) as advance:
        for k, (indices, ways) in enumerate(plans):
            judge = InputJudge(case, k, gradients[k], reached[k])
            if eps is None and subject.point[k].size:
                judge.choose_step(_direction(subject.point[k], rng))
            for direction in ways:
                judge.look_along(direction)
                advance()
            for index in indices:
                judge.look_at(index)
                advance()
            together = _direction(subject.point[k], rng)
            checks.append(judge.conclude([np.abs(together), together]))
    problems += _said_of_repeats(subject, elsewhere, before, gradients, readings[-1:])
    return GradcheckReport(
        name=subject.name,
        order=subject.order,
        inputs=checks,
        outputs=[out.shape for out in outputs],
        whole_jacobian=whole_jacobian,
        problems=problems,
        rtol=rtol,
        seed=seed,
    )


def _readings(
    outputs: Arrays, each: bool, rng: np.random.Generator
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """What is read off the outputs: rows (R, M), what each is called, and of which output it is."""
    size = sum(out.size for out in outputs)
    cotangent = rng.standard_normal((1, size))
    if not each:
        return cotangent, ["the outputs, with a random cotangent"], np.array([0])
    labels = []
    for i, out in enumerate(outputs):
        name = f"out[{i}]" if len(outputs) > 1 else "out"
        labels += [element_name(name, index) for index in np.ndindex(out.shape)]
    labels.append("the outputs, with a random cotangent")
    owners = np.repeat(np.arange(len(outputs) + 1), [*(out.size for out in outputs), 1])
    return np.vstack([np.eye(size), cotangent]), labels, owners


def _analytic(
    subject: Subject,
    point: Arrays,
    base: np.ndarray,
    readings: np.ndarray,
    factor: float = -0.5,  # not 1: a backward method that forgets grad_out would get away with it
) -> tuple[Arrays, list[bool], list[str]]:
    """By each input: the gradients (R, *shape) of the readings, by a backward pass each.

    Besides, whether any gradient reached the input, and what was odd.
    """
    outputs, leaves = subject.run(point, record=True)
    problems = []
    recorded_base = join([to_numpy(out.data) for out in outputs])
    atol = 1e-12 * float(np.abs(base).max(initial=0.0, where=np.isfinite(base)))
    if not np.allclose(recorded_base, base, rtol=1e-9, atol=atol, equal_nan=True):
        problems.append("the outputs are others when a graph is recorded")
    gradients = [np.zeros((len(readings), *leaf.shape)) for leaf in leaves]
    reached = [False] * len(leaves)
    recorded = [out for out in outputs if out.node is not None]
    ends = np.cumsum([out.data.size for out in outputs])[:-1]
    for r, row in enumerate(readings if recorded else ()):
        parts = np.split(factor * row, ends)
        cotangents = [
            part.reshape(out.shape)
            for part, out in zip(parts, outputs, strict=True)
            if out.node is not None
        ]
        given = [
            Tensor(array_like(cotangent.copy(), out.data))
            for cotangent, out in zip(cotangents, recorded, strict=True)
        ]
        found = grad(recorded, leaves, grad_outputs=given, retain_graph=True, allow_unused=True)
        if any(
            not np.array_equal(to_numpy(g.data), c) for g, c in zip(given, cotangents, strict=True)
        ):
            problems.append("backward changes grad_out in place, which others may share")
            break
        for k, gradient in enumerate(found):
            if gradient is not None:
                reached[k] = True
                gradients[k][r] = to_numpy(gradient.data) / factor
    return gradients, reached, problems


def _gradients_at(
    subject: Subject, point: Arrays, readings: np.ndarray, factor: float = -0.5
) -> Arrays:
    return _analytic(subject, point, join(subject.values(point)), readings, factor)[0]


def _said_of_repeats(
    subject: Subject,
    elsewhere: Arrays,
    before: Arrays,
    gradients: Arrays,
    cotangent: np.ndarray,
) -> list[str]:
    """What is odd when backward is run again, at both points, and with other cotangents."""
    here = [gradient[-1:] for gradient in gradients]
    again = _gradients_at(subject, subject.point, cotangent)
    there = _gradients_at(subject, elsewhere, cotangent)
    for first, second in zip([*here, *before], [*again, *there], strict=True):
        if not np.array_equal(first, second, equal_nan=True):
            return [
                "a second backward pass at the same point gave another gradient: it depends on "
                "earlier calls"
            ]
    for factor in FACTORS:
        scaled = _gradients_at(subject, subject.point, cotangent, factor)
        for first, second in zip(here, scaled, strict=True):
            atol = 1e-9 * float(np.abs(first).max(initial=0.0, where=np.isfinite(first)))
            if not np.allclose(first, second, rtol=1e-9, atol=atol, equal_nan=True):
                return [
                    f"backward is not linear in grad_out: with {factor:g} times as much the "
                    "gradient does not grow by that factor"
                ]
    return []


def _direction(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random direction of length 1 with no small component: no element can hide in it."""
    steps = rng.uniform(0.5, 1.5, x.shape) * rng.choice([-1.0, 1.0], x.shape)
    return np.asarray(steps / max(float(np.linalg.norm(steps)), 1e-300))


def _plan(
    x: np.ndarray, everything: bool, directions: int | None, rng: np.random.Generator
) -> tuple[list[tuple[int, ...]], Arrays]:
    """Which elements are looked at, and along which directions."""
    if everything or (directions is None and x.size <= SAMPLED):
        return list(np.ndindex(x.shape)), []
    places = rng.choice(x.size, size=min(SAMPLED, x.size), replace=False)
    corners = {0, x.size - 1} if x.size else set()
    chosen = sorted({*map(int, places), *corners})
    indices = [tuple(int(i) for i in np.unravel_index(place, x.shape)) for place in chosen]
    count = DIRECTIONS if directions is None else directions
    return indices, [_direction(x, rng) for _ in range(count)] if x.size else []


@contextmanager
def _progress(subject: Subject, total: int) -> Iterator[Callable[[], Any]]:
    """A bar, for what takes longer than two seconds."""
    from tqdm import tqdm  # 50 ms, so not at import

    with tqdm(total=total, desc=f"{subject.caller} of {subject.name}", delay=2, leave=False) as bar:
        yield bar.update
