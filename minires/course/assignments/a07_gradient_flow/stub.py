# %%
"""a07 · Gradient ledger and path spectrum.

Run the cells in order.  The first one that is not a task gives you a stack of residual blocks in
plain NumPy, forward and backward; you write what takes its gradient apart.  ``minires.flow``
measures the same in real networks, and your numbers mean what its numbers mean.
"""

from math import comb

import numpy as np


# %%
# The stack, in three functions: use them, and leave them as they are.
def branch(block, h):
    """F(h) = tanh(h w1^T) w2^T for a batch h, (N, D); returns (N, D)."""
    return np.tanh(h @ block["w1"].T) @ block["w2"].T


def branch_vjp(block, h, d):
    """J_F(h)^T d, the gradient that comes back through the branch; h, d and the result (N, D).

    ``h`` is the state that the branch read in the forward pass.
    """
    hidden = np.tanh(h @ block["w1"].T)  # (N, M)
    return ((d @ block["w2"]) * (1 - hidden * hidden)) @ block["w1"]


def run(blocks, x):
    """The states [x_0, x_1, ..., x_L] with x_0 = x and x_{l+1} = scale_l * x_l + F_l(x_l)."""
    states = [x]
    for block in blocks:
        states.append(block["scale"] * states[-1] + branch(block, states[-1]))
    return states


# %% task: fork_gradients
def fork_gradients(blocks, states, grad_out):
    """The two gradients at the fork of every block.

    With d_l = dLoss/dx_{l+1}, the gradient that arrives at the sum of block l, two gradients come
    back to x_l, and their sum is the gradient that goes on to block l - 1:

        skip_l = scale_l * d_l        branch_l = J_l^T d_l        dLoss/dx_l = skip_l + branch_l

    Args:
        blocks: L dicts, first block first: ``scale`` is a number, ``w1`` (M, D) and ``w2`` (D, M)
            are the weights of the branch.  Give a block to ``branch`` and ``branch_vjp``.
        states: the list [x_0, ..., x_L] of ``run``, each (N, D).
        grad_out: dLoss/dx_L, (N, D).

    Returns:
        Two lists, skips and branches, of L arrays (N, D) each; entry l belongs to block l.

    >>> block = {"scale": 0.5, "w1": np.zeros((1, 2)), "w2": np.zeros((2, 1))}
    >>> blocks = [block, block]
    >>> states = run(blocks, np.ones((1, 2)))
    >>> skips, branches = fork_gradients(blocks, states, np.array([[4.0, 8.0]]))
    >>> [skip.tolist() for skip in skips], float(np.abs(branches).max())
    ([[[1.0, 2.0]], [[2.0, 4.0]]], 0.0)
    """
    raise NotImplementedError("fork_gradients")


# %% task: ledger
def ledger(blocks, states, grad_out):
    """Six numbers for every block: what its gradient owes to the skip and to the branch.

    Arguments as for ``fork_gradients``.  |a| is the root of the sum of squares over the whole array
    (batch and features), <a, b> the sum of the products.  Returns a list of L dicts, first block
    first, each with

        skip_norm      |skip|
        branch_norm    |branch|
        share          |skip| / (|skip| + |branch|); None if both are 0
        cosine         <skip, branch> / (|skip| |branch|); None if one of them is 0
        forward_ratio  |F(x_l)| / |scale * x_l|; None if what is below is 0
        gain           |dLoss/dx_l| / |dLoss/dx_{l+1}|; None if what is below is 0

    >>> block = {"scale": 0.5, "w1": np.zeros((1, 2)), "w2": np.zeros((2, 1))}
    >>> states = run([block], np.ones((1, 2)))
    >>> (entry,) = ledger([block], states, np.array([[3.0, 4.0]]))
    >>> float(entry["skip_norm"]), float(entry["share"]), float(entry["gain"]), entry["cosine"]
    (2.5, 1.0, 0.5, None)
    """
    raise NotImplementedError("ledger")


# %% task: path_gradient
def path_gradient(blocks, states, grad_out, path):
    """The gradient at x_0 along one path.

    At a block l in ``path`` the gradient comes back through the branch alone, J_l^T d; at every
    other block over the skip alone, scale_l * d.  Only the way back is cut: the states, at which
    the Jacobians are taken, stay those of the whole network.

    Args:
        blocks, states, grad_out: as for ``fork_gradients``.
        path: the numbers of the blocks whose branch the path takes, a list in any order.

    Returns:
        An array (N, D).

    >>> block = {"scale": 0.5, "w1": np.eye(2), "w2": 3 * np.eye(2)}
    >>> states = run([block, block], np.zeros((1, 2)))      # tanh has the slope 1 at 0
    >>> grad_out = np.array([[1.0, 2.0]])
    >>> [path_gradient([block, block], states, grad_out, p).tolist() for p in ([], [1], [0, 1])]
    [[[0.25, 0.5]], [[1.5, 3.0]], [[9.0, 18.0]]]
    """
    raise NotImplementedError("path_gradient")


