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
# # 04 · Batch normalisation, backward line by line
#
# Afterwards you will be able to
#
# - derive the backward pass of batch normalisation, and check each line of it by itself;
# - say what the two terms do that the statistics send back, and why a gradient check with a
#   cotangent of ones cannot see whether they are there;
# - say what changes between training and evaluation, and fold a normalisation into the convolution
#   before it.
#
# You need the chain rule as in notebook 01, differences as in notebook 02, and what a convolution
# is (notebook 03). It takes about an hour with the five exercises, and ten seconds to run.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires import kernels, nn
from minires.exercises import batch_norm as check
from minires.viz import style

rng = np.random.default_rng(0)

# %% [markdown]
# ## Forward: four lines
#
# Take one channel, and let $x_1, \dots, x_m$ be all its values in the batch: those of every image,
# at every place, $m = N \cdot H \cdot W$ of them. Batch normalisation (Ioffe and Szegedy 2015,
# algorithm 1) brings them to mean 0 and variance 1, then scales and shifts:
#
# $$\mu = \frac1m \sum_i x_i \qquad
#   \sigma^2 = \frac1m \sum_i (x_i - \mu)^2 \qquad
#   \hat x_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} \qquad
#   y_i = \gamma \hat x_i + \beta$$
#
# $\gamma$ and $\beta$ are learned. In minires, as in PyTorch, they are called `weight` and `bias`.
# $\epsilon$ keeps the root away from zero.
#
# Here are the channels of a convolution over 64 digits, before and after.

# %%
images, labels = mr.data.load_digits().batch(64)
mr.manual_seed(0)
conv = nn.Conv2d(1, 6, 3, padding=1)
before = conv(images)
after = F.batch_norm(before, None, None, training=True)

with style.context():
    fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True, layout="constrained")
    for ax, values, title in zip(axes, (before, after), ("before", "after"), strict=True):
        by_channel = values.detach().numpy().swapaxes(0, 1).reshape(6, -1)
        ax.errorbar(
            range(6), by_channel.mean(1), by_channel.std(1), fmt="o", color="#0a4c94", capsize=4
        )
        ax.axhline(0, color="#9aa1ad", lw=0.8)
        ax.set(title=title, xlabel="channel")
    axes[0].set_ylabel("mean, and standard deviation")
    plt.show()

# %% [markdown]
# ### Exercise 1: the statistics of a channel
#
# Compute mean and variance of each channel of `x` (N, C, H, W), the variance as in the formula.


# %%
def statistics(x): ...


check.statistics(statistics)

# %% [markdown]
# ## Backward, one line at a time
#
# A loss $L$ comes after the layer, and $g_i = \partial L / \partial y_i$ arrives (`grad_out`). We
# go up the four lines from the bottom, as in section 3 of the paper. To check each line *by
# itself* we need the loss as a function of the one quantity that the line is about, the others
# held fixed where the line holds them fixed. So each step forward is a function here. The
# cotangent $g$ is random; why not ones, we will see.

# %%
m, eps, gamma, beta = 12, 1e-2, 1.7, 0.3
x, g = 0.5 + 2.0 * rng.standard_normal(m), rng.standard_normal(m)

mean = x.mean()
var = ((x - mean) ** 2).mean()
x_hat = (x - mean) / np.sqrt(var + eps)


def loss_of_x_hat(x_hat):
    return (g * (gamma * x_hat + beta)).sum()


def loss_of_var(var, mean, x):
    return loss_of_x_hat((x - mean) / np.sqrt(var + eps))


def loss_of_mean(mean, x):  # the variance is computed from the mean
    return loss_of_var(((x - mean) ** 2).mean(), mean, x)


def loss_of_x(x):
    return loss_of_mean(x.mean(), x)


def slopes(function, at, h=1e-6):
    """Central differences by each number of ``at``, as in notebook 02."""
    at = np.atleast_1d(np.asarray(at, np.float64))
    steps = h * np.eye(at.size)
    return np.array([(function(at + s) - function(at - s)) / (2 * h) for s in steps])


def compare(line, derived, function, at):
    error = np.abs(derived - slopes(function, at)).max()
    print(f"{line:12} derived {np.atleast_1d(derived)[0]:+.5f}   largest difference {error:.0e}")
    assert error < 1e-6


