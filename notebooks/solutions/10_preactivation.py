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
# # 10 · Pre-activation, and the orders of BN, ReLU and addition: solutions
#
# Of [10 · Pre-activation, and the orders of BN, ReLU and addition](../10_preactivation.ipynb). Try
# them there first; other ways are as good if the check says so.

# %%
import numpy as np

from minires import nn
from minires.exercises import preactivation

# %% [markdown]
# ## Exercise 1: what the skips alone leave
#
# The gradient comes from the end, so the products are taken from the end: turn the scales round,
# multiply up, turn back. Block $l$ has the scales $l$ to $L - 1$ between itself and $x_L$, its own
# among them.


# %%
def skip_factors(scales):
    return np.cumprod(scales[::-1])[::-1]


preactivation.skip_factors(skip_factors)

# %% [markdown]
# ## Exercise 2: what the ReLU masks
#
# ReLU hands on zero where its input is not above 0. A way is clear where *every* block's sum is
# above 0 at the same place; the product of the shares would be right only for blocks that mask
# independently.


# %%
def mask_statistics(sums):
    is_open = sums > 0  # (L, N, C, H, W)
    masked = 1 - is_open.mean(axis=(1, 2, 3, 4))  # (L,)
    return masked, is_open.all(axis=0).mean()


preactivation.mask_statistics(mask_statistics)

# %% [markdown]
# ## Exercise 3: a pre-activation block
#
# All is in the branch. `activation` is left out, so nothing follows the sum; `pre` too, since what
# stands there would lie on the skip as well.


# %%
class PreActivation(nn.ResidualBlock):
    def __init__(self, channels):
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )


preactivation.preactivation_block(PreActivation)

# %% [markdown]
# ## Exercise 4: only up
#
# In `relu-before-addition` the branch ends with a ReLU, so that nothing below 0 is added; and
# nothing follows the sum. Everywhere else the branch ends with batch norm or a convolution, which
# give both signs.

# %%
answer = "relu-before-addition"

preactivation.only_grows(answer)

# %% [markdown]
# ## Exercise 5: where a gate has to start
#
# Each skip multiplies by $1 - \sigma(b)$, and $(1 - \sigma(b))^L$ is to be `kept`. So
# $s = \sigma(b) = 1 - kept^{1/L}$, and $\sigma$ is undone by $b = \log\frac{s}{1 - s}$.


# %%
def gate_bias(blocks, kept):
    opening = 1 - kept ** (1 / blocks)
    return np.log(opening / (1 - opening))


for blocks in (9, 54):
    print(f"half of the signal through {blocks} gates: b = {gate_bias(blocks, 0.5):.2f}")
preactivation.gate_bias(gate_bias)

# %% [markdown]
# Back to [10 · Pre-activation, and the orders of BN, ReLU and addition](../10_preactivation.ipynb).
