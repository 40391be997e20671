"""Right, though untidy: float32, recursion, arrays changed in place, prints, and a scratch area."""

import numpy as np
from numpy.linalg import norm as laenge


def branch(block, h):
    return np.tanh(h @ block["w1"].T) @ block["w2"].T


def branch_vjp(block, h, d):
    hidden = np.tanh(h @ block["w1"].T)
    return ((d @ block["w2"]) * (1 - hidden * hidden)) @ block["w1"]


def single(a):
    return np.asarray(a, dtype=np.float32)


def fork_gradients(blocks, states, grad_out):
    print("called with", len(blocks), "blocks")
    if len(blocks) == 0:
        return [], []
    last, h = blocks.pop(), single(states[-2])  # the caller's list gets shorter
    skip = single(last["scale"] * grad_out)
    back = single(branch_vjp(last, h, single(grad_out)))
    grad_out[...] = skip + back
    s, b = fork_gradients(blocks, states[:-1], grad_out)
    s.append(skip)
    b.append(back)
    return s, b


def ledger(blocks, states, grad_out):
    count, final = len(blocks), grad_out.copy()
    own = list(blocks)
    s, b = fork_gradients(blocks, states, grad_out)
    out = []
    for i in range(count):
        e = {}
        out.append(e)
        e["gain"] = None
        above = s[i + 1] + b[i + 1] if i + 1 < count else final
        if laenge(above):
            e["gain"] = laenge(s[i] + b[i]) / laenge(above)
        e["skip_norm"], e["branch_norm"] = laenge(s[i]), laenge(b[i])
        e["share"] = e["cosine"] = e["forward_ratio"] = None
        if laenge(s[i]) or laenge(b[i]):
            e["share"] = 1 - laenge(b[i]) / (laenge(s[i]) + laenge(b[i]))
        if laenge(s[i]) and laenge(b[i]):
            e["cosine"] = ((s[i] / laenge(s[i])) * (b[i] / laenge(b[i]))).sum()
        if own[i]["scale"] != 0:
            e["forward_ratio"] = (
                laenge(branch(own[i], states[i])) / laenge(states[i]) / abs(own[i]["scale"])
            )
    return tuple(out)


def path_gradient(blocks, states, grad_out, path):
    for i in range(len(blocks) - 1, -1, -1):
        if i in set(path):
            grad_out = branch_vjp(blocks[i], single(states[i]), single(grad_out))
        else:
            grad_out *= blocks[i]["scale"]
    return grad_out


def path_spectrum(blocks, states, grad_out):
    c = [grad_out]
    for i in range(len(blocks) - 1, -1, -1):
        c.append(np.zeros_like(grad_out))
        for k in range(len(c) - 1, -1, -1):  # from the top, so that c[k - 1] is still old
            c[k] = c[k] * blocks[i]["scale"]
            if k > 0:
                c[k] = c[k] + branch_vjp(blocks[i], states[i], c[k - 1])
    return tuple(c)


def summarize(components, gradient):
    g2 = (gradient**2).sum()
    norms = [laenge(c) for c in components]
    rest = gradient.copy()
    for c in components:
        rest -= c
    answer = dict(norms=norms, shares=[0] * len(norms), cancellation=None, error=laenge(rest))
    if g2 != 0:
        answer["shares"] = [(c / g2 * gradient).sum() for c in components]
        answer["cancellation"] = sum(norms) / g2**0.5
    if sum(norms) != 0:
        answer["error"] /= sum(norms)
    return answer


def mean_length(blocks, states, grad_out):
    def pair(i):
        """g and its derivative at x_i."""
        if i == len(blocks):
            return grad_out, grad_out * 0
        g, slope = pair(i + 1)
        through = branch_vjp(blocks[i], states[i], g)
        a = blocks[i]["scale"]
        return a * g + through, a * slope + through + branch_vjp(blocks[i], states[i], slope)

    g, slope = pair(0)
    return [[(slope * g).sum() / (g * g).sum()]][0][0]


def estimate(blocks, states, grad_out, paths):
    from math import comb

    ways = comb(len(blocks), len(paths[0]))
    total, average = 0.0, 0.0
    for path in paths:
        p = path_gradient(blocks, states, grad_out.copy(), path)
        average = average + p
        total = total + laenge(p)
    return [average * (ways / len(paths)), total * (ways / len(paths))]


blocks = [{"scale": 1.0, "w1": np.eye(2), "w2": np.eye(3)}]  # scratch: these do not fit
print(branch(blocks[0], np.ones((1, 2))))
