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
# # 01 · Autograd
#
# Afterwards you will be able to
#
# - write an engine that differentiates any expression, in sixty lines;
# - say why a node of the graph must fire once, and when, and what it costs if it does not;
# - write the backward pass of a broadcast operation, and an operation of your own;
# - say what a graph keeps in memory, and cut or keep it on purpose;
# - differentiate a gradient.
#
# You need Python, and what a derivative and the chain rule are. It runs in a few seconds; reading
# it, with the five exercises, takes about an hour.

# %% [markdown]
# ## An engine of sixty lines
#
# An expression is a graph. In $y = x \tanh(x) + x$ there are four numbers: $x$, $\tanh(x)$, the
# product and the sum. Each of the last three knows what it was computed from. For the backward pass
# it has to know one thing more: if the output changes by $g$ when it changes by 1, how much of
# that is due to each of its parents? For a product $c = a \cdot b$ the chain rule gives
#
# $$\frac{\partial y}{\partial a} = g\,b, \qquad
#   \frac{\partial y}{\partial b} = g\,a, \qquad g = \frac{\partial y}{\partial c}.$$
#
# So a `Value` below is a number with three things more: its parents, a function `send` that turns
# the gradient that arrives into one for each parent, and a number that says when it was made.

# %%
import itertools
import math


class Value:
    """A number that remembers how it was made."""

    made = itertools.count()

    def __init__(self, data, parents=(), send=None):
        self.data = float(data)
        self.parents = parents  # the values it was computed from
        self.send = send  # send(g): for each parent, what it gets of the gradient g
        self.grad = 0.0
        self.rank = next(Value.made)

    def __add__(self, other):
        other = as_value(other)
        return Value(self.data + other.data, (self, other), lambda g: (g, g))

    def __mul__(self, other):
        other = as_value(other)
        a, b = self.data, other.data
        return Value(a * b, (self, other), lambda g: (g * b, g * a))

    def __pow__(self, n):
        x = self.data
        return Value(x**n, (self,), lambda g: (g * n * x ** (n - 1),))

    def exp(self):
        out = math.exp(self.data)
        return Value(out, (self,), lambda g: (g * out,))

    def log(self):
        x = self.data
        return Value(math.log(x), (self,), lambda g: (g / x,))

    def tanh(self):
        out = math.tanh(self.data)
        return Value(out, (self,), lambda g: (g * (1 - out**2),))

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other):
        return self + -1 * as_value(other)

    def __truediv__(self, other):
        return self * as_value(other) ** -1

    def backward(self):
        self.grad = 1.0
        for node in sorted(reached(self), key=lambda node: -node.rank):
            if node.send is not None:
                for parent, g in zip(node.parents, node.send(node.grad), strict=True):
                    parent.grad += g


def as_value(x):
    return x if isinstance(x, Value) else Value(x)


def reached(node):
    """The node and all that it was computed from."""
    seen, stack = set(), [node]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.parents)
    return seen


# %% [markdown]
# `backward` goes through the nodes from the one that was made last to the one that was made first.
# A node is made after its parents, so it fires before them. It fires once, and hands on what has
# arrived by then.
#
# **Predict.** For $y = x\tanh(x) + x$ at $x = 0.5$: over how many ways does $x$ reach $y$? What is
# $dy/dx$? (With $t = \tanh 0.5 = 0.4621$.)

# %%
x = Value(0.5)
y = x * x.tanh() + x
y.backward()

t = math.tanh(0.5)
print(f"engine      {x.grad:.6f}")
print(f"by hand     {t + 0.5 * (1 - t**2) + 1:.6f}")
print(f"three ways  {t:.4f} + {0.5 * (1 - t**2):.4f} + 1")

# %% [markdown]
# Three ways: as a factor, through the tanh, and over the skip. Each edge that leaves $x$ brings
# back a part, and `+=` adds the parts up.
#
# Is the engine right? The library has the same expressions, for arrays. Both compute the value and
# all gradients of 200 random expressions, built of six operations:

# %%
import numpy as np

import minires as mr
import minires.functional as F

rng = np.random.default_rng(1)