# %% [markdown]
# **Line 4**, $y_i = \gamma \hat x_i + \beta$. One $\gamma$ and one $\beta$ act on all values of the
# channel, so what comes back is added up; $\hat x_i$ acts on $y_i$ alone:
#
# $$\frac{\partial L}{\partial \beta} = \sum_i g_i \qquad
#   \frac{\partial L}{\partial \gamma} = \sum_i g_i \hat x_i \qquad
#   \frac{\partial L}{\partial \hat x_i} = \gamma \, g_i$$

# %%
d_beta, d_gamma, d_x_hat = g.sum(), (g * x_hat).sum(), gamma * g

compare("d beta", d_beta, lambda b: (g * (gamma * x_hat + b)).sum(), beta)
compare("d gamma", d_gamma, lambda w: (g * (w * x_hat + beta)).sum(), gamma)
compare("d x_hat", d_x_hat, loss_of_x_hat, x_hat)

# %% [markdown]
# **Line 3**, $\hat x_i = (x_i - \mu)(\sigma^2 + \epsilon)^{-1/2}$, by the variance. One variance
# acts on all $\hat x_i$:
#
# $$\frac{\partial L}{\partial \sigma^2} = \sum_i \frac{\partial L}{\partial \hat x_i} \,
#   (x_i - \mu) \cdot \left(-\tfrac12\right) (\sigma^2 + \epsilon)^{-3/2}$$

# %%
d_var = (d_x_hat * (x - mean)).sum() * -0.5 * (var + eps) ** -1.5

compare("d var", d_var, lambda v: loss_of_var(v, mean, x), var)

# %% [markdown]
# **Lines 2 and 3**, by the mean. It acts in two ways: directly on every $\hat x_i$, and on the
# variance:
#
# $$\frac{\partial L}{\partial \mu} = -\sum_i \frac{\partial L}{\partial \hat x_i} \,
#   (\sigma^2 + \epsilon)^{-1/2} \; + \; \frac{\partial L}{\partial \sigma^2} \cdot
#   \frac{\sum_i -2 (x_i - \mu)}{m}$$
#
# **Predict first.** How large is the second part?

# %%
direct = -(d_x_hat / np.sqrt(var + eps)).sum()
through_var = d_var * (-2.0 * (x - mean)).sum() / m
d_mean = direct + through_var

compare("d mean", d_mean, lambda mu: loss_of_mean(mu, x), mean)
print("the part through the variance is zero up to rounding:", abs(through_var) < 1e-12)

# %% [markdown]
# It is zero: deviations from the mean add up to nothing. The paper writes the term all the same; a
# variance is smallest around the mean, so moving the mean a little does not change it.
#
# **Lines 1, 2 and 3**, by $x_i$. It acts in three ways: directly on $\hat x_i$, on the variance,
# and on the mean:
#
# $$\frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial \hat x_i}
#   (\sigma^2 + \epsilon)^{-1/2} \; + \; \frac{\partial L}{\partial \sigma^2} \cdot
#   \frac{2 (x_i - \mu)}{m} \; + \; \frac{\partial L}{\partial \mu} \cdot \frac1m$$

# %%
d_x = d_x_hat / np.sqrt(var + eps) + d_var * 2.0 * (x - mean) / m + d_mean / m

compare("d x", d_x, loss_of_x, x)

# %% [markdown]
# Now put the lines into one another. With $\frac1m \sum g$ the mean of $g$, everything that has to
# be known of the statistics is in two means:
#
# $$\frac{\partial L}{\partial x_i} = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} \Big( g_i
#   - \underbrace{\tfrac1m \sum_j g_j}_{\text{through } \mu}
#   - \hat x_i \underbrace{\tfrac1m \sum_j g_j \hat x_j}_{\text{through } \sigma^2} \Big)$$
#
# The two means are $\partial L / \partial \beta$ and $\partial L / \partial \gamma$ over $m$: the
# sums are taken once and used twice. This is the form in `minires/kernels/norm.py`.

# %%
short = gamma / np.sqrt(var + eps) * (g - g.mean() - x_hat * (g * x_hat).mean())
column = (each.reshape(m, 1) for each in (g, x))
from_library = kernels.batch_norm_grad(
    *column, np.array([mean]), np.array([var]), np.array([gamma]), eps=eps
)
print("short form beside the lines:  ", f"{abs(short - d_x).max():.0e}")
print("library beside the lines:     ", f"{abs(from_library[0].ravel() - d_x).max():.0e}")

