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
# # 02 · Checking gradients
#
# Afterwards you will be able to
#
# - measure a derivative by differences, and say which step is best and how good it can get;
# - read the report of `gradcheck`, and tell a mistake from a kink and from rounding;
# - say why a gradient is tested with a random cotangent and not with ones;
# - check second derivatives, and let `diagnose` name a mistake.
#
# You need notebook 01, or to know what a backward pass is. It runs in a few seconds; reading
# it, with the four exercises, takes about an hour.

# %% [markdown]
# ## Two differences
#
# A backward pass written by hand is wrong at first, and a wrong gradient raises no error: the
# network merely learns badly. So each one is held against something that cannot make the same
# mistake, a difference of two function values.
#
# $$\text{forward: } \frac{f(x+h) - f(x)}{h} \qquad\qquad
#   \text{central: } \frac{f(x+h) - f(x-h)}{2h}$$
#
# **Predict.** The derivative is the limit $h \to 0$. Computed in float64, at which $h$ is each of
# them closest to it: $10^{-15}$, $10^{-8}$, $10^{-5}$, $10^{-2}$?

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires.autograd import Function
from minires.check import diagnose, gradcheck, gradgradcheck
from minires.exercises import gradient_checks
from minires.viz import style


def forward(f, x, h):
    return (f(x + h) - f(x)) / ((x + h) - x)


def central(f, x, h):
    return (f(x + h) - f(x - h)) / ((x + h) - (x - h))


steps = 10.0 ** np.arange(-15, 0.1, 0.25)


def errors(difference, f, slope, near, dtype=np.float64):
    """The relative error for each step: the median over 101 points, since rounding is chance."""
    x = np.linspace(near, 1.1 * near, 101).astype(dtype)
    right = slope(x.astype(np.float64))
    found = []
    with np.errstate(all="ignore"):  # steps too small to move x give 0 / 0
        for h in steps.astype(dtype):
            found.append(np.median(np.abs(difference(f, x, h) - right) / np.abs(right)))
    return np.array(found)


def best(curve):
    k = int(np.nanargmin(curve))
    return steps[k], curve[k]


v_forward = errors(forward, np.exp, np.exp, near=1.0)
v_central = errors(central, np.exp, np.exp, near=1.0)
for name, curve in (("forward", v_forward), ("central", v_central)):
    print(f"{name}: smallest error {best(curve)[1]:.0e}, at h = {best(curve)[0]:.0e}")

# %% [markdown]
# (The denominators are written as the distance between the two points *as they were rounded*. For
# $h = 10^{-12}$ the point $1 + h$ is not quite where it should be, and that would be an error
# of its own.)
#
# Both errors are a V over the step. To the right of the bottom the function bends, to the left
# rounding grows. The central difference gets about a thousand times closer.


# %%
def draw(axes, curves):
    looks = (("--", "o", style.BRANCH_COLOR), ("-", "s", style.SKIP_COLOR))
    for (name, curve), (dashes, marker, color) in zip(curves, looks, strict=True):
        axes.loglog(steps, curve, dashes, marker=marker, markersize=3.5, color=color, label=name)
    axes.set(xlabel="step h", ylabel="relative error of the slope", ylim=(1e-13, 10))
    axes.legend(loc="lower left")


with style.context():
    figure, axes = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
    draw(axes, [("forward", v_forward), ("central", v_central)])
    axes.set_title("The slope of exp near 1, in float64")
    plt.show()

# %% [markdown]
# ## The best step
#
# The two sides of the V can be written down. Taylor's formula gives the right side,
#
# $$\frac{f(x+h) - f(x)}{h} = f' + \frac{h}{2} f'' + \cdots, \qquad
#   \frac{f(x+h) - f(x-h)}{2h} = f' + \frac{h^2}{6} f''' + \cdots$$
#
# in the central difference the terms with $f''$ cancel. On the left side each value of $f$ is off
# by up to $\frac{\varepsilon}{2} |f|$, where $\varepsilon = 2.2 \cdot 10^{-16}$ is the spacing of
# float64 at 1, so the difference of two is off by up to $\varepsilon |f|$, and that is divided by
# $h$ or $2h$:
#
# $$E_{\text{forward}}(h) = \frac{h}{2} |f''| + \frac{\varepsilon |f|}{h}, \qquad
#   E_{\text{central}}(h) = \frac{h^2}{6} |f'''| + \frac{\varepsilon |f|}{2h}.$$
#
# Where the derivative of $E$ by $h$ is zero, it is smallest:
#
# $$h_{\text{forward}} = \sqrt{\frac{2 \varepsilon |f|}{|f''|}}, \qquad
#   h_{\text{central}} = \sqrt[3]{\frac{3 \varepsilon |f|}{2\,|f'''|}}.$$
#
# So the forward difference gets half of the digits right, and the central one two thirds of them.
# And the step depends on the function.
#
# **Predict.** For $\sin(64x)$, which bends 64 times faster, should the step be larger or
# smaller? And for $1000 + e^x$, which has the same slope as $e^x$?