def one(kind, a, b):
    """One operation on two values, or on two tensors."""
    if kind == 0:
        return a + b
    if kind == 1:
        return a * b
    if kind == 2:
        return a.tanh() - b
    if kind == 3:
        return (a * a + 1).log()
    if kind == 4:
        return a.tanh().exp()
    return a / (b * b + 1)


furthest = 0.0
for _ in range(200):
    start = rng.standard_normal(3)
    ours = [Value(number) for number in start]
    theirs = [mr.tensor(number, dtype="float64", requires_grad=True) for number in start]
    leaves = ours[:], theirs[:]
    for _ in range(12):
        kind = rng.integers(6)
        i, j = rng.integers(len(ours), size=2)
        ours.append(one(kind, ours[i], ours[j]).tanh())
        theirs.append(one(kind, theirs[i], theirs[j]).tanh())
    # All of them count, so that every leaf has a part in the result.
    sum(ours).backward()
    sum(theirs).backward()
    for mine, tensor in zip(*leaves, strict=True):
        error = abs(mine.grad - tensor.grad.item()) / max(1.0, abs(mine.grad))
        furthest = max(furthest, error)
print(f"600 gradients, the furthest apart by less than 1e-12: {furthest < 1e-12}")

# %% [markdown]
# They agree up to rounding. The rest of this notebook is about what changes on the way from these
# sixty lines to a library: speed in deep graphs, arrays, memory, and gradients of gradients.

# %% [markdown]
# ## Why a node fires once
#
# The first backward pass that comes to mind is another one: a function that calls itself. The
# gradient arrives at a node, the node sends it on to its parents, and each of them does the same.

# %%
fired = 0


def walk(node, g):
    """Add g to the node's gradient, and go on to its parents at once."""
    global fired
    node.grad += g
    if node.send is not None:
        fired += 1
        for parent, part in zip(node.parents, node.send(g), strict=True):
            walk(parent, part)


def chain(depth):
    """``depth`` blocks with a skip, x + tanh(x), one after the other."""
    first = last = Value(0.3)
    for _ in range(depth):
        last = last + last.tanh()
    return first, last


# %% [markdown]
# A residual block is $x_{l+1} = x_l + F(x_l)$ (He et al. 2015, equation 1). Here $F$ is a tanh, so
# a block has two operations, a tanh and a sum.
#
# **Predict.** Both passes give the right gradient. In a chain of 16 such blocks, how often does an
# operation fire with the walk, and how often with the ordered pass?

# %%
depths = list(range(1, 17))
by_walk, in_order = [], []
print("blocks  fired by the walk  fired in order  same gradient")
for depth in depths:
    first, last = chain(depth)
    fired = 0
    walk(last, 1.0)
    by_walk.append(fired)
    walked = first.grad

    first, last = chain(depth)
    last.backward()
    in_order.append(sum(node.send is not None for node in reached(last)))
    same = math.isclose(walked, first.grad, rel_tol=1e-12)
    if depth in (1, 2, 4, 8, 16):
        print(f"{depth:6}  {by_walk[-1]:17,}  {in_order[-1]:14}  {same!s:>13}")
print(f"{27:6}  {2 * (2**27 - 1):17,}  {2 * 27:14}  (by the formula in the text)")

# %% [markdown]
# The walk goes every *way* from the output to the input, and each skip doubles the number of ways:
# $2^{16} = 65{,}536$ of them, on which $2\,(2^{16} - 1) = 131{,}070$ operations fire. The ordered
# pass goes over every *edge*: 2 operations a block, 32 in all. The sum over the ways is the same,
# since
#
# $$g\,(1 + a_L)(1 + a_{L-1}) \cdots (1 + a_1)$$
#
# is the same number whether you multiply it out, $2^L$ products, or multiply from left to right,
# $L$ of them. Adding up at the forks *is* factoring out.

# %%
import matplotlib.pyplot as plt

from minires.viz import style

