"""fibers.h and watch.h, which run CUDA sources on the CPU: right kernels pass, wrong ones fail."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minires.kernels.cuda import fibers
from minires.kernels.cuda.fibers import ORDERS, FiberError, in_order
from tests.fake_cupy import fake_gpu  # noqa: F401  (a fixture)

pytestmark = pytest.mark.skipif(
    fibers.COMPILER is None, reason="kernels run through a C++ compiler"
)

HEAD = """
#define SUM_OF_WARP(v) for (int o = 16; o; o /= 2) v += __shfl_down_sync(0xffffffffu, v, o);
struct Two { float* to[2]; };
extern "C" __global__ void through_addresses(Two two, int at) { two.to[0][at] = 1 + two.to[1][0]; }
"""
BODIES: list[str] = []  # of kernels; all are compiled at once

Grid = int | tuple[int, ...]


def planted(body: str) -> str:
    BODIES.append(body)
    return body


def kernel_of(cupy: ModuleType, name: str) -> Any:
    source = [HEAD]
    for i, body in enumerate(BODIES):
        source.append(
            f'extern "C" __global__ void kernel_{i}(const float* in, float* out, int n) {{\n'
            "const int t = threadIdx.x, T = blockDim.x, block = blockIdx.x, lane = t % 32;\n"
            f'const int all = block * T + t;\n#line 1 "kernel_{i}.cu"\n{body}\n}}\n'
        )
    return cupy.RawModule(code="".join(source)).get_function(name)


def kernel(cupy: ModuleType, body: str) -> Any:
    return kernel_of(cupy, f"kernel_{BODIES.index(body)}")


@pytest.fixture
def cupy(fake_gpu: ModuleType) -> Iterator[ModuleType]:  # noqa: F811
    with in_order("forward"):
        yield fake_gpu


def launch(
    cupy: ModuleType, body: str, threads: Grid = 64, blocks: Grid = 1, room: int | None = None
) -> np.ndarray:
    """What the kernel of this body makes of the numbers 1/3, 2/3, 1, 4/3, ..., one a thread."""
    grid, block = ((n,) if isinstance(n, int) else n for n in (blocks, threads))
    n = int(np.prod(grid)) * int(np.prod(block))
    x = cupy.asarray(numbers(n))
    out = cupy.empty(n if room is None else room, np.float32)
    kernel(cupy, body)(grid, block, (x, out, np.int32(n)))
    found: np.ndarray = out.get()
    return found


def numbers(n: int) -> np.ndarray:
    return (np.arange(1, n + 1) / 3).astype(np.float32)


def in_every_order(cupy: ModuleType, body: str, **how: Any) -> list[np.ndarray]:
    found = []
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        with in_order(order, seed):
            found.append(launch(cupy, body, **how))
    return found


# ---- Right kernels

TREE = planted("""\
    __shared__ float sums[1024];
    sums[t] = in[all];
    for (int half = 512; half > 0; half /= 2) {
        __syncthreads();
        if (t < half && t + half < T) sums[t] += sums[t + half];
    }
    if (t == 0) out[block] = sums[0];""")
WHOLE_WARP = planted("""\
    float v = in[all];
    SUM_OF_WARP(v)
    if (lane == 0) out[all / 32] = v;""")
SCAN = planted("""\
    float v = in[all];
    for (int by = 1; by < 32; by *= 2) {
        const float below = __shfl_up_sync(0xffffffffu, v, by);
        if (lane >= by) v += below;
    }
    out[all] = v;""")
BUTTERFLY = planted("""\
    float v = in[all];
    for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(0xffffffffu, v, by);
    out[all] = v;""")
TURNED = planted("""\
    __shared__ float own[1024];  // each warp has a part of it to itself
    for (int turn = 0; turn < 3; turn++) {
        own[t] = in[all] + turn;
        __syncwarp();
        out[all] = own[t / 32 * 32 + 31 - lane];
        __syncwarp();
    }""")
LOWER_LANES = planted("""\
    float v = in[all];
    const unsigned mask = (1u << 7) - 1;
    if (lane < 7) v = __shfl_sync(mask, v, 6);
    out[all] = v;""")


@pytest.mark.parametrize("threads", [1, 7, 31, 32, 33, 256, 1024])
def test_a_tree_of_sums_is_right_in_blocks_of_any_size(cupy: ModuleType, threads: int) -> None:
    expected = numbers(3 * threads).reshape(3, threads).sum(1)
    for found in in_every_order(cupy, TREE, threads=threads, blocks=3, room=3):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("threads", [32, 96, 1024])
def test_shuffles_sum_scan_and_join_whole_warps(cupy: ModuleType, threads: int) -> None:
    warps = numbers(2 * threads).reshape(-1, 32)
    for body, expected in (
        (WHOLE_WARP, warps.sum(1)),
        (SCAN, warps.cumsum(1).reshape(-1)),
        (BUTTERFLY, warps.sum(1).repeat(32)),
        (TURNED, (warps[:, ::-1] + 2).reshape(-1)),
    ):
        for found in in_every_order(cupy, body, threads=threads, blocks=2, room=expected.size):
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("threads", [7, 32, 64])
def test_a_mask_may_name_a_part_of_a_warp(cupy: ModuleType, threads: int) -> None:
    expected = numbers(threads)
    for warp in range(0, threads, 32):
        expected[warp : warp + 7] = expected[warp + 6]
    for found in in_every_order(cupy, LOWER_LANES, threads=threads):
        np.testing.assert_array_equal(found, expected)


PARTIAL_WARP = planted("""\
    __shared__ float own[64];
    if (t == 0) own[0] = 5;
    __syncwarp();
    out[all] = t < 32 ? own[0] : 5;""")


@pytest.mark.parametrize("threads", [1, 31, 33])
def test_a_barrier_of_a_warp_does_not_wait_for_lanes_that_are_not_there(
    cupy: ModuleType, threads: int
) -> None:
    for found in in_every_order(cupy, PARTIAL_WARP, threads=threads):
        assert (found == 5).all()


LEFT = planted("""\
    out[all] = 1;
    if (lane >= 8) return;
    out[all] = __shfl_sync(0xffffffffu, (float)lane, 7);""")


def test_lanes_that_have_left_are_not_waited_for(cupy: ModuleType) -> None:
    for found in in_every_order(cupy, LEFT, threads=32):
        assert found.tolist() == [7.0] * 8 + [1.0] * 24


BEYOND = planted("out[all] = __shfl_down_sync(0xffffffffu, in[all], 16);")


def test_a_shuffle_beyond_the_warp_gives_back_ones_own_number(cupy: ModuleType) -> None:
    for found in in_every_order(cupy, BEYOND, threads=32):
        x = numbers(32)
        np.testing.assert_array_equal(found, np.append(x[16:], x[16:]))


NUMBERED = planted("""\
    const int a = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const int b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    out[b * blockDim.x * blockDim.y * blockDim.z + a] = 100 * b + threadIdx.x;""")


@pytest.mark.parametrize("blocks", [(2, 3), (3, 2, 2)])
@pytest.mark.parametrize("threads", [(8, 4), (5, 3, 2), (1, 1, 64)])
def test_threads_and_blocks_are_numbered_along_x_then_y_then_z(
    cupy: ModuleType, threads: tuple[int, ...], blocks: tuple[int, ...]
) -> None:
    count = int(np.prod(threads))
    at = np.arange(int(np.prod(blocks)) * count)
    for found in in_every_order(cupy, NUMBERED, threads=threads, blocks=blocks):
        np.testing.assert_array_equal(found, 100 * (at // count) + at % threads[0])


OWN_PLACES = planted("out[all] = in[all]; out[all] += in[all ? all - 1 : 0]; out[all] *= 2;")


def test_a_block_may_write_what_another_has_no_part_in(cupy: ModuleType) -> None:
    expected = 2 * (numbers(192) + np.append(numbers(1), numbers(191)))
    for found in in_every_order(cupy, OWN_PLACES, blocks=3):
        np.testing.assert_array_equal(found, expected)


# ---- Wrong kernels.  The line that an error names is that of the mark in the body.

RACES = {
    "no barrier before reading what others wrote": """\
    __shared__ float x[64];
    x[t] = in[all];
    out[all] = x[63 - t];  // here""",
    "no barrier before the next writing": """\
    __shared__ float x[64];
    for (int turn = 0; turn < 2; turn++) {
        x[t] = in[all] + turn;  // here
        __syncthreads();
        out[all] = x[(t + 32) % 64];
    }""",
    "a sum of the block that forgets its last barrier": """\
    __shared__ float across[32];
    for (int turn = 0; turn < 2; turn++) {
        float v = in[all];
        SUM_OF_WARP(v)
        if (lane == 0) across[t / 32] = v;  // here
        __syncthreads();
        out[all] = across[0] + across[1];
    }""",
    "lanes of a warp that believe they run in step": """\
    __shared__ volatile float x[64];
    x[t] = in[all];
    if (lane < 16) x[t] += x[t + 16];  // here
    __syncthreads();
    out[all] = x[t];""",
    "a shuffle taken for a barrier": """\
    __shared__ float x[64];
    x[t] = in[all];
    const float v = __shfl_sync(0xffffffffu, in[all], 0);
    out[all] = v + x[t ^ 1];  // here""",
    "a barrier of the warp taken for one of the block": """\
    __shared__ float x[64];
    x[t] = in[all];
    __syncwarp();
    out[all] = x[t ^ 32];  // here""",
    "all threads add to one number": """\
    __shared__ float sum;
    if (t == 0) sum = 0;
    __syncthreads();
    sum += 1;  // here
    __syncthreads();
    out[all] = sum;""",
    "threads that write the same number to one place": """\
    __shared__ float x;
    x = 3;  // here
    __syncthreads();
    out[all] = x;""",
    "all blocks add to one number": "out[0] += in[all] > 0;  // here",
    "a block reads what another writes": """\
    out[all] = 1;
    __syncthreads();
    if (t == 0) out[all] += out[(all + 64) % n];  // here""",
}


