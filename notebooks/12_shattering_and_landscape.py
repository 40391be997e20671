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
# # 12 · Shattering, Jacobians and the loss landscape
#
# Three more ways to ask what skips change: are the gradients of neighbouring inputs alike, what do
# the blocks stretch and shrink, and what does the loss look like around the weights? Afterwards
# you can
#
# - measure how gradients shatter with depth, and say which theorem holds of which network,
# - find the largest singular value of a Jacobian that nobody writes down,
# - read a picture of a loss landscape, and say what it does not show.
#
# You need 06 (plain stacks) and 07 (the residual block); for exercise 2 it helps to know 01
# (autograd). It takes about an hour with the four exercises; the cells run in about half a minute.

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires.exercises import landscape
from minires.viz import style

# %% [markdown]
# ## Gradients along a line
#
# Take two inputs and walk from one to the other in 256 small steps. At each step take the gradient
# of the network's output by its input. In a network of one layer neighbours on this line have
# nearly the same gradient, and it changes slowly on the way, like *brown noise*, in which each
# value is the one before and a small step. Where each value has nothing to do with the one before,
# it is *white noise*.
#
# **Predict first.** Four stacks of 50 layers: plain and residual, with batch normalisation and
# without. In which of them is the gradient like white noise?
#
# `flow.shattering` measures the autocorrelation: how alike the slope is to itself so many points
# further on.

# %%
inputs = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
lines = {}
for depth, kind, norm in (
    (1, "plain", "batch"),
    (50, "plain", "batch"),
    (50, "plain", None),
    (50, "residual", "batch"),
    (50, "residual", None),
):
    mr.manual_seed(1)
    stack = mr.models.stack(depth, 64, kind=kind, norm=norm, in_channels=16, num_classes=4)
    name = f"{kind}-{depth}, {'batch norm' if norm else 'no norm'}"
    lines[name] = mr.flow.shattering(stack, inputs)

print("network                    at lag 1   at lag 8   below 1/2 at lag")
for name, found in lines.items():
    one, eight = found.autocorrelation[1], found.autocorrelation[8]
    print(f"{name:26} {one:8.2f}   {eight:8.2f}   {found.half_lag:8}")

# %%
lines["plain-50, batch norm"]

# %%
lines["residual-50, batch norm"]

# %% [markdown]
# Only the plain stack with batch normalisation is white noise: at the next point the gradient has
# nothing to do with what it was. With skips it stays like itself for a dozen points, as in one
# layer. Balduzzi et al. 2017 call that the shattered gradients problem (their figures 1 and 2),
# and argue that it makes training hard: the gradient at one input says nothing of that at its
# neighbours.
#
# But compare the third row of the table: the same plain depth *without* batch normalisation is far
# less shattered. Part of what is said of depth here is the work of batch normalisation.
#
# ## What the theorems assume
#
# Balduzzi et al. prove how fast the correlation of the gradients of two different inputs decays
# with the number of layers $L$, for ReLU networks at initialisation:
#
# | network | correlation | |
# |---|---|---|
# | plain | $(1/2)^L$ | theorem 1 |
# | residual, no normalisation | $(3/4)^L$ | theorem 2 |
# | residual, batch normalisation in the branch | about $1/\sqrt L$ | theorem 3 |
#
# They assume that units switch independently: each is on with probability $1/2$, and for both of
# two inputs with probability $1/4$. `flow.shattering_by_depth` can make that true, by gates that
# are drawn at random, or leave the network its own ReLUs.
#
# **Predict first.** In a real plain stack without normalisation, is the correlation after 8 layers
# smaller than $(1/2)^8 \approx 0.004$, equal, or larger?

# %%
depths = (1, 2, 4, 6, 8)
settings = dict(width=128, samples=64, networks=12)
curves = []
print("after 8 layers                 gates         measured      theorem")
for kind, norm in (("plain", None), ("residual", None), ("residual", "batch"), ("plain", "batch")):
    for gates in ("independent", "relu"):
        if (kind, norm, gates) == ("plain", "batch", "independent"):
            continue  # the same theorem as without batch norm
        found = mr.flow.shattering_by_depth(depths, kind=kind, norm=norm, gates=gates, **settings)
        name = f"{kind}, {'batch norm' if norm else 'no norm'}"
        value = f"{found.correlation[-1]:.4f} ± {found.errors[-1]:.4f}"
        print(f"{name:26} {gates:>12}  {value:15} {found.theorem[-1]:8.4f}")
        if gates == "relu":
            curves += found.to_dict()["by_depth"]

