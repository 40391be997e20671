"""Exercises of notebook 14: threads and elements, CUDA kernels, and what is copied."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from minires.exercises.checking import NotYet, Wrong, call, close, exercise, numbers
from minires.exercises.on_cpu import NO_COMPILER, ORDERS, Run, has_compiler, run_on_cpu
from minires.kernels.cuda.launcher import MAX_BLOCKS, THREADS, blocks_for

__all__ = [
    "BROKEN",
    "ORDERS",
    "Run",
    "blocks_needed",
    "copies",
    "elements_of",
    "has_compiler",
    "leaky_relu",
    "mended",
    "run_on_cpu",
]

BROKEN = """\
extern "C" __global__ void sums_of_blocks(const float* x, float* sums, int n) {
    __shared__ float part[256];
    const int t = threadIdx.x;
    float own = 0;
    for (int i = blockIdx.x * blockDim.x + t; i < n; i += gridDim.x * blockDim.x) own += x[i];
    part[t] = own;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) part[t] += part[t + half];
    }
    if (t == 0) sums[blockIdx.x] = part[0];
}
"""


@exercise(
    "The elements of a thread",
    "Number all threads of all blocks one after the other. A thread begins at its own number. How "
    "many threads are there in all?",
)
def elements_of(attempt: Any) -> str:
    """Which elements a thread treats in a grid-stride loop.

    The attempt takes ``(thread, block, threads, blocks, count)``: the thread's number in its block,
    the block's number, threads a block, blocks, and elements.  It returns the elements, a list.
    """
    for thread, block, threads, blocks, count in [
        (1, 0, 4, 3, 30),
        (2, 1, 4, 3, 30),
        (3, 2, 8, 3, 100),
        (7, 3, 8, 4, 32),
        (0, 1, 32, 2, 32),
    ]:
        own = call(attempt, thread, block, threads, blocks, count)
        found = numbers(list(own), "the result").astype(np.float64).tolist()
        at, all_threads = block * threads + thread, blocks * threads
        expected = list(range(at, count, all_threads))
        if found == expected:
            continue
        share = -(-count // all_threads)
        wrong = [
            (list(range(at, count, threads)), "The step is that of one block. All blocks share."),
            (list(range(thread, count, all_threads)), "The number of the block plays no part."),
            (list(range(thread, count, threads)), "The block plays no part."),
            (
                list(range(thread * blocks + block, count, all_threads)),
                "Here the blocks take turns, so that neighbouring threads of a block are "
                f"{blocks} elements apart. Neighbours should treat neighbours.",
            ),
            (
                list(range(at * share, min((at + 1) * share, count))),
                "Here each thread has one run of elements. Then the threads of a warp read places "
                "far apart at the same time; in a grid-stride loop they read neighbours.",
            ),
            ([at], "This is the first one alone. The thread goes on with another."),
        ]
        why = next((why for given, why in wrong if found == given), "")
        if not why and [i for i in found if i < count] == expected:
            why = f"There are {count} elements; the loop has to end there."
        place = f"thread {thread} of block {block} ({blocks} blocks of {threads}, {count} elements)"
        raise Wrong(f"{place} treats {expected}, not {_whole(found)}.\n{why}".rstrip())
    return "As FOR_EACH in minires/kernels/cuda/real.cuh."


@exercise(
    "How many blocks",
    "Every element should have a thread, if there are enough: round up. And what does a launch "
    "with 0 blocks do?",
)
def blocks_needed(attempt: Any) -> str:
    """The blocks of a grid-stride loop.

    The attempt takes ``(count, threads, most)``: elements, threads a block, and the largest number
    of blocks.  It returns the smallest number of blocks, from 1 to ``most``, with which every
    element has a thread of its own, or ``most`` where that is not enough.
    """
    for count, threads, most in [
        (1000, 128, 64),
        (1024, 128, 64),
        (1, 256, 64),
        (0, 256, 64),
        (10**6, 256, 100),
        (256 * 100, 256, 100),
        (10**9, THREADS, MAX_BLOCKS),
    ]:
        found = float(numbers(call(attempt, count, threads, most), "the result"))
        up = -(-count // threads)
        expected = max(1, min(most, up))
        if found == expected:
            continue
        why = ""
        if count == 0 and found == 0:
            why = "A launch with 0 blocks is an error. At least one."
        elif found == up > most:
            why = f"At most {most} blocks: each thread then treats several elements."
        elif found == count // threads + 1:
            why = f"{count} is a multiple of {threads}: the last block has nothing to do."
        elif found in (count // threads, count / threads):
            why = "The rest of the division needs a block, too: round up."
        raise Wrong(
            f"{count} elements in blocks of {threads}, at most {most}: {expected} blocks, not "
            f"{found:g}.\n{why}".rstrip()
        )
    assert expected == blocks_for(count)
    return "As launcher.blocks_for, which has 256 threads a block and at most 4096 blocks."


@exercise(
    "A leaky ReLU",
    "A grid-stride loop, as in the kernel above, and one line in it. It has to work with fewer "
    "threads than elements, and with more.",
)
def leaky_relu(attempt: Any) -> str:
    """A kernel for x where x > 0, and slope * x elsewhere; nan stays nan.

    The attempt is the source, with
    ``extern "C" __global__ void leaky_relu(const float* x, float* out, float slope, int n)``.
    """
    source = _source(attempt)
    rng = np.random.default_rng(141)
    for n, blocks, threads, slope in [
        (1, 1, 32, 0.5),
        (100, 4, 32, 0.25),
        (1000, 3, 64, 0.01),
        (100, 4, 32, 2.0),
    ]:
        x = rng.standard_normal(n).astype(np.float32)
        if n > 1:
            x[:6] = np.nan, np.inf, -np.inf, 0.0, 2.0, -2.0
        slope32 = np.float32(slope)
        with np.errstate(invalid="ignore"):
            expected = np.where(x > 0, x, slope32 * x)
        what = f"with {n} elements and {blocks} blocks of {threads} threads: out"
        for order in ORDERS:
            out = np.full(n, 777.0, np.float32)
            run = run_on_cpu(
                source, "leaky_relu", blocks, threads, x.copy(), out, slope, n, order=order, seed=1
            )
            _no_fault(run, n, blocks * threads)
            close(out, expected, what, why=_why_leaky(out, x, slope32, expected, blocks * threads))
    return "Right in three orders, with fewer threads than elements and with more."


def _why_leaky(out: Any, x: Any, slope: Any, expected: Any, all_threads: int) -> str:
    missed = (out == 777.0) & (expected != 777.0)
    if missed.all():
        return "Nothing was written."
    if missed.any() and not missed[:all_threads].any():
        return (
            f"From element {all_threads} on nothing was written: there are {all_threads} threads "
            "in all, so each has to treat several elements."
        )
    plain = np.where(np.isnan(x), 0.0, x)
    with np.errstate(invalid="ignore"):
        wrong = [
            (np.maximum(x, 0), "This is the ReLU: slope * x where x is negative."),
            (np.where(plain > 0, x, 0), "This is the ReLU: slope * x where x is negative."),
            (np.where(x > 0, slope * x, x), "The slope is on the wrong side."),
            (np.where(x > 0, x, -slope * x), "The sign of the negative side is turned."),
            (slope * x, "This is slope * x everywhere; where x > 0 it should be x."),
            (np.where(x > 0, x, slope), "On the negative side this is the slope, without x."),
        ]
    if slope > 1:
        with np.errstate(invalid="ignore"):
            larger = np.maximum(x, slope * x)
        wrong.insert(0, (larger, "The larger of the two is right only for a slope of at most 1."))
    for given, why in wrong:
        if np.allclose(out, given, rtol=1e-6, atol=0, equal_nan=True):
            return why
    if np.isnan(x).any() and not np.isnan(out[np.isnan(x)]).any():
        return "A nan has become a number: fmax and fmin give the other of the two for a nan."
    return ""


@exercise(
    "A missing barrier",
    "Which thread writes part[t + half] that another reads in the next round, and what makes the "
    "reader wait? All threads of the block have to come to a __syncthreads().",
)
def mended(attempt: Any) -> str:
    """The kernel BROKEN, mended: each block sums its share of x and writes sums[block].

    The attempt is the source, with
    ``extern "C" __global__ void sums_of_blocks(const float* x, float* sums, int n)``.  The threads
    of a block are a power of two, at most 256.
    """
    source = _source(attempt)
    if _bare(source) == _bare(BROKEN):
        raise NotYet("This is the kernel as it came; the barrier is still missing.")
    rng = np.random.default_rng(142)
    for n, blocks, threads in [(1, 1, 1), (50, 1, 64), (1000, 3, 256), (700, 2, 32)]:
        x = rng.uniform(0.5, 1.5, n).astype(np.float32)
        all_threads = blocks * threads
        block_of = np.arange(n) % all_threads // threads
        expected = np.bincount(block_of, x.astype(np.float64), blocks)
        for order in ORDERS:
            sums = np.full(blocks, np.nan, np.float32)
            run = run_on_cpu(
                source, "sums_of_blocks", blocks, threads, x, sums, n, order=order, seed=1
            )
            _no_fault(run, n, all_threads)
            what = f"with {n} elements and {blocks} blocks of {threads} threads: sums"
            why = ""
            if np.isnan(sums).any():
                why = "What is in sums when the kernel begins is no number; it has to be written."
            # n <= 1000 numbers around 1 in float32, added in a tree: below 1e-6, here 10 times.
            close(sums, expected, what, rtol=1e-5, why=why)
    return "No two threads at one place without a barrier, and right in three orders."


@exercise(
    "What is copied",
    "Weights go there once. What does each step need that lies on the CPU? What does loss.item() "
    "do, and in which steps is it called, counted from 0? Gradients stay where the weights are.",
)
def copies(attempt: Any) -> str:
    """How many arrays the loop of the notebook copies to the card, and from it.

    The attempt takes ``(arrays, steps, every)``: the arrays of the model (parameters and buffers),
    the steps, and in which steps the loss is printed.  It returns ``(to_card, from_card)``.
    """
    for arrays, steps, every in [(30, 100, 10), (65, 64, 50), (12, 7, 1), (5, 3, 10)]:
        result = call(attempt, arrays, steps, every)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise Wrong("Return a pair (to_card, from_card).")
        if any(part is None or part is Ellipsis for part in result):
            raise NotYet("One of the pair is not there yet.")
        to, back = (float(numbers(part, "the result")) for part in result)
        right = (arrays + 2 * steps, -(-steps // every))
        mistakes: dict[float, str] = {
            arrays + steps: "Each step needs two arrays: the images and the labels.",
            2 * steps: "The weights have to get there, too, once.",
            (arrays + 2) * steps: "The weights go there once, and stay.",
            arrays + 2: "Every step has another batch.",
        }
        if to != right[0]:
            raise Wrong(
                f"{arrays} arrays, {steps} steps: {right[0]} copies to the card, not {to:g}.\n"
                f"{mistakes.get(to, '')}".rstrip()
            )
        mistakes = {
            steps: "loss.item() is called in some of the steps only.",
            steps // every: f"Steps are counted from 0: step 0 prints, and so on to {steps - 1}.",
            steps // every + 1: f"The last step is {steps - 1}, and {steps} is none.",
            arrays: "Weights stay on the card.",
            arrays * steps: "Gradients stay on the card, where the optimiser needs them.",
            0: "A number that is printed has to be on the CPU.",
        }
        if back != right[1]:
            raise Wrong(
                f"{steps} steps, the loss printed every {every}: {right[1]} copies from the card, "
                f"not {back:g}.\n{mistakes.get(back, '')}".rstrip()
            )
    return "Two arrays a step to the card, and one number back where it is asked for."


def _source(attempt: Any) -> str:
    """The attempt, which is a source with something in it; NotYet without a compiler."""
    if not isinstance(attempt, str):
        raise Wrong(f"The source of a kernel is wanted here, a text, not {type(attempt).__name__}.")
    body = _bare(attempt)
    if not body or re.search(r"\)\{\}$", body):
        raise NotYet("There is nothing in the kernel yet.")
    if not has_compiler():
        raise NotYet(f"{NO_COMPILER} The check runs your kernel, so it needs one.")
    return attempt


def _bare(source: str) -> str:
    """The source without comments and space."""
    return re.sub(r"\s+", "", re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.DOTALL))


def _no_fault(run: Run, n: int, all_threads: int) -> None:
    if run:
        return
    why = ""
    if "outside its arrays" in run.fault:
        why = f"\nThere are {n} elements and {all_threads} threads; i must stay below n."
    elif "no barrier between" in run.fault:
        why = "\nA __syncthreads() that both come to has to be between them."
    elif "barrier in line" in run.fault:
        why = "\nAll threads of a block have to come to the same __syncthreads(), also the idle."
    raise Wrong(f"The run was stopped.\n{run.fault}{why}")


def _whole(found: list[float]) -> list[Any]:
    return [int(i) if i == int(i) else i for i in found]