with style.context():
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    axes.semilogy(depths, by_walk, "--o", color=style.BRANCH_COLOR, label="the walk: 2 (2^L - 1)")
    axes.semilogy(depths, in_order, "-s", color=style.SKIP_COLOR, label="in order, once: 2 L")
    axes.set(
        title="What a backward pass through L skips costs",
        xlabel="blocks with a skip, L",
        ylabel="operations fired",
        xticks=depths[1::2],
    )
    axes.legend()
    plt.show()

# %% [markdown]
# A residual network of 56 layers has 27 blocks, where the walk would fire some 268 million
# operations; at 1,000 blocks it would not end. The library's pass is an ordered one too. We can
# count: the operation below does nothing but count its own backward calls.

# %%
from minires.autograd import Function


class Counted(Function):
    """out = tanh(x), and a count of how often backward is called."""

    calls = 0

    @staticmethod
    def forward(ctx, x):
        out = np.tanh(x)
        ctx.save(out=out)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        Counted.calls += 1
        out = ctx.saved("out")
        return grad_out * (1 - out * out)


start = mr.tensor([0.3], dtype="float64", requires_grad=True)
last = start
for _ in range(1000):
    last = last + Counted.apply(last)
last.backward()
print(f"1,000 blocks, {Counted.calls:,} backward calls of the tanh")

# %% [markdown]
# ### Once is not enough: also late enough
#
# **Predict.** Suppose every node fires once, but as soon as the first gradient arrives, in the
# order of a breadth-first search. What goes wrong in the graph below, where $x$ reaches $y$ over a
# skip and over two tanh?


# %%
def fire_at_first_touch(root):
    """Every node fires once, as soon as it is met."""
    root.grad = 1.0
    queue, met = [root], {root}
    while queue:
        node = queue.pop(0)
        if node.send is None:
            continue
        for parent, g in zip(node.parents, node.send(node.grad), strict=True):
            parent.grad += g
            if parent not in met:
                met.add(parent)
                queue.append(parent)


def with_a_skip():
    x = Value(0.5)
    inner = x * 2
    return x, inner + inner.tanh().tanh()


x, y = with_a_skip()
y.backward()
right = x.grad
x, y = with_a_skip()
fire_at_first_touch(y)
print(f"in order           {right:.4f}")
print(f"at the first touch {x.grad:.4f}")

# %% [markdown]
# `inner` gets 1 over the skip and fires at once, with that alone: $2 \cdot 1$. What comes through
# the two tanh arrives later and stays there. No error, only a wrong number. So a node may fire when
# *all* its consumers have fired; firing in the order of making, backward, guarantees that.
#
# ### Exercise 1: the order
#
# The engine above sorts by the number that each node got when it was made. Now do without. Given is
# `parents`, a dict from each node's name to the names it was computed from:
#
# `{"out": ("left", "right"), "left": ("x",), "right": ("x",), "x": ()}`
#
# Return a list of all nodes that `root` depends on, the root first, each once, and each after
# everything that was computed from it.


# %%
def order(root, parents):
    raise NotImplementedError


from minires.exercises import autograd

autograd.firing_order(order)

# %% [markdown]
# ### Exercise 2: a value that is used twice
#
# The other half of the engine. Given are the `order` of exercise 1, `parents`, and
# `slopes[node]`, the derivatives of a node by each of its parents. Return a dict with
# $\partial\,\mathrm{output}/\partial\,\mathrm{node}$ for every node.


# %%
def gradients(order, parents, slopes):
    raise NotImplementedError


autograd.accumulate(gradients)

# %% [markdown]
# ## From numbers to arrays
#
# An engine with one node for each number is slow: every product costs a Python object and a call.
# So the nodes of the library hold arrays. The graph is of the same kind. Its nodes have parents and
# a rank, and `backward` goes from the highest rank down:

# %%
x = mr.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
y = (x * x.tanh() + x).sum()

nodes = sorted(reached(y.node), key=lambda node: -node.rank)  # the function from above
for node in nodes:
    parents = ", ".join(parent.name for parent in node.parents) or "-"
    print(f"rank {node.rank - nodes[-1].rank}  {node.name:5} {node.shape!s:7} from {parents}")

# %% [markdown]
# A sum of 10,000 squares, on both engines, so that you see what it is about:

