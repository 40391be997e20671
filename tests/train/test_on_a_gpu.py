"""Training on a GPU: the numbers of the CPU, two copies a step, and files that any can read."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.data import DataLoader
from minires.errors import ShapeError
from minires.train import STOP, Training, evaluate, load_checkpoint, save_checkpoint
from minires.train.metrics import device_of_model, errors, loss_and_errors
from tests.fake_cupy import counters, fake_gpu

__all__ = ["fake_gpu"]

DATA = mr.data.load_digits().take(40, 20)


def begin(device: str, optimizer: str = "SGD", **settings: Any) -> Training:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1).to(device)
    loader = DataLoader(DATA.train, 8, shuffle=True, seed=0, prefetch=1, device=device)
    options = {"momentum": 0.9, "weight_decay": 1e-3} if optimizer == "SGD" else {}
    made = getattr(mr.optim, optimizer)(model.parameters(), lr=0.05, **options)
    return Training(model, loader, made, evaluate_on={"test": DATA.test}, **settings)


def stop_at(number: int) -> Any:
    return lambda step: STOP if step.number == number else None


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_five_steps_give_the_numbers_of_the_cpu(fake_gpu: ModuleType, optimizer: str) -> None:
    here, there = begin("cpu", optimizer), begin("cuda", optimizer)
    histories = [run.run(epochs=1) for run in (here, there)]
    assert device_of_model(there.model) == "cuda:0"
    # Sums of float32 in another order; measured 1e-7 to 1e-6.
    np.testing.assert_allclose(*(h.batch_loss for h in histories), rtol=1e-5)
    np.testing.assert_allclose(*(h.loss["test"] for h in histories), rtol=1e-4)
    assert histories[0].batch_error == histories[1].batch_error


def test_a_step_has_the_batch_in_and_two_numbers_out(fake_gpu: ModuleType) -> None:
    run = begin("cuda", loss=lambda output, _: (output * output).mean())
    run.run(steps=1)
    x, y = next(iter(run.loader))
    counters.reset()
    run._one_step(x, y)
    assert (counters.to_device, counters.to_host, counters.synchronizations) == (0, 1, 0), counters


def test_evaluation_reads_one_array_a_batch_where_the_model_is(fake_gpu: ModuleType) -> None:
    model = begin("cuda:1").model
    loss = lambda output, _: output.mean()  # noqa: E731
    counters.reset()
    there = evaluate(model, DATA.test, batch_size=7, loss=loss)
    assert (counters.to_device, counters.to_host, counters.synchronizations) == (3, 3, 0), counters
    here = evaluate(model.to("cpu"), DATA.test, batch_size=7, loss=loss)
    assert there.error == here.error
    assert there.loss == pytest.approx(here.loss, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_loss_and_errors_are_read_as_they_are(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    loss = mr.tensor(rng.standard_normal(shape).astype(dtype) / 3)
    output = mr.tensor(rng.standard_normal((50, 4)).astype(dtype))
    output.data[3, 1] = np.nan
    target = mr.tensor(rng.integers(0, 4, 50))
    assert loss_and_errors(loss, output, target) == (float(loss), errors(output, target))
    assert all(type(n) in (int, float) for n in loss_and_errors(loss, output, target))


def test_a_loss_that_is_not_finite_is_read_as_it_is() -> None:
    output, target = mr.zeros(2, 3), mr.tensor([0, 1])
    assert loss_and_errors(mr.tensor(np.inf), output, target) == (np.inf, 1)
    assert np.isnan(loss_and_errors(mr.tensor(np.nan), output, target)[0])


def test_a_loss_of_several_numbers_is_refused_with_its_shape() -> None:
    with pytest.raises(ShapeError, match=r"must be a single number.* not of shape \(2,\)"):
        evaluate(mr.nn.Flatten(), (np.ones((2, 3)), np.zeros(2, int)), loss=lambda o, _: o.mean(1))


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda:1")])
def test_a_run_goes_on_from_a_file_on_another_device(
    fake_gpu: ModuleType, devices: tuple[str, str], optimizer: str, tmp_path: Path
) -> None:
    whole, first, second = (begin(d, optimizer) for d in ("cpu", *devices))
    whole.run(epochs=1)
    first.run(epochs=1, on_step=stop_at(3))
    assert all(type(a) is np.ndarray for a in first.state_dict()["arrays"].values())
    file = save_checkpoint(tmp_path / "run.npz", first.model, training=first)
    checkpoint = load_checkpoint(file)
    assert device_of_model(checkpoint.model) == "cpu"
    second.load_state_dict(checkpoint.training)
    second.run(epochs=1)
    assert device_of_model(second.model) == ("cpu" if devices[1] == "cpu" else second.loader.device)
    np.testing.assert_allclose(second.history.batch_loss, whole.history.batch_loss, rtol=1e-5)


def test_a_run_gone_on_with_on_the_same_gpu_ends_with_the_same_bits(fake_gpu: ModuleType) -> None:
    whole, first, second = (begin("cuda") for _ in range(3))
    whole.run(epochs=2)
    first.run(epochs=2, on_step=stop_at(7))
    second.load_state_dict(first.state_dict())
    second.run(epochs=2)
    assert second.history.batch_loss == whole.history.batch_loss
    a, b = (run.state_dict()["arrays"] for run in (whole, second))
    assert {name: x.tobytes() for name, x in a.items()} == {n: x.tobytes() for n, x in b.items()}


@pytest.mark.parametrize("name", ["weights.npz", "weights.safetensors"])
def test_weights_saved_on_a_gpu_are_loaded_anywhere(
    fake_gpu: ModuleType, name: str, tmp_path: Path
) -> None:
    model = begin("cuda").model
    mr.save(model, tmp_path / name)
    save_checkpoint(tmp_path / "checkpoint.npz", model)
    for file in (name, "checkpoint.npz"):
        for device in ("cpu", "cuda:1"):
            other = mr.models.cifar_resnet(8, width=2, in_channels=1).to(device)
            other.load_state_dict(mr.load(tmp_path / file))
            for one, two in zip(model.parameters(), other.parameters(), strict=True):
                assert two.device == ("cpu" if device == "cpu" else device)
                assert one.detach().cpu().numpy().tobytes() == two.detach().cpu().numpy().tobytes()