# %% task: path_spectrum
def path_spectrum(blocks, states, grad_out):
    """The gradient at x_0 by the number of branches it came through, summed over all paths.

    Component k is the sum of ``path_gradient`` over all C(L, k) paths through exactly k branches.
    There are 2^L paths, and stacks of more than 20 blocks come: carry the coefficients of

        g_l(t) = (scale_l + t J_l^T) g_{l+1}(t),        g_L(t) = grad_out

    backward instead, which takes L (L + 1) / 2 calls of ``branch_vjp`` in all.

    Arguments as for ``fork_gradients``.  Returns a list of L + 1 arrays (N, D), component 0 first.

    >>> block = {"scale": 0.5, "w1": np.eye(2), "w2": 3 * np.eye(2)}
    >>> states = run([block, block], np.zeros((1, 2)))
    >>> [c.tolist() for c in path_spectrum([block, block], states, np.array([[1.0, 2.0]]))]
    [[[0.25, 0.5]], [[3.0, 6.0]], [[9.0, 18.0]]]
    """
    raise NotImplementedError("path_spectrum")


# %% task: summarize
def summarize(components, gradient):
    """How large the components are, what each adds to the gradient, and whether they add up.

    Args:
        components: a list of arrays c_k of one shape.
        gradient: g, an array of that shape, from a separate backward pass.  It need not be the sum
            of the components; to find that out is the use of the check.

    Returns:
        A dict with, |a| and <a, b> over the whole array as in ``ledger``,

            norms         a list, |c_k|
            shares        a list, <c_k, g> / |g|^2; all 0 if g is 0
            cancellation  (sum of |c_k|) / |g|; None if g is 0
            error         |(sum of c_k) - g| / (sum of |c_k|); if all c_k are 0, just |g|

    >>> components = [np.array([3.0, 0.0]), np.array([0.0, 4.0])]
    >>> found = summarize(components, np.array([3.0, 4.0]))
    >>> [float(norm) for norm in found["norms"]], [round(float(s), 2) for s in found["shares"]]
    ([3.0, 4.0], [0.36, 0.64])
    >>> float(found["cancellation"]), float(found["error"])
    (1.4, 0.0)
    """
    raise NotImplementedError("summarize")


# %% task: mean_length
def mean_length(blocks, states, grad_out):
    """The mean number of branches on a path, each length weighted by its signed share.

    That is the sum over k of k <c_k, g> / |g|^2, with the components c_k of ``path_spectrum`` and
    the whole gradient g at x_0.  It can be had without the spectrum, in two arrays that go
    backward together: the polynomial of the spectrum at t = 1, and its derivative there.

    Arguments as for ``fork_gradients``; g is not 0.  Returns a number.

    >>> block = {"scale": 0.5, "w1": np.eye(2), "w2": 3 * np.eye(2)}
    >>> states = run([block] * 7, np.zeros((1, 2)))
    >>> float(mean_length([block] * 7, states, np.array([[1.0, 2.0]])))     # 7 * 3 / 3.5
    6.0
    """
    raise NotImplementedError("mean_length")


# %% task: estimate
def estimate(blocks, states, grad_out, paths):
    """What a sample of paths of one length says about all of them, in two ways.

    ``paths`` were drawn evenly, each on its own, from the C(L, k) paths through k branches: the
    same one may come twice, and then counts twice.  With the gradient p along each of them,

        component  C(L, k) * mean of p      an estimate of component k, right on average
        total      C(L, k) * mean of |p|    as in Veit et al. 2016, figure 6; nothing cancels

    Args:
        blocks, states, grad_out: as for ``fork_gradients``.
        paths: a list of at least one path as ``path_gradient`` takes it, all of the same length k.

    Returns:
        A pair (component, total): an array (N, D) and a number.

    >>> block = {"scale": 0.5, "w1": np.eye(2), "w2": 3 * np.eye(2)}
    >>> states = run([block] * 4, np.zeros((1, 2)))
    >>> component, total = estimate([block] * 4, states, np.array([[3.0, 4.0]]), [[0], [2]])
    >>> component.tolist(), float(total)
    ([[4.5, 6.0]], 7.5)
    """
    raise NotImplementedError("estimate")
