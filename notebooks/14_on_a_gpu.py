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
# # 14 · The same code on a GPU
#
# Afterwards you will be able to
#
# - say which elements a thread treats, and how many blocks a launch needs;
# - write a CUDA kernel for each element and one that sums, run both on the CPU, and find a
#   missing barrier there;
# - move a model to a card, and say what is copied, what is waited for, and why two runs may
#   differ.
#
# You need Python, and to read a few lines of C. **No GPU is needed**: kernels run on the CPU
# here, a fiber for every thread, which takes a C++ compiler (g++ or clang++). Without one those
# cells say so in a line and the notebook goes on. It takes about an hour with the five exercises,
# and twenty seconds to run.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minires as mr
import minires.functional as F
from minires import kernels
from minires.exercises import gpu as check
from minires.exercises.gpu import BROKEN, run_on_cpu
from minires.kernels.cuda.launcher import blocks_for, source_text
from minires.viz import style

rng = np.random.default_rng(0)


def listing(source):
    """Print a source with the numbers of its lines."""
    for number, line in enumerate(source.splitlines(), 1):
        print(f"{number:3}  {line}")


if not check.has_compiler():
    print("No C++ compiler here: the kernels below are not run, and their results stay empty.")

# %% [markdown]
# ## The same code
#
# All of this course runs on an NVIDIA card if model and data are there: `model.to("cuda")`,
# `x.to("cuda")`. The lines of training stay as they are.


