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
# # 10 · Pre-activation, and the orders of BN, ReLU and addition
#
# Afterwards you will be able to
#
# - say what a clean identity path is, and check its two equations in a network;
# - say what a factor on the skips does to the gradient, and what it does not do;
# - count what the ReLU after the sum of 2015 masks, and write the block of 2016 that has none;
# - build the variants of He et al. 2016, figures 2 and 4, and hold them against each other by
#   instruments and by training.
#
# You need notebooks 07 (the residual block), 08 (the ledger) and 09 (paths). It takes about an hour
# with the five exercises; the computing takes about a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import nn
from minires.exercises import preactivation
from minires.viz import style

data = mr.data.load_digits()
images, labels = data.batch(64)

# %% [markdown]
# ## A clean path
#
# Write a residual block as $y_l = h(x_l) + F(x_l)$, $x_{l+1} = f(y_l)$ (He et al. 2016, equations 1
# and 2). $h$ is the skip, and $f$ is what follows the sum. If both are the identity, then
#
# $$x_{l+1} = x_l + F(x_l) \quad (3), \qquad x_L = x_l + \sum_{i=l}^{L-1} F(x_i) \quad (4),$$
#
# $$\frac{\partial E}{\partial x_l} = \frac{\partial E}{\partial x_L}
#   \Big(1 + \frac{\partial}{\partial x_l} \sum_{i=l}^{L-1} F(x_i)\Big) \quad (5).$$
#
# The signal at the end is the signal at block $l$ and what the blocks between have added; the
# gradient at $x_L$ comes back to every $x_l$ as it is, as one term of a sum. A stack of such blocks
# is `models.stack`: here 20 of them, each $F$ = batch norm, ReLU, linear layer.
#
# Both equations can be checked. For the first, look at what is added: `nn.observe` shows every
# block's two terms. For the second the ledger holds, for each block, what came back over the skip
# and what over the branch.

# %%
mr.manual_seed(0)
clean = mr.models.stack(20, 64, kind="residual", in_channels=64, num_classes=10)


class Terms(nn.Observer):
    """Keeps the two terms of every block's sum."""

    def __init__(self):
        self.skips, self.branches = [], []

    def join(self, block, skip, branch):
        self.skips.append(skip.detach().numpy())
        self.branches.append(branch.detach().numpy())
        return skip, branch


def terms_of(model):
    seen = Terms()
    with nn.observe(seen), mr.no_grad():
        model(mr.tensor(images))
    return seen


terms = terms_of(clean)
x_L = terms.skips[-1] + terms.branches[-1]
off = abs(x_L - (terms.skips[0] + sum(terms.branches))).max() / abs(x_L).max()
print("equation 4: x_L is x_0 and all the branches, up to rounding:", off < 1e-5)

entries = mr.flow.ledger(clean, images, labels).blocks
g_L = entries[-1].skip  # the last skip hands on what it is given
g_0 = entries[0].skip + entries[0].branch
off = abs(g_0 - (g_L + sum(entry.branch for entry in entries))).max() / abs(g_0).max()
print("equation 5: g_0 is g_L and what all branches send back:     ", off < 1e-5)

# %% [markdown]
# **Predict first.** So the whole of $g_L$ is in $g_0$. Which part of $g_0$ is it: most, half, or
# little?

# %%
spectrum = mr.flow.path_spectrum(clean, images, labels)
print(f"|g_L| / |g_0| = {np.linalg.norm(g_L) / np.linalg.norm(g_0):.2f}")
print(f"the component through no branch has this size too: {spectrum.norms[0]:.4f}", end=" ")
print(f"and {np.linalg.norm(g_L):.4f}")
print(f"its signed share of g_0: {spectrum.shares[0]:.1%}")

