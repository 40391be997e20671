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
# # 06 · Plain stacks
#
# Before the skips, what they are for. Afterwards you can
#
# - say from the initialisation alone how large signal and gradient are after $L$ layers,
# - say what zero padding takes away on small images, and what batch normalisation adds,
# - tell *degradation* from over-fitting by the error that decides between them.
#
# You need 03 (convolution) and 04 (batch normalisation). It takes about 45 minutes with the four
# exercises; the cells run in about half a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires.exercises import plain_stacks
from minires.flow import theory
from minires.viz import style

# %% [markdown]
# ## One layer, and thirty of them
#
# Take a layer that first cuts with a ReLU and then multiplies with weights,
# $y = W\,\mathrm{relu}(x)$. Each output is a sum over the $n$ numbers that it reads. If weights
# are independent, with mean 0 and variance $\sigma^2$, and $x$ is as often positive as negative,
# then the ReLU halves the mean square:
#
# $$\mathrm{E}[y^2] = n\,\sigma^2\,\mathrm{E}[\mathrm{relu}(x)^2]
# = \tfrac12\,n\,\sigma^2\,\mathrm{E}[x^2].$$
#
# So the signal keeps its size if $\tfrac12 n \sigma^2 = 1$ (He et al. 2015b, equation 10). The
# gradient goes the other way: each input reaches $\hat n$ outputs, half of the gates are open, and
# it keeps its size if $\tfrac12 \hat n \sigma^2 = 1$ (equation 14). A dense layer as wide as the
# one before has $n = \hat n$.
#
# **Predict first.** Multiply all weights of a stack of 30 layers by $s = 0.5$, by $0.9$, by $1$
# and by $2$. How large is the signal after the last layer, and how large the gradient at the
# first?
#
# `models.stack` builds such stacks, without normalisation if `norm=None`. `flow.signal` measures
# what each layer answers, and the gradient at its output; what the stack gives is read out by a
# fixed random vector, so that there is something to take the gradient of.


# %%
def read_out(out, vector):
    return (out * vector).sum()


