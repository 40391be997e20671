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
# # 05 · Pooling and ties: solutions
#
# Of [05 · Pooling and ties](../05_pooling.ipynb). Try them there first; other ways are as good if
# the check says so.

# %%
import numpy as np

from minires.exercises import pooling

# %% [markdown]
# ## Exercise 1: max pooling with indices
#
# Places outside the image are skipped, so that padding has no value that could win. The comparison
# is `>`, not `>=`: an equal number that comes later changes nothing, and the first one stays.
# `np.isnan` is more than was asked for: with it a NaN wins, as in the library.


# %%
def my_max_pool2d(x, kernel_size, stride, padding):
    N, C, H, W = x.shape
    OH = (H + 2 * padding - kernel_size) // stride + 1
    OW = (W + 2 * padding - kernel_size) // stride + 1
    out = np.full((N, C, OH, OW), -np.inf)
    indices = np.zeros((N, C, OH, OW), dtype=int)
    for n, c, oh, ow in np.ndindex(out.shape):
        for kh, kw in np.ndindex(kernel_size, kernel_size):
            h, w = oh * stride - padding + kh, ow * stride - padding + kw
            if 0 <= h < H and 0 <= w < W:
                value, best = x[n, c, h, w], out[n, c, oh, ow]
                if value > best or np.isnan(value):
                    out[n, c, oh, ow] = value
                    indices[n, c, oh, ow] = h * W + w
    return out, indices


pooling.max_with_indices(my_max_pool2d)

# %% [markdown]
# ## Exercise 2: the way back of max pooling
#
# The plane is the one of the same image and channel, and `+=` adds up where one place won several
# windows. `np.add.at` does the same at once; `grad_x[plane, place] += ...` with arrays of indices
# would not.


# %%
def my_max_pool2d_backward(grad_out, indices, x_shape):
    N, C, H, W = x_shape
    grad_x = np.zeros((N * C, H * W))
    plane = np.arange(N * C)[:, None]
    np.add.at(grad_x, (plane, indices.reshape(N * C, -1)), grad_out.reshape(N * C, -1))
    return grad_x.reshape(x_shape)


pooling.scatter(my_max_pool2d_backward)

# %% [markdown]
# ## Exercise 3: ties on paper
#
# The upper windows hold 2, 5, 5, 1 and 5, 5, 1, 5: in both the first 5 is the one in row 0, column
# 1, which gets 1 + 10. The lower left window holds 5, 1, 0, 5 and its first 5 stands in row 1,
# column 0; the lower right holds 1, 5, 5, 3 and its first 5 in row 1, column 2.

# %%
my_grad_x = [[0, 11, 0], [100, 0, 1000], [0, 0, 0]]

pooling.ties(my_grad_x)

# %% [markdown]
# ## Exercise 4: how many numbers a window counts
#
# A window is cut off at both ends: at those of the padded image if the padding counts, at those of
# the image if it does not.


# %%
def my_counts(size, kernel_size, stride, padding, windows, count_include_pad):
    edge = padding if count_include_pad else 0
    counts = []
    for i in range(windows):
        start = i * stride - padding
        counts.append(min(start + kernel_size, size + edge) - max(start, -edge))
    return counts


pooling.divisors(my_counts)

# %% [markdown]
# ## Exercise 5: the gradient of global average pooling
#
# Each of the H * W numbers of a plane has the same part in its mean.


# %%
def my_global_average_gradient(grad_out, x_shape):
    N, C, H, W = x_shape
    return np.broadcast_to(grad_out.reshape(N, C, 1, 1) / (H * W), x_shape)


pooling.global_average_gradient(my_global_average_gradient)

# %% [markdown]
# Back to [05 · Pooling and ties](../05_pooling.ipynb).
