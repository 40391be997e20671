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
# # 08 · Where the gradient goes
#
# Afterwards you can take the gradient at a fork apart by hand, read a ledger, cut a skip for the
# gradient alone, and turn the skips of a network up and down with everything else held fixed. And
# you can say which parts of "gradients vanish, skips repair that" are measured, and which are not.
#
# You need notebook 07 (the residual block) and, for one sentence, 06 (plain stacks). It takes about
# 45 minutes with the four exercises; running all cells takes about half a minute.

# %%
from contextlib import nullcontext

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import nn
from minires.exercises import gradient_flow
from minires.viz import style

data = mr.data.load_digits()
images, labels = data.batch(64)

# %% [markdown]
# ## At the fork, not at the addition
#
# A block computes $z = S(u) + F(u)$: a shortcut $S$, a branch $F$. Let $d$ be the gradient that
# arrives at $z$. There are two places where one could ask how much comes over the skip:
#
# - at the *addition*, where $z$ is made of two terms,
# - at the *fork*, where $u$ goes two ways.
#
# **Predict first.** At the addition, which of the two terms has the larger gradient, the skip's or
# the branch's?

# %%
mr.manual_seed(0)
u = mr.randn(5, 4, requires_grad=True)
layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

skip_term, branch_term = u * 1.0, layers(u)
z = skip_term + branch_term
d = mr.randn(5, 4)  # what comes back from the rest of a network
at_skip, at_branch = mr.grad(z, [skip_term, branch_term], d)
print("the two are the same numbers:", bool((at_skip.data == at_branch.data).all()))

# %% [markdown]
# Neither. An addition hands $d$ on to both of its terms, unchanged, whatever they are. A comparison
# there always says "half and half", and it would say so too if the branch were dead. At the fork
#
# $$ \frac{\partial L}{\partial u} = \underbrace{J_S^\top d}_{\text{skip}}
#    + \underbrace{J_F^\top d}_{\text{branch}} $$
#
# the two have been through their layers, and differ. To see one of them alone, run the sum with
# `detach()` on the other way: `u.detach()` has the same numbers, and nothing comes back through it.
#
# ### Exercise 1: skip and branch by hand
#
# Write `fork(u, shortcut, branch, grad_out)`. `u` is a tensor that requires grad, `shortcut` and
# `branch` are functions of a tensor, and `grad_out` is what arrives at `shortcut(u) + branch(u)`.
# Return the two gradients at `u`: over the shortcut, and through the branch.
# (`mr.grad(z, u, grad_out)` returns a tuple with one gradient.)


# %%
def fork(u, shortcut, branch, grad_out): ...


gradient_flow.fork(fork)

# %% [markdown]
# ## The ledger
#
# `mr.flow.ledger` takes that split at every fork of a network, in one backward pass. Here for a
# residual network of 20 layers that has not been trained: 9 blocks of two layers.
#
# **Predict first.** On the way forward each block adds its branch to what the skips carry, so that
# grows. Where will the share of the skip be larger: in the first block, or in the last?

# %%
mr.manual_seed(0)
residual = mr.models.cifar_resnet(20, width=8, in_channels=1)
ledger = mr.flow.ledger(residual, images, labels)
ledger

# %%
print(ledger.table())

# %% [markdown]
# In the last: the share rises from 30 % in the first block to 55 % in the last one. The column
# |F|/|S| shows why. Within a stage each sum is larger than the one before it, and every branch ends
# in a batch normalisation, so that its output keeps its size. Beside a growing skip the branch
# counts for less and less, forward and backward. (Where a stage begins, at layer2.0 and layer3.0,
# |F|/|S| goes up once: there the shortcut takes every second pixel, and zeros.)
#
# The cosine is close to 0 everywhere: the two gradients have nothing to do with each other, as one
# expects of random weights.
#
# **Is it exact?** The entries were computed with the network taken apart. So the ledger runs the
# network a second time as it is, and compares the gradient that arrives at each $u$ with skip +
# branch. The largest relative difference is of the order of rounding, about $10^{-7}$, or zero:

# %%
print("largest difference from a separate pass:", ledger.max_error)
entry = ledger.blocks[4]
print(f"their sum has the norm {np.linalg.norm(entry.skip + entry.branch):.4f}")
print(f"the sum of their norms {entry.skip_norm + entry.branch_norm:.4f}")

# %% [markdown]
# The two *arrays* add up to the gradient. Their norms do not: perpendicular vectors add up as the
# sides of a right triangle do.
#
# ### Exercise 2: share and cosine
#
# Write `share_and_cosine(skip, branch)` for two arrays of one shape. Return $|s| / (|s| + |b|)$ and
# the cosine of the angle between the two, over all numbers of the arrays. Try it on `entry.skip`
# and `entry.branch`, and look the result up in the table.


