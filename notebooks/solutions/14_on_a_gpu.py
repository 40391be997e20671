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
# # 14 · The same code on a GPU: solutions
#
# Of [14 · The same code on a GPU](../14_on_a_gpu.ipynb). Try them there first; other ways are as
# good if the check says so. Exercises 3 and 4 run your kernel, which takes a C++ compiler.

# %%
from minires.exercises import gpu as check

# %% [markdown]
# ## Exercise 1: the elements of a thread
#
# `block * threads` threads come before this block, so the thread's number among all is `block *
# threads + thread`. There it begins, and goes on by the number of all threads.


# %%
def elements_of(thread, block, threads, blocks, count):
    return list(range(block * threads + thread, count, blocks * threads))


check.elements_of(elements_of)

# %% [markdown]
# ## Exercise 2: how many blocks
#
# Rounded up, so that the rest has a block as well. At least one, since a launch of none is an
# error; at most `most`, since from then on the loop in the kernel does it.


# %%
def blocks_needed(count, threads, most):
    rounded_up = -(-count // threads)
    return max(1, min(most, rounded_up))


check.blocks_needed(blocks_needed)

# %% [markdown]
# ## Exercise 3: a leaky ReLU
#
# The loop of the kernel in the notebook. `i < n` keeps the threads out that have no element, and
# the stride lets few threads do for many elements. For `nan` the comparison is false, and `slope
# * nan` is `nan`.

# %%
LEAKY = """\
extern "C" __global__ void leaky_relu(const float* x, float* out, float slope, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        out[i] = x[i] > 0 ? x[i] : slope * x[i];
}
"""
check.leaky_relu(LEAKY)

# %% [markdown]
# ## Exercise 4: the missing barrier
#
# A round reads what the round before has written, so there is a barrier at the end of each round,
# outside of the `if`: threads with nothing to add have to come to it, too. The one before the
# loop stays. After the last round it is needed for nobody but thread 0, which reads its own
# number; it does no harm.

# %%
MENDED = """\
extern "C" __global__ void sums_of_blocks(const float* x, float* sums, int n) {
    __shared__ float part[256];
    const int t = threadIdx.x;
    float own = 0;
    for (int i = blockIdx.x * blockDim.x + t; i < n; i += gridDim.x * blockDim.x) own += x[i];
    part[t] = own;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) part[t] += part[t + half];
        __syncthreads();
    }
    if (t == 0) sums[blockIdx.x] = part[0];
}
"""
check.mended(MENDED)

# %% [markdown]
# The wrong place, inside the `if`, where half of the threads never come:

# %%
INSIDE = check.BROKEN.replace(
    "part[t] += part[t + half];", "{ part[t] += part[t + half]; __syncthreads(); }"
)
print(check.mended(INSIDE).message)

# %% [markdown]
# ## Exercise 5: what is copied
#
# To the card: the model once, and the images and labels of each step. From it: one number
# whenever the loss is printed, in the steps 0, `every`, `2 * every` and so on, which is `steps /
# every` rounded up. Gradients and momentum never leave the card.


# %%
def copies(arrays, steps, every):
    return arrays + 2 * steps, -(-steps // every)


check.copies(copies)

# %% [markdown]
# Back to [14 · The same code on a GPU](../14_on_a_gpu.ipynb).