# %%
eps = np.finfo(np.float64).eps
functions = {  # f, f', and the sizes of f, f'', f''' near 1
    "exp(x)": (np.exp, np.exp, np.e, np.e, np.e),
    "sin(64 x)": (lambda x: np.sin(64 * x), lambda x: 64 * np.cos(64 * x), 1.0, 64**2, 64**3),
    "1000 + exp(x)": (lambda x: 1000 + np.exp(x), np.exp, 1000.0, np.e, np.e),
}
print("               forward: best step     central: best step     central:")
print("function       derived  measured      derived  measured      smallest error")
for name, (f, slope, f0, f2, f3) in functions.items():
    h1, h2 = (2 * eps * f0 / f2) ** (1 / 2), (1.5 * eps * f0 / f3) ** (1 / 3)
    m1, _ = best(errors(forward, f, slope, near=1.0))
    m2, least = best(errors(central, f, slope, near=1.0))
    print(f"{name:13}  {h1:.0e}    {m1:.0e}        {h2:.0e}    {m2:.0e}          {least:.0e}")

# %% [markdown]
# What is derived is a bound, and typical rounding is smaller, so the measured steps tend to be
# smaller too; they come from a list with four steps a decade. The large constant in $1000 + e^x$
# costs accuracy that no step brings back: most digits of $f$ are spent on the 1000.
#
# (Why 64? It is a power of 2, so $64x$ is exact. With $\sin(100x)$ the product is rounded before
# the sine sees it, and the sine magnifies that a hundredfold: $|f|$ alone does not say how far off
# $f$ is.)
#
# ### Exercise 1: a central difference along a direction
#
# For a function of many inputs, moving one element at a time is slow. Move all of $x$ along a
# direction $d$: the result is $J d$, the Jacobian times $d$. `f` takes an array of $x$'s shape and
# returns an array. Return $\big(f(x + h d) - f(x - h d)\big) / 2h$.


# %%
def slope_along(f, x, d, h):
    raise NotImplementedError


gradient_checks.central_difference(slope_along)

# %% [markdown]
# ### Exercise 2: choose the step
#
# Given are the sizes $|f|$, $|f''|$, $|f'''|$ as `f`, `f2`, `f3`, and `eps`. Return the pair of
# best steps, forward and central. A factor of 2 either way counts as right. (You have just seen the
# formulas. Better: derive them once on paper.)


# %%
def steps_for(f, f2, f3, eps):
    raise NotImplementedError


gradient_checks.best_steps(steps_for)

# %% [markdown]
# ## What gradcheck does
#
# In practice nobody knows $f'''$. `gradcheck` tries twelve steps and takes one where the difference
# changes least from one step to the next, because the change is about as large as the error. It
# does not look at the gradient that it checks. Of several steps that are good enough it takes the
# smallest. Here is the exponential function of the library at $x = 1$:

# %%
report = gradcheck(F.exp, np.array([1.0]))
report

# %% [markdown]
# On the left is a map of the input, one field an element: how large the error is as a share of what
# is allowed. On the right is the V at the element that is worst, with the step that was used. That
# is one point, and rounding is chance, so its left side jitters; above you saw the median over 101
# points. Is it our V? The same function, the same steps, and our own three lines:

# %%
h, drawn = np.array(report.inputs[0].curve).T
ours = np.array([abs(central(np.exp, 1.0, step) - np.exp(1.0)) for step in h])
print("the same, step by step:", np.allclose(ours, drawn, rtol=1e-9, atol=1e-15))
step = report.inputs[0].step
print(f"step used {step:.0e}, derived {(1.5 * eps) ** (1 / 3):.0e}")

# %% [markdown]
# What passes is not "equal". An error is allowed of $10^{-5}$ of the gradient, and a little more
# for the error of the differences themselves. The rule stands in the docstring of `gradcheck`.
#
# ### float32 is not enough
#
# **Predict.** In float32, $\varepsilon = 1.2 \cdot 10^{-7}$. How close can a central difference
# get?

