"""Layers, initialisation and hooks on a GPU that is not the current one."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import DeviceError
from minires.nn import init
from minires.nn.devices import batch_for, device_of_model
from tests.fake_cupy import counters, fake_gpu

__all__ = ["fake_gpu"]

DEVICE = "cuda:1"
IMAGES = (4, 2, 6, 6)

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d(2), IMAGES),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1), IMAGES),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(2), IMAGES),
    "BatchNorm2d, evaluating": (lambda: nn.BatchNorm2d(2).eval(), IMAGES),
    "BatchNorm2d, all means": (lambda: nn.BatchNorm2d(2, momentum=None), IMAGES),
    "BatchNorm2d, evaluating all means": (lambda: nn.BatchNorm2d(2, momentum=None).eval(), IMAGES),
    "BatchNorm2d, bare": (
        lambda: nn.BatchNorm2d(2, affine=False, track_running_stats=False),
        IMAGES,
    ),
    "Conv2d": (lambda: nn.Conv2d(2, 4, 3, padding=1, groups=2), IMAGES),
    "Dropout, evaluating": (lambda: nn.Dropout(0.5).eval(), IMAGES),
    "Flatten": (nn.Flatten, IMAGES),
    "Identity": (nn.Identity, IMAGES),
    "Linear": (lambda: nn.Linear(5, 3), (4, 5)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), IMAGES),
    "ReLU": (nn.ReLU, IMAGES),
    "Sequential": (lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), (3, 5)),
}


def numpy_of(*tensors: Any) -> list[np.ndarray]:
    return [t.detach().cpu().numpy() for t in tensors]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_numbers_of_the_cpu(fake_gpu: ModuleType, name: str) -> None:
    build, shape = LAYERS[name]
    draw = np.random.default_rng(0)
    x = draw.standard_normal(shape)
    results = []
    for device in ("cpu", DEVICE):
        mr.manual_seed(0)
        layer = build().to("float64").to(device)
        inputs = mr.tensor(x, device=device, requires_grad=True)
        counters.reset()
        out = layer(inputs)
        (out * out).sum().backward()
        waits = int(
            name == "BatchNorm2d, all means" and device != "cpu"
        )  # for the number of the batch
        assert (counters.to_device, counters.to_host) == (0, waits), str(counters)
        grads = [p.grad for p in layer.parameters()]
        results.append(numpy_of(out, inputs.grad, *grads, *layer.buffers()))
    assert len(results[0]) >= 2
    for here, there in zip(*results, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-10, atol=1e-12)


def test_losses_give_the_numbers_of_the_cpu(fake_gpu: ModuleType) -> None:
    draw = np.random.default_rng(0)
    x, y, z = draw.standard_normal((4, 3)), np.array([0, 2, 1, 1]), draw.standard_normal((4, 3))
    found: list[list[float]] = []
    for device in ("cpu", DEVICE):
        output, classes, target = (mr.tensor(array, device=device) for array in (x, y, z))
        weight = mr.tensor([0.2, 0.5, 0.3], device=device).to("float64")
        losses = (
            nn.CrossEntropyLoss(label_smoothing=0.1)(output, classes),
            nn.CrossEntropyLoss(weight=weight, ignore_index=2)(output, classes),
            nn.MSELoss()(output, target),
        )
        found.append([float(loss) for loss in losses])
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_every_layer_is_tried() -> None:
    tried = {name.split(",")[0] for name in LAYERS} | {"CrossEntropyLoss", "MSELoss"}
    others = {"Dropout", "Module", "ModuleList", "Observer", "Outputs", "Parameter"}
    classes = {name for name in nn.__all__ if name[0].isupper()}
    assert classes - others - {"ResidualBlock"} <= tried


FILLS: dict[str, Callable[[mr.Tensor], Any]] = {
    "constant_": lambda t: init.constant_(t, 0.3),
    "dirac_": init.dirac_,
    "eye_": lambda t: init.eye_(t),
    "kaiming_normal_": init.kaiming_normal_,
    "kaiming_uniform_": init.kaiming_uniform_,
    "normal_": init.normal_,
    "ones_": init.ones_,
    "uniform_": init.uniform_,
    "xavier_normal_": init.xavier_normal_,
    "xavier_uniform_": init.xavier_uniform_,
    "zeros_": init.zeros_,
}


def test_every_initialisation_is_tried() -> None:
    assert set(FILLS) == {name for name in init.__all__ if name.endswith("_")}


@pytest.mark.parametrize("name", FILLS)
def test_an_initialisation_has_the_bits_of_the_cpu(fake_gpu: ModuleType, name: str) -> None:
    shape = (3, 4) if name == "eye_" else (4, 2, 3, 3)
    filled = []
    for device in ("cpu", DEVICE):
        mr.manual_seed(0)
        tensor = mr.full(shape, 7.0, device=device)
        assert FILLS[name](tensor) is tensor
        assert tensor.device == device
        filled.append(*numpy_of(tensor))
    assert filled[0].tobytes() == filled[1].tobytes()


def test_a_module_is_converted_where_it_is(fake_gpu: ModuleType) -> None:
    model = mr.models.cifar_resnet(8, width=2).to(DEVICE)
    F.relu(model(mr.ones(2, 3, 8, 8, device=DEVICE))).sum().backward()
    model.to("float64")
    own = [*model.parameters(), *model.buffers()]
    grads = [p.grad for p in model.parameters()]
    assert {t.device for t in (*own, *grads)} == {DEVICE}
    assert {str(t.dtype) for t in (*own, *grads)} == {"float64", "int64"}


def test_a_hook_that_sends_nothing_back_sends_zeros_from_where_the_gradient_is(
    fake_gpu: ModuleType,
) -> None:
    first, second = (nn.Linear(3, 3).to("float64").to(DEVICE) for _ in range(2))
    came: list[Any] = []
    second.register_full_backward_hook(lambda module, given, out: came.append((*given, *out)))
    second.register_full_backward_hook(lambda module, given, out: (None,))
    x = mr.tensor(np.ones((2, 3)), device=DEVICE)
    second(first(x)).sum().backward()
    assert [grad.device for grad in came[0]] == [DEVICE, DEVICE]
    assert first.weight.grad is not None
    assert first.weight.grad.device == DEVICE
    assert not first.weight.grad.cpu().data.any()
    assert second.weight.grad.cpu().data.all()


class Double(nn.ResidualBlock):
    def branch(self, u: Any) -> Any:
        return u * 2.0


class Notes(nn.Observer):
    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def join(self, block: Any, skip: Any, branch: Any) -> tuple[Any, Any]:
        self.seen.append((branch.device, float(branch.sum())))
        return skip, branch


def test_an_observer_sees_a_dropped_branch_as_zeros_on_the_gpu(fake_gpu: ModuleType) -> None:
    block, notes = Double(), Notes()
    block.survival_probability = 1e-12
    with nn.observe(notes):
        out = block(mr.ones(2, 3, device=DEVICE))
    assert notes.seen == [(DEVICE, 0.0)]
    assert out.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("scale", ["skip_scale", "branch_scale"])
def test_a_scale_that_was_left_behind_is_told(fake_gpu: ModuleType, scale: str) -> None:
    block = Double()
    setattr(block, scale, mr.tensor([2.0]))
    with pytest.raises(DeviceError, match="Mul: a is on cuda:1 and b is on cpu"):
        block(mr.ones(2, 3, device=DEVICE))


def test_auxiliary_outputs_are_weighted_on_the_gpu(fake_gpu: ModuleType) -> None:
    logits = mr.zeros(2, 4, device=DEVICE)
    target = mr.tensor([2, 1], device=DEVICE)
    output = nn.Outputs(logits, (logits, logits))
    whole = nn.total_loss(F.cross_entropy, output, target)
    assert whole.device == DEVICE
    assert float(whole) == pytest.approx(1.6 * np.log(4.0))
    assert nn.main_output(output) is logits


def test_a_batch_is_taken_to_where_the_model_is(fake_gpu: ModuleType) -> None:
    model = nn.Linear(2, 2).to(DEVICE)
    assert device_of_model(model) == DEVICE
    assert device_of_model(nn.ReLU()) == "cpu"
    there, graph = mr.ones(1, 2, device=DEVICE), mr.ones(1, 2, device="cuda:0", requires_grad=True)
    own, moved, array, plain = batch_for(model, there, graph, fake_gpu.ones(2), [1, 2])
    assert own is there
    assert [t.device for t in (moved, array, plain)] == [DEVICE] * 3
    assert moved.is_leaf
    assert not moved.requires_grad
    assert plain.dtype == np.int64
