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
# # 07 · The residual block
#
# Afterwards you can write a residual block of your own, bring its two ways to the same shape where
# the dimensions change, work out its gradient by hand, and make a block, or 36 more layers of a
# network, that changes nothing at all. You will also know what is lost when there is only one layer
# in the branch, and what is not.
#
# You need notebooks 01 (autograd), 04 (batch normalisation) and 06 (plain stacks). It takes about
# an hour with its six exercises; the computing takes about half a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires import nn
from minires.exercises import residual_block
from minires.viz import style

data = mr.data.load_digits()
images, labels = data.batch(64)

# %% [markdown]
# ## The sum
#
# A residual block computes
#
# $$y = F(x, \{W_i\}) + x$$
#
# (He et al. 2015, equation 1). $F$, the *branch*, is a few layers with weights; the $x$ that is
# added has none: the *shortcut*, or skip. Whatever function the block should be, the branch has to
# learn only its difference from the identity, the *residual*. Here it is written by hand, and as a
# block of the library, of which you write down only the branch:


# %%
def layers(channels):
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
    )


class ByHand(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = layers(channels)

    def forward(self, x):
        return self.layers(x) + x


class Block(nn.ResidualBlock):
    def __init__(self, channels):
        super().__init__()
        self.branch = layers(channels)


mr.manual_seed(0)
by_hand, block = ByHand(8), Block(8)
block.branch.load_state_dict(by_hand.layers.state_dict())
x = mr.randn(16, 8, 8, 8)
print("largest difference:", (by_hand(x) - block(x)).abs().max().item())

# %% [markdown]
# The two compute the same. The second one keeps to a *contract*: `nn.ResidualBlock` puts its parts
# together, you supply them as methods or as modules under these names, and leave `forward` alone.
#
# $$u = pre(x), \qquad z = a \cdot shortcut(u) + b \cdot branch(u), \qquad y = activation(z)$$
#
# | part | what it is | if you leave it out |
# |---|---|---|
# | `pre` | what comes before the fork | nothing |
# | `shortcut` | the way past the branch; `None` makes a plain block | the identity |
# | `branch` | the layers | must be there |
# | `activation` | what follows the sum | nothing |
# | `skip_scale` | $a$ | 1 |
# | `branch_scale` | $b$ | 1 |
#
# So every instrument knows where the fork is and where the sum. A block that no paper has, with a
# scaled skip and something before the fork, works as well:


# %%
class Mine(nn.ResidualBlock):
    activation = staticmethod(F.relu)
    skip_scale = 0.8

    def __init__(self, channels):
        super().__init__()
        self.pre = nn.BatchNorm2d(channels)
        self.branch = nn.Conv2d(channels, channels, 3, padding=1)


mr.manual_seed(0)
head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
model = nn.Sequential(nn.Conv2d(1, 8, 3), Block(8), Mine(8), head)
ledger = mr.flow.ledger(model, images, labels)
print(ledger.table())

# %% [markdown]
# ### Exercise 1: a basic block
#
# The block of the paper has two 3x3 convolutions with batch norm behind each, a ReLU between them
# and **one after the sum** (figures 2 and 5, sections 3.2 and 3.4): $y = relu(x + F(x))$. Write it
# as an `nn.ResidualBlock`.


# %%
class Basic(nn.ResidualBlock):
    def __init__(self, channels):
        super().__init__()
        # ...


residual_block.basic_block(Basic)

# %% [markdown]
# ## How many layers does a branch need?
#
# Take a single linear layer: $y = W_1 x + x$. **Predict first:** which functions can this block
# compute that a linear layer $y = W x$ cannot? And if both start from the same function, $W = W_1 +
# I$, when do their paths part in training?

# %%
draw = np.random.default_rng(0)
inputs, mixing = draw.standard_normal((64, 6)), draw.standard_normal((6, 6))
start = 0.3 * draw.standard_normal((6, 6))
x, target = mr.tensor(inputs), mr.tensor(inputs @ mixing)


def train_both(weight_decay, steps=200):
    """The largest difference between the outputs of the two, in all steps."""
    with_skip, plain = nn.Parameter(start.copy()), nn.Parameter(start + np.eye(6))
    options = dict(lr=0.05, momentum=0.9, weight_decay=weight_decay)
    optimizers = [mr.optim.SGD([weight], **options) for weight in (with_skip, plain)]
    furthest = 0.0
    for _ in range(steps):
        outputs = (x @ with_skip + x, x @ plain)
        furthest = max(furthest, (outputs[0] - outputs[1]).abs().max().item())
        for output, optimizer in zip(outputs, optimizers, strict=True):
            optimizer.zero_grad()
            F.mse_loss(output, target).backward()
            optimizer.step()
    return furthest


for weight_decay in (0.0, 0.1):
    found = train_both(weight_decay)
    print(f"weight decay {weight_decay}: the outputs differ by {found:.0e} at most, in 200 steps")

# %% [markdown]
# $W_1 x + x = (W_1 + I) x$: the same functions, and the same gradient, so the same path to the last
# bits. The skip is only another starting point. With weight decay something does change: one is
# drawn to the identity, the other to zero. The paper says of this case that no advantage was
# observed (section 3.2).
#
# That is about a block which is linear as a whole. In a network there is a ReLU after the sum and
# batch norm in the branch, $y = relu(x + BN(W_1 x))$. **Predict:** is a skip over every single
# layer as useless there? Here are networks of one depth whose skips pass over one, two or three
# layers, and the plain one; the weights at the start are the same. First the gradient at
# initialisation, at depth 56, then the training at depth 38 (two epochs, two seeds).

# %%
kinds = {
    "plain": dict(residual=False),
    "1 layer a skip": dict(layers_per_skip=1),
    "2 layers a skip": dict(layers_per_skip=2),
    "3 layers a skip": dict(layers_per_skip=3),
}
growth, losses = {}, {}
for name, options in kinds.items():
    mr.manual_seed(0)
    deep = mr.models.cifar_resnet(56, width=8, in_channels=1, **options)
    found = mr.flow.ledger(deep, images, labels)
    sizes = [entry.grad_rms for entry in found.blocks]
    growth[name] = (np.linspace(0, 54, len(sizes), endpoint=False), sizes)
    print(f"{name:15} first block / last block: {sizes[0] / sizes[-1]:5.0f}")

# %%
for name, options in kinds.items():
    losses[name] = []
    for seed in (0, 1):
        mr.manual_seed(seed)
        network = mr.models.cifar_resnet(38, width=8, in_channels=1, **options)
        loader = mr.data.DataLoader(data.train, batch_size=64, shuffle=True, seed=seed)
        sgd = mr.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        losses[name].append(mr.train.fit(network, loader, sgd, epochs=2).batch_loss)
    both = ", ".join(f"{run[0]:.2f} then {run[-1]:.2f}" for run in losses[name])
    print(f"{name:15} training loss in the first and the second epoch: {both}")

# %%
looks = dict(zip(kinds, (("--", "o"), (":", "D"), ("-", "s"), ("-.", "^")), strict=True))
colors = dict(zip(kinds, (style.BRANCH_COLOR, "#1b7f79", style.SKIP_COLOR, "#6c2683"), strict=True))
with style.context():
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, (line, marker) in looks.items():
        look = dict(color=colors[name], linestyle=line, marker=marker, markerfacecolor="white")
        left.semilogy(*growth[name], label=name, markevery=3, **look)
        for run in losses[name]:
            right.plot([1, 2], run, label=name if run is losses[name][0] else None, **look)
    left.set(title="At initialisation, depth 56", xlabel="layers before the block")
    left.set(ylabel="gradient at the block's input (rms)")
    right.set(title="Training, depth 38, two seeds", xlabel="epoch", xticks=[1, 2])
    right.set(ylabel="mean loss of the batches", xlim=(0.9, 2.1), ylim=(0, None))
    left.legend()
    plt.show()

# %% [markdown]
# A skip over every single layer is not useless here: with it the gradient grows 7-fold through the
# network, where it grows 1,478-fold without, and in the second epoch its loss is below that of the
# plain network, which has hardly begun. The statement of the paper is about the linear case; batch
# norm and the ReLU after the sum make it another one.
#
# Two things to note. At initialisation the gradient grows less the more often there is a skip; in
# training the most skips are not the best: in both runs one layer a skip begins with a loss above
# that of the plain network, and is behind two layers all the time. So the size of the gradient at
# the start does not decide how well a network trains. And these are two epochs, two seeds, one
# depth and one width: they tell plain from residual, and no more. With 20 layers one, two and three
# layers a skip end closer together, and the plain network still far behind; change 38 to 20 above
# and see. The paper takes two (basic blocks) or three (bottlenecks).
#
# ## Where the dimensions change
#
# Two numbers of channels, or two sizes of image, cannot be added. **Predict:** what does the
# library say to this block?


# %%
class Down(nn.ResidualBlock):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.branch = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)


