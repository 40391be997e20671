"""Cases of a03 for grading only: sizes at the edge of what the docstrings allow."""

from minires.course import case

# Each gradient has "a larger one". A pass of differences over all the numbers that the gradient is
# by, two calls of the forward function for each, takes longer there than a task may; Python's loops
# do not. So a gradient has to be derived.


def output_size(rng):
    kernel, dilation = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    span = dilation * (kernel - 1) + 1
    yield case(span, kernel, stride=3, dilation=dilation, why="a single window fits")
    yield case(1, 1, why="a kernel of one tap on one pixel")
    stride, steps = int(rng.integers(3, 6)), int(rng.integers(3, 20))
    size = steps * stride + stride - 1 + span - 4  # two zeros at each end
    yield case(size, kernel, stride, 2, dilation, why="all settings, and pixels left over")
    yield case(size, 3, stride, 1, why="positional settings")


def pad(rng):
    yield case(rng.standard_normal((3, 2, 1, 4)), 3, why="more zeros than pixels")


def im2col(rng):
    yield case(rng.standard_normal((2, 3, 4, 3)), 1, 1, why="a kernel of one tap")
    yield case(rng.standard_normal((2, 2, 3, 2)), 3, 2, why="a kernel as large as the image")
    yield case(rng.standard_normal((1, 2, 6, 8)), 2, 2, stride=3, why="pixels between the windows")
    yield case(rng.standard_normal((3, 2, 1, 6)), 3, 2, padding=2, why="one row, much padding")


def conv2d(rng):
    for x_shape, weight_shape, how, why in _EDGES:
        x, weight = rng.standard_normal(x_shape), rng.standard_normal(weight_shape)
        yield case(x, weight, rng.standard_normal(weight_shape[0]), **how, why=why)


def conv2d_grad_bias(rng):
    yield case(rng.standard_normal((2, 1, 3, 3)), why="one filter")
    yield case(rng.standard_normal((3, 4, 1, 1)), why="one place")


def conv2d_grad_weight(rng):
    for x_shape, weight_shape, how, why in _EDGES:
        x, out_shape = rng.standard_normal(x_shape), _out_shape(x_shape, weight_shape, **how)
        yield case(rng.standard_normal(out_shape), x, weight_shape, **how, why=why)
    x, grad_out = rng.standard_normal((1, 64, 5, 5)), rng.standard_normal((1, 128, 3, 3))
    yield case(grad_out, x, (128, 64, 3, 3), why="a larger one")


def col2im(rng):
    for x_shape, weight_shape, how, why in _EDGES:
        (N, C), (KH, KW) = x_shape[:2], weight_shape[2:]
        OH, OW = _out_shape(x_shape, weight_shape, **how)[2:]
        columns = rng.standard_normal((N, C * KH * KW, OH * OW))
        yield case(columns, x_shape, KH, KW, **how, why=why)
    columns = rng.standard_normal((1, 2 * 3 * 3, 66 * 66))
    yield case(columns, (1, 2, 200, 200), 3, 3, stride=3, why="a larger one")


def conv2d_grad_input(rng):
    for x_shape, weight_shape, how, why in _EDGES:
        weight, out_shape = (
            rng.standard_normal(weight_shape),
            _out_shape(x_shape, weight_shape, **how),
        )
        yield case(rng.standard_normal(out_shape), weight, x_shape, **how, why=why)
    weight, grad_out = rng.standard_normal((8, 16, 3, 3)), rng.standard_normal((1, 8, 31, 31))
    yield case(grad_out, weight, (1, 16, 64, 64), stride=2, why="a larger one")


# x_shape, weight_shape, settings, what it is about
_EDGES = [
    ((2, 3, 4, 3), (2, 3, 1, 1), {}, "a kernel of one tap"),
    ((2, 2, 3, 2), (3, 2, 3, 2), {}, "a kernel as large as the image"),
    ((2, 2, 6, 8), (2, 2, 2, 2), {"stride": 3}, "pixels that no window meets"),
    (
        (3, 2, 1, 6),
        (2, 2, 3, 2),
        {"padding": 2},
        "one row, and outputs that see only zeros",
    ),
    ((1, 1, 8, 5), (1, 1, 3, 2), {"stride": 2, "padding": 1, "dilation": 3}, "taps far apart"),
]


def _out_shape(x_shape, weight_shape, stride=1, padding=0, dilation=1):
    OH, OW = (
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel in zip(x_shape[2:], weight_shape[2:], strict=True)
    )
    return x_shape[0], weight_shape[0], OH, OW
