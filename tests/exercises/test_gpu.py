"""What the checks of notebook 14 answer, and the run of a kernel on the CPU that they stand on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.errors import UsageError
from minires.exercises import gpu as check
from minires.exercises import on_cpu
from minires.exercises.gpu import BROKEN
from minires.exercises.on_cpu import ORDERS, run_on_cpu
from minires.kernels.cuda import fibers
from minires.kernels.cuda.launcher import source_text
from tests.fake_cupy import counters, fake_gpu  # noqa: F401

needs_compiler = pytest.mark.skipif(
    not on_cpu.has_compiler(), reason="kernels run through a C++ compiler"
)

LEAKY = """\
extern "C" __global__ void leaky_relu(const float* x, float* out, float slope, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        out[i] = x[i] > 0 ? x[i] : slope * x[i];
}
"""
VALUE = "x[i] > 0 ? x[i] : slope * x[i]"
LOOP = "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)\n"
ADDITION = "part[t] += part[t + half];"
EMPTY = 'extern "C" __global__ void leaky_relu(float* x) {\n    // your lines\n}\n'


def unfilled(*args: Any) -> Any: ...


@pytest.mark.parametrize("name", ["blocks_needed", "copies", "elements_of", "leaky_relu", "mended"])
def test_the_stub_is_not_yet_and_gets_a_hint(name: str) -> None:
    stub = {"leaky_relu": EMPTY, "mended": BROKEN}.get(name, unfilled)
    for attempt in (stub, ...):
        verdict = getattr(check, name)(attempt)
        assert verdict.status == "not yet"
        assert verdict.hint


def test_an_attempt_that_raises_not_implemented_is_not_yet() -> None:
    def stub(*args: Any) -> Any:
        raise NotImplementedError

    for name in ("blocks_needed", "copies", "elements_of"):
        assert getattr(check, name)(stub).status == "not yet"


def is_wrong(verdict: Any, told: str) -> None:
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- threads and elements ---


def loop(thread: int, block: int, threads: int, blocks: int, count: int) -> list[int]:
    found, i = [], block * threads + thread
    while i < count:
        found.append(i)
        i += blocks * threads
    return found


def test_the_elements_of_a_thread_in_several_styles() -> None:
    assert check.elements_of(loop).passed
    assert check.elements_of(lambda t, b, T, B, n: range(b * T + t, n, B * T)).passed
    assert check.elements_of(lambda t, b, T, B, n: np.arange(b * T + t, n, B * T)).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda t, b, T, B, n: range(b * T + t, n, T), "The step is that of one block"),
        (lambda t, b, T, B, n: range(t, n, B * T), "number of the block plays no part"),
        (lambda t, b, T, B, n: range(t * B + b, n, B * T), "the blocks take turns"),
        (lambda t, b, T, B, n: range(b * T + t, n + B * T, B * T), "the loop has to end there"),
        (lambda t, b, T, B, n: [b * T + t], "the first one alone"),
        (
            lambda t, b, T, B, n: [i for i in range(n) if i // math.ceil(n / (B * T)) == b * T + t],
            "each thread has one run",
        ),
        (lambda t, b, T, B, n: b * T + t, "TypeError"),
    ],
)
def test_wrong_elements_hear_what_they_overlook(wrong: Callable[..., Any], told: str) -> None:
    is_wrong(check.elements_of(wrong), told)


def test_blocks_are_rounded_up_and_bounded() -> None:
    assert check.blocks_needed(lambda n, T, most: max(1, min(most, -(-n // T)))).passed
    assert check.blocks_needed(lambda n, T, most: min(max(math.ceil(n / T), 1), most)).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda n, T, most: max(1, min(most, n // T)), "round up"),
        (lambda n, T, most: max(1, min(most, n // T + 1)), "last block has nothing to do"),
        (lambda n, T, most: min(most, -(-n // T)), "A launch with 0 blocks"),
        (lambda n, T, most: max(1, -(-n // T)), "At most 100 blocks"),
    ],
)
def test_a_wrong_number_of_blocks_is_explained(wrong: Callable[..., Any], told: str) -> None:
    is_wrong(check.blocks_needed(wrong), told)


# --- kernels ---


@needs_compiler
def test_a_leaky_relu_passes_in_several_styles() -> None:
    assert check.leaky_relu(LEAKY).passed
    assert check.leaky_relu(LEAKY.replace(VALUE, "x[i] * (x[i] > 0 ? 1.0f : slope)")).passed
    assert check.leaky_relu(LEAKY.replace(VALUE, "x[i] < 0 ? slope * x[i] : x[i]")).passed
    head = "int i = threadIdx.x + blockDim.x * blockIdx.x;"
    step = "i += blockDim.x * gridDim.x"
    while_loop = LEAKY.replace(LOOP, f"{head}\n    for (; i < n; {step})\n")
    assert check.leaky_relu(while_loop).passed


@needs_compiler
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("i < n;", "i <= n;", "i must stay below n"),
        (LOOP, "const int i = blockIdx.x * blockDim.x + threadIdx.x;\n    if (i < n)\n", "192 on"),
        (VALUE, "x[i] > 0 ? x[i] : 0", "This is the ReLU"),
        (VALUE, "x[i] > 0 ? slope * x[i] : x[i]", "wrong side"),
        (VALUE, "fmax(x[i], slope * x[i])", "only for a slope of at most 1"),
        (VALUE, "x[i] > 0 ? x[i] : -slope * x[i]", "sign"),
        (VALUE, "fmax(x[i], 0.0f) + slope * fmin(x[i], 0.0f)", "A nan has become a number"),
        (VALUE, "x[i] > 0 ? x[i] : slop * x[i]", "does not compile"),
        ("out[i] = ", "if (i < 0) out[i] = ", "Nothing was written"),
        ("leaky_relu(", "leaky(", "there is no kernel leaky_relu"),
        ("float slope, ", "", "takes const float* x, float* out, int n"),
    ],
)
def test_a_wrong_leaky_relu_hears_what_it_overlooks(before: str, after: str, told: str) -> None:
    assert before in LEAKY
    is_wrong(check.leaky_relu(LEAKY.replace(before, after)), told)


@needs_compiler
def test_a_mended_reduction_passes_with_the_barrier_at_either_end_or_with_shuffles() -> None:
    assert check.mended(BROKEN.replace(ADDITION, ADDITION + "\n        __syncthreads();")).passed
    assert check.mended(
        BROKEN.replace("    __syncthreads();\n", "").replace(
            "if (t < half)", "__syncthreads();\n        if (t < half)"
        )
    ).passed
    serial = "if (t == 0) for (int k = 1; k < blockDim.x; k++) part[0] += part[k];\n"
    start = BROKEN.index("for (int half")
    end = BROKEN.index("    if (t == 0) sums")
    assert check.mended(BROKEN[:start] + serial + BROKEN[end:]).passed


@needs_compiler
@pytest.mark.parametrize(
    ("after", "told"),
    [
        ("{ " + ADDITION + " __syncthreads(); }", "also the idle"),
        (ADDITION + "\n        __syncwarp();", "A __syncthreads() that both come to"),
        (
            ADDITION + "\n        __syncthreads();\n        if (half == 1) part[0] = 0;",
            "no barrier",
        ),
        ("part[t] = part[t + half];\n        __syncthreads();", "should be"),
    ],
)
def test_a_wrong_mend_is_shown_with_its_line(after: str, told: str) -> None:
    is_wrong(check.mended(BROKEN.replace(ADDITION, after)), told)


@needs_compiler
def test_sums_that_are_not_written_are_said_to_be_no_number() -> None:
    atomic = BROKEN.replace("sums[blockIdx.x] = part[0]", "atomicAdd(sums + blockIdx.x, part[0])")
    source = atomic.replace(ADDITION, ADDITION + "\n        __syncthreads();")
    is_wrong(check.mended(source), "it has to be written")


def test_an_attempt_that_is_no_text_is_told_so() -> None:
    is_wrong(check.leaky_relu(lambda x: x), "The source of a kernel is wanted")


def test_without_a_compiler_a_kernel_is_not_yet_and_a_run_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fibers, "can_run", lambda: False)
    verdict = check.leaky_relu(LEAKY)
    assert verdict.status == "not yet"
    assert "takes g++ or clang++" in verdict.message
    x = np.ones(3, np.float32)
    run = run_on_cpu(LEAKY, "leaky_relu", 1, 32, x, x.copy(), 0.5, 3)
    assert not run
    assert "takes g++ or clang++" in repr(run)


# --- the run of a kernel on the CPU ---


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_a_kernel_of_the_library_runs_and_arrays_are_written(order: str) -> None:
    x = np.array([-1.0, 2.0, np.nan], np.float32)
    out = np.zeros(3, np.float32)
    run = run_on_cpu(source_text("elementwise.cu"), "relu", 1, 32, x, out, 3, order=order)
    assert run
    assert repr(run) == "all threads came to their end"
    np.testing.assert_array_equal(out, np.array([0.0, 2.0, np.nan], np.float32))


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_a_race_is_found_in_every_order(order: str) -> None:
    x, sums = np.ones(64, np.float32), np.zeros(1, np.float32)
    run = run_on_cpu(BROKEN, "sums_of_blocks", 1, 64, x, sums, 64, order=order)
    assert not run
    assert "no barrier between" in repr(run)


@pytest.mark.parametrize(
    ("args", "settings", "told"),
    [
        ((np.ones(3), np.ones(3, np.float32), 0.5, 3), {}, "needs a NumPy array of float32"),
        ((2.0, np.ones(3, np.float32), 0.5, 3), {}, "and got float"),
        ((np.ones(3, np.float32),), {}, "got 1"),
        ((np.ones(6, np.float32)[::2], np.ones(3, np.float32), 0.5, 3), {}, "one run of memory"),
        (
            (np.ones(3, np.float32), np.ones(3, np.float32), 0.5, 3),
            {"order": "backward"},
            "order must be one of",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    args: tuple[Any, ...], settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        run_on_cpu(LEAKY, "leaky_relu", 1, 32, *args, **settings)


def test_a_launch_that_no_card_takes_is_refused() -> None:
    x = np.ones(3, np.float32)
    for blocks, threads in ((0, 32), (1, 1025)):
        with pytest.raises(UsageError, match="must be from 1 to"):
            run_on_cpu(LEAKY, "leaky_relu", blocks, threads, x, x.copy(), 0.5, 3)
    with pytest.raises(UsageError, match="type that is not known"):
        run_on_cpu(LEAKY.replace("int n", "half n"), "leaky_relu", 1, 32, x, x.copy(), 0.5, 3)


# --- what is copied ---


def copies(arrays: int, steps: int, every: int) -> tuple[int, int]:
    return arrays + 2 * steps, math.ceil(steps / every)


def test_copies_counted_by_formula_and_one_by_one() -> None:
    assert check.copies(copies).passed
    assert check.copies(
        lambda arrays, steps, every: [
            arrays + sum(2 for _ in range(steps)),
            sum(step % every == 0 for step in range(steps)),
        ]
    ).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda a, s, e: (a + s, copies(a, s, e)[1]), "the images and the labels"),
        (lambda a, s, e: (2 * s, copies(a, s, e)[1]), "The weights have to get there"),
        (lambda a, s, e: ((a + 2) * s, copies(a, s, e)[1]), "go there once"),
        (lambda a, s, e: (a + 2 * s, s), "in some of the steps only"),
        (lambda a, s, e: (a + 2 * s, s // e), "Steps are counted from 0"),
        (lambda a, s, e: (a + 2 * s, s // e + 1), "is none"),
        (lambda a, s, e: (a + 2 * s, a * s), "Gradients stay on the card"),
        (lambda a, s, e: a + 2 * s, "Return a pair"),
    ],
)
def test_wrong_copies_hear_what_they_overlook(wrong: Callable[..., Any], told: str) -> None:
    is_wrong(check.copies(wrong), told)


def test_half_of_a_pair_is_not_yet() -> None:
    assert check.copies(lambda a, s, e: (a + 2 * s, ...)).status == "not yet"


@needs_compiler
def test_the_loop_of_the_notebook_copies_what_the_exercise_says(fake_gpu: Any) -> None:  # noqa: F811
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    # A single number, such as BatchNorm2d's count of batches, travels inside a launch.
    arrays = sum(part.ndim > 0 for part in (*model.parameters(), *model.buffers()))
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images = [mr.randn(4, 1, 8, 8) for _ in range(5)]
    labels = [mr.tensor([0, 1, 2, 3]) for _ in range(5)]
    counters.reset()
    model.to("cuda")
    for step in range(5):
        x, y = images[step].to("cuda"), labels[step].to("cuda")
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if step % 2 == 0:
            loss.item()
    assert (counters.to_device, counters.to_host) == copies(arrays, 5, 2), str(counters)
