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
# # 05 · Pooling and ties
#
# Afterwards you will know where the gradient goes when a layer keeps the largest number of a
# window, or the mean; who gets it when two numbers are equal; and four places where a pooling
# written by hand goes wrong without an error: overlapping windows, ties, padding, and the divisor
# at the border.
#
# You need notebooks 01 (autograd), 02 (checking gradients) and 03 (convolution: windows, stride,
# padding). It takes about 45 minutes with its five exercises, and a few seconds of computing.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires.exercises import pooling
from minires.viz import style


def show(panels):
    """Tables of numbers as pictures: the larger the number, the darker its field."""
    widths = [1.0 + 0.37 * max(np.shape(table)[1], 3) for table in panels.values()]
    height = 1.1 + 0.37 * max(np.shape(table)[0] for table in panels.values())
    with style.context():
        _, axes = plt.subplots(
            1,
            len(panels),
            figsize=(sum(widths), height),
            width_ratios=widths,
            layout="constrained",
            squeeze=False,
        )
        for ax, (title, table) in zip(axes[0], panels.items(), strict=True):
            table = np.asarray(table, float)
            top = np.nanmax(np.abs(table)) or 1.0
            ax.imshow(np.abs(table) / top, cmap="Blues", vmin=0, vmax=1.3)
            for (row, column), number in np.ndenumerate(table):
                dark = np.abs(number) > 0.75 * top
                color = "white" if dark else style.INK
                ax.text(column, row, f"{number:g}", ha="center", va="center", size=8, color=color)
            ax.set(title=title, xlabel="column", ylabel="row")
            ax.set(xticks=range(table.shape[1]), yticks=range(table.shape[0]))
            ax.title.set_fontsize(9)
            ax.grid(False)
        plt.show()


# %% [markdown]
# ## The largest of each window
#
# Max pooling lays windows over each plane of an image, as a convolution does, and keeps the largest
# number of each:
#
# $$out_{n,c,i,j} = \max_{k_h, k_w}\; x_{n,\,c,\; i s - p + k_h,\; j s - p + k_w}$$
#
# with stride $s$ and padding $p$. Every plane is treated by itself; there are no weights. If one
# asks for them, it also returns the *indices*: for each window, where in its plane the maximum was,
# as $h \cdot W + w$.

# %%
x = mr.tensor(
    [[[[1.0, 3.0, 2.0, 4.0], [7.0, 5.0, 6.0, 0.0], [2.0, 9.0, 8.0, 1.0], [4.0, 3.0, 5.0, 6.0]]]],
    requires_grad=True,
)
out, indices = F.max_pool2d(x, 2, return_indices=True)
print(indices)
show({"x": x.data[0, 0], "out": out.data[0, 0]})

# %% [markdown]
# The maximum 7 stands in row 1, column 0 of a plane of 4 columns: index $1 \cdot 4 + 0 = 4$.
#
# **Predict first.** The gradient that arrives at `out` is 1, 2, 3, 4 in reading order. If you nudge
# a number of `x` that is not the largest of its window, what happens to `out`? So how many of the
# 16 numbers of `grad_x` are zero?

