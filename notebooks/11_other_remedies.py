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
# # 11 · The other remedies
#
# Afterwards you will be able to
#
# - make a trained network deeper without changing what it computes, also a plain one, and say what
#   training then does with it;
# - add auxiliary losses, and measure whether a gradient from near by changes anything;
# - start a residual network near the identity, with and without batch norm: zero-init, SkipInit,
#   ReZero, Fixup;
# - say what stochastic depth leaves out, and how much of the computing that saves;
# - read a table of remedies with the right distrust.
#
# You need notebooks 06 (plain stacks), 07 (the residual block) and 08 (the ledger). It takes about
# an hour with the four exercises; the computing takes about a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires import nn
from minires.exercises import remedies
from minires.viz import style

data = mr.data.load_digits()
images, labels = data.batch(64)
DEPTH = 32


def build(depth=DEPTH, seed=0, **options):
    mr.manual_seed(seed)
    return mr.models.cifar_resnet(depth, width=8, in_channels=1, **options)


def train(model, seed=0, lr=0.1):
    """Three epochs, the rate divided by 10 after the second; the error on the training images."""
    recipe = mr.train.Recipe(epochs=3, lr=lr, drops=(0.6,))
    loader = mr.data.DataLoader(data.train, recipe.batch_size, shuffle=True, seed=seed)
    sgd = recipe.optimizer(model)
    history = mr.train.fit(model, loader, sgd, epochs=3, scheduler=recipe.schedule(sgd))
    return mr.train.evaluate(model, data.train).error, history.batch_loss[-1]


results = {}

# %% [markdown]
# ## Construction by identity layers
#
# He et al. 2015 begin with an argument (section 1): a deeper network can copy a shallower one and
# pass its output on through layers that are the identity. So a deeper network need not be worse on
# the training set. For a *residual* network this is exact, since a block with a branch of zero is
# the identity (notebook 07). For a *plain* one it takes care. First a plain network of 20 layers,
# trained:

# %%
shallow = build(20, residual=False)
results["plain-20"] = train(shallow)
print(f"plain-20: {results['plain-20'][0]:.1f}% of the training images are wrong")

# %% [markdown]
# **Predict first.** What stands in the way of a plain block that is the identity: the convolution,
# batch norm, or ReLU?
#
# - The convolution can copy: a 1 in the middle of the kernel (`nn.init.dirac_`).
# - ReLU changes nothing in what is not negative, and what a block is given comes out of a ReLU.
# - Batch norm takes off the mean and divides by the standard deviation. It can be undone by its own
#   weight and bias, $\gamma = \sqrt{\sigma^2 + \epsilon}$ and $\beta = \mu$, if $\mu$ and
#   $\sigma^2$ are known; or it can be left out.
#
# `models.deepen` does both. `without-norm` puts in blocks that have none; `calibrated` measures the
# statistics on data and sets $\gamma$, $\beta$ and the running statistics. **Predict:** in which
# modes are the deeper networks equal to the shallow one, on the images of the calibration and on
# others?

# %%
others = data.train[0][600:664], data.train[1][600:664]
calibration = mr.data.DataLoader(data.train, batch_size=64, shuffle=True, seed=0)
more = (DEPTH - 20) // 6
deeper = {
    "without-norm": mr.models.deepen(shallow, more),
    "calibrated": mr.models.deepen(shallow, more, identity="calibrated", data=calibration),
}
for name, model in deeper.items():
    found = mr.models.deepening(shallow, model, *others)
    print(f"{name:13} depth {model.depth}:", end=" ")
    print(f"outputs differ by {found.evaluation:.0e} in evaluation mode,", end=" ")
    print(f"by {found.training:.0e} in training mode")

# %% [markdown]
# Without norm: not a bit, in either mode. Calibrated: nothing but rounding in evaluation mode, and
# two percent of the largest output in training mode, where each batch has statistics of its own.
#
# ### Exercise 1: a plain block that changes nothing
#
# `block` has `conv1`, `bn1`, `conv2`, `bn2`, and a ReLU behind each batch norm. `mean` and `var`
# (C,) are those of what it is given. Set its layers so that it is the identity in evaluation mode,
# and in training mode on batches with these statistics. Return it.


# %%
def neutral_block(block, mean, var): ...


remedies.neutral_block(neutral_block)

# %% [markdown]
# Not every plain block can be the identity. A plain *pre-activation* block with batch norm is
# refused, and the error says why:

