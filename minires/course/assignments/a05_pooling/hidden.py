"""Cases of a05 for grading only: shapes and numbers at the edge of what the docstrings allow."""

import numpy as np

from minires.course import case

# Where differences over all inputs take longer than a task may, and loops do not.
LARGE, LARGE_HOW, LARGER = (2, 4, 67, 61), ((3, 3), (2, 2), (1, 1)), "a larger one"


def max_pool2d(rng):
    for x, *how, why in _edges(rng):
        yield case(x, *how, why=why)


def max_pool2d_indices(rng):
    for x, *how, why in _edges(rng):
        yield case(x, *how, why=why)


def max_pool2d_grad_input(rng):
    for x, *how, why in _edges(rng):
        yield case(rng.standard_normal(_out_shape(x.shape, *how)), x, *how, why=why)
    x = rng.permutation(int(np.prod(LARGE))).reshape(LARGE) / 8.0
    yield case(rng.standard_normal(_out_shape(LARGE, *LARGE_HOW)), x, *LARGE_HOW, why=LARGER)


def avg_pool2d(rng):
    for x, *how, why in _edges(rng):
        yield case(x, *how, why=why)
    yield case(rng.standard_normal((2, 2, 4, 4)), (4, 2), None, (2, 1), False, why="corners of one")


def avg_pool2d_grad_input(rng):
    for x, *how, why in _edges(rng):
        yield case(rng.standard_normal(_out_shape(x.shape, *how)), x.shape, *how, why=why)
    shape, how = (2, 2, 4, 4), ((4, 2), None, (2, 1))
    grad_out = rng.standard_normal(_out_shape(shape, *how))
    yield case(grad_out, shape, *how, count_include_pad=False, why="corners of one column")
    grad_out = rng.standard_normal(_out_shape(LARGE, *LARGE_HOW))
    yield case(grad_out, LARGE, *LARGE_HOW, count_include_pad=False, why=LARGER)


def bins(rng):
    count = int(rng.integers(3, 9))
    yield case(count, count, why="as many windows as places")
    yield case(count - 1, count, why="more windows than places")
    yield case(int(rng.integers(3, 30)) * count + count // 2, count)
    yield case(25 * int(rng.integers(1, 3)), 11, why="where 11 * (25 / 11) is not 25")


def adaptive_avg_pool2d(rng):
    yield case(rng.standard_normal((2, 3, 1, 6)), (1, 4), why="one row")
    yield case(rng.standard_normal((3, 1, 3, 2)), (4, 2), why="more windows than rows")


def adaptive_avg_pool2d_grad_input(rng):
    yield case(rng.standard_normal((2, 3, 1, 4)), (2, 3, 1, 6), why="one row")
    yield case(rng.standard_normal((3, 1, 4, 2)), (3, 1, 3, 2), why="more windows than rows")
    yield case(rng.standard_normal((*LARGE[:2], 7, 9)), LARGE, why=LARGER)


def _edges(rng):
    """An image, settings for it, and what it is about."""

    def negative(*shape):
        return -1.0 - rng.permutation(int(np.prod(shape))).reshape(shape) / 8

    yield negative(3, 2, 1, 7), (1, 3), (1, 2), (0, 1), "one row"
    yield negative(2, 3, 3, 2), (3, 2), "a window as large as the image"
    yield negative(1, 2, 5, 8), (2, 2), (2, 3), "pixels that no window meets"
    yield np.full((2, 1, 4, 4), float(rng.integers(-9, 0))), (3, 2), (1, 2), (1, 0), "all the same"
    yield negative(2, 2, 3, 4), (1, 1), (2, 1), "windows of one place"


def _out_shape(x_shape, kernel_size, stride=None, padding=(0, 0)):
    axes = zip(x_shape[2:], kernel_size, stride or kernel_size, padding, strict=True)
    OH, OW = ((size + 2 * p - k) // s + 1 for size, k, s, p in axes)
    return *x_shape[:2], OH, OW