# %%
mr.viz.shattering_figure({"by_depth": curves})

# %% [markdown]
# With independent gates the theorems hold within the error of the measurement. With the network's
# own ReLUs they hold for one of the four, the plain stack *with* batch normalisation. Without it
# the correlation is more than ten times what the theorem says: a ReLU makes any two inputs more
# alike, so their gates are more alike in the next layer, and they are not independent. Batch
# normalisation takes away, in each layer, the mean that all inputs have come to share; so it keeps
# inputs apart, and shatters. The solid lines in the figure are a theory that leaves the network
# its own gates, in the limit of infinite width. (For the normalised residual stack it says a
# little less than theorem 3, since there a branch loses its mean, and so it is measured.)
#
# ### Exercise 1: the correlation of gradients
#
# Write `gradient_correlation(grads)`, with a gradient in each row of `grads`: the mean of
# $\langle g_i, g_j\rangle$ over all pairs $i \ne j$, divided by the mean of $|g_i|^2$. Here are
# gradients to try it on, from 32 inputs of a residual stack of four layers:

# %%
mr.manual_seed(2)
stack = mr.models.stack(4, 128, kind="residual", norm=None)
points = mr.randn(32, 128).requires_grad_(True)
(grads,) = mr.grad((stack(points) * mr.randn(128)).sum(), points)
grads.shape


# %%
def gradient_correlation(grads):
    raise NotImplementedError  # your turn


landscape.gradient_correlation(gradient_correlation)

# %% [markdown]
# ## What a block stretches
#
# The Jacobian $J$ of a block says what a small change of its input becomes at its output. Its
# singular values are the factors by which $J$ stretches on the way forward, and $J^T$ the gradient
# on its way back. If all are 1, nothing is lost and nothing grows. A residual block has
# $J = I + J_F$, where $J_F$ is that of its branch.
#
# **Predict first.** In which stack of 20 layers without normalisation are the singular values of
# *one layer* nearer to 1, the plain or the residual one? And of *all layers together*?

# %%
lenses = {}
for kind in ("plain", "residual"):
    mr.manual_seed(0)  # the same weights
    stack = mr.models.stack(20, 64, kind=kind, norm=None)
    lenses[kind] = mr.flow.jacobian_lens(stack, mr.randn(4, 64))

print("          one layer (mean over 20)              all together")
print("          0.5 to 2   rank of 64   rms           largest      rms   rank of 64")
for kind, lens in lenses.items():
    near = np.mean([entry.block.near_one for entry in lens.blocks])
    rank = np.mean([entry.block.rank for entry in lens.blocks])
    rms = np.mean([entry.block.rms for entry in lens.blocks])
    onward = lens.blocks[0].onward
    print(
        f"{kind:9} {100 * near:7.0f} %   {rank:10.0f}   {rms:.2f}"
        f"   {onward.largest:15.0f}   {onward.rms:6.0f}   {onward.rank:10.0f}"
    )

# %%
lenses["residual"]

# %% [markdown]
# Of one layer the residual stack is the better one: more of its values lie near 1, and none is zero
# here, while a plain layer loses half of the directions, one for each unit that is off. But "near
# 1" is not 1: its mean square is $1 + 1$, one from the skip and one from the branch, and twenty
# factors of $\sqrt 2$ are a thousand. All layers together stretch *more* than the plain ones, about
# a thousand times as much, and with the largest value so large the smallest ones drown in rounding:
# not all of the rank of one layer is left (the bottom panel).
#
# So the skip alone does not keep a gradient's size. What keeps it is whatever makes branches small
# beside the sum: batch normalisation, which divides by a sum that grows, or a start at zero
# (notebook 11). Next come networks with batch normalisation.
#
# ## Two networks, before and after training
#
# Plain and residual networks of 20 layers, width 4, with the same initial weights, trained on the
# digits for six epochs.