# %%
try:
    mr.models.deepen(build(8, residual=False, preactivation=True), 1)
except mr.errors.ContractError as error:
    print(error)

# %% [markdown]
# ### Does training stay with it?
#
# Now both deeper networks start with the error of plain-20. **Predict:** after three more epochs
# with the same recipe, are they better than plain-20, and are they better than plain-20 that is
# trained as much longer? For the control, that one too.

# %%
for name, model in deeper.items():
    results[f"plain, constructed {name}"] = train(model)
results["plain-20, trained twice"] = train(shallow)
for name, (error, loss) in results.items():
    print(f"{name:35} training error {error:4.1f}%   mean loss of the last epoch {loss:.2f}")

# %% [markdown]
# The blocks without norm make it far *worse* than it began: 30.7 %, where the solution it was given
# has 13.4 %. The calibrated network gets better than that, 7.8 %, but plain-20, trained as much
# longer, gets to 5.0 %, and the deeper ones could compute the very same function. **A solution that
# is no worse exists, and SGD does not find it, or does not stay with it.** That is degradation
# without any talk of what the network can express.
#
# One seed and three epochs; but [docs/results.md](../docs/results.md) measured the same on
# Fashion-MNIST with ten epochs (from plain-20 to plain-56, calibrated): 10.0 % training error to
# begin with, 16.0 % at the end, and 23.8 % for plain-56 from scratch.
#
# ## Auxiliary losses
#
# Before there were skips, the answer to a gradient that comes from too far away was to bring
# another one from near by: classifiers in the middle of the network, whose losses are added
# (Szegedy et al. 2015, GoogLeNet, section 5, with weight 0.3; Lee et al. 2015, deeply supervised
# nets, at every hidden layer). In minires such a network gives `nn.Outputs` in training, and the
# main output alone in evaluation:

# %%
model = build(56, residual=False, aux_heads=2)
x, y = mr.tensor(images), mr.tensor(labels)
output = model(x)
print(
    "in training:  ", type(output).__name__, "with", 1 + len(output.auxiliary), "outputs;", end=" "
)
print("the heads read behind blocks", model.aux_after)
print(f"nn.total_loss: {nn.total_loss(F.cross_entropy, output, y).item():.4f}", end=" = ")
losses = [F.cross_entropy(part, y).item() for part in (output.main, *output.auxiliary)]
print(f"{losses[0]:.4f} + 0.3 * ({losses[1]:.4f} + {losses[2]:.4f})")
print("in evaluation:", type(model.eval()(x)).__name__)

# %% [markdown]
# ### Exercise 2: the total loss
#
# `loss` is a function of an output and the target, `auxiliary` a tuple of outputs that may be
# empty. Return the loss of `main` plus `weight` times that of each auxiliary output.


# %%
def total_loss(loss, main, auxiliary, target, weight): ...


remedies.total_loss(total_loss)

# %% [markdown]
# ### Do they reach the early blocks?
#
# **Predict:** how much does the gradient at the first block of plain-56 change by two heads, or by
# eight? And in the same network without batch norm?

# %%
heads = (0, 2, 8)
sizes = {}
for norm in ("batch", None):
    for count in heads:
        model = build(56, residual=False, norm=norm, aux_heads=count)
        entries = mr.flow.ledger(model, images, labels).blocks
        sizes[norm, count] = [entry.grad_rms for entry in entries]
        print(
            f"{'with' if norm else 'without':7} batch norm, {count} heads: "
            f"first block {sizes[norm, count][0]:.1e}, middle {sizes[norm, count][13]:.1e}, "
            f"last {sizes[norm, count][-1]:.1e}"
        )

# %%
looks = dict(zip(heads, (("-", "o"), ("--", "s"), (":", "^")), strict=True))
colors = dict(zip(heads, (style.INK, style.BRANCH_COLOR, style.SKIP_COLOR), strict=True))
with style.context():
    _, axes = plt.subplots(1, 2, figsize=(9.6, 3.5), layout="constrained")
    for ax, norm, title in zip(
        axes, ("batch", None), ("plain-56 with batch norm", "and without"), strict=True
    ):
        for count, (line, marker) in looks.items():
            ax.semilogy(
                range(1, 28),
                sizes[norm, count],
                linestyle=line,
                marker=marker,
                color=colors[count],
                markerfacecolor="white",
                markevery=2,
                label=f"{count} heads",
            )
        ax.set(title=title, xlabel="block", ylabel="gradient at its input (rms)")
        ax.legend()
    plt.show()