# %%
numbers = rng.standard_normal(10_000)
values = [Value(number) for number in numbers]
total = sum(value * value for value in values)
tensor = mr.tensor(numbers, requires_grad=True)
loss = (tensor * tensor).sum()
print(f"{len(reached(total)):,} nodes of numbers, 3 nodes of arrays: leaf, Mul, Sum")
total.backward()
loss.backward()
print("same gradient:", np.allclose([v.grad for v in values], tensor.grad.data, rtol=1e-12))

# %% [markdown]
# ### The gradient that stays
#
# `backward()` *adds* to `.grad` at the leaves. Within a pass that is what a reused value needs. The
# same holds from one pass to the next.
#
# **Predict.** What does this print?

# %%
x = mr.tensor([2.0], requires_grad=True)
for _ in range(3):
    (x * x).backward()
    print(x.grad.tolist())

# %% [markdown]
# The slope of $x^2$ at 2 is 4, and after three passes there is 12. A training loop therefore clears
# the gradients before each step (`optimizer.zero_grad()`). With that, a large batch can be handled
# in pieces: the gradients of the pieces add up. `mr.grad(y, x)` returns the gradient instead and
# leaves `.grad` alone.

# %% [markdown]
# ## Broadcasting, and the way back
#
# Arrays bring one thing that numbers do not have. In $a + b$ with $a$ of shape $(4, 3)$ and $b$ of
# shape $(3,)$, NumPy repeats $b$ four times. Every number of $b$ is used in four places. You know
# what happens to the gradients of a value that is used four times.
#
# **Predict.** $\partial \sum(a + b) / \partial b$: which shape, and which numbers?

# %%
a = mr.tensor(np.zeros((4, 3)), requires_grad=True)
b = mr.tensor(np.zeros(3), requires_grad=True)
(a + b).sum().backward()
print("grad_a", a.grad.shape, "all", a.grad.data.max())
print("grad_b", b.grad.shape, b.grad.tolist())

# %% [markdown]
# Repeating is a linear map $B$, and the backward pass of a linear map is its transpose, the
# *adjoint*: the map $B^\top$ with $\langle B b, g\rangle = \langle b, B^\top g\rangle$ for all $b$
# and $g$. The adjoint of repeating is summing over the copies. The library has it once, as
# `unbroadcast`, and every elementwise operation ends with it. The defining equation can be checked
# with random arrays:

# %%
from minires.functional.shape import unbroadcast

print("shape of b     repeated to    the two inner products differ by less than 1e-12")
for small, large in (((3,), (4, 3)), ((4, 1), (4, 3)), ((), (2, 5)), ((2, 1, 3), (2, 4, 3))):
    b, g = rng.standard_normal(small), rng.standard_normal(large)
    there = (np.broadcast_to(b, large) * g).sum()
    back = (b * unbroadcast(g, small)).sum()
    print(f"{small!s:14} {large!s:14} {abs(there - back) < 1e-12}")

# %% [markdown]
# ### Exercise 3: backward of a broadcast product
#
# `out = a * b` with `a` of shape $(N, D)$ and `b` of shape $(D,)$. Return the pair
# `(grad_a, grad_b)`, given `grad_out` of shape $(N, D)$. Use NumPy.


# %%
def backward(grad_out, a, b):
    raise NotImplementedError


autograd.broadcast_product(backward)

# %% [markdown]
# ## An operation of your own
#
# An operation is a class with a forward and a backward, side by side. `forward` gets arrays and
# returns an array. With `ctx.save` it keeps what backward will need. `backward` gets the gradient
# that arrives and returns one for each input. Here is the bell curve
#
# $$f(x) = e^{-x^2}, \qquad f'(x) = -2x\,f(x).$$


# %%
class Bell(Function):
    """out = e^(-x^2);  grad_x = grad_out * -2 x out."""

    @staticmethod
    def forward(ctx, x):
        out = np.exp(-x * x)
        ctx.save(x=x, out=out)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, out = ctx.saved("x", "out")
        return grad_out * (-2.0) * x * out