# %%
data = mr.data.load_digits()
images, labels = data.batch(64)
networks = {}
recipe = mr.train.Recipe(epochs=6, batch_size=64)
for kind, build in {"plain": mr.models.cifar_plain, "residual": mr.models.cifar_resnet}.items():
    mr.manual_seed(0)
    networks[kind, "before"] = build(20, width=4, in_channels=1)
    mr.manual_seed(0)
    model = networks[kind, "after"] = build(20, width=4, in_channels=1)
    loader = mr.data.DataLoader(data.train, batch_size=64, shuffle=True, seed=0)
    optimizer = recipe.optimizer(model)
    schedule = recipe.schedule(optimizer)
    mr.train.fit(model, loader, optimizer, epochs=recipe.length, scheduler=schedule)
    training, test = (mr.train.evaluate(model, part).error for part in (data.train, data.test))
    print(f"{kind}-20: training error {training:.1f} %, test error {test:.1f} %")

# %%
print("after training   one block, 0.5 to 2   all blocks together: largest     rms")
for kind in ("plain", "residual"):
    lens = mr.flow.jacobian_lens(networks[kind, "after"], images[:4])
    near = np.mean([entry.block.near_one for entry in lens.blocks])
    onward = lens.blocks[0].onward
    print(f"{kind:16} {100 * near:17.0f} %   {onward.largest:28.1f}   {onward.rms:5.1f}")

# %% [markdown]
# With batch normalisation, and trained, all blocks together are near 1 in the root mean square in
# both networks. What differs is the single block: far more of its values lie near 1 where there is
# a skip.
#
# ### Exercise 2: the largest singular value
#
# A Jacobian of a real layer is too large to write down. But its products are there: a backward
# pass gives $J^T u$. It is linear in $u$, so that its own derivative gives $J v$: a backward pass
# through a backward pass goes forward. Here are both, for the first layer of the residual stack
# above:

# %%
mr.manual_seed(0)
stack = mr.models.stack(20, 64, kind="residual", norm=None)
sample = mr.randn(4, 64)[:1]
at = mr.tensor(sample.numpy(), requires_grad=True)
out = stack.layers[0](at)
cotangent = mr.zeros(1, 64, requires_grad=True)
(back,) = mr.grad(out, at, cotangent, create_graph=True)


def vjp(u):
    """J^T u"""
    given = mr.tensor(np.asarray(u, dtype=np.float32)[None])
    return mr.grad(out, at, given, retain_graph=True)[0].numpy()[0]


def jvp(v):
    """J v"""
    given = mr.tensor(np.asarray(v, dtype=np.float32)[None])
    return mr.grad(back, cotangent, given, retain_graph=True)[0].numpy()[0]


u, v = np.random.default_rng(3).standard_normal((2, 64))
print(f"<u, J v> = {u @ jvp(v):.5f}   <J^T u, v> = {vjp(u) @ v:.5f}")
print(f"largest singular value, by the lens: {lenses['residual'].blocks[0].block.values[0, 0]:.4f}")

# %% [markdown]
# Write `largest_singular_value(jvp, vjp, v, steps)`: so many steps of power iteration from the
# vector `v`. Each step multiplies by $J^T J$, which turns $v$ towards the direction that is
# stretched most, and makes its length 1 again. Try it on the two functions above, too, with 200
# steps.


# %%
def largest_singular_value(jvp, vjp, v, steps):
    raise NotImplementedError  # your turn


landscape.largest_singular_value(largest_singular_value)

# %% [markdown]
# ## The loss around the weights
#
# Change all weights of a network along one random direction $d$, and draw the loss:
# $f(a) = \mathrm{loss}(w + a\,d)$. How long should $d$ be? With batch normalisation behind it a
# filter can be multiplied by 10 and nothing changes, so a step of a given length means much in one
# network and nothing in another. Li et al. 2018, section 4, give each filter of $d$ the norm of
# that filter of the weights: a step of 1 then changes each filter by its own length.
#
# **Predict first.** *Before* training, which of the two networks of 20 layers has the flatter
# landscape? And is flat good?