try:
    Down(8, 16)(mr.randn(1, 8, 8, 8))
except mr.errors.ShapeError as error:
    print(error)

# %% [markdown]
# The paper has two answers (section 3.3), both with a stride of 2 where the images are halved:
#
# - **A**: the shortcut takes every second pixel and puts zeros into the new channels. It has no
#   parameters, and equation 1 stays as it is.
# - **B**: a *projection* $W_s$, a 1x1 convolution, $y = F(x, \{W_i\}) + W_s x$ (equation 2). **C**
#   has a projection in every block, also where the dimensions stay.
#
# Which pixels of $x$ does a shortcut with stride 2 read? **Predict** for A and for B the share of
# the numbers of $x$ that get a gradient over the skip, and the share over the branch.

# %%
mr.manual_seed(0)
ways = {
    "shortcut A": mr.models.PadShortcut(4, 8, stride=2),
    "shortcut B": nn.Conv2d(4, 8, 1, stride=2, bias=False),
    "branch, 3x3": nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
}
reached = {}
for name, way in ways.items():
    x = mr.randn(1, 4, 8, 8, requires_grad=True)
    out = way(x)
    out.backward(mr.randn(*out.shape))
    reached[name] = (x.grad.data[0] != 0).any(axis=0)
    print(f"{name:12} {out.shape}, {np.mean(x.grad.data != 0):4.0%} of x gets a gradient")