# %%
def share_and_cosine(skip, branch): ...


gradient_flow.share_and_cosine(share_and_cosine)

# %% [markdown]
# ## Plain beside residual
#
# `mr.models.twin` copies a network with its skips multiplied by a number: 0 takes them away. So the
# plain twin has the very same weights.
#
# **Predict first.** On its way back from the last block to the first, does the gradient of the
# plain twin vanish, stay as it is, or grow? And with skips?

# %%
depths = (8, 14, 20, 32, 44, 56)
growth = {"plain": [], "residual": []}
print("layers   gradient at the first block / at the last (root mean square)")
print("            plain   residual")
for depth in depths:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(depth, width=8, in_channels=1)
    for kind, net in (("plain", mr.models.twin(model, 0.0)), ("residual", model)):
        blocks = mr.flow.ledger(net, images, labels).blocks
        growth[kind].append(blocks[0].grad_rms / blocks[-1].grad_rms)
    print(f"{depth:6}   {growth['plain'][-1]:8.3g}   {growth['residual'][-1]:8.2g}")

# %%
with style.context():
    figure, axes = plt.subplots(figsize=(6.2, 3.5), layout="constrained")
    for kind, values in growth.items():
        look = style.kind_style(kind).look(style.kind_color(kind))
        axes.semilogy(depths, values, label=kind, **look)
    axes.set(title="The gradient on its way back, at initialisation", xlabel="layers")
    axes.set_ylabel("first block / last block (rms)")
    axes.set_xticks(depths)
    axes.legend()
plt.show()

# %% [markdown]
# It grows, in both. From 20 layers on the points of the plain network lie near a line, on a
# logarithmic axis: it *explodes* exponentially, about 1,500-fold at 56 layers. With skips it grows,
# too, about 13-fold, and roughly in proportion to the depth. At 8 and 14 layers there is no
# difference worth the name.
#
# So at initialisation these plain networks do not suffer from a vanishing gradient. They have batch
# normalisation in every layer (notebook 06 shows where the factor comes from: 1.21 a layer in wide
# dense stacks, Yang et al. 2019), and He et al. 2015 say themselves, in section 4.1, that vanishing
# gradients are unlikely to be the cause. *Without* normalisation the story turns round:

# %%
print("56 layers, no normalisation    loss    first block / last block (rms)")
mr.manual_seed(0)
bare = mr.models.cifar_resnet(56, width=8, in_channels=1, norm=None)
for kind, net in (("plain", mr.models.twin(bare, 0.0)), ("residual", bare)):
    found = mr.flow.ledger(net, images, labels)
    print(
        f"{kind:28} {found.loss:7.2g}    {found.blocks[0].grad_rms / found.blocks[-1].grad_rms:.1g}"
    )

# %% [markdown]
# Here the plain gradient vanishes, by a factor of tens of thousands. (On images this small zero
# padding alone takes a good part of that: notebook 06.) The residual one explodes, and so does its
# signal: the loss of a network that knows nothing should be near $\log 10 = 2.3$. Whether a
# gradient vanishes or explodes depends on the normalisation as much as on the skips.

# %% [markdown]
# ## Cutting a way for the gradient alone
#
# A network with skips differs from one without in two things: its gradient has another way, *and*
# it computes another function. The twin changes both. `mr.flow.backward_lesion` changes the first
# alone: the forward pass stays as it is, to the last bit, and an edge is cut on the way back:
#
# $$ \frac{\partial L}{\partial u} = \texttt{skip} \cdot J_S^\top d
#    + \texttt{branch} \cdot J_F^\top d $$
#
# First in one block only:

# %%
lesion = mr.flow.backward_lesion(residual, images, labels, "layer2.1", skip=0.0)
print(lesion.table())
print("\nforward pass the same, to the bit:", lesion.same_forward)

# %% [markdown]
# Behind the block nothing changes (ratio 1). At its input about 0.7 of the gradient is left, the
# branch's part, and so it stays for all blocks before it. One skip is not much.
#
# **Predict first.** Now all skips of the network are cut in backward, in networks of 3, 9 and 27
# blocks. How much of the gradient still arrives at the first block? Use what you know: the *plain
# twin*, which has no skips either, explodes. And what if all the branches are cut instead?

# %%
arrived = {}
print("layers   blocks   gradient at the first block")
print("                  intact   skips cut   branches cut")
for depth in (8, 20, 56):
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(depth, width=8, in_channels=1)
    cut = [
        mr.flow.backward_lesion(model, images, labels, skip=skip, branch=branch)
        for skip, branch in ((0.0, 1.0), (1.0, 0.0))
    ]
    arrived[depth] = [one.blocks[0].input for one in cut]
    norms = [one.lesioned_norm for one in arrived[depth]]
    print(
        f"{depth:6}   {len(cut[0].blocks):6}   {arrived[depth][0].norm:6.2g}"
        f"   {norms[0]:9.1e}   {norms[1]:12.1e}"
    )

