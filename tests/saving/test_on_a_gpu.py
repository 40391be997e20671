"""Files of weights and networks on a GPU: files hold NumPy's arrays, and fit any device."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.device import to_numpy
from tests.fake_cupy import fake_gpu
from tests.saving.goldens import FOLDER, assert_same

__all__ = ["fake_gpu"]


def network(device: str) -> Any:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    model(mr.randn(4, 1, 8, 8))  # the running statistics move
    return model.to(device)


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    return {name: to_numpy(array).copy() for name, array in model.state_dict().items()}


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_a_file_of_a_network_on_a_gpu_is_that_of_the_cpu_and_fits_any_device(
    fake_gpu: ModuleType, ending: str, device: str, tmp_path: Path
) -> None:
    here, there = network("cpu"), network(device)
    files = [mr.save(m, tmp_path / f"{i}.{ending}") for i, m in enumerate((here, there))]
    assert files[0].read_bytes() == files[1].read_bytes()
    found = mr.load(files[1])
    assert_same(found, here.state_dict())
    for place in ("cpu", "cuda:0", "cuda:1"):
        fresh = mr.models.cifar_resnet(8, width=2, in_channels=1).to(place)
        fresh.load_state_dict(found)
        assert {t.device for t in (*fresh.parameters(), *fresh.buffers())} == {place}
        assert_same(arrays_of(fresh), here.state_dict())


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_tensors_and_arrays_of_a_gpu_are_saved_by_name(
    fake_gpu: ModuleType, ending: str, tmp_path: Path
) -> None:
    values = {
        "t": mr.tensor([1.0, 2.0], device="cuda:1", requires_grad=True),
        "a": fake_gpu.arange(3),
        "h": np.float64(2.0),
    }
    found = mr.load(mr.save(values, tmp_path / f"a.{ending}"))
    assert {name: array.tolist() for name, array in found.items()} == {
        "t": [1.0, 2.0], "a": [0, 1, 2], "h": 2.0,
    }  # fmt: skip
    assert all(type(array) is np.ndarray for array in found.values())


@pytest.mark.parametrize("file", ["state_dict.pth", "checkpoint_legacy.bin"])
def test_what_pytorch_wrote_is_loaded_into_a_network_on_a_gpu(
    fake_gpu: ModuleType, file: str
) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU())
    model.to("cuda:1").load_state_dict(mr.load(FOLDER / file))
    assert_same(arrays_of(model), mr.load(FOLDER / file))
    assert {t.device for t in (*model.parameters(), *model.buffers())} == {"cuda:1"}


def test_a_state_on_one_gpu_is_loaded_on_another(fake_gpu: ModuleType) -> None:
    one, other = network("cuda:0"), mr.models.cifar_resnet(8, width=2, in_channels=1).to("cuda:1")
    other.load_state_dict(one.state_dict())
    assert_same(arrays_of(other), arrays_of(one))
    assert {t.device for t in other.parameters()} == {"cuda:1"}