# %%
single = [
    errors(difference, np.exp, np.exp, near=1.0, dtype=np.float32)
    for difference in (forward, central)
]
eps32 = float(np.finfo(np.float32).eps)
derived = (2 * eps32) ** (1 / 2), (1.5 * eps32) ** (1 / 3)
for name, curve, h in zip(("forward", "central"), single, derived, strict=True):
    print(
        f"float32 {name}: smallest error {best(curve)[1]:.0e}, "
        f"at h = {best(curve)[0]:.0e}; derived h = {h:.0e}"
    )

with style.context():
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.6, 3.5), sharey=True, layout="constrained"
    )
    draw(left, [("forward", v_forward), ("central", v_central)])
    left.set_title("float64")
    draw(right, [("forward", single[0]), ("central", single[1])])
    right.set(title="float32", ylabel="")
    plt.show()

# %% [markdown]
# The best that float32 can do, with the best step for this function, is a few millionths, and a
# forward difference is off by more than a ten-thousandth. Real functions add many roundings to
# that. A mistake of one part in $10^4$ would hide. So `gradcheck` does everything in float64,
# whatever it is given, and refuses a function that falls back to float32 on the way. A network that
# trains in float32 is checked in float64.

# %% [markdown]
# ## What a mistake looks like
#
# The bell curve of notebook 01, with the factor 2 forgotten in one branch of the formula:


# %%
class Bell(Function):
    """out = e^(-x^2), and a backward that forgets the 2 for positive x."""

    @staticmethod
    def forward(ctx, x):
        out = np.exp(-x * x)
        ctx.save(x=x, out=out)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, out = ctx.saved("x", "out")
        return grad_out * -np.where(x > 0, x, 2 * x) * out


x = np.array([[-1.1, -0.4, 0.3], [0.8, -0.2, 1.5]])
gradcheck(Bell.apply, x, raise_exception=False)

# %% [markdown]
# The map shows *where*: the three positive elements. The curve shows that it is no matter of the
# step: for a right gradient it is a V, for a wrong one it is flat at all small steps, at the size
# of the mistake.
#
# ### Exercise 3: which backward is wrong?
#
# Five operations. Some are right. Find those that are not, with `gradcheck(...,
# raise_exception=False)` before you read the code, and say what is wrong.
#
# - `'right'`
# - `'square'`: a square is missing
# - `'mean'`: a mean where a sum should be
# - `'order'`: a sum runs in the wrong direction
# - `'sign'`: a sign is wrong


# %%
class Normalize(Function):
    """x / |x|"""

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
    """a / b, of equal shapes"""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a=a, b=b)
        return a / b

    @staticmethod
    def backward(ctx, grad_out):
        a, b = ctx.saved("a", "b")
        return grad_out / b, -grad_out * a / b


class Scale(Function):
    """s * x, s of shape (1,)"""

    @staticmethod
    def forward(ctx, x, s):
        ctx.save(x=x, s=s)
        return x * s

    @staticmethod
    def backward(ctx, grad_out):
        x, s = ctx.saved("x", "s")
        return grad_out * s, np.array([(grad_out * x).mean()])


class Cumsum(Function):
    """x[0], x[0] + x[1], x[0] + x[1] + x[2], ..."""

    @staticmethod
    def forward(ctx, x):
        return np.cumsum(x)

    @staticmethod
    def backward(ctx, grad_out):
        return np.cumsum(grad_out)


class Hinge(Function):
    """max(0, 1 - x)"""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return np.maximum(0.0, 1.0 - x)

    @staticmethod
    def backward(ctx, grad_out):
        return -grad_out * (ctx.saved("x") < 1.0)


print(gradcheck(Divide.apply, (np.array([0.7]), np.array([1.0]))).caption(), "Really?")

# %%
answers = {"Normalize": ..., "Divide": ..., "Scale": ..., "Cumsum": ..., "Hinge": ...}

gradient_checks.suspects(answers)

# %% [markdown]
# ## Kinks
#
# ReLU has no derivative at 0. Its slope is 0 on the left and 1 on the right.
#
# **Predict.** What does a central difference say at $x = 0$? And at $x = 0.03$, with $h = 0.1$?

# %%
h = 0.1
at = np.linspace(-0.25, 0.25, 101)


def relu(x):
    return np.maximum(x, 0.0)


for place in (0.0, 0.03, 0.2):
    print(f"x = {place:4}: {central(relu, place, h):.2f}")

