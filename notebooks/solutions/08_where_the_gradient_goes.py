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
# # 08 · Where the gradient goes: solutions
#
# Of [08 · Where the gradient goes](../08_where_the_gradient_goes.ipynb). Try them there first;
# other ways are as good if the check says so.

# %%
import numpy as np

import minires as mr
from minires.exercises import gradient_flow

# %% [markdown]
# ## Exercise 1: skip and branch by hand
#
# `u.detach()` has the same numbers as `u` and no history. So both sums below have the value of the
# real one, and only one of the two ways leads back to `u`. `mr.grad` touches no `.grad`; with
# `backward()` the second result would be added to the first.


# %%
def fork(u, shortcut, branch, grad_out):
    (skip,) = mr.grad(shortcut(u) + branch(u.detach()), u, grad_out)
    (through,) = mr.grad(shortcut(u.detach()) + branch(u), u, grad_out)
    return skip, through


gradient_flow.fork(fork)

# %% [markdown]
# The other term of the sum need not even be there: an addition hands `grad_out` on to each of its
# terms, so `mr.grad(shortcut(u), u, grad_out)` gives the same.

# %% [markdown]
# ## Exercise 2: share and cosine
#
# `np.linalg.norm` of an array with more than two dimensions is the root of the sum of all squares,
# if it is told no axis. The cosine needs the sign of the inner product: -1 means that skip and
# branch cancel.


# %%
def share_and_cosine(skip, branch):
    skip_norm, branch_norm = np.linalg.norm(skip), np.linalg.norm(branch)
    share = skip_norm / (skip_norm + branch_norm)
    cosine = (skip * branch).sum() / (skip_norm * branch_norm)
    return share, cosine


gradient_flow.share_and_cosine(share_and_cosine)

# %% [markdown]
# The same as in a ledger:

# %%
images, labels = mr.data.load_digits().batch(64)
mr.manual_seed(0)
model = mr.models.cifar_resnet(20, width=8, in_channels=1)
entry = mr.flow.ledger(model, images, labels).blocks[4]
print("by hand    ", *(f"{value:.4f}" for value in share_and_cosine(entry.skip, entry.branch)))
print("the ledger ", f"{entry.share:.4f}", f"{entry.cosine:.4f}")

# %% [markdown]
# ## Exercise 3: what a lesion leaves
#
# An ordinary block multiplies the gradient by $1 + w$: 1 over its skip, $w$ through its branch. A
# block whose skip is cut multiplies it by $w$. In the ratio the blocks that are not cut drop out,
# since the forward pass, and so their $1 + w$, is the same in both passes.


# %%
def left(w, cut):
    ratio = 1.0
    for place in cut:
        ratio *= w[place] / (1 + w[place])
    return ratio


gradient_flow.left_without_skips(left)

# %% [markdown]
# With $w = 1$ half is left of each block, and of 27 blocks $2^{-27}$, or 7e-9. The network of 56
# layers in the notebook was of that order.

# %% [markdown]
# ## Exercise 4: read the dial
#
# **c** says what the table says, and no more. **a** is contradicted by the column "first |g|": the
# gradient at alpha 0 is the larger one before training. **b** takes a loss near that of guessing
# for a good start; the error is about 90 % at every setting. **d** may be true or not: the dial
# changes the function and the way of the gradient at once, so it cannot tell. (The training with a
# lesion in the notebook can, and there both counted.)

# %%
gradient_flow.reading("c")

# %% [markdown]
# Back to [08 · Where the gradient goes](../08_where_the_gradient_goes.ipynb).
