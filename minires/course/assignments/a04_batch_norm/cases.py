"""Inputs of the public tests of a04; the hidden ones draw from the same functions."""

from minires.course import case


def batch(rng, shape, spread=1.0):
    """A batch whose channels have different means and widths: (N, C, H, W)."""
    C = shape[1]
    mean = rng.uniform(0.5, 2.0, (C, 1, 1)) * rng.choice([-1.0, 1.0], (C, 1, 1))
    width = spread * rng.uniform(0.5, 2.0, (C, 1, 1))
    return mean + width * rng.standard_normal(shape)


def scales(rng, C):
    """Weights away from 0 and 1, of both signs."""
    return rng.uniform(1.5, 2.5, C) * rng.choice([-1.0, 1.0], C)


def shifts(rng, C):
    """Biases and means away from 0."""
    return rng.uniform(0.5, 2.0, C) * rng.choice([-1.0, 1.0], C)


def variances(rng, C):
    return rng.uniform(0.3, 3.0, C)


def statistics(rng):
    yield case(batch(rng, (4, 3, 2, 5)))
    yield case(batch(rng, (3, 3, 3, 3)), why="as many images, channels, rows and columns")


def normalize(rng):
    yield case(batch(rng, (4, 3, 2, 5)), scales(rng, 3), shifts(rng, 3))
    yield case(batch(rng, (3, 3, 3, 3)), scales(rng, 3), shifts(rng, 3), eps=0.1)


def update_running(rng):
    yield case(shifts(rng, 3), variances(rng, 3), batch(rng, (2, 3, 2, 2)))
    yield case(shifts(rng, 2), variances(rng, 2), batch(rng, (4, 2, 1, 1)), momentum=0.3)


def evaluate(rng):
    for shape, eps in [((4, 3, 2, 5), 1e-5), ((3, 3, 3, 3), 0.2)]:
        C = shape[1]
        statistics = shifts(rng, C), variances(rng, C)
        yield case(batch(rng, shape), *statistics, scales(rng, C), shifts(rng, C), eps=eps)


def parameter_gradients(rng):
    for shape, eps in [((4, 3, 2, 5), 1e-5), ((3, 3, 3, 3), 0.2)]:
        yield case(rng.standard_normal(shape), batch(rng, shape), eps=eps)


def grad_input(rng):
    for shape, eps in [((4, 3, 2, 3), 1e-5), ((2, 3, 3, 3), 0.2), ((3, 3, 3, 3), 1e-3)]:
        yield case(rng.standard_normal(shape), batch(rng, shape), scales(rng, shape[1]), eps=eps)


def grad_evaluate(rng):
    for shape, eps in [((4, 3, 2, 5), 1e-5), ((3, 3, 3, 3), 0.2)]:
        C = shape[1]
        grad_out, x = rng.standard_normal(shape), batch(rng, shape)
        yield case(grad_out, x, shifts(rng, C), variances(rng, C), scales(rng, C), eps=eps)


def state(rng, C):
    """What a layer holds before the first step."""
    return {
        "weight": scales(rng, C),
        "bias": shifts(rng, C),
        "running_mean": shifts(rng, C),
        "running_var": variances(rng, C),
    }


def step(rng, shape, training, backward=True):
    """One forward pass, and a gradient for the backward pass after it, if there is one."""
    grad_out = rng.standard_normal(shape) if backward else None
    return [training, batch(rng, shape), grad_out]


def BatchNorm(rng):
    steps = [
        step(rng, (3, 2, 2, 2), True),
        step(rng, (2, 2, 1, 2), True, backward=False),
        step(rng, (3, 2, 2, 1), False),
    ]
    yield case(state(rng, 2), steps, eps=0.05, momentum=0.3)
    steps = [step(rng, shape, True) for shape in [(2, 3, 2, 2), (4, 3, 1, 1), (3, 3, 1, 2)]]
    steps.insert(2, step(rng, (1, 3, 2, 2), False))
    yield case(state(rng, 3), steps, momentum=None, why="all batches in training weigh alike")
