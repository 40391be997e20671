"""Public tests of a06: the function NAME yields the inputs of task NAME."""

import numpy as np

from minires.course import case


def pad_shortcut(rng):
    for shape, C_out, stride, why in (
        ((2, 3, 4, 6), 6, 2, "twice the channels, half the size"),
        ((1, 2, 5, 7), 5, 2, "sizes that are odd"),
        ((2, 2, 3, 2), 4, 1, "more channels, the same size"),
    ):
        grad_out = rng.standard_normal(output_shape(shape, C_out, stride))
        yield case(rng.standard_normal(shape), C_out, stride, grad_out, why=why)


def projection_grads(rng):
    for shape, C_out, stride, why in (
        ((2, 3, 3, 4), 2, 1, "stride 1"),
        ((2, 3, 4, 6), 3, 2, "stride 2, and as many channels as before"),
        ((3, 2, 5, 4), 4, 2, "stride 2, an odd number of rows"),
    ):
        grad_out = rng.standard_normal(output_shape(shape, C_out, stride))
        weight = rng.standard_normal((C_out, shape[1], 1, 1))
        yield case(grad_out, rng.standard_normal(shape), weight, stride, why=why)


def residual_grads(rng):
    yield case(*linear_block(rng, N=4, D=3, M=3), why="identity, and all is square")
    yield case(*linear_block(rng, N=5, D=4, M=2), why="identity, a narrow branch")
    yield case(*linear_block(rng, N=4, D=3, M=3, D_out=3, projects=True), why="a projection")
    yield case(
        *linear_block(rng, N=5, D=4, M=3, D_out=2, projects=True),
        why="a projection to another width",
    )


def make_shortcut(rng):
    for option, C, C_out, stride, why in (
        ("A", 2, 4, 2, "A, new dimensions"),
        ("A", 3, 3, 1, "A, the same dimensions"),
        ("A", 3, 3, 2, "A, another size alone"),
        ("B", 2, 4, 2, "B, new dimensions"),
        ("B", 3, 3, 1, "B, the same dimensions"),
        ("B", 3, 3, 2, "B, another size alone"),
        ("C", 3, 3, 1, "C, the same dimensions"),
    ):
        yield shortcut_case(rng, option, C, C_out, stride, why)


def BasicBlock(rng):
    for option, C, C_out, stride, why in (
        ("A", 3, 3, 1, "identity"),
        ("A", 2, 4, 2, "shortcut A"),
        ("B", 2, 3, 2, "shortcut B"),
    ):
        yield block_case(rng, option, C, C_out, stride, why)


def PreActivationBlock(rng):
    for first, C, C_out, stride, why in (
        (False, 3, 3, 1, "an ordinary block"),
        (False, 2, 3, 2, "new dimensions"),
        (True, 2, 2, 1, "the first block of the network"),
    ):
        yield preactivation_case(rng, first, C, C_out, stride, why)


def deepen(rng):
    yield deepen_case(rng, (3,), 1, why="one block and one more")
    yield deepen_case(rng, (3, 2), 2, why="two blocks and two more")


def output_shape(shape, C_out, stride):
    N, _, H, W = shape
    return N, C_out, -(-H // stride), -(-W // stride)


def linear_block(rng, N, D, M, D_out=None, projects=False):
    """grad_out, x and weights of a block whose ReLUs are given nothing close to 0."""
    D_out = D_out or D
    while True:
        draw = rng.standard_normal
        x, w1, w2 = draw((N, D)), draw((M, D)), draw((D_out, M))
        w_s = draw((D_out, D)) if projects else None
        hidden = x @ w1.T
        z = (x if w_s is None else x @ w_s.T) + np.maximum(hidden, 0) @ w2.T
        if min(np.abs(hidden).min(), np.abs(z).min()) > 0.01:
            return draw((N, D_out)), x, w1, w2, w_s


def shortcut_case(rng, option, C, C_out, stride, why):
    shape = (2, C, 4, 5)
    numbers = drawn(rng, projection(C, C_out)) if projects(option, C, C_out, stride) else {}
    grad_out = rng.standard_normal(output_shape(shape, C_out, stride))
    return case(rng.standard_normal(shape), C_out, stride, option, numbers, grad_out, why=why)


def block_case(rng, option, C, C_out, stride, why):
    shapes = branch(C, C_out) | norm("bn1", C_out)
    if projects(option, C, C_out, stride):
        shapes |= {f"shortcut {name}": shape for name, shape in projection(C, C_out).items()}
    settings = {"channels": C_out, "stride": stride, "option": option}
    x, grad_out = there_and_back(rng, C, C_out, stride)
    return case(x, settings, drawn(rng, shapes), grad_out, why=why)


def preactivation_case(rng, first, C, C_out, stride, why):
    shapes = branch(C, C_out)
    if not first:
        shapes |= norm("bn1", C)
    if C_out != C or stride != 1:
        shapes["projection.weight"] = (C_out, C, 1, 1)
    settings = {"channels": C_out, "stride": stride, "first": first}
    x, grad_out = there_and_back(rng, C, C_out, stride)
    return case(x, settings, drawn(rng, shapes), grad_out, why=why)


def deepen_case(rng, channels, count, why):
    ends = list(zip((2, *channels), channels, strict=False))
    numbers = [drawn(rng, branch(C, C_out) | norm("bn1", C_out)) for C, C_out in ends]
    convs = dict.fromkeys(("conv1.weight", "conv2.weight"), (channels[-1], channels[-1], 3, 3))
    numbers += [drawn(rng, convs) for _ in range(count)]
    x, grad_out = there_and_back(rng, 2, channels[-1], 1)
    return case(x, list(channels), count, numbers, grad_out, why=why)


def there_and_back(rng, C, C_out, stride):
    """A batch, and a gradient for what the block makes of it."""
    shape = (2, C, 4, 5)
    return rng.standard_normal(shape), rng.standard_normal(output_shape(shape, C_out, stride))


def projects(option, C, C_out, stride):
    return option == "C" or (option == "B" and (C_out != C or stride != 1))


# The shapes of parameters by name.


def branch(C, C_out):
    convs = {"conv1.weight": (C_out, C, 3, 3), "conv2.weight": (C_out, C_out, 3, 3)}
    return convs | norm("bn2", C_out)


def norm(name, C):
    return {f"{name}.weight": (C,), f"{name}.bias": (C,)}


def projection(C, C_out):
    return {"conv.weight": (C_out, C, 1, 1)} | norm("bn", C_out)


def drawn(rng, shapes):
    """Numbers of these shapes; the scales of batch norms are positive, and no shift is large."""
    lowest = {"weight": 0.5, "bias": -0.5}
    return {
        name: rng.standard_normal(shape)
        if len(shape) > 1
        else lowest[name.split(".")[-1]] + rng.random(shape)
        for name, shape in shapes.items()
    }
