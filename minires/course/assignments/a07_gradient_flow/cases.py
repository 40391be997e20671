"""Public tests of a07: the function NAME yields the inputs of task NAME."""

from minires.course import case


def fork_gradients(rng):
    yield case(*stack(rng, 1), why="one block")
    yield case(*stack(rng, 3, scale=1.0), why="three blocks, identity skips")
    yield case(*stack(rng, 4), why="four blocks, scaled skips")


def ledger(rng):
    yield case(*stack(rng, 1), why="one block")
    yield case(*stack(rng, 4, scale=1.0), why="four blocks, identity skips")
    yield case(*stack(rng, 5), why="five blocks, scaled skips")
    blocks, x, grad_out = stack(rng, 3)
    blocks[1]["w2"] *= 0
    yield case(blocks, x, grad_out, why="a dead branch in the middle")


def path_gradient(rng):
    blocks, x, grad_out = stack(rng, 4)
    yield case(blocks, x, grad_out, [], why="skips alone")
    yield case(blocks, x, grad_out, [1], why="one branch")
    yield case(blocks, x, grad_out, [3, 0, 2], why="three branches, in any order")
    yield case(blocks, x, grad_out, [0, 1, 2, 3], why="branches alone")


def path_spectrum(rng):
    yield case(*stack(rng, 1), why="one block, two paths")
    yield case(*stack(rng, 2, scale=1.0), why="two blocks, four paths")
    yield case(*stack(rng, 5), why="five blocks, scaled skips")
    yield case(*stack(rng, 24, rows=1), why="24 blocks, 16,777,216 paths")


def summarize(rng):
    components = list(rng.standard_normal((4, 3, 2)))
    off = 0.1 * rng.standard_normal((3, 2))
    yield case(components, sum(components) + off, why="components that do not quite add up")
    yield case(components[:1], 2.0 * components[1], why="one component, and another gradient")
    components = [10.0**-k * rng.standard_normal(5) for k in range(3)]
    yield case(components, components[0] - components[1], why="sizes that differ")


def mean_length(rng):
    yield case(*stack(rng, 1), why="one block")
    yield case(*stack(rng, 3, scale=1.0), why="three blocks, identity skips")
    yield case(*stack(rng, 6), why="six blocks, scaled skips")


def estimate(rng):
    blocks, x, grad_out = stack(rng, 4)
    yield case(blocks, x, grad_out, [[2]], why="a sample of one path, of four")
    yield case(blocks, x, grad_out, [[0, 2], [1, 3], [2, 1]], why="three of six paths")
    yield case(blocks, x, grad_out, [[0, 1, 3], [3, 2, 0], [0, 1, 3]], why="one path came twice")


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
