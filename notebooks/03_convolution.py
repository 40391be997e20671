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
# # 03 · Convolution three ways
#
# Afterwards you will be able to
#
# - say which pixels an output of a convolution reads, for any stride, padding, dilation and groups;
# - write a convolution as loops, as one matrix product, and as a few products of shifted views, and
#   say what each costs in time and in memory;
# - write both of its gradients, and see that they are convolutions themselves, so that you can
#   differentiate as often as you like.
#
# You need NumPy indexing, and from notebooks 01 and 02 what `grad_out` is and how a gradient is
# checked. It takes about an hour with the five exercises, and ten seconds to run.

# %%
import threading
import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires import kernels
from minires.exercises import convolution as check
from minires.viz import style

rng = np.random.default_rng(0)

# %% [markdown]
# ## What an output reads
#
# A convolution lays a small kernel on every place of an image, multiplies what lies under it, and
# adds up:
#
# $$\text{out}[n, o, i, j] = \text{bias}[o] + \sum_{c, k_h, k_w}
#   \text{weight}[o, c, k_h, k_w] \; x[n, c, \; i S - P + k_h D, \; j S - P + k_w D]$$
#
# with $x = 0$ outside the image. $S$ is the stride, $P$ the padding, $D$ the dilation. One place
# $(k_h, k_w)$ of the kernel is called a *tap*. (Strictly this is a cross-correlation; a convolution
# in the mathematicians' sense turns the kernel round first. The field calls it convolution, and so
# do we.)
#
# Which pixels does one output read? We do not have to trust the formula. With all weights at 1, the
# gradient of one output by the image is 1 at the pixels that it read, and 0 elsewhere. To see the
# padding too, we put the zeros around the image ourselves and ask for the gradient by that.
#
# **Predict first.** An image of 7x7, a kernel of 3x3, stride 2, padding 1: how many outputs are
# there, and how many pixels does the output at the upper left read that are not padding?


# %%
def read_by(output, size, kernel, stride, padding, dilation):
    """1 at the pixels of the padded image that one output reads, 0 elsewhere; and the outputs."""
    padded = size + 2 * padding
    weight = np.ones((1, 1, kernel, kernel))
    how = dict(stride=stride, dilation=dilation)
    out = kernels.conv2d(np.zeros((1, 1, padded, padded)), weight, **how)
    one = np.zeros_like(out)
    one[0, 0, *output] = 1.0
    return kernels.conv2d_grad_input(one, weight, (1, 1, padded, padded), **how)[0, 0], out.shape[2]


def draw_reads(ax, title, size=7, kernel=3, stride=1, padding=0, dilation=1):
    first, outputs = read_by((0, 0), size, kernel, stride, padding, dilation)
    second, _ = read_by((0, 1), size, kernel, stride, padding, dilation)
    for i, j in np.ndindex(first.shape):
        inside = all(padding <= p < padding + size for p in (i, j))
        face = "white" if inside else "#e9ebef"
        ax.add_patch(plt.Rectangle((j, i), 1, 1, facecolor=face, edgecolor="#9aa1ad", lw=0.8))
        if first[i, j]:
            ax.plot(j + 0.35, i + 0.5, "o", color="#0a4c94", ms=7)
        if second[i, j]:
            ax.plot(j + 0.65, i + 0.5, "x", color="#d47d00", ms=7, mew=2)
    n = len(first)
    ax.set(xlim=(0, n), ylim=(n, 0), aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"{title}\n{outputs} x {outputs} outputs", fontsize=10)
    ax.grid(False)
    ax.spines[:].set_visible(False)


with style.context():
    fig, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
    draw_reads(axes[0], "stride 1")
    draw_reads(axes[1], "stride 2", stride=2)
    draw_reads(axes[2], "stride 2, padding 1", stride=2, padding=1)
    draw_reads(axes[3], "dilation 2", dilation=2)
    fig.supxlabel(
        "circles: read by output (0, 0); crosses: by its right neighbour (0, 1); grey: padding",
        fontsize=9.5,
    )
    plt.show()

