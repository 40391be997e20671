"""The whole library on a GPU that is none: the numbers of NumPy, and no copy nobody asked for.

CuPy's stand-in (tests/fake_cupy) runs the real CUDA sources on the CPU, so what is trained here
goes through the same launcher, the same kernels and the same array code as on a card.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from tests.fake_cupy import counters, fake_gpu  # noqa: F401

STEPS = 5


def batches(count: int = STEPS, size: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((size, 3, 8, 8)), rng.integers(0, 10, size)) for _ in range(count)]


def trained(
    build: Callable[[], nn.Module], device: str, dtype: str = "float64", **settings: Any
) -> tuple[list[float], dict[str, np.ndarray]]:
    """The losses of some steps of SGD, and all parameters and buffers after them."""
    mr.manual_seed(0)
    model = build().to(dtype).to(device)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    losses = []
    for images, labels in batches():
        x = mr.tensor(images.astype(dtype), device=device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), mr.tensor(labels, device=device), **settings)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    state = {name: mr.Tensor(array).to("cpu").numpy() for name, array in model.state_dict().items()}
    return losses, state


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: mr.models.cifar_resnet(8, width=4),
    "plain": lambda: mr.models.cifar_plain(8, width=4),
    "preactivation, projections": lambda: mr.models.cifar_resnet(
        8, width=4, preactivation=True, shortcut="B"
    ),
    "bottleneck": lambda: mr.models.cifar_resnet(11, width=4, block="bottleneck", shortcut="C"),
    "without norm": lambda: mr.models.cifar_resnet(8, width=4, norm=None, init_scale=0.5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_five_steps_of_training_give_the_numbers_of_numpy(
    fake_gpu: Any,  # noqa: F811
    name: str,
) -> None:
    losses, state = trained(NETWORKS[name], "cpu")
    there, state_there = trained(NETWORKS[name], "cuda")
    np.testing.assert_allclose(there, losses, rtol=1e-11)
    assert state.keys() == state_there.keys()
    for key, array in state.items():
        np.testing.assert_allclose(state_there[key], array, rtol=1e-8, atol=1e-11, err_msg=key)


def test_training_in_float32_gives_the_numbers_of_numpy_up_to_rounding(
    fake_gpu: Any,  # noqa: F811
) -> None:
    exact, _ = trained(NETWORKS["resnet"], "cpu", "float64")
    here, _ = trained(NETWORKS["resnet"], "cpu", "float32")
    there, _ = trained(NETWORKS["resnet"], "cuda", "float32")
    own_error = np.abs(np.subtract(here, exact)).max()
    assert np.abs(np.subtract(there, exact)).max() < 5 * own_error + 1e-6


def test_the_same_seed_gives_the_same_bits_twice(fake_gpu: Any) -> None:  # noqa: F811
    first, second = (trained(NETWORKS["resnet"], "cuda:1", "float32") for _ in range(2))
    assert first[0] == second[0]
    for key, array in first[1].items():
        np.testing.assert_array_equal(second[1][key], array, err_msg=key)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_copies_the_batch_in_and_the_loss_out_and_waits_for_nothing_else(
    fake_gpu: Any,  # noqa: F811
    smoothing: float,
) -> None:
    model = mr.models.cifar_resnet(20, width=4).to("cuda")
    optimizer = mr.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    for images, labels in batches(2):
        x = mr.tensor(images.astype(np.float32), device="cuda")
        y = mr.tensor(labels, device="cuda")
        counters.reset()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y, label_smoothing=smoothing)
        loss.backward()
        optimizer.step()
        assert (counters.to_device, counters.to_host, counters.synchronizations) == (0, 0, 0), str(
            counters
        )
        loss.item()
        assert counters.to_host == 1, str(counters)
