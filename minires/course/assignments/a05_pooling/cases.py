"""Public tests of a05: the function NAME yields the inputs of task NAME."""

import numpy as np

from minires.course import case


def max_pool2d(rng):
    yield case(_image(rng, 1, 1, 4, 6), (2, 2), why="no padding, and the default stride")
    yield case(_image(rng, 2, 3, 6, 7), (3, 2), why="windows 3 x 2; a column is left over")
    yield case(_image(rng, 2, 2, 5, 7), (3, 3), (2, 1), why="windows that overlap")
    yield case(_negative(rng, 2, 2, 4, 5), (3, 4), (1, 2), (1, 2), why="all negative, padding")


def max_pool2d_indices(rng):
    yield case(_image(rng, 1, 1, 4, 6), (2, 2), why="no padding, and the default stride")
    yield case(_image(rng, 2, 3, 5, 6), (3, 2), (2, 1), why="windows 3 x 2 that overlap")
    yield case(_tied(rng, 2, 2, 4, 5), (2, 2), (1, 1), why="ties in every window")
    yield case(_negative(rng, 2, 2, 4, 5), (3, 4), (1, 2), (1, 2), why="all negative, padding")


def max_pool2d_grad_input(rng):
    for x, *how, why in [
        (_image(rng, 1, 1, 4, 6), (2, 2), "no padding, and the default stride"),
        (_image(rng, 2, 2, 6, 5), (3, 2), (2, 1), "windows 3 x 2 that overlap"),
        (_tied(rng, 2, 2, 4, 4), (2, 2), "ties in every window"),
        (_tied(rng, 1, 2, 5, 4), (2, 3), (1, 1), "ties, and windows that overlap"),
        (_negative(rng, 2, 2, 4, 5), (3, 4), (1, 2), (1, 2), "all negative, padding"),
    ]:
        yield case(_grad_out(rng, x.shape, *how), x, *how, why=why)


def avg_pool2d(rng):
    for shape, *how, why in _averages():
        yield case(rng.standard_normal(shape), *how, why=why)


def avg_pool2d_grad_input(rng):
    for shape, *how, why in _averages():
        yield case(_grad_out(rng, shape, *how[:3]), shape, *how, why=why)


def bins(rng):
    yield case(6, 3, why="windows side by side")
    yield case(5, 3, why="windows that share places")
    yield case(int(rng.integers(7, 40)), 1, why="one window")
    yield case(int(rng.integers(2, 10)) * 4 + 1, 4)
    yield case(29, 7, why="where 7 * (29 / 7) is more than 29 in floating point")


def adaptive_avg_pool2d(rng):
    yield case(rng.standard_normal((2, 3, 4, 5)), (1, 1), why="global average pooling")
    yield case(rng.standard_normal((1, 2, 4, 6)), (2, 3), why="windows side by side")
    yield case(rng.standard_normal((2, 2, 5, 7)), (3, 2), why="windows that overlap")


def adaptive_avg_pool2d_grad_input(rng):
    yield case(rng.standard_normal((2, 3, 1, 1)), (2, 3, 4, 5), why="global average pooling")
    yield case(rng.standard_normal((1, 2, 2, 3)), (1, 2, 4, 6), why="windows side by side")
    yield case(rng.standard_normal((2, 2, 3, 2)), (2, 2, 5, 7), why="windows that overlap")


def _averages():
    """A shape, the settings as far as they are needed, and what it is about."""
    yield (1, 1, 4, 6), (2, 2), "no padding, and the default stride"
    yield (2, 2, 6, 5), (3, 2), (2, 1), "windows 3 x 2 that overlap"
    yield (2, 2, 4, 5), (3, 4), (2, 1), (1, 2), "padding, counted"
    yield (2, 2, 4, 5), (3, 4), (2, 1), (1, 2), False, "padding, not counted"


def _image(rng, *shape):
    """Numbers of both signs, no two of them equal or nearly so."""
    count = int(np.prod(shape))
    return (rng.permutation(count).reshape(shape) - count / 2 + 0.25) / 8


def _negative(rng, *shape):
    """Negative numbers, no two of them equal."""
    return -1.0 - rng.permutation(int(np.prod(shape))).reshape(shape) / 8


def _tied(rng, *shape):
    """A chessboard whose black squares all hold the same number, which is the largest."""
    x = _negative(rng, *shape)
    squares = np.add.outer(np.arange(shape[2]), np.arange(shape[3]))
    x[:, :, squares % 2 == rng.integers(2)] = 1.5
    return x


def _grad_out(rng, x_shape, kernel_size, stride=None, padding=(0, 0)):
    """Numbers of the shape that the output of the pooling has."""
    axes = zip(x_shape[2:], kernel_size, stride or kernel_size, padding, strict=True)
    OH, OW = ((size + 2 * p - k) // s + 1 for size, k, s, p in axes)
    return rng.standard_normal((*x_shape[:2], OH, OW))