# %% [markdown]
# ### Exercise 2: the gradients of weight and bias
#
# For whole batches: from `grad_out` and `x_hat`, (N, C, H, W) each, return `grad_weight` and
# `grad_bias`, (C,) each.


# %%
def parameter_gradients(grad_out, x_hat): ...


check.parameter_gradients(parameter_gradients)

# %% [markdown]
# ### Exercise 3: the whole gradient by x
#
# From `grad_out` and `x` (N, C, H, W), `weight` (C,) and `eps`. The check knows the usual mistakes,
# of which there are many here.


# %%
def grad_x(grad_out, x, weight, eps): ...


check.grad_x(grad_x)

# %% [markdown]
# ## A cotangent of ones shows nothing
#
# The simplest gradient check adds up the outputs and asks for the gradient of the sum: a cotangent
# of ones.
#
# **Predict first.** What is the gradient of `out.sum()` by `x`? And by `x` of `(out ** 2).sum()`,
# with $\gamma = 1$ and $\beta = 0$?

# %%
x4 = mr.tensor(1.0 + 2.0 * rng.standard_normal((8, 3, 4, 4)), requires_grad=True)
random = mr.tensor(rng.standard_normal(x4.shape))


def size_of_grad(loss):
    out = F.batch_norm(x4, None, None, training=True)
    return np.linalg.norm(mr.grad(loss(out), x4)[0].numpy())


rounding = 1e-10
print(
    "gradient of out.sum():           below rounding:", size_of_grad(lambda y: y.sum()) < rounding
)
print(f"gradient of (out ** 2).sum():    {size_of_grad(lambda y: (y**2).sum()):.1e}")
print(f"gradient of (random * out).sum() {size_of_grad(lambda y: (random * y).sum()):.1e}")

# %% [markdown]
# Both vanish (the second but for $\epsilon$). They must: the outputs of a channel always add up to
# $m \beta$, and with $\gamma = 1$, $\beta = 0$ their squares to $m$, whatever $x$ is. A loss that
# only looks at these has nothing to say to $x$.
#
# So a check with ones compares zero with zero. Here are four backward passes, three of them wrong,
# beside differences, with three cotangents:


# %%
def backward(g, by_mean=1.0, by_var=1.0):
    return (
        gamma / np.sqrt(var + eps) * (g - by_mean * g.mean() - by_var * x_hat * (g * x_hat).mean())
    )


candidates = {
    "right": backward,
    "without the variance": lambda g: backward(g, by_var=0.0),
    "variance term turned": lambda g: backward(g, by_var=-1.0),
    "without the mean": lambda g: backward(g, by_mean=0.0),
}
random_g = g
cotangents = {"ones": np.ones(m), "x_hat": x_hat, "random": random_g}
print("error beside differences      " + "".join(f"{name:>10}" for name in cotangents))
for name, candidate in candidates.items():
    line = ""
    for cotangent in cotangents.values():
        g = cotangent  # what loss_of_x weights the outputs with
        error = np.abs(candidate(cotangent) - slopes(loss_of_x, x)).max()
        line += "   < 1e-06" if error < 1e-6 else f"{error:10.2f}"
    print(f"{name:30}{line}")
g = random_g

# %% [markdown]
# With ones, a backward pass without the variance term passes, and one with that term turned round
# passes, too. With $\hat x$, one without the mean term passes. Only the random cotangent tells all
# three. That is why `mr.check.gradcheck` never adds up outputs.
#
# ## What the two terms take out
#
# **Predict first.** Which two directions can the gradient by `x` never have a part in?
#
# Adding the same number to all $x_i$ changes nothing in the output; so along the direction
# $(1, \dots, 1)$ the slope is zero. Stretching $x$ away from its mean changes nothing either, but
# for $\epsilon$; so along $\hat x$ it is zero as well. The first subtracted term takes the part
# along $\mathbf 1$ out of $g$, the second the part along $\hat x$: a projection.


# %%
def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


print("  eps    cosine of the gradient with 1    with x_hat    with g")
for each_eps in (1e-10, 1e-5, 1e-2, 1.0):
    scale = 1.0 / np.sqrt(var + each_eps)
    normal = (x - mean) * scale
    grad = gamma * scale * (g - g.mean() - normal * (g * normal).mean())
    along = [cosine(grad, direction) for direction in (np.ones(m), normal, g)]
    print(f"{each_eps:7.0e}" + "".join(f"{abs(a) if abs(a) > 1e-12 else 0.0:18.1e}" for a in along))

