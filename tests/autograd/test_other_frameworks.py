"""Mistakes that other educational frameworks make: each has a test that fails where it is made.

Those that belong to a test elsewhere are named here, so that the list is whole in one place.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn

# The mistake, and the test that holds against it.
HELD_ELSEWHERE = {
    "backward through L skips in 2^L steps": (
        "autograd.test_engine.test_fifty_residual_blocks_cost_ten_times_what_five_cost"
    ),
    "backward by recursion, which ends at Python's limit": (
        "autograd.test_engine.test_a_chain_of_5000_operations_goes_backward_without_recursion"
    ),
    "one gradient array for two tensors": (
        "autograd.test_engine.test_no_two_tensors_share_a_gradient_array"
    ),
    "weight decay counted twice, because of that": (
        "autograd.test_engine.test_weight_decay_is_counted_once_where_two_weights_get_one_gradient"
    ),
    "a gradient check whose cotangent is all ones": (
        "check.test_gradcheck.test_it_is_not_blind_to_what_the_sum_of_the_outputs_cannot_see"
    ),
    "an order of parameters that changes between processes": (
        "nn.test_module.test_the_order_is_the_same_in_every_process"
    ),
    "a change in place that gives a wrong gradient in silence": (
        "autograd.test_saving.test_writing_to_a_held_array_raises_where_it_is_written"
    ),
    "the same, made by an optimiser": (
        "autograd.test_saving."
        "test_an_optimiser_step_between_forward_and_backward_names_the_operation"
    ),
}


@pytest.mark.parametrize("mistake", HELD_ELSEWHERE)
def test_the_test_that_is_named_is_there(mistake: str) -> None:
    module, _, name = HELD_ELSEWHERE[mistake].rpartition(".")
    assert callable(getattr(import_module(f"tests.{module}"), name))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_has_a_gradient_in_both_modes(training: bool) -> None:
    """No gradient at all (TinyTorch), or none in evaluation (DeZero)."""
    layer = nn.BatchNorm2d(2).train(training)
    images = mr.randn(3, 2, 4, 4, requires_grad=True)
    out = layer(images)
    out.backward(mr.randn(*out.shape))
    for tensor in (images, layer.weight, layer.bias):
        assert tensor is not None
        assert tensor.grad is not None
        assert np.abs(tensor.grad.data).max() > 1e-3


def test_second_gradients_go_through_the_mean_and_variance_of_batch_norm() -> None:
    """Saved intermediates taken for constants: off by more than half (DeZero)."""
    rng = np.random.default_rng(0)
    start, cotangent, along = rng.standard_normal((3, 6, 2, 3))

    def first(values: np.ndarray, record: bool = False) -> tuple[mr.Tensor, mr.Tensor]:
        x = mr.tensor(values, requires_grad=True)
        out = F.batch_norm(x, None, None, training=True)
        (grad,) = mr.grad((out * out * out * cotangent).sum(), x, create_graph=record)
        return x, grad

    x, grad = first(start, record=True)
    (second,) = mr.grad((grad * along).sum(), x)
    assert second is not None
    h = 1e-5
    ahead, behind = (first(start + step * along)[1].data for step in (h, -h))
    difference = (ahead - behind) / (2.0 * h)  # the Hessian is symmetric: its product with along
    np.testing.assert_allclose(second.data, difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rung", ["reference", "im2col", "fast"])
@pytest.mark.parametrize("value", [-5.0, -np.inf])
def test_the_padding_of_max_pooling_never_wins(value: float, rung: str) -> None:
    """Padding with zeros, which are larger than negative numbers (DeZero)."""
    images = mr.full((1, 1, 2, 2), value, requires_grad=True)
    with mr.kernels.use(rung):
        out = F.max_pool2d(images, 2, stride=1, padding=1)
        out.sum().backward()
    assert (out.data == value).all()
    assert images.grad is not None
    assert images.grad.data.sum() == out.data.size  # all of it reaches a pixel


def test_a_residual_network_of_a_thousand_blocks_goes_forward_and_backward() -> None:
    """Recursion (micrograd), and 2^L visits of L skips (TinyTorch): neither would end here."""

    class Scaled(nn.ResidualBlock):
        def branch(self, u: mr.Tensor) -> mr.Tensor:
            return u * 0.001

    x = mr.tensor(np.ones(1), requires_grad=True)
    out = x
    for _ in range(1000):
        out = Scaled()(out)
    out.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.item(), 1.001**1000, rtol=1e-9)
