"""Fast softmax and cross-entropy held against the textbook loops."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import DTypeError, ShapeError
from minires.kernels import reference
from minires.kernels.softmax import cross_entropy, cross_entropy_grad, log_softmax, softmax

quick = settings(deadline=None, max_examples=60)


def tolerance(dtype):
    return 1e-5 if dtype == np.float32 else 1e-12


def same(fast, slow):
    assert (fast.shape, fast.dtype) == (slow.shape, slow.dtype)
    limit = tolerance(fast.dtype)
    np.testing.assert_allclose(fast, slow, rtol=limit, atol=limit)


@st.composite
def arrays(draw, ndim):
    shape = tuple(draw(st.integers(0 if axis == 0 else 1, 5)) for axis in range(ndim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1.0, 30.0, 1e4]))
    x = (scale * rng.standard_normal(shape)).astype(draw(st.sampled_from([np.float32, np.float64])))
    layout = draw(st.sampled_from(["C", "F", "strided"]))
    if layout == "F":
        x = np.asfortranarray(x)
    elif layout == "strided":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    x.flags.writeable = False
    return x


@st.composite
def labelled_logits(draw):
    logits = draw(arrays(2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.int64, np.int32, np.uint8]))
    return logits, rng.integers(0, logits.shape[1], len(logits)).astype(dtype)


@quick
@given(st.data())
def test_softmax_and_its_logarithm_equal_the_reference_along_any_axis(data):
    x = data.draw(arrays(data.draw(st.integers(1, 4))))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    same(softmax(x, axis), reference.softmax(x, axis))
    same(log_softmax(x, axis), reference.log_softmax(x, axis))


@quick
@given(labelled_logits())
def test_cross_entropy_and_its_gradient_equal_the_reference(labelled):
    logits, target = labelled
    same(cross_entropy(logits, target), reference.cross_entropy(logits, target))
    grad = np.random.default_rng(5).standard_normal(len(logits)).astype(logits.dtype)
    same(
        cross_entropy_grad(grad, logits, target),
        reference.cross_entropy_grad(grad, logits, target),
    )


@quick
@given(arrays(2))
def test_probabilities_are_none_below_0_and_sum_to_1(x):
    out = softmax(x, axis=1)
    assert (out >= 0).all()
    np.testing.assert_allclose(out.sum(axis=1), 1.0, rtol=tolerance(x.dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_neither_overflow_nor_lose_the_loss(dtype):
    logits = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, -1e4]], dtype)
    assert softmax(logits).tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
    assert log_softmax(logits)[0].tolist() == [0.0, -2e4, -1e4]
    losses = cross_entropy(logits, np.array([1, 0]))
    np.testing.assert_allclose(losses, [2e4, np.log(2.0)], rtol=tolerance(dtype))
    grad = cross_entropy_grad(np.array([1.0, 2.0], dtype), logits, np.array([1, 0]))
    assert grad.tolist() == [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]
    assert {losses.dtype, grad.dtype} == {np.dtype(dtype)}


def test_a_shift_of_all_logits_changes_nothing():
    logits = np.random.default_rng(0).standard_normal((4, 5))
    target = np.array([0, 1, 2, 3])
    np.testing.assert_allclose(
        cross_entropy(logits + 100.0, target), cross_entropy(logits, target), rtol=1e-10
    )


def test_infinities_and_nan_raise_no_warnings():
    logits = np.array(
        [[np.inf, 0.0], [-np.inf, -np.inf], [np.nan, 1.0], [-np.inf, 1.0], [3e38, -3e38]],
        np.float32,
    )
    target = np.zeros(5, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probabilities = softmax(logits)
        log_probabilities = log_softmax(logits)
        losses = cross_entropy(logits, target)
        grad = cross_entropy_grad(np.full(5, np.inf, np.float32), logits, target)
    assert np.isnan(probabilities[:3]).all()
    assert probabilities[3:].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert log_probabilities[3].tolist() == [-np.inf, 0.0]
    assert losses[3:].tolist() == [np.inf, 0.0]
    assert grad[3].tolist() == [-np.inf, np.inf]


def test_inputs_are_never_written_to_and_never_handed_back():
    logits, target = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1])
    before = logits.copy()
    results = [
        softmax(logits),
        log_softmax(logits),
        cross_entropy(logits, target),
        cross_entropy_grad(np.ones(2), logits, target),
    ]
    assert (logits == before).all()
    assert not any(np.shares_memory(result, logits) for result in results)


def test_an_empty_batch_gives_an_empty_result_of_the_same_dtype():
    logits, target = np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    for result, shape in [
        (softmax(logits), (0, 3)),
        (softmax(logits, axis=0), (0, 3)),
        (log_softmax(logits), (0, 3)),
        (cross_entropy(logits, target), (0,)),
        (cross_entropy_grad(np.zeros(0, np.float32), logits, target), (0, 3)),
    ]:
        assert result.shape == shape
        assert result.dtype == np.float32


@pytest.mark.parametrize("kernels", [None, reference])
def test_mistakes_are_named_by_fast_and_reference_alike(kernels):
    loss = kernels.cross_entropy if kernels else cross_entropy
    grad = kernels.cross_entropy_grad if kernels else cross_entropy_grad
    logits = np.zeros((2, 3), np.float32)
    with pytest.raises(ShapeError) as caught:
        loss(logits, np.array([1, 3]))
    assert str(caught.value) == (
        "cross_entropy: target holds class 3, but logits has 3 classes, 0 to 2.\n"
        "  logits: (2, 3) float32    target: (2,) int64\n"
        "  Check num_classes of the model, and that labels count from 0."
    )
    with pytest.raises(ShapeError, match="target holds class -1"):
        grad(np.ones(2), logits, np.array([1, -1]))
    with pytest.raises(DTypeError, match="must hold whole numbers"):
        loss(logits, np.array([1.0, 2.0]))
    with pytest.raises(ShapeError, match="cross_entropy_grad: grad_losses must have the shape"):
        grad(np.ones((2, 1)), logits, np.array([1, 2]))