with style.context():
    _, axes = plt.subplots(1, 3, figsize=(8.4, 2.9), layout="constrained")
    for ax, (name, hit) in zip(axes, reached.items(), strict=True):
        ax.imshow(hit, cmap="Blues", vmin=0, vmax=1.4)
        for (row, column), one in np.ndenumerate(hit):
            ax.text(column, row, "x" if one else "", ha="center", va="center", color="white")
        ax.set(title=name, xlabel="column", ylabel="row")
        ax.grid(False)
    plt.show()

# %% [markdown]
# Three quarters of the pixels (those without a cross) have no way past the branch in this block: at
# a stride of 2 the identity path is broken for them, for the projection as much as for zero
# padding. Only the branch sees them.
#
# ### Exercise 2: the shortcut of option A
#
# `x` is a tensor (N, C, H, W). Return every `stride`-th pixel of it, with zeros for the new
# channels behind those of `x`.


# %%
def my_pad_shortcut(x, out_channels, stride): ...


residual_block.pad_shortcut(my_pad_shortcut)

# %% [markdown]
# ### Exercise 3: a projection shortcut
#
# Return a module: the projection of option B, with batch norm behind it, as behind every
# convolution of the paper.


# %%
def my_projection(in_channels, out_channels, stride): ...


residual_block.projection(my_projection)