# %%
out.backward(mr.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
show({"x": x.data[0, 0], "grad_out": [[1, 2], [3, 4]], "grad_x": x.grad.data[0, 0]})

# %% [markdown]
# Twelve of 16. Max pooling moves the gradient to the winners and changes no number on the way, so
# all that the backward pass needs are the indices, not `x`. Its Jacobian holds only zeros and ones:
# a single one in each row.
#
# ### Exercise 1: max pooling with indices
#
# Write the forward pass as loops. `x` is an array (N, C, H, W), the others are whole numbers.
# Return `out` and `indices`, both (N, C, OH, OW), with OH = (H + 2 * padding - kernel_size) //
# stride + 1. Of equal numbers the first in reading order wins, and the padding never does.


# %%
def my_max_pool2d(x, kernel_size, stride, padding):
    # N, C, H, W = x.shape
    ...


pooling.max_with_indices(my_max_pool2d)

# %% [markdown]
# ## Windows that overlap
#
# The first layers of the ImageNet networks of He et al. 2015 (table 1) end with a max pooling of 3
# x 3 windows with stride 2: neighbours share a row or a column.
#
# **Predict first.** Below, one number is larger than all others, and `grad_out` is 1 everywhere.
# With 3 x 3 windows and stride 1 there are 3 x 3 outputs. What gradient does the largest number get
# in the centre of the image, and what would it get in the corner?

# %%
panels = {}
for name, place in {"centre": (2, 2), "corner": (0, 0)}.items():
    image = np.zeros((1, 1, 5, 5))
    image[0, 0][place] = 9.0
    image += np.linspace(0, 1, 25).reshape(5, 5)  # no ties
    x = mr.tensor(image, requires_grad=True)
    F.max_pool2d(x, 3, stride=1).sum().backward()
    panels[f"grad_x, 9 in the {name}"] = x.grad.data[0, 0]
show(panels)

# %% [markdown]
# In the centre it wins all nine windows and gets 9; in the corner only one window sees it. So the
# gradients of several windows *add up* at a place, and `=` instead of `+=` is the classical
# mistake. In NumPy it has a form that looks right: `grad[indices] += g` keeps only one of the
# contributions when an index stands in `indices` twice. `np.add.at(grad, indices, g)` adds all of
# them.

# %%
grad, twice = np.zeros(3), np.array([1, 1])
grad[twice] += np.array([10.0, 1.0])
added = np.zeros(3)
np.add.at(added, twice, np.array([10.0, 1.0]))
print("grad[indices] += g:", grad, "   np.add.at:", added)

# %% [markdown]
# ### Exercise 2: the way back of max pooling
#
# `grad_out` and `indices` are (N, C, OH, OW); return `grad_x` of the shape `x_shape`, (N, C, H, W).


# %%
def my_max_pool2d_backward(grad_out, indices, x_shape):
    # grad_x = np.zeros(x_shape)
    ...


pooling.scatter(my_max_pool2d_backward)

# %% [markdown]
# ## Ties
#
# What if the largest number stands in a window twice? `max` has a kink there, as ReLU has at 0: the
# derivative does not exist. Raise one of the two: the maximum rises with it, slope 1. Lower it: the
# other one still holds the maximum, slope 0. Three answers suggest themselves:
#
# - the **first** in reading order gets all (this library, and PyTorch's max pooling),
# - the equal ones **share** it,
# - **each** of them gets all of it.
#
# **Predict first.** Which of the three does a gradient check refuse, and what does a central
# difference measure at one of two equal numbers?

# %%
from minires.autograd import Function


class Tied(Function):
    """The maximum of each window of 2 x 2, of which all equal ones get `weight`."""

    @staticmethod
    def forward(ctx, x, *, share):
        top = x.max(axis=(2, 3), keepdims=True)
        hits = (x == top).astype(x.dtype)
        ctx.save_constant(weight=hits / hits.sum() if share else hits)
        return top

    @staticmethod
    def backward(ctx, grad_out):
        return mr.tensor(ctx.saved("weight")) * grad_out


tied = np.array([[[[1.0, 3.0], [3.0, 2.0]]]])
answers = {
    "first": lambda x: F.max_pool2d(x, 2),
    "share": lambda x: Tied.apply(x, share=True),
    "each": lambda x: Tied.apply(x, share=False),
}
h = 1e-4
up, down = (max(1.0, 3.0 + step, 3.0, 2.0) for step in (h, -h))
print(f"slopes of the upper 3: {(up - 3) / h:.2f} above, {(3 - down) / h:.2f} below")
print(f"central difference: {(up - down) / (2 * h):.2f}")
for name, function in answers.items():
    report = mr.check.gradcheck(function, tied, raise_exception=False)
    kinks = [place.analytic + 0.0 for _, place in report.kinks]
    print(f"{name:6} {report.verdict:7} gradients at the kinks: {kinks}")

# %% [markdown]
# Both *first* and *share* pass: at a kink any number between the slopes of the two sides, here 0
# and 1, counts as right, and the check reports the place instead of refusing it. The central
# difference says 0.50. It is the mean of the two slopes, not a third truth: a check that knew
# nothing of kinks would refuse the library's answer and accept *share*.
#
# *Each* is refused, although each of its numbers lies between 0 and 1 as well. Moved one by one,
# the inputs show nothing. Moved together, in a random direction, they do: when both rise by 1 the
# maximum rises by 1, and *each* says 2. The report tells which it was:

# %%
mr.check.gradcheck(answers["each"], tied, raise_exception=False)

# %% [markdown]
# ### Exercise 3: ties on paper
#
# `x` is the table below; windows are 2 x 2 with stride 1, so they overlap, and every one of them
# has a tie. `grad_out` is [[1, 10], [100, 1000]]. Write down `grad_x` without computing it. (Three
# rows of three numbers.)

# %%
show({"x": [[2, 5, 5], [5, 1, 5], [0, 5, 3]], "grad_out": [[1, 10], [100, 1000]]})

# %%
my_grad_x = ...

pooling.ties(my_grad_x)

# %% [markdown]
# ### How often does that happen?
#
# With numbers drawn from a continuous range, hardly ever. **Predict first:** in which share of the
# windows of real images do you expect a tie, and in which share behind a convolution and a ReLU?
# Look at 64 digits of 8 x 8 pixels with 17 shades, windows of 2 x 2:

# %%
data = mr.data.load_digits()
images, labels = data.batch(64)


def ties_of(maps):
    """Share of the 2 x 2 windows with a tie, and of those the share in which all are the least."""
    N, C, H, W = maps.shape
    windows = maps.reshape(N, C, H // 2, 2, W // 2, 2)
    top = windows.max(axis=(3, 5), keepdims=True)
    tied = (windows == top).sum(axis=(3, 5)) > 1
    at_least = tied & (top[:, :, :, 0, :, 0] == maps.min())
    return tied.mean(), at_least.sum() / tied.sum()


mr.manual_seed(0)
conv = mr.nn.Conv2d(1, 16, 3, padding=1)
before = mr.nn.BatchNorm2d(16)(conv(mr.tensor(images)))
before.retain_grad()
activated = F.relu(before)
activated.retain_grad()
for name, maps in {"pixels": images, "behind conv, BN, ReLU": activated.data}.items():
    share, at_zero = ties_of(maps)
    print(f"{name}: {share:.0%} of the windows have a tie,")
    print(f"    and {at_zero:.0%} of those hold the least value everywhere")

# %% [markdown]
# So ties are common. Behind a ReLU nearly all of them are windows in which every number is 0. Then
# the first place gets the gradient, for no better reason than its position. Does that do harm?
# **Predict** what happens to this gradient one step further back, in the ReLU.

# %%
pooled = F.max_pool2d(activated, 2)
pooled.backward(mr.randn(*pooled.shape))
off = activated.data == 0
to_off = np.count_nonzero(activated.grad.data[off])
print(f"{to_off:,} of {pooled.numel():,} gradients go to a place where the ReLU is off")
print(f"{np.count_nonzero(before.grad.data[off])} of them come out of the ReLU")

# %% [markdown]
# A fifth of the windows sends its gradient nowhere: where a whole window is off, no answer to the
# question who wins makes a difference. In such a network the choice matters for the remaining ties
# alone, about one window in a hundred here.
#
# ## Padding must never win
#
# With padding, a window at the border looks over the edge of the image. In a convolution the places
# beyond it count as 0. **Predict first:** what would zeros do to the *maximum* of an image in which
# all numbers are negative, and where would the gradient of those windows go?

# %%
x = mr.tensor(-np.arange(1.0, 17.0).reshape(1, 1, 4, 4), requires_grad=True)
right = F.max_pool2d(x, 3, stride=1, padding=1)
right.sum().backward()
right_grad = x.grad.data[0, 0].copy()
x.grad = None
wrong = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, stride=1)  # pads with zeros, then pools
wrong.sum().backward()
show({"x": x.data[0, 0], "out, padding=1": right.data[0, 0], "out, zeros": wrong.data[0, 0]})
show({"grad_x, padding=1": right_grad, "grad_x, zeros": x.grad.data[0, 0]})

# %% [markdown]
# At all twelve places along the border the zeros win, and the gradient of these windows goes into
# the padding and is lost: of 16 only 4 comes back. `F.max_pool2d` counts padding as minus infinity.
#
# How bad is the mistake where numbers are not all negative? 3 x 3 windows, stride 2, padding 1, on
# random planes of 8 x 8:

# %%
for mean, after in ((0.0, "as they are"), (-1.0, "as they are"), (-1.0, "behind a ReLU")):
    planes = mr.randn(64, 16, 8, 8) + mean
    planes = F.relu(planes) if after == "behind a ReLU" else planes
    zeros = F.max_pool2d(F.pad(planes, (1, 1, 1, 1)), 3, stride=2).data
    changed = (zeros != F.max_pool2d(planes, 3, stride=2, padding=1).data).mean()
    print(f"mean {mean:4.1f}, {after:13}: {changed:6.2%} of the outputs are wrong")

# %% [markdown]
# Around 0 the mistake changes about one output in a hundred, behind a ReLU none: there no number is
# below 0. So a network that pools behind its ReLUs, as those of He et al. 2015 do, would never show
# it, and a test on random numbers might not. Pool somewhere else, and it is there.
#
# ## The mean of each window
#
# Average pooling has no winners: $out = \frac{1}{d}\sum_{window} x$, so each place of a window gets
# $\frac{1}{d}$ of its gradient, and where windows overlap the shares add up. It is linear, and
# backward needs nothing of the forward pass but the shape. Beside max pooling, on one digit, with a
# gradient of 1 for every window (3 x 3, stride 2, padding 1):

# %%
digit = np.round(16 * (images[:1] * data.std[0] + data.mean[0]))
grads = {}
for name, pool in {"max": F.max_pool2d, "average": F.avg_pool2d}.items():
    x = mr.tensor(digit, requires_grad=True)
    pool(x, 3, stride=2, padding=1).sum().backward()
    grads[f"gradient of {name} pooling"] = np.round(x.grad.data[0, 0], 2)
show({"the digit, shades 0 to 16": digit[0, 0], **grads})

# %% [markdown]
# Max pooling hands 16 gradients to ten places, and up to four of them to the same one. (The 1 in
# the corner comes from a window of zeros: a tie, which the first place wins.) Average pooling gives
# every pixel something, ink or not: 1, 2 or 4 ninths, for the number of windows that see it. That
# pattern is a chessboard which has nothing to do with the image; it comes from windows of 3 with a
# stride of 2.
#
# ### What is the divisor at the border?
#
# **Predict first.** The image is 1 everywhere, the windows are 3 x 3 with stride 1 and padding 1.
# What is the mean in the corner?

# %%
ones = mr.ones(1, 1, 4, 4)
show(
    {
        f"count_include_pad={counted}": np.round(
            F.avg_pool2d(ones, 3, 1, 1, count_include_pad=counted).data[0, 0], 2
        )
        for counted in (True, False)
    }
)

# %% [markdown]
# By default the zeros of the padding are numbers like others: the corner has four ones and five
# zeros, 4/9. So average pooling with padding darkens the border. With `count_include_pad=False` a
# window divides by the places that it has in the image.
#
# The other end is `ceil_mode`. Five columns hold two windows of 2 with stride 2; one column is left
# over. **Predict:** what gradient does the last column get, if the number of windows is rounded
# down, and if it is rounded up?

# %%
panels = {}
for ceil_mode in (False, True):
    x = mr.ones(1, 1, 5, 5, requires_grad=True)
    F.avg_pool2d(x, 2, ceil_mode=ceil_mode).sum().backward()
    panels[f"grad_x, ceil_mode={ceil_mode}"] = x.grad.data[0, 0]
show(panels)

# %% [markdown]
# Rounded down, the last row and column are never read, and get nothing. Rounded up, the last
# windows hang over the edge. What hangs over beyond the padding never counts, so that the corner
# pixel is a window of its own: it has four times the weight of one in the middle.
#
# ### Exercise 4: how many numbers a window counts
#
# Along one axis: `size` places, padding on both sides, and `windows` windows (so you need not care
# about rounding). Return a list: how many places each window counts. In two dimensions the divisor
# is the product of the counts of its row and its column.


# %%
def my_counts(size, kernel_size, stride, padding, windows, count_include_pad):
    # starts = [i * stride - padding for i in range(windows)]
    ...


pooling.divisors(my_counts)

# %% [markdown]
# ## Global average pooling
#
# The networks of He et al. 2015 end with the mean of each plane and a linear layer, an idea of Lin
# et al. 2013 (section 3.2). **Predict first:** how does the gradient differ from pixel to pixel of
# a plane of the last block?

# %%
mr.manual_seed(0)
model = mr.models.cifar_resnet(20, width=16, in_channels=1)
kept = []


def keep(module, inputs, out):
    out.retain_grad()
    kept.append(out)


handle = model.layer3.register_forward_hook(keep)
F.cross_entropy(model(mr.tensor(images)), mr.tensor(labels)).backward()
handle.remove()
last = kept[0].grad.data
print("the output of the last block:", last.shape)
print("largest difference within a plane:", np.ptp(last, axis=(2, 3)).max())
print(f"between the means of planes: {np.ptp(last.mean(axis=(2, 3))):.1e}")

# %% [markdown]
# Not at all. Each pixel gets the gradient of the mean divided by H * W, the same number. What there
# is of *where* in the gradient further back comes from the ReLUs that are on at some places and off
# at others, and from the weights. The gain: the linear layer does not depend on the size of the
# image. At 32 x 32 the last stage has 64 planes of 8 x 8:

# %%
for name, inputs in {"behind global average pooling": 64, "on all pixels": 64 * 8 * 8}.items():
    layer = mr.nn.Linear(inputs, 10)
    print(f"a linear layer {name}: {sum(p.numel() for p in layer.parameters()):,} parameters")

# %% [markdown]
# ### Exercise 5: the gradient of global average pooling
#
# `grad_out` is (N, C), one number for each plane; return `grad_x` of the shape `x_shape`.


# %%
def my_global_average_gradient(grad_out, x_shape):
    # N, C, H, W = x_shape
    ...


pooling.global_average_gradient(my_global_average_gradient)

# %% [markdown]
# ## NaN must win
#
# NaN, "not a number", is what 0/0 or inf - inf gives, and the sign that a training has gone wrong.
# It is neither larger nor smaller than any number: each comparison with it is false. **Predict:**
# what does `if value > best` make of a window with a NaN in it?

# %%
window = [2.0, 1.0, np.nan, 4.0]
best = -np.inf
for value in window:
    if value > best:
        best = value
x = mr.tensor(np.reshape(window, (1, 1, 2, 2)), requires_grad=True)
out = F.max_pool2d(x, 2)
out.sum().backward()
print("a loop with `if value > best`:", best)
print("F.max_pool2d:", out.item(), "  its gradient:", x.grad.tolist()[0][0])

# %% [markdown]
# The loop steps over it: the network goes on with 4 as if nothing had happened, and the fault
# appears somewhere else, or never. In minires a NaN beats every number, and of several the last one
# counts. So the output is NaN, and the gradient points to the place where it came from.
#
# ## Summary
#
# - Max pooling hands the gradient of each window to its winner; the indices are all that it needs.
#   Where windows overlap gradients add up.
# - At a tie there is no derivative. The first in reading order gets all; sharing would be right,
#   too, and paying each in full is not, which only directions show and no single input.
# - Ties are common in images and behind ReLUs. Behind a ReLU most of them are windows that are off
#   altogether, whose gradient the ReLU stops.
# - Zeros as padding win against negative numbers. Behind a ReLU the mistake is invisible.
# - Average pooling spreads the gradient evenly; the divisor at the border is a choice
#   (`count_include_pad`), and what hangs over never counts.
# - Global average pooling gives every pixel of a plane the same gradient.
#
# **References.** He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition", table
# 1 and section 3.3. Lin, Chen and Yan 2013, "Network in network", section 3.2.
#
# Worked solutions: [solutions/05_pooling.ipynb](solutions/05_pooling.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [06 · Plain stacks](06_plain_stacks.ipynb), what happens to signal and gradient when
# layers are piled up.
