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
# # 07 · The residual block: solutions
#
# Of [07 · The residual block](../07_residual_block.ipynb). Try them there first; other ways are as
# good if the check says so.

# %%
import numpy as np

import minires.functional as F
from minires import nn
from minires.exercises import residual_block

# %% [markdown]
# ## Exercise 1: a basic block
#
# The ReLU after the sum is the block's activation, not the end of the branch: a branch that ended
# with a ReLU could only add. A function as a class attribute would become a method, hence
# `staticmethod`; `self.activation = nn.ReLU()` does as well.


# %%
class Basic(nn.ResidualBlock):
    activation = staticmethod(F.relu)

    def __init__(self, channels):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )


residual_block.basic_block(Basic)

# %% [markdown]
# ## Exercise 2: the shortcut of option A
#
# Both steps are operations on tensors, so the gradient finds its way back. `F.pad` counts from the
# last axis: columns, rows, channels.


# %%
def my_pad_shortcut(x, out_channels, stride):
    x = x[:, :, ::stride, ::stride]
    return F.pad(x, (0, 0, 0, 0, 0, out_channels - x.shape[1]))


residual_block.pad_shortcut(my_pad_shortcut)

# %% [markdown]
# ## Exercise 3: a projection shortcut
#
# $W_s$ mixes the channels of one pixel, so the window is 1x1. No bias, since batch norm takes off
# the mean and has a shift of its own; no ReLU, since it comes after the sum.


# %%
def my_projection(in_channels, out_channels, stride):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


residual_block.projection(my_projection)

# %% [markdown]
# ## Exercise 4: count them
#
# From $a$ to $b$ channels: $a b$ weights, and a scale and a shift for each of $b$. With B there are
# two such blocks, the first of the second and of the third stage. With C every block has one, also
# those of the first stage.


# %%
def my_shortcut_parameters(option, width, blocks):
    total, channels = 0, width
    for out in (width, 2 * width, 4 * width):
        for _ in range(blocks):
            if option == "C" or (option == "B" and out != channels):
                total += channels * out + 2 * out
            channels = out
    return total


residual_block.shortcut_parameters(my_shortcut_parameters)

# %% [markdown]
# ## Exercise 5: the gradient at the fork
#
# A sum hands its gradient to both terms, whole. A fork adds what comes back.


# %%
def my_fork(grad_out, x, w1, w2):
    before = x @ w1.T  # (N, D)
    hidden = np.maximum(before, 0)
    grad_w2 = grad_out.T @ hidden  # (D, D)
    grad_before = (grad_out @ w2) * (before > 0)
    grad_w1 = grad_before.T @ x
    grad_x = grad_out + grad_before @ w1  # skip + branch
    return grad_x, grad_w1, grad_w2


residual_block.fork(my_fork)

# %% [markdown]
# ## Exercise 6: make a block the identity
#
# The branch ends with weight * (normalised) + bias. Both to zero: then it is zero whatever comes
# before, and whatever the running statistics are. The bias alone or the weight alone is not enough.
# The weight has a gradient as long as what it multiplies is not zero, so the convolutions stay as
# they are.


# %%
def my_identity(block):
    nn.init.zeros_(block.bn2.weight)
    nn.init.zeros_(block.bn2.bias)
    return block


residual_block.identity(my_identity)

# %% [markdown]
# Back to [07 · The residual block](../07_residual_block.ipynb).
