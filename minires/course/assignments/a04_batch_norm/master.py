# %%
"""Assignment a04: batch normalisation, in training and in evaluation.

Write the functions below, and the class at the end; each says in its docstring what it takes and
returns. A function may call the ones above it. Replace each `raise NotImplementedError` with your
code, and try what you have with `minires course check` as often as you like: a task that still
raises it is "not yet", not wrong. NumPy and the standard library are all you need and all there is.

Letters: N images of C channels, H rows and W columns; M = N*H*W numbers in a channel. Everything
that belongs to a channel (mean, variance, weight, bias) has the shape (C,). All numbers are floats.
"""

import numpy as np


# %% task: statistics
def statistics(x):
    """Mean and biased variance of each channel: the pair (mean, var), (C,) each.

    mean = sum of x / M,    var = sum of (x - mean)^2 / M,

    both over all M numbers of the channel. x is (N, C, H, W).

    >>> x = np.array([1.0, 1.0, 5.0, 5.0]).reshape(2, 1, 1, 2)  # two images, one channel
    >>> mean, var = statistics(x)
    >>> mean, var
    (array([3.]), array([4.]))
    """
    ### BEGIN SOLUTION
    mean = x.mean(axis=(0, 2, 3))
    centered = x - mean[:, None, None]
    return mean, (centered**2).mean(axis=(0, 2, 3))
    ### END SOLUTION


# %% task: normalize
def normalize(x, weight, bias, eps=1e-5):
    """Batch normalisation in training, (N, C, H, W) to (N, C, H, W).

    out = weight * x_hat + bias,    x_hat = (x - mean) / sqrt(var + eps),

    with mean and biased variance of the channel in this batch. x is (N, C, H, W), weight and bias
    are (C,), eps is a number above 0. A channel may be constant: its x_hat is 0.

    >>> x = np.array([1.0, 1.0, 5.0, 5.0]).reshape(4, 1, 1, 1)
    >>> normalize(x, np.array([3.0]), np.array([10.0]), eps=1e-12).ravel()
    array([ 7.,  7., 13., 13.])
    """
    ### BEGIN SOLUTION
    mean, var = statistics(x)
    x_hat = (x - mean[:, None, None]) / np.sqrt(var + eps)[:, None, None]
    return weight[:, None, None] * x_hat + bias[:, None, None]
    ### END SOLUTION


# %% task: update_running
def update_running(running_mean, running_var, x, momentum=0.1):
    """The running statistics after one more batch: the pair (running_mean, running_var), (C,) each.

    running = (1 - momentum) * running + momentum * new

    where the new mean is that of the batch x (N, C, H, W), and the new variance its *unbiased* one,
    divided by M - 1. So momentum weights the new value. M is at least 2. Return new arrays, and
    leave running_mean and running_var as they are.

    >>> x = np.array([0.0, 0.0, 0.0, 4.0]).reshape(1, 1, 2, 2)
    >>> update_running(np.array([5.0]), np.array([2.0]), x, momentum=0.25)
    (array([4.]), array([2.5]))
    """
    ### BEGIN SOLUTION
    M = x[:, 0].size
    mean, var = statistics(x)
    unbiased = var * M / (M - 1)
    new_mean = (1 - momentum) * running_mean + momentum * mean
    new_var = (1 - momentum) * running_var + momentum * unbiased
    return new_mean, new_var
    ### END SOLUTION


# %% task: evaluate
def evaluate(x, running_mean, running_var, weight, bias, eps=1e-5):
    """Batch normalisation in evaluation, (N, C, H, W) to (N, C, H, W).

    out = weight * (x - running_mean) / sqrt(running_var + eps) + bias

    x is (N, C, H, W), the others are (C,). Nothing is computed from the batch: what comes out for
    an image does not depend on the images beside it.

    >>> x = np.array([1.0, 1.0, 5.0, 5.0]).reshape(4, 1, 1, 1)
    >>> one = np.array([1.0])
    >>> evaluate(x, one, 4 * one, one, 0 * one, eps=1e-12).ravel()
    array([0., 0., 2., 2.])
    """
    ### BEGIN SOLUTION
    scale = weight / np.sqrt(running_var + eps)
    shift = bias - scale * running_mean
    return scale[:, None, None] * x + shift[:, None, None]
    ### END SOLUTION


# %% task: parameter_gradients
def parameter_gradients(grad_out, x, eps=1e-5):
    """The gradients of `normalize` by its parameters: (grad_weight, grad_bias), (C,) each.

    grad_weight = sum of grad_out * x_hat,    grad_bias = sum of grad_out,

    over the M numbers of the channel. grad_out and x are (N, C, H, W).

    >>> x = np.array([1.0, 1.0, 5.0, 5.0]).reshape(4, 1, 1, 1)
    >>> grad_out = np.array([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1, 1)
    >>> parameter_gradients(grad_out, x, eps=1e-12)
    (array([4.]), array([10.]))
    """
    ### BEGIN SOLUTION
    ones = np.ones(x.shape[1], x.dtype)
    x_hat = normalize(x, ones, 0 * ones, eps)
    return (grad_out * x_hat).sum(axis=(0, 2, 3)), grad_out.sum(axis=(0, 2, 3))
    ### END SOLUTION