BODIES += RACES.values()
# The second where a reader has come before the writer.
FOUND = "no barrier between block|read of shared memory that nobody has written yet"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("what", RACES)
def test_two_threads_at_one_place_are_found_out(cupy: ModuleType, what: str, order: str) -> None:
    blocks = 3 if "block" in what else 1
    with in_order(order, 1), pytest.raises(FiberError, match=FOUND) as told:
        launch(cupy, RACES[what], blocks=blocks)
    if fibers.ADDR2LINE is not None:
        assert f"line {line_of(RACES[what])} of kernel_" in str(told.value)


def line_of(body: str, mark: str = "// here") -> int:
    (line,) = (i for i, text in enumerate(body.splitlines()) if mark in text)
    return 1 + line


PLACES = {
    "a read outside its arrays": "out[all] = in[all + 1];  // here",
    "a write outside its arrays": "out[all - 1] = 0;  // here",
    "a misaligned access, 16 bytes": """\
    struct __align__(16) Pack { float at[4]; };
    if (t == 0) *(Pack*)out = *(const Pack*)(in + 1);  // here""",
    "a read of shared memory that nobody has written yet": """\
    __shared__ float x[64];
    if (t < 63) x[t] = in[all];
    __syncthreads();
    out[all] = x[t];  // here""",
    "an index beyond its array": """\
    float own[4];
    for (int i = 0; i < 4 + n / 64; i++) own[i] = in[all];  // here
    out[all] = own[0];""",
    "a product that its type cannot hold": "out[all] = n * (n << 24);  // here",
    "a division by 0": "out[all] = n / (t - 5);  // here",
}