x = mr.tensor([-1.0, 0.0, 0.5], dtype="float64", requires_grad=True)
out = Bell.apply(x)
out.sum().backward()
print("gradient", np.round(x.grad.data, 4))
print(mr.check.gradcheck(Bell.apply, np.array([-1.0, 0.0, 0.5])).caption())

# %% [markdown]
# The last line holds the gradient against differences; notebook 02 is about that.
#
# ### What is saved
#
# Between forward and backward the graph keeps arrays alive. That is most of the memory that
# training takes. What a node keeps you can look at:

# %%
out = Bell.apply(x)
for name, array in out.node.saved_arrays.items():
    is_it = "the input itself" if array is x.data else "the output itself"
    print(f"{name:4} {array.shape} {array.dtype}, {is_it}: no copy")

# %% [markdown]
# No copies, so saving costs no time. But then nobody may change these arrays before backward has
# read them.
#
# **Predict.** What happens when you write into `x.data` now, between forward and backward?

# %%
try:
    x.data[0] = 7.0
except ValueError as error:
    print("before backward:", error)
out.sum().backward()
x.data[0] = -1.5
print("after backward it can be written:", x.data.tolist())

# %% [markdown]
# A changed array would give a wrong gradient without a word, so while a graph holds it it is
# read-only. After backward the graph lets go of everything: the arrays can be written again, and a
# second pass is an error.

# %%
x = mr.tensor([1.0, 2.0], requires_grad=True)
loss = Bell.apply(x).sum()
loss.backward()
try:
    loss.backward()
except mr.errors.GraphFreedError as error:
    print(error)

# %% [markdown]
# ### Keeping a graph, cutting it, not making it
#
# Three tools, and what each does to $y = x \cdot x$ at $x = 3$:
#
# - `retain_graph=True`: the arrays are kept, and backward can run again;
# - `x.detach()`: the same numbers, without a history, so a constant;
# - `mr.no_grad()`: nothing in the block is recorded.
#
# **Predict** the four numbers before you run the cell.

# %%
x = mr.tensor(3.0, requires_grad=True)
y = x * x
y.backward(retain_graph=True)
y.backward()
print("two passes over one graph:", x.grad.item())

(g,) = mr.grad(x * x, x)
print("x * x:                    ", g.item())
(g,) = mr.grad(x * x.detach(), x)
print("x * x.detach():           ", g.item())
with mr.no_grad():
    y = x * x
print("under no_grad:            ", y.item(), "and a history:", y.requires_grad)

# %% [markdown]
# Two passes leave $6 + 6 = 12$. With one factor detached only the other edge is left, and the
# gradient is 3: the true derivative of $x \cdot 3$, and not that of $x^2$. That is the use of
# `detach`, and its danger.

# %% [markdown]
# ## Gradients of gradients
#
# The gradient is computed by operations. With `create_graph=True` these are recorded as well, so
# the gradient has a history and can be differentiated. That is why `Bell.backward` was written with
# operators only: under `create_graph` it is given tensors, and each saved array comes back as the
# tensor that it was, with its place in the graph.

# %%
grid = mr.tensor(np.linspace(-2.5, 2.5, 201), requires_grad=True)
curves = [Bell.apply(grid)]
for _ in range(3):
    (slope,) = mr.grad(curves[-1].sum(), grid, create_graph=True)
    curves.append(slope)

z, bell = grid.data, np.exp(-(grid.data**2))
by_hand = [bell, -2 * z * bell, (4 * z**2 - 2) * bell, (12 * z - 8 * z**3) * bell]
for k, (found, formula) in enumerate(zip(curves, by_hand, strict=True)):
    print(f"derivative {k}: right to 1e-12: {np.abs(found.data - formula).max() < 1e-12}")

# %%
with style.context():
    figure, axes = plt.subplots(figsize=(6.8, 3.6), layout="constrained")
    looks = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"))
    names = ("f", "f'", "f''", "f'''")
    colors = style.depth_colors(range(4)).values()
    for curve, (dashes, marker), name, color in zip(curves, looks, names, colors, strict=True):
        axes.plot(z, curve.data, dashes, marker=marker, markevery=20, color=color, label=name)
    axes.set(
        title="The bell curve, differentiated by autograd",
        xlabel="x",
        ylabel="f and its derivatives",
    )
    axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    plt.show()

