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
# # 06 · Plain stacks: solutions
#
# Of [06 · Plain stacks](../06_plain_stacks.ipynb). Try them there first; other ways are as good if
# the check says so.

# %%
import math

import numpy as np

import minires as mr
from minires.exercises import plain_stacks

# %% [markdown]
# ## Exercise 1: the standard deviation
#
# He et al. 2015b, equation 10: $\tfrac12 n \sigma^2 = 1$, so $\sigma = \sqrt{2/n}$. Forward $n$ is
# what an output reads: all taps of all input channels. Backward (equation 14) it is what an input
# reaches: all taps of all *output* channels. The 2 makes up for the ReLU.


# %%
def he_std(shape, mode):
    channels_out, channels_in, *kernel = shape
    channels = channels_in if mode == "fan_in" else channels_out
    return math.sqrt(2 / (channels * math.prod(kernel)))


plain_stacks.he_std(he_std)

# %% [markdown]
# ## Exercise 2: what is left
#
# A layer multiplies the mean square by $\tfrac12 n \sigma^2$, and so the norm by
# $\sigma\sqrt{n/2}$: the scale $s$ beside He's initialisation. Layers come one after the other, so
# their factors are multiplied.


# %%
def norm_after(sigma, width, layers):
    return (sigma * math.sqrt(width / 2)) ** layers


plain_stacks.norm_after(norm_after)

# %% [markdown]
# Beside a real stack, of weights 0.9 times those of He:

# %%
width, layers = 256, 30
mr.manual_seed(0)
stack = mr.models.stack(layers, width, norm=None, init_scale=0.9)
x = mr.randn(64, width)
measured = np.linalg.norm(stack(x).detach().numpy()) / np.linalg.norm(x.numpy())
predicted = norm_after(0.9 * he_std((width, width), "fan_in"), width, layers)
print(f"measured {measured:.3f}, predicted {predicted:.3f}")

# %% [markdown]
# ## Exercise 3: the factor a layer
#
# If each layer multiplies by $f$ on the way back, $\log|g_l|$ falls by $\log f$ from one place to
# the next: a straight line of slope $-\log f$. Fit it, and undo the logarithm. (The $L$-th root of
# first over last is right as well; the fit uses all places, so that noise at the two ends matters
# less.)


# %%
def factor_a_layer(norms):
    slope, _ = np.polyfit(np.arange(len(norms)), np.log(norms), 1)
    return math.exp(-slope)


plain_stacks.factor_a_layer(factor_a_layer)

# %% [markdown]
# On the normalised stack of the notebook, layers 4 to 20:

# %%
mr.manual_seed(0)
stack = mr.models.stack(24, 256, norm="batch")
vector = np.random.default_rng(1).standard_normal((128, 256)).astype(np.float32)
ledger = mr.flow.ledger(stack, mr.randn(128, 256), vector, lambda out, v: (out * v).sum())
print(f"{factor_a_layer([block.grad_norm for block in ledger.blocks[4:21]]):.3f}")

# %% [markdown]
# ## Exercise 4: degradation or over-fitting
#
# The training error decides first. Only a network that is good on its training images can have
# fitted them too well. The test error comes second, and the gap between the two not at all: in
# degradation it may be as wide.


# %%
def what_went_wrong(shallow, deep):
    if deep[0] > shallow[0] + 1:
        return "degradation"
    if deep[1] > shallow[1] + 1:
        return "over-fitting"
    return "neither"


plain_stacks.what_went_wrong(what_went_wrong)

# %% [markdown]
# Back to [06 · Plain stacks](../06_plain_stacks.ipynb).
