"""How the tasks that take functions are called: the functions are here, and chosen by name."""

import numpy as np

# --- numbers: f(x) -> a number ---


def waves(x):
    return np.sin(x).sum()


def exponentials(x):
    return np.exp(-x).sum()


def bowl(x):
    """The slope is small and the bend is not; a central difference makes no error of its own."""
    return 50.0 * x.sum() ** 2


def reciprocals(x):
    return (1.0 / x).sum()


def neighbours(x):
    """Each element is multiplied with the square of the next."""
    x = x.ravel()
    return (x[:-1] * x[1:] ** 2).sum() + np.tanh(x[0])


def kinked(x):
    """ReLU of the first, |.| of the second, the larger of the last two; and something smooth."""
    x = x.ravel()
    return max(x[0], 0.0) + abs(x[1]) + max(x[2], x[3]) + 0.5 * np.sin(x).sum()


NUMBERS = {f.__name__: f for f in (waves, exponentials, bowl, reciprocals, neighbours, kinked)}


def numeric_gradient(submission, f, x):
    grad = submission.numeric_gradient(NUMBERS[f], x)
    return {"gradient": grad, "x afterwards": x}


def one_sided_slopes(submission, f, x, index):
    left, right = submission.one_sided_slopes(NUMBERS[f], x, tuple(index))
    return {"left and right": np.array([left, right], dtype=float), "x afterwards": x}


# --- arrays: f(x) -> an array, with its backward(grad_out, x) ---


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_backward(grad_out, x):
    p = softmax(x)
    return p * (grad_out - (grad_out * p).sum(axis=-1, keepdims=True))


def running(x):
    """As many outputs as inputs, and a Jacobian that is not symmetric."""
    return np.cumsum(np.tanh(x))


def running_backward(grad_out, x):
    return np.cumsum(grad_out[::-1])[::-1] / np.cosh(x) ** 2


def running_broken(grad_out, x):
    """The sum runs in the wrong direction."""
    return np.cumsum(grad_out) / np.cosh(x) ** 2


def pairs(x):
    """Every product of two elements: (N,) becomes (N, N)."""
    return np.outer(x, np.exp(x))


def pairs_backward(grad_out, x):
    return grad_out @ np.exp(x) + grad_out.T @ x * np.exp(x)


ARRAYS = {f.__name__: f for f in (softmax, running, pairs)}
BACKWARDS = {
    f.__name__: f for f in (softmax_backward, running_backward, running_broken, pairs_backward)
}


def numeric_vjp(submission, f, x, w):
    return submission.numeric_vjp(ARRAYS[f], x, w)


def directional_pair(submission, f, backward, x, w, d):
    numeric, analytic = submission.directional_pair(ARRAYS[f], BACKWARDS[backward], x, w, d)
    return float(numeric), float(analytic)


# --- what check() is tried on: fn(**inputs), with backward(grad_out, **inputs) -> a dict ---


def linear(x, weight, bias):
    return x @ weight + bias


def linear_backward(grad_out, x, weight, bias):
    return {"x": grad_out @ weight.T, "weight": x.T @ grad_out, "bias": grad_out.sum(axis=0)}


def linear_bias_averaged(grad_out, x, weight, bias):
    return {**linear_backward(grad_out, x, weight, bias), "bias": grad_out.mean(axis=0)}


def linear_weight_transposed(grad_out, x, weight, bias):
    return {**linear_backward(grad_out, x, weight, bias), "weight": grad_out.T @ x}


def linear_two_wrong(grad_out, x, weight, bias):
    right = linear_backward(grad_out, x, weight, bias)
    right["weight"][1, 0] *= 1.02
    right["bias"][-1] *= -1.0
    return right


def normalise(x):
    """Batch normalisation: every column gets the mean 0 and the variance 1."""
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3)


def normalise_backward(grad_out, x):
    out, std = normalise(x), np.sqrt(x.var(axis=0) + 1e-3)
    along = out * (grad_out * out).mean(axis=0)
    return {"x": (grad_out - grad_out.mean(axis=0) - along) / std}


