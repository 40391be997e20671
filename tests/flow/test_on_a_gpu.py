"""The instruments on a GPU: the numbers of the CPU, plain data, and no trace there either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import flow, nn
from minires.device import is_on_gpu
from minires.nn.devices import batch_for
from minires.result import Result
from tests.fake_cupy import fake_gpu
from tests.flow.test_every_instrument import THOROUGH
from tests.flow.test_trace import make_batch, make_model, picture, same

__all__ = ["fake_gpu"]

DEVICE = "cuda:1"  # not the current one, so what is left to the current one shows


def train_recorded(model: Any, x: Any, y: Any) -> Result:
    """Two recorded steps, the weights put back by hand: training is meant to change them."""
    images, labels = batch_for(model, x, y)
    with flow.untouched(model):
        optimizer = mr.optim.SGD(model.parameters(), lr=0.1)
        with flow.Recorder(model, every=1) as recorder:
            for _ in range(2):
                loss = F.cross_entropy(model.train()(images), labels)
                loss.backward()
                optimizer.step()
                recorder.step(loss)
    return recorder.log


def step_with_a_lesion(model: Any, x: Any, y: Any) -> Result:
    images, labels = batch_for(model, x, y)
    with flow.untouched(model), flow.lesioned(model, skip=0.5, noise=0.1):
        F.cross_entropy(model(images), labels).backward()
    return flow.ledger(model, x, y)


RUN: dict[str, Callable[[Any, Any, Any], Result]] = {
    **THOROUGH,
    "jacobian_lens, lanczos": lambda m, x, y: flow.jacobian_lens(
        m, x, method="lanczos", steps=4, top=2
    ),
    "Recorder": train_recorded,
    "lesioned": step_with_a_lesion,
}


def model_of(device: str) -> Any:
    """Of float64, with gradients, hooks, a frozen parameter and mixed modes."""
    return make_model().to("float64").to(device)


def batch() -> tuple[np.ndarray, np.ndarray]:
    """As small as can be: each launch of a kernel takes the stand-in milliseconds."""
    images, labels = make_batch()
    return images[:2, :, ::2, ::2].astype(np.float64), labels[:2]  # (2, 1, 4, 4), (2,)


def parts(found: Any) -> list[Any]:
    """All that is in a result, also what ``to_dict`` leaves out; rounding errors are not."""
    if is_dataclass(found) and not isinstance(found, type):
        named = {f.name: getattr(found, f.name) for f in fields(found)}
        return parts({k: v for k, v in named.items() if not k.endswith("error")})
    if isinstance(found, dict):
        return [part for value in found.values() for part in parts(value)]
    if isinstance(found, list | tuple):
        return [part for value in found for part in parts(value)]
    return [found]


@pytest.mark.parametrize("name", RUN)
def test_an_instrument_gives_the_numbers_of_the_cpu_as_plain_data(
    fake_gpu: ModuleType, name: str
) -> None:
    here = RUN[name](model_of("cpu"), *batch())
    there = RUN[name](model_of(DEVICE), *batch())
    expected, found = parts(here), parts(there)
    assert len(found) == len(expected) > 3
    for one, other in zip(expected, found, strict=True):
        assert type(other) is type(one)
        if isinstance(one, float | np.ndarray) and np.asarray(one).dtype.kind == "f":
            np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-11)
        else:
            np.testing.assert_array_equal(other, one)
    assert not any(isinstance(part, mr.Tensor) or is_on_gpu(part) for part in found)
    errors = [getattr(result, "max_error", 0.0) for result in (here, there)]
    assert errors[1] <= 2.0 * errors[0] + 1e-8
    assert there.caption()
    assert there.to_dict()


@pytest.mark.parametrize("name", [name for name in RUN if ", " not in name])
def test_an_instrument_leaves_everything_as_it_was_wherever_the_batch_is(
    fake_gpu: ModuleType, name: str
) -> None:
    model = model_of(DEVICE)
    before = picture(model)
    found = RUN[name](model, *batch())
    same(before, picture(model))
    images, labels = batch()
    x = mr.tensor(images, device="cuda:0")
    again = RUN[name](model, x, fake_gpu.asarray(labels))
    same(before, picture(model))
    assert again.to_dict() == found.to_dict()
    assert (x.device, x.grad, x.node) == ("cuda:0", None, None)


def test_the_ends_of_a_line_may_be_on_a_gpu(fake_gpu: ModuleType) -> None:
    model, x = model_of(DEVICE), make_batch()[0].astype(np.float64)
    start, end = fake_gpu.asarray(x[2]), mr.tensor(x[3], device="cuda:0", requires_grad=True)
    found = flow.shattering(model, x, start=start, end=end, points=8)
    expected = flow.shattering(model, x, start=x[2], end=x[3], points=8)
    assert found.to_dict() == expected.to_dict()


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_network_half_of_which_is_elsewhere_is_looked_at_where_its_parts_are(
    fake_gpu: ModuleType, device: str
) -> None:
    """An array is made, and worked on, beside the one it is for, not where the model begins."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            mr.manual_seed(0)
            stack = mr.models.stack(4, 4, kind="residual", in_channels=6, num_classes=3)
            self.first, self.second = nn.Sequential(*stack.layers), stack.fc
            self.entry = nn.Linear(6, 4)

        def forward(self, x: Any) -> Any:
            return self.second(self.first(self.entry(x)).to(self.second.weight.device))

    x, y = np.random.default_rng(0).standard_normal((5, 6)), np.array([0, 1, 2, 0, 1])
    whole, halves = Halves().to("float64"), Halves().to("float64").to(device)
    halves.second.to("cuda:1")

    def loss(output: Any, target: Any) -> Any:
        return F.cross_entropy(output, target.to(output.device))

    a, b = (flow.ledger(model, x, y, loss=loss) for model in (whole, halves))
    np.testing.assert_allclose(
        [entry.grad_norm for entry in b.blocks], [entry.grad_norm for entry in a.blocks], rtol=1e-9
    )
    assert not flow.check_model(halves, x, y, loss=loss).findings


def test_gradients_on_a_gpu_that_share_memory_are_found(fake_gpu: ModuleType) -> None:
    model = model_of(DEVICE)
    one, other = model.layer1[0].conv1.weight, model.layer1[0].conv2.weight
    other.data = one.data[:]
    texts = [
        f.text for f in flow.check_model(model, *batch()).findings if f.kind == "shared memory"
    ]
    assert len(texts) == 1
    assert "layer1.0.conv2.weight" in texts[0]


def test_a_loss_that_depends_on_nothing_has_gradients_of_zeros_where_the_weights_are(
    fake_gpu: ModuleType,
) -> None:
    def of_the_head(output: Any, target: Any) -> Any:
        return (output.detach() * 0.0).sum() + (model.fc.weight * 2.0).sum()

    model = model_of(DEVICE)
    found = flow.signal(model, *batch(), loss=of_the_head)
    assert {layer.name for layer in found.layers if layer.weight_grad_norm} == {"fc"}
