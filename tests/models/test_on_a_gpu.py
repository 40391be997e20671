"""Every family of networks on a GPU: the numbers of the CPU from the same weights."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import models, nn
from minires.nn.devices import device_of_model
from tests.fake_cupy import fake_gpu

__all__ = ["fake_gpu"]


def cifar(depth: int = 8, **options: Any) -> Callable[[], nn.Module]:
    return lambda: models.cifar_resnet(depth, width=2, num_classes=3, **options)


def imagenet(depth: int, **options: Any) -> Callable[[], nn.Module]:
    return lambda: models.imagenet_resnet(depth, width=2, num_classes=3, **options)


def stack(**options: Any) -> Callable[[], nn.Module]:
    return lambda: models.stack(3, 4, in_channels=3, num_classes=3, dense=False, **options)


def flat_stack() -> nn.Module:
    layers = models.stack(3, 8, kind="residual", in_channels=192, num_classes=3)
    return nn.Sequential(nn.Flatten(), layers)


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "plain": cifar(residual=False),
    "padding": cifar(shortcut="A"),
    "projections": cifar(shortcut="C"),
    "bottleneck": cifar(11, block="bottleneck", shortcut="B"),
    "pre-activation": cifar(preactivation=True),
    "branches that start at zero": cifar(zero_init_residual=True),
    "three layers a skip": cifar(20, layers_per_skip=3),
    "without norm": cifar(norm=None),
    "fixup": cifar(norm=None, fixup=True),
    "auxiliary heads": cifar(14, aux_heads=1),
    "stochastic depth": cifar(14, stochastic_depth=0.3),
    "scaled branches": cifar(branch_scale=0.1),
    "scaled skips": cifar(skip="constant-scaling"),
    "gates": cifar(skip="exclusive-gating"),
    "gated skips": cifar(skip="shortcut-only-gating"),
    "projected skips": cifar(skip="conv"),
    "norm after the sum": cifar(order="bn-after-addition"),
    "ReLU before the sum": cifar(order="relu-before-addition"),
    "ReLU first": cifar(order="relu-only-preactivation"),
    "imagenet": imagenet(18),
    "imagenet, bottleneck": imagenet(50, preactivation=True),
    "stack": stack(),
    "residual stack without norm": stack(kind="residual", norm=None),
    "dense stack": flat_stack,
}


def build(family: str, device: str) -> Any:
    mr.manual_seed(0)
    return FAMILIES[family]().to("float64").to(device)


def batch() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.standard_normal((4, 3, 8, 8)), np.array([0, 1, 2, 0])


def on_cpu(tensors: Any) -> list[np.ndarray]:
    return [t.detach().cpu().numpy() for t in tensors if t is not None]


def assert_same_numbers(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for there, here in zip(found, expected, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-8, atol=1e-11)


def outcome(model: Any) -> list[np.ndarray]:
    """Loss, gradients and buffers of a step of training, and the answer in evaluation."""
    device = device_of_model(model)
    x, y = (mr.tensor(array, device=device) for array in batch())
    mr.manual_seed(1)
    loss = nn.total_loss(F.cross_entropy, model.train()(x), y)
    loss.backward()
    answer = model.eval()(x)
    found = [loss, answer, *(p.grad for p in model.parameters()), *model.buffers()]
    assert all(t.device == device for t in found if t is not None)
    return on_cpu(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_and_an_answer_of_every_family_have_the_numbers_of_the_cpu(
    fake_gpu: ModuleType, family: str
) -> None:
    here = outcome(build(family, "cpu"))
    assert_same_numbers(outcome(build(family, "cuda:0")), here)


@pytest.mark.parametrize("family", ["projections", "gates", "auxiliary heads", "imagenet"])
def test_it_need_not_be_the_current_gpu(fake_gpu: ModuleType, family: str) -> None:
    assert_same_numbers(outcome(build(family, "cuda:1")), outcome(build(family, "cpu")))


def test_dropout_on_the_skips_has_the_answer_of_the_cpu_and_draws_on_the_gpu(
    fake_gpu: ModuleType,
) -> None:
    mr.manual_seed(0)
    here = cifar(skip="dropout")().to("float64")
    there = models.twin(here, 1.0).to("cuda:1")
    x, _ = batch()
    answers = [m.eval()(mr.tensor(x, device=device_of_model(m))) for m in (here, there)]
    assert_same_numbers(*([one] for one in on_cpu(answers)))
    one, other = (there.train()(mr.tensor(x, device="cuda:1")) for _ in range(2))
    assert not np.allclose(*on_cpu([one, other]))


def test_a_twin_is_where_its_model_is_and_shares_no_memory(fake_gpu: ModuleType) -> None:
    for scale in (0.0, 0.5, 1.0):
        there = build("projections", "cuda:1")
        twin = models.twin(there, scale)
        assert {t.device for t in (*twin.parameters(), *twin.buffers())} == {"cuda:1"}
        assert_same_numbers(outcome(twin), outcome(models.twin(build("projections", "cpu"), scale)))
        assert all(p.grad is None for p in there.parameters())
        assert there.bn1.num_batches_tracked.item() == 0


DEEPENED = {
    "residual": ("padding", {}),
    "plain, without norm": ("plain", {"identity": "without-norm"}),
    "plain, calibrated": ("plain", {"identity": "calibrated"}),
    "projections, calibrated": ("projections", {"identity": "calibrated"}),
    "norm after the sum, calibrated": ("norm after the sum", {"identity": "calibrated"}),
    "stack": ("residual stack without norm", {}),
}


@pytest.mark.parametrize("wherever", ["cpu", "cuda:1"])
@pytest.mark.parametrize("case", DEEPENED)
def test_a_deeper_network_is_made_where_its_model_is_wherever_the_data_are(
    fake_gpu: ModuleType, case: str, wherever: str
) -> None:
    family, options = DEEPENED[case]
    x, y = batch()
    made = []
    for device in ("cpu", "cuda:1"):
        model = build(family, device)
        if options.get("identity") == "calibrated":
            options = {**options, "data": x if device == "cpu" else mr.tensor(x, device=wherever)}
        mr.manual_seed(2)
        made.append((model, models.deepen(model, 1, **options)))
    (here, deeper), (there, deeper_there) = made
    own = (*deeper_there.parameters(), *deeper_there.buffers())
    assert {t.device for t in own} == {"cuda:1"}
    assert_same_numbers(on_cpu(own), on_cpu((*deeper.parameters(), *deeper.buffers())))
    expected = models.deepening(here, deeper, x, y)
    found = models.deepening(there, deeper_there, mr.tensor(x, device=wherever), y)
    assert type(found.evaluation) is float
    for name in ("evaluation", "training", "evaluation_loss", "training_loss"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-8, atol=1e-13
        )


def test_a_summary_is_that_of_the_cpu(fake_gpu: ModuleType) -> None:
    here, there = (
        models.summary(build("projections", device), (3, 8, 8)) for device in ("cpu", "cuda:1")
    )
    assert here == there


def test_a_network_on_a_gpu_is_described_and_built_again(fake_gpu: ModuleType) -> None:
    there = build("gates", "cuda:1")
    again = models.rebuild(models.describe(there)).to("float64")
    again.load_state_dict(there.state_dict())
    assert device_of_model(again) == "cpu"
    assert_same_numbers(outcome(again.to("cuda:0")), outcome(there))


def test_the_weights_of_a_network_are_drawn_the_same_whatever_comes_after(
    fake_gpu: ModuleType,
) -> None:
    here, there = build("fixup", "cpu"), build("fixup", "cuda:1")
    for one, other in zip(*(map(on_cpu, ([*m.parameters()] for m in (here, there)))), strict=True):
        assert one.tobytes() == other.tobytes()
    groups = models.fixup_groups(there, 0.1)
    optimizer = mr.optim.SGD(groups, lr=0.1)
    outcome(there)
    optimizer.step()
    assert device_of_model(there) == "cuda:1"