# %% [markdown]
# The third picture has the answer: 4 x 4 outputs, and the first one reads 4 pixels of the image and
# 5 zeros. That is why a stack of padded convolutions loses something at the border: there, fewer
# taps meet a pixel. Dilation spreads the taps apart: the kernel of nine taps spans 5 x 5 pixels.
#
# Groups split the channels. Here is which channel of the output reads which channel of the input,
# measured in the same way, with 8 channels in and 8 out:

# %%
with style.context():
    fig, axes = plt.subplots(1, 3, figsize=(8.5, 3.3), layout="constrained")
    for ax, groups in zip(axes, (1, 2, 8), strict=True):
        weight = np.ones((8, 8 // groups, 1, 1))
        reads = np.zeros((8, 8))
        for o in range(8):
            one = np.zeros((1, 8, 1, 1))
            one[0, o] = 1.0
            reads[o] = kernels.conv2d_grad_input(one, weight, one.shape, groups=groups).ravel()
        for o, c in np.argwhere(reads):
            ax.plot(c, o, "s", color="#0a4c94", ms=9)
        ax.set(xlim=(-0.5, 7.5), ylim=(7.5, -0.5), aspect="equal", xticks=range(8))
        ax.set(yticks=range(8), xlabel="channel of the input", ylabel="channel of the output")
        ax.set_title(f"groups={groups}: {weight.size} weights", fontsize=10)
    plt.show()

# %% [markdown]
# With as many groups as channels each filter sees one channel only; that is called a depthwise
# convolution.
#
# ### Exercise 1: the size of the output
#
# How many outputs are there along one axis? Write a function of `size`, `kernel`, `stride`,
# `padding` and `dilation`. Count in the pictures above, if in doubt.


# %%
def output_size(size, kernel, stride, padding, dilation): ...


check.output_size(output_size)

# %% [markdown]
# ## The first way: loops
#
# The formula, word by word. This is what `minires.kernels.reference` does for every kernel of the
# framework: it is written for the eye, and everything faster is held against it. Here for one
# image, stride 1 and no padding:


# %%
def conv_by_loops(x, weight):
    """x (C, H, W), weight (C_out, C, KH, KW); returns (C_out, OH, OW)."""
    C_out, C, KH, KW = weight.shape
    OH, OW = x.shape[1] - KH + 1, x.shape[2] - KW + 1
    out = np.zeros((C_out, OH, OW))
    multiplications = 0
    for o, i, j in np.ndindex(out.shape):
        for c, kh, kw in np.ndindex(C, KH, KW):
            out[o, i, j] += weight[o, c, kh, kw] * x[c, i + kh, j + kw]
            multiplications += 1
    return out, multiplications


x, weight = rng.standard_normal((3, 8, 8)), rng.standard_normal((4, 3, 3, 3))
by_loops, multiplications = conv_by_loops(x, weight)
by_reference = kernels.reference.conv2d(x[None], weight)[0]
print("largest difference to kernels.reference:", f"{abs(by_loops - by_reference).max():.0e}")
print("multiplications:", multiplications)

# %% [markdown]
# 3,888 multiplications for an image of 8x8: four filters, six by six places, 27 taps in each. All
# three ways do *the same* multiplications. What differs is who does them: here Python, one at a
# time; below BLAS, the library for matrix products that NumPy calls, which keeps all of the
# processor's arithmetic units busy.
#
# ## The second way: one matrix product
#
# A matrix product wants rows and columns. A filter, laid out flat, is a row of $K = C \cdot K_H
# \cdot K_W$ numbers. The window that an output reads, laid out flat in the same order, is a column
# of $K$ numbers. Put all windows side by side, and the convolution is one product:
#
# $$\underbrace{\text{out}}_{(C_{out},\ OH \cdot OW)} =
#   \underbrace{\text{weight}}_{(C_{out},\ K)} \;
#   \underbrace{\text{columns}}_{(K,\ OH \cdot OW)}$$
#
# (Chellapilla, Puri and Simard 2006 unrolled convolution like this; the copying is now called
# *im2col*.)
#
# **Predict first.** An image of 4x4 and a kernel of 3x3: how large is the matrix of columns, and
# how often is a pixel in the middle of the image found in it?
#
# One row of the columns holds what one tap meets. So a filter that is 1 at this tap and 0 elsewhere
# reads that row off, and all such filters together give the whole matrix. That is an odd way to
# make it, and a good one to look at it:


# %%
def columns_by_filters(x, KH, KW):
    K = len(x) * KH * KW
    one_tap_each = np.eye(K).reshape(K, len(x), KH, KW)
    return kernels.conv2d(x[None], one_tap_each).reshape(K, -1)


image = np.arange(16.0).reshape(1, 4, 4)
columns = columns_by_filters(image, 3, 3)
print("the image              its columns, a tap a row, a window a column")
for tap in range(9):
    pixels = " ".join(f"{p:3.0f}" for p in image[0, tap]) if tap < 4 else ""
    print(f"{pixels:22} tap {divmod(tap, 3)}  " + " ".join(f"{p:3.0f}" for p in columns[tap]))
print("pixel 5, in the middle, is there", int((columns == 5).sum()), "times, pixel 0, at a corner,")
print("once; 16 pixels have become", columns.size, "numbers")

# %% [markdown]
# In a large image nearly every pixel lies in nine windows of 3x3, so the columns take nine times
# the memory of the image. That is the price of this way.
#
# ### Exercise 2: the columns of an image
#
# Make the matrix of columns from an image `x` (C, H, W), for any stride, by copying. Rows in the
# order (c, kh, kw), columns in the order of the outputs. (No padding: whoever wants it pads `x`.)


# %%
def columns_of(x, KH, KW, stride): ...


check.columns(columns_of)

# %% [markdown]
# ### Exercise 3: convolution as one matrix product
#
# Now use it. `x` is (N, C, H, W) this time, and the result (N, C_out, OH, OW). You may loop over
# the images, not over places or channels.


# %%
def conv_by_columns(x, weight, stride): ...


check.matrix_product(conv_by_columns)

# %% [markdown]
# ## The third way: shifted products
#
# Look at the printed columns again: the row of tap (1, 0) begins 4 5 8 9, the row of tap (0, 0)
# 0 1 4 5. The second half of one is the first half of the other. Copying both is a waste.
#
# So copy the image only *sideways*, once for each column of the kernel, and keep its rows whole.
# What the taps of kernel row $k_h$ meet is then a block of rows of that copy, beginning at row
# $k_h$. Rows lie one after the other in memory, so the block is a matrix as it stands. Nothing is
# copied for it:
#
# $$\text{out} = \sum_{k_h} \text{weight}_{k_h} \; \text{unfolded}[:, \text{ rows from } k_h
#   \text{ on}]$$
#
# One product for each kernel row, and $K_W$ copies of the image in place of $K_H K_W$. This is
# the idea of `minires/kernels/shifted.py`, which adds strides, dilation, groups, threads, and care
# for small images. In ten lines, for one image:


# %%
def conv_by_shifts(x, weight):
    """x (C, H, W), weight (C_out, C, KH, KW); stride 1, no padding."""
    C_out, C, KH, KW = weight.shape
    H, OW = x.shape[1], x.shape[2] - KW + 1
    OH = H - KH + 1
    unfolded = np.stack([x[:, :, kw : kw + OW] for kw in range(KW)])  # (KW, C, H, OW)
    unfolded = unfolded.reshape(KW * C, H * OW)
    out = np.zeros((C_out, OH * OW))
    for kh in range(KH):
        block = unfolded[:, kh * OW : (kh + OH) * OW]  # (KW*C, OH*OW)
        assert np.shares_memory(block, unfolded)  # a view: no copy
        rows = weight[:, :, kh].transpose(0, 2, 1).reshape(C_out, KW * C)
        out += rows @ block
    return out.reshape(C_out, OH, OW), unfolded


by_shifts, unfolded = conv_by_shifts(x, weight)
print("largest difference to kernels.reference:", f"{abs(by_shifts - by_reference).max():.0e}")
print(f"numbers: image {x.size}, unfolded {unfolded.size}, columns", end=" ")
print(columns_by_filters(x, 3, 3).size)

# %% [markdown]
# ## Checked against each other
#
# minires has all three, behind one function. `mr.kernels.use` says which one runs inside a block,
# for whole networks too. Are they the same, for every setting?

# %%
settings = [
    dict(),
    dict(padding=1),
    dict(stride=2, padding=1),
    dict(dilation=2),
    dict(stride=(1, 2), padding=(2, 0), dilation=(1, 2)),
    dict(groups=4, padding=1),
]
x, dense = rng.standard_normal((2, 4, 9, 8)), rng.standard_normal((4, 4, 3, 3))
print("largest difference to the loops, float64         im2col     fast")
for how in settings:
    weight = dense[:, : 4 // how.get("groups", 1)]
    with kernels.use("reference"):
        expected = kernels.conv2d(x, weight, **how)
    found = []
    for rung in ("im2col", "fast"):
        with kernels.use(rung):
            found.append(abs(kernels.conv2d(x, weight, **how) - expected).max())
    text = ", ".join(f"{name}={value}" for name, value in how.items()) or "defaults"
    print(f"{text:48} {found[0]:.0e}    {found[1]:.0e}")
    assert max(found) < 1e-12

# %% [markdown]
# Not the same bits: the sums are added up in another order, and rounding depends on it. But the
# same numbers, as far as float64 goes.
#
# ## Timed against each other
#
# **Predict first.** One image of 32x32 with 16 channels, 16 filters of 3x3: by what factor are the
# loops slower than the matrix products? And by what factor is im2col slower than shifted products?


# %%
def milliseconds(rung, x, weight, repeat):
    with kernels.use(rung):
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            kernels.conv2d(x, weight, padding=1)
            times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def drawn(*shape):
    return rng.standard_normal(shape).astype(np.float32)


x, weight = drawn(1, 16, 32, 32), drawn(16, 16, 3, 3)
slow = milliseconds("reference", x, weight, 1)
columns, fast = (milliseconds(rung, x, weight, 20) for rung in ("im2col", "fast"))
print(f"one image, 16 channels, 32x32: loops {slow:.0f} ms, im2col {columns:.2f} ms, ", end="")
print(f"fast {fast:.2f} ms")
print(f"the loops take {slow / fast:.0f} times as long as fast\n")

print("images  channels  size  kernel   im2col ms   fast ms   im2col / fast")
for N, C, H, K in [(32, 16, 32, 3), (32, 64, 8, 3), (4, 64, 56, 3), (4, 16, 32, 7), (4, 64, 56, 1)]:
    x, weight = drawn(N, C, H, H), drawn(C, C, K, K)
    columns, fast = (milliseconds(rung, x, weight, 8) for rung in ("im2col", "fast"))
    print(f"{N:6}  {C:8}  {H:4}  {K}x{K} {columns:13.2f} {fast:9.2f} {columns / fast:15.1f}")

# %% [markdown]
# Times differ from machine to machine and from run to run, so read your own table. What holds
# everywhere: the loops are slower by *orders of magnitude*. Between the two that use matrix
# products the factor is small beside that, and it depends on the shape. The step from loops to
# BLAS is worth far more than any step after it. The 1x1 kernel has a single tap: there is nothing
# to unfold, and little for the third way to gain. How minires compares with PyTorch, layer by
# layer, is in docs/performance.md, also where it is the slower one.
#
# ## The memory each takes
#
# Python can count what is allocated while a function runs. First by hand, as above, one image at a
# time and the columns whole; then the kernels of minires, on one thread. (They keep some buffers
# for the next call, one set for each thread, so each is measured in a new thread that has none
# yet.)


# %%
def megabytes(function):
    tracemalloc.start()
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


x, weight = rng.standard_normal((16, 56, 56)), rng.standard_normal((16, 16, 3, 3))
taps = [(kh, kw) for kh in range(3) for kw in range(3)]
whole = megabytes(lambda: np.stack([x[:, h : h + 54, w : w + 54] for h, w in taps]))
shifted = megabytes(lambda: np.stack([x[:, :, w : w + 54] for w in range(3)]))
print(f"by hand, one image of {x.nbytes / 1e6:.1f} MB: columns {whole:.1f} MB, ", end="")
print(f"unfolded sideways {shifted:.1f} MB")

threads = mr.get_num_threads()
mr.set_num_threads(1)
print("\nminires, 3x3, output included:   x in MB   all columns would be   im2col    fast")
for N in (1, 8, 32):
    x, weight = drawn(N, 16, 56, 56), drawn(16, 16, 3, 3)
    used = {}
    for rung, kernel in {"im2col": kernels.im2col.conv2d, "fast": kernels.conv2d}.items():
        used[rung] = megabytes(lambda x=x, w=weight, run=kernel: run(x, w, padding=1))
    print(f"{N:2} images {x.nbytes / 1e6:30.1f} {9 * x.nbytes / 1e6:22.1f}", end="")
    print(f"{used['im2col']:9.1f}{used['fast']:8.1f}")
mr.set_num_threads(threads)

# %% [markdown]
# By hand it is as computed: about nine copies against about three. In minires neither way lets the
# copies grow with the batch: both work through it in chunks of a few images, the smaller the more
# an image takes. Of what is listed, the output alone takes as much as `x`; what comes on top stays
# the same from 8 images to 32. So the easy story, "im2col needs nine times the memory", is true
# for one image and false for a batch: the columns of all 32 would take more than fifty megabytes.
# And whichever way is taken, *nothing* of it is kept for the backward pass: only `x` and `weight`
# are.
#
# ## The gradient by the weight
#
# Output $(i, j)$ multiplied $\text{weight}[o, c, k_h, k_w]$ by one pixel. So this weight gets that
# pixel, times the gradient that arrived at the output, and it sat at every output:
#
# $$\text{grad\_weight}[o, c, k_h, k_w] = \sum_{n, i, j} \text{grad\_out}[n, o, i, j] \;
#   x[n, c, \; i S - P + k_h D, \; j S - P + k_w D]$$
#
# Now compare with the first formula. It is the same sum with the parts exchanged: `grad_out` is
# laid on `x` like a kernel, a large one. What was added over channels is now added over images.
# And where the forward pass *steps* by $S$, the taps of this kernel are $S$ *apart*.
#
# **Predict first.** So which setting of the forward pass becomes the dilation of this convolution,
# and which its stride?

# %%
x, weight = rng.standard_normal((2, 3, 9, 9)), rng.standard_normal((4, 3, 3, 3))
how = dict(stride=2, padding=1, dilation=1)
grad_out = rng.standard_normal(kernels.conv2d(x, weight, **how).shape)

as_images, as_filters = x.swapaxes(0, 1), grad_out.swapaxes(0, 1)  # images and channels exchanged
found = kernels.conv2d(
    as_images, as_filters, padding=how["padding"], dilation=how["stride"], stride=how["dilation"]
)
found = found.swapaxes(0, 1)[:, :, :3, :3]  # where the stride left pixels over, drop what is beyond
expected = kernels.conv2d_grad_weight(grad_out, x, weight.shape, **how)
print("a convolution with dilation", how["stride"], "and stride", how["dilation"])
print("largest difference to conv2d_grad_weight:", f"{abs(found - expected).max():.0e}")

# %% [markdown]
# Stride and dilation have changed places.
#
# ### Exercise 4: the gradient by the weight
#
# Write it for stride 1 without padding, from `grad_out` (N, C_out, OH, OW) and `x` (N, C, H, W), in
# any way: loops over the taps, columns, or a convolution.


# %%
def grad_weight(grad_out, x): ...


check.grad_weight(grad_weight)

# %% [markdown]
# ## The gradient by the input
#
# Every output sends its gradient back to the pixels that it read, each through the tap that read
# it. Follow one pixel $h$ of a row: output $i$ read it with tap $k$ if $i + k - P = h$. The next
# output, $i + 1$, read it with tap $k - 1$. Going forward through the outputs, we go *backward*
# through the kernel. So this is a convolution of `grad_out` with the kernel turned by half a turn,
# its two channel axes exchanged, and with a border of $K - 1 - P$ zeros. With a stride, the
# outputs lie $S$ apart on the image, so $S - 1$ zeros come between them. (One row of it, drawn;
# tap $k$ is the number at the line.)

# %%
with style.context():
    fig, axes = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
    for ax, stride in zip(axes, (1, 2), strict=True):
        outputs = [stride * i for i in range(6 // stride)]
        for i in outputs:
            for k in range(3):
                pixel = i + k - 1
                if 0 <= pixel < 6:
                    chosen = pixel == 3
                    look = dict(color="#0a4c94", lw=2) if chosen else dict(color="#9aa1ad", lw=0.8)
                    ax.plot([i, pixel], [1, 0], **look)
                    if chosen:
                        at = (i + 0.3 * (pixel - i), 0.7)
                        box = dict(facecolor="white", edgecolor="none", pad=1)
                        ax.annotate(f"{k}", at, color="#0a4c94", ha="center", bbox=box)
        ax.plot(outputs, [1] * len(outputs), "s", color="#d47d00", ms=10)
        ax.plot(range(6), [0] * 6, "o", color="white", mec="#1f2430", ms=10)
        ax.plot([3], [0], "o", color="#0a4c94", ms=10)
        ax.set(yticks=[0, 1], yticklabels=["pixels", "outputs"], ylim=(-0.3, 1.3))
        ax.set(xlabel="place on the image", title=f"stride {stride}, padding 1")
        ax.grid(False)
    plt.show()

# %% [markdown]
# On the left pixel 3 is reached from outputs 2, 3, 4 through taps 2, 1, 0: backward. On the right,
# with stride 2, from outputs at 2 and 4 only, through taps 2 and 0; its neighbour at 2 has tap 1
# alone. Pixels are treated unequally by a strided convolution: in two dimensions, with a kernel of
# 3x3 and stride 2, one in four gets its gradient through one tap, one in four through four, the
# others through two.
#
# The zeros between the outputs can be put there by hand. Then stride 2 is stride 1 again:

# %%
x, weight = rng.standard_normal((2, 3, 7, 7)), rng.standard_normal((4, 3, 3, 3))
grad_out = rng.standard_normal((2, 4, 4, 4))
expected = kernels.conv2d_grad_input(grad_out, weight, x.shape, stride=2, padding=1)

spread = np.zeros((2, 4, 7, 7))
spread[:, :, ::2, ::2] = grad_out
found = kernels.conv2d_grad_input(spread, weight, x.shape, stride=1, padding=1)
print(f"stride 2 beside stride 1 with zeros in between: {abs(found - expected).max():.0e}")

report = mr.check.gradcheck(lambda x, w: F.conv2d(x, w, stride=2, padding=1), (x, weight))
print("both gradients against differences, as in notebook 02:", report.verdict)

# %% [markdown]
# ### Exercise 5: the gradient by the input
#
# Write it for stride 1, with padding, from `grad_out` (N, C_out, OH, OW) and `weight`
# (C_out, C, KH, KW): turn the kernel, exchange its channels, and convolve (`kernels.conv2d` is
# allowed), or add to the windows in a loop. If you forget one of the steps, the check names it.


# %%
def grad_input(grad_out, weight, padding): ...


check.grad_input(grad_input)

# %% [markdown]
# ## Convolution closes under differentiation
#
# Behind these three stands one number. Give every output a weight of its own, $g$, and add up:
#
# $$T(x, \text{weight}, g) = \sum_{n, o, i, j} g[n, o, i, j] \cdot
#   \text{conv2d}(x, \text{weight})[n, o, i, j]$$
#
# It is linear in each of its three arguments. Its derivative by $g$ is the convolution, by
# `weight` the gradient by the weight, by $x$ the gradient by the input. So each of the three,
# multiplied with the argument that it lacks, must give the same number:

# %%
how = dict(stride=2, padding=1)
x, weight = rng.standard_normal((2, 3, 7, 7)), rng.standard_normal((4, 3, 3, 3))
out = kernels.conv2d(x, weight, **how)
g = rng.standard_normal(out.shape)
print(f"<g, conv2d>                  {(g * out).sum():.10f}")
print("<weight, conv2d_grad_weight> ", end="")
print(f"{(weight * kernels.conv2d_grad_weight(g, x, weight.shape, **how)).sum():.10f}")
print("<x, conv2d_grad_input>       ", end="")
print(f"{(x * kernels.conv2d_grad_input(g, weight, x.shape, **how)).sum():.10f}")

# %% [markdown]
# **Predict first.** Differentiate one of the gradients again, say the gradient by the weight by
# $x$. How many new kernels does that take? And what is the second derivative of a convolution by
# its weight, twice?
#
# Being linear in each argument, every further derivative is again one of the three with other
# arguments. `minires/functional/conv.py` makes each an operation whose backward calls the other
# two, and that is all it takes:

# %%
x, weight = (mr.tensor(a, requires_grad=True) for a in (x, weight))
out = F.conv2d(x, weight, **how)
(grad_by_weight,) = mr.grad(out, weight, grad_outputs=mr.tensor(g), create_graph=True)

v = rng.standard_normal(weight.shape)
(second,) = mr.grad(grad_by_weight, x, grad_outputs=mr.tensor(v))
expected = kernels.conv2d_grad_input(g, v, x.shape, **how)
print("d <v, grad by weight> / dx is conv2d_grad_input with v for the weight:", end=" ")
print(f"largest difference {abs(second.numpy() - expected).max():.0e}")

out = F.conv2d(x, weight, **how)
(grad_by_weight,) = mr.grad(out, weight, grad_outputs=mr.tensor(g), create_graph=True)
(twice,) = mr.grad(grad_by_weight, weight, grad_outputs=mr.tensor(v), allow_unused=True)
print("by the weight twice:", twice, "(it does not depend on the weight any more)")

small = rng.standard_normal((1, 2, 4, 4)), rng.standard_normal((2, 2, 3, 3))
second_order = mr.check.gradgradcheck(lambda x, w: F.conv2d(x, w, stride=2, padding=1), small)
print("gradgradcheck:", second_order.verdict)

# %% [markdown]
# No new kernel at all. The instruments that need second derivatives, such as
# `mr.flow.hessian_eigenvalue`, live on this.
#
# ## Summary
#
# - An output reads $K_H K_W$ pixels of each channel of its group; stride moves the window, padding
#   surrounds the image with zeros, dilation spreads the taps.
# - Loops, im2col and shifted products do the same multiplications. BLAS makes the second and third
#   faster than the loops by orders of magnitude; im2col copies the image $K_H K_W$ times, shifted
#   products $K_W$ times, and in chunks neither grows with the batch.
# - The gradient by the weight is a convolution of the image with `grad_out` (stride and dilation
#   change places). The gradient by the input is one of `grad_out` with the turned kernel.
# - Convolution, gradient by input and gradient by weight are the derivatives of one trilinear form,
#   and of each other. That closes under differentiation.
#
# **References.** Goodfellow, Bengio and Courville 2016, "Deep learning", section 9.5: equation 9.8
# (strided convolution), 9.11 (gradient by the kernel), 9.12 and 9.13 (gradient by the input).
# Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 2
# (relationship 6: the size with padding and stride) and chapter 4 (the transposed convolution).
# Chellapilla, Puri and Simard 2006, "High performance convolutional neural networks for document
# processing" (unrolling). Chetlur et al. 2014, "cuDNN: efficient primitives for deep learning",
# section 3 (the memory it takes, and how to do without).
#
# Worked solutions: [solutions/03_convolution.ipynb](solutions/03_convolution.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [04 · Batch normalisation, backward line by line](04_batch_norm.ipynb), whose backward
# pass has one more surprise.
