"""SGD: PyTorch's numbers, its settings, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.errors import DeviceError, UsageError
from minires.kernels import parallel
from minires.kernels.elementwise import MANY_NUMBERS
from minires.optim import SGD, Optimizer
from tests.fake_cupy import counters, fake_gpu  # noqa: F401  (a fixture)
from tests.golden.loading import OptimizerCase, load_optimizers


def parameter(*values: float, dtype: Any = np.float64) -> mr.Tensor:
    return mr.tensor(np.array(values, dtype), requires_grad=True)


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name) for c in load_optimizers() if c.op == "SGD"]
)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_every_step_gives_the_stored_numbers(case: OptimizerCase, dtype: Any, rtol: float) -> None:
    weight = mr.tensor(case.start.astype(dtype), requires_grad=True)
    optimizer = SGD([weight], **case.kwargs)
    for grad, expected in zip(case.grads, case.values, strict=True):
        weight.grad = mr.tensor(grad.astype(dtype))
        optimizer.step()
        assert weight.dtype == dtype
        np.testing.assert_allclose(weight.data, expected, rtol=rtol, atol=rtol)


def test_a_step_goes_down_a_quadratic() -> None:
    weight = parameter(3.0, -4.0)
    optimizer = SGD([weight], lr=0.1, momentum=0.9)
    for _ in range(200):
        optimizer.zero_grad()
        (weight * weight).sum().backward()
        optimizer.step()
    assert np.abs(weight.data).max() < 1e-3


def test_a_step_changes_the_array_in_place_and_spares_gradient_and_graph() -> None:
    weight = parameter(1.0)
    array = weight.data
    (weight * 3.0).sum().backward()
    grad = weight.grad
    for settings in ({"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.5}):
        optimizer = SGD([weight], lr=0.1, **settings)
        optimizer.step()
        optimizer.step()
    assert weight.data is array
    assert array[0] != 1.0
    assert weight.grad is grad
    assert grad.item() == 3.0
    assert weight.is_leaf


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(7,), (3, MANY_NUMBERS)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 0.01},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    ],
    ids=str,
)
def test_steps_in_place_and_in_pieces_have_the_bits_of_the_formulas(
    settings: dict[str, Any],
    shape: tuple[int, ...],
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 1 << 18)
    monkeypatch.setattr(parallel._regime, "threads", threads)
    generator = np.random.default_rng(0)
    p, *grads = (generator.standard_normal(shape).astype(np.float32) for _ in range(4))
    weight, v = mr.tensor(p, requires_grad=True), None
    optimizer = SGD([weight], lr=0.1, **settings)
    momentum, decay = settings.get("momentum", 0.0), settings.get("weight_decay", 0.0)
    for grad in grads:
        weight.grad = mr.tensor(grad)
        optimizer.step()
        g = grad + decay * p if decay else grad
        if momentum:
            v = g if v is None else momentum * v + (1.0 - settings.get("dampening", 0.0)) * g
            g = g + momentum * v if settings.get("nesterov") else v
        p = p - 0.1 * g
    np.testing.assert_array_equal(weight.data, p)


def test_parameters_without_a_gradient_are_left_alone_by_decay_and_momentum_too() -> None:
    used, unused = parameter(1.0), parameter(1.0)
    used.grad = mr.tensor(np.array([1.0]))
    optimizer = SGD([used, unused], lr=0.1, momentum=0.9, weight_decay=0.1)
    optimizer.step()
    assert unused.item() == 1.0
    assert used.item() < 1.0
    assert list(optimizer.state) == [used]


def test_zero_grad_forgets_and_momentum_stays() -> None:
    weight = parameter(0.0)
    optimizer = SGD([weight], lr=1.0, momentum=0.5)
    weight.grad = mr.tensor(np.array([1.0]))
    optimizer.step()
    optimizer.zero_grad()
    assert weight.grad is None
    optimizer.step()
    assert weight.item() == -1.0
    weight.grad = mr.tensor(np.array([0.0]))
    optimizer.step()
    assert weight.item() == -1.5


def test_groups_have_settings_of_their_own_over_the_defaults() -> None:
    fast, slow = parameter(1.0), parameter(1.0)
    optimizer = SGD([{"params": [fast]}, {"params": (slow,), "lr": 0.01}], lr=0.1)
    for weight in (fast, slow):
        weight.grad = mr.tensor(np.array([1.0]))
    optimizer.step()
    np.testing.assert_allclose([fast.item(), slow.item()], [0.9, 0.99])
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01]
    assert optimizer.param_groups[1]["momentum"] == 0.0


def test_a_change_of_rate_acts_at_once_on_the_velocity() -> None:
    weight = parameter(0.0)
    optimizer = SGD([weight], lr=1.0, momentum=1.0)
    weight.grad = mr.tensor(np.array([1.0]))
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    np.testing.assert_allclose(weight.item(), -1.0 - 0.1 * 2.0)


def test_parameters_can_come_from_a_generator() -> None:
    model = mr.nn.Linear(2, 2)
    assert len(SGD(model.parameters()).param_groups[0]["params"]) == 2


@pytest.mark.parametrize(
    ("settings", "phrase"),
    [
        ({"lr": -0.1}, "lr must not be negative, got -0.1"),
        ({"momentum": -1}, "momentum must not be negative"),
        ({"weight_decay": -1e-4}, "weight_decay must not be negative"),
        ({"nesterov": True}, "nesterov needs momentum"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "no dampening"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], phrase: str) -> None:
    with pytest.raises(UsageError, match=f"SGD: .*{phrase}"):
        SGD([parameter(1.0)], **settings)


def test_what_cannot_be_trained_is_refused_with_the_mend() -> None:
    weight = parameter(1.0, 2.0)
    with pytest.raises(UsageError, match="SGD: got no parameters"):
        SGD([])
    with pytest.raises(UsageError, match=r"SGD: .*\[tensor\]"):
        SGD(weight)
    with pytest.raises(UsageError, match=r"SGD: .*leaves.*result of Mul"):
        SGD([weight * 2.0])
    with pytest.raises(UsageError, match=r"SGD: .*ndarray"):
        SGD([weight.data])
    with pytest.raises(UsageError, match=r"SGD: .*twice"):
        SGD([{"params": [weight]}, {"params": [weight]}])


def test_a_model_and_layers_in_a_list_are_refused_with_the_mend() -> None:
    for model in (mr.nn.Linear(2, 2), mr.nn.Sequential(mr.nn.Linear(2, 2))):
        with pytest.raises(UsageError, match=r"SGD: .*model\.parameters\(\)"):
            SGD(model)
        with pytest.raises(UsageError, match=r"SGD: .*not (Linear|Sequential): pass its \.param"):
            SGD([model])
    with pytest.raises(UsageError, match=r"no parameters .*plain list .*nn\.ModuleList"):
        SGD(iter(()))


@pytest.mark.parametrize("by_hand", [False, True])
def test_numpy_numbers_as_settings_leave_float32_alone(by_hand: bool) -> None:
    weight = parameter(1.0, dtype=np.float32)
    names = ("lr", "momentum", "dampening", "weight_decay")
    settings = {name: np.float64(0.1) for name in names}
    optimizer = SGD([weight], **({} if by_hand else settings))
    if by_hand:
        optimizer.param_groups[0].update(settings)
    for _ in range(2):
        weight.grad = mr.tensor([1.0])
        optimizer.step()
    assert weight.dtype == optimizer.state[weight]["momentum_buffer"].dtype == np.float32
    if not by_hand:
        assert {type(optimizer.param_groups[0][name]) for name in names} == {float}


def test_frozen_parameters_can_be_given_and_stay() -> None:
    model = mr.nn.Linear(2, 2).requires_grad_(False)
    before = model.weight.data.copy()
    SGD(model.parameters(), lr=1.0, weight_decay=0.1).step()
    np.testing.assert_array_equal(model.weight.data, before)


def test_repr_names_the_settings() -> None:
    assert repr(SGD([parameter(1.0)], lr=0.1)) == (
        "SGD(lr=0.1, momentum=0.0, weight_decay=0.0, dampening=0.0, nesterov=False)"
    )


def test_the_base_has_no_step() -> None:
    with pytest.raises(NotImplementedError):
        Optimizer([parameter(1.0)], {}).step()


def of_each_kind(cupy: Any) -> list[mr.Tensor]:
    """On the CPU and on two GPUs, float32, float64 and float16."""
    rng = np.random.default_rng(0)
    dtypes = (np.float32, np.float64, np.float32, np.float64, np.float16)
    params = [mr.Tensor(rng.standard_normal((3, i + 2)).astype(t)) for i, t in enumerate(dtypes)]
    places = ["cuda:0", "cuda:0", "cuda:1", "cpu", "cuda:0"]
    return [p.to(place).requires_grad_() for p, place in zip(params, places, strict=True)]


def a_grad(parameter: mr.Tensor, seed: int) -> mr.Tensor:
    values = np.random.default_rng(seed).standard_normal(parameter.shape)
    return mr.Tensor(values.astype(parameter.dtype)).to(parameter.device)


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_decay": 0.01},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    ],
    ids=str,
)
def test_parameters_on_gpus_get_the_bits_of_the_cpu_and_state_of_the_same_layout(
    fake_gpu: Any,  # noqa: F811
    settings: dict[str, Any],
) -> None:
    there = of_each_kind(fake_gpu)
    here = [mr.tensor(p.data if p.device == "cpu" else p.data.get()) for p in there]
    here = [p.requires_grad_() for p in here]
    optimizers = [SGD(params, lr=np.float64(0.1), **settings) for params in (here, there)]
    for step in range(3):
        for late, (p, q) in enumerate(zip(here, there, strict=True)):
            if late <= step:  # one more parameter has a gradient in every step
                p.grad, q.grad = a_grad(p, step), a_grad(q, step)
        for optimizer in optimizers:
            optimizer.param_groups[0]["initial_lr"] = 0.1  # as a scheduler leaves it
            optimizer.step()
    for p, q in zip(here, there, strict=True):
        np.testing.assert_array_equal(q.cpu().data, p.data, strict=True)
    for p, q in zip(here, there, strict=True):
        expected, found = (o.state.get(x) for o, x in zip(optimizers, (p, q), strict=True))
        assert (found is None) == (expected is None)
        for name, value in (expected or {}).items():
            np.testing.assert_array_equal(mr.Tensor(found[name]).cpu().data, value, strict=True)
            assert mr.Tensor(found[name]).device == q.device


def test_a_step_on_a_gpu_is_one_launch_without_transfers_and_a_graph_is_told(
    fake_gpu: Any,  # noqa: F811
) -> None:
    params = [mr.ones(3, device="cuda").requires_grad_() for _ in range(59)]
    loss = (params[0] * params[0]).sum()
    for parameter in params:
        parameter.grad = mr.ones(3, device="cuda")
    optimizer = SGD(params, lr=0.1, momentum=0.9)
    optimizer.step()
    counters.reset()
    optimizer.step()
    assert (counters.launches, counters.to_host, counters.to_device) == (1, 0, 0), counters
    with pytest.raises(mr.errors.GraphError, match="changed"):
        loss.backward()


def test_a_gradient_on_another_device_is_refused_by_name(fake_gpu: Any) -> None:  # noqa: F811
    weight = mr.ones(3, device="cuda").requires_grad_()
    with pytest.raises(DeviceError, match="grad: tensor is on cuda:0 and grad is on cpu"):
        weight.grad = mr.ones(3)


def test_velocity_that_stayed_on_the_cpu_is_refused_by_name(fake_gpu: Any) -> None:  # noqa: F811
    weight = mr.ones(3).requires_grad_()
    optimizer = SGD([weight], momentum=0.9)
    weight.grad = mr.ones(3)
    optimizer.step()
    weight.grad, weight.data = None, weight.to("cuda").data
    weight.grad = mr.ones(3, device="cuda")
    with pytest.raises(DeviceError, match=r"SGD: .* is on cuda:0 and momentum_buffer is on cpu"):
        optimizer.step()


def test_the_velocity_of_a_single_number_builds_up_too() -> None:
    shapes = {(): mr.tensor(1.0, requires_grad=True), (1,): mr.tensor([1.0], requires_grad=True)}
    for weight in shapes.values():
        optimizer = SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
        for step in range(4):
            weight.grad = mr.full(weight.shape, float(step))
            optimizer.step()
    assert shapes[()].item() == shapes[(1,)].item()
