# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Shattering, Jacobians and the loss landscape: solutions
#
# Of [12 · Shattering, Jacobians and the loss landscape](../12_shattering_and_landscape.ipynb). Try
# them there first; other ways are as good if the check says so.

# %%
import numpy as np

import minires as mr
from minires.exercises import landscape

# %% [markdown]
# ## Exercise 1: the correlation of gradients
#
# All products at once are the entries of $G G^T$. On its diagonal are the $|g_i|^2$; the rest are
# the pairs, each of them twice, and there are $n(n-1)$ of these entries. No mean is taken off:
# before training it is zero in expectation, and the theorems are about these products.


# %%
def gradient_correlation(grads):
    n = len(grads)
    products = grads @ grads.T
    squares = np.trace(products)
    return (products.sum() - squares) / (n * (n - 1)) / (squares / n)


landscape.gradient_correlation(gradient_correlation)

# %% [markdown]
# On the residual stack of four layers of the notebook. Theorem 2 says $(3/4)^4$; with the
# network's own gates it is more.

# %%
mr.manual_seed(2)
stack = mr.models.stack(4, 128, kind="residual", norm=None)
points = mr.randn(32, 128).requires_grad_(True)
(grads,) = mr.grad((stack(points) * mr.randn(128)).sum(), points)
print(f"measured {gradient_correlation(grads.numpy()):.3f}, theorem {0.75**4:.3f}")

# %% [markdown]
# ## Exercise 2: the largest singular value
#
# $J^T J$ is symmetric, and its eigenvalues are the squares of the singular values. Multiplied by
# it again and again, and set to length 1 each time, $v$ turns to the direction that is stretched
# most; then $|J v|$ is the value itself. Powers of $J$ alone would lead to its eigenvalues, which
# are other numbers.


# %%
def largest_singular_value(jvp, vjp, v, steps):
    v = v / np.linalg.norm(v)
    for _ in range(steps):
        v = vjp(jvp(v))
        v = v / np.linalg.norm(v)
    return np.linalg.norm(jvp(v))


landscape.largest_singular_value(largest_singular_value)

# %% [markdown]
# On the first layer of the residual stack, beside the lens:

# %%
mr.manual_seed(0)
stack = mr.models.stack(20, 64, kind="residual", norm=None)
samples = mr.randn(4, 64)
at = mr.tensor(samples.numpy()[:1], requires_grad=True)
out = stack.layers[0](at)
cotangent = mr.zeros(1, 64, requires_grad=True)
(back,) = mr.grad(out, at, cotangent, create_graph=True)


def vjp(u):
    given = mr.tensor(np.asarray(u, dtype=np.float32)[None])
    return mr.grad(out, at, given, retain_graph=True)[0].numpy()[0]


def jvp(v):
    given = mr.tensor(np.asarray(v, dtype=np.float32)[None])
    return mr.grad(back, cotangent, given, retain_graph=True)[0].numpy()[0]


start = np.random.default_rng(3).standard_normal(64)
found = largest_singular_value(jvp, vjp, start, 200)
lens = mr.flow.jacobian_lens(stack, samples)
print(f"power iteration {found:.4f}, lens {lens.blocks[0].block.values[0, 0]:.4f}")

# %% [markdown]
# ## Exercise 3: a filter-normalised direction
#
# Put each filter in a row. Then the norms are those of the rows, and one factor belongs to each
# row.


# %%
def filter_normalised(weight, direction):
    w, d = (a.reshape(len(a), -1) for a in (weight, direction))  # (filters, numbers of a filter)
    ratio = np.linalg.norm(w, axis=1) / np.linalg.norm(d, axis=1)
    return (d * ratio[:, None]).reshape(weight.shape)


landscape.filter_normalised(filter_normalised)

# %% [markdown]
# ## Exercise 4: what the pictures show
#
# Only **c** says no more than what is drawn. **a** takes flat for good: at the height of guessing
# flat means that nothing is learned. **b** takes a plane for the whole space: along the Hessian's
# eigenvector the loss rises hundreds of times as fast as along a random direction. **d** compares
# a network that has learned its images with one that has not; the training error of the plain
# network is higher as well, so that it is the optimisation that failed first.

# %%
answer = "c"

landscape.what_it_shows(answer)

# %% [markdown]
# Back to [12 · Shattering, Jacobians and the loss landscape](../12_shattering_and_landscape.ipynb).
