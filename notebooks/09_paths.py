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
# # 09 · Paths
#
# Afterwards you can take the gradient of a residual network apart by the number of branches it came
# through, exactly, over all of its $2^L$ paths; say what sampling single paths shows and what it
# hides; and remove blocks from a trained network and read what that does, and does not, tell.
#
# You need notebook 08 (where the gradient goes). It takes about 40 minutes with the four exercises;
# running all cells takes about half a minute.

# %%
import itertools

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires.exercises import paths
from minires.viz import style

data = mr.data.load_digits()
images, labels = data.batch(64)

# %% [markdown]
# ## A sum over paths
#
# Two residual blocks: $x_1 = x_0 + F_1(x_0)$ and $x_2 = x_1 + F_2(x_1)$. Put the first into the
# second (Veit et al. 2016, section 3):
#
# $$ x_2 = x_0 + F_1(x_0) + F_2\big(x_0 + F_1(x_0)\big) $$
#
# The chain rule makes of it, with $J_l$ for the Jacobian of $F_l$ at the point where it really is,
#
# $$ \frac{\partial L}{\partial x_0} = (1 + J_1^\top)(1 + J_2^\top)\, d
#    = d + J_1^\top d + J_2^\top d + J_1^\top J_2^\top d. $$
#
# Four terms for two blocks: at each block a path takes the skip or the branch. For $L$ blocks there
# are $2^L$ paths. The *length* of a path is the number of branches on it.
#
# ### Exercise 1: count them
#
# A network has so many residual blocks, and so many plain ones between them. Write
# `count(residual, plain)`: the list of the numbers of paths of length 0, 1, ...,
# `residual + plain`.


# %%
def count(residual, plain): ...


paths.count_paths(count)

# %% [markdown]
# ## All sixteen paths of four blocks
#
# For four blocks the paths can be taken one by one. The forward pass is always the whole one;
# `detach()` cuts, at each block, the way that the path does not take.

# %%
L = 4
mr.manual_seed(0)
small = mr.models.stack(L, 32, kind="residual", in_channels=64, num_classes=10)


def along(path):
    """The gradient at the first block along one path: path[l] says whether it takes branch l."""
    start = x = small.stem(F.flatten(images, 1))
    for block, takes_branch in zip(small.layers, path, strict=True):
        if takes_branch:
            x = x.detach() + block.branch(x)
        else:
            x = x + block.branch(x.detach())
    loss = F.cross_entropy(small.fc(F.relu(small.bn(x))), labels)
    return mr.grad(loss, start)[0].data


with mr.flow.untouched(small):  # the running statistics stay as they are
    single = {path: along(path) for path in itertools.product((False, True), repeat=L)}
print(len(single), "paths; the norm of the gradient along each:")
for k in range(L + 1):
    norms = [np.linalg.norm(g) for path, g in single.items() if sum(path) == k]
    print(f"{k} branches: ", "  ".join(f"{norm:.4f}" for norm in norms))

# %% [markdown]
# `mr.flow.path_spectrum` finds the sums over all paths of one length without going through the
# paths. It gives every branch a weight $t$, on the way back only. Then a block multiplies by
# $1 + t J_l^\top$, the gradient is a polynomial in $t$, and its coefficient $c_k$ is what came
# through exactly $k$ branches:
#
# $$ g(t) = c_0 + c_1 t + c_2 t^2 + \dots + c_L t^L,
#    \qquad g(1) = \frac{\partial L}{\partial x_0}. $$
#
# Is it the same as the sum of the paths?

# %%
spectrum = mr.flow.path_spectrum(small, images, labels)
print("length   paths   sum of the paths   component   relative difference")
for k, component in zip(spectrum.lengths, spectrum.components, strict=True):
    by_hand = sum(g for path, g in single.items() if sum(path) == k)
    off = np.linalg.norm(by_hand - component) / np.linalg.norm(component)
    norms = np.linalg.norm(by_hand), np.linalg.norm(component)
    print(f"{k:6}   {spectrum.counts[k]:5}   {norms[0]:16.4f}   {norms[1]:9.4f}   {off:19.0e}")

# %% [markdown]
# It is, up to rounding. For 27 blocks there are 134 million paths, but 28 coefficients, and the
# spectrum carries coefficients and not paths.
#
# There is another way to check it. With $t = 0.5$ the polynomial is the gradient of a network whose
# branches count half, in backward only. That is a lesion of notebook 08:

# %%
for t in (0.0, 0.5, 1.0, 2.0):
    lesion = mr.flow.backward_lesion(small, images, labels, skip=1.0, branch=t)
    polynomial = sum(c * t**k for k, c in enumerate(spectrum.components))
    measured = lesion.blocks[0].input.lesioned_norm
    print(f"t = {t}: lesion {measured:.5f}, polynomial {np.linalg.norm(polynomial):.5f}")

