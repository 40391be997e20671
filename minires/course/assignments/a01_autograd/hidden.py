"""More cases, for grading."""

from minires.course import case


def unbroadcast(rng):
    yield case(rng.standard_normal((1, 3)), (3,))
    yield case(rng.standard_normal((3, 1)), (1, 1))
    yield case(rng.standard_normal((2, 1, 4)), (1, 1, 4))
    yield case(rng.standard_normal((3, 2, 2, 4)), (2, 1, 1))
    yield case(rng.standard_normal(()), ())


def mul_backward(rng):
    normal = rng.standard_normal
    yield case(normal((2, 3, 4)), normal((3, 1)), normal((2, 1, 4)))
    yield case(normal((2, 2)), normal(()), normal((2, 2)))
    yield case(normal((1, 3)), normal((1, 3)), normal(3))


def matmul_backward(rng):
    normal = rng.standard_normal
    yield case(normal((2, 2, 2)), normal((2, 2)), normal((2, 2, 2)))
    yield case(normal((3, 2, 1, 4)), normal((3, 1, 1, 5)), normal((2, 5, 4)))
    yield case(normal((1, 1)), normal((1, 3)), normal((3, 1)))


def sum_backward(rng):
    normal = rng.standard_normal
    yield case(normal((2, 2)), normal((2, 2, 2)), axis=(-2,))
    yield case(normal((1, 1)), normal((3, 2)), keepdims=True)
    yield case(normal((3, 1, 2)), normal((3, 4, 2)), axis=1, keepdims=True)
    yield case(normal(2), normal((4, 2)), axis=0)


def relu_backward(rng):
    x = rng.uniform(0.5, 2.0, (2, 2, 3)) * rng.choice([-1.0, 1.0], (2, 2, 3))
    x[0, 1, 0] = 0.0
    x[1] = -1.0  # nothing passes
    x[0, 0, 0] = 2.0
    yield case(rng.standard_normal((2, 2, 3)), x)


def topological_order(rng):
    yield case({"x": []}, "x", why="a leaf")
    beside = {"x": [], "y": ["x"], "other": ["x", "y"], "out": ["y", "x"]}
    yield case(beside, "out", why="not all that was computed from x leads to the root")
    names = [f"t{k}" for k in range(9)]
    graph = {"t0": [], "t1": []}
    for k in range(2, 9):
        graph[names[k]] = [names[i] for i in rng.integers(k, size=int(rng.integers(1, 4)))]
    yield case(graph, "t8", why="a random graph")
    yield case(3_000, reach=2, why="each tensor is made from the two before it")


def accumulate(rng):
    yield case([rng.standard_normal(()) for _ in range(2)], after=rng.standard_normal(()))
    yield case([rng.standard_normal((1, 4))], after=rng.standard_normal((1, 1)))


def backward(rng):
    def some(*shape):
        return rng.uniform(0.5, 1.5, shape)

    yield case("leaf", {"x": some(3)}, [None, some(3)])
    yield case(
        "residual", {"x": some(2, 3), "weight": some(3, 3) - 1.0}, why="four residual blocks"
    )
    yield case("beside", {"x": some(2, 2), "a": some(1, 2)}, [some(2, 2)] * 3)
    yield case("late", {"x": some(3), "a": some(3)}, [some(3), some(3), None])
    yield case("shared", {"x": some(), "y": some()}, [some()])
