"""Inputs for grading only: what the docstrings of a04 allow and the public tests leave out."""

from minires.course import case

# Each gradient has "a larger one". A pass of differences over all the numbers that the gradient is
# by, two calls of the forward function for each, takes longer there than a task may; Python's loops
# do not. So a gradient has to be derived. For grad_input that holds even if all channels are moved
# at once: the numbers of one channel are many.


def batch(rng, shape, width=1.5):
    mean = rng.uniform(0.5, 3.0, (shape[1], 1, 1))
    return mean + width * rng.standard_normal(shape)


def with_constant_channel(rng, shape):
    """A batch whose first channel is 2 everywhere."""
    x = batch(rng, shape)
    x[:, 0] = 2.0
    return x


def statistics(rng):
    yield case(batch(rng, (1, 3, 4, 2)), why="a single image")
    yield case(batch(rng, (6, 2, 1, 1)), why="planes of one pixel")
    yield case(batch(rng, (4, 1, 1, 3)), why="a single channel")


def normalize(rng):
    draw = rng.standard_normal
    yield case(batch(rng, (1, 3, 4, 2)), draw(3), draw(3), why="a single image")
    yield case(batch(rng, (6, 2, 1, 1)), draw(2), draw(2), why="planes of one pixel")
    x = with_constant_channel(rng, (3, 2, 2, 2))
    yield case(x, draw(2), draw(2), eps=1e-2, why="a constant channel")
    x = 0.05 * batch(rng, (4, 2, 2, 1))
    yield case(x, draw(2), draw(2), eps=1e-2, why="a variance below eps")


def update_running(rng):
    draw = rng.standard_normal
    C = 3
    old = draw(C), rng.uniform(0.5, 2.0, C)
    yield case(*old, batch(rng, (2, C, 1, 1)), momentum=0.5, why="two numbers in a channel")
    yield case(*old, batch(rng, (3, C, 2, 1)), momentum=1.0, why="momentum 1")
    yield case(*old, batch(rng, (1, C, 2, 3)), momentum=0.02, why="a single image")


def evaluate(rng):
    draw = rng.standard_normal
    for shape in [(1, 3, 2, 2), (1, 2, 1, 1), (5, 1, 1, 2)]:
        C = shape[1]
        yield case(batch(rng, shape), draw(C), rng.uniform(0.01, 2.0, C), draw(C), draw(C), 0.01)


def parameter_gradients(rng):
    for shape in [(1, 3, 2, 3), (5, 2, 1, 1), (3, 1, 2, 2)]:
        yield case(rng.standard_normal(shape), batch(rng, shape), 0.01)
    shape = (2, 8192, 2, 2)
    yield case(rng.standard_normal(shape), batch(rng, shape), why="a larger one")


def grad_input(rng):
    draw = rng.standard_normal
    for shape in [(1, 3, 2, 3), (5, 2, 1, 1), (3, 1, 2, 2)]:
        yield case(draw(shape), batch(rng, shape), draw(shape[1]), 0.01)
    x = with_constant_channel(rng, (3, 2, 2, 2))
    yield case(draw(x.shape), x, draw(2), 0.01, why="a constant channel")
    x = batch(rng, (2, 3, 1, 1))
    yield case(draw(x.shape), x, draw(3), 0.5, why="two numbers in a channel")
    x = rng.standard_normal((16, 4, 32, 32))
    yield case(draw(x.shape), x, draw(4), why="a larger one")


def grad_evaluate(rng):
    draw = rng.standard_normal
    for shape in [(1, 3, 2, 3), (1, 2, 1, 1), (3, 1, 2, 2)]:
        C = shape[1]
        yield case(
            draw(shape), batch(rng, shape), draw(C), rng.uniform(0.01, 2.0, C), draw(C), 0.01
        )
    shape = (2, 512, 8, 8)
    statistics = draw(512), rng.uniform(0.5, 2.0, 512)
    yield case(draw(shape), batch(rng, shape), *statistics, draw(512), why="a larger one")


def BatchNorm(rng):
    def step(shape, training, backward=True):
        return [training, batch(rng, shape), rng.standard_normal(shape) if backward else None]

    start = {
        "weight": rng.standard_normal(2),
        "bias": rng.standard_normal(2),
        "running_mean": rng.standard_normal(2),
        "running_var": rng.uniform(0.5, 2.0, 2),
    }
    steps = [
        step((3, 2, 1, 2), False),
        step((3, 2, 1, 2), True),
        step((1, 2, 1, 1), False),
        step((2, 2, 3, 1), True),
        step((2, 2, 2, 1), False, backward=False),
    ]
    yield case(start, steps, eps=0.01, momentum=None, why="the modes in turn")
    yield case(start, steps[:3], momentum=0.7)
