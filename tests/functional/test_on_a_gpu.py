"""Every operation on a GPU: the numbers of the CPU, and nothing copied on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import rng
from minires.errors import DeviceError, IndexingError
from tests.fake_cupy import counters, fake_gpu  # noqa: F401
from tests.functional.specs import SPECS, Spec


def tensors(result: Any) -> list[mr.Tensor]:
    """The floating tensors that an operation gave."""
    given = result if isinstance(result, tuple) else (result,)
    return [part for part in given if isinstance(part, mr.Tensor) and part.dtype.kind == "f"]


def random_like(outputs: list[mr.Tensor], rng: np.random.Generator) -> list[mr.Tensor]:
    return [mr.tensor(rng.standard_normal(out.shape), device=out.device) for out in outputs]


def outcome(spec: Spec, device: str) -> list[np.ndarray]:
    """Results, gradients by arrays and by tensors, and second gradients, as NumPy arrays."""
    rng = np.random.default_rng(0)
    inputs = [mr.tensor(x, device=device, requires_grad=True) for x in spec.inputs]
    outputs = tensors(spec(*inputs))
    cotangents = random_like(outputs, rng)
    plain = mr.grad(outputs, inputs, cotangents, retain_graph=True, allow_unused=True)
    grads = mr.grad(outputs, inputs, cotangents, create_graph=True, allow_unused=True)
    again = [g for g in grads if g is not None and g.requires_grad]
    second = mr.grad(again, inputs, random_like(again, rng), allow_unused=True) if again else ()
    found = [x for x in (*plain, *grads, *second) if x is not None]
    assert all(x.device == inputs[0].device for x in found)
    return [x.detach().to("cpu").numpy() for x in (*outputs, *found)]


# A GPU draws dropout's numbers itself, and other ones.
DRAWS_NOTHING = [spec for spec in SPECS if spec.operation is not F.dropout]


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
@pytest.mark.parametrize("spec", DRAWS_NOTHING, ids=[spec.label for spec in DRAWS_NOTHING])
def test_an_operation_gives_the_numbers_of_the_cpu(
    fake_gpu: Any,  # noqa: F811
    spec: Spec,
    device: str,
) -> None:
    expected = outcome(spec, "cpu")
    found = outcome(spec, device)
    assert len(found) == len(expected)
    for here, there in zip(expected, found, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-10, atol=1e-12)


def test_dropout_draws_on_the_gpu_from_one_draw_of_the_default_generator(
    fake_gpu: Any,  # noqa: F811
) -> None:
    x = mr.ones(40, 50, device="cuda:1", requires_grad=True)
    mr.manual_seed(3)
    key = int(rng.default_generator().integers(2**64, dtype=np.uint64))
    after = rng.get_state()
    mr.manual_seed(3)
    counters.reset()
    out = F.dropout(x, 0.25)
    (grad,) = mr.grad(out.sum(), x)
    assert (counters.to_device, counters.to_host) == (0, 0), str(counters)
    assert rng.get_state() == after
    drawn = np.random.Generator(np.random.Philox(key=key)).random((40, 50))
    kept = np.where(drawn >= 0.25, np.float32(1.0 / 0.75), 0).astype(np.float32)
    np.testing.assert_array_equal(out.detach().cpu().numpy(), kept)
    np.testing.assert_array_equal(grad.cpu().numpy(), kept)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda x, y: x + y, "Add: a is on cuda:0 and b is on cpu"),
        (lambda x, y: y.detach().data * x, "Mul: a is on cpu and b is on cuda:0"),
        (lambda x, y: x @ y, "MatMul: a is on cuda:0 and b is on cpu"),
        (lambda x, y: mr.cat([x, x, y]), r"Cat: .*\[0\] is on cuda:0 and .*\[2\] is on cpu"),
        (lambda x, y: F.linear(x, y), "is on cuda:0 and .* is on cpu"),
        (lambda x, y: F.mse_loss(x, y), "Sub: a is on cuda:0 and b is on cpu"),
        (lambda x, y: mr.where(x.data > 0, x, y), "where: condition is on cuda:0 and other is on"),
        (lambda x, y: F.cross_entropy(x, np.array([0, 1])), "cross_entropy: input is on cuda:0"),
        (lambda x, y: x.sum().backward(mr.tensor(1.0)), "backward: tensor is on cuda:0"),
        (
            lambda x, y: F.batch_norm(x, np.zeros(2, np.float32), np.ones(2, np.float32)),
            "BatchNormEval: x is on cuda:0 and mean is on cpu",
        ),
    ],
)
def test_mixing_devices_names_the_operation_and_both_devices(
    fake_gpu: Any,  # noqa: F811
    call: Any,
    named: str,
) -> None:
    x = mr.ones(2, 2, device="cuda", requires_grad=True)
    y = mr.ones(2, 2, requires_grad=True)
    with pytest.raises(DeviceError, match=named):
        call(x, y)


def test_two_gpus_are_two_devices_and_a_graph_may_go_from_one_to_the_other(
    fake_gpu: Any,  # noqa: F811
) -> None:
    x = mr.tensor([1.0, 2.0], device="cuda:0", requires_grad=True)
    y = mr.tensor([3.0, 4.0], device="cuda:1", requires_grad=True)
    with pytest.raises(DeviceError, match="Mul: a is on cuda:0 and b is on cuda:1"):
        x * y
    there = x.to("cuda:1")
    assert there.device == "cuda:1"
    assert y.to("cuda") is y
    ((there * y).sum() + (there * there).sum()).backward()
    assert (x.grad.device, y.grad.device) == ("cuda:0", "cuda:1")
    assert x.grad.tolist() == [5.0, 8.0]
    assert y.grad.tolist() == [1.0, 2.0]


def test_places_that_are_not_there_are_told_where_the_cpu_knows_them(
    fake_gpu: Any,  # noqa: F811
) -> None:
    x = mr.ones(3, 2, device="cuda")
    for index in (3, [0, 3], np.array([-4]), (slice(None), [0, 2]), np.array([True] * 4)):
        with pytest.raises(IndexingError, match="getitem"):
            x[index]
    assert x[[0, 2, 0]].shape == (3, 2)
    assert x[np.array([True, False, True])].shape == (2, 2)
