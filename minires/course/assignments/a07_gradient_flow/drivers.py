"""How the tasks of a07 are called: the forward pass is run here, and its states are handed on."""

import numpy as np


def fork_gradients(submission, blocks, x, grad_out):
    """Skips and branches, as two lists of arrays."""
    skips, branches = submission.fork_gradients(blocks, _states(blocks, x), grad_out)
    return {"skips": list(skips), "branches": list(branches)}


def ledger(submission, blocks, x, grad_out):
    """The numbers by name, and apart from them the places where there is none."""
    entries = submission.ledger(blocks, _states(blocks, x), grad_out)
    names = ("skip_norm", "branch_norm", "share", "cosine", "forward_ratio", "gain")
    columns = {name: [entry[name] for entry in entries] for name in names}
    found = {name: _numbers(values) for name, values in columns.items()}
    found["None"] = [
        f"{name} of block {i}"
        for name, values in columns.items()
        for i, value in enumerate(values)
        if value is None
    ]
    return found


def path_gradient(submission, blocks, x, grad_out, path):
    """The gradient along the path."""
    return submission.path_gradient(blocks, _states(blocks, x), grad_out, path)


def path_spectrum(submission, blocks, x, grad_out):
    """The components."""
    return list(submission.path_spectrum(blocks, _states(blocks, x), grad_out))


def summarize(submission, components, gradient):
    """The numbers by name, lists as arrays."""
    found = submission.summarize(components, gradient)
    return {
        "norms": _numbers(found["norms"]),
        "shares": _numbers(found["shares"]),
        "cancellation": found["cancellation"],
        "error": found["error"],
    }


def mean_length(submission, blocks, x, grad_out):
    """The number."""
    return submission.mean_length(blocks, _states(blocks, x), grad_out)


def estimate(submission, blocks, x, grad_out, paths):
    """The component and the total, by name."""
    component, total = submission.estimate(blocks, _states(blocks, x), grad_out, paths)
    return {"component": component, "total": total}


def _states(blocks, x):
    states = [x]
    for block in blocks:
        h = states[-1]
        states.append(block["scale"] * h + np.tanh(h @ block["w1"].T) @ block["w2"].T)
    return states


def _numbers(values):
    return np.array([value for value in values if value is not None])