# %% [markdown]
# Little: before training an eighth by length, and less than two hundredths as a share of $|g_0|^2$.
# The term is there and cannot vanish, as the paper says. That it carries the gradient is not said,
# and is not so here; most of it comes through a few branches (notebook 09).
#
# ## A factor on the skip
#
# Now let $h(x_l) = \lambda_l x_l$ (equation 6). Then
#
# $$x_L = \Big(\prod_{i=l}^{L-1} \lambda_i\Big) x_l + \sum_{i=l}^{L-1} \hat F(x_i) \quad (7),$$
#
# $$\frac{\partial E}{\partial x_l} = \frac{\partial E}{\partial x_L}
#   \Big(\prod_{i=l}^{L-1} \lambda_i + \frac{\partial}{\partial x_l}
#   \sum_{i=l}^{L-1} \hat F(x_i)\Big) \quad (8),$$
#
# where $\hat F$ has taken the factors of the later skips into itself. With $\lambda = 0.5$ and 20
# blocks the product is about $10^{-6}$.
#
# ### Exercise 1: what the skips alone leave
#
# Given the scales $\lambda_0, \dots, \lambda_{L-1}$, return for every block $l$ what the skips
# alone multiply the gradient by, from $x_L$ to $x_l$.


# %%
def skip_factors(scales): ...


preactivation.skip_factors(skip_factors)

# %% [markdown]
# **Predict.** `models.twin` scales all skips of a network and leaves the weights as they are. With
# $\lambda = 0.5$ in the stack above: is the *whole* gradient at the first block smaller or larger
# than with $\lambda = 1$? And in the same stack without batch norm?

# %%
scales = (0.25, 0.5, 0.8, 1.0, 1.1)
whole, alone = {}, {}
for norm, start in (("batch", 1.0), (None, 0.3)):
    mr.manual_seed(0)
    base = mr.models.stack(
        20, 64, kind="residual", norm=norm, init_scale=start, in_channels=64, num_classes=10
    )
    print("with batch norm" if norm else "without batch norm, 0.3 times He's weights")
    print("  lambda   lambda^20   over the skips alone   whole gradient   (both as parts of |g_L|)")
    for scale in scales:
        scaled = mr.models.twin(base, scale)
        found = mr.flow.path_spectrum(scaled, images, labels)
        blocks = mr.flow.ledger(scaled, images, labels).blocks
        at_end = blocks[-1].skip_norm / scale
        alone[norm, scale] = found.norms[0] / at_end
        whole[norm, scale] = blocks[0].grad_norm / at_end
        print(
            f"  {scale:6}   {scale**20:9.1e}   {alone[norm, scale]:20.1e}"
            f"   {whole[norm, scale]:14.1e}"
        )

# %%
with style.context():
    _, axes = plt.subplots(1, 2, figsize=(9.4, 3.5), sharey=True, layout="constrained")
    for ax, norm, title in zip(
        axes, ("batch", None), ("with batch norm", "without batch norm"), strict=True
    ):
        for values, label, kind in (
            (whole, "whole gradient", "plain"),
            (alone, "over the skips alone", "residual"),
        ):
            look = style.kind_style(kind).look(style.kind_color(kind))
            ax.semilogy(scales, [values[norm, s] for s in scales], label=label, **look)
        ax.set(title=title, xlabel="factor on each of 20 skips")
    axes[0].set_ylabel("|gradient at the first block| / |g_L|")
    axes[1].legend()
    plt.show()

# %% [markdown]
# The skips alone leave $\lambda^{20}$, to the digit, in both. But the whole gradient does not
# follow it. Without batch norm it falls with $\lambda$, since each path through $k$ branches still
# has 20 - k factors. **With batch norm it does not fall: with $\lambda = 0.5$ it is larger than
# with 1.** Smaller skips make a smaller signal, batch norm divides each branch by it, and the
# gradient through the branches grows as much; the network becomes a plain one, whose gradient
# explodes (notebook 06). So equation 8 says what becomes of one term. Whether training suffers is a
# question for training, below.
#
# ## What the ReLU after the sum masks
#
# The block of 2015 has $f$ = ReLU: where $z = x + F(x)$ is not above 0, the gradient is cut for the
# skip as well.
#
# ### Exercise 2: count it yourself
#
# `sums` is an array (L, N, C, H, W) of what the ReLUs of L blocks are given. Return the share that
# each block masks, (L,), and the share of places that no block masks.


