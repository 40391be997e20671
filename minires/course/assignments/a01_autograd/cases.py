"""Public tests."""

from minires.course import case


def unbroadcast(rng):
    yield case(rng.standard_normal((4, 3)), (3,), why="an axis was put in front")
    yield case(rng.standard_normal((4, 3)), (4, 1), why="an axis of length 1 was stretched")
    yield case(rng.standard_normal((2, 3, 4)), (3, 1), why="both at once")
    yield case(rng.standard_normal((2, 5)), (), why="a single number, used ten times")
    square = "a square, where shapes cannot warn you"
    yield case(rng.standard_normal((3, 3)), (3,), why=square)
    yield case(rng.standard_normal((3, 3)), (3, 1), why=square)
    yield case(rng.standard_normal((2, 3)), (2, 3), why="nothing was repeated")


def mul_backward(rng):
    normal = rng.standard_normal
    yield case(normal((3, 4)), normal((3, 4)), normal((3, 4)), why="equal shapes")
    yield case(normal((3, 4)), normal((3, 4)), normal(4), why="b has no rows")
    yield case(normal((3, 4)), normal((3, 1)), normal(4), why="both factors are repeated")


def matmul_backward(rng):
    normal = rng.standard_normal
    yield case(normal((3, 3)), normal((3, 3)), normal((3, 3)), why="squares")
    yield case(normal((2, 4)), normal((2, 3)), normal((3, 4)), why="N = 2, K = 3, M = 4")
    yield case(normal((5, 3, 3)), normal((5, 3, 3)), normal((5, 3, 3)), why="a batch of squares")
    yield case(normal((5, 2, 4)), normal((5, 2, 3)), normal((3, 4)), why="one b for a whole batch")


def sum_backward(rng):
    x = rng.standard_normal((3, 3, 3))
    normal = rng.standard_normal
    yield case(normal((3, 3)), x, axis=1, why="the axis in the middle is gone")
    yield case(normal(()), x, why="the sum of all")
    yield case(normal((3, 3)), x, axis=-1, why="an axis that is counted from the end")
    yield case(normal((1, 3, 1)), x, axis=(0, 2), keepdims=True, why="two axes, kept")
    yield case(normal(4), normal((2, 4, 3)), axis=(0, 2), why="two axes, gone")


def relu_backward(rng):
    x = rng.uniform(0.5, 2.0, (3, 4)) * rng.choice([-1.0, 1.0], (3, 4))
    x[0, 0] = x[1, 2] = 0.0
    x[2, 3] = 1.5
    yield case(rng.uniform(0.5, 2.0, (3, 4)) * rng.choice([-1.0, 1.0], (3, 4)), x)


def blocks(count):
    """Residual blocks: x1 = x0 + f1(x0), x2 = x1 + f2(x1), ..."""
    graph = {"x0": []}
    for k in range(1, count + 1):
        graph[f"f{k}"] = [f"x{k - 1}"]
        graph[f"x{k}"] = [f"x{k - 1}", f"f{k}"]
    return graph


def topological_order(rng):
    ways = "shown is what each tensor held when it fired: the ways from the root, counted so far"
    diamond = {"x": [], "left": ["x"], "right": ["x"], "out": ["left", "right"]}
    yield case(diamond, "out", why=f"two ways to x; {ways}")
    skip = {"x": [], "a": ["x"], "b": ["a"], "c": ["b"]}
    yield case({**skip, "out": ["x", "c"]}, "out", why=f"x is met early, over a skip; {ways}")
    yield case({**skip, "out": ["c", "x"]}, "out", why=f"the same with the parents swapped; {ways}")
    square = {"x": [], "y": ["x", "x"], "out": ["y", "y"]}
    yield case(square, "out", why=f"twice the parent of one; {ways}")
    yield case(blocks(6), "x6", why=f"six residual blocks; {ways}")
    yield case(50_000, why="a chain, 50,000 tensors deep")


def accumulate(rng):
    why = "the same arrays for two tensors; then one more, read-only, for the first"
    grads = [rng.standard_normal((2, 3)) for _ in range(3)]
    yield case(grads[:1], why="the first gradient, for two tensors")
    yield case(grads[:2], after=rng.standard_normal(3), why=why)
    yield case(grads, why="three gradients, for two tensors")


def backward(rng):
    def some(*shape):
        return rng.uniform(0.5, 1.5, shape)

    x, a, b = some(2, 3), some(2, 3), some(3)
    yield case("square", {"x": x}, why="x * x")
    yield case("double", {"x": x}, [some(2, 3)], why="x + x, with a grad_out")
    yield case("diamond", {"x": x, "a": a, "b": b}, why="(x * a) * (x * b)")
    late = "inner = x * a, way = inner.relu() * a, out = inner + way * way"
    yield case("late", {"x": x, "a": a}, why=late)
    shared = "total = x + y, product = x * y, out = product + total"
    yield case("shared", {"x": x, "y": a}, [some(2, 3)], why=shared)
    yield case("diamond", {"x": x, "a": a, "b": b}, [None, some(2, 3)], why="called twice")
    sizes = {"weight1": (3, 4), "bias1": (4,), "weight2": (4, 2), "bias2": (2,)}
    weights = {name: some(*shape) for name, shape in sizes.items()}
    yield case("perceptron", {"x": x, **weights}, [some(2)], why="two layers")
    yield case("deep", {"x": some(2), "step": some(1)}, why="11,000 sums, one after the other")