# %% [markdown]
# Against $\mathbf 1$ it is zero up to rounding, always. Against $\hat x$ it is as small as
# $\epsilon / (\sigma^2 + \epsilon)$ lets it be: $\epsilon$ is the one thing that makes the scale of
# $x$ matter.
#
# With $m = 3$ values one can draw it. All vectors of mean 0 form a plane; on it the $\hat x$ of
# *every* batch lie on one circle of radius $\sqrt 3$. Taking the mean out of $g$ brings it down to
# the plane; taking out the part along $\hat x$ leaves what is tangent to the circle. There is
# nowhere else for the outputs to go.

# %%
x3, g3 = np.array([0.2, 1.9, -1.2]), np.array([1.9, 0.9, 0.1])
hat = (x3 - x3.mean()) / x3.std()
plane = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # two directions of mean 0
in_plane = g3 - g3.mean()
tangent = in_plane - hat * (g3 * hat).mean()

with style.context():
    fig, ax = plt.subplots(figsize=(4.8, 4.8), layout="constrained")
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.sqrt(3) * np.cos(angle), np.sqrt(3) * np.sin(angle), color="#9aa1ad", lw=1)
    start = plane @ hat
    ax.annotate("", start, (0, 0), arrowprops=dict(arrowstyle="->", color="#5b6270"))
    ax.text(*(0.5 * start + [0.08, 0.05]), r"$\hat x$", fontsize=13)
    for vector, color, dash, text in (
        (in_plane, "#d47d00", "--", "g without its mean"),
        (tangent, "#0a4c94", "-", "and without its part along x_hat"),
    ):
        end = start + plane @ vector
        ax.plot(*zip(start, end, strict=True), color=color, linestyle=dash, lw=2.2, label=text)
        ax.plot(*end, "s" if dash == "-" else "o", color=color, ms=7)
    ax.plot(*start, "o", color="#1f2430", ms=6)
    ax.set(aspect="equal", xlim=(-2.9, 2.9), ylim=(-2.9, 2.9))
    ax.set(xlabel="along (1, -1, 0)", ylabel="along (1, 1, -2)", title="m = 3, the plane of mean 0")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14))
    plt.show()

# %% [markdown]
# Two of $m$ directions are lost, which hardly matters when $m$ is large. When it is small, it is
# everything:

# %%
print("m    part of a random g's energy that is left (mean of 1000)")
for count in (2, 3, 4, 8, 64):
    gs, xs = rng.standard_normal((2, count, 1000))  # 1000 channels of `count` values
    no_weight = kernels.batch_norm_grad(gs, xs, *kernels.batch_norm_stats(xs), eps=1e-12)[0]
    left = no_weight * np.sqrt(xs.var(0))  # without the factor 1/std
    share = (left**2).sum(0) / (gs**2).sum(0)
    print(
        f"{count:2}   {abs(share.mean()):.2f}  (2 of {count} directions gone: {1 - 2 / count:.2f})"
    )

# %% [markdown]
# With two values in a channel the gradient is *zero*: the output is +1 and -1, or the other way
# round, whatever the two values are. In a network whose last planes are 1x1, trained on batches of
# two, nothing comes back through such a normalisation.
#
# ## What it does to the weights before it
#
# If the layer does not care for the scale of its input, then the network does not care for the
# scale of the weights that made it. The paper has it in section 3.3: for a factor $a$,
# $\mathrm{BN}(a W u) = \mathrm{BN}(W u)$.
#
# **Predict first.** The weights of the convolution are multiplied by 10. What becomes of the
# output, and what of the gradient by the weights? And what is the gradient by the convolution's
# bias?

# %%
pixels = mr.tensor(images.astype(np.float64))
weight0, bias0 = (p.detach().numpy().astype(np.float64) for p in (conv.weight, conv.bias))
target = mr.tensor(rng.standard_normal((64, 6, 8, 8)))


def through_norm(factor):
    weight = mr.tensor(factor * weight0, requires_grad=True)
    bias = mr.tensor(bias0, requires_grad=True)
    out = F.batch_norm(F.conv2d(pixels, weight, bias, padding=1), None, None, training=True)
    grad_weight, grad_bias = mr.grad((target * out).mean(), [weight, bias])
    return out.detach().numpy(), grad_weight.numpy(), grad_bias.numpy()