BODIES += PLACES.values()


@pytest.mark.parametrize("what", PLACES)
def test_a_place_or_a_number_that_may_not_be_is_found_out(cupy: ModuleType, what: str) -> None:
    with pytest.raises(FiberError, match=what) as told:
        in_every_order(cupy, PLACES[what])
    if fibers.ADDR2LINE is not None:
        assert f"line {line_of(PLACES[what])} of kernel_" in str(told.value)


COPY = planted("out[all] = in[all];")


def test_a_view_is_all_that_a_kernel_may_touch_of_an_array(cupy: ModuleType) -> None:
    copy = kernel(cupy, COPY)
    x, out = cupy.ones(40, np.float32), cupy.zeros(40, np.float32)
    copy((1,), (30,), (x[5:35], out[5:35], np.int32(30)))
    assert out.get().tolist() == [0.0] * 5 + [1.0] * 30 + [0.0] * 5
    with pytest.raises(FiberError, match=r"thread 30: a read outside its arrays, 4 bytes"):
        copy((1,), (32,), (x[5:35], out[5:37], np.int32(32)))


OUTLIVED = planted("""\
    __shared__ float x[64];
    if (block == 0) x[t] = 1;
    out[all] = x[t];""")


def test_shared_memory_does_not_outlive_its_block(cupy: ModuleType) -> None:
    with pytest.raises(
        FiberError, match="block 1, thread 0: a read of shared memory that nobody has written yet"
    ):
        launch(cupy, OUTLIVED, blocks=2)


WAITS = {
    "only some threads reach a barrier": (
        "if (t != 40) __syncthreads();  // here",
        "threads wait at the barrier in line {}, and thread 40 has left; block of 64",
    ),
    "threads wait at two barriers": (
        "if (t < 33) __syncthreads();  // here\n    else __syncthreads();",
        "threads wait at the barrier in line {}, and thread 33 waits in line 2",
    ),
    "a shuffle in a divergent branch": (
        "if (lane < 20)\n    out[all] = __shfl_sync(0xffffffffu, in[all], 0);  // here\n"
        "    __syncthreads();",
        "thread 0 waits at a shuffle in line {} for lanes of its warp that do not come there",
    ),
    "lanes at two shuffles": (
        "if (lane < 16) out[all] = __shfl_sync(0xffffffffu, in[all], 0);  // here\n"
        "    else out[all] = __shfl_sync(0xffffffffu, in[all], 1);",
        "thread 0 waits at a shuffle in line {} for lanes of its warp that do not come there",
    ),
    "a lane that its own mask does not name": (
        "out[all] = __shfl_sync(0x7fffffffu, in[all], 0);  // here",
        "thread 31 waits at a shuffle in line {} for lanes of its warp that do not come there",
    ),
    "half a warp at a barrier of the warp": (
        "if (lane < 16) __syncwarp();  // here\n    __syncthreads();",
        "thread 0 waits at a shuffle in line {} for lanes of its warp that do not come there",
    ),
}


