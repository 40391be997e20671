"""Public tests."""

import numpy as np

from minires.course import case

# A central difference is off by h^2 f'''/6 and by eps f/h.  For f, f' and f''' about 1 and six
# elements at most that is, as a part of f', about 1e-10 for h = 6e-6, as much for 1e-5, and below
# 1e-9 for 1e-6 (times |x| where x is large).  A forward difference is off by h f''/2 and by
# eps f/h: above 1e-8 at its very best.
CENTRAL = 4e-9

# One side: h f''/2 + eps f/h is 5e-6 for h = 1e-5, 5e-7 for 1e-6 and 2e-8 for 1e-8.
ONE_SIDED = 1e-5

# Six digits are asked for: 1e-10 as above, and the inner product with w may cancel some digits.
DIRECTION = 1e-6


def numeric_gradient(rng):
    x = rng.uniform(0.3, 1.2, (2, 3))
    yield case("waves", x, rtol=CENTRAL, why="a sum of sines")
    x = rng.uniform(0.001, 0.01, 4)
    yield case(
        "bowl", x, rtol=CENTRAL, why="50 times the square of the sum: small slope, much bend"
    )
    x = rng.uniform(0.5, 1.5, 4) * 1e5
    yield case("reciprocals", x, rtol=CENTRAL, why="the sum of 1 / x, for x of 100,000")
    x = np.array([0.0, 1e-4, 0.3, -0.4])
    yield case(
        "exponentials", x, rtol=CENTRAL, why="the sum of e^-x, for an x of 0 and a small one"
    )
    x = rng.uniform(0.5, 1.2, (2, 2))
    yield case("neighbours", x, rtol=CENTRAL, why="each times the square of the next")


def numeric_vjp(rng):
    x, w = rng.uniform(-1.0, 1.0, 5), rng.uniform(0.5, 2.0, 5)
    yield case("running", x, w, rtol=CENTRAL, why="cumsum(tanh(x))")
    x, w = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    yield case("softmax", x, w, rtol=CENTRAL, why="softmax")
    x, w = rng.uniform(0.2, 1.0, 3), rng.standard_normal((3, 3)) / 3
    yield case("pairs", x, w, rtol=CENTRAL, why="x_i e^(x_j): three inputs, nine outputs")


def directional_pair(rng):
    def case_of(f, backward, n, length, why):
        x, w, d = (rng.uniform(0.3, 1.0, n) for _ in range(3))
        if f == "pairs":
            w = rng.uniform(0.3, 1.0, (n, n))
        return case(f, backward, x, w / length, length * d, rtol=DIRECTION, why=why)

    yield case_of("running", "running_backward", 4, 1.0, "cumsum(tanh(x))")
    yield case_of("running", "running_backward", 4, 1e4, "d is 10,000 times as long")
    yield case_of("pairs", "pairs_backward", 3, 1e-4, "d is 10,000 times shorter")
    yield case_of("running", "running_broken", 4, 1.0, "a backward that is wrong")


def relative_error(rng):
    a = rng.uniform(0.5, 2.0, (2, 3))
    yield case(a, a * rng.uniform(0.7, 1.3, (2, 3)), why="numbers about 1")
    b = 1e-12 * rng.uniform(0.7, 1.3, (2, 3))
    yield case(1e-12 * a, b, why="the same gradients, a million million times smaller")
    a = np.array([0.0, 0.0, 2.0, -1.0])
    yield case(a, np.array([0.0, 1e-3, 0.0, 1.0]), why="zeros, and opposite signs")
    near = a + np.array([3e-4, -2e-4, 0.5, 0.0])
    yield case(a, near, floor=0.01, why="with a floor: noise where the gradient is 0")
    broken = np.array([np.nan, 0.0, np.inf, 1.0])
    yield case(broken, np.array([1.0, np.nan, np.inf, 2.0]), why="nan and infinity")