# %%
def mask_statistics(sums): ...


preactivation.mask_statistics(mask_statistics)

# %% [markdown]
# ### In a network of 56 layers
#
# **Predict:** what share of the numbers is masked in a block? Half, as in a ReLU behind a batch
# norm? And how does it change from block to block?

# %%
mr.manual_seed(0)
deep = mr.models.cifar_resnet(56, width=8, in_channels=1)
terms = terms_of(deep)
sums = [skip + branch for skip, branch in zip(terms.skips, terms.branches, strict=True)]
for stage in range(3):
    row = sums[9 * stage : 9 * stage + 9]
    print(f"stage {stage + 1}:", " ".join(f"{(z <= 0).mean():5.0%}" for z in row))

# %% [markdown]
# Less than half, since $x$ is not negative and only $F < -x$ brings the sum below 0; and less and
# less within a stage, since $x$ grows while batch norm keeps $F$ as large as it was. In the first
# block of a stage the zeros of shortcut A begin anew.
#
# How many ways are clear through all nine blocks of a stage? If each block masked for itself, the
# shares would multiply.

# %%
for stage in range(3):
    row = np.array(sums[9 * stage : 9 * stage + 9])
    independent = np.prod((row > 0).mean(axis=(1, 2, 3, 4)))
    clear = (row > 0).all(axis=0).mean()
    print(f"stage {stage + 1}: clear {clear:.0%}, if blocks were independent {independent:.0%}")

# %% [markdown]
# Three to four times as many as independent blocks would leave: where $x$ is large, it is large in
# the next block as well.

# %% [markdown]
# ### The gradient on the identity path
#
# What the mask costs the path over the skips can be measured: `flow.backward_lesion` with
# `skip=1.0`, `branch=0.0` cuts all branches on the way back, and leaves the forward pass as it is.
# **Predict** the two lines within a stage: the block of 2015, and a pre-activation block, which has
# nothing after the sum.

# %%
skip_only = {}
for name, order in (("original", "original"), ("pre-activation", "full-preactivation")):
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(56, width=8, in_channels=1, order=order)
    cut = mr.flow.backward_lesion(model, images, labels, skip=1.0, branch=0.0)
    skip_only[name] = [entry.input.lesioned_norm for entry in cut.blocks]
    for stage in range(3):
        first, last = (skip_only[name][i] for i in (9 * stage + 1, 9 * stage + 8))
        print(
            f"{name:15} stage {stage + 1}: from the input of its last block to that of its second "
            f"times {first / last:.2f}"
        )
    first, last = skip_only[name][0], skip_only[name][26]
    print(f"{name:15} through all three stages: times {first / last:.3f}")

# %%
with style.context():
    _, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
    for name, kind in (("original", "residual"), ("pre-activation", "preact")):
        color = style.SKIP_COLOR if kind == "residual" else style.BRANCH_COLOR
        ax.semilogy(range(1, 28), skip_only[name], label=name, **style.kind_style(kind).look(color))
    for end in (9.5, 18.5):
        ax.axvline(end, color="#9aa1ad", lw=0.8)
    ax.set(xlabel="block (grey lines: the dimensions change)", ylabel="|gradient|, skips only")
    ax.set_title("All branches cut on the way back, before training")
    ax.legend()
    plt.show()