# %%
drawn = {}
for key, model in networks.items():
    model.train()
    drawn[key] = mr.flow.landscape(model, images, labels, points=41)

with style.context():
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for axes, moment in zip(panels, ("before", "after"), strict=True):
        for kind in ("plain", "residual"):
            found, look = drawn[kind, moment], style.kind_style(kind).look(style.kind_color(kind))
            axes.plot(found.coordinates, found.losses, **look, markevery=4, label=f"{kind}-20")
        axes.axhline(np.log(10), color=style.RULE, linestyle=":", label="guessing: log(10)")
        axes.set(title=f"{moment.capitalize()} training", xlabel="step along the direction")
        axes.set(ylabel="loss of 64 images", ylim=(0, 4))
    panels[0].legend(loc="lower right")
plt.show()


def filter_length(model):
    """The length of all filters as one vector, and so that of a filter-normalised direction."""
    return np.sqrt(sum((p.detach().numpy() ** 2).sum() for p in model.parameters() if p.ndim > 1))


def steepest(model):
    """The slope along the gradient, for a direction as long as the one drawn."""
    model = copy.deepcopy(model)  # a pass in training mode changes the running statistics
    loss = F.cross_entropy(model(mr.tensor(images)), mr.tensor(labels))
    slopes = mr.grad(loss, list(model.parameters()))
    return filter_length(model) * np.sqrt(sum((g.numpy() ** 2).sum() for g in slopes))


print("                    loss at the centre   slope there   steepest   lowest   highest")
for (kind, moment), found in drawn.items():
    print(
        f"{kind + '-20, ' + moment:20} {found.loss:17.2f}   {found.slopes[0]:+11.2f}"
        f"   {steepest(networks[kind, moment]):8.1f}"
        f"   {found.losses.min():6.2f}   {found.losses.max():7.2f}"
    )

# %% [markdown]
# Before training the plain network has the flatter curve, and it is of no use to it: everywhere
# along the line its loss is about $\log 10$, that of guessing. It is no minimum either: along its
# gradient the slope is thousands of times as large as along the direction that happened to be
# drawn.
#
# After training the residual network sits in a smooth bowl. The plain one sits in a bowl, too, but
# in a higher one, and a little more than half a step away its loss is that of guessing, or worse.
#
# Now two directions at once:

# %%
planes = {
    kind: mr.flow.landscape(networks[kind, "after"], images, labels, points=11, dimensions=2)
    for kind in ("plain", "residual")
}
planes["plain"]

# %%
planes["residual"]

# %% [markdown]
# Mind the levels: each picture has its own, and those of the second are spaced logarithmically.
# Compare heights by the numbers, not by the colours. These are the pictures of Li et al. 2018, on
# a small scale: their networks are deeper and wider, their grids finer.
#
# ## What a random direction misses
#
# Two directions are drawn, and both are random. How many are there? And how does the loss rise
# along the one in which it is curved most? That is the eigenvector of the outermost eigenvalue
# $\lambda$ of the Hessian; `flow.hessian_eigenvalue` finds both. If the loss were a parabola, a
# step of length $s$ along it would raise it by $\tfrac12 \lambda s^2$.
#
# **Predict first.** A step of 1% of the length of all filters, in trained residual-20: how much
# more does the loss rise along the eigenvector than along a random direction?


