"""The exercises of tutorial 02: differences, their step, suspects, and a cotangent that sees.

>>> from minires.exercises import gradient_checks
>>> gradient_checks.central_difference(...).status
'not yet'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minires.exercises.checking import NotYet, Wrong, call, choose, close, exercise, numbers

__all__ = ["best_steps", "central_difference", "cotangent", "suspects"]


def _mixed(x: np.ndarray) -> np.ndarray:
    """Three outputs, of all inputs."""
    return np.array([np.exp(x).sum(), np.prod(x), np.sin(3 * x).sum()])


def _table(x: np.ndarray) -> np.ndarray:
    """As many outputs as inputs, in their shape."""
    return np.asarray(np.tanh(x) * x.sum() + x**3)


@exercise(
    "A central difference along a direction",
    "Two points, one on each side of x, and the distance between them. Which array says how far\n"
    "each element moves?",
)
def central_difference(attempt: Callable[..., Any]) -> None:
    """How fast do the outputs change if x moves along d?

    The attempt is a function ``slope(f, x, d, h)``: ``f`` takes an array of the shape of ``x`` and
    returns an array, ``d`` is a direction of x's shape and of any length, ``h`` the step.  It
    returns (f(x + h d) - f(x - h d)) / 2h, of the shape of f's output.

    >>> central_difference(lambda f, x, d, h: (f(x + h * d) - f(x)) / h).message.splitlines()[-1]
    'This is the forward difference: it looks at one side of x only.'
    """
    rng = np.random.default_rng(21)
    cases = [(_mixed, (4,), 0.1), (_table, (2, 3), 0.05), (_mixed, (2, 2), 0.02)]
    for f, shape, h in cases:  # steps so large that formulas differ in what they overlook
        x, d = rng.uniform(0.5, 1.5, shape), 1.7 * rng.standard_normal(shape)
        found = numbers(call(attempt, f, x, d, h), "The slope")
        ahead, behind = f(x + h * d), f(x - h * d)
        unit = d / np.linalg.norm(d)
        known = {
            "This is the forward difference: it looks at one side of x only.": (ahead - f(x)) / h,
            "This is the backward difference: it looks at one side of x only.": (f(x) - behind) / h,
            "It is twice the slope: the two points are 2h apart.": (ahead - behind) / h,
            "It is half the slope: the two points are 2h apart, not 4h.": (ahead - behind)
            / (4 * h),
            "The sign is reversed: the point ahead comes first.": (behind - ahead) / (2 * h),
            "The difference is not divided by anything.": ahead - behind,
            "d is scaled to length 1 here. The slope along 2d is twice the slope along d, so the\n"
            "length of d counts.": (f(x + h * unit) - f(x - h * unit)) / (2 * h),
            "Every element moves by h: the direction d has no part in it.": (f(x + h) - f(x - h))
            / (2 * h),
        }
        right = (ahead - behind) / (2 * h)
        said = [
            text
            for text, wrong in known.items()
            if found.shape == wrong.shape and np.allclose(found, wrong, rtol=1e-5)
        ]
        close(found, right, f"The slope for h = {h}", rtol=1e-5, why=said[0] if said else "")


@exercise(
    "The best step",
    "Write down the error of a forward difference as a sum: h/2 |f''| since the function is bent,\n"
    "eps |f| / h from rounding. Where is the derivative of the sum by h zero? Central:\n"
    "h^2/6 |f'''| and eps |f| / 2h.",
)
def best_steps(attempt: Callable[..., Any]) -> None:
    """The step with the smallest error, of a forward and of a central difference.

    The attempt is a function ``steps(f, f2, f3, eps)`` of the sizes |f|, |f''| and |f'''| and of
    the relative accuracy eps in which f is computed.  It returns the two steps: (forward, central).
    A factor of 2 either way is right, since it depends on how rounding is counted.

    >>> best_steps(lambda f, f2, f3, eps: (eps**0.5, eps ** (1 / 3))).message.splitlines()[-1]
    'The sizes of f and of its derivatives have no part in it.'
    """
    double, single = (float(np.finfo(kind).eps) for kind in (np.float64, np.float32))
    cases = (
        (1.0, 1.0, 1.0, double),
        (1.0, 1.0, 1.0, single),
        (1e3, 1.0, 0.1, double),
        (1.0, 1e4, 1e6, double),
        (50.0, 1e-2, 2e3, single),
    )
    for f, f2, f3, eps in cases:
        given = f"steps(f={f:g}, f2={f2:g}, f3={f3:g}, eps={eps:.1e})"
        pair = numbers(call(attempt, f, f2, f3, eps), given)
        if pair.shape != (2,):
            raise Wrong(f"{given} should be two numbers, forward and central, not {pair}.")
        forward, central = map(float, pair)
        known_forward = (
            (f * eps / f2) ** (1 / 3),
            "This is a cube root. That belongs to the central difference: here the first error "
            "grows with h, not with h^2.",
        )
        known_central = (
            (f * eps / f3) ** 0.5,
            "This is a square root. That belongs to the forward difference: here the first error "
            "grows with h^2.",
        )
        _check_step(
            forward, (2 * f * eps / f2) ** 0.5, f"{given}: forward", known_forward, eps**0.5
        )
        right = (1.5 * f * eps / f3) ** (1 / 3)
        _check_step(central, right, f"{given}: central", known_central, eps ** (1 / 3))


def _check_step(
    found: float, right: float, what: str, other: tuple[float, str], sizeless: float
) -> None:
    if not np.isfinite(found) or found <= 0.0:
        raise Wrong(f"{what} should be a number above 0, but is {found:.3g}.")
    if right / 2.05 <= found <= right * 2.05:
        return
    why = ""
    if _near(found, sizeless):
        why = "\nThe sizes of f and of its derivatives have no part in it."
    elif _near(found, sizeless**2 / right):
        why = (
            "\nThe fraction is upside down: the larger f is, the more rounding there is, and the "
            "larger the step has to be."
        )
    elif _near(found, other[0]):
        why = f"\n{other[1]}"
    raise Wrong(f"{what} should be about {right:.2g}, but is {found:.2g}.{why}")


def _near(a: float, b: float) -> bool:
    return b / 2 <= a <= b * 2


_ANSWERS = ("right", "square", "mean", "order", "sign")

# What is the matter with each suspect, and what an answer overlooks.
_SUSPECTS: dict[str, tuple[str, dict[str, str]]] = {
    "Normalize": (
        "right",
        {
            "": "gradcheck passes it, at any point. The second term is there because the length of "
            "x changes too."
        },
    ),
    "Divide": (
        "square",
        {
            "right": "At b = 1 it passes, since 1 is its own square. Check it where b is "
            "something else.",
            "sign": "The sign is right: more b, less a / b. Compare the size of analytic and "
            "numeric with b.",
            "": "Divide the analytic number by the numeric one, in the report, and look at b.",
        },
    ),
    "Scale": (
        "mean",
        {
            "right": "With one element in x it passes, since a mean of one is a sum of one. Check "
            "it with several.",
            "": "Look at the gradient by s alone, and count the elements of x.",
        },
    ),
    "Cumsum": (
        "order",
        {
            "right": "With one element, or a cotangent that reads the same from both ends, it "
            "passes. Check it with several.",
            "": "Which outputs does x[0] move? And which does the last element of x move?",
        },
    ),
    "Hinge": (
        "right",
        {
            "": "gradcheck passes it. At x = 1 it reports a kink, where any slope between those of "
            "the two sides is right."
        },
    ),
}


@exercise(
    "Which backward is wrong?",
    "Run gradcheck on each, with raise_exception=False, at a point that nothing is special about:\n"
    "several elements, none of them 0 or 1.",
)
def suspects(attempt: Any) -> None:
    """Which of the five operations of the notebook has a wrong backward, and what is wrong in it?

    The attempt is a dict with an answer for Normalize, Divide, Scale, Cumsum and Hinge: 'right',
    'square' (a square is missing), 'mean' (a mean instead of a sum), 'order' (a sum runs the wrong
    way) or 'sign'.

    >>> suspects({"Normalize": "right"}).status
    'not yet'
    """
    if not isinstance(attempt, Mapping):
        raise Wrong(
            f"A dict is wanted, with an answer for each name, not {type(attempt).__name__}."
        )
    for name, (right, overlooked) in _SUSPECTS.items():
        answer = attempt.get(name, ...)
        if answer is ... or answer is None:
            raise NotYet(f"There is no answer for {name} yet.")
        options = {
            option: f"{name} is not '{option}'. {overlooked.get(option, overlooked[''])}"
            for option in _ANSWERS
        }
        choose(answer, right, options)


def _mean_for_sum(out: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.asarray(out * (g - g.mean(axis=-1, keepdims=True)))


def _nothing(out: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.zeros_like(g)


def _wrong_axis(out: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.asarray(out * (g - (out * g).sum(axis=0)))


_BROKEN = {
    "out * (g - mean(g))": _mean_for_sum,
    "0": _nothing,
    "out * (g - sum(out * g)), summed over the batch": _wrong_axis,
}


@exercise(
    "A cotangent that sees",
    "The outputs of a row add up to 1. Whatever treats all outputs of a row alike asks only for\n"
    "the derivative of that 1.",
)
def cotangent(attempt: Callable[[np.ndarray], Any]) -> None:
    """Choose what a backward of softmax is tested with.

    The attempt is a function ``cotangent(x)`` of logits (N, K), K > 1, which returns a gradient for
    the outputs, of the same shape.  With it three broken backward functions must be caught: what
    they return has to differ from the right gradient by a hundredth of its size.

    >>> cotangent(np.ones_like).message.splitlines()[-1]
    'All entries of a row are alike: the gradient of a sum that is always 1 is 0.'
    """
    rng = np.random.default_rng(23)
    for shape in ((3, 4), (2, 5), (4, 2)):
        x = rng.standard_normal(shape)
        g = numbers(call(attempt, x), "The cotangent").astype(np.float64)
        if g.shape != shape:
            raise Wrong(f"The cotangent should have the shape of x, {shape}, but has {g.shape}.")
        if not np.isfinite(g).all():
            raise Wrong("The cotangent holds numbers that are not finite.")
        out = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
        right = out * (g - (out * g).sum(axis=-1, keepdims=True))
        least = 0.01 * max(float(np.abs(right).max()), 1e-9 * float(np.abs(g).max()), 1e-300)
        missed = [
            name
            for name, broken in _BROKEN.items()
            if float(np.abs(broken(out, g) - right).max()) <= least
        ]
        if not missed:
            continue
        why = ""
        if not g.any():
            why = (
                "It is all zeros: a gradient is linear in the cotangent, so everything comes out 0."
            )
        elif np.allclose(g, g[:, :1]):
            why = "All entries of a row are alike: the gradient of a sum that is always 1 is 0."
        elif np.abs(right).max() < 1e-9 * np.abs(g).max():
            why = "The right gradient is 0 for it, so it cannot be told from nothing."
        raise Wrong(f"It does not catch this one, for x of shape {shape}:\n  {missed[0]}\n{why}")