# %% [markdown]
# ### What it costs
#
# `models.summary` lists what runs in a module, here in the first block of the second stage with
# shortcut B:

# %%
first = mr.models.cifar_resnet(20, width=16, shortcut="B").layer2[0]
mr.models.summary(first, (16, 32, 32))

# %% [markdown]
# **Predict:** how much larger do the projections of B and C make a whole network of basic blocks,
# and how much one of bottlenecks (1x1 down to a quarter of the channels, 3x3, 1x1 up again), whose
# shortcuts connect the wide ends?

# %%
for block_kind in ("basic", "bottleneck"):
    counts = {
        option: mr.models.cifar_resnet(56, block=block_kind, shortcut=option) for option in "ABC"
    }
    counts = {option: sum(p.numel() for p in m.parameters()) for option, m in counts.items()}
    for option, count in counts.items():
        more = count / counts["A"] - 1
        print(f"{block_kind:10} {option}: {count:9,} parameters, {more:+6.1%}")

# %% [markdown]
# With basic blocks little; with bottlenecks C nearly doubles the network. The paper uses
# no C after its comparison (section 4.1). What the three bring on ImageNet with 34 layers (table 3,
# top-1 error, 10-crop): A 25.03%, B 24.52%, C 24.19%, and the plain network 28.54%. The step from
# no skip to A is much larger than those from A to B and to C.
#
# ### Exercise 4: count them
#
# A network for small images has three stages of `blocks` basic blocks with `width`, `2 * width` and
# `4 * width` channels, and the stem gives `width` channels. How many parameters do all its
# shortcuts have together, for option 'A', 'B' or 'C'? A projection has no bias, and batch norm
# behind it.


# %%
def my_shortcut_parameters(option, width, blocks): ...


residual_block.shortcut_parameters(my_shortcut_parameters)

# %% [markdown]
# ## The gradient of one block, by hand
#
# Differentiate $y = x + F(x)$: the Jacobian is $I + J_F$. Backward, the gradient is multiplied by
# its transpose:
#
# $$g_{in} = (I + J_F)^T g_{out} = g_{out} + J_F^T\, g_{out}$$
#
# The first term passes the block unchanged. Take a small branch, $F(x) = W_2\, relu(W_1 x)$, whose
# Jacobian can be written down: $J_F = W_2\, D\, W_1$, where $D$ is 1 on the diagonal where the ReLU
# is on, and 0 elsewhere. **Predict:** can $g_{in}$ be smaller than $g_{out}$, though one is added
# to $J_F$?

# %%
mr.manual_seed(0)


class Small(nn.ResidualBlock):
    def __init__(self, width):
        super().__init__()
        linear = [nn.Linear(width, width, bias=False) for _ in range(2)]
        self.branch = nn.Sequential(linear[0], nn.ReLU(), linear[1])


small = Small(5).to(np.float64)
w1, w2 = small.branch[0].weight.data, small.branch[2].weight.data
x0, g_out = (np.random.default_rng(seed).standard_normal(5) for seed in (1, 2))

on = np.diag((w1 @ x0 > 0).astype(float))
jacobian = w2 @ on @ w1
over_skip, over_branch = g_out, jacobian.T @ g_out

x = mr.tensor(x0[None], requires_grad=True)
small(x).backward(mr.tensor(g_out[None]))
entry = mr.flow.ledger(small, x0[None], g_out[None], loss=lambda y, g: (y * g).sum()).blocks[0]

print("by hand against the library:", abs(over_skip + over_branch - x.grad.data[0]).max())
print("skip against the ledger:    ", abs(over_skip - entry.skip[0]).max())
print("branch against the ledger:  ", abs(over_branch - entry.branch[0]).max())