# %%
def rise(model, vector, step):
    """The mean of loss(w + step * vector) and loss(w - step * vector), less loss(w)."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    pieces = np.split(vector, np.cumsum(sizes)[:-1])
    losses = []
    for length in (-step, 0.0, step):
        moved = copy.deepcopy(model)
        state = moved.state_dict()
        for (name, parameter), piece in zip(model.named_parameters(), pieces, strict=True):
            state[name] = state[name] + (length * piece.reshape(parameter.shape)).astype("float32")
        moved.load_state_dict(state)
        with mr.no_grad():
            losses.append(F.cross_entropy(moved(mr.tensor(images)), mr.tensor(labels)).item())
    return (losses[0] + losses[2]) / 2 - losses[1]


print(f"{sum(p.numel() for p in model.parameters()):,} parameters, 2 directions in a picture\n")
print("                     eigenvalue   step   rise: random   eigenvector   parabola")
for (kind, moment), model in networks.items():
    found = mr.flow.hessian_eigenvalue(model, images, labels)
    size = filter_length(model)
    for share in (0.001, 0.01):
        line = mr.flow.landscape(model, images, labels, points=3, span=share).losses
        chance = (line[0] + line[2]) / 2 - line[1]
        along = rise(model, found.vector, share * size)
        parabola = found.value * (share * size) ** 2 / 2
        print(
            f"{kind + '-20, ' + moment:20} {found.value:10.1f}   {100 * share:.1f}%"
            f"   {chance:+12.4f}   {along:+11.4f}   {parabola:+8.4f}"
        )

# %% [markdown]
# Hundreds of times as much: the smooth bowl of the picture has walls that it does not show. For
# the trained networks the rise is within a third of the parabola's at a step of 0.1%, and less
# than half of it at 1%.
#
# *Before* training the parabola is of no use at 1%, and for the residual network not even its sign
# is right at 0.1%. With ReLU the Hessian is that between the kinks, and there are so many kinks
# that a thousandth of the weights' length already crosses them. So an outermost eigenvalue is a
# fact about a small neighbourhood; how small, the last two columns tell.
#
# ### Exercise 3: a filter-normalised direction
#
# Write `filter_normalised(weight, direction)`: the direction, with each filter rescaled to the
# norm of that filter in the weight. Both have the shape `(out, in, KH, KW)` of a convolution, or
# `(out, in)` of a dense layer; a filter is `weight[i]`. Neither array may be changed.


# %%
def filter_normalised(weight, direction):
    raise NotImplementedError  # your turn


landscape.filter_normalised(filter_normalised)

# %% [markdown]
# ### Exercise 4: what the pictures show
#
# Which of these follows from what you have seen in this notebook?
#
# - **a** Before training plain-20 lies in a flat region, so it is near a minimum, and training it
#   is easy.
# - **b** The landscape of trained residual-20 is one bowl in the picture, so its loss is convex
#   there.
# - **c** Along the drawn directions the loss of trained plain-20 soon reaches the level of
#   guessing; of the other directions the picture says nothing.
# - **d** The eigenvalue of trained plain-20 is the larger one, so it sits in a sharp minimum, and
#   that is why its test error is higher.

# %%
answer = ...

landscape.what_it_shows(answer)

# %% [markdown]
# ## Summary
#
# - In a deep plain stack with batch normalisation the gradients of neighbouring inputs are like
#   white noise; skips keep them alike.
# - The theorems assume independent gates. In real networks without normalisation inputs grow
#   alike, and the correlation decays far more slowly; it is batch normalisation that shatters.
# - The Jacobians of the residual layers had full rank here, where plain ones lose half of the
#   directions. Without normalisation many such blocks together still stretch a thousandfold.
# - A landscape is a section along random directions. Flat may mean that nothing is learned, and
#   along the sharpest direction the loss rises far faster than in the picture. The Hessian's
#   eigenvalue tells how fast, as far as the kinks of the ReLUs let a parabola hold.
#
# **References.** Balduzzi, Frean, Leary, Lewis, Ma and McWilliams 2017, "The shattered gradients
# problem: if resnets are the answer, then what is the question?", theorems 1 to 3, figures 1 and
# 2. Li, Xu, Taylor, Studer and Goldstein 2018, "Visualizing the loss landscape of neural nets",
# section 4. Saxe, McClelland and Ganguli 2014, "Exact solutions to the nonlinear dynamics of
# learning in deep linear neural networks", section 3, on singular values that are all 1.
# Pearlmutter 1994, "Fast exact multiplication by the Hessian".
#
# Worked solutions:
# [solutions/12_shattering_and_landscape.ipynb](solutions/12_shattering_and_landscape.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [13 · Training a ResNet on Fashion-MNIST](13_training_fashion_mnist.ipynb).
