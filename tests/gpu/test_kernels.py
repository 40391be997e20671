"""The CUDA kernels on a card, held against the textbook loops over random shapes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import kernels
from minires.kernels import reference
from minires.kernels.cuda import sgd as cuda_sgd
from tests.kernels.cuda import test_conv as convolution
from tests.kernels.cuda import test_elementwise as elementwise
from tests.kernels.cuda import test_norm as norm
from tests.kernels.cuda import test_sgd as descent
from tests.kernels.cuda.test_pool import LAYOUTS, put, random_like
from tests.kernels.test_conv import convolutions, drawn
from tests.kernels.test_pool import images, same, windows
from tests.kernels.test_softmax import labelled_logits
from tests.kernels.test_softmax import same as same_softmax

pytestmark = pytest.mark.gpu
DTYPES = [np.float32, np.float64]
dtypes, seeds, layouts = (
    st.sampled_from(DTYPES),
    st.integers(0, 2**32 - 1),
    st.sampled_from(LAYOUTS),
)
many = settings(deadline=None, max_examples=60)


@many
@given(case=convolutions(), seed=seeds, dtype=dtypes)
def test_convolution_and_its_gradients(cupy: ModuleType, case: Any, seed: int, dtype: Any) -> None:
    x_shape, weight_shape, how = case
    arrays = drawn(np.random.default_rng(seed), x_shape, weight_shape, how, dtype)
    convolution.holds_against_reference(cupy, arrays, how)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", convolution.CASES)
def test_each_kind_of_convolution(cupy: ModuleType, name: str, dtype: Any) -> None:
    convolution.holds_against_reference(cupy, *convolution.numbers(name, dtype))


@many
@given(shape=norm.SHAPES, seed=seeds, dtype=dtypes, order=st.sampled_from(["C", "F"]))
def test_batch_norm(cupy: ModuleType, shape: Any, seed: int, dtype: Any, order: Any) -> None:
    x, *others = norm.random_arrays(shape, dtype, seed)
    norm.holds_against_reference(cupy.array(x, order=order), *map(cupy.asarray, others))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(256, 16, 32, 32), (128, 64, 8, 8), (3, 2048, 7, 7), (70_000, 3)]
)
def test_batch_norm_of_many_blocks(cupy: ModuleType, shape: Any, dtype: Any) -> None:
    norm.holds_against_reference(*map(cupy.asarray, norm.random_arrays(shape, dtype)))


@many
@given(data=st.data(), layout=layouts)
def test_max_pooling_its_gradient_and_its_gather(
    cupy: ModuleType, data: st.DataObject, layout: str
) -> None:
    """No rounding in the maximum, nor in what it picks; a gradient is a sum."""
    x = data.draw(images(few_values=data.draw(st.booleans())))
    how = data.draw(windows(x))
    expected, places = reference.max_pool2d(x, **how)
    out, indices = kernels.max_pool2d(put(cupy, x, layout), **how)
    np.testing.assert_array_equal(out.get(), expected, strict=True)
    np.testing.assert_array_equal(indices.get(), places, strict=True)
    grad, values = random_like(places.shape, x.dtype), random_like(x.shape, x.dtype)
    given = put(cupy, grad, layout), put(cupy, places, layout), x.shape
    found = kernels.max_pool2d_grad_input(*given)
    same(found.get(), reference.max_pool2d_grad_input(grad, places, x.shape))
    picked = kernels.max_pool2d_gather(put(cupy, values, layout), put(cupy, places, layout))
    np.testing.assert_array_equal(picked.get(), reference.max_pool2d_gather(values, places))


@many
@given(data=st.data(), layout=layouts)
def test_average_pooling_and_its_gradient(
    cupy: ModuleType, data: st.DataObject, layout: str
) -> None:
    x = data.draw(images())
    how = data.draw(windows(x, dilated=False))
    how["count_include_pad"] = data.draw(st.booleans())
    out = reference.avg_pool2d(x, **how)
    same(kernels.avg_pool2d(put(cupy, x, layout), **how).get(), out)
    grad = random_like(out.shape, x.dtype)
    found = kernels.avg_pool2d_grad_input(put(cupy, grad, layout), x.shape, **how)
    same(found.get(), reference.avg_pool2d_grad_input(grad, x.shape, **how))


@many
@given(data=st.data(), size=st.tuples(st.integers(1, 9), st.integers(1, 9)), layout=layouts)
def test_adaptive_pooling_and_its_gradient(
    cupy: ModuleType, data: st.DataObject, size: Any, layout: str
) -> None:
    x = data.draw(images())
    out = reference.adaptive_avg_pool2d(x, size)
    same(kernels.adaptive_avg_pool2d(put(cupy, x, layout), size).get(), out)
    grad = random_like(out.shape, x.dtype)
    found = kernels.adaptive_avg_pool2d_grad_input(put(cupy, grad, layout), x.shape)
    same(found.get(), reference.adaptive_avg_pool2d_grad_input(grad, x.shape))


@many
@given(labelled=labelled_logits(), ignored=st.integers(-1, 5), layout=layouts)
def test_softmax_and_cross_entropy(
    cupy: ModuleType, labelled: Any, ignored: int, layout: str
) -> None:
    logits, target = labelled
    grad = random_like(len(logits), logits.dtype)
    x, y = put(cupy, logits, layout), put(cupy, target, layout)
    for name in ("softmax", "log_softmax"):
        expected = getattr(reference, name)(logits, 1)
        same_softmax(getattr(kernels, name)(x, 1).get(), expected)
    losses = kernels.cross_entropy(x, y, ignored)
    same_softmax(losses.get(), reference.cross_entropy(logits, target, ignored))
    grads = kernels.cross_entropy_grad(put(cupy, grad, layout), x, y, ignored)
    same_softmax(grads.get(), reference.cross_entropy_grad(grad, logits, target, ignored))


@many
@given(shape=st.tuples(st.integers(1, 70), st.integers(1, 70)), dtype=dtypes, layout=layouts)
def test_relu_its_gradient_and_the_sum_before_it(
    cupy: ModuleType, shape: Any, dtype: Any, layout: str
) -> None:
    a, b = elementwise.numbers(shape, dtype), elementwise.numbers(shape, dtype, 1)
    x, y = put(cupy, a, layout), put(cupy, b, layout)
    elementwise.same_bits(kernels.relu(x), kernels.relu(a))
    elementwise.same_bits(kernels.add_relu(x, y), elementwise.add_relu(a, b))
    elementwise.same_bits(kernels.relu_grad_input(x, y), elementwise.relu_grad_input(a, b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first_step", [True, False])
@pytest.mark.parametrize("how", descent.SETTINGS, ids=str)
def test_a_step_of_sgd(cupy: ModuleType, how: Any, first_step: bool, dtype: Any) -> None:
    """A card may round a product and the sum after it once instead of twice: a few steps of eps."""
    params, grads, velocities = (descent.drawn(dtype, seed) for seed in range(3))
    device = [[cupy.asarray(a) for a in part] for part in (params, grads, velocities)]
    given = device[2] if "momentum" in how else None
    cuda_sgd.sgd(device[0], device[1], given, lr=0.1, **how, first_step=first_step)
    for i, (p, g, v) in enumerate(zip(params, grads, velocities, strict=True)):
        after, velocity = descent.by_formula(p, g, v if given else None, first_step, **how)
        limit = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(device[0][i].get(), after, rtol=limit, atol=limit)
        if velocity is not None:
            np.testing.assert_allclose(device[2][i].get(), velocity, rtol=limit, atol=limit)