def normalise_without_variance(grad_out, x):
    return {"x": (grad_out - grad_out.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3)}


def scores(x):
    return softmax(x)


def scores_backward(grad_out, x):
    return {"x": softmax_backward(grad_out, x)}


def scores_zero(grad_out, x):
    return {"x": np.zeros_like(x)}


def scores_mean(grad_out, x):
    return {"x": softmax(x) * (grad_out - grad_out.mean(axis=-1, keepdims=True))}


def shifted(x, shift):
    """x^2: the shift has no effect but for rounding, and its gradient is 0."""
    return (x + 4.0 * shift) * x - 4.0 * shift * x


def shifted_backward(grad_out, x, shift):
    return {"x": 2.0 * grad_out * x, "shift": np.zeros_like(shift)}


def relu(x):
    return np.maximum(x, 0.0)


def relu_backward(grad_out, x):
    return {"x": grad_out * (x > 0)}


def relu_open_at_zero(grad_out, x):
    return {"x": grad_out * (x >= 0)}


def relu_double_at_zero(grad_out, x):
    """Twice the slope at a kink: outside of what the two sides allow."""
    return {"x": grad_out * ((x > 0) + 2.0 * (x == 0))}


def relu_leaks(grad_out, x):
    return {"x": grad_out * np.where(x > 0, 1.0, 0.1)}


def square(x):
    return x * x


def square_in_place(grad_out, x):
    """Right, and done in the arrays that it was given."""
    grad_out *= 2.0
    grad_out *= x
    x[...] = 0.0
    return {"x": grad_out}


def square_without_grad_out(grad_out, x):
    return {"x": 2.0 * x}


def square_nan(grad_out, x):
    grad = grad_out * 2.0 * x
    grad.flat[1] = np.nan
    return {"x": grad}


def tiny(a, b):
    return 1e-9 * np.tanh(a * b)


def tiny_backward(grad_out, a, b):
    slope = 1e-9 * grad_out / np.cosh(a * b) ** 2
    return {"a": slope * b, "b": slope * a}


def tiny_own_factor(grad_out, a, b):
    slope = 1e-9 * grad_out / np.cosh(a * b) ** 2
    return {"a": slope * a, "b": slope * b}


CHECKED = {
    f"{fn.__name__} with {backward.__name__}": (fn, backward)
    for fn, several in (
        (linear, (linear_backward, linear_bias_averaged)),
        (linear, (linear_weight_transposed, linear_two_wrong)),
        (normalise, (normalise_backward, normalise_without_variance)),
        (scores, (scores_backward, scores_zero, scores_mean)),
        (shifted, (shifted_backward,)),
        (relu, (relu_backward, relu_open_at_zero, relu_double_at_zero, relu_leaks)),
        (square, (square_in_place, square_without_grad_out, square_nan)),
        (tiny, (tiny_backward, tiny_own_factor)),
    )
    for backward in several
}


# How far these are off depends on the cotangent, and by accident an element can be right: what is
# compared is whether the input is named.
BY_NAME = {"normalise_without_variance", "scores_mean", "square_without_grad_out"}


def check(submission, what, inputs, seed):
    fn, backward = CHECKED[what]
    given = {name: x.copy() for name, x in inputs.items()}
    found = submission.check(fn, backward, inputs, np.random.default_rng(seed))
    wrong = {}
    for name, places in found.items():
        if isinstance(places, str):
            wrong[name] = places
        elif len(places) and backward.__name__ in BY_NAME:
            wrong[name] = "wrong"
        elif len(places):
            wrong[name] = sorted([int(i) for i in np.atleast_1d(index)] for index in places)
    kept = all(np.allclose(inputs[name], x, rtol=0, atol=1e-9) for name, x in given.items())
    return {"wrong": wrong, "the inputs are what they were": kept}