# %%
mr.flow.backward_lesion(model, images, labels, skip=0.0)

# %% [markdown]
# With the skips cut, the gradient of the residual network of 56 layers *vanishes*: what arrives at
# the first block is smaller by more than seven powers of ten. In the plain twin of the same
# weights, which sends its gradient through the same branches, it explodes. Both are true. The
# branches of the two get different inputs: in the residual network the sums grow from block to
# block, each branch begins with weights and a batch normalisation that divides by that size, and
# the gradient through the branch is divided by it, too. (The picture shows it: in the first blocks,
# where |F|/|S| is large, the lesioned gradient does not shrink, as in a plain stack.)
#
# So here is a careful answer to "do skips prevent vanishing gradients?": *in the network that has
# them*, nearly all of the gradient depends on them. They also make the branches weak, so that it
# has to.
#
# Cutting all the branches leaves about 0.01 in each of the networks: at 56 layers more than the
# branches alone, at 8 and 20 layers less. What is left points elsewhere:

# %%
for depth, (no_skips, no_branches) in arrived.items():
    print(
        f"{depth:2} layers, cosine with the intact gradient: "
        f"{no_skips.cosine:+.2f} without skips, {no_branches.cosine:+.2f} without branches"
    )

# %% [markdown]
# The one way over all the skips is *not* the highway of the easy story. In the deep networks the
# gradient that arrives is neither that of the skips nor that of the branches: it is that of ways
# that take some of both. Notebook 09 takes them apart.
#
# Can the numbers be predicted? A block multiplies the gradient by a factor. Cut its skip, and the
# factor is smaller. If each block did to the lesioned gradient what it does to the ordinary one,
# then $|b| / |s + b|$ of the ledger would be what each cut takes, and the product over the blocks
# what is left:

# %%
print("layers   left of the gradient, skips cut: measured   product from the ledger")
for depth in (8, 20, 56):
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(depth, width=8, in_channels=1)
    entries = mr.flow.ledger(model, images, labels).blocks
    product = np.prod([e.branch_norm / np.linalg.norm(e.skip + e.branch) for e in entries])
    print(f"{depth:6}   {arrived[depth][0].ratio:42.1e}   {product:23.1e}")

# %% [markdown]
# That is close, over seven powers of ten, although it is no identity: norms do not multiply, and
# the lesioned gradient has another direction. Where a block is a plain number, it is exact.
#
# ### Exercise 3: what a lesion leaves
#
# A chain of $L$ blocks $y = x + w_l x$, each with a number $w_l$. In some blocks the skip is cut,
# in backward only. Write `left(w, cut)`: `w` is the list of the numbers, `cut` the list of the
# places (from 0) of the blocks that are cut. Return lesioned gradient / ordinary gradient at the
# input of the chain.


# %%
def left(w, cut): ...


gradient_flow.left_without_skips(left)

# %% [markdown]
# ## Training with a lesion
#
# Which of the two matters for learning, that the skips are in the function, or that they are in the
# gradient? `mr.flow.lesioned` applies a lesion while a network trains. Three networks of 20 layers,
# the same weights, the same batches in the same order, four epochs:
#
# - **both**: the residual network as it is;
# - **function only**: the skips add forward, and no gradient comes back over them;
# - **neither**: the plain twin.
#
# **Predict first.** In what order will they end? (In the second, what the optimiser follows is not
# the gradient of the loss any more.)


# %%
def train(kind, seed, epochs=4):
    mr.manual_seed(seed)
    model = mr.models.cifar_resnet(20, width=4, in_channels=1)
    if kind == "neither":
        model = mr.models.twin(model, 0.0)
    loader = mr.data.DataLoader(data.train, 64, shuffle=True, seed=seed)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = mr.optim.lr_scheduler.MultiStepLR(optimizer, [epochs - 1])
    cut = kind == "function only"
    with mr.flow.lesioned(model, skip=0.0) if cut else nullcontext():
        mr.train.fit(model, loader, optimizer, epochs=epochs, scheduler=scheduler)
    return model


trained = {}
print("skips in        seed   training error   test error")
for kind in ("both", "function only", "neither"):
    for seed in (0, 1):
        trained[kind, seed] = model = train(kind, seed)
        errors = [mr.train.evaluate(model, part).error for part in (data.train, data.test)]
        print(f"{kind:15} {seed:4}   {errors[0]:12.0f} %   {errors[1]:8.0f} %")

