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
# A residual block adds its input to what its layers make of it: $y = \mathrm{ReLU}(x + F(x))$
# (He et al. 2015, equation 1, and the ReLU after the sum of its section 3.2). In minires you write
# down only $F$, the *branch*, and what follows the sum.

# %%
import minires as mr
import minires.functional as F
import minires.nn as nn


class Block(nn.ResidualBlock):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def branch(self, u):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(u)))))

    def activation(self, z):
        return F.relu(z)


# %%
mr.manual_seed(0)
blocks = [Block(8) for _ in range(6)]
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
)
images, labels = mr.data.load_digits().batch(64)
images.shape, labels.shape

# %% [markdown]
# ## The ledger
#
# **Predict first.** The input of a block goes two ways: past the layers and through them. In the
# backward pass two gradients come back to that fork and are added. Which of the two do you expect
# to be larger in a network that has not been trained?
#
# The ledger takes every fork apart and writes down both.

# %%
ledger = mr.flow.ledger(model, images, labels)
print(ledger.table())

# %% [markdown]
# Read a row like this: the *skip share* is the part of the two gradients, by length, that came
# over the skip. Near 100 % the layers hardly matter for what reaches the blocks before; near 0 %
# the skip does not. The *cosine* says whether the two pull the same way (+1), against each other
# (-1), or have nothing to do with each other (near 0). |F|/|S| compares the two ways forward, and
# the last column is the size of the gradient at the block's input.
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
# are the very same. `train()` mode is kept, so batch normalisation uses this batch in both.

# %%
for block in blocks:
    block.shortcut = None
plain = mr.flow.ledger(model, images, labels)

print("block   gradient at the block's input (root mean square)")
print("        residual     plain")
for name, with_skip, without in zip("123456", ledger.blocks, plain.blocks, strict=True):
    print(f"{name:5}   {with_skip.grad_rms:.2e}     {without.grad_rms:.2e}")

# %% [markdown]
# With six blocks the two are of the same order. The difference grows with depth, so look at 27
# blocks, a plain and a residual network of 56 layers:

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
# Perhaps you expected the gradient of the plain network to *vanish*. It grows, by orders of
# magnitude: with batch normalisation in every layer a deep plain stack starts with an exploding
# gradient (Yang et al. 2019, "A mean field theory of batch normalization"), and He et al. 2015 say
# in section 4.1 that vanishing gradients are unlikely to be the cause of the trouble. What the
# skips do to it you see in the second line.
#
# ## What you have seen
#
# - A residual block is a branch, a shortcut, and a sum; in minires you write the branch.
# - At every fork the gradient is the sum of what skip and branch send back, exactly.
# - Without skips a normalised deep stack starts with a gradient that grows on its way back.
#
# Does it matter for training? Run `minires compare` and open the report that it writes.
#
# **References.** He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition",
# equation 1 and section 4.1. Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz 2019, "A mean
# field theory of batch normalization".