def random(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


depth, width = 30, 256
scales = (2.0, 1.0, 0.9, 0.5)
answers, gradients = {}, {}
for scale in scales:
    mr.manual_seed(0)  # the same random numbers for all four
    stack = mr.models.stack(depth, width, norm=None, init_scale=scale)
    found = mr.flow.signal(stack, mr.randn(64, width), random(64, width), loss=read_out)
    layers = [layer for layer in found.layers if layer.kind == "Linear"]
    answers[scale] = [layer.std for layer in layers]
    gradients[scale] = [layer.grad_norm / layers[-1].grad_norm for layer in layers]

# %%
numbers = np.arange(1, depth + 1)
looks = {
    2.0: ("^", "#a33a1a"),
    1.0: ("s", "#0b1430"),
    0.9: ("o", "#2b82bf"),
    0.5: ("v", "#d47d00"),
}
with style.context():
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for scale, (marker, color) in looks.items():
        dots = dict(marker=marker, color=color, linestyle="none", markevery=2)
        left.semilogy(numbers, answers[scale], **dots, label=f"s = {scale:g}, measured")
        left.semilogy(numbers, scale**numbers, color=color, linewidth=0.9)
        right.semilogy(numbers, gradients[scale], **dots)
        right.semilogy(numbers, scale ** (depth - numbers), color=color, linewidth=0.9)
    left.set(title="Signal", xlabel="layer", ylabel="standard deviation of its answers")
    right.set(title="Gradient", xlabel="layer", ylabel="norm, beside that at the last layer")
    left.legend(loc="lower left")
plt.show()

# %% [markdown]
# The thin lines are $s^l$ forward and $s^{L-l}$ backward: in a dense stack of constant width a
# scale $s$ multiplies both by $s$ in every layer. At $s = 0.5$ there is nothing left after 30
# layers, at $s = 2$ there is about $10^9$ times as much, and even at 0.9 both lose the greater
# part.

# %%
print("scale   signal, layer 30 / 1   gradient, layer 1 / 30   predicted s^29")
for scale in scales:
    signal, gradient = answers[scale][-1] / answers[scale][0], gradients[scale][0]
    print(f"{scale:5g}   {signal:20.2g}   {gradient:22.2g}   {scale ** (depth - 1):14.2g}")

# %% [markdown]
# What is predicted is a mean over random weights. This one stack is off it by a factor of up to
# 1.3: each layer of finite width is off by some percent, and over thirty layers that adds up.
#
# ### Exercise 1: the standard deviation
#
# Write `he_std(shape, mode)`: the standard deviation for a weight of shape `(out, in)`, or `(out,
# in, KH, KW)` of a convolution, that keeps the signal (`mode="fan_in"`) or the gradient
# (`mode="fan_out"`).


# %%
def he_std(shape, mode):
    raise NotImplementedError  # your turn


plain_stacks.he_std(he_std)

# %% [markdown]
# ### Exercise 2: what is left
#
# Now any standard deviation $\sigma$, not only He's. Write `norm_after(sigma, width, layers)`: the
# factor by which so many layers (each a ReLU and then `width` x `width` weights) multiply the
# norm.


# %%
def norm_after(sigma, width, layers):
    raise NotImplementedError  # your turn


plain_stacks.norm_after(norm_after)

# %% [markdown]
# ## What the border takes
#
# Equation 10 counts the numbers that an output reads: nine pixels of each channel for a 3x3
# convolution. With zero padding a pixel in the corner reads four, and five zeros.
#
# **Predict first.** He's initialisation, 3x3 convolutions with padding 1, images of 4x4 pixels. Is
# the gradient kept from layer to layer, as in the dense stack?

# %%
layers = 16


def norms_back(model, x):
    """The norm of the gradient at the input of each block and at the output of the last."""
    vector = random(*x.shape)
    blocks = mr.flow.ledger(model, x, vector, read_out).blocks
    return np.array([block.grad_norm for block in blocks] + [np.linalg.norm(vector)])


print("image   a layer, measured   by formula   left after 54 such layers")
measured = {}
for size in (8, 4, 2):
    runs = []
    for seed in range(4):
        mr.manual_seed(seed)
        stack = mr.models.stack(layers, 64, norm=None, dense=False)
        runs.append(norms_back(stack, mr.randn(8, 64, size, size)))
    measured[size] = np.exp(np.log(runs).mean(axis=0))  # geometric mean over the seeds
    factor = (measured[size][0] / measured[size][-1]) ** (1 / layers)
    formula = np.exp(np.log(theory.border_factors(size, layers)).mean())
    print(f"{size} x {size}   {factor:17.2f}   {formula:10.2f}   {factor**54:25.0e}")

# %%
with style.context():
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for size, marker, color in ((8, "o", "#2b82bf"), (4, "s", "#d47d00"), (2, "^", "#0b1430")):
        ratio = measured[size][::-1] / measured[size][-1]
        predicted = np.cumprod([1.0, *theory.border_factors(size, layers)])
        axes.semilogy(ratio, marker, color=color, label=f"{size} x {size} pixels, measured")
        axes.semilogy(predicted, color=color, linewidth=0.9)
    axes.set(title="Gradient under zero padding", xlabel="layers back from the last")
    axes.set_ylabel("norm, beside that at the last")
    axes.legend()
plt.show()

# %% [markdown]
# It is not kept. On 8x8 pixels little is lost, on 2x2 a third a layer: there each pixel reads four
# of nine taps, and $\sqrt{4/9} = 0.67$. The lines are `theory.border_factors`, which follows how
# much of the gradient lies at the border in each layer.
#
# The CIFAR family of He et al. 2015 on the 8x8 digits has a third of its layers at 8x8, a third at
# 4x4 and a third at 2x2. Without normalisation the border alone makes its gradient vanish,
# although every layer has He's initialisation:

# %%
images, labels = mr.data.load_digits().batch(64)
steady = [theory.steady_border_factor(size) for size in (8, 4, 2)]
border = steady[0] ** 18 * steady[1] ** 18 * steady[2] ** 16  # first block's input to last block's
print(f"from the last block's input to the first one's, border alone: {border:.0e}")
for seed in range(4):
    mr.manual_seed(seed)
    model = mr.models.cifar_plain(56, width=8, in_channels=1, norm=None)
    blocks = mr.flow.ledger(model, images, labels).blocks
    ratio = blocks[0].grad_norm / blocks[-1].grad_norm
    print(f"plain-56 without normalisation, seed {seed}: {ratio:.0e}")

# %% [markdown]
# ## With batch normalisation
#
# Batch normalisation sets the standard deviation of each unit to 1 in every layer, whatever the
# weights. So the signal can neither vanish nor explode.
#
# **Predict first.** And the gradient? Does it vanish on its way back, stay as it is, or grow? Does
# the scale $s$ of the weights matter?

# %%
depth, width, batch = 24, 256, 128
normalised = {}
for scale in (0.5, 1.0, 2.0):
    mr.manual_seed(0)
    stack = mr.models.stack(depth, width, norm="batch", init_scale=scale)
    normalised[scale] = norms_back(stack, mr.randn(batch, width))
mr.manual_seed(0)
bare = norms_back(mr.models.stack(depth, width, norm=None), mr.randn(batch, width))

print("scale   factor a layer, layers 4 to 20")
for scale, norms in normalised.items():
    print(f"{scale:5g}   {(norms[4] / norms[20]) ** (1 / 16):.3f}")
print(f"\nsqrt(pi / (pi - 1)) = {theory.batch_norm_growth():.3f}")

# %%
with style.context():
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    places = np.arange(depth + 1)
    axes.semilogy(places, normalised[1.0], "o", color="#d47d00", label="batch norm, measured")
    axes.semilogy(places, bare, "s", color="#0a4c94", label="no normalisation, measured")
    line = normalised[1.0][-2] * theory.batch_norm_growth() ** (depth - 1 - places)
    axes.semilogy(places, line, color="#d47d00", linewidth=0.9, label="1.21 a layer")
    axes.set(title="Gradient in plain stacks", xlabel="layer (the input is at 0)", ylabel="norm")
    axes.legend()
plt.show()

# %% [markdown]
# It *explodes*: 1.21-fold a layer, and the scale of the weights makes no difference. Why: after
# batch normalisation a unit is about standard normal, and after the ReLU its variance is
# $\tfrac12 - \tfrac1{2\pi}$, since batch normalisation does not count the mean. He's weights
# double it. So the next batch normalisation divides by $\sigma = \sqrt{(\pi-1)/\pi} < 1$, and the
# gradient, which the weights and gates alone would keep, is divided by it too. Multiply the
# weights by $s$, and $\sigma$ is multiplied by $s$: it cancels. That is the result of Yang et al.
# 2019 for wide ReLU stacks and large batches. (The layer next to the input is an exception: what
# it gets has not been through a ReLU.)
#
# So "in deep stacks the gradient vanishes" is true of small weights and of small images without
# normalisation. It is not true of the normalised networks that He et al. 2015 found hard to train,
# and they say so in section 4.1.
#
# ### Exercise 3: the factor a layer
#
# Write `factor_a_layer(norms)`. It gets the norms of the gradient at the inputs of all layers and
# at the output of the last one, first layer first, and returns the factor by which one layer
# multiplies the gradient on its way *back*. Try it on `normalised[1.0][4:21]`, too.


# %%
def factor_a_layer(norms):
    raise NotImplementedError  # your turn


plain_stacks.factor_a_layer(factor_a_layer)

# %% [markdown]
# ## Degradation
#
# Is a deeper network better? It has more layers to learn with, and could at least do what the
# shallower one does. Here are plain and residual networks of 8 and 20 layers, width 4, with batch
# normalisation in all of them, trained on the digits for five epochs, from two seeds each.
#
# **Predict first.** Of plain-8 and plain-20, which ends with the lower error on the images that it
# *trains* on? And which of residual-8 and residual-20?

# %%
config = mr.experiments.CompareConfig(depths=(8, 20), width=4, epochs=5, seeds=(0, 1))
runs = mr.experiments.compare(config)["runs"]
mr.viz.training_curves(runs)

# %%
print("At the start: rms of the gradient at the first block's input, beside the last's\n")
print("network      seed   training error   test error   gradient at the start")
for run in sorted(runs, key=lambda run: (run["kind"], run["depth"])):
    name, flow = f"{run['kind']}-{run['depth']}", run["gradient_flow"]["initial"]["grad_rms"]
    print(
        f"{name:12} {run['seed']:4}   {run['train_error']:12.1f} %   {run['test_error']:8.1f} %"
        f"   {flow[0] / flow[-1]:.1f}"
    )

# %% [markdown]
# Look at the left panel and the training errors first. After the same five epochs plain-20 has 25%
# and 36% of its training images wrong, where plain-8 has about 1%. So the deeper network does not
# *over-fit*: that would mean it knows its training images well. It is not optimised. He et al.
# 2015, figure 1, call that degradation. The residual networks of both depths end near 1%, and
# start from the same weights.
#
# The last column rules out the easy explanation: the gradient of plain-20 does not vanish. It is
# about 5 and 8 times as large (in root mean square) at the first block as at the last.
#
# Be careful with what this shows: two seeds, five epochs, 115 steps, small images. For deeper
# networks, trained for longer, see *What was measured on Fashion-MNIST* (docs/results.md): there
# the gap between plain and residual training errors grows with depth, and at 20 layers one of two
# seeds has none.
#
# **What over-fitting looks like.** The same plain-8, once on all 1,437 training images and once on
# 100 of them, where it is trained for longer:

# %%
few = mr.data.load_digits().take(train=100)
config = mr.experiments.CompareConfig(
    depths=(8,), kinds=("plain",), width=4, epochs=40, batch_size=50
)
small = mr.experiments.compare(config, few)["runs"][0]
large = next(run for run in runs if run["kind"] == "plain" and run["depth"] == 8)
for images_seen, run in ((1437, large), (100, small)):
    errors = f"training error {run['train_error']:4.1f} %, test error {run['test_error']:4.1f} %"
    print(f"plain-8, {images_seen:4} images: {errors}")

# %% [markdown]
# ### Exercise 4: degradation or over-fitting
#
# Write `what_went_wrong(shallow, deep)`. Each argument is a pair (training error, test error), in
# percent. Return `"degradation"`, `"over-fitting"` or `"neither"`. Which error decides first?
#
# A difference of at most one point counts as none.


# %%
def what_went_wrong(shallow, deep):
    raise NotImplementedError  # your turn


plain_stacks.what_went_wrong(what_went_wrong)

# %% [markdown]
# ## Summary
#
# - Without normalisation a layer multiplies signal and gradient by $s$, the weights' scale beside
#   He's. He's initialisation keeps both on average.
# - Zero padding loses gradient at the border; on small images that alone makes it vanish.
# - Batch normalisation fixes the signal, and the gradient grows backward by 1.21 a layer in wide
#   plain stacks, whatever the scale.
# - Degradation is a higher *training* error of the deeper network: a failure to optimise, not
#   over-fitting, and with batch normalisation not a vanishing gradient either.
#
# **References.** He, Zhang, Ren and Sun 2015b, "Delving deep into rectifiers", equations 10 and
# 14. He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition", figure 1 and
# section 4.1. Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz 2019, "A mean field theory of
# batch normalization".
#
# Worked solutions: [solutions/06_plain_stacks.ipynb](solutions/06_plain_stacks.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [07 · The residual block](07_residual_block.ipynb).
