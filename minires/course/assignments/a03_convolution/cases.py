"""Public tests of a03: the function NAME yields the inputs of task NAME."""

from minires.course import case


def output_size(rng):
    yield case(5, 3, why="5 pixels, 3 taps: windows begin at 0, 1 and 2")
    size = int(rng.integers(6, 30))
    yield case(size, 3, padding=1, why="zeros at both ends, and so as many outputs as pixels")
    yield case(size, 4, dilation=3, padding=3, why="gaps between the taps")
    steps, left_over = int(rng.integers(2, 9)), int(rng.integers(1, 4))
    yield case(steps * 4 + left_over + 3, 3, stride=4, why="the last step does not fit any more")
    yield case(steps * 3 + 6, 5, stride=3, padding=2, dilation=2)


def pad(rng):
    yield case(rng.standard_normal((2, 3, 3, 2)), 1)
    yield case(rng.standard_normal((1, 2, 2, 4)), 2)
    yield case(rng.standard_normal((2, 1, 3, 3)), 0, why="no padding")


def im2col(rng):
    yield case(rng.standard_normal((1, 1, 3, 4)), 2, 2, why="one channel, stride 1")
    yield case(rng.standard_normal((2, 3, 4, 5)), 3, 2, why="two images, a kernel 3 x 2")
    yield case(rng.standard_normal((2, 2, 7, 5)), 3, 2, stride=2)
    yield case(rng.standard_normal((1, 2, 3, 4)), 3, 3, padding=1)
    yield case(rng.standard_normal((1, 2, 6, 7)), 2, 3, dilation=2)
    yield case(rng.standard_normal((1, 2, 6, 8)), 3, 2, stride=2, padding=1, dilation=2)


def conv2d(rng):
    for (x, weight, bias), how, why in _layers(rng):
        yield case(x, weight, bias, **how, why=why)
    x, weight = rng.standard_normal((2, 2, 4, 4)), rng.standard_normal((3, 2, 3, 3))
    yield case(x, weight, why="no bias")


def conv2d_grad_bias(rng):
    yield case(rng.standard_normal((1, 2, 3, 2)), why="one image")
    yield case(rng.standard_normal((4, 3, 2, 5)))
    yield case(rng.standard_normal((3, 3, 1, 2)), why="as many images as filters")


def conv2d_grad_weight(rng):
    for (x, weight, _), how, why in _layers(rng):
        grad_out = _grad_out(rng, x, weight, **how)
        yield case(grad_out, x, weight.shape, **how, why=why)


def col2im(rng):
    draw = rng.standard_normal
    yield case(draw((1, 4, 4)), (1, 1, 4, 4), 2, 2, stride=2, why="windows that do not overlap")
    yield case(draw((2, 12, 6)), (2, 2, 4, 4), 3, 2, why="windows that overlap")
    yield case(draw((1, 12, 6)), (1, 2, 7, 5), 3, 2, stride=2, why="overlap, stride 2")
    yield case(draw((2, 9, 12)), (2, 1, 3, 4), 3, 3, padding=1, why="padding")
    yield case(draw((1, 12, 12)), (1, 2, 6, 7), 2, 3, dilation=2, why="dilation")
    yield case(
        draw((1, 12, 8)), (1, 2, 6, 8), 3, 2, stride=2, padding=1, dilation=2, why="all of it"
    )


def conv2d_grad_input(rng):
    for (x, weight, _), how, why in _layers(rng):
        grad_out = _grad_out(rng, x, weight, **how)
        yield case(grad_out, weight, x.shape, **how, why=why)


def _layers(rng):
    """x, weight and bias of some layers, their settings, and what each is about."""

    def layer(x_shape, weight_shape, why, **how):
        shapes = x_shape, weight_shape, weight_shape[:1]
        return tuple(rng.standard_normal(shape) for shape in shapes), how, why

    yield layer((1, 1, 3, 4), (1, 1, 2, 2), "one image, one channel, one filter")
    yield layer((2, 2, 4, 4), (2, 2, 3, 3), "two of each, and all is square")
    yield layer((2, 3, 5, 4), (4, 3, 3, 2), "two images of three channels, four filters 3 x 2")
    yield layer((2, 2, 7, 6), (3, 2, 3, 2), "stride 2", stride=2)
    yield layer((3, 2, 4, 4), (2, 2, 3, 3), "padding 1", padding=1)
    yield layer((2, 2, 5, 6), (2, 2, 2, 3), "dilation 2", dilation=2)
    yield layer((2, 2, 6, 8), (3, 2, 3, 2), "all of it", stride=2, padding=1, dilation=2)


def _grad_out(rng, x, weight, stride=1, padding=0, dilation=1):
    """Numbers of the shape that the output of the layer has."""
    OH, OW = (
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel in zip(x.shape[2:], weight.shape[2:], strict=True)
    )
    return rng.standard_normal((len(x), len(weight), OH, OW))
