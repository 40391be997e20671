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
# # 09 · Paths: solutions
#
# Of [09 · Paths](../09_paths.ipynb). Try them there first; other ways are as good if the check says
# so.

# %%
import itertools
import math

import minires as mr
from minires.exercises import paths

# %% [markdown]
# ## Exercise 1: count them
#
# A path of length $k$ is a choice of $k$ of the residual blocks, $\binom{n}{k}$ of them. A plain
# block has no skip, so its branch is on every path: the list moves up by the number of plain
# blocks, and begins with zeros.


# %%
def count(residual, plain):
    return [0] * plain + [math.comb(residual, k) for k in range(residual + 1)]


paths.count_paths(count)

# %% [markdown]
# ## Exercise 2: multiply it out
#
# Block by block. Multiplied by $a + b t$, a coefficient stays in its place times $a$, and moves up
# by one times $b$. After block $l$ the list has $l + 1$ numbers, so the work grows as $L^2$ and not
# as $2^L$. `path_spectrum` does the same, with arrays for the coefficients and the products of a
# block's Jacobians for $a$ and $b$.


# %%
def multiply(skips, branches):
    c = [1.0]
    for a, b in zip(skips, branches, strict=True):
        over_skip = [a * number for number in c] + [0.0]
        through_branch = [0.0] + [b * number for number in c]
        c = [one + other for one, other in zip(over_skip, through_branch, strict=True)]
    return c


paths.spectrum(multiply)

# %% [markdown]
# Or path by path, which is fine for a few blocks:


# %%
def multiply_by_paths(skips, branches):
    c = [0.0] * (len(skips) + 1)
    for path in itertools.product((0, 1), repeat=len(skips)):
        c[sum(path)] += math.prod(
            b if takes_branch else a
            for a, b, takes_branch in zip(skips, branches, path, strict=True)
        )
    return c


paths.spectrum(multiply_by_paths)

# %% [markdown]
# ## Exercise 3: the effective length
#
# A weighted mean: the sum of length times weight, divided by the sum of the weights. The number of
# paths does not enter: a component is the sum over all its paths already.


# %%
def mean_length(lengths, norms):
    return sum(k * norm for k, norm in zip(lengths, norms, strict=True)) / sum(norms)


paths.effective_length(mean_length)

# %% [markdown]
# For the network of 56 layers before training:

# %%
mr.manual_seed(0)
deep = mr.models.cifar_resnet(56, width=8, in_channels=1)
found = mr.flow.path_spectrum(deep, *mr.data.load_digits().batch(64))
print(f"mean length {mean_length(found.lengths, found.norms):.1f} of {found.lengths[-1]}")

# %% [markdown]
# ## Exercise 4: what follows
#
# **b** is what the upper panels show. **a** does not follow: without four of nine blocks the same
# network errs on about half of the images, and without eight on four of five. **c** is contradicted
# by the dotted line, the error of the intact plain network, which is low. **d** is about the
# gradient in training, and the lesion was made afterwards, in the function: the figures are silent
# on it.

# %%
paths.lesions("b")

# %% [markdown]
# Back to [09 · Paths](../09_paths.ipynb).