# %% task: grad_input
def grad_input(grad_out, x, weight, eps=1e-5):
    """The gradient of `normalize` by x, (N, C, H, W).

    With the mean of each channel in the place of E:

    grad_x = weight / sqrt(var + eps) * (grad_out - E[grad_out] - x_hat * E[grad_out * x_hat])

    grad_out and x are (N, C, H, W), weight is (C,); a channel of x may be constant. It can have
    20,000 numbers, so the time that the function takes has to grow like M, not like M * M.

    >>> x = np.array([1.0, 1.0, 5.0, 5.0]).reshape(4, 1, 1, 1)
    >>> grad_out = np.array([1.0, 0.0, 0.0, 0.0]).reshape(4, 1, 1, 1)
    >>> grad_input(grad_out, x, np.array([4.0]), eps=1e-12).ravel().round(6) + 0.0
    array([ 1., -1.,  0.,  0.])
    """
    ### BEGIN SOLUTION
    M = x[:, 0].size
    mean, var = statistics(x)
    std = np.sqrt(var + eps)[:, None, None]
    x_hat = (x - mean[:, None, None]) / std
    grad_weight, grad_bias = parameter_gradients(grad_out, x, eps)  # M times the two means
    through_mean = grad_bias[:, None, None] / M
    through_var = x_hat * grad_weight[:, None, None] / M
    return weight[:, None, None] / std * (grad_out - through_mean - through_var)
    ### END SOLUTION


# %% task: grad_evaluate
def grad_evaluate(grad_out, x, running_mean, running_var, weight, eps=1e-5):
    """The gradients of `evaluate`: (grad_x, grad_weight, grad_bias).

    Their shapes are (N, C, H, W), (C,) and (C,). grad_out and x are (N, C, H, W), the others (C,).
    The running statistics are constants.

    >>> x = np.array([1.0, 1.0, 5.0, 5.0]).reshape(4, 1, 1, 1)
    >>> grad_out = np.array([1.0, 0.0, 0.0, 1.0]).reshape(4, 1, 1, 1)
    >>> one = np.array([1.0])
    >>> grad_x, *others = grad_evaluate(grad_out, x, 3 * one, 4 * one, 6 * one, eps=1e-12)
    >>> grad_x.ravel(), others
    (array([3., 0., 0., 3.]), [array([0.]), array([2.])])
    """
    ### BEGIN SOLUTION
    std = np.sqrt(running_var + eps)[:, None, None]
    x_hat = (x - running_mean[:, None, None]) / std
    grad_x = grad_out * weight[:, None, None] / std
    return grad_x, (grad_out * x_hat).sum(axis=(0, 2, 3)), grad_out.sum(axis=(0, 2, 3))
    ### END SOLUTION


# %% task: BatchNorm
class BatchNorm:
    """A layer that normalises, keeps running statistics, and goes backward in either mode.

    Attributes, all (C,): weight and bias, running_mean and running_var. They are floats, and may be
    given other values, or replaced by other arrays, before forward is called.

    `momentum` weights the new value in the running statistics. If it is None, all batches weigh
    alike: after n batches in training the running mean is the plain mean of the n means, and the
    running variance that of the n unbiased variances; what stood there before has no part in it.

    >>> layer = BatchNorm(1, momentum=None)
    >>> for size in (2.0, 4.0):
    ...     out = layer.forward(np.array([0.0, size]).reshape(2, 1, 1, 1), training=True)
    >>> layer.running_mean, layer.running_var  # variances 2 and 8
    (array([1.5]), array([5.]))
    >>> layer.forward(np.full((1, 1, 1, 1), 1.5), training=False)
    array([[[[0.]]]])
    >>> layer.backward(np.ones((1, 1, 1, 1)))[2]
    array([1.])
    """

    def __init__(self, channels, eps=1e-5, momentum=0.1):
        self.weight, self.bias = np.ones(channels), np.zeros(channels)
        self.running_mean, self.running_var = np.zeros(channels), np.ones(channels)
        self.eps, self.momentum = eps, momentum
        self.batches = 0  # that were seen in training

    def forward(self, x, training):
        """The output for a batch x, both (N, C, H, W).

        With training True it normalises with the statistics of the batch, and updates
        `running_mean`, `running_var` and `batches`. With training False it normalises with the
        running statistics, and changes none of them.
        """
        ### BEGIN SOLUTION
        self.x, self.trained = x, training
        if not training:
            self.frozen = self.running_mean, self.running_var
            return evaluate(x, *self.frozen, self.weight, self.bias, self.eps)
        self.batches += 1
        momentum = 1 / self.batches if self.momentum is None else self.momentum
        self.running_mean, self.running_var = update_running(
            self.running_mean, self.running_var, x, momentum
        )
        return normalize(x, self.weight, self.bias, self.eps)
        ### END SOLUTION

    def backward(self, grad_out):
        """The gradients of the latest forward, in the mode in which it ran.

        grad_out is (N, C, H, W); returns (grad_x, grad_weight, grad_bias), of shapes
        (N, C, H, W), (C,) and (C,).
        """
        ### BEGIN SOLUTION
        if not self.trained:
            return grad_evaluate(grad_out, self.x, *self.frozen, self.weight, self.eps)
        grad_x = grad_input(grad_out, self.x, self.weight, self.eps)
        return grad_x, *parameter_gradients(grad_out, self.x, self.eps)
        ### END SOLUTION