# %% [markdown]
# Within a stage the pre-activation path hands the gradient on to the last bit, as equation 5 has
# it, and the masked one loses some of it in every block. But look at the steps between the stages.
# There the pre-activation blocks of the paper have batch norm and ReLU before the fork, and the
# path is *not* clean. A factor of four to five is lost in each: batch norm divides what comes back
# by the size of the signal; the ReLU takes half of the energy; and half of the channels, those that
# shortcut A padded, lead nowhere. Over the whole network that takes more than the masks of 2015 do.
# "A clean identity path" is true of a stage, not of these networks as a whole.
#
# The paper says of the mask that it is no great harm in a network that is not very deep: after some
# training the sums are more frequently above zero (section 4.2). **Predict,** then see what three
# epochs do to 20 layers.

# %%
mr.manual_seed(0)
model = mr.models.cifar_resnet(20, width=8, in_channels=1)


def train(model, seed, epochs):
    loader = mr.data.DataLoader(data.train, batch_size=64, shuffle=True, seed=seed)
    sgd = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return mr.train.fit(model, loader, sgd, epochs=epochs).batch_loss[-1]


for moment in ("before", "after"):
    if moment == "after":
        loss = train(model, seed=0, epochs=3)
    terms = terms_of(model)
    masked = [(s + b <= 0).mean() for s, b in zip(terms.skips, terms.branches, strict=True)]
    shares = "   ".join(f"{np.mean(masked[i : i + 3]):.0%}" for i in (0, 3, 6))
    print(f"{moment:6} training, masked in stages 1, 2, 3: {shares}")
print(f"mean loss of the batches in the third epoch: {loss:.2f}")

# %% [markdown]
# In the first stage it masks less, in the last it masks *more*: a network that learns uses the ReLU
# after the sum, too. In so short a training, of so small a network, the statement holds for one
# stage of three.
#
# ## The block of 2016
#
# Since $f$ is to be the identity, ReLU and batch norm have to stand elsewhere: before the
# convolutions (figure 1b, equation 9), as *pre-activation*:
#
# $$x_{l+1} = x_l + F(\hat f(x_l)).$$
#
# ### Exercise 3: a pre-activation block
#
# Batch norm, ReLU, 3x3 convolution, and the same once more; nothing follows the sum.


# %%
class PreActivation(nn.ResidualBlock):
    def __init__(self, channels):
        super().__init__()
        # ...


preactivation.preactivation_block(PreActivation)

# %% [markdown]
# ## Five orders
#
# Figure 4 of the paper has five orders, and all five are in the library:
#
# | `order=` | branch | after the sum |
# |---|---|---|
# | `original` | conv BN ReLU conv BN | ReLU |
# | `bn-after-addition` | conv BN ReLU conv | BN ReLU |
# | `relu-before-addition` | conv BN ReLU conv BN ReLU | |
# | `relu-only-preactivation` | ReLU conv BN ReLU conv BN | |
# | `full-preactivation` | BN ReLU conv BN ReLU conv | |
#
# The weights of the convolutions are the same in all of them, if the seed is.
#
# ### Exercise 4: only up
#
# In one of them no number of the signal can get smaller from block to block, as long as the skip is
# the identity. Which? Answer with its name.

# %%
answer = ...

preactivation.only_grows(answer)

# %% [markdown]
# ### By instruments, before training
#
# **Predict:** in which order does the gradient grow most on its way back, and in which does the
# signal grow most on its way forward? (56 layers; the signal is compared within the second stage,
# behind its first block and behind its last.)

# %%
orders = [
    "original",
    "bn-after-addition",
    "relu-before-addition",
    "relu-only-preactivation",
    "full-preactivation",
]


def rms(array):
    return np.sqrt(np.mean(np.square(array)))


