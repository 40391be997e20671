"""More inputs for the grading of a07; they follow those of cases.py."""

from minires.course import case


def fork_gradients(rng):
    yield case(*stack(rng, 6, rows=1, D=2, M=5), why="six blocks, one row")
    blocks, x, grad_out = stack(rng, 3)
    blocks[1]["scale"] = 0.0
    yield case(blocks, x, grad_out, why="a skip with the scale 0")


def ledger(rng):
    yield case(*stack(rng, 3, rows=1, D=6, M=2), why="one row")
    blocks, x, grad_out = stack(rng, 4)
    blocks[2]["scale"] = 0.0
    blocks[0]["w2"] *= 0
    yield case(blocks, x, grad_out, why="a skip with the scale 0, and a dead branch")
    blocks, x, grad_out = stack(rng, 2)
    blocks[1]["scale"] = 0.0
    blocks[1]["w2"] *= 0
    yield case(blocks, x, grad_out, why="a block that lets nothing through")


def path_gradient(rng):
    blocks, x, grad_out = stack(rng, 7, rows=2, D=3, M=4)
    yield case(blocks, x, grad_out, [6, 2], why="seven blocks")
    yield case(blocks, x, grad_out, (1, 5, 4, 0), why="a tuple")


def path_spectrum(rng):
    yield case(*stack(rng, 7, D=3, M=4), why="seven blocks")
    blocks, x, grad_out = stack(rng, 4)
    blocks[2]["scale"] = 0.0
    yield case(blocks, x, grad_out, why="a skip with the scale 0")


def summarize(rng):
    components = list(rng.standard_normal((3, 2, 2)))
    yield case(components, 0.0 * components[0], why="no gradient")
    gradient = rng.standard_normal((2, 2))
    yield case([0.0 * gradient] * 2, gradient, why="components that are all 0")
    yield case(list(rng.standard_normal((6, 1, 3))), rng.standard_normal((1, 3)))


def mean_length(rng):
    yield case(*stack(rng, 12, rows=1), why="twelve blocks, one row")
    yield case(*stack(rng, 4, scale=-0.7), why="negative skips")


def estimate(rng):
    blocks, x, grad_out = stack(rng, 5, rows=2)
    yield case(blocks, x, grad_out, [[], []], why="the path over the skips alone, twice")
    pairs = [[i, j] for i in range(5) for j in range(i)]
    yield case(blocks, x, grad_out, pairs, why="every path of the length, once")


def stack(rng, L, scale=None, rows=3, D=4, M=3):
    """L blocks, a batch and the gradient at its end; the scales are drawn if none is given."""
    draw = rng.standard_normal
    blocks = [
        {
            "scale": float(rng.uniform(0.5, 1.1)) if scale is None else scale,
            "w1": draw((M, D)) / D**0.5,
            "w2": 0.8 * draw((D, M)) / M**0.5,
        }
        for _ in range(L)
    ]
    return blocks, draw((rows, D)), draw((rows, D))