def one_sided_slopes(rng):
    x = np.array([0.0, 0.4, 0.7, -0.2])
    yield case("kinked", x, (0,), rtol=ONE_SIDED, why="ReLU at 0")
    x = np.array([0.6, 0.0, 0.7, -0.2])
    yield case("kinked", x, (1,), rtol=ONE_SIDED, why="the absolute value at 0")
    x = rng.uniform(0.3, 0.9, (2, 3))  # where a step of 1e-5 is off by 6e-6 of the slope at most
    yield case("waves", x, (1, 2), rtol=ONE_SIDED, why="a sum of sines, which is smooth")
    both = float(rng.uniform(0.2, 0.8))
    x = np.array([[-0.5, 0.8], [both, both]])
    yield case("kinked", x, (1, 0), rtol=ONE_SIDED, why="the larger of two equal numbers")


def judge(rng):
    slope = float(rng.uniform(1.0, 3.0))
    yield case(slope, slope + 1e-7, slope - 1e-7, why="the sides and backward agree")
    yield case(1.01 * slope, slope, slope, why="the sides agree, and backward does not")
    yield case(0.0, 0.0, slope, why="a kink, and the slope of one side")
    yield case(slope / 2, slope, -slope, why="a kink, and a slope between the sides")
    yield case(-5e-6 * slope, 0.0, slope, why="a kink, and outside by less than is allowed")
    yield case(2 * slope, 0.0, slope, why="a kink, and a slope outside")
    yield case(-slope, slope, 0.0, why="a kink, and a slope outside, on the other side")
    tiny = 1e-9 * slope
    yield case(2 * tiny, tiny, tiny, why="all are tiny, and one is wrong")
    yield case(0.0, 1e-9, -1e-9, floor=1.0, why="noise below the floor")
    yield case(0.0, 0.0, 0.0, why="all are 0")
    yield case(float("nan"), slope, slope, why="not a number")


def seed_of(rng):
    return int(rng.integers(1_000_000))


def spread(rng, rows, columns):
    """Columns whose numbers lie apart: normalising them does not enlarge the rounding."""
    x = np.linspace(-1.2, 1.2, rows)[:, None] + rng.uniform(-0.2, 0.2, (rows, columns))
    return rng.permuted(x, axis=0)


def check(rng):
    def some(*shape):
        return rng.uniform(0.3, 1.3, shape)

    three = {"x": some(4, 3), "weight": some(3, 2), "bias": some(2)}
    yield case("linear with linear_backward", three, seed_of(rng))
    yield case("linear with linear_two_wrong", three, seed_of(rng))
    yield case("linear with linear_weight_transposed", three, seed_of(rng))
    x = {"x": rng.standard_normal((2, 4))}
    why = "backward returns zeros, and the outputs add up to 1"
    yield case("scores with scores_zero", x, seed_of(rng), why=why)
    x = {"x": spread(rng, 5, 2)}
    why = "the path through the variance is missing, and the outputs add up to 0"
    yield case("normalise with normalise_without_variance", x, seed_of(rng), why=why)
    x = {"x": np.array([[0.0, 0.4, -0.3], [-0.8, 0.0, 0.7]])}
    yield case("relu with relu_backward", x, seed_of(rng), why="right, with numbers at the kink")
    why = "twice the slope at the kink"
    yield case("relu with relu_double_at_zero", x, seed_of(rng), why=why)
    why = "right, and done in the arrays that it is given"
    yield case("square with square_in_place", {"x": some(2, 3)}, seed_of(rng), why=why)
    yield case("square with square_nan", {"x": some(2, 2)}, seed_of(rng), why="a nan at [0, 1]")
    two = {"a": some(3), "b": 1.1 + some(3)}
    yield case("tiny with tiny_own_factor", two, seed_of(rng), why="outputs of the size of 1e-9")
    shifted = {"x": some(1, 24), "shift": some(24)}
    why = "right, with a gradient of 0"
    yield case("shifted with shifted_backward", shifted, seed_of(rng), why=why)
