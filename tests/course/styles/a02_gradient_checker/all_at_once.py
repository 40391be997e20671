"""A fixed share of the largest number as the step, all points in one stack; check stands alone."""

import numpy as np


def _points(x, h):
    """x with each element moved by h in turn: (x.size, *x.shape)."""
    moves = h * np.eye(x.size).reshape(x.size, *x.shape)
    return x + moves, x - moves


def numeric_gradient(f, x):
    h = 1e-5 * max(1.0, np.abs(x).max())
    ahead, behind = _points(x, h)
    slopes = [(f(a) - f(b)) / (2 * h) for a, b in zip(ahead, behind, strict=True)]
    return np.array(slopes).reshape(x.shape)


def numeric_vjp(f, x, w):
    """J has a row for each output; the cotangent weighs the rows."""
    h = 1e-5
    ahead, behind = _points(x, h)
    jacobian = [np.ravel(f(a) - f(b)) / (2 * h) for a, b in zip(ahead, behind, strict=True)]
    return (np.array(jacobian) @ w.ravel()).reshape(x.shape)


def directional_pair(f, backward, x, w, d):
    unit = d / np.linalg.norm(d)
    slope = np.sum(w * (f(x + 1e-5 * unit) - f(x - 1e-5 * unit))) / 2e-5
    return slope * np.linalg.norm(d), np.einsum("i,i->", backward(w, x).ravel(), d.ravel())


def relative_error(a, b, floor=0.0):
    size = np.fmax(np.fmax(np.abs(a), np.abs(b)), floor)
    same = a == b
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(same, 0.0, np.abs(a - b) / size)
    return np.where(np.isfinite(a) & np.isfinite(b), error, np.inf)


def one_sided_slopes(f, x, index):
    step = np.zeros_like(x)
    step[index] = 1e-5
    here = f(x)
    return np.array([(here - f(x - step)) / 1e-5, (f(x + step) - here) / 1e-5])


def judge(analytic, left, right, tol=1e-5, floor=0.0):
    numbers = np.array([analytic, left, right])
    if not np.all(np.isfinite(numbers)):
        return "wrong"
    allowed = tol * max(np.abs(numbers).max(), floor)
    outside = max(min(left, right) - analytic, analytic - max(left, right))
    if outside > allowed:
        return "wrong"
    return ("right", "kink")[int(abs(left - right) > allowed)]


def check(fn, backward, inputs, rng, tol=1e-5):
    """The mean of the two sides is the central difference; where it disagrees, the sides decide."""
    out = fn(**inputs)
    w = np.sign(rng.standard_normal(out.shape)) * (1 + rng.random(out.shape))
    grads = backward(w.copy(), **{name: x.copy() for name, x in inputs.items()})
    noise = np.abs(out).max() * 1e-3
    result = {}
    for name, x in inputs.items():
        grad = np.asarray(grads[name])
        if grad.shape != x.shape:
            result[name] = "shape"
            continue

        def f(moved, name=name):
            return np.vdot(w, fn(**(inputs | {name: moved})))

        places = []
        for index in np.ndindex(x.shape):
            left, right = one_sided_slopes(f, x, index)
            central = (left + right) / 2
            smooth = judge(grad[index], central, central, tol, noise)
            if smooth == "wrong" and judge(grad[index], left, right, tol, noise) == "wrong":
                places.append(index)
        if places:
            result[name] = places
    return result