# %%
for scale in (1.0, -1.0, -4.0):
    small.branch_scale = scale
    x = mr.tensor(x0[None], requires_grad=True)
    small(x).backward(mr.tensor(g_out[None]))
    size = np.linalg.norm(x.grad.data) / np.linalg.norm(g_out)
    print(f"branch times {scale:4}: |g_in| / |g_out| = {size:.2f}")

# %% [markdown]
# Yes. "One is added to the Jacobian" does not mean that gradients cannot shrink: they do where the
# branch works against the skip, and for $F(x) = -x$ nothing would be left. What is true is that the
# gradient does not vanish *because the weights are small*, as it would in a plain block: with $W_1,
# W_2 \to 0$ it becomes $g_{out}$.
#
# ### The ReLU after the sum
#
# The basic block ends with a ReLU, so $g_{in} = (I + J_F)^T D_z\, g_{out}$ with a second mask
# $D_z$, which lies on *both* ways. "The gradient passes unchanged" holds up to the sum of one
# block, not through a stack of them. How much does it mask?

# %%
mr.manual_seed(0)
network = mr.models.cifar_resnet(20, width=8, in_channels=1)
passes = []


def note(module, inputs, out):
    passes.append(out.data > 0)


handles = [block.register_forward_hook(note) for block in network.blocks()]
network(mr.tensor(images))
for handle in handles:
    handle.remove()
print("masked after the sum, block by block:", *(f"{1 - np.mean(on):.0%}" for on in passes))
for stage in range(3):
    through = np.logical_and.reduce(passes[3 * stage : 3 * stage + 3])
    print(f"stage {stage + 1}: {np.mean(through):.0%} of the places pass all three masks")

# %% [markdown]
# Between a quarter and two fifths in every block, and after the three of a stage more than
# half of the places are cut off. Notebook 10 moves this ReLU out of the way.
#
# ### Exercise 5: the gradient at the fork
#
# Write the backward pass of $y = x + relu(x\, w_1^T)\, w_2^T$ for a batch: `x` and `grad_out` are
# (N, D), `w1` and `w2` are (D, D). Return the gradients of `x`, `w1` and `w2`.


# %%
def my_fork(grad_out, x, w1, w2): ...


residual_block.fork(my_fork)

# %% [markdown]
# ## A block can be the identity
#
# A deeper network should never be worse than a shallower one: let the layers that are more do
# nothing. Plain networks do not find that solution (notebook 06). For a residual block it is near
# at hand: make the branch zero. The last layer of the branch is a batch norm, $\gamma \hat{x} +
# \beta$ with $\beta = 0$ at the start, so $\gamma = 0$ will do ("zero-init", Goyal et al. 2017,
# section 5.1).
#
# **Predict:** is the basic block then the identity exactly, or up to rounding? For every $x$?

# %%
mr.manual_seed(0)
network = mr.models.cifar_resnet(20, width=8, in_channels=1, zero_init_residual=True)
block = network.layer1[1]
x = mr.randn(16, 8, 8, 8)
for name, given in {"x from 0 on": F.relu(x), "any x": x}.items():
    print(f"{name}: largest difference {(block(given) - given).abs().max().item():.1f}")
print(f"any x, against relu(x): {(block(x) - F.relu(x)).abs().max().item():.1f}")

# %% [markdown]
# Exactly, to the bit, for what is not negative; otherwise the ReLU after the sum cuts it off. In
# the network that is no restriction, since what a block is given comes out of a ReLU.
#
# So a whole network can be made deeper without a change. `models.deepen` puts blocks with a branch
# of zero at the end of every stage: 20 layers become 56.

# %%
mr.manual_seed(0)
shallow = mr.models.cifar_resnet(20, width=8, in_channels=1)
deeper = mr.models.deepen(shallow, 6)
print(mr.models.deepening(shallow, deeper, images, labels))

