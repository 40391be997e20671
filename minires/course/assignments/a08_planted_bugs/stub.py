# %%
"""Assignment a08: find the planted bug.

Below stand ten operations. Each has a forward, which is right, and a backward, whose name begins
with `broken_` and which has one mistake in it. Find it with the checker of minires, and write the
backward anew without it, under the name that begins with `mended_`. First comes a small tool.

All backward functions are called alike: `backward(grad_out, *inputs, **settings)`, with the inputs
and settings of the forward, returns a tuple with one gradient for each input, of the input's shape;
None for labels, which have no gradient. What is graded are these gradients. They are to be computed
by formulas: differences are for finding the bug, and take too long on the largest of the inputs.

The copy of minires has `mr.check.gradcheck` and the engine under it, but no operations. Try what
you have with `minires course check` as often as you like: a task that still raises
NotImplementedError is "not yet", not wrong.
"""

import functools

import numpy as np

import minires as mr


# %%
def operation(forward, backward, **settings):
    """The two functions put together to one operation, as mr.check.gradcheck wants it.

    >>> def square(x):
    ...     return x**2
    >>> def broken_square(grad_out, x):
    ...     return (grad_out * x,)
    >>> pair = operation(square, broken_square)
    >>> print(mr.check.gradcheck(pair, np.array([1.0, -3.0]), raise_exception=False).verdict)
    FAILED
    """

    class Pair(mr.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save(**{f"input {place}": value for place, value in enumerate(inputs)})
            ctx.save_constant(places=[f"input {place}" for place in range(len(inputs))])
            return np.asarray(forward(*inputs, **settings))

        @staticmethod
        def backward(ctx, grad_out):
            inputs = [ctx.saved(place) for place in ctx.saved("places")]
            return backward(grad_out, *inputs, **settings)

    @functools.wraps(forward)  # the report gets the names from it
    def run(*inputs):
        return Pair.apply(*inputs)

    return run


# %% task: error_map
def error_map(forward, backward, inputs):
    """For each of the inputs: where is its gradient wrong?

    forward(*inputs) is right and returns an array; backward(grad_out, *inputs) returns a tuple with
    a gradient for each input, or None. `inputs` is a list of arrays; those of integers have no
    gradient.

    Returns a list with as many entries as there are inputs: for an array of floating-point numbers
    an array of its shape, True where the gradient by that element is wrong for some `grad_out`, and
    False elsewhere; for an array of integers None.

    What is right agrees with differences to five digits, and what is wrong is off by far more.
    There are no kinks nearby, and the inputs have 60 numbers at most.

    >>> def product(a, b):
    ...     return a * b
    >>> def broken_product(grad_out, a, b):
    ...     return grad_out * b, grad_out * np.abs(a)
    >>> error_map(product, broken_product, [np.array([-1.0, 2.0]), np.array([3.0, 4.0])])
    [array([False, False]), array([ True, False])]
    """
    raise NotImplementedError("error_map")


# %%
def linear(x, weight, bias):
    """x (N, C), weight (C_out, C), bias (C_out,); returns (N, C_out)."""
    return x @ weight.T + bias


def broken_linear(grad_out, x, weight, bias):
    grad_x = grad_out @ weight
    grad_bias = grad_out.sum(axis=0)
    for sample, arrived in zip(x, grad_out, strict=True):
        grad_weight = np.outer(arrived, sample)
    return grad_x, grad_weight, grad_bias


# %% task: mended_linear
def mended_linear(grad_out, x, weight, bias):
    """The gradients of `linear` by x, weight and bias. grad_out is (N, C_out).

    >>> x, weight = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0]])
    >>> mended_linear(np.array([[1.0], [10.0]]), x, weight, np.zeros(1))[1]
    array([[31., 42.]])
    """
    raise NotImplementedError("mended_linear")


# %%
def product(a, b):
    """a * b for any two shapes that NumPy can broadcast."""
    return a * b


def broken_product(grad_out, a, b):
    def fit(grad, shape):
        """Undo the broadcasting: bring grad back to the shape."""
        added = range(grad.ndim - len(shape))  # axes that broadcasting put in front
        grad = grad.sum(axis=tuple(added))
        stretched = [axis for axis, size in enumerate(shape) if size == 1]
        return grad.mean(axis=tuple(stretched), keepdims=True)

    return fit(grad_out * b, a.shape), fit(grad_out * a, b.shape)


# %% task: mended_product
def mended_product(grad_out, a, b):
    """The gradients of `product` by a and b, of their shapes. grad_out has the shape of a * b.

    >>> a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0], [6.0]])
    >>> mended_product(np.ones((2, 2)), a, b)[1]
    array([[3.],
           [7.]])
    """
    raise NotImplementedError("mended_product")


# %%
def relu(x):
    """max(x, 0), for any shape."""
    return np.maximum(x, 0)


def broken_relu(grad_out, x):
    return (np.maximum(grad_out, 0) * (x > 0),)


# %% task: mended_relu
def mended_relu(grad_out, x):
    """The gradient of `relu` by x, in a tuple of one. Where x is exactly 0 the slope is 0.

    >>> mended_relu(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0, 4.0]))
    (array([0., 0., 3.]),)
    """
    raise NotImplementedError("mended_relu")


# %%
def gated(x):
    """values * sigmoid(gates); x is (N, 2*C), values and gates side by side. Returns (N, C)."""
    values, gates = np.split(x, 2, axis=1)
    return values / (1 + np.exp(-gates))


def broken_gated(grad_out, x):
    values, gates = np.split(x, 2, axis=1)
    opened = 1 / (1 + np.exp(-gates))
    out = values * opened
    grad_values = grad_out * opened
    grad_gates = grad_out * out * (1 - out)
    return (np.concatenate([grad_values, grad_gates], axis=1),)


# %% task: mended_gated
def mended_gated(grad_out, x):
    """The gradient of `gated` by x, (N, 2*C), in a tuple of one. grad_out is (N, C).

    >>> mended_gated(np.array([[1.0]]), np.array([[8.0, 0.0]]))
    (array([[0.5, 2. ]]),)
    """
    raise NotImplementedError("mended_gated")


# %%
def cross_entropy(logits, labels):
    """The mean of -log softmax(logits) at the labels: logits (N, K), labels (N,) of 0 ... K-1.

    Returns one number, an array of shape ().
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean()


def broken_cross_entropy(grad_out, logits, labels):
    grad = np.exp(logits - logits.max(axis=1, keepdims=True))
    grad /= grad.sum(axis=1, keepdims=True)
    grad[np.arange(len(labels)), labels] -= 1
    return grad / len(labels), None


# %% task: mended_cross_entropy
def mended_cross_entropy(grad_out, logits, labels):
    """The pair of the gradient of `cross_entropy` by the logits, (N, K), and None.

    grad_out has the shape (). No logit is so far from the others that exp overflows once the
    largest of the row is subtracted.

    >>> grad, nothing = mended_cross_entropy(np.array(6.0), np.zeros((1, 3)), np.array([2]))
    >>> grad.round(6), nothing
    (array([[ 2.,  2., -4.]]), None)
    """
    raise NotImplementedError("mended_cross_entropy")


# %%
def row_variance(x):
    """The unbiased variance of each row: the squares are summed and divided by L - 1.

    x is (N, L), L at least 2; returns (N,).
    """
    return x.var(axis=1, ddof=1)


def broken_row_variance(grad_out, x):
    centered = x - x.mean(axis=1, keepdims=True)
    return (grad_out[:, None] * 2 * centered / x.shape[1],)


# %% task: mended_row_variance
def mended_row_variance(grad_out, x):
    """The gradient of `row_variance` by x, (N, L), in a tuple of one. grad_out is (N,).

    >>> mended_row_variance(np.array([1.0]), np.array([[0.0, 1.0, 5.0]]))
    (array([[-2., -1.,  3.]]),)
    """
    raise NotImplementedError("mended_row_variance")


# %%
def layer_norm(x, weight, bias, eps=1e-5):
    """Each row brought to mean 0 and variance 1, then scaled and shifted element by element.

    x is (N, D), weight and bias (D,); returns weight * x_hat + bias, (N, D). The variance is the
    biased one; x_hat = (x - mean) / sqrt(var + eps), with mean and variance of the row.
    """
    centered = x - x.mean(axis=1, keepdims=True)
    return weight * centered / np.sqrt(x.var(axis=1, keepdims=True) + eps) + bias


def broken_layer_norm(grad_out, x, weight, bias, eps=1e-5):
    std = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    x_hat = (x - x.mean(axis=1, keepdims=True)) / std
    through_mean = grad_out.mean(axis=1, keepdims=True)
    through_var = x_hat * (grad_out * x_hat).mean(axis=1, keepdims=True)
    grad_x = weight / std * (grad_out - through_mean - through_var)
    return grad_x, (grad_out * x_hat).sum(axis=0), grad_out.sum(axis=0)


# %% task: mended_layer_norm
def mended_layer_norm(grad_out, x, weight, bias, eps=1e-5):
    """The gradients of `layer_norm` by x (N, D), weight (D,) and bias (D,). grad_out is (N, D).

    >>> x, grad_out = np.array([[1.0, 1.0, 5.0, 5.0]]), np.array([[1.0, 0.0, 0.0, 0.0]])
    >>> grads = mended_layer_norm(grad_out, x, np.array([4.0, 1.0, 1.0, 1.0]), np.zeros(4), 1e-9)
    >>> [grad.round(6) + 0.0 for grad in grads]  # + 0.0 makes 0.0 of -0.0
    [array([[ 1., -1.,  0.,  0.]]), array([-1.,  0.,  0.,  0.]), array([1., 0., 0., 0.])]
    """
    raise NotImplementedError("mended_layer_norm")


# %%
def conv2d(x, weight, stride=1, padding=0):
    """out[n, o, i, j] = sum over c, u, v of padded[n, c, i*S + u, j*S + v] * weight[o, c, u, v].

    x is (N, C, H, W), `padded` is x with `padding` zeros on all four sides, weight is
    (C_out, C, KH, KW), S the stride; returns (N, C_out, OH, OW), as many outputs as find room.
    """
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    KH, KW = weight.shape[2:]
    OH, OW = ((np.array(padded.shape[2:]) - (KH, KW)) // stride + 1).tolist()
    out = np.zeros((len(x), len(weight), OH, OW), x.dtype)
    for u in range(KH):
        for v in range(KW):
            seen = padded[:, :, u : u + stride * OH : stride, v : v + stride * OW : stride]
            out += np.einsum("ncij,oc->noij", seen, weight[:, :, u, v])
    return out


def broken_conv2d(grad_out, x, weight, stride=1, padding=0):
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    KH, KW = weight.shape[2:]
    OH, OW = grad_out.shape[2:]
    H, W = x.shape[2:]
    grad_padded, grad_weight = np.zeros_like(padded), np.zeros_like(weight)
    for u in range(KH):
        for v in range(KW):
            rows = slice(u, u + stride * OH, stride)
            columns = slice(v, v + stride * OW, stride)
            back = np.einsum("noij,oc->ncij", grad_out, weight[:, :, u, v])
            grad_padded[:, :, rows, columns] += back
            seen = padded[:, :, u : u + OH, v : v + OW]
            grad_weight[:, :, u, v] = np.einsum("noij,ncij->oc", grad_out, seen)
    return grad_padded[:, :, padding : padding + H, padding : padding + W], grad_weight


# %% task: mended_conv2d
def mended_conv2d(grad_out, x, weight, stride=1, padding=0):
    """The gradients of `conv2d` by x and weight. grad_out is (N, C_out, OH, OW).

    >>> x, weight = np.arange(5.0).reshape(1, 1, 1, 5), np.ones((1, 1, 1, 2))
    >>> by_x, by_weight = mended_conv2d(np.array([[[[1.0, 10.0]]]]), x, weight, stride=2)
    >>> by_x.ravel(), by_weight.ravel()
    (array([ 1.,  1., 10., 10.,  0.]), array([20., 31.]))
    """
    raise NotImplementedError("mended_conv2d")


# %%
def max_pool2d(x, kernel, stride):
    """The largest number of each window of `kernel` rows and columns, `stride` pixels apart.

    x is (N, C, H, W); returns (N, C, OH, OW), as many windows as find room.
    """
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return windows[:, :, ::stride, ::stride].max(axis=(4, 5))


def broken_max_pool2d(grad_out, x, kernel, stride):
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]  # (N, C, OH, OW, kernel, kernel)
    n, c, i, j = np.indices(grad_out.shape)  # the window (n, c, i, j)
    winner = windows.reshape(*grad_out.shape, -1).argmax(axis=-1)  # the first of equal maxima
    row, column = i * stride + winner // kernel, j * stride + winner % kernel
    grad_x = np.zeros_like(x)
    grad_x[n, c, row, column] += grad_out
    return (grad_x,)


# %% task: mended_max_pool2d
def mended_max_pool2d(grad_out, x, kernel, stride):
    """The gradient of `max_pool2d` by x, (N, C, H, W), in a tuple of one.

    grad_out is (N, C, OH, OW). Of equal maxima in a window the first one has won, in reading order:
    from left to right, and then from the top down.

    >>> x = np.array([[[[1.0, 3.0, 2.0], [0.0, 0.0, 2.0]]]])
    >>> mended_max_pool2d(np.array([[[[1.0, 10.0]]]]), x, kernel=2, stride=1)
    (array([[[[ 0., 11.,  0.],
             [ 0.,  0.,  0.]]]]),)
    """
    raise NotImplementedError("mended_max_pool2d")


# %%
def residual(x, w1, w2):
    """x + relu(x @ w1.T) @ w2.T, with x (N, D), w1 (E, D) and w2 (D, E); returns (N, D)."""
    return x + np.maximum(x @ w1.T, 0) @ w2.T


def broken_residual(grad_out, x, w1, w2):
    hidden = np.maximum(x @ w1.T, 0)
    grad_x = grad_out  # through the skip
    grad_hidden = grad_out @ w2 * (hidden > 0)
    grad_x += grad_hidden @ w1  # and through the branch
    return grad_x, grad_hidden.T @ x, grad_out.T @ hidden


# %% task: mended_residual
def mended_residual(grad_out, x, w1, w2):
    """The gradients of `residual` by x, w1 and w2. grad_out is (N, D).

    After the call grad_out and the inputs hold the same numbers as before: others may need them.

    >>> grad_out, x = np.array([[1.0, 10.0]]), np.array([[1.0, 2.0]])
    >>> w1, w2 = np.array([[1.0, 1.0]]), np.array([[2.0], [0.0]])
    >>> by_x, by_w1, by_w2 = mended_residual(grad_out, x, w1, w2)
    >>> by_x, by_w1, by_w2.ravel(), grad_out
    (array([[ 3., 12.]]), array([[2., 4.]]), array([ 3., 30.]), array([[ 1., 10.]]))
    """
    raise NotImplementedError("mended_residual")