print("order                     gradient     signal      signal    |F|/|S| of    skip share,")
print("                          first/last   last/first  mean/rms  the last block  median")
for order in orders:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(56, width=8, in_channels=1, order=order)
    blocks = mr.flow.ledger(model, images, labels).blocks
    # what blocks 11 and 18 are given: behind the first block of the stage, and before its last
    given = [terms_of(model).skips[i] for i in (10, 17)]
    print(
        f"{order:25} {blocks[0].grad_rms / blocks[-1].grad_rms:8.0f}"
        f"{rms(given[1]) / rms(given[0]):13.1f} {given[1].mean() / rms(given[1]):11.2f}"
        f"{blocks[-1].forward_ratio:12.2f} {np.median([b.share for b in blocks]):13.0%}"
    )

# %% [markdown]
# - Batch norm after the addition has the gradient grow most: it normalises the *sum*, so that the
#   signal hardly grows from block to block, the branch stays as large as the skip, and the skip's
#   share is the smallest. The skip is not clean at all here.
# - With ReLU before the addition the skip has the largest share, and the gradient grows least. That
#   the signal can only grow does not make it grow *most* in size (that is full pre-activation):
#   what is behind this ReLU is also smaller, as its negative half is gone. What it does is move the
#   mean, to 85 % of the signal's rms. With full pre-activation, where terms of both signs are
#   added, it is 8 %.
# - By these instruments full pre-activation does not stand out. Its gradient grows a little more
#   than that of the original order.
#
# ### By training
#
# Now 20 layers, two epochs, two seeds. The paper has these five at 110 and 164 layers on CIFAR-10
# in its table 2. **Predict** the order of the five here, and how far you would trust it.


# %%
def trained(**options):
    losses = []
    for seed in (0, 1):
        mr.manual_seed(seed)
        model = mr.models.cifar_resnet(20, width=8, in_channels=1, **options)
        losses.append(train(model, seed, epochs=2))
    return losses


results = {"plain, no skip": trained(residual=False)}
for order in orders:
    results[order] = trained(order=order)
for name, losses in results.items():
    print(f"{name:25} mean loss in the second epoch: {losses[0]:.2f} and {losses[1]:.2f}")

# %% [markdown]
# Batch norm after the addition is behind in both runs, and the plain network far behind. The other
# four are as far apart between two seeds as between two orders: *these runs do not order them*, and
# the one with the lowest loss, ReLU before addition, is not the one that the paper recommends. The
# case for pre-activation in the paper is one of much deeper networks, trained for much longer, and
# of the test error too. Nothing measured here contradicts it, and nothing here shows it.
#
# ## Six other skips
#
# Figure 2 of the paper puts something else in the place of the identity skip of the *original*
# block, with ReLU after the sum. `skip=` builds them:
#
# | `skip=` | on the skip | on the branch |
# |---|---|---|
# | `constant-scaling-skip` | 0.5 | 1 |
# | `constant-scaling` | 0.5 | 0.5 |
# | `exclusive-gating` | $1 - g(x)$ | $g(x)$ |
# | `shortcut-only-gating` | $1 - g(x)$ | 1 |
# | `conv` | a 1x1 convolution, with BN | 1 |
# | `dropout` | dropout of one half | 1 |
#
# with gates $g(x) = \sigma(W_g x + b_g)$, $W_g$ a 1x1 convolution. How far a gate is open at the
# start is decided by $b_g$; the library starts at -6, the best of those that the paper tried
# (section 3.1).
#
# ### Exercise 5: where a gate has to start
#
# With $W_g = 0$ a gated skip multiplies by $1 - \sigma(b)$. For which $b$ do `blocks` of them in a
# row let the share `kept` of the signal through?


# %%
def gate_bias(blocks, kept): ...


preactivation.gate_bias(gate_bias)

# %% [markdown]
# **Predict:** which of the six has the largest component over the skips alone before training, and
# which one trains best here?

