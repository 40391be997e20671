"""How the tasks about tensors are called: graphs are built here, and arrays go back."""

import numpy as np

PRIME = 1_000_003  # numbers of ways grow like 2^depth, so they are counted modulo this


def topological_order(submission, graph, root=None, reach=1):
    """A pass in the submission's order that counts the ways from the root to each tensor.

    The root holds 1.  A tensor that fires adds what it holds to each of its parents.  Returned is
    for each name what its tensor held each time it fired; of a deep graph, for its two ends only.
    A number in the place of a graph: so many tensors, each made from the ``reach`` before it.
    """
    if isinstance(graph, int):
        graph = {k: list(range(max(k - reach, 0), k)) for k in range(graph)}
        root = len(graph) - 1
    tensors = {}
    for name, parents in graph.items():
        tensors[name] = submission.Tensor(0.0, tuple(tensors[parent] for parent in parents))
    names = {id(tensor): name for name, tensor in tensors.items()}

    holds = dict.fromkeys(tensors, 0)
    holds[root] = 1
    fired = {}
    for node in submission.topological_order(tensors[root]):
        if id(node) not in names:
            raise TypeError(f"the list holds something that is no tensor of the graph: {node!r}")
        name = names[id(node)]
        fired.setdefault(name, []).append(holds[name])
        for parent in graph[name]:
            holds[parent] = (holds[parent] + holds[name]) % PRIME
    if len(graph) > 100:
        ends = {"root": fired.get(root), "leaf": fired.get(0)}
        return {"tensors": len(fired), **ends}
    return fired


def accumulate(submission, grads, after=None):
    """Two tensors are given the same gradients; ``after`` is given to the first alone."""
    first, second = (submission.Tensor(np.zeros_like(grads[0])) for _ in range(2))
    given = [np.array(grad) for grad in grads]
    for grad in given:
        submission.accumulate(first, grad)
        submission.accumulate(second, grad)
    if after is not None:
        view = np.broadcast_to(after, first.data.shape)  # read-only
        submission.accumulate(first, view)
    result = {"first": np.array(first.grad), "second": np.array(second.grad)}
    # What is done with an array that was handed over must not reach the tensors.
    given[0] += 1
    return {
        **result,
        "second, after the given array has changed": np.array(second.grad),
        "given": given,
    }


def backward(submission, program, inputs, grad_outs=(None,)):
    """Run one of the programs below, and a backward pass from its root for each of grad_outs."""
    leaves = {name: submission.Tensor(np.array(array)) for name, array in inputs.items()}
    named = PROGRAMS[program](**leaves)
    for grad_out in grad_outs:
        submission.backward(named["out"], None if grad_out is None else np.array(grad_out))
    grads = {}
    for name, tensor in {**leaves, **named}.items():
        grads[name] = None if tensor.grad is None else np.array(tensor.grad)
    return grads


def leaf(x):
    return {"out": x}


def double(x):
    return {"out": x + x}


def square(x):
    return {"out": x * x}


def diamond(x, a, b):
    left = x * a
    right = x * b
    return {"left": left, "right": right, "out": left * right}


def late(x, a):
    """The leaf is met at once, over the first edge, and again at the end of a long way."""
    inner = x * a
    way = inner.relu() * a
    return {"inner": inner, "way": way, "out": inner + way * way}


def shared(x, y):
    """The rule of a sum may return one array for both parents, and x has another use."""
    total = x + y
    product = x * y
    return {"total": total, "product": product, "out": product + total}


def residual(x, weight):
    for _ in range(4):
        x = x + (x @ weight).relu()
    return {"out": x.sum()}


def perceptron(x, weight1, bias1, weight2, bias2):
    hidden = (x @ weight1 + bias1).relu()
    scores = hidden @ weight2 + bias2
    return {"hidden": hidden, "scores": scores, "out": (scores * scores).sum(axis=1)}


def beside(x, a):
    """Something is computed from x that the root does not depend on."""
    other = x * x
    return {"other": other, "out": x * a}


def deep(x, step):
    """A chain of 11,000 sums."""
    for _ in range(11_000):
        x = x + step
    return {"out": x}


PROGRAMS = {
    program.__name__: program
    for program in (
        leaf,
        double,
        square,
        diamond,
        late,
        shared,
        residual,
        perceptron,
        beside,
        deep,
    )
}