BODIES += [body for body, _ in WAITS.values()]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("what", WAITS)
def test_threads_that_wait_for_ever_are_named_with_their_line(
    cupy: ModuleType, what: str, order: str
) -> None:
    body, message = WAITS[what]
    with in_order(order, 1), pytest.raises(FiberError) as told:
        launch(cupy, body)
    assert message.format(line_of(body)) in str(told.value)
    assert np.isfinite(launch(cupy, COPY)).all()  # the next launch is none the worse


ABSENT = [
    planted("if (lane < 8) out[all] = __shfl_sync(0xffu, in[all], 8); else out[all] = 1;"),
    planted(
        "if (lane >= 8) { out[all] = 1; return; } "
        "out[all] = __shfl_down_sync(0xffffffffu, in[all], 8);"
    ),
]


def test_what_a_lane_has_that_takes_no_part_is_unknown(cupy: ModuleType) -> None:
    for body in ABSENT:
        for found in in_every_order(cupy, body, threads=32):
            assert np.isnan(found[:8]).all()
            assert (found[8:] == 1).all()


ATOMIC = planted("atomicAdd(out, 1 / in[all]);")


def test_atomic_sums_are_no_race_but_their_bits_show_the_order(cupy: ModuleType) -> None:
    bits = set()
    for order in ("forward", "reverse"):
        with in_order(order):
            x, out = cupy.asarray(numbers(192)), cupy.zeros(1, np.float32)
            kernel(cupy, ATOMIC)((3,), (64,), (x, out, np.int32(192)))
            bits.add(out.get()[0].tobytes())
    assert len(bits) == 2


TICKETS = planted("out[all] = atomicAdd(out + n, 1.0f);")  # who came when


def tickets(cupy: ModuleType) -> list[float]:
    out = cupy.zeros(193, np.float32)
    kernel(cupy, TICKETS)((3,), (64,), (out, out, np.int32(192)))
    numbers: list[float] = out.get()[:-1].tolist()
    return numbers


def test_the_order_of_turns_is_the_one_asked_for(cupy: ModuleType) -> None:
    assert tickets(cupy) == list(range(192))
    with in_order("reverse"):
        assert tickets(cupy) == list(range(191, -1, -1))
    drawn = []
    for seed in (1, 2, 1):
        with in_order("random", seed):
            drawn.append(tickets(cupy))
    assert drawn[0] == drawn[2] != drawn[1]
    assert sorted(drawn[0]) == list(range(192))
    assert tickets(cupy) == list(range(192))


def test_arguments_of_another_number_or_size_are_refused(cupy: ModuleType) -> None:
    copy = kernel(cupy, COPY)
    x = cupy.zeros(1, np.float32)
    with pytest.raises(FiberError, match="argument 2 has 8 bytes, and needs 4"):
        copy((1,), (1,), (x, x, np.int64(1)))
    with pytest.raises(FiberError, match="argument 1 has 4 bytes, and needs 8"):
        copy((1,), (1,), (x, np.int32(1), np.int32(1)))
    with pytest.raises(FiberError, match="takes 3 arguments, not 2"):
        copy((1,), (1,), (x, x))
    with pytest.raises(TypeError, match="cannot take int"):
        copy((1,), (1,), (x, x, 1))
    with pytest.raises(TypeError, match="of the host"):
        copy((1,), (1,), (np.zeros(1, np.float32), x, np.int32(1)))


def test_a_struct_with_addresses_opens_the_arrays_that_it_points_to(cupy: ModuleType) -> None:
    through_addresses = kernel_of(cupy, "through_addresses")
    x, y = cupy.ones(4, np.float32), cupy.zeros(4, np.float32)
    two = np.zeros((), [("to", np.uintp, 2)])
    two["to"] = x.data.ptr, y.data.ptr
    through_addresses((1,), (1,), (two, np.int32(3)))
    assert x.get().tolist() == [1.0] * 4
    with pytest.raises(FiberError, match="a write outside its arrays"):
        through_addresses((1,), (1,), (two, np.int32(4)))