# %% [markdown]
# With batch norm, next to nothing changes: the gradient from the end has grown more than a
# thousandfold on its way to the first block, and what a head adds from near by is lost beside it.
# Without batch norm the gradient vanishes on its way (on images this small mostly because of the
# zero padding, notebook 06), and two heads make it more than two thousand times as large at the
# first block. So auxiliary losses are a remedy for gradients that vanish. In a plain network with
# batch norm that is not the illness.
#
# ## Starting at the identity
#
# If the blocks of a residual network start with branches of zero, signal and gradient pass all of
# them unchanged, whatever the depth, with or without batch norm. Four ways to have it:
#
# - **zero-init** (Goyal et al. 2017, section 5.1): the weight $\gamma$ of the last batch norm of
#   each branch starts at 0; `zero_init_residual=True`.
# - **SkipInit** (De and Smith 2020): no batch norm, and $x + \alpha F(x)$ with one learned
#   $\alpha$ a block that starts at 0; `norm=None, branch_scale=0.0`.
# - **ReZero** (Bachlechner et al. 2020, equation 1): the same $\alpha$, meant for any $F$, with or
#   without normalisation; `branch_scale=0.0`.
# - **Fixup** (Zhang et al. 2019): no batch norm. The last convolution of each branch and the
#   classifier start at 0, the others with He's weights times a factor that depends on the depth;
#   with a scalar multiplier a branch, and scalar biases; `norm=None, fixup=True`.
#
# **Predict:** how much does the signal grow over 27 blocks with He's weights and no batch norm? And
# how far does the output move in the first three steps of SGD (rate 0.01) in 20 and in 56 layers?
# Watch, too, how many of the parameters get a gradient in each of the three steps.

# %%
starts = {
    "He, no norm": dict(norm=None),
    "batch norm": dict(),
    "zero-init": dict(zero_init_residual=True),
    "SkipInit": dict(norm=None, branch_scale=0.0),
    "ReZero with BN": dict(branch_scale=0.0),
    "Fixup": dict(norm=None, fixup=True),
}


class Inputs(nn.Observer):
    """Keeps the size of what every block is given."""

    def __init__(self):
        self.rms = []

    def fork(self, block, x, u):
        self.rms.append(np.sqrt(np.mean(np.square(x.data))))
        return u, u


print("start           depth   signal,      the output moves by,        parameters with a gradient")
print("                        last/first   steps 1, 2, 3               steps 1, 2, 3, of all")
for name, options in starts.items():
    for depth in (20, 56):
        model = build(depth, **options)
        sgd = mr.train.Recipe(epochs=1, lr=0.01).optimizer(model)
        seen, moves, reached = Inputs(), [], []
        with nn.observe(seen):
            before = model(x)
        for _ in range(3):
            sgd.zero_grad()
            F.cross_entropy(model(x), y).backward()
            reached.append(sum(bool(np.any(p.grad.data)) for p in model.parameters()))
            sgd.step()
            after = model(x)
            moves.append((after - before).abs().max().item())
            before = after
        print(
            f"{name:15} {depth:5} {seen.rms[-1] / seen.rms[0]:11.1f}     "
            + " ".join(f"{move:8.1e}" for move in moves)
            + f"    {', '.join(map(str, reached))} of {len(list(model.parameters()))}"
        )

# %% [markdown]
# - **He's weights without norm**: the signal grows 4-fold in 20 layers and 187-fold in 56, and one
#   step at this small rate moves the output of the deeper network by hundreds. Batch norm holds the
#   signal, but the deeper network still moves about nine times as far in the first step.
# - **All that start at the identity** move by thousandths, in 56 layers at most half as far again
#   as in 20; Fixup's numbers are even the same to two digits. (Their signal is halved because
#   shortcut A pads with zeros: four times the channels in the end, three quarters of them zero.)
# - **Who learns when**: with one factor of zero in each branch only that factor gets a gradient
#   from the branch in the first step, and everything from the second step on. With Fixup two things
#   are zero, one behind the other: the classifier learns in the first step and nothing else, the
#   last convolutions of the branches (and the stem, and some biases) from the second, all the rest
#   from the third.
#
# Two factors of zero in one product would never learn, since each is multiplied by the other in
# the other's gradient. The library refuses the combination:

