"""Convolution on a GPU, run on the CPU: held against the textbook loops, and its own promises."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import DeviceError, DTypeError, ShapeError, UsageError
from minires.kernels import conv as on_cpu
from minires.kernels import reference
from minires.kernels.cuda import conv, launcher
from minires.kernels.cuda.fibers import ORDERS, in_order
from tests.fake_cupy import counters, fake_gpu, installed
from tests.kernels.test_conv import convolutions, drawn

__all__ = ["fake_gpu"]

Case = tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]
CASES: dict[str, Case] = {
    "3x3": ((3, 4, 8, 8), (6, 4, 3, 3), {"padding": 1}),
    "odd planes": ((3, 4, 7, 9), (5, 4, 3, 3), {"padding": 1}),
    "stride 2": ((2, 3, 9, 8), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    "stem": ((2, 3, 17, 17), (4, 3, 7, 7), {"stride": 2, "padding": 3}),
    "asymmetric": ((2, 2, 7, 9), (3, 2, 2, 4), {"stride": (3, 2), "padding": (0, 3)}),
    "dilation": ((2, 2, 9, 11), (3, 2, 3, 2), {"dilation": (2, 3), "padding": 2}),
    "stride and dilation": ((2, 2, 12, 13), (3, 2, 3, 3), {"stride": (4, 6), "dilation": (2, 4)}),
    "stride above the kernel": ((2, 2, 11, 11), (3, 2, 2, 2), {"stride": 4, "padding": 1}),
    "stride beyond any image": ((2, 2, 5, 8), (3, 2, 2, 3), {"stride": 10**12, "dilation": 3}),
    "groups": ((3, 4, 5, 6), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((2, 5, 6, 6), (10, 1, 3, 3), {"groups": 5, "padding": 1}),
    "pointwise": ((3, 4, 5, 4), (6, 4, 1, 1), {}),
    "pointwise in groups": ((3, 4, 5, 5), (6, 2, 1, 1), {"groups": 2}),
    "pointwise, one image": ((1, 4, 5, 5), (6, 4, 1, 1), {}),
    "1x1, stride 2": ((3, 4, 5, 6), (6, 4, 1, 1), {"stride": 2}),
    "1x1, padding": ((3, 4, 5, 6), (6, 4, 1, 1), {"padding": 1}),
    "one place": ((3, 4, 3, 3), (2, 4, 3, 3), {}),
    "large planes": ((2, 2, 40, 41), (2, 2, 3, 3), {"padding": 1}),
    "padding alone": ((2, 2, 0, 3), (3, 2, 2, 2), {"padding": 2}),
    "empty batch": ((0, 4, 8, 8), (6, 4, 3, 3), {"padding": 1}),
    "empty batch, pointwise": ((0, 4, 8, 8), (6, 4, 1, 1), {}),
}


@contextmanager
def set_to(chunk_bytes: int, blocks: int, order: str = "forward", seed: int = 0) -> Iterator[None]:
    """Other chunks, another grid, and threads that take turns in another order."""
    with pytest.MonkeyPatch.context() as patch, in_order(order, seed):
        patch.setattr(conv, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(launcher, "MAX_BLOCKS", blocks)
        yield


def all_maps(module: Any, arrays: Any, how: dict[str, Any]) -> list[Any]:
    x, weight, bias, g = arrays
    return [
        module.conv2d(x, weight, bias, **how),
        module.conv2d(x, weight, **how),
        module.conv2d_grad_input(g, weight, x.shape, **how),
        module.conv2d_grad_weight(g, x, weight.shape, **how),
        *module.conv2d_grads(g, x, weight, **how),
    ]


def holds_against_reference(cupy: ModuleType, arrays: Any, how: dict[str, Any]) -> None:
    """Equal up to rounding; the loops sum in float64, from the same numbers.

    A sum of m terms of order 1 errs by m roundings of its own order at most, and by far fewer
    as a rule; m is below 500, so 5e-5 for float32, where a rounding is 6e-8.
    """
    dtype = arrays[0].dtype
    tolerance = 5e-5 if dtype == np.float32 else 1e-12
    found = all_maps(conv, [cupy.asarray(a) for a in arrays], how)
    expected = all_maps(reference, [a.astype(np.float64) for a in arrays], how)
    for device_array, wanted in zip(found, expected, strict=True):
        assert (device_array.shape, device_array.dtype) == (wanted.shape, dtype)
        assert device_array.flags.c_contiguous
        np.testing.assert_allclose(device_array.get(), wanted, rtol=tolerance, atol=tolerance)


def numbers(name: str, dtype: Any = np.float64) -> tuple[Any, dict[str, Any]]:
    x_shape, weight_shape, how = CASES[name]
    return drawn(np.random.default_rng(0), x_shape, weight_shape, how, dtype), how


@settings(deadline=None, max_examples=30)
@given(
    convolutions(),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([1, 2000, 1 << 28]),
    st.sampled_from([1, 4096]),
    st.sampled_from(ORDERS),
)
def test_all_maps_equal_the_reference(
    case: Any, seed: int, dtype: Any, chunk_bytes: int, blocks: int, order: str
) -> None:
    x_shape, weight_shape, how = case
    arrays = drawn(np.random.default_rng(seed), x_shape, weight_shape, how, dtype)
    with installed() as cupy, set_to(chunk_bytes, blocks, order, seed):
        holds_against_reference(cupy, arrays, how)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_kind_of_convolution_equals_the_reference(
    fake_gpu: ModuleType, name: str, dtype: Any
) -> None:
    arrays, how = numbers(name, dtype)
    with set_to(conv.CHUNK_BYTES, blocks=2):
        holds_against_reference(fake_gpu, arrays, how)


@pytest.mark.parametrize("name", CASES)
def test_any_order_of_threads_and_any_grid_give_the_same_bits(
    fake_gpu: ModuleType, name: str
) -> None:
    arrays, how = numbers(name, np.float32)
    on_device = [fake_gpu.asarray(a) for a in arrays]
    results = []
    for blocks, order in [(4096, "forward"), (4096, "reverse"), (3, "random"), (1, "forward")]:
        with set_to(5000, blocks, order, seed=1):
            results.append([r.tobytes() for r in all_maps(conv, on_device, how)])
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("name", [name for name in CASES if "empty" not in name])
def test_where_the_batch_is_cut_makes_no_difference(fake_gpu: ModuleType, name: str) -> None:
    arrays, how = numbers(name)
    on_device = [fake_gpu.asarray(a) for a in arrays]
    whole = all_maps(conv, on_device, how)
    at_once = counters.launches
    counters.reset()
    with set_to(1, 4096):
        cut = all_maps(conv, on_device, how)
    assert counters.launches == at_once * len(arrays[0])  # every chunk is one image
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(b.get(), a.get(), rtol=1e-12, atol=1e-12)


def layout_of(name: str) -> conv._Layout:
    x_shape, weight_shape, how = CASES[name]
    settings = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **how}
    size = reference.conv2d(np.zeros(x_shape), np.zeros(weight_shape), **how).shape[2:]
    return conv._Layout(x_shape, weight_shape, size, **settings)


def test_chunks_hold_the_batch_once_in_equal_parts_within_the_bound() -> None:
    layout = layout_of("3x3")  # 3 images
    image = 8 * (4 * 9 + 6) * 64
    dtype = np.dtype(np.float64)
    each = [(0, 1), (1, 2), (2, 3)]
    cuts = {3 * image: [(0, 3)], 3 * image - 1: [(0, 2), (2, 3)], 2 * image - 1: each, 1: each}
    for bound, expected in cuts.items():
        with set_to(bound, 1):
            assert [(s.start, s.stop) for s in layout.chunks(dtype)] == expected
    assert layout_of("empty batch").chunks(dtype) == []


def test_the_largest_layers_of_resnet50_are_cut_into_at_most_two_chunks_of_32_images() -> None:
    stem = conv._Layout((32, 3, 224, 224), (64, 3, 7, 7), (112, 112), 2, 3, 1, 1)
    first = conv._Layout((32, 64, 56, 56), (64, 64, 3, 3), (56, 56), 1, 1, 1, 1)
    float32 = np.dtype(np.float32)
    assert [len(layout.chunks(float32)) for layout in (stem, first)] == [2, 1]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_layout_of_the_inputs_makes_no_difference(
    fake_gpu: ModuleType, name: str, dtype: Any
) -> None:
    arrays, how = numbers(name, dtype)
    plain = all_maps(conv, [fake_gpu.asarray(a) for a in arrays], how)
    for lay_out in (strided, misaligned):
        laid_out = [lay_out(fake_gpu, a) for a in arrays]
        for a, b in zip(all_maps(conv, laid_out, how), plain, strict=True):
            np.testing.assert_array_equal(a.get(), b.get())
        for a, b in zip(laid_out, arrays, strict=True):
            np.testing.assert_array_equal(a.get(), b)


def strided(cupy: ModuleType, a: np.ndarray) -> Any:
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), 99.0, a.dtype)
    wide[..., ::2] = a
    return cupy.asarray(wide)[..., ::2]


def misaligned(cupy: ModuleType, a: np.ndarray) -> Any:
    moved = cupy.asarray(np.append(a.dtype.type(99), a))[1:].reshape(a.shape)
    assert not a.size or moved.data.ptr % 16
    return moved


@pytest.mark.parametrize("name", [name for name in CASES if "empty" not in name])
def test_the_way_back_reads_those_columns_that_a_pixel_was_copied_to_and_no_others(
    fake_gpu: ModuleType, name: str
) -> None:
    (N, C, H, W), (_, C_group, *kernel), how = CASES[name]
    layout = layout_of(name)
    layout.is_pointwise = False  # so that the kernels are tried on it, too
    columns = layout.columns(fake_gpu.asarray(np.ones((N, C, H, W))))
    around = fake_gpu.asarray(np.full(columns.size + 4000, np.nan))  # also before and after
    given = around[2000:-2000].reshape(columns.shape)
    given[...] = fake_gpu.where(columns == 1, 1.0, np.nan)
    found = fake_gpu.empty((N, C, H, W), dtype=np.float64)
    layout.images(given, found)
    windows = np.ones((N, layout.groups, *layout.windows[["OH", "OW"]].item()))
    taps = np.ones((layout.groups, C_group, *kernel))
    how_often = reference.conv2d_grad_input(windows, taps, found.shape, **how)
    np.testing.assert_array_equal(found.get(), how_often)


def test_results_have_the_widest_dtype_of_the_inputs(fake_gpu: ModuleType) -> None:
    for name in ("3x3", "groups", "pointwise"):
        arrays, how = numbers(name)
        for wide in range(4):
            mixed = [
                a.astype(np.float64 if i == wide else np.float32) for i, a in enumerate(arrays)
            ]
            found = all_maps(conv, [fake_gpu.asarray(a) for a in mixed], how)
            for a, b in zip(found, all_maps(on_cpu, mixed, how), strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_allclose(a.get(), b, rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_copied_from_or_to_the_host(fake_gpu: ModuleType, name: str) -> None:
    arrays, how = numbers(name)
    on_device = [fake_gpu.asarray(a) for a in arrays]
    counters.reset()
    all_maps(conv, on_device, how)
    assert (counters.to_host, counters.to_device, counters.synchronizations) == (0, 0, 0), counters


def kernels_in(call: Any, *args: Any, **how: Any) -> list[str]:
    """The names of the kernels that a call launches."""
    names = []
    launch = conv._SOURCE.launch

    def noted(kernel: str, *given: Any) -> None:
        names.append(kernel)
        launch(kernel, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv._SOURCE, "launch", noted)
        call(*args, **how)
    return names


def test_a_pointwise_kernel_needs_another_order_for_the_gradient_by_the_weight_alone(
    fake_gpu: ModuleType,
) -> None:
    arrays, how = numbers("pointwise")
    x, weight, bias, g = (fake_gpu.asarray(a) for a in arrays)
    assert kernels_in(conv.conv2d, x, weight, bias, **how) == []
    assert kernels_in(conv.conv2d_grad_input, g, weight, x.shape, **how) == []
    assert kernels_in(conv.conv2d_grads, g, x, weight, **how) == ["swap_axes"] * 2


def test_both_gradients_together_lay_grad_out_out_once(fake_gpu: ModuleType) -> None:
    arrays, how = numbers("3x3")
    x, weight, _, g = (fake_gpu.asarray(a) for a in arrays)
    kernels = kernels_in(conv.conv2d_grads, g, x, weight, **how)
    assert kernels == ["swap_axes", "col2im", "im2col"]


def test_no_kernel_is_launched_for_an_image_without_pixels(fake_gpu: ModuleType) -> None:
    arrays, how = numbers("padding alone")
    x, weight, _, g = (fake_gpu.asarray(a) for a in arrays)
    assert kernels_in(conv.conv2d_grad_input, g, weight, x.shape, **how) == ["swap_axes"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("L", [8, 7])
def test_axes_are_swapped_into_memory_of_any_alignment(
    fake_gpu: ModuleType, L: int, dtype: Any
) -> None:
    rng = np.random.default_rng(0)
    x, bias = rng.standard_normal((3, 5, L)).astype(dtype), np.arange(3.0, dtype=dtype)
    for lay_out in (lambda cupy, a: cupy.asarray(a), misaligned):
        out = lay_out(fake_gpu, np.zeros((5, 3, L), dtype))
        conv._swap_axes(fake_gpu.asarray(x), 3, 5, out, fake_gpu.asarray(bias))
        np.testing.assert_array_equal(out.get(), x.swapaxes(0, 1) + bias[:, None])


def test_arguments_are_those_of_the_kernel_for_the_cpu() -> None:
    for name in conv.__all__:
        ours, theirs = getattr(conv, name), getattr(on_cpu, name)
        assert inspect.signature(ours) == inspect.signature(theirs)


def refusal(module: Any, name: str, *args: Any, **how: Any) -> str:
    with pytest.raises((ShapeError, DTypeError, UsageError)) as caught:
        getattr(module, name)(*args, **how)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_bad_arguments_are_refused_in_the_words_of_the_kernel_for_the_cpu(
    fake_gpu: ModuleType,
) -> None:
    x, weight, g = np.ones((1, 2, 5, 5)), np.ones((3, 2, 2, 2)), np.ones((1, 3, 4, 4))
    whole = np.ones((1, 2, 5, 5), np.int64)
    refused: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("conv2d", (x[0], weight), {}),
        ("conv2d", (x, weight[:, :1]), {}),
        ("conv2d", (x, weight, np.ones(2)), {}),
        ("conv2d", (whole, weight), {}),
        ("conv2d", (x, weight), {"stride": 0}),
        ("conv2d", (x, weight), {"groups": 2}),
        ("conv2d", (x, weight), {"dilation": 5}),
        ("conv2d_grad_input", (g[..., :1], weight, x.shape), {}),
        ("conv2d_grad_input", (g, weight, (1, 3, 5, 5)), {}),
        ("conv2d_grad_weight", (g[..., :1], x, weight.shape), {}),
        ("conv2d_grad_weight", (g, whole, weight.shape), {}),
        ("conv2d_grads", (g[..., :1], x, weight), {}),
        ("conv2d_grads", (g, whole, weight), {}),
    ]
    for name, args, how in refused:
        on_device = [fake_gpu.asarray(a) if isinstance(a, np.ndarray) else a for a in args]
        assert refusal(conv, name, *on_device, **how) == refusal(on_cpu, name, *args, **how)


def test_arrays_of_two_devices_are_refused_with_both_named(fake_gpu: ModuleType) -> None:
    (x, weight, bias, g), how = numbers("3x3")
    there = [fake_gpu.asarray(a) for a in (x, weight, bias, g)]
    with fake_gpu.cuda.Device(1):
        elsewhere = [fake_gpu.asarray(a) for a in (x, weight, bias, g)]
    refused: list[tuple[str, tuple[Any, ...], str]] = [
        ("conv2d", (there[0], elsewhere[1]), "x is on cuda:0 and weight"),
        ("conv2d", (there[0], there[1], elsewhere[2]), "x is on cuda:0 and bias"),
        (
            "conv2d_grad_input",
            (there[3], elsewhere[1], x.shape),
            "grad_out is on .* and weight",
        ),
        ("conv2d_grad_weight", (there[3], elsewhere[0], weight.shape), "grad_out is on .* and x"),
        ("conv2d_grads", (there[3], elsewhere[0], there[1]), "grad_out is on .* and x"),
        ("conv2d_grads", (there[3], there[0], elsewhere[1]), "grad_out is on .* and weight"),
    ]
    for name, args, named in refused:
        with pytest.raises(DeviceError, match=f"^{name}: {named} is on cuda:1"):
            getattr(conv, name)(*args, **how)
    with pytest.raises(DeviceError, match="conv2d: x is on cuda:0 and weight is on cpu"):
        conv.conv2d(there[0], weight, **how)
