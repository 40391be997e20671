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
# # 03 · Convolution three ways: solutions
#
# Of [03 · Convolution three ways](../03_convolution.ipynb). Try them there first; other ways are as
# good if the check says so.

# %%
import numpy as np

from minires import kernels
from minires.exercises import convolution as check

# %% [markdown]
# ## Exercise 1: the size of the output
#
# From the first tap to the last the kernel spans $D (K - 1) + 1$ pixels. Laid down at the very
# beginning of the padded axis of $n + 2P$, it leaves the rest; as often as the stride fits into
# that rest it can be moved on. And the first place counts, too.


# %%
def output_size(size, kernel, stride, padding, dilation):
    span = dilation * (kernel - 1) + 1
    rest = size + 2 * padding - span
    return rest // stride + 1


check.output_size(output_size)

# %% [markdown]
# ## Exercise 2: the columns of an image
#
# Instead of going through the windows, go through the taps: what tap $(k_h, k_w)$ meets, for all
# outputs at once, is a slice of the image that begins at the tap and goes in steps of the stride.
# That is a loop over nine taps and not over a thousand windows.


# %%
def columns_of(x, KH, KW, stride):
    C, H, W = x.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    columns = np.empty((C, KH, KW, OH, OW), x.dtype)
    for kh in range(KH):
        for kw in range(KW):
            rows = slice(kh, kh + stride * OH, stride)
            cols = slice(kw, kw + stride * OW, stride)
            columns[:, kh, kw] = x[:, rows, cols][:, :OH, :OW]
    return columns.reshape(C * KH * KW, OH * OW)


check.columns(columns_of)

# %% [markdown]
# ## Exercise 3: convolution as one matrix product
#
# `weight.reshape(C_out, -1)` puts a filter in a row, in the order (c, kh, kw) that the columns
# have. Image by image the product comes out as (C_out, OH*OW), which only has to be cut into rows.


# %%
def conv_by_columns(x, weight, stride):
    N, _, H, W = x.shape
    C_out, _, KH, KW = weight.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    filters = weight.reshape(C_out, -1)  # (C_out, K)
    out = [filters @ columns_of(image, KH, KW, stride) for image in x]
    return np.stack(out).reshape(N, C_out, OH, OW)


check.matrix_product(conv_by_columns)

# %% [markdown]
# ## Exercise 4: the gradient by the weight
#
# A weight belongs to one tap. The pixels that this tap met are the same slice as in exercise 2;
# each is multiplied with the gradient of the output that it went to, and everything is added up,
# over the images and the places. `einsum` says just that: n, i, j are gone from the result.


# %%
def grad_weight(grad_out, x):
    C_out, OH, OW = grad_out.shape[1:]
    C, H, W = x.shape[1:]
    KH, KW = H - OH + 1, W - OW + 1
    grad = np.empty((C_out, C, KH, KW))
    for kh in range(KH):
        for kw in range(KW):
            met = x[:, :, kh : kh + OH, kw : kw + OW]  # (N, C, OH, OW)
            grad[:, :, kh, kw] = np.einsum("noij,ncij->oc", grad_out, met)
    return grad


check.grad_weight(grad_weight)

# %% [markdown]
# ## Exercise 5: the gradient by the input
#
# Going forward through the outputs one goes backward through the kernel: so the kernel is turned
# in rows and columns. What went from `C` to `C_out` goes back: so its first two axes are
# exchanged. The pixel at the corner was read by the output at the corner through tap $P$ counted
# from the beginning: so there are $K - 1 - P$ zeros around `grad_out`. The zeros are added by
# hand, since a kernel need not be square; where $P$ is larger than $K - 1$, rows would have to be
# cut off instead.


# %%
def grad_input(grad_out, weight, padding):
    KH, KW = weight.shape[2:]
    turned = weight[:, :, ::-1, ::-1].swapaxes(0, 1)  # (C, C_out, KH, KW)
    rows, cols = KH - 1 - padding, KW - 1 - padding
    around = np.pad(grad_out, ((0, 0), (0, 0), (rows, rows), (cols, cols)))
    return kernels.conv2d(around, np.ascontiguousarray(turned))


check.grad_input(grad_input)

# %% [markdown]
# Back to [03 · Convolution three ways](../03_convolution.ipynb).