# %%
try:
    build(20, zero_init_residual=True, branch_scale=0.0)
except mr.errors.UsageError as error:
    print(error)

# %% [markdown]
# ### Exercise 3: Fixup's factor
#
# A network has L branches of m layers each, and the last layer of each starts at zero. A step of
# the optimiser should move the output by about as much whatever L is, so each branch should
# contribute $1/L$ of the move. A layer before the last one, scaled by $s$, brings its scale into
# the move twice: in what the last layer reads, and in the gradient. There are $m - 1$ such layers.
# What must $s$ be?


# %%
def fixup_scale(blocks, layers): ...


remedies.fixup_scale(fixup_scale)

# %% [markdown]
# The library's networks have it; here with 54 branches of two layers:

# %%
he, fixup = (build(110, norm=None, fixup=on).layer1[5].conv1.weight.data for on in (False, True))
print(f"weights of Fixup / He's weights: {fixup.std() / he.std():.4f}")
print(f"1 / sqrt(54):                    {54**-0.5:.4f}")

# %% [markdown]
# ## Stochastic depth
#
# Huang et al. 2016 leave whole branches out in training: in every step, block $l$ of $L$ keeps its
# branch with probability
#
# $$p_l = 1 - \frac{l}{L} (1 - p_L)$$
#
# (equation 4; `stochastic_depth` is $p_L$), and is the identity otherwise. So a deep network is
# trained as a random shorter one. In evaluation all branches run, multiplied by $p_l$ (equation 5).
# The ledger shows in one step which were left out:

# %%
model = build(56, stochastic_depth=0.5)
entries = mr.flow.ledger(model, images, labels).blocks
print("one step:", "".join("-" if entry.dropped else "F" for entry in entries))

# %% [markdown]
# **Predict:** with $p_L = 0.5$, what share of the branches runs in a step, on average?
#
# ### Exercise 4: the expected number of branches
#
# Return how many of `blocks` branches run in a step on average, where the last one survives with
# probability `last`.


# %%
def expected_depth(blocks, last): ...


remedies.expected_depth(expected_depth)


# %% [markdown]
# Counted, in a network of nine blocks, over 400 passes in training mode:


# %%
class Counting(nn.Observer):
    """Counts how often each block's branch runs: a dropped one is shown as zeros."""

    def __init__(self):
        self.runs = {}

    def join(self, block, skip, branch):
        self.runs[block] = self.runs.get(block, 0) + bool(np.any(branch.data))
        return skip, branch


model = build(20, stochastic_depth=0.5)
counting = Counting()
with nn.observe(counting), mr.no_grad():
    for _ in range(400):
        model(x[:2])
counted = [count / 400 for count in counting.runs.values()]
print("block      " + "".join(f"{number:6}" for number in range(1, 10)))
print("p_l        " + "".join(f"{block.survival_probability:6.2f}" for block in model.blocks()))
print("counted    " + "".join(f"{share:6.2f}" for share in counted))
print(f"branches a step: counted {sum(counted):.2f}", end=", ")
print(f"expected {sum(block.survival_probability for block in model.blocks()):.2f} of 9")

# %% [markdown]
# About three quarters: with $p_L = 0.5$ the expected number is $(3L - 1)/4$, which is 6.5 of nine.
# So a quarter of the branches is computed neither forward nor backward.
#
# ## All of them beside each other
#
# The same 32 layers, the same seed, the same three epochs for all; `plain` and `residual` with a
# second seed, so that you see what a seed does. **Predict** the order, and mark the place where you
# would be surprised.

# %%
kinds = {
    "plain": dict(residual=False),
    "plain, two auxiliary heads": dict(residual=False, aux_heads=2),
    "residual": dict(),
    "residual, zero-init": dict(zero_init_residual=True),
    "residual, stochastic depth": dict(stochastic_depth=0.5),
    "residual, no BN, He": dict(norm=None),
    "residual, no BN, SkipInit": dict(norm=None, branch_scale=0.0),
    "residual, no BN, Fixup": dict(norm=None, fixup=True),
}
for name, options in kinds.items():
    results[name] = train(build(**options))
for name in ("plain", "residual"):
    results[f"{name}, seed 1"] = train(build(seed=1, **kinds[name]), seed=1)

