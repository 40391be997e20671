"""Networks in files: as they were, or refused with the reason."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn, rng
from minires.errors import DataError, UsageError
from minires.train import Training, load_checkpoint, save_checkpoint

OPTIONS: list[dict[str, Any]] = [
    {"depth": 8},
    {"depth": 8, "residual": False},
    {"depth": 14, "preactivation": True, "shortcut": "C"},
    {"depth": 11, "block": "bottleneck", "shortcut": "B", "zero_init_residual": True},
    {"depth": 8, "norm": None, "init_scale": 0.5, "num_classes": 3, "in_channels": 3},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_network_comes_back_as_it_was(options: dict[str, Any], tmp_path: Path) -> None:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(**{"width": 2, "in_channels": 1, **options})
    x = mr.randn(4, model.conv1.weight.shape[1], 8, 8)
    model(x)  # the running statistics move
    file = save_checkpoint(tmp_path / "a.npz", model, epochs=3, data="digits")
    state = rng.get_state()
    found, about, _ = load_checkpoint(file)
    assert rng.get_state() == state
    assert (about["epochs"], about["data"]) == (3, "digits")
    assert found.options == model.options
    assert found.residual == model.residual
    for name, array in model.state_dict().items():
        assert found.state_dict()[name].tobytes() == array.tobytes(), name
    assert found.eval()(x).tolist() == model.eval()(x).tolist()


def test_what_is_saved_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    model = mr.models.cifar_resnet(8, width=2)
    file = save_checkpoint(tmp_path / "new" / "a.npz", model)
    before = file.read_bytes()
    with pytest.raises(UsageError, match="JSON cannot hold"):
        save_checkpoint(file, model, lr=float("nan"))
    with pytest.raises(UsageError, match="JSON cannot hold"):
        save_checkpoint(file, model, thing=object())
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["a.npz"]
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        save_checkpoint(blocked / "a.npz", model)


def test_only_networks_that_know_how_they_were_built_are_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a Sequential does not know how it was built"):
        save_checkpoint(tmp_path / "a.npz", nn.Sequential(nn.ReLU()))  # type: ignore[arg-type]


def archive(**entries: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **entries)
    return buffer.getvalue()


CIFAR = {"family": "cifar", "depth": 8}


def about(**changes: Any) -> np.ndarray:
    network = {"family": "cifar", "depth": 8, "width": 2}
    return np.array(json.dumps({"format": "minires checkpoint 2", "network": network} | changes))


class Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/minires-trap"),))


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a checkpoint"),
    "text": (b"hello", "not a checkpoint"),
    "truncated": (archive(about=about())[:-30], "not a checkpoint"),
    "one array": (b"\x93NUMPY\x01\x00", "not a checkpoint"),
    "nothing in it": (archive(a=np.zeros(1)), "no entry 'about'"),
    "no JSON": (archive(about=np.array("{")), "no JSON"),
    "a list": (archive(about=np.array("[1]")), "its format is None"),
    "another format": (archive(about=about(format="x")), "its format is 'x'"),
    "no network": (archive(about=about(network=3)), "which network"),
    "no family": (archive(about=about(network={})), "Unknown family None"),
    "no depth": (archive(about=about(network={"family": "cifar"})), "depth=None cannot be built"),
    "too deep": (archive(about=about(network=CIFAR | {"depth": 10**9 + 2})), "weights of at most"),
    "no such depth": (archive(about=about(network=CIFAR | {"depth": 9})), "Depth 9 does not"),
    "unknown option": (archive(about=about(network=CIFAR | {"x": 1})), "Unknown options"),
    "numbers of no block": (archive(about=about(block_numbers={"a": {}})), "has no such"),
    "numbers that are none": (archive(about=about(block_numbers=[1])), "none by name"),
    "a number for a block": (archive(about=about(block_numbers={"layer1.0": 1})), "not a checkp"),
    "another number": (archive(about=about(block_numbers={"layer1.0": {"x": 1}})), "has no such"),
    "no weights": (archive(about=about()), "missing"),
    "a pickle": (archive(about=about(), a=np.array([Trap()], dtype=object)), "holds objects"),
    "a pickle for about": (archive(about=np.array([Trap()], dtype=object)), "holds objects"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_damaged_or_foreign_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    content, reason = BAD[name]
    file = tmp_path / "bad.npz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load_checkpoint(file)
    assert "bad.npz" in str(caught.value)
    assert not Path("/tmp/minires-trap").exists()


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "a.npz", mr.models.cifar_resnet(8, width=2))
    with np.load(file) as kept:
        entries = dict(kept)
    entries["weights/fc.bias"] = np.zeros(3, np.float32)
    file.write_bytes(archive(**entries))
    with pytest.raises(DataError, match=r"fc\.bias has shape"):
        load_checkpoint(file)


def test_a_flipped_byte_in_the_weights_is_noticed(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "a.npz", mr.models.cifar_resnet(8, width=2))
    with zipfile.ZipFile(file) as kept:
        entry = kept.getinfo("weights/fc.weight.npy")
    content = bytearray(file.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + 40] ^= 0xFF
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match="not a checkpoint"):
        load_checkpoint(file)


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_checkpoint(tmp_path / "none.npz")


def test_a_network_in_float64_comes_back_in_float64(tmp_path: Path) -> None:
    model = mr.models.cifar_resnet(8, width=2).to("float64")
    model.conv1.weight.data[...] = 1 / 3  # float32 cannot hold it
    found = load_checkpoint(save_checkpoint(tmp_path / "a.npz", model)).model
    for name, array in model.state_dict().items():
        assert found.state_dict()[name].dtype == array.dtype, name
        assert found.state_dict()[name].tobytes() == array.tobytes(), name


def test_a_twin_comes_back_with_its_skips_scaled(tmp_path: Path) -> None:
    model = mr.models.cifar_resnet(8, width=2, stochastic_depth=0.5)
    for scale, survival in ((0.5, [1 - i / 6 for i in (1, 2, 3)]), (0.0, [1.0] * 3)):
        scaled = mr.models.twin(model, scale)
        found = load_checkpoint(save_checkpoint(tmp_path / "a.npz", scaled)).model
        assert [block.skip_scale for block in found.blocks()] == [scale] * 3
        assert [b.survival_probability for b in found.blocks()] == pytest.approx(survival)


def test_a_network_of_the_imagenet_family_comes_back(tmp_path: Path) -> None:
    model = mr.models.resnet18(width=2, num_classes=3)
    found = load_checkpoint(save_checkpoint(tmp_path / "a.npz", model)).model
    assert type(found) is type(model)
    assert found.options == model.options


def test_the_run_of_another_network_is_not_saved(tmp_path: Path) -> None:
    one, other = (mr.models.cifar_resnet(8, width=2, in_channels=1) for _ in range(2))
    loader = mr.data.DataLoader(mr.data.load_digits().test, 100)
    training = Training(one, loader, mr.optim.SGD(one.parameters(), lr=0.1))
    with pytest.raises(UsageError, match="trains another network"):
        save_checkpoint(tmp_path / "a.npz", other, training=training)
    assert load_checkpoint(save_checkpoint(tmp_path / "a.npz", one)).training is None


@pytest.mark.parametrize("name", ["format", "network", "block_numbers"])
def test_a_note_cannot_take_the_place_of_what_the_file_needs(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{name!r} is written by save_checkpoint itself"):
        save_checkpoint(tmp_path / "a.npz", mr.models.cifar_resnet(8, width=2), **{name: "mine"})
