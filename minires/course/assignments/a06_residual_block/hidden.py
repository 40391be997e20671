"""More inputs for the grading of a06; they follow those of cases.py."""

import numpy as np

from minires.course import case

LARGER = "a larger one"  # differences over all inputs take longer than a task may, loops do not


def pad_shortcut(rng):
    x, grad_out = rng.standard_normal((1, 3, 8, 7)), rng.standard_normal((1, 8, 3, 3))
    yield case(x, 8, 3, grad_out, why="a stride that divides neither size")
    x, grad_out = rng.standard_normal((2, 3, 4, 3)), rng.standard_normal((2, 3, 2, 2))
    yield case(x, 3, 2, grad_out, why="no new channels")


def projection_grads(rng):
    draw = rng.standard_normal
    yield case(draw((2, 4, 3, 3)), draw((2, 3, 7, 8)), draw((4, 3, 1, 1)), 3, why="stride 3")
    yield case(draw((2, 2, 1, 3)), draw((2, 1, 1, 5)), draw((2, 1, 1, 1)), 2, why="one row")
    yield case(draw((2, 30, 30, 30)), draw((2, 8, 60, 60)), draw((30, 8, 1, 1)), 2, why=LARGER)


def residual_grads(rng):
    for N, D, M, D_out, why in (
        (1, 5, 4, 5, "one row"),
        (6, 2, 5, 4, "a projection to more"),
        (45, 600, 40, 40, LARGER),
    ):
        clear = False
        while not clear:  # of numbers close to 0 before a ReLU
            draw = rng.standard_normal
            x, w1, w2 = draw((N, D)), draw((M, D)), draw((D_out, M))
            w_s = None if D_out == D else draw((D_out, D))
            hidden = x @ w1.T
            z = (x if w_s is None else x @ w_s.T) + np.maximum(hidden, 0) @ w2.T
            clear = min(np.abs(hidden).min(), np.abs(z).min()) > 0.01
        yield case(draw((N, D_out)), x, w1, w2, w_s, why=why)


def make_shortcut(rng):
    for option, C, C_out, shape, stride, why in (
        ("A", 2, 3, (3, 3), 1, "A, another width alone"),
        ("B", 2, 3, (3, 3), 1, "B, another width alone"),
        ("C", 2, 4, (3, 2), 2, "C, new dimensions"),
        ("B", 3, 4, (2, 2), 3, "B, stride 3"),
    ):
        shapes = {"conv.weight": (C_out, C, 1, 1), "bn.weight": (C_out,), "bn.bias": (C_out,)}
        numbers = {} if option == "A" else drawn(rng, shapes)
        x = rng.standard_normal((3, C, stride * shape[0], stride * shape[1]))
        grad_out = rng.standard_normal((3, C_out, *shape))
        yield case(x, C_out, stride, option, numbers, grad_out, why=why)


def BasicBlock(rng):
    for option, C, C_out, stride, training, why in (
        ("C", 3, 3, 1, True, "a projection although nothing changes"),
        ("A", 3, 3, 2, True, "shortcut A, another size alone"),
        ("A", 2, 3, 1, False, "evaluation mode"),
    ):
        shapes = branch(C, C_out, bn1=C_out, training=training)
        if option == "C":
            shapes["shortcut conv.weight"] = (C_out, C, 1, 1)
            shapes |= {"shortcut bn.weight": (C_out,), "shortcut bn.bias": (C_out,)}
        settings = {"channels": C_out, "stride": stride, "option": option}
        x, grad_out = rng.standard_normal((2, C, 6, 4)), (2, C_out, 6 // stride, 4 // stride)
        grad_out = rng.standard_normal(grad_out)
        yield case(x, settings, drawn(rng, shapes), grad_out, training=training, why=why)


def PreActivationBlock(rng):
    for first, C, C_out, stride, training, why in (
        (True, 2, 4, 1, True, "the first block, with new dimensions"),
        (False, 3, 3, 2, True, "another size alone"),
        (False, 2, 3, 1, False, "evaluation mode"),
    ):
        shapes = branch(C, C_out, bn1=None if first else C, training=training)
        shapes["projection.weight"] = (C_out, C, 1, 1)
        settings = {"channels": C_out, "stride": stride, "first": first}
        x, grad_out = rng.standard_normal((2, C, 6, 4)), (2, C_out, 6 // stride, 4 // stride)
        grad_out = rng.standard_normal(grad_out)
        yield case(x, settings, drawn(rng, shapes), grad_out, training=training, why=why)


def deepen(rng):
    numbers = [drawn(rng, branch(2, 2, bn1=2))]
    convs = {"conv1.weight": (2, 2, 3, 3), "conv2.weight": (2, 2, 3, 3)}
    numbers += [drawn(rng, convs) for _ in range(3)]
    x, grad_out = rng.standard_normal((3, 2, 3, 4)), rng.standard_normal((3, 2, 3, 4))
    yield case(
        x, [2], 3, numbers, grad_out, why="a block that changes no dimensions, and three more"
    )


def branch(C, C_out, bn1, training=True):
    """The shapes of what a block has besides its shortcut, by name."""
    shapes = {"conv1.weight": (C_out, C, 3, 3), "conv2.weight": (C_out, C_out, 3, 3)}
    for name, size in (("bn1", bn1), ("bn2", C_out)):
        if size is not None:
            parts = ["weight", "bias"] + ["running_mean", "running_var"] * (not training)
            shapes |= {f"{name}.{part}": (size,) for part in parts}
    return shapes


def drawn(rng, shapes):
    """Numbers of these shapes; scales and variances are positive, and no shift is large."""
    lowest = {"weight": 0.5, "running_var": 0.5, "bias": -0.5, "running_mean": -0.5}
    return {
        name: rng.standard_normal(shape)
        if len(shape) > 1
        else lowest[name.split(".")[-1]] + rng.random(shape)
        for name, shape in shapes.items()
    }