shown = [
    "plain",
    "plain, seed 1",
    "plain, two auxiliary heads",
    "plain, constructed without-norm",
    "plain, constructed calibrated",
    "residual",
    "residual, seed 1",
    "residual, zero-init",
    "residual, stochastic depth",
    "residual, no BN, He",
    "residual, no BN, SkipInit",
    "residual, no BN, Fixup",
]
print("32 layers, three epochs of digits    training error   mean loss of the last epoch")
for name in shown:
    error, loss = results[name]
    print(f"{name:35} {error:13.1f}% {loss:16.2f}")

# %%
with style.context():
    _, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
    rows = np.arange(len(shown))[::-1]
    for row, name in zip(rows, shown, strict=True):
        kind = "plain" if name.startswith("plain") else "residual"
        look = style.kind_style(kind).look(style.kind_color(kind)) | {"linestyle": "none"}
        ax.plot(results[name][0], row, markersize=7, **look)
    ax.axvline(results["plain-20"][0], color="#5b6270", lw=1, linestyle="--")
    ax.text(results["plain-20"][0], rows[0] + 0.45, " plain-20", color="#5b6270", va="bottom")
    ax.set_yticks(rows, shown)
    ax.set(xlabel="training error after three epochs (%)", xlim=(0, None))
    plt.show()

# %% [markdown]
# Read it by the two seeds first: plain-32 has 60 % with one and 41 % with the other, residual-32
# 2.0 % and 3.9 %.
#
# - **Plain against residual, with batch norm**: far more than a seed does.
# - **Auxiliary heads**: between the two seeds of the plain network, so no effect is seen. (Its mean
#   loss has the two other losses in it, with 0.3 each.)
# - **Construction** from the trained plain-20: far better than from scratch when it is calibrated;
#   it has seen the images twice as often. Neither is better than plain-20 trained twice, above.
# - **Zero-init and stochastic depth**: 2.9 % and 4.7 %. The first lies between the two seeds of
#   the residual network, the second outside; that orders nothing.
# - **Without batch norm**: with He's weights it does not train at this rate, 90 % is guessing.
#   SkipInit and Fixup do; three epochs leave them at about 35 %. Their authors give them other
#   recipes and far more steps.
#
# The same table at depth 56 on Fashion-MNIST, ten epochs, is in
# [docs/results.md](../docs/results.md). As measured there: plain 23.8 % training error, with
# auxiliary heads 24.6 %, residual 8.6 %, zero-init 7.9 %, SkipInit 11.3 %, and Fixup 15.3 %, the
# last at the rate 0.03, as it diverged at 0.1. So with more steps the networks without batch norm
# come much nearer, and the rest is as here.
#
# ## Summary
#
# - A plain network can be made deeper without a change, by leaving out batch norm in the new blocks
#   or by calibrating it. Trained on, it falls behind the shallow one that is trained as long.
# - Auxiliary losses bring a gradient to early blocks where it vanishes. With batch norm it does
#   not, and they change neither the gradient there nor, as far as is seen, the training.
# - With branches that start at zero the output of a network of 56 layers moves about as far in a
#   step as that of one of 20, with batch norm or without. One factor of zero learns; two do not.
# - Stochastic depth with $p_L = 0.5$ leaves out a quarter of the branches.
# - Of all remedies here the identity skip together with batch norm makes the difference; the rest
#   is within what two seeds differ by, or needs another recipe; construction from a trained
#   plain-20 helps, but less than training plain-20 on.
#
# **References.** He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition",
# section 1. Szegedy et al. 2015, "Going deeper with convolutions", section 5. Lee, Xie, Gallagher,
# Zhang and Tu 2015, "Deeply-supervised nets". Goyal et al. 2017, "Accurate, large minibatch SGD:
# training ImageNet in 1 hour", section 5.1. Zhang, Dauphin and Ma 2019, "Fixup initialization:
# residual learning without normalization". De and Smith 2020, "Batch normalization biases residual
# blocks towards the identity function in deep networks". Bachlechner et al. 2020, "ReZero is all
# you need: fast convergence at large depth", equation 1. Huang, Sun, Liu, Sedra and Weinberger
# 2016, "Deep networks with stochastic depth", equations 4 and 5.
#
# Worked solutions: [solutions/11_other_remedies.ipynb](solutions/11_other_remedies.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** [12 · Shattering, Jacobians and the loss landscape](12_shattering_and_landscape.ipynb).
