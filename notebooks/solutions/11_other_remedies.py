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
# # 11 · The other remedies: solutions
#
# Of [11 · The other remedies](../11_other_remedies.ipynb). Try them there first; other ways are as
# good if the check says so.

# %%
import numpy as np

import minires as mr
from minires import nn
from minires.exercises import remedies

# %% [markdown]
# ## Exercise 1: a plain block that changes nothing
#
# Both convolutions copy. Batch norm takes off a mean and divides by $\sqrt{\sigma^2 + \epsilon}$:
# the weight multiplies by that root, with $\epsilon$ in it, and the bias adds the mean. Both ReLUs
# are then given what is not negative. With running statistics of 0 and 1 and $\gamma = \sqrt{1 +
# \epsilon}$ it would be the identity in evaluation mode as well, but not in training mode.


# %%
def neutral_block(block, mean, var):
    for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        nn.init.dirac_(conv.weight)
        values = {
            "running_mean": mean,
            "running_var": var,
            "weight": np.sqrt(var + norm.eps),
            "bias": mean,
        }
        tensors = {name: mr.tensor(value.astype(np.float32)) for name, value in values.items()}
        norm.load_state_dict({**norm.state_dict(), **tensors})
    return block


remedies.neutral_block(neutral_block)

# %% [markdown]
# ## Exercise 2: the total loss
#
# Sums of tensors keep their history, so the gradient of each loss finds its output. `nn.total_loss`
# does this with the weight 0.3.


# %%
def total_loss(loss, main, auxiliary, target, weight):
    value = loss(main, target)
    for output in auxiliary:
        value = value + weight * loss(output, target)
    return value


remedies.total_loss(total_loss)

# %% [markdown]
# ## Exercise 3: Fixup's factor
#
# $s^{2(m-1)} = L^{-1}$, so $s = L^{-1/(2m-2)}$: for branches of two layers the root of $1/L$.


# %%
def fixup_scale(blocks, layers):
    return blocks ** (-1 / (2 * layers - 2))


remedies.fixup_scale(fixup_scale)

# %% [markdown]
# ## Exercise 4: the expected number of branches
#
# The expected number is the sum of the probabilities. With $\sum_l l = L (L + 1) / 2$ it is
# $L - (1 - p_L)(L + 1) / 2$; the loop is as good.


# %%
def expected_depth(blocks, last):
    return sum(1 - i / blocks * (1 - last) for i in range(1, blocks + 1))


print(expected_depth(54, 0.5), "of 54, and by the formula", 54 - (1 - 0.5) * (54 + 1) / 2)
remedies.expected_depth(expected_depth)

# %% [markdown]
# Back to [11 · The other remedies](../11_other_remedies.ipynb).