# %% [markdown]
# (The sum in `mr.grad(curve.sum(), grid)` is a trick: each output depends on its own input only, so
# the gradient of the sum has every point's own derivative.)
#
# There is one way to get this wrong. `ctx.save` takes inputs and outputs only, because only these
# have a place in the graph. Suppose forward computes the slope at once, to save work:


# %%
class Hasty(Function):
    @staticmethod
    def forward(ctx, x):
        out = np.exp(-x * x)
        ctx.save(slope=-2 * x * out)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        return grad_out * ctx.saved("slope")


try:
    Hasty.apply(grid)
except mr.errors.GraphError as error:
    print(error)

# %% [markdown]
# The slope depends on $x$, but as an array made in forward it has no history: its own derivative
# would be taken for 0, and second derivatives would be wrong without a word. So it is refused.
#
# ### Exercise 4: a Function for softplus
#
# $\mathrm{softplus}(x) = \log(1 + e^x)$ is a smooth ReLU. Write it as a `Function`, for arrays. Its
# forward must stand $x = \pm 1000$, and it must be possible to differentiate it twice. The library
# has it as `F.softplus`; here the point is to write it. (`F.sigmoid`, `F.exp` and the like take
# arrays and tensors.)

# %%
F.softplus(np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0]))


# %%
class Softplus(Function):
    @staticmethod
    def forward(ctx, x):
        raise NotImplementedError

    @staticmethod
    def backward(ctx, grad_out):
        raise NotImplementedError


autograd.softplus(Softplus)

# %% [markdown]
# ### A Hessian times a vector
#
# The second derivatives of a function of $n$ numbers are an $n \times n$ matrix, the Hessian $H$.
# For a network that is out of the question: a million weights, $10^{12}$ entries. But $H v$ for one
# vector $v$ is a derivative of a number again,
#
# $$H v = \nabla_x \,\big( \nabla f(x) \cdot v \big), \qquad v \text{ constant},$$
#
# so it costs two backward passes, whatever $n$ is (Pearlmutter 1994). The instrument that finds the
# sharpest direction of a loss (`flow.hessian_eigenvalue`) rests on it.
#
# ### Exercise 5: a Hessian times a vector
#
# `f` takes a tensor and returns a tensor with one number, `x` is a tensor that requires grad, and
# `v` a tensor of its shape. Return $H v$.


# %%
def product(f, x, v):
    raise NotImplementedError


autograd.hessian_vector(product)

# %% [markdown]
# ## Summary
#
# - A node needs its parents and a rule that turns the gradient that arrives into one for each
#   parent. The rest is order.
# - A node fires once, when all its consumers have fired. A walk that calls itself is right too, and
#   fires 131,070 operations for 16 skips where 32 are enough. Firing at the first touch is wrong.
# - Where a value is used several times, the gradients of the uses add up: in the graph, in `.grad`
#   over several passes, and over the copies that broadcasting makes.
# - A graph keeps inputs and outputs of its operations, without copies, until backward has run.
# - A gradient that was recorded can be differentiated. What is saved must have a place in the
#   graph.
#
# One remark for later. The $2^L$ ways through $L$ skips are not only a cost to avoid. Notebook 09
# asks how much of the gradient comes over which of them.
#
# **References.** Baydin, Pearlmutter, Radul and Siskind 2018, "Automatic differentiation in machine
# learning: a survey", section 3.2 (reverse mode). Goodfellow, Bengio and Courville 2016, "Deep
# learning", section 6.5 (back-propagation). He, Zhang, Ren and Sun 2015, "Deep residual learning
# for image recognition", equation 1. He, Zhang, Ren and Sun 2016, "Identity mappings in deep
# residual networks", equation 5 (the gradient over a skip is a sum). Pearlmutter 1994, "Fast exact
# multiplication by the Hessian".
#
# Worked solutions: [solutions/01_autograd.ipynb](solutions/01_autograd.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [02 · Checking gradients](02_checking_gradients.ipynb).