# %% [markdown]
# ### Exercise 2: multiply it out
#
# A chain in which everything is a number: block $l$ multiplies the gradient by $a_l$ over its skip
# and by $b_l$ through its branch. Write `multiply(skips, branches)` that returns the coefficients
# $[c_0, c_1, \dots, c_L]$ of $\prod_l (a_l + b_l t)$. (Going through all $2^L$ paths is allowed.)


# %%
def multiply(skips, branches): ...


paths.spectrum(multiply)

# %% [markdown]
# ## Which paths carry the gradient
#
# Now a residual network of 56 layers: 27 blocks, so a path drawn at random goes
# through 13.5 branches on average.
#
# **Predict first.** Through how many branches did most of its gradient come, before training?

# %%
mr.manual_seed(0)
deep = mr.models.cifar_resnet(56, width=8, in_channels=1)
found = mr.flow.path_spectrum(deep, images, labels)
found

# %%
gradient = np.linalg.norm(sum(found.components))
print(f"norm of the gradient         {gradient:.2f}")
print(f"sum of the components' norms {sum(found.norms):.2f}")
print(f"sum of the signed shares     {sum(found.shares):.4f}")
print(f"components against a separate pass: {found.max_error:.0e}")
for k in (0, 7, 13, 27):
    size, share = found.norms[k], 100 * found.shares[k]
    print(
        f"{k:2} branches: {found.counts[k]:10,} paths, norm {size:.1e}, signed share {share:+.1f} %"
    )

# %% [markdown]
# Through six to ten of 27, the middle half of it. Fewer than the 13 or 14 of a path drawn at
# random, and more than none: the one path over all skips carries almost nothing, and so does the
# one through all the branches.
#
# Two ways to say "how much": the *norms* of the components add up to about three times the
# gradient, so they cancel in part. The *signed share* $\langle c_k, g \rangle / |g|^2$ counts what
# points along the gradient, and adds up to 1.
#
# ### Exercise 3: the effective length
#
# Write `mean_length(lengths, norms)`: the mean length, each length weighted by the norm of its
# component. Try it on `found.lengths` and `found.norms`.


# %%
def mean_length(lengths, norms): ...


paths.effective_length(mean_length)

# %% [markdown]
# ## Single paths, drawn at random
#
# Veit et al. 2016 asked the same question in another way (their figure 6). They drew single paths
# of each length, measured the norm of the gradient along them, and multiplied the mean by the
# number of paths. `mr.flow.sample_paths` does that.
#
# **Predict first.** The mean norm falls with the length, the number of paths is largest in the
# middle. Will the product have its peak where the spectrum has it? And will the products add up to
# the norm of the gradient, to less, or to more?

# %%
sample = mr.flow.sample_paths(deep, images, labels, samples=3)
sample

# %%
with style.context():
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axes.semilogy(
        sample.lengths, sample.totals, "o--", color="#d47d00", label="mean norm times paths"
    )
    axes.semilogy(found.lengths, found.norms, "s-", color="#0a4c94", label="exact component")
    axes.axhline(
        gradient, color="#1f2430", linewidth=0.9, linestyle=":", label="the whole gradient"
    )
    axes.set(
        title="Sampled and exact", xlabel="branches on the path", ylabel="norm", ylim=(1e-9, 1e4)
    )
    axes.legend(loc="lower left")
plt.show()

print(f"sum of the products: {sum(sample.totals):.0f}, the gradient: {gradient:.2f}")
print(f"the longest path, of which there is one: {sample.totals[-1]:.2e} and {found.norms[-1]:.2e}")

# %% [markdown]
# The product lies far above the exact components, more than a thousand times in all, and its peak
# is at longer paths. It adds up norms as if all paths of one length pointed the same way. They do
# not: among millions of gradients in about random directions most cancels, and the longer the
# paths, the more of them there are. Where there is one path, at both ends, the two agree.
#
# So the figure of the paper is right in what it says of short paths: they carry the gradient, and
# the exact spectrum moves it to shorter ones yet. As a measure of *how much* comes over each length
# it is not: it ignores cancellation, and a mean of few samples of numbers that differ ten-fold is a
# rough one. You have seen the cancellation on a small scale, too: the six paths through two of four
# branches.

# %%
two = [g for path, g in single.items() if sum(path) == 2]
print(f"sum of the six norms {sum(np.linalg.norm(g) for g in two):.3f}")
print(f"norm of their sum    {np.linalg.norm(sum(two)):.3f}")

# %% [markdown]
# ## Removing blocks
#
# If a network is a sum over many paths, then leaving out one block takes away half of them, and
# leaves the other half. A plain network has one path. `mr.flow.forward_lesion` leaves out blocks of
# a trained network at test time, and measures its error. First train both for four epochs:


