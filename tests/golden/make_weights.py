"""Makes the files of weights in weights/: by torch.save, and by the safetensors library.

    PYTHONPATH=. python tests/golden/make_weights.py        (needs torch and safetensors)

Beside them lies expected.npz: what is in each file, "<file>/<tensor>", bfloat16 as float32; and, of
the file that minires itself wrote, what the safetensors library reads in it.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as library_bytes

from minires.saving import npz_bytes, safetensors_bytes

FOLDER = Path(__file__).parent / "weights"
OLD_DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"]
OLD_DTYPES += ["uint8", "bool", "complex64", "complex128"]
DTYPES = [*OLD_DTYPES, "uint16", "uint32", "uint64"]

expected: dict[str, np.ndarray] = {}


def values(dtype: str) -> torch.Tensor:
    """(2, 3), with negative, fractional or large values where the type has them."""
    if dtype == "bool":
        return torch.tensor([[True, False, True], [False, False, True]])
    base = torch.tensor([[0.0, 1.5, -2.25], [100.0, 7.0, -3.0]], dtype=torch.float64)
    if dtype.startswith("uint"):
        base = base.abs()
    if dtype.startswith("complex"):
        return torch.complex(base, base.flip(1)).to(getattr(torch, dtype))
    return base.to(getattr(torch, dtype))


def plain(tensor: torch.Tensor) -> np.ndarray:
    """As NumPy can hold it."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()


def note(file: str, state: dict[str, torch.Tensor]) -> None:
    expected.update({f"{file}/{name}": plain(tensor) for name, tensor in state.items()})


def write(file: str, saved: Any, state: dict[str, torch.Tensor], legacy: bool = False) -> None:
    """``state`` is what of ``saved`` is to be found again."""
    torch.save(saved, FOLDER / file, _use_new_zipfile_serialization=not legacy)
    note(file, state)


def layouts() -> dict[str, torch.Tensor]:
    """Views of all kinds; several share one storage."""
    base = torch.arange(24, dtype=torch.float32)
    cube = base.view(2, 3, 4)
    return {
        "whole": base,
        "transposed": cube.permute(2, 0, 1),
        "part": cube[1, 1:],
        "every second": base[1::2],
        "expanded": base[3:4].expand(5),
        "number": base[7],
        "no elements": torch.zeros(0, 3),
        "no elements of some": base[5:5],
        "channels last": torch.arange(24.0)
        .view(1, 2, 3, 4)
        .contiguous(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.tensor([1.0, 2.0])),
        "long view": torch.arange(6).view(2, 3).t(),
    }


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer, Any]:
    """A small network after two steps, with its optimiser and schedule."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, bias=False), torch.nn.BatchNorm2d(2), torch.nn.ReLU()
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    for _ in range(2):
        model(torch.randn(3, 1, 5, 5)).square().sum().backward()
        optimizer.step()
        schedule.step()
    return model, optimizer, schedule


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    all_dtypes = {name: values(name) for name in DTYPES}
    old_dtypes = {name: values(name) for name in OLD_DTYPES}
    write("dtypes.pth", all_dtypes, all_dtypes)
    write("dtypes_legacy.pth", old_dtypes, old_dtypes, legacy=True)
    write("layouts.pth", layouts(), layouts())
    write("layouts_legacy.pth", layouts(), layouts(), legacy=True)
    model, optimizer, schedule = trained()
    state = model.state_dict()
    write("state_dict.pth", state, state)
    write("state_dict_legacy.pth", state, state, legacy=True)
    checkpoint = {
        "epoch": 3,
        "arch": "small",
        "best": np.float64(0.25),
        "curve": np.arange(3.0),
        "model_state_dict": OrderedDict((f"module.{name}", t) for name, t in state.items()),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "dtype": torch.float32,
        "nothing": [None, True, (1, 2.5)],
    }
    write("checkpoint.pth", checkpoint, state)
    write("checkpoint_legacy.bin", checkpoint, state, legacy=True)
    note("protocol_4.pt", state)
    torch.save(state, FOLDER / "protocol_4.pt", pickle_protocol=4)

    stored = {name: t for name, t in all_dtypes.items() if not name.startswith("complex")}
    stored |= {"number": torch.tensor(2.5), "no elements": torch.zeros(0, 3), "ä.b": torch.ones(1)}
    (FOLDER / "library.safetensors").write_bytes(library_bytes(stored, {"made by": "the library"}))
    note("library.safetensors", stored)

    arrays = {name: plain(t) for name, t in stored.items() if name != "bfloat16"}
    (FOLDER / "ours.safetensors").write_bytes(safetensors_bytes(arrays, {"made by": "minires"}))
    with safe_open(FOLDER / "ours.safetensors", "pt") as file:
        assert file.metadata() == {"made by": "minires"}
        note("ours.safetensors", {name: file.get_tensor(name) for name in arrays})
    assert {n for n in expected if n.startswith("ours")} == {
        f"ours.safetensors/{n}" for n in arrays
    }
    (FOLDER / "expected.npz").write_bytes(npz_bytes(expected))


if __name__ == "__main__":
    main()
