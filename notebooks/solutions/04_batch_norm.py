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
# # 04 · Batch normalisation, backward line by line: solutions
#
# Of [04 · Batch normalisation, backward line by line](../04_batch_norm.ipynb). Try them there
# first; other ways are as good if the check says so.

# %%
import numpy as np

from minires.exercises import batch_norm as check

# %% [markdown]
# ## Exercise 1: the statistics of a channel
#
# A filter is laid on every place of every image, so all these values belong together: the mean runs
# over the images (axis 0) and the places (axes 2 and 3). `var` of NumPy divides by the number of
# values, as the formula does; PyTorch's divides by one less.


# %%
def statistics(x):
    return x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))


check.statistics(statistics)

# %% [markdown]
# ## Exercise 2: the gradients of weight and bias
#
# A number that is used many times gets the sum of what all its uses send back. The weight was
# multiplied by `x_hat`, so this is its factor; the factor of the bias is 1.


# %%
def parameter_gradients(grad_out, x_hat):
    grad_weight = (grad_out * x_hat).sum(axis=(0, 2, 3))
    grad_bias = grad_out.sum(axis=(0, 2, 3))
    return grad_weight, grad_bias


check.parameter_gradients(parameter_gradients)

# %% [markdown]
# ## Exercise 3: the whole gradient by x
#
# First line by line, as it was derived: each line is what one line of the forward pass sends back.
# `keepdims` leaves the statistics as (1, C, 1, 1), which lines up with x.


# %%
def grad_x_by_lines(grad_out, x, weight, eps):
    axes, m = (0, 2, 3), x.size // x.shape[1]
    mean = x.mean(axes, keepdims=True)
    var = x.var(axes, keepdims=True)

    d_x_hat = grad_out * weight.reshape(1, -1, 1, 1)
    d_var = (d_x_hat * (x - mean)).sum(axes, keepdims=True) * -0.5 * (var + eps) ** -1.5
    d_mean = -(d_x_hat / np.sqrt(var + eps)).sum(axes, keepdims=True)  # the rest of it is zero
    return d_x_hat / np.sqrt(var + eps) + d_var * 2 * (x - mean) / m + d_mean / m


check.grad_x(grad_x_by_lines)

# %% [markdown]
# And in the short form: what arrives, less its mean, less its part along `x_hat`.


# %%
def grad_x(grad_out, x, weight, eps):
    axes = (0, 2, 3)
    scale = 1 / np.sqrt(x.var(axes, keepdims=True) + eps)
    x_hat = (x - x.mean(axes, keepdims=True)) * scale
    g = grad_out - grad_out.mean(axes, keepdims=True)
    g = g - x_hat * (grad_out * x_hat).mean(axes, keepdims=True)
    return weight.reshape(1, -1, 1, 1) * scale * g


check.grad_x(grad_x)

# %% [markdown]
# ## Exercise 4: the running variance
#
# `ddof=1` divides by $m - 1$. A batch is spread around its own mean a little less than around the
# true one; the factor $m / (m - 1)$ makes up for that on average. For the numbers of the batch
# itself there is nothing to make up for, so they are normalised with the biased variance.


# %%
def running_variance(running_var, x, momentum):
    new = x.var(axis=(0, 2, 3), ddof=1)
    return (1 - momentum) * running_var + momentum * new


check.running_variance(running_variance)

# %% [markdown]
# ## Exercise 5: fold it into the convolution
#
# $\gamma (\mathrm{conv}(x) + b - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$, with `scale` for
# $\gamma / \sqrt{\sigma^2 + \epsilon}$, is $\mathrm{scale} \cdot \mathrm{conv}(x) + \mathrm{scale}
# \cdot (b - \mu) + \beta$. A convolution is linear in its weight, so the factor can go into it:
# filter `o`, along the first axis, makes channel `o`.


# %%
def fold(weight, bias, gamma, beta, mean, var, eps):
    scale = gamma / np.sqrt(var + eps)
    return weight * scale.reshape(-1, 1, 1, 1), (bias - mean) * scale + beta


check.fold(fold)

# %% [markdown]
# Back to [04 · Batch normalisation, backward line by line](../04_batch_norm.ipynb).