# %% [markdown]
# Not one bit of the output differs, in either mode. **By construction the deeper residual network
# is no worse.** What about a plain one? A convolution can copy its input (a 1 in the middle of the
# kernel, `nn.init.dirac_`); behind it come batch norm and ReLU. **Predict:** is conv, BN, ReLU with
# this kernel the identity for $x \ge 0$?

# %%
copy = nn.Conv2d(8, 8, 3, padding=1, bias=False)
nn.init.dirac_(copy.weight)
given = F.relu(x)
for name, layer in {
    "conv, ReLU": nn.Sequential(copy, nn.ReLU()),
    "conv, BN, ReLU": nn.Sequential(copy, nn.BatchNorm2d(8), nn.ReLU()),
}.items():
    off = (layer(given) - given).abs().max().item() / given.max().item()
    print(f"{name:15} (training mode): largest difference {off:.0%} of the largest number")

# %% [markdown]
# Without batch norm it is; with batch norm it is not: it centres what it is given, and ReLU cuts
# off what has become negative. Notebook 11 shows how it can still be done in evaluation mode.
#
# Two things do **not** follow. That a solution exists does not mean that SGD finds it, or stays
# with it: that is measured in notebook 11 and in [docs/results.md](../docs/results.md). And that
# branches *can* become zero does not mean that they do: trained networks use them.
#
# ### Can a block that is zero learn?
#
# If the branch gives zero because of a factor of zero, which of its weights get a gradient?
# **Predict** for the first step, and for the second.

# %%
names = [n for n, _ in network.named_parameters() if n.startswith("layer1.1.")]
parameters = dict(network.named_parameters())
optimizer = mr.optim.SGD(network.parameters(), lr=0.1)
for step in (1, 2):
    optimizer.zero_grad()
    F.cross_entropy(network(mr.tensor(images)), mr.tensor(labels)).backward()
    moved = [n[len("layer1.1.") :] for n in names if np.any(parameters[n].grad.data)]
    print(f"step {step}: a gradient at {', '.join(moved)}")
    optimizer.step()

# %% [markdown]
# In the first step only the last layer of the branch learns, since everything before it is
# multiplied by its $\gamma = 0$. That makes $\gamma$ something else than zero, and from the second
# step on all weights learn. If *two* factors of a product were zero, neither would ever get a
# gradient.
#
# ### Exercise 6: make a block the identity
#
# `block` is a basic block of the library in the middle of its training: `block.conv1`, `block.bn1`,
# `block.conv2` and `block.bn2`, with any weights, biases and running statistics. Change its
# parameters so that it gives back what it is given (from 0 on), in training and in evaluation mode,
# and can still learn; return it.


# %%
def my_identity(block): ...


residual_block.identity(my_identity)

# %% [markdown]
# ## Summary
#
# - A residual block is $y = F(x) + x$; in minires you write the branch, and the contract does the
#   rest.
# - Over a single linear layer the skip is only another starting point. With batch norm and ReLU
#   around it that is no longer so: it helps, at this depth less than one over two layers.
# - Where the dimensions change, A pads with zeros and B projects. With stride 2 both read a quarter
#   of the pixels. C costs little with basic blocks, and nearly doubles a network of bottlenecks.
# - $g_{in} = g_{out} + J_F^T g_{out}$, checked by hand. The ReLU after the sum lies on both ways.
# - With a branch of zero the block is the identity to the bit, so a deeper residual network can
#   always be as good; whether training finds that is another question. One factor of zero can
#   learn, two cannot.
#
# **References.** He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition":
# equations 1 and 2, sections 3.2 to 3.4 and 4.1, table 3, figures 2 and 5. Goyal et al. 2017,
# "Accurate, large minibatch SGD: training ImageNet in 1 hour", section 5.1.
#
# Worked solutions: [solutions/07_residual_block.ipynb](solutions/07_residual_block.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [08 · Where the gradient goes](08_where_the_gradient_goes.ipynb): the same split, for
# every block of a deep network at once.
