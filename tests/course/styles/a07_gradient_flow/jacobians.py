"""Whole Jacobians, one for every row of the batch, and polynomials as arrays with an axis for k."""

import itertools
import math

import numpy as np


def _transposed_jacobians(blocks, states):
    """J_l^T of every block and row, (L, N, D, D)."""
    found = []
    for block, h in zip(blocks, states, strict=False):
        z = np.einsum("nd,md->nm", h, block["w1"])
        found.append(np.einsum("om,nm,md->ndo", block["w2"], np.cosh(z) ** -2.0, block["w1"]))
    return np.stack(found)


def _scales(blocks):
    return np.array([block["scale"] for block in blocks])


def fork_gradients(blocks, states, grad_out):
    jacobians, scales = _transposed_jacobians(blocks, states), _scales(blocks)
    N, D = grad_out.shape
    arriving = np.empty((len(blocks) + 1, N, D))
    arriving[-1] = grad_out
    for i in range(len(blocks))[::-1]:
        whole = scales[i] * np.eye(D) + jacobians[i]
        arriving[i] = np.einsum("nij,nj->ni", whole, arriving[i + 1])
    return (
        scales[:, None, None] * arriving[1:],
        np.einsum("lnij,lnj->lni", jacobians, arriving[1:]),
    )


def ledger(blocks, states, grad_out):
    skips, branches = map(np.asarray, fork_gradients(blocks, states, grad_out))
    N, D = grad_out.shape
    L = len(blocks)
    s, b = skips.reshape(L, N * D), branches.reshape(L, N * D)
    g = np.concatenate([s + b, grad_out.reshape(1, N * D)])
    x = np.stack(states).reshape(L + 1, N * D)
    kept = _scales(blocks)[:, None] * x[:-1]
    added = x[1:] - kept
    size = np.linalg.norm
    columns = {
        "skip_norm": size(s, axis=1),
        "branch_norm": size(b, axis=1),
        "share": _divided(size(s, axis=1), size(s, axis=1) + size(b, axis=1)),
        "cosine": _divided((s * b).sum(1), size(s, axis=1) * size(b, axis=1)),
        "forward_ratio": _divided(size(added, axis=1), size(kept, axis=1)),
        "gain": _divided(size(g[:-1], axis=1), size(g[1:], axis=1)),
    }
    return [{name: column[i] for name, column in columns.items()} for i in range(L)]


def _divided(above, below):
    return [None if b == 0 else a / b for a, b in zip(above, below, strict=True)]


def path_gradient(blocks, states, grad_out, path):
    jacobians, scales = _transposed_jacobians(blocks, states), _scales(blocks)
    on = np.isin(np.arange(len(blocks)), path)
    factors = np.where(
        on[:, None, None, None], jacobians, scales[:, None, None, None] * np.eye(grad_out.shape[1])
    )
    product = factors[0]
    for factor in factors[1:]:
        product = product @ factor
    return (product @ grad_out[:, :, None])[:, :, 0]


def path_spectrum(blocks, states, grad_out):
    L = len(blocks)
    coefficients = np.zeros((L + 1, *grad_out.shape))
    coefficients[0] = grad_out
    for jacobian, scale in zip(
        _transposed_jacobians(blocks, states)[::-1], _scales(blocks)[::-1], strict=True
    ):
        moved = np.roll(np.einsum("nij,knj->kni", jacobian, coefficients), 1, axis=0)
        coefficients = scale * coefficients + moved
    return coefficients


def summarize(components, gradient):
    c = np.stack(components).reshape(len(components), -1)
    g = gradient.ravel()
    norms = np.linalg.norm(c, axis=1)
    off = np.linalg.norm(c.sum(axis=0) - g)
    return {
        "norms": norms,
        "shares": c @ g / (g @ g) if g.any() else np.zeros(len(c)),
        "cancellation": norms.sum() / np.linalg.norm(g) if g.any() else None,
        "error": off / norms.sum() if norms.any() else off,
    }


def mean_length(blocks, states, grad_out):
    """By complex numbers: the derivative at 1 is the imaginary part of a step along i."""
    step = 1e-30
    weight = 1 + 1j * step
    g = grad_out.astype(complex)
    for jacobian, scale in zip(
        _transposed_jacobians(blocks, states)[::-1], _scales(blocks)[::-1], strict=True
    ):
        g = scale * g + weight * np.einsum("nij,nj->ni", jacobian, g)
    return float(np.vdot(g.imag / step, g.real) / np.vdot(g.real, g.real))


def estimate(blocks, states, grad_out, paths):
    along = np.array([path_gradient(blocks, states, grad_out, path) for path in paths])
    everything = itertools.combinations(range(len(blocks)), len(paths[0]))
    count = sum(1 for _ in everything)
    norms = np.sqrt((along**2).sum(axis=(1, 2)))
    return count * along.mean(axis=0), math.fsum(norms) / len(norms) * count


if __name__ == "__main__":
    print("try it here")