# %% [markdown]
# The order was the same on both seeds: the network with skips in both has learned its training
# images, the plain one is far behind, and the one with skips in the function alone is between them.
# So here both count: the function with skips is easier to train even where the gradient must do
# without them, and the whole gradient is worth more again. (Two seeds of a short training: an
# order, not a law. The exact percentages differ from one processor to another.)
#
# `mr.flow.signal` looks at each layer of a network: what it answers, which of its units are dead,
# what gradient arrives. Here is the residual one after training:

# %%
signals = {kind: mr.flow.signal(trained[kind, 0], images, labels) for kind in ("both", "neither")}
signals["both"]

# %% [markdown]
# Figure 7 of He et al. 2015 shows the standard deviation of the responses of each layer, behind its
# batch normalisation, in trained networks. **Predict first.** A residual block has to learn only
# what to add to its input. Will the responses of the residual network be smaller than those of the
# plain one?

# %%
with style.context():
    figure, axes = plt.subplots(figsize=(6.2, 3.5), layout="constrained")
    for name, kind in (("neither", "plain"), ("both", "residual")):
        norms = [layer for layer in signals[name].layers if layer.kind == "BatchNorm2d"]
        look = style.kind_style(kind).look(style.kind_color(kind))
        axes.plot([layer.std for layer in norms], label=f"{kind}, trained", **look)
    axes.set(title="Responses of the layers", xlabel="batch normalisation, in order")
    axes.set_ylabel("standard deviation behind it")
    axes.set_xticks(range(0, 19, 3))
    axes.set_ylim(0)
    axes.legend()
plt.show()

# %% [markdown]
# In the paper they are. Here they are not: all are near 1, which is where a batch normalisation
# begins, whatever comes in. Its weights have to move for this figure to say anything, and after
# four epochs, 92 steps, they have hardly moved. So this network learns with its skips long before
# its branches have become small. (The paper trained for 64,000 steps.)

# %% [markdown]
# ## The dial
#
# With and without are two points. `mr.flow.dial` scales the skips to any number between: each
# setting has the same weights, is measured, trained for two epochs over the same batches, and
# measured again.
#
# **Predict first.** Before training: at which end of the dial is the gradient at the first block
# larger? After training: at which end is the error lower, and does it fall steadily in between?

# %%
mr.manual_seed(0)
model = mr.models.cifar_resnet(20, width=4, in_channels=1)
dial = mr.flow.dial(model, data, alphas=(0, 0.25, 0.5, 0.75, 1), train_epochs=2)
dial

# %%
print(dial.table())

# %% [markdown]
# The upper five rows are before training, the lower five after it, each network with its own skips.
#
# ### Exercise 4: read the dial
#
# Which of these follows from the table?
#
# - **a** At alpha 0 the network learns worst because no gradient reaches its first block.
# - **b** Before training the loss is lowest at alpha 0, so the plain network has the better start.
# - **c** With the same weights and batches, the network with whole skips ends with the lowest
#   error, although before training the gradient at the first block is larger without them.
# - **d** The dial shows that the skips help because of what they do to the gradient, and not
#   because of what they do to the function.

# %%
answer = ...

gradient_flow.reading(answer)

# %% [markdown]
# And your predictions? Before training the gradient at the first block is larger at the end without
# skips: 0.43 at alpha 0 and 0.44 at 0.25, then falling to 0.17 at 1. After training the error is
# lowest with whole skips. It falls with every step of the dial, but not evenly: from 56 % to 30 %
# at the first quarter, hardly at the second (26 %), then to 13 % and to 7 %.

# %% [markdown]
# ## Summary
#
# - Take the split at the fork: at the addition both terms get the same gradient, always.
# - The ledger's two arrays add up to the gradient, and it checks that; their norms do not add up.
# - With batch normalisation the gradient of a plain stack explodes on its way back, exponentially
#   with depth; with skips it grows far less. Without normalisation the plain one vanishes here, and
#   the residual one explodes.
# - Cut the skips of a residual network for the gradient alone, and it vanishes. The branches of a
#   residual network are weaker than those of its plain twin, since the function is another one.
# - A way over skips alone carries little. Most of the gradient comes over a mixture.
# - The dial changes function and gradient together; a lesion in backward changes one of them. In a
#   short training both counted.
#
# **References.** He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition",
# equation 1, section 4.1 and figure 7. He, Zhang, Ren and Sun 2016, "Identity mappings in deep
# residual networks", equation 5, for the gradient of a chain of clean identities. Yang, Pennington,
# Rao, Sohl-Dickstein and Schoenholz 2019, "A mean field theory of batch normalization".
#
# Worked solutions:
# [solutions/08_where_the_gradient_goes.ipynb](solutions/08_where_the_gradient_goes.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [09 · Paths](09_paths.ipynb).