# %%
def train(build, epochs=4):
    mr.manual_seed(1)
    model = build(20, width=8, in_channels=1)
    loader = mr.data.DataLoader(data.train, 64, shuffle=True, seed=1)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = mr.optim.lr_scheduler.MultiStepLR(optimizer, [epochs - 1])
    mr.train.fit(model, loader, optimizer, epochs=epochs, scheduler=scheduler)
    return model


residual = train(mr.models.cifar_resnet)
plain = train(mr.models.cifar_plain)

# %% [markdown]
# **Predict first.** Ten classes, so guessing errs on 90 %. What will the error of the residual
# network be without one of its nine blocks, and that of the plain one? What will it be without
# four?

# %%
without = {
    kind: mr.flow.forward_lesion(model, data.test, permute=0)
    for kind, model in (("residual", residual), ("plain", plain))
}
without["residual"]

# %%
without["plain"]

# %%
for kind, result in without.items():
    errors = sorted(row.error for row in result.blocks)
    print(
        f"{kind:9} intact {result.error:4.1f} %, without one block: lowest {errors[0]:.1f} %, "
        f"median {errors[len(errors) // 2]:.1f} %, highest {errors[-1]:.1f} %"
    )
    for size in (2, 4, 8):
        errors = [row.error for row in result.sets if len(row.blocks) == size]
        print(
            f"{'':9} without {size} at random: mean of {len(errors)} draws {np.mean(errors):.0f} %"
        )

# %% [markdown]
# Of the residual network most blocks can be missing at little cost; of the plain one none can: it
# falls to guessing, whichever it is. That is figure 3 of Veit et al. 2016.
#
# Now the other half. Which block hurts the residual network most? Here it is the first one, and the
# first block of a stage hurts more than those after it. And with every further block the error
# grows; without four of nine the network fails on about half of the images. In a network with 54
# blocks four are a small part, in this one they are not. "Gently" is meant beside the plain
# network.
#
# ### Exercise 4: what follows
#
# Which of these statements follows from the figures?
#
# - **a** Since any of most blocks can be missing, the residual network needs only a few of its
#   blocks.
# - **b** The function of the residual network depends far less on any single one of most of its
#   blocks than that of the plain network does.
# - **c** The plain network falls to guessing because it was trained badly.
# - **d** The skips help in training because the gradient comes back over the paths that are left.

# %%
answer = ...

paths.lesions(answer)

# %% [markdown]
# ## After training
#
# **Predict first.** Does training move the gradient to longer paths, or to shorter ones?

# %%
mr.manual_seed(1)
spectra = {
    "before": mr.flow.path_spectrum(
        mr.models.cifar_resnet(20, width=8, in_channels=1), images, labels
    ),
    "after": mr.flow.path_spectrum(residual, images, labels),
}
with style.context():
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for (moment, one), look in zip(spectra.items(), ("o--", "s-"), strict=True):
        part = 100 * np.array(one.norms) / sum(one.norms)
        color = {"before": "#d47d00", "after": "#0a4c94"}[moment]
        axes.plot(one.lengths, part, look, color=color, label=f"{moment} training")
    counts = np.array(spectra["before"].counts)
    axes.plot(100 * counts / counts.sum(), ":", color="#5b6270", label="number of paths")
    axes.set(title="Residual network of 20 layers", xlabel="branches on the path")
    axes.set_ylabel("percent of the sum")
    axes.legend()
plt.show()
for moment, one in spectra.items():
    print(moment, "training:", one.caption())

# %% [markdown]
# To shorter ones: to 2 to 4 of the nine branches, from 3 to 6. Hold the curves against the dotted
# line, which is where the paths are. Before training there is nothing short about the paths of this
# network: its gradient lies where the paths lie. In the network of 56 layers the curve before
# training was on the short side already.
#
# ## Summary
#
# - A residual network of $L$ blocks has $2^L$ paths, $\binom{L}{k}$ of length $k$; a plain one has
#   one.
# - The gradient is a polynomial in the weight of the branches. Its coefficients are the exact sums
#   over all paths of a length; they add up to the gradient, and their norms do not.
# - Before training the gradient of 27 blocks comes through six to ten branches. Neither the path
#   over all skips nor that through all branches counts. Training moves it to shorter paths.
# - Mean norm times number of paths, from samples, ignores that paths cancel: more than a thousand
#   times too much in all, and at lengths too great.
# - Leaving out one block hurts a residual network little and ruins a plain one. It says how the
#   function depends on a block, and nothing about the gradient in training.
#
# **References.** Veit, Wilber and Belongie 2016, "Residual networks behave like ensembles of
# relatively shallow networks", section 3 and figure 1 for the paths, figures 3 and 5 for the
# lesions, figure 6 for sampled paths. He, Zhang, Ren and Sun 2015, "Deep residual learning for
# image recognition", equation 1.
#
# Worked solutions: [solutions/09_paths.ipynb](solutions/09_paths.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [10 · Pre-activation, and the orders of BN, ReLU and addition](10_preactivation.ipynb).