first_out, first_grad, first_bias = through_norm(1.0)
print("  factor   change of the output   |gradient| / |gradient at 1|   cosine(gradient, weight)")
factors = [10.0**k for k in (-4, -3, -2, -1, 0, 1, 2)]
sizes = []
for factor in factors:
    out, grad, _ = through_norm(factor)
    change = np.abs(out - first_out).max()
    sizes.append(np.linalg.norm(grad) / np.linalg.norm(first_grad))
    angle = abs(cosine(grad.ravel(), weight0.ravel()))
    print(f"{factor:8g} {change:20.0e} {sizes[-1]:26.4g} {angle:30.0e}")
print("gradient by the bias of the convolution, beside that by its weight:", end=" ")
print("below 1e-12:", np.abs(first_bias).max() < 1e-12 * np.abs(first_grad).max())

with style.context():
    fig, ax = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
    ax.loglog(factors, sizes, "s-", color="#0a4c94", label="measured")
    ax.loglog(factors, [1 / f for f in factors], "--", color="#d47d00", label="1 / factor")
    ax.set(xlabel="factor on the weights", ylabel="gradient by the weights,\nrelative to factor 1")
    ax.legend()
    plt.show()

# %% [markdown]
# From 1 upward the output hardly changes (what little it does is the work of $\epsilon$), and the
# gradient is divided by the factor, as the paper says: larger weights move less. And the gradient
# stands upright on the weights, because the loss does not change along them. So a step of plain
# gradient descent can only make them *longer*, and the next step has less effect.
#
# The left end of the picture is what the formula with $\epsilon = 0$ leaves out. With weights a
# hundred times smaller the variance comes down to the order of $\epsilon$; below that the output
# shrinks, and the gradient stops growing. The bias of the convolution is taken off again with the
# mean, and gets no gradient: a convolution before a batch normalisation needs none, as section 3.2
# of the paper says.
#
# ## Training and evaluation
#
# In training the output for one image depends on the images beside it. For use that will not do. So
# the layer keeps running statistics, and takes them in evaluation mode:
#
# $$\text{running} \leftarrow (1 - \text{momentum}) \cdot \text{running} + \text{momentum} \cdot
#   \text{new}$$
#
# Two traps. Momentum weights the *new* value here (in SGD it weights the old). And the variance
# that normalises the batch is the biased one, divided by $m$, while the one that is kept is
# unbiased, divided by $m - 1$ (the paper's algorithm 2 has the factor $\frac{m}{m-1}$, too).
#
# **Predict first.** A fresh layer has `running_var` 1. It sees one batch of four values whose
# biased variance is 4, with momentum 0.1. What is `running_var` then?

# %%
layer = nn.BatchNorm2d(1, momentum=0.1)
values = np.array([1.0, 5.0, 1.0, 5.0], np.float32).reshape(4, 1, 1, 1)
layer(mr.tensor(values))
print("mean of the batch", values.mean(), "  running_mean", layer.running_mean.numpy()[0].round(4))
print("biased variance", values.var(), "    running_var ", layer.running_var.numpy()[0].round(4))
print("0.9 * 1 + 0.1 * 4 * 4/3 =", round(0.9 + 0.1 * 4 * 4 / 3, 4))

# %% [markdown]
# How long until the start is forgotten? Its share after $n$ batches is $0.9^n$. Here the digits, 16
# at a time, through the convolution of the beginning; drawn is the running variance of one channel:

# %%
data = mr.data.load_digits()
layer, seen, kept = nn.BatchNorm2d(6), [], [1.0]
with mr.no_grad():
    everything = conv(mr.tensor(data.train[0])).numpy()
    for start in range(0, 80 * 16, 16):
        batch = everything[start : start + 16]
        layer(mr.tensor(batch))
        seen.append(batch[:, 0].var(ddof=1))
        kept.append(float(layer.running_var.numpy()[0]))

with style.context():
    fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    ax.plot(range(1, 81), seen, ".", color="#d47d00", label="of each batch")
    ax.plot(kept, "-", color="#0a4c94", label="running")
    ax.axhline(
        everything[:, 0].var(), color="#1f2430", ls="--", lw=1, label="of all training images"
    )
    ax.set(xlabel="batches seen", ylabel="variance of channel 0", ylim=(0, None))
    ax.legend(ncols=3, loc="upper right")
    plt.show()
print(f"share of the start after 10 batches {0.9**10:.2f}, after 40 {0.9**40:.3f}")

