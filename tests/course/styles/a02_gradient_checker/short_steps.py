"""A step of 1e-6, the array moved in place and put back by adding; lists in place of arrays."""

import numpy as np


def numeric_gradient(f, x):
    flat = x.reshape(-1)
    out = [0.0] * flat.size
    for k in range(flat.size):
        h = 1e-6 if abs(flat[k]) < 1 else 1e-6 * abs(flat[k])
        flat[k] += h
        up = f(x)
        flat[k] -= 2 * h
        down = f(x)
        flat[k] += h
        out[k] = (up - down) / (2 * h)
    return np.reshape(out, x.shape).tolist()


def numeric_vjp(f, x, w):
    def number(y):
        return np.dot(np.ravel(w), np.ravel(f(y)))

    return np.array(numeric_gradient(number, x)).tolist()


def directional_pair(f, backward, x, w, d):
    length = (d**2).sum() ** 0.5
    h = 1e-6
    ahead, behind = f(x + h * d / length), f(x - h * d / length)
    numeric = (w * ahead).sum() - (w * behind).sum()
    return numeric * length / (2 * h), (backward(w, x) * d).sum()


def relative_error(a, b, floor=0.0):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    with np.errstate(all="ignore"):
        below = np.maximum.reduce([abs(a), abs(b), np.full(a.shape, floor)])
        error = abs(a - b) / below
    error[below == 0] = 0
    error[~np.isfinite(a + b)] = np.inf
    return error.tolist()


def one_sided_slopes(f, x, index):
    h = 1e-7
    x[index] += h
    ahead = f(x)
    x[index] -= h
    here = f(x)
    x[index] -= h
    behind = f(x)
    x[index] += h
    return (here - behind) / h, (ahead - here) / h


def judge(analytic, left, right, tol=1e-5, floor=0.0):
    allowed = tol * np.max(np.abs([analytic, left, right, floor]))
    inside = min(left, right) - allowed <= analytic <= max(left, right) + allowed
    if not (inside and np.isfinite(analytic)):
        return "wrong"
    if np.abs(left - right) <= allowed:
        return "right"
    return "kink"


def check(fn, backward, inputs, rng, tol=1e-5):
    shape = fn(**inputs).shape
    w = rng.normal(size=shape)
    copies = {}
    for name in inputs:
        copies[name] = np.array(inputs[name])
    grads = backward(np.array(w), **copies)
    noise = 1e-2 * np.abs(fn(**inputs)).max()
    report = {}
    for name in inputs:
        if np.shape(grads[name]) != np.shape(inputs[name]):
            report[name] = "shape"
            continue

        def f(x, name=name):
            return (fn(**{**inputs, name: x}) * w).sum()

        x = inputs[name].copy()
        errors = np.array(relative_error(grads[name], numeric_gradient(f, x), noise))
        bad = []
        for index in zip(*np.nonzero(errors > tol), strict=True):
            slopes = one_sided_slopes(f, x, index)
            if judge(grads[name][index], *slopes, tol, noise) == "wrong":
                bad.append(index)
        if len(bad) > 0:
            report[name] = bad
    return report


np.testing.assert_allclose(numeric_gradient(lambda x: x[0] ** 2, np.array([3.0])), [6.0])
undefined_scratch_name  # noqa: B018, F821