with style.context():
    figure, axes = plt.subplots(figsize=(6.4, 3.3), layout="constrained")
    axes.step(at, at > 0, "--", where="mid", color=style.BRANCH_COLOR, label="backward's slope")
    axes.plot(
        at,
        central(relu, at, h),
        "-s",
        markevery=10,
        color=style.SKIP_COLOR,
        label="central difference, h = 0.1",
    )
    axes.axvspan(-h, h, color=style.GRID, zorder=0, label="closer to the kink than h")
    axes.set(title="ReLU: near the kink differences are no slopes", xlabel="x", ylabel="slope")
    axes.legend(loc="lower right")
    plt.show()

# %% [markdown]
# Wherever the kink lies between the two points, the difference is a mixture of the slopes of the
# two sides. That is an error of the *difference*, and no smaller tolerance helps. `gradcheck`
# notices that the two one-sided differences disagree and go on to disagree with a smaller step. It
# then accepts any slope between the two sides and reports a kink:

# %%
gradcheck(F.relu, np.array([-1.0, 0.0, 2.0]))

# %% [markdown]
# Worse is a kink that is near but not at the point, within the step. Then there is a derivative,
# and the difference is not it. A right gradient is refused if we insist on a step of 0.1:

# %%
near = np.array([-1.0, 0.03, 2.0])
forced = gradcheck(F.relu, near, eps=0.1, raise_exception=False)
print("with h = 0.1:           ", forced.caption())
print("with a step of its own: ", gradcheck(F.relu, near).caption())

# %% [markdown]
# So choose points away from kinks, and small steps.
#
# Back to the kink itself. Between 0 and 1 anything is right in the sense of differences. But an
# operation has to choose, and ReLU chooses 0 at 0. The difference cannot know that.
#
# **Predict.** Does `gradcheck` refuse a backward that lets the gradient pass at 0?


