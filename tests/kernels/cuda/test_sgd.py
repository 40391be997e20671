"""The kernel of sgd.cu, run on the CPU: the formula's bits, for any number of parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minires.kernels.cuda import launcher
from minires.kernels.cuda.fibers import ORDERS, RawModule, in_order
from minires.kernels.cuda.sgd import LISTED, sgd
from tests.fake_cupy import counters, fake_gpu  # noqa: F401  (a fixture)
from tests.kernels.cuda.test_pool import LAYOUTS, put

DTYPES = [np.float32, np.float64]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.01},
    {"momentum": 0.9, "weight_decay": 0.01},
    {"momentum": 0.9, "dampening": 0.5},
    {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
]
SHAPES = [(7,), (1,), (0, 3), (3, 5, 3, 3), (40_001,), (16_384,), (2, 31)]


def drawn(dtype: Any, seed: int, shapes: Any = SHAPES) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def by_formula(
    p: np.ndarray, g: np.ndarray, v: np.ndarray | None, first_step: bool, **how: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """As minires.optim.SGD has it, with an lr of 0.1."""
    momentum, decay = how.get("momentum", 0.0), how.get("weight_decay", 0.0)
    if decay:
        g = g + decay * p
    if v is not None:
        v = g if first_step else momentum * v + (1.0 - how.get("dampening", 0.0)) * g
        g = g + momentum * v if how.get("nesterov") else v
    return p - 0.1 * g, v


def step(
    cupy: Any, dtype: Any, how: dict[str, Any], first_step: bool, layout: str = "contiguous"
) -> list[np.ndarray]:
    """Parameters and velocities after a step, once they are known to be right."""
    params, grads, velocities = (drawn(dtype, seed) for seed in range(3))
    device = [[put(cupy, array, layout) for array in part] for part in (params, grads, velocities)]
    given = device[2] if "momentum" in how else None
    assert sgd(device[0], device[1], given, lr=0.1, **how, first_step=first_step) is None
    after = [array.get() for part in device for array in part]
    for i, (p, g, v) in enumerate(zip(params, grads, velocities, strict=True)):
        p, v_after = by_formula(p, g, None if given is None else v, first_step, **how)
        np.testing.assert_array_equal(after[i], p, strict=True)
        np.testing.assert_array_equal(after[i + len(params)], g)
        v = v if v_after is None else v_after
        np.testing.assert_array_equal(after[i + 2 * len(params)], v, strict=True)
    return after


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first_step", [True, False])
@pytest.mark.parametrize("how", SETTINGS, ids=str)
def test_a_step_has_the_bits_of_the_formula(
    fake_gpu: Any,  # noqa: F811
    how: dict[str, Any],
    first_step: bool,
    dtype: Any,
) -> None:
    step(fake_gpu, dtype, how, first_step)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_arrays_that_do_not_lie_in_one_run_or_begin_anywhere_are_changed_in_place_too(
    fake_gpu: Any,  # noqa: F811
    layout: str,
    dtype: Any,
) -> None:
    step(fake_gpu, dtype, SETTINGS[-1], first_step=False, layout=layout)


@pytest.mark.parametrize("misaligned", range(3), ids=["param", "grad", "velocity"])
def test_one_array_that_does_not_begin_at_16_bytes_is_enough_to_go_one_by_one(
    fake_gpu: Any,  # noqa: F811
    misaligned: int,
) -> None:
    arrays = [drawn(np.float32, seed, [(1001,)])[0] for seed in range(3)]
    device = [
        [put(fake_gpu, array, "misaligned" if i == misaligned else "contiguous")]
        for i, array in enumerate(arrays)
    ]
    assert [array.data.ptr % 16 != 0 for (array,) in device].index(True) == misaligned
    sgd(*device, lr=0.1, momentum=0.9)
    expected, _ = by_formula(*arrays, first_step=False, momentum=0.9)
    np.testing.assert_array_equal(device[0][0].get(), expected)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_fewer_blocks_than_chunks_give_the_same_bits_in_any_order(
    fake_gpu: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    blocks: int,
) -> None:
    monkeypatch.setattr(launcher, "MAX_BLOCKS", blocks)
    with in_order(order, seed=2):
        step(fake_gpu, np.float32, SETTINGS[2], first_step=False)


@pytest.mark.parametrize("count", [1, 59, LISTED, LISTED + 1, 161, 250])
def test_hundreds_of_parameters_take_a_launch_for_every_112(
    fake_gpu: Any,  # noqa: F811
    count: int,
) -> None:
    shapes = [(i % 9 if 0 < i < count - 1 else 5,) for i in range(count)]
    params, grads = drawn(np.float32, 0, shapes), drawn(np.float32, 1, shapes)
    device = [[put(fake_gpu, array) for array in part] for part in (params, grads)]
    counters.reset()
    sgd(*device, lr=0.1)
    assert counters.launches == -(-count // LISTED)
    assert (counters.to_host, counters.to_device, counters.synchronizations) == (0, 0, 0), counters
    for found, p, g in zip(device[0], params, grads, strict=True):
        np.testing.assert_array_equal(found.get(), p - np.float32(0.1) * g)


def test_velocities_are_not_read_at_the_first_step(fake_gpu: Any) -> None:  # noqa: F811
    velocity = fake_gpu.full(5, np.nan)
    sgd([fake_gpu.zeros(5)], [fake_gpu.ones(5)], [velocity], lr=1.0, momentum=0.9, first_step=True)
    assert velocity.get().tolist() == [1.0] * 5


def test_without_decay_an_infinite_parameter_stays_infinite(fake_gpu: Any) -> None:  # noqa: F811
    param = fake_gpu.full(5, np.inf)  # inf * 0 would be NaN
    sgd([param], [fake_gpu.ones(5)], lr=1.0)
    assert param.get().tolist() == [np.inf] * 5


def test_gradients_of_another_dtype_are_converted(fake_gpu: Any) -> None:  # noqa: F811
    param = fake_gpu.zeros(5, np.float32)
    sgd([param], [fake_gpu.ones(5, np.float64)], lr=0.5)
    assert param.get().tolist() == [-0.5] * 5


def test_nothing_to_step_needs_no_launch(fake_gpu: Any) -> None:  # noqa: F811
    counters.reset()
    sgd([], [], [], lr=1.0)
    sgd([fake_gpu.ones((0, 3))], [fake_gpu.ones((0, 3))], lr=1.0)
    assert counters.launches == 0


@pytest.mark.parametrize("real", ["float", "double"])
def test_the_arguments_fit_the_4_kb_of_a_launch_and_no_parameter_more_would(real: str) -> None:
    kernel = RawModule(
        launcher.source_text("sgd.cu"), options=("-std=c++17", f"-DREAL={real}")
    ).get_function("sgd")
    used = sum(-(-size // 8) * 8 for size in kernel.sizes)
    assert 4096 - 36 < used <= 4096
