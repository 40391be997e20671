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
# # 00 · A first look
#
# Afterwards you will have built a residual block, and seen how much of the gradient comes back
# over its skip and how much through its layers. You need Python and two minutes; nothing else is
# assumed.

# %% [markdown]
# ## A block, and a small network of it
#
# A residual block adds its input to what its layers make of it: $y = x + F(x)$ (He et al. 2015,
# equation 1). In minires you write down only $F$, the *branch*. These are the ten lines of the
# README, without the last, which follows below:

# %%
import minires as mr
from minires import nn


class Block(nn.ResidualBlock):
    def __init__(self, c):
        super().__init__()
        conv1, conv2 = (nn.Conv2d(c, c, 3, padding=1) for _ in range(2))
        self.branch = nn.Sequential(conv1, nn.BatchNorm2d(c), nn.ReLU(), conv2)


mr.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 8, 3), Block(8), Block(8), nn.Flatten(), nn.Linear(288, 10))

# %% [markdown]
# ## The ledger
#
# **Predict first.** The input of a block goes two ways: past the layers and through them. In the
# backward pass two gradients come back to that fork and are added. Which of the two do you expect
# to be larger in a network that has not been trained?
#
# The ledger takes every fork apart and writes down both, here for a batch of 64 digits.

# %%
images, labels = mr.data.load_digits().batch(64)
ledger = mr.flow.ledger(model, images, labels)
print(ledger.table())

# %% [markdown]
# The skip brings back more, in both blocks: a gradient of length 0.080 against 0.064 in the first
# and 0.070 against 0.041 in the second, which is a share of 56 % and of 63 %. So the layers are not
# idle at all: even before training well over a third comes back through them.
#
# Read a row like this: the *skip share* is the part of the two gradients, by length, that came
# over the skip. Near 100 % the layers hardly matter for what reaches the blocks before; near 0 %
# the skip does not. The *cosine* says whether the two pull the same way (+1), against each other
# (-1), or have nothing to do with each other (near 0). |F|/|S| compares the lengths of the two
# terms of the sum on the way forward, and the last column is the root-mean-square of the gradient
# at the block's input.
#
# A result draws itself when it is the last thing in a cell:

# %%
ledger

# %% [markdown]
# Is the split exact, or an estimate? Every ledger checks itself: it runs the network a second time,
# with nothing taken apart, and compares skip + branch with the gradient that arrives there. The
# relative difference is of the order of rounding ($10^{-7}$ in float32), or even zero:

# %%
ledger.max_error

# %% [markdown]
# ## Plain beside residual
#
# Now the same network without its skips. Setting `shortcut = None` makes a block plain; the weights
# are the very same. Both are measured in training mode, in which a new model is: batch
# normalisation then uses the mean and variance of this batch, as it does when it learns.

# %%
for block in model[1:3]:
    block.shortcut = None
plain = mr.flow.ledger(model, images, labels)

print("block   gradient at the block's input (root mean square)")
print("        residual     plain")
for with_skip, without in zip(ledger.blocks, plain.blocks, strict=True):
    print(f"{with_skip.name:5}   {with_skip.grad_rms:.2e}     {without.grad_rms:.2e}")

# %% [markdown]
# With two blocks the two are of the same order. The difference grows with depth, so look at 27
# blocks, a plain and a residual network of 56 layers. Will the gradient of the plain one vanish on
# its way back?

# %%
found = {}
for kind, build in {
    "plain-56": mr.models.cifar_plain,
    "residual-56": mr.models.cifar_resnet,
}.items():
    mr.manual_seed(0)  # the same weights for both
    found[kind] = mr.flow.ledger(build(56, width=8, in_channels=1), images, labels)
    first, last = found[kind].blocks[0], found[kind].blocks[-1]
    print(
        f"{kind:12} last block {last.grad_rms:.1e}, first block {first.grad_rms:.1e}: "
        f"times {first.grad_rms / last.grad_rms:.0f} on the way back"
    )

# %%
found["residual-56"]

# %% [markdown]
# Perhaps you expected the gradient of the plain network to *vanish*. It grows, about 1,500-fold
# from the last block to the first: with batch normalisation in every layer a deep plain stack
# starts with an exploding gradient (Yang et al. 2019, "A mean field theory of batch
# normalization"), and He et al. 2015 say in section 4.1 that vanishing gradients are unlikely to be
# the cause of the trouble. With skips it grows, too, but about 13-fold: the same weights, and more
# than a hundred times less. The middle panel above shows the share of the skip, between 30 % and
# 72 %, block by block.
#
# ## What you have seen
#
# - A residual block is a branch, a shortcut, and a sum; in minires you write the branch.
# - At every fork the gradient is the sum of what skip and branch send back, exactly.
# - Without skips a normalised deep stack starts with a gradient that grows about 1,500-fold on its
#   way back; with skips, about 13-fold.
#
# Does it matter for training? Run `minires compare` and open the report that it writes.
#
# **References.** He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition",
# equation 1 and section 4.1. Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz 2019, "A mean
# field theory of batch normalization".
