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
# # 13 · Training a ResNet on Fashion-MNIST: solutions
#
# Of [13 · Training a ResNet on Fashion-MNIST](../13_training_fashion_mnist.ipynb). Try them there
# first; other ways are as good if the check says so.

# %%
import numpy as np

from minires.exercises import training as check

# %% [markdown]
# ## Exercise 1: the rate at a step
#
# Each milestone that has been reached divides by 10 once more. Step `m` is the first at the new
# rate, so `>=`: the scheduler is stepped after the optimiser, and after step `m - 1` it has
# counted to `m`.


# %%
def rate(step, base, milestones):
    reached = sum(step >= milestone for milestone in milestones)
    return base * 0.1**reached


check.rate(rate)

# %% [markdown]
# ## Exercise 2: steps and epochs
#
# The smaller last batch is a step, too: round up. Steps 0 to `steps - 1` are epoch 1, so the
# whole epochs before the step, plus one.


# %%
def drop_in_epochs(images, batch_size, drop):
    steps = -(-images // batch_size)  # rounded up
    return steps, drop // steps + 1


check.drop_in_epochs(drop_in_epochs)

# %% [markdown]
# The paper's first fall, at step 32,000 with 50,000 images:

# %%
drop_in_epochs(50_000, 128, 32_000)

# %% [markdown]
# ## Exercise 3: the loss of an epoch
#
# A mean over a batch times its size is the sum over its images. The mean of the means would count
# an image of a small last batch for more than one of the others.


# %%
def epoch_loss(batch_losses, batch_sizes):
    return (batch_losses * batch_sizes).sum() / batch_sizes.sum()


check.epoch_loss(epoch_loss)

# %% [markdown]
# ## Exercise 4: the error
#
# `argmax` takes a `nan` for the largest number there is. A network whose numbers have all become
# `nan` would answer class 0 always, and seem right for a tenth of the images.


# %%
def top1_error(logits, labels):
    wrong = (logits.argmax(1) != labels) | np.isnan(logits).any(1)
    return 100.0 * wrong.mean()


check.top1_error(top1_error)

# %% [markdown]
# ## Exercise 5: over-fitting, or not optimised?
#
# A network that over-fits knows its training images *better* and others worse. If it is worse on
# its own training images as well, there is nothing that it has learned too well.


# %%
def what_failed(shallow, deep):
    if deep[1] <= shallow[1]:
        return "neither"
    return "fails to optimise" if deep[0] > shallow[0] else "over-fits"


check.what_failed(what_failed)

# %% [markdown]
# The long runs, each deeper network beside the one of 20 layers:

# %%
for kind in ("plain", "residual"):
    for depth in (32, 56):
        for seed in (0, 1):
            shallow, deep = (check.LONG_RUNS[kind, d, seed][1:] for d in (20, depth))
            print(f"{kind}-20 and {kind}-{depth}, seed {seed}: {what_failed(shallow, deep)}")

# %% [markdown]
# Back to [13 · Training a ResNet on Fashion-MNIST](../13_training_fashion_mnist.ipynb).
