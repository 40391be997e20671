"""a04 in float32, with inputs changed in place, prints, and scratch work that fails at the end."""

import numpy as np

print("batch norm!")

AXES = (0, 2, 3)


def f32(*arrays):
    return [np.asarray(a, dtype=np.float32) for a in arrays]


def statistics(x):
    x = x.astype("float32")
    print("statistics of", x.shape)
    return x.mean(AXES), x.var(AXES)


def normalize(x, weight, bias, eps=1e-5):
    x, weight, bias = f32(x, weight, bias)
    m, v = x.mean(AXES, keepdims=True), x.var(AXES, keepdims=True)
    x -= m
    x /= np.sqrt(v + np.float32(eps))
    x *= weight.reshape(1, -1, 1, 1)
    x += bias.reshape(1, -1, 1, 1)
    return x


def update_running(running_mean, running_var, x, momentum=0.1):
    x, m, v = f32(x, running_mean, running_var)
    n = x.size / x.shape[1]
    return (
        m * (1 - momentum) + x.mean(AXES) * momentum,
        v * (1 - momentum) + x.var(AXES) * n / (n - 1) * momentum,
    )


def evaluate(x, running_mean, running_var, weight, bias, eps=1e-5):
    x, m, v, weight, bias = f32(x, running_mean, running_var, weight, bias)
    a = weight / np.sqrt(v + np.float32(eps))
    return (x.transpose(0, 2, 3, 1) * a + (bias - a * m)).transpose(0, 3, 1, 2)


def parameter_gradients(grad_out, x, eps=1e-5):
    g, x = f32(grad_out, x)
    x_hat = (x - x.mean(AXES, keepdims=True)) / np.sqrt(x.var(AXES, keepdims=True) + eps)
    return (g * x_hat).sum(AXES), g.sum(AXES)


def grad_input(grad_out, x, weight, eps=1e-5):
    g, x, weight = f32(grad_out, x, weight)
    s = np.sqrt(x.var(AXES, keepdims=True) + eps)
    x -= x.mean(AXES, keepdims=True)
    x /= s  # x is x_hat now
    g *= weight.reshape(1, -1, 1, 1)
    g -= g.mean(AXES, keepdims=True)  # has no part along 1 any more
    g -= x * (g * x).mean(AXES, keepdims=True)
    g /= s
    return g


def grad_evaluate(grad_out, x, running_mean, running_var, weight, eps=1e-5):
    grad_out, x, m, v, weight = f32(grad_out, x, running_mean, running_var, weight)
    std = np.sqrt(v + np.float32(eps)).reshape(1, -1, 1, 1)
    x -= m.reshape(1, -1, 1, 1)
    x /= std
    x *= grad_out
    bias = grad_out.sum(AXES)
    grad_out *= weight.reshape(1, -1, 1, 1) / std
    return grad_out, x.sum(AXES), bias


class BatchNorm:
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        self.weight, self.bias = np.ones(channels), np.zeros(channels)
        self.running_mean, self.running_var = np.zeros(channels), np.ones(channels)
        self.eps, self.momentum = eps, momentum
        self.batches = 0

    def forward(self, x, training):
        self.training = training
        self.x = np.array(x)
        if not training:
            mean, var = self.running_mean, self.running_var
        else:
            mean, var = x.mean(AXES), x.var(AXES)
            self.batches += 1
            m = 1 / self.batches if self.momentum is None else self.momentum
            count = x.size / len(mean)
            self.running_mean = self.running_mean + m * (mean - self.running_mean)
            self.running_var = self.running_var + m * (var * count / (count - 1) - self.running_var)
        self.std = np.sqrt(var + self.eps)[:, None, None]
        x -= mean[:, None, None]
        x /= self.std
        self.x_hat = x
        return self.weight[:, None, None] * x + self.bias[:, None, None]

    def backward(self, grad_out):
        by_weight, by_bias = (grad_out * self.x_hat).sum(AXES), grad_out.sum(AXES)
        grad_out *= self.weight[:, None, None] / self.std
        if self.training:
            grad_out -= grad_out.mean(AXES, keepdims=True)
            grad_out -= self.x_hat * (grad_out * self.x_hat).mean(AXES, keepdims=True)
        return grad_out, by_weight, by_bias


layer = BatchNorm(3)
print(layer.forward(np.ones((2, 3, 4, 4)), training=True).mean())
plt.plot(layer.running_mean)  # noqa: F821
