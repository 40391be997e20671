"""The gradient checker and the diagnosis, where the functions work on a GPU."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd import Function
from minires.check import GradcheckError, diagnose, gradcheck, gradgradcheck
from minires.device import is_on_gpu
from tests.fake_cupy import fake_gpu

__all__ = ["fake_gpu"]

DRAW = np.random.default_rng(0)
X, W = DRAW.standard_normal((2, 2, 4, 4)), DRAW.standard_normal((2, 2, 3, 3))


def seen(report: Any) -> list[tuple[Any, ...]]:
    """What a report says of each input: its name, how it was judged, and at how many places."""
    return [(check.name, check.passed, check.shape) for check in report.inputs]


def conv(x: Any, weight: Any) -> Any:
    return F.conv2d(x, weight, padding=1)


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_right_gradients_on_a_gpu_pass_as_on_the_cpu(
    fake_gpu: ModuleType, check: Any, device: str
) -> None:
    here = check(conv, (X[:1, :, :3, :3], W[:1]), directions=1)
    inputs = [mr.tensor(a, device=device) for a in (X[:1, :, :3, :3], W[:1])]
    there = check(conv, inputs, directions=1)
    assert there.passed
    assert seen(there) == seen(here)
    assert there.outputs == here.outputs
    assert all(t.device == device and t.grad is None for t in inputs)


def test_a_function_that_works_on_a_gpu_may_take_cupy_s_arrays_and_constants(
    fake_gpu: ModuleType,
) -> None:
    with fake_gpu.cuda.Device(1):
        x, classes = fake_gpu.asarray(X[0, :, :, 0].astype(np.float32)), fake_gpu.asarray([1, 3])
    found: list[Any] = []

    def loss(x: Any, target: Any, scale: Any) -> Any:
        found.append((x.device, x.dtype, target.device, scale.device))
        return F.cross_entropy(x * scale, target, reduction="none")

    scale = mr.tensor([[2.0]], device="cuda:1")
    given = mr.Tensor(x).requires_grad_(True)
    assert gradcheck(loss, (given, mr.Tensor(classes), scale)).passed
    assert set(found) == {("cuda:1", np.dtype("float64"), "cuda:1", "cuda:1")}
    assert gradcheck(lambda array: array * array, x).passed


def test_a_module_on_a_gpu_is_checked_by_its_parameters_too_and_left_as_it_is(
    fake_gpu: ModuleType,
) -> None:
    mr.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).to("cuda:1")
    before = [p.data for p in model.parameters()]
    x = mr.tensor(X.reshape(-1, 4)[:2, :3], device="cuda:1")
    for check in (gradcheck, gradgradcheck):
        report = check(model, x)
        assert [one.name for one in report.inputs][:3] == ["input", "0.weight", "0.bias"]
    assert all(p.data is array for p, array in zip(model.parameters(), before, strict=True))
    assert {(str(p.dtype), p.device) for p in model.parameters()} == {("float32", "cuda:1")}


class Wrong(Function):
    """x^2 with the gradient of x^2 / 2."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x=x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out * ctx.saved("x")


def test_a_wrong_gradient_on_a_gpu_is_told_in_the_words_and_numbers_of_the_cpu(
    fake_gpu: ModuleType,
) -> None:
    texts = []
    for device in ("cpu", "cuda:1"):
        with pytest.raises(GradcheckError) as caught:
            gradcheck(Wrong.apply, mr.tensor(X[0, 0], device=device))
        texts.append(str(caught.value))
    assert "Wrong" in texts[0]
    assert texts[0] == texts[1]


def test_the_gradients_that_arrive_may_be_given_on_the_gpu(fake_gpu: ModuleType) -> None:
    x, arrives = (mr.tensor(X[0, i], device="cuda:1") for i in (0, 1))
    assert gradgradcheck(F.tanh, x, arrives).passed


def relu_on_a_gpu(x: np.ndarray) -> mr.Tensor:
    return F.relu(mr.tensor(x, device="cuda:1"))


def with_zero(grad_out: np.ndarray, x: np.ndarray) -> Any:
    given, there = (mr.tensor(array, device="cuda:1") for array in (grad_out, x))
    return mr.where(there >= 0.0, given, 0.0)


def without_zero(grad_out: np.ndarray, x: np.ndarray) -> Any:
    given, there = (mr.tensor(array, device="cuda:1") for array in (grad_out, x))
    return (given * (there > 0.0)).data


def test_functions_that_work_on_a_gpu_are_diagnosed_like_those_of_the_cpu(
    fake_gpu: ModuleType,
) -> None:
    assert is_on_gpu(without_zero(np.ones(2), np.ones(2)))
    assert diagnose(relu_on_a_gpu, without_zero, "relu").correct
    assert diagnose(relu_on_a_gpu, with_zero, "relu").names == ("one_at_zero",)