# %%
def losses(device, steps=5):
    data = mr.data.load_digits()
    mr.manual_seed(0)  # weights are drawn on the CPU, so they are the same on every device
    model = mr.models.cifar_resnet(8, width=4, in_channels=1).to(device)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = mr.data.DataLoader(data.train, 64, shuffle=True, seed=0, device=device)
    found = []
    for _, (x, y) in zip(range(steps), loader, strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


here = losses("cpu")
print("losses on the CPU:", here.round(4))
if mr.cuda.is_available():
    print("largest difference on the GPU:", abs(losses("cuda") - here).max())
else:
    print(
        "No GPU here. With one this cell trains there, too, and prints how far the losses differ."
    )

# %% [markdown]
# At first they would differ in the last digits of float32: sums are taken in another order there.
# Training then magnifies that (notebook 13). Where there is no card the library says so, and what
# to do:

# %%
try:
    mr.tensor([1.0, 2.0], device="cuda")
    print("There is a GPU here.")
except mr.errors.DeviceError as error:
    print(error)

# %% [markdown]
# What happens on the card? Each operation *launches* a **kernel**: one C function that thousands
# of threads run at once, each with numbers of its own that say who it is.
#
# ## Who treats what
#
# Threads come in **blocks**. A thread knows its number in the block (`threadIdx.x`), the number
# of its block (`blockIdx.x`), threads a block (`blockDim.x`) and blocks (`gridDim.x`). The last
# two are chosen at the launch. A **grid-stride loop** shares out any number of elements:
#
# ```c
# for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
# ```
#
# **Predict first.** Two blocks of four threads and 20 elements. Which elements does thread 1 of
# block 1 treat?

# %%
blocks, threads, n = 2, 4, 20
strided = np.arange(n) % (blocks * threads)  # which of all threads treats element i
in_runs = np.arange(n) // -(-n // (blocks * threads))  # another way to share: a run for each

with style.context():
    fig, axes = plt.subplots(2, 1, figsize=(9, 2.6), sharex=True, layout="constrained")
    for ax, who, title in zip(
        axes,
        (strided, in_runs),
        ("grid-stride loop", "a run of elements for each thread"),
        strict=True,
    ):
        for i, t in enumerate(who):
            block = t // threads
            ax.add_patch(
                plt.Rectangle(
                    (i - 0.5, 0),
                    1,
                    1,
                    facecolor=("#dbe7f5", "#fbe6c8")[block],
                    edgecolor="#0a4c94" if t == 5 else "#9aa1ad",
                    lw=2.5 if t == 5 else 0.8,
                    zorder=3 if t == 5 else 2,
                )
            )
            ax.text(
                i, 0.5, f"{block}.{t % threads}", ha="center", va="center", fontsize=9, zorder=4
            )
        ax.set(xlim=(-0.6, n - 0.4), ylim=(-0.05, 1.05), yticks=[], title=title)
        ax.spines[:].set_visible(False)
    axes[1].set(xlabel="element; in it block.thread, framed: thread 1 of block 1", xticks=range(n))
    plt.show()

# %% [markdown]
# Elements 5 and 13. Above, neighbouring threads read neighbouring elements; below, each has a run
# of its own. The hardware sends off the reads of 32 threads, a **warp**, together. Above these 32
# lie side by side, and memory serves them as one piece of 128 bytes; below they are far apart,
# and take many pieces. So elements are shared out as above, the other way round from what one
# does on a CPU.
#
# ### Exercise 1: the elements of a thread
#
# Return a list of the elements that thread `thread` of block `block` treats.


# %%
def elements_of(thread, block, threads, blocks, count): ...


check.elements_of(elements_of)

# %% [markdown]
# ### Exercise 2: how many blocks
#
# With a grid-stride loop any number of blocks is right. The best is one thread for each element,
# up to a largest number of blocks, after which threads take several. Return that number.


# %%
def blocks_needed(count, threads, most): ...


check.blocks_needed(blocks_needed)

# %% [markdown]
# ## A kernel, as text
#
# A kernel is compiled when it is first launched, so its source is a Python string here. CuPy
# compiles it for a card (`cupy.RawModule`). `run_on_cpu` compiles the same text as C++ and runs
# it with a fiber for each thread: a fiber runs until it has to wait for others.

# %%
RELU = """\
extern "C" __global__ void relu(const float* x, float* out, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        out[i] = x[i] > 0 ? x[i] : 0;
}
"""
x = rng.standard_normal(1000).astype(np.float32)
out = np.full_like(x, np.nan)
print(run_on_cpu(RELU, "relu", 3, 64, x, out, len(x)))  # 3 blocks of 64 threads
print("as NumPy:", np.array_equal(out, np.maximum(x, 0)))

# %% [markdown]
# **Predict first.** What does this kernel make of `nan`? NumPy's `maximum` keeps it.

# %%
odd = np.array([-1.0, 0.0, 2.0, np.inf, np.nan], np.float32)
result = np.full_like(odd, 777)
print(run_on_cpu(RELU, "relu", 1, 32, odd, result, len(odd)))
print("kernel:", result)
print("NumPy: ", np.maximum(odd, 0))

# %% [markdown]
# It makes a 0 of it: no comparison with `nan` is true. A network whose numbers have gone wrong
# would look alive. This is the library's kernel; read `max_with_0`:

# %%
elementwise = source_text("elementwise.cu")  # with what stands before every source, real.cuh
start, end = (
    elementwise.index("template <class F>"),
    elementwise.index("// A product, not a choice"),
)
listing(elementwise[start:end])

# %% [markdown]
# `value != value` is true for `nan` alone. `FOR_EACH` is the grid-stride loop, and a `Pack` is 16
# bytes, the most that a thread loads at once. Library sources run on the CPU as well:

# %%
result = np.full_like(odd, 777)
print(run_on_cpu(elementwise, "relu", 1, 32, odd, result, len(odd)))
print("library's kernel:", result)

# %% [markdown]
# **One too far.** In C nobody looks whether an index is inside its array; on a card such a read
# gives what happens to lie there, or ends the program much later. The run on the CPU looks at
# every access:

# %%
print(run_on_cpu(RELU.replace("i < n;", "i <= n;"), "relu", 3, 64, x, out, len(x)))

# %% [markdown]
# ### Exercise 3: a leaky ReLU
#
# $x$ where $x > 0$, and $\text{slope} \cdot x$ elsewhere; `nan` stays `nan`. The check runs it
# with more threads than elements and with fewer, in three orders.

# %%
LEAKY = """\
extern "C" __global__ void leaky_relu(const float* x, float* out, float slope, int n) {
    // your lines
}
"""
check.leaky_relu(LEAKY)

# %% [markdown]
# ## A sum: threads that need each other
#
# The gradient of a bias is a sum, and batch normalisation is made of sums. Here threads have to
# read what others wrote, and nothing says who is first. Try the naive way: all add to one number.

# %%
NAIVE = """\
extern "C" __global__ void total(const float* x, float* sum, int n) {
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        sum[0] += x[i];
}
"""
print(run_on_cpu(NAIVE, "total", 1, 64, x, np.zeros(1, np.float32), len(x)))

# %% [markdown]
# A **race**: `+=` reads, adds and writes; two threads that read before either writes lose one of
# the two terms. So each thread sums its own share in a register; then the threads of a block join
# their sums by way of **shared memory**, which all of the block see, halving the number each
# round. `__syncthreads()` is a barrier: nobody goes on until all threads of the block are there.
#
# The following kernel lacks one. Find the place before you read on.

# %%
listing(BROKEN)

# %% [markdown]
# In each round thread $t$ adds what thread $t + \text{half}$ has, and that has to be finished: it
# is the other's sum of the round before. Nothing makes it wait.
#
# **Predict first.** 64 threads with 1 each. Suppose that each thread runs all its rounds before
# the next gets its turn, thread 0 first. What is the sum? And with thread 63 first?


# %%
def one_after_the_other(order):
    part = [1] * 64
    for t in order:
        half = 32
        while half > 0:
            if t < half:
                part[t] += part[t + half]
            half //= 2
    return part[0]


print("thread 0 first: ", one_after_the_other(range(64)))
print("thread 63 first:", one_after_the_other(reversed(range(64))))

# %% [markdown]
# 7, and the right 64. A test that happens to see the second order passes. On a card the order
# changes with the card, the load, and the compiler: such a kernel may be right for a year. That
# is why kernels are run in several orders here. But one need not be lucky with the order. The run
# on the CPU remembers who touched each place and how many barriers ago, and stops in every order,
# also in the reverse one, where the number would have been right:

# %%
ones, sums = np.ones(64, np.float32), np.zeros(1, np.float32)
for order in check.ORDERS:
    print(f"{order:8}", run_on_cpu(BROKEN, "sums_of_blocks", 1, 64, ones, sums, 64, order=order))

# %% [markdown]
# ### Exercise 4: the missing barrier
#
# Mend it. `__syncthreads()` must be reached by *all* threads of the block, also those with
# nothing to add; try the wrong place, too, and see what the check says.

# %%
MENDED = BROKEN  # change it: MENDED = """...""", or BROKEN.replace(..., ...)

check.mended(MENDED)

# %% [markdown]
# ## Within a warp: shuffles
#
# The 32 threads of a warp can read each other's registers, without memory and barrier:
# `__shfl_down_sync(mask, value, offset)` gives what the thread `offset` places above holds. Five
# of them sum a warp.

# %%
with style.context():
    fig, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
    held = np.arange(1, 9)
    for step, offset in enumerate((4, 2, 1, None)):
        for lane in range(8):
            useful = lane < (offset or 0.5) * 2
            ax.text(
                lane,
                -step,
                str(held[lane]),
                ha="center",
                va="center",
                color="#1f2430" if useful else "#9aa1ad",
                weight="bold" if useful else "normal",
            )
            if offset and lane < offset:
                for begin, look in ((lane, "-"), (lane + offset, "--")):
                    ax.plot(
                        [begin, lane],
                        [-step - 0.2, -step - 0.8],
                        look,
                        color="#0a4c94" if look == "-" else "#d47d00",
                    )
        if offset:
            held = held + np.append(held[offset:], held[-offset:])  # beyond the end: one's own
    ax.set(
        xlabel="lane (of 8 here, of 32 on a card)",
        yticks=[0, -1, -2, -3],
        yticklabels=["at first", "offset 4", "offset 2", "offset 1"],
        ylim=(-3.4, 0.4),
    )
    plt.show()

# %% [markdown]
# Dashed is what comes from above. Grey numbers are of no use any more (those lanes add, too; it
# costs nothing). In CUDA:

# %%
WARP = """\
extern "C" __global__ void sums_of_warps(const float* x, float* sums) {
    const int t = threadIdx.x;
    float value = x[t];
    for (int offset = 16; offset > 0; offset /= 2)
        value += __shfl_down_sync(0xffffffffu, value, offset);
    if (t % 32 == 0) sums[t / 32] = value;
}
"""
sums = np.zeros(4, np.float32)
print(run_on_cpu(WARP, "sums_of_warps", 1, 128, np.arange(128, dtype=np.float32), sums))
print("kernel:", sums, "  NumPy:", np.arange(128.0).reshape(4, 32).sum(1))

# %% [markdown]
# The library's sum of a block is both: each warp sums by shuffles, its lane 0 writes that to
# shared memory, and the first warp sums those. Count its barriers, and say for each what would
# happen without it. This is in `minires/kernels/cuda/real.cuh`:

# %%
start = elementwise.index("__device__ REAL block_sum")
print(elementwise[start : elementwise.index("\n}\n", start) + 2])

# %% [markdown]
# ### The statistics of batch normalisation
#
# Each channel needs the mean and the variance of thousands of numbers. `stats_by_plane` in
# `norm.cu` gives each channel to some blocks; each leaves its part (count, mean, squared
# deviations), and `merge_stats` joins the parts. Both on the CPU, against the NumPy kernel of
# notebook 04:

# %%
N, C, L, splits = 4, 3, 50, 2
planes = (1000 + rng.standard_normal((N, C, L))).astype(np.float32)
parts = np.zeros((3, splits, C))
mean, var = np.zeros(C, np.float32), np.zeros(C, np.float32)
norm = source_text("norm.cu")
print(run_on_cpu(norm, "stats_by_plane", C * splits, 64, planes, parts, N, C, L, splits))
print(run_on_cpu(norm, "merge_stats", 1, 128, parts, mean, var, C, 1, splits))

exact = planes.astype(np.float64).var((0, 2))
naive = (planes * planes).mean((0, 2)) - planes.mean((0, 2)) ** 2
numpys = kernels.batch_norm_stats(planes.reshape(N, C, L, 1))[1]
print("variance, exact          ", exact.round(4))
print("CUDA kernels             ", var.round(4))
print("NumPy kernel             ", numpys.round(4))
print("mean of squares - mean^2 ", naive.round(4))

# %% [markdown]
# The mean is 1000 here and the deviations are about 1. In float32 the squares are near $10^6$ and
# are known to about 0.06, so no digit of the textbook formula in the last row can be trusted,
# also where one is right by luck. The kernels therefore never square $x$ itself; they merge means
# and squared deviations (Chan, Golub and LeVeque 1979).
#
# ## Two runs, two results?
#
# There is another way to sum: `atomicAdd` makes `+=` one step that nobody can get into. It is no
# race.
#
# **Predict first.** Is the sum of 1000 numbers then the same in every order?

# %%
ATOMIC = """\
extern "C" __global__ void total(const float* x, float* sum, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(sum, x[i]);
}
"""
BLOCK = (
    elementwise
    + """
extern "C" __global__ void total(const float* x, float* sum, int n) {
    __shared__ float across[32];
    float own = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) own += x[i];
    own = block_sum(own, across);
    if (threadIdx.x == 0) sum[0] = own;
}
"""
)
large = (1000 * rng.random(1000)).astype(np.float32)
print("exact                       ", large.astype(np.float64).sum())
for name, source, blocks in (("atomicAdd", ATOMIC, 4), ("block_sum", BLOCK, 1)):
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        total = np.zeros(1, np.float32)
        if run_on_cpu(source, "total", blocks, 64, large, total, 1000, order=order, seed=seed):
            print(f"{name}  {order:8} seed {seed}  {total[0]:.8g}")

# %% [markdown]
# Float addition depends on the order, so the last digits of the atomic sum do, too; on a card
# they would change from run to run. A tree adds in an order that follows from the shapes alone.
# The kernels of minires use no atomics where floats are added, so the same seed gives the same
# bits on the same card. It does not give the bits of the CPU: there the order is another one. And
# a GPU's compiler may join a product and a sum into one operation with one rounding, which the
# run on the CPU does not do.
#
# ## What it costs
#
# Three things have a price that a CPU does not have. How large are they? The speeds are
# **assumed**, round numbers of the order that data sheets give. Put in yours.

# %%
bus, memory, launch = (
    25e9,
    1e12,
    5e-6,
)  # assumed: bytes/s, bytes/s, seconds for a launch from Python
launched = 251  # kernels in a training step of ResNet-20, counted in docs/performance.md
batch = 128 * 3 * 32 * 32 * 4  # bytes of 128 images of CIFAR in float32
first_layer = 128 * 16 * 32 * 32 * 4  # bytes that the first convolution gives

for what, seconds in (
    ("a batch over the bus", batch / bus),
    ("the first ReLU: read and write", 2 * first_layer / memory),
    ("the launches of a step, from Python", launched * launch),
):
    print(f"{what:36} {1e3 * seconds:6.3f} ms")

# %% [markdown]
# - **Launches.** The host tells the card what to do and goes on at once. Small layers are done
#   before the next launch arrives: then the card waits for Python. Larger batches are what helps.
# - **Transfers.** Everything on the card stays there until you ask for it. `DataLoader(...,
#   device="cuda")` sends the batches ahead, images and labels in one copy.
# - **Waiting.** `loss.item()`, `.numpy()`, `print(loss)` and `if loss > 1:` need the number
#   itself, so the host waits until the card has done all that came before. Once a step is what
#   `mr.train.fit` does itself.
# - **Clocks.** A clock that is stopped without `mr.cuda.synchronize()` measures the telling, not
#   the work.
#
# ### Exercise 5: what is copied
#
# How many arrays does this loop copy to the card, and how many from it? The model has `arrays`
# parameters and buffers (single numbers not counted, they travel with a launch), all on the CPU
# at first; so are images and labels.
#
# ```python
# model.to("cuda")
# for step in range(steps):
#     x, y = images[step].to("cuda"), labels[step].to("cuda")
#     optimizer.zero_grad()
#     loss = F.cross_entropy(model(x), y)
#     loss.backward()
#     optimizer.step()
#     if step % every == 0:
#         print(loss.item())
# ```


# %%
def copies(arrays, steps, every):
    return ..., ...


check.copies(copies)

# %% [markdown]
# ## On a machine with a card
#
# What you have seen here says whether a kernel is right. It says nothing about its speed, nor
# whether the CUDA compiler takes it. In a clone of the repository, on a machine with a card:
#
# ```bash
# pip install 'cupy-cuda13x[ctk]'      # for a driver of CUDA 13; cupy-cuda12x for CUDA 12
# python -m pytest -m gpu              # every operation, and whole trainings, against NumPy
# minires bench --device cuda          # how fast, beside PyTorch where it is installed
# ```
#
# Your own kernel is launched there through CuPy, with the very text that ran here:

# %%
if mr.cuda.is_available():
    import cupy

    kernel = cupy.RawModule(code=RELU).get_function("relu")
    x_there = cupy.asarray(x)
    out_there = cupy.empty_like(x_there)
    kernel((blocks_for(len(x)),), (256,), (x_there, out_there, np.int32(len(x))))
    print("as NumPy:", np.array_equal(out_there.get(), np.maximum(x, 0)))
else:
    print(f"No GPU here. With one: {blocks_for(len(x))} blocks of 256 threads, and a comparison.")

# %% [markdown]
# ## Summary
#
# - In a grid-stride loop thread $t$ of $T$ treats $t, t + T, t + 2T, \dots$: neighbours read
#   neighbours, and any number of blocks is right.
# - Threads that read what others wrote need a barrier, which all threads of the block reach. A
#   race may give the right number in one order; run in others, and look at the accesses
#   themselves.
# - Shuffles sum a warp without memory; a block's sum is shuffles, shared memory, and shuffles
#   again.
# - `nan` needs care in every comparison, and variances need squares of *deviations*.
# - Atomics make a sum depend on the order. Trees do not.
# - On a card: send each batch once, ask for numbers seldom, and wait before you stop a clock.
#
# **References.** NVIDIA, "CUDA C++ programming guide", the chapters on the thread hierarchy, on
# synchronization functions and on warp shuffle functions. Harris 2007, "Optimizing parallel
# reduction in CUDA" (the tree). Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise
# algorithm for computing sample variances". How the library does it: `minires/kernels/cuda`.
#
# Worked solutions: [solutions/14_on_a_gpu.ipynb](solutions/14_on_a_gpu.ipynb), which
# `minires notebooks start --solutions` brings along.
#
# **Next:** this was the last one. Go back to [00 · A first look](00_first_look.ipynb) with your
# own network, or write an instrument of your own.
