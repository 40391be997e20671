"""Plain Python: nested lists and loops over single numbers, sums with math.fsum."""

import math

import numpy as np


def branch(block, h):
    """Left as it was in the stub."""
    return np.tanh(h @ block["w1"].T) @ block["w2"].T


def branch_vjp(block, h, d):
    """Left as it was in the stub."""
    hidden = np.tanh(h @ block["w1"].T)  # (N, M)
    return ((d @ block["w2"]) * (1 - hidden * hidden)) @ block["w1"]


def back(block, h, d):
    """The gradient through a branch, number by number."""
    w1, w2 = block["w1"].tolist(), block["w2"].tolist()
    M, D = len(w1), len(w1[0])
    result = []
    for row, d_row in zip(h, d, strict=True):
        new = [0.0] * D
        for m in range(M):
            z = sum(row[j] * w1[m][j] for j in range(D))
            slope = 1 / math.cosh(z) ** 2
            arriving = sum(d_row[o] * w2[o][m] for o in range(D))
            for j in range(D):
                new[j] += arriving * slope * w1[m][j]
        result.append(new)
    return result


def plus(a, b):
    return [[x + y for x, y in zip(r, s, strict=True)] for r, s in zip(a, b, strict=True)]


def times(number, a):
    return [[number * x for x in row] for row in a]


def dot(a, b):
    total = []
    for r, s in zip(a, b, strict=True):
        for x, y in zip(r, s, strict=True):
            total.append(x * y)
    return math.fsum(total)


def length(a):
    return math.sqrt(dot(a, a))


def fork_gradients(blocks, states, grad_out):
    L = len(blocks)
    skips = [None] * L
    branches = [None] * L
    d = grad_out.tolist()
    i = L - 1
    while i >= 0:
        skips[i] = times(blocks[i]["scale"], d)
        branches[i] = back(blocks[i], states[i].tolist(), d)
        d = plus(skips[i], branches[i])
        i -= 1
    return skips, branches


def ledger(blocks, states, grad_out):
    skips, branches = fork_gradients(blocks, states, grad_out)
    result = []
    for i in range(len(blocks)):
        skip = np.asarray(skips[i]).tolist()
        other = np.asarray(branches[i]).tolist()
        entry = {"skip_norm": length(skip), "branch_norm": length(other)}
        both = entry["skip_norm"] + entry["branch_norm"]
        product = entry["skip_norm"] * entry["branch_norm"]
        if both == 0:
            entry["share"] = None
        else:
            entry["share"] = entry["skip_norm"] / both
        if product == 0:
            entry["cosine"] = None
        else:
            entry["cosine"] = dot(skip, other) / product
        kept = length(times(blocks[i]["scale"], states[i].tolist()))
        added = length(branch(blocks[i], states[i]).tolist())
        entry["forward_ratio"] = added / kept if kept > 0 else None
        if i == len(blocks) - 1:
            arriving = length(grad_out.tolist())
        else:
            arriving = length(
                plus(np.asarray(skips[i + 1]).tolist(), np.asarray(branches[i + 1]).tolist())
            )
        entry["gain"] = length(plus(skip, other)) / arriving if arriving > 0 else None
        result.append(entry)
    return result


def path_gradient(blocks, states, grad_out, path):
    d = grad_out.tolist()
    for i in range(len(blocks) - 1, -1, -1):
        taken = False
        for number in path:
            if number == i:
                taken = True
        if taken:
            d = back(blocks[i], states[i].tolist(), d)
        else:
            d = times(blocks[i]["scale"], d)
    return d


def path_spectrum(blocks, states, grad_out):
    table = {0: grad_out.tolist()}
    for i in range(len(blocks) - 1, -1, -1):
        new = {}
        for k in table:
            for place, part in (
                (k, times(blocks[i]["scale"], table[k])),
                (k + 1, back(blocks[i], states[i].tolist(), table[k])),
            ):
                new[place] = plus(new[place], part) if place in new else part
        table = new
    return [table[k] for k in range(len(blocks) + 1)]


def summarize(components, gradient):
    flat = [component.ravel().tolist() for component in components]
    g = gradient.ravel().tolist()
    gg = math.fsum(x * x for x in g)
    norms = [math.sqrt(math.fsum(x * x for x in c)) for c in flat]
    shares = []
    for c in flat:
        inner = math.fsum(x * y for x, y in zip(c, g, strict=True))
        shares.append(inner / gg if gg else 0.0)
    off = 0.0
    for i in range(len(g)):
        off += (math.fsum(c[i] for c in flat) - g[i]) ** 2
    off = math.sqrt(off)
    total = math.fsum(norms)
    return {
        "norms": norms,
        "shares": shares,
        "cancellation": total / math.sqrt(gg) if gg else None,
        "error": off / total if total else off,
    }


def mean_length(blocks, states, grad_out):
    components = path_spectrum(blocks, states, grad_out)
    g = sum(np.asarray(c) for c in components)
    found = summarize([np.asarray(c) for c in components], g)
    return sum(k * share for k, share in enumerate(found["shares"]))


def estimate(blocks, states, grad_out, paths):
    n, k = len(paths), len(paths[0])
    count = math.factorial(len(blocks)) // math.factorial(k) // math.factorial(len(blocks) - k)
    mean, norms = None, 0.0
    for path in paths:
        p = np.asarray(path_gradient(blocks, states, grad_out, path)).tolist()
        mean = times(1 / n, p) if mean is None else plus(mean, times(1 / n, p))
        norms += length(p)
    return times(count, mean), count * norms / n
