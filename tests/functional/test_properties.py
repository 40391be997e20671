"""What holds of convolution, pooling and borders for any shape, stride, padding and dilation.

The kernels are held against the loops of the reference in tests/kernels; here it is the operations,
through the engine: each linear map against its adjoint, and against loops of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minires as mr
import minires.functional as F
from minires import kernels
from minires.kernels import reference
from tests.kernels.test_conv import convolutions
from tests.kernels.test_pool import windows

quick = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)
rungs = st.sampled_from(["im2col", "fast"])


def leaf(array: np.ndarray) -> mr.Tensor:
    return mr.tensor(array, requires_grad=True)


def gradient(x: mr.Tensor) -> np.ndarray:
    assert x.grad is not None
    return x.grad.numpy()


def inner(a: Any, b: Any) -> float:
    a, b = (x.data if isinstance(x, mr.Tensor) else x for x in (a, b))
    assert a.shape == b.shape
    return float((a * b).sum())


def same_number(found: float, expected: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)


def same(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert found.shape == expected.shape


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    """Images (N, C, H, W) of few rows and columns, at times without any, at times with ties."""
    shape = tuple(draw(st.integers(*ends)) for ends in ((0, 2), (1, 2), (1, 8), (1, 8)))
    x = np.random.default_rng(draw(seeds)).standard_normal(shape) - 1.0
    return np.floor(x) if draw(st.booleans()) else x


# --- convolution ---


@quick
@given(convolutions(), seeds, rungs)
def test_the_gradients_of_convolution_are_its_adjoints(case: Any, seed: int, rung: str) -> None:
    x_shape, weight_shape, how = case
    rng = np.random.default_rng(seed)
    x, weight = leaf(rng.standard_normal(x_shape)), leaf(rng.standard_normal(weight_shape))
    bias = leaf(rng.standard_normal(weight_shape[0]))
    with kernels.use(rung):
        out = F.conv2d(x, weight, bias, **how)
        g = rng.standard_normal(out.shape)
        out.backward(g)
    same(out.data, reference.conv2d(x.data, weight.data, bias.data, **how))
    linear = inner(out.data - bias.data.reshape(1, -1, 1, 1), g)
    same_number(inner(x, gradient(x)), linear)
    same_number(inner(weight, gradient(weight)), linear)
    same(gradient(bias), g.sum((0, 2, 3)))


@quick
@given(convolutions(least=1), seeds)
def test_padding_same_puts_the_odd_zero_at_the_end_and_keeps_the_size(case: Any, seed: int) -> None:
    x_shape, weight_shape, how = case
    how = {name: how[name] for name in ("dilation", "groups")}
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal(x_shape), rng.standard_normal(weight_shape)
    reach = [d * (k - 1) for d, k in zip(how["dilation"], weight_shape[2:], strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *((n // 2, n - n // 2) for n in reach)])
    tensor = leaf(x)
    out = F.conv2d(tensor, weight, padding="same", **how)
    assert out.shape[2:] == x.shape[2:]
    same(out.data, reference.conv2d(padded, weight, **how))
    g = rng.standard_normal(out.shape)
    out.backward(g)
    same_number(inner(x, gradient(tensor)), inner(out, g))


def paint(x: np.ndarray, weight: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """The transposed convolution as its loops: each pixel paints the kernel."""
    (SH, SW), (PH, PW), (DH, DW) = (how[name] for name in ("stride", "padding", "dilation"))
    (EH, EW), groups = how["output_padding"], how["groups"]
    (N, C, H, W), (_, C_out, KH, KW) = x.shape, weight.shape
    rows, columns = (H - 1) * SH + DH * (KH - 1) + 1 + EH, (W - 1) * SW + DW * (KW - 1) + 1 + EW
    out = np.zeros((N, C_out * groups, rows, columns))
    for c in range(C):
        first = c // (C // groups) * C_out
        for i, j, kh, kw in np.ndindex(H, W, KH, KW):
            painted = x[:, c, i, j, None] * weight[c, :, kh, kw]  # (N, C_out)
            out[:, first : first + C_out, i * SH + kh * DH, j * SW + kw * DW] += painted
    return out[:, :, PH : rows - PH, PW : columns - PW]


@st.composite
def transposed(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of an image and a weight, and settings, for which something is left to paint."""
    groups, C_group, C_out = (draw(st.integers(1, 2)) for _ in range(3))
    sizes, kernel = [], []
    how: dict[str, list[int]] = {
        name: [] for name in ("stride", "padding", "dilation", "output_padding")
    }
    for _ in range(2):
        n, k, s, d = (draw(st.integers(1, most)) for most in (4, 3, 3, 3))
        extra = draw(st.integers(0, s - 1))
        size = (n - 1) * s + d * (k - 1) + 1 + extra
        sizes.append(n)
        kernel.append(k)
        for name, value in zip(
            how, (s, draw(st.integers(0, (size - 1) // 2)), d, extra), strict=True
        ):
            how[name].append(value)
    settings = {name: tuple(pair) for name, pair in how.items()}
    x_shape = draw(st.integers(0, 2)), groups * C_group, *sizes
    return x_shape, (groups * C_group, C_out, *kernel), {**settings, "groups": groups}


@quick
@given(transposed(), seeds, rungs)
def test_transposed_convolution_is_its_loops_and_its_gradients_are_adjoint(
    case: Any, seed: int, rung: str
) -> None:
    x_shape, weight_shape, how = case
    rng = np.random.default_rng(seed)
    x, weight = leaf(rng.standard_normal(x_shape)), leaf(rng.standard_normal(weight_shape))
    with kernels.use(rung):
        out = F.conv_transpose2d(x, weight, **how)
        g = rng.standard_normal(out.shape)
        out.backward(g)
    same(out.data, paint(x.data, weight.data, how))
    same_number(inner(x, gradient(x)), inner(out, g))
    same_number(inner(weight, gradient(weight)), inner(out, g))


@quick
@given(convolutions(least=1), seeds)
def test_transposed_convolution_is_the_adjoint_of_convolution(case: Any, seed: int) -> None:
    x_shape, weight_shape, how = case
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal(x_shape), rng.standard_normal(weight_shape)
    out = F.conv2d(x, weight, **how)
    g = rng.standard_normal(out.shape)
    # Of the sizes that the convolution shrinks to one and the same, output_padding gives ours.
    extra = tuple(
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, p, d, k, s in zip(
            *(x_shape[2:], how["padding"], how["dilation"], weight_shape[2:], how["stride"]),
            strict=True,
        )
    )
    back = F.conv_transpose2d(g, weight, output_padding=extra, **how)
    same_number(inner(back, x), inner(out, g))


# --- pooling ---


@quick
@given(st.data(), rungs)
def test_max_pooling_gives_its_gradient_to_the_places_it_names(data: Any, rung: str) -> None:
    x = data.draw(images())
    window = data.draw(windows(x))
    tensor = leaf(x)
    with kernels.use(rung):
        out, places = F.max_pool2d(tensor, **window, return_indices=True)
        g = np.random.default_rng(0).standard_normal(out.shape)
        out.backward(g)
    expected, expected_places = reference.max_pool2d(x, **window)
    same(out.data, expected)
    np.testing.assert_array_equal(places.data, expected_places)
    N, C, H, W = x.shape
    flat, there = x.reshape(N, C, H * W), places.data.reshape(N, C, math.prod(out.shape[2:]))
    same(np.take_along_axis(flat, there, 2).reshape(out.shape), out.data)  # padding never wins
    grad = np.zeros(flat.shape)
    for n, c in np.ndindex(N, C):
        np.add.at(grad[n, c], there[n, c], g[n, c].reshape(-1))
    same(gradient(tensor), grad.reshape(x.shape))


@quick
@given(st.data(), rungs)
def test_average_pooling_is_linear_and_its_gradient_is_the_adjoint(data: Any, rung: str) -> None:
    x = data.draw(images())
    window = data.draw(windows(x, dilated=False))
    window["count_include_pad"] = data.draw(st.booleans())
    window["divisor_override"] = data.draw(st.sampled_from([None, 3, -2]))
    tensor = leaf(x)
    with kernels.use(rung):
        out = F.avg_pool2d(tensor, **window)
        g = np.random.default_rng(0).standard_normal(out.shape)
        out.backward(g)
    same(out.data, reference.avg_pool2d(x, **window))
    same_number(inner(x, gradient(tensor)), inner(out, g))
    if window["divisor_override"] is None and not window["count_include_pad"]:
        flat = F.avg_pool2d(np.full(x.shape, 2.5), **window)
        same(flat, np.full(out.shape, 2.5))  # the mean of equal numbers is that number


sizes = st.one_of(st.none(), st.integers(1, 10))


@quick
@given(images(), st.one_of(st.integers(1, 10), st.tuples(sizes, sizes)), rungs)
def test_adaptive_pooling_is_the_mean_of_its_windows_and_its_gradient_the_adjoint(
    x: np.ndarray, size: Any, rung: str
) -> None:
    tensor = leaf(x)
    with kernels.use(rung):
        out = F.adaptive_avg_pool2d(tensor, size)
        g = np.random.default_rng(0).standard_normal(out.shape)
        out.backward(g)
    H, W = x.shape[2:]
    OH, OW = out.shape[2:]
    wanted = size if isinstance(size, tuple) else (size, size)
    assert tuple(n if w is None else w for w, n in zip(wanted, (H, W), strict=True)) == (OH, OW)
    for i, j in np.ndindex(OH, OW):
        rows = slice(i * H // OH, -(-(i + 1) * H // OH))
        columns = slice(j * W // OW, -(-(j + 1) * W // OW))
        same(out.data[:, :, i, j], x[:, :, rows, columns].mean((2, 3)))
    same_number(inner(x, gradient(tensor)), inner(out, g))


# --- borders ---


@quick
@given(
    images().filter(lambda x: x.size > 0),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.sampled_from(["constant", "reflect", "replicate"]),
)
def test_a_border_is_numpys_and_its_gradient_the_adjoint(
    x: np.ndarray, widths: tuple[int, ...], mode: str
) -> None:
    if mode == "reflect":
        widths = tuple(min(n, x.shape[-1 - i // 2] - 1) for i, n in enumerate(widths))
    tensor = leaf(x)
    out = F.pad(tensor, widths, mode=mode)
    g = np.random.default_rng(0).standard_normal(out.shape)
    out.backward(g)
    pairs = [(0, 0), (0, 0), widths[2:], widths[:2]]
    same(out.data, np.pad(x, pairs, mode={"replicate": "edge"}.get(mode, mode)))  # type: ignore[call-overload]
    same_number(inner(x, gradient(tensor)), inner(out, g))


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_with_a_delta_is_a_step_over_the_image(stride: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 1, 5, 6))
    delta = np.zeros((1, 1, 3, 3))
    delta[0, 0, 1, 1] = 1.0
    same(F.conv2d(x, delta, stride=stride, padding=1), x[:, :, ::stride, ::stride])
