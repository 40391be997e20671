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
# # 01 · Autograd: solutions
#
# Of [01 · Autograd](../01_autograd.ipynb). Try them there first; other ways are as good if the
# check says so.

# %%
import numpy as np

import minires as mr
import minires.functional as F
from minires.autograd import Function
from minires.exercises import autograd

# %% [markdown]
# ## Exercise 1: the order
#
# Count for each node how many edges lead to it from above. A node is ready when all of them have
# been used; the root is ready at once. With a list as a stack the depth of the graph does not
# matter. (The other way is to visit parents first, note each node down after them, and turn the
# list round.)


# %%
def order(root, parents):
    waiting = {}  # node: edges from consumers that have not fired yet
    seen, stack = set(), [root]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for parent in parents[node]:
                waiting[parent] = waiting.get(parent, 0) + 1
                stack.append(parent)
    fired, ready = [], [root]
    while ready:
        node = ready.pop()
        fired.append(node)
        for parent in parents[node]:
            waiting[parent] -= 1
            if waiting[parent] == 0:
                ready.append(parent)
    return fired


autograd.firing_order(order)

# %% [markdown]
# ## Exercise 2: a value that is used twice
#
# The output's gradient by itself is 1. Everything else starts at 0 and is added to. Because of the
# order, `grads[node]` is complete when its turn comes.


# %%
def gradients(order, parents, slopes):
    grads = dict.fromkeys(order, 0.0)
    grads[order[0]] = 1.0
    for node in order:
        for parent, slope in zip(parents[node], slopes[node], strict=True):
            grads[parent] += grads[node] * slope
    return grads


autograd.accumulate(gradients)

# %% [markdown]
# ## Exercise 3: backward of a broadcast product
#
# As if the shapes were equal, each gradient is `grad_out` times the other factor. Row by row
# that is right for `b` too, but `b` was used in every row, so the rows are added up.


# %%
def backward(grad_out, a, b):
    return grad_out * b, (grad_out * a).sum(axis=0)


autograd.broadcast_product(backward)

# %% [markdown]
# ## Exercise 4: a Function for softplus
#
# The slope of $\log(1 + e^x)$ is $e^x / (1 + e^x)$, the sigmoid. `logaddexp(0, x)` is
# $\log(e^0 + e^x)$, computed without overflow. `F.sigmoid` takes arrays and tensors, so the same
# line serves ordinary backward and second derivatives. What is saved is an input, which has a place
# in the graph.


# %%
class Softplus(Function):
    """out = log(1 + e^x);  grad_x = grad_out * sigmoid(x)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return np.logaddexp(0.0, x)

    @staticmethod
    def backward(ctx, grad_out):
        return grad_out * F.sigmoid(ctx.saved("x"))


autograd.softplus(Softplus)

# %% [markdown]
# ## Exercise 5: a Hessian times a vector
#
# The first pass is recorded. Its result times $v$, summed, is a number that depends on $x$ through
# the gradient alone, and the gradient of that number is $H v$.


# %%
def product(f, x, v):
    (g,) = mr.grad(f(x), x, create_graph=True)
    (hv,) = mr.grad((g * v).sum(), x)
    return hv


autograd.hessian_vector(product)

# %% [markdown]
# Back to [01 · Autograd](../01_autograd.ipynb).
