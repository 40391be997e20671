"""Inputs for grading only: what the docstrings of a08 allow and the public tests leave out."""

import numpy as np

from minires.course import case

LARGER = "a larger one"  # differences over all inputs take longer than a task may, loops do not


def away_from_zero(rng, *shape):
    return rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape)


def error_map(rng):
    yield case("steps", [away_from_zero(rng, 7)], why="wrong at one end only")
    yield case("softmax", [rng.permutation(np.linspace(-1.0, 1.0, 5))], why="all is right")
    yield case("energy", [away_from_zero(rng, 4), away_from_zero(rng, 4)])
    mask = rng.permutation(np.array([0, 1, 2, 1, 0, 3]))
    yield case("weighted", [away_from_zero(rng, 6), mask, away_from_zero(rng, 6)])
    yield case("soft_step", [np.abs(away_from_zero(rng, 2, 1, 3))], why="only positive numbers")


def mended_linear(rng):
    draw = rng.standard_normal
    yield case(draw((1, 3)), draw((1, 2)), draw((3, 2)), draw(3), why="a single sample")
    yield case(draw((5, 3)), draw((5, 3)), draw((3, 3)), draw(3), why="a square weight")
    yield case(draw((14, 310)), draw((14, 270)), draw((310, 270)), draw(310), why=LARGER)


def mended_product(rng):
    for a, b in [((3, 1), (1, 4)), ((), (2, 3)), ((2, 1, 3), (2, 1)), ((1, 1), (1, 1))]:
        grad_out = away_from_zero(rng, *np.broadcast_shapes(a, b))
        yield case(grad_out, away_from_zero(rng, *a), away_from_zero(rng, *b))


def mended_relu(rng):
    x = np.abs(away_from_zero(rng, 2, 1, 5)) * [1, 0, 0, 1, -1]
    grad_out = np.abs(away_from_zero(rng, 2, 1, 5)) * [-1, -1, 1, 1, 1]
    yield case(grad_out, x, why="all signs of x and of grad_out meet")


def mended_gated(rng):
    yield case(rng.standard_normal((1, 1)), away_from_zero(rng, 1, 2))
    yield case(rng.standard_normal((4, 2)), 3 * away_from_zero(rng, 4, 4))


def mended_cross_entropy(rng):
    logits = 200.0 + rng.integers(0, 5, (4, 3))
    yield case(np.array(-0.5), logits, rng.integers(0, 3, 4), why="large logits")
    yield case(np.array(3.0), rng.standard_normal((1, 6)), np.array([5]), why="a single sample")
    logits, labels = rng.standard_normal((100, 300)), rng.integers(0, 300, 100)
    yield case(np.array(2.0), logits, labels, why=LARGER)


def mended_row_variance(rng):
    yield case(rng.standard_normal(1), rng.uniform(1.0, 2.0, (1, 9)), why="a single row")
    yield case(rng.standard_normal(4), away_from_zero(rng, 4, 3))
    yield case(rng.standard_normal(100), away_from_zero(rng, 100, 900), why=LARGER)


def mended_layer_norm(rng):
    x = rng.permutation(np.linspace(-1.0, 1.0, 6))[None]
    draw = rng.standard_normal
    yield case(draw((1, 6)), x, draw(6), draw(6), why="a single row")
    x = rng.permuted(np.tile(np.linspace(-0.2, 0.2, 4), (4, 1)), axis=1)
    yield case(draw((4, 4)), x, draw(4), draw(4), eps=0.05, why="as many rows as columns")
    yield case(draw((900, 40)), draw((900, 40)), draw(40), draw(40), why=LARGER)


def mended_conv2d(rng):
    draw = rng.standard_normal
    x, weight = draw((1, 2, 6, 4)), draw((2, 2, 2, 1))
    yield case(draw((1, 2, 2, 2)), x, weight, stride=3, why="a stride that leaves pixels over")
    x, weight = draw((3, 1, 4, 3)), draw((1, 1, 3, 3))
    yield case(draw((3, 1, 3, 3)), x, weight, stride=2, padding=2, why="much padding")
    x, weight = draw((4, 4, 48, 45)), draw((5, 4, 3, 3))
    yield case(draw((4, 5, 24, 23)), x, weight, stride=2, padding=1, why=LARGER)


def mended_max_pool2d(rng):
    x = -rng.uniform(1.0, 2.0, (1, 1, 2, 2)).round(1)
    yield case(away_from_zero(rng, 1, 1, 1, 1), x, 2, 2, why="a single window")
    x = np.zeros((1, 2, 5, 4))
    x[:, :, 2, 1:3] = 1.0
    yield case(away_from_zero(rng, 1, 2, 4, 3), x, 2, 1, why="plains of equal numbers")
    x = rng.permutation(35).reshape(1, 1, 5, 7) / 5
    yield case(away_from_zero(rng, 1, 1, 2, 3), x, 2, 2, why="pixels left over")
    x = rng.permutation(4 * 71 * 60).reshape(2, 2, 71, 60) / 5
    yield case(away_from_zero(rng, 2, 2, 35, 29), x, 3, 2, why=LARGER)


def mended_residual(rng):
    draw = rng.standard_normal
    yield case(draw((1, 2)), away_from_zero(rng, 1, 2), draw((5, 2)), draw((2, 5)))
    yield case(draw((3, 3)), away_from_zero(rng, 3, 3), draw((3, 3)), draw((3, 3)))
    x, w1 = draw((40, 400)), draw((60, 400))
    clear = (np.abs(x @ w1.T) > 0.01).all(axis=1)  # of numbers close to 0 before the ReLU
    yield case(draw((clear.sum(), 400)), x[clear], w1, draw((400, 60)), why=LARGER)