# %%
skips = [
    "identity",
    "constant-scaling-skip",
    "constant-scaling",
    "exclusive-gating",
    "shortcut-only-gating",
    "conv",
    "dropout",
]
print("                          before training               second epoch's mean loss")
print("skip                      first/last   skips alone      seed 0   seed 1")
for skip in skips:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(20, width=8, in_channels=1, skip=skip)
    spectrum = mr.flow.path_spectrum(model, images, labels)
    blocks = mr.flow.ledger(model, images, labels).blocks
    results[skip] = results["original"] if skip == "identity" else trained(skip=skip)
    print(
        f"{skip:25} {blocks[0].grad_rms / blocks[-1].grad_rms:8.1f}"
        f"{spectrum.norms[0] / blocks[0].grad_norm:14.1e}"
        f"{results[skip][0]:14.2f} {results[skip][1]:8.2f}"
    )

# %%
shown = ["plain, no skip", *orders, *skips[1:]]
with style.context():
    _, ax = plt.subplots(figsize=(8.4, 4.2), layout="constrained")
    rows = np.arange(len(shown))[::-1]
    for seed, marker in ((0, "o"), (1, "s")):
        values = [results[name][seed] for name in shown]
        color = style.SKIP_COLOR if seed else style.BRANCH_COLOR
        ax.plot(values, rows, marker, color=color, markerfacecolor="white", ms=6, mew=1.6)
        ax.plot([], [], marker, color=color, markerfacecolor="white", mew=1.6, label=f"seed {seed}")
    ax.axvspan(*sorted(results["original"]), color="#e4e6eb", label="original, between its seeds")
    ax.set_xscale("log")
    ax.set_xticks([0.2, 0.3, 0.5, 1, 2], ["0.2", "0.3", "0.5", "1", "2"])
    ax.minorticks_off()
    ax.set_yticks(rows, shown)
    ax.set(xlabel="mean loss of the batches in the second epoch", title="20 layers, two epochs")
    ax.legend(loc="center right")
    plt.show()

# %% [markdown]
# What holds in both runs:
#
# - **Dropout on the skip** does not train at all: a loss of 2.3 is guessing among ten. Nor did it
#   lack a gradient, for before training it has the *largest* part over the skips alone. What
#   dropout does forward, halving the ways in every block, is the likely cause; it was not
#   measured.
# - **A constant factor of 0.5** is behind the identity, more so with 0.5 on the branch as well. The
#   gradient does not vanish in either; only its part over the skips alone does (to a factor of
#   about $10^{-4}$ of the whole).
# - **Exclusive gating is the best of all here**, where the paper finds it behind the identity at
#   110 layers. With $b_g = -6$ the branches start almost closed, so that the network starts near
#   the identity: the gradient is about as large at the first block as at the last. That is a remedy
#   of its own (notebook 11), and in so few steps it shows. What closed branches cost later, two
#   epochs do not tell.
# - **Shortcut-only gating** is as good as the identity, which it almost is at the start, and the
#   **1x1 convolution** a little behind.
#
# So what predicts the training here? Not the growth of the gradient, and not the part that comes
# over the skips alone. One number taken before training is not a verdict.
#
# ## Summary
#
# - With $h$ and $f$ the identity, signal and gradient are sums over blocks (equations 4 and 5), to
#   rounding. The term that comes through no branch cannot vanish; before training it is a small
#   part.
# - A factor $\lambda$ on $L$ skips leaves $\lambda^L$ over the skips alone. With batch norm the
#   whole gradient does not follow: the branches take over.
# - The ReLU after the sum masks 16 to 37 % in each block of a fresh network, and mostly in the same
#   places. Pre-activation hands on all, within a stage.
# - The short training tells a few variants from the rest, and does not order the others.
#
# **References.** He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks":
# equations 1 to 9, sections 3.1 and 4.2, figures 1, 2 and 4, tables 1 and 2. He, Zhang, Ren and Sun
# 2015, "Deep residual learning for image recognition", figure 5. Srivastava, Greff and Schmidhuber
# 2015, "Highway networks", on gates.
#
# Worked solutions: [solutions/10_preactivation.ipynb](solutions/10_preactivation.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [11 · The other remedies](11_other_remedies.ipynb).
