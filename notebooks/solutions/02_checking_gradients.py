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
# # 02 · Checking gradients: solutions
#
# Of [02 · Checking gradients](../02_checking_gradients.ipynb). Try them there first; other ways are
# as good if the check says so.

# %%
import numpy as np

from minires.autograd import Function
from minires.check import gradcheck
from minires.exercises import gradient_checks

# %% [markdown]
# ## Exercise 1: a central difference along a direction
#
# One point on each side, $2h$ apart in units of $d$. The length of $d$ is not taken out: the slope
# along $2d$ is twice that along $d$, as it is for $J d$.


# %%
def slope_along(f, x, d, h):
    return (f(x + h * d) - f(x - h * d)) / (2 * h)


gradient_checks.central_difference(slope_along)

# %% [markdown]
# ## Exercise 2: choose the step
#
# Forward: $E(h) = \frac{h}{2}|f''| + \frac{\varepsilon |f|}{h}$ has the derivative $\frac12 |f''| -
# \frac{\varepsilon |f|}{h^2}$, which is zero for $h^2 = 2 \varepsilon |f| / |f''|$.
#
# Central: $E(h) = \frac{h^2}{6}|f'''| + \frac{\varepsilon |f|}{2h}$ has the derivative
# $\frac{h}{3} |f'''| - \frac{\varepsilon |f|}{2 h^2}$, which is zero for
# $h^3 = 3 \varepsilon |f| / (2 |f'''|)$.


# %%
def steps_for(f, f2, f3, eps):
    return (2 * eps * f / f2) ** (1 / 2), (3 * eps * f / (2 * f3)) ** (1 / 3)


gradient_checks.best_steps(steps_for)

# %% [markdown]
# ## Exercise 3: which backward is wrong?
#
# `gradcheck` finds the three that are wrong, at a point with several elements, none of them 0 or 1.
# The five, short:


# %%
class Normalize(Function):
    @staticmethod
    def forward(ctx, x):
        out = x / np.sqrt((x * x).sum())
        ctx.save(x=x, out=out)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, out = ctx.saved("x", "out")
        return (grad_out - out * (grad_out * out).sum()) / np.sqrt((x * x).sum())


class Divide(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a=a, b=b)
        return a / b

    @staticmethod
    def backward(ctx, grad_out):
        a, b = ctx.saved("a", "b")
        return grad_out / b, -grad_out * a / b


class Scale(Function):
    @staticmethod
    def forward(ctx, x, s):
        ctx.save(x=x, s=s)
        return x * s

    @staticmethod
    def backward(ctx, grad_out):
        x, s = ctx.saved("x", "s")
        return grad_out * s, np.array([(grad_out * x).mean()])


class Cumsum(Function):
    @staticmethod
    def forward(ctx, x):
        return np.cumsum(x)

    @staticmethod
    def backward(ctx, grad_out):
        return np.cumsum(grad_out)


class Hinge(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return np.maximum(0.0, 1.0 - x)

    @staticmethod
    def backward(ctx, grad_out):
        return -grad_out * (ctx.saved("x") < 1.0)


x, b, s = np.array([0.7, -1.3, 2.2]), np.array([1.9, 0.6, -1.4]), np.array([1.7])
for function, inputs in (
    (Normalize, x),
    (Divide, (x, b)),
    (Scale, (x, s)),
    (Cumsum, x),
    (Hinge, x),
):
    print(gradcheck(function.apply, inputs, raise_exception=False).caption())

# %% [markdown]
# - `Divide`, by $b$: the derivative of $a b^{-1}$ is $-a b^{-2}$. The square is missing, and at $b
#   = 1$ that does not show.
# - `Scale`, by $s$: $s$ was used for every element of $x$, so the gradients of the uses add up. A
#   mean is a third of that here.
# - `Cumsum`: $x_0$ is in every output, the last element only in the last. So the sum runs from the
#   end: `np.cumsum(grad_out[::-1])[::-1]`.

# %%
answers = {
    "Normalize": "right",
    "Divide": "square",
    "Scale": "mean",
    "Cumsum": "order",
    "Hinge": "right",
}

gradient_checks.suspects(answers)

# %% [markdown]
# ## Exercise 4: a cotangent that sees
#
# Random numbers: they are alike nowhere. With a fixed seed a test gives the same answer every time.


# %%
def cotangent(x):
    return np.random.default_rng(0).standard_normal(x.shape)


gradient_checks.cotangent(cotangent)

# %% [markdown]
# Back to [02 · Checking gradients](../02_checking_gradients.ipynb).