# %% [markdown]
# After ten batches more than a third of the weight is still on the value 1 that it began with.
# Whoever evaluates after a few steps measures much of that. Later it follows the batches, with a
# little of their noise.
#
# ### Exercise 4: the running variance
#
# Return the new running variance, from the old one (C,), a batch `x` (N, C, H, W) and the momentum.


# %%
def running_variance(running_var, x, momentum): ...


check.running_variance(running_variance)

# %% [markdown]
# ### The gradient in evaluation mode
#
# With running statistics $\mu$ and $\sigma^2$ are constants. The two terms are gone, and what is
# left is a scale for each channel:
#
# $$\frac{\partial L}{\partial x_i} = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} \; g_i$$
#
# **Predict first.** What is the gradient of `out.sum()` now?

# %%
layer = nn.BatchNorm2d(3, momentum=1.0)  # keeps the statistics of the last batch alone
x32 = mr.tensor(x4.detach().numpy().astype(np.float32), requires_grad=True)
in_training = layer(x32)
layer.eval()
in_evaluation = layer(x32)
ones = mr.ones(*x32.shape)
difference = (in_training - in_evaluation).detach().abs().max().item()
print(f"largest difference of the outputs  {difference:.3f}")
print("gradient of out.sum() at one place of each channel")
for mode, out in (("training", in_training), ("evaluation", in_evaluation)):
    (by_x,) = mr.grad(out, x32, grad_outputs=ones)
    shown = [f"{v:.4f}" if abs(v) > 1e-5 else "0     " for v in by_x.numpy()[0, :, 0, 0]]
    print(f"  {mode:12}", *shown)
print("  1 / std     ", *(f"{v:.4f}" for v in (layer.running_var.numpy() + layer.eps) ** -0.5))

# %% [markdown]
# The outputs of the two modes nearly agree here (they differ by the factor between biased and
# unbiased variance), and the gradients are different altogether. So a gradient that is measured in
# evaluation mode says nothing about training: the two are different functions. The instruments of
# `mr.flow` therefore measure in the mode the model is in, and most of this course is in training
# mode.
#
# ### Exercise 5: fold it into the convolution
#
# In evaluation mode the layer is a scale and a shift for each channel, and a convolution before it
# can take over both: one layer in place of two. Compute its weight and bias from those of the
# convolution and from `gamma`, `beta`, `mean`, `var`, (C_out,) each, and `eps`.


# %%
def fold(weight, bias, gamma, beta, mean, var, eps): ...


check.fold(fold)

# %% [markdown]
# ## Why does it help?
#
# The paper's own reason, less "internal covariate shift", has not held up well: Santurkar et al.
# 2018 added shifts after the normalisation on purpose, and training was about as good as before;
# they find that it makes the loss smoother instead. What you have seen here is certain, and part
# of any answer: the scale of the weights below no longer matters, and the larger they are the less
# they move. What it does *not* do is keep gradients from growing with depth. In plain stacks it
# makes them explode on the way back, as notebook 00 measured; notebook 06 goes on from there.
#
# ## Summary
#
# - One value of $x$ reaches the outputs in three ways: directly, through the mean, through the
#   variance. Each line of the derivation can be checked by itself.
# - In one line: $\partial L / \partial x = \gamma (\sigma^2 + \epsilon)^{-1/2} \, (g - \text{mean
#   of } g - \hat x \cdot \text{mean of } g \hat x)$: $g$ without its parts along $\mathbf 1$ and
#   $\hat x$.
# - So a cotangent of ones gives zero and hides mistakes, and two values a channel learn nothing.
# - Weights before it have no scale: multiplied by $a$, their gradient is divided by $a$, as long as
#   the variance is far above $\epsilon$.
# - Training normalises with the biased variance of the batch; the running one is unbiased, and
#   momentum weights the new value. In evaluation the statistics are constants, and so is the slope.
#
# **References.** Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training
# by reducing internal covariate shift": algorithm 1 (forward), section 3 (the chain rule, line by
# line), algorithm 2 and section 3.1 (inference), section 3.2 (convolutions, and the bias), section
# 3.3 (the scale of the weights). Santurkar, Tsipras, Ilyas and Madry 2018, "How does batch
# normalization help optimization?", sections 2 and 3. Yang, Pennington, Rao, Sohl-Dickstein and
# Schoenholz 2019, "A mean field theory of batch normalization" (gradients explode).
#
# Worked solutions: [solutions/04_batch_norm.ipynb](solutions/04_batch_norm.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [05 · Pooling and ties](05_pooling.ipynb), where two equal numbers make the gradient a
# matter of choice.
