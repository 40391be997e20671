"""Inputs of the public tests of a08; the hidden ones draw from the same functions.

The cases of the mended functions are (grad_out, *inputs, settings).
"""

import numpy as np

from minires.course import case


def away_from_zero(rng, *shape):
    """Numbers between 0.5 and 2 in size, of both signs."""
    return rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape)


def spread(rng, *shape):
    """Numbers that differ by at least 0.1, in any order: no window has two near maxima."""
    count = int(np.prod(shape))
    return (0.2 * rng.permutation(count) + rng.uniform(0.0, 0.1, count)).reshape(shape) - 2.0


def error_map(rng):
    yield case("soft_step", [away_from_zero(rng, 2, 4)])
    yield case("powers", [away_from_zero(rng, 3), away_from_zero(rng, 3)])
    x = np.abs(away_from_zero(rng, 2, 3)) * rng.permuted([[-1, 1, 1], [-1, 1, -1]], axis=1)
    yield case("cubes", [x], why="wrong where grad_out is negative")
    yield case("quotient", [away_from_zero(rng, 2, 2), away_from_zero(rng, 2, 2)])
    index = rng.permutation(np.array([0, 1, 1, 2, 4, 4]))
    yield case("lookup", [away_from_zero(rng, 5, 2), index], why="with an input of integers")
    signs = rng.permutation(np.repeat([-1.0, 1.0], 3))  # so that none is near the mean
    yield case("standardize", [0.5 + signs * rng.uniform(1.0, 2.0, 6)])


def mended_linear(rng):
    for N, C, C_out in [(2, 3, 2), (4, 2, 3)]:
        draw = rng.standard_normal
        yield case(draw((N, C_out)), draw((N, C)), draw((C_out, C)), draw(C_out))


def mended_product(rng):
    for a, b in [((2, 3), (2, 1)), ((3,), (2, 3)), ((1, 2), (3, 2)), ((2, 3, 2), (3, 1))]:
        grad_out = rng.standard_normal(np.broadcast_shapes(a, b))
        yield case(grad_out, away_from_zero(rng, *a), away_from_zero(rng, *b))


def mended_relu(rng):
    yield case(rng.standard_normal((3, 4)), away_from_zero(rng, 3, 4))
    x = away_from_zero(rng, 6)
    x[::2] = 0.0
    yield case(away_from_zero(rng, 6), x, why="some are exactly 0")


def mended_gated(rng):
    for N, C in [(3, 2), (2, 3)]:
        yield case(rng.standard_normal((N, C)), away_from_zero(rng, N, 2 * C))


def mended_cross_entropy(rng):
    for N, K in [(3, 4), (5, 2)]:
        grad_out = np.array(rng.uniform(1.5, 3.0))
        yield case(grad_out, rng.standard_normal((N, K)), rng.integers(0, K, N))


def mended_row_variance(rng):
    for N, L in [(3, 4), (2, 2)]:
        yield case(rng.standard_normal(N), 1.0 + away_from_zero(rng, N, L))


def mended_layer_norm(rng):
    for N, D, eps in [(3, 4, 1e-5), (4, 5, 0.1)]:
        x = rng.permuted(np.tile(np.linspace(-1.0, 2.0, D), (N, 1)), axis=1)
        x = x + rng.uniform(0.0, 0.4, (N, D))
        yield case(
            rng.standard_normal((N, D)), x, away_from_zero(rng, D), rng.standard_normal(D), eps=eps
        )


def conv_case(rng, x, weight, stride, padding, **more):
    OH, OW = ((np.array(x[2:]) + 2 * padding - weight[2:]) // stride + 1).tolist()
    draw = rng.standard_normal
    grad_out = draw((x[0], weight[0], OH, OW))
    return case(grad_out, draw(x), draw(weight), stride=stride, padding=padding, **more)


def mended_conv2d(rng):
    yield conv_case(rng, (2, 2, 5, 5), (3, 2, 3, 3), stride=2, padding=1)
    yield conv_case(rng, (2, 1, 4, 5), (2, 1, 2, 3), stride=1, padding=0)


def pool_case(rng, x, kernel, stride, **more):
    OH, OW = ((np.array(x.shape[2:]) - kernel) // stride + 1).tolist()
    grad_out = away_from_zero(rng, *x.shape[:2], OH, OW)
    return case(grad_out, x, kernel, stride, **more)


def mended_max_pool2d(rng):
    yield pool_case(rng, spread(rng, 1, 2, 5, 5), 3, 1)
    x = rng.integers(0, 3, (2, 1, 6, 6)).astype(float)
    yield pool_case(rng, x, 3, 2, why="with equal maxima")


def mended_residual(rng):
    for N, D, E in [(3, 2, 4), (2, 3, 3)]:
        x = away_from_zero(rng, N, D)
        w1 = away_from_zero(rng, E, D)
        yield case(rng.standard_normal((N, D)), x, w1, rng.standard_normal((D, E)))
