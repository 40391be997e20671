"""More cases, for grading."""

import numpy as np

from minires.course import case

# The same tolerances as in cases.py, for the same reasons.
CENTRAL, ONE_SIDED, DIRECTION = 4e-9, 1e-5, 1e-6


def numeric_gradient(rng):
    yield case("exponentials", np.zeros((1, 2)), rtol=CENTRAL)
    yield case("neighbours", rng.uniform(0.5, 1.2, (1, 2, 3)), rtol=CENTRAL)
    yield case("reciprocals", rng.uniform(1.0, 3.0, (2, 1)) * -3e3, rtol=CENTRAL)
    yield case("waves", rng.uniform(-0.4, 0.4, 1), rtol=CENTRAL)


def numeric_vjp(rng):
    x, w = rng.uniform(-1.0, 1.0, (3, 2)), rng.standard_normal((3, 2))
    yield case("softmax", x, w, rtol=CENTRAL)
    x, w = rng.uniform(0.2, 1.0, 2), rng.standard_normal((2, 2))
    yield case("pairs", x, w, rtol=CENTRAL)


def directional_pair(rng):
    x, w = rng.uniform(0.3, 1.0, (2, 3)), np.array([[0.2, 1.0, 3.0], [3.0, 0.5, 0.2]])
    d = np.array([[-1.0, 0.5, 2.0], [0.5, -1.0, -1.0]]) * 3e3  # long, and adds up to 0
    yield case("softmax", "softmax_backward", x, w, d, rtol=DIRECTION)
    x, w, d = (rng.uniform(0.3, 1.0, 5) for _ in range(3))
    yield case("running", "running_backward", x, w, -1e-3 * d, rtol=DIRECTION)


def relative_error(rng):
    a = rng.uniform(0.5, 2.0, (1, 2, 2)) * 1e-20
    yield case(a, -a, why="tiny, with opposite signs")
    yield case(np.zeros((2, 1)), np.zeros((2, 1)), floor=1e-6)
    a = np.array([1e-8, 1e-3, 5.0, np.nan])
    yield case(a, np.array([-1e-8, 2e-3, 5.5, np.nan]), floor=1e-2)


def one_sided_slopes(rng):
    x = np.array([[-0.4, 0.3], [0.5, 0.0]])
    yield case("kinked", x, (0, 0), rtol=ONE_SIDED, why="beside a kink")
    x[1] = 0.0
    yield case("kinked", x, (1, 1), rtol=ONE_SIDED, why="two zeros, of which the larger counts")
    yield case("exponentials", rng.uniform(-0.5, 0.5, 3), (1,), rtol=ONE_SIDED)


def judge(rng):
    slope = float(rng.uniform(-3.0, -1.0))
    yield case(slope, 1e-3, slope, tol=1e-4)
    yield case(1.001 * slope, slope, slope, tol=1e-2)
    yield case(1.001 * slope, slope, slope, tol=1e-4)
    yield case(float("-inf"), 0.0, slope)
    yield case(1e-12 * slope, -1e-12 * slope, 0.0)


def check(rng):
    def some(*shape):
        return rng.uniform(0.3, 1.3, shape)

    def seed():
        return int(rng.integers(1_000_000))

    three = {"x": some(3, 2), "weight": some(2, 4), "bias": some(4)}
    yield case("linear with linear_bias_averaged", three, seed())
    yield case("scores with scores_mean", {"x": rng.standard_normal((2, 3))}, seed())
    yield case("scores with scores_backward", {"x": rng.standard_normal((1, 5))}, seed())
    x = np.array([[1.0], [-1.0], [0.2], [-0.4]]) + rng.uniform(-0.2, 0.2, (4, 3))
    yield case("normalise with normalise_backward", {"x": x}, seed())
    x = np.array([0.0, 0.9, -0.5, 0.0])
    yield case("relu with relu_open_at_zero", {"x": x}, seed())
    yield case("relu with relu_leaks", {"x": x}, seed())
    yield case("square with square_without_grad_out", {"x": some(1, 2, 2)}, seed())
    yield case("tiny with tiny_backward", {"a": some(2, 2), "b": some(2, 2)}, seed())