# %%
class ReLUOpenAtZero(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_constant(mask=x >= 0)
        return np.maximum(x, 0)

    @staticmethod
    def backward(ctx, grad_out):
        return grad_out * ctx.saved("mask")


report = gradcheck(ReLUOpenAtZero.apply, np.array([-1.0, 0.0, 2.0]))
print(report.caption(), report.details()[-1], sep="\n", end="\n\n")
print(diagnose(lambda x: np.maximum(x, 0), lambda grad_out, x: grad_out * (x >= 0), op="relu"))

# %% [markdown]
# It passes: at a kink `gradcheck` is blind to conventions. `diagnose` compares with the library's
# own gradient instead of a difference, and sees it. Does it matter? After a convolution hardly any
# number is exactly 0. After another ReLU, or in an image with a black border, many are.

# %% [markdown]
# ## Which question is asked
#
# So far every output was looked at by itself. In a large function that is too slow: one backward
# pass for each output. One pass with a *cotangent* $w$ asks for a single combination, $J^\top w$,
# and one difference along a direction $d$ tests one number of it:
#
# $$\langle w,\, J d \rangle = \langle J^\top w,\, d \rangle.$$
#
# Many checks take $w = (1, 1, \ldots, 1)$, because that is what `y.sum().backward()` does.
#
# **Predict.** What is the gradient of the sum of a softmax?

# %%
logits = mr.tensor(np.array([[0.3, -1.2, 0.8, 0.1]]), requires_grad=True)
(g,) = mr.grad(F.softmax(logits).sum(), logits)
print("softmax:   ", np.abs(g.data).max() < 1e-12)

rng = np.random.default_rng(2)
batch = mr.tensor(rng.standard_normal((8, 3, 2, 2)), requires_grad=True)
normal = F.batch_norm(batch, None, None, training=True)
(g,) = mr.grad(normal.sum(), batch)
print("batch norm:", np.abs(g.data).max() < 1e-12)

# %% [markdown]
# Both times zero, up to rounding. The outputs of a softmax add up to 1, and those of a normalised
# batch to 0, whatever the input is. With ones you ask for the derivative of a constant. So a
# backward that returns *zero, always,* passes such a test:


# %%
class NoSoftmaxGradient(Function):
    @staticmethod
    def forward(ctx, x):
        return F.softmax(x)

    @staticmethod
    def backward(ctx, grad_out):
        return np.zeros_like(grad_out)


def summed(x):
    return NoSoftmaxGradient.apply(x).sum()


x = np.array([[0.3, -1.2, 0.8, 0.1]])
print("with ones:", gradcheck(summed, x).verdict)
print("gradcheck:", gradcheck(NoSoftmaxGradient.apply, x, raise_exception=False).verdict)

# %% [markdown]
# How bad is it with mistakes that people really make? `minires.check.mistakes` has a bank of them:
# 110 mistakes in 18 operations, some in several variants. For each variant we ask whether the
# gradients that it returns differ from the right ones, for a cotangent of ones and for a random
# one.
#
# **Predict.** For which operations do ones miss most?

# %%
from dataclasses import replace

from minires.check.mistakes import BANK


def with_cotangent(operation, problem, w):
    """The same problem with another gradient arriving, and the right gradients for it."""
    inputs = {
        name: value if name in operation.constants else mr.Tensor(value.copy(), requires_grad=True)
        for name, value in problem.inputs.items()
    }
    operation.forward(*inputs.values(), **problem.settings).backward(w)
    right = {name: inputs[name].grad.data for name in operation.gradients}
    return replace(problem, grad_out=w, right=right)


def differ(found, right):
    """Whether any gradient is off by more than rounding."""
    if found is None:  # the mistake ends in an error
        return True
    for name, g in right.items():
        wrong = np.squeeze(found[name])
        if wrong.shape != np.squeeze(g).shape:
            return True
        if np.abs(wrong - np.squeeze(g)).max() > 1e-7 * max(np.abs(g).max(), 1e-3):
            return True
    return False


caught = {}
missed_by_ones = {}
for name, operation in BANK.items():
    posed = operation.pose()
    ones = [with_cotangent(operation, p, np.ones_like(p.out)) for p in posed]
    counts = []
    for problems in (ones, posed):
        found = 0
        for mistake in operation.mistakes:
            answers = [
                [differ(variant, p.right) for variant in operation.predictions(mistake, p)]
                for p in problems
            ]
            seen = np.any(answers, axis=0)  # by any of the problems, for each variant
            found += int(seen.sum())
            if problems is ones and not seen.all():
                missed_by_ones.setdefault(name, []).append(mistake.title)
        counts.append(found)
    caught[name] = (*counts, sum(len(m.variants) for m in operation.mistakes))

total = np.sum(list(caught.values()), axis=0)
mistakes = sum(len(operation.mistakes) for operation in BANK.values())
print(f"{len(BANK)} operations, {mistakes} mistakes, {total[2]} variants of them")
print(f"of {total[2]} wrong backward passes, ones catch {total[0]}, random cotangents {total[1]}")
for name in ("batch_norm", "softmax"):
    print(f"{name}: ones catch {caught[name][0]} of {caught[name][2]}")

# %%
with style.context():
    figure, axes = plt.subplots(figsize=(6.8, 5.2), layout="constrained")
    names = sorted(caught, key=lambda name: caught[name][0] / caught[name][2])
    places = np.arange(len(names))
    shares = [caught[name][0] / caught[name][2] for name in names]
    axes.barh(places, np.ones(len(names)), color="white", edgecolor=style.RULE, hatch="///")
    axes.barh(places, shares, color=style.SKIP_COLOR)
    for place, name in zip(places, names, strict=True):
        axes.text(1.02, place, f"{caught[name][0]} of {caught[name][2]}", va="center", fontsize=8.5)
    axes.set_yticks(places, names)
    axes.set(
        title="Wrong backward passes that a cotangent of ones catches",
        xlabel="share caught (filled) and missed (hatched)",
        xlim=(0, 1.15),
    )
    axes.invert_yaxis()
    axes.grid(False)
    plt.show()

# %%
for name, titles in missed_by_ones.items():
    for title in titles:
        print(f"{name:21} {title}")

# %% [markdown]
# The random cotangents catch all of them. (So they should: a test of the library sees to it that
# the bank's problems tell its mistakes from the right gradient.) Ones miss 22, of two kinds.
#
# Most are in batch normalisation, 17 of 28. The right gradients of `x` and of `weight` are both
# zero there, since the normalised numbers of a channel add up to 0. A factor that is missing in
# front of zero changes nothing, and the whole term through the variance is not missed either. The
# other kind is a `grad_out` that is forgotten: 1 times something is something.
#
# For softmax the measurement says less than the easy story. The right gradient is zero as well, and
# yet ones catch 4 of 5 mistakes, because what these return is *not* zero. Only the softmax that is
# taken over the wrong axis throughout slips by: its outputs add up to 1 too, along the other axis.
# But that ones catch the others is luck. Here is a mistake that they do not catch, the plain mean
# in place of the weighted sum:
#
# $$\text{right: } p \odot (w - \textstyle\sum_k p_k w_k), \qquad
#   \text{wrong: } p \odot (w - \tfrac1K \textstyle\sum_k w_k).$$

# %%
p = F.softmax(x)
for name, w in (("ones", np.ones_like(x)), ("random", rng.standard_normal(x.shape))):
    right = p * (w - (p * w).sum())
    wrong = p * (w - w.mean())
    print(f"{name:6} right {np.round(right, 3) + 0.0}\n       wrong {np.round(wrong, 3) + 0.0}")

# %% [markdown]
# For a wrong Jacobian, off by $E$, a cotangent is blind if $E^\top w = 0$. A random $w$ lies in
# that null space with probability 0, as long as $E \neq 0$. `gradcheck` looks at each output by
# itself as long as there are at most 100 of them, and at a random cotangent besides.
#
# ### Exercise 4: a cotangent that sees
#
# Given are logits `x` of shape $(N, K)$. Return a cotangent of the same shape with which three
# broken backward passes of softmax are caught: the one with the mean, the one that returns zero,
# and one that sums over the batch and not over the classes.


# %%
def cotangent(x):
    raise NotImplementedError


gradient_checks.cotangent(cotangent)

# %% [markdown]
# ## Second derivatives
#
# A gradient that was recorded can be differentiated again (notebook 01). That is one more thing
# that can be wrong, and `gradcheck` does not see it.
#
# **Predict.** The operation below keeps its slope as a constant. Which of the two checks fails?


# %%
class Square(Function):
    """x^2, with a slope that is taken for a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_constant(slope=2 * x)
        return x * x

    @staticmethod
    def backward(ctx, grad_out):
        return grad_out * ctx.saved("slope")


x = np.array([0.5, -1.0, 2.0])
print(gradcheck(Square.apply, x).caption())
print(gradgradcheck(Square.apply, x, raise_exception=False))

# %% [markdown]
# The first derivative is right. The second should be 2 `grad_out` and is 0: the slope is an array
# made in forward, and has no history. `grad_out` is the other input of the gradient; by it the
# derivative is right.
#
# ## Large inputs
# A convolution has thousands of inputs and outputs. Then a sample of some thirty elements is looked
# at, and four random directions in which all elements move.

# %%
images = rng.standard_normal((4, 3, 16, 16))
weight = rng.standard_normal((8, 3, 3, 3))
print(gradcheck(lambda x, weight: F.conv2d(x, weight, padding=1), (images, weight)))

# %% [markdown]
# A check by sampling can miss something, and the report says how probable that is: one wrong
# element out of thousands is probably not among those looked at one by one. If it is off by more
# than the number given it shows in every direction nevertheless. Mistakes in a formula are rarely
# that lonely.
#
# ## By name
#
# A difference says that a gradient is wrong, and where. For the usual operations `diagnose` says
# what the mistake is. It compares the learner's gradients with those of the mistakes in the bank.


# %%
def linear(x, weight, bias):
    return x @ weight.T + bias


def linear_backward(grad_out, x, weight, bias):
    return grad_out @ weight, grad_out.T @ x, grad_out.mean(axis=0)


diagnose(linear, linear_backward, op="linear")

# %% [markdown]
# The checks of the exercises in the next notebooks use it.
#
# ## Summary
#
# - The error of a difference is a V over the step. A forward difference gets half of the digits, a
#   central one two thirds, and the best step depends on the function.
# - In float32 that is not enough to check anything: check in float64.
# - A wrong gradient has a flat curve, a right one a V.
# - At a kink any slope between the two sides passes. Differences cannot check a convention.
# - A test asks one question. With ones it asks about the sum of the outputs, which in batch
#   normalisation and softmax is constant. Random cotangents ask about everything.
# - A right gradient can have a wrong second derivative.
# - No check of this kind proves anything. It tests points; choose them so that nothing about them
#   is special.
#
# **References.** Nocedal and Wright 2006, "Numerical optimization", section 8.1 (differences and
# their step). Press, Teukolsky, Vetterling and Flannery 2007, "Numerical recipes", section 5.7
# (numerical derivatives, the exact step). Ioffe and Szegedy 2015, "Batch normalization", section 3
# (the backward pass).
#
# Worked solutions: [solutions/02_checking_gradients.ipynb](solutions/02_checking_gradients.ipynb),
# which `minires notebooks start --solutions` brings along.
#
# **Next:** [03 · Convolution three ways](03_convolution.ipynb).
